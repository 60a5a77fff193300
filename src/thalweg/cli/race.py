"""`thalweg race`: optimisers against each other, each tuned over one grid, at equal cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.markup import escape

from thalweg.cli.config import OPTION, command_with, config_option, keep
from thalweg.cli.declared import stand_in
from thalweg.cli.derive import as_options, option, parameters_of, summary_of, taking
from thalweg.cli.diagnose import PANELS, is_own, problem_options, seen_by, where
from thalweg.cli.layout import columns
from thalweg.cli.own import problem_at
from thalweg.cli.streams import keep_programs, screen
from thalweg.core.errors import InputError

RACE = "Race optimisers: loss against gradients and seconds, each tuned over one grid."
HEADINGS = ("optimiser", "best at", "final loss", "gradients", "seconds", "ms/step")
FLAGS = {"optimisers": "optimisers,optimizers"}


def race() -> Callable[..., None]:
    """The command, made when it is called or its help is asked for."""
    of_the_problem, panel = problem_options(), PANELS[2]
    found = stand_in("thalweg.sweeps.raced", "race")
    own = parameters_of(found, leave_out=("problem", "seeds", "grid"), panel=panel, flags=FLAGS)
    defaults = {name: p.default for name, p in _parameters(found).items()}
    told = _told(found)
    own += [
        option("seeds", int, defaults["seeds"], told["seeds"], panel),
        option("grid", str, defaults["grid"], told["grid"].partition(" In Python")[0], panel),
    ]
    every = [*of_the_problem, *own]

    def call(**options: Any) -> None:
        keep_programs()
        from thalweg.problems.in_words import problem as problem_in_words
        from thalweg.sweeps.raced import raced
        from thalweg.trajectory.provenance import command_line

        words = {p.name: options[p.name] for p in of_the_problem}
        data = options["data"]
        name = "".join(c if c.isalnum() else "-" for c in Path(data).stem)[:40] or "own"
        given = {p.name: options[p.name] for p in own} | {
            "out": options["out"] or Path("runs") / f"race-{name}",
        }
        try:
            problem = problem_at(data) if is_own(words) else problem_in_words(**words)
            plain = command_with("thalweg race", "data", options, every)
            command = command_line() if options[OPTION] is None else plain
            given["oracle"] = seen_by({"batch": None, "oracle": options["oracle"]})
            done = raced(problem, given.pop("optimisers"), command, data, **given)
        except InputError as error:
            raise InputError(as_options(str(error), options)) from error
        assert done.folder is not None
        if done.page is not None:
            keep(done.folder, options, every)
        show(done, options)

    summary = summary_of(found) + (
        "\n\nDATA is a name, a file of data, or a problem of your own: `my.py:problem`."
        '\n\nExample: `thalweg race digits --model mlp:32 --optimisers "gd, adam, bfgs"`'
    )
    return taking([*every, config_option(every)], summary, call)


def _parameters(found: Callable[..., Any]) -> dict[str, Any]:
    import inspect

    return dict(inspect.signature(found).parameters)


def _told(found: Callable[..., Any]) -> dict[str, str]:
    from thalweg.cli.derive import argument_help

    return argument_help(found)


def show(done: Any, options: dict[str, Any]) -> None:
    """What was found, on the screen."""
    console, rows = screen(), done.rows()
    console.print(f"[bold]{escape(done.sentence)}[/]")
    cells = []
    for row in rows:
        setting = row["setting"]
        at = f"{setting:.3g}" if setting == setting else "–"
        reached = row["to_goal"] < float("inf")
        told = [
            row["optimiser"],
            at,
            _short(row["final_loss"], row["final_loss_error"]),
            _short(row["to_goal"], row["to_goal_error"]) if reached else "–",
            f"{row['seconds_to_goal']:.3g}" if reached else "–",
            f"{1e3 * row['seconds_per_step']:.3g}",
        ]
        best = "green" if row["level"] else "red" if row["final_loss"] == float("inf") else ""
        cells.append([f"[{best}]{escape(c)}[/]" if best else escape(c) for c in told])
    columns(console, HEADINGS, cells, left=HEADINGS[:2])
    for sentence in done.sentences:
        console.print(f"  • {escape(as_options(sentence, options))}")
    console.print(f"Run folder: {escape(str(done.folder))}")
    console.print(f"Report:     {escape(where(done.page))}")


def _short(value: float, error: float) -> str:
    from thalweg.sweeps.race_result import number_told

    return number_told(value, error) if value < float("inf") else "diverged"
