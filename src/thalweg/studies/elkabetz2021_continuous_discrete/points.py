"""X5 of `continuous_vs_discrete`: curvature at points, against bounds and exact values."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.hessian_product import dense_hessian
from thalweg.lab.study import Lab, variable
from thalweg.models.homogeneous import homogeneous_outputs
from thalweg.problems.closed_form import Factorisation
from thalweg.problems.losses import Loss, as_loss
from thalweg.theory.linear_nets import homogeneous, scalar_linear

SLOPES = {
    "linear": (1.0, 1.0),
    "ReLU": (1.0, 0.0),
    "leaky 0.3": (1.0, 0.3),
    "(-0.7, 1.4)": (-0.7, 1.4),
}
LOSSES = ("squared-error", "cross-entropy")
DEPTHS, PRODUCTS = (2, 3, 4, 5), np.array([0.01, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 0.95])
CURVATURE, DRIFT = "loss/parameter^2", "parameter^2/time"


def points(lab: Lab) -> xr.Dataset:
    """X5: smallest Hessian eigenvalues at random and at near-tight points."""
    depths = (2, 3, 4)
    nets = [
        xr.concat([_random_nets(lab, n, as_loss(loss)) for loss in LOSSES], "loss_kind")
        for n in depths
    ]
    random = xr.concat(nets, "depth").assign_coords(depth=list(depths), loss_kind=list(LOSSES))
    return xr.merge([random, _aligned(), _slopes(), _negative()], combine_attrs="drop_conflicts")


def deep_linear(r0: float, nu: float, n: int, key: Array, width: int = 3) -> Factorisation:
    """A net with one output and target e_1, balanced, product of norm r0 and cosine nu.

    Random orthogonal matrices stand between the layers.
    """
    target = jnp.eye(1, width)
    product = r0 * (nu * target + math.sqrt(1 - nu**2) * jnp.eye(1, width, 1))
    return Factorisation(target, scalar_linear.balanced_init(product, n, [width] * (n - 1), key))


def _random_nets(lab: Lab, n: int, loss: Loss) -> xr.Dataset:
    """Nets 4-5-...-3 with Gaussian weights on six Gaussian inputs, for every pair of slopes."""
    count, widths = 40 if lab.full else 8, (4, *[5] * (n - 1), 3)
    draw = np.random.default_rng(n).standard_normal
    x, y = jnp.asarray(draw((6, 4))), jnp.asarray(np.eye(3)[np.arange(6) % 3])
    weights = [jnp.asarray(0.8 * draw((count, out, into))) for into, out in pairwise(widths)]

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def measure(ws: list[Array], slopes: Array) -> tuple[Array, ...]:
        def objective(ws: list[Array]) -> Array:
            return jnp.mean(jax.vmap(loss.one)(homogeneous_outputs(ws, x, slopes), y))

        eigenvalues = jnp.linalg.eigvalsh(dense_hessian(objective, ws))
        by_output = jax.vmap(jax.grad(loss.one))(homogeneous_outputs(ws, x, slopes), y)
        pairs = list(zip(ws, jax.grad(objective)(ws), strict=True))
        # d/dt |W_j|^2 = -2 <W_j, df/dW_j> under gradient flow.
        rates = jnp.stack([-2 * jnp.sum(w * g) for w, g in pairs])
        scale = sum(jnp.linalg.norm(w) * jnp.linalg.norm(g) for w, g in pairs)
        return eigenvalues, by_output, jnp.max(jnp.abs(jnp.diff(rates))), scale

    rows = []
    for slopes in SLOPES.values():
        eigenvalues, by_output, rate, scale = measure(weights, jnp.asarray(slopes))
        bound = homogeneous.homogeneous_min_eig_bound(weights, slopes, by_output, x)
        linear = jnp.full(count, jnp.nan)
        if slopes == (1.0, 1.0):
            gradient = jnp.einsum("sik,ij->skj", by_output, x) / len(x)
            linear = homogeneous.linear_min_eig_bound(weights, gradient)
        rounding = np.finfo(float).eps * eigenvalues.shape[-1] * jnp.abs(eigenvalues).max(-1)
        rows.append((eigenvalues[:, 0], rounding, bound, linear, rate, scale))
    names = {
        "random_min_eig": (CURVATURE, "smallest Hessian eigenvalue of a random net"),
        "random_min_eig_error": (CURVATURE, "rounding of it"),
        "random_bound": (CURVATURE, "bound for homogeneous nets"),
        "random_linear_bound": (CURVATURE, "tighter bound for linear nets"),
        "balance_rate": (DRIFT, "rate at which layers' squared norms drift apart"),
        "balance_scale": (DRIFT, "size of the terms that cancel in it"),
    }
    return xr.Dataset(
        {
            name: variable(("slopes", "net"), np.stack(column), *words)
            for (name, words), column in zip(names.items(), zip(*rows, strict=True), strict=True)
        },
        coords={"slopes": list(SLOPES)},
    )


def _aligned() -> xr.Dataset:
    """Balanced aligned nets, rotated between the layers, and chains of equal scalar weights."""
    shape = (len(DEPTHS), len(PRODUCTS))
    measured, exact, bound, balanced = (np.empty(shape) for _ in range(4))
    chain, chain_exact = (np.full((*shape, max(DEPTHS)), np.nan) for _ in range(2))
    for i, n in enumerate(DEPTHS):
        scale = jnp.asarray(PRODUCTS ** (1 / n))[:, None, None]
        problem = deep_linear(1.0, 1.0, n, jax.random.key(n))
        weights = [scale * w for w in problem.start]
        gradient = jnp.asarray(PRODUCTS - 1)[:, None, None] * problem.target
        measured[i] = _spectra(problem, weights)[:, 0]
        exact[i] = homogeneous.aligned_min_eig(PRODUCTS, n)
        bound[i] = homogeneous.linear_min_eig_bound(weights, gradient)
        balanced[i] = homogeneous.balanced_min_eig_bound(PRODUCTS, 1 - PRODUCTS, n)
        chain[i, :, :n] = _spectra(Factorisation(jnp.ones((1, 1)), [jnp.eye(1)] * n), [scale] * n)
        simple, repeated = homogeneous.chain_eigenvalues(PRODUCTS, n)
        chain_exact[i, :, :n] = np.sort(np.stack([simple, *[repeated] * (n - 1)], 1), axis=1)
    dims = ("layers", "product")
    return xr.Dataset(
        {
            "aligned_min_eig": variable(
                dims, measured, CURVATURE, "smallest Hessian eigenvalue of an aligned net"
            ),
            "aligned_exact": variable(dims, exact, CURVATURE, "its closed form"),
            "aligned_bound": variable(dims, bound, CURVATURE, "bound for linear nets"),
            "aligned_balanced": variable(dims, balanced, CURVATURE, "bound for balanced nets"),
            "chain_eigenvalues": variable(
                (*dims, "eigenvalue"), chain, CURVATURE, "Hessian eigenvalues of a chain"
            ),
            "chain_exact": variable(
                (*dims, "eigenvalue"), chain_exact, CURVATURE, "their closed form"
            ),
        },
        coords={
            "layers": list(DEPTHS),
            "product": variable("product", PRODUCTS, "1", "norm of the product"),
        },
    )


def _slopes() -> xr.Dataset:
    """Chains with one input and f = (alpha^{n-1} w_1...w_n - 1)^2 / 2: near-tight in the slope."""
    depths, alphas, r = (2, 3, 4), np.array([0.5, 1.0, 2.0]), 1e-3
    ratio = np.empty((len(depths), len(alphas)))
    one = jnp.ones((1, 1))

    @jax.jit
    def smallest(ws: list[Array], alpha: Array) -> tuple[Array, Array]:
        def error(ws: list[Array]) -> Array:
            return homogeneous_outputs(ws, one, (alpha, 0.0)) - 1

        hessian = dense_hessian(lambda ws: 0.5 * jnp.sum(error(ws) ** 2), ws)
        return jnp.linalg.eigvalsh(hessian)[0], error(ws)

    for i, n in enumerate(depths):
        weights = [jnp.full((1, 1), r ** (1 / n))] * n
        for j, alpha in enumerate(alphas.tolist()):
            value, gradient = smallest(weights, alpha)
            bound = homogeneous.homogeneous_min_eig_bound(weights, (alpha, 0.0), gradient, one)
            ratio[i, j] = value / bound
    return xr.Dataset(
        {
            "slope_ratio": variable(
                ("slope_depth", "slope"), ratio, "1", "smallest eigenvalue over its bound"
            )
        },
        coords={
            "slope_depth": list(depths),
            "slope": variable("slope", alphas, "1", "slope of the activation"),
        },
        attrs={"slope_product": r},
    )


def _negative() -> xr.Dataset:
    """Two layers at zero, two of size c: curvature as negative as one likes."""
    scales, n, zero = np.array([1.0, 10.0, 100.0]), 4, (1, 3)
    target = jax.random.normal(jax.random.key(12), (3, 3))
    measured, exact = np.empty(3), np.empty(3)
    for i, c in enumerate(scales.tolist()):
        weights = homogeneous.negative_curvature_weights((3,) * (n + 1), c, zero)
        measured[i] = _spectra(Factorisation(target, weights), [w[None] for w in weights])[0, 0]
        exact[i] = homogeneous.negative_curvature_min_eig(-target, n, c, zero)
    row = np.full(3, np.linalg.norm(target[0]))
    return xr.Dataset(
        {
            "negative_min_eig": variable(
                "scale", measured, CURVATURE, "smallest eigenvalue with two layers at zero"
            ),
            "negative_exact": variable("scale", exact, CURVATURE, "its closed form"),
            "negative_row": variable("scale", row, "loss", "norm of the target's first row"),
        },
        coords={"scale": variable("scale", scales, "parameter", "size of the other layers")},
    )


def _spectra(problem: Factorisation, weights: list[Array]) -> Float[np.ndarray, "points p"]:
    """Hessian eigenvalues, ascending, at weights with a leading axis of points."""
    hessians = jax.jit(jax.vmap(partial(dense_hessian, problem.objective)))(weights)
    return np.linalg.eigvalsh(np.asarray(hessians))
