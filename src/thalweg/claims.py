"""Claims of theory or of a paper, and the verdicts that measurements pass on them.

A claim that fails is a normal verdict, shown with its number and the reason, like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from thalweg.core.errors import require

KINDS = ("exact", "empirical")


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
    """

    ok: bool
    measured: Any
    expected: Any
    tolerance: Any = ""
    reason: str = ""
    margin: float = 0.0


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
        holds: Whether we expect it to hold; if not, `because` says why.
        because: The reason for expecting a failure.
    """

    id: str
    statement: str
    kind: str
    source: str
    needs: tuple[str, ...]
    check: Callable[[Mapping[str, xr.Dataset]], Check]
    holds: bool = True
    because: str = ""

    def __post_init__(self) -> None:
        """Refuse an unknown kind."""
        require(self.kind in KINDS, f"claim {self.id}: kind {self.kind!r}; allowed: {KINDS}")


@dataclass(frozen=True)
class Verdict:
    """What became of a claim."""

    claim: Claim
    check: Check | None
    note: str = field(default="")

    @property
    def word(self) -> str:
        """Reproduced, not reproduced, or not run."""
        if self.check is None:
            return "not run"
        return "reproduced" if self.check.ok else "not reproduced"

    @property
    def surprising(self) -> bool:
        """Whether a claim that is expected to hold does not (or could not be run)."""
        return self.claim.holds and self.word != "reproduced"


def judge(claims: Iterable[Claim], results: Mapping[str, xr.Dataset]) -> list[Verdict]:
    """Pass judgement on every claim whose experiments were run."""
    verdicts = []
    for claim in claims:
        missing = [name for name in claim.needs if name not in results]
        if missing:
            verdicts.append(Verdict(claim, None, f"needs {', '.join(missing)}"))
        else:
            verdicts.append(Verdict(claim, claim.check(results)))
    return verdicts


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
    with np.errstate(invalid="ignore"):
        excess = np.where(np.isnan(m - top), np.inf, m - top)
    at = np.unravel_index(int(np.argmax(excess)), excess.shape)
    ok = bool(excess[at] <= 0)
    used = _share(m[at], top[at]) if ok else 2.0
    return Check(ok, float(m[at]), f"at most {top[at]:.6g}", "", _where(what, at, ok), used)


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
    with np.errstate(invalid="ignore"):
        lack = np.where(np.isnan(low - m), np.inf, low - m)
    at = np.unravel_index(int(np.argmax(lack)), lack.shape)
    ok = bool(lack[at] <= 0)
    used = _share(low[at], m[at]) if ok else 2.0
    return Check(ok, float(m[at]), f"at least {low[at]:.6g}", "", _where(what, at, ok), used)


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
    return Check(ok, float(m[at]), expected, "", _where(what, at, ok), float(used[at]))


def true(condition: Any, measured: Any, expected: Any, *, what: str = "") -> Check:
    """A condition that holds or does not (an order, a monotone sequence)."""
    return Check(bool(condition), measured, expected, "", what, 0.0 if condition else 2.0)


def all_of(*checks: Check) -> Check:
    """All checks at once; the first that fails is reported, else the one nearest to failing."""
    require(len(checks) > 0, "all_of came without checks; give at least one")
    failed = [check for check in checks if not check.ok]
    worst = failed[0] if failed else max(checks, key=lambda check: check.margin)
    if failed or len(checks) == 1:
        return worst
    reason = f"all {len(checks)} checks hold; nearest to failing: {worst.reason or 'this one'}"
    return Check(True, worst.measured, worst.expected, worst.tolerance, reason, worst.margin)


def _nothing(what: str) -> Check:
    return Check(
        False, float("nan"), "a measurement", "", f"{what} nothing was measured".strip(), 2.0
    )


def _check(m: float, e: float, tolerance: str, used: float, what: str, at: tuple) -> Check:
    ok = used <= 1
    return Check(ok, float(m), float(e), tolerance, _where(what, at, ok), used)


def _where(what: str, at: tuple, ok: bool) -> str:
    place = f"entry {tuple(int(i) for i in at)}" if at else ""
    words = " ".join(part for part in (what, place) if part)
    return words if ok else f"fails at {words}" if words else ""
