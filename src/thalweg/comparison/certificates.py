"""What theory guarantees along a measured flow: certificates from recorded curvature."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.models.dense import MLP, layer_weights
from thalweg.problems.problem import Problem, Supervised, unraveller
from thalweg.theory.descent import euler
from thalweg.theory.descent.euler import EulerCertificate
from thalweg.theory.linear_nets import homogeneous
from thalweg.trajectory import Trajectory

NEEDED = ("sharpness", "smallest_eigenvalue", "gradient_norm")


class SeedCertificate(NamedTuple):
    """The approximation theorem applied to the flow of one seed."""

    seed: int
    certificate: EulerCertificate


def along_flow(
    flow: Trajectory, eps: dict[int, float], others: tuple[Trajectory, ...] = ()
) -> list[SeedCertificate]:
    """Apply the theorem of Elkabetz and Cohen (2021), E4, to measured curvature.

    m(t) is minus the smallest Hessian eigenvalue, lowered by the error it was measured with;
    beta_t and gamma_t are running maxima of the spectral norm and of the gradient norm. The
    theorem asks for bounds on the whole tube around the flow; these are values on the flow, and
    at equal times on the other trajectories given, which lie in the tube if they are within eps.
    So the result is *indicative*: it indicates a step size and guarantees none.

    Args:
        flow: A trajectory of gradient flow with the readings `NEEDED`.
        eps: Allowed distance (unit: parameter) for each seed that is asked for.
        others: More trajectories in the tube, with the same readings.

    Returns:
        One certificate per seed that has three records of finite readings; none if a reading
        is missing.
    """
    if any(name not in flow.dataset for name in NEEDED):
        return []
    found = []
    times = flow.dataset["time"].values
    for seed, radius in eps.items():
        tables = [_bounds(_at(t.dataset.sel(seed=seed), times)) for t in (flow, *others) if _has(t)]
        table = xr.concat(
            tables, dim="path", data_vars="all", coords="minimal", compat="override"
        ).max("path")
        known = xr.apply_ufunc(np.isfinite, table.to_array()).all("variable")
        table = table.where(known, drop=True)
        if table.sizes["time"] < 3 or float(table["time"][0]) != 0.0:
            continue
        certificate = euler.euler_certificate(
            table["time"].values,
            table["m"].values,
            table["beta"].values,
            table["gamma"].values,
            radius,
            kind="indicative",
        )
        found.append(SeedCertificate(seed, certificate))
    return found


def homogeneous_bound(problem: Problem, trajectory: Trajectory) -> xr.DataArray | None:
    """The lower bound on the smallest Hessian eigenvalue of homogeneous nets, along a path.

    Elkabetz and Cohen (2021), E9, evaluated at the recorded parameters: for dense nets without
    biases whose activation is linear, ReLU or leaky ReLU; None for others. Exact up to rounding,
    at points where no pre-activation is zero. Cost: one gradient by the outputs per record.

    Returns:
        Dims (seed, time), unit loss/parameter^2.
    """
    if not isinstance(problem, Supervised) or not isinstance(problem.model, MLP):
        return None
    slopes = problem.model.slopes
    if slopes is None or "parameters" not in trajectory.dataset:
        return None
    unravel = unraveller(problem)
    # The bound is for the mean; a sum over examples is as many times larger.
    factor = 1.0 if problem.reduction == "mean" else float(problem.inputs.shape[0])
    inputs = problem.inputs.reshape(problem.inputs.shape[0], -1)

    def bound(theta: jax.Array) -> jax.Array:
        params = unravel(theta)
        gradients = jax.vmap(jax.grad(problem.loss.one))(problem.outputs(params), problem.targets)
        weights = layer_weights(params)
        return factor * homogeneous.homogeneous_min_eig_bound(weights, slopes, gradients, inputs)

    compiled = jax.jit(bound)
    recorded = trajectory.parameters
    values = [
        [float(compiled(jnp.asarray(recorded[s, t].values))) for t in range(recorded.sizes["time"])]
        for s in range(recorded.sizes["seed"])
    ]
    return xr.DataArray(
        np.asarray(values),
        dims=("seed", "time"),
        attrs={"units": "loss/parameter^2", "long_name": "lower bound on smallest eigenvalue"},
    )


def _has(trajectory: Trajectory) -> bool:
    return all(name in trajectory.dataset for name in NEEDED)


def _at(records: xr.Dataset, times: np.ndarray) -> xr.Dataset:
    """The readings at the times of another path, which are the same up to rounding."""
    records = records[[name + end for name in NEEDED for end in ("", "_error")]]
    return records.reindex(time=times, method="nearest", tolerance=1e-9 * np.abs(times))


def _bounds(records: xr.Dataset) -> xr.Dataset:
    smallest = records["smallest_eigenvalue"] - records["smallest_eigenvalue_error"]
    largest = records["sharpness"] + records["sharpness_error"]
    return xr.Dataset(
        {
            "m": -smallest,
            "beta": np.maximum(largest, -smallest),
            "gamma": records["gradient_norm"],
        }
    )
