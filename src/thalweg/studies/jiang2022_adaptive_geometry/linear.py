"""Experiments of adaptive geometry on the two-layer linear net, where theory is sharp."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.typing import ArrayLike
from jaxtyping import Array

from thalweg.comparison.equal_loss import records_at
from thalweg.curvature import diagonal, hessian
from thalweg.dynamics import optax_dynamics
from thalweg.dynamics.dynamics import Discrete
from thalweg.lab.study import Lab, variable
from thalweg.models import layer_weights
from thalweg.problems.linear_targets import DeepLinear, deep_linear_params
from thalweg.theory.landscape import adaptive_geometry

OPTIMISERS = ("SGD with momentum", "Adam")
SIZES = (16, 64, 128)
SEEDS = 5
RECORDS, EVERY = 300, 5  # 1500 steps, measured at every fifth
FRACTIONS = (0.5, 0.01)
EPSILONS = (1e-8, 1e-4, 1e-2, 1e-1)
LAYERS = [1, 2]


class Start(NamedTuple):
    """A target and the weights that a net starts from."""

    a: ArrayLike
    W1: ArrayLike
    W2: ArrayLike


class Path(NamedTuple):
    """The records of a run, and the end of it."""

    loss: Array
    ratios: Array
    second_share: Array


def draw(d: int, seed: int, scale: float = 1e-4) -> Start:
    """|a_j| uniform in [0.5, 1.5] with random signs; weights N(0, scale^2/d)."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(0.5, 1.5, d) * rng.choice([-1, 1], d)
    std = scale / np.sqrt(d)
    return Start(a, std * rng.normal(size=(d, d)), std * rng.normal(size=(1, d)))


def optimiser(name: str, d: int, epsilon: float = 1e-8) -> Discrete:
    """One of the two optimisers, with its step size for width d."""
    if name == "Adam":
        rate = 1e-3 / d**0.5
        return optax_dynamics(optax.adam(rate, b1=0.9, b2=0.9, eps=epsilon), rate, name)
    rate = 0.002 / d**0.5
    return optax_dynamics(optax.sgd(rate, momentum=0.9), rate, name)


