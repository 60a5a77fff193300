"""The kit that tests every study: one smoke result each, and faults planted under its claims.

A planted fault is a wrong sign, factor or transpose in what a claim rests on. The claim must then
fail; one that cannot fail says nothing. See `docs/extend/planted-faults.md`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from thalweg.lab.claims import judge
from thalweg.lab.experiment import Lab
from thalweg.lab.runner import experiments
from thalweg.lab.study import Study
from thalweg.studies import STUDIES, study_named

LAB = Lab("smoke", progress=False)
SLUGS = {place.rpartition(".")[2]: slug for slug, place in STUDIES.items()}


@dataclass(frozen=True)
class Fault:
    """What is planted, where, and which claim must notice.

    Attributes:
        claim: The claim that must fail.
        place: The module or class that is changed.
        name: What of it.
        wrong: Called as `wrong(right, *arguments)` in the place of `right(*arguments)`; or, with
            `value`, put there as it is.
        about: What is wrong, in words.
        sizes: Fields of the experiments' smoke sizes that are changed, where a smaller run shows
            it, or a larger one is needed.
        value: Whether `wrong` is a value, not a function.
        reruns: Which of the claim's experiments run again under it; all by default. One that only
            touches the judgement needs none: ().
    """

    claim: str
    place: Any
    name: str
    wrong: Any
    about: str = ""
    sizes: Mapping[str, Any] = field(default_factory=dict)
    value: bool = False
    reruns: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{self.claim}: {self.about or getattr(self.wrong, '__name__', self.name)}"


def fault_table(*faults: Fault) -> pytest.MarkDecorator:
    """`@fault_table(Fault(...), ...)` above a test that takes `fault` and `noticed`."""
    return pytest.mark.parametrize("fault", faults, ids=str)


def study_of(path: Path) -> Study:
    """The study whose folder of tests a file lies in."""
    return study_named(SLUGS[path.parent.name])


@pytest.fixture(scope="session")
def smoke(request: pytest.FixtureRequest) -> Callable[[str], dict[str, xr.Dataset]]:
    """The tables of a study at smoke scale, by slug: run once, and kept while its source is."""
    cache = request.config.cache
    folder = Path(cache.mkdir("smoke")) if cache is not None else None
    found: dict[str, dict[str, xr.Dataset]] = {}

    def of(slug: str) -> dict[str, xr.Dataset]:
        if slug not in found:
            place = folder / os.environ.get("PYTEST_XDIST_WORKER", "main") / slug if folder else None
            lab = Lab("smoke", place, progress=False)
            found[slug] = experiments(study_named(slug), lab)[0]
        return dict(found[slug])

    return of


@pytest.fixture
def study(request: pytest.FixtureRequest) -> Study:
    """The study that this folder of tests is about."""
    return study_of(request.path)


@pytest.fixture
def results(study: Study, smoke: Callable[[str], dict[str, xr.Dataset]]) -> dict[str, xr.Dataset]:
    """Its tables at smoke scale."""
    return smoke(study.slug)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that replaces `place.name` by `wrong(right, *arguments)`."""

    def planted(place: Any, name: str, wrong: Any, value: bool = False) -> None:
        right = getattr(place, name)
        monkeypatch.setattr(
            place, name, wrong if value else lambda *a, **k: wrong(right, *a, **k)
        )

    return planted


@pytest.fixture
def word(study: Study, results: dict[str, xr.Dataset]) -> Callable[..., str]:
    """The verdict on a claim, some tables of the smoke scale replaced by others: `X1_draws=...`."""

    def of(claim: str, **others: xr.Dataset) -> str:
        tables = results | {name.replace("_", "-"): t for name, t in others.items()}
        (asked,) = (c for c in study.claims if c.id == claim)
        check = asked.check(tables)  # at any scale: the fault must show where it is planted
        return "reproduced" if check.ok else "not reproduced"

    return of


@pytest.fixture
def noticed(
    study: Study, results: dict[str, xr.Dataset], plant: Callable[..., None],
    word: Callable[..., str],
) -> Callable[[Fault], str]:
    """The verdict on a fault's claim once it is planted and what the claim needs was run again."""

    def of(fault: Fault) -> str:
        (asked,) = (c for c in study.claims if c.id == fault.claim)
        again = asked.needs if fault.reruns is None else fault.reruns
        plant(fault.place, fault.name, fault.wrong, fault.value)
        fresh = {}
        for name in again:
            experiment: Any = study.experiments[name]
            size = experiment.sizes.get("smoke")
            changes = {k: v for k, v in fault.sizes.items() if hasattr(size, k)}
            fresh[name.replace("-", "_")] = experiment(LAB, **changes)
        return word(fault.claim, **fresh)

    return of


__all__ = ["LAB", "Fault", "fault_table", "judge"]
