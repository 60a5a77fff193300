"""`thalweg diagnose` on the user's own files, from the command to what lies in the run folder."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from command_line import Said

from thalweg.driver import chunks as driver

Says = Callable[..., Said]
SMALL = "--until 2 --step-size 0.05 --records 5"


def compared(says: Says, line: str) -> tuple[str, Path]:
    """The regime and the run folder of a successful comparison."""
    said = says("diagnose", *shlex.split(line))
    assert (said.code, said.err) == (0, "")
    (told,) = [row for row in said.out.splitlines() if row.startswith("Run folder: ")]
    folder = Path(told.removeprefix("Run folder: "))
    verdict = json.loads((folder / "verdict.json").read_text())
    first, second, *_ = said.out.splitlines()
    assert first == verdict["data"]
    assert second == verdict["sentence"]
    for reason in verdict["reasons"]:
        assert reason in said.out
    assert (folder / "index.html").is_file()
    table = xr.open_zarr(folder / "comparison.zarr", consolidated=False, chunks=None).load()
    assert table.sizes["time"] >= 2
    return verdict["regime"], folder


def settings(folder: Path, dynamics: str = "descent") -> dict[str, Any]:
    stored = xr.open_zarr(folder / f"{dynamics}.zarr", consolidated=False, chunks=None)
    return json.loads(stored.attrs["provenance"])["configuration"]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.mark.slow
def test_a_table_from_the_first_command_to_the_changed_one(
    desk: Path, thalweg_says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = (
        "table.csv --target price --standardize --scale-target --model mlp:4-3 --activation gelu "
        f"--loss squared-error --out runs/mine {SMALL}"
    )
    regime, folder = compared(thalweg_says, line)
    assert regime == "on the flow"
    assert folder == Path("runs/mine")
    about = settings(folder)["problem"]
    assert about["loss"] == "squared-error"
    assert "'gelu'" in about["model"]
    assert (about["examples"], about["inputs"], about["outputs"]) == (30, [3], 1)
    said_of_data = dict(about["data"])
    assert said_of_data["standardize"]
    price = pd.read_csv("table.csv")["price"]
    assert dict(said_of_data["scale_target"])["std"] == [pytest.approx(price.std(ddof=0))]

    # The same command again takes no step and leaves the same bytes.
    before = contents(desk / "runs")
    with monkeypatch.context() as patch:
        patch.setattr(driver.Loop, "advance", lambda *_: pytest.fail("a step was taken"))
        assert compared(thalweg_says, line) == (regime, folder)
    after = contents(desk / "runs")
    assert [name for name in before if after[name] != before[name]] == []
    assert set(after) == set(before)

    # A changed command is refused, changed data are too, and what is there stays.
    changed = line.replace("--step-size 0.05", "--step-size 0.04")
    said = thalweg_says("diagnose", *shlex.split(changed))
    assert said.code == 2
    assert "--step-size 0.05, now 0.04" in said.err
    assert "--fresh" in said.err
    assert said.err.count("\n") == 1
    lines = Path("table.csv").read_text().splitlines()
    Path("table.csv").write_text("\n".join([*lines[:-1], lines[1]]) + "\n")
    said = thalweg_says("diagnose", *shlex.split(line))
    assert said.code == 2
    assert "other data" in said.err
    assert contents(desk / "runs") == before
    assert compared(thalweg_says, f"{changed} --fresh")[0] == "on the flow"
    assert settings(folder)["dynamics"]["step_size"] == 0.04


@pytest.mark.thorough
def test_the_advice_of_a_sentence_is_an_option_of_the_command(
    desk: Path, thalweg_says: Says
) -> None:
    """Each refusal is followed; the last command runs, and its first line tells what was done."""
    rows = "".join(f"{20 + i % 7}.5;{90 + i};{'abc'[i % 3]};car {i}\n" for i in range(12))
    Path("cars.csv").write_text("mpg;hp;origin;name\n" + rows + "19.5;?;a;car 12\n")
    line = "cars.csv --target mpg --model mlp:2 --until 0.4 --step-size 0.1 --records 4"
    for words, more in (
        ("--missing if they stand for missing values", "--missing ?"),
        ("--drop-gaps", "--drop-gaps"),
        ("--one-hot origin or leave them out with --drop origin", "--one-hot all"),
        ("leave it out with --drop name", "--drop name"),
    ):
        said = thalweg_says("diagnose", *shlex.split(line))
        assert (said.code, said.out) == (2, "")
        assert words in said.err
        line += f" {more}"
    said = thalweg_says("diagnose", *shlex.split(line))
    assert said.code == 0
    first = said.out.splitlines()[0]
    assert first == (
        "Read cars.csv: 12 rows, 4 features, target mpg from 20.5 to 26.5 (regression), squared "
        "error. It was read thus: separated by ';'. 1 of 13 rows were left out for missing values "
        "in hp. Left out: name. Encoded one-hot: origin (3 values)."
    )
    page = next(Path("runs").glob("cars-*/page.json"))
    assert json.loads(page.read_text())["provenance"]["what was read"] == first


@pytest.mark.slow
def test_labels_in_float32_with_several_seeds_into_the_default_folder(
    desk: Path, thalweg_says: Says
) -> None:
    line = f"labels.npz --model mlp:4 --precision float32 --seeds 3 {SMALL}"
    regime, folder = compared(thalweg_says, line)
    assert regime == "on the flow"
    assert folder.parent == Path("runs")
    assert folder.name.startswith("labels-gradient-descent-0.05-")
    stored = xr.open_zarr(folder / "flow.zarr", consolidated=False, chunks=None).load()
    assert stored["parameters"].dtype == np.float32
    assert stored["seed"].values.tolist() == [0, 1, 2]
    assert {"accuracy", "sharpness", "balancedness"} <= set(stored)
    starts = stored["parameters"].isel(time=0).values
    assert len({row.tobytes() for row in starts}) == 3
    assert settings(folder)["problem"]["loss"] == "cross-entropy"
    verdict = json.loads((folder / "verdict.json").read_text())
    assert set(verdict["seeds"]) == {"0", "1", "2"}


@pytest.mark.slow
def test_a_step_size_that_diverges_is_a_verdict(desk: Path, thalweg_says: Says) -> None:
    line = "good.npz --model mlp:4 --activation relu --step-size 30 --records 5 --seeds 2"
    regime, folder = compared(thalweg_says, line)
    assert regime == "divergent"
    page = json.loads((folder / "page.json").read_text(), parse_constant=pytest.fail)
    assert page["verdict_tone"] == "bad"
    said = thalweg_says("report", folder)
    assert said.code == 0
    assert str(folder / "index.html") in said.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "model"),
    [
        ("kinds.parquet --target kind --standardize --model mlp:4", "MLP"),
        ("kinds.parquet --target kind --standardize --loss squared-error --model mlp:4", "MLP"),
        ("table.csv --target price,a --standardize --model linear:3-3", "'linear'"),
        ("labels.npz --model mlp:", "MLP"),
        ("good.npz --model mlp:4 --no-bias --activation leaky-relu --initialiser he-normal", "MLP"),
        ("good.npz --model mlp:4 --samples 5 --smallest-every 2 --flow-solver bosh3", "MLP"),
        ("digits --samples 20 --model conv:4k3s2p1-8k3s2p1/20 --activation relu", "ConvNet"),
        ("digits --samples 20 --model conv:2k3m2 --activation relu --no-bias", "ConvNet"),
        ("digits --samples 20 --model mlp:5 --loss squared-error --precision float32", "MLP"),
    ],
)
def test_models_losses_and_tasks(desk: Path, thalweg_says: Says, line: str, model: str) -> None:
    regime, folder = compared(thalweg_says, f"{line} --until 0.5 --step-size 0.02 --records 4")
    # With kinks the flow is known to a per cent or so, and these runs do not go far.
    assert regime in ("on the flow", "off the flow")
    assert regime == "on the flow" or "relu" in line
    assert model in settings(folder)["problem"]["model"]


@pytest.mark.slow
def test_the_shortest_run(desk: Path, thalweg_says: Says) -> None:
    line = "good.npz --model mlp: --step-size 0.1 --until 0.3 --records 4"
    folder = compared(thalweg_says, line)[1]
    stored = xr.open_zarr(folder / "descent.zarr", consolidated=False, chunks=None)
    assert stored["step"].values.tolist() == [[0, 1, 2, 3]]


@pytest.mark.slow
def test_one_seed_diverges_and_another_does_not(desk: Path, thalweg_says: Says) -> None:
    """Near the largest stable step the start decides; the verdict is that of the worst seed."""
    line = "good.npz --model linear:3 --step-size 0.5 --until 20 --records 5 --seeds 6"
    found = json.loads((compared(thalweg_says, line)[1] / "verdict.json").read_text())
    regimes = list(found["seeds"].values())
    assert 0 < regimes.count("divergent") < 6
    assert found["regime"] == "divergent"
    assert "for the worst of 6 seeds" in found["sentence"]
    assert f"{regimes.count('divergent')} divergent" in found["sentence"]
