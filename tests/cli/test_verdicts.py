"""Exit status, table, JSON and page of a study whose claims come out as expected, or otherwise."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import pytest
import xarray as xr
from command_line import Said

from thalweg.core.errors import InputError
from thalweg.lab.card import Card
from thalweg.lab.checks import Check, all_of, below
from thalweg.lab.claims import Claim, Failure
from thalweg.lab.experiment import Experiment
from thalweg.lab.runner import run_study
from thalweg.lab.study import Study
from thalweg.studies import STUDIES, study_named

Says = Callable[..., Said]


def bundled(results: dict[str, xr.Dataset]) -> Check:
    """Two checks of what the experiment measured."""
    d = results["toy"]
    return all_of(below(d["a"], 2, what="first part"), below(d["b"], 2, what="second part"))


def toy(a: float, b: float, *failures: Failure) -> Study:
    """A study of one claim with two parts, measured as told."""
    about = {"units": "1", "long_name": "a number"}
    data = xr.Dataset({"a": ((), a, about), "b": ((), b, about)})
    return Study(
        slug="toy",
        title="Toy",
        source="None",
        question="Is it so?",
        minutes={"quick": 0.1, "full": 9.0},
        paper_size="none",
        full="More of the same; the paper's net is not rerun.",
        experiments={"toy": Experiment("toy", lambda lab: data, {})},
        claims=(Claim("C1", "Both.", "empirical", "E", ("toy",), bundled, failures),),
        figures=(),
    )


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Study], None]:
    """Put a study in place of all others, and work in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    module = ModuleType("toy_study")
    module.__path__ = []
    monkeypatch.setitem(sys.modules, "toy_study", module)
    for slug in list(STUDIES):
        monkeypatch.delitem(STUDIES, slug)
    monkeypatch.setitem(STUDIES, "toy", "toy_study")

    def place(one: Study) -> None:
        """As the modules of its folder would declare it."""
        card = {f.name: getattr(one, f.name) for f in fields(Card)}
        declared = [*one.experiments.values(), *one.claims]
        found = {"CARD": Card(**card), "FIGURES": one.figures}
        vars(module).update(found | {f"declared_{i}": d for i, d in enumerate(declared)})

    return place


SECOND = Failure("its bound is for other data", "second part")
CASES = {
    "all hold": (toy(1, 1), 0, "reproduced", []),
    "a failure": (toy(1, 3), 1, "not reproduced", ["not reproduced: second part"]),
    "a known failure": (toy(1, 3, SECOND), 0, "not reproduced", []),
    "a known failure that holds": (toy(1, 1, SECOND), 1, "reproduced", ["reproduced: second part"]),
    "another part fails": (toy(3, 3, SECOND), 1, "not reproduced", ["not reproduced: first part"]),
    "they change places": (
        toy(3, 1, SECOND),
        1,
        "not reproduced",
        ["not reproduced: first part", "reproduced: second part"],
    ),
    "nothing measured": (toy(float("nan"), 1), 1, "not reproduced", ["not reproduced: first part"]),
}


@pytest.mark.parametrize("command", ["study", "verify"])
@pytest.mark.parametrize("name", CASES)
def test_what_is_unexpected_is_told_everywhere(
    study: Callable[[Study], None], thalweg_says: Says, command: str, name: str
) -> None:
    given, code, word, told = CASES[name]
    study(given)
    options = ["--json", "claims.json"] if command == "verify" else []
    said = thalweg_says(command, "toy", *options)
    assert (said.code, said.err) == (code, "")
    plain = " ".join(said.out.split())
    assert plain.count("C1 unexpectedly") == len(told)
    for sentence in told:
        assert f"C1 unexpectedly {sentence}" in plain

    where = "claims.json" if command == "verify" else "runs/toy/claims.json"
    (row,) = json.loads(Path(where).read_text(), parse_constant=pytest.fail)
    assert (row["verdict"], row["scale"]) == (word, "quick")
    assert row["expected_to_hold"] == (not given.claims[0].failures)
    assert [surprise.split(": measured")[0] for surprise in row["surprises"]] == [
        f"unexpectedly {sentence}" for sentence in told
    ]
    data = given.experiments["toy"](None)  # type: ignore[arg-type]
    assert [part["holds"] for part in row["parts"]] == [bool(data["a"] < 2), bool(data["b"] < 2)]
    assert row["parts"][1]["expected_to_hold"] == (not given.claims[0].failures)

    page = Path("runs/toy/index.html").read_text()
    headline = re.search(r"claims? reproduced[^<]*", page)
    assert headline is not None
    assert ("otherwise than expected: C1" in headline.group()) == bool(told)
    assert page.count(", unexpectedly") == len(told)
    for sentence in told:
        assert f"unexpectedly {sentence}" in page


