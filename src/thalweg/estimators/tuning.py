"""The penalty of trend filtering: by Stein's unbiased risk, cross-validation, or the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.estimators.pieces import degrees_of_freedom
from thalweg.estimators.trend_filtering import trend_filter
from thalweg.estimators.trend_fit import TrendFit

Values = Float[np.ndarray, "..."]


class TunedFit(NamedTuple):
    """The fit whose penalty has the least score.

    Attributes:
        fit: On all data.
        penalties: Those that were tried.
        scores: Estimated or true mean squared error of each.
    """

    fit: TrendFit
    penalties: Float[np.ndarray, " tried"]
    scores: Float[np.ndarray, " tried"]


def trend_filter_path(
    y: ArrayLike,
    penalties: Sequence[float] | np.ndarray,
    order: int | Sequence[int] = 1,
    *,
    weights: ArrayLike | None = None,
    tolerance: float = 1e-6,
) -> list[TrendFit]:
    """Fits for many penalties, from the largest down, each from the one before.

    To a gap of 1e-4 that saves about a seventh of the iterations; to 1e-6, where a few last knots
    take most of them, nothing.

    Args:
        y: Data on the lattice.
        penalties: Each above 0, in any order.
        order: k.
        weights: c, see `trend_filter`.
        tolerance: The relative duality gap of each.

    Returns:
        The fits, in the order of the penalties.

    Raises:
        InputError: As of `trend_filter`, or if there are no penalties.

    Examples:
        >>> steps = np.repeat([0.0, 4.0], 4)
        >>> fits = tw.estimators.trend_filter_path(steps, [1.0, 100.0], order=0)
        >>> [fit.values[[0, -1]].round(9).tolist() for fit in fits]
        [[0.25, 3.75], [2.0, 2.0]]
    """
    lams = _checked_penalties(penalties)
    fits: dict[int, TrendFit] = {}
    last = None
    for i in np.argsort(-lams, kind="stable"):
        last = trend_filter(
            y, float(lams[i]), order, weights=weights, tolerance=tolerance, start=last
        )
        fits[int(i)] = last
    return [fits[i] for i in range(len(lams))]


def stein_risk(fit: TrendFit, y: ArrayLike, sigma: float) -> float:
    """Stein's unbiased estimate of the mean squared error: needs the noise, not the truth.

        ||y - x||^2 / n + 2 sigma^2 df / n - sigma^2

    Args:
        fit: Of y, with all weights one.
        y: The data.
        sigma: The standard deviation of their Gaussian noise.

    Raises:
        InputError: If the shapes differ, sigma is negative, squares overflow, or as of
            `degrees_of_freedom`.

    References:
        Stein (1981); Sadhanala et al. (2021).

    Examples:
        >>> y = np.array([1.0, 3.0])
        >>> fit = tw.estimators.trend_filter(y, 5.0, order=0)  # the mean: one degree of freedom
        >>> tw.estimators.stein_risk(fit, y, 1.0)
        1.0
    """
    data = np.asarray(y, dtype=float)
    require(
        data.shape == fit.values.shape,
        f"y has shape {data.shape} and the fit {fit.values.shape}; give the data that were fitted.",
    )
    require(fit.weights is None, "Stein's estimate is that of weights one; leave the weights out.")
    require(sigma >= 0, f"sigma={sigma} must be at least 0.")
    n = data.size
    with np.errstate(over="ignore", invalid="ignore"):
        variance = np.square(np.float64(sigma))
        fit_error = ((data - fit.values) ** 2).sum() / n
        risk = float(fit_error + 2 * variance * degrees_of_freedom(fit) / n - variance)
    require(
        np.isfinite(risk),
        f"the squares of y or of sigma={sigma:g} are beyond the largest number; scale both down.",
    )
    return risk


def tune_by_stein(
    y: ArrayLike,
    penalties: Sequence[float] | np.ndarray,
    sigma: float,
    order: int | Sequence[int] = 1,
    *,
    tolerance: float = 1e-6,
) -> TunedFit:
    """The penalty of least `stein_risk`.

    Args:
        y: Data on the lattice.
        penalties: Those to choose from.
        sigma: The noise's standard deviation.
        order: k.
        tolerance: The relative duality gap of each fit.

    Raises:
        InputError: As of `trend_filter` and `stein_risk`.

    Examples:
        >>> y = np.repeat([0.0, 9.0], 8) + 0.1 * np.cos(5.0 * np.arange(16))
        >>> tuned = tw.estimators.tune_by_stein(y, [0.01, 0.5, 50.0], 0.1, order=0)
        >>> float(tuned.fit.penalty)
        0.5
    """
    return _least(y, penalties, order, tolerance, lambda fit: stein_risk(fit, y, sigma))


def tune_by_truth(
    y: ArrayLike,
    penalties: Sequence[float] | np.ndarray,
    truth: ArrayLike,
    order: int | Sequence[int] = 1,
    *,
    tolerance: float = 1e-6,
) -> TunedFit:
    """The penalty of least squared error: what only an oracle can choose.

    Args:
        y: Data on the lattice.
        penalties: Those to choose from.
        truth: x_0.
        order: k.
        tolerance: The relative duality gap of each fit.

    Raises:
        InputError: As of `trend_filter`, or if the truth is not on the lattice.

    Examples:
        >>> y = np.array([0.2, -0.2, 5.2, 4.8])
        >>> tuned = tw.estimators.tune_by_truth(y, [0.01, 0.3, 30.0], [0.0, 0.0, 5.0, 5.0], 0)
        >>> float(tuned.fit.penalty)
        0.3
    """
    right = np.asarray(truth, dtype=float)
    require(
        right.shape == np.shape(y),
        f"truth has shape {right.shape} and y {np.shape(y)}; give both on one lattice.",
    )
    return _least(
        y, penalties, order, tolerance, lambda fit: float(((fit.values - right) ** 2).mean())
    )


def tune_by_cross_validation(
    y: ArrayLike,
    penalties: Sequence[float] | np.ndarray,
    order: int | Sequence[int] = 1,
    *,
    folds: int = 5,
    seed: int = 0,
    tolerance: float = 1e-5,
) -> TunedFit:
    """The penalty that predicts cells best whose data were left out: needs neither noise nor truth.

    A fold's cells have weight zero in the fits to the others, which fill them in. Where that leaves
    a choice, as with a small penalty between two neighbours, it is the splitting's.

    Args:
        y: Data on the lattice.
        penalties: Those to choose from.
        order: k.
        folds: Parts that the cells are dealt into at random, at least 2.
        seed: Of the dealing.
        tolerance: The relative gap of the last fit, and the residual of those with cells left out.

    Returns:
        The fit of all data. Scores are mean squared errors at the cells left out: they contain the
        noise's variance.

    Raises:
        InputError: As of `trend_filter`, or if there are fewer than 2 folds.

    Examples:
        >>> y = np.repeat([0.0, 9.0], 8) + 0.1 * np.cos(5.0 * np.arange(16))
        >>> tuned = tw.estimators.tune_by_cross_validation(y, [0.1, 50.0], order=0)
        >>> float(tuned.fit.penalty)
        0.1
    """
    data = np.asarray(y, dtype=float)
    lams = _checked_penalties(penalties)
    require(
        2 <= folds <= data.size,
        f"folds={folds} must be between 2 and the number of cells, {data.size}.",
    )
    require(seed >= 0, f"seed={seed} must be at least 0.")
    dealt = np.random.default_rng(seed).permutation(data.size) % folds
    errors = np.zeros(len(lams))
    for fold in range(folds):
        out = (dealt == fold).reshape(data.shape)
        fits = trend_filter_path(
            data, lams, order, weights=np.where(out, 0.0, 1.0), tolerance=tolerance
        )
        errors += [((fit.values - data)[out] ** 2).sum() for fit in fits]
    scores = errors / data.size
    best = float(lams[np.argmin(scores)])
    return TunedFit(trend_filter(data, best, order, tolerance=tolerance), lams, scores)


def _least(
    y: ArrayLike,
    penalties: Sequence[float] | np.ndarray,
    order: int | Sequence[int],
    tolerance: float,
    score: Callable[[TrendFit], float],
) -> TunedFit:
    fits = trend_filter_path(y, penalties, order, tolerance=tolerance)
    scores = np.array([score(fit) for fit in fits])
    return TunedFit(fits[int(np.argmin(scores))], _checked_penalties(penalties), scores)


def _checked_penalties(penalties: Sequence[float] | np.ndarray) -> Float[np.ndarray, " tried"]:
    require(not isinstance(penalties, dict), "penalties must be a list of positive numbers.")
    lams = np.asarray(penalties, dtype=float)
    require(
        lams.ndim == 1 and len(lams) > 0,
        "penalties must be a list of at least one positive number.",
    )
    return lams
