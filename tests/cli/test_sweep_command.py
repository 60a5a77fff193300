"""`thalweg sweep`: a grid in words, a table, a page; bad input is one sentence."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Reached, Said

from thalweg.cli import sweep

Says = Callable[..., Said]
SMALL = ("digits", "--samples", 20, "--model", "mlp:3")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--step-size", "1:2"], "--step-size came as '1:2'; give values as 0.1,0.2,0.5"),
        (["--step-size", "0.1,-1"], "give positive numbers"),
        (["--optimizer", "adam"], "nothing to sweep over came with --optimizer"),
        (["--lr", "0.1,0.2"], "--learning-rate came without --optimizer"),
        (["--optimizer", "adam", "--step-size", "0.1"], "--step-size came beside --optimizer"),
        (["--optimizer", "adm", "--lr", "0.1"], "adm"),
        (["--momentum", "0.9"], "--momentum came without --optimizer"),
        (["--oracle", "noise(1)"], "--oracle 'noise(1)': unknown oracle 'noise'"),
        (["--oracle", "minibatch(21)"], "a batch of 21 of 20 examples"),
        (["--batch", "2", "--oracle", "single"], "--batch came beside --oracle"),
        (["--seeds", "0"], "seeds came as 0"),
        (["--steps", "0"], "steps came as 0"),
        (["--steps", "5", "--until", "3"], "either until or steps"),
        (["--eps", "0"], "eps came as 0"),
        (["--workers", "0"], "workers came as 0"),
        (["--flow-error", "2"], "error came as 2"),
        (["--flow-solver", "euler"], "euler"),
        (["--model", "web:3"], "unknown model 'web'"),
    ],
)
def test_bad_input_is_one_sentence(
    thalweg_says: Says, tmp_path: Path, arguments: list[str], words: str
) -> None:
    said = thalweg_says("sweep", *SMALL, "--out", tmp_path / "run", *arguments)
    assert said.code == 2
    assert words in said.err
    assert said.err.startswith("thalweg: ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.thorough
def test_a_sweep_ends_in_a_table_and_a_page(
    thalweg_says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("sweep", *SMALL, "--steps", 40, "--records", 10, "--seeds", 2)
    said = thalweg_says(*command, "--step-size", "0.05,0.2,2")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("step size"))
    assert [line.split()[0] for line in lines[head + 1 : head + 4]] == ["0.05", "0.2", "2"]
    assert max(map(len, lines[head : head + 4])) <= 80
    folder = next((tmp_path / "runs").glob("sweep-digits-*"))
    assert (folder / "index.html").is_file()
    assert (tmp_path / "runs" / "index.html").is_file()
    # Another step size goes into the same folder.
    again = thalweg_says(*command, "--step-size", "0.05,0.1,0.2,2")
    assert again.code == 0
    assert [p.name for p in (tmp_path / "runs").glob("sweep-*")] == [folder.name]
    assert len(list(folder.glob("block-*.zarr"))) == 2
    rows = [[line.split() for line in s.out.splitlines()] for s in (said, again)]
    kept = [[row for row in each if row and row[0] in ("0.05", "0.2", "2")] for each in rows]
    assert kept[0] == kept[1]
    # The file that the run leaves says the same, and so does the command on its page.
    told = (folder / "run.toml").read_text()
    assert 'step-size = "0.05,0.1,0.2,2"' in told
    once_more = thalweg_says("sweep", "--config", folder / "run.toml", "--out", folder)
    assert once_more.code == 0, once_more.err
    assert once_more.out.splitlines()[:8] == again.out.splitlines()[:8]
    assert "thalweg sweep digits" in (folder / "index.html").read_text()


def test_a_file_says_what_the_command_line_says(
    thalweg_says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There and back: words, a file of the same, and the command that its page shows."""
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []

    def note(problem: Any, family: Any, **options: Any) -> None:
        rate = np.asarray(options.pop("learning_rate")).tolist()
        described = family(learning_rate=rate[0]).describe()
        options = {name: str(value) for name, value in options.items()}
        seen.append((problem.describe(), rate, described, options))
        raise Reached

    commands: list[str] = []
    own = sweep._swept

    def noted(options: dict[str, Any], command: str) -> Any:
        commands.append(command)
        return own(options, command)

    monkeypatch.setattr("thalweg.sweeps.swept.sweep", note)
    monkeypatch.setattr(sweep, "_swept", noted)

    def ask(*arguments: object) -> None:
        with pytest.raises(Reached):
            thalweg_says("sweep", *arguments)

    options = ["--optimizer", "adam", "--b2", "0.99", "--seeds", 3, "--steps", 7, "--out", "a b"]
    options += ["--oracle", "minibatch(2)"]
    ask(*SMALL, "--lr", "0.1:0.3:3", *options)
    Path("run.toml").write_text(
        'data = "digits"\nsamples = 20\nmodel = "mlp:3"\nlr = "0.1:0.3:3"\n'
        'optimiser = "adam"\nb2 = 0.99\nseeds = 3\nsteps = 7\nout = "a b"\n'
        'oracle = "minibatch(2)"\n'
    )
    ask("--config", "run.toml")
    Path("run.toml").unlink()
    name, command, *arguments = shlex.split(commands[-1])
    assert (name, command) == ("thalweg", "sweep")
    ask(*arguments)
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][2]["oracle"]["batch"] == 2
    said = thalweg_says("sweep", "--config", "nowhere.toml")
    assert said.code == 2
    assert said.err == "thalweg: 'nowhere.toml': there is no such file; check the path.\n"
