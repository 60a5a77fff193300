"""What a comparison says: the numbers behind a regime, what a guarantee is worth, what to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from thalweg.comparison.certificates import SeedCertificate
from thalweg.comparison.regime import EDGE, THROWN, Course, capital, catapult
from thalweg.dynamics.stability import StabilityRule

PROBES = {
    "sharpness": "tw.probes.sharpness()",
    "preconditioned_sharpness": "tw.probes.preconditioned_sharpness()",
}
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

    @property
    def way(self) -> float:
        """The farthest that the flow travels, for the seed of the largest relative distance."""
        return float(self._ways[self._worst])

    @property
    def share(self) -> float:
        """Largest distance over the way of the flow; NaN where the flow did not move."""
        gaps = self.table["distance"].max("time").values
        return float(gaps[self._worst] / self.way) if self.moved else float("nan")

    @property
    def blurred(self) -> float:
        """The same with the flow's own error added: what the distance is at most."""
        own = float(self.table["distance_error"].max("time").values[self._worst])
        return self.share + own / self.way if self.moved else float("nan")

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
        if self.step_size is None:
            return "with its schedule of step sizes"
        return f"at step size {self.step_size:g}"

    @property
    def _ways(self) -> np.ndarray:
        return self.table["displacement"].max("time").values

    @property
    def _worst(self) -> int:
        gaps = self.table["distance"].max("time").values
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = np.where(self._ways > 0, gaps / self._ways, -1.0)
        return int(np.nanargmax(np.where(np.isfinite(shares), shares, -1.0)))


def reasons(facts: Facts, extra: tuple[str, ...] = ()) -> list[str]:
    """The numbers behind a verdict, one sentence each; the last says what to do.

    Args:
        facts: What was found.
        extra: Sentences on the problem, put before the cost.
    """
    told = [_distance(facts), *_stability(facts), *_thrown(facts), *_guarantee(facts), *extra]
    table = facts.table
    spent = [int(np.max(table[f"{p}_evaluations"].isel(time=-1))) for p in ("descent", "flow")]
    told.append(
        f"Cost in gradient evaluations: {spent[0]} for {facts.name}, {spent[1]} for gradient "
        "flow with its error estimate (measurements not counted)."
    )
    return [*(sentence for sentence in told if sentence), f"What to do: {advice(facts)}."]


def _distance(facts: Facts) -> str:
    gaps = facts.table["distance"]
    if not bool(np.isfinite(gaps).any()):
        return ""
    if not facts.moved:
        return (
            f"In training time {float(facts.table['time'][-1]):g} the flow did not move beyond "
            f"rounding ({facts.name} by {float(gaps.max()):.3g}), so shares of its way say nothing."
        )
    own = float(facts.table["distance_error"].max())
    end = gaps.dropna("time", how="all").isel(time=-1)
    return (
        f"Distance from the flow at equal time: at most {float(gaps.max()):.3g} "
        f"(+-{own:.1g}), which is {100 * facts.share:.3g} % of "
        f"the way that the flow travels ({facts.eps:.0%} counts as following it); "
        f"{float(end.max()):.3g} at the last common time {float(end['time']):g}."
    )


def _stability(facts: Facts) -> list[str]:
    rule, seen = facts.rule, facts.worst
    if not rule.known:
        return [
            f"No stability rule is known for {facts.name}: {rule.because}; whether it is at the "
            "edge of stability is not judged."
        ]
    eigenvalue = rule.eigenvalue.replace("_", " ")
    if not seen.judged:
        return [
            f"Whether {facts.name} is stable is not judged: what counts is the {eigenvalue} "
            f"against {_threshold(rule)}, and it was not measured along the run; add the probe "
            f"{PROBES.get(rule.eigenvalue, rule.eigenvalue)}."
        ]
    known = np.flatnonzero(np.isfinite(seen.ratio))
    top = int(known[np.argmax(seen.ratio[known])])
    error = float(rule.threshold * seen.error[top])
    told = (
        f"{capital(eigenvalue)} reaches {rule.threshold * seen.ratio[top]:.4g} (+-{error:.1g}); "
        f"the threshold is {_threshold(rule)} (at most {seen.ratio[top]:.3g} times that, "
        f"{seen.ratio[known[0]]:.3g} at the first record, {seen.ratio[known[-1]]:.3g} at the last)"
    )
    doubt = [rule.because] if rule.kind != "exact" else []
    if facts.given:
        doubt.append("it was measured with the diagonal given, which must be the method's own")
    sentences = [f"{told}{'; ' if doubt else ''}{'; '.join(doubt)}."]
    table = facts.table
    if "flow_stability" in table and float(table["flow_stability"].max()) > 1:
        crossing = (table["flow_stability"] > 1).any("seed")
        time = float(table["time"][int(np.argmax(crossing.values))])
        times = (
            f"at {int(crossing.sum())} of {crossing.size} records, first at training time {time:g}"
        )
        short = rule.formula if rule.formula.startswith("2") else "the threshold"
        sentences.append(
            f"The flow itself meets a sharpness above {short}, {times}: {facts.name} of this step "
            "size cannot follow it there."
        )
    return sentences


