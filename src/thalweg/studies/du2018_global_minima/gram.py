"""Experiments on Gram matrices at the start: formulas, infinite widths, and how fast they near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg import kernels
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, table, variable
from thalweg.models import WideNet
from thalweg.models.wide import ARCHITECTURES
from thalweg.problems import supervised

C_RES, WINDOW, DEPTH = 0.5, 3, 3
DENSE = ("fully-connected", "resnet")
CONVOLUTIONAL = "convolutional-resnet"
EIGENVALUE = "output^2/parameter^2"


def unit(shape: Sequence[int], seed: int = 0) -> Float[np.ndarray, "n ..."]:
    """Gaussian examples of norm 1."""
    x = np.random.default_rng(seed).normal(size=shape)
    return x / np.sqrt(np.sum(x**2, axis=tuple(range(1, x.ndim)), keepdims=True))


def examples(net: str, seed: int = 0) -> Float[np.ndarray, "n ..."]:
    """Six vectors of 5, or three images of 2 channels and 4 pixels."""
    return unit((3, 2, 4) if net == CONVOLUTIONAL else (6, 5), seed)


def limit(
    net: str, x: Float[np.ndarray, "n ..."], depth: int = DEPTH, activation: str = "softplus"
) -> kernels.PopulationGram:
    """The population Gram matrices of this study's nets."""
    return kernels.population_gram(net, x, depth, activation, c_res=C_RES, window=WINDOW)


@experiment("X1-formulas", Draws(4), smoke={"draws": 1}, full={"draws": 10})
def formulas(lab: Lab, size: Draws) -> xr.Dataset:
    """Gram matrices of all layers by Jacobians, that of the last by its formula."""
    return over(_formulas, net=ARCHITECTURES, draw=range(size.draws))


def _formulas(net: str, draw: int) -> xr.Dataset:
    x = examples(net, draw)
    model = WideNet(net, 48, DEPTH, "softplus", C_RES, WINDOW)
    problem = supervised(model, (x, np.zeros((len(x), 1))), reduction="sum")
    params = problem.init(jax.random.key(draw))
    grams = kernels.layer_grams(problem, params)
    G, layers = np.asarray(grams.total), np.asarray(grams.layers)
    last = np.asarray(kernels.last_layer_gram(model, params, problem.inputs))
    gap = np.max(np.abs(layers[-2] - last)) / np.max(np.abs(last))
    norm = np.linalg.norm(G, 2)
    order = np.min(np.linalg.eigvalsh(G - layers)) / norm
    least = np.min(np.linalg.eigvalsh(layers)) / norm
    all_layers, last_alone = np.linalg.eigvalsh(G)[0], np.linalg.eigvalsh(last)[0]
    numbers = {
        "formula_gap": (gap, "1", "largest error of G^(H) / largest entry"),
        "order": (order, "1", "least eigenvalue of G - G^(h) over layers / norm of G"),
        "positive": (least, "1", "least eigenvalue of G^(h) over layers / norm of G"),
        "smallest": (all_layers, EIGENVALUE, "least eigenvalue of G"),
        "smallest_last": (last_alone, EIGENVALUE, "least eigenvalue of G^(H)"),
    }
    return table({"": numbers})


@experiment("X1-population")
def population(lab: Lab) -> xr.Dataset:
    """What the population Gram matrices must be: norms, means, and examples that are alike."""
    # As many examples as elsewhere, so that nothing is compiled anew.
    x, odd = examples("resnet"), ("tanh", "erf", "sin")
    norms = [
        np.max(np.abs(np.diagonal(level.value) - 1))
        for depth in (2, 3, 4)
        for level in limit("fully-connected", x, depth).levels
    ]
    variances = np.diagonal(limit("resnet", x, 4, "tanh").levels[-1].value)
    means = [kernels.gaussian_mean(name, jnp.asarray(variances)) for name in odd]
    twice, opposite = (
        list(zip(*readings, strict=True))
        for readings in (
            [limit(n, _with_last(examples(n), 1)).smallest for n in ARCHITECTURES],
            [limit(n, _with_last(examples(n), -1), DEPTH, "tanh").smallest for n in DENSE],
        )
    )
    axes = np.concatenate([np.eye(4), -np.eye(4)[:1]])
    relu = np.linalg.eigvalsh(kernels.two_layer_relu_gram(axes).value)
    mean = np.max(np.abs(means), axis=1)
    groups = {
        "": {"norm_gap": (np.max(norms), "1", "largest |K^(h)_ii - 1|, fully connected")},
        "activation": {"odd_mean": (mean, "1", "largest mean activity E[s(u)]")},
        "net": {
            "twice": (twice[0], EIGENVALUE, "lambda_0 with one example twice"),
            "twice_error": (twice[1], EIGENVALUE, "its error"),
        },
        "dense_net": {
            "opposite": (opposite[0], EIGENVALUE, "lambda_0 with x and -x, tanh"),
            "opposite_error": (opposite[1], EIGENVALUE, "its error"),
        },
        "index": {"opposite_relu": (relu, EIGENVALUE, "eigenvalues of H^inf on e_1 to e_4, -e_1")},
    }
    return table(groups, activation=odd, net=ARCHITECTURES, dense_net=DENSE)


