"""A run beside a flow: the regime of its step size, and why."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from thalweg.comparison import targets
from thalweg.comparison.beyond import beside, beyond, nearer, unpredicted
from thalweg.comparison.certificates import SeedCertificate, along_flow, homogeneous_bound
from thalweg.comparison.comparable import (
    FLOW,
    check_kinds,
    check_problems,
    check_starts,
    configuration,
    finds_its_steps,
    flow_named,
    learning_rate,
)
from thalweg.comparison.equal_loss import distance_at_equal_loss
from thalweg.comparison.facts import CLOCK, Facts
from thalweg.comparison.judgement import constant_step_size, judge_seeds
from thalweg.comparison.regime import REGIMES, Course, headline, worst_of
from thalweg.comparison.sentences import reasons
from thalweg.comparison.verdict import Comparison
from thalweg.core.ranges import require_positive
from thalweg.dynamics.stability import SURROGATE, StabilityRule
from thalweg.problems.problem import Problem
from thalweg.trajectory import Trajectory

SIDES = {"left": "descent", "right": "flow"}
FAITHFUL = 0.01  # the flow's own error may be this part of the distance


def compare(
    descent: Trajectory,
    flow: Trajectory,
    eps: float = 0.05,
    *,
    rule: StabilityRule | None = None,
    problem: Problem | None = None,
    central: Trajectory | Callable[[], Trajectory | None] | None = None,
) -> Comparison:
    """Say in which regime a step size is, from a discrete dynamics beside a flow.

    The dynamics is judged by its own stability rule, r = eigenvalue / threshold: for gradient
    descent sharpness/(2/eta). A seed is *divergent* if its loss left the finite numbers, or ended
    above twice its start without being on its way down; at the *edge of stability* if r is at least
    0.95 in a fifth of the records of the second half; *on the flow* (`Comparison.flow` says which)
    if its distance from it never exceeds `eps` times the farthest that the flow travels; a
    *catapult* if it was beyond its threshold, was thrown and came back below; otherwise *off the
    flow*. The verdict is that of the worst seed.

    The distance is that at equal time where the flow is the one that the dynamics follows as its
    steps go to 0 (`Discrete.limit`): gradient flow for gradient descent and momentum, the
    preconditioned flow for RMSProp and Adam. Where it is not, as for Lion beside gradient flow,
    points of equal time do not compare: the distance is that at equal loss, see
    `thalweg.comparison.equal_loss.distance_at_equal_loss`, and the sentences say so.

    Args:
        descent: A discrete dynamics with parameters recorded, and the eigenvalue of its rule
            measured (the sharpness of gradient descent).
        flow: A flow from the same starts at the same times: its own limit, or gradient flow.
        eps: Relative distance that still counts as following the flow.
        rule: A stability rule of your own, for a dynamics that states none.
        problem: What was trained; the verdict then tells the loss in the target's units, a target
            that wants scaling, training that stopped at a constant prediction, and the lower bound
            on the smallest eigenvalue where the net is homogeneous.
        central: The central flow of the dynamics (`Discrete.central`) at the same times; the
            verdict then tells how well it predicts the run beyond the edge of stability. Or what
            follows it: a function that is called if the regime is the edge of stability.

    Raises:
        InputError: If the runs do not fit together, the first is no discrete dynamics or the
            second no flow with an error of its path, or `eps` is not positive.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> too_long = tw.gradient_descent(2.5)  # the sharpness is 1, above 2/eta = 0.8
        >>> steps = tw.run(bowl, too_long, until=20.0, records=4, probes="sharpness")
        >>> flow = tw.run(bowl, tw.gradient_flow(1e-8), times=steps.dataset["time"].values)
        >>> tw.compare(steps, flow).regime
        'divergent'
    """
    require_positive(eps=eps)
    check_kinds(descent, flow)
    check_problems(descent, flow)
    step_size = constant_step_size(descent)
    matched = distance_at_equal_loss(descent, flow)
    found = judge_seeds(descent, flow, eps, rule, matched)
    rule, apart, near, courses, regimes = (
        found.rule, found.apart, found.near, found.courses, found.regimes
    )  # fmt: skip
    table = found.gaps
    check_starts(descent, flow, table["seed"].values)
    table = table.merge(_side_by_side(descent, flow, table, rule), join="exact")
    whole = table["distance"] / np.maximum(table["displacement"].max("time"), 1e-300)
    meta = {"units": "1", "long_name": "distance over the whole way of the flow"}
    table = table.assign(share_of_way=whole.assign_attrs(meta))
    matched = matched.sel(seed=table["seed"].values)
    table = table.merge(matched.rename(
        {f"equal_loss_{side}_time": f"equal_loss_{name}_time" for side, name in SIDES.items()}
    ), join="exact")  # fmt: skip
    allowed = {
        int(s): max(eps * float(f), 1e-300)
        for s, f in zip(table["seed"], table["displacement"].max("time").values, strict=True)
    }
    plain = rule.formula == "2/eta" and rule.kind == "exact" and rule.eigenvalue == "sharpness"
    plain = plain and not apart and flow.name == FLOW
    certificates: tuple[SeedCertificate, ...] = ()
    for seed, radius in allowed.items() if plain else ():
        certificates += tuple(along_flow(flow, {seed: radius}, (descent,) if near[seed] else ()))
    table = _with_bound(table, certificates, step_size)
    bound = None if problem is None else homogeneous_bound(problem, flow)
    if bound is not None:
        bound = bound.assign_coords(time=flow.dataset["time"], seed=flow.dataset["seed"])
        bound = bound.sel(seed=table["seed"].values).sel(
            time=table["time"].values, method="nearest"
        )
        bound = bound.assign_coords(time=table["time"].values)
        table = table.assign(flow_smallest_eigenvalue_bound=bound)
    regime = worst_of(regimes.values())
    followed = flow_named(flow, rule)
    name = "the Optax transformation" if descent.name == "optax" else descent.name
    sought = callable(central) and regime == "edge of stability"
    if callable(central):
        central = central() if sought else None
    if central is not None:
        steps = (problem, step_size) if plain and problem is not None and step_size else None
        times = table["time"].values
        table = table.merge(beside(descent, flow, central, times, rule, steps), join="left")
    facts = Facts(
        name, rule, step_size, eps, regime, courses, table, certificates, plain,
        _diagonal_given(descent, rule), followed, apart, learning_rate(descent),
        "data" in configuration(descent).get("problem", {}), finds_its_steps(descent),
    )  # fmt: skip
    shown = next(courses[seed] for seed, found in regimes.items() if found == regime)
    sentence = headline(
        name, regime, shown, facts.at, facts.moved, followed, bool(apart), facts.met
    )
    if len(set(regimes.values())) > 1:
        counts = {r: list(regimes.values()).count(r) for r in REGIMES if r in regimes.values()}
        following = {"on the flow": "the same way" if apart else f"on {followed}"}
        told = ", ".join(f"{count} {following.get(r, r)}" for r, count in counts.items())
        sentence = sentence[:-1] + f" for the worst of {len(regimes)} seeds ({told})."
    if central is not None:
        sentence = sentence[:-1] + nearer(table, flow.name) + "."
    return Comparison(
        regime,
        sentence,
        tuple(reasons(facts, (*_beyond(facts, central, sought), *_of_problem(problem, courses)))),
        tuple(_warnings(facts, descent, flow, problem)),
        regimes,
        table,
        certificates,
        step_size,
        eps,
        rule,
        name,
        (descent, flow),
        apart,
    )


def _beyond(facts: Facts, central: Trajectory | None, sought: bool) -> tuple[str, ...]:
    """What the central flow says of the run, if it was followed; that there is none, if sought."""
    if central is None:
        return (unpredicted(facts.name),) if sought else ()
    return beyond(facts.table, facts.name, facts.flow, central.name)


def _of_problem(problem: Problem | None, courses: dict[int, Course]) -> tuple[str, ...]:
    """What the targets say of the losses."""
    if problem is None:
        return ()
    stopped = {targets.stopped_at_constant(problem, c.loss): seed for seed, c in courses.items()}
    told = [sentence for sentence in stopped if sentence]
    if told and len(courses) > 1:
        told = [f"{told[0]} (Seed {stopped[told[0]]}.)"]
    ends = [float(c.loss[-1]) for c in courses.values()]
    return (*told, targets.own_units(problem, max(ends)))


def _diagonal_given(descent: Trajectory, rule: StabilityRule) -> bool:
    """Whether the preconditioned sharpness was measured with a diagonal of the user's."""
    probes = [str(probe) for probe in configuration(descent).get("probes", [])]
    own = [p for p in probes if p.startswith("PreconditionedSharpness(") and "diagonal=" in p]
    known = rule.eigenvalue == "preconditioned_sharpness"
    return known and any("diagonal=None" not in probe for probe in own)


