"""The completion of a matrix of least nuclear norm, with a certificate of how near it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require
from thalweg.core.result import Result

Values = NDArray[np.float64]
CERTIFY_EVERY = 50
RELAXATION = 1.6  # of the splitting, between 1 and 2
UNBALANCED = 1.3  # residuals this far apart change the penalty


class NuclearCompletion(NamedTuple):
    """A completion and how far its nuclear norm is from the least.

    Attributes:
        X: The completion, shape (out, in); observed entries are met exactly.
        norm: ||X||_*, the sum of its singular values.
        error: Duality gap: the least nuclear norm lies in [norm - error, norm], up to rounding.
        iterations: Of the splitting.
        result: OK, or NOT_CONVERGED where the gap is above the tolerance.
    """

    X: Values
    norm: float
    error: float
    iterations: int
    result: Result


def nuclear_norm_completion(
    mask: ArrayLike,
    values: ArrayLike,
    tolerance: float = 1e-7,
    most_iterations: int = 20_000,
    penalty: float | None = None,
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
        penalty: rho at the start, positive; one over the largest singular value of what is observed
            by default. Where X - Z and the change of Z differ by a third, it follows.

    Raises:
        InputError: If shapes or numbers do not fit.

    Cost: a singular value decomposition an iteration; hundreds to thousands of iterations.
    Source: Boyd et al. (2011), section 3; Recht, Fazel and Parrilo (2010) for the dual.

    Examples:
        >>> from thalweg.theory.limits.nuclear_norm import nuclear_norm_completion
        >>> mask = [[True, True], [True, False]]
        >>> found = nuclear_norm_completion(mask, [[1.0, 1.0], [1.0, 0.0]])
        >>> round(float(found.X[1, 1]), 3), round(found.norm, 5)  # of rank one
        (1.0, 2.0)
    """
    mask, values = np.asarray(mask, bool), np.asarray(values, float)
    require(
        mask.ndim == 2 and mask.shape == values.shape and bool(mask.any()),
        f"the mask has shape {mask.shape} with {mask.sum()} entries and the values have "
        f"{values.shape}; give one shape (out, in) and at least one entry",
    )
    require(
        (penalty is None or penalty > 0) and tolerance > 0,
        f"penalty came as {penalty} and tolerance as {tolerance}; give positive numbers",
    )
    Z, U = np.zeros(mask.shape), np.zeros(mask.shape)
    observed = np.where(mask, values, 0)
    size = float(np.linalg.norm(observed, 2))
    if size == 0:
        return NuclearCompletion(observed, 0.0, 0.0, 0, Result.OK)
    penalty = 1 / size if penalty is None else penalty
    best = NuclearCompletion(observed, np.inf, np.inf, 0, Result.NOT_CONVERGED)
    for k in range(1, most_iterations + 1):
        X = np.where(mask, values, Z - U)
        relaxed, before = RELAXATION * X + (1 - RELAXATION) * Z, Z
        left, s, right = np.linalg.svd(relaxed + U, full_matrices=False)
        Z = (left * np.maximum(s - 1 / penalty, 0)) @ right
        U = U + relaxed - Z
        if k % CERTIFY_EVERY == 0 or k == most_iterations:
            found = _certified(mask, X, U, penalty, k)
            best = min(best, found, key=lambda c: c.error)
            if best.error <= tolerance * best.norm:
                return best._replace(result=Result.OK)
            apart, moved = np.linalg.norm(X - Z), np.linalg.norm(Z - before)
            change = (
                2.0 if apart > UNBALANCED * moved else 0.5 if moved > UNBALANCED * apart else 1.0
            )
            penalty, U = change * penalty, U / change
    return best


def _certified(
    mask: NDArray[np.bool_], X: Values, U: Values, penalty: float, k: int
) -> NuclearCompletion:
    norm = float(np.sum(np.linalg.svd(X, compute_uv=False)))
    dual = np.where(mask, U, 0)
    Y = dual / max(1 / penalty, float(np.linalg.norm(dual, 2)))
    return NuclearCompletion(X, norm, norm - float(np.sum(Y * X)), k, Result.NOT_CONVERGED)
