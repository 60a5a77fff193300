"""The repository about itself: docstrings, public names, versions, what tracked files may say."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

import thalweg

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PATHS = sorted((SOURCE / "thalweg").rglob("*.py"))
MODULES = [
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in PATHS
]

# Written in two pieces, so that this file does not find itself.
REGISTRIES = re.compile(
    "|".join(
        host + r"\." + end
        for host, end in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("anaconda", "org"),
        )
    )
)
MACHINE_PATHS = re.compile(r"(?<![\w./:~-])/" + r"(?:home|work|root|Users)/\w")


def tracked() -> list[Path]:
    """Files that git holds or would hold."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no list of tracked files")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def loaded() -> dict[str, ModuleType]:
    """Every module that can be imported, by name."""
    return {m: importlib.import_module(m) for m in MODULES if not m.endswith("__main__")}


def test_public_modules_say_what_they_are():
    silent = [
        module
        for path, module in zip(PATHS, MODULES, strict=True)
        if not any(word.startswith("_") for word in module.split("."))
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_public_names_exist_once(loaded):
    exported = {module: getattr(loaded[module], "__all__", []) for module in loaded}
    assert any(exported.values())
    assert [m for m, names in exported.items() if len(names) != len(set(names))] == []
    assert [
        (m, n) for m, names in exported.items() for n in names if not hasattr(loaded[m], n)
    ] == []


def test_no_exported_name_hides_a_module(loaded):
    """A function called as the module that it comes from takes that module out of reach."""
    hidden = [
        f"{module}.{name}"
        for module in loaded
        for name in getattr(loaded[module], "__all__", [])
        if f"{module}.{name}" in MODULES and not inspect.ismodule(getattr(loaded[module], name))
    ]
    assert hidden == []


def test_public_methods_are_described(loaded):
    """By themselves, or where a base class declares them."""
    silent = [
        f"{module}.{kind.__name__}.{name}"
        for module in loaded
        for kind in vars(loaded[module]).values()
        if inspect.isclass(kind) and kind.__module__ == module and kind.__name__[0] != "_"
        for name, member in vars(kind).items()
        if name[0] != "_" and (inspect.isroutine(member) or isinstance(member, property))
        if not inspect.getdoc(getattr(kind, name))
    ]
    assert silent == []


def test_tracked_files_name_no_registry_and_no_machine():
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for pattern in (REGISTRIES, MACHINE_PATHS):
            found += [
                f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)
            ]
    assert found == []


@pytest.mark.parametrize("text", ["https://" + "pypi" + ".org/simple", "in /" + "home/someone"])
def test_the_patterns_find_what_they_are_for(text):
    assert REGISTRIES.search(text) or MACHINE_PATHS.search(text)


def test_nothing_lies_at_the_root_that_a_run_left_there():
    known = {"benchmarks", "docs", "src", "tests", "tools", ".ci", ".gitignore", "mkdocs.yml"}
    known |= {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile"}
    known |= {"README.md", "pyproject.toml"}
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} <= known


def test_citation_names_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    stated = re.search(r"^version: (\S+)$", text, re.MULTILINE)
    assert stated is not None
    assert stated.group(1).strip('"') == thalweg.__version__


def test_the_changelog_has_a_place_for_what_comes_next():
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_files_of_tests_share_no_name_unless_their_folders_are_packages():
    """Else pytest takes the second for the first, and runs neither."""
    seen = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if not (path.parent / "__init__.py").exists():
            assert path.name not in seen, f"{path} and {seen[path.name]}"
            seen[path.name] = path