def _side_by_side(
    descent: Trajectory, flow: Trajectory, table: xr.Dataset, rule: StabilityRule
) -> xr.Dataset:
    """The readings of both at the common times, and the rule's eigenvalue over its threshold."""
    columns = {}
    wanted = [str(v)[: -len("_result")] for v in flow.dataset if str(v).endswith("_result")]
    wanted += ["evaluations", *({rule.eigenvalue} - {"", *wanted})]
    for trajectory, prefix in ((descent, "descent"), (flow, "flow")):
        records = trajectory.dataset.sel(seed=table["seed"].values)
        records = records.sel(time=table["time"].values, method="nearest")
        records = records.assign_coords(time=table["time"].values)
        for name in wanted:
            for suffix in ("", "_error"):
                if name + suffix in records:
                    columns[f"{prefix}_{name}{suffix}"] = records[name + suffix].load()
    for prefix in ("descent", "flow"):
        smallest = f"{prefix}_smallest_eigenvalue"
        if smallest in columns:
            least = columns[smallest] - columns[f"{smallest}_error"]
            meta = {"units": "loss/parameter^2", "long_name": "least it can be, 99 %"}
            columns[f"{smallest}_least"] = least.assign_attrs(meta)
        if rule.known and f"{prefix}_{rule.eigenvalue}" in columns:
            for suffix in ("", "_error"):
                value = columns[f"{prefix}_{rule.eigenvalue}{suffix}"] / rule.threshold
                about = f"{rule.eigenvalue.replace('_', ' ')} over its threshold"
                value = value.assign_attrs(units="1", long_name=about)
                columns[f"{prefix}_stability{suffix}"] = value
    return xr.Dataset(columns)


