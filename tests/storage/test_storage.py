"""Checksums and locks: nothing damaged, lost or forged is read, and one writes at a time."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from thalweg.storage import arrays
from thalweg.storage.datasets import open_dataset, save_dataset
from thalweg.storage.files import StoreError, replace, replacing, sealed, unsealed
from thalweg.storage.lock import locked


def table() -> xr.Dataset:
    """Every kind of thing that a data set may hold."""
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "loss": (("seed", "time"), rng.normal(size=(2, 7)), {"units": "days"}),
            "codes": ("time", np.arange(7, dtype=np.int8)),
            "empty": ("none", np.zeros(0)),
            "gaps": ("time", np.full(7, np.nan)),
            "level": ((), 2.5),
            "roots": ("time", rng.normal(size=7) + 1j),
            "held": ("time", np.arange(7) > 3),
        },
        {"time": np.linspace(0, 1, 7), "seed": [0, 5], "name": ("seed", ["a", "longer"])},
        {"seconds": 1.5},
    )


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flipped(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [OSError, KeyboardInterrupt])
def test_a_file_that_is_not_finished_takes_nobodys_place(
    tmp_path: Path, stop: type[BaseException]
) -> None:
    path = tmp_path / "a"
    path.write_text("before")

    def stopped() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            raise stop

    with pytest.raises(stop):
        stopped()
    assert path.read_text() == "before"
    with replacing(path) as partial:
        partial.write_text("after")
        assert path.read_text() == "before"
    assert files_of(tmp_path) == [path]
    assert path.read_text() == "after"


def test_two_threads_write_one_file_each_for_itself(tmp_path: Path) -> None:
    path, meet = tmp_path / "a", threading.Barrier(2)
    names = []

    def write() -> None:
        with replacing(path) as partial:
            names.append(partial.name)
            partial.write_text(partial.name)
            meet.wait(10)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 2
    assert path.read_text() in names
    assert files_of(tmp_path) == [path]


def test_what_killed_writers_have_left_goes_with_the_next_file(tmp_path: Path) -> None:
    """A file that a living process is at stays, whatever its age, and so do other people's."""
    script = (
        "import os, sys, pathlib; from thalweg.storage.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half'); os.kill(os.getpid(), 9)\n"
    )
    killed = [sys.executable, "-c", script, str(tmp_path / "b")]
    assert subprocess.run(killed, check=False).returncode == -9
    (left,) = tmp_path.glob("b.*.partial")
    foreign = tmp_path / left.name.replace(left.name.split(".")[1][:8], "0" * 8)
    foreign.write_text("of another machine")
    theirs = tmp_path / "thesis.partial"
    theirs.write_text("no writer of ours")
    with replacing(tmp_path / "c") as at_work:
        at_work.write_text("whole")
        os.utime(at_work, (0, 0))
        replace(tmp_path / "a", b"a")
        assert at_work.exists()
    assert not left.exists()
    assert foreign.exists()
    os.utime(foreign, (0, 0))  # nobody has written to it for a day
    replace(tmp_path / "a", b"a")
    assert files_of(tmp_path) == [tmp_path / "a", tmp_path / "c", theirs]


# ---- data sets ----------------------------------------------------------------------------------


def test_chunks_of_a_data_set_in_each_others_place_are_told(tmp_path: Path) -> None:
    data = xr.Dataset({name: ("day", np.arange(3.0) + i) for i, name in enumerate("ab")})
    save_dataset(data, path := tmp_path / "a.zarr")
    one, other = path / "a/c/0", path / "b/c/0"
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)
    with pytest.raises(StoreError, match=r"intact files that were not written there \(a/c, b/c\)"):
        open_dataset(path)


def test_a_file_that_the_system_puts_beside_chunks_is_no_damage(tmp_path: Path) -> None:
    save_dataset(xr.Dataset({"a": ("x", np.arange(3.0))}), tmp_path / "it.zarr")
    (tmp_path / "it.zarr/a/c/.DS_Store").write_bytes(b"Bud1")
    np.testing.assert_array_equal(open_dataset(tmp_path / "it.zarr")["a"], np.arange(3.0))