def _threshold(rule: StabilityRule) -> str:
    formula = rule.formula if rule.formula[:1] in "2(" else f"({rule.formula})"
    return f"{formula} = {rule.threshold:.4g}"


def _thrown(facts: Facts) -> list[str]:
    """What a catapult did, or that a threshold was passed without one."""
    seen = facts.worst
    if facts.regime == "divergent":
        return [_lost(facts)]
    if not seen.judged:
        return []
    eigenvalue = facts.rule.eigenvalue.replace("_", " ")
    above = np.flatnonzero(np.nan_to_num(seen.ratio) - seen.error > 1)
    thrown = catapult(seen)
    if thrown is not None and facts.regime == "catapult":
        back = int(np.flatnonzero(np.isfinite(seen.ratio[above[-1] :]))[1]) + int(above[-1])
        loss, (begin, end) = seen.loss, seen.time[[thrown, above[-1]]]
        when = f"at training time {begin:g}"
        if end > begin:
            when = f"from training time {begin:g} to {end:g} at least"
        return [
            f"A catapult: above its threshold {when}, small disturbances grow with every step; the "
            f"loss went from {loss[thrown]:.4g} to at most {np.nanmax(loss[thrown:]):.4g} at the "
            f"records, and from training time {seen.time[back]:g} on the {eigenvalue} is below the "
            f"threshold; the loss ends at {loss[-1]:.4g}."
        ]
    if above.size and facts.regime in ("gradient flow", "off the flow"):
        known = int(np.isfinite(seen.ratio).sum())
        return [
            f"The threshold was exceeded at {above.size} of {known} records, last at training time "
            f"{seen.time[above[-1]]:g}."
        ]
    return []


def _lost(facts: Facts) -> str:
    """How a divergence shows."""
    lost = [c for c in facts.courses.values() if c.lost]
    if lost:
        last = max(
            float(c.time[np.isfinite(c.loss)][-1]) for c in lost if np.isfinite(c.loss).any()
        )
        return f"The loss is finite up to training time {last:g}, and no longer at the next record."
    seen = max(facts.courses.values(), key=lambda c: float(c.loss[-1] - c.loss[0]))
    return (
        f"The loss went from {seen.loss[0]:.4g} to {seen.loss[-1]:.4g} at the last record, at most "
        f"{np.nanmax(seen.loss):.4g}."
    )


def _guarantee(facts: Facts) -> list[str]:
    """The step size that the theorem indicates, and what that is worth here."""
    if not facts.certificates or not facts.moved:
        return []
    least = min(facts.certificates, key=lambda c: c.certificate.step_size).certificate
    if not least.step_size > 0:
        return [
            "The theorem of Elkabetz and Cohen indicates no step size above zero along this flow: "
            "its bound grows beyond the numbers, so it says nothing here."
        ]
    told = (
        f"The theorem of Elkabetz and Cohen indicates step sizes up to {least.step_size:.2e} for a "
        f"distance of {facts.eps:.0%} of the way ({least.eps:.3g}), from curvature measured on the "
        f"path (a guarantee would need it on the whole tube); binding at training time "
        f"{least.binding_time:g}."
    )
    step = facts.step_size
    if step is None or not np.isfinite(least.step_size):
        return [told]
    larger = _times(step / least.step_size)
    if step <= least.step_size:
        worth = "Yours is not above it." if facts.regime == "gradient flow" else (
            "Yours is not above it and left the flow all the same: the curvature between the "
            "records, or off the path, is larger than what was measured."
        )  # fmt: skip
    elif facts.regime == "gradient flow":
        worth = (
            f"That is no sign that yours is too large: it is {larger} times "
            f"as large, and the distance measured is {100 * facts.share:.2g} % of the way. The "
            "theorem must hold for every objective with this curvature, the worst included; here "
            f"it is too pessimistic by a factor of {larger} at least."
        )
    else:
        worth = (
            f"It must hold for every objective with this curvature, the worst included: yours is "
            f"{larger} times as large, but so small a step is sufficient, not "
            "necessary."
        )
    return [told, worth]


def advice(facts: Facts) -> str:
    """What to do now, without "What to do:" and full stop."""
    if not facts.moved:
        return "ask for a longer training time or a larger step size; this one shows nothing"
    kinds = {
        "gradient flow": _keep,
        "off the flow": _nearer,
        "catapult": _gentler,
        "edge of stability": _below,
        "divergent": _lower,
    }
    return kinds[facts.regime](facts)


