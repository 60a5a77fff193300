"""How far a rerun is, and how long the rest takes."""

import json

import pytest
import xarray as xr

from thalweg.lab.experiment import Experiment, Lab
from thalweg.lab.outlook import Outlook
from thalweg.lab.runner import experiments
from thalweg.lab.study import Study


def test_what_took_so_long_before_takes_so_long_again():
    outlook = Outlook({"a": 30.0, "b": 600.0, "c": 60.0})
    assert outlook.at("a") == "1 of 3, about 12 min left"  # 690 s
    outlook.took("a", 31.0)
    assert outlook.at("b") == "2 of 3, about 11 min left"  # 660 s
    outlook.took("b", 500.0)
    assert outlook.at("c") == "3 of 3, about 60 s left"


def test_what_is_unknown_takes_the_mean_of_what_is_known():
    outlook = Outlook({"a": None, "b": 200.0, "c": None})
    assert outlook.at("a") == "1 of 3, about 10 min left"
    outlook.took("a", 100.0)
    outlook.took("b", 120.0)
    assert outlook.at("c") == "3 of 3, about 110 s left"


def test_what_is_stored_takes_no_time_and_teaches_nothing():
    outlook = Outlook({"a": 0.0, "b": None})
    outlook.took("a", 5000.0)  # when it was run
    assert outlook.at("b") == "2 of 2"
    assert Outlook({"a": 0.0, "b": None, "c": None}, whole=900.0).at("b").endswith("10 min left")


def test_where_nothing_is_known_what_the_whole_is_said_to_take_is():
    assert Outlook({"a": None, "b": None}).at("a") == "1 of 2"
    outlook = Outlook({"a": None, "b": None}, whole=600.0)
    assert outlook.at("a") == "1 of 2, about 10 min left"
    outlook.took("a", 10.0)
    assert outlook.at("b") == "2 of 2, about 10 s left"  # better than what was said


def toy(names="XYZ"):
    data = xr.Dataset({"a": ((), 1.0, {"units": "1", "long_name": "a number"})})
    made = {n: Experiment(n, lambda lab: data, {}) for n in names}
    return Study(
        title="Toy", source="None", question="?", minutes={"quick": 6.0}, paper_size="none",
        full="More.", slug="toy", experiments=made,
    )  # fmt: skip


def test_a_study_says_how_far_it_is(tmp_path):
    lab, told = Lab("quick", tmp_path), []
    experiments(toy(), lab, tell=told.append)
    assert told[0] == "X: running (1 of 3, about 6 min left)"
    assert told[1:] == [
        "Y: running (2 of 3, about 1 s left)",
        "Z: running (3 of 3, about 1 s left)",
    ]
    told.clear()
    note = tmp_path / "Y.done.json"
    note.write_text(json.dumps({"key": "of another version", "seconds": 240.0}))
    experiments(toy(), lab, tell=told.append)
    assert told[0].startswith("X: stored")
    assert told[1] == "Y: running (2 of 3, about 4 min left)"
    assert told[2].startswith("Z: stored")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 1, "seconds": "long"}'])
def test_a_damaged_note_tells_nothing(tmp_path, content):
    (tmp_path / "Z.done.json").write_text(content)
    told = []
    experiments(toy("WZ"), Lab("smoke", tmp_path), only=["W"], tell=told.append)
    assert told == ["W: running (1 of 1)"]
