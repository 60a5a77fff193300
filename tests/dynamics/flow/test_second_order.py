"""Momentum beside its equation of second order: closed forms, orders of the distance, comparing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import j1

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.dynamics import Continuous, Discrete, accelerated_flow, momentum_flow, with_limit

CURVATURE, START = np.array([2.4, 0.1, 0.5]), np.array([1.0, -1.0, 2.0])
BENT = tw.problems.Function(
    lambda x: 0.5 * jnp.sum(CURVATURE * x**2) + 0.1 * jnp.sum(x) ** 4, jnp.asarray(START)
)
BOWL = tw.problems.Function(lambda x: 0.5 * jnp.sum(CURVATURE * x**2), jnp.asarray(START))


def swung(mass: float, kick: float, times: np.ndarray) -> np.ndarray:
    """The oscillators m q'' + q' + c q = 0 from q'(0) = -k c q(0), by their roots (t, 3)."""
    found = []
    for c, start in zip(CURVATURE, START, strict=True):
        r = np.roots([mass, 1, c]).astype(complex)
        a = np.linalg.solve([[1, 1], r], [start, -kick * c * start])
        found.append((a @ np.exp(np.outer(r, times))).real)
    return np.array(found).T


@pytest.mark.parametrize(("eta", "nesterov"), [(0.05, False), (0.0002, True)])
def test_on_a_bowl_it_swings_as_damped_oscillators(eta: float, nesterov: bool) -> None:
    beta = 0.9
    mass, behind = (
        ((1 + beta) / 2 - beta * (1 - beta), beta**2) if nesterov else ((1 + beta) / 2, beta)
    )
    truth = swung(eta * mass / (1 - beta) ** 2, 1 - behind / mass, times := np.linspace(0, 2, 5))
    path = tw.run(BOWL, momentum_flow(eta, beta, nesterov=nesterov, error=1e-7), times=times)
    gap = np.linalg.norm(path.parameters[0].values - truth, axis=1)
    assert gap.max() < 1e-6
    assert (gap <= 5 * path.dataset["path_error"].values[0] + 1e-9).all()


def test_the_schema_of_nesterov_follows_bessels_function() -> None:
    alpha, s = 0.01, np.linspace(0, 12, 7)
    path = tw.run(BOWL, accelerated_flow(alpha, error=1e-7), times=s * alpha**0.5)
    x = np.sqrt(CURVATURE) * np.where(s > 0, s, 1)[:, None]
    truth = np.where(s[:, None] > 0, 2 * j1(x) / x, 1) * START
    gap = np.linalg.norm(path.parameters[0].values - truth, axis=1)
    assert gap.max() < 1e-6
    assert (gap <= 5 * path.dataset["path_error"].values[0] + 1e-9).all()
    energy = 2 * np.sum(START**2) / np.where(s > 0, s, np.inf) ** 2
    assert (path.dataset["loss"].values[0, 1:] <= energy[1:]).all()


def test_it_is_solved_as_scipy_solves_it() -> None:
    mass = 0.05 * 1.5 / (2 * 0.25)  # eta 0.05, beta 0.5
    slope = jax.grad(BENT.objective)

    def speed(t: float, y: np.ndarray) -> np.ndarray:
        return np.r_[y[3:], -(np.asarray(slope(y[:3])) + y[3:]) / mass]

    begun = np.r_[START, -np.asarray(slope(START)) / 3]  # (1 - beta)/(1 + beta)
    truth = solve_ivp(speed, (0, 1), begun, rtol=1e-10, atol=1e-12).y[:3, -1]
    path = tw.run(BENT, momentum_flow(0.05, 0.5, error=1e-6), until=1.0, records=1)
    np.testing.assert_allclose(path.parameters[0, -1].values, truth, atol=1e-5)


def apart(steps: Discrete, flow: Continuous, count: int) -> float:
    """Largest distance at four times."""
    until = float(steps.clock(np.array([count]))[0])
    a = tw.run(BENT, steps, until=until, records=4, progress=False)
    b = tw.run(BENT, flow, times=a.dataset["time"].values, progress=False)
    table = tw.distance(a, b)
    assert float(table["distance_error"].max()) < 1e-2 * float(table["distance"].max())
    return float(table["distance"].max())


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_at_fixed_momentum_it_is_of_second_order(name: str) -> None:
    far, flat = [], []
    for eta in (1e-4, 5e-5):
        steps = tw.dynamics.optimiser(name, eta, momentum=0.9)
        count = round(0.064 / eta)
        flow = momentum_flow(eta, 0.9, nesterov=name == "nesterov", error=1e-8)
        far.append(apart(steps, flow, count))
        flat.append(apart(steps, tw.gradient_flow(error=1e-8), count))
    assert 3.6 < far[0] / far[1] < 5.5
    assert 1.9 < flat[0] / flat[1] < 2.2
    assert far[1] < 0.01 * flat[1]


@pytest.mark.thorough
def test_at_fixed_friction_it_is_the_limit_and_gradient_flow_is_none() -> None:
    found: dict[str, list[float]] = {"momentum": [], "nesterov": [], "schema": [], "flat": []}
    for eta in (1e-3, 2.5e-4):
        beta, count = 1 - 2 * eta**0.5, round(2 / eta**0.5)
        for name in ("momentum", "nesterov"):
            steps = tw.dynamics.optimiser(name, eta, momentum=beta)
            flow = momentum_flow(eta, beta, nesterov=name == "nesterov", error=1e-7)
            found[name].append(apart(steps, flow, count))
        found["flat"].append(apart(steps, tw.gradient_flow(error=1e-7), count))
        schema = tw.dynamics.accelerated_descent(1 / eta)
        found["schema"].append(apart(schema, accelerated_flow(eta, error=1e-7), count))
    falls = {name: far / near for name, (far, near) in found.items()}
    assert 4 < falls["momentum"] < 4.7  # as eta
    assert 1.6 < falls["nesterov"] < 2.1  # as its root
    assert 1.6 < falls["schema"] < 2.1
    assert falls["flat"] < 1.05
    assert found["flat"][1] > 0.2


@pytest.mark.thorough
def test_it_takes_the_place_of_gradient_flow_in_a_verdict() -> None:
    ball = tw.dynamics.optimiser("momentum", 0.05, momentum=0.9)
    second = momentum_flow(0.05, 0.9, error=1e-5)
    options = {"until": 5.0, "records": 8, "probes": "sharpness", "progress": False}
    plain, held = (tw.run(BOWL, d, **options) for d in (ball, with_limit(ball, second)))
    np.testing.assert_array_equal(plain.parameters.values, held.parameters.values)
    times = plain.dataset["time"].values
    flat, swinging = (
        tw.run(BOWL, flow, times=times, probes="sharpness", progress=False)
        for flow in (tw.gradient_flow(error=1e-5), second)
    )
    missed, found = tw.compare(plain, flat), tw.compare(held, swinging)
    assert (missed.flow, found.flow) == ("gradient flow", "the second-order flow")
    # At equal time both; the mass is what gradient flow misses.
    assert float(found.dataset["distance"].max()) < 0.2 * float(missed.dataset["distance"].max())
    assert found.regime == "on the flow"
    assert "equal loss" in str(tw.compare(plain, swinging))  # not named as its limit


@pytest.mark.parametrize("momentum", [0.0, 1.0, -0.5, float("nan"), "much"])
def test_a_momentum_out_of_range_is_refused(momentum: float) -> None:
    with pytest.raises(InputError, match="momentum came as"):
        momentum_flow(0.1, momentum)


def test_methods_for_symmetric_curvature_are_refused() -> None:
    with pytest.raises(InputError, match="for symmetric curvature"):
        momentum_flow(0.1, solver="rkc2")
