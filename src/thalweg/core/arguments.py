"""Arguments of public functions: what came, in words, and whether it is of the kind asked for."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np

from thalweg.core.errors import InputError

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
# How one comes by an instance of a class of ours.
MADE = {
    "Problem": "problems.supervised(model, data)",
    "Supervised": "problems.supervised(model, data)",
    "Data": "problems.read_data('digits')",
    "Model": "models.mlp([16])",
    "MLP": "models.mlp([16])",
    "Dynamics": "gradient_descent(0.1), or of an Optax optimiser optax_dynamics(optimiser, 0.1)",
    "GradientTransformation": "optax.adam(1e-3)",
    "Probe": "probes.sharpness()",
    "Trajectory": "the result of run(problem, gradient_descent(0.1), 10.0)",
    "Operator": "curvature.hessian(problem, params)",
    "Module": "eqx.nn.MLP(4, 2, 16, 1, key=key)",
    "ModeTree": "models.perfect_tree(4)",
}
NUMBERS = "biuf"  # kinds of arrays that hold real numbers


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
    kind = value if isinstance(value, type) else type(value)
    ours = kind.__module__.startswith("thalweg.")
    whose = "" if ours else FRAMEWORKS.get(framework(value), "")
    if isinstance(value, type):
        return f"the class {whose + ' ' if whose else ''}{value.__name__}"
    if inspect.isroutine(value) or inspect.isroutine(getattr(value, "__wrapped__", None)):
        return f"the function {getattr(value, '__name__', '')}".rstrip()
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        if value.shape == ():
            return f"an array of one number of type {value.dtype}"
        return f"an array of {value.dtype} of shape {tuple(value.shape)}"
    if isinstance(value, list | tuple | dict):
        if not value:
            return f"an empty {type(value).__name__}"
        if len(str(value)) <= 40:
            return str(value)
    name = f"{whose} {kind.__name__}".strip()
    if ours:
        return f"an instance of {name}"
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def check(name: str, value: Any, hint: Any, stacked: bool = False) -> None:
    """Refuse a value that is not of the kind that an annotation asks for.

    Args:
        name: Of the argument, for the sentence.
        value: What came.
        hint: The annotation.
        stacked: Whether an array may have more axes than the annotation names, as what `vmap` is
            to take apart has.

    Raises:
        InputError: What came, what is allowed.
    """
    allowed = misfit(value, hint)
    if stacked and allowed and is_array(value):
        kept = [part for part in (hint, *typing.get_args(hint)) if is_jaxtyped(part)]
        allowed = "" if any(np.ndim(value) >= axis_count(part) for part in kept) else allowed
    kinds = typing.get_args(hint) or (hint,)
    spared = (int in kinds and _is_whole(value)) or (type(None) in kinds and value is None)
    if name == "key" and jax.Array in kinds and not spared and not _is_key(value):
        allowed = "a random key, as jax.random.key(0)" + (", or a whole number" * (int in kinds))
    if name == "seed" and hint is int and not allowed and value < 0:
        allowed = "a whole number from 0 on"
    if allowed:
        raise InputError(f"{name} came as {told(value)}; give {allowed}")


def several(value: Any) -> list[Any]:
    """One value or several, as a list; text counts as one."""
    alone = isinstance(value, str) or not isinstance(value, collections.abc.Iterable)
    return [value] if alone else list(value)


def real_array(value: Any) -> Any:
    """Numbers as an array of JAX, whole ones in double precision; what is none as it came.

    For fields of modules, whose annotations then refuse in a sentence what stayed as it came.
    """
    if isinstance(value, str | bytes):  # JAX may take a letter for a type
        return value
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError, OverflowError):
        return value
    return array.astype(jnp.float64) if array.dtype.kind in "biu" else array


def listed(value: Any) -> tuple[Any, ...]:
    """A list as a tuple, for fields of modules.

    Raises:
        InputError: If it is no list.
    """
    wanted = _misfit_list(value, tuple, ())
    if wanted:
        raise InputError(f"sizes came as {told(value)}; give a list, as [64, 64]")
    return tuple(int(item) if isinstance(item, np.integer) else item for item in value)


def misfit(value: Any, hint: Any) -> str:
    """What an annotation allows, in words, if the value is something else; else ""."""
    if hint is Any:
        return ""
    if hint is float:
        return "" if _is_number(value) else "a number, as in 0.1"
    if hint is int:
        return "" if _is_whole(value) else "a whole number, as in 3"
    if hint is bool:
        return "" if _is_truth(value) else "True or False"
    if hint is str:
        return "" if isinstance(value, str) else "text"
    if hint is None or hint is type(None):
        return "" if value is None else "None"
    if is_jaxtyped(hint):
        return _misfit_axes(value, hint)
    if _asks_array(hint) and not any(map(is_jaxtyped, typing.get_args(hint))):
        optional = type(None) in typing.get_args(hint) and value is None
        return "" if optional or is_array(value) else "an array of real numbers"
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        words = [misfit(value, part) for part in inside]
        return ", or ".join(dict.fromkeys(words)) if all(words) else ""
    if origin is typing.Literal:
        named = isinstance(value, str | int) and value in inside
        return "" if named else " or ".join(map(repr, inside))
    if origin is collections.abc.Callable:
        return "" if callable(value) and not isinstance(value, type) else "a function"
    if origin in (collections.abc.Sequence, collections.abc.Iterable, list, tuple):
        return _misfit_list(value, origin, inside)
    if origin in (collections.abc.Mapping, dict):
        return "" if isinstance(value, collections.abc.Mapping) else "a dictionary"
    kind = origin or hint
    if isinstance(kind, type) and not getattr(kind, "_is_protocol", False):
        return "" if isinstance(value, kind) else _wanted(value, kind)
    return ""


def _misfit_axes(value: Any, hint: Any) -> str:
    if not is_array(value):
        return "an array of real numbers"
    rank, least = np.ndim(value), axis_count(hint)
    fits = rank >= least if hint.index_variadic is not None else rank == least
    return "" if fits else of_axes(hint)


def axis_count(hint: Any) -> int:
    """How many axes an annotation of jaxtyping names, at least."""
    return len(hint.dim_str.split()) - (hint.index_variadic is not None)


def of_axes(hint: Any) -> str:
    """What an annotation of jaxtyping asks for: "an array of shape (n, d)"."""
    return f"an array of shape ({', '.join(hint.dim_str.split())})" if hint.dim_str else "a number"


def _misfit_list(value: Any, origin: Any, inside: tuple[Any, ...]) -> str:
    if isinstance(value, str | bytes) or not isinstance(value, collections.abc.Iterable):
        shaped = getattr(value, "ndim", 0)
        return "" if shaped else "a list" + (f" of {_plural(inside[0])}" if inside else "")
    scalars = bool(inside) and inside[0] in (float, int, bool)
    if isinstance(value, collections.abc.Mapping) and inside and _asks_array(inside[0]):
        return f"a list of {_plural(inside[0])}"
    if scalars and (isinstance(value, collections.abc.Mapping) or getattr(value, "ndim", 1) != 1):
        return f"a list of {_plural(inside[0])}"
    if inside and isinstance(value, list | tuple):
        fixed = origin is tuple and Ellipsis not in inside
        if fixed and len(value) != len(inside):
            return f"{len(inside)} values"
        kinds = inside if fixed else [inside[0]] * len(value)
        for part, kind in zip(value, kinds, strict=True):
            if wanted := misfit(part, kind):
                return f"a list of {_plural(kind)}" if not fixed else f"{wanted} at {told(part)}"
    return ""


def _plural(kind: Any) -> str:
    known = {float: "numbers", int: "whole numbers", str: "texts", bool: "truth values"}
    if kind in known:
        return known[kind]
    if _asks_array(kind):
        return "arrays of real numbers"
    parts = [_plural(part) for part in typing.get_args(kind)]
    return " or ".join(dict.fromkeys(parts)) or f"{getattr(kind, '__name__', 'value')}s"


def _wanted(value: Any, kind: type) -> str:
    """The kind, and how one comes by an instance of it."""
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    made = f", as {MADE[kind.__name__]}" if kind.__name__ in MADE else ""
    uncalled = isinstance(value, type) or inspect.isfunction(value)
    return f"{'what it makes when called, ' if uncalled else ''}{article} {kind.__name__}{made}"


def _is_scalar(value: Any, kinds: str) -> bool:
    """Whether a value is one number of some NumPy kinds; values being traced count by type."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return shape == () and isinstance(dtype, np.dtype) and dtype.kind in kinds


