"""What the sentences of a comparison are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from thalweg.comparison.certificates import SeedCertificate
from thalweg.comparison.regime import Course
from thalweg.dynamics.stability import StabilityRule

CLOCK = 0.01  # a lasting gradient moves by so much more or less than the clock says: told


@dataclass(frozen=True)
class Facts:
    """What the sentences are made from.

    Attributes:
        name: Of the dynamics, as it stands within a sentence.
        rule: Its stability rule.
        step_size: Its step size, None for a schedule.
        eps: The relative distance that still counts as following the flow.
        regime: The verdict.
        courses: The course of each seed.
        table: Both at the common times; `descent_stability` is the eigenvalue over its threshold.
        certificates: The approximation theorem along the flow of each seed.
        plain: Whether the dynamics is gradient descent, which theorem and extrapolation are about.
        given: Whether the preconditioned sharpness was measured with a diagonal of the user's.
        flow: The flow beside it, as it stands within a sentence.
        apart: Why it does not follow that flow as its steps go to 0, so that only points of equal
            loss compare; empty where it does, and points of equal time are compared.
        rate: The learning rate of an optimiser, where its record says; its clock may count another
            step size.
        data: Whether there are inputs and targets, that could be scaled.
        finds: Whether it finds the size of its steps itself.
    """

    name: str
    rule: StabilityRule
    step_size: float | None
    eps: float
    regime: str
    courses: dict[int, Course]
    table: xr.Dataset
    certificates: tuple[SeedCertificate, ...]
    plain: bool
    given: bool
    flow: str
    apart: str
    rate: float | None
    data: bool
    finds: bool = False

    @property
    def share(self) -> float:
        """Largest distance over the way of the flow; NaN where there is none, or no way."""
        shares = np.where(self._ways > 0, self._shares, np.nan)
        return float(np.nanmax(shares)) if np.isfinite(shares).any() else float("nan")

    @property
    def blurred(self) -> float:
        """The same with its own error added: what the distance is at most."""
        if not self.moved:
            return float("nan")
        worst = self._worst
        own = float(self.table["distance_error"].max("time").values[worst])
        return self.share + own / float(self._ways[worst])

    @property
    def met(self) -> bool:
        """Whether the two have any loss in common."""
        return bool(np.isfinite(self.table["equal_loss"]).any())

    @property
    def moved(self) -> bool:
        """Whether the flow moved at all."""
        return bool(np.nanmax(self._ways, initial=0.0) > 0)

    @property
    def worst(self) -> Course:
        """The course that came farthest beyond its threshold."""
        tops = {s: np.nanmax(c.ratio) for s, c in self.courses.items() if c.judged}
        return self.courses[max(tops, key=lambda s: tops[s]) if tops else min(self.courses)]

    @property
    def at(self) -> str:
        """The end of a sentence, as "at step size 0.1"."""
        if self.finds:
            return "with the steps that it finds itself"
        if self.step_size is None:
            at = "" if self.rate is None else f"at learning rate {self.rate:g} "
            return f"{at}with its schedule of step sizes"
        size = self.step_size if self.rate is None else self.rate
        return f"at {self.knob} {size:g}"

    @property
    def knob(self) -> str:
        """What the user turns."""
        return "step size" if self.rate is None else "learning rate"

    def turned(self, step_size: float) -> float:
        """A step size in what the user turns, which is in proportion to it."""
        if self.rate is None or not self.step_size:
            return step_size
        return step_size * self.rate / self.step_size

    @property
    def _ways(self) -> np.ndarray:
        return self.table["displacement"].max("time").values

    @property
    def _shares(self) -> np.ndarray:
        """The largest distance of each seed over the way of the flow."""
        if self.apart:
            return self.table["equal_loss_share_of_way"].max("level").values
        return self.table["share_of_way"].max("time").values

    @property
    def _worst(self) -> int:
        shares = np.where(self._ways > 0, self._shares, -1.0)
        return int(np.nanargmax(np.where(np.isfinite(shares), shares, -1.0)))
