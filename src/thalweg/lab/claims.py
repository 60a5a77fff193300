"""Claims of theory or of a paper, and the verdicts that measurements pass on them.

A claim that fails is a normal verdict, shown with its number and the reason, like any other. A
claim may bundle several checks; each is judged on its own, and a failure is expected of one of them
by name, so that it cannot excuse the others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from thalweg.core.errors import require, unknown
from thalweg.lab.card import SCALES
from thalweg.lab.checks import Check, Unmeasured, above, below, near
from thalweg.theory.prediction import KINDS as PREDICTION_KINDS

KINDS = {
    "exact": "a theorem or an identity: equal up to rounding and the stated numerical error",
    "asymptotic": "true in a limit; here beside it, within a stated distance",
    "statistical": "true of a share of all draws, with a stated confidence",
    "empirical": "what was seen on the runs at hand; no theorem says so",
}
AT_PAPER_SIZE = ("", "quick", "full", "none")
REPRODUCED, REDUCED = "reproduced", "reproduced at reduced scale"


@dataclass(frozen=True)
class Failure:
    """A single check that is expected to fail, and why.

    Attributes:
        because: The reason, with its number.
        part: The `what` of the check; "" for a claim that is one check.
        scales: Where it is expected; at quick and full scale by default.
    """

    because: str
    part: str = ""
    scales: tuple[str, ...] = ("quick", "full")

    def __post_init__(self) -> None:
        """Refuse a failure without a reason, and an unknown scale."""
        require(bool(self.because), f"the failure expected of {self.part!r} came without a reason")
        for scale in self.scales:
            require(scale in SCALES, unknown(scale, SCALES, "scale"))


@dataclass(frozen=True)
class Claim:
    """A statement that can fail.

    Attributes:
        id: Its name in the specification: C1, C2, ...
        statement: One sentence.
        kind: One of `KINDS`.
        source: Paper, equation or figure.
        needs: Names of the experiments whose tables the check reads.
        check: Passes judgement on those tables, by experiment name.
        failures: The parts of it that are expected to fail; all others are expected to hold.
        because: Why it is stated so, where the specification asks something else.
        falsified_by: What measurement would falsify it, fixed beside the tolerance.
        paper_size_at: From which scale on it is checked at the size that the paper states it for:
            "quick", "full" or "none"; "" for what is stated of any size.
        too_small: Why smoke scale is too small to judge it; "" where it is not.
    """

    id: str
    statement: str
    kind: str
    source: str
    needs: tuple[str, ...]
    check: Callable[[Mapping[str, xr.Dataset]], Check]
    failures: tuple[Failure, ...] = ()
    because: str = ""
    falsified_by: str = ""
    paper_size_at: str = ""
    too_small: str = ""

    def __post_init__(self) -> None:
        """Refuse an unknown kind or scale."""
        require(self.kind in KINDS, unknown(self.kind, KINDS, f"kind of claim {self.id}"))
        at = self.paper_size_at
        require(at in AT_PAPER_SIZE, unknown(at, AT_PAPER_SIZE, f"scale of claim {self.id}"))

    def reduced(self, scale: str) -> bool:
        """Whether a scale is smaller than what it is stated of."""
        order = list(SCALES)
        if self.paper_size_at in ("", "none"):
            return self.paper_size_at == "none"
        return order.index(scale) < order.index(self.paper_size_at)

    def excuse(self, single: Check, scale: str) -> str:
        """Why one of its checks is expected to fail at a scale; "" if it is expected to hold."""
        asked = (f for f in self.failures if scale in f.scales)
        return next((f.because for f in asked if f.part in ("", single.what)), "")


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        claim: The claim.
        check: The comparison that decides; None if it was not run.
        note: Why it was not run.
        scale: At which scale it was checked.
    """

    claim: Claim
    check: Check | None
    note: str = field(default="")
    scale: str = "quick"

    @property
    def word(self) -> str:
        """Reproduced, at reduced scale or not, not reproduced, or not run."""
        if self.check is None:
            return "not run"
        if not self.check.ok:
            return "not reproduced"
        return REDUCED if self.claim.reduced(self.scale) else REPRODUCED

    @property
    def reproduced(self) -> bool:
        """Whether it is, at the paper's scale or a smaller one."""
        return self.check is not None and bool(self.check.ok)

    @property
    def judged(self) -> tuple[tuple[Check, str], ...]:
        """Each single check, and why it is expected to fail; "" if it is expected to hold."""
        singles = self.check.singles if self.check else ()
        return tuple((single, self.claim.excuse(single, self.scale)) for single in singles)

    @property
    def excuses(self) -> tuple[str, ...]:
        """Why parts fail, for those that do and were expected to."""
        return tuple(because for single, because in self.judged if because and not single.ok)

    @property
    def surprises(self) -> tuple[str, ...]:
        """A sentence for each part that came out otherwise than expected, or for none run."""
        if self.check is None:
            too_small = self.scale == "smoke" and self.note == self.claim.too_small
            return () if too_small else (f"not run: {self.note}",)
        return tuple(
            f"unexpectedly reproduced: {_told(single)}, though a failure was expected: {because}"
            if single.ok
            else f"unexpectedly not reproduced: {_told(single)}"
            for single, because in self.judged
            if single.ok == bool(because)
        )

    @property
    def surprising(self) -> bool:
        """Whether any part of it came out otherwise than expected, or it was not run."""
        return bool(self.surprises)


