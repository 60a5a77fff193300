"""The experiments of `continuous_vs_discrete` whose flow is known exactly: X1, X2, X6 to X8."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.integrate import simpson

from thalweg.core.hessian_product import dense_hessian
from thalweg.dynamics import gradient_descent, gradient_flow
from thalweg.lab.study import Lab, variable
from thalweg.problems.closed_form import Factorisation, Quadratic
from thalweg.studies.elkabetz2021_continuous_discrete.points import deep_linear
from thalweg.theory.descent import certified_descent, euler
from thalweg.theory.linear_nets import homogeneous, scalar_linear

PARAMETER, TIME, LOSS, ONE = "parameter", "step size", "loss", "1"
DEPTHS = (2, 3, 4, 5)  # of the nets whose layers are followed
RADIUS = 0.02  # of the tube of the certified runs
TARGET_LOSS = 0.01
# Depth, norm of the product, its cosine to the target, time.
CERTIFIED = (
    (3, 0.3, 1.0, 6.0),
    (3, 0.1, 1.0, 8.0),
    (3, 0.3, 0.5, 8.0),
    (2, 0.1, 1.0, 6.0),
    (4, 0.3, 1.0, 8.0),
)


def quadratics(lab: Lab) -> xr.Dataset:
    """X1: descent and flow on one-dimensional quadratics, concave, flat and convex."""
    concave, times, eps = np.array([0.5, 1.0, 2.0]), np.array([2.0, 4.0, 8.0]), 0.01
    shape = (len(concave), len(times))
    largest, limit, above, below = (np.full(shape, np.nan) for _ in range(4))
    for i, m in enumerate(concave.tolist()):
        for j, T in enumerate(times.tolist()):
            largest[i, j] = euler.largest_step_quadratic(m, T, 1.0, eps)
            limit[i, j] = euler.largest_step_quadratic_asymptotic(m, T, 1.0, eps)
            if m * T <= 4:  # beyond, the steps are too many to take
                fewest = math.floor(T / largest[i, j])
                above[i, j] = _error_at_end(lab, m, T, fewest)
                below[i, j] = _error_at_end(lab, m, T, fewest + 1)
    dims, at_end = ("m", "T"), "error at T with the number of steps rounded"
    concave_part = xr.Dataset(
        {
            "largest_step": variable(dims, largest, TIME, "largest step size with error eps at T"),
            "largest_step_limit": variable(dims, limit, TIME, "its limit for late T"),
            "error_above": variable(dims, above, PARAMETER, f"{at_end} down"),
            "error_below": variable(dims, below, PARAMETER, f"{at_end} up"),
        },
        coords={
            "m": variable("m", concave, "loss/parameter^2", "negative curvature"),
            "T": variable("T", times, TIME, "training time"),
        },
        attrs={"eps": eps},
    )
    return concave_part.merge(_convex(lab))


def _error_at_end(lab: Lab, m: float, T: float, steps: int) -> float:
    bowl = Quadratic(jnp.array([-m]), jnp.zeros(1), jnp.ones(1))
    path = lab.run(
        f"concave-{m}-{T}-{steps}", bowl, gradient_descent(T / steps), until=T, records=1
    )
    return abs(float(path.parameters[0, -1, 0]) - math.exp(m * T))


def _convex(lab: Lab) -> xr.Dataset:
    """The largest error over time on z^2/2, in units of its limit for small steps, and on z."""
    etas = np.array([0.1, 0.03, 0.01, 0.003])
    both = Quadratic(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]), jnp.array([1.0, 0.5]))
    ratio, straight = np.empty(4), np.empty(4)
    for i, eta in enumerate(etas.tolist()):
        path = lab.run(f"convex-{eta}", both, gradient_descent(eta), until=4.0, records=400)
        t, z = path.dataset["time"].values, path.parameters.values[0]
        peak = np.max(np.abs(z[:, 0] - np.exp(-t)))
        ratio[i] = peak / euler.convex_quadratic_peak_error(1.0, 1.0, eta)
        straight[i] = np.max(np.abs(z[:, 1] - (0.5 - t)))
    return xr.Dataset(
        {
            "convex_peak_ratio": variable(
                "step_size", ratio, ONE, "largest error over its limit for small steps"
            ),
            "linear_error": variable(
                "step_size", straight, PARAMETER, "largest error on a linear function"
            ),
        },
        coords={"step_size": variable("step_size", etas, TIME, "step size")},
    )


def certified(lab: Lab) -> xr.Dataset:
    """X2: gradient descent with the step sizes that the theorem certifies."""
    rows = [_certified(lab, *setting) for setting in CERTIFIED]
    names = [f"n={n}, r={r}, cos={c}" for n, r, c, _ in CERTIFIED]
    return xr.concat(rows, "setting").assign_coords(setting=names).assign_attrs(eps=RADIUS)


def _certified(lab: Lab, n: int, r0: float, nu: float, until: float) -> xr.Dataset:
    certificate = certified_descent.scalar_linear_certificate(r0, nu, n, until, RADIUS)
    promise = certified_descent.descent_guarantee(r0, nu, n, TARGET_LOSS)
    eta, problem = certificate.step_size, deep_linear(r0, nu, n, jax.random.key(n))
    end = eta * math.floor(until / eta)
    path = lab.run(
        f"certified-{n}-{r0}-{nu}", problem, gradient_descent(eta), until=end, records=200
    )
    times = path.dataset["time"].values
    flow = scalar_linear.scalar_linear_flow(r0, nu, n, times)
    exact = scalar_linear.scalar_linear_weights(flow, problem.start, problem.target)
    gap = np.linalg.norm(path.parameters.values[0] - flattened(exact), axis=1)
    kept = lab.run(
        f"promised-{n}-{r0}-{nu}",
        problem,
        gradient_descent(promise.step_size),
        until=promise.step_size * promise.steps,
        records=1,
    )
    bound = certificate.prediction(eta).at(times)
    descended, promised = path.dataset["loss"].values[0], kept.dataset["loss"].values[0, -1]
    return xr.Dataset(
        {
            "time": variable("record", times, TIME, "training time"),
            "distance": variable("record", gap, PARAMETER, "distance of descent from flow"),
            "distance_error": variable(
                "record", math.sqrt(n) * flow.error, PARAMETER, "error of the exact flow"
            ),
            "bound": variable("record", bound, PARAMETER, "distance that the theorem allows"),
            "loss": variable("record", descended, LOSS, "loss of gradient descent"),
            "flow_loss": variable("record", flow.loss, LOSS, "loss of gradient flow"),
            "step_size": variable((), eta, TIME, "certified step size"),
            "promised_step_size": variable(
                (), promise.step_size, TIME, f"step size certified for loss {TARGET_LOSS}"
            ),
            "promised_loss": variable((), promised, LOSS, "loss when those steps are done"),
        },
        attrs={"target_loss": TARGET_LOSS},
    )


def flattened(weights: list[Float[np.ndarray, "time out in"]]) -> Float[np.ndarray, "time p"]:
    """Weights along a path as flat parameters, in the order of `tree.flatten`."""
    return np.concatenate([w.reshape(len(w), -1) for w in weights], axis=1)


def exact_flow(lab: Lab) -> xr.Dataset:
    """X6: the closed form against the flow of the layers, its integrals and its times."""
    parts = (_layerwise(lab), _bound_integrals(), _chain_integrals(), _time_bounds())
    return xr.merge(parts, combine_attrs="drop_conflicts")


def _layerwise(lab: Lab) -> xr.Dataset:
    """Balanced starts of norm 0.3 at four angles, depth 2 to 5, followed by a solver."""
    depths, cosines, times = DEPTHS, np.array([1.0, 0.5, -0.5, -0.9]), np.linspace(0, 60, 121)
    shape = (len(depths), len(cosines), len(times))
    gap, norm, exact_norm = (np.empty(shape) for _ in range(3))
    error = np.empty((len(depths), len(times)))
    for i, n in enumerate(depths):
        nets = [deep_linear(0.3, c, n, jax.random.key(n)) for c in cosines.tolist()]
        starts = [jnp.stack(layer) for layer in zip(*(net.start for net in nets), strict=True)]
        problem = Factorisation(nets[0].target, starts)
        path = lab.run(f"layers-{n}", problem, gradient_flow(1e-12, "dopri8"), times=times)
        error[i] = path.dataset["path_error"].values[0]
        followed = _split(path.parameters.values[0], starts)
        for j, (c, net) in enumerate(zip(cosines.tolist(), nets, strict=True)):
            flow = scalar_linear.scalar_linear_flow(0.3, c, n, times)
            exact = scalar_linear.scalar_linear_weights(flow, net.start, net.target)
            mine = [w[:, j] for w in followed]
            gap[i, j] = np.linalg.norm(flattened(mine) - flattened(exact), axis=1)
            norm[i, j] = np.linalg.norm(_product(mine), axis=(1, 2))
            exact_norm[i, j] = flow.norm
    dims = ("depth", "cosine", "time")
    return xr.Dataset(
        {
            "flow_gap": variable(dims, gap, PARAMETER, "distance of the layers' flow from theory"),
            "flow_gap_error": variable(
                ("depth", "time"), error, PARAMETER, "error of the followed flow"
            ),
            "norm": variable(dims, norm, ONE, "norm of the product, followed"),
            "exact_norm": variable(dims, exact_norm, ONE, "norm of the product, closed form"),
        },
        coords={
            "depth": list(depths),
            "cosine": variable("cosine", cosines, ONE, "cosine to the target at the start"),
            "time": variable("time", times, TIME, "training time"),
        },
    )


def _split(flat: Float[np.ndarray, "time p"], like: list) -> list[np.ndarray]:
    ends = np.cumsum([w.size for w in like])[:-1]
    pieces = np.split(flat, ends, axis=1)
    return [p.reshape(len(flat), *w.shape) for p, w in zip(pieces, like, strict=True)]


def _product(weights: list[np.ndarray]) -> np.ndarray:
    product = weights[0]
    for w in weights[1:]:
        product = w @ product
    return product


def _bound_integrals() -> xr.Dataset:
    """The integral of the curvature bound along the aligned flow, by quadrature."""
    settings, rows = ((3, 0.3), (2, 0.1), (4, 0.3)), []
    for n, r0 in settings:
        times = np.linspace(0.0, scalar_linear.time_to_loss(r0, 1.0, n, 1e-20), 10001)
        r = scalar_linear.scalar_linear_flow(r0, 1.0, n, times).norm
        layer = jnp.asarray(r ** (1 / n))[:, None, None]
        m = -homogeneous.linear_min_eig_bound([layer] * n, jnp.asarray(r - 1)[:, None, None])
        value, error = _integral(np.asarray(m), times)
        rows.append((value, error, float(scalar_linear.bound_integral(r[-1], r0, n))))
    value, error, exact = np.transpose(rows)
    return xr.Dataset(
        {
            "bound_integral": variable("start", value, ONE, "integral of the curvature bound"),
            "bound_integral_error": variable("start", error, ONE, "error of the quadrature"),
            "bound_integral_exact": variable("start", exact, ONE, "its closed form"),
        },
        coords={"start": [f"n={n}, r={r0}" for n, r0 in settings]},
    )


def _chain_integrals() -> xr.Dataset:
    """The total negative curvature that chains of scalars meet, from their Hessians."""
    depths, r0, rows = (2, 3, 4), 0.05, []
    for n in depths:
        # The eigenvalue crosses zero at r = (n-1)/(2n-1); the integrand has a kink there.
        loss = 0.5 * (n / (2 * n - 1)) ** 2
        times = np.linspace(0.0, scalar_linear.time_to_loss(r0, 1.0, n, loss), 2001)
        r = scalar_linear.scalar_linear_flow(r0, 1.0, n, times).norm
        chain = Factorisation(jnp.ones((1, 1)), [jnp.eye(1)] * n)
        weights = [jnp.asarray(r ** (1 / n))[:, None, None]] * n
        hessians = jax.jit(jax.vmap(partial(dense_hessian, chain.objective)))(weights)
        smallest = np.linalg.eigvalsh(np.asarray(hessians))[:, 0]
        exact = float(homogeneous.chain_negative_curvature_integral(r0, n))
        rows.append((*_integral(np.maximum(-smallest, 0.0), times), exact))
    value, error, exact_values = np.transpose(rows)
    return xr.Dataset(
        {
            "chain_integral": variable("chain", value, ONE, "total negative curvature of a chain"),
            "chain_integral_error": variable("chain", error, ONE, "error of the quadrature"),
            "chain_integral_exact": variable("chain", exact_values, ONE, "its closed form"),
        },
        coords={"chain": list(depths)},
    )


def _integral(values: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """Simpson's rule, and its difference to the same on every second point."""
    fine = float(simpson(values, x=times))
    return fine, abs(fine - float(simpson(values[::2], x=times[::2])))


