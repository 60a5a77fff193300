"""Checks and verdicts: what holds, what fails, and what must never pass for holding."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.lab.checks import Check, above, all_of, below, in_more_than, near, true, within
from thalweg.lab.claims import Claim, Failure, judge
from thalweg.lab.claims import claim as declare

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


def test_differences_beyond_the_largest_number_are_judged():
    assert not below(1.7e308, -1e292).ok
    assert above(1.7e308, -1e292).ok
    assert below(-1.7e308, 1e308).ok
    assert not above(-1.7e308, 1e308).ok


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


def test_an_entry_is_placed_by_its_coordinates():
    loss = xr.DataArray(
        [[1.0, 2.0], [5.0, 4.0]], dims=("width", "seed"), coords={"width": [16, 32]}
    )
    failed = below(loss, 3.0, what="loss (width, seed)")
    assert failed.reason == "fails at loss (width = 32, seed no. 1)"
    assert near(loss, loss + 0.1 * (loss == 4), absolute=1, what="loss (own)").reason == (
        "loss (own) (width = 32, seed no. 2)"
    )
    assert above(loss.isel(seed=0), 0.0).reason == "(width = 16)"
    assert above(loss.max(), 0.0, what="loss").reason == "loss"
    named = loss.assign_coords(width=["narrow", "wide"]).rename(width="model_name").isel(seed=0)
    assert within(named, 0.0, 5.5, what="loss").reason == "loss (model name wide)"
    grown = near(loss.isel(seed=0), np.ones((3, 2)), absolute=9, what="loss")
    assert grown.reason == "loss entry (0, 1)"  # its axes are not those of the labelled values


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


@pytest.mark.parametrize("n", [1, 4, 5, 8, 24, 40])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_a_share_of_draws_is_shown_by_its_binomial_tail(n, share, confidence):
    """By hand: with that share, P(at least as many) <= 1 - confidence."""
    for count in range(n + 1):
        tail = sum(comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count, n + 1))
        check = in_more_than(share, np.arange(n) < count, confidence=confidence, what="x")
        assert check.ok == (tail < 1 - confidence)
        assert check.ok == (check.margin <= 1)
        assert f"x: {count} of {n} draws" in check.reason


def test_a_true_share_is_rarely_overstated():
    """The bound exceeds the true probability in at most one of twenty repetitions."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(600):
        wrong += in_more_than(0.6, rng.random(20) < 0.6).ok
    assert wrong <= 600 * 0.05 + 3 * np.sqrt(600 * 0.05 * 0.95)


def test_draws_that_are_no_numbers_show_nothing():
    values = np.array([0.1] * 8 + [NAN] * 8)
    assert in_more_than(0.5, values[:8] < 1).ok
    assert not in_more_than(0.5, values < 1).ok
    assert not in_more_than(0.5, np.zeros((0, 3)) < 1).ok


def test_true_and_all_of():
    holds, fails = true(1, "a", "b"), true([], "c", "d", what="order")
    assert (holds.ok, fails.ok) == (True, False)
    failed = all_of(holds, fails, below(3.0, 1.0))
    assert (failed.ok, failed.measured, failed.reason) == (False, "c", "order")
    assert failed.parts == (holds, fails, below(3.0, 1.0))
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


KNOWN = Failure("of rounding")


def claim(ok: bool, *failures: Failure, needs: tuple[str, ...] = ("a",)) -> Claim:
    return Claim("C1", "It is so.", "exact", "E1", needs, lambda _: Check(ok, 1, 1), failures)


def test_verdicts():
    results = {"a": xr.Dataset(), "b": xr.Dataset()}
    cases = [
        (claim(True), "reproduced", False),
        (claim(False), "not reproduced", True),
        (claim(False, KNOWN), "not reproduced", False),
        (claim(True, KNOWN), "reproduced", True),
        (claim(True, needs=("a", "c", "d")), "not run", True),
        (claim(True, KNOWN, needs=("c",)), "not run", True),
    ]
    for verdict, (_, word, surprising) in zip(
        judge([c for c, *_ in cases], results), cases, strict=True
    ):
        assert verdict.word == word
        assert verdict.surprising == surprising
    assert judge([cases[4][0]], results)[0].note == "needs c, d"
    assert judge([], {}) == []


def bundle(*failures: Failure, **ok: bool) -> Claim:
    """A claim of several checks by name, with failures expected of some."""
    checks = [below(1.0 if holds else 3.0, 2.0, what=name) for name, holds in ok.items()]
    # Bundled twice over: parts of parts are parts.
    return Claim("C1", "s", "exact", "E", (), lambda _: all_of(all_of(*checks[:2]), *checks[2:]),
                 failures)  # fmt: skip


