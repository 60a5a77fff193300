"""Which examples are taken, in what order, and how that is told."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import InputError, require, unknown

Classes = str | Sequence[str | int]


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


def row_rule(
    n: int, every: int | None, samples: int | None, labelled: bool, before: str = ""
) -> str:
    """The choice of `chosen_rows` in words; `before` says which rows it was made of."""
    words = [] if before and every is None else [f"all {n}"]
    if every is not None:
        words = [f"every {every}th of {'these' if before else n}, from the first"]
    words = [before, *words] if before else words
    if samples is not None:
        how = "the classes taking turns in file order" if labelled else "evenly spaced"
        words.append(f"{samples} of these, {how}")
    return "; ".join(words)


def of_classes(
    labels: NDArray[Any], names: Sequence[str], wanted: Classes, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...], str]:
    """The examples of some classes alone, which are then numbered 0..k-1 in their old order.

    Args:
        labels: The classes of n examples, 0..len(names) - 1.
        names: Names of the classes.
        wanted: Names of those to keep: a sequence, or text with commas between them.
        name: Name of the data, the beginning of every error sentence.

    Returns:
        Rows kept, ascending; their labels, renumbered; names of the classes kept; the rule in
        words.

    Raises:
        InputError: If a class is unknown or named twice, or fewer than two are named.
    """
    if isinstance(wanted, str):
        wanted = [wanted] if wanted in names else [part.strip() for part in wanted.split(",")]
    asked = [str(each) for each in wanted]
    for each in asked:
        require(each in names, f"{name}: {unknown(each, names, 'class')}")
        require(asked.count(each) == 1, f"{name}: class {each!r} is named twice in classes=.")
    require(
        len(asked) >= 2,
        f"{name}: classes= keeps {len(asked)} class; give at least 2, so that there is something "
        "to tell apart.",
    )
    kept = [code for code, each in enumerate(names) if each in asked]
    left = tuple(names[code] for code in kept)
    rows = np.flatnonzero(np.isin(labels, kept))
    rule = f"{len(rows)} of {len(labels)}, those of the classes {', '.join(left)}"
    return rows, np.searchsorted(kept, labels[rows]).astype(np.int64), left, rule


def _whole(value: int, most: int, what: str) -> int:
    """`value` as an int from 1 to `most`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not 1 <= number <= most:
        raise InputError(f"{what} came as {value!r}; give a whole number from 1 to {most}.")
    return number
