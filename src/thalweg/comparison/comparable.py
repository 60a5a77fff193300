"""Whether two trajectories may be compared as a dynamics beside gradient flow."""

from __future__ import annotations

from typing import Any

import numpy as np

from thalweg.core.errors import require
from thalweg.trajectory import Trajectory

SAME_START = 1e-5  # of the norm of the parameters: starts of one key, up to rounding
FLOW = "gradient flow"


def check_kinds(descent: Trajectory, flow: Trajectory) -> None:
    """Only a discrete dynamics and gradient flow make a verdict."""
    require(
        "path_error" not in descent.dataset,
        f"the first trajectory ({descent.name}) has no step size of its own to diagnose; give a "
        "run of gradient_descent or optax_dynamics first, gradient flow second",
    )
    other = (
        "tw.distance compares any two runs at equal time, thalweg.comparison.equal_loss at "
        "equal loss"
    )
    require(
        "path_error" in flow.dataset and flow.name == FLOW,
        f"the second trajectory ({flow.name}) is not gradient flow; give a run of gradient_flow "
        f"({other})",
    )


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


def configuration(trajectory: Trajectory) -> dict[str, Any]:
    """Everything that decided a run, as its record says; empty if it says nothing."""
    return dict(trajectory.provenance.get("configuration", {}))
