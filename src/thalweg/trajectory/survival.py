"""How long runs stay: the share that has not left by a time, with runs whose end was not seen."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy.special import ndtri

from thalweg.core.errors import require

Z = float(ndtri(0.975))


def staying_share(
    exits: ArrayLike, times: ArrayLike, followed: ArrayLike = np.inf, confidence: float = 0.95
) -> xr.Dataset:
    """The share of runs that has not left by some times: Kaplan and Meier's estimate.

        S(t) = prod over exit times t_i <= t of (1 - d_i/n_i),

    d_i of the n_i runs that were then still followed leaving; a run that ended before it left is
    counted as long as it was followed. Where all runs are followed to t that is their share.

    Args:
        exits: When each run left, (runs,); not finite where that was not seen.
        times: At which to tell, (times,).
        followed: How long each run was followed, (runs,) or one number; from there on a run that
            had not left is censored.
        confidence: Of the interval.

    Returns:
        Over `time`: `staying`; `staying_error`, Greenwood's standard error, or, where no run was
        censored before, that of the binomial share (x + 1/2)/(n + 1), so that it is never 0;
        `staying_low` and `staying_high`, the interval of Clopper and Pearson there, else by
        log(-log S); `at_risk`, the runs still followed. NaN at times that nobody was followed to.

    Raises:
        InputError: If shapes do not agree or a number is out of range.

    Source: Kaplan and Meier (1958); Greenwood (1926).

    Examples:
        >>> from thalweg.trajectory import staying_share
        >>> told = staying_share([2.0, 5.0, np.nan, np.nan], [1.0, 3.0, 6.0], followed=[9, 9, 4, 9])
        >>> told["staying"].values.tolist()  # the third was followed to 4 alone
        [1.0, 0.75, 0.375]
    """
    left, asked = np.asarray(exits, float), np.asarray(times, float)
    require(
        left.ndim == 1 and left.size > 0 and asked.ndim == 1,
        f"exits of shape {left.shape} and times of shape {asked.shape} came; give one list each",
    )
    require(0 < confidence < 1, f"confidence came as {confidence}; give one between 0 and 1")
    until = np.asarray(followed, float)
    require(
        until.shape in ((), left.shape),
        f"followed came with shape {until.shape}; give one number or one for each run",
    )
    from scipy import stats  # takes long, and most who import this file have no use for it

    until = np.broadcast_to(until, left.shape)
    seen = np.isfinite(left) & (left <= until)
    require(
        not bool(np.any(~seen & np.isnan(until))),
        "followed came with entries that are no numbers; say how long each run was followed",
    )
    far = float(max(asked.max(initial=0), left[seen].max(initial=0))) + 1
    ends = np.where(seen, left, np.minimum(until, far))
    found = stats.ecdf(stats.CensoredData(uncensored=ends[seen], right=ends[~seen])).sf
    known = asked <= until.max()
    values = np.where(known, found.evaluate(asked), np.nan)
    error, low, high = (np.full(asked.shape, np.nan) for _ in range(3))
    interval = _interval(found, confidence)
    for i, t in enumerate(asked):
        if not known[i]:
            continue
        if np.all(seen | (until >= t)):  # nobody was lost before: a share of all
            inside = int(np.sum(~(seen & (left <= t))))
            p = (inside + 0.5) / (len(left) + 1)
            error[i] = np.sqrt(p * (1 - p) / len(left))
            exact = stats.binomtest(inside, len(left)).proportion_ci(confidence)
            low[i], high[i] = exact.low, exact.high
        else:
            error[i] = _greenwood(left, seen, ends, t) * values[i]
            low[i], high[i] = (side.evaluate(t) for side in interval)
    risk = np.array([np.sum(ends >= t) for t in asked])
    told = {
        "staying": (values, "share of runs that have not left"),
        "staying_error": (error, "its standard error"),
        "staying_low": (low, "lower end of the interval"),
        "staying_high": (high, "upper end of the interval"),
        "at_risk": (risk, "runs still followed that have not left"),
    }
    return xr.Dataset(
        {
            name: ("time", value, {"units": "1", "long_name": words})
            for name, (value, words) in told.items()
        },
        coords={"time": asked},
        attrs={"runs": len(left), "confidence": confidence},
    )


def _interval(found: Any, confidence: float) -> tuple[Any, Any]:
    with warnings.catch_warnings():  # it is undefined where nobody has left, and not asked there
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = found.confidence_interval(confidence, method="log-log")
    return interval.low, interval.high


def _greenwood(left: np.ndarray, seen: np.ndarray, ends: np.ndarray, t: float) -> float:
    """sqrt(sum over exits up to t of d/(n (n - d)))."""
    moments, counts = np.unique(left[seen & (left <= t)], return_counts=True)
    n = np.array([np.sum(ends >= m) for m in moments])
    with np.errstate(divide="ignore"):
        return float(np.sqrt(np.sum(counts / (n * (n - counts)))))
