"""What a diverging member would do to the axes of all others: it is drawn up to a mark."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from thalweg.comparison.regime import FALLEN, GROWTH
from thalweg.report import Level

ABOVE = 10.0  # on a logarithm: how far above the others the mark stands, and
SHARE = 0.5  # of their span on a plain axis


class Shown(NamedTuple):
    """Values as they are drawn.

    Attributes:
        values: NaN behind the first that is beyond; that one stands on the mark.
        mark: A line there, if anything is beyond.
    """

    values: Float[np.ndarray, "*lanes T"]
    mark: tuple[Level, ...]


def staying(
    losses: Float[np.ndarray, "*lanes T"], lost: Bool[np.ndarray, "*lanes"]
) -> Bool[np.ndarray, "*lanes"]:
    """Which lanes have not diverged, as the judge of regimes takes it.

    Args:
        losses: Record by record; NaN where there is none.
        lost: Whether a lane has left the finite numbers.
    """
    finite = np.isfinite(losses)
    last = np.take_along_axis(
        losses, losses.shape[-1] - 1 - np.argmax(finite[..., ::-1], axis=-1)[..., None], -1
    )[..., 0]
    highest = np.max(np.where(finite, losses, -np.inf), axis=-1)
    grown = (last > GROWTH * np.maximum(np.abs(losses[..., 0]), 1e-300)) & (last > FALLEN * highest)
    return ~lost & ~grown & finite.any(axis=-1)


def shown(
    values: Float[np.ndarray, "*lanes T"], stay: Bool[np.ndarray, "*lanes"], log: bool
) -> Shown:
    """Values with what is far beyond those of the lanes that stay cut off.

    Args:
        values: Record by record.
        stay: Which lanes set the axis; if none does, all values are drawn.
        log: Whether the axis is logarithmic.
    """
    kept = values[stay]
    kept = kept[np.isfinite(kept) & ((kept > 0) | (not log))]
    if kept.size == 0:
        return Shown(values, ())
    span = float(np.ptp(kept)) or abs(float(kept.max())) or 1.0
    top = float(kept.max()) * ABOVE if log else float(kept.max()) + SHARE * span
    bottom = -np.inf if log else float(kept.min()) - SHARE * span
    out = np.array(values, float)
    marks = []
    for limit, past in ((top, values > top), (bottom, values < bottom)):
        past = past & ~stay[..., None]
        if past.any():
            count = np.cumsum(past, axis=-1)
            out = np.where(past & (count == 1), limit, np.where(count > 0, np.nan, out))
            marks.append(Level(limit, "beyond: diverges"))
    return Shown(out, tuple(marks))


def cut_off(
    data: xr.Dataset, name: str, stay: Bool[np.ndarray, "*lanes"], log: bool, into: str = ""
) -> tuple[xr.Dataset, tuple[Level, ...]]:
    """A variable as it is drawn beside itself, `{name}_shown` with its error, and the marks.

    Args:
        data: With a variable of dims (lanes..., record).
        name: The variable.
        stay: Which lanes set the axis.
        log: Whether the axis is logarithmic.
        into: What to call it instead.

    Returns:
        The data set, as it was if nothing is beyond.
    """
    found = shown(data[name].values, stay, log)
    if not found.mark:
        return data, ()
    into = into or f"{name}_shown"
    same = found.values == data[name].values
    added = {into: data[name].copy(data=found.values)}
    if f"{name}_error" in data:
        added[f"{into}_error"] = data[f"{name}_error"].where(same, 0.0)
    return data.assign(added), found.mark
