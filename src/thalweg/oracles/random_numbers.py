"""Random numbers for many steps at once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def normals(key: Array, shape: tuple[int, ...], dtype: Any) -> Float[Array, "..."]:
    """Standard normal numbers of 24 bits, two from every 64 random bits.

    `jax.random.normal` spends 64 bits on each number, and twice the time: on a CPU drawing is most
    of the cost of a noisy step. Moments are right to 1e-7; no number lies beyond 5.5.

    Args:
        key: A random key.
        shape: Of what is drawn.
        dtype: Of what is returned.

    Examples:
        >>> from thalweg.oracles.random_numbers import normals
        >>> drawn = normals(jax.random.key(0), (100_000,), jnp.float64)
        >>> bool(abs(drawn.mean()) < 0.02 and abs(drawn.var() - 1) < 0.02)
        True
    """
    count = 1
    for length in shape:
        count *= length
    words = jax.lax.bitcast_convert_type(
        jax.random.bits(key, (-(-count // 2),), jnp.uint64), jnp.uint32
    )
    # The middle of one of 2^24 cells of (-1, 1): never an end, so that no number is infinite.
    cells = (words.reshape(-1)[:count] >> 8).astype(jnp.float32)
    middle = cells * jnp.float32(2**-23) + jnp.float32(2**-24 - 1)
    drawn = jnp.float32(2**0.5) * jax.lax.erf_inv(middle)
    return drawn.reshape(shape).astype(dtype)
