"""Predictions: what a paper says a run will do, in the form in which a run can be held to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from thalweg.core.errors import choose, require

KINDS = {
    "exact": "equal to the measured value up to rounding and the stated numerical error",
    "upper": "never below the measured value",
    "lower": "never above the measured value",
    "asymptotic": "equal to the measured value in the limit that `holds` names",
    "indicative": "of the right size; no guarantee",
}


class Prediction(NamedTuple):
    """What theory expects a measured quantity to be, as a function of training time.

    Attributes:
        name: The quantity, by the name its probe uses ("loss", "distance").
        unit: Its unit ("1" for a pure number).
        kind: One of `KINDS`: how the values relate to the measured ones.
        holds: One sentence: the conditions under which it does so.
        at: Maps training times of shape (T,) to values whose first axis is T.
        source: Paper and equation.
    """

    name: str
    unit: str
    kind: str
    holds: str
    at: Callable[[ArrayLike], np.ndarray]
    source: str


def make_prediction(
    name: str,
    unit: str,
    kind: str,
    holds: str,
    at: Callable[[ArrayLike], np.ndarray],
    source: str,
) -> Prediction:
    """Build a `Prediction`, refusing what a reader could not judge it by.

    Raises:
        InputError: If `kind` is not one of `KINDS`, or no condition or no source is given.

    Examples:
        >>> decay = tw.theory.make_prediction(
        ...     name="loss", unit="loss", kind="exact", holds="gradient flow on x^2/2 from x = 1",
        ...     at=lambda t: np.exp(-2 * np.asarray(t)) / 2, source="elementary",
        ... )
        >>> float(decay.at(0.0))
        0.5
    """
    choose(kind, KINDS, "kind of prediction")
    require(bool(holds.strip()), f"prediction {name!r} states no condition; say when it holds.")
    require(bool(source.strip()), f"prediction {name!r} has no source; name paper and equation.")
    return Prediction(name, unit, kind, holds, at, source)
