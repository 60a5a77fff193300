"""Uniformity of the Hessian's diagonal in a two-layer linear net, by gradient descent and by Adam.

The net x -> W_2 W_1 x maps d inputs to one output over d hidden units, with the loss
L = 1/2 E Lambda E^T, E = W_2 W_1 - a, where a (d,) is the target and Lambda (d, d) the second
moment of the inputs. From a small start its weights become rank one, W_1 ~ u v^T and W_2 ~ u^T.
Gradient descent keeps u in proportion to a Gaussian vector of the start; the sign-like steps of
Adam give all its entries one size. The diagonal of the Hessian is made of the squares of u.

Source: Jiang, Malik and Li (2023, arXiv 2211.02254).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import gammaincinv

from thalweg.core.errors import require
from thalweg.curvature.diagonal_ratio import max_over_median

CHI_SQUARE_MEDIAN = float(
    2 * gammaincinv(0.5, 0.5)
)  # 0.4549, of one squared standard normal number


class Diagonals(NamedTuple):
    """Diagonal of the Hessian, in the shapes of the weights (unit: loss/parameter^2)."""

    first: Float[Array, "d d"]
    second: Float[Array, " d"]


def two_layer_diagonals(
    W1: Float[Array, "d d"], W2: Float[Array, "1 d"], correlation: Float[Array, "d d"] | None = None
) -> Diagonals:
    """H_ii = W_2[i]^2 Lambda_jj for W_1[i, j] and (W_1 Lambda W_1^T)_ii for W_2[i].

    The loss is quadratic in every single weight, so the target and the error do not enter: every
    entry is at least 0 everywhere. Exact up to rounding.

    Args:
        W1: First layer.
        W2: Second layer.
        correlation: Lambda, positive semidefinite; None for whitened inputs, Lambda = I.

    Source: derived from the loss; Jiang, Malik and Li (2023), two-layer linear net.

    Examples:
        >>> from thalweg.theory.landscape.adaptive_geometry import two_layer_diagonals
        >>> found = two_layer_diagonals(jnp.eye(2), jnp.array([[2.0, 3.0]]))
        >>> found.first.tolist(), found.second.tolist()
        ([[4.0, 4.0], [9.0, 9.0]], [1.0, 1.0])
    """
    w = W2.reshape(-1)
    if correlation is None:
        return Diagonals(jnp.broadcast_to(w[:, None] ** 2, W1.shape), jnp.sum(W1**2, axis=1))
    scale = jnp.diagonal(correlation)
    return Diagonals(w[:, None] ** 2 * scale[None], jnp.sum((W1 @ correlation) * W1, axis=1))


def white_ratios(W1: Float[Array, "d d"], W2: Float[Array, "1 d"]) -> Float[Array, "2"]:
    """(R_1, R_2): largest over median diagonal entry of each layer, for whitened inputs.

    R_1 = max_i W_2[i]^2 / median_i W_2[i]^2 and R_2 = max_i |W_1[i, :]|^2 / median_i |W_1[i, :]|^2,
    both pure numbers of at least 1: every entry of W_2^2 stands d times in the first diagonal,
    which changes neither. Cost: d^2 operations, no gradients.

    Examples:
        >>> from thalweg.theory.landscape.adaptive_geometry import white_ratios
        >>> white_ratios(jnp.eye(3), jnp.array([[1.0, 2.0, 4.0]])).round(6).tolist()
        [4.0, 1.0]
    """
    return jnp.stack([max_over_median(W2.reshape(-1) ** 2), max_over_median(jnp.sum(W1**2, 1))])


def growing_vector(
    W1: Float[Array, "d d"], W2: Float[Array, "1 d"], a: Float[Array, " d"]
) -> Float[Array, " d"]:
    """The part of a start that grows, z = W_1 a / |a| + W_2^T (unit: parameter).

    Near zero and for Lambda = I, p = W_1 a / |a| and W_2 feed each other, p' = |a| W_2^T and
    W_2'^T = |a| p under gradient flow. Their sum grows as exp(|a| t), their difference decays, and
    the rest of W_1 stays: W_2^T = z exp(|a| t)/2 after a while, and W_1 = W_2^T a^T/|a|.

    Examples:
        >>> from thalweg.theory.landscape.adaptive_geometry import growing_vector
        >>> growing_vector(jnp.eye(2), jnp.array([[1.0, 1.0]]), jnp.array([3.0, 0.0])).tolist()
        [2.0, 1.0]
    """
    return W1 @ a / jnp.linalg.norm(a) + W2.reshape(-1)


def predicted_ratio(
    W1: Float[Array, "d d"], W2: Float[Array, "1 d"], a: Float[Array, " d"]
) -> Float[Array, ""]:
    """R_pred = max_i z_i^2 / median_i z_i^2 of the `growing_vector`: both R_1 and R_2 after escape.

    For gradient descent with or without momentum from a start so small that the decaying part is
    negligible when the loss begins to fall (entries of about 1e-3/sqrt(d) or less), whitened
    inputs; it then holds to the end, as the rank-one structure is kept. A pure number.

    Examples:
        >>> from thalweg.theory.landscape.adaptive_geometry import predicted_ratio
        >>> ratio = predicted_ratio(jnp.eye(2), jnp.array([[1.0, 1.0]]), jnp.array([3.0, 0.0]))
        >>> round(float(ratio), 6)  # z = (2, 1): 4 over the median 2.5
        1.6
    """
    return max_over_median(growing_vector(W1, W2, a) ** 2)


class Mean(NamedTuple):
    """A mean over random draws and its standard error."""

    value: float
    error: float


def expected_ratio(
    d: int, draws: int = 20_000, rng: np.random.Generator | int = 0, batch: int = 1000
) -> Mean:
    """E R_pred over Gaussian starts: max over median of d squared standard normal numbers.

    By Monte Carlo; grows as `asymptotic_ratio` says.

    Args:
        d: Number of hidden units, at least 8: below, a median near 0 makes the variance infinite.
        draws: How many.
        rng: A NumPy generator or a seed for one.
        batch: Draws worked on at a time; bounds the memory and does not change the value.

    Raises:
        InputError: If `d` or `draws` is too small.

    Examples:
        >>> from thalweg.theory.landscape.adaptive_geometry import asymptotic_ratio, expected_ratio
        >>> found = expected_ratio(100, draws=2000)
        >>> 0.8 < found.value / asymptotic_ratio(100) < 0.9  # a sixth too high
        True
    """
    require(d >= 8 and draws >= 2, f"d = {d}, draws = {draws}; give at least 8 and 2.")
    rng = np.random.default_rng(rng)
    sizes = [min(batch, draws - begin) for begin in range(0, draws, batch)]
    ratios = np.concatenate(
        [np.asarray(max_over_median(jnp.asarray(rng.normal(size=(n, d)) ** 2))) for n in sizes]
    )
    return Mean(float(ratios.mean()), float(ratios.std(ddof=1) / math.sqrt(draws)))


def asymptotic_ratio(d: int) -> float:
    """2 ln d / 0.4549, the leading term of E R_pred as d grows; 0.4549 is the median of chi^2_1.

    Corrections are of relative size ln ln d / ln d: at d = 100 it is a sixth too high.

    Examples:
        >>> from thalweg.theory.landscape.adaptive_geometry import asymptotic_ratio
        >>> round(asymptotic_ratio(100) / asymptotic_ratio(10), 6)  # as ln d
        2.0
    """
    return 2 * math.log(d) / CHI_SQUARE_MEDIAN


class Uniformity(NamedTuple):
    """How near a matrix is to rank one, and how even its leading singular vectors are.

    Attributes:
        second_share: sigma_2/sigma_1, 0 for rank one (and for a matrix of one row or column).
        left: max_i u_i^2 / median_i u_i^2 of the leading left singular vector, 1 if it is even.
        right: The same of the leading right singular vector.
    """

    second_share: Float[Array, ""]
    left: Float[Array, ""]
    right: Float[Array, ""]


def singular_vector_uniformity(W: Float[Array, "m n"]) -> Uniformity:
    """sigma_2/sigma_1 of a matrix, and max/median of the squares of its leading singular vectors.

    Pure numbers, exact up to rounding. The leading vectors are defined where sigma_1 is simple.

    Raises:
        InputError: If W is not a matrix.

    Examples:
        >>> from thalweg.theory.landscape.adaptive_geometry import singular_vector_uniformity
        >>> [round(float(v), 6) for v in singular_vector_uniformity(jnp.ones((2, 2)))]
        [0.0, 1.0, 1.0]
    """
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    share = s[1] / s[0] if s.size > 1 else jnp.zeros_like(s[0])
    return Uniformity(share, max_over_median(U[:, 0] ** 2), max_over_median(Vt[0] ** 2))
