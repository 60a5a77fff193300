"""Text where labels or numbers are expected: what it may be, and how it is quoted in a sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from thalweg.core.errors import InputError

MOST_CLASSES = 20  # whole numbers with more distinct values than this are quantities, not labels
PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
AS_CLASSES = "or give task='classification'"
_MARKS = r"[<>≤≥~≈±$€£¥₹%‰+\-−–\s]*"
_DIGITS = r"(\d{1,3}([.,'’\s]\d{3})+|\d+)?([.,]\d*)?(?<=[\d.,])([eE][+-]?\d+)?"
WRITTEN = re.compile(_MARKS + _DIGITS + _MARKS)  # a number, but not as float() reads it
MEASURED = re.compile(_MARKS + _DIGITS + r"\s*(?!(st|nd|rd|th)$)[A-Za-zµ°Ω/²³^]{1,6}\d?")


def printable(value: object) -> str:
    """A category's name; lone surrogates could not be printed."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def plausible(counts: Counter[str], begin: str, task: str) -> None:
    """Refuse text that can hardly be the names of classes."""
    n, k = counts.total(), len(counts)
    many = k > MOST_CLASSES or 2 * k >= n
    otherwise = (
        "" if task == "regression" else ", or give task='classification' if these are classes"
    )
    plain = _share(counts, PLAIN)
    if n / 2 < plain < n:
        raise InputError(f"{begin} {stray_text(counts)}; mend these entries{otherwise}.")
    measured = plain + sum(
        count
        for value, count in counts.items()
        if not PLAIN.fullmatch(value)
        and (WRITTEN.fullmatch(value) or (many and MEASURED.fullmatch(value)))
    )
    if measured > n / 2 and (plain < n or many or task == "regression"):
        example = next((v for v in counts if not PLAIN.fullmatch(v)), next(iter(counts)))
        raise InputError(
            f"{begin} holds numbers written as text, such as {shortened(example)}; write them as "
            f"plain numbers, as in 1294.5{otherwise}."
        )
    if task == "auto" and 2 * k > n:
        raise InputError(
            f"{begin} holds text with {k} different values in {n} rows, too many to be classes; "
            f"choose another target, {AS_CLASSES} if they are."
        )


def stray_text(counts: Counter[str]) -> str | None:
    """What is wrong with a column that is numbers but for some text; None if it is not such."""
    n, plain = counts.total(), _share(counts, PLAIN)
    if not n / 2 < plain < n:
        return None
    example = next(value for value in counts if not PLAIN.fullmatch(value))
    return f"holds numbers, but text such as {shortened(example)} in {n - plain} of {n} rows"


def _share(counts: Counter[str], pattern: re.Pattern[str]) -> int:
    return sum(count for value, count in counts.items() if pattern.fullmatch(value))


def shortened(value: Any, most: int = 30) -> str:
    """A value for a sentence."""
    text = str(value)
    return repr(text if len(text) <= most else text[: most - 3] + "...")


def shortlist(names: Sequence[object], most: int = 12) -> str:
    """Names for a sentence, not too many of them."""
    shown = ", ".join(one_line(n) for n in names[:most]) or "nothing"
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"


def one_line(text: object) -> str:
    """Text without line breaks or runs of blanks."""
    return " ".join(str(text).split())
