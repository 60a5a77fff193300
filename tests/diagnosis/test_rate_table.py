"""The table of rates: bounds held against runs, assumptions that rule rows out, page, command."""

from __future__ import annotations

import dataclasses
import importlib
import json
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

import thalweg as tw
from thalweg.cli.rates import show
from thalweg.core.errors import InputError
from thalweg.diagnosis.rates_held import row_without_run
from thalweg.diagnosis.rates_page import rates_page
from thalweg.storage.files import ReadOnlyError
from thalweg.theory.optimisers import rates as bounds

rate_table = importlib.import_module("thalweg.diagnosis.rates")


@cache
def bowl() -> tw.problems.Quadratic:
    return tw.problems.Quadratic(np.geomspace(0.1, 4, 6), np.zeros(6), np.ones(6))


@cache
def of_the_bowl():
    return tw.rates(bowl(), steps=40, seeds=3)


@pytest.mark.thorough
def test_on_a_convex_quadratic_every_bound_holds_and_none_is_ruled_out():
    found = of_the_bowl()
    rows = {row["row"]: row for row in found.rows()}
    ran = {name for name, row in rows.items() if np.isfinite(row["ratio"])}
    assert {"gradient-descent-strongly-convex", "nesterov", "agmsdr-convex", "cubic-newton"} <= ran
    assert all(rows[name]["holds"] for name in ran)
    # The bound of Polyak and Lojasiewicz's constant is nearly attained at the least curvature.
    assert 0.5 < rows["gradient-descent-strongly-convex"]["ratio"] <= 1
    constants = {a.name: a.value for a in found.assumptions}
    assert constants["smoothness"] == pytest.approx(4.0)
    assert constants["convexity"] == pytest.approx(0.1)


@pytest.mark.thorough
def test_a_bound_that_is_too_small_is_seen(monkeypatch):
    row = bounds.RATES["gradient-descent-strongly-convex"]
    halved = dataclasses.replace(row, bound=lambda N, c: row.bound(N, c) / 2)
    monkeypatch.setitem(bounds.RATES, "gradient-descent-strongly-convex", halved)
    rows = {row["row"]: row for row in tw.rates(bowl(), steps=20, seeds=1).rows()}
    assert not rows["gradient-descent-strongly-convex"]["holds"]
    assert "fails" in rows["gradient-descent-strongly-convex"]["said"]


@pytest.mark.thorough
def test_what_is_not_convex_says_so_and_the_page_holds_the_table(tmp_path: Path):
    found = tw.rates(tw.problems.robust_regression(16, 4), steps=40, seeds=3, out=tmp_path / "r")
    rows = {row["row"]: row for row in found.rows()}
    assert "not convex" in rows["nesterov"]["said"]
    assert not np.isfinite(rows["nesterov"]["ratio"])
    assert rows["page"]["holds"]
    assert rows["sgd"]["holds"]
    assert rows["storm"]["said"] == "quoted"
    plain = json.loads((tmp_path / "r" / "rates.json").read_text())
    assert {row["row"] for row in plain["rows"]} == set(bounds.RATES)
    assert "needs one above 0" in rows["gradient-descent-strongly-convex"]["said"]
    assert found.page is not None
    assert "AGMsDR" in found.page.read_text()
    # Gradients of examples are counted as their share: SGD of 4 of 16 takes a quarter a step.
    sgd = found.paths["passes"].sel(run="SGD, 4 of 16")
    np.testing.assert_allclose(sgd, np.arange(41) / 4)


KNOWN = {"smoothness": 4.0, "convexity": -0.1, "hessian_lipschitz": 1.0, "mean_smoothness": 5.0,
         "example_smoothness": 6.0}  # fmt: skip


