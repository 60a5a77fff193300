"""Where small noise drives along a manifold of minima: the drift and diffusion of Katzenberger.

Steps theta <- theta - eta (grad f + F xi) with small eta first go down to the manifold of minima
and then, on the clock T = eta^2 k, move along it as (Li, Wang and Arora 2022, E3)

    dY = P_t F dW + (1/2) d^2 Phi[F F^T] dT,

Phi the limit map of gradient flow. The second derivative of Phi on the manifold is known in closed
form (E2) from the Hessian H and the third derivative T alone. With d(M) = sum_jk T_jk M_jk:

    (1/2) d^2 Phi[S] = - (1/2) H^+ d(P_t S P_t) - P_t d(H^+ S P_t) - (1/2) P_t d(Q),

H Q + Q H = P_n S P_n.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.arguments import told
from thalweg.core.errors import require
from thalweg.core.result import finite
from thalweg.core.tree import Params, size
from thalweg.curvature.manifolds import NormalSpace, normal_space, third_across, third_contracted
from thalweg.oracles.oracle import Oracle
from thalweg.problems.problem import Problem, Supervised


class Drift(NamedTuple):
    """The drift along a manifold of minima in its three terms, each flat (p,), per slow time.

    Attributes:
        curving: -(1/2) H^+ d(P_t S P_t), normal: what keeps a diffusion on the curved manifold.
        mixed: -P_t d(H^+ S P_t), of noise across and along at once.
        normal: -(1/2) P_t d(Q), of noise across: towards where the valley is wider.
        diffusion: P_t F, columns (p, q): the factor of the noise along the manifold.
        space: The normal space at the point; its rank, tolerance and gap.
        result: The worst of the codes.
    """

    curving: Float[Array, " p"]
    mixed: Float[Array, " p"]
    normal: Float[Array, " p"]
    diffusion: Float[Array, "p q"]
    space: NormalSpace
    result: Int[Array, ""]

    @property
    def total(self) -> Float[Array, " p"]:
        """(1/2) d^2 Phi[S], the sum of the three."""
        return self.curving + self.mixed + self.normal


def limiting_drift(
    problem: Problem,
    params: Params,
    noise: Any,
    *,
    method: str = "auto",
    rank: int | None = None,
) -> Drift:
    """Drift and diffusion of small noise along the manifold of minima, at a point of it.

    Args:
        problem: What is minimised; its objective must have three derivatives.
        params: A point on the manifold, as from `flow_limit` or `limit_map`; p scalars in all.
        noise: An oracle, or the factor F (p, q) of the covariance S = F F^T of one step's gradient.
        method: How the normal space is found; see `thalweg.curvature.normal_space`.
        rank: The same.

    Returns:
        The `Drift`, in parameter per slow time T = eta^2 k. Cost: that of the normal space, 4
        gradients for each of its m directions and 8 for each of the q columns. Memory: 3 p (m + q)
        numbers, and 3 p^2 if dense; nothing of the order p^3 is formed. Rounding: eps times the
        condition number on the normal space; a point d off the manifold errs by O(d).

    Raises:
        InputError: If the factor has not p rows, or the oracle does not suit the problem.

    Source: Li, Wang and Arora (2022), theorem 4.6; Katzenberger (1991).

    Examples:
        >>> valley = lambda z: 0.5 * jnp.exp(z[0]) * z[1] ** 2  # noise s across: -(s/4) (ln f)'
        >>> problem = tw.problems.Function(valley, start=jnp.array([1.0, 0.0]))
        >>> found = tw.dynamics.limiting_drift(problem, problem.start, jnp.array([[0.0], [2.0]]))
        >>> bool(jnp.allclose(found.normal, jnp.array([-1.0, 0.0])))
        True
    """
    if isinstance(noise, Oracle):
        factor = noise.factor(problem, params).dense()
    else:
        p, shape = size(params), getattr(noise, "shape", None)
        require(
            isinstance(noise, jax.Array | np.ndarray) and len(noise.shape) == 2 and len(noise) == p,
            f"noise came as {told(noise) if shape is None else f'an array of shape {shape}'}; give "
            f"an oracle, or the factor of its covariance, ({p}, q) for {p} flat parameters",
        )
        factor = jnp.asarray(noise)
    return _drift(problem, params, factor, normal_space(problem, params, method=method, rank=rank))


@eqx.filter_jit
def _drift(
    problem: Problem, params: Params, factor: Float[Array, "p q"], space: NormalSpace
) -> Drift:
    along = space.to_tangent(factor)
    B = space.lyapunov(factor)
    curving = -0.5 * space.pinv(third_contracted(problem, params, along, along))
    mixed = -space.to_tangent(third_contracted(problem, params, space.pinv(factor), along))
    normal = -0.5 * space.to_tangent(third_contracted(problem, params, B, B))
    code = jnp.maximum(space.result, finite(curving, mixed, normal))
    return Drift(curving, mixed, normal, along, space, code)


def across_only(
    problem: Problem, params: Params, oracle: Oracle, space: NormalSpace, fitted: bool
) -> Float[Array, " p"]:
    """The term of noise across alone, where there is none along.

    Args:
        problem: What is minimised.
        params: A point on the manifold of minima.
        oracle: The noise.
        space: The normal space there.
        fitted: Whether it is an exact fit of a squared error, example by example: then third
            derivatives take 3 gradients for each output in place of 4 for each normal direction,
            and of noise whose covariance is c H, Q = (c/2) P_n, no factor is needed.
    """
    share = oracle.share_of_hessian(problem) if fitted else None
    if share is None:
        B = space.lyapunov(oracle.factor(problem, params).dense())
    else:
        B = jnp.sqrt(share / 2).astype(space.vectors.dtype) * space.across
    if fitted:
        assert isinstance(problem, Supervised)
        return -0.5 * space.to_tangent(third_across(problem, params, B))
    return -0.5 * space.to_tangent(third_contracted(problem, params, B, B))
