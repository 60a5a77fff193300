"""Shapes and types of arrays are checked while the tests run, as the annotations say them.

Functions of the package whose annotations name arrays by jaxtyping are wrapped when their module is
imported. Within one call a letter means one length. What a function is given must fit, or be
refused by it: only what it takes and answers although its annotation excludes it is an error.
So are the fields of named tuples, dataclasses and modules, where the source makes one: within one
instance a letter means one length. What JAX puts together again holds a batch, or no arrays at all;
a module may be written as a batch, with one axis more in front.
JAX's array in an annotation stands for NumPy's too, and one that may have no dimension for a
number, as in the functions of JAX itself: what is computed from NumPy's may stay NumPy's.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import itertools
import linecache
import marshal
import os
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import equinox as eqx
import jax
import numpy as np
from beartype.door import is_bearable
from jaxtyping import AbstractArray, jaxtyped

ARRAYS = re.compile(r"\b(Float|Int|Bool|Num|Shaped|Inexact|Integer|UInt|Real|Complex|Key)\[")
MARK, MARK_FIELDS = "__shapes_checked__", "__fields_checked__"


unchecked: ContextVar[bool] = ContextVar("unchecked", default=False)
"""Set where arguments are wrong on purpose and only what the package itself says of them counts."""


class ShapeError(AssertionError):
    """A function took or returned an array that its annotation excludes."""


def is_array(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, AbstractArray)


def mentions_arrays(hint: Any) -> bool:
    return is_array(hint) or any(mentions_arrays(part) for part in get_args(hint))


def meant(hint: Any, named: bool = True) -> Any:
    """The hint with NumPy's arrays beside JAX's, and numbers beside what may have no dimension.

    What is like an array has its shape checked where it is one. In a list of any length letters
    are each array's own, as for the layers of a net: there they only count the dimensions.
    """
    if is_array(hint):
        sides = hint.dim_str.split()
        some = [side for side in sides if side == "..." or side[0] == "*"]
        if not named:
            sides = ["..." if s in some else s if s.isdigit() else "_" for s in sides]
        arrays = [hint.dtype[kind, " ".join(sides)] for kind in (jax.Array, np.ndarray)]
        numbers = [] if len(sides) > len(some) else [float, int, np.generic]
        likes = [] if hint.array_type in (jax.Array, np.ndarray) else [list, tuple, float, int]
        return Union[(*arrays, *numbers, *likes)]
    parts, origin = get_args(hint), get_origin(hint)
    if not mentions_arrays(hint):
        return hint
    if origin in (Union, types.UnionType):
        return Union[tuple(meant(part, named) for part in parts)]  # noqa: UP007  (not written out)
    if origin is tuple and Ellipsis not in parts:
        return tuple[tuple(meant(part, named) for part in parts)]
    if origin in (tuple, list, Sequence):
        return origin[tuple(p if p is Ellipsis else meant(p, False) for p in parts)]
    if origin in (dict, Mapping):
        return origin[parts[0], meant(parts[1], False)]
    return Any


def told(value: Any) -> str:
    shape, kind = getattr(value, "shape", None), getattr(value, "dtype", "")
    name = f"{type(value).__module__}.{type(value).__name__}"
    return name if shape is None else f"{name} {kind}{list(shape)}"


def kind(value: Any) -> Any:
    """All that a check sees of a value: what fitted once need not be looked at again."""
    if hasattr(value, "dtype"):
        return type(value), value.shape, value.dtype
    if isinstance(value, list | tuple):
        return type(value), *map(kind, value)
    if isinstance(value, Mapping):
        return type(value), *((name, kind(part)) for name, part in value.items())
    return type(value)


SEEN: set[Any] = set()
"""What has fitted, of all functions: in none of them, as what a function closes over tells it from
others (`thalweg.core.digest`), in the record of a run for example."""


def of_lanes(hint: Any) -> Any:
    """The hint with one axis more in front."""
    if is_array(hint):
        return hint.dtype[hint.array_type, f"lanes {hint.dim_str}"]
    if get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(map(of_lanes, get_args(hint)))]  # noqa: UP007  (not written out)
    return hint


def annotated(
    annotations: Mapping[str, Any], scope: dict[str, Any], lanes: bool = False
) -> dict[str, Any]:
    """The annotations that mention arrays, as they are meant, and for lanes of them if asked."""
    found: dict[str, Any] = {}
    for name, text in annotations.items():
        if str(text).startswith("ClassVar"):  # no field
            continue
        one = types.SimpleNamespace(__annotations__={name: text})
        # A name of the function around it, or for type checkers only.
        with contextlib.suppress(NameError, AttributeError):
            found |= get_type_hints(one, scope)
    arrays = {name: hint for name, hint in found.items() if mentions_arrays(hint)}
    if lanes:
        return {name: Union[meant(h), meant(of_lanes(h))] for name, h in arrays.items()}  # noqa: UP007
    return {name: meant(hint) for name, hint in arrays.items()}


def fit(owner: Any, values: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Raise unless the values fit: of a function's call, or of an instance's fields."""
    arrays = {name: (values[name], hint) for name, hint in hints.items() if name in values}
    met = (owner, *((name, kind(value)) for name, (value, _) in arrays.items()))
    if met in SEEN:
        return
    with jaxtyped("context"):
        wrong = [
            f"{'returned' if name == 'return' else f'{name} came as'} {told(value)}, "
            f"annotated {hint}"
            for name, (value, hint) in arrays.items()
            if not is_bearable(value, hint)
        ]
    if wrong:
        raise ShapeError(f"{owner.__module__}.{owner.__qualname__}: {'; '.join(wrong)}")
    SEEN.add(met)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hold a function's arrays against its annotations."""
    signature = inspect.signature(function)

    @functools.cache
    def hints() -> dict[str, Any]:
        return annotated(function.__annotations__, function.__globals__)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if not unchecked.get():
            values = {**signature.bind(*args, **kwargs).arguments, "return": result}
            fit(function, values, hints())
        return result

    return wrapped


