"""Flows of optimisers on a schedule against closed forms, SciPy, and Optax's own steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import solve_ivp

import thalweg as tw
from thalweg.dynamics.flow.pace import Pace
from thalweg.problems import Function

CURVATURE = np.array([2.4, 0.1, 0.6])
BENT = Function(
    lambda x: 0.5 * jnp.sum(jnp.asarray(CURVATURE) * x**2) + 0.1 * jnp.sum(x) ** 4,
    np.array([1.0, -1.0, 2.0]),
)
RISE_AND_FALL = optax.warmup_cosine_decay_schedule(0.0, 1e-2, 40, 2400)


def sizes_of(count: int) -> np.ndarray:
    with jax.numpy_dtype_promotion("standard"):
        return np.asarray(jax.vmap(RISE_AND_FALL)(jnp.arange(count)))


def test_time_is_the_sum_of_steps_and_steps_its_inverse():
    """Over blocks, a warm-up from 0 and an end at 0; T'(k) is the rate, and linear is exact."""
    pace = Pace(RISE_AND_FALL)
    steps = jnp.array([0.0, 0.7, 1.0, 40.5, 1023.5, 1024.0, 1500.3, 2390.0])
    times = jax.vmap(pace.time)(steps)
    np.testing.assert_allclose(jax.vmap(pace.steps)(times)[2:], steps[2:], atol=1e-9)
    sizes = sizes_of(2401)
    whole = np.array([1, 40, 41, 1024, 2400])
    by = np.abs(np.diff(sizes))[whole - 1] / 8 + 1e-6 * sizes[whole]
    gap = jax.vmap(pace.time)(jnp.asarray(whole, float)) - np.cumsum(sizes)[whole - 1]
    assert np.all(np.abs(gap) <= 1.01 * by)
    moved = jax.vmap(lambda k: jax.jvp(pace.time, (k,), (jnp.ones(()),))[1])(steps[1:])
    np.testing.assert_allclose(moved, jax.vmap(pace.rate)(steps[1:]), rtol=1e-9, atol=1e-15)
    alike = Pace(optax.constant_schedule(0.3))
    np.testing.assert_allclose(jax.vmap(alike.time)(steps), 0.3 * steps, rtol=1e-13)
    assert float(Pace(optax.linear_schedule(1.0, 0.0, 10)).steps(100.0)) > 1e7  # never reached


@pytest.mark.thorough(after=1)
def test_a_constant_gradient_is_corrected_exactly_whatever_the_schedule():
    """m^ = g, v^ = g^2: theta = -t g/(|g| + epsilon), through the warm-up and where steps end."""
    g = np.array([3.0, -0.02, 1e-6, 0.0])
    slope = Function(lambda x: jnp.sum(jnp.asarray(g) * x), np.zeros(4))
    steps = tw.optax_dynamics(optax.adam(RISE_AND_FALL, 0.9, 0.99, eps=1e-3), RISE_AND_FALL)
    times = steps.clock(np.array([0, 2, 3, 60, 1000, 2400]))
    path = tw.run(slope, steps.limit(slope, slope.start).asked(1e-8), times=times, progress=False)
    truth = -times[:, None] * g / (np.abs(g) + 1e-3)
    np.testing.assert_allclose(path.parameters.values[0], truth, rtol=1e-6, atol=1e-13)


def test_a_schedule_that_is_constant_gives_the_flow_without():
    plain = tw.dynamics.optimiser("adam", 0.02, b2=0.96).limit(BENT, BENT.start)
    alike = tw.optax_dynamics(optax.adam(0.02, b2=0.96), optax.constant_schedule(0.02))
    flow = alike.limit(BENT, BENT.start)
    assert float(flow.second) == pytest.approx(0.02 * float(plain.second), rel=1e-12)
    paths = [
        tw.run(BENT, f.asked(1e-7), until=0.5, records=3, progress=False) for f in (plain, flow)
    ]
    gap = np.abs(paths[0].parameters.values - paths[1].parameters.values).max()
    assert gap <= 3 * sum(float(p.dataset["path_error"].max()) for p in paths)
    assert gap < 1e-6


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["adam", "adagrad"])
def test_it_is_the_equation_that_scipy_solves(name):
    """In steps: theta' = -eta(k) m^/(sqrt(v^) + epsilon), averages -log(b) a step."""
    a1, a2, eps = 0.1, 0.03, 1e-3
    made = {
        "adam": optax.adam(RISE_AND_FALL, np.exp(-a1), np.exp(-a2), eps=eps),
        "adagrad": optax.adagrad(RISE_AND_FALL, 0.5, eps=eps),
    }[name]
    steps = tw.optax_dynamics(made, RISE_AND_FALL)
    flow = steps.limit(BENT, BENT.start).asked(1e-7)
    pace, end = Pace(RISE_AND_FALL), 300.0
    path = tw.run(BENT, flow, until=float(pace.time(end)), records=1, progress=False)
    sizes = sizes_of(400)

    def rates(k, y):
        x, m, v = y[:3], y[3:6], y[6:]
        g = CURVATURE * x + 0.4 * np.sum(x) ** 3
        eta = np.interp(k, np.arange(400) + 0.5, sizes)
        if name == "adagrad":
            return np.concatenate([-eta * g / np.sqrt(v + eps), 0 * m, g**2])
        first, second = m / -np.expm1(-a1 * k), v / -np.expm1(-a2 * k)
        moved = -eta * first / (np.sqrt(second) + eps)
        return np.concatenate([moved, a1 * (g - m), a2 * (g**2 - v)])

    # From just after the start, where averages over no time are the gradient.
    first, g = 1e-6, CURVATURE * BENT.start + 0.4 * np.sum(BENT.start) ** 3
    begin = [0 * g, np.full(3, 0.5)] if name == "adagrad" else [a1 * first * g, a2 * first * g**2]
    solved = solve_ivp(
        rates, (first, end), np.concatenate([BENT.start, *begin]), rtol=1e-10, atol=1e-14,
        max_step=1.0,
    )  # fmt: skip
    gap = np.linalg.norm(path.parameters.values[0, -1] - solved.y[:3, -1])
    assert gap <= float(path.dataset["path_error"].max()) + 1e-9
    assert gap < 1e-5


KINDS = {
    "Adam": lambda eta, h: optax.adam(eta, np.exp(-8 * h), np.exp(-2 * h)),
    "AdaGrad": lambda eta, h: optax.adagrad(eta, 1 / h),  # the sum of squares over a time
}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_steps_on_a_schedule_come_near_as_they_get_short(kind):
    """To first order, at fixed rates of forgetting by the shape of the schedule."""
    gaps = []
    for h in (0.01, 0.005):
        eta = optax.warmup_cosine_decay_schedule(0.0, h, round(0.2 / h), round(1 / h))
        if kind == "AdaGrad":  # theta moves by the rate over the root of 1/h
            eta = optax.warmup_cosine_decay_schedule(0.0, h**0.5, round(0.2 / h), round(1 / h))
        steps = tw.optax_dynamics(KINDS[kind](eta, h), eta)
        times = steps.clock(np.linspace(0, round(0.9 / h), 7).astype(int))
        flow = steps.limit(BENT, BENT.start).asked(1e-6)
        pair = [tw.run(BENT, d, times=times, progress=False) for d in (steps, flow)]
        gaps.append(float(tw.distance(*pair)["distance"].max()))
    assert 1.8 < gaps[0] / gaps[1] < 2.2
