"""`thalweg diagnose my.py:problem`: the user's own file, good and bad."""

from __future__ import annotations

import json
import re
import runpy
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Reached, Said

import thalweg as tw
from thalweg.core.doors import checked

Says = Callable[..., Said]
MINE = """\
import beside
import jax, jax.numpy as jnp
import thalweg as tw

def half(x):
    return 0.5 * jnp.sum(x**2)

problem = tw.problems.Function(half, start=jnp.ones(beside.SIZE))
wrong = [1, 2]

def make_problem():
    return tw.problem("digits", samples=20, model="mlp:3")

def loses():
    return {}["lost"]

def refused():
    return tw.problem("digits", scale_target=True)

def asks(size):
    return size

def ends():
    raise SystemExit(3)

def noise():
    return tw.oracles.gaussian(lambda x: x[:, None])

traced = tw.problems.Function(lambda x: beside.summed(x), start=jnp.ones(2))
strange_noise = tw.oracles.gaussian(lambda x: x @ jnp.ones(5))

def host(x):
    raise OSError("the sensor is off")

def sensed(x):
    jax.debug.callback(host, x)
    return half(x)

sensing = tw.problems.Function(sensed, start=jnp.ones(2))

def reads(key):
    raise FileNotFoundError("weights.npz")

reading = tw.problems.Function(half, draw=reads)

def leaves(x):
    raise SystemExit(3)

leaving = tw.problems.Function(leaves, start=jnp.ones(2))
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    Path("beside.py").write_text(
        "SIZE = 2\n\ndef summed(x):\n    return x.sum() if x[0] > 0 else -x.sum()\n"
    )
    Path("raises.py").write_text("x = 1\nproblem = 1 / 0\n")
    Path("syntax.py").write_text("x = (\n")
    Path("lacks.py").write_text("\nimport nothing_such\n")
    Path("empty.py").touch()
    return tmp_path


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a diagnosis would be given."""
    given: list[Any] = []

    def note(*arguments: Any, **_: Any) -> None:
        given[:] = arguments
        raise Reached

    monkeypatch.setattr("thalweg.diagnosis.diagnosis.diagnosed", note)
    return given


@pytest.mark.usefixtures("files")
def test_a_problem_is_taken_from_a_file_or_a_module(thalweg_says: Says, reached: list[Any]) -> None:
    for place in ("mine.py:problem", "./mine.py:problem", "mine:problem"):
        with pytest.raises(Reached):
            thalweg_says("diagnose", place, "--optimizer", "momentum", "--lr", "0.01")
        problem, dynamics, command = reached
        assert isinstance(problem, tw.problems.Function)
        assert problem.start.shape == (2,)
        assert dynamics.describe() == tw.dynamics.optimiser("momentum", 0.01).describe()
        assert isinstance(command, str)
    with pytest.raises(Reached):
        thalweg_says("diagnose", "mine.py:make_problem")
    assert reached[0].describe() == tw.problem("digits", samples=20, model="mlp:3").describe()


@pytest.mark.usefixtures("files")
def test_an_oracle_is_taken_from_a_file(thalweg_says: Says, reached: list[Any]) -> None:
    with pytest.raises(Reached):
        thalweg_says("diagnose", "mine.py:problem", "--oracle", "mine.py:noise")
    assert type(reached[1].oracle).__name__ == "Gaussian"
    assert float(reached[1].base.step_size) == 0.1


