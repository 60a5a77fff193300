"""The limit map of gradient flow with its derivatives, along its variational equations.

Phi(theta) = lim phi(theta, t). With x' = -grad f(x), u_r' = -H(x) u_r and w_r' = -H(x) w_r from
a_r and b_r, and z' = -H(x) z - sum_r T(x)[u_r, w_r] from 0, the limits are Phi(theta),
dPhi a_r, dPhi b_r and sum_r d^2 Phi[a_r, b_r].

All of it is one system under one control of the error. A solver that is differentiated instead,
its steps controlled by x alone, takes a huge step at an exact minimum, where x rests, and what it
says of the derivatives blows up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require
from thalweg.core.result import Result, finite
from thalweg.core.tree import Params, size
from thalweg.problems.problem import Problem

POWER_ITERATIONS = 20
Gradient = Callable[[Array], Array]
CAP = 2.0  # a step is at most this over the largest |eigenvalue| at the start
REST = 1e-3  # of the tolerance: how slow is at rest, per decay time of the fastest direction
ROUNDING = 40.0  # units of it: speeds as slow are noise, and none get slower


class LimitMap(NamedTuple):
    """The limit map at a point, and its derivatives along what was asked.

    Attributes:
        params: Phi(theta).
        first: dPhi a_r, columns (p, r).
        second: sum_r d^2 Phi[a_r, b_r], flat (p,); of b_r = a_r that of the covariance A A^T.
        rest: The largest speed at the end over the size of what moves and the sharpness: what is
            left is `rest` times the condition number at the end, relative to its size.
        steps: Accepted and rejected steps of the solver.
        evaluations: Gradients spent; a product with the Hessian counts 2, with the third
            derivative 4.
        result: NOT_CONVERGED if all is not at rest when the steps are used up.
    """

    params: Params
    first: Float[Array, "p r"]
    second: Float[Array, " p"]
    rest: Float[Array, ""]
    steps: Int[Array, ""]
    evaluations: Int[Array, ""]
    result: Int[Array, ""]


def limit_map(
    problem: Problem,
    params: Params,
    along: Float[Array, "p r"] | None = None,
    beside: Float[Array, "p r"] | None = None,
    *,
    rtol: float = 1e-12,
    most_steps: int = 20_000,
) -> LimitMap:
    """Where gradient flow ends, Phi(theta), with its first and second derivatives along columns.

    Away from the manifold of minima as on it, and without any closed form: what E1 and E2 can be
    held against. Pure: compile it and map it over starts. For the limit alone `flow_limit` is far
    cheaper, and estimates its error.

    Args:
        problem: What is descended; with `along` its objective needs two derivatives, with `beside`
            three.
        params: Where the flow starts; p scalars in all.
        along: Columns a_r (p, r); the identity for the whole Jacobian.
        beside: Columns b_r (p, r); a_r themselves for the covariance A A^T.
        rtol: Of a step of the solver (Dormand and Prince, order 8), relative to the sizes of x, of
            all u and w, and of z; errors of as many steps add up along the manifold.
        most_steps: Where to give up.

    Returns:
        The `LimitMap`. Cost: some 20 times the condition number at the end in steps, of 12 stages,
        each a gradient, 2 more for every column of `along`, and 6 more of `beside`. Memory: 16 (2 r
        + 2) vectors (p,).

    Raises:
        InputError: If shapes or numbers do not fit.

    Source: Li, Wang and Arora (2022), section 4; Katzenberger (1991).

    Examples:
        >>> ring = tw.problems.Function(lambda z: (z @ z - 1) ** 2 / 8, start=jnp.array([0.6, 0.8]))
        >>> I = jnp.eye(2)
        >>> found = tw.dynamics.limit_map(ring, ring.start / 2, I, I)  # Phi(z) = z/||z||
        >>> bool(jnp.allclose(found.params, jnp.array([0.6, 0.8])))
        True
        >>> bool(jnp.allclose(found.second, jnp.array([-2.4, -3.2])))  # its Laplacian
        True
    """
    p = size(params)
    require(0 < rtol <= 0.1, f"rtol came as {rtol}; give a number in (0, 0.1], as 1e-12")
    require(most_steps >= 1, f"most_steps came as {most_steps}; give at least 1")
    shapes = {
        name: None if columns is None else np.shape(columns)
        for name, columns in (("along", along), ("beside", beside))
    }
    for name, shape in shapes.items():
        require(
            shape is None or (len(shape) == 2 and shape[0] == p),
            f"{name} came with shape {shape}; give columns ({p}, r)",
        )
    require(
        shapes["beside"] in (None, shapes["along"]),
        "beside came without as many columns in along; give both, of one shape",
    )
    return _limit_map(problem, params, along, beside, jnp.asarray(rtol), most_steps)


@eqx.filter_jit
def _limit_map(
    problem: Problem,
    params: Params,
    along: Array | None,
    beside: Array | None,
    rtol: Array,
    most_steps: int,
) -> LimitMap:
    theta, unravel = ravel_pytree(params)
    p, kind = theta.size, theta.dtype
    gradient = jax.grad(lambda t: problem.objective(unravel(t)))
    none = jnp.zeros((0, p), kind)
    U = none if along is None else jnp.asarray(along, kind).T
    W = none if beside is None else jnp.asarray(beside, kind).T

    def speed(t: Any, y: tuple[Array, ...], args: None) -> tuple[Array, ...]:
        x, u, w, z = y
        g, product = jax.linearize(gradient, x)
        forced = jnp.zeros_like(z)
        if len(w):
            Hz = product(z)
            bent = jax.vmap(lambda a, b: _third(gradient, x, a, b))(u, w)
            forced = -Hz - jnp.sum(bent, axis=0)
        both = [jax.vmap(lambda v: -product(v))(part) if len(part) else part for part in (u, w)]
        return (-g, *both, forced)

    def sizes(y: tuple[Array, ...]) -> Array:
        return jnp.stack([jnp.linalg.norm(part) for part in y])

    start = (theta, U, W, jnp.zeros_like(theta))
    sharpest = _sharpness(gradient, theta)
    reach = jnp.linalg.norm(theta) + jnp.linalg.norm(gradient(theta)) / sharpest
    floor = jnp.maximum(sizes(start), 0).at[0].set(reach)
    floor = floor.at[3].set(floor[1] * floor[2] / jnp.maximum(reach, 1e-300))
    floor = jnp.where(floor > 0, floor, 1)

    def relative(y: tuple[Array, ...]) -> Array:
        """The largest of the four parts, each relative to its own size."""
        return jnp.max(sizes(y) / floor)

    noise = ROUNDING * float(jnp.finfo(kind).eps)

    def at_rest(t: Array, y: tuple[Array, ...], args: None, **_: object) -> Array:
        return relative(speed(t, y, args)) < jnp.maximum(REST * rtol, noise) * sharpest

    # The controller divides by atol + rtol |y|; scaled by `floor`, atol is the tolerance itself.
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(speed),
        diffrax.Dopri8(),
        t0=0.0,
        t1=jnp.inf,
        dt0=0.01 / sharpest,
        y0=start,
        stepsize_controller=diffrax.PIDController(
            rtol=0.0, atol=rtol, norm=relative, dtmax=CAP / sharpest
        ),
        event=diffrax.Event(at_rest),
        adjoint=diffrax.ForwardMode(),
        max_steps=most_steps,
        throw=False,
    )
    x, u, w, z = jax.tree.map(lambda leaf: leaf[-1], solution.ys)
    rest = relative(speed(jnp.zeros(()), (x, u, w, z), None)) / sharpest
    steps = solution.stats["num_steps"]
    columns = len(U) + len(W)
    each = 1 + 2 * columns + (2 + 4 * len(W) if len(W) else 0)
    done = diffrax.is_event(solution.result)
    code = jnp.where(done, int(Result.OK), int(Result.NOT_CONVERGED)).astype(jnp.int32)
    return LimitMap(
        unravel(x), u.T, z, rest, steps,
        (steps * 12 + 1) * each + 2 * POWER_ITERATIONS, jnp.maximum(code, finite(x, u, z)),
    )  # fmt: skip


def _third(gradient: Gradient, x: Array, a: Array, b: Array) -> Array:
    """T(x)[a, b]."""
    return jax.jvp(lambda t: jax.jvp(gradient, (t,), (a,))[1], (x,), (b,))[1]


def _sharpness(gradient: Gradient, x: Array) -> Array:
    """The largest |eigenvalue| of the Hessian by power iteration, from below."""
    product = jax.linearize(gradient, x)[1]

    def on(_: Array, v: Array) -> Array:
        image = product(v)
        length = jnp.linalg.norm(image)
        return jnp.where(length > 0, image / jnp.where(length > 0, length, 1), v)

    v = jax.random.normal(jax.random.key(0), x.shape, x.dtype)
    v = jax.lax.fori_loop(0, POWER_ITERATIONS, on, v / jnp.linalg.norm(v))
    found = jnp.linalg.norm(product(v))
    return jnp.where(found > 0, found, 1)
