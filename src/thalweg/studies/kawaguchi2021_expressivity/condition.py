"""Experiment X1 of the expressivity condition: the rank of last-layer features, found and built."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from numpy.typing import NDArray

from thalweg.lab.study import Lab, variable
from thalweg.models import MLP, ConvResNet, Stage, expressivity, mlp
from thalweg.problems.data import images

EXAMPLES, TESTED, WIDE = 200, 1000, 221
NETS = ((WIDE,), (64, WIDE), (16, 16, WIDE), (2, WIDE), (1, WIDE))
SCALES = (1e3, 1e5, 1e7)
ACTIVATION = "softplus:100"
DEGENERATE = ((64, WIDE), (16, 16, WIDE))
NOISES = (1e-3, 1e-2, 1e-1)
STAGES = {
    "resnet of 32 features": ((16, 1), (32, 1)),
    "resnet of 128 features": ((8, 1), (16, 1), (128, 1)),
}
RESNET_18 = {"resnet-18": ((64, 2), (128, 2), (256, 2), (512, 2))}


class Split(NamedTuple):
    """Random rows of the digits, pixels in [0, 1]; labels as whole numbers."""

    x: NDArray[np.float64]
    y: NDArray[np.int64]
    x_test: NDArray[np.float64]
    y_test: NDArray[np.int64]


def digits(image: bool = False) -> Split:
    """200 random digits to train on and 1000 others to test on."""
    data = images.digit_images(standardize="none", image=image)
    rows = np.random.default_rng(0).permutation(len(data.inputs))
    first, other = rows[:EXAMPLES], rows[EXAMPLES : EXAMPLES + TESTED]
    return Split(data.inputs[first], data.targets[first], data.inputs[other], data.targets[other])


def net(hidden: Sequence[int]) -> MLP:
    """A softplus net with weights N(0, 2/fan_in) and zero biases."""
    return mlp(hidden, ACTIVATION, initialiser="he-normal")


def name_of(hidden: Sequence[int]) -> str:
    """A net as its hidden widths, "64-221"."""
    return "-".join(map(str, hidden))


def condition(lab: Lab) -> xr.Dataset:
    """Rank and margin of random nets on the digits, and what a search for full rank finds."""
    return condition_at(range(60 if lab.full else 32))


def condition_at(seeds: Sequence[int]) -> xr.Dataset:
    """The verification at the model's own starts of these seeds, and one search per net."""
    x = jnp.asarray(digits().x)
    rows = []
    for hidden in NETS:
        model = net(hidden)
        starts = [model.init(jax.random.key(seed), x.shape[1:], 10) for seed in seeds]
        found = [expressivity.expressivity(model, p, x) for p in starts]
        bare = [expressivity.expressivity(model, p, x, ones=False).rank for p in starts]
        search = expressivity.expressivity_search(model, x, jax.random.key(100))
        rows.append(
            {
                "rank": [f.rank for f in found],
                "rank_without_ones": bare,
                "margin": [f.margin for f in found],
                "margin_error": [f.tolerance / f.singular_values[0] for f in found],
                "log_det": [f.log_det for f in found],
                "singular_values": found[0].singular_values / found[0].singular_values[0],
                "search_rank": search.found.rank,
                "search_margin": search.found.margin,
                "search_draws": search.draws,
                "search_witness": int(search.how == "witness"),
            }
        )
    column = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    by_seed, unit = ("net", "seed"), "1"
    words = {
        "rank": "numerical rank of [h, 1] at a random start",
        "rank_without_ones": "numerical rank of h",
        "margin": "smallest/largest singular value",
        "margin_error": "rounding: below it a singular value counts as zero",
        "log_det": "ln det(A A^T)",
    }
    found_words = {
        "search_rank": "numerical rank after the search",
        "search_margin": "smallest/largest singular value after the search",
        "search_draws": "parameters tried",
        "search_witness": "whether the constructed witness was needed",
    }
    data = {key: variable(by_seed, column[key], unit, text) for key, text in words.items()}
    data |= {key: variable("net", column[key], unit, text) for key, text in found_words.items()}
    data["singular_values"] = variable(
        ("net", "index"), column["singular_values"], unit, "singular value/largest, first seed"
    )
    return xr.Dataset(
        data,
        {
            "net": [name_of(hidden) for hidden in NETS],
            "seed": list(seeds),
            "index": variable("index", np.arange(1, EXAMPLES + 1), "1", "index"),
        },
    )


