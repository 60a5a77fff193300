"""Certificates of the last layer against descent by hand, solvers of SciPy and brute force."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from thalweg.core.errors import InputError
from thalweg.problems.last_layer import loss_smoothness
from thalweg.problems.losses import LOSSES, Loss
from thalweg.theory.descent import last_layer as ll

RNG = np.random.default_rng(0)
N, COLUMNS, OUTPUTS = 9, 12, 3
A = RNG.normal(size=(N, COLUMNS))
Y = RNG.normal(size=(N, OUTPUTS))
V0 = RNG.normal(size=(COLUMNS, OUTPUTS))
LOW = RNG.normal(size=(N, 4)) @ RNG.normal(size=(4, COLUMNS))


def loss(V, features=A):
    return np.sum((features @ V - Y) ** 2) / (2 * N)


def descended(features, steps):
    L = ll.last_layer_smoothness(features)
    V, path = V0, [V0]
    for _ in range(steps):
        V = V - features.T @ (features @ V - Y) / (N * L)
        path.append(V)
    return path


def test_the_constant_is_the_largest_hessian_eigenvalue():
    flat = jax.hessian(lambda v: jnp.sum((A @ v.reshape(V0.shape) - Y) ** 2) / (2 * N))(V0.ravel())
    assert ll.last_layer_smoothness(A) == pytest.approx(np.linalg.eigvalsh(flat)[-1], rel=1e-13)
    assert ll.last_layer_smoothness(A, 0.5) == pytest.approx(ll.last_layer_smoothness(A) / 2)


@pytest.mark.parametrize("name", LOSSES)
def test_the_smoothness_of_a_loss(name):
    """No Hessian exceeds it, and one reaches it."""
    q = jnp.asarray(np.concatenate([RNG.normal(0, 8, (500, 4)), [[0.0, 0.0, -60.0, -60.0]]]))
    target = jnp.eye(4)[0]
    top = jnp.linalg.eigvalsh(jax.vmap(jax.hessian(LOSSES[name].one), (0, None))(q, target))[:, -1]
    constant = loss_smoothness(LOSSES[name])
    assert top.max() <= constant * (1 + 1e-12)
    assert top.max() == pytest.approx(constant, rel=1e-9)
    with pytest.raises(InputError, match="loss of known smoothness"):
        loss_smoothness(Loss("cubic", LOSSES[name].one, "either"))


@pytest.mark.parametrize("features", [A, LOW])
def test_the_residual_is_that_of_descent(features):
    path = descended(features, 60)
    steps = np.array([0, 1, 7, 60])
    theory = ll.descent_residual(features, features @ V0 - Y, steps)
    for k, r in zip(steps, theory, strict=True):
        assert np.allclose(r, features @ path[k] - Y, rtol=1e-11, atol=1e-12)
    M = np.eye(N) - features @ features.T / np.linalg.norm(features, 2) ** 2
    power = np.linalg.matrix_power(M, 7) @ (features @ V0 - Y)
    assert np.allclose(theory[2], power, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("features", [A, LOW])
def test_the_bound_holds_at_every_step(features):
    best = ll.nearest_minimiser(features, Y, V0)
    L, R = ll.last_layer_smoothness(features), np.linalg.norm(V0 - best)
    floor = ll.least_squares_floor(features, Y)
    bound = ll.descent_bound(L, R, 0.1, begin=2.0, floor=floor)
    values = bound.at(2.0 + 0.1 * np.arange(61))
    losses = np.array([loss(V, features) for V in descended(features, 60)])
    assert values[0] == np.inf
    assert np.all(losses <= values)
    k = np.array([1, 4])
    assert np.allclose(values[k], floor + L * R**2 / (2 * k), rtol=1e-12)
    assert bound.kind == "upper"


def test_the_bound_is_sharp_to_a_constant():
    """On one mode of curvature L/k the loss is within a factor 4 of it."""
    for k in (5, 50):
        features = np.diag([1.0, np.sqrt(1 / k)])
        V, target = np.array([[0.0], [1.0]]), np.zeros((2, 1))
        r = ll.descent_residual(features, features @ V - target, np.array([k]))[0]
        bound = ll.descent_bound(ll.last_layer_smoothness(features), 1.0, 1.0).at([k])[0]
        assert 1 < bound / (np.sum(r**2) / 4) < 10


def test_the_nearest_minimiser():
    for features in (A, LOW):
        best = ll.nearest_minimiser(features, Y, V0)
        floor = loss(scipy.linalg.pinv(features) @ Y, features)
        assert loss(best, features) == pytest.approx(floor, rel=1e-10, abs=1e-25)
        null = scipy.linalg.null_space(features)
        assert np.abs(null.T @ (best - V0)).max() < 1e-11  # nothing is moved in vain


def test_the_floor_is_the_least_loss():
    expected = scipy.linalg.lstsq(LOW, Y, lapack_driver="gelsy", cond=1e-12)[0]
    assert ll.least_squares_floor(LOW, Y) == pytest.approx(loss(expected, LOW), rel=1e-11)
    assert ll.least_squares_floor(A, Y) == 0.0


def test_the_range_does_not_depend_on_the_scale_of_columns():
    """A unit that is nearly dead determines its direction as well as any other."""
    scales = 10.0 ** -np.arange(4)[:, None].T * np.array([1, 1, 1, 1e-7])
    features = RNG.normal(size=(N, 4))
    Q = ll.range_basis(features * scales)
    assert Q.shape == (N, 4)
    assert np.allclose(Q.T @ Q, np.eye(4), atol=1e-14)
    assert np.allclose(Q @ (Q.T @ features), features, atol=1e-13)
    assert ll.range_basis(LOW).shape[1] == 4
    dead = np.column_stack([features, np.full(N, 1e-30), np.zeros(N)])
    assert ll.range_basis(dead).shape[1] == 4
    floor = ll.least_squares_floor(features, Y)
    assert ll.least_squares_floor(features * scales, Y) == pytest.approx(floor, rel=1e-12)


def test_the_expected_floor_of_random_labels():
    n, r, draws = 30, 12, 3000
    rng = np.random.default_rng(3)
    features = np.column_stack([rng.normal(size=(n, r - 1)), np.ones(n)])
    found = [
        ll.least_squares_floor(features, np.eye(10)[rng.integers(10, size=n)]) for _ in range(draws)
    ]
    error = np.std(found) / np.sqrt(draws)
    assert abs(np.mean(found) - ll.random_label_floor(n, r, 10)) < 4 * error
    assert ll.random_label_floor(200, 0, 10) == pytest.approx(0.45)


def test_the_stochastic_bound():
    """Exact gradients with noise of known size on a quadratic, mean over many runs."""
    rng = np.random.default_rng(4)
    curvature, start, noise, runs = np.array([1.0, 0.1]), np.array([2.0, -3.0]), 0.5, 4000
    eta = 0.5 / np.sqrt(np.arange(1, 41))
    v, means, squares = np.tile(start, (runs, 1)), [], []
    for size in eta:
        means.append(np.mean(v**2 @ curvature) / 2)
        g = v * curvature + noise * rng.normal(size=v.shape)
        squares.append(np.mean(np.sum(g**2, axis=1)))
        v = v - size * g
    R, G = np.linalg.norm(start), np.sqrt(max(squares))
    bound = ll.stochastic_bound(R, G, eta)
    times = np.cumsum(eta)
    least = np.minimum.accumulate(means)
    assert np.all(least <= bound.at(times))
    k = 7
    by_hand = (R**2 + G**2 * np.sum(eta[:k] ** 2)) / (2 * np.sum(eta[:k]))
    assert bound.at(times[[k - 1]])[0] == pytest.approx(by_hand, rel=1e-12)
    above = ll.stochastic_bound(R, G, eta, floor=0.3)
    assert above.at(times[[k - 1]])[0] == pytest.approx(by_hand + 0.3, rel=1e-12)
    assert bound.at([0.0])[0] == np.inf
    assert bound.at([1e9])[0] == bound.at(times[[-1]])[0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="give positive numbers"):
        ll.descent_bound(0.0, 1.0, 1.0)
    with pytest.raises(InputError, match="step sizes of shape"):
        ll.stochastic_bound(1.0, 1.0, [])
    with pytest.raises(InputError, match="at least 0"):
        ll.stochastic_bound(-1.0, 1.0, [0.1])
    with pytest.raises(InputError, match="do not fit"):
        ll.descent_residual(A, Y[:3], [0])
    with pytest.raises(InputError, match="give a matrix"):
        ll.least_squares_floor(A[0], Y)
    with pytest.raises(InputError, match="rank 5"):
        ll.random_label_floor(4, 5, 10)
