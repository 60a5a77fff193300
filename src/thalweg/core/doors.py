"""The doors of packages: public functions check the kinds and shapes of what they are given.

What a function takes is read off its annotations, once for all of the library: `guard` puts the
check at the doors of a package, and `Checked` at the making of a module.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.arguments import check, is_array, is_jaxtyped, of_axes, told
from thalweg.core.errors import InputError, require, unknown
from thalweg.core.tracebacks import failed_callback, is_interruption, without_ours

Kind = TypeVar("Kind", bound=type)


def guard(room: dict[str, Any], names: Iterable[str]) -> None:
    """Have the functions of a package check the kinds of their arguments; see `checked`.

    Args:
        room: The package's `globals()`.
        names: Its public names; classes, which check themselves, and values stay.
    """
    for name in names:
        if callable(room[name]) and not isinstance(room[name], type):
            room[name] = checked(room[name])


def guard_modules(room: dict[str, Any]) -> None:
    """`guard` each module that a package brings, at the functions that are its own.

    Args:
        room: The package's `globals()`.
    """
    for module in [value for value in room.values() if isinstance(value, ModuleType)]:
        own = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
        guard(vars(module), own)


def guarded(*names: str) -> Callable[[Kind], Kind]:
    """Have methods of a class check the kinds of their arguments; see `checked`.

    Args:
        names: Of the methods.
    """

    def door(kind: Kind) -> Kind:
        for name in names:
            setattr(kind, name, checked(vars(kind)[name]))
        return kind

    return door


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with arguments of a wrong kind or shape refused in one sentence.

    Lists in place of arrays become arrays.

    Arguments that Python itself refuses (missing, unknown) stay a `TypeError`, as everywhere; of
    an unknown one it says the nearest, and all there are. What a user's code raises while it is
    traced stays what it is; what it raises within a compiled program becomes an `InputError`.
    """
    if hasattr(function, "__checked__"):
        return function

    @functools.wraps(function)
    def door(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = _signature(function).bind(*args, **kwargs)
        except TypeError:
            _refuse_unknown(function, kwargs)
            return function(*args, **kwargs)
        hints, given = _hints(function), {}
        for name, value in bound.arguments.items():
            hint = hints.get(name, Any)
            for label, part in _parts(function, name, value):
                check(label, part, hint)
            if isinstance(value, list) and is_jaxtyped(hint):
                bound.arguments[name] = np.asarray(value)
            given[name] = value
        check_axes(given, hints)
        if "problem" in given and "params" in given:
            check_params(given["problem"], given["params"])
        try:
            return function(*bound.args, **bound.kwargs)
        except Exception as error:
            if is_interruption(error):
                raise KeyboardInterrupt from error
            told = failed_callback(error)
            if told is not None:
                raise InputError(told) from error
            without_ours(error)
            raise

    door.__checked__ = True  # type: ignore[attr-defined]
    return door


class Checked(eqx.Module):
    """A module whose fields are of the kinds that its annotations ask for.

    Raises:
        InputError: If one is not, before the class looks at its fields itself.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = cls.__dict__.get("__check_init__")

        def check_init(self: Any) -> None:
            if type(self) is cls or own is not None:
                hints = _hints(type(self))  # type: ignore[arg-type]
                for field in self.__dataclass_fields__:
                    check(field, getattr(self, field), hints.get(field, Any), stacked=True)
            if own is not None:
                own(self)

        cls.__check_init__ = check_init  # type: ignore[attr-defined]


def check_axes(given: dict[str, Any], hints: dict[str, Any]) -> None:
    """Refuse arrays whose axes of one letter, in their annotations, have several lengths.

    Raises:
        InputError: What shape came, and what length the other array has.
    """
    lengths: dict[str, tuple[int, str]] = {}
    for name, value in given.items():
        hint = hints.get(name, Any)
        if not is_jaxtyped(hint) or hint.index_variadic is not None:
            continue
        axes, shape = hint.dim_str.split(), np.shape(value)
        for axis, length in zip(axes, shape, strict=True):
            known, whose = lengths.setdefault(axis, (length, name))
            require(
                known == length or not axis.isidentifier() or axis == "_",
                f"{name} came as {told(value)}; give {of_axes(hint)}, where {axis} is {known} "
                + ("as well" if whose == name else f"as in {whose}"),
            )


def check_params(problem: Any, params: Any) -> None:
    """Refuse parameters that are not shaped as a problem draws them.

    Raises:
        InputError: What came, and how one comes by parameters.
    """
    require(
        is_drawn(params, problem.init if hasattr(problem, "model") else None),
        f"params came as {told(params)}; give parameters of the problem, as "
        "problem.init(jax.random.key(0))",
    )


def is_drawn(params: Any, init: Callable[[jax.Array], Any] | None) -> bool:
    """Whether a value is a tree of arrays, shaped as what `init` draws where one is given."""
    leaves = jax.tree.leaves(params)
    if not leaves or not all(map(is_array, leaves)):
        return False
    if init is None:
        return True
    drawn = jax.eval_shape(init, jax.random.key(0))
    same: Any = jax.tree.structure(drawn)
    return same == jax.tree.structure(params) and all(
        np.shape(a) == b.shape for a, b in zip(leaves, jax.tree.leaves(drawn), strict=True)
    )


def _refuse_unknown(function: Callable[..., Any], given: Iterable[str]) -> None:
    """Raise Python's `TypeError` of a keyword that a function has not, with those that it has."""
    known = list(_signature(function).parameters)
    for name in given:
        if name not in known:
            raise TypeError(
                f"{function.__name__}() got an unexpected keyword argument: "
                f"{unknown(name, known, 'argument')}"
            )


def _parts(function: Callable[..., Any], name: str, value: Any) -> list[tuple[str, Any]]:
    """What was given under one name: one value, or several that the signature gathers."""
    kind = _signature(function).parameters[name].kind
    if kind is inspect.Parameter.VAR_KEYWORD:
        return list(value.items())
    if kind is inspect.Parameter.VAR_POSITIONAL:
        return [(name, part) for part in value]
    return [(name, value)]


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


@functools.cache
def _hints(thing: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(thing)
    except NameError:  # names that only type checkers import
        return {}


def takes_one(function: Callable[..., Any] | None, what: str, argument: str) -> None:
    """Refuse a user's function that cannot be called with one argument alone.

    Raises:
        InputError: What it is for, and what it takes.
    """
    if function is None:
        return
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # it tells no signature
        return
    try:
        signature.bind(None)
    except TypeError:
        name = getattr(function, "__name__", type(function).__name__)
        raise InputError(
            f"{what} came as a function {name}{signature}; give one of {argument} alone, as "
            "functools.partial makes of a function of more"
        ) from None


def real_number(value: Any, what: str) -> Any:
    """The value of a user's function, where it is one real number that can be differentiated.

    Args:
        value: What came, traced or not.
        what: The beginning of the sentence.

    Raises:
        InputError: If it is anything else: what.

    Examples:
        >>> import jax.numpy as jnp
        >>> from thalweg.core.doors import real_number
        >>> float(real_number(jnp.sum(jnp.ones(2)), "the loss"))
        2.0
    """
    value = jnp.asarray(value) if isinstance(value, float) else value
    shape, kind = getattr(value, "shape", None), getattr(value, "dtype", None)
    came = told(value) if kind is None else f"a {kind} array of shape {shape}"
    if isinstance(value, tuple | list):
        came = f"a {type(value).__name__} of {len(value)}"
    require(
        shape == () and kind is not None and jnp.issubdtype(kind, jnp.floating),
        f"{what} came as {came}; give one real floating-point number, as jnp.sum and jnp.mean make "
        "of several",
    )
    return value