SAID = {  # how the paragraphs of a claim's docstring begin, by what they say
    "falsified_by": "Falsified by: ",
    "because": "Stated so: ",
    "too_small": "Too small: ",
}


def claim(
    id: str,
    statement: str = "",
    *,
    kind: str,
    source: str,
    falsified_by: str = "",
    paper_size_at: str = "",
    failures: tuple[Failure, ...] = (),
    because: str = "",
    too_small: str = "",
) -> Callable[[Callable[..., Check]], Claim]:
    """Declare a function as the check of a claim: what is stated is the function's docstring.

    Its first paragraph is the statement; further ones begin with "Falsified by:", "Stated so:" or
    "Too small:" and say `falsified_by`, `because` and `too_small`. A function without a docstring
    is given them as arguments. Its parameters name the experiments whose tables it reads, with "_"
    for "-": `def check(X1, X1_draws)` reads "X1" and "X1-draws".

    Args:
        id: See `Claim`, as for all others.
        statement: One sentence.
        kind: One of `KINDS`.
        source: Paper, equation or figure.
        falsified_by: What measurement would falsify it, in a sentence.
        paper_size_at: From which scale on it has the paper's size.
        failures: The parts of it that are expected to fail.
        because: Why it is stated so.
        too_small: Why smoke scale is too small to judge it.

    Returns:
        A decorator that makes the claim.

    Raises:
        InputError: If it states nothing, if nothing would falsify it, or if a paragraph begins
            otherwise.

    Examples:
        >>> from thalweg.lab.checks import below
        >>> from thalweg.lab.claims import claim
        >>> @claim("C1", kind="exact", source="E1")
        ... def falls(X1):
        ...     '''The loss falls.
        ...
        ...     Falsified by: a loss that rises.
        ...     '''
        ...     return below(X1["loss"].diff("time"), 0, what="change of the loss")
        >>> falls.needs, falls.statement, falls.falsified_by
        (('X1',), 'The loss falls.', 'a loss that rises')
    """
    given = {
        "statement": statement, "falsified_by": falsified_by, "because": because,
        "too_small": too_small,
    }  # fmt: skip

    def declare(check: Callable[..., Check]) -> Claim:
        told = {**_said(id, check.__doc__), **{name: text for name, text in given.items() if text}}
        require(bool(told.get("statement")), f"claim {id} states nothing; give it a docstring")
        falsified = told.get("falsified_by", "")
        require(bool(falsified.strip()), f"claim {id} says of no measurement that it falsifies it")
        needs = tuple(name.replace("_", "-") for name in inspect.signature(check).parameters)

        def judged(results: Mapping[str, xr.Dataset]) -> Check:
            return check(*(results[name] for name in needs))

        return Claim(
            id, kind=kind, source=source, needs=needs, check=judged, failures=failures,
            paper_size_at=paper_size_at, **told,
        )  # fmt: skip

    return declare


