"""The papers, a folder each: found by their folders, and named without importing any of them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from thalweg.core.errors import InputError, choose

STUDIES: dict[str, str] = {
    place.name.replace("_", "-"): f"{__name__}.{place.name}"
    for place in sorted(Path(__file__).parent.iterdir())
    if (place / "__init__.py").exists()
}

FORMER = {
    "continuous-vs-discrete": "elkabetz2021-continuous-discrete",
    "exact-linear-dynamics": "saxe2013-exact-solutions",
}


def slug_of(name: str) -> str:
    """The slug that a name means: itself, a unique beginning of it, or what it was called before.

    Raises:
        InputError: If it means none or several; with the nearest right name.
    """
    if name in STUDIES or name in FORMER:
        return FORMER.get(name, name)
    meant = [slug for slug in STUDIES if name and slug.startswith(name)]
    if len(meant) > 1:
        raise InputError(f"study {name!r} may be {' or '.join(meant)}; give more of its name")
    if meant:
        return meant[0]
    choose(name, STUDIES, "study")
    raise AssertionError


def study_named(name: str) -> Any:
    """The study that a name means: see `slug_of`."""
    slug = slug_of(name)
    package = importlib.import_module(STUDIES[slug])
    if hasattr(package, "STUDY"):
        return package.STUDY
    return importlib.import_module("thalweg.lab.study").assemble(STUDIES[slug], slug)


def card_of(slug: str) -> Any:
    """The card of a study, without its experiments."""
    package = importlib.import_module(STUDIES[slug])
    return getattr(package, "CARD", None) or package.STUDY
