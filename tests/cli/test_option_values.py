"""What no option of numbers or paths can take is told in our words, in the words of the option."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Reached, Said

from thalweg.cli.diagnose import diagnose
from thalweg.cli.race import race
from thalweg.cli.rates import rates
from thalweg.cli.sweep import sweep
from thalweg.cli.values import RefusedValueError, reader_of

Says = Callable[..., Said]
COMMANDS = {"rates": rates, "race": race, "diagnose": diagnose, "sweep": sweep}
BELOW = {"diagnose": "diagnosis.diagnosis.run", "sweep": "sweeps.swept.watched",
         "race": "sweeps.raced.watched", "rates": "diagnosis.rates._settled"}  # fmt: skip
FREE = {"--goal": ("-1", "0")}  # a loss may be any number


def options(command: str, kind: type) -> list[str]:
    """The flags of a command that take values of a type."""
    flags = []
    for each in inspect.signature(COMMANDS[command]()).parameters.values():
        hint, made = typing.get_args(each.annotation)[:2]
        if kind in (typing.get_args(hint) or (hint,)) and each.name != "config":
            first = str(getattr(made, "default", ""))  # Typer's name for the first flag, if any
            plain = f"--{each.name}".replace("_", "-")
            flags.append(first if first.startswith("--") else plain)
    return flags


def refused(said: Said, flag: str) -> str:
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    for word in ("Invalid", "Input should", "alue error", "Traceback", "got an unexpected"):
        assert word not in said.err
    # Where shapes are checked, the sentence may name the checker's file before it.
    known = f" {flag} came" in said.err or "a batch of" in said.err
    assert known, said.err
    return said.err


@pytest.mark.usefixtures("desk")
@pytest.mark.thorough(after=2)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_value_of_an_option_is_said(thalweg_says: Says, command: str) -> None:
    whole, real = options(command, int), options(command, float)
    assert len(whole) > 2
    for flag in (*whole, *real):
        err = refused(thalweg_says(command, "good.npz", flag, "x"), flag)
        assert f"came as 'x'; give a {'whole ' if flag in whole else ''}number" in err
    for flag in options(command, Path):
        assert "came without a path" in refused(thalweg_says(command, "good.npz", flag, ""), flag)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        *[(int | None, v, "give a whole number") for v in ("", "nan", "inf", "1e400", "2.5")],
        *[(float | None, v, "give a number") for v in ("", "0,1", "--")],
        (float, "-1e400", "beyond 1.8e308"),
        (Path | None, " ", "give one, or leave"),
    ],
)
def test_readers_refuse(kind: Any, value: str, words: str) -> None:
    read = reader_of(kind, "--until")
    assert read is not None
    with pytest.raises(RefusedValueError, match=f"^--until came .*{words}"):
        read(value)


def test_readers_read() -> None:
    def read(kind: Any, value: Any) -> Any:
        found = reader_of(kind, "--until")
        assert found is not None
        return found(value)

    assert (read(int, "-3"), read(int, 4), read(float | None, "1e-3")) == (-3, 4, 0.001)
    assert math.isnan(read(float, "nan"))  # which every function refuses in its own words
    assert read(float, "-inf") == -math.inf
    assert read(Path | None, "a b") == Path("a b")
    assert reader_of(str | None, "--model") is None
    assert reader_of(bool | None, "--progress") is None


@pytest.mark.slow
@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("command", COMMANDS)
def test_numbers_out_of_range_are_said(
    thalweg_says: Says, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*_: Any, **__: Any) -> None:
        raise Reached

    monkeypatch.setattr(f"thalweg.{BELOW[command]}", reached)
    for kind, values in ((int, ("-1", "0")), (float, ("-1", "0", "nan", "inf"))):
        for flag in options(command, kind):
            for value in values:
                try:
                    said = thalweg_says(command, "good.npz", flag, value)
                except Reached:
                    assert value in FREE.get(flag, ()), f"{command} {flag} {value} is accepted"
                else:
                    refused(said, flag)
