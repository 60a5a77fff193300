"""Comparisons that pass judgement: what was measured, what it is held against, how near they are.

The entry that comes nearest to failing is the one that is reported. A NaN fails, and so does
nothing at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thalweg.core.errors import require


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


class Unmeasured(Exception):  # noqa: N818  (a finding, not an error)
    """Raised by a claim's check where what it asks could not be measured here; says why.

    The verdict is then "not run", with the sentence.
    """


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
    return _check(m[at], e[at], tolerance, float(used[at]), what, at, measured)


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
    return Check(
        ok, float(m[at]), f"at most {top[at]:.6g}", "", _where(what, at, ok, measured), used, what
    )


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
    return Check(
        ok, float(m[at]), f"at least {low[at]:.6g}", "", _where(what, at, ok, measured), used, what
    )


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
    return Check(
        ok, float(m[at]), expected, "", _where(what, at, ok, measured), float(used[at]), what
    )


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
    held = "both checks hold" if len(parts) == 2 else f"all {len(parts)} checks hold"
    reason = f"{held}; nearest to failing: {worst.reason or 'this one'}"
    return replace(worst, reason=reason, parts=parts)


def _nothing(what: str) -> Check:
    return Check(
        False, float("nan"), "a measurement", "", f"{what} nothing was measured".strip(), 2.0, what
    )


def _check(
    m: float, e: float, tolerance: str, used: float, what: str, at: tuple, measured: Any
) -> Check:
    ok = used <= 1
    return Check(ok, float(m), float(e), tolerance, _where(what, at, ok, measured), used, what)


def _where(what: str, at: tuple, ok: bool, measured: Any = None) -> str:
    """What is reported and at which entry, by its coordinates where the measured values have them.

    Words that end in the names of the axes, as `loss (n, seed)`, tell their values instead.
    """
    dims, shape = getattr(measured, "dims", ()), getattr(measured, "shape", ())
    if dims and len(at) == len(shape) and all(i < n for i, n in zip(at, shape, strict=True)):
        axes = re.search(r" ?\(([a-z_, ]+)\)$", what)
        if axes and set(axes[1].split(", ")) == set(dims):
            what = what[: axes.start()]
        values = (_coordinate(measured, d, int(i)) for d, i in zip(dims, at, strict=True))
        words = f"{what} ({', '.join(values)})".strip()
    else:
        place = f"entry {tuple(int(i) for i in at)}" if at else ""
        words = " ".join(part for part in (what, place) if part)
    return words if ok else f"fails at {words}" if words else ""


def _coordinate(measured: Any, dim: str, index: int) -> str:
    """An axis and its value there, or its number where it has none."""
    name = dim.replace("_", " ")
    if dim not in measured.coords:
        return f"{name} no. {index + 1}"
    value = measured.coords[dim].values[index]
    return f"{name} = {value:.6g}" if np.issubdtype(type(value), np.number) else f"{name} {value}"
