"""Bounds of the generalisation gap by spectral norms of weights, without the number of weights.

Networks x -> A_L phi(... phi(A_1 x)) without biases, phi 1-Lipschitz with phi(0) = 0; a loss in
[0, 1], rho-Lipschitz in the output; inputs of norm at most B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require
from thalweg.core.ranges import require_from_zero

Values = NDArray[np.float64]


def spectral_norms(weights: Sequence[ArrayLike]) -> Values:
    """The largest singular value of every matrix, (L,).

    Args:
        weights: A_1, ..., A_L.

    Raises:
        InputError: If one is no matrix, or not finite.

    Examples:
        >>> from thalweg.theory.landscape.spectral_bounds import spectral_norms
        >>> spectral_norms([np.diag([3.0, 1.0]), np.ones((1, 4))]).tolist()
        [3.0, 2.0]
    """
    return np.array([np.linalg.norm(A, 2) for A in _matrices(weights)])


def perturbation_bound(weights: Sequence[ArrayLike], others: Sequence[ArrayLike]) -> float:
    """How far the outputs of two networks can be apart, for an input of norm 1.

        |f(x) - f'(x)| <= |x| prod_l s_l sum_l |A_l - A'_l|/s_l,    s_l = max(|A_l|, |A'_l|),

    in spectral norms. A theorem; attained up to a half of the smallest perturbation.

    Args:
        weights: A_1, ..., A_L, each (out, in).
        others: A'_1, ..., A'_L, of the same shapes.

    Raises:
        InputError: If shapes do not agree.

    Source: elementary (telescoping over layers).

    Examples:
        >>> from thalweg.theory.landscape.spectral_bounds import perturbation_bound
        >>> perturbation_bound([[[2.0]], [[3.0]]], [[[1.0]], [[3.0]]])
        3.0
    """
    left, right = _matrices(weights), _matrices(others)
    shapes = [[A.shape for A in side] for side in (left, right)]
    require(
        shapes[0] == shapes[1],
        f"weights of shapes {shapes[0]} and {shapes[1]} came; give two networks of one shape",
    )
    s = np.maximum(spectral_norms(left), spectral_norms(right))
    apart = spectral_norms([A - B for A, B in zip(left, right, strict=True)])
    return _amplified(s, apart)


def tube_gap_bound(
    norms: ArrayLike,
    radii: ArrayLike,
    examples: float,
    *,
    lipschitz: float = 1.0,
    input_norm: float = 1.0,
    failure: float = 0.05,
) -> float:
    """A bound of |L(theta) - L_n(theta)| over tubes about K reference minima.

        sqrt(ln(2K/e)/(2n)) + 2 rho B max_k prod_l s_l sum_l delta_l/s_l,

    s_l = |A*_(k,l)| + delta_l, with probability at least 1 - e, for all theta within delta_l of a
    reference in every layer. The references must not depend on the sample.

    Args:
        norms: |A*_(k,l)|, (L,) or (K, L).
        radii: delta_l, (L,), in the spectral norm.
        examples: n.
        lipschitz: rho of the loss, which lies in [0, 1].
        input_norm: B.
        failure: e.

    Raises:
        InputError: If a number is out of range or shapes do not agree.

    Source: derived (Hoeffding at the references, `perturbation_bound` about them), in the setting
    of Imaizumi and Schmidt-Hieber (2022), whose own constants differ.

    Examples:
        >>> from thalweg.theory.landscape.spectral_bounds import tube_gap_bound
        >>> round(tube_gap_bound([1.0, 1.0], [0.0, 0.0], 200, failure=2 / np.e), 6)
        0.05
    """
    S, delta = np.atleast_2d(np.asarray(norms, float)), np.asarray(radii, float)
    require(
        S.ndim == 2 and delta.shape == S.shape[1:] and S.size > 0,
        f"norms of shape {S.shape} and radii of shape {delta.shape} came; give (K, L) and (L,)",
    )
    require(
        all(bool(np.all((a >= 0) & (a < np.inf))) for a in (S, delta)),
        f"norms {S.tolist()} and radii {delta.tolist()} came; give numbers from 0 on",
    )
    _check_sample(examples, lipschitz, input_norm, failure)
    spread = max(_amplified(row + delta, delta) for row in S)
    chance = math.sqrt(math.log(2 * len(S) / failure) / (2 * examples))
    return chance + 2 * lipschitz * input_norm * spread


def entropy_gap_bound(
    norms: ArrayLike,
    distances: ArrayLike,
    examples: float,
    width: int,
    *,
    lipschitz: float = 1.0,
    input_norm: float = 1.0,
    failure: float = 0.05,
    both: bool = True,
) -> float:
    """A bound of the gap by covering numbers, of rate ln(n)/sqrt(n).

        R = rho^2 |X|_F^2 ln(2W^2) prod s_l^2 (sum_l (b_l/s_l)^(2/3))^3,    |X|_F^2 = n B^2,
        gap <= 2 inf_a [4a/sqrt(n) + (12/n) sqrt(R) ln(sqrt(n)/a)] + 3 sqrt(ln(4/e)/(2n)).

    Args:
        norms: s_l, bounds of the spectral norms, (L,), above 0, fixed before the data.
        distances: b_l, bounds of |A_l^T - M_l^T|_(2,1) from reference matrices M_l, (L,).
        examples: n.
        width: W, the largest width.
        lipschitz: rho of the loss.
        input_norm: B.
        failure: e.
        both: Whether the absolute value is bounded; one side takes ln(2/e).

    Raises:
        InputError: If a number is out of range or shapes do not agree.

    Source: Bartlett, Foster and Telgarsky (2017), arXiv 1706.08498.

    Examples:
        >>> from thalweg.theory.landscape.spectral_bounds import entropy_gap_bound
        >>> few, many = (entropy_gap_bound([1.0], [1.0], n, 10) for n in (1e4, 1e6))
        >>> few > 5 * many
        True
    """
    s, b = np.asarray(norms, float), np.asarray(distances, float)
    require(
        s.ndim == 1 and s.shape == b.shape and s.size > 0,
        f"norms of shape {s.shape} and distances of shape {b.shape} came; give (L,) of both",
    )
    require(
        bool(np.all((s > 0) & (s < np.inf)) and np.all((b >= 0) & (b < np.inf))),
        f"norms {s.tolist()} and distances {b.tolist()} came; give norms above 0, distances from "
        "0 on",
    )
    require(width >= 1, f"width came as {width}; give at least 1")
    _check_sample(examples, lipschitz, input_norm, failure)
    n = float(examples)
    entropy = (lipschitz * input_norm) ** 2 * n * math.log(2 * width**2)
    entropy *= float(np.prod(s) ** 2 * np.sum((b / s) ** (2 / 3)) ** 3)
    a = min(3 * math.sqrt(entropy / n), math.sqrt(n))  # the best
    complexity = 4 * a / math.sqrt(n)
    if a > 0:
        complexity += 12 / n * math.sqrt(entropy) * math.log(math.sqrt(n) / a)
    return 2 * complexity + 3 * math.sqrt(math.log((4 if both else 2) / failure) / (2 * n))


def _amplified(s: Values, apart: Values) -> float:
    """Prod s_l sum apart_l/s_l, also where an s_l is 0."""
    others = [np.prod(np.delete(s, layer)) for layer in range(len(s))]
    return float(np.dot(others, apart))


def _matrices(weights: Sequence[ArrayLike]) -> list[Values]:
    found = [np.asarray(A, float) for A in weights]
    shapes = [A.shape for A in found]
    require(
        len(found) > 0 and all(A.ndim == 2 for A in found),
        f"weights of shapes {shapes} came; give matrices (out, in)",
    )
    require(
        all(bool(np.all(np.isfinite(A))) for A in found),
        "a weight is not finite; give matrices of finite numbers",
    )
    return found


def _check_sample(examples: float, lipschitz: float, input_norm: float, failure: float) -> None:
    require(1 <= examples < math.inf, f"examples came as {examples}; give at least 1")
    require(0 < failure < 1, f"failure came as {failure}; give a probability between 0 and 1")
    require_from_zero(lipschitz=lipschitz, input_norm=input_norm)
