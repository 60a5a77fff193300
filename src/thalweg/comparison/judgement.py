"""The one judge of regimes: `compare` asks it of two runs, a sweep of each of its members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from thalweg.comparison.comparable import configuration, set_apart
from thalweg.comparison.equal_loss import distance_at_equal_loss
from thalweg.comparison.equal_time import distance
from thalweg.comparison.regime import Course, course, regime_of
from thalweg.dynamics.stability import StabilityRule, descent_rule, no_rule
from thalweg.trajectory import Trajectory


@dataclass(frozen=True)
class Share:
    """The largest distance of a seed from the flow, over the farthest that the flow travels.

    At equal training time or, where the flow is not the limit of the dynamics, at equal loss; NaN
    where the two have no loss in common.

    Attributes:
        value: The share.
        error: Of it, from the errors of the paths.
    """

    value: float
    error: float


@dataclass(frozen=True)
class Judgement:
    """In which regime each seed of a run is, and what that rests on.

    Attributes:
        rule: The stability rule that the run is judged by.
        apart: Why points of equal time do not compare; empty where they do.
        gaps: What `distance` says of the two.
        shares: The distance that counts, by seed.
        near: Whether it is within the allowed share of the way, by seed; None where the flow ended
            before the run, so that neither the rest of the distance nor the whole way is known.
        courses: The course of each seed.
        regimes: Its regime, a key of `regime.REGIMES`.
    """

    rule: StabilityRule
    apart: str
    gaps: xr.Dataset
    shares: dict[int, Share]
    near: dict[int, bool | None]
    courses: dict[int, Course]
    regimes: dict[int, str]


def judge_seeds(
    descent: Trajectory,
    flow: Trajectory,
    eps: float,
    rule: StabilityRule | None = None,
    matched: xr.Dataset | None = None,
) -> Judgement:
    """Judge every seed that a run shares with a flow; see `compare` for what a regime is.

    Args:
        descent: A discrete dynamics with parameters recorded.
        flow: A flow from the same starts.
        eps: Relative distance that still counts as following the flow.
        rule: A stability rule, for a run that states none.
        matched: What `distance_at_equal_loss` says of the two, if it is at hand.

    Raises:
        InputError: If the runs have no times or seeds in common, or other numbers of parameters.
    """
    rule = _rule_of(descent) if rule is None else rule
    gaps = distance(descent, flow)
    apart = set_apart(descent, flow, rule)
    if apart and matched is None:
        matched = distance_at_equal_loss(descent, flow)
    shares = {}
    for seed in gaps["seed"].values.tolist():
        here = gaps.sel(seed=seed)
        way = max(float(here["displacement"].max()), 1e-300)
        if apart and matched is not None:
            there = matched.sel(seed=seed)
            value = float(there["equal_loss_share_of_way"].max())
            error = float(there["equal_loss_distance_error"].max()) / way
        else:
            value, error = (float(here[v].max()) / way for v in ("distance", "distance_error"))
        shares[seed] = Share(value, error)
    courses = {seed: course(descent, rule, seed) for seed in shares}
    near: dict[int, bool | None] = {}
    for seed, share in shares.items():
        whole = bool(apart) or _compared_to_the_end(gaps.sel(seed=seed), courses[seed])
        near[seed] = bool(share.value <= eps) if whole else None  # NaN is not near
    regimes = {
        seed: "on the flow" if _at_rest(gaps.sel(seed=seed), seen) else regime_of(seen, near[seed])
        for seed, seen in courses.items()
    }
    return Judgement(rule, apart, gaps, shares, near, courses, regimes)


def _compared_to_the_end(gaps: xr.Dataset, seen: Course) -> bool:
    """Whether the distance from the flow is known at the last record at which the run is finite."""
    own = seen.time[np.isfinite(seen.loss)]
    known = gaps["time"].values[np.isfinite(gaps["distance"].values)]  # of the run's own records
    return not own.size or (known.size > 0 and bool(known[-1] >= own[-1]))


def _at_rest(gaps: xr.Dataset, seen: Course) -> bool:
    """Whether neither of the two ever moved, as at a minimum: then no threshold was put to it."""
    still = float(gaps["displacement"].max()) == 0 == float(gaps["distance"].max())
    return still and not seen.lost and _compared_to_the_end(gaps, seen)


def constant_step_size(descent: Trajectory) -> float | None:
    """The constant step size; None for a schedule, or where there is none."""
    step_size = configuration(descent).get("dynamics", {}).get("step_size")
    return float(step_size) if isinstance(step_size, int | float) else None


def _rule_of(descent: Trajectory) -> StabilityRule:
    """The rule that the run carries; stores older than rules keep that of gradient descent."""
    told, step_size = descent.stability, constant_step_size(descent)
    if told is not None:
        return told
    fields = set(configuration(descent).get("dynamics", {}))
    if descent.name == "gradient descent" and fields <= {"name", "step_size"} and step_size:
        return descent_rule(step_size)
    return no_rule("its record says none; run it again, or give rule=")
