"""Output that cannot be written, names that cannot be read: a sentence at most, no traceback."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from thalweg.cli import streams
from thalweg.core.errors import InputError

COMMAND = [sys.executable, "-c", "from thalweg.cli import main; main()"]


def shell(line: str, **environment: str) -> tuple[int, str]:
    """The exit code of a command in a shell, and what it wrote."""
    text = f"{shlex.join(COMMAND)} {line}"
    done = subprocess.run(
        ["bash", "-c", text], capture_output=True, check=False, env=os.environ | environment
    )
    told = (done.stdout + done.stderr).decode()
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    return done.returncode, told


def test_signs_in_characters_that_a_stream_can_write(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", None)
    streams.prepare()
    print("✓ ✗ • – ± (2.1 ± 0.5)×10⁻⁴ m² ä \udcff", flush=True)
    assert raw.getvalue() == b"+ x * - +- (2.1 +- 0.5)x10^-4 m^2 ? ?\n"
    assert sys.stderr.write("goes nowhere") == 12
    sys.stderr.close()


def test_a_full_output_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        output = streams.Output()
        output.write("a verdict")
        with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
            output.flush()
        descriptor = os.dup(full.fileno())
        streams.settle()  # from here on the interpreter may close it
        os.dup2(descriptor, full.fileno())
        os.close(descriptor)
        streams.settle()


def test_a_reader_that_leaves_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(BrokenPipeError):
        streams.Output().write("text")


def test_a_process_with_a_full_output() -> None:
    code, told = shell("studies >/dev/full")
    assert code == 2
    assert told.startswith("thalweg: standard output cannot be written")
    assert told.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("studies >/dev/full 2>/dev/full", 2),
        ("studies >&-", 0),
        ("studies >&- 2>&- <&-", 0),
        ("--help >/dev/full", 2),
        ("diagnose nothing.npz 2>&-", 2),
        ("diagnose nothing.npz 2>/dev/full", 2),
    ],
)
def test_processes_with_other_streams(line: str, code: int) -> None:
    assert shell(line)[0] == code


@pytest.mark.slow
def test_a_name_that_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole job on a file, and into a folder, whose names are no UTF-8; then the report."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez(os.fsdecode(b"a\xff.npz"), x=rng.normal(size=(20, 3)), y=np.arange(20.0))
    line = "diagnose $'a\\xff.npz' --model mlp: --until 2 --records 4 --out $'o\\xff'"
    code, told = shell(line, PYTHONIOENCODING="ascii")
    assert code == 0
    assert "Run folder: o?" in told
    assert Path(os.fsdecode(b"o\xff"), "index.html").is_file()
    assert shell("report $'o\\xff'")[0] == 0