@eqx.filter_jit
def follow(dynamics: Discrete, starts: Start) -> Path:
    """Train from every start at once; axes (seed, record, layer)."""

    def one(start: Start) -> Path:
        problem = DeepLinear(jnp.asarray(start.a)[None])
        key = jax.random.key(0)  # neither optimiser draws anything

        def told(state: Any) -> tuple[Array, Array]:
            ratios = adaptive_geometry.white_ratios(*layer_weights(state.params))
            return problem.objective(state.params), ratios

        def record(state: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
            def step(_: Array, state: Any) -> Any:
                return dynamics.step(problem, state, key)[0]

            return jax.lax.fori_loop(0, EVERY, step, state), told(state)

        first = dynamics.init(problem, deep_linear_params([start.W1, start.W2]))
        last, (loss, ratios) = jax.lax.scan(record, first, None, length=RECORDS + 1)
        W1 = layer_weights(last.params)[0]
        return Path(loss, ratios, adaptive_geometry.singular_vector_uniformity(W1).second_share)

    return jax.vmap(one)(starts)


def linear_net(lab: Lab) -> xr.Dataset:
    """X1: both optimisers from the same small starts, sizes and seeds side by side."""
    sizes = (*SIZES, 256, 512) if lab.full else SIZES
    seeds = 20 if lab.full else SEEDS
    return xr.concat([_of_size(d, seeds) for d in sizes], "d")


def _of_size(d: int, seeds: int) -> xr.Dataset:
    starts = _stacked([draw(d, seed) for seed in range(seeds)])
    paths = _stacked([follow(optimiser(name, d), starts) for name in OPTIMISERS])
    loss = paths.loss / paths.loss[:, :, :1]
    at = np.array([[records_at(c, FRACTIONS, "first-at-most") for c in seed] for seed in loss])
    ratios = np.take_along_axis(paths.ratios, at[..., None], axis=2)
    matched = np.where(at[..., None] >= 0, ratios, np.nan)
    steps = np.where(at >= 0, EVERY * at, np.nan)
    predicted = jax.vmap(adaptive_geometry.predicted_ratio)(starts.W1, starts.W2, starts.a)
    run, what = ("optimiser", "seed"), "R_med, largest over median entry"
    return xr.Dataset(
        {
            "loss": variable((*run, "step"), loss, "1", "loss / first loss"),
            "ratio": variable((*run, "step", "layer"), paths.ratios, "1", what),
            "matched_ratio": variable((*run, "fraction", "layer"), matched, "1", what),
            "matched_step": variable((*run, "fraction"), steps, "1", "first step there"),
            "predicted": variable("seed", predicted, "1", "R_pred from the start alone"),
            "predicted_mean": variable((), np.mean(predicted[:SEEDS]), "1", "mean of R_pred"),
            "second_share": variable(
                run, paths.second_share, "1", "sigma_2/sigma_1 of W_1 after training"
            ),
        },
        {
            "d": d,
            "optimiser": list(OPTIMISERS),
            "seed": np.arange(seeds),
            "step": variable("step", EVERY * np.arange(RECORDS + 1), "1", "steps taken"),
            "fraction": list(FRACTIONS),
            "layer": LAYERS,
        },
    )


def hessian_diagonals(lab: Lab) -> xr.Dataset:
    """X1-hessian: E2 beside the diagonal of the Hessian by differentiation, correlated inputs."""
    d, draws = 8, 20 if lab.full else 5
    measured, theory = [], []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        W1, W2, a = (jnp.asarray(rng.normal(size=shape)) for shape in ((d, d), (1, d), (1, d)))
        X = rng.normal(size=(d, 20))
        correlation = jnp.asarray(X @ X.T / 20)
        operator = hessian(DeepLinear(a, correlation), deep_linear_params([W1, W2]))
        measured.append(diagonal(operator, jax.random.key(0), method="exact").value)
        formula = adaptive_geometry.two_layer_diagonals(W1, W2, correlation)
        theory.append(np.concatenate([np.ravel(part) for part in formula]))
    dims, unit = ("draw", "entry"), "loss/parameter^2"
    return xr.Dataset(
        {
            "diagonal": variable(dims, measured, unit, "diagonal entry of the Hessian"),
            "diagonal_theory": variable(dims, theory, unit, "diagonal entry by E2"),
        }
    )


def expectation(lab: Lab) -> xr.Dataset:
    """X1-expectation: the mean of R_pred over Gaussian starts, by Monte Carlo."""
    sizes = np.array([16, 32, 50, 64, 100, 128, 256, 512])
    draws = 200_000 if lab.full else 20_000
    found = [adaptive_geometry.expected_ratio(int(d), draws) for d in sizes]
    mean, error = np.array(found).T
    limit = [adaptive_geometry.asymptotic_ratio(int(d)) for d in sizes]
    return xr.Dataset(
        {
            "mean": variable("d", mean, "1", "mean of R_pred over random starts"),
            "mean_error": variable("d", error, "1", "standard error of the mean"),
            "limit": variable("d", limit, "1", "leading term 2 ln d / 0.4549"),
        },
        {"d": variable("d", sizes, "1", "hidden units d")},
    )


def adam_epsilon(lab: Lab) -> xr.Dataset:
    """X1-epsilon: Adam at d = 32 with growing epsilon."""
    d, seeds = 32, 20 if lab.full else SEEDS
    starts = _stacked([draw(d, seed) for seed in range(seeds)])
    paths = _stacked([follow(optimiser("Adam", d, epsilon), starts) for epsilon in EPSILONS])
    along = ("epsilon", "seed", "step")
    loss = paths.loss / paths.loss[:, :, :1]
    return xr.Dataset(
        {
            "loss": variable(along, loss, "1", "loss / first loss"),
            "ratio": variable(along, paths.ratios[..., 0], "1", "R_med of the first layer"),
        },
        {
            "epsilon": list(EPSILONS),
            "seed": np.arange(seeds),
            "step": variable("step", EVERY * np.arange(RECORDS + 1), "1", "steps taken"),
        },
    )


def _stacked(trees: list[Any]) -> Any:
    """Trees of arrays as one, along a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
