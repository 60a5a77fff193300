"""The central flow on problems whose mean path is known, and against descent itself."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.core.result import Result
from thalweg.core.sdcp import smat, svec
from thalweg.dynamics import central_flow, gradient_flow
from thalweg.problems import Function

ETA = 0.1


def valley(c=0.01):
    """y x^2/2 - c y: at the edge y = 2/eta and x^2 = 2 c in the mean."""
    return Function(lambda z: z[1] * z[0] ** 2 / 2 - c * z[1], start=np.array([0.07, 19.9]))


def matrix_valley(C):
    """x^T Y x/2 - <C, Y>, from Y = 2/eta: Y moves along -C_- and Sigma = 2 C_+."""
    C = jnp.asarray(C) * 1e-3
    k = len(C)

    def objective(flat):
        x, Y = flat[:k], smat(flat[k:])
        return 0.5 * x @ Y @ x - jnp.sum(C * Y)

    start = np.concatenate([np.zeros(k), np.asarray(svec(2 / ETA * jnp.eye(k)))])
    return Function(objective, start=start), np.asarray(C)


@functools.cache
def in_the_valley():
    return tw.run(valley(), central_flow(ETA), until=40.0, records=4, progress=False)


class TestValley:
    def test_curvature_stays_at_the_edge_with_the_oscillation_that_this_takes(self):
        told = in_the_valley().dataset.isel(seed=0)
        assert told["result"].max() == Result.OK
        np.testing.assert_allclose(told["effective_sharpness"][2:], 2, atol=2e-6)
        np.testing.assert_allclose(told["oscillation"][2:], 0.02, rtol=1e-5)
        loss = told["predicted_loss"] - told["loss"]
        np.testing.assert_allclose(loss[2:], 0.02 / ETA, rtol=1e-5)
        squared = told["predicted_squared_gradient"]
        np.testing.assert_allclose(squared[2:], 4 / ETA**2 * 0.02, rtol=1e-4)
        assert (told["critical"][2:] == 1).all()

    @pytest.mark.thorough
    def test_descent_keeps_the_same_averages(self):
        """Time averages over 15,000 steps, the sharpness within 2 +- 0.1."""
        for c in (1e-2, 1e-3):
            x, y, xs, ys = np.sqrt(2 * c) / 2, 2 / ETA, [], []
            for k in range(20_000):
                x, y = x - ETA * y * x, y - ETA * (x**2 / 2 - c)
                if k >= 5000:
                    xs.append(x**2)
                    ys.append(ETA * y)
            assert np.mean(xs) / (2 * c) == pytest.approx(1, abs=0.08)
            assert np.mean(ys) == pytest.approx(2, abs=1e-3)
            assert 1.9 < min(ys) < 2 < max(ys) < 2.1


@pytest.mark.thorough
def test_several_eigenvalues_join_and_leave_as_the_closed_form_says():
    problem, C = matrix_valley([[2.0, 0.5], [0.5, -1.0]])
    path = tw.run(problem, central_flow(ETA), until=20.0, records=2, progress=False)
    values, vectors = np.linalg.eigh(C)
    below = (vectors * np.minimum(values, 0)) @ vectors.T
    for time, flat in zip(path.dataset.time.values, path.parameters.values[0], strict=True):
        np.testing.assert_allclose(
            smat(jnp.asarray(flat[2:])), 20 * np.eye(2) + time * below, atol=1e-9
        )
    oscillation = path.dataset["oscillation"].values[0, 1:]
    np.testing.assert_allclose(oscillation, 2 * np.maximum(values, 0).sum(), rtol=1e-9)


@pytest.mark.thorough
def test_what_rises_outside_the_vectors_held_is_seen():
    """Three valleys side by side, which nothing couples, reach the edge one after the other."""
    cs, begin = np.array([0.05, 0.04, 0.03]), np.array([19.8, 19.0, 18.2])

    def objective(z):
        x, y = z[:3], z[3:]
        return jnp.sum(y * x**2 / 2 - jnp.asarray(cs) * y)

    problem = Function(objective, start=np.concatenate([np.zeros(3), begin]))
    path = tw.run(problem, central_flow(ETA), until=80.0, records=8, progress=False)
    y = path.parameters.values[0, :, 3:]
    expected = np.minimum(begin + path.dataset.time.values[:, None] * cs, 20.0)
    np.testing.assert_allclose(y, expected, atol=2e-2)
    assert ETA * y.max() < 2.001
    assert path.dataset["critical"].values[0, -1] == 3
    few = tw.run(problem, central_flow(ETA, vectors=3), until=80.0, records=8, progress=False)
    assert few.dataset["result"].max() == Result.NOT_CONVERGED


def rings(pulls, aims, begin, turn):
    """Sums of |y|^2 x^2/2 + k |y - a|^2/2, all of them turned at once, and each one's mean path.

    y goes straight for a until it meets the ring |y|^2 = 2/eta; the angle from a, d, then goes as
    tan(d/2) = tan(d_0/2) exp(-k |a| t/r), and x^2 = k (|a| cos(d)/r - 1) in the mean.
    """
    pulls, aims, begin, turn = map(np.asarray, (pulls, aims, begin, turn))
    n, r2 = len(pulls), 2 / ETA

    def objective(z):
        x, *y = (turn.T @ z).reshape(3, n)
        off = jnp.sum((jnp.stack(y) - aims) ** 2, axis=0)
        return jnp.sum((y[0] ** 2 + y[1] ** 2) * x**2 + pulls * off) / 2

    def path(time):
        y, spread = aims + (begin - aims) * np.exp(-pulls * time), np.zeros(n)
        for i in np.flatnonzero(np.sum(y**2, axis=0) > r2):
            k, a, b = pulls[i], aims[:, i], (begin - aims)[:, i]
            share = np.min(np.roots([b @ b, 2 * a @ b, a @ a - r2]))
            met, size, goal = a + b * share, np.hypot(*a), np.arctan2(a[1], a[0])
            late = size / np.sqrt(r2) * (k * time + np.log(share))
            d = 2 * np.arctan(np.tan((np.arctan2(met[1], met[0]) - goal) / 2) * np.exp(-late))
            y[:, i] = np.sqrt(r2) * np.array([np.cos(goal + d), np.sin(goal + d)])
            spread[i] = k * (size * np.cos(d) / np.sqrt(r2) - 1)
        return turn @ np.concatenate([0 * pulls, *y]), spread.sum()

    start = turn @ np.concatenate([0 * pulls, *begin])
    return Function(objective, start=start), path


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 2])
def test_problems_side_by_side_take_their_own_paths_however_they_are_turned(copies):
    """Three and six eigenvalues at the edge, twice two of them equal throughout.

    Nothing couples them, so that third-order products of two are zero, and B singular.
    """
    of = [0, 1, 2] * copies
    pulls = np.array([0.2, 0.3, 0.25])[of]
    aims = np.array([[5.0, 2.0, -4.5], [2.0, -5.0, -2.5]])[:, of]
    begin = np.array([[2.5, 3.4, -2.0], [3.4, -1.5, -3.4]])[:, of]
    turn, _ = np.linalg.qr(np.random.default_rng(copies).normal(size=(9 * copies, 9 * copies)))
    ends = []
    for Q in (turn, np.eye(9 * copies)):
        problem, truth = rings(pulls, aims, begin, Q)
        path = tw.run(problem, central_flow(ETA), until=6.0, records=4, progress=False)
        told = path.dataset.isel(seed=0)
        assert told["result"].max() == Result.OK
        assert told["critical"][-1] == 3 * copies
        exact, spread = zip(*map(truth, told["time"].values), strict=True)
        off = np.linalg.norm(told["parameters"].values - np.array(exact), axis=1)
        assert (off[1:] <= told["path_error"].values[1:]).all()
        assert off[-1] < 0.01 * np.linalg.norm(exact[-1])
        assert float(told["oscillation"][-1]) == pytest.approx(spread[-1], rel=0.01)
        np.testing.assert_allclose(told["effective_sharpness"][-1], 2, atol=1e-4)
        ends.append(Q.T @ told["parameters"].values[-1])
    np.testing.assert_allclose(*ends, atol=2e-4)


@pytest.mark.thorough
def test_below_the_edge_it_is_gradient_flow_and_its_error_is_told():
    problem = tw.problems.supervised(
        tw.models.mlp([4], "tanh"),
        (np.random.default_rng(0).normal(size=(8, 3)), np.eye(2)[np.arange(8) % 2]),
    )
    exact, *paths = (
        tw.run(problem, flow, until=4.0, records=40, progress=False)
        for flow in (gradient_flow(error=1e-9), central_flow(0.2, 4), central_flow(0.2, 8))
    )
    offs = []
    for path in paths:
        off = np.linalg.norm((path.parameters - exact.parameters).values[0], axis=1)
        told = path.dataset["path_error"].values[0]
        assert (off <= told).all()
        assert off.max() == pytest.approx(told.max() / 1.5, rel=0.2)
        assert path.dataset["oscillation"].max() == 0
        offs.append(off[-1])
    assert offs[0] / offs[1] == pytest.approx(2, rel=0.1)


def by_hand(slopes, steps, w, m):
    """The flow of descent with one eigenvalue at the edge, in NumPy, at whole steps.

    x^2 = max(0, a)/b, so that eta times the sharpness is at most 2 after a substep of 1/m.
    """
    path, traces = [w], []
    for _ in range(steps):
        traces.append(0.0)
        for _ in range(m):
            g, H, T = slopes(w)
            values, vectors = np.linalg.eigh(H)
            u = vectors[:, -1]
            D = np.einsum("abc,a,b", T, u, u)
            short = 2 / ETA - values[-1] + ETA / m * (D @ g)
            x2 = max(0.0, -short / (ETA / m / 2 * (D @ D)))
            traces[-1] += x2 / m
            w = w - ETA / m * (g + x2 / 2 * D)
        path.append(w)
    return np.array(path), np.array(traces)


@pytest.mark.thorough
def test_its_error_covers_where_path_and_companion_cross():
    """Three products of five parameters, a sum; the truth is extrapolated from two step sizes."""
    draw = np.random.default_rng(0)
    Q = np.zeros((3, 5, 5))
    for n in range(3):
        z = draw.normal(size=2)
        Q[n, 0, 1] = Q[n, 1, 0] = z[0]
        Q[n, 2, 3] = Q[n, 3, 2] = z[1]
        Q[n, 4, 4] = draw.normal()
    y, start = 3 * draw.normal(size=3), draw.normal(size=5) / 2
    scale = 2.48  # the edge at a third of what gradient flow would sharpen to

    def slopes(w):
        J, r = Q @ w, y + (Q @ w) @ w / 2
        JQ = np.tensordot(J, Q, ((0,), (0,)))
        T = JQ + JQ.transpose(1, 0, 2) + JQ.transpose(1, 2, 0)
        return scale * (r @ J), scale * (J.T @ J + np.tensordot(r, Q, 1)), scale * T

    problem = Function(
        lambda w: scale / 2 * jnp.sum((y + jnp.einsum("nij,i,j", Q, w, w) / 2) ** 2), start=start
    )
    coarse, fine = (by_hand(slopes, 19, start, m) for m in (40, 80))
    exact, traces = (2 * b - a for a, b in zip(coarse, fine, strict=True))
    told = tw.run(
        problem, central_flow(ETA), times=ETA * np.arange(20), progress=False
    ).dataset.isel(seed=0)
    off = np.linalg.norm(told["parameters"].values - exact, axis=1)
    assert (off[1:] <= told["path_error"].values[1:]).all()
    assert off[-1] > told["path_error"].values[-1] / 30  # and it is no idle bound
    assert off[-1] < 0.01 * np.linalg.norm(exact[-1])
    np.testing.assert_allclose(told["oscillation"][-5:], traces[-5:], rtol=0.01)
    np.testing.assert_allclose(told["effective_sharpness"][-5:], 2, atol=1e-3)


def test_numbers_out_of_range_are_one_sentence():
    for given in ({"substeps": 1}, {"threshold": 2.5}, {"vectors": 1}, {"most_gradients": 0}):
        with pytest.raises(InputError, match=next(iter(given))):
            central_flow(ETA, **given)


def scalar_rmsprop_squared(nu, c=1e-3, decay=0.9):
    """x^2 in the mean at the edge of `valley` for scalar RMSProp, in closed form; and y."""
    y = 2 * np.sqrt(nu) / ETA
    # S = y: alpha = -<grad y, grad f> = c at x = 0, beta = 1, and grad f = (0, -c) there.
    above = decay * c + (1 - decay) * (y**2 / 4 - c**2 / ETA**2)
    return above / (decay / 2 + (1 - decay) * y**2 / ETA**2), y


@pytest.mark.thorough
@pytest.mark.parametrize("nu", [1.0, 0.3])
def test_scalar_rmsprop_keeps_the_variance_of_its_central_flow(nu):
    """The method itself, for 200 steps, and the central flow of it stay where the form says."""
    square, y = scalar_rmsprop_squared(nu)
    start, below = (replace(valley(1e-3), start=np.array([x, y])) for x in (np.sqrt(square), 0.0))
    how = tw.dynamics.group_rmsprop(ETA, 0.9, 0.0, initial=nu)
    steps = tw.run(start, tw.optax_dynamics(how, ETA), until=20.0, records=200, progress=False)
    x = steps.parameters.values[0, :, 0]
    assert np.mean(x**2) == pytest.approx(square, rel=1e-5)
    flow = central_flow(ETA, average="shared", decay=0.9, initial=nu)
    told = tw.run(below, flow, until=20.0, records=20, progress=False).dataset.isel(seed=0)
    np.testing.assert_allclose(told["oscillation"][1], square, rtol=1e-3)
    np.testing.assert_allclose(told["effective_sharpness"][1:], 2, atol=2e-4)


def test_a_wrong_average_is_one_sentence():
    for given in (
        {"average": "some"},
        {"average": "each", "decay": 1.0},
        {"average": "each", "epsilon": -1.0},
        {"initial": 1.0},
        {"average": "shared", "initial": np.ones(2)},
    ):
        with pytest.raises(InputError, match=list(given)[-1]):
            central_flow(ETA, **given)


@pytest.mark.thorough
def test_an_optimiser_that_is_one_of_them_tells_its_central_flow():
    problem = valley()

    def told(optimiser):
        dynamics = tw.optax_dynamics(optimiser, ETA)
        return dynamics.central(problem, problem.start)

    plain = told(optax.sgd(ETA))
    assert plain.scaling.average == "none"
    assert plain.step_size == ETA
    adaptive = told(optax.rmsprop(ETA, 0.9, 1e-4, initial_scale=0.5, eps_in_sqrt=False))
    assert adaptive.scaling.average == "each"
    np.testing.assert_allclose(adaptive.scaling.decay, 0.9, rtol=1e-9)
    np.testing.assert_allclose(adaptive.scaling.epsilon, 1e-4, rtol=1e-9)
    assert adaptive.initial == 0.5
    for other in (optax.sgd(ETA, momentum=0.9), optax.adam(ETA), optax.rmsprop(ETA, 0.9)):
        assert told(other) is None