def _said(id: str, docstring: str | None) -> dict[str, str]:
    """What a claim's docstring says, by field: its paragraphs, each in one line."""
    statement, *further = inspect.cleandoc(docstring or "").split("\n\n")
    said = {"statement": " ".join(statement.split())}
    for paragraph in further:
        text = " ".join(paragraph.split())
        name = next((name for name, start in SAID.items() if text.startswith(start)), "")
        require(
            name not in ("", *said),
            f"claim {id} goes on with {text!r}; begin a paragraph with one of "
            f"{', '.join(map(str.strip, SAID.values()))}, each once",
        )
        said[name] = text.removeprefix(SAID[name]).removesuffix(".")
    return said


def held(
    table: xr.Dataset, name: str, *, relative: float = 0.0, absolute: float = 0.0, what: str = ""
) -> Check:
    """A measured variable held against its prediction, as the prediction's kind says.

    Args:
        table: Has the variable `name`, and `<name>_theory` as `predicted` leaves it.
        name: The variable.
        relative: Tolerance as a share of the prediction.
        absolute: Tolerance in the variable's unit.
        what: What is compared; the variable's words by default.

    Returns:
        For an "upper" prediction the check that nothing lies above it, for a "lower" one below,
        for others that all is near; where the prediction is NaN nothing is asked.

    Raises:
        InputError: If no prediction stands beside the variable.
    """
    beside = f"{name}_theory"
    require(beside in table, unknown(beside, map(str, table.data_vars), "variable"))
    theory = table[beside]
    kind = theory.attrs.get("kind")
    require(kind in PREDICTION_KINDS, unknown(str(kind), PREDICTION_KINDS, "kind of prediction"))
    measured, expected = xr.broadcast(table[name], theory)
    asked = expected.notnull().values
    m, e = measured.values[asked], expected.values[asked]
    what = what or str(table[name].attrs.get("long_name", name))
    slack = absolute + relative * np.abs(e)
    if kind == "upper":
        return below(m, e + slack, what=what)
    if kind == "lower":
        return above(m, e - slack, what=what)
    return near(m, e, relative=relative, absolute=absolute, what=what)


def judge(
    claims: Iterable[Claim], results: Mapping[str, xr.Dataset], scale: str = "quick"
) -> list[Verdict]:
    """Pass judgement on every claim whose experiments were run.

    Args:
        claims: What is checked.
        results: Data sets of the experiments, by name.
        scale: At which scale these were run: failures may be expected at one and not the other.

    Raises:
        InputError: If the scale is unknown, or a failure is expected of a part that a claim has
            not got.
    """
    require(scale in SCALES, unknown(scale, SCALES, "scale"))
    verdicts = []
    for claim in claims:
        missing = [name for name in claim.needs if name not in results]
        if missing:
            verdicts.append(Verdict(claim, None, f"needs {', '.join(missing)}", scale))
            continue
        if scale == "smoke" and claim.too_small:
            verdicts.append(Verdict(claim, None, claim.too_small, scale))
            continue
        try:
            check = claim.check(results)
        except Unmeasured as why:
            verdicts.append(Verdict(claim, None, str(why), scale))
            continue
        names = [single.what for single in check.singles]
        for part in (f.part for f in claim.failures):
            require(
                len(names) == 1 if part == "" else names.count(part) == 1,
                f"claim {claim.id} expects the check {part!r} to fail; name one of "
                f"{', '.join(map(repr, names))}, each called otherwise than the others",
            )
        first = next((c for c in check.parts if not c.ok and not claim.excuse(c, scale)), None)
        if first is not None:  # a failure that nobody expected goes in front of one that is
            check = replace(first, parts=check.parts)
        verdicts.append(Verdict(claim, check, "", scale))
    return verdicts


def _told(single: Check) -> str:
    """A check with its numbers, in words."""
    numbers = f"measured {_short(single.measured)}, expected {_short(single.expected)}"
    tolerance = f", tolerance {single.tolerance}" if single.tolerance else ""
    return f"{single.what}: {numbers}{tolerance}".removeprefix(": ")


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
