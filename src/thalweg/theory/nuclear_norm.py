"""The completion of a matrix of least nuclear norm, with a certificate of how near it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require

Values = NDArray[np.float64]
CERTIFY_EVERY = 50


class NuclearCompletion(NamedTuple):
    """A completion and how far its nuclear norm is from the least.

    Attributes:
        X: The completion, shape (out, in); observed entries are met exactly.
        norm: ||X||_*, the sum of its singular values.
        error: Duality gap: the least nuclear norm lies in [norm - error, norm], up to rounding.
        iterations: Of the splitting.
    """

    X: Values
    norm: float
    error: float
    iterations: int


def nuclear_norm_completion(
    mask: ArrayLike,
    values: ArrayLike,
    tolerance: float = 1e-7,
    most_iterations: int = 20_000,
    penalty: float = 1.0,
) -> NuclearCompletion:
    """Min ||X||_* over all X with the observed entries, by the alternating direction method.

    X <- Z - U with observed entries overwritten; Z <- X + U with singular values lowered by
    1/penalty, those below it to 0; U <- U + X - Z. The certificate: Y, the observed part of U
    divided by max(1/penalty, its spectral norm), has spectral norm 1 at most, so that
    <Y, X> <= ||X'||_* for every completion X', and ||X||_* - <Y, X> bounds what can be gained.

    Args:
        mask: Which entries are observed, booleans (out, in), at least one.
        values: The matrix; other entries do not matter.
        tolerance: Of the gap relative to the norm, where to stop.
        most_iterations: Where to give up; the `error` then says how near it came.
        penalty: rho, positive; about the inverse of the singular values is fast.

    Raises:
        InputError: If shapes or numbers do not fit.

    Cost: a singular value decomposition an iteration; hundreds to thousands of iterations.
    Source: Boyd et al. (2011), section 3; Recht, Fazel and Parrilo (2010) for the dual.
    """
    mask, values = np.asarray(mask, bool), np.asarray(values, float)
    require(
        mask.ndim == 2 and mask.shape == values.shape and bool(mask.any()),
        f"the mask has shape {mask.shape} with {mask.sum()} entries and the values have "
        f"{values.shape}; give one shape (out, in) and at least one entry",
    )
    require(penalty > 0 and tolerance > 0, "penalty and tolerance must be positive")
    Z, U = np.zeros(mask.shape), np.zeros(mask.shape)
    best = NuclearCompletion(np.where(mask, values, 0), np.inf, np.inf, 0)
    for k in range(1, most_iterations + 1):
        X = np.where(mask, values, Z - U)
        left, s, right = np.linalg.svd(X + U, full_matrices=False)
        Z = (left * np.maximum(s - 1 / penalty, 0)) @ right
        U = U + X - Z
        if k % CERTIFY_EVERY == 0 or k == most_iterations:
            found = _certified(mask, X, U, penalty, k)
            best = min(best, found, key=lambda c: c.error)
            if best.error <= tolerance * best.norm:
                break
    return best


def _certified(
    mask: NDArray[np.bool_], X: Values, U: Values, penalty: float, k: int
) -> NuclearCompletion:
    norm = float(np.sum(np.linalg.svd(X, compute_uv=False)))
    dual = np.where(mask, U, 0)
    Y = dual / max(1 / penalty, float(np.linalg.norm(dual, 2)))
    return NuclearCompletion(X, norm, norm - float(np.sum(Y * X)), k)
