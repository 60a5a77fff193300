"""The experiments of `continuous_vs_discrete` that have exact answers."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.integrate import simpson

from thalweg.core.curvature import dense_hessian
from thalweg.dynamics import gradient_descent, gradient_flow
from thalweg.models.homogeneous import homogeneous_outputs
from thalweg.problems.closed_form import Factorisation, Quadratic
from thalweg.problems.losses import Loss, loss_named
from thalweg.studies.study import Lab
from thalweg.theory import certified_descent, euler, homogeneous, scalar_linear

SLOPES = {
    "linear": (1.0, 1.0),
    "ReLU": (1.0, 0.0),
    "leaky 0.3": (1.0, 0.3),
    "(-0.7, 1.4)": (-0.7, 1.4),
}
CURVATURE = "loss/parameter^2"

# (depth, norm of the product, its cosine to the target, time) of the certified runs.
CERTIFIED = ((3, 0.3, 1.0, 6.0), (3, 0.1, 1.0, 8.0), (3, 0.3, 0.5, 8.0), (2, 0.1, 1.0, 6.0), (4, 0.3, 1.0, 8.0))  # fmt: skip
RADIUS = 0.02
TARGET_LOSS = 0.01


def quadratics(lab: Lab) -> xr.Dataset:
    """X1: descent and flow on one-dimensional quadratics, concave, flat and convex."""
    concave, times = np.array([0.5, 1.0, 2.0]), np.array([2.0, 4.0, 8.0])
    eps, most_steps = 0.01, 60_000
    grid = [(m, T) for m in concave for T in times]
    steps = np.array([euler.largest_step_quadratic(m, T, 1.0, eps) for m, T in grid])
    limits = [euler.largest_step_quadratic_asymptotic(m, T, 1.0, eps) for m, T in grid]
    beside = np.full((2, len(grid)), np.nan)
    for i, (m, T) in enumerate(grid):
        fewest = math.floor(T / steps[i])
        if fewest < most_steps:
            for j, count in enumerate((fewest, fewest + 1)):
                bowl = Quadratic([-m], [0.0], [1.0])
                path = lab.run(f"concave-{i}-{j}", bowl, gradient_descent(T / count), T, records=1)
                beside[j, i] = abs(path.parameters.values[0, -1, 0] - math.exp(m * T))
    shape = (len(concave), len(times))
    curved = {"units": "1/curvature", "long_name": "largest step size with error eps at time T"}
    parameter = {"units": "parameter", "long_name": "error at T, one step fewer than allowed"}
    table = xr.Dataset(
        {
            "largest_step": (("m", "T"), steps.reshape(shape), curved),
            "largest_step_limit": (
                ("m", "T"),
                np.reshape(limits, shape),
                curved | {"long_name": "its limit for late T"},
            ),
            "error_above": (("m", "T"), beside[0].reshape(shape), parameter),
            "error_below": (
                ("m", "T"),
                beside[1].reshape(shape),
                parameter | {"long_name": "error at T with just enough steps"},
            ),
        },
        coords={
            "m": ("m", concave, {"units": CURVATURE, "long_name": "negative curvature"}),
            "T": ("T", times, {"units": "step size", "long_name": "training time"}),
        },
        attrs={"eps": eps},
    )
    return table.merge(_convex(lab))


def _convex(lab: Lab) -> xr.Dataset:
    """f = z^2/2 and f = z: the largest error over time, in units of its limit for small steps."""
    etas, both = np.array([0.1, 0.03, 0.01, 0.003]), Quadratic([1.0, 0.0], [0.0, 1.0], [1.0, 0.5])
    worst, straight = np.empty(4), np.empty(4)
    for i, eta in enumerate(etas):
        path = lab.run(f"convex-{i}", both, gradient_descent(eta), 4.0, records=400)
        t, z = path.dataset["time"].values, path.parameters.values[0]
        worst[i] = np.max(np.abs(z[:, 0] - np.exp(-t)))
        straight[i] = np.max(np.abs(z[:, 1] - (0.5 - t)))
    limit = [euler.convex_quadratic_peak_error(1.0, 1.0, eta) for eta in etas]
    return xr.Dataset(
        {
            "convex_peak_ratio": (
                "step_size",
                worst / np.array(limit),
                {"units": "1", "long_name": "largest error over its limit for small steps"},
            ),
            "linear_error": (
                "step_size",
                straight,
                {"units": "parameter", "long_name": "largest error on a linear function"},
            ),
        },
        coords={"step_size": ("step_size", etas, {"units": "time", "long_name": "step size"})},
    )


def certified(lab: Lab) -> xr.Dataset:
    """X2: gradient descent with the step size that the theorem certifies."""
    return xr.concat(
        [_certified(lab, i, *setting) for i, setting in enumerate(CERTIFIED)],
        dim=xr.Variable("setting", [f"n={n}, r={r}, cos={c}" for n, r, c, _ in CERTIFIED]),
    ).assign_attrs(eps=RADIUS)


def _certified(lab: Lab, i: int, n: int, r0: float, nu: float, until: float) -> xr.Dataset:
    certificate = certified_descent.scalar_linear_certificate(r0, nu, n, until, RADIUS)
    eta = certificate.step_size
    problem = deep_linear(r0, nu, n, jax.random.key(i))
    steps = math.floor(until / eta)
    path = lab.run(f"certified-{i}", problem, gradient_descent(eta), steps * eta, records=200)
    times, records = path.dataset["time"].values, path.dataset["loss"].values[0]
    flow = scalar_linear.scalar_linear_flow(r0, nu, n, times)
    exact = scalar_linear.scalar_linear_weights(flow, problem.start, problem.target)
    gap = path.parameters.values[0] - _flattened(exact)
    promise = certified_descent.descent_guarantee(r0, nu, n, TARGET_LOSS)
    kept = lab.run(
        f"promised-{i}",
        problem,
        gradient_descent(promise.step_size),
        promise.steps * promise.step_size,
        records=1,
    )
    distance = {"units": "parameter", "long_name": "distance of descent from flow"}
    loss = {"units": "loss", "long_name": "loss of gradient descent"}
    step = {"units": "time", "long_name": "certified step size"}
    return xr.Dataset(
        {
            "time": ("record", times, {"units": "step size", "long_name": "training time"}),
            "distance": ("record", np.linalg.norm(gap, axis=1), distance),
            "distance_error": (
                "record",
                math.sqrt(n) * flow.error,
                distance | {"long_name": "error of the exact flow"},
            ),
            "bound": (
                "record",
                certificate.prediction(eta).at(times),
                distance | {"long_name": "distance that the theorem allows"},
            ),
            "loss": ("record", records, loss),
            "flow_loss": ("record", flow.loss, loss | {"long_name": "loss of gradient flow"}),
            "step_size": ((), eta, step),
            "promised_step_size": (
                (),
                promise.step_size,
                step | {"long_name": "step size certified for the target loss"},
            ),
            "promised_loss": (
                (),
                float(kept.dataset["loss"].values[0, -1]),
                loss | {"long_name": "loss when the certified steps are done"},
            ),
        }
    )


def deep_linear(r0: float, nu: float, n: int, key: Array, width: int = 3) -> Factorisation:
    """A net with one output, target e_1, from a balanced start of norm r0 and cosine nu."""
    target = jnp.eye(1, width)
    across = math.sqrt(1 - nu**2)
    product = r0 * (nu * target + across * jnp.eye(1, width, 1))
    return Factorisation(target, scalar_linear.balanced_init(product, n, [width] * (n - 1), key))


def _flattened(weights: list[np.ndarray]) -> Float[np.ndarray, "time p"]:
    return np.concatenate([w.reshape(len(w), -1) for w in weights], axis=1)


def points(lab: Lab) -> xr.Dataset:
    """X5: smallest Hessian eigenvalues at points, against bounds and exact values."""
    nets = [
        xr.concat(
            [_random_nets(lab, n, loss_named(loss)) for loss in LOSSES], dim=_named("loss", LOSSES)
        )
        for n in (2, 3, 4)
    ]
    random = xr.concat(nets, dim=_depths((2, 3, 4)))
    return xr.merge([random, _aligned(), _chains(), _slopes(), _negative()])


LOSSES = ("squared-error", "cross-entropy")


def _named(name: str, values: tuple[str, ...]) -> xr.Variable:
    return xr.Variable(name, list(values))


def _depths(values: tuple[int, ...], name: str = "depth") -> xr.Variable:
    return xr.Variable(name, list(values), {"units": "1", "long_name": "number of layers"})


def _random_nets(lab: Lab, n: int, loss: Loss) -> xr.Dataset:
    """Nets 4-5-...-3 with Gaussian weights on six Gaussian inputs, for every pair of slopes."""
    count, widths = 40 if lab.full else 8, (4, *[5] * (n - 1), 3)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(5), n), n + 2)
    x, y = jax.random.normal(keys[0], (6, 4)), jnp.eye(3)[jnp.arange(6) % 3]
    weights = [
        0.8 * jax.random.normal(key, (count, out, into))
        for key, into, out in zip(keys[2:], widths[:-1], widths[1:], strict=True)
    ]

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def measure(ws: list[Array], slopes: Array) -> tuple[Array, ...]:
        def outputs(ws: list[Array]) -> Array:
            return homogeneous_outputs(ws, x, slopes)

        def objective(ws: list[Array]) -> Array:
            return jnp.mean(jax.vmap(loss.one)(outputs(ws), y))

        eigenvalues = jnp.linalg.eigvalsh(dense_hessian(objective, ws))
        by_output = jax.vmap(jax.grad(loss.one))(outputs(ws), y)
        by_weight = jax.grad(objective)(ws)
        # d/dt |W_j|^2 = -2 <W_j, dL/dW_j> under gradient flow.
        rates = jnp.stack([-2 * jnp.sum(w * g) for w, g in zip(ws, by_weight, strict=True)])
        sizes = [
            jnp.linalg.norm(w) * jnp.linalg.norm(g) for w, g in zip(ws, by_weight, strict=True)
        ]
        return eigenvalues, by_output, jnp.max(jnp.abs(jnp.diff(rates))), sum(sizes)

    rows = []
    for slopes in SLOPES.values():
        eigenvalues, by_output, rate, size = measure(weights, jnp.asarray(slopes))
        bound = homogeneous.homogeneous_min_eig_bound(weights, slopes, by_output, x)
        linear = np.full(count, np.nan)
        if slopes == (1.0, 1.0):
            gradient = jnp.einsum("sik,ij->skj", by_output, x) / len(x)
            linear = homogeneous.linear_min_eig_bound(weights, gradient)
        rounding = np.finfo(float).eps * eigenvalues.shape[-1] * jnp.abs(eigenvalues).max(-1)
        rows.append(
            [np.asarray(v) for v in (eigenvalues[:, 0], rounding, bound, linear, rate, size)]
        )
    names = {
        "random_min_eig": (CURVATURE, "smallest Hessian eigenvalue"),
        "random_min_eig_error": (CURVATURE, "rounding of it"),
        "random_bound": (CURVATURE, "bound for homogeneous nets"),
        "random_linear_bound": (CURVATURE, "tighter bound for linear nets"),
        "balance_rate": ("parameter^2/time", "rate at which layers' squared norms drift apart"),
        "balance_scale": ("parameter^2/time", "size of the terms that cancel in it"),
    }
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    return xr.Dataset(
        {
            name: (("slopes", "net"), column, {"units": units, "long_name": words})
            for (name, (units, words)), column in zip(names.items(), columns, strict=True)
        },
        coords={"slopes": list(SLOPES)},
    )


def _aligned() -> xr.Dataset:
    """Balanced aligned weights, randomly rotated between the layers: the near-tight case."""
    depths, rs = (2, 3, 4, 5), np.array([0.01, 0.1, 0.3, 0.6, 0.95])
    measured, exact, bound, balanced = (np.empty((4, 5)) for _ in range(4))
    for i, n in enumerate(depths):
        problem = deep_linear(1.0, 1.0, n, jax.random.key(n))
        scale = jnp.asarray(rs ** (1 / n))[:, None, None]
        weights = [scale * w for w in problem.start]
        measured[i] = _smallest(problem, weights)
        exact[i] = homogeneous.aligned_min_eig(rs, n)
        gradient = jnp.asarray(rs - 1)[:, None, None] * problem.target
        bound[i] = homogeneous.linear_min_eig_bound(weights, gradient)
        balanced[i] = homogeneous.balanced_min_eig_bound(rs, 1 - rs, n)
    unit = {"units": CURVATURE, "long_name": "smallest Hessian eigenvalue, aligned"}
    dims = ("aligned_depth", "product")
    return xr.Dataset(
        {
            "aligned_min_eig": (dims, measured, unit),
            "aligned_exact": (dims, exact, unit | {"long_name": "its closed form"}),
            "aligned_bound": (dims, bound, unit | {"long_name": "bound for linear nets"}),
            "aligned_balanced": (dims, balanced, unit | {"long_name": "bound for balanced nets"}),
        },
        coords={
            "aligned_depth": _depths(depths, "aligned_depth"),
            "product": ("product", rs, {"units": "1", "long_name": "norm of the product"}),
        },
    )


def _chains() -> xr.Dataset:
    """All Hessian eigenvalues of chains of equal scalar weights, by size."""
    depths, rs = (2, 3, 4, 5), np.array([0.01, 0.1, 0.3, 0.6, 0.95])
    measured, exact = np.full((4, 5, 5), np.nan), np.full((4, 5, 5), np.nan)
    for i, n in enumerate(depths):
        weights = [jnp.asarray(rs ** (1 / n))[:, None, None]] * n
        problem = Factorisation(jnp.ones((1, 1)), [w[0] for w in weights])
        measured[i, :, :n] = _spectra(problem, weights)
        simple, repeated = homogeneous.chain_eigenvalues(rs, n)
        exact[i, :, :n] = np.sort(np.column_stack([simple, *[repeated] * (n - 1)]), axis=1)
    unit = {"units": CURVATURE, "long_name": "Hessian eigenvalues of a chain"}
    dims = ("aligned_depth", "product", "eigenvalue")
    return xr.Dataset(
        {
            "chain_eigenvalues": (dims, measured, unit),
            "chain_exact": (dims, exact, unit | {"long_name": "their closed form"}),
        }
    )


def _slopes() -> xr.Dataset:
    """Chains with one input, slope alpha and (alpha h - 1)^2 / 2: near-tight in the slope."""
    depths, alphas, r = (2, 3, 4), np.array([0.5, 1.0, 2.0]), 1e-3
    ratio, exact = np.empty((3, 3)), np.empty((3, 3))
    for i, n in enumerate(depths):
        weights = [jnp.full((1, 1), r ** (1 / n))] * n
        for j, alpha in enumerate(alphas):
            slopes = (float(alpha), 0.0)

            def objective(ws: list[Array], slopes: tuple[float, float] = slopes) -> Array:
                return 0.5 * jnp.sum((homogeneous_outputs(ws, jnp.ones((1, 1)), slopes) - 1) ** 2)

            p = alpha ** (n - 1)
            gradient = jnp.asarray([[p * r - 1]])
            bound = homogeneous.homogeneous_min_eig_bound(
                weights, slopes, gradient, jnp.ones((1, 1))
            )
            smallest = jnp.linalg.eigvalsh(dense_hessian(objective, weights))[0]
            ratio[i, j] = smallest / bound
            exact[i, j] = 1 - n * p * r / ((n - 1) * (1 - p * r))
    unit = {"units": "1", "long_name": "smallest eigenvalue over its bound"}
    dims = ("slope_depth", "slope")
    return xr.Dataset(
        {
            "slope_ratio": (dims, ratio, unit),
            "slope_ratio_exact": (dims, exact, unit | {"long_name": "its closed form"}),
        },
        coords={
            "slope_depth": _depths(depths, "slope_depth"),
            "slope": ("slope", alphas, {"units": "1", "long_name": "slope of the activation"}),
        },
    )


def _negative() -> xr.Dataset:
    """Two layers at zero, two of size c: curvature as negative as one likes."""
    scales, n, zero = np.array([1.0, 10.0, 100.0]), 4, (1, 3)
    target = jax.random.normal(jax.random.key(12), (3, 3))
    measured, exact = np.empty(3), np.empty(3)
    for i, c in enumerate(scales):
        weights = homogeneous.negative_curvature_weights((3,) * (n + 1), float(c), zero)
        measured[i] = _smallest(Factorisation(target, weights), [w[None] for w in weights])[0]
        exact[i] = homogeneous.negative_curvature_min_eig(-target, n, float(c), zero)
    unit = {"units": CURVATURE, "long_name": "smallest eigenvalue with two layers at zero"}
    return xr.Dataset(
        {
            "negative_min_eig": ("scale", measured, unit),
            "negative_exact": ("scale", exact, unit | {"long_name": "its closed form"}),
        },
        coords={"scale": ("scale", scales, {"units": "parameter", "long_name": "size c"})},
        attrs={"target_row": float(jnp.linalg.norm(target[0]))},
    )


def _spectra(problem: Factorisation, weights: list[Array]) -> Float[np.ndarray, "points p"]:
    hessian = jax.jit(jax.vmap(partial(dense_hessian, problem.objective)))(weights)
    return np.linalg.eigvalsh(np.asarray(hessian))


def _smallest(problem: Factorisation, weights: list[Array]) -> Float[np.ndarray, " points"]:
    return _spectra(problem, weights)[:, 0]


def integral(values: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """Simpson's rule, and its difference to the same on every second point."""
    fine = float(simpson(values, x=times))
    return fine, abs(fine - float(simpson(values[::2], x=times[::2])))
