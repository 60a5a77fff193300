"""The experiments whose flow is known exactly: X1, X2, X6 to X8."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.integrate import simpson

from thalweg.core.spectra import layer_product
from thalweg.driver.path import Path, paths
from thalweg.dynamics import gradient_descent, gradient_flow
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, predicted, table
from thalweg.problems import Problem
from thalweg.problems.closed_form import Factorisation, Quadratic
from thalweg.studies.elkabetz2021_continuous_discrete.points import deep_linear, spectra
from thalweg.theory.descent import certified_descent, euler
from thalweg.theory.linear_nets import homogeneous, scalar_linear

TIME, NORM = "step size", ("1", "norm of the product at the start")
COSINE = ("1", "cosine to the target at the start")
EPS, THIN = 0.01, 1e-4  # distances from the flow that are allowed
RADIUS, TARGET_LOSS = 0.02, 0.01  # of the tube of the certified runs; promised by C13
SETTINGS = {  # depth, norm of the product, its cosine to the target, time
    f"n={n}, r={r0}, cos={nu}": (n, r0, nu, until)
    for n, r0, nu, until in (
        (3, 0.3, 1.0, 6.0),
        (3, 0.1, 1.0, 8.0),
        (3, 0.3, 0.5, 8.0),
        (2, 0.1, 1.0, 6.0),
        (4, 0.3, 1.0, 8.0),
    )
}
STARTS = {f"n={n}, r={r0}": (n, r0) for n, r0 in ((3, 0.3), (2, 0.1), (4, 0.3))}
FLOW = gradient_flow(1e-12, "dopri8")


def _descent(problem: Problem, start: Any, step_size: float, steps: int, records: int) -> Path:
    """Gradient descent, recorded at the start and at evenly spaced steps."""
    marks = np.rint(np.linspace(0, steps, records + 1)).astype(int)
    return paths(gradient_descent(step_size), problem, start, np.diff(marks), over=())


@experiment("X1")
def quadratics(lab: Lab) -> xr.Dataset:
    """Descent and flow on one-dimensional quadratics, concave, flat and convex."""
    m = ([0.5, 1.0, 2.0], "loss/parameter^2", "negative curvature")
    concave = over(_concave, m=m, T=([2.0, 4.0, 8.0], TIME, "training time"))
    return concave.merge(over(_convex, step_size=([0.1, 0.03, 0.01, 0.003], TIME, "step size")))


def _concave(m: float, T: float) -> xr.Dataset:
    """The largest step size with error eps at T on -m z^2/2, and the errors on both sides of it."""
    bowl = Quadratic(*map(jnp.array, ([-m], [0.0], [1.0])))
    largest = euler.largest_step_quadratic(m, T, 1.0, EPS)
    limit = euler.largest_step_quadratic_asymptotic(m, T, 1.0, EPS)
    above, below = math.nan, math.nan
    if m * T <= 4:  # beyond, the steps are too many to take
        fewest = math.floor(T / largest)
        ends = [_descent(bowl, bowl.start, T / k, k, 1) for k in (fewest, fewest + 1)]
        above, below = (abs(float(end.seen[-1, 0]) - math.exp(m * T)) for end in ends)
    at_end = "error at T with the number of steps rounded"
    found = {
        "largest_step": (largest, TIME, "largest step size with error eps at T"),
        "largest_step_limit": (limit, TIME, "its limit for late T"),
        "error_above": (above, "parameter", f"{at_end} down"),
        "error_below": (below, "parameter", f"{at_end} up"),
    }
    return table({"": found}, attrs={"eps": EPS})


def _convex(step_size: float) -> xr.Dataset:
    """The largest error over time on z^2/2, in units of its limit for small steps, and on z."""
    both = Quadratic(*jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.5]]))
    path = _descent(both, both.start, step_size, round(4.0 / step_size), 400)
    t, z = np.asarray(path.time), np.asarray(path.seen)
    peak = np.max(np.abs(z[:, 0] - np.exp(-t)))
    ratio = peak / euler.convex_quadratic_peak_error(1.0, 1.0, step_size)
    straight = np.max(np.abs(z[:, 1] - (0.5 - t)))
    found = {
        "convex_peak_ratio": (ratio, "1", "largest error over its limit for small steps"),
        "linear_error": (straight, "parameter", "largest error on a linear function"),
    }
    return table({"": found})


@experiment("X2")
def certified(lab: Lab) -> xr.Dataset:
    """Gradient descent with the step sizes that the theorem certifies."""
    return over(_certified, setting=SETTINGS)


def _certified(setting: str) -> xr.Dataset:
    n, r0, nu, until = SETTINGS[setting]
    certificate = certified_descent.scalar_linear_certificate(r0, nu, n, until, RADIUS)
    promise = certified_descent.descent_guarantee(r0, nu, n, TARGET_LOSS)
    eta, problem = certificate.step_size, deep_linear(r0, nu, n)
    start = list(problem.start)
    path = _descent(problem, start, eta, math.floor(until / eta), 200)
    kept = _descent(problem, start, promise.step_size, promise.steps, 1)
    losses, promised = (np.asarray(jax.vmap(problem.objective)(p.seen)) for p in (path, kept))
    times = np.asarray(path.time)
    flow = scalar_linear.scalar_linear_flow(r0, nu, n, times)
    exact = scalar_linear.scalar_linear_weights(flow, start, problem.target)
    error = math.sqrt(n) * flow.error
    along = {
        "time": (times, TIME, "training time"),
        "distance": (_apart(path.seen, exact), "parameter", "distance of descent from flow"),
        "distance_error": (error, "parameter", "error of the exact flow"),
        "loss": (losses, "loss", "loss of gradient descent"),
        "flow_loss": (flow.loss, "loss", "loss of gradient flow"),
    }
    once = {
        "step_size": (eta, TIME, "certified step size"),
        "promised_loss": (promised[-1], "loss", "loss when those steps are done"),
    }
    found = table({"record": along, "": once}, {"eps": RADIUS, "target_loss": TARGET_LOSS})
    return predicted(found, certificate.prediction(eta))


def _apart(left: list[Any], right: list[np.ndarray]) -> Float[np.ndarray, " time"]:
    """Distance between two paths of weights, each matrix of shape (time, out, in)."""
    gaps = [np.linalg.norm(a - b, axis=(1, 2)) for a, b in zip(left, right, strict=True)]
    return np.linalg.norm(gaps, axis=0)


@dataclass(frozen=True)
class Depths:
    """Of the nets whose layers a solver follows, and of those whose times are bounded."""

    followed: tuple[int, ...] = (2, 3, 4, 5)
    bounded: tuple[int, ...] = (2, 3, 4, 5)


@experiment("X6", Depths(), smoke={"followed": (3,), "bounded": (5,)})
def exact_flow(lab: Lab, size: Depths) -> xr.Dataset:
    """The closed form against the flow of the layers, its integrals and its times."""
    times = over(
        _time_to_loss,
        layers=size.bounded,
        r0=([0.002, 0.02, 0.1, 0.2], *NORM),
        nu=([-0.8, -0.3, 0.0, 0.5, 1.0], *COSINE),
        excess=([1e-4, 1e-2, 1.0], "loss", "loss to be reached"),
    )
    layers, bounds = over(_layerwise, depth=size.followed), over(_bound_integral, start=STARTS)
    return xr.merge([layers, bounds, over(_chain_integral, chain=[2, 3, 4]), times])


def _layerwise(depth: int) -> xr.Dataset:
    """Balanced starts of norm 0.3 at four angles, followed side by side by a solver."""
    cosines = (1.0, 0.5, -0.5, -0.9)
    nets = [deep_linear(0.3, c, depth) for c in cosines]
    starts = [jnp.stack(layer) for layer in zip(*(net.start for net in nets), strict=True)]
    problem = Factorisation(nets[0].target, starts)
    path = paths(FLOW, problem, starts, 0.5, 120, _followed, over=())
    (layers, error), times = path.seen, np.asarray(path.time)
    flows = [scalar_linear.scalar_linear_flow(0.3, c, depth, times) for c in cosines]
    gaps = [
        _apart(
            [w[:, j] for w in layers],
            scalar_linear.scalar_linear_weights(flow, net.start, net.target),
        )
        for j, (flow, net) in enumerate(zip(flows, nets, strict=True))
    ]
    norm = np.linalg.norm(layer_product(layers), axis=(2, 3)).T
    exact = [flow.norm for flow in flows]
    by_angle = {
        "flow_gap": (gaps, "parameter", "distance of the layers' flow from theory"),
        "norm": (norm, "1", "norm of the product, followed"),
        "exact_norm": (exact, "1", "norm of the product, closed form"),
    }
    followed = {"flow_gap_error": (error, "parameter", "error of the followed flow")}
    groups = {"cosine time": by_angle, "time": followed}
    return table(groups, cosine=(cosines, *COSINE), time=times)


def _followed(problem: Problem, state: State) -> tuple[Any, Any]:
    return state.params, FLOW.path_error(problem, state)


def _bound_integral(start: str) -> xr.Dataset:
    """The integral of the curvature bound along the aligned flow, by quadrature."""
    n, r0 = STARTS[start]
    times = np.linspace(0.0, scalar_linear.time_to_loss(r0, 1.0, n, 1e-20), 10001)
    r = scalar_linear.scalar_linear_flow(r0, 1.0, n, times).norm
    layer = jnp.asarray(r ** (1 / n))[:, None, None]
    bound = homogeneous.linear_min_eig_bound([layer] * n, jnp.asarray(r - 1)[:, None, None])
    exact = float(scalar_linear.bound_integral(r[-1], r0, n))
    return _integral("bound_integral", -np.asarray(bound), times, exact, "the curvature bound")


def _chain_integral(chain: int) -> xr.Dataset:
    """The total negative curvature that a chain of scalars meets, from its Hessians."""
    n, r0 = chain, 0.05
    # The eigenvalue crosses zero at r = (n-1)/(2n-1); the integrand has a kink there.
    loss = 0.5 * (n / (2 * n - 1)) ** 2
    times = np.linspace(0.0, scalar_linear.time_to_loss(r0, 1.0, n, loss), 2001)
    r = scalar_linear.scalar_linear_flow(r0, 1.0, n, times).norm
    weights = [jnp.asarray(r ** (1 / n))[:, None, None]] * n
    smallest = spectra(Factorisation(jnp.ones((1, 1)), [jnp.eye(1)] * n), weights)[:, 0]
    exact = float(homogeneous.chain_negative_curvature_integral(r0, n))
    negative = np.maximum(-smallest, 0.0)
    return _integral("chain_integral", negative, times, exact, "a chain's negative curvature")


def _integral(
    name: str, values: np.ndarray, times: np.ndarray, exact: float, words: str
) -> xr.Dataset:
    """Simpson's rule, its difference to the same on every second point, and the closed form."""
    fine = float(simpson(values, x=times))
    error = abs(fine - float(simpson(values[::2], x=times[::2])))
    found = {
        name: (fine, "1", f"integral of {words}"),
        f"{name}_error": (error, "1", "error of the quadrature"),
        f"{name}_exact": (exact, "1", "its closed form"),
    }
    return table({"": found})


