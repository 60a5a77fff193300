"""The store: what was committed survives kills, full disks and damage, and damage is told."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
import zarr.storage._local as zarr_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.storage.datasets import open_dataset, save_dataset
from thalweg.storage.files import sealed, writing
from thalweg.trajectory import MemoryStore, StoreError, Variable, ZarrStore, load
from thalweg.trajectory import store as store_module
from thalweg.trajectory.store import OtherRunError

SEEDS, TIMES = 2, 7
VARIABLES = [
    Variable("step", (), (), np.dtype(np.int64), {"units": "1"}),
    Variable("loss", (), (), np.dtype(np.float64), {"units": "loss"}),
    Variable("loss_result", (), (), np.dtype(np.int8), {}),
    Variable("values", ("rank",), (3,), np.dtype(np.float32), {"units": "parameter"}),
    Variable("parameters", ("parameter",), (1025,), np.dtype(np.float64), {}),  # a chunk a record
]
COORDS = {"seed": np.arange(SEEDS), "time": ("time", np.linspace(0, 3, TIMES), {"units": "step"})}
ATTRS = {"dynamics": "none", "provenance": "{}"}


def records(first: int, count: int) -> dict[str, np.ndarray]:
    """What is recorded at positions first, ..., a function of the position alone."""
    rows: dict[str, np.ndarray] = {}
    for k, v in enumerate(VARIABLES):
        each = [
            np.random.default_rng([k, i]).normal(size=(SEEDS, *v.shape)) * 50
            for i in range(first, first + count)
        ]
        rows[v.name] = np.stack(each, axis=1).astype(v.dtype)
    rows["loss"][0, 0] = np.nan  # divergence is data
    return rows


def leaves(count: int) -> list[np.ndarray]:
    return [np.full((SEEDS, 2), count / 3), np.asarray([count]), np.asarray([True, False])]


def commit(store: Any, first: int, count: int) -> None:
    """One flush of the driver."""
    store.write(first, records(first, count))
    store.commit(first + count, leaves(first + count), {"seconds": 1.0, "finished": False})


def filled(path: Path, *parts: int) -> ZarrStore:
    """A store with so many records a commit."""
    store = ZarrStore(path)
    store.create(VARIABLES, COORDS, ATTRS)
    first = 0
    for count in parts:
        commit(store, first, count)
        first += count
    return store


def expected(*parts: int) -> xr.Dataset:
    store = MemoryStore(VARIABLES, COORDS, ATTRS)
    first = 0
    for count in parts:
        commit(store, first, count)
        first += count
    return store.dataset()


def same(left: xr.Dataset, right: xr.Dataset) -> None:
    """The same bits in every variable, of the same type."""
    assert set(left.variables) == set(right.variables)
    for name in right.variables:
        a, b = left[name].values, right[name].values
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert a.tobytes() == b.tobytes(), name


# ---- what is written is what is read ------------------------------------------------------------


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.integers(1, 3), min_size=0, max_size=4).filter(lambda p: sum(p) <= TIMES))
def test_zarr_and_memory_agree_however_records_are_grouped(
    tmp_path: Path, parts: list[int]
) -> None:
    store = filled(tmp_path / "a.zarr", *parts)
    read = ZarrStore(store.path)
    read.check([v.name for v in VARIABLES])
    same(read.dataset(), expected(*parts))
    assert read.committed()["records"] == sum(parts)
    for saved, known in zip(read.state() or [], leaves(sum(parts)), strict=bool(parts)):
        assert saved.tobytes() == known.tobytes()
    assert len(list(store.resume.iterdir())) == (2 if parts else 1)


def test_units_and_notes_are_kept(tmp_path: Path) -> None:
    found = filled(tmp_path / "a.zarr", 2).dataset()
    assert found["loss"].attrs["units"] == "loss"
    assert found["time"].attrs["units"] == "step"
    assert (found.attrs["seconds"], found.attrs["finished"]) == (1.0, False)


def test_records_after_the_mark_are_not_shown(tmp_path: Path) -> None:
    store = filled(tmp_path / "a.zarr", 2)
    store.write(2, records(2, 3))  # killed before the commit
    same(ZarrStore(store.path).dataset(), expected(2))
    commit(ZarrStore(store.path), 2, 2)
    same(ZarrStore(store.path).dataset(), expected(2, 2))


# ---- killed at every operation ------------------------------------------------------------------


class Killed(BaseException):
    """The process is gone: nothing cleans up after it."""


class Saboteur:
    """Raises at the k-th operation on files and at every later one, as for a dead process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException) -> None:
        self.count, self.at, self.error, self.running = 0, at, error, 0
        for owner, name in (
            (zarr_files, "_put"),
            (store_module, "replace"),
            (shutil, "rmtree"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (Path, "rename"),
        ):
            monkeypatch.setattr(owner, name, self.wrapped(getattr(owner, name)))

    def wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count >= self.at:
                raise self.error
            self.running += 1
            try:
                return function(*arguments, **options)
            finally:
                self.running -= 1

        return watched

    def settle(self) -> None:
        """Wait for Zarr's threads, which a dead process would not have any more."""
        time.sleep(0.02)
        while self.running:
            time.sleep(0.02)


def story(path: Path) -> None:
    """A run on top of an older one, then two commits."""
    store = ZarrStore(path)
    store.create(VARIABLES, COORDS, ATTRS)
    commit(store, 0, 1)
    commit(store, 1, 2)


def refusal(path: Path) -> str:
    """What the store says if the story cannot be told to its end."""
    try:
        story(path)
    except StoreError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("error", "stride"), [(Killed(), 2), (OSError(errno.ENOSPC, "No space left on device"), 5)]
)
def test_stopped_at_many_operations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, stride: int
) -> None:
    older = filled(tmp_path / "older.zarr", 2)
    names = [v.name for v in VARIABLES]
    told = {0: expected(), 1: expected(1), 2: expected(2), 3: expected(1, 2)}
    path, at, seen = tmp_path / "a.zarr", 0, set()
    store = ZarrStore(path)
    while 3 not in seen:
        at += 1 if at < 12 else stride  # the older run is deleted one file at a time
        for folder, copy in ((older.path, path), (older.resume, store.resume)):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy)
        with monkeypatch.context() as patch:
            saboteur = Saboteur(patch, at, error)
            with contextlib.suppress(Killed):
                assert re.fullmatch("|[^\n]*the disk is full[^\n]*", refusal(path))
            saboteur.settle()
        assert not store.foreign()
        try:
            store.check(names)
            count = store.committed()["records"]
            assert (store.state() is None) == (count == 0)
            same(store.dataset(), told[count])
            seen.add(count)
        except StoreError:  # no store yet, or the older one was being deleted
            ZarrStore(path).create(VARIABLES, COORDS, ATTRS)
            same(ZarrStore(path).dataset(), told[0])
    assert seen == set(told)
    assert at > 40


