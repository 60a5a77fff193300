"""The map of regimes: in which regime each member of a sweep is, and where the regimes meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray as xr

from thalweg.comparison.comparable import flow_named
from thalweg.comparison.judgement import Judgement, judge_seeds
from thalweg.comparison.regime import capital, worst_of
from thalweg.comparison.sentences import PROBES
from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.driver.recorded import run
from thalweg.dynamics import gradient_flow
from thalweg.dynamics.dynamics import Discrete
from thalweg.dynamics.flow.followed import Flow, error_asked
from thalweg.dynamics.flow.gradient_flow import GradientFlow
from thalweg.models.spiking.surrogates import takes_surrogates
from thalweg.problems.problem import Problem
from thalweg.storage.lock import LOCK, locked
from thalweg.sweeps.boundaries import RegimeBoundary, boundary
from thalweg.sweeps.records import LARGE, SweepRecords
from thalweg.trajectory import Trajectory
from thalweg.trajectory.provenance import fingerprint

ONE_TIME = 1e-10  # relative: clocks that differ by rounding meet at one time
MARKS = 250  # of a flow, which takes some 20 to 40 gradients to the next one however near it is

NO_HESSIAN = (
    "Sharpness is not measured, for the gradient of this net is a surrogate of spikes and of no "
    "loss the gradient: neither the edge of stability nor a catapult can be seen, and what is "
    "judged is divergence and the distance from the flow of that gradient."
)


@dataclass(frozen=True, eq=False)
class RegimeTable:
    """The regimes of a sweep.

    Attributes:
        table: Dims (what differs, seed): `regime`, a key of `comparison.regime.REGIMES`;
            `final_loss`; `largest_stability`, the largest eigenvalue of the member's stability
            rule over its threshold, with its error; `share_of_way`, the largest distance from the
            flow over the farthest that the flow travels, with its error; `follows`, whether that
            is within eps; `decided`, whether it is known, as the flow did not end before the run.
        boundaries: Where the member ceases to follow the flow, to be stable, to converge; none
            unless one positive number differs.
        sweep: What was run.
        flows: What each member was held against, from the same starts and at its times: the flow
            that its dynamics follows as its steps go to 0, gradient flow where none is known.
            Members of one flow share it.
        eps: The share of the way that still counts as following the flow.
        apart: Why points of equal time do not compare, so that distances are those at equal loss;
            empty where they do.
        every: Of how many records of a member one is compared with the flow; see `thinned`.
    """

    table: xr.Dataset
    boundaries: tuple[RegimeBoundary, ...]
    sweep: SweepRecords
    flows: tuple[Trajectory, ...]
    eps: float
    apart: str = ""
    every: int = 1

    @property
    def largest_following(self) -> float:
        """The largest value of the grid up to which every seed follows the flow; NaN if none."""
        low = self.boundaries[0].bracket[0] if self.boundaries else 0.0
        return low if low > 0 else float("nan")

    @property
    def flow(self) -> str:
        """What the members were held against, in words."""
        return _named(self.flows[0], self.sweep.member(0))

    @property
    def quantity(self) -> str:
        """What differs, in words."""
        return self.sweep.members.dim.replace("_", " ")

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer, one finding a sentence."""
        name = self.sweep.members.dynamics[0].name
        told = [each.sentence(self.quantity) for each in self.boundaries]
        told = [told[0].replace("It ", f"{capital(name)} ", 1), *told[1:]] if told else []
        return (*told, *self._best(), *self._warnings())

    def worst(self, index: int) -> str:
        """The worst regime of a member over its seeds."""
        found = self.table["regime"].values[index]
        return worst_of(found.tolist())

    def __str__(self) -> str:
        """The sentences, one a line."""
        return "\n".join(self.sentences)

    __repr__ = __str__

    def _best(self) -> list[str]:
        """The lowest loss at the end."""
        losses = self.table["final_loss"].where(self.table["regime"] != "divergent").values
        known = np.isfinite(losses).all(axis=1)
        if not known.any():
            return []
        mean = np.where(known, losses.mean(axis=1), np.inf)
        best, seeds = int(np.argmin(mean)), losses.shape[1]
        spread = f" ± {losses[best].std(ddof=1) / np.sqrt(seeds):.2g}" if seeds > 1 else ""
        horizon = self.sweep.horizon
        end = f"{horizon.steps} steps" if horizon.until is None else f"time {horizon.until:g}"
        over = f" (mean of {seeds} seeds and its standard error)" if seeds > 1 else ""
        return [
            f"The lowest loss after {end} is {mean[best]:.4g}{spread}{over}, at "
            f"{self.sweep.members.told(best)}: "
            f"{self.worst(best)}."
        ]

    def _warnings(self) -> list[str]:
        told = []
        if not np.isfinite(self.table["largest_stability"].values).any():
            rules = [self.sweep.member(i).stability for i in range(len(self.table["regime"]))]
            known = [PROBES[rule.eigenvalue] for rule in rules if rule is not None and rule.known]
            shapes = jax.eval_shape(self.sweep.problem.init, jax.random.key(0))
            told.append(
                NO_HESSIAN
                if takes_surrogates(self.sweep.problem.objective, shapes)
                else "The eigenvalue of the stability rule was not measured, so that neither the "
                f"edge of stability nor a catapult can be seen; sweep with probes={known[0]}."
                if known
                else "No stability rule is known, so that neither the edge of stability nor a "
                "catapult can be seen."
            )
        if self.apart:
            told.append(
                f"At equal time {self.sweep.members.dynamics[0].name} and {self.flow} do not "
                f"compare: {self.apart}. The distance is that at equal loss."
            )
        shares, errors = (self.table[v].values for v in ("share_of_way", "share_of_way_error"))
        near = np.abs(shares - self.eps) <= errors
        if near.any():
            told.append(
                f"Of {int(near.sum())} runs the distance from the flow is within its error of "
                f"{100 * self.eps:g} %; ask for a smaller error of the flow to tell them apart."
            )
        doubts = [doubt.rstrip(".") + "." for flow in self.flows for doubt in flow.doubts]
        told += dict.fromkeys(doubts)
        if self.every > 1:
            told.append(
                f"Distances from the flow are those at one in {self.every} records, the last "
                "included."
            )
        return told


