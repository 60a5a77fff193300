"""What a module's results depend on: the modules of the package that it reaches, and their source.

A stored experiment is taken for what it was only while the source that it reaches is the same. A
name that is imported from a package is followed to the module that it comes from, so that a change
to a neighbour makes nothing run again.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = "thalweg"
DRAWING = ("thalweg.report", "thalweg.style", "thalweg.trajectory.pictures")  # change no number
ROOT = Path(__file__).parents[1]


@cache
def source_digest(module: str) -> str:
    """A digest of the source of every module that a module reaches, itself included."""
    total = hashlib.sha256()
    for name in sorted(reached(module)):
        total.update(name.encode())
        place = _place(name)
        assert place is not None
        total.update(place.read_bytes())
    return total.hexdigest()


def reached(module: str) -> set[str]:
    """The modules of the package that a module imports, directly or not, late imports included.

    What draws is left out: it changes no result.

    A package that is imported as a whole stands for everything that its `__init__` imports.

    Args:
        module: Its dotted name, within the package.
    """
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name in seen or name.startswith(DRAWING):
            continue
        if _place(name) is not None:
            seen.add(name)
            pending.extend(_imports(name))
    return seen


def _place(module: str) -> Path | None:
    """The file of a module of the package; None for any other name."""
    head, *rest = module.split(".")
    if head != PACKAGE:
        return None
    path = ROOT.joinpath(*rest)
    if path.is_dir():
        return path / "__init__.py" if (path / "__init__.py").is_file() else None
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else None


@cache
def _names(module: str) -> dict[str, str]:
    """Where each name that a module imports comes from: the module, or name within one."""
    place = _place(module)
    assert place is not None
    package = module if place.name == "__init__.py" else module.rpartition(".")[0]
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(place.read_bytes())):
        if isinstance(node, ast.Import):
            found.update({alias.asname or alias.name: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            found.update({a.asname or a.name: f"{base}.{a.name}" for a in node.names})
    return found


def _imports(module: str) -> set[str]:
    return {source for whole in _names(module).values() if (source := _source(whole))}


def _source(name: str) -> str:
    """The module behind a dotted name: itself, or where the `__init__` above it has it from."""
    for _ in range(10):  # an `__init__` may name another's name
        if _place(name) is not None:
            return name
        base, _, last = name.rpartition(".")
        place = _place(base)
        if place is None:
            return ""
        further = _names(base).get(last) if place.name == "__init__.py" else None
        if further is None:
            return base
        name = further
    return ""
