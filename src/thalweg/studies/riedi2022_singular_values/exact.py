"""Experiments on what is exact: layer Hessians, derivatives, bounds, and Gaussian constants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.curvature import layer_hessian
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import averaged, over, table, variable
from thalweg.models import piecewise_affine as pieces
from thalweg.models.residual import ResidualMLP
from thalweg.problems import Supervised
from thalweg.problems.losses import as_loss
from thalweg.theory.landscape import regions
from thalweg.theory.landscape import singular_values as sv

SKIPS = (0.0, 1.0)
SKIP = "skip strength rho"


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


@dataclass(frozen=True)
class Hessians:
    """Width, layers above the one looked at, examples, draws, activations."""

    n: int = 12
    frozen: int = 3
    batch: int = 3
    seeds: int = 2
    activations: tuple[str, ...] = ("relu", "leaky-relu:0.1", "abs")


SMALL = {"n": 5, "frozen": 2, "batch": 2, "seeds": 1, "activations": ("leaky-relu:0.1",)}


@experiment("hessian", Hessians(), smoke=SMALL, full={"seeds": 8})
def hessians(lab: Lab, size: Hessians) -> xr.Dataset:
    """E3 for every layer: the Kronecker formula beside automatic differentiation."""
    about = "largest gap of {} from automatic differentiation, relative to its largest entry"

    def one(activation: str, skip: float, seed: int) -> xr.Dataset:
        net = square_net(activation, skip, size.n, size.frozen + 1, 1.0, True)
        params, x, y = _drawn(net, size.n, size.batch, seed)
        gap, bias, along, scale = np.asarray(_gaps(net, params, x, y))
        wall = regions.boundary_distance(net, params, x, 0).distance
        layers = {
            "gap": (gap, "1", about.format("the Hessian in the weights")),
            "bias_gap": (bias, "1", about.format("the Hessian in the bias")),
            "map_gap": (along, "1", about.format("Q")),
            "scale": (scale, "loss/weight^2", "largest entry of the Hessian"),
        }
        words = "distance of the first weights to the nearest wall"
        return table({"layer": layers, "": {"distance": (wall, "weight", words)}})

    skips = (SKIPS, "1", SKIP)
    return over(one, activation=list(size.activations), skip=skips, seed=range(size.seeds))


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
            ours = layer_hessian(net, params, x, j, part, "sum").dense("rows")
            gaps.append(_relative(ours, truth))
        gaps.append(_relative(pieces.downstream_matrix(net, params, x[0], j), jacobian[j]["bias"]))
        found.append([*gaps, jnp.max(jnp.abs(hessian[j]["weight"][j]["weight"]))])
    return jnp.array(found).T


def _relative(ours: Array, truth: Array) -> Array:
    return jnp.max(jnp.abs(ours - truth)) / jnp.max(jnp.abs(truth))


# E4 and E5: derivatives of singular values along A + rho I.


@dataclass(frozen=True)
class Differences:
    """How many matrices, of which size, with which skip, and the step of the difference."""

    draws: int = 40
    n: int = 12
    rho: float = 0.7
    step: float = 1e-4


@experiment("derivatives", Differences(), full={"draws": 400})
def derivatives(lab: Lab, size: Differences) -> xr.Dataset:
    """Derivatives beside central differences at steps h and 2 h; `apart` marks simple values."""
    eye, steps = np.eye(size.n), np.array([size.step, 2 * size.step])
    drawn = np.random.default_rng(0).normal(size=(size.draws, size.n, size.n))
    A = drawn / np.sqrt(size.n) + size.rho * eye
    s, first, second = np.moveaxis(np.array([sv.derivatives(one) for one in A]), 1, 0)
    h = steps[:, None, None]
    up, down = (np.linalg.svd(A + t[..., None] * eye, compute_uv=False) for t in (h, -h))
    gaps = np.pad(s[:, :-1] - s[:, 1:], ((0, 0), (1, 1)), constant_values=np.inf)
    apart = (np.minimum(gaps[:, 1:], gaps[:, :-1]) > 0.02) & (s[:, -1:] > 0.01)
    about = "central difference minus formula, {} derivative"
    groups = {
        "draw index": {
            "first": (first, "1", "slope of a singular value"),
            "second": (second, "1", "second derivative of a singular value"),
            "apart": (apart, "1", "whether the singular value is simple and positive"),
        },
        "step draw index": {
            "first_error": ((up - down) / (2 * h) - first, "1", about.format("first")),
            "second_error": ((up - 2 * s + down) / h**2 - second, "1", about.format("second")),
        },
    }
    return table(groups, step=(steps, "1", "step of the difference"))


@dataclass(frozen=True)
class Paths:
    """Size of the matrix, points along the skip."""

    n: int = 12
    points: int = 401


@experiment("X3", Paths(), full={"n": 64, "points": 2001})
def singular_paths(lab: Lab, size: Paths) -> xr.Dataset:
    """Singular values along A + rho I, beside the integral of their slopes."""
    A = np.random.default_rng(3).normal(size=(size.n, size.n)) / np.sqrt(size.n)
    path = sv.singular_paths(A, np.linspace(0, 2, size.points))
    rise = (path.rho[1] - path.rho[0]) * (path.slope[1:] + path.slope[:-1]) / 2
    integral = path.value[0] + np.concatenate([np.zeros((1, size.n)), np.cumsum(rise, 0)])
    error = np.abs(integral - path.value)
    values = {
        "value": (path.value, "1", "singular value of A + rho I"),
        "slope": (path.slope, "1", "slope u.v of a singular value"),
        "integral": (integral, "1", "singular value by integration of the slope"),
        "integral_error": (error, "1", "error of the trapezoidal rule"),
    }
    return table({"rho branch": values}, rho=(path.rho, "1", SKIP), branch=range(1, size.n + 1))


# E6 to E8: bounds on random matrices, each violation relative to max(1, s_1^2), negative where
# the bound holds.

RHO = 1.5
Violation = tuple[str, float]


@dataclass(frozen=True)
class Bounds:
    """Matrices for row scaling and shifts, and for stacking and products."""

    draws: int = 2000
    stacks: int = 500


@experiment(
    "bounds", Bounds(), smoke={"draws": 100, "stacks": 100}, full={"draws": 20_000, "stacks": 5000}
)
def bounds(lab: Lab, size: Bounds) -> xr.Dataset:
    """Worst violation of every bound over random matrices."""
    rng = np.random.default_rng(2)
    found = [dict(_scaling(rng)) for _ in range(size.draws)]
    names = list(dict.fromkeys(name for one in found for name in one))
    worst = [max(one.get(name, -np.inf) for one in found) for name in names]
    gap, ratio, excess = np.transpose([_stacking(rng) for _ in range(size.stacks)])
    stacks = {
        "stacked_gap": (gap, "1", "sqrt(1 + s_i^2) minus s_i of [B; I]"),
        "stacked_excess": (excess, "1", "condition number of [B; I] / its bound"),
        "product_ratio": (ratio, "1", "condition number of a product / product of theirs"),
    }
    violations = {"violation": (worst, "1", "worst violation / max(1, s_1^2)")}
    return table({"bound": violations, "stack": stacks}, bound=names)


def _scaling(rng: np.random.Generator) -> Iterator[Violation]:
    n = int(rng.integers(2, 15))
    A, eta = rng.normal(size=(n, n)), rng.uniform()
    off = np.zeros(n, bool)
    off[rng.permutation(n)[: int(rng.integers(0, n + 1))]] = True
    unit = max(1.0, float(np.linalg.norm(A, 2)) ** 2)
    for slope, kind in ((eta, "leaky"), (0.0, "relu"), (-1.0, "abs")):
        B = np.where(off, slope, 1.0)[:, None] * A
        s = np.linalg.svd(B, compute_uv=False)
        yield from _row_violations(kind, sv.row_scaling(A, off, slope), s, unit)
        yield from _shift_violations(kind, B, rng)


def _row_violations(
    kind: str, known: sv.RowScaling, s: np.ndarray, unit: float
) -> Iterator[Violation]:
    lower = (known.lower_scale, known.lower_interlacing, known.lower_norm)
    for name, low in zip(("scale", "interlacing", "norm"), lower, strict=True):
        power = 2 if name == "norm" else 1  # the norm bounds squares
        yield f"{kind} lower {name}", float(np.max(low**power - s**power)) / unit
    yield f"{kind} upper", float(np.max(s - known.upper)) / unit
    yield f"{kind} upper of scaled rows", float(np.max(s - known.upper_off)) / unit
    lost = float(np.sum(known.upper**2 - s**2))
    yield f"{kind} sum of squares", abs(lost - known.lost) / unit


def _shift_violations(kind: str, B: np.ndarray, rng: np.random.Generator) -> Iterator[Violation]:
    """Also of B scaled to a norm below rho, where the condition number is bounded."""
    small = B * (rng.uniform(0, RHO) / max(float(np.linalg.norm(B, 2)), 1e-300))
    for matrix, name in ((B, "shift"), (small, "small shift")):
        norm = float(np.linalg.norm(matrix, 2))
        s = np.linalg.svd(matrix + RHO * np.eye(len(B)), compute_uv=False)
        yield f"{kind} {name}", -sv.shift_bounds(norm, RHO).margin(s) / max(1.0, norm**2)
        limit = sv.shift_condition_bound(norm, RHO)
        if np.isfinite(limit):
            yield f"{kind} {name} condition", float(sv.condition_number(s) / limit - 1)


def _stacking(rng: np.random.Generator) -> tuple[float, float, float]:
    n = int(rng.integers(2, 15))
    B, C = rng.normal(size=(2, n, n)) / np.sqrt(n)
    sB, sC, sCB, stacked = (
        np.linalg.svd(M, compute_uv=False)
        for M in (B, C, C @ B, pieces.affine_piece(B, np.ones(n), join="concatenate"))
    )
    gap = np.max(np.abs(sv.stacked_singular_values(sB) - stacked))
    kappa = sv.condition_number
    excess = kappa(stacked) / np.sqrt(1 + sB[0] ** 2)
    return float(gap), float(kappa(sCB) / (kappa(sC) * kappa(sB))), float(excess)


# E9: Gaussian matrices.


@dataclass(frozen=True)
class Gaussian:
    """Matrices of each size."""

    draws: int = 400
    sizes: tuple[int, ...] = (16, 32, 64, 128)


@experiment(
    "gaussian", Gaussian(), smoke={"draws": 200, "sizes": (8, 16, 32, 64)}, full={"draws": 4000}
)
def gaussian(lab: Lab, asked: Gaussian) -> xr.Dataset:
    """Mean log condition number and largest singular value of Gaussian matrices by size.

    Entries are N(0, 1/n); `relu_norm` is s_1 with each row zeroed with probability one half.
    """
    rng = np.random.default_rng(5)

    def one(size: int) -> xr.Dataset:
        W = rng.normal(size=(asked.draws, size, size)) / np.sqrt(size)
        s = np.linalg.svd(W, compute_uv=False)
        W[rng.random((asked.draws, size)) < 0.5] = 0
        zeroed, log = np.linalg.svd(W, compute_uv=False)[:, 0], np.log(sv.condition_number(s))
        values = {
            "offset": (log - np.log(size), "1", "log condition number minus log n"),
            "log_condition": (log, "1", "log condition number"),
            "norm": (s[:, 0], "1", "largest singular value / c"),
            "relu_norm": (
                zeroed,
                "1",
                "largest singular value of D W / c, half of the rows zeroed",
            ),
        }
        return table({"draw": values})

    found = over(one, size=(asked.sizes, "1", "size n"))
    found = averaged(found, "draw", "offset", "log_condition", "norm", "relu_norm")
    limits = {
        "offset_theory": (sv.GAUSSIAN_LOG_CONDITION, "limit of log condition number minus log n"),
        "norm_theory": (sv.gaussian_norm(1.0), "limit of the largest singular value / c"),
        "relu_norm_theory": (sv.gaussian_norm(1.0, 0.5), "the same, half of the rows zeroed"),
    }
    return found.assign({name: variable("", v, "1", words) for name, (v, words) in limits.items()})
