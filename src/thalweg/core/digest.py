"""What tells one piece of a configuration from another, the same in every process."""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

PLAIN = (bool, int, float, complex, str, bytes, type(None))
ARRAYS = (np.ndarray, np.generic, jax.Array)


def identity(value: Any) -> str:
    """A short digest of a value: data, arrays, and functions with what they close over.

    Functions count by their code, constants, defaults, closures, and the plain values, arrays and
    functions of their own module that they name, so that an edited function is another one.
    Memory addresses do not count. Not seen: what is reached through attributes of modules.
    """
    return hashlib.sha256(repr(_account(value, ())).encode()).hexdigest()[:16]


def _account(value: Any, above: tuple[int, ...]) -> Any:
    """A nested tuple of text; `above` holds what is being told, which may refer to itself."""
    if isinstance(value, PLAIN):
        return repr(value)
    if id(value) in above:
        return "itself"
    above = (*above, id(value))
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        return name, str(value.dtype), _account(jax.random.key_data(value), above)
    if isinstance(value, ARRAYS):
        array = np.ascontiguousarray(value)
        return name, str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()
    if inspect.isfunction(value):
        return _function(value, above)
    if isinstance(value, types.CodeType):
        return value.co_code.hex(), value.co_names, _each(value.co_consts, above)
    if inspect.ismethod(value):
        return _each((value.__func__, value.__self__), above)
    if isinstance(value, functools.partial):
        return _each((value.func, value.args, value.keywords), above)
    if isinstance(value, Mapping):
        return name, tuple(sorted((repr(k), _account(v, above)) for k, v in value.items()))
    if isinstance(value, tuple | list):
        return name, _each(value, above)
    if isinstance(value, set | frozenset):
        return name, tuple(sorted(repr(_account(v, above)) for v in value))
    if hasattr(value, "__wrapped__"):
        return name, _account(value.__wrapped__, above)
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        fields = {field: getattr(value, field, None) for field in value.__dataclass_fields__}
        return name, _account(fields, above)
    return name, getattr(value, "__module__", ""), getattr(value, "__qualname__", "")


def _function(function: types.FunctionType, above: tuple[int, ...]) -> Any:
    code, scope = function.__code__, function.__globals__
    found = {name: scope[name] for name in code.co_names if name in scope}
    named = {name: value for name, value in found.items() if _counts(value, function)}
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    parts = (code, function.__defaults__, function.__kwdefaults__, cells, named)
    return function.__qualname__, _each(parts, above)


def _counts(value: Any, function: types.FunctionType) -> bool:
    """Whether what a function finds in its module is told with it."""
    if inspect.isfunction(value):
        return value.__module__ == function.__module__
    return isinstance(value, (*PLAIN, *ARRAYS))


def _each(values: Any, above: tuple[int, ...]) -> tuple:
    return tuple(_account(value, above) for value in values)
