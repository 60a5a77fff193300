"""Where a logarithmic axis is labelled: two labels or more whatever its range, none overlapping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from thalweg.report.text import text_width

SIZE = 11  # of the labels, in pixels
GAP = 10.0  # between two labels, at least

Span = tuple[float, float]


def log_range(parts: list[np.ndarray]) -> tuple[float, float] | None:
    """The exponents between which an axis runs: a twentieth beyond the values on each side."""
    values = np.concatenate([np.empty(0), *parts])
    drawn = values[np.isfinite(values) & (values > 0)]
    if not drawn.size:
        return None
    low, high = (float(np.log10(end(drawn))) for end in (np.min, np.max))
    margin = 0.05 * (high - low) if high - low > 1e-6 else 0.15
    return max(low - margin, -307.0), min(high + margin, 308.0)


def linear_range(parts: list[np.ndarray]) -> tuple[float, float] | None:
    """The ends of a linear axis: a fiftieth beyond the values on each side."""
    values = np.concatenate([np.empty(0), *parts])
    drawn = values[np.isfinite(values)]
    if not drawn.size:
        return None
    low, high = float(drawn.min()), float(drawn.max())
    margin = 0.02 * (high - low) if high > low else 0.5 * abs(low) or 0.5
    return low - margin, high + margin


def log_ticks(span: tuple[float, float], pixels: float, upright: bool) -> dict[str, Any]:
    """The ticks of a logarithmic axis, as Plotly's attributes.

    Of the schemes "decades", "1, 2, 5 of each decade", "1, 3 of each decade" and "even steps" the
    first is taken that has three labels with room for each; else the one with most.

    Args:
        span: The exponents of both ends.
        pixels: The length of the axis.
        upright: Whether the axis is vertical, so that its labels need their height alone.
    """
    best: list[float] = []
    for values in _schemes(*span):
        ends = 10.0 ** np.array(span) * np.array([1 - 1e-9, 1 + 1e-9])
        inside = [value for value in values if ends[0] <= value <= ends[1]]
        if _fits(inside, span, pixels, upright) and len(inside) > len(best):
            best = inside
            if len(best) > 2:
                break
    minor = list(_multiples(*span, range(1, 10))) if span[1] - span[0] < 5 else []
    return {
        "tickmode": "array",
        "tickvals": best,
        "ticktext": tick_texts(best),
        "minor": {"tickmode": "array", "tickvals": minor, "ticks": "outside", "ticklen": 2},
    }


def _schemes(low: float, high: float) -> Iterator[list[float]]:
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    stride = 1
    while last - first >= stride:
        yield [10.0**power for power in range(-(-first // stride) * stride, last + 1, stride)]
        stride += 1 if stride < 5 else stride
    yield list(_multiples(low, high, (1, 2, 5)))
    yield list(_multiples(low, high, (1, 3)))
    if high - low < 1.5:
        for count in (6, 5, 4, 3, 2):
            yield _even(10.0**low, 10.0**high, count)
        for stride in (2, 3, 4):
            yield _even(10.0**low, 10.0**high, 6)[::stride]
    yield [10.0**power for power in range(first, last + 1)]


def _multiples(low: float, high: float, factors: Any) -> Iterator[float]:
    for power in range(math.floor(low), math.ceil(high) + 1):
        for factor in factors:
            if low - 1e-9 <= math.log10(factor) + power <= high + 1e-9:
                yield float(f"{factor}e{power}")


def _even(low: float, high: float, count: int) -> list[float]:
    """About so many round values in equal steps."""
    raw = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 0.0
    if not unit or not math.isfinite(unit):
        return []
    step = unit * next(nice for nice in (1, 2, 5, 10) if nice * unit >= raw * (1 - 1e-9))
    return [float(f"{k * step:.12g}") for k in range(math.ceil(low / step), int(high / step) + 1)]


def _fits(values: list[float], span: tuple[float, float], pixels: float, upright: bool) -> bool:
    scale = pixels / (span[1] - span[0])
    at = [scale * math.log10(value) for value in values]
    size = [SIZE * 1.6 if upright else _width(text) for text in tick_texts(values)]
    pairs = range(len(values) - 1)
    return len(set(tick_texts(values))) == len(values) and all(
        at[i + 1] - at[i] >= (size[i] + size[i + 1]) / 2 + GAP for i in pairs
    )


def tick_texts(values: list[float]) -> list[str]:
    """Labels of one axis, all in one manner, in Plotly's HTML."""
    plain = all(1e-3 <= value < 1e4 for value in values)
    say: Callable[[float], str] = (lambda value: f"{value:.6g}") if plain else _power
    return [say(value) for value in values]


def _power(value: float) -> str:
    mantissa, _, exponent = f"{value:.5e}".partition("e")
    factor = mantissa.rstrip("0").rstrip(".")
    power = f"10<sup>{str(int(exponent)).replace('-', '−')}</sup>"
    return power if factor == "1" else f"{factor}×{power}"


def _width(text: str) -> float:
    base, _, power = text.removesuffix("</sup>").partition("<sup>")
    return text_width(base, SIZE) + text_width(power, 0.75 * SIZE)
