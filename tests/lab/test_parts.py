"""An experiment of several parts: what was made before an interruption is not made again."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from thalweg.core.errors import InputError
from thalweg.lab.experiment import Experiment, Lab
from thalweg.lab.runner import experiments, run_study
from thalweg.lab.study import Study
from thalweg.lab.table import over, table
from thalweg.storage.datasets import save_dataset
from thalweg.storage.files import StoreError, sealed

FLOATS = [1 / 3, np.float32(1 / 3), np.pi, -0.0, np.nan, 5e-324]


def drawn(made, stop_at=None):
    """An experiment of six parts that tells which it makes, and is stopped before one."""

    def function(lab):
        def one(draw):
            if draw == stop_at:
                raise KeyboardInterrupt
            made.append(draw)
            return table({"x": {"a": (np.full(2, FLOATS[draw]), "1", "a number")}})

        return over(lambda draw: lab.part(f"draw-{draw}", lambda: one(draw)), draw=range(6))

    return Experiment("X", function, {})


def study(experiment):
    return Study(
        title="Toy", source="None", question="?", minutes={"quick": 6.0}, paper_size="none",
        full="More.", slug="toy", experiments={"X": experiment},
    )  # fmt: skip


@pytest.fixture
def stopped(tmp_path):
    made = []
    with pytest.raises(KeyboardInterrupt):
        experiments(study(drawn(made, stop_at=4)), Lab("quick", tmp_path))
    assert made == [0, 1, 2, 3]
    return tmp_path


def test_what_was_made_is_not_made_again_and_the_bits_are_the_same(stopped):
    made = []
    found, _ = experiments(study(drawn(made)), Lab("quick", stopped))
    assert made == [4, 5]
    whole, _ = experiments(study(drawn([])), Lab("quick"))
    assert found["X"]["a"].values.tobytes() == whole["X"]["a"].values.tobytes()
    xr.testing.assert_identical(found["X"], whole["X"])
    assert not (stopped / "X.parts").exists()  # the table is made of them
    experiments(study(drawn(made)), Lab("quick", stopped))
    assert made == [4, 5]


def test_the_time_of_what_was_made_before_counts(stopped):
    note = stopped / "X.parts" / "draw-1.done.json"
    told = json.loads(note.read_text())
    del told["checksum"]
    note.write_bytes(sealed(told | {"seconds": 1000.0}))
    _, seconds = experiments(study(drawn([])), Lab("quick", stopped))
    assert 1000 < seconds < 1100


@pytest.mark.parametrize(
    "other",
    [
        lambda lab: dataclasses.replace(lab, scale="smoke"),
        lambda lab: dataclasses.replace(lab, folder=lab.folder / "elsewhere"),
    ],
)
def test_parts_of_another_size_or_place_are_not_taken(stopped, other):
    made = []
    experiments(study(drawn(made)), other(Lab("quick", stopped)))
    assert made == list(range(6))


@pytest.mark.parametrize("harm", ["note", "chunk"])
def test_a_damaged_part_is_told_with_what_to_delete(stopped, harm):
    parts = stopped / "X.parts"
    note = parts / "draw-2.done.json"
    file = note if harm == "note" else parts / "draw-2.zarr" / "a" / "c" / "0"
    content = bytearray(file.read_bytes())
    at = content.index(b"seconds") + 12 if harm == "note" else len(content) // 2
    content[at] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged.*; delete .*draw-2\.done\.json to run this"):
        experiments(study(drawn([])), Lab("quick", stopped))
    note.unlink()
    made = []
    experiments(study(drawn(made)), Lab("quick", stopped))
    assert made == [2, 4, 5]


def test_an_intact_table_of_something_else_is_not_taken(tmp_path):
    """Swapped by hand, or new beside an old note: its chunks know their checksum, not whose."""
    lab = Lab("quick", tmp_path)
    experiments(study(drawn([])), lab)
    place, chunk = tmp_path / "X.zarr", Path("a") / "c" / "0" / "0"
    whole = (place / chunk).read_bytes()
    experiments(study(drawn([])), lab)
    renamed = table({"draw x": {"a": (np.ones((6, 2)), "1", "a number")}}, draw=range(6))
    save_dataset(renamed, tmp_path / "Y.zarr")
    (place / chunk).write_bytes((tmp_path / "Y.zarr" / chunk).read_bytes())
    with pytest.raises(StoreError, match=r"not written there \(a/c\); delete .*X\.done"):
        experiments(study(drawn([])), lab)
    (place / chunk).write_bytes(whole)
    experiments(study(drawn([])), lab)
    shutil.rmtree(place)
    (tmp_path / "Y.zarr").rename(place)
    with pytest.raises(StoreError, match="not the table that was stored here"):
        experiments(study(drawn([])), lab)


def test_a_folder_that_cannot_be_a_studys_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"out came as .*file, a file; give a folder"):
        run_study(study(drawn([])), "smoke", tmp_path / "file", progress=False)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study.json").write_text("{}")
    with pytest.raises(StoreError, match=r"study\.json is damaged: .*; give another folder, or"):
        run_study(study(drawn([])), "smoke", tmp_path / "run", progress=False)
