"""Every flow ends, with a code and a sentence, and says early what it will cost."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.result import Result
from thalweg.problems import Function, Problem


def taxi(x):
    """The sum of absolute values; its flow moves every coordinate to 0 at unit speed."""
    return jnp.sum(jnp.abs(x))


def followed(objective, start, until, records=4, smooth=False, **asked):
    problem = Function(objective, jnp.asarray(start), is_smooth=smooth)
    flow = tw.gradient_flow(**({"error": 1e-2} | asked))
    return tw.run(problem, flow, until=until, records=records, progress=False)


def test_a_flow_that_reaches_its_kink_stays_there():
    """x_i(t) = max(|x_i(0)| - t, 0): two kinks at two times, and far beyond the last."""
    start = np.asarray([1.0, -0.5])
    path = followed(taxi, start, 3.0, records=6)
    time = path.dataset["time"].values
    truth = np.sign(start) * np.maximum(np.abs(start) - time[:, None], 0)
    assert np.all(path.dataset["result"] == Result.OK)
    gaps = np.linalg.norm(path.parameters[0].values - truth, axis=1)
    assert np.all(gaps <= 1e-2 * np.linalg.norm(start))
    assert np.all(gaps <= 5 * path.dataset["path_error"].values[0] + 1e-12)
    assert float(path.dataset["evaluations"][0, -1]) < 200_000


def test_a_flow_along_a_kink_follows_the_smooth_part():
    """|x| + y^2/2: x chatters at 0 from t = 1 on while y = e^-t."""
    path = followed(lambda z: jnp.abs(z[0]) + z[1] ** 2 / 2, [1.0, 1.0], 2.0)
    time = path.dataset["time"].values
    truth = np.stack([np.maximum(1 - time, 0), np.exp(-time)], axis=1)
    assert np.all(path.dataset["result"] == Result.OK)
    assert np.all(np.linalg.norm(path.parameters[0].values - truth, axis=1) <= 1e-2)


def test_parameters_may_go_to_zero_without_ever_shorter_steps():
    """|x|^(3/2) has boundless curvature at 0: x = (1 - 3t/4)^2 until t = 4/3."""
    path = followed(lambda x: jnp.sum(jnp.abs(x) ** 1.5), [1.0], 2.0, smooth=True, error=1e-3)
    time = path.dataset["time"].values
    truth = np.maximum(1 - 0.75 * time, 0) ** 2
    assert np.all(path.dataset["result"] == Result.OK)
    assert np.all(np.abs(path.parameters[0, :, 0].values - truth) <= 1e-3)


@pytest.mark.parametrize("until", [2.0, pytest.param(1e300, marks=pytest.mark.slow)])
def test_a_flow_that_cannot_reach_its_time_ends_with_a_code_and_a_sentence(until):
    """Told to be smooth, the kink would cost 10^12 steps; a bound ends it."""
    times = [0.0, 0.25, until]
    problem = Function(taxi, jnp.asarray([1.0, -0.5]))
    flow = tw.gradient_flow(error=1e-2, most_gradients=5_000)
    path = tw.run(problem, flow, times=times, progress=False)
    assert path.dataset["result"].values.tolist() == [[0, 0, int(Result.STEP_LIMIT)]]
    assert not path.diverged.any()
    # Nothing is said of what was not reached.
    assert path.dataset["loss"].values[0, :2] == pytest.approx([1.5, 1.0])
    last = path.dataset.isel(seed=0, time=-1)
    assert np.isnan(last["loss"])
    assert np.isnan(last["path_error"])
    assert np.isnan(last["parameters"]).all()
    assert int(last["loss_result"]) == Result.STEP_LIMIT
    assert 5_000 <= int(last["evaluations"]) < 5_100
    (sentence,) = path.doubts
    assert "between training times 0.25 and" in sentence
    assert "nothing is known from there on" in sentence


class TwoStarts(Problem):
    """Starts at 1/2, which meets the kink before the end, or at 4, which does not."""

    def init(self, key):
        return jnp.where(jax.random.key_data(key)[-1] % 2 == 0, 0.5, 4.0)[None]

    def objective(self, params):
        return taxi(params)


@pytest.mark.thorough
def test_a_seed_that_is_stuck_does_not_hold_up_the_others():
    path = tw.run(
        TwoStarts(), tw.gradient_flow(error=1e-2, most_gradients=3_000), until=2.0, records=2,
        seeds=6, progress=False,
    )  # fmt: skip
    starts = path.parameters[:, 0, 0].values
    assert set(starts) == {0.5, 4.0}
    stuck = starts == 0.5
    assert np.all(path.dataset["result"].values[stuck, -1] == Result.STEP_LIMIT)
    assert np.all(path.dataset["result"].values[~stuck] == Result.OK)
    assert np.allclose(path.parameters.values[~stuck, -1, 0], 2.0)
    assert np.isnan(path.parameters.values[stuck, -1]).all()


def test_an_ended_run_stays_ended_when_it_is_resumed(tmp_path):
    problem = Function(taxi, jnp.asarray([1.0, -0.5]))
    flow = tw.gradient_flow(error=1e-2, most_gradients=2_000)
    first, again = (
        tw.run(problem, flow, until=3.0, records=6, out=tmp_path / "path.zarr", progress=False)
        for _ in range(2)
    )
    assert first.dataset.sizes["time"] == again.dataset.sizes["time"] < 7
    assert int(again.dataset["result"][0, -1]) == Result.STEP_LIMIT
    assert first.doubts == again.doubts != ()


def test_a_comparison_with_an_ended_flow_stops_where_it_ended():
    problem = Function(lambda x: jnp.sum(jnp.asarray([1.0, 1e4]) * x**2) / 2, jnp.ones(2))
    options = {"until": 2.0, "records": 20, "progress": False}
    descent = tw.run(problem, tw.gradient_descent(1e-4), **options)
    flow = tw.gradient_flow(error=1e-4, solver="tsit5", most_gradients=20_000)
    told = str(tw.compare(descent, tw.run(problem, flow, **options)))
    assert "nan" not in told
    assert "at the last common time 0.3" in told
    assert "used up its steps between training times 0.3 and 0.4" in told


@pytest.mark.parametrize("value", [0, -5, 1.5, True, "many"])
def test_bad_bounds_are_refused(value):
    with pytest.raises(tw.InputError, match="most_gradients came as"):
        tw.gradient_flow(error=1e-3, most_gradients=value)


def test_times_below_every_number_are_arrived_at():
    path = followed(lambda x: jnp.sum(x**2) / 2, [1.0, -0.5], 1e-320, smooth=True, error=1e-3)
    assert np.all(path.parameters[0].values == [1.0, -0.5])
    assert np.all(path.dataset["result"] == Result.OK)
