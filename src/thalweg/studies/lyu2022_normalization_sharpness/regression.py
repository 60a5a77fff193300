"""Experiments on linear regression with batch normalisation, whose flow is solved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.core.hessian_product import dense_hessian
from thalweg.core.tree import stacked
from thalweg.driver.path import parameters, paths
from thalweg.dynamics import decayed_descent
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, table
from thalweg.problems import NormalisedRegression
from thalweg.theory.limits import sharpness_reduction as theory

N, D, ETA = 20, 50, 0.1
END = 4.0  # of tau


class Draw(NamedTuple):
    """A regression, a start of norm 1, and what is known of it in closed form."""

    problem: NormalisedRegression
    start: np.ndarray
    target: theory.NormalisedTarget
    rng: np.random.Generator


def draw(seed: int) -> Draw:
    """X ~ N(0, 1), the true weights ~ N(0, 1/d), noise of 0.1, the start: in this order."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, D))
    y = X @ (rng.normal(size=D) / np.sqrt(D)) + 0.1 * rng.normal(size=N)
    w = rng.normal(size=D)
    problem = NormalisedRegression(jnp.asarray(X), jnp.asarray(y))
    return Draw(problem, w / np.linalg.norm(w), theory.normalised_target(X, y), rng)


def gaps(stride: int, pairs: int) -> np.ndarray:
    """Steps between records: pairs of consecutive steps, one pair in so many steps."""
    return np.tile([stride - 1, 1], pairs)


@jax.jit
def sharpnesses(problem: NormalisedRegression, w: jax.Array) -> jax.Array:
    """The spherical sharpness at weights (record, d), from the whole Hessian."""

    def one(w: jax.Array) -> jax.Array:
        hessian = dense_hessian(problem.objective, w / jnp.linalg.norm(w))
        return jnp.linalg.eigvalsh(hessian)[-1]

    return jax.lax.map(one, w)


@jax.jit
def across(problem: NormalisedRegression, middle: jax.Array) -> jax.Array:
    """|d log lambda_1/dv| at directions (pair, d), v the top eigenvector of the Hessian there."""

    def one(theta: jax.Array) -> jax.Array:
        def top(theta: jax.Array) -> jax.Array:
            return jnp.linalg.eigvalsh(dense_hessian(problem.objective, theta))[-1]

        v = jnp.linalg.eigh(dense_hessian(problem.objective, theta))[1][:, -1]
        sharp, slope = jax.jvp(top, (theta,), (v,))
        return jnp.abs(slope) / sharp

    return jax.lax.map(one, middle)


@dataclass(frozen=True)
class Regression:
    """Draws, products of step size and weight decay, and pairs of records."""

    draws: int = 3
    decays: tuple[float, ...] = (1e-3, 2.5e-4)
    pairs: int = 100


@experiment("X2", Regression(), smoke={"draws": 1, "decays": (1e-3,)}, full={"draws": 10})
def regression(lab: Lab, size: Regression) -> xr.Dataset:
    """Descent with weight decay from a random start, in closed form's coordinates."""
    drawn = [draw(seed) for seed in range(size.draws)]
    problems, starts = stacked([at.problem for at in drawn]), np.stack([at.start for at in drawn])

    def one(decay: float) -> xr.Dataset:
        stride = round(END / decay / size.pairs)
        steps = np.concatenate([[0], np.cumsum(gaps(stride, size.pairs))])
        dynamics = decayed_descent(ETA, decay / ETA)
        found = paths(
            dynamics, problems, jnp.asarray(starts), gaps(stride, size.pairs), observe=parameters,
            over=("problem", "params"),
        )  # fmt: skip
        lanes = [
            lane(at, np.asarray(w), steps, decay) for at, w in zip(drawn, found.seen, strict=True)
        ]
        return xr.concat(lanes, "draw", combine_attrs="override")

    return over(one, decay=(size.decays, "1", "step size times weight decay"))


