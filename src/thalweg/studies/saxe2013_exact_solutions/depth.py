"""Experiments X3 to X5: what depth does to the time to learn and to signals on their way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core import spectra
from thalweg.core.tree import Params
from thalweg.driver.best_step_size import steps_to_criterion
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table, variable
from thalweg.models import initialisers, linear
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
GAINS = (0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.5)
PAPER_NEURONS = np.unique(np.geomspace(3, 100, 15).round().astype(int))  # layers of neurons


@dataclass(frozen=True)
class Search:
    """Sizes of a search for the best step size at every depth.

    Attributes:
        depths: Numbers of weight matrices L.
        seeds: Starts of each kind.
        width: Units of every hidden layer.
        at_once: How many descents run side by side; None for all.
        files: Whether MNIST is taken if it is at hand, for the digits.
    """

    depths: tuple[int, ...]
    seeds: int = 1
    width: int = 24
    at_once: int | None = None
    files: bool = False


def started(name: str, modes: Modes, strength: float, depth: int, width: int, seed: int) -> Params:
    """Parameters of a deep linear net, hidden layers of one width, by the name of the start."""
    key = jax.random.key(100 + seed)
    if name == "decoupled":
        weights = initialisers.decoupled_init(modes.U, modes.V, strength, depth, width, key)
        return deep_linear_params(weights)
    net = linear([width] * (depth - 1), initialiser=name)
    return net.init(key, (len(modes.V),), len(modes.U))


def searched(
    modes: Modes,
    size: Search,
    starts: Sequence[str],
    rates: Mapping[int, np.ndarray],
    strength: float,
    most_steps: int,
) -> xr.Dataset:
    """Fewest steps to 1 % of the loss of the zero map, for each start, seed and depth."""
    problem, level = DeepLinear(modes.matrix), 0.01 * float(jnp.sum(modes.s**2)) / 2
    depths = np.array(size.depths)

    def best(start: str, seed: int, depth: int) -> xr.Dataset:
        params = started(start, modes, strength, depth, size.width, seed)
        found = steps_to_criterion(problem, params, rates[depth], level, most_steps, size.at_once)
        numbers = {
            "steps": (found.steps, "1", "fewest steps to 1 % of the loss"),
            "step_size": (found.step_size, "step size", "fastest step size"),
        }
        return table({"": numbers})

    axes = {"seed": range(size.seeds), "depth": (depths, "1", "number of weight matrices L")}
    found = over(best, start=starts, **axes)
    top, steps = linear_modes.deep_mode_sharpness(depths, float(modes.s[0])), found["steps"].values
    return found.assign(
        steps_mean=variable(("start", "depth"), steps.mean(1), "1", "steps, mean over seeds"),
        steps_mean_error=variable(
            ("start", "depth"), steps.std(1), "1", "standard deviation over seeds"
        ),
        sharpness_bound=variable("depth", 1 / top, "step size", "1/largest sharpness by E11"),
        stability_bound=variable("depth", 2 / top, "step size", "2/largest sharpness by E11"),
    )


@experiment(
    "X3",
    Search((2, 4, 8, 16, 32, 48), seeds=8),
    smoke={"depths": (2, 4, 8, 16), "seeds": 1},
    full={"seeds": 12},
)
def depth(lab: Lab, size: Search) -> xr.Dataset:
    """Steps of nets of five modes from three starts, at the best step size of a fine grid."""
    modes = random_modes(jax.random.key(1), (2.0, 1.6, 1.3, 1.1, 0.9), 5, size.width)
    grid = 2.0 ** np.arange(-11, 0.25, 0.5)
    rates = {L: grid[(grid >= 0.01 / L) & (grid <= 2.5 / L)] for L in size.depths}
    return searched(modes, size, STARTS, rates, strength=0.05, most_steps=600)


@dataclass(frozen=True)
class Nets:
    """Draws, width and depth of the random nets of X4."""

    seeds: int
    width: int = 200
    depth: int = 100


@experiment("X4", Nets(seeds=4), smoke={"seeds": 1}, full={"seeds": 12})
def isometry_spectra(lab: Lab, size: Nets) -> xr.Dataset:
    """Spectra of products of the first 1, 5, 20 and all matrices, and of tanh nets of all."""
    products, N, gains = (1, 5, 20, size.depth), size.width, jnp.asarray(GAINS)
    sv = "singular value of the product"

    def drawn(start: str, seed: int) -> xr.Dataset:
        key, inputs = jax.random.split(jax.random.key(seed))
        draw = initialisers.initialiser(start)
        weights = jax.vmap(lambda k: draw(k, (N, N)))(jax.random.split(key, size.depth))
        product = np.stack([spectra.product_spectrum(list(weights[:n])) for n in products])
        jacobian, activity = tanh_nets(weights, gains, jax.random.normal(inputs, (N,)))
        rounding = np.finfo(float).eps * N * product.max(-1)
        return table(
            {
                "product_depth index": {"product": (product, "1", sv)},
                "product_depth": {"product_error": (rounding, "1", f"rounding error of a {sv}")},
                "gain index": {"jacobian": (jacobian, "1", "singular value of the Jacobian")},
                "gain layer": {"activity": (activity, "1", "mean square activity")},
            },
            product_depth=products,
            gain=(GAINS, "1", "gain g"),
            index=((np.arange(N) + 1) / N, "1", "rank / width"),
            layer=(np.arange(size.depth) + 1, "1", "layer"),
        )

    found = over(drawn, start=STARTS[1:], seed=range(size.seeds))
    floor = found["product_error"].sel(start="gaussian", seed=0, product_depth=20)
    q = [isometry.activity_fixed_point(g) for g in GAINS]
    profile = [isometry.activity_profile(g, size.depth) for g in GAINS]
    spread = [isometry.gaussian_mean_square_spread(n, N) for n in products]
    median = isometry.gaussian_product_median(products)
    theory = table(
        {
            "": {"product_floor": (float(floor), "1", "rounding in the product of 20")},
            "product_depth": {
                "product_median_theory": (median, "1", "median of Gaussian products, 2^(-depth/2)"),
                "product_mean_square_spread": (spread, "1", "spread of their mean square"),
            },
            "gain layer": {
                "activity_theory": (profile, "1", "mean square activity by mean-field theory")
            },
            "gain": {
                "fixed_point": ([v.value for v in q], "1", "fixed point q"),
                "fixed_point_error": ([v.error for v in q], "1", "error of the quadrature"),
            },
        }
    )
    return found.merge(theory)


@jax.jit
def tanh_nets(weights: Array, gains: Array, x: Array) -> tuple[Array, Array]:
    """Singular values of the Jacobian and activity of the layers of a tanh net, at each gain."""

    def outputs(gain: Array, x: Array) -> Array:
        return jax.lax.scan(lambda h, W: (jnp.tanh(gain * (W @ h)), None), x, weights)[0]

    def one(gain: Array) -> tuple[Array, Array]:
        return spectra.jacobian_spectrum(outputs, gain, x), spectra.activity(weights, gain, x)

    return jax.vmap(one)(gains)


@experiment(
    "X5",
    Search((2, 4, 8, 16, 32, 64), width=32),
    smoke={"depths": (2, 4, 8)},
    full={
        "depths": tuple(int(N) - 1 for N in PAPER_NEURONS),
        "width": 1000,
        "at_once": 1,
        "files": True,
    },
)
def digits(lab: Lab, size: Search) -> xr.Dataset:
    """Handwritten digits from decoupled starts of strength 0.001, the paper's own experiment."""
    mnist = (
        [lambda: images.mnist_images(network=False), images.mnist5k_images] if size.files else []
    )
    data = images.first_at_hand(*mnist, images.digit_images)
    modes, u0 = whitened_modes(data), 0.001
    s = np.asarray(modes.s)
    rates = dict.fromkeys(size.depths, 6e4 * np.geomspace(1e-7, 1e-4, 20))
    found = searched(modes, size, STARTS[:1], rates, strength=u0, most_steps=20_000)
    time, error = np.transpose([criterion_time.criterion_time(L, u0, s, 0.01) for L in size.depths])
    limit = linear_modes.deep_mode_time_infinite(1, u0, 0.9 * s[-1], s[-1])
    rate = found["step_size"]
    dims = [str(dim) for dim in rate.dims]
    return found.assign(
        steps_theory=variable(dims, time / rate, "1", "steps of gradient flow, by E8"),
        steps_theory_error=variable(dims, error / rate, "1", "error of the integration"),
        scaled_time_limit=variable(
            (), limit, "step size", "limit of depth x time, weakest mode, by E10"
        ),
    ).assign_attrs(data=str(data.description["source"]))