def map_regimes(
    sweep: SweepRecords,
    eps: float,
    flow_error: float | None,
    flow_solver: str,
    most_gradients: int,
    progress: bool | None,
) -> RegimeTable:
    """See `Sweep.regimes`."""
    follow = flow_for(sweep.problem, eps, flow_error, flow_solver, most_gradients)
    require(
        all(LARGE in block for block in sweep.blocks),
        "the sweep did not record its parameters, without which distances from the flow are not "
        "known; sweep with parameters=True",
    )
    members = [sweep.member(i) for i in range(len(sweep.members.dynamics))]
    flows, every = _flows(sweep, members, follow, progress)
    found = [judge_seeds(member, flow, eps) for member, flow in zip(members, flows, strict=True)]
    rows = [_cells(each) for each in found]
    dim, flow = sweep.members.dim, _named(flows[0], members[0])

    def column(name: str, unit: str, about: str) -> tuple[Any, ...]:
        values = np.asarray([[cell[name] for cell in row] for row in rows])
        return (dim, "seed"), values, {"units": unit, "long_name": about}

    table = xr.Dataset(
        {
            "regime": column("regime", "1", "regime"),
            "follows": column("follows", "1", f"follows {flow}"),
            "decided": column("decided", "1", "whether that is known: the flow got as far"),
            "final_loss": column("final_loss", "loss", "loss at the end"),
            "largest_stability": column("ratio", "1", "largest eigenvalue over its threshold"),
            "largest_stability_error": column("ratio_error", "1", "error of it"),
            "share_of_way": column("share", "1", "largest distance over the way of the flow"),
            "share_of_way_error": column("share_error", "1", "error of it"),
        },
        sweep.members.coords | {"seed": np.asarray(sweep.seeds)},
    )
    apart = next((each.apart for each in found if each.apart), "")
    bounds = _boundaries(sweep, table, eps, flow, apart)
    return RegimeTable(table, bounds, sweep, flows, eps, apart, every)


def _named(flow: Trajectory, member: Trajectory) -> str:
    """What the flow is called beside what is held against it."""
    return flow.name if member.stability is None else flow_named(flow, member.stability)


def flow_for(
    problem: Problem, eps: float, error: float | None, solver: str, most_gradients: int
) -> GradientFlow:
    """Gradient flow, as closely as it and other flows are to be followed.

    Raises:
        InputError: If it cannot be, or eps is not positive.
    """
    require_positive(eps=eps)
    error = error_asked(problem, error)
    return gradient_flow(error=error, solver=solver, most_gradients=most_gradients)


