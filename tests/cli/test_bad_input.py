"""Bad input at the command line: exit code 2, one sentence on stderr, nothing written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Reached, Said
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.core.errors import InputError
from thalweg.studies import slug_of

FAIR = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
Says = Callable[..., Said]


def one_sentence(said: Said, words: str = "") -> None:
    assert said.code == 2
    assert said.out == ""
    assert re.fullmatch(r"thalweg: [^\n]*[^\n.]\.\n", said.err), said.err
    assert "Traceback" not in said.err
    assert words in said.err


def snapshot(folder: Path) -> dict[Path, Any]:
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


DIAGNOSE = [
    ("digitz", "'digits'"),
    ("nothing.npz", "no such file"),
    ("table.xlsx", "must end in .npz, .csv, .tsv or .parquet"),
    ("~nobody-of-this-name/x.csv", "no such file"),
    (".", "unknown data source"),
    ("my.py", "as my.py:problem"),
    ("mnist", "THALWEG_DATA"),
    ("cifar10", "THALWEG_DATA"),
    ("openml:", "which data set"),
    ("text.npz", "not a NumPy archive"),
    ("bare.npz", "one bare array"),
    ("objects.npz", "cannot be read"),
    ("nan.npz", "NaN or infinite values in feature 1 (1 of 30 rows)"),
    ("inf.npz", "NaN or infinite values in target (1 of 30 rows)"),
    ("constant.npz", "nothing to learn"),
    ("long.npz", "30 inputs but 29 targets"),
    ("empty.csv", "is empty"),
    ("header.csv --target b", "no rows"),
    ("holes.csv --target b", "missing or NaN values"),
    ("table.csv", "the columns are a, b, c, price"),
    ("table.csv --target prize", "'price'"),
    ("table.csv --target price --loss cross-entropy", "needs labels"),
    ("good.npz --loss cross-entropy", "needs labels"),
    ("good.npz --loss squared-eror", "'squared-error'"),
    ("good.npz --activation rellu", "'relu'"),
    ("good.npz --model linear:3 --activation rellu", "'relu'"),
    ("good.npz --initialiser orthogonel", "'orthogonal'"),
    ("good.npz --flow-solver tsit6", "'tsit5'"),
    ("good.npz --limit second", "'second-order'"),
    ("good.npz --optimizer adam --lr 0.1 --limit second-order", "no equation of second order"),
    ("good.npz --precision float46", "'float64'"),
    ("good.npz --task regresion", "'regression'"),
    ("good.npz --model mpl:3", "'mlp'"),
    ("good.npz --model mlp:3,3", "mlp:64-64"),
    ("good.npz --model mlp:²", "mlp:64-64"),
    ("good.npz --model mlp:0", "mlp:64-64"),
    ("digits --model conv:6k5x2", "conv:6k5s2p2-16k5s2/120-84"),
    ("digits --model conv:4k3s0", "conv:6k5s2p2-16k5s2/120-84"),
    ("digits --model conv:4k30", "too small"),
    ("good.npz --model conv:4k3", "images"),
    ("digits --target y", "own files"),
    ("digits --standardize", "own files"),
    ("good.npz --step-size nan", "nan"),
    ("good.npz --step-size inf", "inf"),
    ("good.npz --step-size 0", "positive"),
    ("good.npz --step-size -0.1", "positive"),
    ("good.npz --step-size fast", "--step-size"),
    ("good.npz --until nan", "nan"),
    ("good.npz --until -5", "positive"),
    ("good.npz --until 0.1", "only 1 steps"),
    ("good.npz --until 1e300", "2^53"),
    ("good.npz --records 0", "at least 4"),
    ("good.npz --records 2.5", "--records"),
    ("good.npz --seeds 0", "at least 1"),
    ("good.npz --samples 0", "from 1 to 30"),
    ("good.npz --samples 31", "from 1 to 30"),
    ("good.npz --eps nan", "eps"),
    ("good.npz --eps 0", "--eps came as 0"),
    ("good.npz --flow-error -1", "--flow-error came as -1.0; give a number in (0, 0.1]"),
    ("good.npz --flow-error nan", "error"),
    ("good.npz --smallest-every 0", "at least 1"),
    ("good.npz --stepsize 1", "--step-size"),
    ("good.npz --step-size", "--step-size"),
    ("good.npz extra", "extra"),
    ("good.npz --start nothing.zarr", "nothing.zarr"),
    ("good.npz --start nothing.npz", "there is no such file"),
    ("good.npz --start text.npz", "cannot be read as NumPy's format"),
    ("good.npz --start table.csv", "give a run (.zarr, or its folder) or flat"),
    ("good.npz --start labels.npz", "holds 2 arrays (x, y)"),
    ("good.npz --start bare.npz", "the problem has"),
    ("good.npz --optimizer adamm --lr 1e-3", "'adam'"),
    ("good.npz --optimizer adam", "--learning-rate"),
    ("good.npz --optimizer adam --lr nan", "--learning-rate came as nan"),
    ("good.npz --optimizer adam --lr 1e-3 --momentum 0.9", "it has a learning rate and b1=0.9"),
    ("good.npz --optimizer momentum --lr 1e-3 --momentum 1", "from 0 to below 1"),
    ("good.npz --optimizer muon --lr 1e-3 --newton-schulz 0", "from 1 on"),
    ("good.npz --optimizer adam --step-size 0.1", "give --learning-rate alone"),
    ("good.npz --momentum 0.9 --lr 0.1", "--momentum came without --optimizer"),
    ("good.npz --optimizer sgd --lr 0.1 --batch 31", "a batch of 31 of 30 examples"),
    ("good.npz --oracle minibatch(31)", "a batch of 31 of 30 examples"),
    ("good.npz --oracle minibatch(3) --batch 3", "--batch came beside --oracle"),
    ("good.npz --oracle isotropik(1)", "--oracle 'isotropik(1)': unknown oracle 'isotropik'"),
    ("good.npz --oracle langevin(1,-1)", "--oracle 'langevin(1,-1)': step size came as -1"),
    ("good.npz --oracle nowhere.py:noise", "'nowhere.py': there is no such file"),
    ("good.npz --out plain/../page", "in use for other things"),
]
OTHERS = [
    ("sweep good.npz --step-size=", "--step-size came as ''"),
    ("rates good.npz --out good.npz", "--out came as good.npz, a file"),
    ("rates good.npz --out good.npz/x", "is a file"),
    ("rates good.npz --out plain/../page", "in use for other things"),
    ("rates good.npz --batch 31", "a batch of 31 of 30 examples"),
    ("diagnoze good.npz", "diagnose"),
    ("studies extra", "extra"),
    ("study", "STUDY"),
    ("study saxe2014-exact-solutions", "'saxe2013-exact-solutions'"),
    ("study saxe2013-exact-solutions --scale quik", "'quick'"),
    (
        "study saxe2013-exact-solutions --out good.npz",
        "--out came as good.npz, a file; give a folder",
    ),
    ("study saxe2013-exact-solutions --out good.npz/x", "is a file"),
    ("verify saxe2014-exact-solutions", "'saxe2013-exact-solutions'"),
    ("verify saxe2013-exact-solutions --json nowhere/claims.json", "cannot be written"),
    ("verify saxe2013-exact-solutions --json plain", "cannot be written"),
    ("report", "folder"),
    ("report nowhere", "is not a folder"),
    ("report good.npz", "is not a folder"),
    ("report plain", "page.json does not exist"),
    ("report page", "is damaged"),
    ("report page --figures gif", "figure format"),
]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(("line", "words"), [(f"diagnose {a}", w) for a, w in DIAGNOSE] + OTHERS)
def test_one_sentence_and_nothing_written(
    desk: Path, thalweg_says: Says, line: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", "good.npz")  # what would be fetched has no place to go
    before = snapshot(desk)
    one_sentence(thalweg_says(*line.split()), words)
    assert snapshot(desk) == before


def test_out_through_a_file(desk: Path, thalweg_says: Says) -> None:
    before = snapshot(desk)
    said = thalweg_says("diagnose", "good.npz", "--model", "mlp:", "--out", "good.npz/mine")
    one_sentence(said, "is a file")
    assert snapshot(desk) == before


# ---- any value ----------------------------------------------------------------------------------


def accepted_or_one_sentence(says: Says, *arguments: object) -> None:
    try:
        said = says(*arguments)
    except Reached:
        return
    one_sentence(said)


@pytest.mark.thorough(after=1)
@pytest.mark.usefixtures("no_work", "desk")
@pytest.mark.parametrize("option", ["step-size", "until", "eps", "flow-error"])
@FAIR
@given(value=st.floats())
def test_any_number(thalweg_says: Says, option: str, value: float) -> None:
    accepted_or_one_sentence(thalweg_says, "diagnose", "good.npz", f"--{option}={value!r}")


@pytest.mark.thorough
@pytest.mark.usefixtures("no_work", "desk")
@FAIR
@given(step_size=st.floats(min_value=0), until=st.floats(min_value=0))
def test_any_two_numbers(thalweg_says: Says, step_size: float, until: float) -> None:
    accepted_or_one_sentence(
        thalweg_says, "diagnose", "good.npz", f"--step-size={step_size!r}", f"--until={until!r}"
    )


@pytest.mark.thorough(after=1)
@pytest.mark.usefixtures("no_work", "desk")
@pytest.mark.parametrize("option", ["records", "seeds", "samples", "smallest-every"])
@FAIR
@given(value=st.one_of(st.integers(), st.integers(-3, 40)))
def test_any_whole_number(thalweg_says: Says, option: str, value: int) -> None:
    accepted_or_one_sentence(thalweg_says, "diagnose", "good.npz", f"--{option}={value}")


# All that an operating system can hand over: anything but NUL.
ARGUMENTS = st.text(st.characters(exclude_characters="\0"), max_size=30)
MODELS = st.from_regex(r"(mlp|linear|conv):?[0-9kspm/\-]{0,12}", fullmatch=True)


@pytest.mark.thorough(after=1)
@pytest.mark.usefixtures("no_work", "desk")
@pytest.mark.parametrize(
    "option",
    ["target", "task", "model", "activation", "initialiser", "loss", "flow-solver", "precision"],
)
@FAIR
@given(value=st.one_of(ARGUMENTS, MODELS))
def test_any_text(thalweg_says: Says, option: str, value: str) -> None:
    accepted_or_one_sentence(thalweg_says, "diagnose", "good.npz", f"--{option}={value}")


@pytest.mark.usefixtures("no_work", "desk")
@FAIR
@given(value=MODELS)
def test_any_net_for_images(thalweg_says: Says, value: str) -> None:
    accepted_or_one_sentence(thalweg_says, "diagnose", "digits", "--samples=20", f"--model={value}")


def names_nothing(text: str) -> bool:
    """Whether it is no option and neither the page here nor the beginning of a study's name."""
    if text in ("", "page") or text[0] == "-":
        return False
    try:
        slug_of(text)
    except InputError:
        return True
    return False


@pytest.mark.thorough(after=1)
@pytest.mark.usefixtures("no_work", "desk")
@pytest.mark.parametrize("command", ["diagnose", "study", "verify", "report"])
@FAIR
@given(value=ARGUMENTS.filter(names_nothing))
def test_any_argument(thalweg_says: Says, command: str, value: str) -> None:
    accepted_or_one_sentence(thalweg_says, command, value)


@pytest.mark.usefixtures("no_work", "desk")
@FAIR
@given(value=ARGUMENTS)
def test_any_folder(thalweg_says: Says, value: str) -> None:
    accepted_or_one_sentence(thalweg_says, "diagnose", "good.npz", f"--out={value}")
