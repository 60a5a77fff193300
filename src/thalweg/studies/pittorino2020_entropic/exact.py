"""Experiments whose answers are exact: quadratics, and a net whose units are rescaled."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.driver.path import path
from thalweg.dynamics import entropy_sgd, replicated_sgd
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import table
from thalweg.models import mlp
from thalweg.probes import local_energy, local_entropy, measure
from thalweg.problems import Function, digits
from thalweg.theory.landscape import entropic_quadratics as theory

H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 0.5]])
POINTS = np.array([[0.3, -0.2, 0.4], [1.0, -1.0, 0.5]])
BETA, GAMMA = 2.0, 3.0
SCALAR, HELD, INNER_RATE, INNER_NOISE = 0.9, 0.7, 0.1, 0.3


def bowl(w: np.ndarray) -> Function:
    """The quadratic w^T H w/2, from a start."""
    return Function(lambda x: x @ jnp.asarray(H) @ x / 2, start=jnp.asarray(w))


def gibbs_pull(w: np.ndarray, side: int = 81, reach: float = 4.0) -> np.ndarray:
    """Gamma (w - <w'>) by a grid of side^3 points about w."""
    axis = np.linspace(-reach, reach, side)
    x = w + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    energy = np.einsum("ni,ij,nj->n", x, H, x) / 2 + GAMMA / 2 * np.sum((x - w) ** 2, axis=1)
    weight = np.exp(-BETA * (energy - energy.min()))
    return GAMMA * (w - weight @ x / weight.sum())


def gaussian_average(w: np.ndarray, draws: int, seed: int) -> float:
    """Log of the mean of exp(-beta f) over normal draws of covariance I/(beta gamma)."""
    rng = np.random.default_rng(seed)
    x = w + rng.normal(size=(draws, 3)) / np.sqrt(BETA * GAMMA)
    return float(np.log(np.mean(np.exp(-BETA / 2 * np.sum((x @ H) * x, axis=1)))))


@dataclass(frozen=True)
class Entropies:
    """Gaussian draws, and draws of a chain in the thermodynamic integration."""

    draws: int = 2_000_000
    kept: int = 400


@experiment("X1", Entropies(), smoke={"draws": 500_000, "kept": 100})
def entropies(lab: Lab, size: Entropies) -> xr.Dataset:
    """Gradient and value of the local entropy, by three ways each other than the formula."""
    rows = []
    probe = local_entropy(BETA, GAMMA, draws=size.kept)
    for seed, w in enumerate(POINTS):
        found = measure(bowl(w), jnp.asarray(w), probe, seed)
        here = BETA * float(w @ H @ w) / 2
        rows.append(
            (
                np.abs(gibbs_pull(w) - theory.quadratic_entropy_gradient(H, w, GAMMA)).max(),
                gaussian_average(w, size.draws, seed),
                float(found.value) - here,
                float(found.error),
                theory.quadratic_local_entropy(H, w, BETA, GAMMA),
            )
        )
    off, mean, integral, error, exact = np.array(rows).T
    return table(
        {
            "point": {
                "gradient_off": (off, "loss/parameter", "largest entry of the gradient's error"),
                "mean": (mean, "nat", "log of a Gaussian average"),
                "integral": (integral, "nat", "local entropy by thermodynamic integration"),
                "integral_error": (error, "nat", "its error"),
                "exact": (exact, "nat", "local entropy by its formula"),
            }
        },
        point=["near", "far"],
    )


def one_step(
    inner_steps: int, start: np.ndarray, noise: float, averaging: float = 0.75, law: str = "paper"
) -> np.ndarray:
    """W after a whole step of Entropy-SGD on h w^2/2: the mean mu of its inner loop."""
    problem = Function(lambda w: SCALAR / 2 * jnp.sum(w**2), start=jnp.asarray(start))
    dynamics = entropy_sgd(
        1.0, inner_steps=inner_steps, inner_rate=INNER_RATE, averaging=averaging, noise=noise,
        momentum=0.0, coupling=HELD, factor=1.0, convention=law,
    )  # fmt: skip
    return np.asarray(path(dynamics, problem, jnp.asarray(start), 1, 1).seen[-1])


@experiment("X2", Draws(200_000), smoke={"draws": 200_000}, full={"draws": 1_000_000})
def inner_loop(lab: Lab, size: Draws) -> xr.Dataset:
    """What the inner loop leaves: its mean without noise, its variance with noise."""
    counts = (5, 500)
    kept = [1 - one_step(L, np.ones(1), 0.0)[0] for L in counts]
    exact = [theory.averaged_step(SCALAR, HELD, L, 0.75, INNER_RATE) for L in counts]
    conventions = list(theory.CONVENTIONS)
    variances = [
        np.var(one_step(40, np.zeros(size.draws), INNER_NOISE, 0.0, c)) for c in conventions
    ]
    laws = [theory.inner_variance(SCALAR, HELD, INNER_RATE, INNER_NOISE, c) for c in conventions]
    return table(
        {
            "steps": {
                "moved": (kept, "1", "1 - mu after one inner loop"),
                "moved_theory": (exact, "1", "1 - mu by its formula"),
            },
            "convention": {
                "variance": (variances, "parameter^2", "variance of the inner chain"),
                "variance_theory": (laws, "parameter^2", "stationary variance"),
            },
        },
        steps=(list(counts), "1", "inner steps"),
        convention=conventions,
    )


@dataclass(frozen=True)
class Energies:
    """Pairs of draws, and of a net's perturbations."""

    pairs: int = 200_000
    perturbations: int = 20


@experiment("X3", Energies(), smoke={"pairs": 50_000, "perturbations": 3})
def energies(lab: Lab, size: Energies) -> xr.Dataset:
    """Local energy of a quadratic, and of a net before and after its units are rescaled."""
    w = POINTS[1]
    found = measure(bowl(w), jnp.asarray(w), local_energy((0.3,), size.pairs, "loss", pairs=True))
    problem = digits(mlp([20, 10], "relu"), samples=100)
    params = problem.init(jax.random.key(0))
    c = jnp.exp(jax.random.normal(jax.random.key(1), (20,)))
    first, second, *rest = params
    other = [
        {"weight": first["weight"] * c[:, None], "bias": first["bias"] * c},
        {**second, "weight": second["weight"] / c[None]},
        *rest,
    ]
    apart = {"multiplicative": 0.0, "additive": 0.0}
    for key in jax.random.split(jax.random.key(2), size.perturbations):
        z = jax.tree.map(
            lambda a, key=key: jax.random.normal(jax.random.fold_in(key, a.size), a.shape), params
        )
        for noise in apart:
            outputs = [
                problem.outputs(
                    jax.tree.map(
                        lambda a, z, by=noise: a + 0.3 * z * (a if by == "multiplicative" else 1.0),
                        at,
                        z,
                    )
                )
                for at in (params, other)
            ]
            apart[noise] = max(apart[noise], float(jnp.max(jnp.abs(outputs[0] - outputs[1]))))
    return table(
        {
            "": {
                "rise": (float(found.value[0]), "loss", "local energy at sigma 0.3"),
                "rise_error": (float(found.error[0]), "loss", "its error"),
                "rise_theory": (theory.quadratic_local_energy(H, w, 0.3), "loss", "by formula"),
            },
            "noise": {
                "apart": (list(apart.values()), "output", "change of outputs by rescaling"),
            },
        },
        noise=list(apart),
    )


@dataclass(frozen=True)
class Copies:
    """Steps that are followed."""

    steps: int = 50


@experiment("X4", Copies())
def copies(lab: Lab, size: Copies) -> xr.Dataset:
    """Replicated-SGD on a quadratic, coupled and not, beside linear algebra."""
    eta, starts = 0.05, np.random.default_rng(0).normal(size=(4, 3))
    couplings, rows = (0.8, 0.0), []
    for gamma in couplings:
        dynamics = replicated_sgd(
            eta, replicas=4, momentum=0.0, coupling=gamma, factor=1.0, starts=jnp.asarray(starts)
        )
        seen = path(
            dynamics, bowl(starts[0]), jnp.asarray(starts[0]), 1, size.steps,
            observe=lambda problem, state: (state.params, state.memory.replicas),
        ).seen  # fmt: skip
        centre, replicas = map(np.asarray, seen)
        mean, rest, off = starts.mean(axis=0), starts - starts.mean(axis=0), [0.0, 0.0]
        for k in range(size.steps):
            mean, rest = mean - eta * H @ mean, rest - eta * (rest @ H + gamma * rest)
            off[0] = max(off[0], float(np.abs(centre[k + 1] - mean).max()))
            off[1] = max(off[1], float(np.abs(replicas[k + 1] - centre[k + 1] - rest).max()))
        rows.append(off)
    centre_off, rest_off = np.array(rows).T
    return table(
        {
            "coupling": {
                "centre_off": (centre_off, "parameter", "barycentre off plain descent"),
                "rest_off": (rest_off, "parameter", "deviations off their linear law"),
            }
        },
        coupling=(list(couplings), "loss/parameter^2", "coupling"),
    )
