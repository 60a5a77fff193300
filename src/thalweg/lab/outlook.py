"""How far a rerun is, and how long the rest of it will take, by what its parts took before."""

from __future__ import annotations

from collections.abc import Mapping

from thalweg.driver.progress import duration


class Outlook:
    """What is left of a list of experiments.

    An experiment takes what it took before; one of which that is not known, the mean of those of
    which it is; where nothing is known, its share of what the whole is said to take.

    Args:
        before: What each took before, in seconds, in the order in which they run; 0 for one that
            is stored, None for one of which nothing is known.
        whole: What all are said to take, in seconds; None where nothing is said.
    """

    def __init__(self, before: Mapping[str, float | None], whole: float | None = None) -> None:
        """See the class."""
        self._seconds, self._whole = dict(before), whole
        self._stored = {name for name, seconds in before.items() if seconds == 0}
        self._left = list(before)

    def at(self, name: str) -> str:
        """As "3 of 11, about 1 min left", when the experiment of this name begins."""
        told = f"{len(self._seconds) - len(self._left) + 1} of {len(self._seconds)}"
        known = [s for n, s in self._seconds.items() if s is not None and n not in self._stored]
        usual = self._whole and self._whole / len(self._seconds)
        each = sum(known) / len(known) if known else usual
        if each is None:
            return told
        left = sum(each if (s := self._seconds[n]) is None else s for n in self._left)
        return f"{told}, {duration(left)} left"

    def took(self, name: str, seconds: float) -> None:
        """The experiment of this name is over."""
        if name not in self._stored:
            self._seconds[name] = seconds
        self._left.remove(name)
