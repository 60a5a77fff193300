"""The commands: diagnose, sweep, race, rates, studies, study, verify, report, cache.

What a command needs it imports when it runs: help, versions and wrong usage wait for nothing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from thalweg.cli import layout, listing
from thalweg.cli.derive import DerivedCommand, as_options
from thalweg.cli.diagnose import DIAGNOSE, diagnose, where
from thalweg.cli.ending import end
from thalweg.cli.group import Command, Commands
from thalweg.cli.own import failure, refusal
from thalweg.cli.race import RACE, race
from thalweg.cli.rates import RATES, rates
from thalweg.cli.streams import complain, keep_programs, prepare, screen, settle
from thalweg.cli.sweep import SWEEP, sweep
from thalweg.cli.values import RefusedValueError
from thalweg.core.errors import InputError
from thalweg.core.tracebacks import is_interruption

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
COMPLETE = "_THALWEG_COMPLETE"  # as the scripts of --install-completion set it
# The common ancestor of Typer's usage errors, wherever its version keeps it.
_USAGE: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
_SIGNS = {
    "reproduced": ("✓", "green"),
    "reproduced at reduced scale": ("✓", "green"),
    "not reproduced": ("✗", "red"),
    "not run": ("–", "yellow"),
}
NUMBERS = ("measured", "expected", "tolerance")  # of a check


def _version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        screen().print(f"thalweg {importlib.metadata.version('thalweg')}")
        raise typer.Exit


@app.callback(
    help="The dynamics of training: gradient descent against gradient flow, measured, compared "
    "with theory, and explained."
)
def _thalweg(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


app.command("compare", cls=DerivedCommand, hidden=True)(diagnose)  # as `diagnose` was called
app.command("diagnose", cls=DerivedCommand, help=DIAGNOSE)(diagnose)
app.command("sweep", cls=DerivedCommand, help=SWEEP)(sweep)
app.command("race", cls=DerivedCommand, help=RACE)(race)
app.command("rates", cls=DerivedCommand, help=RATES)(rates)
app.command("list", cls=Command)(listing.list_names)
app.command("show", cls=Command)(listing.show)
app.command("studies", cls=Command)(listing.studies)


@app.command("run", hidden=True)  # as `study` was called
@app.command("study")
def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="A name that `thalweg studies` lists.",
            autocompletion=listing.study_names,
        ),
    ],
    scale: Annotated[
        str,
        typer.Option(
            help="smoke (seconds), quick (minutes on 2 cores) or full (larger; `thalweg studies` "
            "says for each whether that is the paper's own size)."
        ),
    ] = "quick",
    out: Annotated[
        Path | None, typer.Option(help="The run folder; `runs/<study>` by default.")
    ] = None,
) -> None:
    """Rerun one paper: experiments, claims, report; what is done is not redone.

    Exits with 1 if any part of a claim comes out otherwise than expected.

    Example: `thalweg study saxe2013-exact-solutions --scale smoke`
    """
    from thalweg.studies import slug_of

    slug, console = slug_of(name), screen()
    keep_programs()
    from thalweg.studies import rerun

    try:
        outcome = rerun.study(
            slug, scale, out, tell=lambda text: console.print(f"[dim]{escape(text)}[/]")
        )
    except InputError as error:
        raise InputError(as_options(str(error), ("out",))) from error
    _show(outcome, console)
    console.print(f"Report: {escape(where(outcome.page))}")
    if outcome.surprises:
        raise typer.Exit(1)


@app.command("verify")
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STUDY",
            help="Which studies; all by default.",
            autocompletion=listing.study_names,
        ),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="smoke, quick or full, as for `thalweg study`.")
    ] = "quick",
    out: Annotated[Path, typer.Option(help="The folder of the run folders.")] = Path("runs"),
    table: Annotated[
        Path | None, typer.Option("--json", help="Write the table of claims to this file.")
    ] = None,
) -> None:
    """Check every claim of every study.

    Exits with 1 if any part of a claim comes out otherwise than expected: one that should hold
    fails, or one that is known to fail holds.

    Example: `thalweg verify saxe2013-exact-solutions --json claims.json`
    """
    from thalweg.studies import STUDIES, slug_of, study_named

    console, rows, surprises = screen(), [], 0
    verdicts: list[Any] = []
    chosen = [slug_of(name) for name in (names or list(STUDIES))]
    if table is not None and (table.is_dir() or not table.resolve().parent.is_dir()):
        raise InputError(f"{table} cannot be written; give a file in a folder that exists")
    keep_programs()
    from thalweg.lab.card import default_folder
    from thalweg.lab.runner import claims_json, run_study, tally

    for slug in chosen:
        console.print(f"[bold]{slug}[/]")
        folder = out / default_folder(slug, scale).name
        outcome = run_study(
            study_named(slug),
            scale,
            folder,
            tell=lambda text: console.print(f"[dim]{escape(text)}[/]"),
        )
        _show(outcome, console)
        verdicts += outcome.verdicts
        rows += claims_json(outcome.study, outcome.verdicts)
        surprises += len(outcome.surprises)
    if table is not None:
        from thalweg.storage.files import replace, writing

        with writing(table):
            replace(table, json.dumps(rows, indent=1).encode())
    console.print(str(tally(verdicts)))
    if surprises:
        console.print(f"[yellow]{surprises} otherwise than expected[/]")
        raise typer.Exit(1)


@app.command("report")
def report(
    folder: Annotated[Path, typer.Argument(help="A run folder.")],
    figures: Annotated[
        str,
        typer.Option(help="Also export the figures: svg, pdf, png (several with commas)."),
    ] = "",
) -> None:
    """Rebuild the pages of a run folder from its stored results alone.

    Example: `thalweg report runs/demo --figures svg,pdf`
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a run folder, as in runs/demo")
    from thalweg.report import build, build_index, export_figures
    from thalweg.storage.files import writing

    console = screen()
    formats = [f.strip() for f in figures.split(",") if f.strip()]
    with writing(folder):
        exported = export_figures(folder, formats) if formats else []
        console.print(f"Report: {escape(str(build(folder).resolve()))}")
        for path in exported:
            console.print(f"Figure: {escape(str(path))}")
    build_index(folder.resolve().parent)


