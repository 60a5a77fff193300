"""Checks and verdicts: what holds, what fails, and what must never pass for holding."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from thalweg.claims import Check, Claim, above, all_of, below, judge, near, true, within
from thalweg.core.errors import InputError

NAN, INF = np.nan, np.inf
NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)


@given(NUMBERS, st.floats(-1e6, 1e6), st.floats(0, 1e3), st.floats(0, 1))
def test_near_is_its_inequality(m, e, absolute, relative):
    allowed = absolute + relative * abs(e)
    check = near(m, e, absolute=absolute, relative=relative)
    gap = abs(m - e)
    if gap != pytest.approx(allowed, rel=1e-12, abs=1e-300):
        assert check.ok == (gap < allowed)
    assert check.ok == (check.margin <= 1)
    assert not (np.isnan(m) and check.ok)


@given(NUMBERS, NUMBERS)
def test_below_and_above_are_their_inequalities(m, limit):
    finite = np.isfinite(m) or np.isfinite(limit)
    if finite or np.isnan(m) or np.isnan(limit):
        assert below(m, limit).ok == (m <= limit)
        assert above(m, limit).ok == (m >= limit)
    for check in (below(m, limit), above(m, limit)):
        assert isinstance(check.ok, bool)
        assert (check.margin <= 1) == check.ok


@given(NUMBERS, NUMBERS, NUMBERS)
def test_within_is_its_interval(m, low, high):
    check = within(m, low, high)
    assert check.ok == (low <= m <= high)
    assert (check.margin <= 1) == check.ok


@pytest.mark.parametrize("m", [0.1, 0.3, 0.2, 1 / 3])
def test_ends_belong_to_the_interval(m):
    assert within(m, 0.1, m).ok
    assert within(m, m, 2.0).ok
    assert within(m, m, m).ok
    assert within(5.0, 0.0, INF).ok
    assert within(5.0, -INF, INF).ok
    assert not within(-1.0, 0.0, INF).ok


def test_the_worst_entry_is_reported_and_placed():
    measured = np.array([[1.0, 2.0], [3.5, 4.0]])
    check = near(measured, [[1, 2], [3, 4]], absolute=0.1, what="slope")
    assert not check.ok
    assert (check.measured, check.expected) == (3.5, 3.0)
    assert check.reason == "fails at slope entry (1, 0)"
    assert check.margin == pytest.approx(5)
    assert below([1.0, 9.0, 3.0], 4.0).measured == 9.0
    assert above([1.0, 9.0, 3.0], 2.0).measured == 1.0
    assert below([1.0, 3.0, 2.0], 4.0).margin == 0.75
    assert within([0.0, 2.5], [-1, 2], [1, 3]).margin == 0
    assert near(1.0, 1.05, relative=0.1).tolerance == "0.1 relative"
    assert near(1.0, 1.05, absolute=0.2, relative=0.1).tolerance == "0.2 + 0.1 relative"


def test_broadcasting_meets_every_entry():
    assert near(np.ones((3, 1)), np.ones(4), absolute=1e-9).ok
    assert not below(np.ones((3, 2)), [2.0, 0.5]).ok
    assert not within(np.linspace(0, 1, 5)[:, None], 0.0, [1.0, 0.9]).ok


@pytest.mark.parametrize("bad", [NAN, [1.0, NAN], np.full((2, 2), NAN), [[1.0], [NAN]]])
def test_a_nan_never_holds(bad):
    checks = (
        near(bad, 1.0, absolute=1e9),
        near(1.0, bad, absolute=1e9),
        below(bad, INF),
        below(1.0, bad),
        above(bad, -INF),
        above(1.0, bad),
        within(bad, -INF, INF),
        within(1.0, bad, 2.0),
        within(1.0, 0.0, bad),
    )
    assert not any(check.ok for check in checks)
    assert not all_of(true(True, 1, 1), *checks).ok


@pytest.mark.parametrize("empty", [[], np.zeros((0, 3)), np.zeros((3, 0))])
def test_nothing_measured_never_holds(empty):
    for check in (near(empty, 1.0), below(empty, 1.0), above(empty, 1.0), within(empty, 0, 1)):
        assert not check.ok
        assert "nothing was measured" in check.reason
        assert check.margin > 1


def test_exact_agreement_needs_no_tolerance():
    assert near(0.0, 0.0).ok
    assert near([1.5, -2.0], [1.5, -2.0]).ok
    assert not near(1.0 + 1e-15, 1.0).ok


def test_true_and_all_of():
    holds, fails = true(1, "a", "b"), true([], "c", "d", what="order")
    assert (holds.ok, fails.ok) == (True, False)
    assert all_of(holds, fails, below(3.0, 1.0)) is fails
    assert all_of(holds) is holds
    loose, tight = near(1.0, 1.1, absolute=1.0), near(1.0, 1.1, absolute=0.11, what="tight")
    both = all_of(loose, tight, holds)
    assert both.ok
    assert both.margin == tight.margin
    assert both.measured == tight.measured
    assert "all 3 checks hold" in both.reason
    assert "tight" in both.reason
    with pytest.raises(InputError, match="all_of"):
        all_of()


def claim(ok: bool, holds: bool = True, needs: tuple[str, ...] = ("a",)) -> Claim:
    return Claim("C1", "It is so.", "exact", "E1", needs, lambda _: Check(ok, 1, 1), holds, "x")


def test_verdicts():
    results = {"a": xr.Dataset(), "b": xr.Dataset()}
    cases = [
        (claim(True), "reproduced", False),
        (claim(False), "not reproduced", True),
        (claim(False, holds=False), "not reproduced", False),
        (claim(True, holds=False), "reproduced", False),
        (claim(True, needs=("a", "c", "d")), "not run", True),
        (claim(True, holds=False, needs=("c",)), "not run", False),
    ]
    for verdict, (_, word, surprising) in zip(
        judge([c for c, *_ in cases], results), cases, strict=True
    ):
        assert verdict.word == word
        assert verdict.surprising == surprising
    assert judge([cases[4][0]], results)[0].note == "needs c, d"
    assert judge([], {}) == []


def test_a_check_reads_what_it_named():
    seen = Claim("C2", "s", "empirical", "E", ("a",), lambda r: below(r["a"]["x"], 2.0, what="x"))
    (verdict,) = judge([seen], {"a": xr.Dataset({"x": ("t", [1.0, 3.0])})})
    assert verdict.check is not None
    assert verdict.check.measured == 3.0


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="claim C9: kind 'proven'"):
        Claim("C9", "s", "proven", "E", (), lambda _: Check(True, 1, 1))
