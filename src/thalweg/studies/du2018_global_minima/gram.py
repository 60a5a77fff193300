"""Experiments on Gram matrices at the start: formulas, infinite widths, and how fast they near."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg import kernels
from thalweg.lab.study import Lab, variable
from thalweg.models import WideNet
from thalweg.models.wide import ARCHITECTURES
from thalweg.problems import supervised

C_RES, WINDOW, DEPTH = 0.5, 3, 3
DENSE = ("fully-connected", "resnet")
CONVOLUTIONAL = "convolutional-resnet"


def unit(shape: Sequence[int], seed: int = 0) -> Float[np.ndarray, "n ..."]:
    """Gaussian examples of norm 1."""
    x = np.random.default_rng(seed).normal(size=shape)
    return x / np.sqrt(np.sum(x**2, axis=tuple(range(1, x.ndim)), keepdims=True))


def examples(architecture: str, seed: int = 0) -> Float[np.ndarray, "n ..."]:
    """Six vectors of 5, or three images of 2 channels and 4 pixels."""
    return unit((3, 2, 4) if architecture == CONVOLUTIONAL else (6, 5), seed)


def limit(
    architecture: str,
    x: Float[np.ndarray, "n ..."],
    depth: int = DEPTH,
    activation: str = "softplus",
) -> kernels.PopulationGram:
    """The population Gram matrices of this study's nets."""
    return kernels.population_gram(architecture, x, depth, activation, c_res=C_RES, window=WINDOW)


def formulas(lab: Lab) -> xr.Dataset:
    """Gram matrices of all layers by Jacobians, that of the last by its formula."""
    draws = 10 if lab.full else 4
    found = [[_formulas(name, seed) for seed in range(draws)] for name in ARCHITECTURES]
    gap, order, positive, least, last = np.moveaxis(np.array(found), 2, 0)
    dims = ("net", "draw")
    return xr.Dataset(
        {
            "formula_gap": variable(dims, gap, "1", "largest error of G^(H) / largest entry"),
            "order": variable(
                dims, order, "1", "least eigenvalue of G - G^(h) over layers / norm of G"
            ),
            "positive": variable(
                dims, positive, "1", "least eigenvalue of G^(h) over layers / norm of G"
            ),
            "smallest": variable(dims, least, "output^2/parameter^2", "least eigenvalue of G"),
            "smallest_last": variable(
                dims, last, "output^2/parameter^2", "least eigenvalue of G^(H)"
            ),
        },
        {"net": list(ARCHITECTURES), "draw": np.arange(draws)},
    )


def _formulas(architecture: str, seed: int) -> tuple[float, ...]:
    x = examples(architecture, seed)
    net = WideNet(architecture, 48, DEPTH, "softplus", C_RES, WINDOW)
    problem = supervised(net, (x, np.zeros((len(x), 1))), reduction="sum")
    params = problem.init(jax.random.key(seed))
    grams = kernels.layer_grams(problem, params)
    G, layers = np.asarray(grams.total), np.asarray(grams.layers)
    last = np.asarray(kernels.last_layer_gram(net, params, problem.inputs))
    gap = np.max(np.abs(layers[-2] - last)) / np.max(np.abs(last))
    norm = np.linalg.norm(G, 2)
    order = np.min(np.linalg.eigvalsh(G - layers)) / norm
    positive = np.min(np.linalg.eigvalsh(layers)) / norm
    return gap, order, positive, np.linalg.eigvalsh(G)[0], np.linalg.eigvalsh(last)[0]


def population(lab: Lab) -> xr.Dataset:
    """What the population Gram matrices must be: norms, means, and examples that are alike."""
    # As many examples as elsewhere, so that nothing is compiled anew.
    x, depths, odd = examples("resnet"), (2, 3, 4), ("tanh", "erf", "sin")
    norms = [
        np.max(np.abs(np.diagonal(level.value) - 1))
        for depth in depths
        for level in limit("fully-connected", x, depth).levels
    ]
    variances = np.diagonal(limit("resnet", x, 4, "tanh").levels[-1].value)
    means = [kernels.gaussian_mean(name, jnp.asarray(variances)) for name in odd]
    twice = [limit(name, _with_last(examples(name), 1)) for name in ARCHITECTURES]
    opposite = [limit(name, _with_last(examples(name), -1), DEPTH, "tanh") for name in DENSE]
    axes = np.concatenate([np.eye(4), -np.eye(4)[:1]])
    relu = np.linalg.eigvalsh(kernels.two_layer_relu_gram(axes).value)
    eigenvalue = "output^2/parameter^2"
    return xr.Dataset(
        {
            "norm_gap": variable((), np.max(norms), "1", "largest |K^(h)_ii - 1|, fully connected"),
            "odd_mean": variable(
                "activation", np.max(np.abs(means), axis=1), "1", "largest mean activity E[s(u)]"
            ),
            "twice": variable(
                "net", _smallest(twice), eigenvalue, "lambda_0 with one example twice"
            ),
            "twice_error": variable("net", _errors(twice), eigenvalue, "its error"),
            "opposite": variable(
                "dense_net", _smallest(opposite), eigenvalue, "lambda_0 with x and -x, tanh"
            ),
            "opposite_error": variable("dense_net", _errors(opposite), eigenvalue, "its error"),
            "opposite_relu": variable(
                "index", relu, eigenvalue, "eigenvalues of H^inf on e_1, ..., e_4, -e_1"
            ),
        },
        {"activation": list(odd), "net": list(ARCHITECTURES), "dense_net": list(DENSE)},
    )


