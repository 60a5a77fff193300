"""Whether two trajectories may be compared as a dynamics beside a flow, and at what."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.core.errors import require
from thalweg.dynamics.stability import SURROGATE, StabilityRule
from thalweg.trajectory import Trajectory

SAME_START = 1e-5  # of the norm of the parameters: starts of one key, up to rounding
FLOW = "gradient flow"
SURROGATE_FLOW = "the flow of the surrogate gradient"
HOW = ("rtol", "solver", "atol", "error", "most_gradients")  # how a flow is followed, not which
CLOSE = 1e-6  # relative: numbers of one flow


def check_kinds(descent: Trajectory, flow: Trajectory) -> None:
    """Only a discrete dynamics and a flow whose error is known make a verdict."""
    require(
        "path_error" not in descent.dataset,
        f"the first trajectory ({descent.name}) has no step size of its own to diagnose; give a "
        "run of gradient_descent or optax_dynamics first, its flow second",
    )
    other = (
        "tw.distance compares any two runs at equal time, thalweg.comparison.equal_loss at "
        "equal loss"
    )
    known = "path_error" in flow.dataset and bool(np.isfinite(flow.dataset["path_error"]).any())
    require(
        known,
        f"the second trajectory ({flow.name}) is not a flow with an error of its path; give a run "
        f"of gradient_flow or of the dynamics' own limit ({other})",
    )


def flow_named(flow: Trajectory, rule: StabilityRule) -> str:
    """What a flow is called beside a dynamics: of surrogate gradients it is no gradient flow."""
    return SURROGATE_FLOW if rule.because == SURROGATE and flow.name == FLOW else flow.name


def set_apart(descent: Trajectory, flow: Trajectory, rule: StabilityRule) -> str:
    """Why the flow is not what a dynamics follows as its steps go to 0; empty if it is.

    Where it is not, points of equal time do not compare. Of a lasting gradient that moves the
    parameters in a known proportion the clock may count another: it is compared at equal time all
    the same, and told. So is a dynamics whose record, made by hand or long ago, says nothing.
    """
    own, given = descent.limit, dict(configuration(flow).get("dynamics", {"name": flow.name}))
    if flow.name == FLOW and (own is None or np.isfinite(rule.reach)):
        return ""
    limit = None if own is None else own.get("flow")
    if limit is None:
        because = "" if own is None else own.get("because", "")
        return f"no continuous limit of it is known ({because or 'its record says none'})"
    if limit["name"] != flow.name:
        return f"the flow that it follows as its steps go to 0 is {limit['name']}"
    differ = [k for k, value in limit.items() if k not in HOW and not _same(value, given.get(k))]
    missing = [k for k in given if k not in HOW and k not in limit]
    if differ or missing:
        words = ", ".join([*differ, *missing])
        return f"it follows {flow.name} of other numbers as its steps go to 0 (other {words})"
    return ""


def _same(one: Any, two: Any) -> bool:
    numbers = isinstance(one, int | float) and isinstance(two, int | float)
    return bool(np.isclose(one, two, rtol=CLOSE, atol=0.0)) if numbers else one == two


def check_problems(descent: Trajectory, flow: Trajectory) -> None:
    """Both must have descended the same objective."""
    one, two = (dict(configuration(t).get("problem", {})) for t in (descent, flow))
    if not one or not two:
        return
    free = {"start", "precision", "microbatch"}
    if len({configuration(t).get("precision") for t in (descent, flow)}) > 1:
        free |= {"digest"}
    names = [k for k in {**one, **two} if one.get(k) != two.get(k) and k not in free]
    other = [k.replace("digest", "data or start").replace("code", "function") for k in names]
    require(
        not other,
        f"the two runs are of different problems (other {', '.join(dict.fromkeys(other))}); "
        "run both on one problem",
    )


def check_starts(descent: Trajectory, flow: Trajectory, seeds: np.ndarray) -> None:
    """Both must have begun at the same parameters, where their records show it."""
    if float(descent.dataset["time"][0]) != 0.0 or float(flow.dataset["time"][0]) != 0.0:
        return
    for seed in seeds:
        begin = [t.parameters.sel(seed=seed).isel(time=0).values for t in (descent, flow)]
        gap, size = (float(np.linalg.norm(v)) for v in (begin[0] - begin[1], begin[1]))
        kinds = {str(t.parameters.dtype) for t in (descent, flow)}
        differ = f", in {' and '.join(sorted(kinds))}" if len(kinds) > 1 else ""
        require(
            gap <= SAME_START * max(size, 1e-300),
            f"the two runs of seed {seed} start at different parameters (distance {gap:.3g}"
            f"{differ}), so their distance says nothing of the step size; start both alike",
        )


def learning_rate(trajectory: Trajectory) -> float | None:
    """The learning rate that an optimiser was made with, where its record says; else None."""
    rate = dict(configuration(trajectory).get("dynamics", {})).get("learning_rate")
    return None if rate is None else float(rate)


def finds_its_steps(trajectory: Trajectory) -> bool:
    """Whether a dynamics has no step size of its own, as its record says: a step counts 1."""
    about = dict(configuration(trajectory).get("dynamics", {}))
    return bool(about) and not {"step_size", "learning_rate"} & set(about)


def configuration(trajectory: Trajectory) -> dict[str, Any]:
    """Everything that decided a run, as its record says; empty if it says nothing."""
    return dict(trajectory.provenance.get("configuration", {}))