def _is_number(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain or _is_scalar(value, "iuf")


def _is_whole(value: Any) -> bool:
    plain = isinstance(value, int) and not isinstance(value, bool)
    return plain or _is_scalar(value, "iu")


def _is_key(value: Any) -> bool:
    """Whether a value is a random key of JAX, of the new kind or the old."""
    dtype = getattr(value, "dtype", np.dtype(float))
    return bool(jax.numpy.issubdtype(dtype, jax.dtypes.prng_key)) or dtype == np.uint32


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or _is_scalar(value, "b")


def is_array(value: Any) -> bool:
    """Whether a value is, or can be read as, an array of real numbers."""
    if isinstance(value, jax.Array):  # keys as well
        return not jax.numpy.iscomplexobj(value)
    if value is None or isinstance(value, str | bytes) or callable(value):
        return False
    try:
        return np.asarray(value).dtype.kind in NUMBERS
    except (TypeError, ValueError, RuntimeError):
        return False


def is_jaxtyped(hint: Any) -> bool:
    """Whether an annotation names an array's axes."""
    return isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray)


def _asks_array(hint: Any) -> bool:
    """Whether an annotation asks for an array, however it says so, or None in its place."""
    if is_jaxtyped(hint) or hint is jax.Array:
        return True
    if typing.get_origin(hint) is np.ndarray:
        return True
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return False
    numpys = any(str(getattr(p, "__module__", "")).startswith("numpy._typing") for p in parts)
    if numpys or (jax.Array in parts and np.ndarray in parts):  # both packages' ArrayLike
        return True
    return bool(parts) and all(map(_asks_array, parts))