@pytest.mark.parametrize("a", [True, False])
@pytest.mark.parametrize("b", [True, False])
@pytest.mark.parametrize("c", [True, False])
@pytest.mark.parametrize("known", [(), ("a",), ("b",), ("a", "c")])
def test_each_part_is_judged_on_its_own(a, b, c, known):
    """By hand: a surprise for each part whose outcome is not the expected one, for no other."""
    outcome = {"a": a, "b": b, "c": c}
    (verdict,) = judge([bundle(*(Failure(f"{p} is odd", p) for p in known), **outcome)], {})
    wrong = [part for part, ok in outcome.items() if ok == (part in known)]
    assert [told.split(": ")[1] for told in verdict.surprises] == wrong
    for told in verdict.surprises:
        part = told.split(": ")[1]
        assert told.startswith("unexpectedly " + ("" if outcome[part] else "not ") + "reproduced")
        assert f"measured {1 if outcome[part] else 3}, expected at most 2" in told
        assert (f"{part} is odd" in told) == outcome[part]
    assert verdict.word == ("reproduced" if a and b and c else "not reproduced")
    assert verdict.excuses == tuple(f"{p} is odd" for p in known if not outcome[p])
    failed = [part for part, ok in outcome.items() if not ok]
    first = [part for part in failed if part not in known] or failed
    assert not failed or verdict.check.what == first[0]
    assert [single.what for single, _ in verdict.judged] == ["a", "b", "c"]


def test_a_failure_is_expected_at_its_scale_alone():
    at_full = bundle(Failure("z is far", "z", ("full",)), y=True, z=False)
    assert judge([at_full], {}, "quick")[0].surprising
    assert not judge([at_full], {}, "full")[0].surprising
    mended = bundle(Failure("z is far", "z", ("full",)), y=True, z=True)
    assert not judge([mended], {}, "quick")[0].surprising
    (told,) = judge([mended], {}, "full")[0].surprises
    assert told.endswith("though a failure was expected: z is far")
    with pytest.raises(InputError, match="scale"):
        judge([at_full], {}, "fulll")


@pytest.mark.parametrize(
    ("part", "parts"),
    [("", "'y', 'z'"), ("x", "'y', 'z'"), ("Z", "'y', 'z'")],
    ids=["the whole bundle", "none of them", "nearly one of them"],
)
def test_a_bundle_is_not_excused_as_a_whole(part, parts):
    with pytest.raises(InputError, match=f"C1 expects the check '{part}' to fail.*{parts}"):
        judge([bundle(Failure("so", part), y=True, z=False)], {})


def test_two_parts_of_one_name_cannot_be_told_apart():
    twice = Claim(
        "C3", "s", "exact", "E", (), lambda _: all_of(below(1, 2, what="x"), below(3, 2, what="x")),
        (Failure("so", "x"),),
    )  # fmt: skip
    with pytest.raises(InputError, match="each called otherwise"):
        judge([twice], {})


@pytest.mark.parametrize(("because", "scales"), [("", ("full",)), ("so", ("fully",))])
def test_a_failure_needs_a_reason_and_a_scale(because, scales):
    with pytest.raises(InputError):
        Failure(because, "x", scales)


def test_a_check_reads_what_it_named():
    seen = Claim("C2", "s", "empirical", "E", ("a",), lambda r: below(r["a"]["x"], 2.0, what="x"))
    (verdict,) = judge([seen], {"a": xr.Dataset({"x": ("t", [1.0, 3.0])})})
    assert verdict.check is not None
    assert verdict.check.measured == 3.0


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="unknown kind of claim C9 'proven'"):
        Claim("C9", "s", "proven", "E", (), lambda _: Check(True, 1, 1))


def test_a_docstring_says_what_arguments_would():
    def falls(X1, X1_draws):
        """The loss falls, to the last
        step.

        Falsified by: a loss
        that rises.

        Stated so: the paper says less.

        Too small: one step shows nothing.
        """
        return below(X1["loss"].diff("time"), 0)

    written = declare("C1", kind="exact", source="E1")(falls)
    falls.__doc__ = None
    given = declare(
        "C1", "The loss falls, to the last step.", kind="exact", source="E1",
        falsified_by="a loss that rises", because="the paper says less",
        too_small="one step shows nothing",
    )(falls)  # fmt: skip
    said = ("statement", "falsified_by", "because", "too_small", "needs")
    for name in said:
        assert getattr(written, name) == getattr(given, name), name
    assert written.needs == ("X1", "X1-draws")


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        (None, "claim C1 states nothing"),
        ("The loss falls.", "says of no measurement that it falsifies it"),
        (
            "The loss falls.\n\nSometimes.",
            "goes on with 'Sometimes.'; begin a paragraph with one of",
        ),
        ("It falls.\n\nToo small: a.\n\nToo small: b.", "goes on with 'Too small: b.'"),
    ],
)
def test_a_docstring_that_says_something_else_is_refused(docstring, sentence):
    def falls(X1):
        return below(X1["loss"], 0)

    falls.__doc__ = docstring
    with pytest.raises(InputError, match=sentence):
        declare("C1", kind="exact", source="E1")(falls)
