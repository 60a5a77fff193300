"""Records of two trajectories at equal loss, on curves that are known."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.comparison.equal_loss import loss_levels, matched_records, records_at
from thalweg.problems import Function

BOWL = Function(lambda x: jnp.sum(x**2) / 2, np.full(2, 1.0))


def descent(step_size, until, **options):
    """Loss (1 - step_size)^(2 k) after k steps."""
    steps = round(until / step_size)
    return tw.run(BOWL, tw.gradient_descent(step_size), until=until, records=steps, **options)


def test_positions_by_both_rules():
    losses = [4.0, 2.0, 1.0, 3.0, 0.5]
    levels = [3.4, 1.2, 0.1]
    assert records_at(losses, levels).tolist() == [3, 2, 4]
    assert records_at(losses, levels, "first-at-most").tolist() == [1, 2, -1]
    assert records_at([np.nan, 5.0, np.inf], [1.0, 9.0]).tolist() == [1, 1]


def test_runs_of_other_speed_meet_at_equal_loss():
    fast, slow = descent(0.19, 3.8), descent(0.1, 4.0)  # 0.81 = 0.9^2: one step is two
    levels = 0.9 ** (4 * np.arange(1, 6))
    found = matched_records(fast, slow, levels)
    np.testing.assert_array_equal(found["left_record"][0], np.arange(1, 6))
    np.testing.assert_array_equal(found["right_record"][0], 2 * np.arange(1, 6))
    assert float(found["mismatch"].max()) < 1e-12
    np.testing.assert_allclose(found["left_loss"][0], levels, rtol=1e-12)
    at = (fast.parameters[0, 3].values, slow.parameters[0, 6].values)
    np.testing.assert_allclose(*at, rtol=1e-12)


def test_a_level_that_is_not_reached_is_told_by_the_mismatch():
    found = matched_records(descent(0.19, 3.8), descent(0.1, 0.5), [0.9**20])
    assert int(found["right_record"][0, 0]) == 5
    assert float(found["mismatch"][0, 0]) == pytest.approx(0.9**10 / 0.9**20 - 1)


def test_only_common_seeds_count():
    left, right = descent(0.1, 1.0, seeds=[0, 2]), descent(0.1, 1.0, seeds=[2, 3])
    assert matched_records(left, right, [0.5])["seed"].values.tolist() == [2]
    with pytest.raises(tw.InputError, match="share no seed"):
        matched_records(descent(0.1, 1.0), descent(0.1, 1.0, seeds=[4]), [0.5])


def test_levels_lie_where_both_runs_pass():
    fast, slow = descent(0.19, 3.8), descent(0.1, 1.0)
    levels = loss_levels(fast, slow, 5)
    np.testing.assert_allclose(levels, np.geomspace(1.0, 0.9**20, 5))
    with pytest.raises(tw.InputError, match="share no range"):
        loss_levels(fast, tw.Trajectory(fast.dataset.isel(time=[0])))
    with pytest.raises(tw.InputError, match="at least 2"):
        loss_levels(fast, slow, 1)


def test_bad_input_is_told():
    with pytest.raises(tw.InputError, match="Did you mean 'nearest'"):
        records_at([1.0], [1.0], "neares")
    with pytest.raises(tw.InputError, match="with a finite loss"):
        records_at([np.nan], [1.0])
    with pytest.raises(tw.InputError, match="numbers > 0"):
        matched_records(descent(0.1, 1.0), descent(0.1, 1.0), [0.0])