def test_a_saved_data_set_is_whole_or_the_older_one_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.zarr"
    old, new = expected(2), expected(2, 1)
    with monkeypatch.context() as patch:
        watched = Saboteur(patch, 10**9, Killed())
        save_dataset(old, path)
        save_dataset(new, path)
    for at in range(1, watched.count // 2 + 1, 4):
        save_dataset(old, path)
        with monkeypatch.context() as patch:
            saboteur = Saboteur(patch, at, Killed())
            with pytest.raises(Killed):
                save_dataset(new, path)
            saboteur.settle()
        try:
            found = open_dataset(path)
            same(found, new if found.sizes["time"] == 3 else old)
        except StoreError:
            same(open_dataset(path.with_suffix(".old")), old)
        save_dataset(new, path)
        same(open_dataset(path), new)
        assert [p.name for p in tmp_path.iterdir()] == ["data.zarr"]


# ---- file systems that refuse -------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte of its own."""
    yield from mounted(tmp_path / "disk", "size=1m")


def mounted(place: Path, options: str) -> Iterator[Path]:
    import subprocess

    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no mount: {error}")
    if done.returncode:
        pytest.skip(f"may not mount: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_full_disk(small_disk: Path) -> None:
    store = filled(small_disk / "a.zarr", 2)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(2_000_000))
    with pytest.raises(StoreError, match="the disk is full") as caught:
        commit(store, 2, 3)
    assert "\n" not in str(caught.value)
    store = ZarrStore(store.path)
    store.check([v.name for v in VARIABLES])
    same(store.dataset(), expected(2))
    ballast.unlink()
    commit(store, 2, 3)
    same(store.dataset(), expected(2, 3))


def test_read_only_disk(small_disk: Path) -> None:
    import subprocess

    store = filled(small_disk / "a.zarr", 2)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match="read-only"):
        commit(ZarrStore(store.path), 2, 1)
    with pytest.raises(StoreError, match="read-only"):
        ZarrStore(store.path).create(VARIABLES, COORDS, ATTRS)
    with pytest.raises(StoreError, match="read-only"):
        save_dataset(expected(2), small_disk / "b.zarr")
    same(load(store.path).dataset, expected(2))  # reading needs no writing


