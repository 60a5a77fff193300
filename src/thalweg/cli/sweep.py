"""`thalweg sweep`: many step sizes of one training, and the map of regimes over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.markup import escape

from thalweg.cli.config import OPTION, command_with, config_option, keep
from thalweg.cli.declared import constant
from thalweg.cli.derive import as_options, option, taking
from thalweg.cli.diagnose import (
    COLOURS,
    PANELS,
    is_own,
    problem_options,
    seen_by,
    training_options,
    where,
)
from thalweg.cli.layout import columns
from thalweg.cli.own import problem_at
from thalweg.cli.streams import keep_programs, screen
from thalweg.core.errors import InputError

SWEEP = "Follow many step sizes from the same starts, and say in which regime each is."
STEP_SIZES = "0.01:2:20log"  # of plain descent, unless others are given
STEPS = 300
GRID = "0.1,0.2,0.5, or 0.1:0.5:5 (evenly spaced), or 0.01:2:20log (on a logarithm)"
SHORT = {"edge of stability": "edge"}  # in the table


def sweep() -> Callable[..., None]:
    """The command, made when it is called or its help is asked for."""
    of_the_problem, panel = problem_options(), PANELS[1]
    rates = ("step_size", "learning_rate")
    of_the_training = [
        option(
            "step_size", str | None, None,
            f"Step sizes of gradient descent: {GRID}; {STEP_SIZES} by default.", panel,
        ),
        option(
            "learning_rate", str | None, None,
            f"Learning rates of the optimizer named: {GRID}.", panel, "learning-rate,lr",
        ),
        *(each for each in training_options() if each.name not in rates),
    ]  # fmt: skip
    every = [*of_the_problem, *of_the_training, *_kept(PANELS[2])]

    def call(**options: Any) -> None:
        keep_programs()
        from thalweg.trajectory.provenance import command_line

        plain = command_with("thalweg sweep", "data", options, every)
        try:
            found = _swept(options, command_line() if options[OPTION] is None else plain)
        except InputError as error:
            raise InputError(as_options(str(error), options)) from error
        folder = found[0].sweep.folder
        if found[2] is not None:
            keep(folder, options, every)
        show(options, *found)

    summary = (
        f"{SWEEP}\n\nAll share one compiled program. What is in the folder is not run again: the "
        "same command goes on where it was stopped, further step sizes and seeds are added."
        "\n\nDATA is a name, a file of data, or a problem of your own: `my.py:problem`."
        "\n\nExample: `thalweg sweep digits --model mlp:32 --step-size 0.1:2:8log`"
    )
    return taking([*every, config_option(every)], summary, call)


def _kept(panel: str) -> list[Any]:
    """The options of the sweep itself."""
    most = constant("thalweg.sweeps.swept", "MOST_GRADIENTS")
    rows: tuple[tuple[str, Any, Any, str], ...] = (
        ("seeds", int, 1, "How many initialisations; all step sizes start alike."),
        ("until", float | None, None, "Training time to stop at, the same for all step sizes."),
        ("steps", int | None, None, f"Or steps that each of them takes; {STEPS} by default."),
        ("records", int, 40, "How many times to measure."),
        ("eps", float, 0.05, "Distance, relative to the way the flow travels, that still counts "
         "as following it."),
        ("flow_error", float | None, None, "Wanted error of the flow's path, relative to the norm "
         "of the parameters; by default 1e-4, and 1e-3 for nets with kinks."),
        ("flow_solver", str, "auto", "auto (the cheapest at each step), rkc2, rkl2x, tsit5, "
         "bosh3, dopri5 or dopri8."),
        ("most_gradients", int, most, "Gradients of a seed after which the flow ends where it is; "
         "whether longer runs follow it is then left undecided."),
        ("workers", int | None, None, "Processes of this machine that share the work (needs Dask); "
         "by default this one alone."),
        ("out", Path | None, None, "The run folder; a name under runs/ by default."),
        ("fresh", bool, False, "Start again even if the folder holds another sweep."),
        ("progress", bool | None, None, "Show progress; by default a bar on a "
         "terminal, elsewhere a few lines."),
    )  # fmt: skip
    return [option(name, kind, default, told, panel) for name, kind, default, told in rows]


def _swept(options: dict[str, Any], command: str) -> tuple[Any, str, Path | None]:
    """The map of regimes, what was trained, and the page."""
    from thalweg.driver.block import Horizon
    from thalweg.problems.in_words import problem as problem_in_words
    from thalweg.report import build_index
    from thalweg.storage.files import ReadOnlyError
    from thalweg.sweeps.folder import in_common
    from thalweg.sweeps.regime_map import flow_for
    from thalweg.sweeps.swept import sweep as follow
    from thalweg.trajectory.provenance import fingerprint

    words, data = {p.name: options[p.name] for p in problem_options()}, options["data"]
    problem = problem_at(data) if is_own(words) else problem_in_words(**words)
    family, grid = _members(options)
    flow = ("eps", "flow_error", "flow_solver", "most_gradients")
    flow_for(problem, *(options[name] for name in flow))  # what it refuses, at once
    until, steps = options["until"], options["steps"]
    if until is None and steps is None:
        steps = STEPS
    folder = options["out"]
    if folder is None:
        about = in_common(problem, Horizon(until, steps, options["records"]), (), None, True)
        name = "".join(c if c.isalnum() else "-" for c in Path(data).stem)[:40] or "run"
        folder = Path("runs") / f"sweep-{name}-{fingerprint(about)[:8]}"
    found = follow(
        problem, family, **grid, seeds=options["seeds"], until=until, steps=steps,
        records=options["records"], out=folder, fresh=options["fresh"],
        workers=options["workers"], progress=options["progress"],
    )  # fmt: skip
    regimes = found.regimes(**{name: options[name] for name in (*flow, "progress")})
    try:
        page = regimes.page(data=data, command=command)
    except ReadOnlyError:  # all was followed before: the map stands
        page = None
    build_index(Path(folder).resolve().parent)
    return regimes, data, page


def _members(options: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function that makes a dynamics, and the values of its argument."""
    from thalweg.dynamics import gradient_descent
    from thalweg.dynamics.optimiser_parameters import PARAMETERS
    from thalweg.dynamics.optimisers import optimiser
    from thalweg.sweeps.grid import values_of

    name, rates, sizes = (options[n] for n in ("optimizer", "learning_rate", "step_size"))
    schedule = options["schedule"]
    given, seen = {n: options[n] for n in PARAMETERS if options[n] is not None}, seen_by(options)
    if name is None:
        if rates is not None or given:
            said = "learning_rate" if rates is not None else next(iter(given))
            raise InputError(f"{said}= came without optimizer=; name the optimizer too")

        def descent(step_size: float) -> Any:
            if schedule is not None:
                return optimiser("sgd", step_size, schedule=schedule, oracle=seen)
            return gradient_descent(step_size, seen)

        grid = STEP_SIZES if sizes is None else sizes
        return descent, {"step_size": values_of(grid, "step_size=")}
    if sizes is not None or rates is None:
        said = "step_size= came beside" if sizes is not None else "nothing to sweep over came with"
        raise InputError(
            f"{said} optimizer=; give its rates with learning_rate=, as in 1e-4:1:9log"
        )

    def family(learning_rate: float) -> Any:
        return optimiser(name, learning_rate, schedule=schedule, oracle=seen, **given)

    return family, {"learning_rate": values_of(rates, "learning_rate=")}


