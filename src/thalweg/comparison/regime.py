"""The regimes of a step size, and the rules that put a seed into one, from its whole run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from thalweg.dynamics.stability import StabilityRule
from thalweg.trajectory import Trajectory

# docs/concepts/regimes.md argues for the numbers.
EDGE = 0.95  # of the threshold: from here on a record counts as at the edge
EDGE_SHARE = 0.2  # of the records in the second half
FAR_BEYOND = 1.5  # times the threshold: no longer called the edge
THROWN = 1.1  # times the threshold: what starts there is thrown, seen or not
RISE = 1.01  # a loss that rises by this factor has been thrown
GROWTH = 2.0  # a loss this many times the first one has diverged,
FALLEN = 0.5  # unless it is on its way down, at most this part of its largest
SUNK = 1e3  # times the first loss below zero: it falls, and no end is in sight

# From best to worst; what is said of each.
REGIMES = {
    "on the flow": "follows {flow}",
    "undecided": "is not judged, as {flow} ended before it,",
    "off the flow": "has left {flow}",
    "catapult": "was thrown by a catapult",
    "edge of stability": "is at the edge of stability",
    "divergent": "diverges",
}

# What each is, for who meets the word.
MEANINGS = {
    "on the flow": "at equal time never farther from its flow than 5 % of the way that the flow "
    "travels.\n\nWhat theory says of the flow, as where it ends, holds of the steps that nearly.",
    "undecided": "neither thrown nor at the edge, and its flow was not followed to the end of the "
    "run.\n\nWhether it follows that flow is not known. Where the flow had used up its gradients, "
    "a larger bound on them, a larger error of it or a shorter training time decides it.",
    "off the flow": "another way than its flow, without a catapult and not at the edge.\n\n"
    "Stable where the verdict says so: nothing is wrong with such a training, but what theory "
    "says of the flow need not hold of it.",
    "catapult": "begun beyond the threshold of stability, thrown, and below the threshold since."
    "\n\nThe threshold of gradient descent is 2/eta. Beyond it disturbances grow with every step; "
    "where they lead to flatter regions, training goes on there. What counts is where it ended. "
    "Source: Lewkowycz et al. (2020), arXiv 2003.02218.",
    "edge of stability": "the curvature hovers at the threshold of stability, 2/eta of gradient "
    "descent: at 0.95 of it or above in at least a fifth of the records of the second half.\n\n"
    "Along gradient flow the sharpness of a net often rises. Descent cannot follow beyond 2/eta, "
    "where a step overshoots along the sharpest direction by more than it corrects: the loss falls "
    "unevenly and the sharpness stays near that line. Source: Cohen et al. (2021), arXiv "
    "2103.00065.",
    "divergent": "the loss left the finite numbers, or ended above 2 times its start and not on "
    "its way down to 0.5 of its largest.",
}


def worst_of(regimes: Iterable[str]) -> str:
    """The worst of several regimes, in the order of `REGIMES`."""
    return max(regimes, key=list(REGIMES).index)


class Course(NamedTuple):
    """What one seed of a discrete dynamics went through, record by record.

    Attributes:
        time: Training times, (T,).
        loss: (T,), not finite from a divergence on.
        ratio: The eigenvalue over its threshold, (T,); NaN where it is not known.
        error: Of the ratio, from the error of the eigenvalue, (T,).
        lost: Whether it left the finite numbers.
        frozen: Whether the rule takes a preconditioner that moves on as it stands at each record.
    """

    time: Float[np.ndarray, " T"]
    loss: Float[np.ndarray, " T"]
    ratio: Float[np.ndarray, " T"]
    error: Float[np.ndarray, " T"]
    lost: bool
    frozen: bool = False

    @property
    def judged(self) -> bool:
        """Whether the eigenvalue of the rule is known at any record."""
        return bool(np.isfinite(self.ratio).any())

    @property
    def late(self) -> np.ndarray:
        """The ratios known in the second half of the time."""
        middle = (self.time[0] + self.time[-1]) / 2
        return self.ratio[(self.time >= middle) & np.isfinite(self.ratio)]

    @property
    def sunk(self) -> bool:
        """Whether the loss falls without end: a threshold is one of stability near a minimum."""
        finite = self.loss[np.isfinite(self.loss)]
        return bool(finite.size and finite[-1] < -SUNK * max(abs(finite[0]), 1e-300))

    @property
    def stable(self) -> bool:
        """Whether it is known to have been below its threshold throughout the second half."""
        below = self.late.size and (self.late < 1).all()
        return bool(below and not self.lost and not self.sunk)


def course(descent: Trajectory, rule: StabilityRule, seed: int) -> Course:
    """The course of a seed, over all of its own records."""
    dataset = descent.dataset
    records = dataset.sel(seed=seed)
    loss = records["loss"].values
    ratio, error = np.full(loss.shape, np.nan), np.zeros(loss.shape)
    if rule.known and rule.eigenvalue in dataset:
        value = records[rule.eigenvalue].values
        ratio = np.where(np.isfinite(value), value / rule.threshold, np.nan)
        error = np.nan_to_num(records[f"{rule.eigenvalue}_error"].values / rule.threshold)
    lost = descent.diverged[dataset["seed"].values.tolist().index(seed)]
    frozen = rule.kind == "frozen"
    return Course(dataset["time"].values, loss, ratio, error, bool(lost), frozen)


def regime_of(seen: Course, near: bool | None) -> str:
    """The regime of a seed.

    Args:
        seen: Its course.
        near: Whether it stayed within the allowed distance of the flow, at equal time or, where
            the flow is not its limit, at equal loss; None where the flow ended before it.
    """
    finite = seen.loss[np.isfinite(seen.loss)]
    if seen.lost or finite.size == 0:
        return "divergent"
    if finite[-1] > GROWTH * max(abs(finite[0]), 1e-300) and finite[-1] > FALLEN * finite.max():
        return "divergent"
    if seen.late.size and np.mean(seen.late >= EDGE) >= EDGE_SHARE:
        return "edge of stability"
    if near:
        return "on the flow"
    calm = "undecided" if near is None else "off the flow"
    return calm if catapult(seen) is None else "catapult"


def catapult(seen: Course) -> int | None:
    """The record from which a run was thrown, if it was beyond its threshold and came back.

    Beyond at its first record: thrown if the loss then rises, or if it was far enough beyond to be
    thrown between two records; the latter not by a preconditioner that moves on, which is at the
    start of Adam that of a single gradient. Beyond only later: thrown if the loss then rises, as
    excursions across the threshold belong to training near it.
    """
    known = np.flatnonzero(np.isfinite(seen.ratio))
    above = np.flatnonzero(np.nan_to_num(seen.ratio) - seen.error > 1)
    if above.size == 0 or not (known > above[-1]).any():
        return None
    first = int(above[0])
    risen = bool(np.nanmax(seen.loss[first:]) > RISE * seen.loss[first])
    far = first == known[0] and float(np.nanmax(seen.ratio)) >= THROWN and not seen.frozen
    return first if risen or far else None


# The same where only points of equal loss compare.
APART = {
    "on the flow": "goes the way of {flow}",
    "off the flow": "goes another way than {flow}",
}


def headline(
    name: str, regime: str, seen: Course, at: str, moved: bool, flow: str, apart: bool, met: bool
) -> str:
    """The verdict in one sentence.

    Args:
        name: Of the dynamics.
        regime: A key of `REGIMES`.
        seen: The course of a seed in that regime.
        at: "at step size 0.1".
        moved: Whether the flow moved at all.
        flow: The name of the flow.
        apart: Whether only points of equal loss compare, as the flow is not the limit of it.
        met: Whether there are such points.
    """
    if regime == "on the flow" and not moved:
        return f"Neither {name} nor {flow} moved beyond rounding {at}."
    said = (REGIMES | APART if apart else REGIMES)[regime].format(flow=flow)
    if regime == "off the flow" and apart and not met:
        said = "is stable" if seen.stable else f"shares no loss with {flow}"
    elif regime == "off the flow" and seen.stable:
        said = f"is stable, and {said}" if apart else f"is stable, but {said}"
    elif regime == "edge of stability" and float(np.median(seen.late)) >= FAR_BEYOND:
        said = "stays beyond the edge of stability, without diverging"
        if seen.late[-1] < 1:
            said = "was beyond the edge of stability for long, and ended below it,"
    elif regime == "divergent" and not seen.lost and seen.late.size and seen.late[-1] < 1:
        said = "was thrown to a loss above twice its start"
    elif regime == "catapult":
        first = catapult(seen)
        known = int(np.argmax(np.isfinite(seen.ratio)))
        where = "started" if first == known else "came"
        said = f"{where} beyond its threshold of stability and {said} into a flatter region"
    return f"{capital(name)} {said} {at}."


def capital(text: str) -> str:
    """The text with its first letter a capital one."""
    return text[:1].upper() + text[1:]
