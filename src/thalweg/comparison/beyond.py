"""What predicts a run beyond the edge of stability: its central flow, and how well."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.tree import flatten
from thalweg.dynamics.stability import StabilityRule
from thalweg.problems.problem import Problem, unraveller
from thalweg.trajectory import Trajectory

EDGE = 2.0  # of the effective sharpness that a central flow tells
AHEAD = 12  # steps after a record by which its oscillation is judged
PASSED = 1.02  # times the threshold: a run that is beyond it,
IDLE = 0.1  # with an oscillation this part of what the central flow needs: it has not begun
TOLD = {
    "predicted_loss": ("loss", "mean loss of the oscillating steps, predicted"),
    "oscillation": ("parameter^2", "trace of the oscillation's covariance, predicted"),
}


class Smoothed(NamedTuple):
    """Records of descent without their oscillation.

    Attributes:
        path: 2 m_1 - m_2 of the second-order midpoints m_j = (w_{j-1} + 2 w_j + w_{j+1})/4 of the
            steps after a record, (records, p): exact for (-1)^k a + b + c k.
        energy: The largest ||w_j - m_j||^2 of these steps, (records,).
    """

    path: Float[Array, "n p"]
    energy: Float[Array, " n"]


@eqx.filter_jit
def smoothed(problem: Problem, step_size: Array, records: Float[Array, "n p"]) -> Smoothed:
    """The path of gradient descent without its oscillation, from where it was recorded.

    Args:
        problem: What is descended.
        step_size: eta.
        records: Flat parameters of steps; `AHEAD` further steps are taken from each.

    Returns:
        A `Smoothed`. Cost: `AHEAD` gradients a record.
    """
    unravel = unraveller(problem)

    def of_record(w: Array) -> tuple[Array, Array]:
        def step(w: Array, _: None) -> tuple[Array, Array]:
            after = w - step_size.astype(w.dtype) * flatten(jax.grad(problem.objective)(unravel(w)))
            return after, after

        steps = jnp.concatenate([w[None], jax.lax.scan(step, w, None, AHEAD)[1]])
        middle = (steps[:-2] + 2 * steps[1:-1] + steps[2:]) / 4
        energy = jnp.max(jnp.sum((steps[1:-1] - middle) ** 2, axis=1))
        return 2 * middle[0] - middle[1], energy

    return Smoothed(*jax.lax.map(of_record, records))


def beside(
    descent: Trajectory,
    flow: Trajectory,
    central: Trajectory,
    times: np.ndarray,
    rule: StabilityRule,
    steps: tuple[Problem, float] | None,
) -> xr.Dataset:
    """The central flow at the common times, and how far the run is from it and from the flow.

    Args:
        descent: A dynamics in steps.
        flow: The flow beside it.
        central: Its central flow, at times of its records.
        times: The common times.
        rule: Of the dynamics.
        steps: The problem and the step size of gradient descent, by which its records are freed
            from their oscillation; None where they are taken as they are.

    Returns:
        Dims (seed, time): `central_loss`, `central_predicted_loss`, `central_oscillation`, the
        eigenvalue of the rule, `central_distance` and `flow_smoothed_distance` of the (smoothed)
        run, `central_distance_error`, and `descent_oscillation`, the energy of what was smoothed
        away; NaN where the central flow was not followed to.
    """
    told, last = central.dataset, central.dataset["time"].values[-1]
    seeds = descent.dataset["seed"].values
    there = times <= last * (1 + 1e-9)

    def of(dataset: xr.Dataset, name: str, factor: float = 1.0) -> np.ndarray:
        values = factor * dataset[name].sel(seed=seeds).sel(time=times, method="nearest").values
        return np.where(there, values, np.nan)

    table: dict[str, Any] = {
        "central_loss": (of(told, "loss"), "loss", "loss along the central flow"),
        "central_distance_error": (of(told, "path_error"), "parameter", "error of distance"),
        "central_evaluations": (of(told, "evaluations"), "1", "gradients spent"),
    }
    for name, (unit, about) in TOLD.items():
        table[f"central_{name}"] = (of(told, name), unit, about)
    if rule.known:
        values = of(told, "effective_sharpness", rule.threshold / EDGE)
        values[:, 0] = np.nan  # it is told of where a substep began: nothing at the start
        table[f"central_{rule.eigenvalue}"] = (values, "loss/parameter^2", "at the edge")
    runs = [
        t.parameters.sel(seed=seeds).sel(time=times, method="nearest").values
        for t in (descent, flow, central)
    ]
    energy = np.full(there.shape, np.nan)[None].repeat(len(seeds), 0)
    if steps is not None:
        for i in range(len(seeds)):
            found = smoothed(steps[0], jnp.asarray(steps[1]), jnp.asarray(runs[0][i]))
            runs[0][i], energy[i] = np.asarray(found.path), np.asarray(found.energy)
    for name, other in (("central_distance", runs[2]), ("flow_smoothed_distance", runs[1])):
        gaps = np.where(there, np.linalg.norm(runs[0] - other, axis=-1), np.nan)
        table[name] = (gaps, "parameter", "distance at equal training time")
    table["descent_oscillation"] = (energy, "parameter^2", "energy of the oscillation, measured")
    dims = ("seed", "time")
    return xr.Dataset(
        {k: (dims, v, {"units": u, "long_name": a}) for k, (v, u, a) in table.items()},
        coords={"seed": seeds, "time": times},
    )


def beyond(table: xr.Dataset, name: str, flow: str, central: str) -> tuple[str, ...]:
    """What predicts the run from where the central flow meets the edge on, in sentences.

    Args:
        table: Of a comparison, with what `beside` gives.
        name: Of the dynamics.
        flow: Of the flow beside it.
        central: Of the central flow.
    """
    edge = np.any(table["central_oscillation"].values > 0, axis=0)
    known = np.any(np.isfinite(table["central_distance"].values), axis=0)
    if not edge.any():
        return ()
    times = table["time"].values
    begun, end = float(times[np.argmax(edge)]), float(times[known][-1])
    late = table.isel(time=_late(table))
    gap, other = (float(late[n].mean()) for n in ("central_distance", "flow_smoothed_distance"))
    error = float(late["central_distance_error"].max())
    path = f"the path of {name} without its oscillation"
    if not bool(np.isfinite(late["descent_oscillation"]).any()):
        size = float(np.sqrt(late["central_oscillation"].mean()))
        path = f"{name}, which oscillates about its mean path by {size:.2g},"
    word = "holds" if gap < other else "does not help here"
    told = [
        f"From training time {begun:.4g} on {central} is at the edge of stability, and {word}: in "
        f"the second half of the time from there to {end:.4g} {path} is {gap:.3g} (±{error:.1g}) "
        f"from it in the mean, and {other:.3g} from {flow}."
    ]
    measured, foretold, plain = (
        float(late[f"{n}_loss"].mean()) for n in ("descent", "central_predicted", "flow")
    )
    own = foretold - float(late["central_loss"].mean())
    told.append(
        f"There it predicts a mean loss of {foretold:.4g}, {own:.2g} of it by the oscillation; the "
        f"records have {measured:.4g}, {flow} {plain:.4g}. Following it took "
        f"{int(np.nanmax(table['central_evaluations'])):,} gradients{_ended(known, end)}."
    )
    waits = delayed(table)
    if waits.any():
        first, count = float(times[np.argmax(waits)]), int(waits.sum())
        told.append(
            f"Delayed onset: at {count} of {len(times)} records, first at training time "
            f"{first:.4g}, {name} is beyond its threshold and does not oscillate yet, where "
            f"{central} takes the oscillation to have the size that it needs; there it describes "
            "nothing. Begin later (start=) to compare it where it holds."
        )
    return tuple(told)


def unpredicted(name: str) -> str:
    """That no central flow of the run is known, so that nothing here predicts it."""
    return (
        f"What {name} follows beyond its edge is not predicted: no central flow of this run is "
        "known. There are those of gradient descent, and of RMSProp whose average does not begin "
        "at 0, on problems without kinks."
    )


def _ended(known: np.ndarray, end: float) -> str:
    return "" if known[-1] else f", all that it may, up to training time {end:.4g}"


def nearer(table: xr.Dataset, flow: str) -> str:
    """What to add to a verdict: how much nearer the central flow is; nothing if it is not."""
    late = table.isel(time=_late(table))
    if not late.sizes["time"]:
        return ""
    gap, other = (float(late[n].mean()) for n in ("central_distance", "flow_smoothed_distance"))
    if not other >= 1.05 * gap:  # else it would read: 1 times as near
        return ""
    return f"; the central flow is {other / gap:.2g} times as near its mean path as {flow}"


def _late(table: xr.Dataset) -> np.ndarray:
    """The records in the second half of the time from the edge to where it was followed."""
    edge = np.any(table["central_oscillation"].values > 0, axis=0)
    known = np.any(np.isfinite(table["central_distance"].values), axis=0)
    times = table["time"].values
    begun = times[np.argmax(edge)]
    return known & edge.any() & (times >= (begun + times[known][-1]) / 2)


def delayed(table: xr.Dataset) -> np.ndarray:
    """At which records the run is beyond the edge without the oscillation, (time,)."""
    needed = table["central_oscillation"]
    idle = (table["descent_oscillation"] < IDLE * needed) & (needed > 0)
    if "descent_stability" not in table:
        return np.zeros(table.sizes["time"], bool)
    return np.asarray((idle & (table["descent_stability"] > PASSED)).any("seed").values)
