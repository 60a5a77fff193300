"""What a long flow is told to cost, once that rests on something."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from thalweg.driver.progress import count, duration

COSTLY = 100_000  # gradients from which on a cost is told
SHARE = 0.1  # of the training time, before which nothing is foretold
WAITED = 10.0  # seconds, of work or of what is left, below which nobody need be told
WORN = 1.2  # times what was told at most: then it is told again
GROWN = 10.0  # times the gradients at which a slow start was told
KEPT = 256  # moments that are remembered
CHEAPER = (
    "A shorter time, a larger error of the flow, or inputs and targets of unit size cost less; "
    "most_gradients (as an option --most-gradients) ends it earlier."
)


class Expense:
    """Says what a long run will cost, and again where that proved too little.

    Steps of a flow are often short at first and longer by orders of magnitude later, so that its
    early pace says nothing of the whole. What is foretold is a range of the gradients up to the
    end, and only once a tenth of the training time is done. Its ends are the least and the most of
    three continuations: at the pace of the time since the last half, at the pace of the next step,
    and as the power of time c t^q + d that fits the path since a tenth of the time. A pace that
    changes otherwise leaves the range; it is told again when it does.
    Before that it says what was spent, and on how much.

    Args:
        name: What is run.
        note: Where the sentence goes.
    """

    def __init__(self, name: str, note: Callable[[str], None]) -> None:
        """See the class."""
        self._name, self._note = name.capitalize(), note
        self._told, self._slow = 0.0, COSTLY / GROWN
        self._times: list[np.ndarray] = []
        self._spent: list[np.ndarray] = []
        self._seconds = 0.0

    def tell(
        self,
        times: ArrayLike,
        spent: ArrayLike,
        expected: ArrayLike,
        seconds: float,
        until: float,
        most: float,
    ) -> None:
        """Take in a chunk of work.

        Args:
            times: Training times reached, by seed.
            spent: Gradients so far, by seed.
            expected: Gradients to the end if steps stay as long as the next one, by seed.
            seconds: That the chunk took.
            until: Training time of the end.
            most: Gradients at which the run ends by itself.
        """
        if len(self._times) > KEPT:
            self._times, self._spent = _thinned(self._times), _thinned(self._spent)
        self._times.append(np.asarray(times, float))
        self._spent.append(np.asarray(spent, float))
        if len(self._times) == 1:  # the first chunk waits for the compiler
            return
        self._seconds += seconds
        speed = np.max(self._spent[-1] - self._spent[0]) / max(self._seconds, 1e-9)
        going = np.flatnonzero(self._times[-1] > self._times[-2]).tolist()
        if not going or speed <= 0:
            return
        slowest = min(going, key=lambda i: float(self._times[-1][i]))
        if self._times[-1][slowest] < SHARE * until:
            return self._tell_start(slowest, until)
        ranges = [(i, self._foretold(i, float(np.asarray(expected)[i]), until)) for i in going]
        known = [(i, told) for i, told in ranges if told is not None]
        if known:
            seed, (low, high) = max(known, key=lambda one: one[1][1])
            self._tell_range(seed, low, high, speed, until, most)

    def _foretold(self, seed: int, expected: float, until: float) -> tuple[float, float] | None:
        """The least and the most gradients up to the end; None where too little is known."""
        times, moved = np.unique([t[seed] for t in self._times], return_index=True)
        spent = np.array([self._spent[i][seed] for i in moved])
        now, here = times[-1], spent[-1]
        begun = int(np.searchsorted(times, SHARE * now))
        inside = times[begun:-1]
        if inside.size < 2 or inside[0] <= 0:
            return None
        half = begun + int(np.argmin(np.abs(np.log(inside / math.sqrt(inside[0] * now)))))
        half = max(half, begun + 1)
        before, later = np.diff(spent[[begun, half, -1]])
        rest = max(until - now, 0.0)
        left = [rest * later / (now - times[half])]
        if math.isfinite(expected):
            left.append(expected - here)
        if before > 0 and later > 0:
            moments = (float(times[begun]), float(times[half]), float(now))
            left.append(later * _share(moments, until, later / before))
        return here + min(left), here + max(left)

    def _tell_start(self, seed: int, until: float) -> None:
        """Say what a slow start has cost."""
        spent, now = self._spent[-1][seed], self._times[-1][seed]
        if spent < GROWN * self._slow or self._seconds < WAITED:
            return
        self._slow = spent
        self._note(
            f"{self._name} is costly here: {count(spent)} gradients{self._each} took it to "
            f"training time {now:.2g} of {until:g}, {duration(self._seconds)} so far. What the "
            f"rest costs cannot be told before training time {SHARE * until:g}. {CHEAPER}"
        )

    def _tell_range(
        self, seed: int, low: float, high: float, speed: float, until: float, most: float
    ) -> None:
        """Say what the whole costs."""
        spent = self._spent[-1][seed]
        least, longest = ((min(end, most) - spent) / speed for end in (low, high))
        if low < max(COSTLY, WORN * self._told) or longest < WAITED:
            return
        self._told = high
        end = ""
        if most < high:
            ends = "ends" if most < low else "may end"
            end = f", and {ends} before, at {most:,.0f} gradients"
        needed = f"{_between(count(low), count(high))} gradients{self._each}"
        self._note(
            f"{self._name} is costly here: if its pace goes on as up to training time "
            f"{self._times[-1][seed]:.2g}, it needs {needed} to training time {until:g}{end}; "
            f"{_between(duration(least), duration(longest))} more at the measured speed. {CHEAPER}"
        )

    @property
    def _each(self) -> str:
        return " a seed" if self._spent[-1].size > 1 else ""


def _thinned(moments: list[np.ndarray]) -> list[np.ndarray]:
    """Half of them, the first and the last included."""
    return [*moments[:-1:2], moments[-1]]


def _share(moments: tuple[float, float, float], until: float, ratio: float) -> float:
    """What t^q gains from the last moment on, in units of its gain since the one before.

    q is such that this gain is `ratio` times the one before it, at most 5 and at least -4: what is
    steeper is no law, but a corner between two phases.
    """
    first, half, now = moments

    def gain(a: float, b: float, q: float) -> float:
        return math.log(b / a) if abs(q) < 1e-9 else ((b / now) ** q - (a / now) ** q) / q

    def beyond(q: float) -> float:
        return math.log(gain(half, now, q) / gain(first, half, q) / ratio)

    least, most = -4.0, 5.0  # the ratio of gains grows with q
    if beyond(least) >= 0:
        q = least
    else:
        q = most if beyond(most) <= 0 else float(brentq(beyond, least, most))
    return gain(now, until, q) / gain(half, now, q)


def _between(low: str, high: str) -> str:
    """Two ends, or one if they are told alike."""
    low, high = low.removeprefix("about "), high.removeprefix("about ")
    return f"about {low}" if low == high else f"between {low} and {high}"
