"""The linearised net against its differential equation, and against the nets it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from thalweg import InputError, Result
from thalweg.kernels import (
    linearised_flow,
    linearised_outputs,
    linearised_parameters,
    tangent_kernel,
)
from thalweg.models import Applied, linear, mlp
from thalweg.problems import Function, supervised

TIMES = [0.0, 0.3, 2.0, 9.0]


def example(loss="squared-error", reduction="mean", n=5):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3 if loss == "cross-entropy" else rng.normal(size=(n, 2))
    data = (rng.normal(size=(n, 4)), y)
    problem = supervised(mlp([8], "tanh"), data, loss, reduction=reduction)
    return problem, problem.init(jax.random.key(1))


def flow_of(objective, params, times, rtol=1e-11, slope=None):
    """Gradient flow in parameters, by SciPy."""
    flat, unravel = ravel_pytree(params)
    slope = slope or slope_of(objective, params)
    path = solve_ivp(
        lambda t, p: -np.asarray(slope(p)),
        (0, max(times)),
        np.asarray(flat),
        "DOP853",
        t_eval=times,
        rtol=rtol,
        atol=rtol,
    )
    return [unravel(jnp.asarray(p)) for p in path.y.T]


def slope_of(objective, params):
    """The gradient as a function of flat parameters, to be compiled once."""
    unravel = ravel_pytree(params)[1]
    return jax.jit(jax.grad(lambda p: objective(unravel(p))))


def linearised_objective(problem, start):
    """The objective of the linearised net, written out anew."""
    f0 = problem.outputs(start)

    def outputs(params):
        move = jax.tree.map(jnp.subtract, params, start)
        return f0 + jax.jvp(problem.outputs, (start,), (move,))[1]

    def objective(params):
        total = jnp.sum(jax.vmap(problem.loss.one)(outputs(params), problem.targets))
        return total / len(f0) if problem.reduction == "mean" else total

    return outputs, objective


@pytest.mark.parametrize(
    ("loss", "reduction", "tolerance"),
    [
        ("squared-error", "mean", 1e-9),
        ("squared-error", "sum", 1e-9),
        ("cross-entropy", "mean", 1e-7),
    ],
)
def test_it_is_gradient_flow_of_the_linearised_net(loss, reduction, tolerance):
    problem, start = example(loss, reduction)
    path = linearised_flow(problem, start, TIMES)
    outputs, objective = linearised_objective(problem, start)
    points = flow_of(objective, start, TIMES)
    assert path.outputs.result == Result.OK
    moved = linearised_parameters(problem, start, path)
    for i, point in enumerate(points):
        assert np.allclose(path.outputs.value[i], outputs(point), atol=tolerance)
        assert np.isclose(path.loss.value[i], objective(point), atol=tolerance)
        here = jax.tree.map(lambda leaf, i=i: leaf[i], moved)
        assert np.allclose(ravel_pytree(here)[0], ravel_pytree(point)[0], atol=tolerance)
    again = linearised_outputs(problem, start, moved)
    assert np.allclose(again, path.outputs.value, atol=10 * tolerance)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("rtol", [1e-3, 1e-5])
def test_the_error_of_an_integrated_path_covers_it(reduction, rtol):
    """The truth is within what is said of outputs and loss, and what is said is not much more."""
    problem, start = example("cross-entropy", reduction)
    loose = linearised_flow(problem, start, TIMES, rtol=rtol)
    truth = linearised_flow(problem, start, TIMES, rtol=1e-10)
    assert loose.outputs.result == loose.loss.result == Result.OK
    late = np.array(TIMES) > 0
    for name in ("outputs", "loss"):
        there, told = getattr(loose, name), np.asarray(getattr(loose, name).error)[late]
        off = np.abs(np.asarray(there.value - getattr(truth, name).value))[late]
        assert np.all(told > 0), name
        assert np.all(off <= told), name
        assert np.max(off) > 1e-4 * np.max(told), name  # an error, not only a bound
    assert np.max(loose.outputs.error) <= rtol * max(1, np.max(np.abs(loose.outputs.value)))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_modes_decay_at_their_eigenvalues(reduction):
    problem, start = example(reduction=reduction)
    flat = ravel_pytree(start)[0]
    unravel = ravel_pytree(start)[1]
    jacobian = np.asarray(jax.jacrev(lambda p: problem.outputs(unravel(p)).ravel())(flat))
    values, modes = np.linalg.eigh(jacobian @ jacobian.T)
    rates = values / len(problem.inputs) if reduction == "mean" else values
    left = modes.T @ np.ravel(problem.outputs(start) - problem.targets)
    path = linearised_flow(problem, start, TIMES)
    share = 1 / len(problem.inputs) if reduction == "mean" else 1
    for i, t in enumerate(TIMES):
        f = np.ravel(problem.targets) + modes @ (np.exp(-rates * t) * left)
        off = np.abs(np.ravel(path.outputs.value[i]) - f)
        assert np.all(off <= 2 * np.ravel(path.outputs.error[i]))
        loss = share * np.sum((np.exp(-rates * t) * left) ** 2) / 2
        assert abs(path.loss.value[i] - loss) <= 2 * path.loss.error[i] < 1e-12


def test_the_start_is_exact_and_a_learnable_end_is_the_targets():
    problem, start = example(n=3)
    path = linearised_flow(problem, start, [0.0, 1e6])
    assert np.allclose(path.outputs.value[0], problem.outputs(start), rtol=1e-14)
    assert np.isclose(path.loss.value[0], problem.objective(start), rtol=1e-14)
    assert np.allclose(path.outputs.value[1], problem.targets, atol=1e-9)


def test_directions_of_no_gradient_stay_where_they_are():
    """More examples than parameters: the kernel is singular, the rest is least squares."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(9, 2)), rng.normal(size=(9, 1))
    problem = supervised(linear([]), (x, y))
    start = problem.init(jax.random.key(0))
    path = linearised_flow(problem, start, [1e4])
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    assert np.allclose(path.outputs.value[0], x @ best, atol=1e-8)
    moved = linearised_parameters(problem, start, path)
    assert np.allclose(moved[0]["weight"][0], best.T, atol=1e-8)
    assert np.all(np.abs(path.outputs.value[0] - x @ best) <= path.outputs.error[0])


