"""Ctrl-C, and the commands as separate processes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Said

from thalweg import Interrupted
from thalweg.driver import chunks as driver

Says = Callable[..., Said]
COMMAND = [sys.executable, "-c", "from thalweg.cli import main; main()"]
# A shell's background job hands on that interrupts are to be ignored; this takes that back.
HEEDFUL = f"import signal; signal.signal({signal.SIGINT:d}, signal.default_int_handler); "


@pytest.mark.thorough
def test_ctrl_c_is_a_sentence_and_the_same_command_goes_on(
    desk: Path, thalweg_says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = shlex.split("diagnose good.npz --model mlp: --until 2 --records 6 --out mine")
    record, count = driver.Loop.record, []

    def watched(self: driver.Loop, states: object) -> None:
        record(self, states)  # type: ignore[arg-type]
        count.append(self.at.next)
        if len(count) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(driver.Loop, "record", watched)
        said = thalweg_says(*line)
    assert (said.code, said.out) == (130, "")
    assert said.err.startswith("thalweg: stopped at training time ")
    assert said.err.endswith("give the same command to go on.\n")
    assert said.err.count("\n") == 1
    assert json.loads(Path("mine/descent.resume/commit.json").read_text())["records"] == 3
    assert thalweg_says(*line).code == 0


@pytest.mark.parametrize("where", ["{}", "exec({!r})"])
def test_ctrl_c_while_the_commands_are_imported(tmp_path: Path, where: str) -> None:
    # In what takes long to import, and there in the evaluation of a text.
    (tmp_path / "typer.py").write_text(where.format("raise KeyboardInterrupt"))
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    said = subprocess.run(
        [sys.executable, "-m", "thalweg", "studies"],
        env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (130, "")
    assert said.stderr == "thalweg: stopped; give the same command to go on.\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("stopped here")])
def test_ctrl_c_anywhere_else(
    thalweg_says: Says, monkeypatch: pytest.MonkeyPatch, error: BaseException, desk: Path
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("thalweg.diagnosis.diagnosis.run", stop)
    said = thalweg_says("diagnose", "good.npz")
    assert said.code == 130
    expected = str(error) or "stopped; give the same command to go on"
    assert said.err == f"thalweg: {expected}.\n"


def test_ctrl_c_where_nothing_can_be_raised_is_neither_shown_nor_lost(tmp_path: Path) -> None:
    """In a callback of the garbage collector, as JAX has one, and after all is done."""
    program = (
        "import atexit, gc, signal, sys, time\n"
        "from thalweg.cli import commands\n"
        "def collected(phase, info):\n"
        "    gc.callbacks.remove(collected)\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "def work(given):\n"
        "    if not given: return 0\n"
        "    gc.callbacks.append(collected)\n"
        "    try:\n"
        "        gc.collect(); time.sleep(20); return 1\n"
        "    except KeyboardInterrupt: return 130\n"
        "commands._exit_code = work\n"
        "atexit.register(signal.raise_signal, signal.SIGINT)\n"
        "commands.main()\n"
    )
    for given, code in ([], 0), (["x"], 130):
        command = [sys.executable, "-c", HEEDFUL + "\n" + program, *given]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.slow
def test_sigint_to_a_process(desk: Path) -> None:
    """A run that would take minutes, stopped while it descends."""
    line = "diagnose digits --samples 200 --model mlp:30 --step-size 0.001 --until 100 --out mine"
    process = subprocess.Popen(
        [*COMMAND[:2], HEEDFUL + COMMAND[2], *line.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    mark = Path("mine/descent.resume/commit.json")
    for _ in range(600):
        if mark.exists() and json.loads(mark.read_text())["records"] >= 2:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    assert errors.startswith("thalweg: stopped at training time ")
    assert errors.endswith("give the same command to go on.\n")
    assert errors.count("\n") == 1
    first = json.loads(mark.read_text())["records"]
    process = subprocess.Popen(
        [*COMMAND, *line.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if json.loads(mark.read_text())["records"] > first:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.kill()
    process.communicate()
    assert json.loads(mark.read_text())["records"] > first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("diagnose nothing.npz", "no such file"),
        ("diagnose objects.npz", "cannot be read"),
        ("report plain", "page.json does not exist"),
        ("verify saxe2013-exact-solutions --json nowhere/x.json", "cannot be written"),
    ],
)
def test_bad_input_to_a_process(desk: Path, line: str, words: str) -> None:
    done = subprocess.run([*COMMAND, *line.split()], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("thalweg: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error(desk: Path) -> None:
    pipe = f"{shlex.join([*COMMAND, 'studies'])} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
