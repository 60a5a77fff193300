"""The contract that every study keeps: a paper that arrives is met by these tests at once."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Iterator

import numpy as np
import pytest
import xarray as xr

from planting import Fault, rerun
from thalweg.lab.claims import Claim, judge
from thalweg.lab.curves import labelled, present
from thalweg.lab.experiment import Experiment, Lab
from thalweg.lab.runner import experiments
from thalweg.report import draw
from thalweg.studies import STUDIES, card_of, study_named

SMOKE_SECONDS = 5.0  # of processor time, once compiled

every_study = pytest.mark.parametrize("slug", STUDIES)


@every_study
def test_declarations_are_sound(slug):
    study = study_named(slug)
    ids = [claim.id for claim in study.claims]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"C\d+[a-z]?", name) for name in ids)
    for claim in study.claims:
        assert set(claim.needs) <= set(study.experiments), claim.id
        assert claim.statement.endswith("."), claim.id
        assert claim.falsified_by, claim.id
        assert claim.source, claim.id
    drawn = {name for figure in study.figures for name in figure.data_names()}
    used = {name for claim in study.claims for name in claim.needs}
    assert drawn | used == set(study.experiments)
    for experiment in study.experiments.values():
        assert isinstance(experiment, Experiment)
        assert experiment.function.__doc__


@every_study
def test_the_card_is_light_and_whole(slug):
    card = card_of(slug)
    assert study_named(slug).title == card.title
    assert set(card.minutes) == {"quick", "full"}
    assert card.source
    assert card.question.endswith("?")
    assert card.answer


@every_study
def test_every_variable_says_what_it_is(slug, smoke):
    for name, data in smoke(slug).items():
        for variable, array in data.data_vars.items():
            assert array.attrs.get("units"), f"{name}: {variable}"
            assert array.attrs.get("long_name"), f"{name}: {variable}"


@every_study
def test_every_figure_draws_what_is_there(slug, smoke):
    tables = smoke(slug)
    for figure in study_named(slug).figures:
        left = present(figure, tables)
        assert left is not None, figure.name
        assert draw(labelled(left, tables), tables.__getitem__)["data"], figure.name


@every_study
def test_claims_are_judged_at_smoke_scale(slug, smoke):
    verdicts = judge(study_named(slug).claims, smoke(slug), "smoke")
    surprises = [(v.claim.id, told) for v in verdicts for told in v.surprises]
    unexcused = [
        (v.claim.id, v.check) for v in verdicts if v.check and not v.check.ok and not v.excuses
    ]
    assert surprises == unexcused == []
    judged = [v for v in verdicts if v.check is not None]
    assert len(judged) > len(verdicts) / 2


@every_study
def test_no_claim_holds_of_what_is_no_number(slug, smoke):
    nothing = {
        name: data.map(lambda v: v * np.nan if v.dtype.kind == "f" else v)
        for name, data in smoke(slug).items()
    }
    held = [claim.id for claim in study_named(slug).claims if _holds(claim, nothing)]
    assert held == []


def _holds(claim: Claim, tables: dict[str, xr.Dataset]) -> bool:
    try:
        return bool(claim.check(tables).ok)
    except (ValueError, IndexError, KeyError, ZeroDivisionError):
        return False  # nothing can be made of it, which is no verdict in its favour


@every_study
def test_every_claim_has_a_fault_that_it_must_notice(slug):
    folder = STUDIES[slug].rpartition(".")[2]
    module = importlib.import_module(f"{folder}.test_faults")
    planted = {fault.claim for fault in faults_of(module)}
    claims = {claim.id: claim for claim in study_named(slug).claims}
    assert planted <= set(claims)
    # What is not reproduced as it stands has nothing to notice.
    assert all(claims[id].failures for id in set(claims) - planted)


@pytest.mark.slow
@every_study
def test_claims_hold_at_the_sizes_of_their_faults(slug, smoke):
    """Where a run is too small for a claim anyway, its failing says nothing of the fault."""
    study, seen = study_named(slug), {}
    module = importlib.import_module(f"{STUDIES[slug].rpartition('.')[2]}.test_faults")
    for fault in faults_of(module):
        seen.setdefault((fault.claim, repr(fault.sizes), fault.reruns), fault)
    fails = []
    for fault in seen.values():
        (asked,) = (c for c in study.claims if c.id == fault.claim)
        check = asked.check(smoke(slug) | (rerun(study, fault) if fault.sizes else {}))
        fails += [(fault.claim, dict(fault.sizes), check)] * (not check.ok)
    assert fails == []


def faults_of(module: object) -> Iterator[Fault]:
    """The faults in the tables above a module's tests."""
    for test in vars(module).values():
        for mark in getattr(test, "pytestmark", ()):
            if mark.name == "parametrize" and mark.args[0] == "fault":
                yield from (case.values[0] for case in mark.args[1])


@every_study
def test_what_is_stored_is_what_was_found(slug, smoke, tmp_path):
    """Read back instead of run again, to the same bits; what is lost is run again to them."""
    study, found = study_named(slug), smoke(slug)
    lab = Lab("smoke", tmp_path, progress=False)
    first, *_ = study.experiments
    one = {first: experiments(study, lab, only=[first])[0][first]}
    again, _ = experiments(study, lab, only=[first])
    xr.testing.assert_identical(again[first].load(), one[first].load())
    np.testing.assert_equal(
        {k: v.values for k, v in one[first].data_vars.items()},
        {k: v.values for k, v in found[first].data_vars.items()},
    )


@pytest.mark.slow
@every_study
def test_smoke_scale_takes_seconds(slug):
    study, lab = study_named(slug), Lab("smoke", progress=False)
    for _ in range(2):  # the second finds everything compiled
        begun = time.process_time()
        for experiment in study.experiments.values():
            experiment(lab)
        seconds = time.process_time() - begun
    assert seconds < SMOKE_SECONDS
