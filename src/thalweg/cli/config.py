"""The options of a command from a TOML file, and back: what the command line says wins."""

from __future__ import annotations

import inspect
import json
import shlex
import tomllib
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.core.errors import InputError, require, unknown

OPTION = "config"
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def config_option(parameters: Sequence[inspect.Parameter]) -> inspect.Parameter:
    """The option --config FILE of a command that takes these parameters.

    Each key of the file is an option without its dashes (`step-size`, also `step_size`, or
    another flag that it has), or the argument by its name. Several texts may be a list.

    Args:
        parameters: Of the command, as `derive.parameters_of` gives them.
    """

    def callback(context: typer.Context, file: Path | None) -> Path | None:
        if file is not None and not context.resilient_parsing:
            context.default_map = read(file, parameters)
        return file

    told = (
        "A TOML file with options, as step-size = 0.1; those given here win. A run leaves its own "
        "in its folder, as run.toml."
    )
    made = typer.Option("--config", help=told, callback=callback, is_eager=True)
    kind: Any = Annotated[Path | None, made]
    return inspect.Parameter(OPTION, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def read(file: Path, parameters: Sequence[inspect.Parameter]) -> dict[str, Any]:
    """The options in a file, by parameter.

    Raises:
        InputError: If there is no such file, it is no TOML, or a key or a value is not an option's.
    """
    try:
        found = tomllib.loads(file.expanduser().read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{str(file)!r}: there is no such file; check the path") from None
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f'{file}: no TOML ({error}); write lines as step-size = 0.1 or model = "mlp:64"'
        ) from None
    keys = _keys(parameters)
    options: dict[str, Any] = {}
    for key, value in found.items():
        name = keys.get(key.replace("_", "-"))
        if name is None:
            raise InputError(f"{file}: {unknown(key, keys, 'option')}")
        require(name not in options, f"{file}: {key} is given twice, by another name as well")
        options[name] = _fitting(value, _kind(parameters, name), f"{file}: {key}")
    return options


def keep(folder: Path, options: Mapping[str, Any], parameters: Sequence[inspect.Parameter]) -> None:
    """Leave the options of a run in its folder, as run.toml."""
    from thalweg.storage.files import replace, writing

    with writing(folder):
        replace(folder / "run.toml", written(options, parameters).encode(errors="replace"))


def written(options: Mapping[str, Any], parameters: Sequence[inspect.Parameter]) -> str:
    """The options that are not the command's defaults, as a file that `read` takes."""
    lines = [
        f"{name.replace('_', '-')} = {_toml(value)}"
        for name, value in changed(options, parameters).items()
    ]
    return "\n".join(lines) + "\n"


def command_with(
    command: str, argument: str, options: Mapping[str, Any], parameters: Sequence[inspect.Parameter]
) -> str:
    """The command line that says the same as these options, without a file.

    Args:
        command: As "thalweg diagnose".
        argument: The parameter that has no flag.
        options: By parameter.
        parameters: Of the command.
    """
    words = [*command.split(), str(options[argument])]
    for name, value in changed(options, parameters).items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif name != argument:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)


def changed(
    options: Mapping[str, Any],
    parameters: Sequence[inspect.Parameter],
    leave_out: Collection[str] = ("fresh", "progress"),
) -> dict[str, Any]:
    """The options that differ from their defaults, but for those that change no result."""
    defaults = {p.name: p.default for p in parameters if p.name not in leave_out}
    return {n: options[n] for n, default in defaults.items() if options[n] != default}


def _keys(parameters: Sequence[inspect.Parameter]) -> dict[str, str]:
    """Parameters by all that a file may call them."""
    keys = {}
    for each in parameters:
        _, made = typing.get_args(each.annotation)
        flags = [flag for flag in getattr(made, "param_decls", None) or () if flag[:2] == "--"]
        for key in [each.name.replace("_", "-"), *(flag[2:] for flag in flags)]:
            keys[key] = each.name
    return keys


def _kind(parameters: Sequence[inspect.Parameter], name: str) -> type:
    """What an option takes: bool, int, float or text."""
    hint = next(typing.get_args(p.annotation)[0] for p in parameters if p.name == name)
    kinds = [k for k in (typing.get_args(hint) or (hint,)) if k is not type(None)]
    return kinds[0] if kinds[0] in KINDS else str


def _fitting(value: Any, kind: type, what: str) -> Any:
    """A value of a file as the option takes it."""
    if kind is str and isinstance(value, list):
        texts = all(isinstance(each, str | int | float) for each in value)
        require(bool(value) and texts, f"{what} came as {value}; give text, or a list of texts")
        return ",".join(map(str, value))
    if kind is str and type(value) in (int, float):  # one of what may be several, as step-size
        return str(value)
    fits = type(value) is kind or (kind is float and type(value) is int)
    require(fits, f"{what} came as {_shown(value)}; give {KINDS[kind]}")
    return value


def _shown(value: Any) -> str:
    return "a table" if isinstance(value, dict) else _toml(value)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