def checked_fields(cls: type) -> type:
    """Hold the arrays of a class's own fields against their annotations."""

    @functools.cache
    def hints() -> dict[str, Any]:
        scope = vars(sys.modules[cls.__module__])
        return annotated(cls.__annotations__, scope, lanes=issubclass(cls, eqx.Module))

    def look(self: Any) -> None:
        if not unchecked.get():
            fit(cls, {name: getattr(self, name) for name in hints()}, hints())

    if issubclass(cls, tuple):
        make = cls.__new__

        @functools.wraps(make)
        def new(cls: type, *args: Any, **kwargs: Any) -> Any:
            self = make(cls, *args, **kwargs)
            if kwargs or written(sys._getframe(1), cls.__name__):
                look(self)
            return self

        cls.__new__ = new  # type: ignore[method-assign]
    elif issubclass(cls, eqx.Module):
        own = vars(cls).get("__check_init__", lambda self: None)

        def check_init(self: Any) -> None:
            own(self)
            look(self)

        cls.__check_init__ = check_init  # type: ignore[attr-defined]
    else:
        start = cls.__init__

        @functools.wraps(start)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            start(self, *args, **kwargs)
            look(self)

        cls.__init__ = init  # type: ignore[misc]
    return cls


CALLS: dict[tuple[types.CodeType, int], str] = {}


def written(frame: types.FrameType, name: str) -> bool:
    """Whether the source calls a class there, or JAX does, which hands on what a tree held."""
    code, at = frame.f_code, frame.f_lasti
    if (code, at) not in CALLS:
        line, _, start, _ = next(itertools.islice(code.co_positions(), at // 2, None))
        text = linecache.getline(code.co_filename, line or 0).encode()[start or 0 :].decode()
        CALLS[code, at] = text.partition("(")[0].rpartition(".")[2].strip()
    return CALLS[code, at] in (name, "cls")


class Mark(ast.NodeTransformer):
    """Put the check innermost on functions that name arrays, also by a name of their module."""

    def __init__(self, tree: ast.Module) -> None:
        self.pattern = ARRAYS
        given = [(s.targets[0], s.value) for s in tree.body if isinstance(s, ast.Assign)]
        for name, value in given:
            if isinstance(name, ast.Name) and self.pattern.search(ast.unparse(value)):
                self.pattern = re.compile(rf"{self.pattern.pattern}|\b{name.id}\b")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        hints = [a.annotation for a in every] + [node.returns]
        if any(self.pattern.search(ast.unparse(hint)) for hint in hints if hint is not None):
            mark = ast.copy_location(ast.Name(MARK, ast.Load()), node)
            node.decorator_list.append(mark)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        hints = [part.annotation for part in node.body if isinstance(part, ast.AnnAssign)]
        if any(self.pattern.search(ast.unparse(hint)) for hint in hints):
            mark = ast.copy_location(ast.Name(MARK_FIELDS, ast.Load()), node)
            node.decorator_list.insert(0, mark)
        return node


def stamp(path: str) -> tuple[int, int]:
    """When a file was written, and its size."""
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size


class Loader(importlib.machinery.SourceFileLoader):
    """Reads a module's source, with the checks in it; its code is kept beside that without."""

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        kept = Path(importlib.util.cache_from_source(path, optimization="shapes"))
        meant = (stamp(path), stamp(__file__))
        try:
            made_from, code = marshal.loads(kept.read_bytes())
            if made_from == meant:
                return code
        except (OSError, EOFError, TypeError, ValueError):
            pass  # nothing there, or half of it
        tree = ast.parse(self.get_data(path), path)
        code = compile(Mark(tree).visit(tree), path, "exec", dont_inherit=True)
        if not sys.dont_write_bytecode:
            with contextlib.suppress(OSError):
                kept.parent.mkdir(exist_ok=True)
                half = kept.with_suffix(f".{os.getpid()}")
                half.write_bytes(marshal.dumps((meant, code)))
                half.replace(kept)
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module).update({MARK: checked, MARK_FIELDS: checked_fields})
        super().exec_module(module)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of packages that are checked."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self.packages = tuple(f"{package}." for package in packages)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if not f"{name}.".startswith(self.packages):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def check_shapes(*packages: str) -> None:
    """Check the modules of these packages that are imported from now on."""
    sys.meta_path.insert(0, Finder(packages))
