"""A run that was killed, interrupted or starved goes on to the bits of one never interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import thalweg as tw
from thalweg.core.result import Result
from thalweg.driver import chunks as driver
from thalweg.trajectory import StoreError, ZarrStore
from thalweg.trajectory import store as store_module
from thalweg.trajectory.store import OtherRunError

CHILD = Path(__file__).parent / "killed_run.py"
DYNAMICS = {"descent": tw.gradient_descent(0.1), "flow": tw.gradient_flow(1e-4)}


def valley(params: Any) -> Any:
    """A curved valley with a changing Hessian; two eigenvalues cross."""
    x, y, z = params
    return 0.5 * x**2 + 0.25 * (y - x**2) ** 2 + jnp.cosh(0.3 * z) + 0.1 * x * z


PROBES = [tw.probes.sharpness(recheck=2), tw.every(2, tw.probes.smallest_eigenvalue(2))]
PROBLEM = tw.problems.Function(valley, draw=lambda key: 1.0 + 0.5 * tw_normal(key))


def tw_normal(key: Any) -> Any:
    import jax

    return jax.random.normal(key, (3,))


def go(name: str, out: Path | None, **changes: Any) -> tw.Trajectory:
    options: dict[str, Any] = {
        "until": 2.0,
        "records": 5,
        "seeds": 2,
        "probes": PROBES,
        "progress": False,
    } | changes
    return tw.run(PROBLEM, DYNAMICS[name], out=out, **options)


def same(found: xr.Dataset, reference: xr.Dataset, count: int | None = None) -> None:
    """The first `count` records (by default all) are the reference's, bit for bit."""
    if count is not None:
        reference = reference.isel(time=slice(0, count))
    assert set(found.variables) == set(reference.variables)
    for name in reference.variables:
        a, b = found[name].values, reference[name].values
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert a.tobytes() == b.tobytes(), name


@pytest.fixture(scope="module")
def references() -> dict[str, xr.Dataset]:
    """Runs that were never stored, hence never interrupted."""
    return {name: go(name, None).dataset for name in DYNAMICS}


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record is committed at once."""
    monkeypatch.setattr(driver, "COMMIT_SECONDS", -1.0)


# ---- stopped at any line ------------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone."""


LINES = {driver.__file__, store_module.__file__}


