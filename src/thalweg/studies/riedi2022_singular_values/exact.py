"""Experiments on what is exact: layer Hessians, derivatives, bounds, and Gaussian constants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.lab.study import Lab, variable
from thalweg.models.residual import ResidualMLP
from thalweg.problems import Supervised
from thalweg.problems.losses import as_loss
from thalweg.theory.landscape import piecewise_affine as pieces
from thalweg.theory.landscape import regions
from thalweg.theory.landscape import singular_values as sv

ACTIVATIONS = ("relu", "leaky-relu:0.1", "abs")
SKIPS = (0.0, 1.0)


def square_net(name: str, skip: float, n: int, layers: int, gain: float, bias: bool) -> ResidualMLP:
    """A net of square layers without readout, weights N(0, gain^2/n)."""
    return ResidualMLP(
        (n,) * layers,
        name,
        skip=skip,
        readout=False,
        bias=bias,
        initialiser="gaussian",
        gain=gain,
    )


# E3: the Hessian of one layer.


def hessians(lab: Lab) -> xr.Dataset:
    """E3 for every layer: the Kronecker formula beside automatic differentiation."""
    return hessians_of(n=12, frozen=3, batch=3, seeds=8 if lab.full else 2)


def hessians_of(n: int, frozen: int, batch: int, seeds: int) -> xr.Dataset:
    """The gap, relative to the largest entry, over activations, skips, seeds and layers."""
    shape = (len(ACTIVATIONS), len(SKIPS), seeds)
    gap, bias, along, scale = np.empty((4, *shape, frozen + 1))
    distance = np.empty(shape)
    for a, s, seed in np.ndindex(*shape):
        net = square_net(ACTIVATIONS[a], SKIPS[s], n, frozen + 1, 1.0, True)
        params, x, y = _drawn(net, n, batch, seed)
        at = a, s, seed
        gap[at], bias[at], along[at], scale[at] = _gaps(net, params, x, y)
        distance[at] = regions.boundary_distance(net, params, x, 0).distance
    dims = ("activation", "skip", "seed", "layer")
    about = "largest gap of {} from automatic differentiation, relative to its largest entry"
    return xr.Dataset(
        {
            "gap": variable(dims, gap, "1", about.format("the Hessian in the weights")),
            "bias_gap": variable(dims, bias, "1", about.format("the Hessian in the bias")),
            "map_gap": variable(dims, along, "1", about.format("Q")),
            "scale": variable(dims, scale, "loss/weight^2", "largest entry of the Hessian"),
            "distance": variable(
                dims[:3], distance, "weight", "distance of the first weights to the nearest wall"
            ),
        },
        {
            "activation": list(ACTIVATIONS),
            "skip": variable("skip", list(SKIPS), "1", "skip strength rho"),
            "layer": np.arange(frozen + 1),
            "seed": np.arange(seeds),
        },
    )


def _drawn(net: ResidualMLP, n: int, batch: int, seed: int) -> tuple[Params, Array, Array]:
    """Random weights and biases, inputs and targets."""
    keys = jax.random.split(jax.random.key(seed), 4)
    params = net.init(keys[0], (n,), n)
    biases = 0.3 * jax.random.normal(keys[1], (len(params), n))
    params = [layer | {"bias": b} for layer, b in zip(params, biases, strict=True)]
    x, y = (jax.random.normal(key, (batch, n)) for key in keys[2:])
    return params, x, y


@eqx.filter_jit
def _gaps(net: ResidualMLP, params: Params, x: Array, y: Array) -> Float[Array, "4 layers"]:
    """Gaps in weights, in biases and of Q, and the scale of the Hessian, for every layer."""
    problem = Supervised(net, as_loss("squared-error"), x, y, "sum")
    hessian = jax.hessian(problem.objective)(params)
    jacobian = jax.jacobian(lambda p: net.apply(p, x[:1])[0])(params)
    found = []
    for j in range(len(params)):
        gaps = []
        for part in ("weight", "bias"):
            size = params[j][part].size
            truth = hessian[j][part][j][part].reshape(size, size)
            ours = pieces.layer_hessian(net, params, x, j, part, "sum").dense("rows")
            gaps.append(_relative(ours, truth))
        gaps.append(_relative(pieces.downstream_matrix(net, params, x[0], j), jacobian[j]["bias"]))
        found.append([*gaps, jnp.max(jnp.abs(hessian[j]["weight"][j]["weight"]))])
    return jnp.array(found).T


def _relative(ours: Array, truth: Array) -> Array:
    return jnp.max(jnp.abs(ours - truth)) / jnp.max(jnp.abs(truth))


# E4 and E5: derivatives of singular values along A + rho I.


def derivatives(lab: Lab) -> xr.Dataset:
    """Derivatives beside central differences, where the singular values are apart."""
    return derivatives_of(n=12, rho=0.7, step=1e-4, draws=400 if lab.full else 40)


def derivatives_of(n: int, rho: float, step: float, draws: int) -> xr.Dataset:
    """Gaussian matrices N(0, 1/n), at steps h and 2 h; `apart` marks simple singular values."""
    rng, eye = np.random.default_rng(0), np.eye(n)
    steps = np.array([step, 2 * step])
    truth, error, apart = np.empty((2, draws, n)), np.empty((2, 2, draws, n)), np.empty((draws, n))
    for draw in range(draws):
        A = rng.normal(size=(n, n)) / np.sqrt(n) + rho * eye
        s, *truth[:, draw] = sv.derivatives(A)
        for j, h in enumerate(steps):
            up, down = (np.linalg.svd(A + t * eye, compute_uv=False) for t in (h, -h))
            error[0, j, draw] = (up - down) / (2 * h) - truth[0, draw]
            error[1, j, draw] = (up - 2 * s + down) / h**2 - truth[1, draw]
        gaps = np.concatenate([[np.inf], s[:-1] - s[1:], [np.inf]])
        apart[draw] = (np.minimum(gaps[1:], gaps[:-1]) > 0.02) & (s[-1] > 0.01)
    dims = ("step", "draw", "index")
    about = "central difference minus formula, {} derivative"
    return xr.Dataset(
        {
            "first": variable(dims[1:], truth[0], "1", "slope of a singular value"),
            "second": variable(dims[1:], truth[1], "1", "second derivative of a singular value"),
            "first_error": variable(dims, error[0], "1", about.format("first")),
            "second_error": variable(dims, error[1], "1", about.format("second")),
            "apart": variable(
                dims[1:], apart, "1", "whether the singular value is simple and positive"
            ),
        },
        {"step": variable("step", steps, "1", "step of the difference")},
    )


def singular_paths(lab: Lab) -> xr.Dataset:
    """X3: singular values along A + rho I, beside the integral of their slopes."""
    n, points = (64, 2001) if lab.full else (12, 401)
    A = np.random.default_rng(3).normal(size=(n, n)) / np.sqrt(n)
    path = sv.singular_paths(A, np.linspace(0, 2, points))
    h = path.rho[1] - path.rho[0]
    rise = h * (path.slope[1:] + path.slope[:-1]) / 2
    integral = path.value[0] + np.concatenate([np.zeros((1, n)), np.cumsum(rise, 0)])
    dims = ("rho", "branch")
    return xr.Dataset(
        {
            "value": variable(dims, path.value, "1", "singular value of A + rho I"),
            "slope": variable(dims, path.slope, "1", "its slope u.v"),
            "integral": variable(dims, integral, "1", "singular value by integration of the slope"),
            "integral_error": variable(
                dims, np.abs(integral - path.value), "1", "error of the trapezoidal rule"
            ),
        },
        {
            "rho": variable("rho", path.rho, "1", "skip strength rho"),
            "branch": np.arange(1, n + 1),
        },
    )


# E6 to E8: bounds on random matrices; each violation is in units of what rounding may do.

RHO = 1.5


class Violation(NamedTuple):
    """By how much a bound is exceeded, relative to max(1, s_1^2); negative where it holds."""

    name: str
    amount: float


def bounds(lab: Lab) -> xr.Dataset:
    """Worst violation of every bound over random matrices."""
    return bounds_of(draws=20_000 if lab.full else 2000, stacks=5000 if lab.full else 500)


def bounds_of(draws: int, stacks: int) -> xr.Dataset:
    """Row scaling and shifts over `draws` matrices, stacking and products over `stacks`."""
    rng = np.random.default_rng(2)
    worst: dict[str, float] = {}
    for _ in range(draws):
        for name, amount in _scaling(rng):
            worst[name] = max(worst.get(name, -np.inf), amount)
    gap, ratio, over = np.transpose([_stacking(rng) for _ in range(stacks)])
    names = list(worst)
    return xr.Dataset(
        {
            "violation": variable(
                "bound", [worst[n] for n in names], "1", "worst violation / max(1, s_1^2)"
            ),
            "stacked_gap": variable("stack", gap, "1", "sqrt(1 + s_i^2) minus s_i of [B; I]"),
            "stacked_excess": variable(
                "stack", over, "1", "condition number of [B; I] / its bound"
            ),
            "product_ratio": variable(
                "stack", ratio, "1", "condition number of a product / product of condition numbers"
            ),
        },
        {"bound": names},
    )


def _scaling(rng: np.random.Generator) -> Iterator[Violation]:
    n = int(rng.integers(2, 15))
    A, eta = rng.normal(size=(n, n)), rng.uniform()
    off = np.zeros(n, bool)
    off[rng.permutation(n)[: int(rng.integers(0, n + 1))]] = True
    norm = float(np.linalg.norm(A, 2))
    for slope, kind in ((eta, "leaky"), (0.0, "relu"), (-1.0, "abs")):
        B = np.where(off, slope, 1.0)[:, None] * A
        s = np.linalg.svd(B, compute_uv=False)
        yield from _row_violations(kind, sv.row_scaling(A, off, slope), s, max(1.0, norm**2))
        yield from _shift_violations(kind, B, rng)


def _row_violations(
    kind: str, known: sv.RowScaling, s: np.ndarray, unit: float
) -> Iterator[Violation]:
    lower = (known.lower_scale, known.lower_interlacing, known.lower_norm)
    for name, low in zip(("scale", "interlacing", "norm"), lower, strict=True):
        power = 2 if name == "norm" else 1  # the norm bounds squares
        yield Violation(f"{kind} lower {name}", float(np.max(low**power - s**power)) / unit)
    yield Violation(f"{kind} upper", float(np.max(s - known.upper)) / unit)
    yield Violation(f"{kind} upper of scaled rows", float(np.max(s - known.upper_off)) / unit)
    lost = float(np.sum(known.upper**2 - s**2))
    yield Violation(f"{kind} sum of squares", abs(lost - known.lost) / unit)


def _shift_violations(kind: str, B: np.ndarray, rng: np.random.Generator) -> Iterator[Violation]:
    """Also of B scaled to a norm below rho, where the condition number is bounded."""
    small = B * (rng.uniform(0, RHO) / max(float(np.linalg.norm(B, 2)), 1e-300))
    for matrix, name in ((B, "shift"), (small, "small shift")):
        norm = float(np.linalg.norm(matrix, 2))
        s = np.linalg.svd(matrix + RHO * np.eye(len(B)), compute_uv=False)
        unit = max(1.0, norm**2)
        yield Violation(f"{kind} {name}", -sv.shift_bounds(norm, RHO).margin(s) / unit)
        limit = sv.shift_condition_bound(norm, RHO)
        if np.isfinite(limit):
            excess = sv.condition_number(s) / limit - 1
            yield Violation(f"{kind} {name} condition", float(excess))


def _stacking(rng: np.random.Generator) -> tuple[float, float, float]:
    n = int(rng.integers(2, 15))
    B, C = rng.normal(size=(2, n, n)) / np.sqrt(n)
    sB, sC, sCB, stacked = (
        np.linalg.svd(M, compute_uv=False)
        for M in (B, C, C @ B, pieces.affine_piece(B, np.ones(n), join="concatenate"))
    )
    gap = np.max(np.abs(sv.stacked_singular_values(sB) - stacked))
    kappa = sv.condition_number
    over = kappa(stacked) / np.sqrt(1 + sB[0] ** 2)
    return float(gap), float(kappa(sCB) / (kappa(sC) * kappa(sB))), float(over)


# E9: Gaussian matrices.

SIZES = (16, 32, 64, 128)


def gaussian(lab: Lab) -> xr.Dataset:
    """Mean log condition number and largest singular value of Gaussian matrices by size."""
    return gaussian_of(draws=4000 if lab.full else 400)


def gaussian_of(draws: int, sizes: tuple[int, ...] = SIZES) -> xr.Dataset:
    """Entries N(0, 1/n); `relu_norm` is s_1 with each row zeroed with probability one half."""
    rng = np.random.default_rng(5)
    log, norm, relu = (np.empty((len(sizes), draws)) for _ in range(3))
    for j, n in enumerate(sizes):
        W = rng.normal(size=(draws, n, n)) / np.sqrt(n)
        s = np.linalg.svd(W, compute_uv=False)
        log[j], norm[j] = np.log(sv.condition_number(s)), s[:, 0]
        W[rng.random((draws, n)) < 0.5] = 0
        relu[j] = np.linalg.svd(W, compute_uv=False)[:, 0]
    told: dict[str, Any] = {}
    offset = log - np.log(sizes)[:, None]
    for name, values, about in (
        ("offset", offset, "log condition number minus log n"),
        ("log_condition", log, "log condition number"),
        ("norm", norm, "largest singular value / c"),
        ("relu_norm", relu, "largest singular value of D W / c, half of the rows zeroed"),
    ):
        told[name] = variable("size", values.mean(1), "1", f"mean {about}")
        error = values.std(1) / np.sqrt(draws)
        told[f"{name}_error"] = variable("size", error, "1", f"standard error of the mean {about}")
    limits = {
        "offset_theory": (sv.GAUSSIAN_LOG_CONDITION, "limit of log condition number minus log n"),
        "norm_theory": (sv.gaussian_norm(1.0), "limit of the largest singular value / c"),
        "relu_norm_theory": (sv.gaussian_norm(1.0, 0.5), "the same, half of the rows zeroed"),
    }
    told |= {name: variable((), value, "1", about) for name, (value, about) in limits.items()}
    return xr.Dataset(told, {"size": variable("size", list(sizes), "1", "size n")})