def _time_to_loss(layers: int, r0: float, nu: float, excess: float) -> xr.Dataset:
    """The time that the flow takes to a loss, and the paper's bound on it."""
    taken = scalar_linear.time_to_loss(r0, nu, layers, excess)
    bound = scalar_linear.flow_time_bound(r0, nu, layers, excess)
    found = {
        "time_taken": (taken, TIME, "time of the flow to the loss"),
        "time_bound": (bound, TIME, "the paper's bound on it"),
    }
    return table({"": found})


@experiment("X7")
def euler_error(lab: Lab) -> xr.Dataset:
    """The distance of descent from flow over the step size, on chains of equal scalars."""
    return over(_euler_error, chain_depth=[3, 4])


def _euler_error(chain_depth: int) -> xr.Dataset:
    n, eta, r0s = chain_depth, 1e-3, np.array([0.1, 0.01, 0.001])
    problem = Factorisation(jnp.ones((3, 1, 1)), [jnp.asarray(r0s ** (1 / n))[:, None, None]] * n)
    path = _descent(problem, list(problem.start), eta, 20_000, 800)
    times, weights = np.asarray(path.time), np.stack(path.seen)[..., 0, 0]
    flows = [scalar_linear.scalar_linear_flow(r0, 1.0, n, times) for r0 in r0s.tolist()]
    exact = np.stack([flow.norm for flow in flows]) ** (1 / n)
    # 1 - y^n from the loss (1 - y^n)^2 / 2, which is accurate late, when y is close to 1.
    speed = exact ** (n - 1) * np.sqrt(2 * np.stack([flow.loss for flow in flows]))
    leading = math.sqrt(n) * np.abs([euler.leading_euler_error(v, v[0], 1.0) for v in speed])
    apart, unit = np.linalg.norm(weights - exact.T, axis=0).T / eta, "parameter/step size"
    found = {
        "scaled_distance": (apart, unit, "distance from flow over step size"),
        "leading_error": (leading, unit, "its limit for small step sizes"),
    }
    start = (r0s, "1", "product of the weights at the start")
    return table({"r0 time": found}, {"step_size": eta}, r0=start, time=times)


