"""Two trajectories at equal training time, and what their distance says of a step size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from thalweg.certify import SeedCertificate, along_flow
from thalweg.core.errors import InputError, require
from thalweg.trajectory import Trajectory

# The rules of the diagnosis; docs/concepts/regimes.md argues for the numbers.
EDGE = 0.95  # eta * sharpness / 2 from here on counts as at the edge
EDGE_SHARE = 0.2  # of the records in the second half
GROWTH = 2.0  # a loss this many times the first one has diverged
FAITHFUL = 0.01  # the flow's own error may be this part of the distance

REGIMES = {
    "gradient flow": "gradient descent follows gradient flow",
    "off the flow": "gradient descent is stable, but has left gradient flow",
    "edge of stability": "gradient descent is at the edge of stability",
    "divergent": "gradient descent diverges",
}
_SEVERITY = list(REGIMES)


@dataclass(frozen=True)
class Comparison:
    """Gradient descent beside gradient flow: the regime of the step size, and why.

    Attributes:
        regime: A key of `REGIMES`; the worst over the seeds.
        sentence: The diagnosis in one sentence.
        reasons: The numbers behind it, one sentence each.
        warnings: What the reader must know before trusting it.
        regimes: The regime of each seed.
        dataset: Dims (seed, time): distance, relative_distance, losses, eta * sharpness / 2 and
            the distance that the theorem allows.
        certificates: The approximation theorem along the flow of each seed.
        step_size: The step size that was diagnosed.
        eps: The relative distance that still counts as following the flow.
    """

    regime: str
    sentence: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    regimes: dict[int, str]
    dataset: xr.Dataset
    certificates: tuple[SeedCertificate, ...]
    step_size: float
    eps: float

    def __str__(self) -> str:
        """The diagnosis as a few lines of text."""
        notes = [f"Note: {warning}" for warning in self.warnings]
        return "\n".join([self.sentence, *(f"- {reason}" for reason in self.reasons), *notes])


def distance(left: Trajectory, right: Trajectory, mask: np.ndarray | None = None) -> xr.Dataset:
    """||theta_left - theta_right|| at the training times that both have recorded.

    Args:
        left: A trajectory with recorded parameters.
        right: Another from the same starts; its displacement scales the relative distance.
        mask: Which flat parameters count, shape (p,); all by default.

    Returns:
        Dims (seed, time), seeds and times in both: `distance` (unit: parameter), its error
        `distance_error` (the sum of the paths' own error estimates, 0 for exact iterates),
        `displacement` of the right one from its start, and `relative_distance`, their quotient
        (0 at time zero).

    Raises:
        InputError: If the two have no times or seeds in common, or other numbers of parameters.
    """
    a, b = left.dataset, right.dataset
    first, second = left.parameters, right.parameters
    require(
        first.sizes["parameter"] == second.sizes["parameter"],
        f"the trajectories have {first.sizes['parameter']} and {second.sizes['parameter']} "
        "parameters; compare runs of one model",
    )
    seeds = [s for s in a["seed"].values if s in b["seed"].values]
    pairs = _common_times(a["time"].values, b["time"].values)
    require(
        len(seeds) > 0 and len(pairs) > 0,
        "the trajectories share no seed or no recorded time; record both at the same times",
    )
    keep = slice(None) if mask is None else np.asarray(mask, bool)
    gaps = np.empty((len(seeds), len(pairs)))
    travelled = np.empty_like(gaps)
    for i, seed in enumerate(seeds):
        one, two = (p.isel(seed=int(np.argmax(p["seed"].values == seed))) for p in (first, second))
        start = two[0].values[keep]
        for j, (k, m) in enumerate(pairs):  # one record at a time: memory is bounded
            reference = two[m].values[keep]
            with np.errstate(over="ignore", invalid="ignore"):  # a diverged path is data
                gaps[i, j] = np.linalg.norm(one[k].values[keep] - reference)
                travelled[i, j] = np.linalg.norm(reference - start)
    error = np.zeros_like(gaps)
    for dataset, column in ((a, 0), (b, 1)):
        if "path_error" in dataset:
            chosen = dataset["path_error"].sel(seed=seeds).values
            error += chosen[:, [pair[column] for pair in pairs]]
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(travelled > 0, gaps / travelled, np.where(gaps == 0, 0.0, np.nan))
    dims = ("seed", "time")
    long = {"units": "parameter", "long_name": "distance at equal training time"}
    return xr.Dataset(
        {
            "distance": (dims, gaps, long),
            "distance_error": (dims, error, long | {"long_name": "error of distance"}),
            "displacement": (dims, travelled, long | {"long_name": "distance from the start"}),
            "relative_distance": (
                dims,
                relative,
                {"units": "1", "long_name": "distance over displacement"},
            ),
        },
        coords={"seed": seeds, "time": a["time"].values[[k for k, _ in pairs]]},
    )


def compare(descent: Trajectory, flow: Trajectory, eps: float = 0.05) -> Comparison:
    """Say in which regime a step size is, from gradient descent and gradient flow measured alike.

    A seed is *divergent* if its loss left the finite numbers or ended above twice its start; at
    the *edge of stability* if eta * sharpness / 2 is at least 0.95 in a fifth of the records of
    the second half; on the *gradient flow* if its distance from the flow at equal time never
    exceeds `eps` times the farthest that the flow travels; otherwise *off the flow*. The verdict
    is that of the worst seed.

    Args:
        descent: Gradient descent with parameters recorded, sharpness measured.
        flow: Gradient flow from the same starts at the same times.
        eps: Relative distance that still counts as following the flow.

    Raises:
        InputError: If the runs do not fit together, or `eps` is not positive.
    """
    require(np.isfinite(eps) and eps > 0, f"eps came as {eps}; give a positive number, as in 0.05")
    untold = "path_error" in flow.dataset and bool(np.isinf(flow.dataset["path_error"]).all())
    require(
        not untold,
        f"the second trajectory ({flow.name}) does not tell how far it is from gradient flow; "
        "give a run of gradient_flow",
    )
    step_size = _step_size(descent)
    table = distance(descent, flow)
    table = table.merge(_side_by_side(descent, flow, table, step_size), join="exact")
    farthest = table["displacement"].max("time").values
    allowed = {
        int(s): max(eps * float(f), 1e-300) for s, f in zip(table["seed"], farthest, strict=True)
    }
    whole = table["distance"] / np.maximum(table["displacement"].max("time"), 1e-300)
    meta = {"units": "1", "long_name": "distance over the whole way of the flow"}
    table = table.assign(share_of_way=whole.assign_attrs(meta))
    certificates: tuple[SeedCertificate, ...] = ()
    for i, (seed, radius) in enumerate(allowed.items()):
        near = float(table["distance"][i].max()) <= radius
        certificates += tuple(along_flow(flow, {seed: radius}, (descent,) if near else ()))
    table = _with_bound(table, certificates, step_size)
    lost = dict(zip(descent.dataset["seed"].values.tolist(), descent.diverged, strict=True))
    regimes = {
        seed: _regime(table.isel(seed=i), radius, lost[seed])
        for i, (seed, radius) in enumerate(allowed.items())
    }
    regime = max(regimes.values(), key=_SEVERITY.index)
    sentence = f"{REGIMES[regime][0].upper()}{REGIMES[regime][1:]} at step size {step_size:g}."
    if len(set(regimes.values())) > 1:
        counts = {r: list(regimes.values()).count(r) for r in REGIMES if r in regimes.values()}
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        sentence = sentence[:-1] + f" for the worst of {len(regimes)} seeds ({told})."
    return Comparison(
        regime,
        sentence,
        tuple(_reasons(table, flow, step_size, eps, certificates)),
        tuple(_warnings(table, descent, flow)),
        regimes,
        table,
        certificates,
        step_size,
        eps,
    )


def _common_times(a: np.ndarray, b: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of positions whose times agree to rounding."""
    nearest = np.clip(np.searchsorted(b, a), 1, max(len(b) - 1, 1)) if len(b) > 1 else None
    pairs = []
    for i, time in enumerate(a):
        candidates = [0] if nearest is None else [int(nearest[i]) - 1, int(nearest[i])]
        j = min(candidates, key=lambda c: abs(b[c] - time))
        if abs(b[j] - time) <= 1e-9 * max(abs(time), 1e-300):
            pairs.append((i, j))
    return pairs


def _step_size(descent: Trajectory) -> float:
    dynamics: dict[str, Any] = descent.provenance.get("configuration", {}).get("dynamics", {})
    try:
        return float(dynamics["step_size"])
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"the first trajectory ({descent.name}) has no constant step size to diagnose; "
            "give a run of gradient descent"
        ) from None


