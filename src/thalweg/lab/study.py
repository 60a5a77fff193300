"""What a study is: one paper as its card, experiments, claims and figures."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from thalweg.core.errors import require
from thalweg.lab.card import Card
from thalweg.lab.claims import Claim
from thalweg.lab.experiment import Experiment
from thalweg.report.spec import Figure


@dataclass(frozen=True)
class Study(Card):
    """One paper: plain data about it, and functions that rerun it.

    Attributes:
        slug: Its name on the command line.
        experiments: By name; each returns one table with units in attrs.
        claims: What is checked.
        figures: What is drawn, from the tables of the experiments by name.
    """

    slug: str = ""
    experiments: Mapping[str, Experiment] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    figures: tuple[Figure, ...] = ()


def assemble(package: str, slug: str) -> Study:
    """The study in a package: the card of its `__init__`, and what its modules declare.

    Experiments (`@experiment`) and claims (`@claim`) are found in all its modules and sorted by
    their names, numbers as numbers; figures are the tuple `FIGURES` of its module `figures`.

    Args:
        package: The package, as "thalweg.studies.wu2020_weight_normalization".
        slug: Its name on the command line.

    Raises:
        InputError: If two experiments or two claims have one name, or the card is missing.
    """
    card = importlib.import_module(package)
    require(hasattr(card, "CARD"), f"{package} has no CARD; give one")
    names = sorted(found.name for found in pkgutil.iter_modules(card.__path__, f"{package}."))
    modules = [card, *map(importlib.import_module, names)]
    objects = {id(v): v for m in modules for k, v in vars(m).items() if k[:2] != "__"}.values()
    experiments = sorted(
        (v for v in objects if isinstance(v, Experiment)), key=lambda e: _natural(e.name)
    )
    claims = sorted((v for v in objects if isinstance(v, Claim)), key=lambda c: _natural(c.id))
    for what, called in (
        ("experiments", [e.name for e in experiments]),
        ("claims", [c.id for c in claims]),
    ):
        require(len(set(called)) == len(called), f"{package} has two {what} of one name: {called}")
    figures = next((m.FIGURES for m in modules if hasattr(m, "FIGURES")), ())
    return Study(
        **vars(card.CARD),
        slug=slug,
        experiments={e.name: e for e in experiments},
        claims=tuple(claims),
        figures=tuple(figures),
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts X2 before X10."""
    return [(int(part or -1), text) for part, text in re.findall(r"(\d+)|(\D+)", name)]
