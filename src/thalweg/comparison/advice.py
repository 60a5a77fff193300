"""What a comparison says to do now."""

from __future__ import annotations

import numpy as np

from thalweg.comparison.facts import CLOCK, Facts
from thalweg.comparison.regime import EDGE, THROWN


def advice(facts: Facts) -> str:
    """What to do now, without "What to do:" and full stop."""
    if not facts.moved and facts.regime != "undecided":
        return (
            f"ask for a longer training time or a larger {facts.knob}, or start elsewhere: where "
            "the gradient is zero nothing moves, whatever the step"
        )
    kinds = {
        "on the flow": _keep,
        "undecided": _to_the_end,
        "off the flow": _nearer,
        "catapult": _gentler,
        "edge of stability": _below,
        "divergent": _lower,
    }
    return kinds[facts.regime](facts)


def _keep(facts: Facts) -> str:
    if facts.finds:
        return f"keep it; at equal loss it is where {facts.flow} is, though it takes other steps"
    if facts.apart:
        return (
            f"keep the {facts.knob}; at equal loss it is where {facts.flow} is, though that is not "
            "known to be its limit"
        )
    if not facts.plain or facts.step_size is None:
        return f"keep the {facts.knob}; it follows the flow"
    # The distance of Euler's method grows in proportion to the step, to first order.
    far = facts.step_size * facts.eps / max(facts.blurred, 1e-300)
    stable = _stable_step(facts, EDGE)
    if far < 1.2 * facts.step_size:
        return f"keep the {facts.knob}; a larger one would soon leave the flow"
    bounds = min(far, stable) if stable is not None else far
    if bounds < 1.2 * facts.step_size:
        return f"keep the {facts.knob}; a larger one would come near the edge of stability"
    why = (
        f"there the distance, which grows about in proportion to the step, would reach "
        f"{facts.eps:.0%} of the way"
        if bounds == far
        else "there the sharpness met here would come near 2/eta"
    )
    most = _told(facts, bounds)
    return f"keep the {facts.knob}; larger ones can do as well, up to about {most} ({why})"


def _to_the_end(facts: Facts) -> str:
    known = np.isfinite(facts.table["distance"].values).all(axis=0)
    far = float(facts.table["time"].values[known][-1])
    told = f", or end the run at training time {far:.4g}, up to which both are known"
    return (
        "let the flow go on to the end of the run (a note says what stopped it, if anything did)"
        + (told if far > 0 else "")
    )


def _nearer(facts: Facts) -> str:
    stable = facts.worst.stable
    known = "it is stable" if stable else "whether it is stable is not known"
    if facts.worst.sunk:
        known = "but its loss falls, and no minimum is in sight"
    elif facts.worst.judged and not stable:
        known = "it came near or above its threshold"
    if facts.finds:
        follow = f"it has no step size that would bring it nearer {facts.flow}"
    elif facts.apart:
        follow = f"it need not come nearer {facts.flow} at any {facts.knob}"
        if facts.met:
            follow += ", and at equal loss the two are at different places"
    elif facts.plain and facts.step_size is not None:
        near = facts.step_size * facts.eps / facts.share
        follow = (
            f"to follow the flow, lower the {facts.knob} to about {_told(facts, near)} (the "
            "distance falls about in proportion to the step) and compare again"
        )
    elif abs(facts.rule.reach - 1) > CLOCK and facts.step_size is not None:
        clock = facts.step_size * facts.rule.reach
        follow = (
            f"to compare it with the flow, let its clock count {clock:.4g} a step (step_size="
            f"{clock:.4g} in optax_dynamics), which is how far a lasting gradient moves it"
        )
    elif facts.rule.eigenvalue == "preconditioned_sharpness" and facts.step_size is not None:
        averages = "" if "matrix" in facts.rule.because else (
            ", and 1 - beta of its averages in proportion (that keeps the flow),"
        )  # fmt: skip
        follow = f"to follow the flow, lower the {facts.knob}{averages} and compare again"
    else:
        follow = f"to see whether it can follow the flow, compare a smaller {facts.knob}"
    return f"if only the loss matters, keep what works ({known}); {follow}"


def _gentler(facts: Facts) -> str:
    start = float(facts.worst.ratio[np.isfinite(facts.worst.ratio)][0])
    gentle = _stable_step(facts, 1 / THROWN)
    told = "judge it by where it ended (the loss above), not by the path, which is no flow's"
    if gentle is not None and gentle < (facts.step_size or np.inf):
        told += (
            f"; a {facts.knob} below about {_told(facts, gentle)} stays under the threshold along "
            "the flow"
        )
        if facts.data:
            told += (
                "; if that is too small for you, scale inputs and targets, which lowers the "
                "curvature"
            )
    elif start > 1:
        told += f"; a {facts.knob} {start:.3g} times smaller starts at the threshold"
    return told


def _below(facts: Facts) -> str:
    losses = [(c.loss[np.isfinite(c.loss)][0], c.loss[-1]) for c in facts.courses.values()]
    falls = all(last < first for first, last in losses)
    told = "training at the edge is common and can go on for long" if falls else (
        f"the loss has not fallen, so lower the {facts.knob}"
    )  # fmt: skip
    gentle = _stable_step(facts, 0.9)
    if gentle is not None and facts.step_size is not None and gentle < facts.step_size:
        return (
            f"{told}; a {facts.knob} below about {_told(facts, gentle)} stays under the threshold "
            "along the whole flow measured here"
        )
    if facts.apart:
        return f"{told}; a smaller {facts.knob} stays below it for longer"
    return f"{told}; for a path nearer the flow halve the {facts.knob} and compare again"


def _lower(facts: Facts) -> str:
    gentle = _stable_step(facts, 0.9)
    if gentle is not None and facts.step_size is not None and gentle < facts.step_size:
        return (
            f"lower the {facts.knob}, to about {_told(facts, gentle)} or less: there the sharpness "
            "seen along the flow stays below the threshold"
        )
    first = [c.ratio[np.isfinite(c.ratio)][0] for c in facts.courses.values() if c.judged]
    if first and max(first) > 1 and facts.step_size is not None:
        step = 0.9 * facts.step_size / max(first)
        least = _told(facts, step)
        return f"lower the {facts.knob}, to about {least} or less: there the start is stable"
    return f"lower the {facts.knob}, at first to a tenth, and compare again"


def _stable_step(facts: Facts, share: float) -> float | None:
    """The step size at which the sharpest point of the flow is at a share of the threshold."""
    if facts.step_size is None or facts.rule.eigenvalue != "sharpness" or not facts.rule.known:
        return None
    met = [facts.table[f"{p}_stability"] for p in ("flow",) if f"{p}_stability" in facts.table]
    if facts.regime == "on the flow" and "descent_stability" in facts.table:
        met.append(facts.table["descent_stability"])
    top = max((float(ratio.max()) for ratio in met), default=float("nan"))
    return share * facts.step_size / top if top > 0 else None


def _told(facts: Facts, step_size: float) -> str:
    """A step size as the user would set it."""
    return _short(facts.turned(step_size))


def _short(value: float) -> str:
    """Two digits, rounded down: a bound must not grow by being told."""
    if not (np.isfinite(value) and value > 0):
        return f"{value:g}"
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return f"{np.floor(value / unit * (1 + 1e-12)) * unit:.2g}"
