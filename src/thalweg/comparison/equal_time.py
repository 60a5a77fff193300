"""How far apart two trajectories are at equal training time."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.core.errors import require
from thalweg.trajectory import Trajectory


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

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> steps = tw.run(bowl, tw.gradient_descent(0.5), until=1.0, records=1)
        >>> flow = tw.run(bowl, tw.gradient_flow(1e-10), until=1.0, records=1)
        >>> apart = tw.distance(steps, flow)["distance"].values[0, -1]
        >>> bool(np.isclose(apart, np.exp(-1) - 0.25))  # 0.5^2 after two steps
        True
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
    size = first.sizes["parameter"]
    if mask is not None:
        shape = np.asarray(mask).shape
        require(
            shape == (size,),
            f"mask came with shape {shape}; give one truth value per parameter, ({size},)",
        )
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
