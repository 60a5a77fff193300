"""Options from a TOML file: there and back, what wins, and a sentence for all that does not fit."""

from __future__ import annotations

import inspect
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Reached, Said
from hypothesis import given, settings
from hypothesis import strategies as st

import thalweg as tw
from thalweg.cli.config import command_with, read, written
from thalweg.cli.declared import stand_in
from thalweg.cli.derive import parameters_of
from thalweg.cli.diagnose import problem_options, training_options
from thalweg.cli.sweep import sweep

Says = Callable[..., Said]
KEPT = parameters_of(
    stand_in("thalweg.diagnosis.diagnosis", "diagnose"),
    leave_out=("problem", "dynamics", "oracle", "start"),
)
PARAMETERS = [*problem_options(), *training_options(), *KEPT]
DEFAULTS = {p.name: p.default for p in PARAMETERS}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What reached the diagnosis: problem, dynamics, command and the rest."""
    found: list[Any] = []

    def note(problem: Any, dynamics: Any, command: str, **options: Any) -> None:
        found[:] = [problem.describe(), dynamics.describe(), command, options]
        raise Reached

    monkeypatch.setattr("thalweg.diagnosis.diagnosis.diagnosed", note)
    return found


def ask(says: Says, *arguments: object) -> None:
    with pytest.raises(Reached):
        says("diagnose", *arguments)


WORDS = ["table.csv", "--target", "price", "--drop", "a,c", "--model", "mlp:3", "--no-bias",
         "--seeds", "3", "--optimizer", "adam", "--lr", "1e-3", "--b2", "0.99", "--until", "7",
         "--oracle", "label-noise(0.1, law='sign')", "--out", "a b"]  # fmt: skip
FILE = """
data = "table.csv"
target = "price"
drop = ["a", "c"]
model = "mlp:3"
bias = false
seeds = 3
optimiser = "adam"   # the flag that the British use
lr = 1e-3
b2 = 0.99
oracle = "label-noise(0.1, law='sign')"
until = 7
out = "a b"
"""


@pytest.mark.usefixtures("desk")
def test_a_file_says_what_the_command_line_says(thalweg_says: Says, seen: list[Any]) -> None:
    ask(thalweg_says, *WORDS)
    by_words = list(seen)
    Path("run.toml").write_text(FILE)
    ask(thalweg_says, "--config", "run.toml")
    assert seen[:2] + seen[3:] == by_words[:2] + by_words[3:]
    name, command, *arguments = shlex.split(seen[2])  # on its page, without the file
    Path("run.toml").unlink()
    by_file = list(seen)
    assert (name, command) == ("thalweg", "diagnose")
    ask(thalweg_says, *arguments)
    assert seen[:2] + seen[3:] == by_file[:2] + by_file[3:]


@pytest.mark.usefixtures("desk")
def test_the_command_line_wins(thalweg_says: Says, seen: list[Any]) -> None:
    Path("run.toml").write_text(FILE)
    ask(thalweg_says, "kinds.parquet", "--config", "run.toml", "--target", "kind", "--drop",
        "b", "--seeds", "5", "--bias", "--learning-rate", "0.5")  # fmt: skip
    plain = tw.problem("kinds.parquet", target="kind", drop="b", model="mlp:3")
    assert seen[0] == plain.describe()
    noise = tw.oracles.label_noise(0.1, law="sign")
    assert seen[1] == tw.dynamics.optimiser("adam", 0.5, b2=0.99, oracle=noise).describe()
    assert (seen[3]["seeds"], seen[3]["until"]) == (5, 7.0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("step_sise = 1", "unknown option 'step_sise'. Did you mean 'step-size'?"),
        ("fresh-start = true", "unknown option 'fresh-start'"),
        ("config = 'x.toml'", "unknown option 'config'"),
        ("seeds = 2.5", "seeds came as 2.5; give a whole number"),
        ("seeds = true", "seeds came as true; give a whole number"),
        ("step-size = true", "step-size came as true; give a number"),
        ("step-size = '0.1'", 'step-size came as "0.1"; give a number'),
        ("bias = 0", "bias came as 0; give true or false"),
        ("drop = []", "drop came as []; give text, or a list of texts"),
        ("drop = [{a = 1}]", "give text, or a list of texts"),
        ("[model]\nhidden = 64", "model came as a table; give text"),
        ("lr = 0.1\nlearning_rate = 0.2", "learning_rate is given twice"),
        ("step-size 0.1", "no TOML"),
        ("a = 1\na = 2", "no TOML"),
        ("seeds = 0", "seeds came as 0; give at least 1"),
        ("step-size = -1.0", "--step-size came as -1"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    desk: Path, thalweg_says: Says, content: str, words: str
) -> None:
    Path("run.toml").write_text(content)
    before = sorted(desk.rglob("*"))
    said = thalweg_says("diagnose", "good.npz", "--config", "run.toml")
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert words in said.err
    assert sorted(desk.rglob("*")) == before


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("file", "words"),
    [("nowhere.toml", "no such file"), ("plain", "Is a directory"), ("labels.npz", "no TOML")],
)
def test_a_file_that_cannot_be_read_is_a_sentence(
    thalweg_says: Says, file: str, words: str
) -> None:
    said = thalweg_says("diagnose", "--config", file)
    assert (said.code, said.out) == (2, "")
    assert words in said.err
    assert said.err.count("\n") == 1


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(['\x7f\\n"', "é𐀀\n"])
VALUES = {bool: st.booleans(), int: st.integers(-(2**40), 2**40), str: TEXTS,
          float: st.floats(allow_nan=False)}  # fmt: skip


def values(parameter: inspect.Parameter) -> st.SearchStrategy[Any]:
    hint = parameter.annotation.__origin__
    kinds = [k for k in getattr(hint, "__args__", (hint,)) if k in VALUES]
    return st.one_of(st.just(parameter.default), VALUES[kinds[0]] if kinds else TEXTS.map(Path))


@settings(max_examples=40, deadline=None)
@given(options=st.fixed_dictionaries({p.name: values(p) for p in PARAMETERS}))
def test_options_come_back_as_they_were(
    options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """But for those that change no result, and None, which is every option's default."""
    file = tmp_path_factory.getbasetemp() / "options.toml"
    file.write_bytes(written(options, PARAMETERS).encode())
    back = DEFAULTS | read(file, PARAMETERS)
    lasting = {k: v for k, v in options.items() if k not in ("fresh", "progress")}
    for name, value in lasting.items():
        if name == "out" and value is not None:
            assert Path(back[name]) == value
        else:
            assert back[name] == value, name


