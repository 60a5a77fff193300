"""Arguments of public functions: what came, in words, and whether it is of the kind asked for."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

# By the package that a class was defined in, so that nothing need be imported to tell.
FRAMEWORKS = {
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "flax": "Flax",
    "haiku": "Haiku",
    "equinox": "Equinox",
    "optax": "Optax",
    "sklearn": "scikit-learn",
    "mlx": "MLX",
    "paddle": "PaddlePaddle",
    "pandas": "pandas",
    "polars": "Polars",
    "pyarrow": "Arrow",
}
ARRAYS_ELSEWHERE = ("torch", "tensorflow", "mlx", "paddle", "pandas", "polars", "pyarrow")


def framework(value: Any) -> str:
    """The package that a value's class, or one it derives from, was defined in; "" if unknown."""
    for kind in (value if isinstance(value, type) else type(value)).__mro__:
        top = str(kind.__module__).partition(".")[0]
        if top in FRAMEWORKS:
            return top
    return ""


def told(value: Any) -> str:
    """What came, in a few words: "the text '0.1'", "a PyTorch Linear", "the class MLP"."""
    if value is None or isinstance(value, bool | int | float | complex | np.generic):
        return str(value)
    if isinstance(value, str | bytes):
        short = f"{value[:37]!r}..." if len(value) > 40 else repr(value)
        return f"the text {short}" if isinstance(value, str) else f"the bytes {short}"
    whose = FRAMEWORKS.get(framework(value), "")
    if isinstance(value, type):
        return f"the class {whose + ' ' if whose else ''}{value.__name__}"
    if inspect.isroutine(value) or inspect.isroutine(getattr(value, "__wrapped__", None)):
        return f"the function {getattr(value, '__name__', '')}".rstrip()
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        if value.shape == ():
            return f"an array of one {value.dtype} number"
        return f"an array of {value.dtype} of shape {tuple(value.shape)}"
    if isinstance(value, list | tuple | dict) and not value:
        return f"an empty {type(value).__name__}"
    name = f"{whose} {type(value).__name__}".strip()
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
