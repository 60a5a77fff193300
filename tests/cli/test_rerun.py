"""The command that a page shows runs again into the same folder, wherever that is."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Said

from thalweg.lab.experiment import Experiment
from thalweg.lab.study import Study
from thalweg.lab.table import over, table

Says = Callable[..., Said]
OWN = """
import thalweg as tw

problem = tw.problems.Quadratic([1.0, 9.0], slope=[0.0, 0.0], start=[1.0, 1.0])
"""
COMMANDS = {
    "diagnose": "--step-size 0.01 --until 0.1 --records 4",
    "sweep": "--step-size 0.05,0.1 --steps 4 --records 2",
    "race": "--optimisers gd --grid 0.1,0.2 --budget 4 --records 2 --seeds 1",
    "rates": "--steps 10 --seeds 1",
}


def made(_: Any) -> Any:
    return over(lambda draw: table({"x": {"a": (np.ones(2), "1", "a number")}}), draw=range(2))


TOY = Study(
    title="Toy", source="None", question="?", minutes={}, paper_size="none", full="More.",
    slug="toy", experiments={"X": Experiment("X", made, {})},
)  # fmt: skip


@pytest.fixture
def typed(
    tmp_path: Path, thalweg_says: Says, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Type a command in a folder of one's own; the page that it says was written, as data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("thalweg.studies.rerun.study_named", lambda name: TOY)
    monkeypatch.setattr("thalweg.studies.slug_of", lambda name: name)
    Path("my problem.py").write_text(OWN)

    def run(line: str) -> tuple[Path, dict[str, Any]]:
        name, *words = shlex.split(line)
        assert name == "thalweg"
        monkeypatch.setattr(sys, "argv", ["/usr/bin/thalweg", *words])
        said = thalweg_says(*words)
        assert said.code == 0, said.err
        page = Path(next(s for s in said.out.splitlines() if s.startswith("Report:"))[7:].strip())
        return page.parent.resolve(), json.loads((page.parent / "page.json").read_text())

    return run


def folders() -> set[Path]:
    return {path.parent for path in Path().rglob("page.json")}


@pytest.mark.parametrize("out", ["", "--out 'my runs/it is'"])
@pytest.mark.parametrize("scale", ["", "--scale smoke"])
def test_a_study(typed: Callable[..., Any], out: str, scale: str) -> None:
    folder, page = typed(f"thalweg study toy {scale} {out}")
    assert page["command"].split() == f"thalweg study toy {scale} {out}".split()
    assert typed(page["command"])[0] == folder
    assert folders() == {folder.relative_to(Path().resolve())}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command(typed: Callable[..., Any], command: str) -> None:
    line = f"thalweg {command} 'my problem.py:problem' {COMMANDS[command]}"
    for out in (" --out 'my runs/it is'", ""):
        before = folders()
        folder, page = typed(line + out)
        assert typed(page["command"])[0] == folder
        assert len(folders() - before) == 1
    if command != "rates":
        by_file = typed(f"thalweg {command} --config 'my runs/it is/run.toml'")
        assert by_file[0] == Path("my runs/it is").resolve()
        assert "--out 'my runs/it is'" in by_file[1]["command"]
        assert typed(by_file[1]["command"])[0] == by_file[0]
    assert len(folders()) == 2
