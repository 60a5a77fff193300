"""Where one regime ends over a hyper-parameter: brackets on the grid, spread over seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike


class RegimeBoundary(NamedTuple):
    """Up to which value something holds, for each seed between two neighbours of the grid.

    Attributes:
        name: What holds below it, as "follows gradient flow".
        lower: The largest value up to which it holds without a gap, by seed; 0 where it holds
            nowhere.
        upper: The next value of the grid, where it does not; infinite where it holds everywhere.
        again: Whether it holds for some seed once more at a larger value.
        undecided: Whether for some seed there are values between of which it is not known.
    """

    name: str
    lower: Float[np.ndarray, " seeds"]
    upper: Float[np.ndarray, " seeds"]
    again: bool
    undecided: bool = False

    @property
    def bracket(self) -> tuple[float, float]:
        """From the lowest value up to which it holds for every seed, to where it does for none."""
        return float(self.lower.min()), float(self.upper.max())

    @property
    def estimate(self) -> tuple[float, float]:
        """The middle of the bracket on a logarithmic scale, and the factor by which it may err.

        Both NaN if the bracket is open.
        """
        low, high = self.bracket
        if low <= 0 or not np.isfinite(high):
            return float("nan"), float("nan")
        return float(np.sqrt(low * high)), float(np.sqrt(high / low))

    def sentence(self, quantity: str) -> str:
        """Where it lies, in words.

        Args:
            quantity: What is swept over, as "step size".
        """
        low, high = self.bracket
        if self.undecided:
            known = (
                f"up to a {quantity} of {low:.4g} at least" if low > 0 else "at none for certain"
            )
            most = f", of {high:.4g} at most" if np.isfinite(high) else ""
            return f"It {self.name} {known}{most}: beyond, flows ended before the runs did."
        if not np.isfinite(self.upper).any():
            return f"It {self.name} throughout the sweep, up to {low:.4g}."
        if not self.lower.any():
            return f"It {self.name} nowhere in the sweep, not even at {high:.4g}."
        beyond = f"{high:.4g}" if np.isfinite(high) else "the end of the sweep"
        below = f"{low:.4g}" if low > 0 else "the beginning of the sweep"
        seeds = f", over {len(self.lower)} seeds" if len(self.lower) > 1 else ""
        more = "; it does so again at some larger one, so that this is no sharp end"
        return (
            f"It {self.name} up to a {quantity} between {below} and {beyond}{seeds}"
            f"{more if self.again else ''}."
        )


def boundary(
    name: str,
    values: ArrayLike,
    holds: Bool[np.ndarray, "n seeds"],
    known: Bool[np.ndarray, "n seeds"] | None = None,
) -> RegimeBoundary:
    """Up to which of ascending values something holds without a gap.

    Args:
        name: What holds.
        values: Ascending and positive, shape (n,).
        holds: Whether it is known to, by value and seed.
        known: Whether it is known at all; everywhere by default.

    Returns:
        The true boundary of a seed, if there is but one, lies in (lower, upper].
    """
    grid = np.asarray(values, float)
    fails = ~holds if known is None else ~holds & known
    count = np.where(holds.all(axis=0), len(grid), np.argmin(holds, axis=0))
    fall = np.where(fails.any(axis=0), np.argmax(fails, axis=0), len(grid))
    ends = np.concatenate([[0.0], grid])
    beyond = np.concatenate([grid, [np.inf]])
    later = np.arange(len(grid))[:, None] > fall
    again = bool((holds & later).any())
    return RegimeBoundary(name, ends[count], beyond[fall], again, bool((fall > count).any()))
