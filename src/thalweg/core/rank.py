"""How many directions carry a matrix: ranks that small singular values do not spoil."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike


def rounding_of(numbers: ArrayLike) -> float:
    """The eps of the precision in which numbers came, which a finer one does not mend.

    That of float64 for whole numbers and for lists.
    """
    dtype, fine = np.asarray(numbers).dtype, float(np.finfo(float).eps)
    return max(float(jnp.finfo(dtype).eps), fine) if jnp.issubdtype(dtype, jnp.inexact) else fine


def effective_rank_from(s: Float[Array, "... r"]) -> Float[Array, "..."]:
    """exp(-sum_r p_r log p_r), p_r = s_r / sum s: r for r equal singular values, at least 1.

    Args:
        s: Singular values, at least 0, along the last axis. Zeros add nothing; all zero gives NaN.

    Exact up to rounding. Dimensionless. Source: Roy and Vetterli (2007), definition 1.
    """
    p = s / jnp.sum(s, axis=-1, keepdims=True)
    # A zero adds nothing, a NaN must stay one.
    return jnp.exp(-jnp.sum(p * jnp.log(jnp.where(p == 0, 1, p)), axis=-1))


def stable_rank_from(s: Float[Array, "... r"]) -> Float[Array, "..."]:
    """sum_r s_r^2 / max_r s_r^2 = ||W||_F^2 / ||W||^2: between 1 and the rank.

    Args:
        s: Singular values along the last axis; all zero gives NaN.

    Exact up to rounding. Dimensionless. Source: Rudelson and Vershynin (2007).
    """
    return jnp.sum((s / jnp.max(s, axis=-1, keepdims=True)) ** 2, axis=-1)


def schatten_norm(A: Float[Array, "out in"], p: float) -> Float[Array, ""]:
    """(sum sigma^p)^(1/p): p = 1 is the nuclear norm; for p < 1 no norm but a quasi-norm.

    Args:
        A: A matrix.
        p: Above 0.

    Exact up to rounding (for p < 1 rounding of a vanishing sigma counts as its p-th power).
    """
    return jnp.sum(jnp.linalg.svd(A, compute_uv=False) ** p) ** (1 / p)
