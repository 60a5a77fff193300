"""What a source file declares, read without importing it: its import may take seconds."""

from __future__ import annotations

import ast
import copy
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thalweg.core.errors import InputError

NAMES: dict[str, Any] = {"Any": Any, "Path": Path}  # what annotations of options are made of


def stand_in(module: str, name: str) -> Callable[..., Any]:
    """A function as its source declares it: signature and docstring, without a body.

    Annotations of other things than plain values and paths become `Any`; defaults that are
    constants of a module of ours are looked up in its source.

    Args:
        module: The module, as "thalweg.diagnosis.diagnosis"; not imported.
        name: The function.

    Raises:
        InputError: If there is no such function.
    """
    found = next(
        (f for f in tree(module).body if isinstance(f, ast.FunctionDef) and f.name == name), None
    )
    if found is None:
        raise InputError(f"{module} declares no function {name}")
    found = copy.copy(found)
    found.body = [*found.body[:1], ast.Pass()]  # the docstring
    found = copy.deepcopy(found)
    told = found.args
    for each in (*told.posonlyargs, *told.args, *told.kwonlyargs):
        if each.annotation is not None and not _plain(ast.unparse(each.annotation)):
            each.annotation = ast.Name("Any", ast.Load())
    others = [each for each in (*told.defaults, *told.kw_defaults) if each is not None]
    names = {node.id for each in others for node in ast.walk(each) if isinstance(node, ast.Name)}
    found.decorator_list, found.returns = [], None
    scope = NAMES | {each: constant(module, each) for each in names}
    program = ast.fix_missing_locations(ast.Module([found], []))
    exec(compile(program, str(_file(module)), "exec"), scope)
    made: Callable[..., Any] = scope[name]
    return made


def constant(module: str, name: str) -> Any:
    """A constant that a module assigns, or imports from another of ours.

    Raises:
        InputError: If there is none that is plain data.
    """
    for node in tree(module).body:
        if isinstance(node, ast.ImportFrom) and any(a.name == name for a in node.names):
            return constant(str(node.module), name)
    return ast.literal_eval(_assigned(module, name))


def table(module: str, name: str) -> dict[str, ast.expr]:
    """A table that a module assigns: its keys, and its values as they are written.

    A table within it, `**OTHER`, may come from another module of ours.
    """
    for node in tree(module).body:
        if isinstance(node, ast.ImportFrom) and any(a.name == name for a in node.names):
            return table(str(node.module), name)
    found = _assigned(module, name)
    assert isinstance(found, ast.Dict)
    rows: dict[str, ast.expr] = {}
    for key, value in zip(found.keys, found.values, strict=True):
        if key is not None:
            rows[ast.literal_eval(key)] = value
        elif isinstance(value, ast.Name):
            rows |= table(module, value.id)
    return rows


def _assigned(module: str, name: str) -> ast.expr:
    for node in tree(module).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                return node.value
    raise InputError(f"{module} declares no constant {name}")


@functools.cache
def declaration(module: str, name: str) -> tuple[str, ast.AST | None]:
    """The module that declares a function or a class, through imports, and its source."""
    for node in tree(module).body:
        if (
            isinstance(node, ast.FunctionDef | ast.ClassDef)
            and node.name == name
            and "overload" not in map(ast.unparse, node.decorator_list)
        ):
            return module, node
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("thalweg"):
            for alias in node.names:
                if (alias.asname or alias.name) == name and _file(str(node.module)).exists():
                    return declaration(str(node.module), alias.name)
    return module, None


def docs(module: str, name: str) -> str:
    """A docstring; where it sends to a class, "see `Class`.", the class's in the middle."""
    where, node = declaration(module, name)
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        return ""
    text = ast.get_docstring(node) or ""
    first, _, rest = text.partition("\n\n")
    other = re.search(r"; see `(\w+)`\.$", first)
    if other is None:
        return text
    parts = (first[: other.start()] + ".", docs(where, other[1]), rest)
    return "\n\n".join(part for part in parts if part)


def is_a(module: str, name: str, kind: str) -> bool:
    """Whether a class is of a kind, by the bases that its source names."""
    where, node = declaration(module, name)
    if not isinstance(node, ast.ClassDef):
        return False
    return node.name == kind or any(is_a(where, ast.unparse(b), kind) for b in node.bases)


@functools.cache
def tree(module: str) -> ast.Module:
    """The source of a module, parsed; of a package, that of its `__init__`."""
    return ast.parse(_file(module).read_text(encoding="utf-8"))


def _file(module: str) -> Path:
    path = Path(__file__).parents[2].joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _plain(annotation: str) -> bool:
    """Whether an annotation is made of plain values and paths alone."""
    try:
        eval(annotation, dict(NAMES))
    except (NameError, AttributeError):
        return False
    return True
