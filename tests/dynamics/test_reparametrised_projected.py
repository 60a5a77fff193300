"""Descent on scale and direction against its formulas, plain descent, and the flow by SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.core.result import Result
from thalweg.dynamics.reparametrised_projected import (
    projected_descent,
    two_phase_projected_descent,
    weight_normalised_descent,
)
from thalweg.models import mlp
from thalweg.models.scale_and_direction import (
    ScaledDirection,
    on_sphere,
    scaled_direction,
    weight_norm,
    weight_normalised,
)
from thalweg.problems import Function, supervised
from thalweg.theory.limits.minimum_norm import minimum_norm
from thalweg.theory.linear_nets import weight_normalisation as theory

RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 7)) / np.sqrt(7)
Y = RNG.normal(size=3)
W0 = RNG.normal(size=7)
W0 /= np.linalg.norm(W0)


def normalised(pair):
    return jnp.sum((jnp.asarray(A) @ weight_norm(pair) - Y) ** 2) / 2


def sphere(pair):
    return jnp.sum((jnp.asarray(A) @ on_sphere(pair) - Y) ** 2) / 2


def problem(objective, g0=0.8, w0=W0):
    return Function(objective, ScaledDirection(np.asarray(g0), w0))


def after(dynamics, on, steps):
    """(g, w, state) after so many steps."""
    state = dynamics.init(on, on.init(jax.random.key(0)))
    step = jax.jit(lambda s: dynamics.step(on, s, jax.random.key(0))[0])
    for _ in range(steps):
        state = step(state)
    return np.asarray(state.params.scale), np.asarray(state.params.direction), state


def test_weight_normalisation_by_its_formulas():
    """E2 with the gradients of E1, and the norm that grows by eta^2 ||dh/dw||^2."""
    g, w, eta, gamma = 0.8, 2 * W0, 0.1, 0.03
    for _ in range(20):
        x = g * w / np.linalg.norm(w)
        q, u = A.T @ (A @ x - Y), w / np.linalg.norm(w)
        slope = g / np.linalg.norm(w) * (q - (u @ q) * u)
        before = w @ w
        w, g = w - eta * slope, g - gamma * u @ q
        assert w @ w == pytest.approx(before + eta**2 * slope @ slope, rel=1e-14)
    found = after(weight_normalised_descent(eta, gamma), problem(normalised, w0=2 * W0), 20)
    np.testing.assert_allclose(found[0], g, rtol=1e-12)
    np.testing.assert_allclose(found[1], w, rtol=1e-12)
    assert found[2].time == pytest.approx(2.0)
    assert found[2].step == found[2].evaluations == 20


def test_projected_descent_by_its_formulas():
    g, w, eta, gamma = 0.8, W0, 0.1, 0.03
    for _ in range(20):
        q = A.T @ (g * A @ w - Y)
        v = w - eta * g * q
        w, g = v / np.linalg.norm(v), g - gamma * w @ q
    # A direction of another length is brought to the sphere at once.
    found = after(projected_descent(eta, gamma), problem(sphere, w0=5 * W0), 20)
    np.testing.assert_allclose(found[0], g, rtol=1e-12)
    np.testing.assert_allclose(found[1], w, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "objective"), [(weight_normalised_descent, normalised), (projected_descent, sphere)]
)
def test_both_tend_to_the_flow_at_first_order(make, objective):
    """With gamma = c eta the distance from the flow falls as the step size."""
    c, end = 0.5, 2.0
    path = theory.wn_flow(A, Y, W0, 0.8, c, [0.0, end])
    gaps = []
    for steps in (100, 200):
        eta = end / steps
        g, w, _ = after(make(eta, c * eta), problem(objective), steps)
        gaps.append(np.linalg.norm(g * w / np.linalg.norm(w) - path.x[-1]))
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.15)
    assert gaps[1] < 0.02


def test_gradient_flow_on_the_pair_is_the_flow_at_equal_rates():
    times = np.array([0.0, 1.0, 5.0])
    path = theory.wn_flow(A, Y, W0, 0.8, 1.0, times)
    found = tw.run(problem(normalised), tw.gradient_flow(1e-9), times=times, progress=False)
    theta = found.parameters.values[0]
    np.testing.assert_allclose(theta[:, 0], path.g, atol=1e-7)
    np.testing.assert_allclose(theta[:, 1:], path.w, atol=1e-7)


def test_equal_rates_are_plain_descent():
    plain = after(tw.gradient_descent(0.1), problem(normalised), 15)
    ours = after(weight_normalised_descent(0.1), problem(normalised), 15)
    np.testing.assert_array_equal(plain[1], ours[1])
    np.testing.assert_array_equal(plain[0], ours[0])


def test_a_held_scale_stays_to_the_bit():
    g, w, _ = after(projected_descent(0.1, 0.0), problem(sphere), 10)
    assert g == 0.8
    assert np.linalg.norm(w) == pytest.approx(1, rel=1e-15)


def test_two_phases_are_one_after_the_other():
    eta1, eta2, gamma, switch = 0.2, 0.05, 0.02, 7
    g, w, _ = after(projected_descent(eta1, 0.0), problem(sphere), switch)
    g, w, _ = after(projected_descent(eta2, gamma), problem(sphere, g, w), 5)
    dynamics = two_phase_projected_descent(eta1, switch, eta2, gamma)
    found = after(dynamics, problem(sphere), switch + 5)
    np.testing.assert_allclose(found[0], g, rtol=1e-14)
    np.testing.assert_allclose(found[1], w, rtol=1e-13)
    assert found[2].time == pytest.approx(switch * eta1 + 5 * eta2)
    steps = np.array([0, 3, 7, 8, 12])
    np.testing.assert_allclose(dynamics.clock(steps), [0, 0.6, 1.4, 1.45, 1.65])
    assert [dynamics.steps_until(t) for t in dynamics.clock(steps)] == steps.tolist()
    run = tw.run(problem(sphere), dynamics, times=dynamics.clock(steps), progress=False)
    np.testing.assert_array_equal(run.dataset["step"][0], steps)
    np.testing.assert_allclose(run.parameters.values[0, -1, 0], found[0], rtol=1e-14)


def test_two_phases_end_at_the_least_norm():
    target = minimum_norm(A, Y)
    g0 = target.norm / 2
    eta = 1 / (g0**2 * target.most)
    dynamics = two_phase_projected_descent(eta, 1000, 0.2 / target.most, 0.2 / target.most)
    g, w, _ = after(dynamics, problem(sphere, g0), 4000)
    np.testing.assert_allclose(g * w, target.solution, atol=1e-12)


@pytest.mark.parametrize("make", [weight_normalised_descent, projected_descent])
def test_a_net_is_trained_row_by_row(make):
    """Biases move as under plain descent, every row of weights as a pair of its own."""
    X, Z = RNG.normal(size=(8, 5)), RNG.normal(size=(8, 2))
    model = weight_normalised(mlp([4], "tanh"), sphere=make is projected_descent)
    on = supervised(model, (X, Z))
    dynamics = make(0.1, 0.05)
    state = dynamics.init(on, on.init(jax.random.key(0)))
    slope = jax.grad(on.objective)(state.params)
    moved = dynamics.step(on, state, jax.random.key(0))[0].params
    for layer, before, by in zip(moved, state.params, slope, strict=True):
        np.testing.assert_allclose(layer["bias"], before["bias"] - 0.1 * by["bias"], atol=1e-15)
        pair, old, change = layer["weight"], before["weight"], by["weight"]
        np.testing.assert_allclose(pair.scale, old.scale - 0.05 * change.scale, atol=1e-15)
        v = np.array(old.direction - 0.1 * change.direction)
        if make is projected_descent:
            v /= np.linalg.norm(v, axis=1, keepdims=True)
        np.testing.assert_allclose(pair.direction, v, atol=1e-14)


def test_float32_stays_and_divergence_is_data():
    start = scaled_direction(jnp.asarray(W0, jnp.float32))
    small = Function(lambda p: jnp.sum(weight_norm(p) ** 2), start)
    g, w, state = after(weight_normalised_descent(0.1), small, 3)
    assert g.dtype == w.dtype == np.float32
    assert state.time.dtype == jnp.float64
    g, w, state = after(projected_descent(0.1, 1e200), problem(sphere), 5)
    assert state.result == Result.NONFINITE


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: weight_normalised_descent(0.0), "step size"),
        (lambda: weight_normalised_descent(0.1, -1.0), "from 0 on"),
        (lambda: projected_descent(0.1, np.nan), "from 0 on"),
        (lambda: two_phase_projected_descent(0.1, -1, 0.1, 0.1), "whole number"),
        (lambda: two_phase_projected_descent(0.1, 2.5, 0.1, 0.1), "whole number"),
        (
            lambda: tw.run(Function(jnp.sum, np.ones(2)), projected_descent(0.1), until=1.0),
            "ScaledDirection",
        ),
    ],
)
def test_bad_input_is_told(call, says):
    with pytest.raises(InputError, match=says):
        call()
