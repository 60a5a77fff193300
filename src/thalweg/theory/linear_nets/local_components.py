"""How component norms of tensor factorisations grow under gradient flow: the richer, the faster.

The norm sigma of a component of L weight vectors obeys d sigma / dt = L gamma sigma^(2 - 2/L) once
its vectors are balanced, gamma being the inner product of the negative gradient with the
component's direction. Units of t: inverse step size.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike
from scipy.special import gammaln

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.core.tree import Params
from thalweg.models.tensor_factorisation import TensorFactorisation
from thalweg.theory.prediction import Prediction, make_prediction

PAPER = "Razin, Maman and Cohen (2022), theorem 1; (2021), theorem 1"


def component_directions(
    factorisation: TensorFactorisation, params: Params
) -> dict[str, Float[Array, "R ..."]]:
    """C_r by node: the tensor with all other components zeroed, divided by sigma_r.

    For a CP factorisation the outer product of unit vectors; for a hierarchical one its norm is in
    general not 1. Zero where sigma_r is zero. The tensor is sum_r sigma_r C_r.

    Examples:
        >>> from thalweg.theory.linear_nets.local_components import component_directions
        >>> cp = tw.models.CPFactorisation((2, 2), 1)
        >>> ones = {"0": jnp.ones((2, 1)), "1": jnp.ones((2, 1))}
        >>> component_directions(cp, ones)["0-1"].round(6).tolist()
        [[[0.5, 0.5], [0.5, 0.5]]]
    """
    sigma = factorisation.component_norms(params)
    parts = factorisation.component_tensors(params)
    return {
        name: T * _inverse(sigma[name]).reshape(-1, *[1] * (T.ndim - 1))
        for name, T in parts.items()
    }


def alignments(
    factorisation: TensorFactorisation, params: Params, gradient: Float[Array, "..."]
) -> dict[str, Float[Array, " R"]]:
    """gamma_r = <-grad L(W), C_r> by node, `gradient` being that of the loss in the tensor W.

    Examples:
        >>> from thalweg.theory.linear_nets.local_components import alignments
        >>> cp = tw.models.CPFactorisation((2, 2), 1)
        >>> ones = {"0": jnp.ones((2, 1)), "1": jnp.ones((2, 1))}
        >>> alignments(cp, ones, -jnp.ones((2, 2)))["0-1"].round(6).tolist()  # 4 * 1/2
        [2.0]
    """
    axes = gradient.ndim
    directions = component_directions(factorisation, params)
    return {name: -jnp.tensordot(C, gradient, axes) for name, C in directions.items()}


def norm_rates(
    factorisation: TensorFactorisation, params: Params, gradient: Float[Array, "..."]
) -> dict[str, Float[Array, " R"]]:
    """Rates d sigma_r / dt under gradient flow, for every component and any weights; exact.

    d sigma_r / dt = sigma_r^2 (sum_w ||w||^-2) gamma_r over the component's weight vectors w; 0 if
    one of them is zero. Cost: as many end-to-end tensors as there are components.

    Source: derived; balanced weights give theorem 1 of Razin, Maman and Cohen (2021, 2022).

    Examples:
        >>> from thalweg.theory.linear_nets.local_components import norm_rates
        >>> cp = tw.models.CPFactorisation((2, 2), 1)
        >>> ones = {"0": jnp.ones((2, 1)), "1": jnp.ones((2, 1))}
        >>> norm_rates(cp, ones, -jnp.ones((2, 2)))["0-1"].round(6).tolist()  # 2^2 (1/2 + 1/2) 2
        [8.0]
    """
    gamma = alignments(factorisation, params, gradient)
    norms = factorisation.vector_norms(params)
    return {name: component_rate(norms[name], gamma[name]) for name in gamma}


def component_rate(norms: Float[Array, "L R"], gamma: Float[Array, " R"]) -> Float[Array, " R"]:
    """Rates d sigma / dt = gamma sigma^2 sum_l ||w_l||^-2 from the norms of weight vectors.

    Examples:
        >>> from thalweg.theory.linear_nets.local_components import component_rate
        >>> component_rate(jnp.array([[1.0], [2.0]]), jnp.array([3.0])).tolist()  # 12 (1 + 1/4)
        [15.0]
    """
    sigma = jnp.prod(norms, 0)
    return gamma * sigma**2 * jnp.sum(_inverse(norms) ** 2, 0)


def balanced_rate(
    sigma: Float[Array, " R"] | np.ndarray, gamma: Float[Array, " R"] | float, depth: int
) -> Float[Array, " R"]:
    """Rates d sigma / dt = L gamma sigma^(2 - 2/L) of components whose L vectors have one norm.

    Examples:
        >>> from thalweg.theory.linear_nets.local_components import balanced_rate
        >>> balanced_rate(np.array([4.0]), 1.0, 2).tolist()
        [8.0]
    """
    return depth * gamma * jnp.asarray(sigma) ** (2 - 2 / depth)


def rate_bounds(
    sigma: Float[Array, " R"], gamma: Float[Array, " R"], depth: int, epsilon: float | Array
) -> tuple[Float[Array, " R"], Float[Array, " R"]]:
    """Lower and upper bound of d sigma / dt at depth L and unbalancedness epsilon.

    L gamma sigma^2 / (sigma^(2/L) + epsilon) and L gamma (sigma^(2/L) + epsilon)^(L - 1): lower and
    upper for gamma >= 0, the other way round for gamma < 0. Equal at epsilon = 0.

    Source: Razin, Maman and Cohen (2021), theorem 1; (2022), theorem 1.

    Examples:
        >>> from thalweg.theory.linear_nets.local_components import rate_bounds
        >>> low, high = rate_bounds(jnp.array([4.0]), jnp.array([1.0]), 2, 0.0)
        >>> low.tolist(), high.tolist()  # balanced: they meet
        ([8.0], [8.0])
    """
    reach = sigma ** (2 / depth) + epsilon
    slow, fast = depth * gamma * sigma**2 * _inverse(reach), depth * gamma * reach ** (depth - 1)
    return jnp.minimum(slow, fast), jnp.maximum(slow, fast)


def constant_alignment_norm(
    time: ArrayLike, sigma0: ArrayLike, gamma: ArrayLike, depth: int
) -> Float[np.ndarray, "..."]:
    """sigma(t) at times t of a balanced component of depth L under a constant gamma.

    L = 2: sigma_0 exp(2 gamma t); else (sigma_0^-(1 - 2/L) - (L - 2) gamma t)^(-L/(L - 2)),
    infinite from the escape time on.

    Raises:
        InputError: If the depth L < 2 or sigma_0 is not positive.

    Examples:
        >>> from thalweg.theory.linear_nets.local_components import constant_alignment_norm
        >>> bool(np.isclose(constant_alignment_norm(0.5, 2.0, 1.0, 2), 2 * np.e))
        True
    """
    _check_start(sigma0, depth)
    time, sigma0, gamma = (np.asarray(v, float) for v in (time, sigma0, gamma))
    if depth == 2:
        return sigma0 * np.exp(2 * gamma * time)
    left = sigma0 ** -(1 - 2 / depth) - (depth - 2) * gamma * time
    with np.errstate(divide="ignore"):
        return np.maximum(left, 0.0) ** (-depth / (depth - 2))


def escape_time(sigma0: ArrayLike, gamma: ArrayLike, depth: int) -> Float[np.ndarray, "..."]:
    """When a balanced component under a constant gamma > 0 has left every bounded set.

    sigma_0^-(1 - 2/L) / ((L - 2) gamma); infinite for L = 2.

    Raises:
        InputError: If the depth L < 2, or sigma_0 or gamma is not positive.

    Examples:
        >>> from thalweg.theory.linear_nets.local_components import escape_time
        >>> round(float(escape_time(8.0, 1.0, 3)), 6)  # 8^(-1/3)
        0.5
    """
    _check_start(sigma0, depth)
    require_positive(gamma=gamma)
    if depth == 2:
        return np.full(np.broadcast_shapes(np.shape(sigma0), np.shape(gamma)), np.inf)
    return np.asarray(sigma0, float) ** -(1 - 2 / depth) / ((depth - 2) * np.asarray(gamma, float))


def norm_prediction(sigma0: ArrayLike, gamma: ArrayLike, depth: int) -> Prediction:
    """`constant_alignment_norm` as a prediction of the component norms along a run.

    Examples:
        >>> from thalweg.theory.linear_nets.local_components import norm_prediction
        >>> bool(np.allclose(norm_prediction([2.0], [0.5], 2).at([0.0, 1.0]), [[2.0], [2 * np.e]]))
        True
    """
    _check_start(sigma0, depth)
    start, rate = np.asarray(sigma0, float), np.asarray(gamma, float)

    def at(times: ArrayLike) -> np.ndarray:
        t = np.asarray(times, float)
        return constant_alignment_norm(t.reshape(-1, *[1] * start.ndim), start, rate, depth)

    return make_prediction(
        "component_norms",
        f"parameter^{depth}",
        "asymptotic",
        "balanced components near zero, where the gradient in the tensor is still that at zero",
        at,
        PAPER,
    )


def truncation_bound(
    factorisation: TensorFactorisation, params: Params, node: str, kept: int
) -> tuple[float, float]:
    """How far the tensor is from one with the `kept` largest components at a node, and a bound.

    The distance ||W - W_kept||_F <= sum over the others of sigma_r ||C_r||_F; W_kept has rank at
    most `kept` in the matricisations of the node's children.

    Source: Razin, Maman and Cohen (2022), low hierarchical rank from small components.

    Examples:
        >>> from thalweg.theory.linear_nets.local_components import truncation_bound
        >>> cp = tw.models.CPFactorisation((2, 2), 1)
        >>> ones = {"0": jnp.ones((2, 1)), "1": jnp.ones((2, 1))}
        >>> truncation_bound(cp, ones, "0-1", kept=0)  # the whole tensor of ones
        (2.0, 2.0)
    """
    parts = np.asarray(factorisation.component_tensors(params)[node])
    order = np.argsort(-np.asarray(factorisation.component_norms(params)[node]))
    rest = parts[order[kept:]].reshape(len(parts) - kept, -1)
    return float(np.linalg.norm(rest.sum(0))), float(np.linalg.norm(rest, axis=1).sum())


def mean_absolute_cosine(m: ArrayLike) -> Float[np.ndarray, "..."]:
    """Gamma(m/2) / (sqrt(pi) Gamma((m + 1)/2)): E |cos| between two Gaussian vectors in R^m.

    The interaction regulariser of a bilinear function whose matrix has m equal singular values:
    1 for m = 1, where the function separates, and like sqrt(2/(pi m)) for large m.

    Examples:
        >>> from thalweg.theory.linear_nets.local_components import mean_absolute_cosine
        >>> round(float(mean_absolute_cosine(2)) * np.pi, 6)  # 2/pi in the plane
        2.0
    """
    m = np.asarray(m, float)
    return np.exp(gammaln(m / 2) - gammaln((m + 1) / 2)) / np.sqrt(np.pi)


def _inverse(x: Array) -> Array:
    """1/x, and 0 where x is 0."""
    return jnp.where(x == 0, 0.0, 1 / jnp.where(x == 0, 1.0, x))


def _check_start(sigma0: ArrayLike, L: int) -> None:
    require(L >= 2, f"a component of {L} vectors came; give at least 2")
    require_positive(sigma0=sigma0)
