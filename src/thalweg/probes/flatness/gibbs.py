"""Draws about a point of exp(-t (f(theta + x) - f(theta)) - g/2 ||x||^2), and whether they rest.

t is the inverse temperature, g the localisation: what the local entropy and the local learning
coefficient are means of. The chains are Hamiltonian and Metropolis-adjusted, so that no step size
leaves a bias; what can be wrong is that they have not come to rest. That is seen three ways:

- R-hat of f and of ||x||^2 over half-chains (`thalweg.core.convergence`), at most `MOST_R_HAT`;
- the effective number of draws of f, at least `LEAST_DRAWS`;
- the virial theorem, E <x, t grad f(theta + x) + g x> = p whatever f is: the mean over the chains
  must be within `VIRIAL_ERRORS` errors of the number of parameters.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.convergence import chain_mean, split_r_hat
from thalweg.core.doors import Checked
from thalweg.core.errors import require
from thalweg.core.hamiltonian import hamiltonian_chains
from thalweg.core.result import Reading, Result, finite
from thalweg.core.tree import Params
from thalweg.probes.flatness.measure import FlatnessMeasure
from thalweg.problems.problem import Problem

MOST_R_HAT, LEAST_DRAWS, VIRIAL_ERRORS = 1.05, 100.0, 4.0


class Sampler(Checked):
    """How many draws are made.

    Attributes:
        chains: Side by side, independent of each other; at least 4, for an error.
        draws: Of each chain that are kept.
        warm_up: Of each chain before them; None for as many.
        most_leaps: Leapfrog steps, a gradient each, in a draw at most.
    """

    chains: int = eqx.field(static=True, default=16)
    draws: int = eqx.field(static=True, default=200)
    warm_up: int | None = eqx.field(static=True, default=None)
    most_leaps: int = eqx.field(static=True, default=128)

    def __check_init__(self) -> None:
        require(self.chains >= 4, f"chains came as {self.chains}; give at least 4, for an error")
        require(self.draws >= 8, f"draws came as {self.draws}; give at least 8, for R-hat")
        early = self.warm_up is None or self.warm_up >= 1
        require(early, f"warm_up came as {self.warm_up}; give at least 1, or None for `draws`")
        require(self.most_leaps >= 1, f"most_leaps came as {self.most_leaps}; give at least 1")


class OfChains(FlatnessMeasure):
    """A measure that is refused where chains have not come to rest."""

    def says(self, result: Result) -> str:
        if result is not Result.NOT_CONVERGED:
            return super().says(result)
        return (
            "not converged: the chains have not come to rest; give more draws or leaps, or hold "
            "them closer to the point"
        )


class Gibbs(NamedTuple):
    """What chains about a point saw.

    Attributes:
        rise: Mean and error of t (f(theta + x) - f(theta)).
        pull: Mean and error of <x, t grad f(theta + x)>.
        distance: Mean of ||x||^2.
        r_hat: The larger R-hat, of f and of ||x||^2.
        size: Effective number of draws of f.
        virial: How many of its errors <x, t grad f + g x> is off the number of parameters.
        rested: Whether the three checks pass.
        accepted: Share of proposals.
        gradients: Spent by all chains.
    """

    rise: tuple[Float[Array, ""], Float[Array, ""]]
    pull: tuple[Float[Array, ""], Float[Array, ""]]
    distance: Float[Array, ""]
    r_hat: Float[Array, ""]
    size: Float[Array, ""]
    virial: Float[Array, ""]
    rested: Bool[Array, ""]
    accepted: Float[Array, ""]
    gradients: Int[Array, ""]


def gibbs_means(
    problem: Problem,
    params: Params,
    key: Array,
    inverse_temperature: Float[Array, ""],
    localisation: Float[Array, ""],
    sampler: Sampler,
) -> Gibbs:
    """Means over the density of this module's head, by chains that begin at the parameters."""
    theta, unravel = ravel_pytree(params)
    t, g = inverse_temperature.astype(theta.dtype), localisation.astype(theta.dtype)
    here = problem.objective(params)

    def potential(x: Float[Array, " p"]) -> Float[Array, ""]:
        return t * (problem.objective(unravel(theta + x)) - here) + g / 2 * (x @ x)

    def observe(x: Array, u: Array, slope: Array) -> tuple[Array, Array, Array]:
        squared = jnp.sum(x * x, axis=1)
        return u - g / 2 * squared, squared, jnp.sum(x * slope, axis=1)

    # The widest scale is 1/sqrt(g), along which the objective is flat; a quarter of its period.
    chains = hamiltonian_chains(
        potential,
        jnp.zeros((sampler.chains, theta.size), theta.dtype),
        key,
        length=math.pi / 2 / jnp.sqrt(g),
        draws=sampler.draws,
        warm_up=sampler.draws if sampler.warm_up is None else sampler.warm_up,
        most_leaps=sampler.most_leaps,
        observe=observe,
    )
    rise, squared, virial = chains.seen
    mean, error, size = chain_mean(rise)
    pull, pull_error, _ = chain_mean(virial - g * squared)
    whole, whole_error, _ = chain_mean(virial)
    off = jnp.abs(whole - theta.size) / jnp.where(whole_error > 0, whole_error, 1)
    off = jnp.where(whole_error > 0, off, jnp.inf)
    r_hat = jnp.maximum(split_r_hat(rise), split_r_hat(squared))
    rested = (r_hat <= MOST_R_HAT) & (size >= LEAST_DRAWS) & (off <= VIRIAL_ERRORS)
    return Gibbs(
        (mean, error),
        (pull, pull_error),
        jnp.mean(squared),
        r_hat,
        size,
        off,
        rested,
        chains.accepted,
        chains.gradients,
    )


def refused(value: Array, error: Array, rested: Array, here: Array) -> Reading:
    """A reading that gives no number where the chains have not come to rest."""
    code = jnp.where(rested, int(Result.OK), int(Result.NOT_CONVERGED)).astype(jnp.int32)
    code = jnp.maximum(code, finite(here))
    good = code == int(Result.OK)
    return Reading(jnp.where(good, value, jnp.nan), jnp.where(good, error, jnp.inf), code)
