"""Sweeps on disk: killed ones go on to the same bits, more is added, and nothing is lost unseen."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import killed_sweep
import numpy as np
import pytest
import xarray as xr
from killed_sweep import go

import thalweg as tw
from thalweg.driver import chunks
from thalweg.storage.lock import locked
from thalweg.sweeps import plan
from thalweg.trajectory import StoreError
from thalweg.trajectory.store import OtherRunError

CHILD = Path(killed_sweep.__file__)


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the child module sets for its own process is taken back."""
    monkeypatch.setattr(plan, "MOST_LANES", plan.MOST_LANES)
    monkeypatch.setattr(chunks, "COMMIT_SECONDS", chunks.COMMIT_SECONDS)


@pytest.fixture(scope="module")
def reference() -> xr.Dataset:
    """Never stored, hence never interrupted."""
    before = plan.MOST_LANES
    try:
        return go(None).dataset
    finally:
        plan.MOST_LANES = before


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many lanes have taken steps so far, a lane and a chunk each."""
    taken, take = [0], chunks.take_steps

    def counted(*arguments: Any) -> Any:
        taken[0] += int(np.count_nonzero(arguments[4]))
        return take(*arguments)

    monkeypatch.setattr(chunks, "take_steps", counted)
    return lambda: taken[0]


def same(found: xr.Dataset, reference: xr.Dataset) -> None:
    assert set(found.variables) == set(reference.variables)
    for name in reference.variables:
        a, b = found[name].values, reference[name].values
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert a.tobytes() == b.tobytes(), name


def test_memory_and_disk_hold_the_same(
    tmp_path: Path, reference: xr.Dataset, steps: Callable[[], int]
) -> None:
    out = tmp_path / "sweep"
    found = go(out)
    assert len(found.blocks) == 3
    same(found.dataset, reference)
    spent = steps()
    assert spent > 0
    again = go(out)
    assert steps() == spent  # what is there is read
    same(again.dataset, reference)
    for one, two in zip(found.blocks, again.blocks, strict=True):
        np.testing.assert_array_equal(one["parameters"].values, two["parameters"].values)
    assert sorted(p.suffix for p in out.glob("block-*")) == [".resume"] * 3 + [".zarr"] * 3


@pytest.mark.thorough
@pytest.mark.parametrize("count", [1, 2, 3, 14, 27])
def test_a_killed_sweep_goes_on_to_the_same_bits(
    tmp_path: Path, reference: xr.Dataset, count: int
) -> None:
    out = tmp_path / "sweep"
    command = [sys.executable, str(CHILD), str(out)]
    done = subprocess.run([*command, str(count)], check=False)
    assert done.returncode == -signal.SIGKILL
    subprocess.run(command, check=True)
    with np.load(f"{out}.npz") as found:
        assert set(found.files) == set(map(str, reference.variables))
        for name in found.files:
            assert found[name].tobytes() == reference[name].values.tobytes(), name


def test_more_step_sizes_and_seeds_are_added(
    tmp_path: Path, reference: xr.Dataset, steps: Callable[[], int]
) -> None:
    out = tmp_path / "sweep"
    few = {"step_size": (0.3, 0.05), "seeds": [3]}
    go(out, **few)
    files = {p: p.stat().st_mtime_ns for p in out.glob("block-*/*/c/**/*") if p.is_file()}
    before = steps()
    found = go(out).dataset
    assert steps() > before
    assert {p: p.stat().st_mtime_ns for p in files} == files
    np.testing.assert_array_equal(found["time"], reference["time"])
    for name in ("loss", "gradient_norm"):  # in blocks of other shapes: to rounding
        np.testing.assert_allclose(found[name], reference[name], rtol=1e-9, atol=1e-12)
    before = steps()
    fewer = go(out, **few).dataset
    assert steps() == before
    same(fewer, found.sel(step_size=[0.3, 0.05], seed=[3]).isel(record=slice(0, 7)))


def test_another_sweep_is_refused_and_fresh_replaces_it(tmp_path: Path) -> None:
    out, few = tmp_path / "sweep", {"step_size": (0.3,)}
    go(out, **few)
    with pytest.raises(OtherRunError, match=r"another sweep \(number of records 6, now 5\).*fresh"):
        go(out, records=5, **few)
    with pytest.raises(OtherRunError, match=r"until 20\.0, now 10\.0"):
        go(out, until=10.0, **few)
    found = go(out, records=5, fresh=True, **few)
    assert found.dataset.sizes["record"] == 6
    assert len(list(out.glob("block-*.zarr"))) == 1


def test_what_is_refused_at_its_start_replaces_nothing(
    tmp_path: Path, steps: Callable[[], int]
) -> None:
    """Nor does one that was killed between setting the old sweep aside and its own list."""
    out, how = tmp_path / "sweep", {"step_size": [0.1], "steps": 4, "records": 2}

    def swept(function: Callable[[Any], Any], **more: Any) -> tw.Sweep:
        problem = tw.problems.Function(function, start=jnp.ones(2))
        return tw.sweep(problem, tw.gradient_descent, probes=[], out=out, **how, **more)

    def bowl(x: Any) -> Any:
        return 0.5 * jnp.sum(x**2)

    swept(bowl)
    files = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(tw.InputError, match="not finite at the start"):
        swept(lambda x: jnp.sum(jnp.log(-x)), fresh=True)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == files
    aside = out / "replaced"
    aside.mkdir()
    for old in [p for p in out.iterdir() if p != aside]:
        old.rename(aside / old.name)
    before = steps()
    swept(bowl)
    assert steps() == before
    swept(lambda x: jnp.sum(x**2), fresh=True)
    assert steps() > before
    assert not aside.exists()


def test_a_folder_that_is_used_otherwise_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(tw.InputError, match="in use for other things"):
        go(tmp_path, fresh=True)
    with pytest.raises(tw.InputError, match="a file; give a folder"):
        go(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    """At the start, which the blocks see first, when the list of them is written."""
    lost = tw.problems.Function(lambda x: jnp.sum(jnp.log(x)), start=-jnp.ones(2))
    line = {"step_size": [0.1], "steps": 4, "records": 4, "out": tmp_path / "new/sweep"}
    with pytest.raises(tw.InputError, match="not finite at the start"):
        tw.sweep(lost, tw.gradient_descent, **line)
    assert list(tmp_path.iterdir()) == []


def test_a_block_in_the_place_of_another_is_told(tmp_path: Path) -> None:
    bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
    line = {"steps": 4, "records": 4, "probes": (), "out": tmp_path / "sweep"}
    for size in (0.1, 0.2):
        tw.sweep(bowl, tw.gradient_descent, step_size=[size], **line)
    one, other = sorted((tmp_path / "sweep").glob("block-*.zarr"))
    for end in (".zarr", ".resume"):
        one.with_suffix(end).rename(tmp_path / end)
        other.with_suffix(end).rename(one.with_suffix(end))
        (tmp_path / end).rename(other.with_suffix(end))
    with pytest.raises(StoreError, match=rf"{one.stem}\.zarr holds block {other.stem}|{one.stem};"):
        tw.sweep(bowl, tw.gradient_descent, step_size=[0.1, 0.2], **line)


@pytest.mark.parametrize("harm", ["chunk", "index", "gone"])
def test_damage_is_told(tmp_path: Path, harm: str) -> None:
    out, few = tmp_path / "sweep", {"step_size": (0.3,)}
    go(out, **few)
    block = next(out.glob("block-*.zarr"))
    index = out / "sweep.json"
    if harm == "chunk":
        file = next(p for p in (block / "loss" / "c").rglob("*") if p.is_file())
        file.write_bytes(file.read_bytes()[::-1])
    elif harm == "gone":
        next(p for p in (block / "loss" / "c").rglob("*") if p.is_file()).unlink()
    else:
        index.write_text(index.read_text().replace("20.0", "21.0"))
    told = "sweep.json is missing or damaged" if harm == "index" else "loss/c"
    with pytest.raises(StoreError, match=told):
        go(out, **few)


def test_a_folder_is_worked_on_by_one_process(tmp_path: Path) -> None:
    with locked(tmp_path / ".lock", tmp_path), pytest.raises(StoreError, match="in use by process"):
        go(tmp_path, step_size=(0.3,))