def _with_last(x: Float[np.ndarray, "n ..."], sign: int) -> Float[np.ndarray, "n ..."]:
    """The examples with the last replaced by the first, or by its negative."""
    return np.concatenate([x[:-1], sign * x[:1]])


def depth(lab: Lab) -> xr.Dataset:
    """lambda_0 against the number of layers, on four data sets."""
    depths, data = (2, 3, 4, 5, 6) if lab.full else (2, 3, 4), range(4)
    found = [
        [[limit(name, unit((6, 5), seed), H).smallest for H in depths] for seed in data]
        for name in DENSE
    ]
    value, error = np.moveaxis(np.array([[[r[:2] for r in c] for c in b] for b in found]), 3, 0)
    dims = ("net", "seed", "depth")
    H = np.array(depths)
    return xr.Dataset(
        {
            "smallest": variable(dims, value, "output^2/parameter^2", "lambda_0"),
            "smallest_error": variable(dims, error, "output^2/parameter^2", "error of lambda_0"),
            "relative": variable(dims, value / value[..., :1], "1", "lambda_0 / lambda_0 at H = 2"),
            "square_law": variable("depth", (H[0] / H) ** 2, "1", "(2/H)^2"),
        },
        {
            "net": list(DENSE),
            "seed": np.array(data),
            "depth": variable("depth", H, "1", "hidden layers H"),
        },
    )


def concentration(lab: Lab) -> xr.Dataset:
    """How near G^(H) of random nets is to K^(H), against the width."""
    dense = {64: 400, 256: 120, 1024: 40} | ({4096: 20} if lab.full else {})
    images = {100: 8, 400: 8, 1200: 8} | ({2400: 8} if lab.full else {})
    return distances(dense, images)


def distances(dense: dict[int, int], images: dict[int, int]) -> xr.Dataset:
    """Errors of G^(H) over {width: number of nets}, for the nets without and with pixels."""
    sizes = {name: images if name == CONVOLUTIONAL else dense for name in ARCHITECTURES}
    found = [
        [_distances(name, m, count) for m, count in widths.items()]
        for name, widths in sizes.items()
    ]
    rms, spread, bias = np.moveaxis(np.array(found), 2, 0)
    widths, counts = (
        np.array([list(part(s)) for s in sizes.values()]) for part in (dict.keys, dict.values)
    )
    dims = ("net", "rung")
    return xr.Dataset(
        {
            "rms": variable(dims, rms, "1", "rms of |G^(H)(0) - K^(H)|_F / |K^(H)|_F"),
            "rms_error": variable(dims, spread, "1", "standard error of the rms"),
            "bias": variable(dims, bias, "1", "|mean of G^(H)(0) - K^(H)|_F / |K^(H)|_F"),
            "bias_error": variable(dims, rms / np.sqrt(counts), "1", "its size by chance"),
            "width": variable(dims, widths, "1", "width m"),
            "nets": variable(dims, counts, "1", "number of random nets"),
        },
        {"net": list(ARCHITECTURES)},
    )


def _distances(architecture: str, width: int, count: int) -> tuple[float, float, float]:
    x = examples(architecture)
    net = WideNet(architecture, width, DEPTH, "softplus", C_RES, WINDOW)
    K = np.asarray(limit(architecture, x).gram.value)
    seed = 1 + ARCHITECTURES.index(architecture)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), width), count)
    gaps = (np.asarray(_grams(net, jnp.asarray(x), keys)) - K) / np.linalg.norm(K)
    squares = np.sum(gaps**2, axis=(1, 2))
    rms = float(np.sqrt(np.mean(squares)))
    spread = float(np.std(squares, ddof=1)) / (2 * rms * np.sqrt(count))
    return rms, spread, float(np.linalg.norm(np.mean(gaps, axis=0)))


@eqx.filter_jit
def _grams(net: WideNet, x: Array, keys: Array) -> Float[Array, "nets n n"]:
    def gram(key: Array) -> Array:
        return kernels.last_layer_gram(net, net.init(key, x.shape[1:], 1), x)

    return jax.lax.map(gram, keys)


def _smallest(grams: Sequence[kernels.PopulationGram]) -> list[float]:
    return [float(gram.smallest.value) for gram in grams]


def _errors(grams: Sequence[kernels.PopulationGram]) -> list[float]:
    return [float(gram.smallest.error) for gram in grams]
