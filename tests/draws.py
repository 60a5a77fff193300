"""Eager draws of all shapes by a few programs.

A draw of each shape is a program of its own, a third of a second to compile. Under JAX's
partitionable counter the n-th number depends on the key and on n alone, so that a draw is the
beginning of a longer one: the same bits, as `test_draws.py` asks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax._src.core import trace_state_clean  # it has no public door

LENGTHS = 64, 1024, 16384  # what is longer has a program of its own


def beginning(right: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """The first numbers of a longer draw, where nothing is traced and the bounds are numbers."""

    @functools.wraps(right)
    def drawn(key: Any, shape: Any = (), dtype: Any = None, *bounds: Any, **named: Any) -> Any:
        values = [key, *bounds, *named.values()]
        size = math.prod(shape) if isinstance(shape, tuple) else None
        longer = [length for length in LENGTHS if size is not None and size < length]
        if not longer or not trace_state_clean() or any(np.ndim(value) for value in values):
            return right(key, shape, dtype, *bounds, **named)
        found = np.asarray(right(key, (longer[0],), dtype, *bounds, **named))
        return jax.device_put(found[:size].reshape(shape))

    return drawn


def share_programs() -> None:
    """From now on in this process, for `jax.random.normal` and `uniform`."""
    if jax.config.jax_threefry_partitionable:
        jax.random.normal = beginning(jax.random.normal)
        jax.random.uniform = beginning(jax.random.uniform)
