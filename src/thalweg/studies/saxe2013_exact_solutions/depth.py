"""Experiments X3 to X5 of exact linear dynamics: what depth does to learning time and signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core import spectra
from thalweg.core.errors import InputError
from thalweg.core.tree import Params
from thalweg.driver import best_step_size as criterion
from thalweg.lab.study import Lab, variable
from thalweg.models import initialisers
from thalweg.problems import Data
from thalweg.problems.data import images
from thalweg.problems.linear_targets import (
    DeepLinear,
    Modes,
    deep_linear_params,
    random_modes,
    whitened_modes,
)
from thalweg.theory.descent import criterion_time
from thalweg.theory.linear_nets import isometry, linear_modes

STARTS = ("decoupled", "orthogonal", "gaussian")
RANDOM = ("orthogonal", "gaussian")
GAINS = (0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.5)


# X3: how many steps a deep net takes at its best step size.


def deep_start(name: str, modes: Modes, strength: float, L: int, width: int, key: Array) -> Params:
    """Parameters of a deep linear net, hidden layers of one width, by the name of the start."""
    weights: list[Array]
    if name == "decoupled":
        weights = initialisers.decoupled_init(modes.U, modes.V, strength, L, width, key)
    else:
        draw = initialisers.initialiser(name)
        sizes = [modes.V.shape[0], *[width] * (L - 1), modes.U.shape[0]]
        weights = [
            draw(jax.random.fold_in(key, j), (out, into))
            for j, (into, out) in enumerate(pairwise(sizes))
        ]
    return deep_linear_params(weights)


def depth_search(
    modes: Modes,
    starts: Sequence[str],
    seeds: int,
    rates: Mapping[int, np.ndarray],
    *,
    strength: float,
    width: int,
    most_steps: int,
    at_once: int | None = None,
) -> xr.Dataset:
    """Fewest steps to 1 % of the loss of the zero map, for each start, seed and depth."""
    problem, level = DeepLinear(modes.matrix), 0.01 * float(jnp.sum(modes.s**2)) / 2
    found = np.full((2, len(starts), seeds, len(rates)), np.nan)
    for at in np.ndindex(found.shape[1:]):
        name, seed, (L, sizes) = starts[at[0]], at[1], list(rates.items())[at[2]]
        params = deep_start(name, modes, strength, L, width, jax.random.key(100 + seed))
        found[(slice(None), *at)] = criterion.steps_to_criterion(
            problem, params, sizes, level, most_steps, at_once
        )
    depths = np.array(list(rates))
    steps, size = found
    top = linear_modes.deep_mode_sharpness(depths, float(modes.s[0]))
    dims = ("start", "seed", "depth")
    return xr.Dataset(
        {
            "steps": variable(dims, steps, "1", "fewest steps to 1 % of the loss"),
            "steps_mean": variable(dims[::2], steps.mean(1), "1", "mean over seeds"),
            "steps_mean_error": variable(
                dims[::2], steps.std(1), "1", "standard deviation over seeds"
            ),
            "step_size": variable(dims, size, "1", "fastest step size"),
            "scaled_step_size": variable(dims, size * depths, "1", "fastest step size x depth"),
            "sharpness_bound": variable("depth", 1 / top, "1", "1/largest sharpness by E11"),
            "stability_bound": variable("depth", 2 / top, "1", "2/largest sharpness by E11"),
        },
        {
            "start": list(starts),
            "seed": np.arange(seeds),
            "depth": variable("depth", depths, "1", "number of weight matrices L"),
        },
    )


def depth(lab: Lab) -> xr.Dataset:
    """24-wide nets, five modes, three starts."""
    grid = 2.0 ** np.arange(-11, 0.25, 0.5)
    depths = (2, 4, 8, 16, 32, 48)
    return depth_search(
        random_modes(jax.random.key(1), (2.0, 1.6, 1.3, 1.1, 0.9), 5, 24),
        STARTS,
        12 if lab.full else 8,
        {L: grid[(grid >= 0.01 / L) & (grid <= 2.5 / L)] for L in depths},
        strength=0.05,
        width=24,
        most_steps=600,
    )


def digits(lab: Lab) -> xr.Dataset:
    """Handwritten digits from decoupled starts of strength 0.001, the paper's own experiment."""
    data, source = _images(lab)
    modes, u0 = whitened_modes(data), 0.001
    s = np.asarray(modes.s)
    paper = np.unique(np.geomspace(3, 100, 15).round().astype(int))
    neurons = paper if lab.full else (3, 5, 9, 17, 33, 65)
    found = depth_search(
        modes,
        STARTS[:1],
        1,
        dict.fromkeys((int(N) - 1 for N in neurons), 6e4 * np.geomspace(1e-7, 1e-4, 20)),
        strength=u0,
        width=1000 if lab.full else 32,
        most_steps=20_000,
        at_once=1 if lab.full else None,
    )
    time, error = np.transpose(
        [criterion_time.criterion_time(L, u0, s, 0.01) for L in found["depth"].values]
    )
    limit = linear_modes.deep_mode_time_infinite(1, u0, 0.9 * s[-1], s[-1])
    size = found["step_size"]
    dims = [str(dim) for dim in size.dims]
    return found.assign(
        steps_theory=variable(dims, time / size, "1", "steps of gradient flow, by E8"),
        steps_theory_error=variable(dims, error / size, "1", "error of the integration"),
        scaled_time_limit=variable((), limit, "1", "limit of depth x time, weakest mode, by E10"),
    ).assign_attrs(data=source)