def test_the_reason_for_a_known_failure_is_shown(
    study: Callable[[Study], None], thalweg_says: Says
) -> None:
    study(toy(1, 3, SECOND))
    said = thalweg_says("verify")
    assert "its bound is for other data" in " ".join(said.out.split())
    assert "0 of 1 claims reproduced" in said.out
    assert "its bound is for other data" in Path("runs/toy/index.html").read_text()


def test_the_scale_decides_what_is_expected(
    study: Callable[[Study], None], thalweg_says: Says
) -> None:
    study(toy(1, 3, replace(SECOND, scales=("full",))))
    assert thalweg_says("study", "toy").code == 1
    assert thalweg_says("study", "toy", "--scale", "full").code == 0
    page = Path("runs/toy-full/index.html").read_text()
    assert "More of the same; the paper&#39;s net is not rerun." in page
    assert "thalweg study toy --scale full" in page


def test_the_page_names_the_command_that_makes_it_at_every_scale(
    study: Callable[[Study], None], thalweg_says: Says
) -> None:
    study(toy(1, 1))
    for scale, option in (("smoke", " --scale smoke"), ("quick", ""), ("full", " --scale full")):
        assert thalweg_says("study", "toy", "--scale", scale).code == 0
        folder = "runs/toy" if scale == "quick" else f"runs/toy-{scale}"
        assert json.loads(Path(folder, "page.json").read_text())["command"] == (
            f"thalweg study toy{option}"
        )


def test_studies_say_what_their_full_scale_is(
    study: Callable[[Study], None], thalweg_says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    study(toy(1, 1))
    said = thalweg_says("studies")
    assert "9 min, more than quick, not the paper's size" in " ".join(said.out.split())
    for command in ("study", "verify"):
        told = thalweg_says(command, "--help").out
        assert "Exits with 1" in " ".join(re.sub("[│─╭╮╰╯]", " ", told).split())
        assert "as the paper ran it" not in told


@pytest.mark.parametrize("field", [{"paper_size": "larger"}, {"full": ""}])
def test_a_study_says_what_its_full_scale_is(field: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"full scale|paper_size"):
        replace(toy(1, 1), **field)


def test_every_study_whose_full_scale_is_not_the_papers_says_so() -> None:
    for slug in STUDIES:
        study = study_named(slug)
        assert study.paper_size in ("all", "part", "none")
        if study.paper_size != "all":
            assert re.search("paper|precursor", study.full), slug


def test_what_else_is_in_a_folder_stays_alone(
    study: Callable[[Study], None], thalweg_says: Says
) -> None:
    study(toy(1, 1))
    Path("mine").mkdir()
    Path("mine/index.html").write_text("a page of mine")
    said = thalweg_says("study", "toy", "--out", "mine")
    assert (said.code, said.out) == (2, "")
    assert "mine is in use for other things" in said.err
    assert [(file.name, file.read_text()) for file in Path("mine").iterdir()] == [
        ("index.html", "a page of mine")
    ]
    for _ in range(2):  # its own it finds again
        assert thalweg_says("study", "toy", "--out", "its").code == 0
    with pytest.raises(InputError, match="its holds the study toy; give another folder"):
        run_study(replace(toy(1, 1), slug="other"), "quick", "its")
    Path("its/study.json").unlink()  # as older versions left it
    assert thalweg_says("study", "toy", "--out", "its").code == 0