def test_a_number_may_stand_for_text(tmp_path: Path) -> None:
    """As one step size of a sweep, which may be several."""
    file = tmp_path / "options.toml"
    file.write_text("step-size = 0.1\nlearning-rate = [1e-3, 2]\n")
    assert read(file, sweep_parameters()) == {"step_size": "0.1", "learning_rate": "0.001,2"}


def sweep_parameters() -> list[inspect.Parameter]:
    return [p for p in inspect.signature(sweep()).parameters.values() if p.name != "config"]


def test_a_command_line_of_options_is_plain() -> None:
    options = DEFAULTS | {"data": "my data.csv", "bias": False, "header": True, "eps": 0.1}
    told = command_with("thalweg diagnose", "data", options, PARAMETERS)
    assert told == "thalweg diagnose 'my data.csv' --header --no-bias --eps 0.1"


RERUN = """
from thalweg.cli import main
for line in {lines!r}:
    try:
        main(line.split())
    except SystemExit as done:
        print("code", done.code)
"""


@pytest.mark.thorough
def test_a_run_leaves_a_file_that_gives_it_again(desk: Path) -> None:
    """In a process of its own, where nothing wraps the functions that a run is known by."""
    first = "diagnose good.npz --model linear: --step-size 0.01 --until 0.1 --records 4"
    Path("my.toml").write_text('data = "good.npz"\nmodel = "linear:"\nstep-size = 0.01\n')
    lines = [f"{first} --out mine", "diagnose --config mine/run.toml"]
    lines += ["diagnose --config my.toml --until 0.1 --records 4 --out mine"]
    done = subprocess.run(
        [sys.executable, "-c", RERUN.format(lines=lines)],
        capture_output=True, text=True, check=True, cwd=desk,
    )  # fmt: skip
    assert not [line for line in done.stderr.splitlines() if " %, " not in line]  # how far it is
    found, *again = done.stdout.split("code 0\n")[:-1]
    assert again == [found, found]  # read back: another run would be refused
    page = (desk / "mine" / "page.json").read_text()
    assert f"thalweg {first} --out mine" in page
