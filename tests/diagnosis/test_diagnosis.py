"""The diagnosis against closed forms, and what its folder holds when something goes wrong."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import thalweg as tw
from thalweg.report import read_page
from thalweg.storage.files import StoreError

MODULE = importlib.import_module("thalweg.diagnosis.diagnosis")
VERDICT = importlib.import_module("thalweg.comparison.verdict")


class Reached(BaseException):
    """All arguments were accepted; the work would begin."""


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise Reached

    monkeypatch.setattr(MODULE, "run", refuse)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Regression data in the working directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)) * [1.0, 0.7, 0.4]
    y = x @ rng.normal(size=(3, 2)) + 0.1 * rng.normal(size=(40, 2))
    np.savez("data.npz", x=x, y=y)
    return {"x": x, "y": y}


def least_squares(table: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of the Hessian's blocks and the optimum of 1/2 mean ||W x - y||^2."""
    x, y = table["x"], table["y"]
    return x.T @ x / len(x), np.linalg.solve(x.T @ x, x.T @ y).T


def quick(**options: Any) -> Any:
    known: dict[str, Any] = {"data": "data.npz", "model": "linear:", "progress": False}
    given = known | {"records": 8, "out": Path("mine")} | options
    words = {k: given.pop(k) for k in inspect.signature(tw.problem).parameters if k in given}
    return tw.diagnose(tw.problem(**words), given.pop("step_size", 0.1), **given)


@pytest.mark.thorough
def test_distance_sharpness_and_losses_are_the_closed_forms(
    table: dict[str, np.ndarray],
) -> None:
    step_size, until = 0.3, 6.0
    found = quick(step_size=step_size, until=until, seeds=2, flow_error=1e-7)
    tiles = read_page(found.folder).numbers
    assert [tile.label for tile in tiles if not 40 < len(tile.help) < 320] == []
    assert len({tile.help for tile in tiles}) >= len(tiles) - 1  # the two costs share theirs
    hessian, best = least_squares(table)
    values, vectors = np.linalg.eigh(hessian)
    records = found.comparison.dataset
    for seed in (0, 1):
        start = found.descent.parameters.sel(seed=seed).values[0].reshape(best.shape)
        away = (start - best) @ vectors
        for time in records["time"].values:
            steps = round(time / step_size)
            euler = best + away * (1 - step_size * values) ** steps @ vectors.T
            exact = best + away * np.exp(-time * values) @ vectors.T
            here = records.sel(seed=seed, time=time)
            known = np.linalg.norm(euler - exact)
            assert abs(float(here["distance"]) - known) <= float(here["distance_error"]) + 1e-13
            gap = table["x"] @ euler.T - table["y"]
            loss = 0.5 * np.mean(np.sum(gap**2, axis=1))
            np.testing.assert_allclose(here["descent_loss"], loss, rtol=1e-12)
            assert abs(float(here["descent_sharpness"]) - values[-1]) <= (
                float(here["descent_sharpness_error"]) + 1e-12
            )
            np.testing.assert_allclose(here["flow_smallest_eigenvalue"], values[0], rtol=1e-8)
    far = max(float(found.comparison.dataset["distance"].sel(seed=s).max()) for s in (0, 1))
    assert f"at most {far:.3g}" in found.comparison.reasons[0]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("eta_times_sharpness", "regime"),
    [(0.01, "on the flow"), (1.95, "edge of stability"), (2.1, "divergent")],
)
def test_regimes_of_a_quadratic(
    table: dict[str, np.ndarray], eta_times_sharpness: float, regime: str
) -> None:
    top = np.linalg.eigvalsh(least_squares(table)[0])[-1]
    step_size = float(eta_times_sharpness / top)
    found = quick(step_size=step_size, until=max(20.0, 400 * step_size))
    assert found.comparison.regime == regime
    summary = json.loads((found.folder / "verdict.json").read_text())
    assert summary["regime"] == regime
    assert summary["sentence"] == found.comparison.sentence
    stored = xr.open_zarr(found.folder / "comparison.zarr", consolidated=False, chunks=None)
    np.testing.assert_array_equal(stored["distance"], found.comparison.dataset["distance"])
    assert found.page == found.folder / "index.html"
    assert found.comparison.sentence in found.page.read_text()