@dataclass(frozen=True)
class Grids:
    """How many times a certificate looks at, that of a thin tube more of them."""

    wide: int = 4001
    thin: int = 20_001


@experiment("X8", Grids(), smoke={"wide": 1001, "thin": 2001})
def certificates(lab: Lab, size: Grids) -> xr.Dataset:
    """How the certified step size shrinks with the start, with and without the path."""
    depths, r0s = [2, 3, 4], ([0.3, 0.1, 0.03, 0.01, 0.003, 0.001], *NORM)
    wide = over(partial(_known_and_not, size.wide), depth=depths, r0=r0s)
    small = ([1e-3, 1e-4], *NORM)
    return wide.merge(over(partial(_thin, size.thin), depth=depths, small_r0=small))


def _known_and_not(grid: int, depth: int, r0: float) -> xr.Dataset:
    known, blind = (_certificate(depth, r0, EPS, constant, grid) for constant in (False, True))
    found = {
        "step_size": (known, TIME, "certified step size"),
        "step_size_constant": (blind, TIME, "certified step size, path unknown"),
    }
    return table({"": found}, {"eps": EPS, "thin_eps": THIN})


def _thin(grid: int, depth: int, small_r0: float) -> xr.Dataset:
    step = _certificate(depth, small_r0, THIN, False, grid)
    return table({"": {"step_size_thin": (step, TIME, "certified step size for a thin tube")}})


def _certificate(n: int, r0: float, eps: float, constant: bool, grid: int) -> float:
    """The step size certified from an aligned start to loss 1e-4."""
    until = scalar_linear.time_to_loss(r0, 1.0, n, 1e-4)
    return certified_descent.scalar_linear_certificate(
        r0, 1.0, n, until, eps, constant=constant, grid=grid
    ).step_size
