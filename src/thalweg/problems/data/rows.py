"""Which examples are taken, in what order, and how that is told."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import InputError


def chosen_rows(
    n: int,
    labels: NDArray[Any] | None = None,
    *,
    every: int | None = None,
    samples: int | None = None,
) -> NDArray[np.int64]:
    """Row numbers of a deterministic, ascending choice among `n`.

    First rows 0, `every`, 2 `every`, ... stay. Of the m rows left, `samples` are taken. With
    labels: the classes take turns in label order, each giving its next row in file order until it
    has none, so class counts differ by at most one unless a class runs out, and a smaller choice
    lies within a larger one. Without labels: the i-th row taken is number floor(i m / samples).

    Raises:
        InputError: If `every` or `samples` is not a whole number from 1 to the number of rows.
    """
    kept = np.arange(n)
    if every is not None:
        kept = kept[:: _whole(every, n, "every")]
    if samples is None:
        return kept
    count = _whole(samples, len(kept), "samples")
    if labels is None:
        return kept[np.arange(count) * len(kept) // count]
    by_class = np.argsort(labels[kept], kind="stable")
    sorted_labels = labels[kept][by_class]
    turn = np.empty(len(kept), dtype=np.int64)
    turn[by_class] = np.arange(len(kept)) - np.searchsorted(sorted_labels, sorted_labels)
    return np.sort(kept[np.lexsort((labels[kept], turn))[:count]])


def row_rule(n: int, every: int | None, samples: int | None, labelled: bool) -> str:
    """The choice of `chosen_rows` in words."""
    words = [f"all {n}"] if every is None else [f"every {every}th of {n}, from the first"]
    if samples is not None:
        how = "the classes taking turns in file order" if labelled else "evenly spaced"
        words.append(f"{samples} of these, {how}")
    return "; ".join(words)


def _whole(value: int, most: int, what: str) -> int:
    """`value` as an int from 1 to `most`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not 1 <= number <= most:
        raise InputError(f"{what} is {value!r}; give a whole number from 1 to {most}.")
    return number