@pytest.mark.usefixtures("files", "reached")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nothing.py:problem", "'nothing.py': there is no such file"),
        ("no.such.module:problem", "no module 'no.such.module' is found from here"),
        ("mine.py:", "give the name of a problem"),
        ("mine.py:problm", "in mine.py: unknown name 'problm'. Did you mean 'problem'?"),
        ("empty.py:problem", "empty.py holds no 'problem'"),
        ("mine.py:wrong", "wrong in mine.py came as [1, 2]; give a problem"),
        ("mine.py:asks", "asks in mine.py takes arguments"),
        ("mine.py:loses", "mine.py, line 15: KeyError: 'lost'"),
        ("mine.py:ends", "mine.py, line 24: SystemExit: 3"),
        ("mine.py:refused", "mine.py, line 18: digits brings its own target and scale"),
        ("raises.py:problem", "raises.py, line 2: ZeroDivisionError: division by zero"),
        ("syntax.py:problem", "syntax.py, line 1: SyntaxError: '(' was never closed"),
        ("lacks.py:problem", "lacks.py, line 2: ModuleNotFoundError: No module named"),
        ("lacks:problem", "lacks, line 2: ModuleNotFoundError: No module named"),
        ("mine.py:problem --model mlp:3", "--model came beside mine.py:problem"),
        ("mine.py:problem --samples 3 --loss mse", "--samples and --loss came beside"),
        ("openml:", "openml"),
        ("mine.py:problem --oracle mine.py:problem", "in mine.py came as an instance of Function"),
        ("mine.py:problem --oracle mine.py:noize", "unknown name 'noize'. Did you mean 'noise'?"),
        ("mine.py:problem --oracle empty.py:noise", "no oracle under another name"),
        ("mine.py:problem --oracle mine.py:asks", "name an oracle, or a function"),
    ],
)
def test_what_is_wrong_with_it_is_one_sentence(thalweg_says: Says, line: str, words: str) -> None:
    said = thalweg_says("diagnose", *line.split())
    assert (said.code, said.out) == (2, "")
    assert re.fullmatch(r"thalweg: [^\n]*[^\n.]\.\n", said.err), said.err
    assert words in said.err
    assert not Path("runs").exists()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mine.py:traced", "beside.py, line 4: TracerBoolConversionError: Attempted boolean"),
        ("mine.py:problem --oracle mine.py:strange_noise", "mine.py, line 30: sigma of the param"),
        ("mine.py:sensing", "mine.py, line 33: OSError: the sensor is off"),
        ("mine.py:reading", "mine.py, line 42: FileNotFoundError: weights.npz"),
        ("mine.py:leaving", "mine.py, line 47: SystemExit: 3"),
    ],
)
def test_what_fails_as_it_is_traced_or_run_is_one_sentence_with_its_place(
    thalweg_says: Says, line: str, words: str
) -> None:
    said = thalweg_says("diagnose", *line.split())
    assert said.code == 2
    assert re.fullmatch(r"thalweg: [^\n]*[^\n.]\.\n", said.err), said.err
    assert words in said.err


@pytest.mark.thorough
@pytest.mark.usefixtures("files")
def test_the_page_tells_the_command_and_a_changed_file_gets_another_folder(
    thalweg_says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["diagnose", "mine.py:problem", "--until", "1", "--records", "4"]
    monkeypatch.setattr("sys.argv", ["/usr/bin/thalweg", *line])
    assert thalweg_says(*line).code == 0
    assert "Read" not in thalweg_says(*line).out
    (folder,) = (place for place in Path("runs").iterdir() if place.is_dir())
    assert folder.name.startswith("half-gradient-descent-0.1-")
    assert json.loads((folder / "page.json").read_text())["command"] == f"thalweg {' '.join(line)}"
    Path("mine.py").write_text(MINE.replace("0.5 * jnp", "0.7 * jnp"))
    assert thalweg_says(*line).code == 0
    assert len([place for place in Path("runs").iterdir() if place.is_dir()]) == 2


def test_in_python_what_theirs_raised_stands_beside_their_call(files: Path) -> None:
    """Of the steps between their call and their function none is shown; of our errors all are."""
    (files / "theirs.py").write_text("def objective(x):\n    return x['nothing']\n")
    theirs = runpy.run_path(str(files / "theirs.py"))["objective"]
    with pytest.raises(TypeError) as raised:
        tw.run(tw.problems.Function(theirs, start=np.ones(2)), tw.gradient_descent(0.1), until=1.0)
    steps = [Path(step.filename).name for step in traceback.extract_tb(raised.value.__traceback__)]
    checking = {"doors.py", "shapes.py"}  # the second as the tests run
    assert [step for step in steps if step not in checking][:2] == [
        Path(__file__).name,
        "theirs.py",
    ]
    with pytest.raises(json.JSONDecodeError) as of_a_library:
        checked(json.loads)("{")
    assert len(traceback.extract_tb(of_a_library.value.__traceback__)) > 3
