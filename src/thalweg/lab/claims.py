"""Claims of theory or of a paper, and the verdicts that measurements pass on them.

A claim that fails is a normal verdict, shown with its number and the reason, like any other. A
claim may bundle several checks; each is judged on its own, and a failure is expected of one of them
by name, so that it cannot excuse the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from thalweg.core.errors import require, unknown

KINDS = ("exact", "empirical")
SCALES = ("quick", "full")


@dataclass(frozen=True)
class Check:
    """One comparison: what was measured, what was expected, whether they agree.

    Attributes:
        ok: Whether the claim holds here.
        measured: The number that decides, as text or number.
        expected: What it is held against.
        tolerance: How far they may be apart.
        reason: Why it fails, or where it came closest to failing.
        margin: How much of the tolerance is used: 1 at the limit, more where it fails.
        what: What is compared, in words: the name by which a failure is expected of it.
        parts: The checks that it bundles (`all_of`); none if it is a single one.
    """

    ok: bool
    measured: Any
    expected: Any
    tolerance: Any = ""
    reason: str = ""
    margin: float = 0.0
    what: str = ""
    parts: tuple[Check, ...] = ()

    @property
    def singles(self) -> tuple[Check, ...]:
        """The single checks that are judged: its parts, or itself."""
        return self.parts or (self,)


@dataclass(frozen=True)
class Failure:
    """A single check that is expected to fail, and why.

    Attributes:
        because: The reason, with its number.
        part: The `what` of the check; "" for a claim that is one check.
        scales: Where it is expected; at every scale by default.
    """

    because: str
    part: str = ""
    scales: tuple[str, ...] = SCALES

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
        kind: "exact" (a theorem or an identity) or "empirical" (holds on typical runs).
        source: Paper, equation or figure.
        needs: Names of the experiments whose data sets the check reads.
        check: Passes judgement on those data sets, by experiment name.
        failures: The parts of it that are expected to fail; all others are expected to hold.
        because: Why it is stated so, where the specification asks something else.
    """

    id: str
    statement: str
    kind: str
    source: str
    needs: tuple[str, ...]
    check: Callable[[Mapping[str, xr.Dataset]], Check]
    failures: tuple[Failure, ...] = ()
    because: str = ""

    def __post_init__(self) -> None:
        """Refuse an unknown kind."""
        require(self.kind in KINDS, f"claim {self.id}: kind {self.kind!r}; allowed: {KINDS}")

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
        """Reproduced, not reproduced, or not run."""
        if self.check is None:
            return "not run"
        return "reproduced" if self.check.ok else "not reproduced"

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
            return (f"not run: {self.note}",)
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
        check = claim.check(results)
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


def near(
    measured: Any, expected: Any, *, absolute: float = 0.0, relative: float = 0.0, what: str = ""
) -> Check:
    """Every measured value within absolute + relative * |expected| of what is expected.

    The entry that uses up most of its tolerance is the one reported. A NaN fails, and so does
    nothing at all, here as in the other checks.
    """
    m, e = np.broadcast_arrays(np.asarray(measured, float), np.asarray(expected, float))
    if m.size == 0:
        return _nothing(what)
    allowed = absolute + relative * np.abs(e)
    with np.errstate(over="ignore", invalid="ignore"):
        used = np.abs(m - e) / np.where(allowed > 0, allowed, np.finfo(float).tiny)
    used = np.where(np.isnan(used), np.inf, used)
    at = np.unravel_index(int(np.argmax(used)), used.shape)
    tolerance = " + ".join(
        [f"{absolute:g}"] * (absolute > 0) + [f"{relative:g} relative"] * (relative > 0)
    )
    return _check(m[at], e[at], tolerance, float(used[at]), what, at)


def below(measured: Any, limit: Any, *, what: str = "") -> Check:
    """Every measured value at most its limit; the one nearest to it, or most above, is reported."""
    m, top = np.broadcast_arrays(np.asarray(measured, float), np.asarray(limit, float))
    if m.size == 0:
        return _nothing(what)
    with np.errstate(over="ignore", invalid="ignore"):
        excess = np.where(np.isnan(m - top), np.inf, m - top)
    at = np.unravel_index(int(np.argmax(excess)), excess.shape)
    ok = bool(excess[at] <= 0)
    used = _share(m[at], top[at]) if ok else 2.0
    return Check(ok, float(m[at]), f"at most {top[at]:.6g}", "", _where(what, at, ok), used, what)


