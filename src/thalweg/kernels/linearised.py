"""Training of the linearised net, f_t = f_0 + J (theta_t - theta_0), followed in function space.

Under gradient flow theta_t - theta_0 = -c J^T g_t with g_t the gradient of the loss by the outputs
collected over time, so that outputs obey f_t = f_0 - c K g_t and dg/dt = l'(f_t); c = 1/n for the
mean over examples and 1 for their sum. For squared error this is solved mode by mode.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from scipy.integrate import solve_ivp

from thalweg.core.errors import InputError, require
from thalweg.core.result import Reading, judged
from thalweg.core.tree import Params
from thalweg.kernels.tangent import as_matrix, tangent_kernel
from thalweg.problems.problem import Problem, Supervised


class LinearisedPath(NamedTuple):
    """The linearised net along gradient flow.

    Attributes:
        times: (t,), training time.
        outputs: Readings (t, n, k), on the training examples.
        loss: Readings (t,), the objective of the problem (unit: loss).
        collected: (t, n, k), g_t of the module's heading (unit: time * loss/output).
    """

    times: Float[Array, " t"]
    outputs: Reading
    loss: Reading
    collected: Float[Array, "t n k"]


def linearised_flow(
    problem: Problem,
    params: Params,
    times: ArrayLike,
    *,
    kernel: Array | None = None,
    rtol: float = 1e-8,
) -> LinearisedPath:
    """Gradient flow of the linearised net: outputs and loss at given times.

    For squared error f_t = y + exp(-c K t) (f_0 - y), evaluated by the eigenvalues of K; c = 1/n
    (mean) or 1 (sum), so that modes decay at the rates lambda/n or lambda. For other losses
    dg/dt = l'(f_0 - c K g) is integrated by an implicit Runge-Kutta method (Radau, order 5).

    Args:
        problem: A `Supervised`.
        params: The start theta_0, where K is taken.
        times: (t,), at least 0, in any order.
        kernel: K in full, (n, n, k, k), if it is there already.
        rtol: What is asked of the outputs, relative to max(1, max|f|), for losses other than
            squared error; they are found at rtol/100 and compared with rtol/10.

    Returns:
        A `LinearisedPath`, of the kernel as it is given. Error e of outputs: for squared error
        (min(2, c t N eps ||K||_F) + N eps) ||f_0 - y|| + eps max(|f|, |y|) with N = n k, what the
        backward error of the eigensolver and the change of basis can do; for other losses the
        largest distance over outputs and times between the two tolerances, an estimate,
        NOT_CONVERGED above rtol. Error of the loss: sum |dL/df| e + c e^2 / 2, for losses of
        curvature at most 1.

    Raises:
        InputError: If the problem has no model or an objective of its own, or times are negative
            or not finite.

    Cost: a tangent kernel, then N^3 (squared error) or N^3 for every step of the integrator.

    Source: Lee et al. (2019), sec. 2.2, eqs. 6-9.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([]), (np.eye(1), np.eye(1)))
        >>> path = tw.kernels.linearised_flow(problem, [{"weight": jnp.zeros((1, 1))}], [0.0, 1.0])
        >>> bool(jnp.allclose(path.outputs.value.ravel(), 1 - jnp.exp(-path.times)))
        True
    """
    if not isinstance(problem, Supervised):
        raise InputError("linearised flow needs a model with examples; this problem has none")
    require(
        problem.plain,
        "linearised flow is of the loss over the examples alone; this problem's objective has a "
        "term or factor of its own",
    )
    clock = np.asarray(times, float)
    require(
        clock.ndim == 1 and bool(np.all(np.isfinite(clock)) and np.all(clock >= 0)),
        "times must be a list of finite numbers that are at least 0",
    )
    if kernel is None:
        full = tangent_kernel(problem, params)
        assert not isinstance(full, dict)
        kernel = full
    K, f0 = as_matrix(kernel), jnp.ravel(problem.outputs(params))
    require(
        K.shape == (f0.size, f0.size),
        f"the kernel is {K.shape[0]} x {K.shape[1]} over (example, output); it must have "
        f"{f0.size} rows and columns: give it in full, on the training examples",
    )
    if problem.loss.name == "squared-error":
        outputs, collected = _by_modes(problem, K, f0, jnp.asarray(clock))
    else:
        outputs, collected = _by_integration(problem, K, f0, clock, rtol)
    shape = (len(clock), *problem.targets.shape)
    value, error = outputs.value.reshape(shape), outputs.error.reshape(shape)
    return LinearisedPath(
        jnp.asarray(clock),
        Reading(value, error, outputs.result),
        _loss(problem, value, error, outputs.result),
        collected.reshape(shape),
    )


@eqx.filter_jit
def linearised_parameters(problem: Supervised, params: Params, path: LinearisedPath) -> Params:
    """The parameters of the linearised net, theta_t = theta_0 - c J^T g_t.

    Args:
        problem: The one that made the path.
        params: theta_0.
        path: Of `linearised_flow`.

    Returns:
        The pytree of `params` with a leading axis of times. Error: that of the path, times the
        norm of the Jacobian. Cost: one gradient for every time.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([]), (np.eye(1), np.eye(1)))
        >>> params = [{"weight": jnp.zeros((1, 1))}]
        >>> path = tw.kernels.linearised_flow(problem, params, [0.0, 1.0])
        >>> moved = tw.kernels.linearised_parameters(problem, params, path)
        >>> bool(jnp.allclose(moved[0]["weight"].ravel(), 1 - jnp.exp(-path.times)))
        True
    """
    pull = jax.vjp(problem.outputs, params)[1]
    moves = jax.lax.map(lambda g: pull(g)[0], path.collected)
    return jax.tree.map(lambda p, move: p[None] - _share(problem) * move, params, moves)


@eqx.filter_jit
def linearised_outputs(
    problem: Supervised, params: Params, moved: Params, x: Array | None = None
) -> Float[Array, "t n k"]:
    """Outputs of the linearised net, f(theta_0, x) + J(x) (theta - theta_0), on any examples.

    Args:
        problem: Gives the model.
        params: theta_0, about which the net is linearised.
        moved: theta, with a leading axis of times, as from `linearised_parameters`.
        x: Examples (n, ...); those of the problem by default.

    Returns:
        (t, n, k), exact up to rounding. Cost: two forward passes for every time.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([1]), (np.eye(1), np.eye(1)))
        >>> params = [{"weight": jnp.array([[1.0]])}, {"weight": jnp.array([[1.0]])}]
        >>> moved = jax.tree.map(lambda w: 2 * w[None], params)  # one time, both weights at 2
        >>> outputs = tw.kernels.linearised_outputs(problem, params, moved)
        >>> outputs.ravel().tolist()  # 1 + 1 + 1, where the net itself gives 4
        [3.0]
    """
    value, push = jax.linearize(lambda p: problem.outputs(p, x), params)
    return jax.lax.map(lambda q: value + push(jax.tree.map(jnp.subtract, q, params)), moved)


def _share(problem: Supervised) -> float:
    return 1 / len(problem.inputs) if problem.reduction == "mean" else 1.0


@eqx.filter_jit
def _by_modes(
    problem: Supervised, K: Array, f0: Array, times: Float[Array, " t"]
) -> tuple[Reading, Array]:
    values, modes = jnp.linalg.eigh(K)
    rates = _share(problem) * jnp.maximum(values, 0)
    y = jnp.ravel(problem.targets)
    start = modes.T @ (f0 - y)
    rates, y, late = rates[None], y[None], times[:, None]
    value = y + (jnp.exp(-rates * late) * start[None]) @ modes.T
    # (1 - exp(-rate t)) / rate, which is t where the rate is zero.
    still = rates * late < 1e-300
    grown = jnp.where(still, late, -jnp.expm1(-rates * late) / jnp.where(still, 1, rates))
    eps = jnp.finfo(K.dtype).eps
    wrong = _share(problem) * times * len(K) * eps * jnp.linalg.norm(K)
    error = (jnp.minimum(2, wrong) + len(K) * eps)[:, None] * jnp.linalg.norm(start)
    error = error + eps * jnp.maximum(jnp.abs(value), jnp.abs(y))
    return judged(value, error, jnp.inf), (grown * start[None]) @ modes.T


def _by_integration(
    problem: Supervised, K: Array, f0: Array, clock: np.ndarray, rtol: float
) -> tuple[Reading, Array]:
    """The collected gradient at two tolerances, and the outputs that follow from it."""
    scaled = _share(problem) * K
    slope = jax.grad(lambda f: jnp.sum(_losses(problem, f.reshape(problem.targets.shape))))
    curve = jax.jacfwd(slope)

    @jax.jit
    def change(g: Array) -> Array:
        return slope(f0 - scaled @ g)

    @jax.jit
    def linear(g: Array) -> Array:
        return -curve(f0 - scaled @ g) @ scaled

    order = np.argsort(clock, kind="stable")
    stops, back = np.unique(clock[order], return_inverse=True)
    reach = float(stops[-1])

    def solve(tolerance: float) -> np.ndarray:
        found = np.zeros((len(clock), f0.size))
        if reach == 0:
            return found
        path = solve_ivp(
            lambda t, g: np.asarray(change(g)),
            (0.0, reach),
            np.zeros(f0.size),
            method="Radau",
            t_eval=stops,
            rtol=tolerance,
            atol=tolerance,
            jac=lambda t, g: np.asarray(linear(g)),
        )
        require(path.success, f"the linearised flow could not be integrated: {path.message}")
        found[order] = path.y.T[back]
        return found

    collected = jnp.asarray(solve(rtol / 100))
    fine, coarse = (f0[None] - g @ scaled.T for g in (collected, solve(rtol / 10)))
    error = jnp.full_like(fine, jnp.max(jnp.abs(fine - coarse)))
    allowed = rtol * jnp.maximum(1, jnp.max(jnp.abs(fine)))
    return judged(fine, error, allowed), collected


def _losses(problem: Supervised, outputs: Array) -> Float[Array, " n"]:
    return jax.vmap(problem.loss.one)(outputs, problem.targets)


@eqx.filter_jit
def _loss(problem: Supervised, value: Array, error: Array, result: Array) -> Reading:
    """The objective along outputs (t, n, k), with the outputs' error carried through."""
    c = _share(problem)

    def one(f: Array) -> Array:
        return c * jnp.sum(_losses(problem, f))

    loss, slope = jax.vmap(jax.value_and_grad(one))(value)
    moved = jnp.sum(jnp.abs(slope) * error + 0.5 * c * error**2, axis=(1, 2))
    eps = jnp.finfo(value.dtype).eps
    return Reading(loss, moved + eps * jnp.abs(loss), result)
