"""The main job: is this step size in the flow regime, at the edge of stability, or beyond it?"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thalweg import dynamics, probes
from thalweg.comparison.certificates import homogeneous_bound
from thalweg.comparison.comparison import Comparison, compare
from thalweg.core.errors import require
from thalweg.core.memory import require_memory
from thalweg.diagnosis.page import diagnosis_page
from thalweg.driver.recorded import run
from thalweg.dynamics.flow.gradient_flow import MOST_GRADIENTS
from thalweg.models import MLP, parse_model
from thalweg.probes.probe import Every
from thalweg.problems import Data, Supervised, read_data, supervised
from thalweg.problems.data.reading import what_was_read
from thalweg.report import build, build_index, write_page
from thalweg.storage.datasets import save_dataset
from thalweg.storage.files import ReadOnlyError, StoreError, replace, sealed, writing
from thalweg.storage.lock import locked
from thalweg.trajectory import Trajectory
from thalweg.trajectory.provenance import command_line, fingerprint

LOCK = ".lock"
RESUME = "descent.resume"  # what every run folder of ours holds, from the first moment on
OF_OWN_DATA = (
    "target", "inputs", "drop", "one_hot", "drop_gaps", "missing", "header", "task", "standardize",
    "scale_target",
)  # fmt: skip
STEPS = 1000  # descent steps, unless a training time is given
FLOW_ERROR = {True: 1e-4, False: 1e-3}  # of smooth nets, and of nets with kinks


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found, and where it left it.

    Attributes:
        comparison: Regime, reasons, warnings, the table of both paths.
        descent: The trajectory of gradient descent.
        flow: The trajectory of gradient flow.
        folder: The run folder.
        page: The report; None if the folder is read-only, where finished runs are read back.
        reading: What was read: rows, features, target, task, loss, and all that was not plain.
    """

    comparison: Comparison
    descent: Trajectory
    flow: Trajectory
    folder: Path
    page: Path | None
    reading: str


