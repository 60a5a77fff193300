"""`thalweg rates`: the table of rates on a problem, each bound held against a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from thalweg.cli.derive import as_options, option, taking
from thalweg.cli.diagnose import PANELS, is_own, problem_options, where
from thalweg.cli.layout import named
from thalweg.cli.own import problem_at
from thalweg.cli.streams import keep_programs, screen
from thalweg.core.errors import InputError

RATES = "Hold methods with their theorems' step sizes against their bounds."
WIDE = 120  # columns of a terminal from which the table keeps its words whole
QUICK = "robust"  # the problem that is taken where none is named


def rates() -> Callable[..., None]:
    """The command, made when it is called or its help is asked for."""
    of_the_problem = [
        p.replace(default=QUICK) if p.name == "data" else p for p in problem_options()
    ]
    panel = PANELS[2]
    rows: tuple[tuple[str, Any, Any, str], ...] = (
        ("steps", int, 200, "How many steps each method takes."),
        ("seeds", int, 5, "How many paths of the random methods."),
        ("batch", int | None, None, "Examples that random methods see at a step; the root of all "
         "by default."),
        ("json", bool, False, "Print the table as JSON."),
        ("out", Path | None, None, "The run folder; `runs/rates-<data>` by default."),
    )  # fmt: skip
    own = [option(name, kind, default, told, panel) for name, kind, default, told in rows]

    def call(**options: Any) -> None:
        keep_programs()
        from thalweg.diagnosis.rates import rated
        from thalweg.problems import robust_regression
        from thalweg.problems.in_words import problem as problem_in_words
        from thalweg.trajectory.provenance import command_line

        words = {p.name: options[p.name] for p in of_the_problem}
        data = words["data"]
        try:
            if data == QUICK:
                _plain(words, of_the_problem)
                problem: Any = robust_regression()
            else:
                problem = problem_at(data) if is_own(words) else problem_in_words(**words)
            name = "".join(c if c.isalnum() else "-" for c in Path(data).stem)[:40] or "own"
            folder = options["out"] or Path("runs") / f"rates-{name}"
            told = {n: options[n] for n in ("steps", "seeds", "batch")}
            found = rated(problem, command_line(), **told, out=folder)
        except InputError as error:
            raise InputError(as_options(str(error), options)) from error
        if options["json"]:
            print(found.json())
            return
        show(found)

    summary = (
        f"{RATES}\n\nThe constants that theorems assume are measured along the paths; what they "
        "rule out is said. DATA is robust (a small regression with outliers), a name, a file of "
        "data, or a problem of your own: `my.py:problem`."
        "\n\nExample: `thalweg rates robust --steps 100`"
    )
    return taking([*of_the_problem, *own], summary, call)


def _plain(words: dict[str, Any], options: list[Any]) -> None:
    """Refuse options of data beside the problem that needs none."""
    said = [p.name for p in options if p.name != "data" and words[p.name] != p.default]
    if said:
        raise InputError(
            f"{' and '.join(f'{name}=' for name in said)} came beside robust, which is a problem "
            "already; name data too, as digits"
        )


def show(found: Any) -> None:
    """What was found, on the screen."""
    console = screen()
    constants = Table(box=None, pad_edge=False)
    for heading in ("constant", "value", "error", "a"):
        constants.add_column(heading, justify="right" if heading in ("value", "error") else "left")
    for a in found.assumptions:
        constants.add_row(escape(a.name.replace("_", " ")), f"{a.value:.4g}", f"{a.error:.1g}",
                          a.bound)  # fmt: skip
    console.print(constants)
    console.print()
    if console.width < WIDE:
        named(console, ((row["method"], _in_words(row)) for row in found.rows()))
    else:
        console.print(_table(found))
    if found.folder is not None:
        console.print(f"Run folder: {escape(str(found.folder))}")
        console.print(f"Report:     {escape(where(found.page))}")


def _table(found: Any) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("method", "assumption", "step", "cost to eps", "exponent", "ratio", "bound"):
        side: Any = "right" if heading in ("exponent", "ratio") else "left"
        table.add_column(heading, overflow="fold", justify=side)
    for row in found.rows():
        ratio = f"{row['ratio']:.3g}" if row["ratio"] == row["ratio"] else "–"
        colour = "green" if row["holds"] else "red" if row["ratio"] == row["ratio"] else "dim"
        cells = [escape(row[name]) for name in ("method", "assumption", "step", "complexity")]
        exponent = _exponent(row) or "–"
        table.add_row(*cells, exponent, ratio, f"[{colour}]{escape(row['said'])}[/]")
    return table


def _in_words(row: dict[str, Any]) -> str:
    """A row where there is no room for columns."""
    said = [f"{row['assumption']}; step {row['step']}; cost to eps {row['complexity']}"]
    if _exponent(row):
        said.append(f"exponent {_exponent(row)}")
    held = row["ratio"] == row["ratio"]
    said.append(f"at most {row['ratio']:.3g} of its bound, {row['said']}" if held else row["said"])
    return "; ".join(said)


def _exponent(row: dict[str, Any]) -> str:
    """Of the cost in 1/eps, with its error as one word; empty where there is none."""
    from thalweg.report.number import show

    exponent, error = row["exponent"], row["exponent_error"]
    return show(exponent, error).replace(" ", "") if exponent == exponent else ""