def _boundaries(
    sweep: SweepRecords, table: xr.Dataset, eps: float, flow: str, apart: str
) -> tuple[RegimeBoundary, ...]:
    labels = sweep.members.labels
    values = next(iter(labels.values()), np.zeros(0))
    if len(labels) != 1 or len(values) < 2 or not (values > 0).all():
        return ()
    order = np.argsort(values)
    regimes, follows, decided = (
        table[name].values[order] for name in ("regime", "follows", "decided")
    )
    grid = values[order]
    way = "goes the way of" if apart else "follows"
    found = [
        boundary(f"{way} {flow} within {100 * eps:g} % of its way", grid, follows, decided),
        boundary("stays clear of divergence", grid, regimes != "divergent"),
    ]
    ratio, error = (table[f"largest_stability{e}"].values[order] for e in ("", "_error"))
    if np.isfinite(ratio).all():
        below = (ratio - error <= 1) & (regimes != "divergent")
        found.insert(1, boundary("stays below its threshold of stability", grid, below))
    return tuple(found)


def _cells(found: Judgement) -> list[dict[str, Any]]:
    """What the table tells of each seed of a member."""
    cells = []
    for seed, seen in found.courses.items():
        top = int(np.nanargmax(seen.ratio)) if seen.judged else 0
        last = seen.loss[np.isfinite(seen.loss)] if not seen.lost else np.full(1, np.nan)
        decided = found.near[seed] is not None or seen.lost
        cells.append(
            {
                "regime": found.regimes[seed],
                "follows": bool(found.near[seed]) and not seen.lost,
                "decided": decided,
                "final_loss": last[-1] if last.size else np.nan,
                "ratio": seen.ratio[top],
                "ratio_error": seen.error[top],
                "share": found.shares[seed].value if decided else np.nan,
                "share_error": found.shares[seed].error if decided else np.nan,
            }
        )
    return cells


def _flows(
    sweep: SweepRecords,
    members: list[Trajectory],
    plain: GradientFlow,
    progress: bool | None,
) -> tuple[tuple[Trajectory, ...], int]:
    """The flow beside each member, at one in so many of their times at least.

    Members of one flow share it, at the times of them all.
    """
    shapes = jax.eval_shape(sweep.problem.init, jax.random.key(0))
    beside: list[Flow] = []
    own_limit: list[bool] = []
    for dynamics in sweep.members.dynamics:
        limit = dynamics.limit(sweep.problem, shapes) if isinstance(dynamics, Discrete) else None
        own = limit if isinstance(limit, Flow) else plain
        own_limit.append(own is limit)
        assert plain.error is not None
        beside.append(own.asked(float(plain.error), plain.solver, int(plain.most_gradients)))
    prints = [fingerprint(follow.describe()) for follow in beside]
    found, most = {}, 1
    for mark in dict.fromkeys(prints):
        alike = [i for i, own in enumerate(prints) if own == mark]
        clocks = [members[i].dataset["time"].values for i in alike]
        if all(own_limit[i] for i in alike):  # at equal loss all records of the flow count
            every = -(-sum(map(len, clocks)) // MARKS)
            clocks, most = thinned(clocks, every), max(most, every)
        found[mark] = _flow(sweep, union_of_times(clocks), beside[alike[0]], progress)
    return tuple(found[mark] for mark in prints), most


def _flow(
    sweep: SweepRecords, times: np.ndarray, follow: Flow, progress: bool | None
) -> Trajectory:
    """A flow once for each seed; in a folder it is kept beside the sweep."""
    options: dict[str, Any] = {"seeds": sweep.seeds, "start": sweep.start, "progress": progress}
    if sweep.folder is None:
        return run(sweep.problem, follow, times=times, **options)
    about = {"flow": follow.describe(), "times": times.tolist(), "seeds": list(sweep.seeds)}
    out = sweep.folder / f"flow-{fingerprint(about)}.zarr"
    with locked(sweep.folder / LOCK, sweep.folder):
        return run(sweep.problem, follow, times=times, out=out, **options)


def thinned(clocks: list[np.ndarray], every: int) -> list[np.ndarray]:
    """One in so many times of each clock, counted from its end, and its first.

    A flow ends a step at every time that it is asked for, so that those of many clocks would cost
    more than the way itself.
    """
    return [np.unique([clock[0], *clock[::-every]]) for clock in clocks]


def union_of_times(clocks: list[np.ndarray]) -> np.ndarray:
    """All times of several clocks, ascending, those that differ by rounding once."""
    times = np.unique(np.concatenate(clocks))
    apart = np.diff(times, prepend=-1.0) > ONE_TIME * np.abs(times)
    return times[apart]
