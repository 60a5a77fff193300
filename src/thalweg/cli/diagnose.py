"""`thalweg diagnose`: a problem in words or from a file, how it is trained, what is compared."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.markup import escape

from thalweg.cli.config import OPTION, command_with, config_option, keep
from thalweg.cli.declared import constant, stand_in
from thalweg.cli.derive import as_options, option, parameters_of, summary_of, taking
from thalweg.cli.own import names_an_object, oracle_at, problem_at, state_at
from thalweg.cli.streams import keep_programs, screen
from thalweg.core.errors import InputError

DIAGNOSE = "Compare a training with the flow that it discretises, and say what regime it is in."
STEP_SIZE = 0.1  # of plain descent, unless one is given
COLOURS = {
    "on the flow": "green",
    "undecided": "blue",
    "off the flow": "cyan",
    "catapult": "magenta",
    "edge of stability": "yellow",
    "divergent": "red",
}
PANELS = ("The problem", "How it is trained", "What is compared and kept")
BY_PYTHON = ("problem", "dynamics", "optimizer", "oracle")  # what no option of its own gives
SEEN = ("batch", "oracle")  # what steps see of the problem
OPTIMISERS = "thalweg.dynamics.optimisers"
OF_OPTIMISERS = "thalweg.dynamics.optimiser_parameters"


def diagnose() -> Callable[..., None]:
    """The command, made when it is called or its help is asked for."""
    of_the_problem = problem_options()
    of_the_training = training_options()
    kept = comparison_options()
    every = [*of_the_problem, *of_the_training, *kept]

    def call(**options: Any) -> None:
        keep_programs()
        from thalweg.diagnosis.diagnosis import diagnosed
        from thalweg.problems.in_words import problem as problem_in_words
        from thalweg.trajectory.provenance import command_line

        told = {p.name: options[p.name] for p in kept}
        words = {p.name: options[p.name] for p in of_the_problem}
        own = problem_at(options["data"]) if is_own(words) else None
        try:
            problem = problem_in_words(**words) if own is None else own
            dynamics = dynamics_from({p.name: options[p.name] for p in of_the_training})
            told |= {"state": state_from(options["state"])}
            plain = command_with("thalweg diagnose", "data", options, every)
            command = command_line() if options[OPTION] is None else plain
            done = diagnosed(problem, dynamics, command, **told)
        except InputError as error:
            raise InputError(as_options(str(error), options)) from error
        if done.page is not None:
            keep(done.folder, options, every)
        show(done, options)

    summary = summary_of(_diagnosis()) + (
        "\n\nDATA is a name, a file of data, or a problem of your own: `my.py:problem`."
        "\n\nExample: `thalweg diagnose digits --model mlp:32 --step-size 0.1`"
    )
    return taking([*every, config_option(every)], summary, call)


def comparison_options() -> list[inspect.Parameter]:
    """The options that say what is compared and kept."""
    return parameters_of(_diagnosis(), leave_out=BY_PYTHON, panel=PANELS[2])


def problem_options() -> list[inspect.Parameter]:
    """The argument DATA and the options that describe a problem."""
    return parameters_of(stand_in("thalweg.problems.in_words", "problem"), "data", (), PANELS[0])


def training_options() -> list[inspect.Parameter]:
    """The options that say how a problem is trained."""
    panel = PANELS[1]
    made = parameters_of(
        stand_in(OPTIMISERS, "optimiser"),
        leave_out=("name", "parameters"),
        panel=panel,
        flags={"learning_rate": "learning-rate,lr"},
    )
    names, counts = ", ".join(_optimisers()), constant(OF_OPTIMISERS, "COUNTS")
    step = "Step size of gradient descent, where no optimizer is named; 0.1 by default."
    return [
        option("step_size", float | None, None, step, panel),
        option(
            "optimizer", str | None, None, f"{names}.", panel, "optimizer,optimiser"
        ),
        *made,
        *(
            option(name, int | None if name in counts else float | None, None, words, panel)
            for name, words in constant(OF_OPTIMISERS, "PARAMETERS").items()
        ),
    ]  # fmt: skip


def is_own(words: dict[str, Any]) -> bool:
    """Whether the argument names a problem in a file of the user's, which no words describe.

    Raises:
        InputError: If words came beside one, or the name is missing.
    """
    data = words["data"]
    if not names_an_object(data):
        if data.endswith(".py"):
            raise InputError(f"{data} holds Python; name the problem in it, as {data}:problem")
        return False
    defaults = {p.name: p.default for p in problem_options()}
    said = [n for n, value in words.items() if n != "data" and value != defaults[n]]
    if said:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in said)
        raise InputError(
            f"{flags} came beside {data}, which is a problem already; say "
            f"{'it' if len(said) == 1 else 'these'} where the problem is made"
        )
    return True


def dynamics_from(options: dict[str, Any]) -> Any:
    """The dynamics that options describe: plain descent, or an optimiser by name."""
    name, step_size, rate = (options[n] for n in ("optimizer", "step_size", "learning_rate"))
    own = ("optimizer", "step_size", "learning_rate", "schedule", *SEEN)
    given = {n: v for n, v in options.items() if n not in own and v is not None}
    if step_size is not None and (name is not None or rate is not None):
        beside = "--optimizer" if name is not None else "--learning-rate"
        raise InputError(
            f"--step-size came beside {beside}; it is for gradient descent without either: give "
            "--learning-rate alone"
        )
    if given and name is None:
        raise InputError(
            f"{' and '.join(f'--{n}'.replace('_', '-') for n in given)} came without --optimizer; "
            "name the optimizer too, as --optimizer adam"
        )
    from thalweg.dynamics.descent import gradient_descent
    from thalweg.dynamics.optimisers import optimiser

    seen, schedule = seen_by(options), options["schedule"]
    if rate is None and name is None:
        # Which calls it a step size, too.
        rate = STEP_SIZE if step_size is None else step_size
        if schedule is None:
            return gradient_descent(rate, seen)
    return optimiser(name or "sgd", rate, schedule=schedule, oracle=seen, **given)


def seen_by(options: dict[str, Any]) -> Any:
    """What steps see of the problem: an oracle by name or from a file, a batch, None for all."""
    from thalweg.oracles.batches import minibatch
    from thalweg.oracles.in_words import as_oracle

    batch, words = (options[name] for name in SEEN)
    if batch is not None and words is not None:
        raise InputError("--batch came beside --oracle; give one of them")
    if batch is not None:
        return minibatch(batch)
    if words is None:
        return None
    return oracle_at(words) if names_an_object(words) else as_oracle(words)


def state_from(words: str | None) -> Any:
    """What the optimiser remembers: a path as it came, or what a file of the user's holds."""
    seed = words is not None and ":seed=" in words  # of a store, and no Python
    return state_at(words) if words and not seed and names_an_object(words) else words


def show(done: Any, options: dict[str, Any]) -> None:
    """What was found, on the screen."""
    console, verdict = screen(), done.comparison
    console.print(escape(done.reading))
    console.print(f"[bold {COLOURS[verdict.regime]}]{escape(verdict.sentence)}[/]")
    for reason in verdict.reasons:
        console.print(f"  • {escape(as_options(reason, options))}")
    for warning in verdict.warnings:
        console.print(f"  [yellow]Note:[/] {escape(as_options(warning, options))}.")
    console.print(f"Run folder: {escape(str(done.folder))}")
    console.print(f"Report:     {escape(where(done.page))}")


def where(page: Path | None) -> str:
    """Where a page was written, if it was."""
    return str(page.resolve()) if page else "not written, the folder is read-only"


def _diagnosis() -> Callable[..., Any]:
    return stand_in("thalweg.diagnosis.diagnosis", "diagnose")


def _optimisers() -> list[str]:
    """The names of the table, from the docstring that lists them."""
    words = inspect.getdoc(stand_in(OPTIMISERS, "optimiser")) or ""
    listed = re.search(r"OPTIMISERS` \(([^)]*)\)", words)
    return re.split(r",\s+", listed.group(1)) if listed else []
