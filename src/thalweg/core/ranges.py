"""Numbers within their range, each refused by its name in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import is_array, misfit, told
from thalweg.core.behaviour import traced
from thalweg.core.errors import require


def require_positive(**given: Any) -> None:
    """Refuse numbers, and arrays of them, that are not positive and finite.

    None passes, which stands for a choice of ours, and what JAX traces, of which nothing is known.

    Raises:
        InputError: By the name of the first that is not.

    Examples:
        >>> from thalweg.core.ranges import require_positive
        >>> require_positive(step_size=0.1, damping=None, scales=np.array([1.0, 2.0]))
        >>> require_positive(step_size=-0.1)
        Traceback (most recent call last):
        thalweg.core.errors.InputError: step_size came as -0.1; give a positive number, as in 0.1
    """
    _require(given, lambda x: (x > 0) & (x < np.inf), "a positive number, as in 0.1")


def require_from_zero(**given: Any) -> None:
    """Refuse numbers, and arrays of them, that are below 0 or infinite; else as the others.

    Raises:
        InputError: By the name of the first that is.
    """
    _require(given, lambda x: (x >= 0) & (x < np.inf), "a number from 0 on")


def require_share(**given: Any) -> None:
    """Refuse numbers, and arrays of them, that are not from 0 to below 1; else as the others.

    Raises:
        InputError: By the name of the first that is not.
    """
    _require(given, lambda x: (x >= 0) & (x < 1), "a number from 0 to below 1")


def positive(name: str, value: float | Array) -> Float[Array, "*lanes"]:
    """A positive number, or one for each lane, as an array: what fields of dynamics hold.

    Raises:
        InputError: If it is none.
    """
    return _array(name, value, require_positive)


def from_zero(name: str, value: float | Array) -> Float[Array, "*lanes"]:
    """A number from 0 on, or one for each lane, as an array.

    Raises:
        InputError: If it is none.
    """
    return _array(name, value, require_from_zero)


def _array(name: str, value: Any, check: Callable[..., None]) -> Array:
    require(value is not None, f"{name} came as None; give a number, as 0.1")
    check(**{name: value})
    return jnp.asarray(value, jnp.float64)


def _require(given: dict[str, Any], fits: Callable[[np.ndarray], np.ndarray], words: str) -> None:
    for name, value in given.items():
        if value is None or traced(value):
            continue
        numbers = not misfit(value, float) or (is_array(value) and np.ndim(value) > 0)
        good = numbers and bool(np.all(fits(np.asarray(value))))
        require(good, f"{name} came as {told(value)}; give {words}")
