"""Whether chains of draws have come to rest: R-hat, effective size, errors of their means."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.sampling import student_factor


def split_r_hat(draws: Float[Array, "n m"]) -> Float[Array, ""]:
    """Rank-normalised split R-hat of m chains of n draws, the larger of bulk and folded.

    1 where the halves of all chains look alike in place and in width; about sqrt(1 + 1/e) where
    each half holds e effective draws.

    Source: Vehtari, Gelman, Simpson, Carpenter and Buerkner (2021).
    """
    half = len(draws) // 2
    halves = jnp.concatenate([draws[:half], draws[-half:]], axis=1)
    folded = jnp.abs(halves - jnp.median(halves))
    return jnp.maximum(_r_hat(_normal_scores(halves)), _r_hat(_normal_scores(folded)))


def _normal_scores(draws: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """Normal quantiles of the ranks; equal draws share their mean rank."""
    flat = draws.ravel()
    sorted_ = jnp.sort(flat)
    low, high = (jnp.searchsorted(sorted_, flat, side=side) for side in ("left", "right"))
    rank = (low + high + 1).astype(draws.dtype) / 2
    scores = jax.scipy.special.ndtri((rank - 0.375) / (flat.size + 0.25))
    return scores.reshape(draws.shape)


def _r_hat(draws: Float[Array, "n m"]) -> Float[Array, ""]:
    n = len(draws)
    within = jnp.mean(jnp.var(draws, axis=0, ddof=1))
    between = jnp.var(jnp.mean(draws, axis=0), ddof=1)
    same = within == 0  # nothing moves: at rest only if all chains are in one place
    ratio = (n - 1) / n + between / jnp.where(same, jnp.ones_like(within), within)
    return jnp.where(same & (between > 0), jnp.inf, jnp.sqrt(jnp.where(same, 1, ratio)))


def chain_mean(draws: Float[Array, "n m"]) -> tuple[Array, Array, Array]:
    """Mean over m independent chains of n draws, its error, and the effective sample size.

    The error is that of a mean of m independent numbers, the chains' own means, so that it needs
    no estimate of how draws hang together: their standard error, widened by `student_factor`. The
    effective size is the number of independent draws that would have that standard error.
    """
    n, m = draws.shape
    means = jnp.mean(draws, axis=0)
    spread = jnp.std(means, ddof=1)
    size = jnp.var(draws) / jnp.where(spread > 0, spread, 1) ** 2 * m
    size = jnp.where(spread > 0, jnp.minimum(size, n * m), n * m)
    return jnp.mean(means), spread * (student_factor(m) / math.sqrt(m)), size