def _share(part: float, whole: float) -> float:
    """How much of what is allowed is used, from 0 to 1; 0 where the two have not one sign."""
    with np.errstate(over="ignore", invalid="ignore"):
        share = float(np.float64(part) / whole) if whole > 0 else 0.0
    return min(max(share, 0.0), 1.0) if np.isfinite(share) else 0.0


def above(measured: Any, limit: Any, *, what: str = "") -> Check:
    """Every measured value at least its limit."""
    m, low = np.broadcast_arrays(np.asarray(measured, float), np.asarray(limit, float))
    if m.size == 0:
        return _nothing(what)
    with np.errstate(over="ignore", invalid="ignore"):
        lack = np.where(np.isnan(low - m), np.inf, low - m)
    at = np.unravel_index(int(np.argmax(lack)), lack.shape)
    ok = bool(lack[at] <= 0)
    used = _share(low[at], m[at]) if ok else 2.0
    return Check(ok, float(m[at]), f"at least {low[at]:.6g}", "", _where(what, at, ok), used, what)


def within(measured: Any, low: Any, high: Any, *, what: str = "") -> Check:
    """Every measured value inside [low, high]."""
    m, a, b = (np.asarray(v, float) for v in (measured, low, high))
    m, a, b = np.broadcast_arrays(m, a, b)
    if m.size == 0:
        return _nothing(what)
    inside = (a <= m) & (m <= b)
    with np.errstate(all="ignore"):
        used = np.abs(m - (a + b) / 2) / ((b - a) / 2)
    # An open end has no middle, and rounding must not decide at the ends.
    kept = np.where(np.isfinite(used), np.minimum(used, 1.0), 0.0)
    used = np.where(inside, kept, np.where(used > 1, used, np.inf))
    at = np.unravel_index(int(np.argmax(used)), used.shape)
    ok = bool(inside[at])
    expected = f"in [{a[at]:.6g}, {b[at]:.6g}]"
    return Check(ok, float(m[at]), expected, "", _where(what, at, ok), float(used[at]), what)


def true(condition: Any, measured: Any, expected: Any, *, what: str = "") -> Check:
    """A condition that holds or does not (an order, a monotone sequence)."""
    return Check(bool(condition), measured, expected, "", what, 0.0 if condition else 2.0, what)


def in_more_than(share: float, holds: Any, *, confidence: float = 0.95, what: str = "") -> Check:
    """A property of more than a share of all draws, as the draws at hand show it.

    Reported is the lower confidence bound on its probability (one-sided, Clopper and Pearson): if
    the share were no larger, so many draws would have the property with a probability of at most
    1 - confidence. So few draws show little, and all of 4 do not yet show a half.

    Args:
        share: What is claimed, from 0 to 1.
        holds: For each independent draw whether it has the property; a comparison with NaN has
            not.
        confidence: How sure the bound is.
        what: The property, in words.
    """
    from scipy.stats import binomtest  # imported by those who run, not by those who list

    draws = np.asarray(holds, bool).ravel()
    if draws.size == 0:
        return _nothing(what)
    count = int(draws.sum())
    found = binomtest(count, draws.size, alternative="greater")
    low = float(found.proportion_ci(confidence, method="exact").low)
    ok = low > share
    reason = _where(f"{what}: {count} of {draws.size} draws".removeprefix(": "), (), ok)
    expected = f"more than {share:g} of all draws, {confidence:g} sure"
    return Check(ok, low, expected, "", reason, _share(share, low) if ok else 2.0, what)


def all_of(*checks: Check) -> Check:
    """All checks at once; the first that fails is reported, else the one nearest to failing.

    They stay apart in its `parts`, where each is judged on its own.
    """
    require(len(checks) > 0, "all_of came without checks; give at least one")
    parts = tuple(single for check in checks for single in check.singles)
    if len(parts) == 1:
        return parts[0]
    failed = [part for part in parts if not part.ok]
    if failed:
        return replace(failed[0], parts=parts)
    worst = max(parts, key=lambda part: part.margin)
    reason = f"all {len(parts)} checks hold; nearest to failing: {worst.reason or 'this one'}"
    return replace(worst, reason=reason, parts=parts)


def _nothing(what: str) -> Check:
    return Check(
        False, float("nan"), "a measurement", "", f"{what} nothing was measured".strip(), 2.0, what
    )


def _check(m: float, e: float, tolerance: str, used: float, what: str, at: tuple) -> Check:
    ok = used <= 1
    return Check(ok, float(m), float(e), tolerance, _where(what, at, ok), used, what)


def _where(what: str, at: tuple, ok: bool) -> str:
    place = f"entry {tuple(int(i) for i in at)}" if at else ""
    words = " ".join(part for part in (what, place) if part)
    return words if ok else f"fails at {words}" if words else ""
