"""The shape of the house, read from the syntax trees of src/thalweg; late imports count too."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "thalweg"

LADDER = (SOURCE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")

# Imports point down its table only; rooms on one rung do not see each other.
RUNGS = tuple(
    tuple(re.findall(r"`(\w+)`", rooms))
    for rooms in re.findall(r"^\| \d+ \| ([^|]+) \|", LADDER, re.MULTILINE)
)
RUNG = {part: height for height, rung in enumerate(RUNGS) for part in rung}
JAX = {"jax", "jaxlib", "equinox", "diffrax", "optax", "matfree", "lineax", "optimistix"}
LONGEST_FILE = 420
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "manager", "managers", "misc"}


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def read_imports(text: str, package: str, late: bool = True) -> set[str]:
    """Modules that a source text imports; `from a import b` names a.b where that is a module.

    Args:
        text: The source.
        package: The package that leading dots start from.
        late: Whether imports inside functions count.
    """
    found = set()
    pending: list[ast.AST] = [ast.parse(text)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*(above if node.level else []), *([node.module] * bool(node.module))])
            names = (f"{base}.{alias.name}" for alias in node.names)
            found.update(name if name in FILES else base for name in names)
        elif not late and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        pending.extend(ast.iter_child_nodes(node))
    return found


@cache
def imports(module: str, late: bool = True) -> frozenset[str]:
    """What a module of the package imports."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(read_imports(path.read_text(encoding="utf-8"), package, late))


def own(modules: frozenset[str]) -> list[str]:
    return sorted(name for name in modules if name in FILES)


def outside(modules: frozenset[str]) -> set[str]:
    return {name.split(".")[0] for name in modules if name not in FILES}


def part(module: str) -> str:
    """The folder or file of the first level that a module belongs to."""
    _, _, rest = module.partition(".")
    return rest.split(".")[0] or "__init__"


def reached(module: str, late: bool = True) -> set[str]:
    """The module and every module of the package that it imports, directly or not."""
    seen, pending = set(), [module]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending.extend(own(imports(name, late)))
    return seen


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import jax.numpy as jnp", {"jax.numpy"}),
        ("from thalweg.core import errors", {"thalweg.core.errors"}),
        ("from thalweg.core.errors import choose", {"thalweg.core.errors"}),
        ("from . import losses", {"thalweg.problems.losses"}),
        ("from .losses import Loss", {"thalweg.problems.losses"}),
        ("from ..core.errors import choose", {"thalweg.core.errors"}),
        ("def f():\n    import jax", {"jax"}),
        ("if TYPE_CHECKING:\n    import jax", {"jax"}),
    ],
)
def test_the_reader_sees_every_form_of_import(text, found):
    assert read_imports(text, "thalweg.problems") == found


def test_the_reader_tells_late_imports_apart():
    assert read_imports("def f():\n    import jax", "thalweg", late=False) == set()


def test_every_room_has_one_rung():
    assert {part(module) for module in FILES} <= set(RUNG)
    assert sum(map(len, RUNGS)) == len(RUNG)
    assert set(RUNG) - {part(module) for module in FILES} == set()


def test_nothing_lies_loose_at_the_top():
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py"}


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module):
    here = part(module)
    for name in own(imports(module)):
        there = part(name)
        assert here == there or RUNG[there] < RUNG[here], (
            f"{module} imports {name}: {there!r} is not below {here!r}"
        )


def test_no_import_circle():
    for module in FILES:
        others = chain.from_iterable(reached(name) for name in own(imports(module)))
        assert module not in set(others), f"{module} imports itself by way of others"


@pytest.mark.parametrize("module", [name for name in FILES if part(name) == "report"])
def test_the_report_needs_no_jax(module):
    """Pages are rebuilt from stored results, on machines without JAX."""
    below = {name for name in own(imports(module)) if part(name) != "report"}
    assert below <= {"thalweg.core.errors", *(m for m in FILES if part(m) == "storage")}
    assert not set().union(*(outside(imports(name)) for name in reached(module))) & JAX


@pytest.mark.parametrize("module", [name for name in FILES if name == "thalweg.studies"])
def test_the_registry_of_studies_is_light(module):
    """Listing the studies must not wait for a numerical library; loading one may."""
    needed = set().union(*(outside(imports(name, False)) for name in reached(module, late=False)))
    assert needed <= set(sys.stdlib_module_names)


def test_no_vague_names():
    for module in FILES:
        words = set(module.replace("_", ".").split("."))
        assert not words & VAGUE_NAMES, f"{module}: name it after what it holds"


def test_files_stay_readable():
    lengths = {m: len(p.read_text(encoding="utf-8").splitlines()) for m, p in FILES.items()}
    assert {m: n for m, n in lengths.items() if n > LONGEST_FILE} == {}
