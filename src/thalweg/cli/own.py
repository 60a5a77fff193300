"""What a user's own Python file or module holds: `my.py:problem`, `pkg.mod:make_problem`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from thalweg.core.errors import InputError, reason, require, unknown
from thalweg.core.tracebacks import failed_callback, own_place, told_place

_PLACE = re.compile(r"(?P<module>.+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<name>[^:]*)", re.DOTALL)
SOURCES = ("openml",)  # names of data that have a colon


def names_an_object(text: str) -> bool:
    """Whether a text names an object in a Python file or module, rather than data."""
    found = _PLACE.fullmatch(text)
    return found is not None and found["module"] not in SOURCES


def problem_at(place: str) -> Any:
    """The problem that a text names; a function without arguments is called.

    Args:
        place: "my.py:problem", or "pkg.mod:make_problem" of a module that Python finds.

    Raises:
        InputError: If there is no such file or name, the user's code raises, or what it names is
            no problem; the sentence says where.
    """
    from thalweg.problems.problem import Problem

    return _object_at(place, Problem, "problem", "thalweg.problem('digits')")


def oracle_at(place: str) -> Any:
    """The oracle that a text names, as "my.py:noise"; see `problem_at`.

    Raises:
        InputError: As there.
    """
    from thalweg.oracles.oracle import Oracle

    return _object_at(place, Oracle, "oracle", "thalweg.oracles.label_noise(0.1)")


def state_at(place: str) -> Any:
    """What an optimiser remembers, as "my.py:optimizer"; see `problem_at`.

    Raises:
        InputError: As there.
    """
    found = _object_at(place, object, "optimizer", "torch.optim.Adam(net.parameters())")
    if not inspect.isfunction(found):
        return found
    where, _, name = place.rpartition(":")
    return _called(found, where, name, "an optimizer")


def _object_at(place: str, kind: type, what: str, example: str) -> Any:
    """What a text names in a file or module, an instance of a class or what makes one."""
    from thalweg.core.arguments import told

    found = _PLACE.fullmatch(place)
    assert found is not None
    where, name = found["module"], found["name"]
    article = "an" if what[0] in "aeiou" else "a"
    require(
        name.isidentifier(),
        f"{place!r} names nothing in {where}; give the name of {article} {what}, as {where}:{what}",
    )
    module = _module(where)
    if not hasattr(module, name):
        names = [
            n for n, value in vars(module).items()
            if isinstance(value, kind)
            or (inspect.isfunction(value) and _waits_for_nothing(value))
        ]  # fmt: skip
        raise InputError(
            f"in {where}: {unknown(name, names, 'name')}"
            if names
            else f"{where} holds no {name!r}, and no {what} under another name; make one there, "
            f"as {what} = {example}"
        )
    value = getattr(module, name)
    if not isinstance(value, kind) and callable(value) and not isinstance(value, type):
        value = _called(value, where, name, f"{article} {what}")
    require(
        isinstance(value, kind),
        f"{name} in {where} came as {told(value)}; give {article} {what}, as "
        f"{name} = {example}, or a function without arguments that returns one",
    )
    return value


def _module(where: str) -> ModuleType:
    if not where.endswith(".py"):
        try:
            if os.getcwd() not in sys.path:
                sys.path.insert(0, os.getcwd())
            return importlib.import_module(where)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{where}.".startswith(f"{error.name}."):
                raise InputError(
                    f"no module {where!r} is found from here; give a file, as my.py:problem"
                ) from None
            raise InputError(_told(error, where)) from None
        except _OTHERS as error:
            raise InputError(_told(error, where)) from None
    path = Path(where).expanduser()
    require(path.is_file(), f"{where!r}: there is no such file; check the path")
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # what the file imports from beside itself
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except _OTHERS as error:
        del sys.modules[path.stem]
        raise InputError(_told(error, where)) from None
    finally:
        if before is not None:  # a file named as a module that is in use
            sys.modules[path.stem] = before
    return module


def _waits_for_nothing(function: Any) -> bool:
    """Whether a function can be called without arguments, as far as it tells."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:  # it tells no signature
        return True
    return True


def _called(function: Any, where: str, name: str, what: str) -> Any:
    require(
        _waits_for_nothing(function),
        f"{name} in {where} takes arguments; name {what}, or a function without arguments that "
        "returns one",
    )
    try:
        return function()
    except _OTHERS as error:
        raise InputError(_told(error, where)) from None


_OTHERS = (Exception, SystemExit)  # a stranger's code may raise anything


def failure(error: BaseException) -> str | None:
    """An error of a user's code in a sentence, with its file and line; None if it is not theirs."""
    told = failed_callback(error)
    if told is not None:
        return told
    place = own_place(error)
    return None if place is None else _at(error, *place)


def refusal(error: InputError) -> str:
    """A sentence of ours, with the place in a user's code that gave rise to it, if one did."""
    place = None if error.__cause__ is None else own_place(error.__cause__)
    return str(error) if place is None else _at(error, *place)


def _told(error: BaseException, where: str) -> str:
    """The same of a file or module that was read, with the last line of theirs on its way."""
    if isinstance(error, SyntaxError) and error.filename and _same(error.filename, where):
        return _at(error, where, error.lineno)
    file, line = own_place(error) or (where, None)
    if line is None:  # a module that is installed
        for frame in traceback.extract_tb(error.__traceback__):
            if _same(frame.filename, where):
                line = frame.lineno
    return _at(error, where if _same(file, where) else file, line)


def _at(error: BaseException, file: str, line: int | None) -> str:
    at = told_place(file, line)
    what = error.msg if isinstance(error, SyntaxError) else reason(error)  # type: ignore[arg-type]
    if isinstance(error, InputError):
        return f"{at}: {what}"
    kind = type(error).__name__
    return f"{at}: {kind}" if what in ("", kind) else f"{at}: {kind}: {what}"


def _same(filename: str, where: str) -> bool:
    """Whether a file of a traceback is the one that the user named."""
    if where.endswith(".py"):
        return Path(filename).resolve() == Path(where).expanduser().resolve()
    return (
        Path(filename)
        .resolve()
        .as_posix()
        .endswith((f"/{where.replace('.', '/')}.py", f"/{where.replace('.', '/')}/__init__.py"))
    )