def diagnose(
    data: Any = "digits",
    *,
    target: str | None = None,
    inputs: str | None = None,
    drop: str | None = None,
    one_hot: str | None = None,
    drop_gaps: bool = False,
    missing: str | None = None,
    header: bool | None = None,
    task: str = "auto",
    standardize: bool = False,
    scale_target: bool = False,
    samples: int | None = None,
    model: str = "mlp:64-64",
    activation: str = "tanh",
    bias: bool = True,
    initialiser: str = "xavier-uniform",
    loss: str | None = None,
    step_size: float = 0.1,
    until: float | None = None,
    records: int = 40,
    seeds: int = 1,
    eps: float = 0.05,
    flow_error: float | None = None,
    flow_solver: str = "auto",
    most_gradients: int = MOST_GRADIENTS,
    smallest_every: int = 1,
    precision: str = "float64",
    microbatch: int | None = None,
    out: Path | None = None,
    fresh: bool = False,
    progress: bool | None = None,
) -> Diagnosis:
    """Compare gradient descent with gradient flow on a network and data, and say what regime it is.

    Both run from the same initial parameters on the same clock, training time (the sum of step
    sizes). Sharpness and the smallest Hessian eigenvalue are measured along both. The run folder
    keeps everything; the same command goes on where it was interrupted.

    Args:
        data: "digits" (real, comes along), "mnist" (your files), openml:NAME, or a path ending in
            .npz, .csv, .tsv or .parquet; in Python whatever `thalweg.problems.read_data` reads.
        target: Column (tables) or key (.npz) to predict; several columns with commas.
        inputs: Columns (tables) or key (.npz) of the features; by default all but the target.
        drop: Columns to leave out of the features; several with commas.
        one_hot: Columns to encode as 0 and 1 per value; "all" for all text.
        drop_gaps: Leave out rows with missing values, and count them.
        missing: Words for a missing value in a text file, with commas; "" for none but the empty
            cell. By default those of pandas, as NA and None.
        header: Whether a text file begins with the names of its columns; by default it must.
        task: "classification" or "regression"; "auto" tells them apart by the target.
        standardize: Shift and scale every feature of a file to mean 0 and deviation 1.
        scale_target: Shift and scale the numeric target of a file to mean 0 and deviation 1.
        samples: Use only so many examples.
        model: mlp:64-64, linear:20-20, or conv:6k5s2p2-16k5s2/120-84.
        activation: tanh, relu, gelu, softplus, ...
        bias: Whether layers have biases.
        initialiser: xavier-uniform, he-normal, orthogonal, ...
        loss: cross-entropy or squared-error; by default the one that fits the task.
        step_size: Step size eta of gradient descent.
        until: Training time to stop at; 1000 steps by default.
        records: How many times to measure.
        seeds: How many initialisations to run at once.
        eps: Distance, relative to the way the flow travels, that still counts as following it.
        flow_error: Wanted error of the flow's path, relative to the norm of the parameters; by
            default 1e-4, and 1e-3 for nets with kinks. The report says what came of it.
        flow_solver: auto (the cheapest at each step), rkc2, rkl2x, tsit5, bosh3, dopri5 or dopri8.
        most_gradients: Gradients of a seed after which the flow ends where it is; the comparison
            then stops there, and says so.
        smallest_every: Measure the smallest eigenvalue at every so many records.
        precision: float64 or float32.
        microbatch: How many examples to work on at a time, where memory is short; the results are
            the same up to rounding.
        out: The run folder; a name under runs/ by default.
        fresh: Start again even if the folder holds another run.
        progress: Show progress; by default on a terminal only.

    Returns:
        The diagnosis. A step size that diverges is a verdict, not an error.

    Raises:
        InputError: On any argument or data that do not fit: one sentence, nothing half-written.

    Examples:
        >>> from pathlib import Path
        >>> data = (np.eye(2), np.array([[1.0], [2.0]]))  # half the squared distance, mean of two
        >>> found = tw.diagnose(
        ...     data, model="linear:2", step_size=5.0, until=100.0, records=4, out=Path("run")
        ... )
        >>> found.comparison.regime, found.page.name
        ('divergent', 'index.html')
    """
    settings = {k: v for k, v in locals().items() if k not in ("out", "progress", "fresh")}
    require(seeds >= 1, f"seeds came as {seeds}; give at least 1")
    require(np.isfinite(eps) and eps > 0, f"eps came as {eps}; give a positive number, as in 0.05")
    require(smallest_every >= 1, f"smallest_every came as {smallest_every}; give at least 1")
    descend = dynamics.gradient_descent(step_size)
    examples = _examples(data, {k: settings[k] for k in OF_OWN_DATA}, samples, model)
    if not isinstance(data, str | os.PathLike):  # the examples' own name stands for them
        data = f"{examples.name}-{examples.description['sha256'][:8]}"
    data = settings["data"] = os.fspath(data)
    problem = supervised(
        parse_model(model, activation, bias, initialiser), examples, loss, precision=precision,
        microbatch=microbatch,
    )  # fmt: skip
    reading = what_was_read(examples, problem.loss.name)
    flow_error = FLOW_ERROR[problem.smooth] if flow_error is None else flow_error
    follow = dynamics.gradient_flow(
        error=flow_error, solver=flow_solver, most_gradients=most_gradients
    )
    until = STEPS * step_size if until is None else until
    require(np.isfinite(until) and until > 0, f"until came as {until}; give a positive number")
    require(records >= 4, f"records came as {records}; give at least 4")
    last = descend.steps_until(until)
    most = min(records, last)
    require_memory(64.0 * most, f"a list of {most} records", "lower the records")
    steps = _steps(last, records)
    require(
        last >= 3 and len(steps) >= 4,
        f"training time {until:g} holds only {last} steps of size {step_size:g}; "
        "ask for a longer time or a smaller step",
    )
    folder = Path("runs") / _folder_name(data, settings) if out is None else Path(out)
    with writing(folder):
        others = folder.is_dir() and any(child.name != LOCK for child in folder.iterdir())
        ours = not others or (folder / RESUME).exists()
    require(ours, f"{folder} is in use for other things; give a new folder, or an empty one")

    times = descend.clock(steps)
    measured = _probes(problem, smallest_every)
    options: dict[str, Any] = {
        "times": times,
        "probes": measured,
        "seeds": seeds,
        "progress": progress,
    }
    built: Path | None = None
    with locked(folder / LOCK, folder):
        try:
            descent = run(problem, descend, out=folder / "descent.zarr", fresh=fresh, **options)
            # Where every descent has diverged there is nothing left to compare, at a high price.
            options["times"] = times[: descent.dataset.sizes["time"]]
            flow = run(problem, follow, out=folder / "flow.zarr", fresh=fresh, **options)
        except StoreError as error:
            hint = " (--fresh on the command line)" if "fresh run" in str(error) else ""
            raise StoreError(f"{error}{hint}") from error
        verdict = compare(descent, flow, eps, problem=problem)
        table = verdict.dataset
        bound = homogeneous_bound(problem, flow)
        if bound is not None:
            bound = bound.assign_coords(time=flow.dataset["time"], seed=flow.dataset["seed"])
            table = table.assign(flow_smallest_eigenvalue_bound=bound.reindex(time=table["time"]))
        page = diagnosis_page(verdict, table, descent, flow, problem, data, command_line())
        page = dataclasses.replace(page, provenance={"what was read": reading, **page.provenance})
        try:
            save_dataset(table, folder / "comparison.zarr")
            save_dataset(
                flow.dataset[[s.name for s in follow.recorded(problem)]], folder / "solver.zarr"
            )
            with writing(folder):
                summary = {
                    "data": reading,
                    "regime": verdict.regime,
                    "sentence": verdict.sentence,
                    "reasons": verdict.reasons,
                    "warnings": verdict.warnings,
                    "seeds": {str(s): r for s, r in verdict.regimes.items()},
                    "settings": {k: str(v) for k, v in settings.items()},
                }
                replace(folder / "verdict.json", sealed(summary))
                write_page(page, folder)
                built = build(folder)
        except ReadOnlyError:  # both runs were finished before: the verdict stands
            pass
    if built is not None:
        build_index(folder.resolve().parent)
    return Diagnosis(verdict, descent, flow, folder, built, reading)