def test_what_is_left_out_says_why_on_the_page_and_the_terminal(capsys):
    """No examples, no convexity, too many parameters; every row of the table has its line."""
    many = tw.problems.Quadratic(np.ones(300), np.zeros(300), np.ones(300))
    _, left_out = rate_table._runs(many, many.start, KNOWN, 1, None, "a Quadratic has no data")
    assert set(left_out) == {"gradient-descent-strongly-convex", "cubic-newton", "sgd", "page",
                             "spider", "svrg"}  # fmt: skip
    rows = [row_without_run(name, left_out.get(name, "")) for name in bounds.RATES]
    claims = rates_page(rows, (), many.describe(), "", 1.0).claims
    shown = dict(zip(bounds.RATES, claims, strict=True))
    assert shown["sgd"].verdict == "not run"
    assert shown["sgd"].reason == "not run: a Quadratic has no data"
    assert shown["svrg"].reason == "quoted; not run: a Quadratic has no data"
    assert "300 parameters came" in shown["cubic-newton"].reason
    assert "mu came out as -0.1" in shown["gradient-descent-strongly-convex"].reason
    found = rate_table.Rates(rate_table._table(rows), xr.Dataset(), ())
    assert str(found).count("not run: a Quadratic has no data") == 4
    show(found)
    assert " ".join(capsys.readouterr().out.split()).count("a Quadratic has no data") == 4


def test_with_weight_decay_single_examples_are_drawn():
    decayed = tw.problems.Decayed(tw.problems.robust_regression(16, 4), 0.1)
    start = decayed.init(jax.random.key(0))
    runs, left_out = rate_table._runs(decayed, start, KNOWN, 2, 3, "")
    assert set(left_out) == {"gradient-descent-strongly-convex"}
    assert [run.label for run in runs][-4:] == [
        f"{name}, 3 of 16" for name in ("SGD", "PAGE", "SARAH", "SVRG")
    ]
    with pytest.raises(InputError, match="give 1 to 16"):
        rate_table._runs(decayed, start, KNOWN, 2, 17, "")


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
def test_bounds_of_stochastic_methods_hold_with_a_term(own):
    """A term of one's own is the same as weight decay, to the same table."""
    plain = tw.problems.robust_regression(16, 4)
    names = ("model", "loss", "inputs", "targets", "reduction")
    with_term = WithTerm(*(getattr(plain, n) for n in names))
    problem = with_term if own else tw.problems.Decayed(plain, 0.1)
    rows = {row["row"]: row for row in tw.rates(problem, steps=40, seeds=3).rows()}
    assert rows["sgd"]["holds"]
    assert rows["page"]["holds"]
    assert rows["svrg"]["said"] == "quoted; run beside"


class WithTerm(tw.problems.Supervised):
    """A loss with a term of its own, which is that of weight decay 0.1."""

    def objective(self, params):
        square = sum((leaf**2).sum() for leaf in jax.tree.leaves(params))
        return super().objective(params) + 0.05 * square


def test_bad_input_is_one_sentence(tmp_path: Path):
    with pytest.raises(InputError, match="steps came as 3"):
        tw.rates(bowl(), steps=3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(InputError, match="in use for other things"):
        tw.rates(bowl(), out=tmp_path / "full")
    with pytest.raises(InputError, match="give 1 to 16"):
        tw.rates(tw.problems.robust_regression(16, 4), batch=17, steps=10, seeds=1)
    with pytest.raises(InputError, match="has no examples to draw batches from"):
        tw.rates(bowl(), batch=3, steps=10, seeds=1)


def test_a_table_that_could_not_be_kept_is_not_said_to_be(tmp_path, monkeypatch):
    """In a folder that is read-only: one that is there already stands, a new one is refused."""

    def refused(*_: object) -> None:
        raise ReadOnlyError("read-only")

    made = rate_table.Rates(xr.Dataset(), xr.Dataset(), ())
    monkeypatch.setattr(rate_table, "_found", lambda *_: made)
    monkeypatch.setattr(rate_table, "_kept", refused)
    with pytest.raises(ReadOnlyError):
        tw.rates(bowl(), out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    (tmp_path / "old/rates.json").write_text("{}")
    assert tw.rates(bowl(), out=tmp_path / "old").folder == tmp_path / "old"
