"""The options of `diagnose` are the parameters of `thalweg.diagnose`, each with its help."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from command_line import Reached, Said

import thalweg as tw
from thalweg.cli import app
from thalweg.cli.declared import constant, stand_in
from thalweg.cli.derive import DerivedCommand, argument_help, as_options, parameters_of, summary_of
from thalweg.core.errors import InputError
from thalweg.dynamics.optimiser_parameters import PARAMETERS
from thalweg.dynamics.optimisers import OPTIMISERS

Says = Callable[..., Said]
GROUP: Any = typer.main.get_command(app)
COMMANDS = [name for name, command in GROUP.commands.items() if not command.hidden]


def plain(text: str) -> str:
    """Help without the frame around it, as one line."""
    return " ".join(re.sub("[│─╭╮╰╯]", " ", text).split())


def options_of(name: str) -> dict[str, Any]:
    command = GROUP.commands[name]
    if isinstance(command, DerivedCommand):
        command.derive()
    return {parameter.name: parameter for parameter in command.params}


PARTS = (tw.problem, tw.dynamics.optimiser, tw.diagnose)
NO_OPTIONS = ("problem", "dynamics", "optimizer", "name", "parameters")


def derived() -> dict[str, tuple[Any, inspect.Parameter]]:
    """The parameters that are options, with the first function that has them."""
    return {
        name: (part, parameter)
        for part in reversed(PARTS)
        for name, parameter in inspect.signature(part).parameters.items()
        if name not in NO_OPTIONS
    }


def test_every_parameter_of_diagnose_is_an_option_with_its_default() -> None:
    parameters, options = derived(), options_of("diagnose")
    others = ["step_size", "optimizer", "config", *PARAMETERS]
    assert sorted(options) == sorted([*parameters, *others])
    for name, (part, parameter) in parameters.items():
        option = options[name]
        assert option.default == parameter.default, name
        told = argument_help(part)[name]
        assert option.help == told or told.partition("n Python")[0].startswith(option.help[:-1])
        if name not in ("data", "learning_rate"):
            assert option.opts == [f"--{name.replace('_', '-')}"]
    assert options["optimizer"].opts == ["--optimizer", "--optimiser"]
    assert options["optimizer"].help == f"{', '.join(OPTIMISERS)}."
    assert {name: options[name].help for name in PARAMETERS} == PARAMETERS


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("thalweg.problems.in_words", "problem"),
        ("thalweg.dynamics.optimisers", "optimiser"),
        ("thalweg.diagnosis.diagnosis", "diagnose"),
        ("thalweg.driver.recorded", "run"),
    ],
)
def test_what_is_read_of_a_source_is_what_its_import_gives(module: str, function: str) -> None:
    real = inspect.unwrap(getattr(importlib.import_module(module), function))
    bare = stand_in(module, function)
    assert inspect.getdoc(bare) == inspect.getdoc(real)
    pairs = zip(
        inspect.signature(bare).parameters.values(),
        inspect.signature(real).parameters.values(),
        strict=True,
    )
    for seen, there in pairs:
        assert (seen.name, seen.kind, seen.default) == (there.name, there.kind, there.default)
        assert seen.annotation in (there.annotation, "Any")
    with pytest.raises(InputError, match="declares no function nothing"):
        stand_in(module, "nothing")
    with pytest.raises(InputError, match="declares no constant NOTHING"):
        constant(module, "NOTHING")


def test_help_shows_every_option(thalweg_says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    said = thalweg_says("diagnose", "--help")
    assert (said.code, said.err) == (0, "")
    for name in options_of("diagnose"):
        assert name == "data" or f"--{name.replace('_', '-')}" in said.out
    assert plain(summary_of(tw.diagnose).splitlines()[0]) in plain(said.out)


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help(thalweg_says: Says, arguments: list[str]) -> None:
    said = thalweg_says(*arguments)
    assert (said.code, said.err) == (0, "")
    assert "Usage: thalweg" in said.out
    if len(arguments) == 1:
        assert all(name in said.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_loses_no_word(thalweg_says: Says, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # no line is broken
    shown = plain(thalweg_says(name, "--help").out)
    for option in options_of(name).values():
        assert plain(option.help.replace("`", "")) in shown


@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"studies", "cache"}))
def test_help_has_an_example_that_can_be_given(name: str) -> None:
    options_of(name)
    example = re.search(r"\n\nExample: `thalweg (.*)`$", GROUP.commands[name].help)
    assert example is not None
    command, *arguments = shlex.split(example[1])
    assert command == name
    assert GROUP.commands[name].make_context(name, arguments).args == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    for option, parameter in options_of(name).items():
        assert getattr(parameter, "help", None), f"{name} --{option}"


@pytest.mark.usefixtures("desk")
def test_options_reach_the_function(thalweg_says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def note(problem: Any, dynamics: Any, command: str, **options: Any) -> None:
        seen[:] = [problem, dynamics, options]
        raise Reached

    monkeypatch.setattr("thalweg.diagnosis.diagnosis.diagnosed", note)
    with pytest.raises(Reached):
        thalweg_says("diagnose")
    parameters = inspect.signature(tw.diagnose).parameters
    given = ("problem", "dynamics", "optimizer", "oracle")  # what other options make of it
    defaults = {k: p.default for k, p in parameters.items() if k not in given}
    assert seen[2] == defaults
    assert seen[1].describe() == tw.gradient_descent(0.1).describe()
    assert seen[0].describe() == tw.problem().describe()
    with pytest.raises(Reached):
        thalweg_says(
            "diagnose", "table.csv", "--target", "price", "--drop", "c", "--model", "mlp:3",
            "--no-bias", "--seeds", "3", "--out", "a b", "--eps", "1e-3", "--progress", "--until",
            "7", "--fresh", "--optimiser", "Adam", "--lr", "1e-3", "--b2", "0.99",
        )  # fmt: skip
    assert seen[2] == defaults | {
        "seeds": 3,
        "out": Path("a b"),
        "eps": 1e-3,
        "progress": True,
        "until": 7.0,
        "fresh": True,
    }
    assert seen[1].describe() == tw.dynamics.optimiser("adam", 1e-3, b2=0.99).describe()
    words = {"target": "price", "drop": "c", "model": "mlp:3", "bias": False}
    assert seen[0].describe() == tw.problem("table.csv", **words).describe()


@pytest.mark.parametrize(
    ("python", "command"),
    [
        ("give inputs= or drop=, not both", "give --inputs or --drop, not both"),
        ("leave it out with drop='car name'", "leave it out with --drop 'car name'"),
        ("drop='name'; drop=\"it's\"", """--drop name; --drop 'it'"'"'s'"""),
        ("give header=False, or header=True.", "give --no-header, or --header."),
        ("rows out with drop_gaps=True", "rows out with --drop-gaps"),
        ("smallest_every came as 0", "--smallest-every came as 0"),
        ("records came as 0", "--records came as 0"),
        ("steps of what records came", "steps of what records came"),
        ("its oracle: seeds came as 0", "its oracle: seeds came as 0"),
        ("task='regression' for this task", "--task regression for this task"),
        ("no column 'target=x' or 'one_hot'", "no column 'target=x' or 'one_hot'"),
        ("np.savez(path, x=, y=) and folder=", "np.savez(path, x=, y=) and folder="),
        ("mytarget=1, re.header=", "mytarget=1, re.header="),
        ("'it''s' drop=''", "'it''s' --drop ''"),
    ],
)
def test_sentences_speak_the_words_of_the_command(python: str, command: str) -> None:
    options = set(options_of("diagnose")) - {"data"}
    assert as_options(python, options) == command


def test_a_parameter_without_help_is_refused() -> None:
    def function(told: int, untold: int = 0) -> None:
        """Do something.

        Args:
            told: What it is,
                at length.
        """

    assert argument_help(function) == {"told": "What it is, at length."}
    with pytest.raises(InputError, match="untold"):
        parameters_of(function, "told")


def test_a_derived_command_works() -> None:
    def double(number: int, *, times: float = 2.0) -> Annotated[float, "unit"]:
        """Multiply.

        Args:
            number: Which.
            times: How often.

        Returns:
            The product.
        """
        return number * times

    first, second = parameters_of(double, "number")
    assert (first.kind, second.kind) == (first.POSITIONAL_OR_KEYWORD, second.KEYWORD_ONLY)
    assert second.default == 2.0
    assert summary_of(double) == "Multiply."


def test_studies_are_listed(thalweg_says: Says, desk: Path) -> None:
    from thalweg.studies import STUDIES

    said = thalweg_says("studies")
    assert (said.code, said.err) == (0, "")
    assert all(slug in said.out for slug in STUDIES)
    assert list(desk.rglob("runs")) == []