def show(options: dict[str, Any], found: Any, data: str, page: Path | None) -> None:
    """What was found, on the screen."""
    console, rows = screen(), []
    told, members = found.table, found.sweep.members
    console.print(f"{escape(data)}: {escape(str(found.sweep).splitlines()[0])}")
    headings = (found.quantity, "regime (seeds)", "loss at end", "curvature/threshold", "distance")
    for i in range(len(members.dynamics)):
        counts = Counter(told["regime"].values[i].tolist())
        words = [
            f"[{COLOURS[name]}]{SHORT.get(name, name)}[/]"
            + (f" {counts[name]}" if len(counts) > 1 else "")
            for name in COLOURS
            if name in counts
        ]
        value = f"{members.labels[members.dim][i]:.4g}"
        cells = [_cell(told[name].values[i]) for name in ("final_loss", "largest_stability")]
        share = 100 * told["share_of_way"].values[i].max()
        far = f"{share:.3g} %" if share == share else "–"
        rows.append([escape(value), ", ".join(words), *cells, far])
    columns(console, headings, rows, left=headings[1:2])
    for sentence in found.sentences:
        console.print(f"  • {escape(as_options(sentence, options))}")
    console.print(f"Run folder: {escape(str(found.sweep.folder))}")
    console.print(f"Report:     {escape(where(page))}")


def _cell(values: Any) -> str:
    """The mean over seeds to three digits."""
    mean = float(values.mean())
    return f"{mean:.3g}" if mean == mean else "–"
