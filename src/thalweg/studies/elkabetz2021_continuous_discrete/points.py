"""Curvature at points, against bounds and exact values: X5."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.hessian_product import dense_hessian
from thalweg.core.tree import Params
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, padded, table
from thalweg.models.homogeneous import homogeneous_outputs
from thalweg.problems import Problem
from thalweg.problems.closed_form import Factorisation
from thalweg.problems.losses import Loss, as_loss
from thalweg.theory.linear_nets import homogeneous, scalar_linear

SLOPES = {
    "linear": (1.0, 1.0),
    "ReLU": (1.0, 0.0),
    "leaky 0.3": (1.0, 0.3),
    "(-0.7, 1.4)": (-0.7, 1.4),
}
PRODUCTS = np.array([0.01, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 0.95])
SLOPE_PRODUCT = 1e-3
CURVATURE, DRIFT = "loss/parameter^2", "parameter^2/time"


@dataclass(frozen=True)
class Points:
    """How many random nets of each kind there are, and how deep random and aligned ones are."""

    nets: int = 8
    depths: tuple[int, ...] = (2, 3, 4)
    layers: tuple[int, ...] = (2, 3, 4, 5)


@experiment("X5", Points(), smoke={"depths": (3,), "layers": (3,)}, full={"nets": 40})
def points(lab: Lab, size: Points) -> xr.Dataset:
    """Smallest Hessian eigenvalues at random and at near-tight points."""
    kinds = {"loss_kind": ["squared-error", "cross-entropy"], "slopes": SLOPES}
    random = over(partial(_random_nets, size.nets), depth=size.depths, **kinds)
    aligned = over(partial(_aligned, max(size.layers)), layers=size.layers)
    alpha = ([0.5, 1.0, 2.0], "1", "slope of the activation")
    tight = over(_slope_ratio, slope_depth=[2, 3, 4], slope=alpha)
    deep = over(_two_at_zero, scale=([1.0, 10.0, 100.0], "parameter", "size of the other layers"))
    return xr.merge([random, aligned, tight, deep], combine_attrs="drop_conflicts")


def deep_linear(r0: float, nu: float, n: int, seed: int | None = None) -> Factorisation:
    """A net with one output and target e_1, balanced, product of norm r0 and cosine nu.

    Random orthogonal matrices stand between the layers; their seed is the depth by default.
    """
    key = jax.random.key(n if seed is None else seed)
    target = jnp.eye(1, 3)
    product = r0 * (nu * target + math.sqrt(1 - nu**2) * jnp.eye(1, 3, 1))
    return Factorisation(target, scalar_linear.balanced_init(product, n, [3] * (n - 1), key))


def spectra(problem: Problem, params: Params) -> Float[np.ndarray, "points p"]:
    """Hessian eigenvalues, ascending, at parameters with a leading axis of points."""
    return np.linalg.eigvalsh(np.asarray(_hessians(problem, params)))


@eqx.filter_jit
def _hessians(problem: Problem, params: Params) -> Array:
    return jax.lax.map(partial(dense_hessian, problem.objective), params)


def _random_nets(count: int, depth: int, loss_kind: str, slopes: str) -> xr.Dataset:
    """Nets 4-5-...-3 with Gaussian weights on six Gaussian inputs."""
    draw, widths = np.random.default_rng(depth).standard_normal, (4, *[5] * (depth - 1), 3)
    x, y = jnp.asarray(draw((6, 4))), jnp.asarray(np.eye(3)[np.arange(6) % 3])
    weights = [jnp.asarray(0.8 * draw((count, out, into))) for into, out in pairwise(widths)]
    pair = SLOPES[slopes]
    loss, slope = as_loss(loss_kind), jnp.asarray(pair)
    eigenvalues, by_output, rate, scale = _measured(weights, slope, x, y, loss)
    linear = jnp.full(count, jnp.nan)
    if slopes == "linear":
        gradient = jnp.einsum("sik,ij->skj", by_output, x) / len(x)
        linear = homogeneous.linear_min_eig_bound(weights, gradient)
    bound = homogeneous.homogeneous_min_eig_bound(weights, pair, by_output, x)
    rounding = np.finfo(float).eps * eigenvalues.shape[-1] * jnp.abs(eigenvalues).max(-1)
    smallest = "smallest Hessian eigenvalue of a random net"
    found = {
        "random_min_eig": (eigenvalues[:, 0], CURVATURE, smallest),
        "random_min_eig_error": (rounding, CURVATURE, "rounding of it"),
        "random_bound": (bound, CURVATURE, "bound for homogeneous nets"),
        "random_linear_bound": (linear, CURVATURE, "tighter bound for linear nets"),
        "balance_rate": (rate, DRIFT, "rate at which layers' squared norms drift apart"),
        "balance_scale": (scale, DRIFT, "size of the terms that cancel in it"),
    }
    return table({"net": found})


@eqx.filter_jit
def _measured(
    weights: list[Array], slopes: Array, x: Array, y: Array, loss: Loss
) -> tuple[Array, ...]:
    """Of each net: eigenvalues, gradients by the outputs, drift of squared norms and its terms."""

    def one(ws: list[Array]) -> tuple[Array, ...]:
        def objective(ws: list[Array]) -> Array:
            return jnp.mean(jax.vmap(loss.one)(homogeneous_outputs(ws, x, slopes), y))

        eigenvalues = jnp.linalg.eigvalsh(dense_hessian(objective, ws))
        by_output = jax.vmap(jax.grad(loss.one))(homogeneous_outputs(ws, x, slopes), y)
        pairs = list(zip(ws, jax.grad(objective)(ws), strict=True))
        # d/dt |W_j|^2 = -2 <W_j, df/dW_j> under gradient flow.
        rates = jnp.stack([-2 * jnp.sum(w * g) for w, g in pairs])
        scale = sum(jnp.linalg.norm(w) * jnp.linalg.norm(g) for w, g in pairs)
        return eigenvalues, by_output, jnp.max(jnp.abs(jnp.diff(rates))), scale

    return jax.vmap(one)(weights)


def _aligned(most: int, layers: int) -> xr.Dataset:
    """Balanced aligned nets, rotated between the layers, and chains of equal scalar weights."""
    n, scale = layers, jnp.asarray(PRODUCTS ** (1 / layers))[:, None, None]
    problem, scalars = deep_linear(1.0, 1.0, n), Factorisation(jnp.ones((1, 1)), [jnp.eye(1)] * n)
    weights = [scale * w[None] for w in problem.start]
    gradient = jnp.asarray(PRODUCTS - 1)[:, None, None] * problem.target[None]
    simple, repeated = homogeneous.chain_eigenvalues(PRODUCTS, n)
    both = np.sort(np.stack([simple, *[repeated] * (n - 1)], axis=1), axis=1)
    # A shorter chain has fewer eigenvalues.
    chain, exact = (padded(e, most, axis=1) for e in (spectra(scalars, [scale] * n), both))
    balanced = homogeneous.balanced_min_eig_bound(PRODUCTS, 1 - PRODUCTS, n)
    linear = homogeneous.linear_min_eig_bound(weights, gradient)
    smallest = "smallest Hessian eigenvalue of an aligned net"
    aligned = {
        "aligned_min_eig": (spectra(problem, weights)[:, 0], CURVATURE, smallest),
        "aligned_exact": (homogeneous.aligned_min_eig(PRODUCTS, n), CURVATURE, "its closed form"),
        "aligned_bound": (linear, CURVATURE, "bound for linear nets"),
        "aligned_balanced": (balanced, CURVATURE, "bound for balanced nets"),
    }
    chains = {
        "chain_eigenvalues": (chain, CURVATURE, "Hessian eigenvalues of a chain"),
        "chain_exact": (exact, CURVATURE, "their closed form"),
    }
    product = (PRODUCTS, "1", "norm of the product")
    return table({"product": aligned, "product eigenvalue": chains}, product=product)


def _slope_ratio(slope_depth: int, slope: float) -> xr.Dataset:
    """A chain with one input and f = (alpha^{n-1} w_1...w_n - 1)^2 / 2: near-tight in the slope."""
    one, pair = jnp.ones((1, 1)), (slope, 0.0)
    weights = [jnp.full((1, 1, 1), SLOPE_PRODUCT ** (1 / slope_depth))] * slope_depth
    loss = as_loss("squared-error")
    eigenvalues, gradient, *_ = _measured(weights, jnp.asarray(pair), one, one, loss)
    bound = homogeneous.homogeneous_min_eig_bound(weights, pair, gradient, one)
    ratio = (eigenvalues[:, 0] / bound)[0]
    found = {"slope_ratio": (ratio, "1", "smallest eigenvalue over its bound")}
    return table({"": found}, {"slope_product": SLOPE_PRODUCT})


def _two_at_zero(scale: float) -> xr.Dataset:
    """Two layers at zero, two of size c: curvature as negative as one likes."""
    n, zero, target = 4, (1, 3), jax.random.normal(jax.random.key(12), (3, 3))
    weights = homogeneous.negative_curvature_weights((3,) * (n + 1), scale, zero)
    measured = spectra(Factorisation(target, weights), [w[None] for w in weights])[0, 0]
    exact = homogeneous.negative_curvature_min_eig(-target, n, scale, zero)
    row, smallest = jnp.linalg.norm(target[0]), "smallest eigenvalue with two layers at zero"
    found = {
        "negative_min_eig": (measured, CURVATURE, smallest),
        "negative_exact": (exact, CURVATURE, "its closed form"),
        "negative_row": (row, "loss", "norm of the target's first row"),
    }
    return table({"": found})