def _examples(data: Any, options: dict[str, Any], samples: int | None, model: str) -> Data:
    """The examples; `options` are for the user's own data."""
    plain = (None, False, "auto")
    given: dict[str, Any] = {
        option: value
        for option, value in options.items()
        if (value is not None if option == "header" else value not in plain)
    }
    if "standardize" in given:
        given["standardize"] = "feature"
    if isinstance(data, str) and data in ("digits", "mnist"):
        require(
            not given,
            f"{data} brings its own target and scale; leave out "
            f"{' and '.join(f'{option}=' for option in given)}, which is for your own files",
        )
        given["image"] = not isinstance(parse_model(model), MLP)
    if isinstance(data, Data):
        require(
            not given and samples is None,
            "these examples are ready; give options to problems.read_data",
        )
        return data
    return read_data(data, **given, **({} if samples is None else {"samples": samples}))


def _steps(last: int, records: int) -> np.ndarray:
    """Steps to record at: half of them evenly spaced, half denser towards the start.

    Curvature changes fastest at the start, and the theorem integrates it.
    """
    half = max(min(records, last) // 2, 2)
    even = np.linspace(0, last, half + 1)
    early = np.geomspace(1, max(last, 1), half)
    return np.unique(np.round(np.concatenate([even, early])).astype(int))


def _probes(problem: Supervised, smallest_every: int) -> list[Any]:
    wanted: list[Any] = [
        probes.loss(),
        probes.gradient_norm(),
        probes.sharpness(),
        Every(probes.smallest_eigenvalue(), smallest_every),
    ]
    if problem.classification:
        wanted.append(probes.accuracy())
    if isinstance(problem.model, MLP):
        wanted.append(probes.singular_values())
        if problem.model.hidden:
            wanted.append(probes.balancedness())
    return wanted


def _folder_name(data: str, settings: dict[str, Any]) -> str:
    stem = "".join(c if c.isalnum() else "-" for c in Path(data).stem)[:40] or "run"
    return f"compare-{stem}-{fingerprint({k: str(v) for k, v in settings.items()})[:8]}"


__all__ = ["Diagnosis", "diagnose"]
