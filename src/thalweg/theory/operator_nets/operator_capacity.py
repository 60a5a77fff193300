"""How few numbers a regularised net is close to, and the gap that follows from it.

What is here is the form of the theorem, derived with constants of our own; those that de Hoop,
Lassas and Wong print are not reproduced.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.core.tree import Params
from thalweg.models.rank_one_factors import factor_norms, factor_pairs, is_factored


class Truncation(NamedTuple):
    """Parameters without their small rank-one factors.

    Attributes:
        params: The parameters, both vectors of a small factor set to zero.
        kept: How many factors are left; at most R_(1/2) / epsilon.
        dimension: P, how many numbers they and all other parameters are.
        change: At least the sum of ||dA|| over all matrices: 1/4 sum (||u_p|| + ||v_p||)^2 over the
            factors left out, so at most epsilon R_(1/2) / 4.
    """

    params: Params
    kept: int
    dimension: int
    change: float


def truncation(params: Params, epsilon: float) -> Truncation:
    """The parameters without factors of ||u_p|| + ||v_p|| <= epsilon.

    Since R_(1/2) sums these, at most R_(1/2)/epsilon are left; what is left out is small, as
    ||u_p v_p^T|| = ||u_p|| ||v_p|| <= (||u_p|| + ||v_p||)^2 / 4.

    Args:
        params: Parameters with factored matrices.
        epsilon: Above 0 (unit: parameter).

    Returns:
        `Truncation`.

    Raises:
        InputError: If epsilon is not positive, or no matrix is factored.

    Source: de Hoop, Lassas and Wong (2019), the step behind their bound; the constant 1/4 derived.

    Examples:
        >>> from thalweg.theory.operator_nets.operator_capacity import truncation
        >>> params = {"left": jnp.array([[3.0, 0.01]]), "right": jnp.array([[2.0, 0.02]])}
        >>> small = truncation(params, 0.1)
        >>> small.kept, small.dimension, small.params["left"].tolist()
        (1, 2, [[3.0, 0.0]])
    """
    require_positive(epsilon=epsilon)
    pairs = factor_pairs(params)
    kept, change, dimension = 0, 0.0, tree.size(params)
    for pair in pairs.values():
        left, right = pair
        sizes = _sizes(left, right)
        live = int(jnp.sum(sizes > epsilon))
        kept += live
        change += float(jnp.sum(jnp.where(sizes > epsilon, 0, sizes) ** 2)) / 4
        dimension -= (left.shape[1] - live) * (left.shape[0] + right.shape[0])

    def cut(node: Any) -> Any:
        if not is_factored(node):
            return node
        live = _sizes(node["left"], node["right"]) > epsilon
        return {name: jnp.where(live[None], part, 0) for name, part in node.items()}

    small = jax.tree.map(cut, params, is_leaf=is_factored)
    return Truncation(small, kept, dimension, change)


def gap_bound(
    dimension: float,
    epsilon: float,
    sensitivity: float,
    regulariser: float,
    samples: int,
    loss_range: float = 1.0,
    failure: float = 0.05,
) -> float:
    """2 C epsilon + B sqrt((P ln(3 R_0 / epsilon) + ln(2 / delta)) / (2 s)).

    With probability 1 - delta over s samples at most so far are expected and empirical loss apart,
    for all parameters with R_(1/2) <= R_0: epsilon-close to one of P numbers, a net of points for
    these, and Hoeffding's inequality at each point. The form of the paper's theorem, not its
    constants; for nets of the usual size it says nothing (above B) until samples outnumber P.

    Args:
        dimension: P, as of `truncation`.
        epsilon: How close, from 0 to 3 R_0.
        sensitivity: C: how far the loss moves for each unit that all parameters move, as of
            `operator_bounds.parameter_sensitivity` times the slope of the loss.
        regulariser: R_0.
        samples: s.
        loss_range: B, the largest loss less the smallest.
        failure: delta.

    Returns:
        The bound (unit: loss), kind: upper, in form.

    Raises:
        InputError: If a number is out of range.

    Source: de Hoop, Lassas and Wong (2019), structure of the generalisation bound.

    Examples:
        >>> from thalweg.theory.operator_nets.operator_capacity import gap_bound
        >>> round(gap_bound(0, 0.1, 0.0, 1.0, 50, failure=2 / np.e), 6)  # sqrt(1 / 100)
        0.1
    """
    numbers = {
        "dimension": dimension, "sensitivity": sensitivity, "loss_range": loss_range,
    }  # fmt: skip
    for name, value in numbers.items():
        require(0 <= value < np.inf, f"{name} came as {value}; give a finite number of at least 0")
    require(
        0 < epsilon <= 3 * regulariser < np.inf,
        f"epsilon came as {epsilon} for a regulariser of {regulariser}; give a positive number up "
        "to three times it",
    )
    require(samples >= 1, f"samples came as {samples}; give a whole number of at least 1")
    require(0 < failure < 1, f"failure came as {failure}; give a probability between 0 and 1")
    entropy = dimension * np.log(3 * regulariser / epsilon) + np.log(2 / failure)
    return float(2 * sensitivity * epsilon + loss_range * np.sqrt(entropy / (2 * samples)))


def kept_factors(params: Params, epsilon: float) -> int:
    """How many rank-one factors have ||u_p|| + ||v_p|| above epsilon: at most R_(1/2)/epsilon.

    Raises:
        InputError: If no matrix is factored.

    Examples:
        >>> from thalweg.theory.operator_nets.operator_capacity import kept_factors
        >>> params = {"left": jnp.array([[3.0, 0.01]]), "right": jnp.array([[2.0, 0.02]])}
        >>> kept_factors(params, 0.1)
        1
    """
    return int(jnp.sum(jnp.sum(factor_norms(params), axis=1) > epsilon))


def _sizes(left: Float[Array, "out r"], right: Float[Array, "in r"]) -> Float[Array, " r"]:
    return jnp.linalg.norm(left, axis=0) + jnp.linalg.norm(right, axis=0)