def test_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "a.zarr", tmp_path / "file" / "deep" / "a.zarr"):
        with pytest.raises(StoreError, match=r"a part of the path is a file|a file of that name"):
            ZarrStore(path).create(VARIABLES, COORDS, ATTRS)
        with pytest.raises(StoreError, match=r"a part of the path is a file|a file of that name"):
            save_dataset(expected(1), path)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EPERM, "permission"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_refusals_in_words(code: int, words: str) -> None:
    import os

    with pytest.raises(StoreError, match=words), writing(Path("somewhere")):
        raise OSError(code, os.strerror(code))
    with pytest.raises(KeyError), writing(Path("somewhere")):  # nothing else is hidden
        raise KeyError("bug")


# ---- damage -------------------------------------------------------------------------------------


def damaged(path: Path, words: str, kind: type[StoreError] = StoreError) -> None:
    """Loading says so in one sentence; the points that are left are plain Zarr."""
    with pytest.raises(kind, match=words) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"records": "x"}', "\x00\xff"])
def test_damaged_commit_mark(tmp_path: Path, text: str) -> None:
    store = filled(tmp_path / "a.zarr", 4)
    store.mark.write_text(text)
    damaged(store.path, "missing or damaged")
    assert store.exists()
    plain = xr.open_zarr(store.path, consolidated=False, chunks=None)
    same(plain.isel(time=slice(0, 4)), expected(4))


def test_missing_commit_mark_does_not_pass_for_an_empty_place(tmp_path: Path) -> None:
    store = filled(tmp_path / "a.zarr", 4)
    store.mark.unlink()
    assert store.exists()
    damaged(store.path, "missing or damaged")


@pytest.mark.parametrize("version", [None, 0, 1, 3, "next"])
def test_other_format(tmp_path: Path, version: Any) -> None:
    store = filled(tmp_path / "a.zarr", 4)
    mark = json.loads(store.mark.read_text())
    mark.pop("format")
    mark.pop("checksum")
    new = mark if version is None else mark | {"format": version}
    old = version in (None, 0, 1)
    store.mark.write_bytes(json.dumps(new).encode() if old else sealed(new))
    damaged(store.path, "store format", OtherRunError)
    plain = xr.open_zarr(store.path, consolidated=False, chunks=None)
    same(plain.isel(time=slice(0, 4)), expected(4))


@pytest.mark.parametrize("harm", ["missing", "cut", "changed"])
def test_damaged_checkpoint(tmp_path: Path, harm: str) -> None:
    store = filled(tmp_path / "a.zarr", 4)
    path = store.resume / "state-4.npz"
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(content[:-20])
    else:
        path.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    with pytest.raises(StoreError, match=r"checkpoint .* is missing or damaged"):
        store.state()
    same(load(store.path).dataset, expected(4))


@pytest.mark.parametrize("name", ["zarr.json", "loss/zarr.json"])
@pytest.mark.parametrize("keep", [0, 30])
def test_cut_metadata(tmp_path: Path, name: str, keep: int) -> None:
    store = filled(tmp_path / "a.zarr", 4)
    path = store.path / name
    path.write_bytes(path.read_bytes()[:keep])
    damaged(store.path, rf"{re.escape(str(path))} is damaged|damaged files \({name}\)")
    alone = xr.DataArray(zarr_array(store.path, "parameters"))
    assert alone.values[:, :4].tobytes() == expected(4)["parameters"].values.tobytes()


def zarr_array(path: Path, name: str) -> np.ndarray:
    import zarr

    return np.asarray(zarr.open_array(path / name, mode="r")[:])


@pytest.mark.parametrize("name", ["loss/c/0/0", "parameters/c/1/2/0", "step/c/0/0", "time/c/0"])
@pytest.mark.parametrize("harm", ["missing", "empty", "cut"])
def test_damaged_chunk(tmp_path: Path, name: str, harm: str) -> None:
    store = filled(tmp_path / "a.zarr", 4)
    path = store.path / name
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 0 if harm == "empty" else 9])
    damaged(store.path, rf"missing or damaged files \({name}\)")
    kept = zarr_array(store.path, "values")[:, :4]
    assert kept.tobytes() == expected(4)["values"].values.tobytes()