def _side_by_side(
    descent: Trajectory, flow: Trajectory, table: xr.Dataset, step_size: float
) -> xr.Dataset:
    """The readings of both at the common times, and eta * sharpness / 2."""
    columns = {}
    wanted = [str(v)[: -len("_result")] for v in flow.dataset if str(v).endswith("_result")]
    wanted.append("evaluations")
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
        if f"{prefix}_sharpness" in columns:
            for suffix in ("", "_error"):
                value = step_size / 2 * columns[f"{prefix}_sharpness{suffix}"]
                value.attrs = {"units": "1", "long_name": "step size times sharpness over 2"}
                columns[f"{prefix}_stability{suffix}"] = value
    return xr.Dataset(columns)


def _with_bound(
    table: xr.Dataset, certificates: tuple[SeedCertificate, ...], step_size: float
) -> xr.Dataset:
    """The distance that the theorem allows at this step size; NaN where it is silent."""
    bound = np.full(table["distance"].shape, np.nan)
    for seed, certificate in certificates:
        row = int(np.argmax(table["seed"].values == seed))
        values = certificate.error_bound(step_size)
        for time, value in zip(certificate.time, values, strict=True):
            column = int(np.argmin(np.abs(table["time"].values - time)))
            bound[row, column] = value if np.isfinite(value) else np.nan
    meta = {"units": "parameter", "long_name": "distance bound of the theorem, indicative"}
    return table.assign(distance_bound=(("seed", "time"), bound, meta))


