"""Linear smoothers on lattices, x = V f(w) V^T y, with their risk in closed form.

With T = V^T x_0 the coefficients of the truth along eigenvectors of a penalty, eigenvalues w, and
Gaussian or any uncorrelated noise of variance sigma^2,

    E ||x - x_0||^2 / n = (1/n) [ sum (1 - f_i)^2 T_i^2 + sigma^2 sum f_i^2 ]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.estimators.differences import DifferenceOperator, difference_operator

Values = Float[np.ndarray, "..."]
Filter = Callable[[Values], Values]

PENALTIES = np.logspace(-4, 9, 300)  # wide, so that no smoother fails for want of tuning


class TunedSmoother(NamedTuple):
    """The smoother of a family with the least risk, knowing the truth.

    Attributes:
        risk: E ||x - x_0||^2 / n, exact.
        parameter: Which it is: a penalty, or the largest eigenvalue that is kept (-1: none).
    """

    risk: float
    parameter: float


def lattice_laplacian(shape: tuple[int, ...]) -> DifferenceOperator:
    """The operator whose D^T D is the Laplacian L of a lattice with free boundaries.

    Examples:
        >>> tw.estimators.lattice_laplacian((4, 4)).eigenvalues.round(3)[0].tolist()
        [0.0, 0.586, 2.0, 3.414]
    """
    return difference_operator(shape, 0)


def laplacian_filter(penalty: float, power: int = 1) -> Filter:
    """W -> 1 / (1 + lambda w^p): Laplacian smoothing (I + lambda L^p)^{-1} y.

    Args:
        penalty: lambda, at least 0.
        power: p = k + 1, for comparison with trend filtering of order k.

    Raises:
        InputError: If the penalty is negative or the power below 1.

    Examples:
        >>> tw.estimators.laplacian_filter(1.0)(np.array([0.0, 1.0])).tolist()
        [1.0, 0.5]
    """
    require(penalty >= 0, f"penalty={penalty} must be at least 0.")
    require(power >= 1, f"power={power} must be at least 1.")
    return lambda w: 1 / (1 + penalty * w**power)


def eigenmap_filter(largest: float) -> Filter:
    """W -> 1 for w <= t, else 0: the projection on the eigenvectors of low eigenvalues.

    Examples:
        >>> tw.estimators.eigenmap_filter(0.5)(np.array([0.0, 1.0])).tolist()
        [1.0, 0.0]
    """
    return lambda w: (w <= largest).astype(float)


def smooth(y: ArrayLike, operator: DifferenceOperator, shrink: Filter) -> Values:
    """V f(w) V^T y: a filter of the eigenvalues of D^T D applied to data on the lattice.

    Args:
        y: Data, the lattice's dims last.
        operator: D.
        shrink: f, elementwise.

    Raises:
        InputError: If the data do not lie on the lattice.

    Examples:
        >>> laplacian = tw.estimators.lattice_laplacian((2,))
        >>> half = tw.estimators.laplacian_filter(0.5)
        >>> tw.estimators.smooth([1.0, 3.0], laplacian, half).round(12).tolist()
        [1.5, 2.5]
    """
    values = np.asarray(y, dtype=float)
    return operator.inverse(shrink(operator.eigenvalues) * operator.transform(values))


def linear_risk(
    truth: ArrayLike, sigma: float, operator: DifferenceOperator, shrink: Filter
) -> float:
    """E ||x - x_0||^2 / n of a linear smoother, without drawing noise.

    Args:
        truth: x_0 on the lattice.
        sigma: The noise's standard deviation.
        operator: D, whose D^T D is filtered.
        shrink: f.

    Raises:
        InputError: If the truth does not lie on the lattice or sigma is negative.

    References:
        Sadhanala et al. (2021), E12.

    Examples:
        >>> laplacian = tw.estimators.lattice_laplacian((4,))
        >>> everything = tw.estimators.eigenmap_filter(np.inf)
        >>> tw.estimators.linear_risk([0.0, 0.0, 0.0, 7.0], 0.5, laplacian, everything)
        0.25
    """
    require(sigma >= 0, f"sigma={sigma} must be at least 0.")
    kept = shrink(operator.eigenvalues)
    squares = operator.transform(np.asarray(truth, dtype=float)) ** 2
    return float(((1 - kept) ** 2 * squares + sigma**2 * kept**2).mean())


def best_laplacian(
    truth: ArrayLike, sigma: float, power: int = 1, penalties: ArrayLike = PENALTIES
) -> TunedSmoother:
    """Laplacian smoothing at the penalty of least exact risk.

    Args:
        truth: x_0 on the lattice.
        sigma: The noise's standard deviation.
        power: p in L^p.
        penalties: Those to choose from: 300 from 1e-4 to 1e9 by default.

    Raises:
        InputError: As of `linear_risk` and `laplacian_filter`.

    Examples:
        >>> flat = tw.estimators.best_laplacian(np.ones(16), 1.0)
        >>> round(flat.risk, 6)  # the mean of 16 data
        0.0625
    """
    values = np.asarray(truth, dtype=float)
    operator = lattice_laplacian(values.shape)
    found = [
        TunedSmoother(
            linear_risk(values, sigma, operator, laplacian_filter(float(t), power)), float(t)
        )
        for t in np.asarray(penalties, dtype=float).ravel()
    ]
    require(len(found) > 0, "penalties are empty; give at least one.")
    return min(found)


def best_eigenmap(
    truth: ArrayLike, sigma: float, operator: DifferenceOperator | None = None
) -> TunedSmoother:
    """The projection on low eigenvectors of least exact risk, over all cuts, with that on nothing.

    Args:
        truth: x_0 on the lattice.
        sigma: The noise's standard deviation.
        operator: D, whose eigenvectors are taken; the Laplacian's by default.

    Raises:
        InputError: If the truth does not lie on the lattice or sigma is negative.

    Examples:
        >>> round(tw.estimators.best_eigenmap(np.ones(16), 1.0).risk, 12)
        0.0625
    """
    require(sigma >= 0, f"sigma={sigma} must be at least 0.")
    values = np.asarray(truth, dtype=float)
    operator = lattice_laplacian(values.shape) if operator is None else operator
    eigenvalues = operator.eigenvalues.ravel()
    order = np.argsort(eigenvalues, kind="stable")
    gains = (operator.transform(values).ravel() ** 2)[order] - sigma**2
    total = float((values**2).sum())
    risks = (total - np.concatenate([[0.0], np.cumsum(gains)])) / values.size
    # A cut keeps whole eigenspaces: equal eigenvalues to rounding go together.
    sorted_ = eigenvalues[order]
    cuts = np.flatnonzero(np.diff(sorted_, append=np.inf) > 1e-9 * max(sorted_[-1], 1e-300)) + 1
    cuts = np.concatenate([[0], cuts])
    best = int(cuts[np.argmin(risks[cuts])])
    return TunedSmoother(float(risks[best]), float(sorted_[best - 1]) if best else -1.0)
