"""Which points of a long line to draw, such that the picture stays the same."""

from __future__ import annotations

import numpy as np

LIMIT = 2000


def thin(x: np.ndarray, y: np.ndarray, log: bool = False, limit: int = LIMIT) -> np.ndarray:
    """Positions of the points to draw, ascending; all of them up to the limit.

    Along an ascending x the drawn width is cut into `limit / 4` columns, and each keeps its
    first, last, lowest and highest point: at that width the line's picture is unchanged (M4,
    Jugel et al., VLDB 2014). One NaN per column is kept, so gaps stay open. A line that turns
    back in x, or over text, keeps every k-th point instead.

    Args:
        x: Horizontal values, shape (n,).
        y: Vertical values, shape (n,).
        log: Whether the horizontal axis is logarithmic.
        limit: How many points may be drawn (a few more where there are gaps).
    """
    if y.size <= limit:
        return np.arange(y.size)
    numeric = x.dtype.kind in "iuf" and y.dtype.kind in "iuf"
    good = np.isfinite(x) & np.isfinite(y) if numeric else np.zeros(y.size, bool)
    if log and numeric:
        good &= x > 0
    place = np.flatnonzero(good)
    if not place.size or np.any(np.diff(x[place]) < 0):
        return np.unique(np.linspace(0, y.size - 1, limit).round().astype(int))
    along = np.log10(x[place]) if log else x[place].astype(float)
    width = max(along[-1] - along[0], np.finfo(float).tiny)
    column = np.minimum((along - along[0]) / width * (limit // 4), limit // 4 - 1).astype(int)
    first = np.flatnonzero(np.diff(column, prepend=-1))
    last = np.append(first[1:], column.size) - 1
    by_height = np.lexsort((y[place], column))
    kept = place[np.concatenate([first, last, by_height[first], by_height[last]])]
    after = place[:-1][~good[place[:-1] + 1]]
    gaps = after[np.unique(column[np.searchsorted(place, after)], return_index=True)[1]] + 1
    return np.unique(np.concatenate([kept, gaps]))