def _regime(records: xr.Dataset, allowed: float, diverged: bool) -> str:
    losses = records["descent_loss"].values
    finite = losses[np.isfinite(losses)]
    if diverged or finite.size == 0 or finite[-1] > GROWTH * max(abs(finite[0]), 1e-300):
        return "divergent"
    if "descent_stability" in records:
        time, stability = records["time"].values, records["descent_stability"].values
        late = stability[(time >= time[-1] / 2) & np.isfinite(stability)]
        if late.size and np.mean(late >= EDGE) >= EDGE_SHARE:
            return "edge of stability"
    if float(records["distance"].max()) <= allowed:
        return "gradient flow"
    return "off the flow"


def _reasons(
    table: xr.Dataset,
    flow: Trajectory,
    step_size: float,
    eps: float,
    certificates: tuple[SeedCertificate, ...],
) -> list[str]:
    gaps, scale = table["distance"], table["displacement"].max("time")
    told = []
    if bool(np.isfinite(gaps).any()):
        worst = gaps.max("time") / scale.where(scale > 0)
        end = gaps.isel(time=-1)
        share = 100 * float(worst.max())
        told.append(
            f"Distance from the flow at equal time: at most {float(gaps.max()):.3g} "
            f"(+-{float(table['distance_error'].max()):.1g}), which is {share:.3g} % of "
            f"the way that the flow travels ({eps:.0%} counts as following it); "
            f"{float(end.max()):.3g} at the last common time {float(table['time'][-1]):g}."
        )
    if "descent_stability" in table:
        stability = table["descent_stability"]
        top = float(table["descent_sharpness"].max())
        told.append(
            f"Sharpness reaches {top:.4g}; the threshold 2/eta is {2 / step_size:.4g} "
            f"(eta * sharpness / 2: at most {float(stability.max()):.3g}, "
            f"{float(stability.isel(time=-1).max()):.3g} at the end)."
        )
    if "flow_stability" in table and float(table["flow_stability"].max()) > 1:
        crossing = (table["flow_stability"] > 1).any("seed")
        time = float(table["time"][int(np.argmax(crossing.values))])
        told.append(
            f"The flow itself meets a sharpness above 2/eta from training time {time:g} on: "
            "no gradient descent of this step size can follow it there."
        )
    if certificates:
        least = min(certificates, key=lambda c: c.certificate.step_size)
        told.append(
            f"The theorem of Elkabetz and Cohen indicates step sizes up to "
            f"{least.certificate.step_size:.2e} for a distance of {eps:.0%} of the way "
            f"({least.certificate.eps:.3g}), from curvature measured on the path "
            f"(a guarantee would need it on the whole tube); binding at training time "
            f"{least.certificate.binding_time:g}."
        )
    spent = [int(np.max(table[f"{p}_evaluations"].isel(time=-1))) for p in ("descent", "flow")]
    told.append(
        f"Cost in gradient evaluations: {spent[0]} for gradient descent, {spent[1]} for gradient "
        "flow with its error estimate (measurements not counted)."
    )
    return told


def _warnings(table: xr.Dataset, descent: Trajectory, flow: Trajectory) -> list[str]:
    told = []
    gap, error = float(table["distance"].max()), float(table["distance_error"].max())
    if gap > 0 and error > FAITHFUL * gap:
        told.append(
            f"the flow's own error ({error:.1g}) is {error / gap:.0%} of the distance; ask for a "
            "smaller error of the flow to trust the distance to more digits"
        )
    told += flow.doubts
    for trajectory in (descent, flow):
        for name in ("sharpness", "smallest_eigenvalue"):
            if f"{name}_result" in trajectory.dataset:
                late = int((trajectory.dataset[f"{name}_result"] == 1).sum())
                if late:
                    told.append(
                        f"{late} values of {name.replace('_', ' ')} along {trajectory.name} did "
                        "not converge to what was asked"
                    )
    if flow.diverged.any():
        told.append("the flow could not be followed to the end; the comparison stops there")
    if trajectory_ended(descent):
        last = float(descent.dataset["time"][-1])
        told.append(f"gradient descent left the finite numbers by training time {last:g}")
    return told


def trajectory_ended(trajectory: Trajectory) -> bool:
    """Whether every seed of a run has diverged."""
    return bool(trajectory.diverged.all())
