"""Planted faults: what is wrong, where, and which claim must notice.

A planted fault is a wrong sign, factor or transpose in what a claim rests on. The claim must then
fail; one that cannot fail says nothing. See `docs/extend/planted-faults.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import xarray as xr

from thalweg.lab.experiment import Lab
from thalweg.lab.study import Study

LAB = Lab("smoke", progress=False)
THOROUGH = 1  # faults of a claim in `make check`; all are in `make verify`


@dataclass(frozen=True)
class Fault:
    """What is planted, where, and which claim must notice.

    Attributes:
        claim: The claim that must fail.
        place: The module, class or table of names that is changed.
        name: What of it.
        wrong: Called as `wrong(right, *arguments)` in the place of `right(*arguments)`; or, with
            `value`, put there as it is.
        about: What is wrong, in words.
        sizes: Fields of the experiments' smoke sizes that are changed, where a smaller run shows
            it, or a larger one is needed.
        value: Whether `wrong` is a value, not a function.
        reruns: Which of the claim's experiments run again under it; all by default. One that only
            touches the judgement needs none: ().
        parts: Beginnings of the names of checks that must fail, each of them; any one by default.
        compiled: Whether compiled programs may hold what is changed, so that they are forgotten;
            those that hold a class's are always.
    """

    claim: str
    place: Any
    name: str
    wrong: Any
    about: str = ""
    sizes: Mapping[str, Any] = field(default_factory=dict)
    value: bool = False
    reruns: tuple[str, ...] | None = None
    parts: tuple[str, ...] = ()
    compiled: bool = False

    def __str__(self) -> str:
        return f"{self.claim}: {self.about or getattr(self.wrong, '__name__', self.name)}"


def rerun(study: Study, fault: Fault) -> dict[str, xr.Dataset]:
    """The tables that are run again under a fault, at its sizes; whether it is planted or not."""
    (asked,) = (c for c in study.claims if c.id == fault.claim)
    fresh = {}
    for name in asked.needs if fault.reruns is None else fault.reruns:
        experiment: Any = study.experiments[name]
        size = experiment.sizes.get("smoke")
        changes = {k: v for k, v in fault.sizes.items() if hasattr(size, k)}
        fresh[name] = experiment(LAB, **changes)
    return fresh


def fault_table(*faults: Fault) -> pytest.MarkDecorator:
    """`@fault_table(Fault(...), ...)` above a test that takes `fault` and `noticed`.

    The first `THOROUGH` faults of a claim are thorough, further ones slow.
    """
    claims = [fault.claim for fault in faults]
    further = [claims[:i].count(claim) >= THOROUGH for i, claim in enumerate(claims)]
    cases = [
        pytest.param(fault, id=str(fault), marks=[pytest.mark.slow] if later else [])
        for fault, later in zip(faults, further, strict=True)
    ]
    return pytest.mark.parametrize("fault", cases)
