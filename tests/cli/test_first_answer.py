"""What answers at once: help, version, wrong usage. Nothing numerical is imported for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from command_line import Reached, Said

import thalweg as tw
from thalweg.cli import app
from thalweg.cli.derive import DerivedCommand, summary_of
from thalweg.storage.programs import Programs
from thalweg.studies import STUDIES

Says = Callable[..., Said]
HEAVY = ("jax", "numpy", "scipy", "pandas", "xarray", "zarr", "plotly", "equinox")
ANSWER = """
import sys
from thalweg.cli import main
for line in {lines!r}:
    try:
        main(line.split())
    except SystemExit as done:
        print("code", done.code)
print("heavy", [name for name in {heavy!r} if name in sys.modules])
"""


def test_answers_that_wait_for_nothing() -> None:
    """One process gives them all, so that whatever any of them imports is seen."""
    lines = ["--help", "", "--version", "--hlep", "diagnoze digits", "study --help", "study"]
    lines += ["diagnose --help"]
    lines += [
        "verify --help",
        "report --help",
        "report nowhere",
        "cache --help",
        "cache",
        "study nothing",
        "list probes",
        "show sharpness",
    ]
    program = ANSWER.format(lines=lines, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
    codes = [int(line.split()[1]) for line in said if line.startswith("code ")]
    assert codes == [0, 2, 0, 2, 2, 0, 2, 0, 0, 0, 2, 0, 0, 2, 0, 0]
    assert said[-1] == "heavy []"
    assert f"thalweg {tw.__version__}" in said


LIGHT = """
from pathlib import Path
from thalweg import studies
for slug, name in list(studies.STUDIES.items()):
    text = Path(studies.__file__).with_name(name.rpartition(".")[2]).joinpath("__init__.py")
    if "\\nCARD = " not in text.read_text():
        del studies.STUDIES[slug]
assert studies.STUDIES
"""


def test_studies_are_listed_from_their_cards(tmp_path: Path) -> None:
    """With a run here of each; no page is drawn, and no experiment imported."""
    for slug in STUDIES:
        folder = tmp_path / "runs" / slug
        folder.mkdir(parents=True)
        words = ["reproduced", "not reproduced", "reproduced at reduced scale", "not run"]
        rows = json.dumps([{"verdict": word} for word in words])
        (folder / "claims.json").write_text(rows)
    lines = ["studies", "list optimisers", "show relu --of activations"]
    program = LIGHT + ANSWER.format(lines=lines, heavy=(*HEAVY, "pydantic"))
    wide = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=wide,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[-2:] == ["code 0", "heavy []"]
    assert done.stdout.count("code 0\n") == len(lines)
    assert "2 of 4" in done.stdout


def test_the_list_of_commands_says_what_the_function_says() -> None:
    command = typer.main.get_command(app).commands["diagnose"]  # type: ignore[attr-defined]
    assert isinstance(command, DerivedCommand)
    assert command.help == " ".join(summary_of(tw.diagnose).split("\n\n")[0].split())
    command.derive()
    assert command.help is not None
    assert command.help.startswith(summary_of(tw.diagnose))


@pytest.mark.parametrize(("former", "name"), [("compare", "diagnose"), ("run", "study")])
def test_former_names_are_understood(thalweg_says: Says, former: str, name: str) -> None:
    said, meant = thalweg_says(former, "--help"), thalweg_says(name, "--help")
    assert (said.code, said.err) == (0, "")
    words = said.out.replace(f"thalweg {former} ", f"thalweg {name} ").split()
    assert words == meant.out.split()
    listed = thalweg_says("--help").out
    assert f"\n{name} " in listed
    assert f"\n{former} " not in listed


@pytest.mark.usefixtures("desk", "no_work")
@pytest.mark.parametrize("line", ["diagnose good.npz", "study wu2020", "verify wu2020"])
def test_commands_that_compute_keep_their_programs(
    thalweg_says: Says, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    kept = []

    def reached(*_: object, **__: object) -> None:
        raise Reached

    monkeypatch.setattr("thalweg.storage.programs.keep_programs", lambda **_: kept.append(True))
    monkeypatch.setattr("thalweg.studies.rerun.study", reached)
    monkeypatch.setattr("thalweg.lab.runner.run_study", reached)
    with pytest.raises(Reached):
        thalweg_says(*line.split())
    assert kept == [True]


def test_the_folder_of_programs_is_told_and_emptied(
    thalweg_says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "compiled"))
    assert "Programs: 0, 0.0 MB" in thalweg_says("cache").out
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / "letter.txt").write_text("not ours")
    Programs(tmp_path / "compiled").put("jit_f", bytes(1_200_000))
    said = thalweg_says("cache")
    assert (said.code, said.err) == (0, "")
    assert str(tmp_path / "compiled") in said.out
    assert "Programs: 1, 1.2 MB of at most 256 MB" in said.out
    assert "Programs: 0, 0.0 MB" in thalweg_says("cache", "--clear").out
    assert [file.name for file in (tmp_path / "compiled").iterdir()] == ["letter.txt"]
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "theirs")
    assert "JAX keeps the next ones in theirs" in thalweg_says("cache").out
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    assert "JAX" not in thalweg_says("cache").out
    monkeypatch.setenv("THALWEG_CACHE", "off")
    assert "not kept" in thalweg_says("cache").out


def test_the_module_is_the_command() -> None:
    """`python -m thalweg` where the script is not on the path."""
    words = [sys.executable, "-m", "thalweg", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["thalweg", tw.__version__]