def _keep(facts: Facts) -> str:
    if not facts.plain or facts.step_size is None:
        return "keep the step size; it follows the flow"
    # The distance of Euler's method grows in proportion to the step, to first order.
    far = facts.step_size * facts.eps / max(facts.blurred, 1e-300)
    stable = _stable_step(facts, EDGE)
    if far < 1.2 * facts.step_size:
        return "keep the step size; a larger one would soon leave the flow"
    bounds = min(far, stable) if stable is not None else far
    if bounds < 1.2 * facts.step_size:
        return "keep the step size; a larger one would come near the edge of stability"
    why = (
        f"there the distance, which grows about in proportion to the step, would reach "
        f"{facts.eps:.0%} of the way"
        if bounds == far
        else "there the sharpness met here would come near 2/eta"
    )
    return f"keep the step size; larger ones can do as well, up to about {_short(bounds)} ({why})"


def _nearer(facts: Facts) -> str:
    stable = facts.worst.stable
    known = "it is stable" if stable else "whether it is stable is not known"
    if facts.worst.judged and not stable:
        known = "it came near or above its threshold"
    if facts.plain and facts.step_size is not None:
        near = facts.step_size * facts.eps / facts.share
        follow = (
            f"to follow the flow, lower the step size to about {_short(near)} (the distance falls "
            "about in proportion to the step) and compare again"
        )
    elif abs(facts.rule.reach - 1) > CLOCK and facts.step_size is not None:
        clock = facts.step_size * facts.rule.reach
        follow = (
            f"to compare it with the flow, let its clock count {clock:.4g} a step (step_size="
            f"{clock:.4g} in optax_dynamics), which is how far a lasting gradient moves it"
        )
    elif facts.rule.eigenvalue == "preconditioned_sharpness":
        follow = "a preconditioned method goes another way than gradient flow at any step size"
    else:
        follow = "to see whether it can follow the flow, compare a smaller step size"
    return f"if only the loss matters, keep what works ({known}); {follow}"


def _gentler(facts: Facts) -> str:
    start = float(facts.worst.ratio[np.isfinite(facts.worst.ratio)][0])
    gentle = _stable_step(facts, 1 / THROWN)
    told = "judge it by where it ended (the loss above), not by the path, which is not the flow's"
    if gentle is not None and gentle < (facts.step_size or np.inf):
        told += (
            f"; a step size below about {_short(gentle)} stays under the threshold along the flow; "
            "if that is too small for you, scale inputs and targets, which lowers the curvature"
        )
    elif start > 1:
        told += f"; a step size {start:.3g} times smaller starts at the threshold"
    return told


def _below(facts: Facts) -> str:
    losses = [(c.loss[np.isfinite(c.loss)][0], c.loss[-1]) for c in facts.courses.values()]
    falls = all(last < first for first, last in losses)
    told = "training at the edge is common and can go on for long" if falls else (
        "the loss has not fallen, so lower the step size"
    )  # fmt: skip
    gentle = _stable_step(facts, 0.9)
    if gentle is not None and facts.step_size is not None and gentle < facts.step_size:
        return (
            f"{told}; a step size below about {_short(gentle)} stays under the threshold along the "
            "whole flow measured here"
        )
    return f"{told}; for a path nearer the flow halve the step size and compare again"


def _lower(facts: Facts) -> str:
    gentle = _stable_step(facts, 0.9)
    if gentle is not None and facts.step_size is not None and gentle < facts.step_size:
        return (
            f"lower the step size, to about {_short(gentle)} or less: there the sharpness seen "
            "along the flow stays below the threshold"
        )
    first = [c.ratio[np.isfinite(c.ratio)][0] for c in facts.courses.values() if c.judged]
    if first and max(first) > 1 and facts.step_size is not None:
        step = 0.9 * facts.step_size / max(first)
        return f"lower the step size, to about {_short(step)} or less: there the start is stable"
    return "lower the step size, at first to a tenth, and compare again"


def _stable_step(facts: Facts, share: float) -> float | None:
    """The step size at which the sharpest point of the flow is at a share of the threshold."""
    if facts.step_size is None or facts.rule.eigenvalue != "sharpness" or not facts.rule.known:
        return None
    met = [facts.table[f"{p}_stability"] for p in ("flow",) if f"{p}_stability" in facts.table]
    if facts.regime == "gradient flow" and "descent_stability" in facts.table:
        met.append(facts.table["descent_stability"])
    top = max((float(ratio.max()) for ratio in met), default=float("nan"))
    return share * facts.step_size / top if top > 0 else None


def _times(factor: float) -> str:
    """A factor to two digits, as "5,000"."""
    rounded = float(f"{factor:.2g}")
    return f"{rounded:,.0f}" if 10 <= rounded < 1e6 else f"{rounded:g}"


def _short(value: float) -> str:
    """Two digits, rounded down: a bound must not grow by being told."""
    if not (np.isfinite(value) and value > 0):
        return f"{value:g}"
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return f"{np.floor(value / unit * (1 + 1e-12)) * unit:.2g}"
