"""Which setting of an optimiser is best, and whether the grid and the seeds can tell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

EQUAL = 1e-9  # relative: scores that are one
APART = 0.95  # probability with which equals are not told apart


class Choice(NamedTuple):
    """The best of several settings.

    Attributes:
        place: Its position; -1 where no setting has a score.
        score: By setting, the median over seeds; infinite where a seed diverged or did not arrive.
        error: Its standard error, see `median_error`.
        edge: "lower" or "upper" where it is the first or last of several, else empty.
        ties: Positions of the others that are within a standard error of it.
    """

    place: int
    score: Float[np.ndarray, " settings"]
    error: Float[np.ndarray, " settings"]
    edge: str
    ties: tuple[int, ...]


def first_at(
    loss: Float[np.ndarray, "*many marks"], cost: Float[np.ndarray, "*many marks"], goal: float
) -> tuple[Float[np.ndarray, "*many"], Float[np.ndarray, "*many"]]:
    """The cost at which a curve is first at or below a goal, and how well the records tell it.

    Args:
        loss: At each record.
        cost: Spent by it.
        goal: The loss.

    Returns:
        The cost at that record, infinite where there is none, and its distance from the one before:
        the goal was passed somewhere between.

    Examples:
        >>> from thalweg.sweeps.tuning import first_at
        >>> at, error = first_at(np.array([4.0, 2.0, 1.0]), np.array([0.0, 5.0, 10.0]), 1.5)
        >>> float(at), float(error)
        (10.0, 5.0)
    """
    with np.errstate(invalid="ignore"):
        there = loss <= goal
    which = np.argmax(there, axis=-1)
    reached = there.any(axis=-1)
    at = np.take_along_axis(cost, which[..., None], -1)[..., 0]
    before = np.take_along_axis(cost, np.maximum(which - 1, 0)[..., None], -1)[..., 0]
    nothing = np.full(at.shape, np.inf)
    return np.where(reached, at, nothing), np.where(reached, at - before, nothing)


def chosen(values: Float[np.ndarray, "settings seeds"]) -> Choice:
    """The setting whose median over seeds is least.

    Two settings tie where their scores are within the larger of their standard errors, or equal to
    rounding. Of settings that are equal to rounding the smallest is taken.

    Args:
        values: Final losses, or costs to the goal; what is not finite is lost.

    Examples:
        >>> from thalweg.sweeps.tuning import chosen
        >>> best = chosen(np.array([[3.0], [1.0], [2.0]]))
        >>> best.place, best.edge, best.ties
        (1, '', ())
    """
    lost = ~np.isfinite(values).all(axis=1)
    score = np.where(lost, np.inf, _median(values))
    error = median_error(values)
    if not np.isfinite(score).any():
        return Choice(-1, score, error, "", ())
    least = float(score.min())
    near = score <= least + EQUAL * abs(least)
    index = int(np.argmax(near))
    slack = np.maximum(np.maximum(error, error[index]), EQUAL * abs(least))
    equal = ~lost & (score - least <= slack)
    ties = np.flatnonzero(equal & (np.arange(len(score)) != index))
    edge = ""
    if len(score) > 1:
        edge = "lower" if index == 0 else "upper" if index == len(score) - 1 else ""
    return Choice(index, score, error, edge, tuple(int(i) for i in ties))


def level_with_best(
    score: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"], seeds: int
) -> Bool[np.ndarray, " n"]:
    """Which are not told apart from the best, itself among them.

    Two are told apart where their scores differ by Student's t times the error of the difference,
    of 2 (seeds - 1) degrees of freedom and 95 %: of two that are equal one in twenty is called
    worse, at most. With one seed `error` is no spread, and is taken as it is.
    """
    from scipy.stats import t  # imported by those who run, not by those who list

    if not np.isfinite(score).any():
        return np.zeros(score.shape, bool)
    best = int(np.argmin(np.where(np.isfinite(score), score, np.inf)))
    wide = t.ppf((1 + APART) / 2, 2 * (seeds - 1)) if seeds > 1 else 1.0
    slack = np.maximum(wide * np.hypot(error, error[best]), EQUAL * abs(score[best]))
    return np.isfinite(score) & (score - score[best] <= slack)


def _median(values: np.ndarray) -> np.ndarray:
    finite = np.where(np.isfinite(values), values, 0.0)
    return np.median(finite, axis=1)


def median_error(values: Float[np.ndarray, "*many seeds"]) -> Float[np.ndarray, "*many"]:
    """The standard error of a median over seeds: (pi/2)^(1/2) times that of the mean.

    That of scatter that is normal, up to 8 % too large for 3 seeds; 0 with one seed, which leaves
    none, and infinite where a value is not finite.
    """
    seeds = values.shape[-1]
    lost = ~np.isfinite(values).all(axis=-1)
    if seeds < 2:
        return np.zeros(lost.shape)
    finite = np.where(lost[..., None], 0.0, values)
    return np.where(lost, np.inf, np.std(finite, axis=-1, ddof=1) * np.sqrt(np.pi / 2 / seeds))