def test_missing_variable(tmp_path: Path) -> None:
    store = filled(tmp_path / "a.zarr", 4)
    shutil.rmtree(store.path / "loss")
    with pytest.raises(StoreError, match=r"missing or damaged files \(loss/zarr\.json\)"):
        store.check([v.name for v in VARIABLES])


def test_leftovers_of_a_killed_write_are_ignored(tmp_path: Path) -> None:
    store = filled(tmp_path / "a.zarr", 2)
    for leftover in (
        store.path / "loss/c/0/0.0123abcd.partial",
        store.resume / "commit.json.partial",
        store.resume / "state-3.npz.partial",
        store.resume / "state-1.npz",
    ):
        leftover.write_bytes(b"half")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(load(store.path).dataset, expected(2))
    commit(ZarrStore(store.path), 2, 1)
    same(load(store.path).dataset, expected(2, 1))
    assert not store.foreign()


def test_what_a_killed_zarr_has_left_goes_with_the_next_record(tmp_path: Path) -> None:
    store = filled(tmp_path / "a.zarr", 2)
    left = store.path / "loss/c/0/0.0123abcd.partial"
    left.write_bytes(b"half")
    commit(ZarrStore(store.path), 2, 1)
    assert not left.exists()


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("loss/c/0/0", "loss_error/c/0/0", "loss/c, loss_error/c"),
        ("parameters/c/0/1/0", "parameters/c/0/2/0", "parameters/c"),
        ("parameters/c/0/0/0", "parameters/c/1/0/0", "parameters/c"),
        ("time/c/0", "later/c/0", "later/c, time/c"),
    ],
)
def test_intact_chunks_in_each_others_place_are_told(
    tmp_path: Path, one: str, other: str, name: str
) -> None:
    """Of two quantities, two records, two seeds, two labels; by whoever reads the run."""
    more = Variable("loss_error", (), (), np.dtype(np.float64), {})
    store = ZarrStore(tmp_path / "a.zarr")
    later = ("time", np.linspace(1, 4, TIMES), {})
    store.create([*VARIABLES, more], COORDS | {"later": later}, ATTRS)
    store.write(0, records(0, 4) | {"loss_error": records(0, 4)["loss"] / 9})
    store.commit(4, leaves(4), {"finished": True})
    load(store.path)
    assert open_dataset(store.path).sizes["time"] == 4  # what is committed
    a, b = store.path / one, store.path / other
    held = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(held)
    for read in (load, open_dataset, lambda path: ZarrStore(path).check()):
        with pytest.raises(StoreError, match=rf"not written there \({name}\)"):
            read(store.path)


def test_a_run_that_goes_on_knows_all_its_records(tmp_path: Path) -> None:
    """Its digests go on where those of the process before it have ended."""
    store = filled(tmp_path / "a.zarr", 2)
    resumed = ZarrStore(store.path)
    resumed.check()
    commit(resumed, 2, 3)
    whole = filled(tmp_path / "b.zarr", 2, 3)
    assert resumed.committed()["digests"] == whole.committed()["digests"] != {}


def test_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store at"):
        load(tmp_path / "none.zarr")
    foreign = tmp_path / "foreign.zarr"
    expected(2).drop_attrs().to_zarr(foreign, consolidated=False)
    damaged(foreign, "missing or damaged")


# ---- what is not ours is left alone -------------------------------------------------------------


@pytest.mark.parametrize("place", ["a.zarr", "a.resume"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_foreign_things(tmp_path: Path, place: str, kind: str) -> None:
    mine = tmp_path / place if kind == "file" else tmp_path / place / "mine.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    assert ZarrStore(tmp_path / "a.zarr").foreign()


def test_empty_folders_and_own_remains_are_free(tmp_path: Path) -> None:
    store = ZarrStore(tmp_path / "a.zarr")
    assert not store.foreign()
    store.path.mkdir()
    assert not store.foreign()
    store.resume.mkdir()
    assert not store.foreign()
    filled(store.path, 2)
    assert not store.foreign()
    store.mark.unlink()
    assert not store.foreign()


def test_an_empty_group_that_an_interrupted_run_left_is_nobodys(tmp_path: Path) -> None:
    """Zarr makes it in a thread of its own, after Ctrl-C has tidied up the folder beside it."""
    store = ZarrStore(tmp_path / "a.zarr")
    group = zarr.open_group(store.path, mode="w", zarr_format=3)
    assert not store.resume.exists()
    assert not store.foreign()
    group.attrs["mine"] = 1
    assert store.foreign()
    del group.attrs["mine"]
    assert not store.foreign()
    group.create_array("x", data=np.ones(2))
    assert store.foreign()
