"""Values in words: `0.1,0.2,0.5`, `0.1:0.5:5` evenly spaced, `0.01:2:20log` on a logarithm."""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Float

from thalweg.core.errors import require

MOST = 1000
_RANGE = re.compile(r"([^:,]+):([^:,]+):\s*(\d+)\s*(log)?")


def values_of(text: str, name: str) -> Float[np.ndarray, " n"]:
    """Positive numbers from words, ascending.

    Args:
        text: `a,b,c`; `a:b:n`, n values evenly spaced from a to b; or `a:b:nlog`, the same on a
            logarithmic scale.
        name: What they are values of, for sentences.

    Raises:
        InputError: If the words are none of these, a value is not positive or comes twice.

    Examples:
        >>> from thalweg.sweeps.grid import values_of
        >>> values_of("0.01:1:3log", "step_size").tolist()
        [0.01, 0.1, 1.0]
    """
    found = _RANGE.fullmatch(text.strip())
    ways = "0.1,0.2,0.5, as 0.1:0.5:5 (evenly spaced), or as 0.01:2:20log (on a logarithm)"
    if found is None:
        values = [_number(part) for part in text.split(",")]
        fits = all(value is not None for value in values)
        require(fits and ":" not in text, f"{name} came as {text!r}; give values as {ways}")
        grid = np.asarray(values, np.float64)
    else:
        low, high = (_number(found[i]) for i in (1, 2))
        count = int(found[3]) if len(found[3]) < 9 else MOST + 1
        require(
            low is not None and high is not None and 0 < low < high,
            f"{name} came as {text!r}; give a range from a positive number to a larger one, as in "
            "0.01:2:20log",
        )
        assert low is not None
        assert high is not None
        require(
            2 <= count <= MOST,
            f"{name} came as {text!r}; give 2 to {MOST} values, as in 0.01:2:20log",
        )
        grid = (np.geomspace if found[4] else np.linspace)(low, high, count)
    require(bool(np.all(grid > 0)), f"{name} came as {text!r}; give positive numbers, as {ways}")
    require(len(np.unique(grid)) == len(grid), f"{name} came as {text!r}; give each value once")
    return np.sort(grid)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
