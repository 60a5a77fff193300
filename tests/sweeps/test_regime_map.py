"""The map of regimes: brackets that hold the true boundaries, and the regimes of `compare`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.dynamics import Dynamics
from thalweg.problems import Function
from thalweg.report import read_page
from thalweg.sweeps.boundaries import boundary
from thalweg.sweeps.grid import values_of
from thalweg.sweeps.page import map_page
from thalweg.sweeps.regime_map import MARKS, thinned, union_of_times

GRID = [0.1, 0.2, 0.4, 0.8]


def holds(*rows: str) -> np.ndarray:
    """Truth values (values, seeds) from a word for each seed."""
    return np.asarray([[c == "y" for c in row] for row in rows]).T


@pytest.mark.parametrize(
    ("rows", "lower", "upper", "again", "words"),
    [
        (["yynn"], [0.2], [0.4], False, "It holds up to a step size between 0.2 and 0.4."),
        (["yyyy"], [0.8], [np.inf], False, "throughout the sweep, up to 0.8."),
        (["nnnn"], [0.0], [0.1], False, "nowhere in the sweep, not even at 0.1."),
        (["yyny"], [0.2], [0.4], True, "between 0.2 and 0.4; it does so again"),
        (["ynnn", "yyyn"], [0.1, 0.4], [0.2, 0.8], False, "between 0.1 and 0.8, over 2 seeds."),
        (["yyyy", "ynnn"], [0.8, 0.1], [np.inf, 0.2], False, "0.1 and the end of the sweep"),
        (["nnnn", "yynn"], [0.0, 0.2], [0.1, 0.4], False, "the beginning of the sweep and 0.4"),
    ],
)
def test_a_boundary_is_bracketed_by_the_grid(
    rows: list[str], lower: list[float], upper: list[float], again: bool, words: str
) -> None:
    found = boundary("holds", GRID, holds(*rows))
    np.testing.assert_array_equal(found.lower, lower)
    np.testing.assert_array_equal(found.upper, upper)
    assert found.again is again
    assert words in found.sentence("step size")
    assert found.bracket == (min(lower), max(upper))


@pytest.mark.parametrize(
    ("holding", "known", "bracket", "words"),
    [
        (["yynn"], ["yynn"], (0.2, np.inf), "It holds up to a step size of 0.2 at least: beyond"),
        (["yynn"], ["yyny"], (0.2, 0.8), "of 0.2 at least, of 0.8 at most: beyond, flows ended"),
        (["nnnn"], ["nnny"], (0.0, 0.8), "It holds at none for certain, of 0.8 at most"),
        (["yynn", "ynnn"], ["yyyy", "ynyy"], (0.1, 0.4), "of 0.1 at least, of 0.4 at most"),
        (["yyny"], ["yyny"], (0.2, np.inf), "of 0.2 at least: beyond"),
        (["yynn"], ["yyyn"], (0.2, 0.4), "It holds up to a step size between 0.2 and 0.4."),
    ],
)
def test_what_is_not_known_widens_a_boundary(
    holding: list[str], known: list[str], bracket: tuple[float, float], words: str
) -> None:
    found = boundary("holds", GRID, holds(*holding), holds(*known))
    assert found.bracket == bracket
    assert words in found.sentence("step size")
    assert not found.again


@pytest.mark.thorough
def test_members_that_outlast_their_flow_are_undecided(tmp_path: Path) -> None:
    """A map with a flow too short for its longer runs says of these neither yes nor no."""
    bowl = Function(lambda x: jnp.sum(jnp.array([1.2, 0.05]) * x**2), start=jnp.ones(2))
    sizes = [0.01, 0.03, 0.7, 1.2]  # 2/eta is 2.4 at 0.833
    found = tw.sweep(bowl, tw.gradient_descent, step_size=sizes, steps=40, records=5)
    regimes = [found.regimes(most_gradients=most) for most in (40, 10_000)]
    short, whole = (list(each.table["regime"].values[:, 0]) for each in regimes)
    assert whole[0] == whole[1] == "on the flow"
    assert short[-1] == whole[-1] == "divergent"
    assert "undecided" in short
    assert all(a in (b, "undecided") for a, b in zip(short, whole, strict=True))
    table = regimes[0].table
    undecided = ~table["decided"].values
    assert (np.isnan(table["share_of_way"].values) == undecided).all()
    assert not table["follows"].values[undecided].any()
    assert "at least" in regimes[0].sentences[0] or "none for certain" in regimes[0].sentences[0]
    assert regimes[0].boundaries[0].bracket[0] <= regimes[1].boundaries[0].bracket[0]
    nothing = found.regimes(most_gradients=4)
    assert nothing.boundaries[0].bracket == (0.0, np.inf)
    assert read_page(nothing.page(tmp_path).parent).numbers[0].value == "not known"


@pytest.mark.parametrize(("members", "every"), [(1, 1), (6, 1), (7, 2), (20, 4), (200, 33)])
def test_many_clocks_are_thinned_from_their_ends(members: int, every: int) -> None:
    clocks = [np.arange(41) * (1 + i / 7) for i in range(members)]
    assert every == -(-41 * members // MARKS)
    kept = thinned(clocks, every)
    for clock, few in zip(clocks, kept, strict=True):
        assert (few[0], few[-1]) == (clock[0], clock[-1])
        assert set(few) - {clock[0]} == set(clock[::-every]) - {clock[0]}
    assert len(union_of_times(kept)) <= MARKS + members


@pytest.mark.thorough
def test_a_map_of_many_records_asks_the_flow_for_some_of_them() -> None:
    """On a bowl it is |(1 - eta a)^k - exp(-eta a k)| at the records that count."""
    bowl = Function(lambda x: 0.4 * jnp.sum(x**2), start=jnp.ones(1))
    sizes = np.geomspace(0.02, 2.0, 14)
    found = tw.sweep(bowl, tw.gradient_descent, step_size=sizes, steps=40, records=40).regimes()
    assert found.sentences[-1].endswith("at one in 3 records, the last included.")
    assert len(found.flows[0].dataset["time"]) < 14 * 41 / 2
    k = np.unique([0, *range(40, -1, -3)])
    gap = np.abs((1 - 0.8 * sizes[:, None]) ** k - np.exp(-0.8 * sizes[:, None] * k)).max(axis=1)
    shares = found.table["share_of_way"].values[:, 0]
    np.testing.assert_allclose(shares, gap / (1 - np.exp(-0.8 * sizes * 40)), rtol=5e-3)


def test_the_estimate_lies_in_the_middle_on_a_logarithm() -> None:
    middle, factor = boundary("holds", GRID, holds("ynnn", "yyyn")).estimate
    np.testing.assert_allclose([middle / factor, middle * factor], [0.1, 0.8])
    assert np.isnan(boundary("holds", GRID, holds("yyyy")).estimate).all()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.5", [0.5]),
        ("0.2, 0.1,1e-2", [0.01, 0.1, 0.2]),
        ("1:2:3", [1.0, 1.5, 2.0]),
        ("0.01:1:3log", [0.01, 0.1, 1.0]),
        ("1e-4:1e-2:3 log", [1e-4, 1e-3, 1e-2]),
    ],
)
def test_values_in_words(text: str, values: list[float]) -> None:
    np.testing.assert_allclose(values_of(text, "x"), values, rtol=1e-14)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "x came as ''; give values as 0.1,0.2,0.5"),
        ("1:2", "give values as"),
        ("a,b", "give values as"),
        ("1,nan", "give values as"),
        ("2:1:3", "from a positive number to a larger one"),
        ("0:1:3", "from a positive number"),
        ("1:2:1", "came as '1:2:1'; give 2 to 1000 values"),
        ("1:2:99999999999", "give 2 to 1000 values"),
        ("0.1,-1", "give positive numbers"),
        ("0.1,0.1", "give each value once"),
    ],
)
def test_values_that_are_none_are_told(text: str, words: str) -> None:
    with pytest.raises(tw.InputError, match=words):
        values_of(text, "x")


def test_clocks_that_differ_by_rounding_meet() -> None:
    clocks = [0.1 * np.arange(8), 0.3 * np.arange(3), np.asarray([0.0, 0.25])]
    assert 0.1 * 3 != 0.3
    found = union_of_times(clocks)
    np.testing.assert_allclose(found, [0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7], rtol=1e-15)


def bowl() -> Function:
    """Curvatures 4 and 1: descent is stable below 1/2, and its distance from the flow is known."""
    return Function(lambda x: 0.5 * (4 * x[0] ** 2 + x[1] ** 2), start=jnp.asarray([1.0, 1.0]))


@pytest.mark.thorough
def test_the_map_of_a_quadratic_is_known(tmp_path: Path) -> None:
    """2/lambda = 1/2 ends stability; the share of the way is that of the closed forms."""
    sizes = np.asarray([0.4, 0.01, 0.06, 0.2, 0.45, 0.55, 0.9])
    options: dict[str, Any] = {"steps": 60, "records": 30, "out": tmp_path / "sweep"}
    found = tw.sweep(bowl(), tw.gradient_descent, step_size=sizes, **options)
    regimes = found.regimes(flow_error=1e-8)
    rate, steps = np.asarray([4.0, 1.0]), np.arange(0, 61, 2)[:, None]
    for i, eta in enumerate(sizes):
        gap = np.linalg.norm((1 - eta * rate) ** steps - np.exp(-rate * eta * steps), axis=1)
        way = np.linalg.norm(1 - np.exp(-rate * eta * steps), axis=1)
        share = float(regimes.table["share_of_way"][i, 0])
        np.testing.assert_allclose(share, gap.max() / way.max(), rtol=1e-5)
        assert bool(regimes.table["follows"][i, 0]) == (gap.max() <= 0.05 * way.max())
        ratio = float(regimes.table["largest_stability"][i, 0])
        assert ratio == pytest.approx(4 * eta / 2, rel=1e-6)
        # One judge for a member alone and in a sweep.
        member = found.member(i)
        assert (
            str(regimes.table["regime"].values[i, 0]) == tw.compare(member, regimes.flows[i]).regime
        )
    follows, stable, converges = regimes.boundaries
    assert stable.bracket == converges.bracket == (0.45, 0.55)
    assert follows.bracket == (0.06, 0.2)
    assert regimes.largest_following == 0.06
    assert "up to a step size between 0.06 and 0.2" in str(regimes)
    assert "up to a step size between 0.45 and 0.55" in str(regimes)
    assert "after 60 steps" in str(regimes)

    page = regimes.page(data="a bowl")
    assert page == tmp_path / "sweep" / "index.html"
    said = read_page(page.parent)
    assert said.verdict in str(regimes)
    assert [figure.name for figure in said.figures] == ["map", "sharpness", "paths"]
    text = page.read_text()
    for words in ("gradient flow", "divergent", "a bowl", "all seeds follow"):
        assert words in text
    # The flow is kept: asked again nothing is followed, and the numbers are the same.
    kept = {p: p.stat().st_mtime_ns for p in page.parent.glob("flow-*.zarr/loss/c/*/*")}
    again = tw.sweep(bowl(), tw.gradient_descent, step_size=sizes, **options)
    np.testing.assert_array_equal(
        again.regimes(flow_error=1e-8).table["share_of_way"], regimes.table["share_of_way"]
    )
    assert kept
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


def product() -> Function:
    """(x y)^2 / 2, sharpness 1 at the start: a step beyond 2 is a catapult, one beyond 4 away."""
    return Function(lambda x: 0.5 * (x[0] * x[1]) ** 2, start=jnp.asarray([1.0, 0.1]))


def cone() -> Function:
    """sqrt(1 + x^2): beyond 2 descent ends on two points, of curvature 4/eta^2 of the threshold."""
    return Function(lambda x: jnp.sqrt(1 + x[0] ** 2), start=jnp.asarray([0.3]))


def lion(rate: float) -> Dynamics:
    return tw.optax_dynamics(optax.lion(rate), rate, "Lion")


def momentum(rate: float) -> Dynamics:
    return tw.dynamics.optimiser("momentum", rate)


def adam(rate: float) -> Dynamics:
    return tw.dynamics.optimiser("adam", rate)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("problem", "made", "rates", "expected"),
    [
        (product, tw.gradient_descent, [0.02, 1.5, 2.5, 6.0],
         ["on the flow", "off the flow", "catapult", "divergent"]),
        (cone, tw.gradient_descent, [2.02], ["edge of stability"]),
        (bowl, lion, [0.01, 0.05], None),
        (bowl, momentum, [0.001, 0.1], None),
        (bowl, adam, [1e-3, 0.5], None),
    ],
)  # fmt: skip
def test_a_sweep_and_a_comparison_give_one_verdict(
    problem: Callable[[], Function],
    made: Callable[..., Dynamics],
    rates: list[float],
    expected: list[str] | None,
) -> None:
    """Each member beside a flow of its own, followed to its own times."""
    found = tw.sweep(problem(), [made(rate) for rate in rates], steps=60, records=30)
    regimes = found.regimes(flow_error=1e-6)
    seen = regimes.table["regime"].values[:, 0].tolist()
    alone = []
    for i in range(len(rates)):
        member = found.member(i)
        limit = found.members.dynamics[i].limit(problem(), jnp.zeros(2))
        follow = tw.gradient_flow(error=1e-6) if limit is None else limit.asked(1e-6)
        flow = tw.run(problem(), follow, times=member.dataset["time"].values)
        assert regimes.flows[i].name == flow.name
        alone.append(tw.compare(member, flow))
    assert seen == [each.regime for each in alone]
    assert seen == (expected or seen)
    assert bool(regimes.apart) == (made is lion) == bool(alone[0].apart)
    if made is lion:  # a step of it is as long wherever it is: only equal loss compares
        for share, each in zip(regimes.table["share_of_way"].values[:, 0], alone, strict=True):
            there = each.dataset["equal_loss_share_of_way"].max()
            assert share == pytest.approx(float(there), rel=0.01)  # flows of other records
        assert "do not compare: " in str(regimes)
    elif made is adam:  # each rate has a flow of its own, and follows it or not at equal time
        assert regimes.flows[0] is not regimes.flows[1]
        assert f"from {regimes.flow}" in map_page(regimes, "").figures[0].panels[0].title
        for share, each in zip(regimes.table["share_of_way"].values[:, 0], alone, strict=True):
            own = float(each.dataset["share_of_way"].max())
            assert share == pytest.approx(own, rel=0.01, abs=1e-5)
    else:
        assert all(flow is regimes.flows[0] for flow in regimes.flows)


@pytest.mark.thorough
def test_without_what_it_takes_the_map_says_so() -> None:
    found = tw.sweep(bowl(), tw.gradient_descent, step_size=[0.1, 0.9], steps=20, probes=())
    regimes = found.regimes()
    assert "was not measured" in str(regimes)
    assert np.isnan(regimes.table["largest_stability"]).all()
    with pytest.raises(tw.InputError, match="in memory; give a folder"):
        regimes.page()
    bare = tw.sweep(
        bowl(), tw.gradient_descent, step_size=[0.1], steps=20, probes=(), parameters=False
    )
    with pytest.raises(tw.InputError, match="sweep with parameters=True"):
        bare.regimes()
    with pytest.raises(tw.InputError, match="eps came as 0"):
        found.regimes(eps=0)