@pytest.mark.slow
def test_a_divergence_to_infinity_is_a_verdict(table: dict[str, np.ndarray]) -> None:
    found = quick(step_size=20.0, seeds=2, model="mlp:3", activation="gelu")
    assert found.comparison.regime == "divergent"
    assert set(found.comparison.regimes.values()) == {"divergent"}
    # The flow is followed only as far as there is a descent to compare with.
    np.testing.assert_array_equal(found.descent.dataset["time"], found.flow.dataset["time"])
    assert float(found.flow.dataset["time"][-1]) < 20_000 * 0.9
    json.loads((found.folder / "page.json").read_text(), parse_constant=pytest.fail)


def test_an_objective_that_is_infinite_at_the_start_leaves_nothing_behind(
    table: dict[str, np.ndarray],
) -> None:
    np.savez("data.npz", x=1e200 * table["x"], y=table["y"])
    with pytest.raises(tw.InputError, match="not finite at the start of seed"):
        quick()
    assert [p.name for p in Path().iterdir()] == ["data.npz"]


# ---- arguments ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_work", "table")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"step_size": float("nan")}, "step size came as nan"),
        ({"step_size": 0.0}, "step size came as 0"),
        ({"until": float("inf")}, "until came as inf"),
        ({"until": 1e300}, r"more than 2\^53 steps"),
        ({"until": 0.2}, "holds only 2 steps"),
        ({"until": 1e-30}, "holds only 0 steps"),
        ({"records": 3}, "at least 4"),
        ({"seeds": 0}, "seeds came as 0"),
        ({"eps": -1.0}, "eps came as -1"),
        ({"smallest_every": 0}, "at least 1"),
        ({"flow_error": 0.0}, "error came as 0"),
        ({"flow_solver": "tsit6"}, "'tsit5'"),
        ({"precision": "float46"}, "'float64'"),
        ({"activation": "rellu"}, "'relu'"),
        ({"activation": "rellu", "model": "linear:3"}, "'relu'"),
        ({"initialiser": "ortogonal"}, "'orthogonal'"),
        ({"loss": "cross-entropi"}, "'cross-entropy'"),
        ({"loss": "cross-entropy"}, "needs labels"),
        ({"task": "regresion"}, "'regression'"),
        ({"model": "mpl:3"}, "'mlp'"),
        ({"model": "mlp:3-²"}, "not of the form"),
        ({"model": "conv:4k3s0"}, "not of the form"),
        ({"model": "conv:4k3"}, "takes images"),
        ({"samples": 1}, "at least 2"),
        ({"target": "z"}, "no array 'z'"),
        ({"data": "digit"}, "'digits'"),
        ({"data": "digits", "standardize": True}, "own files"),
        ({"data": "digits", "scale_target": True}, "own files"),
        ({"data": "digits", "target": "y"}, "own files"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(tw.InputError, match=words) as caught:
        quick(**options)
    assert "\n" not in str(caught.value)
    assert [p.name for p in Path().iterdir()] == ["data.npz"]


@pytest.mark.usefixtures("no_work", "table")
def test_as_many_records_as_there_are_steps_is_enough() -> None:
    with pytest.raises(Reached):
        quick(records=10**18, until=2.0)


@pytest.mark.usefixtures("no_work", "table")
def test_a_folder_in_use_is_left_alone() -> None:
    Path("mine").mkdir()
    with pytest.raises(Reached):
        quick()
    Path("mine/thesis.tex").write_text("mine")
    with pytest.raises(tw.InputError, match="in use for other things"):
        quick(fresh=True)
    assert [p.name for p in Path("mine").iterdir()] == ["thesis.tex"]


def test_the_default_folder_is_a_function_of_the_settings(
    table: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []

    def note(*_: Any, out: Path, **__: Any) -> None:
        places.append(out.parent)
        raise Reached

    monkeypatch.setattr(MODULE, "run", note)
    for options in ({}, {"fresh": True, "progress": True}, {"step_size": 0.2}, {"seeds": 2}):
        with pytest.raises(Reached):
            quick(**({"out": None} | options))
    first, again, *others = places
    assert first == again
    assert len({first, *others}) == 3
    assert all(
        p.parent == Path("runs") and p.name.startswith("data-gradient-descent-0.") for p in places
    )


@pytest.mark.thorough
def test_an_index_that_is_not_ours_is_left_alone(table: dict[str, np.ndarray]) -> None:
    Path("index.html").write_text("<title>my pages</title>")
    quick(until=0.5, records=4)
    assert Path("index.html").read_text() == "<title>my pages</title>"
    Path("index.html").unlink()
    quick(until=0.5, records=4)
    assert "mine/index.html" in Path("index.html").read_text()


# ---- file systems -------------------------------------------------------------------------------


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("stage", ["save_dataset", "replace", "write_page", "build"])
def test_a_disk_that_fills_up_at_the_end_is_a_sentence_and_the_command_goes_on(
    table: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    import errno

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if stage == "save_dataset":
            patch.setattr(xr.Dataset, "to_zarr", full)
        else:
            patch.setattr(MODULE if stage == "replace" else VERDICT, stage, full)
        with pytest.raises(StoreError, match="the disk is full"):
            quick(until=0.5, records=4)
    assert tw.load("mine/flow.zarr").dataset.sizes["time"] >= 4
    assert quick(until=0.5, records=4).page.is_file()


def test_a_folder_in_use_is_refused_and_its_holder_undisturbed(
    table: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, refusals = MODULE.run, []

    def watched(*arguments: Any, **options: Any) -> Any:
        for changes in ({}, {"fresh": True}, {"step_size": 0.05}):
            with pytest.raises(StoreError, match=r"mine is in use by process \d+ .* since"):
                quick(until=0.5, records=4, **changes)
            refusals.append(changes)
        return run(*arguments, **options)

    monkeypatch.setattr(MODULE, "run", watched)
    found = quick(until=0.5, records=4)
    monkeypatch.setattr(MODULE, "run", run)
    assert len(refusals) == 6
    assert not Path("mine/.lock").exists()
    alone = quick(until=0.5, records=4, out=Path("alone"))
    assert alone.comparison.sentence == found.comparison.sentence


@pytest.mark.slow
def test_a_finished_run_on_a_read_only_disk_gives_its_verdict(
    table: dict[str, np.ndarray], tmp_path: Path
) -> None:
    import subprocess

    found = quick(until=0.5, records=4)
    before = Path("mine/index.html").read_bytes()
    place = str(tmp_path / "mine")
    if subprocess.run(["mount", "--bind", place, place], check=False).returncode:
        pytest.skip("may not mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        again = quick(until=0.5, records=4)
        with pytest.raises(StoreError, match="read-only"):
            quick(until=0.5, records=4, fresh=True)
    finally:
        subprocess.run(["umount", "-l", place], check=True)
    assert again.page is None
    assert again.comparison.sentence == found.comparison.sentence
    assert Path("mine/index.html").read_bytes() == before


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("lost", ["flow.zarr/loss/c/0/0", "descent.zarr/time/c/0"])
def test_damage_of_a_folder_is_told_by_the_command(table: dict[str, np.ndarray], lost: str) -> None:
    quick(until=0.5, records=4)
    file = Path("mine") / lost
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 8
    file.write_bytes(content)
    with pytest.raises(StoreError, match=rf"{lost[lost.index('/') + 1 :]}.*fresh=True"):
        quick(until=0.5, records=4)
    file.unlink()
    with pytest.raises(StoreError, match=rf"{lost[lost.index('/') + 1 :]}.*fresh=True"):
        quick(until=0.5, records=4)
    assert quick(until=0.5, records=4, fresh=True).page is not None


@pytest.mark.parametrize("function", [tw.diagnose, tw.problem, tw.dynamics.optimiser])
def test_every_parameter_is_told(function: Any) -> None:
    from thalweg.cli.derive import argument_help

    told = argument_help(function)
    assert list(told) == list(inspect.signature(function).parameters)
    assert all(len(text) > 10 and text.endswith(".") for text in told.values())
