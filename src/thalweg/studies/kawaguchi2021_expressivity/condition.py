"""Rank of last-layer features on the digits, found and built: X1."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array
from numpy.typing import NDArray

from thalweg.core.errors import InputError
from thalweg.core.tree import Params
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import MLP, ConvResNet, Stage, feature_rank, mlp
from thalweg.problems.data import images

EXAMPLES, TESTED, WIDE = 200, 1000, 221
NETS = ("221", "64-221", "16-16-221", "2-221", "1-221")  # hidden widths
ACTIVATION = "softplus:100"
STAGES = {
    "resnet of 32 features": ((16, 1), (32, 1)),
    "resnet of 128 features": ((8, 1), (16, 1), (128, 1)),
    "resnet-18": ((64, 2), (128, 2), (256, 2), (512, 2)),
}
MARGIN, ROUNDING = "smallest/largest singular value", "rounding of the margin"


class Split(NamedTuple):
    """Random rows of the digits, pixels in [0, 1]; labels as whole numbers."""

    x: NDArray[np.float64]
    y: NDArray[np.int64]
    x_test: NDArray[np.float64]
    y_test: NDArray[np.int64]


@cache
def digits() -> Split:
    """200 random digits to train on and 1000 others to test on."""
    data = images.digit_images(standardize="none")
    rows = np.random.default_rng(0).permutation(len(data.inputs))
    first, other = rows[:EXAMPLES], rows[EXAMPLES : EXAMPLES + TESTED]
    return Split(data.inputs[first], data.targets[first], data.inputs[other], data.targets[other])


def net(hidden: Sequence[int]) -> MLP:
    """A softplus net with weights N(0, 2/fan_in) and zero biases."""
    return mlp(hidden, ACTIVATION, initialiser="he-normal")


def called(name: str) -> tuple[MLP, Params, Array]:
    """A net by its hidden widths, "64-221"; parameters that it begins with, and the digits."""
    model, x = net([int(width) for width in name.split("-")]), jnp.asarray(digits().x)
    return model, model.init(jax.random.key(0), x.shape[1:], 10), x


def rounding(found: feature_rank.Expressivity) -> float:
    """Below this a margin counts as zero."""
    return float(found.tolerance / found.singular_values[0])


@experiment("X1", Draws(32), smoke={"draws": 13}, full={"draws": 60})
def condition(lab: Lab, size: Draws) -> xr.Dataset:
    """Rank and margin of random nets on the digits, and what a search for full rank finds."""
    starts = over(_at_start, net=NETS, seed=range(size.draws))
    spectra = starts["singular_values"].isel(seed=0, drop=True)
    return starts.merge(over(_search, net=NETS)).assign(singular_values=spectra)


def _at_start(net: str, seed: int) -> xr.Dataset:
    model, _, x = called(net)
    params = model.init(jax.random.key(seed), x.shape[1:], 10)
    found = feature_rank.expressivity(model, params, x)
    bare = feature_rank.expressivity(model, params, x, ones=False).rank
    below = "rounding: below it a singular value counts as zero"
    once = {
        "rank": (found.rank, "1", "numerical rank of [h, 1] at a random start"),
        "rank_without_ones": (bare, "1", "numerical rank of h"),
        "margin": (found.margin, "1", MARGIN),
        "margin_error": (rounding(found), "1", below),
        "log_det": (found.log_det, "1", "ln det(A A^T)"),
    }
    relative = found.singular_values / found.singular_values[0]
    spectrum = {"singular_values": (relative, "1", "singular value/largest, first seed")}
    index = (np.arange(1, EXAMPLES + 1), "1", "index")
    return table({"": once, "index": spectrum}, index=index)


def _search(net: str) -> xr.Dataset:
    model, _, x = called(net)
    search = feature_rank.expressivity_search(model, x, jax.random.key(100))
    witness = int(search.how == "witness")
    found = {
        "search_rank": (search.found.rank, "1", "numerical rank after the search"),
        "search_margin": (search.found.margin, "1", f"{MARGIN} after the search"),
        "search_draws": (search.draws, "1", "parameters tried"),
        "search_witness": (witness, "1", "whether the constructed witness was needed"),
    }
    return table({"": found})


@experiment("X1-witness", Draws(9), smoke={"draws": 3})
def witnesses(lab: Lab, size: Draws) -> xr.Dataset:
    """The constructed parameters of rank n of a net with two layers of one unit."""
    scale = ([1e3, 1e5, 1e7], "1", "scale of the wide layer")
    return over(_witness, draw=range(size.draws), scale=scale)


def _witness(draw: int, scale: float) -> xr.Dataset:
    model, _, x = called(f"1-1-{WIDE}")
    params = feature_rank.constructed_witness(model, x, jax.random.key(draw), scale=scale)
    found = feature_rank.expressivity(model, params, x)
    error = max(EXAMPLES, WIDE + 1) * np.finfo(float).eps
    told = {
        "rank": (found.rank, "1", "rank"),
        "margin": (found.margin, "1", MARGIN),
        "margin_error": (error, "1", ROUNDING),
    }
    return table({"": told})


@experiment("X1-degenerate", Draws(8), smoke={"draws": 5}, full={"draws": 20})
def degenerate(lab: Lab, size: Draws) -> xr.Dataset:
    """All parameters at zero, then perturbed: what the almost sure statement needs of float64."""
    nets, noises = ("64-221", "16-16-221"), [1e-3, 1e-2, 1e-1]
    noise = (noises, "parameter", "size of the perturbation")
    shaken = over(_perturbed, net=nets, noise=noise, seed=range(size.draws))
    return shaken.merge(over(_at_zero, net=nets))


def _perturbed(net: str, noise: float, seed: int) -> xr.Dataset:
    model, start, x = called(net)
    flat, unravel = ravel_pytree(start)
    shaken = unravel(noise * jax.random.normal(jax.random.key(seed), flat.shape))
    found = feature_rank.expressivity(model, shaken, x)
    told = {
        "rank": (float(found.rank), "1", "numerical rank after a perturbation"),
        "margin": (found.margin, "1", MARGIN),
    }
    return table({"": told})


def _at_zero(net: str) -> xr.Dataset:
    model, start, x = called(net)
    rank = feature_rank.expressivity(model, jax.tree.map(jnp.zeros_like, start), x).rank
    return table({"": {"rank_at_zero": (float(rank), "1", "numerical rank with all at zero")}})


@dataclass(frozen=True)
class Images:
    """Residual nets, by name, and their images.

    Attributes:
        nets: Keys of `STAGES`.
        examples: Of the digits, at random; all of them, and images of MNIST if they are at hand,
            if none.
    """

    nets: tuple[str, ...] = ("resnet of 32 features", "resnet of 128 features")
    examples: int | None = 100


@experiment(
    "X1-resnets",
    Images(),
    smoke={"nets": ("resnet of 128 features",)},
    full={"nets": ("resnet-18",), "examples": None},
)
def resnets(lab: Lab, size: Images) -> xr.Dataset:
    """Batch-normalised residual nets on images, with a wide dense layer of 1.1 n units."""
    pixels = images.digit_images(standardize="none", image=True).inputs
    if size.examples is not None:
        rows = np.random.default_rng(0).permutation(len(pixels))
        pixels = pixels[rows[: size.examples]]
    sets = {"digits": pixels}
    if size.examples is None:
        some: dict[str, Any] = {"samples": 2000, "image": True}
        with contextlib.suppress(InputError):  # no MNIST is at hand
            sets["MNIST"] = images.first_at_hand(
                lambda: images.mnist_images(network=False, **some),
                lambda: images.mnist5k_images(**some),
            ).inputs
    cases: dict[str, Any] = {
        f"{name} on {data}": (STAGES[name], x) for name in size.nets for data, x in sets.items()
    }
    return over(lambda case: _resnet(*cases[case]), case=cases)


def _resnet(stages: Sequence[tuple[int, int]], x: NDArray[np.float64]) -> xr.Dataset:
    model = ConvResNet(tuple(Stage(*s) for s in stages), (round(1.1 * len(x)),), ACTIVATION)
    search = feature_rank.expressivity_search(
        model, jnp.asarray(x), jax.random.key(0), draws=3, bias_std=0.1
    )
    found = search.found
    told = {
        "examples": (found.examples, "1", "examples n"),
        "rank": (found.rank, "1", "numerical rank of [h, 1]"),
        "margin": (found.margin, "1", MARGIN),
        "margin_error": (rounding(found), "1", ROUNDING),
        "draws": (search.draws, "1", "parameters tried"),
    }
    return table({"": told})