@app.command("cache")
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete the programs.")] = False,
) -> None:
    """Say where compiled programs are kept for the next command, and how many there are."""
    from thalweg.storage.programs import LARGEST, SWITCH, Programs, programs_folder

    folder, console = programs_folder(), screen()
    theirs = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if theirs:
        console.print(f"JAX keeps the next ones in {escape(theirs)}: JAX_COMPILATION_CACHE_DIR.")
    elif folder is None:
        console.print(f"Compiled programs are not kept: {SWITCH} is off.")
    if folder is None:
        return
    programs = Programs(folder)
    if clear:
        programs.clear()
    count, size = programs.held()
    console.print(f"Folder: {escape(str(folder))}")
    console.print(f"Programs: {count}, {size / 1e6:.1f} MB of at most {LARGEST / 1e6:.0f} MB")


def _show(outcome: Any, console: Console) -> None:
    from thalweg.lab.runner import reason_of

    widest = max((len(verdict.claim.id) for verdict in outcome.verdicts), default=0)
    for verdict in outcome.verdicts:
        sign, colour = _SIGNS[verdict.word]
        head = f"{sign} {verdict.claim.id.ljust(widest)}  "
        layout.item(console, head, verdict.claim.statement, colour)
        rest = " " * len(head)
        if verdict.check is not None:
            values = {n: _short(getattr(verdict.check, n)) for n in NUMBERS}
            told = ", ".join(f"{name} {value}" for name, value in values.items() if value)
            layout.item(console, rest, told, body="dim")
        if not verdict.reproduced:
            layout.item(console, rest, f"{verdict.word}; {reason_of(verdict)}", body="yellow")
    for told in outcome.surprises:
        layout.paragraph(console, told, style="yellow")


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; bad input is one sentence and exit code 2."""
    prepare()
    try:
        code = _exit_code(sys.argv[1:] if arguments is None else arguments)
    finally:
        settle()
    if arguments is None:  # all is done and said: Ctrl-C has nothing left to stop
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    end(code)


def _stopped(error: BaseException | None) -> int:
    complain(str(error or "") or "stopped; give the same command to go on")
    return 130


def _exit_code(given: list[str]) -> int:
    # Not Typer's own runner, which keeps the sentence of an interruption to itself.
    command = typer.main.get_command(app)
    if COMPLETE in os.environ:  # a shell asks how a line may go on
        command.main([], "thalweg")
    try:
        with command.make_context("thalweg", list(given)) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except RefusedValueError as error:
        complain(str(error))
        return 2
    except InputError as error:
        complain(refusal(error))
        return 2
    except KeyboardInterrupt as error:
        return _stopped(error)
    except _USAGE as error:
        if error.format_message():
            complain(error.format_message())
        return 2
    except BrokenPipeError:
        return 1
    except OSError as error:  # of a help text, for example, or a folder that is gone meanwhile
        told = failure(error)
        if told is not None:  # of a user's own code
            complain(told)
            return 2
        where = f": {error.filename}" if error.filename else ""
        complain(f"the operating system refused ({error.strerror or error}){where}")
        return 2
    except MemoryError:
        complain("the memory did not suffice; lower the seeds, the records or the model's width")
        return 2
    except (Exception, SystemExit) as error:  # a user's may raise anything; of ours all is wanted
        if is_interruption(error):
            return _stopped(None)
        told = failure(error)
        if told is None:
            raise
        complain(told)
        return 2
    return 0
