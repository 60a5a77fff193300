"""A sweep draws all its members over their own times, and its map each run in its regime."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

import thalweg as tw
from thalweg.comparison.regime import REGIMES
from thalweg.core.errors import InputError

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def swept() -> tw.Sweep:
    bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
    return tw.sweep(bowl, tw.gradient_descent, step_size=[0.01, 0.5, 2.5], until=5.0, records=2)


def test_each_member_is_a_line_over_its_own_time(swept: tw.Sweep) -> None:
    ax = Canvas().subplots()
    assert swept.plot("loss", ax) is ax
    table = swept.dataset.sel(seed=0)
    for line, size in zip(ax.lines, (0.01, 0.5, 2.5), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), table["time"].sel(step_size=size))
        np.testing.assert_array_equal(line.get_ydata(), table["loss"].sel(step_size=size))
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == ["step size 0.01", "step size 0.5", "step size 2.5"]
    assert len({line.get_color() for line in ax.lines}) == 3
    with pytest.raises(InputError, match="seed came as 4; the sweep has 0"):
        swept.plot("loss", seed=4)
    with pytest.raises(InputError, match="unknown variable of this sweep 'losses'"):
        swept.plot("losses")
    text = swept._repr_html_()
    assert str(swept).split("\n")[0] in text
    assert "data:image/svg+xml" in text


def test_further_clocks_are_axes_too() -> None:
    """eta^2 k beside eta k; a member without that clock has none."""
    bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
    noise = tw.oracles.isotropic(0.1)
    noisy = [tw.gradient_descent(eta, noise) for eta in (0.1, 0.2)]
    found = tw.sweep(bowl, [*noisy, tw.gradient_descent(0.4)], steps=4, records=2, seeds=2)
    slow = found.dataset["slow_time"]
    assert slow.dims == (found.members.dim, "record")
    np.testing.assert_allclose(slow.values[:2], [[0.0, 0.02, 0.04], [0.0, 0.08, 0.16]], rtol=1e-12)
    assert np.isnan(slow.values[2]).all()
    assert "slow_time" not in found.member(2).dataset.coords
    ax = found.plot("loss", clock="slow_time")
    assert ax.get_xlabel() == "sum of squared step sizes (step size²)"
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), slow.values[1])
    alone = tw.run(bowl, noisy[1], until=0.8, records=2, seeds=2)
    one = found.member(1)
    assert set(one.dataset.coords) == set(alone.dataset.coords)
    np.testing.assert_array_equal(one.dataset["slow_time"], alone.dataset["slow_time"])
    for path in (one, alone):
        lines = path.plot("loss", clock="slow_time", seeds="median").lines
        np.testing.assert_array_equal(lines[0].get_xdata(), slow.values[1])
        with pytest.raises(InputError, match="Did you mean 'slow_time'"):
            path.plot("loss", clock="slow")
    with pytest.raises(InputError, match="unknown clock of this sweep 'seed'"):
        found.plot("loss", clock="seed")


def test_the_map_has_a_point_for_each_run_in_its_regime(swept: tw.Sweep) -> None:
    found = swept.regimes()
    ax = Canvas().subplots()
    assert found.plot("map", ax, panel="b") is ax
    lines = [line for line in ax.lines if line.get_label() in REGIMES]
    points = {line.get_label(): line for line in lines if np.isfinite(line.get_ydata()).any()}
    assert set(points) == set(found.table["regime"].values.ravel().tolist())
    for index, size in enumerate((0.01, 0.5, 2.5)):
        regime = str(found.table["regime"].values[index, 0])
        at = np.flatnonzero(points[regime].get_xdata() == size)
        loss = float(found.table["final_loss"].values[index, 0])
        if regime == "divergent":  # it ends at a mark above the others
            others = found.table["final_loss"].where(found.table["regime"] != "divergent")
            assert loss > 10 * float(others.max())
            loss = 10 * float(others.max())
        assert points[regime].get_ydata()[at] == pytest.approx(loss, rel=1e-12)
    text = found._repr_html_()
    assert "The map of regimes" in text
    assert found.sentences[-1].replace("'", "&#39;") in text