def witnesses(lab: Lab) -> xr.Dataset:
    """The constructed parameters of rank n of a net with two layers of one unit."""
    x, model, draws = jnp.asarray(digits().x), net((1, 1, WIDE)), 9
    found = [
        [
            expressivity.expressivity(
                model,
                expressivity.constructed_witness(model, x, jax.random.key(draw), scale=scale),
                x,
            )
            for scale in SCALES
        ]
        for draw in range(draws)
    ]
    dims = ("draw", "scale")
    error = max(EXAMPLES, WIDE + 1) * np.finfo(float).eps
    return xr.Dataset(
        {
            "rank": variable(dims, [[f.rank for f in row] for row in found], "1", "rank"),
            "margin": variable(
                dims,
                [[f.margin for f in row] for row in found],
                "1",
                "smallest/largest singular value",
            ),
            "margin_error": variable((), error, "1", "rounding of the margin"),
        },
        {
            "draw": np.arange(draws),
            "scale": variable("scale", SCALES, "1", "scale of the wide layer"),
        },
    )


def degenerate(lab: Lab) -> xr.Dataset:
    """All parameters at zero, then perturbed: what the almost sure statement needs of float64."""
    x, seeds = jnp.asarray(digits().x), 20 if lab.full else 8
    ranks, margins, at_zero = [], [], []
    for hidden in DEGENERATE:
        model = net(hidden)
        zero = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0), x.shape[1:], 10))
        flat, unravel = ravel_pytree(zero)
        at_zero.append(expressivity.expressivity(model, zero, x).rank)
        found = [
            [
                expressivity.expressivity(
                    model, unravel(noise * jax.random.normal(jax.random.key(s), flat.shape)), x
                )
                for s in range(seeds)
            ]
            for noise in NOISES
        ]
        ranks.append([[f.rank for f in row] for row in found])
        margins.append([[f.margin for f in row] for row in found])
    dims = ("net", "noise", "seed")
    return xr.Dataset(
        {
            "rank_at_zero": variable("net", at_zero, "1", "numerical rank with all at zero"),
            "rank": variable(dims, ranks, "1", "numerical rank after a perturbation"),
            "margin": variable(dims, margins, "1", "smallest/largest singular value"),
        },
        {
            "net": [name_of(hidden) for hidden in DEGENERATE],
            "noise": variable("noise", NOISES, "parameter", "size of the perturbation"),
            "seed": np.arange(seeds),
        },
    )


def resnets(lab: Lab) -> xr.Dataset:
    """Batch-normalised residual nets on images, with a wide dense layer of 1.1 n units."""
    nets, sets = (RESNET_18 if lab.full else STAGES), {}
    pixels = images.digit_images(standardize="none", image=True).inputs
    rows = np.random.default_rng(0).permutation(len(pixels))
    sets["digits"] = pixels if lab.full else pixels[rows[:100]]
    if lab.full and os.environ.get("THALWEG_DATA"):
        sets["MNIST"] = images.mnist(samples=2000, image=True).inputs
    found = {}
    for name, stages in nets.items():
        for data, x in sets.items():
            model = ConvResNet(tuple(Stage(*s) for s in stages), (round(1.1 * len(x)),), ACTIVATION)
            found[f"{name} on {data}"] = expressivity.expressivity_search(
                model, jnp.asarray(x), jax.random.key(0), draws=3, bias_std=0.1
            )
    verdicts = [search.found for search in found.values()]
    return xr.Dataset(
        {
            "examples": variable("case", [v.examples for v in verdicts], "1", "examples n"),
            "rank": variable("case", [v.rank for v in verdicts], "1", "numerical rank of [h, 1]"),
            "margin": variable(
                "case", [v.margin for v in verdicts], "1", "smallest/largest singular value"
            ),
            "margin_error": variable(
                "case",
                [v.tolerance / v.singular_values[0] for v in verdicts],
                "1",
                "rounding of the margin",
            ),
            "draws": variable("case", [s.draws for s in found.values()], "1", "parameters tried"),
        },
        {"case": list(found)},
    )