def test_a_linear_model_is_its_own_linearisation_on_new_examples_too():
    rng = np.random.default_rng(4)
    problem = supervised(linear([]), (rng.normal(size=(4, 3)), np.array([0, 1, 0, 1])))
    start, new = problem.init(jax.random.key(0)), rng.normal(size=(6, 3))
    path = linearised_flow(problem, start, [1.0, 4.0])
    points = flow_of(problem.objective, start, [1.0, 4.0])
    moved = linearised_parameters(problem, start, path)
    for i, point in enumerate(points):
        f = linearised_outputs(problem, start, moved, jnp.asarray(new))[i]
        assert np.allclose(f, problem.outputs(point, jnp.asarray(new)), atol=1e-7)


def two_layers(width):
    """f = a . tanh(W x / sqrt(d)) / sqrt(width), W and a standard normal."""

    def init(key):
        k1, k2 = jax.random.split(key)
        return {"W": jax.random.normal(k1, (width, 4)), "a": jax.random.normal(k2, (width, 1))}

    def apply(params, x):
        h = jnp.tanh(x @ params["W"].T / jnp.sqrt(4.0))
        return h @ params["a"] / jnp.sqrt(1.0 * width)

    return Applied(apply, init)


def test_wide_nets_come_closer_to_their_linearisation():
    """The distance falls as 1/width (Dyer and Gur-Ari 2020); 1/sqrt(width) is what is proved."""
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(4, 4)), rng.normal(size=(4, 1)))
    times, widths = [1.0, 4.0, 10.0], [32, 512]
    gaps = []
    for width in widths:
        problem, squares = supervised(two_layers(width), data), []
        slope = slope_of(problem.objective, problem.init(jax.random.key(0)))
        for seed in range(8):
            start = problem.init(jax.random.key(seed))
            path = linearised_flow(problem, start, times)
            points = flow_of(None, start, times, rtol=1e-6, slope=slope)
            truth = np.stack([problem.outputs(point) for point in points])
            squares.append(np.mean((truth - path.outputs.value) ** 2))
        gaps.append(np.sqrt(np.mean(squares)))
    slope = np.log(gaps[1] / gaps[0]) / np.log(widths[1] / widths[0])
    assert -1.3 < slope < -0.7, gaps


def test_the_order_of_times_does_not_matter():
    problem, start = example("cross-entropy")
    forth = linearised_flow(problem, start, [0.5, 0.0, 3.0, 0.5])
    back = linearised_flow(problem, start, [3.0, 0.5, 0.5, 0.0])
    assert np.allclose(forth.outputs.value, back.outputs.value[jnp.array([1, 3, 0, 2])], atol=1e-12)
    assert np.allclose(forth.outputs.value[1], problem.outputs(start), rtol=1e-14)


def test_a_kernel_that_is_given_is_used():
    problem, start = example()
    kernel = tangent_kernel(problem, start)
    twice = linearised_flow(problem, start, [1.0], kernel=2 * kernel)
    once = linearised_flow(problem, start, [2.0])
    assert np.allclose(twice.outputs.value, once.outputs.value, atol=1e-12)
    with pytest.raises(InputError, match="in full"):
        linearised_flow(problem, start, [1.0], kernel=jnp.trace(kernel, axis1=2, axis2=3))


@pytest.mark.parametrize("times", [[-1.0], [np.inf], 3.0])
def test_bad_times_are_refused(times):
    problem, start = example()
    with pytest.raises(InputError, match="times"):
        linearised_flow(problem, start, times)
    with pytest.raises(InputError, match="model with examples"):
        linearised_flow(Function(lambda p: p, 1.0), 1.0, [1.0])
