"""Optimisers beside the flow that is found for them: how their distance falls with the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import solve_ivp

import thalweg as tw
from thalweg.dynamics import adagrad_flow, preconditioned_flow
from thalweg.problems import Function

CURVATURE, START = np.array([2.4, 0.1, 0.5]), np.array([1.0, -1.0, 2.0])
BENT = Function(
    lambda x: 0.5 * jnp.sum(CURVATURE * x**2) + 0.1 * jnp.sum(x) ** 4, jnp.asarray(START)
)
BEGUN = 1.0  # AdaGrad's sum at the start times the training time of a step


def decay(rate: float, step_size: float) -> float:
    return float(np.exp(-rate * step_size))


def falling(step_size: float) -> Callable[[Any], Any]:
    """A learning rate that falls over training time, as 1/(1 + 2 t)."""
    return lambda k: step_size / (1 + 2 * step_size * k)


# By training time of a step: the transformation, and its clock.
MADE: dict[str, Callable[[float], tuple[optax.GradientTransformation, Any]]] = {
    "NAdam": lambda c: (optax.nadam(c, decay(8, c), decay(2, c)), c),
    "AMSGrad": lambda c: (optax.amsgrad(c, decay(8, c), decay(2, c)), c),
    "AdaGrad": lambda c: (optax.adagrad(c**0.5, BEGUN / c, eps=0.0), c),
    "RMSProp with momentum": lambda c: (
        optax.rmsprop(c / 10, decay(2, c), initial_scale=1.0, momentum=0.9), c,
    ),
    "descent with a schedule": lambda c: (optax.sgd(falling(c)), falling(c)),
    "momentum with a schedule": lambda c: (
        optax.sgd(lambda k: falling(c)(k) / 10, momentum=0.9), falling(c),
    ),
}  # fmt: skip


def distances(kind: str, step_sizes: list[float], until: float = 0.64) -> np.ndarray:
    """Largest distance from its own limit at four times, for each step size."""
    found = []
    for step_size in step_sizes:
        transform, clock = MADE[kind](step_size)
        steps = tw.optax_dynamics(transform, clock)
        flow = steps.limit(BENT, BENT.start)
        assert flow is not None, steps.without_limit(BENT, BENT.start)
        a = tw.run(BENT, steps, until=until, records=4, progress=False)
        times = a.dataset["time"].values
        table = tw.distance(a, tw.run(BENT, flow.asked(1e-6), times=times, progress=False))
        assert float(table["distance_error"].max()) < 1e-3 * float(table["distance"].max())
        found.append(float(table["distance"].max()))
    return np.array(found)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", MADE)
def test_the_distance_is_of_first_order(kind):
    # A momentum's memory is of ten steps here: they must be short against what moves.
    steps = np.array([0.02, 0.01, 0.005, 0.0025]) / (16 if "omentum" in kind else 1)
    found = distances(kind, steps.tolist())
    order = np.log2(found[:-1] / found[1:])
    assert 0.93 < order[-1] < 1.07, order


@pytest.mark.thorough
@pytest.mark.parametrize(("replace", "low", "high"), [(True, 0.3, 0.7), (False, 0.8, 1.2)])
def test_the_noise_of_mini_batches_falls_as_the_root_of_the_step_or_faster(replace, low, high):
    """Descent in batches beside the flow of the whole gradient: root mean square over 32 seeds.

    Within a pass that sees each example once the noise cancels to first order.
    """
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(12, 3)), rng.normal(size=(12, 2)))
    problem = tw.problem(data, model="linear:2")
    start = jax.tree.map(lambda w: 0.5 * jnp.eye(*w.shape), problem.init(jax.random.key(0)))
    found = []
    for step_size in (0.04, 0.01):
        oracle = tw.oracles.minibatch(2, replace=replace)
        steps = tw.optax_dynamics(optax.sgd(step_size), step_size, oracle=oracle)
        flow = steps.limit(problem, start)
        assert flow is not None
        options = {"start": start, "progress": False, "times": [0.0, 0.8]}
        a = tw.run(problem, steps, seeds=32, **options).parameters.isel(time=-1).values
        b = tw.run(problem, flow, **options).parameters.isel(time=-1).values
        found.append(np.sqrt(np.mean(np.sum((a - b) ** 2, axis=1))))
    assert low < np.log2(found[0] / found[1]) / 2 < high


def test_adagrads_flow_is_the_closed_form_of_a_constant_gradient():
    """theta = -(2/g) (sqrt(A + g^2 t) - sqrt(A)), A = eta^2 (initial + epsilon_root)."""
    g, times = np.array([3.0, -0.02]), np.array([0.0, 0.01, 0.3, 1.0])
    slope = Function(lambda x: jnp.sum(jnp.asarray(g) * x), np.zeros(2))
    flow = adagrad_flow(0.2, initial=0.5, epsilon_root=0.25, error=1e-9)
    path = tw.run(slope, flow, times=times, progress=False)
    begun = 0.2**2 * 0.75
    truth = -(2 / g) * (np.sqrt(begun + g**2 * times[:, None]) - np.sqrt(begun))
    missed = np.linalg.norm(path.parameters.values[0] - truth, axis=-1)
    assert np.all(missed <= 3 * path.dataset["path_error"].values[0] + 1e-13)
    assert missed.max() < 1e-7


def gradient(x: np.ndarray) -> np.ndarray:
    return CURVATURE * x + 0.4 * np.sum(x) ** 3


@pytest.mark.thorough
def test_adagrads_flow_is_the_equation_that_scipy_solves():
    """On a clock of another constant, and with both epsilons."""
    numbers = {"initial": 0.3, "epsilon": 0.2, "epsilon_root": 0.1}

    def rates(t, y):
        x, s = y[:3], y[3:]
        g = gradient(x)
        moved = -(0.1 / 0.05) * g / (np.sqrt(s + 0.1) + 0.2)
        return np.concatenate([moved, g**2 / 0.05])

    times = np.array([0.0, 0.003, 0.05, 0.4])
    begin = np.concatenate([START, np.full(3, 0.3)])
    solved = solve_ivp(
        rates, (0, 0.4), begin, method="DOP853", t_eval=times, rtol=1e-11, atol=1e-13
    )
    flow = adagrad_flow(0.1, 0.05, **numbers, error=1e-6)
    path = tw.run(BENT, flow, times=times, progress=False)
    missed = np.linalg.norm(path.parameters.values[0] - solved.y[:3].T, axis=-1)
    assert np.all(missed <= 3 * path.dataset["path_error"].values[0] + 1e-12)
    assert np.all(missed < 1e-5)


@pytest.mark.thorough
def test_amsgrads_flow_divides_by_the_largest_average_so_far():
    """An oscillating gradient: v^ rises and falls; SciPy's answer, its maximum on a fine grid."""
    wave = Function(lambda x: x[0] + (1.2 - jnp.cos(9 * x[1])) * 0.1 - x[1], jnp.zeros(2))

    def slopes(x):
        return np.array([1.0, 0.9 * np.sin(9 * x[1]) - 1.0])

    fine, a2 = 4e-5, 12.0
    x, v, top, t = np.zeros(2), np.zeros(2), np.zeros(2), 0.0
    marks, truth = [0.1, 0.3, 0.6], []
    while len(truth) < 3:  # Heun's method, the share of the average exact

        def speed(x, v, t, top):
            g = slopes(x)
            average = g**2 if t == 0 else v / -np.expm1(-a2 * t)
            return -g / np.sqrt(np.maximum(top, average)), a2 * (g**2 - v), average

        one, dv, average = speed(x, v, t, top)
        top = np.maximum(top, average)
        two, dw, _ = speed(x + fine * one, v + fine * dv, t + fine, top)
        x, v, t = x + fine * (one + two) / 2, v + fine * (dv + dw) / 2, t + fine
        if abs(t - marks[len(truth)]) < fine / 2:
            truth.append(x)
    options = {"times": [0.0, *marks], "progress": False}
    numbers = {"epsilon": 0.0, "error": 1e-5}
    flow = preconditioned_flow(0.01, 0.0, decay(a2, 0.01), largest=True, **numbers)
    path = tw.run(wave, flow, **options)
    plain = tw.run(wave, preconditioned_flow(0.01, 0.0, decay(a2, 0.01), **numbers), **options)
    missed = np.linalg.norm(path.parameters.values[0, 1:] - truth, axis=-1)
    other = np.linalg.norm(plain.parameters.values[0, 1:] - truth, axis=-1)
    assert np.all(missed < 5e-4)
    assert other.max() > 20 * missed.max()
    assert np.all(missed <= 5 * path.dataset["path_error"].values[0, 1:] + 1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"initial": 0.0}, "initial came as 0.0; give a positive number"),
        ({"epsilon": -1.0}, "epsilon came as -1.0"),
        ({"solver": "rkc2"}, "is for symmetric curvature"),
        ({"learning_rate": 0.0}, "step size came as 0.0"),
    ],
)
def test_bad_numbers_get_a_sentence(words, said):
    with pytest.raises(tw.InputError, match=said):
        adagrad_flow(**({"learning_rate": 0.01} | words))


def test_where_the_error_told_may_be_too_small_it_is_said():
    bowl = Function(lambda x: jnp.sum(x**2) / 2, jnp.ones(2))
    assert "12 times too small" in preconditioned_flow(0.01, largest=True).doubts(bowl)[0]
    assert preconditioned_flow(0.01).doubts(bowl) == ()


def test_what_divides_by_the_largest_is_corrected():
    with pytest.raises(tw.InputError, match="largest came with corrected=False"):
        preconditioned_flow(0.01, largest=True, corrected=False)