def _time_bounds() -> xr.Dataset:
    """The time that the flow takes to a loss, and the paper's bound on it."""
    coords = {
        "layers": np.array([2, 3, 4, 5]),
        "r0": np.array([0.002, 0.02, 0.1, 0.2]),
        "nu": np.array([-0.8, -0.3, 0.0, 0.5, 1.0]),
        "excess": np.array([1e-4, 1e-2, 1.0]),
    }
    grid = np.meshgrid(*coords.values(), indexing="ij")
    taken = np.vectorize(lambda n, r, c, loss: scalar_linear.time_to_loss(r, c, int(n), loss))(
        *grid
    )
    bound = np.vectorize(lambda n, r, c, x: scalar_linear.flow_time_bound(r, c, int(n), x))(*grid)
    return xr.Dataset(
        {
            "time_taken": variable(tuple(coords), taken, TIME, "time of the flow to the loss"),
            "time_bound": variable(tuple(coords), bound, TIME, "the paper's bound on it"),
        },
        coords={
            "layers": coords["layers"],
            "r0": variable("r0", coords["r0"], ONE, "norm of the product at the start"),
            "nu": variable("nu", coords["nu"], ONE, "cosine to the target at the start"),
            "excess": variable("excess", coords["excess"], LOSS, "loss to be reached"),
        },
    )


