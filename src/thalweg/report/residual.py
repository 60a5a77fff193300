"""Measured minus theory, where a figure shows the two as one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thalweg.report.lines import Line

WIDTH = 0.01  # of the panel's height: what a line of two pixels and a half covers
MOST = 0.8  # of the points that can be compared


@dataclass(frozen=True)
class Residual:
    """Difference of a measured line and its theory at the measured places, with its error."""

    x: np.ndarray
    y: np.ndarray
    error: np.ndarray


def residual(
    measured: Line, theory: Line, span: tuple[float, float], x_log: bool, y_log: bool
) -> Residual | None:
    """How far a measured line lies from its theory, if the eye cannot tell them apart.

    Compared is where both are defined: at equal x as stored, else at the measured x within the
    range of the theory, interpolated (along the axes' scales) as long as what interpolation may err
    by is small beside the difference itself.

    Args:
        measured: The measured line.
        theory: The line that predicts it.
        span: Lowest and highest y of the panel, above zero on a logarithm.
        x_log: Whether x is logarithmic.
        y_log: Whether y is; then the difference is relative, measured/theory - 1.

    Returns:
        The difference; None if the lines can be told apart over a fifth of the way or more, or
        cannot be compared.
    """
    if measured.x.dtype.kind not in "iuf" or theory.x.dtype.kind not in "iuf":
        return None
    known = _clean(theory.x, theory.y, x_log, y_log)
    own = _clean(measured.x, measured.y, x_log, y_log)
    kx, ky = _scaled(theory.x[known], x_log), _scaled(theory.y[known], y_log)
    mx, my = _scaled(measured.x[own], x_log), _scaled(measured.y[own], y_log)
    if kx.size < 2 or mx.size < 2 or np.any(np.diff(kx) <= 0):
        return None
    inside = (mx >= kx[0]) & (mx <= kx[-1])
    mx, my, own = mx[inside], my[inside], np.flatnonzero(own)[inside]
    if mx.size < 2:
        return None
    expected = np.interp(mx, kx, ky)
    apart = np.abs(my - expected)
    low, high = _scaled(np.array(span), y_log)
    together = apart <= WIDTH * (high - low)
    if not high > low or np.mean(together) < MOST:
        return None
    if not _stored(mx, kx) and _interpolation_error(kx, ky) > 0.1 * np.median(apart):
        return None
    theory_y = 10.0**expected if y_log else expected
    values = np.asarray(measured.y, float)[own]
    scale = theory_y if y_log else 1.0
    # The difference, not the quotient less one, keeps the digits that the two have in common.
    error = measured.error[own] / scale if measured.error.size else np.empty(0)
    return Residual(measured.x[own], (values - theory_y) / scale, error)


def _clean(x: np.ndarray, y: np.ndarray, x_log: bool, y_log: bool) -> np.ndarray:
    good = np.isfinite(np.asarray(x, float)) & np.isfinite(np.asarray(y, float))
    return good & ((x > 0) | (not x_log)) & ((y > 0) | (not y_log))


def _scaled(values: np.ndarray, log: bool) -> np.ndarray:
    values = np.asarray(values, float)
    return np.log10(values) if log else values


def _stored(places: np.ndarray, known: np.ndarray) -> bool:
    """Whether every place is one of the known ones, so that nothing is interpolated."""
    after = np.clip(np.searchsorted(known, places), 1, known.size - 1)
    nearest = np.minimum(np.abs(known[after] - places), np.abs(known[after - 1] - places))
    return bool(np.all(nearest <= 1e-9 * (known[-1] - known[0])))


def _interpolation_error(x: np.ndarray, y: np.ndarray) -> float:
    """The median over the points of what their neighbours would have said wrongly, quartered.

    Leaving out every point in turn doubles the spacing, and the error of a straight line between
    two points grows with its square.
    """
    if x.size < 3:
        return float("inf")
    told = y[:-2] + (y[2:] - y[:-2]) * (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    return float(np.median(np.abs(told - y[1:-1]))) / 4


def pairs(drawn: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Positions of a measured line and its theory among lines given as `(meaning, style)`.

    A meaning with several theories or several replicates is left out: which belongs to which is not
    known.
    """
    found = []
    for meaning in dict.fromkeys(meaning for meaning, _ in drawn):
        here = [(at, style) for at, (other, style) in enumerate(drawn) if other == meaning]
        theories = [at for at, style in here if style == "dash"]
        measured = [at for at, style in here if style != "dash"]
        if len(theories) == len(measured) == 1:
            found.append((measured[0], theories[0]))
    return found