def _with_last(x: Float[np.ndarray, "n ..."], sign: int) -> Float[np.ndarray, "n ..."]:
    """The examples with the last replaced by the first, or by its negative."""
    return np.concatenate([x[:-1], sign * x[:1]])


@dataclass(frozen=True)
class Depths:
    """Numbers H of hidden layers, the smallest first; data sets."""

    depths: tuple[int, ...]
    seeds: int = 4


@experiment("X1-depth", Depths((2, 3, 4)), smoke={"seeds": 2}, full={"depths": (2, 3, 4, 5, 6)})
def depth(lab: Lab, size: Depths) -> xr.Dataset:
    """lambda_0 against the number of layers, on several data sets."""

    def one(net: str, seed: int) -> xr.Dataset:
        found = [limit(net, unit((6, 5), seed), H).smallest for H in size.depths]
        value, error = (np.array(part) for part in list(zip(*found, strict=True))[:2])
        values = {
            "smallest": (value, EIGENVALUE, "lambda_0"),
            "smallest_error": (error, EIGENVALUE, "error of lambda_0"),
            "relative": (value / value[0], "1", "lambda_0 / lambda_0 at H = 2"),
        }
        return table({"depth": values}, depth=(size.depths, "1", "hidden layers H"))

    found = over(one, net=DENSE, seed=range(size.seeds))
    law = (size.depths[0] / found["depth"].values) ** 2
    return found.assign(square_law=variable("depth", law, "1", "(2/H)^2"))


@dataclass(frozen=True)
class Nets:
    """Pairs of a width and a number of random nets, without and with pixels."""

    dense: tuple[tuple[int, int], ...]
    images: tuple[tuple[int, int], ...]


DENSE_NETS = ((64, 400), (256, 120), (1024, 40))
IMAGE_NETS = ((100, 8), (400, 8), (1200, 8))


@experiment(
    "X1",
    Nets(DENSE_NETS, IMAGE_NETS),
    smoke={"dense": ((64, 120), (256, 40)), "images": ((32, 8), (64, 8))},
    full={"dense": (*DENSE_NETS, (4096, 20)), "images": (*IMAGE_NETS, (2400, 8))},
)
def concentration(lab: Lab, size: Nets) -> xr.Dataset:
    """How near G^(H) of random nets is to K^(H), against the width."""
    limits = {net: np.asarray(limit(net, examples(net)).gram.value) for net in ARCHITECTURES}

    def one(net: str, rung: int) -> xr.Dataset:
        width, count = (size.images if net == CONVOLUTIONAL else size.dense)[rung]
        return _distance(net, limits[net], width, count)

    return over(one, net=ARCHITECTURES, rung=range(len(size.dense))).drop_vars("rung")


def _distance(net: str, K: Float[np.ndarray, "n n"], width: int, count: int) -> xr.Dataset:
    x, model = examples(net), WideNet(net, width, DEPTH, "softplus", C_RES, WINDOW)
    seed = 1 + ARCHITECTURES.index(net)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), width), count)
    gaps = (np.asarray(_grams(model, jnp.asarray(x), keys)) - K) / np.linalg.norm(K)
    squares = np.sum(gaps**2, axis=(1, 2))
    rms = np.sqrt(np.mean(squares))
    spread = np.std(squares, ddof=1) / (2 * rms * np.sqrt(count))
    bias = np.linalg.norm(np.mean(gaps, axis=0))
    numbers = {
        "rms": (rms, "1", "rms of |G^(H)(0) - K^(H)|_F / |K^(H)|_F"),
        "rms_error": (spread, "1", "standard error of the rms"),
        "bias": (bias, "1", "|mean of G^(H)(0) - K^(H)|_F / |K^(H)|_F"),
        "bias_error": (rms / np.sqrt(count), "1", "its size by chance"),
        "width": (width, "1", "width m"),
        "nets": (count, "1", "number of random nets"),
    }
    return table({"": numbers})


@eqx.filter_jit
def _grams(model: WideNet, x: Array, keys: Array) -> Float[Array, "nets n n"]:
    def gram(key: Array) -> Array:
        return kernels.last_layer_gram(model, model.init(key, x.shape[1:], 1), x)

    return jax.lax.map(gram, keys)