def test_a_data_set_is_read_back(tmp_path: Path) -> None:
    save_dataset(table(), tmp_path / "a.zarr")
    found = open_dataset(tmp_path / "a.zarr").load()
    xr.testing.assert_identical(found, table())
    assert found["loss"].dtype == np.float64  # "days" is a unit for people, no date
    save_dataset(found, tmp_path / "b.zarr")
    xr.testing.assert_identical(open_dataset(tmp_path / "b.zarr").load(), table())


def test_every_bit_of_a_chunk_counts(tmp_path: Path) -> None:
    save_dataset(table(), tmp_path / "a.zarr")
    folder = tmp_path / "a.zarr" / "codes"
    file, array = folder / "c" / "0", zarr.open_array(folder, mode="r")
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        flipped(file, bit)
        assert arrays.lost_chunks(folder, array, [(0,)]) == ["c/0"]
        file.write_bytes(whole)
    assert arrays.lost_chunks(folder, array, [(0,)]) == []


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "missing"])
def test_damage_anywhere_is_told_by_name(tmp_path: Path, harm: str) -> None:
    whole, copy = tmp_path / "whole.zarr", tmp_path / "a.zarr"
    save_dataset(table(), whole)
    rng = np.random.default_rng(1)
    for file in files_of(whole):
        shutil.copytree(whole, copy)
        victim = copy / file.relative_to(whole)
        content = victim.read_bytes()
        if harm == "flip":
            flipped(victim, int(rng.integers(8 * len(content))))
        elif harm == "missing":
            victim.unlink()
        else:
            victim.write_bytes(content[: len(content) // 2 if harm == "cut" else 0])
        with pytest.raises(StoreError, match=re.escape(str(file.relative_to(whole)))) as caught:
            open_dataset(copy)
        assert "\n" not in str(caught.value)
        shutil.rmtree(copy)


def test_an_array_that_is_not_its_own_is_told(tmp_path: Path) -> None:
    save_dataset(table(), tmp_path / "a.zarr")
    shutil.copytree(tmp_path / "a.zarr" / "gaps", tmp_path / "a.zarr" / "more")
    with pytest.raises(StoreError, match=r"more/zarr\.json"):
        open_dataset(tmp_path / "a.zarr")


# ---- what runs code -----------------------------------------------------------------------------


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def pickled(folder: Path, target: Path) -> None:
    """An array of Zarr format 2 whose filter unpickles what its chunk holds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".zarray").write_text(
        json.dumps(
            {
                "zarr_format": 2,
                "shape": [1],
                "chunks": [1],
                "dtype": "|O",
                "compressor": None,
                "fill_value": None,
                "order": "C",
                "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}],
            }
        )
    )
    (folder / "0").write_bytes(pickle.dumps(Bomb(target)))


@pytest.mark.parametrize("place", ["", "loss"])
def test_an_old_format_is_not_opened(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["numcodecs.pickles"], "ALLOW_UNSAFE_PICKLE_DECODE", True)
    path, target = tmp_path / "a.zarr", tmp_path / "pwned"
    save_dataset(table(), path)
    shutil.rmtree(path / place)
    pickled(path / place, target)
    if not place:
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        pickled(path / "loss", target)
    with pytest.raises(StoreError, match=r"zarr\.json is missing|damaged files \(loss/zarr\.json"):
        open_dataset(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"zarr_format": 2}, "Zarr format 2"),
        ({"codecs": [{"name": "numcodecs.pickle"}]}, "numcodecs.pickle"),
        ({"codecs": [{"name": "bytes"}, {"name": "my.package"}]}, "my.package"),
        ({"data_type": "object"}, "object"),
        ({"data_type": {"name": "fixed_length_utf32"}}, "fixed_length_utf32"),
        ({"codecs": 7}, "does not describe"),
        ({"node_type": None}, "does not describe|no checksums"),
    ],
)
def test_only_plain_types_and_codecs_are_opened(
    tmp_path: Path, change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the checksums are right: whoever writes a folder writes those as well."""
    path = tmp_path / "a.zarr"
    save_dataset(table(), path)
    file = path / "loss" / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | change))
    arrays.seal(path)
    if change != {"node_type": None}:
        monkeypatch.setattr(zarr, "open", lambda *_, **__: pytest.fail("Zarr was asked"))
    with pytest.raises(StoreError, match=words):
        open_dataset(path)


