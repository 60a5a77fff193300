"""The kit that tests every study: one smoke result each, and faults planted under its claims.

`planting.Fault` says what is planted; `docs/extend/planted-faults.md` how and why.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import pytest
import xarray as xr
from filelock import FileLock

from planting import Fault, rerun
from thalweg.lab.experiment import Lab
from thalweg.lab.runner import experiments
from thalweg.lab.study import Study
from thalweg.studies import STUDIES, study_named

SLUGS = {place.rpartition(".")[2]: slug for slug, place in STUDIES.items()}


def study_of(path: Path) -> Study:
    """The study whose folder of tests a file lies in."""
    return study_named(SLUGS[path.parent.name])


@pytest.fixture(scope="session")
def smoke(request: pytest.FixtureRequest) -> Callable[[str], dict[str, xr.Dataset]]:
    """The tables of a study at smoke scale, by slug: run once, and kept while its source is.

    No array in it grows a dimension and no number changes its type unless the source says so.
    Workers share them: who asks while another runs the study waits for it.
    """
    cache = getattr(request.config, "cache", None)
    options = zlib.crc32(os.environ.get("XLA_FLAGS", "").encode())  # others round differently
    folder = Path(cache.mkdir(f"smoke-{options:x}")) if cache is not None else None
    found: dict[str, dict[str, xr.Dataset]] = {}

    def of(slug: str) -> dict[str, xr.Dataset]:
        if slug not in found:
            lab = Lab("smoke", folder and folder / slug, progress=False)
            alone = FileLock(folder / f"{slug}.lock") if folder else nullcontext()
            explicit = jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict")
            with alone, explicit[0], explicit[1]:
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
def plant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that replaces `place.name`, or `place[name]`, by `wrong(right, *arguments)`."""
    stale = False

    def planted(
        place: Any, name: str, wrong: Any, value: bool = False, compiled: bool = False
    ) -> None:
        nonlocal stale
        if compiled or isinstance(place, type):  # what was compiled must not be met again
            stale = True
            jax.clear_caches()
        table = isinstance(place, dict)
        right = place[name] if table else getattr(place, name)
        put: Any = monkeypatch.setitem if table else monkeypatch.setattr
        put(place, name, wrong if value else lambda *a, **k: wrong(right, *a, **k))

    yield planted
    if stale:
        jax.clear_caches()


@pytest.fixture
def word(study: Study, results: dict[str, xr.Dataset]) -> Callable[..., str]:
    """The verdict on a claim, some tables of the smoke scale replaced by others: `X1_draws=...`."""

    def of(claim: str, parts: tuple[str, ...] = (), **others: xr.Dataset) -> str:
        tables = results | {name.replace("_", "-"): t for name, t in others.items()}
        (asked,) = (c for c in study.claims if c.id == claim)
        check = asked.check(tables)  # at any scale: the fault must show where it is planted
        held = [part for part in check.singles if part.ok and part.what.startswith(parts)]
        return "reproduced" if check.ok or held else "not reproduced"

    return of


@pytest.fixture
def noticed(
    study: Study,
    results: dict[str, xr.Dataset],
    plant: Callable[..., None],
    word: Callable[..., str],
) -> Callable[[Fault], str]:
    """The verdict on a fault's claim once it is planted and what the claim needs was run again."""

    def of(fault: Fault) -> str:
        plant(fault.place, fault.name, fault.wrong, fault.value, fault.compiled)
        fresh = {name.replace("-", "_"): found for name, found in rerun(study, fault).items()}
        return word(fault.claim, fault.parts, **fresh)

    return of