def _images(lab: Lab) -> tuple[Data, str]:
    try:
        found = images.mnist() if lab.full else images.digit_images()
    except InputError:  # the user has no MNIST
        found = images.digit_images()
    return found, str(found.description["source"])


# X4: singular values of deep products and of deep tanh nets.


def isometry_spectra(lab: Lab) -> xr.Dataset:
    """Product and Jacobian spectra, and activity, of random nets 200 wide and 100 deep."""
    return spectra_of(seeds=12 if lab.full else 4)


def spectra_of(seeds: int, N: int = 200, L: int = 100) -> xr.Dataset:
    """Spectra of products of the first 1, 5, 20 and L matrices, and of tanh nets of L layers."""
    products = (1, 5, 20, L)
    gains = jnp.asarray(GAINS)
    product = np.empty((2, seeds, len(products), N))
    jacobian = np.empty((2, seeds, len(GAINS), N))
    activity = np.empty((2, seeds, len(GAINS), L))
    for at in np.ndindex(2, seeds):
        key, inputs = jax.random.split(jax.random.key(at[1]))
        draw = initialisers.initialiser(RANDOM[at[0]])
        weights = jax.vmap(lambda k, draw=draw: draw(k, (N, N)))(jax.random.split(key, L))
        product[at] = [spectra.product_spectrum(list(weights[:n])) for n in products]
        x = jax.random.normal(inputs, (N,))
        jacobian[at], activity[at] = _tanh_nets(weights, gains, x)
    q = [isometry.activity_fixed_point(g) for g in GAINS]
    profile = [isometry.activity_profile(g, L) for g in GAINS]
    rounding = np.finfo(float).eps * N * product.max(-1)
    deep, nets = ("start", "seed", "product_depth"), ("start", "seed", "gain")
    square, sv = np.mean(product**2, -1), "singular value of the product"
    return xr.Dataset(
        {
            "product": variable((*deep, "index"), product, "1", sv),
            "product_error": variable(deep, rounding, "1", f"rounding error of a {sv}"),
            "product_median": variable(deep, np.median(product, -1), "1", f"median {sv}"),
            "product_mean_square": variable(deep, square, "1", f"mean square {sv}"),
            "product_median_theory": variable(
                deep[2:], isometry.gaussian_product_median(products), "1", "2^(-depth/2)"
            ),
            "product_mean_square_spread": variable(
                deep[2:],
                [isometry.gaussian_mean_square_spread(n, N) for n in products],
                "1",
                "its standard deviation over Gaussian products, in theory",
            ),
            "jacobian": variable((*nets, "index"), jacobian, "1", "Jacobian singular value"),
            "jacobian_median": variable(nets, np.median(jacobian, -1), "1", "its median"),
            "activity": variable((*nets, "layer"), activity, "1", "mean square activity"),
            "activity_last": variable(nets, activity[..., -1], "1", "activity of the last layer"),
            "activity_theory": variable(
                ("gain", "layer"), profile, "1", "mean square activity by mean-field theory"
            ),
            "fixed_point": variable("gain", [v.value for v in q], "1", "fixed point q"),
            "fixed_point_error": variable(
                "gain", [v.error for v in q], "1", "error of the quadrature"
            ),
        },
        {
            "start": list(RANDOM),
            "seed": np.arange(seeds),
            "product_depth": list(products),
            "gain": variable("gain", GAINS, "1", "gain g"),
            "index": variable("index", (np.arange(N) + 1) / N, "1", "rank / width"),
            "layer": variable("layer", np.arange(L) + 1, "1", "layer"),
        },
    )


@jax.jit
def _tanh_nets(weights: Array, gains: Array, x: Array) -> tuple[Array, Array]:
    def outputs(gain: Array, x: Array) -> Array:
        return jax.lax.scan(lambda h, W: (jnp.tanh(gain * (W @ h)), None), x, weights)[0]

    def one(gain: Array) -> tuple[Array, Array]:
        return (
            spectra.jacobian_spectrum(outputs, gain, x),
            spectra.activity(weights, gain, x),
        )

    return jax.vmap(one)(gains)