class Stopwatch:
    """Raises after so many lines of the driver and the store, and at every later one."""

    def __init__(self, at: int, error: type[BaseException], once: bool) -> None:
        self.at, self.error, self.once, self.count = at, error, once, 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self.line if frame.f_code.co_filename in LINES else None

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.count += 1
            if self.count == self.at or (self.count > self.at and not self.once):
                raise self.error
        return self.line

    def over(self, function: Callable[[], Any]) -> bool:
        """Whether the function got to its end."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            function()
        except self.error:
            return False
        finally:
            sys.settrace(before)
        return True


def resumed_everywhere(name: str, tmp_path: Path, error: type[BaseException], stride: int) -> int:
    """Stop a run at every `stride`-th line; look at the store; go on. The number of stops."""
    reference = go(name, None, records=3).dataset
    out, at, stops = tmp_path / f"{name}.zarr", 1, 0
    while True:
        watch = Stopwatch(at, error, once=error is KeyboardInterrupt)
        if watch.over(lambda: go(name, out, records=3)):
            return stops
        store = ZarrStore(out)
        if store.exists():
            store.check(list(reference.data_vars))
            same(store.dataset(), reference, store.committed()["records"])
        same(go(name, out, records=3).dataset, reference)
        shutil.rmtree(out)
        shutil.rmtree(store.resume)
        at += stride
        stops += 1


@pytest.mark.thorough
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(("error", "stride"), [(Killed, 97), (KeyboardInterrupt, 131)])
def test_stopped_at_some_lines(tmp_path: Path, error: type[BaseException], stride: int) -> None:
    assert resumed_everywhere("descent", tmp_path, error, stride) >= 3


# An exception between the opening of a file and its `with` leaves the file to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", list(DYNAMICS))
@pytest.mark.parametrize(("error", "stride"), [(Killed, 11), (KeyboardInterrupt, 7)])
def test_stopped_at_many_lines(
    tmp_path: Path, error: type[BaseException], stride: int, name: str
) -> None:
    assert resumed_everywhere(name, tmp_path, error, stride) >= 30


@pytest.mark.thorough
def test_ctrl_c_keeps_what_was_not_committed_yet(
    tmp_path: Path, references: dict[str, xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    record, taken = driver.Loop.record, []

    def watched(self: driver.Loop, states: Any) -> None:
        record(self, states)
        taken.append(self.at.next)
        if len(taken) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(driver.Loop, "record", watched)
    with pytest.raises(tw.Interrupted, match=r"stopped at .* give the same command to go on"):
        go("flow", tmp_path / "a.zarr")
    monkeypatch.undo()
    same(tw.load(tmp_path / "a.zarr").dataset, references["flow"], 4)
    same(go("flow", tmp_path / "a.zarr").dataset, references["flow"])
    monkeypatch.setattr(driver.Loop, "record", watched)
    taken.clear()
    with pytest.raises(tw.Interrupted, match="nothing was stored"):
        go("flow", None)


# ---- the same place, another time ---------------------------------------------------------------


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "probes", [["loss"], pytest.param(PROBES, marks=pytest.mark.thorough)], ids=["loss", "all"]
)
def test_a_finished_run_is_read_back_without_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probes: list[Any]
) -> None:
    reference = go("descent", None, probes=probes).dataset  # never stored
    go("descent", tmp_path / "a.zarr", probes=probes)
    monkeypatch.setattr(driver.Loop, "advance", lambda *_: pytest.fail("a step was taken"))
    same(go("descent", tmp_path / "a.zarr", probes=probes).dataset, reference)


def test_a_run_where_every_seed_diverged_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = tw.problems.Function(lambda p: jnp.sum(p**4), start=jnp.asarray([3.0]))
    options: dict[str, Any] = {"until": 50.0, "records": 50, "progress": False}
    first = tw.run(problem, tw.gradient_descent(1.0), out=tmp_path / "a.zarr", **options)
    assert first.diverged.all()
    assert 2 <= first.dataset.sizes["time"] < 20
    assert int(first.dataset["result"][0, -1]) == Result.NONFINITE
    monkeypatch.setattr(driver.Loop, "advance", lambda *_: pytest.fail("a step was taken"))
    again = tw.run(problem, tw.gradient_descent(1.0), out=tmp_path / "a.zarr", **options)
    same(again.dataset, first.dataset)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 3}, "seeds 0 and 1, now 0, 1 and 2"),
        ({"records": 6}, "other times of the records"),
        ({"probes": []}, "no longer measured: sharpness and smallest eigenvalue"),
        ({"parameters": False}, "parameters recorded True, now False"),
    ],
)
def test_another_run_is_refused_by_what_differs(
    tmp_path: Path,
    references: dict[str, xr.Dataset],
    changes: dict[str, Any],
    words: str,
) -> None:
    out = tmp_path / "a.zarr"
    go("descent", out)
    with pytest.raises(OtherRunError, match=words) as caught:
        go("descent", out, **changes)
    assert "\n" not in str(caught.value)
    same(tw.load(out).dataset, references["descent"])
    changed = go("descent", out, fresh=True, **changes)
    same(changed.dataset, go("descent", None, **changes).dataset)


def test_another_step_size_is_named(tmp_path: Path) -> None:
    go("descent", tmp_path / "a.zarr", probes=["loss"])
    with pytest.raises(OtherRunError, match=r"step_size 0\.1, now 0\.2"):
        tw.run(PROBLEM, tw.gradient_descent(0.2), 2.0, out=tmp_path / "a.zarr", progress=False)


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("harm", ["mark", "checkpoint", "chunk", "variable", "metadata"])
def test_damage_is_told_and_a_fresh_run_mends_it(tmp_path: Path, harm: str) -> None:
    out, probes = tmp_path / "a.zarr", PROBES if harm == "variable" else ["loss"]
    reference = go("descent", None, probes=probes).dataset
    go("descent", out, probes=probes)
    store = ZarrStore(out)
    if harm == "mark":
        store.mark.write_text('{"records": ')
    elif harm == "checkpoint":
        next(store.resume.glob("state-*")).unlink()
    elif harm == "chunk":
        (out / "loss" / "c" / "0" / "0").unlink()
    elif harm == "variable":
        shutil.rmtree(out / "sharpness")
    else:
        (out / "zarr.json").write_text("{}")
    with pytest.raises(StoreError) as caught:
        go("descent", out, probes=probes)
    assert "\n" not in str(caught.value)
    assert "fresh run" in str(caught.value)
    same(go("descent", out, probes=probes, fresh=True).dataset, reference)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("place", ["a.zarr", "a.resume"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_not_ours_is_left_alone(tmp_path: Path, fresh: bool, place: str, kind: str) -> None:
    mine = tmp_path / place if kind == "file" else tmp_path / place / "mine.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(tw.InputError, match="is not a store of ours"):
        go("descent", tmp_path / "a.zarr", fresh=fresh)
    assert mine.read_text() == "mine"
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [mine.name]


def test_a_place_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(tw.InputError, match=r"ends in \.zarr"):
        go("descent", tmp_path / "a")
    with pytest.raises(StoreError, match="is a file"):
        go("descent", tmp_path / "file" / "a.zarr")
    with pytest.raises(StoreError, match="cannot write to"):
        go("descent", tmp_path / ("long" * 100) / "a.zarr")


@pytest.mark.thorough(after=1)
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("lost", ["a.zarr", "a.resume", "a.zarr/loss", "a.zarr/loss/c/0/0"])
def test_what_is_removed_while_it_runs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    record, taken = driver.Loop.record, []

    def watched(self: driver.Loop, states: Any) -> None:
        record(self, states)
        taken.append(self.at.next)
        if len(taken) == 3:
            place = tmp_path / lost
            place.unlink() if place.is_file() else shutil.rmtree(place)

    monkeypatch.setattr(driver.Loop, "record", watched)
    with pytest.raises(StoreError) as caught:
        go("descent", tmp_path / "a.zarr", probes=["loss"])
    assert "a.zarr" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_store_in_use_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = go("descent", None, probes=["loss"]).dataset
    record, refusals = driver.Loop.record, []

    def watched(self: driver.Loop, states: Any) -> None:
        if not refusals:
            for fresh in (False, True):
                with pytest.raises(StoreError, match=r"a\.zarr is in use by process"):
                    go("descent", tmp_path / "a.zarr", fresh=fresh, probes=["loss"])
                refusals.append(fresh)
            tw.load(tmp_path / "a.zarr")  # to read needs no lock
        record(self, states)

    monkeypatch.setattr(driver.Loop, "record", watched)
    same(go("descent", tmp_path / "a.zarr", probes=["loss"]).dataset, reference)
    assert refusals == [False, True]
    assert not (tmp_path / "a.resume" / "lock").exists()


# ---- kill -9 ------------------------------------------------------------------------------------


def child_environment(cache: Path) -> dict[str, str]:
    """Compiled code is kept, so that a child is up in seconds."""
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def killed_and_resumed(tmp_path: Path, kills: int, seed: int) -> None:
    """Kill a child again and again, half the time at a replacement of a file, and compare."""
    environment = child_environment(tmp_path / "cache")
    rng = np.random.default_rng(seed)

    def child(folder: Path, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(CHILD), str(folder), *more],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finished(process: subprocess.Popen[str]) -> None:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors

    begun = time.perf_counter()
    finished(child(tmp_path / "reference"))
    span = 0.4 * (time.perf_counter() - begun)  # the others need not compile
    known = tmp_path / "reference"
    reference = {name: tw.load(known / f"{name}.zarr").dataset for name in DYNAMICS}

    done, folder, rounds = 0, tmp_path / "run", 0
    while done < kills:
        if done % 2 == 0:  # at an exact place around a commit
            process = child(folder, str(rng.integers(1, 16)))
            process.wait(timeout=300)
        else:  # at any moment
            process = child(folder)
            time.sleep(span * float(rng.uniform(0.3, 1.0)))
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=60)
        process.communicate()
        done += process.returncode == -signal.SIGKILL
        complete = True
        for name, whole in reference.items():
            store = ZarrStore(folder / f"{name}.zarr")
            complete &= store.exists() and store.committed()["records"] == whole.sizes["time"]
            if store.exists():
                same(tw.load(store.path).dataset, whole, store.committed()["records"])
        if complete:
            shutil.rmtree(folder)
        rounds += 1
        assert rounds < 5 * kills + 10
    finished(child(folder))
    for name, whole in reference.items():
        same(tw.load(folder / f"{name}.zarr").dataset, whole)


@pytest.mark.slow
def test_killed_three_times(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, 3, seed=1)


@pytest.mark.slow
def test_killed_many_times(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, 24, seed=2)