def _with_bound(
    table: xr.Dataset, certificates: tuple[SeedCertificate, ...], step_size: float | None
) -> xr.Dataset:
    """The distance that the theorem allows at this step size; NaN where it is silent."""
    bound = np.full(table["distance"].shape, np.nan)
    for seed, certificate in certificates if step_size is not None else ():
        assert step_size is not None
        row = int(np.argmax(table["seed"].values == seed))
        values = certificate.error_bound(step_size)
        for time, value in zip(certificate.time, values, strict=True):
            column = int(np.argmin(np.abs(table["time"].values - time)))
            bound[row, column] = value if np.isfinite(value) else np.nan
    meta = {"units": "parameter", "long_name": "distance bound of the theorem, indicative"}
    return table.assign(distance_bound=(("seed", "time"), bound, meta))


def _warnings(
    facts: Facts, descent: Trajectory, flow: Trajectory, problem: Problem | None
) -> list[str]:
    table, told = facts.table, []
    gap, error = float(table["distance"].max()), float(table["distance_error"].max())
    if not facts.apart and gap > 0 and error > FAITHFUL * gap:
        told.append(
            f"the flow's own error ({error:.1g}) is {error / gap:.0%} of the distance; ask for a "
            "smaller error of the flow to trust the distance to more digits"
        )
    scaling = "" if problem is None else targets.wants_scaling(problem)
    told += [scaling] if scaling else []
    first = float(table["time"][0])
    if first > 0:
        told.append(
            f"the records begin at training time {first:g}; what happened before it is not seen, a "
            "start beyond the threshold of stability included"
        )
    kinds = {str(configuration(t).get("precision", "")) for t in (descent, flow)} - {""}
    if len(kinds) > 1:
        told.append(f"the runs are in {' and '.join(sorted(kinds))}; rounding adds to the distance")
    reach = facts.rule.reach
    if not facts.apart and abs(reach - 1) > CLOCK and facts.step_size is not None:
        told.append(
            f"the clock counts {facts.step_size:.4g} a step, but a lasting gradient moves "
            f"{facts.name} by {reach * facts.step_size:.4g} times itself; at equal time it is "
            f"{reach:.3g} times as far along, which counts as distance from the flow"
        )
    oracle = dict(dict(configuration(descent).get("dynamics", {})).get("oracle", {}))
    if not facts.apart and oracle and oracle.get("name") != "Full":
        batch, again = oracle.get("batch"), oracle.get("replace", True)
        noise = "the noise of its steps" if batch is None else f"the noise of batches of {batch}"
        told.append(
            f"{facts.flow} is that of the whole gradient: {noise} is left out of it, and is a "
            "distance that falls as the root of the step size"
            + ("" if again else ", or faster, since a pass over the data sees each example once")
        )
    given = dict(configuration(flow).get("dynamics", {}))
    if not facts.apart and given.get("corrected") is False and given.get("initial") == 0:
        told.append(
            f"{facts.name} begins with an average of squared gradients of 0 and does not correct "
            "for it: its first steps are large however small its step size, and its distance from "
            "the flow falls only as the root of the step size (optax.rmsprop takes initial_scale= "
            "or bias_correction=)"
        )
    told += [doubt.rstrip(".") for doubt in (*descent.doubts, *flow.doubts)]
    for trajectory in (descent, flow):
        for name in ("sharpness", "preconditioned_sharpness", "smallest_eigenvalue"):
            if f"{name}_result" in trajectory.dataset:
                late = int((trajectory.dataset[f"{name}_result"] == 1).sum())
                if late:
                    told.append(
                        f"{late} values of {name.replace('_', ' ')} along {trajectory.name} did "
                        "not converge to what was asked"
                    )
    if problem is not None and not problem.smooth and facts.rule.because != SURROGATE:
        told.append("Hessians are those of the linear piece between kinks")
    if flow.diverged.any():
        told.append("the flow could not be followed to the end; the comparison stops there")
    if trajectory_ended(descent):
        last = float(descent.dataset["time"][-1])
        told.append(f"{facts.name} left the finite numbers by training time {last:g}")
    return told


def trajectory_ended(trajectory: Trajectory) -> bool:
    """Whether every seed of a run has diverged."""
    return bool(trajectory.diverged.all())