def lane(at: Draw, w: np.ndarray, steps: np.ndarray, decay: float) -> xr.Dataset:
    """One run at its pairs of records; what alternates is kept for both of a pair."""
    # The number 1 - decay is rounded, which its power would tell.
    target, shrunk = at.target, np.exp(steps * np.log1p(-decay))
    null = target.flattest.split(w).null / shrunk[:, None]
    row = np.sum(target.flattest.split(w).row ** 2, axis=1)
    regressor = np.array(jax.vmap(at.problem.regressor)(jnp.asarray(w)))
    tangent = target.tangent(regressor)
    apart = np.linalg.norm(regressor - target.flattest.solution, axis=1) / target.flattest.norm
    rate = theory.effective_rate(ETA, decay / ETA, np.sum(w**2, axis=1))
    edge = rate * np.asarray(sharpnesses(at.problem, jnp.asarray(w)))

    def pairs(values: np.ndarray) -> np.ndarray:
        return values[1:].reshape(-1, 2)

    tau = decay * pairs(steps).mean(axis=1)
    tangents = np.exp(np.log(pairs(tangent)).mean(axis=1))
    late = tau >= 1
    slope = np.polyfit(tau[late], np.log(tangents[late]), 1)[0]
    theta = w[1:] / np.linalg.norm(w[1:], axis=1)[:, None]
    middle = theta.reshape(-1, 2, theta.shape[1]).sum(axis=1)
    middle /= np.linalg.norm(middle, axis=1)[:, None]
    # Near the flattest minimum, whose slope along the others is 0.
    amplitude = np.sqrt(decay * theory.mean_square(0.0))
    alternating = 4 * amplitude * np.asarray(across(at.problem, jnp.asarray(middle)))
    gone = np.linalg.norm(null - null[0], axis=1) / np.linalg.norm(null[0])
    along = {
        "tangent": (tangents, "1", "tan psi"),
        "tangent_theory": (
            tangents[late][0] * np.exp(tau[late][0] - tau), "1", "tan psi ~ exp(-tau), theory"
        ),
        "distance": (pairs(apart).mean(axis=1), "1", "relative distance to the least norm"),
        "sharpness": (pairs(target.sharpness(regressor)).mean(axis=1), "loss", "K ||w_lin||^2"),
        "row": (pairs(row).mean(axis=1), "parameter^2", "||P_row w||^2"),
        "apart": (np.abs(pairs(edge) @ [1, -1]), "1", "rate times sharpness, odd less even steps"),
        "apart_theory": (alternating, "1", "the same, theory"),
        "null_drift": (pairs(gone).max(axis=1), "1", "drift of P_null w/(1 - eta lambda)^k"),
    }  # fmt: skip
    ends = {
        "slope": (slope, "1", "slope of log tan psi against tau in [1, 4]"),
        "least": (target.least_sharpness, "loss", "K ||w*||^2"),
        "row_theory": (target.row_norm_squared(ETA), "parameter^2", "eta K ||w*||^2/2"),
    }
    both = {"edge": (pairs(edge), "1", "rate times spherical sharpness")}
    groups = {"tau": along, "": ends, "tau parity": both}
    nominal = END * np.arange(1, len(tau) + 1) / len(tau)  # of the second of each pair
    return table(groups, tau=(nominal, "1", "tau"), parity=["odd", "even"])


@dataclass(frozen=True)
class Steps:
    """How many steps are looked at one by one, and random minima."""

    steps: int = 500
    minima: int = 10


@experiment("X2-steps", Steps(), smoke={"steps": 100})
def single_steps(lab: Lab, size: Steps) -> xr.Dataset:
    """Each step of descent against projected descent of its direction (E1) and E2."""
    at, decay = draw(0), 1e-2
    dynamics = decayed_descent(ETA, decay / ETA)
    w = np.asarray(paths(dynamics, at.problem, jnp.asarray(at.start), 1, size.steps, over=()).seen)
    squared = np.sum(w**2, axis=1)
    theta = w / np.sqrt(squared)[:, None]
    slope = np.asarray(jax.vmap(jax.grad(at.problem.objective))(jnp.asarray(theta)))
    rate = theory.effective_rate(ETA, decay / ETA, squared)
    moved = (theta - rate[:, None] * slope)[:-1]
    moved /= np.linalg.norm(moved, axis=1)[:, None]
    expected = theory.next_inverse_square(rate, np.sum(slope**2, axis=1), decay)[:-1]
    found = {
        "turned": (np.linalg.norm(theta[1:] - moved, axis=1), "1", "direction off E1"),
        "rated": (np.abs(rate[1:] ** -2.0 / expected - 1), "1", "1/rate^2 off E2, relative"),
    }
    return table({"step": found}, step=range(1, size.steps + 1))


@experiment("X2-minima", Draws(10), smoke={"draws": 3}, full={"draws": 100})
def minima(lab: Lab, size: Draws) -> xr.Dataset:
    """The Hessian at random minima against the closed form."""
    at = draw(0)
    rng = np.random.default_rng(100)
    regressors = at.target.flattest.descent_limit(rng.normal(size=(size.draws, D)))
    theta = regressors / np.linalg.norm(regressors, axis=1)[:, None]
    values = np.array(
        [np.linalg.eigvalsh(dense_hessian(at.problem.objective, jnp.asarray(t))) for t in theta]
    )
    found = {
        "sharpness": (values[:, -1], "loss", "largest Hessian eigenvalue"),
        "sharpness_theory": (at.target.sharpness(regressors), "loss", "K ||w_lin||^2"),
        "rank": (np.sum(values > 1e-10 * values[:, -1:], axis=1) * 1.0, "1", "rank of the Hessian"),
    }
    return table({"draw": found}, draw=range(size.draws))