def euler_error(lab: Lab) -> xr.Dataset:
    """X7: the distance of descent from flow over the step size, on chains of equal scalars."""
    depths, r0s, eta, until = (3, 4), np.array([0.1, 0.01, 0.001]), 1e-3, 20.0
    measured, predicted = [], []
    for n in depths:
        start = jnp.asarray(r0s ** (1 / n))[:, None, None]
        problem = Factorisation(jnp.ones((len(r0s), 1, 1)), [start] * n)
        path = lab.run(f"chains-{n}", problem, gradient_descent(eta), until=until, records=800)
        times = path.dataset["time"].values
        flows = [scalar_linear.scalar_linear_flow(r0, 1.0, n, times) for r0 in r0s.tolist()]
        exact = np.stack([flow.norm for flow in flows]) ** (1 / n)
        weights = path.parameters.values[0].reshape(len(times), n, len(r0s))
        gap = np.linalg.norm(weights - exact.T[:, None, :], axis=1).T
        # 1 - y^n from the loss (1 - y^n)^2 / 2, which is accurate late, when y is close to 1.
        short = np.sqrt(2 * np.stack([flow.loss for flow in flows]))
        speed = exact ** (n - 1) * short
        leading = [euler.leading_euler_error(v, v[0], 1.0) for v in speed]
        measured.append(gap / eta)
        predicted.append(math.sqrt(n) * np.abs(leading))
    dims = ("chain_depth", "r0", "time")
    unit = "parameter/step size"
    return xr.Dataset(
        {
            "scaled_distance": variable(dims, measured, unit, "distance from flow over step size"),
            "leading_error": variable(dims, predicted, unit, "its limit for small step sizes"),
        },
        coords={
            "chain_depth": list(depths),
            "r0": variable("r0", r0s, ONE, "product of the weights at the start"),
            "time": variable("time", times, TIME, "training time"),
        },
        attrs={"step_size": eta},
    )


