"""The papers, a folder each: found by their folders, and named without importing any of them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from thalweg.core.errors import InputError, unknown

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
    if name in STUDIES:
        return name
    known = {slug: slug for slug in STUDIES} | FORMER
    meant = {known[word] for word in known if name and word.startswith(name)}
    if len(meant) > 1:
        told = " or ".join(sorted(meant))
        raise InputError(f"study {name!r} may be {told}; give more of its name")
    if meant:
        return meant.pop()
    raise InputError(unknown(name, known, "study"))


def study_named(name: str) -> Any:
    """The study that a name means: see `slug_of`."""
    slug = slug_of(name)
    return importlib.import_module("thalweg.lab.study").assemble(STUDIES[slug], slug)


def card_of(slug: str) -> Any:
    """The card of a study, without its experiments."""
    return importlib.import_module(STUDIES[slug]).CARD
