"""What a source file declares, read without importing it: its import may take seconds."""

from __future__ import annotations

import ast
import copy
import functools
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
        (f for f in _tree(module).body if isinstance(f, ast.FunctionDef) and f.name == name), None
    )
    if found is None:
        raise InputError(f"{module} declares no function {name}")
    found = copy.deepcopy(found)
    told = found.args
    for each in (*told.posonlyargs, *told.args, *told.kwonlyargs):
        if each.annotation is not None and not _plain(ast.unparse(each.annotation)):
            each.annotation = ast.Name("Any", ast.Load())
    others = [each for each in (*told.defaults, *told.kw_defaults) if each is not None]
    names = {node.id for each in others for node in ast.walk(each) if isinstance(node, ast.Name)}
    found.body = [*found.body[:1], ast.Pass()]  # the docstring
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
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and any(a.name == name for a in node.names):
            return constant(str(node.module), name)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                return ast.literal_eval(node.value)
    raise InputError(f"{module} declares no constant {name}")


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


def _file(module: str) -> Path:
    return Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py")


def _plain(annotation: str) -> bool:
    """Whether an annotation is made of plain values and paths alone."""
    try:
        eval(annotation, dict(NAMES))
    except (NameError, AttributeError):
        return False
    return True
