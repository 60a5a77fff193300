"""Bounds of the table of rates, held against loops in NumPy, and against one another."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.theory.optimisers.rates import (
    CONSTANTS,
    MEASURES,
    RATES,
    momentum_schedule,
    rate_prediction,
    schema_bound,
    theorem_bound,
)

N = np.arange(1, 201)
LAMBDA = np.geomspace(0.01, 2.0, 12)
START = np.random.default_rng(2).normal(size=12)
L, MU, R = 2.0, 0.01, float(np.linalg.norm(START))
GAP = float(LAMBDA @ START**2 / 2)


def descended(h: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gap, distance and squared gradient at steps 0 to 200."""
    w = START * (1 - h * LAMBDA) ** np.arange(201)[:, None]
    return (LAMBDA * w**2).sum(1) / 2, np.linalg.norm(w, axis=1), ((LAMBDA * w) ** 2).sum(1)


def test_rows_are_whole():
    for row in RATES.values():
        assert row.method
        assert row.assumption
        assert row.complexity
        assert row.quoted == (row.bound is None)
        assert set(row.needs) <= set(CONSTANTS)
        assert row.quoted or row.measure in MEASURES


def test_bounds_of_descent_hold_on_a_quadratic_and_one_is_tight():
    gap, _, square = descended(1 / L)
    least = np.minimum.accumulate(square)[:-1]
    assert np.all(least <= theorem_bound("gradient-descent", N, smoothness=L, gap=GAP))
    for name, constants in (
        ("gradient-descent-convex", {"distance": R}),
        ("gradient-descent-dominated", {"domination": MU, "gap": GAP}),
        ("gradient-descent-quasi-convex", {"quasi_convexity": 1.0, "distance": R, "gap": GAP}),
    ):
        assert np.all(gap[1:] <= theorem_bound(name, N, smoothness=L, **constants)), name
    h = 2 / (L + MU)
    _, distance, _ = descended(h)
    bound = theorem_bound(
        "gradient-descent-strongly-convex", N, smoothness=L, convexity=MU, distance=R
    )
    assert np.all(distance[1:] <= bound)
    two = np.array([MU, L])  # on the extreme eigenvectors it is attained
    w = np.ones(2) * (1 - h * two) ** N[:, None]
    np.testing.assert_allclose(
        np.linalg.norm(w, axis=1),
        theorem_bound(
            "gradient-descent-strongly-convex", N, smoothness=L, convexity=MU, distance=2**0.5
        ),
        rtol=1e-9,
    )


def test_a_round_bowl_is_reached_in_a_step_whatever_its_curvature():
    for L in np.random.default_rng(0).uniform(0, 1, 200):
        bound = theorem_bound(
            "gradient-descent-strongly-convex",
            [1, 3],
            smoothness=L,
            convexity=L * (1 - 1e-12),
            distance=1.0,
        )
        assert np.all(bound < 1e-7), L  # 1 - 4 L mu/(L + mu)^2, to a rounding of either sign


def test_schedules_of_momentum_are_the_known_ones():
    t = [1.0]
    for _ in range(50):
        t.append((1 + np.sqrt(1 + 4 * t[-1] ** 2)) / 2)
    gamma, beta = momentum_schedule(0.0, 50)
    np.testing.assert_allclose(1 / gamma, t, rtol=1e-13)
    np.testing.assert_allclose(beta, (np.array(t[:-1]) - 1) / t[1:], rtol=1e-12)
    _, constant = momentum_schedule(0.01, 20, 0.1)
    np.testing.assert_allclose(constant, 9 / 11, rtol=1e-12)
    gamma, _ = momentum_schedule(0.01, 400)
    assert gamma[-1] == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize("first", [MU / L, 0.5, 3 + MU / L])
def test_the_schema_stays_below_its_bound(first):
    _, beta = momentum_schedule(MU / L, 200, np.sqrt(first))
    w = before = START
    gaps = [GAP]
    for b in beta:
        y = w + b * (w - before)
        w, before = y - LAMBDA * y / L, w
        gaps.append(float(LAMBDA @ w**2 / 2))
    assert np.all(np.array(gaps) <= schema_bound(MU / L, first, L, GAP, R, 200) * (1 + 1e-12))


def test_the_optimal_bound_goes_over_into_that_of_convex_problems():
    near = theorem_bound("nesterov", N, smoothness=L, convexity=1e-14, distance=R)
    np.testing.assert_allclose(
        near, theorem_bound("nesterov", N, smoothness=L, convexity=0.0, distance=R), rtol=1e-6
    )


def test_a_prediction_is_on_the_clock_of_its_run():
    bound = rate_prediction("gradient-descent", 0.25, smoothness=4.0, gap=1.0)
    np.testing.assert_allclose(bound.at([0.0, 0.25, 2.5]), [np.inf, 8.0, 0.8])
    assert bound.name == "least_squared_gradient"


def test_what_cannot_be_bounded_is_refused():
    with pytest.raises(InputError, match="needs hessian_lipschitz, gap; give gap="):
        theorem_bound("cubic-newton", 3, hessian_lipschitz=1.0)
    with pytest.raises(InputError, match="quoted"):
        theorem_bound("storm", 3)
    with pytest.raises(InputError, match="unknown constant"):
        theorem_bound("gradient-descent", 3, smooth=1.0)
