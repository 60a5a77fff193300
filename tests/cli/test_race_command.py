"""`thalweg race`: a table, a page, a file of options; bad input is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Reached, Said

from thalweg.cli.catalogue import completing

Says = Callable[..., Said]
OWN = """
import jax.numpy as jnp
import thalweg as tw

problem = tw.problems.Quadratic([1.0, 9.0], slope=[0.0, 0.0], start=[1.0, 1.0])
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("my.py").write_text(OWN)
    return "my.py:problem"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--grid", "1:2"], "--grid came as '1:2'; give values as"),
        (["--grid", "0.1,-1"], "give positive numbers"),
        (["--optimizers", "gd,adm"], "unknown optimiser 'adm'"),
        (["--optimisers", "gd,gd"], "gd comes twice"),
        (["--optimizers", "adam(0.1"], "cannot be read"),
        (["--optimizers", "kfac"], "none of the optimisers can take part"),
        (["--budget", "0"], "thalweg: --budget came as 0"),
        (["--seeds", "0"], "thalweg: --seeds came as 0"),
        (["--records", "1"], "thalweg: --records came as 1"),
        (["--by", "luck"], "thalweg: --by came as the text 'luck'; give final or goal"),
        (["--goal", "nan"], "thalweg: --goal came as nan"),
        (["--oracle", "noise(1)"], "--oracle 'noise(1)': unknown oracle 'noise'"),
        (["--model", "mlp:3"], "--model came beside my.py:problem"),
    ],
)
def test_bad_input_is_one_sentence(
    thalweg_says: Says, mine: str, arguments: list[str], words: str
) -> None:
    said = thalweg_says("race", mine, "--out", "run", *arguments)
    assert said.code == 2
    assert words in said.err
    assert said.err.startswith("thalweg: ")
    assert said.err.count("\n") == 1
    assert not Path("run").exists()


def test_options_reach_the_function(
    thalweg_says: Says, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}

    def note(problem: object, optimisers: object, command: str, data: str, **told: object) -> None:
        seen.update(told, optimisers=optimisers)
        raise Reached

    monkeypatch.setattr("thalweg.sweeps.raced.raced", note)
    Path("race.toml").write_text('optimizers = ["gd", "adam"]\nbudget = 12.0\nseeds = 2\n')
    with pytest.raises(Reached):
        thalweg_says("race", mine, "--config", "race.toml", "--goal", "0.1", "--seeds", "1")
    assert seen["optimisers"] == "gd,adam"
    assert (seen["budget"], seen["seeds"], seen["goal"]) == (12.0, 1, 0.1)
    assert seen["grid"] == "1e-4:10:11log"
    complete = completing("optimisers")
    assert complete is not None
    assert complete("gd,trust") == ["gd,trust-region"]


@pytest.mark.thorough
def test_a_race_ends_in_a_table_and_a_page(thalweg_says: Says, mine: str) -> None:
    told = ("race", mine, "--optimizers", "gd, newton", "--grid", "0.1,0.2", "--budget", 20,
            "--seeds", 1)  # fmt: skip
    said = thalweg_says(*told)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("optimiser"))
    assert [line.split()[0] for line in lines[head + 1 : head + 3]] == ["newton", "gd"]
    assert max(map(len, lines[head : head + 3])) <= 80
    folder = Path("runs") / "race-my-py-problem"
    folder = folder if folder.exists() else next(Path("runs").glob("race-*"))
    assert (folder / "index.html").is_file()
    assert "gd, newton" in (folder / "run.toml").read_text()
    again = thalweg_says("race", "--config", folder / "run.toml")
    assert again.code == 0
    assert again.out.splitlines()[: head + 3] == lines[: head + 3]  # nothing is run, or timed, anew
