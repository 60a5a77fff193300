"""Experiments of low-dimensional data with the reduced flow of a deep linear net."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from thalweg.lab.study import Lab, variable
from thalweg.theory.linear_nets import linear_modes
from thalweg.theory.linear_nets.low_dimensional import (
    QuadraticLoss,
    ReducedFlow,
    closest_norm,
    frozen_invariant,
    normal_decay,
    normal_decay_rate,
    plane_loss,
    reduced_flow,
    settled_normal_norm,
)

FOREVER = np.array([1e7])
CASES = {"clean": (2.0, 0.0), "noisy": (1.1, 0.2)}  # a and the noise
DIRECTION = np.array([0.6, 0.8])
DEPTHS = (1, 2, 3, 5)
SCALES = np.array([1e-4, 1e-3, 1e-2, 1e-1])
WRONG_SIDE = np.array([-0.8, 0.4])
ESCAPE_DEPTHS = (2, 3, 4, 6)
ESCAPE_SCALES = np.array([1e-6, 1e-5, 1e-4])
LATE = np.linspace(800.0, 1200.0, 41)
UNIT = "output/input"


def settled(loss: QuadraticLoss, start: np.ndarray, L: int) -> ReducedFlow:
    """The flow until ||w_x - a|| falls through 1e-9; the first coordinate is tangent."""
    a = loss.minimiser[0]
    return reduced_flow(loss, start, L, FOREVER, until=lambda w: abs(w[0] - a) - 1e-9)


def portrait(lab: Lab) -> xr.Dataset:
    """X1: paths of the reduced flow at depth 2 around the origin, clean and noisy."""
    times = np.concatenate([[0.0], np.geomspace(0.01, 100.0, 400 if lab.full else 150)])
    starts = [(x, y) for x in (-1.5, -0.5, 0.5) for y in (-1.0, -0.4, 0.1, 0.7)]
    flows = [
        [reduced_flow(plane_loss(a, 1, noise), start, 2, times) for start in starts]
        for a, noise in CASES.values()
    ]
    w = np.array([[flow.w for flow in row] for row in flows])
    error = [[flow.error for flow in row] for row in flows]
    dims = ("case", "start", "time")
    return xr.Dataset(
        {
            "w_x": variable(dims, w[..., 0], UNIT, "tangent part w_x"),
            "w_y": variable(dims, w[..., 1], UNIT, "normal part w_y"),
            "error": variable(dims, error, UNIT, "distance to a looser solution"),
        },
        {
            "case": list(CASES),
            "start": np.arange(len(starts)),
            "time": variable("time", times, "step size", "training time"),
        },
    )


def invariant(lab: Lab) -> xr.Dataset:
    """X1-invariant: what clean data conserve along the reduced flow, in two and three dimensions.

    Largest changes of the invariant and of the direction of w_y over the times.
    """
    draws = 10 if lab.full else 3
    times = np.linspace(0.0, 20.0, 41)
    variation, turn = np.zeros((2, len(DEPTHS), draws))
    for j in range(draws):
        rng = np.random.default_rng(j)
        X = rng.normal(size=(20, 2))
        loss = plane_loss(rng.normal(size=2), 3, correlation=X.T @ X / 20)
        start = rng.normal(size=5)
        for i, L in enumerate(DEPTHS):
            w = reduced_flow(loss, start, L, times).w
            norms = np.linalg.norm(w[:, 2:], axis=1)
            values = frozen_invariant(np.linalg.norm(w, axis=1), norms, L)
            variation[i, j] = np.ptp(values) / values[0]
            directions = w[:, 2:] / norms[:, None]
            turn[i, j] = np.max(np.linalg.norm(directions - directions[0], axis=1))
    dims = ("depth", "draw")
    return xr.Dataset(
        {
            "variation": variable(dims, variation, "1", "relative variation of the invariant"),
            "turn": variable(dims, turn, "1", "change of the direction of w_y"),
        },
        {"depth": list(DEPTHS)},
    )


def closest(lab: Lab) -> xr.Dataset:
    """X1-closest: how near to the origin a start on the wrong side comes, with and without noise.

    ||a|| = 1.
    """
    depths = range(1, 9 if lab.full else 6)
    noises = (0.0, 0.3)
    flows = [
        [past_origin(plane_loss(1.0, 1, noise), WRONG_SIDE, L) for L in depths] for noise in noises
    ]
    norms = (float(np.linalg.norm(v)) for v in (WRONG_SIDE, WRONG_SIDE[1:]))
    whole, normal = norms
    theory = [closest_norm(whole, normal, L) for L in depths]
    dims = ("noise", "depth")
    found = [[flow.closest for flow in row] for row in flows]
    error = [[flow.closest_error for flow in row] for row in flows]
    return xr.Dataset(
        {
            "closest": variable(dims, found, UNIT, "least ||w||"),
            "closest_error": variable(dims, error, UNIT, "distance to a looser solution"),
            "closest_theory": variable("depth", theory, UNIT, "least ||w|| by E6, clean"),
        },
        {"noise": list(noises), "depth": variable("depth", list(depths), "1", "depth L")},
    )


def past_origin(loss: QuadraticLoss, start: np.ndarray, L: int) -> ReducedFlow:
    """The flow until w_x is half of its target: past the origin, if it comes near."""
    half = loss.minimiser[0] / 2
    return reduced_flow(loss, start, L, FOREVER, until=lambda w: half - w[0])


def initial_scale(lab: Lab) -> xr.Dataset:
    """X3: the normal part that is left of a small start, for every depth; ||a|| = 1."""
    scales = np.geomspace(1e-4, 1e-1, 13) if lab.full else SCALES
    loss = plane_loss(1.0, 1)
    flows = [[settled(loss, eps * DIRECTION, L) for eps in scales] for L in DEPTHS]
    theory = [
        [settled_normal_norm(eps, eps * DIRECTION[1], 1.0, L) for eps in scales] for L in DEPTHS
    ]
    dims = ("depth", "scale")
    return xr.Dataset(
        {
            "normal": _of(flows, dims, lambda f: abs(f.w[-1, 1]), "||w_y|| after training"),
            "normal_error": _of(flows, dims, lambda f: f.error[-1], "distance, looser solution"),
            "normal_theory": variable(dims, theory, UNIT, "||w_y|| after training, by E5"),
        },
        {
            "depth": list(DEPTHS),
            "scale": variable("scale", scales, UNIT, "norm of the start"),
        },
    )


def escape(lab: Lab) -> xr.Dataset:
    """X1-escape: the time that a small aligned start takes to half of ||a|| = 1."""
    scales = np.geomspace(1e-6, 1e-2, 17) if lab.full else ESCAPE_SCALES
    loss = plane_loss(1.0, 1)

    def short_of_half(w: np.ndarray) -> float:
        return 0.5 - float(np.linalg.norm(w))

    def one(eps: float, L: int) -> ReducedFlow:
        start = np.array([eps, 0.0])
        return reduced_flow(loss, start, L, FOREVER, until=short_of_half, atol=1e-9 * eps)

    flows = [[one(eps, L) for eps in scales] for L in ESCAPE_DEPTHS]
    theory = [linear_modes.deep_mode_time(L, scales, 0.5, 1.0)[0] for L in ESCAPE_DEPTHS]
    dims, words = ("depth", "scale"), "time to half of the target"
    return xr.Dataset(
        {
            "time": _of(flows, dims, lambda f: f.stopped, words, "step size"),
            "time_error": _of(flows, dims, lambda f: f.stopped_error, words, "step size"),
            "time_theory": variable(dims, theory, "step size", f"{words}, by quadrature"),
        },
        {
            "depth": list(ESCAPE_DEPTHS),
            "scale": variable("scale", scales, UNIT, "norm of the start"),
        },
    )


def noise_rate(lab: Lab) -> xr.Dataset:
    """X1-noise: how fast noise of variance 0.01 drives w_y to zero from (1, 0.3), a = 1.5."""
    a, noise, depths = 1.5, 0.1, range(1, 7 if lab.full else 5)
    times = np.concatenate([np.linspace(0.0, 780.0, 40), LATE])
    late = times >= LATE[0]
    loss = plane_loss(a, 1, noise)
    flows = [reduced_flow(loss, (1.0, 0.3), L, times, atol=1e-16) for L in depths]
    normal = np.array([abs(flow.w[:, 1]) for flow in flows])
    rates = [-np.polyfit(times[late], np.log(row[late]), 1)[0] for row in normal]
    theory = [normal_decay_rate(a, noise, L) for L in depths]
    from_start = np.array(
        [
            normal_decay(row[late][0], a, noise, L).at(times - LATE[0])
            for row, L in zip(normal, depths, strict=True)
        ]
    )
    gap = [np.max(abs(flow.w[late, 0] - a)) for flow in flows]
    dims, rate = ("depth", "time"), "1/step size"
    return xr.Dataset(
        {
            "normal": variable(dims, normal, UNIT, "||w_y||"),
            "normal_error": variable(dims, [f.error for f in flows], UNIT, "looser solution"),
            "normal_theory": variable(dims, from_start, UNIT, "E8 through the late times"),
            "rate": variable("depth", rates, rate, "fitted rate at late times"),
            "rate_theory": variable("depth", theory, rate, "rate by E8"),
            "tangent_gap": variable("depth", gap, UNIT, "largest |w_x - a| at late times"),
            "normal_late": variable("depth", normal[:, late][:, 0], UNIT, "||w_y|| at late times"),
        },
        {
            "depth": list(depths),
            "time": variable("time", times, "step size", "training time"),
        },
    )


def _of(
    flows: Sequence[Sequence[ReducedFlow]],
    dims: tuple[str, str],
    read: Callable[[ReducedFlow], float],
    words: str,
    unit: str = UNIT,
) -> xr.Variable:
    """A number of every flow in a table."""
    return variable(dims, [[read(flow) for flow in row] for row in flows], unit, words)
