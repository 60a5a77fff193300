"""Compiled programs that are kept: found again, never wrong, bounded, and never in the way."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from thalweg.core.errors import InputError
from thalweg.storage.programs import LARGEST, LOOKS, Programs, keep_programs, programs_folder

PROGRAM = bytes(range(256)) * 3


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path, tell=pytest.fail)


def the_file(folder: Path) -> Path:
    (file,) = folder.glob("*.program")
    return file


def test_what_is_kept_is_found_again(tmp_path: Path, programs: Programs) -> None:
    assert programs.get("jit_f-1") is None
    programs.put("jit_f-1", PROGRAM)
    programs.put("jit_f-2", b"")
    assert programs.get("jit_f-1") == Programs(tmp_path).get("jit_f-1") == PROGRAM
    assert programs.get("jit_f-2") == b""
    assert programs.held() == (2, len(PROGRAM) + 2 * 32)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:20],
        lambda whole: whole[:-1],
        lambda whole: whole + b"\0",
        *(
            lambda whole, at=at: whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
            for at in (0, 400, len(PROGRAM) - 1, len(PROGRAM), len(PROGRAM) + 31)
        ),
    ],
)
def test_a_damaged_program_is_as_good_as_none(
    tmp_path: Path, programs: Programs, damage: Callable[[bytes], bytes]
) -> None:
    programs.put("jit_f-1", PROGRAM)
    file = the_file(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    assert programs.get("jit_f-1") is None
    assert list(tmp_path.iterdir()) == []  # so that the next one is written in its place
    programs.put("jit_f-1", PROGRAM)
    assert programs.get("jit_f-1") == PROGRAM


def test_a_program_under_the_name_of_another_is_damaged(tmp_path: Path, programs: Programs) -> None:
    programs.put("jit_f-1", PROGRAM)
    one = the_file(tmp_path)
    content = one.read_bytes()
    programs.put("jit_f-2", PROGRAM[::-1])
    (other,) = set(tmp_path.iterdir()) - {one}
    other.write_bytes(content)
    assert programs.get("jit_f-2") is None
    assert programs.get("jit_f-1") == PROGRAM


def test_machines_do_not_share_programs(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.put("jit_f-1", PROGRAM)
    monkeypatch.setattr("thalweg.storage.programs._machine", lambda: "an older processor")
    assert programs.get("jit_f-1") is None


def test_the_folder_is_bounded_and_keeps_what_is_used(tmp_path: Path) -> None:
    """Two writers take turns; of both together no more is held than the bound."""
    writers = [Programs(tmp_path, 10_000, tell=pytest.fail) for _ in range(2)]
    (tmp_path / "letter.txt").write_text("not ours")
    for number in range(60):
        writers[0].put(f"jit_f-{number}", bytes(500 + number))
        # Time goes by, more than the file system's clock can tell apart.
        for age, file in enumerate(sorted(tmp_path.glob("*.program"), key=os.path.getmtime)[::-1]):
            os.utime(file, (0, 1e9 + number - age))
        assert writers[0].get("jit_f-0") == bytes(500)
        assert writers[0].held()[1] <= 10_000
    assert writers[0].held()[0] > 10
    for number in range(60):
        writers[number % 2].put(f"jit_g-{number}", bytes(900))
        assert writers[0].held()[1] <= 10_000  # a program is more than a part of `LOOKS`
    Programs(tmp_path, 10_000).put("jit_large", bytes(10_000))
    assert Programs(tmp_path).get("jit_large") is None
    Programs(tmp_path).clear()
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


def test_many_writers_exceed_the_bound_by_a_part_each(tmp_path: Path) -> None:
    """Programs far smaller than what a writer keeps to itself before it looks at the folder."""
    writers = [Programs(tmp_path, 64_000, tell=pytest.fail) for _ in range(4)]
    for number in range(300):
        writers[number % 4].put(f"jit_{number}", bytes(968))
    assert 40_000 < writers[0].held()[1] <= 64_000 + 4 * 64_000 / LOOKS


def test_a_folder_that_cannot_be_used_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told: list[str] = []
    programs = Programs(tmp_path / "file" / "compiled", tell=told.append)
    assert not programs.usable()
    programs.put("jit_f-1", PROGRAM)
    assert programs.get("jit_f-1") is None
    assert programs.held() == (0, 0)
    (sentence,) = told
    assert "Not a directory" in sentence
    assert "THALWEG_CACHE" in sentence


def test_a_disk_that_is_full_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    programs = Programs(tmp_path, tell=told.append)
    programs.put("jit_f-1", PROGRAM)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    programs.put("jit_f-2", PROGRAM)
    programs.put("jit_f-3", PROGRAM)
    assert len(told) == 1
    assert "No space left" in told[0]
    assert programs.get("jit_f-1") == PROGRAM
    assert programs.held()[0] == 1  # nothing half-written is left


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, "~/.cache/thalweg/compiled"),
        ({"XDG_CACHE_HOME": "/big"}, "/big/thalweg/compiled"),
        ({"XDG_CACHE_HOME": "relative"}, "~/.cache/thalweg/compiled"),
        ({"XDG_CACHE_HOME": "/big", "THALWEG_CACHE": "mine"}, "mine"),
        ({"THALWEG_CACHE": "off"}, None),
        ({"THALWEG_CACHE": ""}, None),
    ],
)
def test_where_programs_are_kept(
    environment: dict[str, str], folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("XDG_CACHE_HOME", "THALWEG_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert programs_folder() == (None if folder is None else Path(folder).expanduser())


def test_the_folder_that_jax_was_given_is_left_alone(tmp_path: Path) -> None:
    assert keep_programs(tmp_path / "compiled", tell=pytest.fail) is None  # as in these tests
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="largest came as 0"):
        keep_programs(tmp_path, largest=0)
    assert LARGEST > 10_000_000


COMPILE = """
import sys, jax, jax.numpy as jnp
from thalweg.storage.programs import keep_programs
assert keep_programs(tell=sys.exit) is not None
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.endswith("cache_hits")))
assert float(jax.jit(lambda x: jnp.sin(x) * 41.0)(0.5)) == float(41 * jnp.sin(0.5))
print(sum(hits))
"""


def test_programs_of_processes(tmp_path: Path) -> None:
    """Two at once on an empty folder, one after them, one after all programs were damaged."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment["THALWEG_CACHE"] = str(tmp_path / "not" / "yet")

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", COMPILE],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hits(process: subprocess.Popen[str]) -> int:
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        return int(out)

    both = [start(), start()]
    assert all(hits(process) >= 0 for process in both)
    files = list((tmp_path / "not" / "yet").iterdir())
    assert {file.suffix for file in files} == {".program"}
    assert hits(start()) == len(files)
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[:50] + bytes([whole[50] ^ 255]) + whole[51:])
    assert hits(start()) == 0
    kept = Programs(tmp_path / "not" / "yet")
    assert kept.held()[0] == len(files)
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
