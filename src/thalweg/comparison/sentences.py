"""What a comparison says: the numbers behind a regime, and what a guarantee is worth."""

from __future__ import annotations

import numpy as np

from thalweg.comparison.advice import advice
from thalweg.comparison.facts import Facts
from thalweg.comparison.regime import capital, catapult

PROBES = {
    "sharpness": "tw.probes.sharpness()",
    "preconditioned_sharpness": "tw.probes.preconditioned_sharpness()",
}


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
        f"Cost in gradient evaluations: {spent[0]} for {facts.name}, {spent[1]} for {facts.flow} "
        "with its error estimate (measurements not counted)."
    )
    return [*(sentence for sentence in told if sentence), f"What to do: {advice(facts)}."]


def _distance(facts: Facts) -> str:
    gaps = facts.table["distance"]
    if not bool(np.isfinite(gaps).any()):
        return ""
    if not facts.moved and facts.regime == "undecided":
        return f"Of {facts.flow} the start alone is known."
    if not facts.moved:
        return (
            f"In training time {float(facts.table['time'][-1]):g} the flow did not move beyond "
            f"rounding ({facts.name} by {float(gaps.max()):.3g}), so shares of its way say nothing."
        )
    if facts.apart:
        return _at_equal_loss(facts)
    own = float(facts.table["distance_error"].max())
    end = gaps.dropna("time", how="all").isel(time=-1)
    return (
        f"Distance from {facts.flow} at equal time{_clock(facts)}: at most "
        f"{float(gaps.max()):.3g} "
        f"(±{own:.1g}), which is {_part(facts.share)} "
        f"the way that the flow travels ({facts.eps:.0%} counts as following it); "
        f"{float(end.max()):.3g} at the last common time {float(end['time']):g}."
    )


def _part(share: float) -> str:
    """How much of the way, as "3.2 % of" or "15 times"."""
    return f"{share:.3g} times" if share >= 10 else f"{100 * share:.3g} % of"


def _clock(facts: Facts) -> str:
    """What a step counts, where that is not what the user turns."""
    size, rate = facts.step_size, facts.rate
    if size is None or rate is None or abs(size - rate) <= 1e-9 * size:
        return ""
    return f" (a step counts {size:.4g})"


def _at_equal_loss(facts: Facts) -> str:
    """Why not the same time, and how far apart the two are where their losses are equal."""
    told = f"At equal time {facts.name} and {facts.flow} do not compare: {facts.apart}"
    if not facts.met:
        return (
            f"{told}; and they share no range of positive losses, so that their distance says "
            "nothing of the step size."
        )
    levels, gaps = facts.table["equal_loss"], facts.table["equal_loss_distance"]
    farthest = int(np.nanargmax(gaps.values))
    error = float(facts.table["equal_loss_distance_error"].values.flat[farthest])
    return (
        f"{told}. Where their losses are equal, from {float(levels.max()):.4g} down to "
        f"{float(levels.min()):.4g}, they are at most {float(gaps.max()):.3g} apart (±"
        f"{error:.1g}), which is {_part(facts.share)} the way that the "
        f"flow travels to there ({facts.eps:.0%} counts as the same way)."
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
            f"against {_threshold(facts)}, and it was not measured along the run; add the probe "
            f"{PROBES.get(rule.eigenvalue, rule.eigenvalue)}."
        ]
    known = np.flatnonzero(np.isfinite(seen.ratio))
    top = int(known[np.argmax(seen.ratio[known])])
    error = float(rule.threshold * seen.error[top])
    told = (
        f"{capital(eigenvalue)} reaches {rule.threshold * seen.ratio[top]:.4g} (±{error:.1g}); "
        f"the threshold is {_threshold(facts)} (at most {seen.ratio[top]:.3g} times that, "
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
            f"The flow itself meets a {eigenvalue} above {short}, {times}: {facts.name} of this "
            f"{facts.knob} cannot follow it there."
        )
    return sentences


def _threshold(facts: Facts) -> str:
    rule, size = facts.rule, facts.step_size
    value = f"{rule.threshold:.4g}"
    if rule.formula[:1] not in ("2", "("):
        return f"{value} ({rule.formula})"
    apart = facts.rate is not None and size is not None and abs(size - facts.rate) > 1e-9 * size
    return f"{value} = {rule.formula}" + (f", eta = {size:.4g}" if apart else "")


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
    if above.size and facts.regime in ("on the flow", "undecided", "off the flow"):
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
    if step is None or not np.isfinite(least.step_size) or facts.regime == "undecided":
        return [told]
    larger = _times(step / least.step_size)
    if step <= least.step_size:
        worth = "Yours is not above it." if facts.regime == "on the flow" else (
            "Yours is not above it and left the flow all the same: the curvature between the "
            "records, or off the path, is larger than what was measured."
        )  # fmt: skip
    elif facts.regime == "on the flow":
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


def _times(factor: float) -> str:
    """A factor to two digits, as "5,000"."""
    rounded = float(f"{factor:.2g}")
    return f"{rounded:,.0f}" if 10 <= rounded < 1e9 else f"{rounded:g}"