def certificates(lab: Lab) -> xr.Dataset:
    """X8: how the certified step size shrinks with the start, with and without the path."""
    depths, r0s = (2, 3, 4), np.array([0.3, 0.1, 0.03, 0.01, 0.003, 0.001])
    small = np.array([1e-3, 1e-4])

    def steps(starts: np.ndarray, eps: float, constant: bool, grid: int) -> np.ndarray:
        return np.array(
            [
                [
                    certified_descent.scalar_linear_certificate(
                        r0,
                        1.0,
                        n,
                        scalar_linear.time_to_loss(r0, 1.0, n, 1e-4),
                        eps,
                        constant=constant,
                        grid=grid,
                    ).step_size
                    for r0 in starts.tolist()
                ]
                for n in depths
            ]
        )

    dims, name = ("depth", "r0"), "certified step size"
    return xr.Dataset(
        {
            "step_size": variable(dims, steps(r0s, 0.01, False, 4001), TIME, name),
            "step_size_constant": variable(
                dims, steps(r0s, 0.01, True, 4001), TIME, f"{name}, curvature of the path unknown"
            ),
            "step_size_thin": variable(
                ("depth", "small_r0"),
                steps(small, 1e-4, False, 20001),
                TIME,
                f"{name} for a thin tube",
            ),
        },
        coords={
            "depth": list(depths),
            "r0": variable("r0", r0s, ONE, "norm of the product at the start"),
            "small_r0": variable("small_r0", small, ONE, "norm of the product at the start"),
        },
        attrs={"eps": 0.01, "thin_eps": 1e-4},
    )