# ---- JSON ---------------------------------------------------------------------------------------


def test_every_bit_of_sealed_json_counts(tmp_path: Path) -> None:
    content = {"b": [1, 2.5], "a": {"ä": "→"}}
    file = tmp_path / "mark.json"
    whole = sealed(content)
    file.write_bytes(whole)
    assert unsealed(file) == content
    for bit in range(0, 8 * len(whole), 3):
        flipped(file, bit)
        with contextlib.suppress(StoreError):  # or a bit of white space
            assert unsealed(file) == content
        file.write_bytes(whole)


def test_keys_in_another_order_are_the_same_content(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    written = json.loads(sealed({"a": 1, "b": 2}))
    file.write_text(json.dumps(dict(reversed(list(written.items())))))
    assert unsealed(file) == {"a": 1, "b": 2}
    file.write_text(json.dumps(written | {"b": 3}))
    with pytest.raises(StoreError, match="checksum"):
        unsealed(file)


def test_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    script = (
        "import sys; from pathlib import Path; from thalweg.storage.files import replace\n"
        "for _ in range(30): replace(Path(sys.argv[1]), sys.argv[2].encode() * 1000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, file, text]) for text in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert set(file.read_text()) in ({"a"}, {"b"})
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


# ---- locks --------------------------------------------------------------------------------------


HOLDER = """
import sys, time
from pathlib import Path
from thalweg.storage.lock import locked
folder = Path(sys.argv[1])
with locked(folder / ".lock", folder):
    print("held", flush=True)
    time.sleep(600)
"""


def refused(folder: Path, words: str) -> None:
    with (
        pytest.raises(StoreError, match=words) as caught,
        locked(folder / ".lock", folder),
    ):
        pytest.fail("held twice")
    assert "\n" not in str(caught.value)


def test_a_killed_holder_holds_nobody_up(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    refused(folder, rf"is in use by process {holder.pid} on .* since 20\d\d-")
    assert (folder / ".lock").exists()  # whoever is refused leaves it alone
    holder.kill()
    holder.communicate()
    assert (folder / ".lock").exists()
    with locked(folder / ".lock", folder):
        refused(folder, rf"process {os.getpid()} \(this one\)")
    assert not (folder / ".lock").exists()
    with locked(tmp_path / "a" / "b" / ".lock", tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()  # made for the lock alone


def test_threads_hold_in_turn(tmp_path: Path) -> None:
    inside, refusals, most = [0], [0], [0]
    guard = threading.Lock()

    def work() -> None:
        for _ in range(50):
            try:
                with locked(tmp_path / ".lock", tmp_path):
                    with guard:
                        inside[0] += 1
                        most[0] = max(most[0], inside[0])
                    (tmp_path / "kept").touch()
                    with guard:
                        inside[0] -= 1
            except StoreError:
                refusals[0] += 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert refusals[0] < 300
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_lock_that_is_damaged_still_locks(tmp_path: Path) -> None:
    with locked(tmp_path / ".lock", tmp_path):
        (tmp_path / ".lock").write_text("[")
        refused(tmp_path, "in use by another process")


def test_a_place_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(tmp_path / "file", "a file of that name|is a file")
    refused(tmp_path / "file" / "deep", "is a file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_refusal_of_the_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace(tmp_path / "a.json", b"{}")
    assert list(tmp_path.iterdir()) == []
