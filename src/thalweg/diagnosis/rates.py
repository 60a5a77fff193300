"""The table of rates on a problem: each method with its theorem's step, held against its bound."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree

from thalweg.core import tree
from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require
from thalweg.diagnosis.rates_held import ABOVE, Run, Walked, row_without_run, rows_held
from thalweg.diagnosis.rates_page import rates_page
from thalweg.driver.path import paths
from thalweg.dynamics import State, gradient_descent, method
from thalweg.oracles import minibatch, page, sarah, svrg, two_point
from thalweg.oracles.batches import FOR
from thalweg.oracles.examples_shown import supervised_in
from thalweg.probes import Assumption, measured_assumptions
from thalweg.probes.finite_sum import no_finite_sum
from thalweg.problems import Problem, robust_regression
from thalweg.problems.in_words import problem as problem_in_words
from thalweg.report import build, build_index, write_page
from thalweg.storage.datasets import save_dataset
from thalweg.storage.files import ReadOnlyError, replace, writing
from thalweg.storage.lock import LOCK, locked, require_own
from thalweg.theory.optimisers.rates import RATES
from thalweg.trajectory.provenance import command_line

POINTS = 8  # of each path, at which Hessians are looked at
MOST_DENSE = 200  # parameters up to which whole Hessians are decomposed at every step
MARGIN, ROUNDS = 1.05, 3  # constants are taken so much larger than measured, and measured again
SAMPLED = ("sgd", "page", "spider", "svrg")  # rows of methods that need single examples
TABLE, PATHS = "rates", "paths"
KEPT = "rates.json"


@dataclass(frozen=True)
class Rates:
    """The table of rates of a problem.

    Attributes:
        table: By row: method, assumption, step, complexity, exponent with its standard error,
            worst ratio of observed to bound and the step it is at, and what is to be said.
        paths: By run and step: loss, gradient norm and passes.
        assumptions: The constants, as they were measured.
        folder: The run folder, if one was asked for.
        page: Its page; None without a folder, or where that is read-only.
    """

    table: xr.Dataset
    paths: xr.Dataset
    assumptions: tuple[Assumption, ...]
    folder: Path | None = None
    page: Path | None = None

    def __str__(self) -> str:
        """The rows as lines of text."""
        lines = [f"{a.name} = {a.value:.4g} ± {a.error:.1g} ({a.bound})" for a in self.assumptions]
        for row in self.rows():
            ratio = row["ratio"]
            held = row["said"] if ratio != ratio else f"{ratio:.3g} of its bound; {row['said']}"
            lines.append(f"{row['method']} | {row['assumption']} | {row['step']} | {held}")
        return "\n".join(lines)

    __repr__ = __str__

    def rows(self) -> list[dict[str, Any]]:
        """The rows as plain data."""
        found = self.table
        names = [str(name) for name in found.data_vars]
        return [
            {"row": str(found["row"].values[i])} | {n: found[n].values[i].item() for n in names}
            for i in range(found.sizes["row"])
        ]

    def json(self) -> str:
        """Rows and assumptions as JSON; what is not finite is null."""
        plain = {"rows": self.rows(), "assumptions": [a._asdict() for a in self.assumptions]}
        for row in (*plain["rows"], *plain["assumptions"]):
            for name, value in row.items():
                if isinstance(value, float) and not np.isfinite(value):
                    row[name] = None
        return json.dumps(plain, indent=1)


def rates(
    problem: Any = "robust",
    *,
    steps: int = 200,
    seeds: int = 5,
    batch: int | None = None,
    out: str | Path | None = None,
) -> Rates:
    """Hold methods with their theorems' step sizes against their bounds on a problem.

    The constants that the theorems assume are measured along all paths; where one of them rules a
    row out (no convexity), the row says so, as does one whose method does not suit the problem.
    Methods of which nothing is bounded are quoted. A term of the parameters alone, as weight decay,
    is a part of every example's loss; what is no mean over examples has no methods that draw them.

    Args:
        problem: "robust" (a regression that outliers do not dominate, 64 examples in 10
            dimensions), "digits" or a path; in Python a `Problem`, too.
        steps: How many each method takes.
        seeds: How many paths of the random ones; bounds of means are held against the mean.
        batch: Examples that random methods see at a step; the root of all by default.
        out: The run folder; nothing is written without one.

    Returns:
        The table.

    Raises:
        InputError: On any argument that does not fit.

    Cost: about 30 times `steps` gradients, and Hessian products at 8 points of each path.

    Source: Danilova et al. (2022), tables 1 to 4; Benning (2021).

    Examples:
        >>> bowl = tw.problems.Quadratic([1.0, 4.0], slope=[0.0, 0.0], start=[1.0, 1.0])
        >>> found = tw.rates(bowl, steps=20)
        >>> bool(np.nanmax(found.table["ratio"].where(found.table["holds"])) <= 1)
        True
    """
    return rated(_problem(problem), command_line(), steps=steps, seeds=seeds, batch=batch, out=out)


def rated(
    problem: Problem,
    command: str,
    *,
    steps: int,
    seeds: int,
    batch: int | None,
    out: str | Path | None,
) -> Rates:
    """`rates` of a problem; its page says the command given."""
    for name, value, least in (("steps", steps, 10), ("seeds", seeds, 1)):
        require(
            not misfit(value, int) and value >= least,
            f"{name} came as {told(value)}; give a whole number from {least} on",
        )
    if batch is not None:
        _batch(problem, batch)  # what it refuses, at once
    folder = None if out is None else Path(out)
    if folder is None:
        return _found(problem, steps, seeds, batch)
    require(not folder.is_file(), f"out came as {folder}, a file; give a folder")
    require_own(folder, KEPT)
    begun = time.monotonic()
    with locked(folder / LOCK, folder):
        with writing(folder):  # what cannot be made is refused at once
            folder.mkdir(parents=True, exist_ok=True)
        made = _found(problem, steps, seeds, batch)
        try:
            return _kept(made, problem, folder, command, time.monotonic() - begun)
        except ReadOnlyError:
            if not (folder / KEPT).exists():
                raise
            return dataclasses.replace(made, folder=folder)  # one is there already


def _found(problem: Problem, steps: int, seeds: int, batch: int | None) -> Rates:
    start = problem.init(jax.random.key(0))
    settled = _settled(problem, start, steps, seeds, batch)
    found, walked, taken, (runs, left_out), least, minimum = settled
    rows = [
        row
        for run in runs
        for row in rows_held(run, walked[run.label], taken, found, least, minimum)
    ]
    ran = {row["row"] for row in rows}
    rows += [row_without_run(name, left_out.get(name, "")) for name in RATES if name not in ran]
    return Rates(_table(rows), _paths_table(walked, steps), found)


def _settled(problem: Problem, start: Any, steps: int, seeds: int, batch: int | None) -> Any:
    """Runs with constants that are not below what is then measured along them, if 3 rounds do."""
    scouted = paths(method("agmsdr"), problem, start, 2, 2 * POINTS, over=()).seen
    why = no_finite_sum(problem, scouted)
    measured = {a.name: a.value for a in measured_assumptions(problem, scouted)}
    taken = {n: MARGIN * v for n, v in measured.items()} | {"convexity": measured["convexity"]}
    for _ in range(ROUNDS):
        runs, left_out = _runs(problem, start, taken, seeds, batch, why)
        walked = {run.label: _walk(problem, run, start, steps) for run in runs}
        lowest = min(walked.values(), key=lambda w: float(np.nanmin(w.loss)))
        least = float(np.nanmin(lowest.loss))
        minimum = lowest.points[np.unravel_index(np.nanargmin(lowest.loss), lowest.loss.shape)]
        found = measured_assumptions(problem, _points(start, walked, minimum))
        measured = {a.name: a.value for a in found}
        if all(measured[name] <= taken[name] for name in ABOVE if name in taken):
            break
        above = {n: max(taken[n], MARGIN * measured[n]) for n in ABOVE if n in taken}
        taken = measured | above
    taken = measured | {n: taken[n] for n in ABOVE if n in taken}
    return found, walked, taken, (runs, left_out), least, minimum


def _problem(given: Any) -> Problem:
    if isinstance(given, Problem):
        return given
    named = isinstance(given, str) and given == "robust"
    return robust_regression() if named else problem_in_words(given)


def _observe(problem: Problem, state: State) -> tuple[Any, ...]:
    value, gradient = jax.value_and_grad(problem.objective)(state.params)
    least = getattr(state.memory, "squared_gradient", jnp.asarray(jnp.nan))  # AGMsDR's, at its y
    return value, ravel_pytree(gradient)[0], ravel_pytree(state.params)[0], least


def _runs(
    problem: Problem,
    start: Any,
    known: Mapping[str, float],
    seeds: int,
    batch: int | None,
    why: str,
) -> tuple[list[Run], dict[str, str]]:
    """The methods that suit the problem, with their theorems' step sizes; why others do not.

    `why` is why the objective is no mean over examples, empty where it is one.
    """
    L, mu, p = known["smoothness"], max(known["convexity"], 0.0), tree.size(start)
    convex: dict[str, dict[str, float]] = {
        "gradient-descent-convex": {},
        "gradient-descent-quasi-convex": {},
    }
    made = [
        Run("gradient descent", method("gradient-descent", smoothness=L), {
            "gradient-descent": {}, "gradient-descent-dominated": {}, **convex,
        }),
        Run("Nesterov", method("nesterov", smoothness=L, convexity=mu), {"nesterov": {}}),
        Run("AGMsDR", method("agmsdr"), {"agmsdr": {}, "agmsdr-convex": {}}),
    ]  # fmt: skip
    left_out: dict[str, str] = {}
    if mu > 0:
        tuned = method("tuned-descent", smoothness=L, convexity=mu)
        made.append(Run("tuned descent", tuned, {"gradient-descent-strongly-convex": {}}))
    else:
        left_out["gradient-descent-strongly-convex"] = (
            f"mu came out as {known['convexity']:.3g}, and its step size needs one above 0"
        )
    if p <= MOST_DENSE:
        M = max(known["hessian_lipschitz"], 1e-3 * L)
        cubic = method("cubic-newton", hessian_lipschitz=M)
        made.append(Run("cubic Newton", cubic, {"cubic-newton": {"hessian_lipschitz": M}}))
    else:
        left_out["cubic-newton"] = (
            f"{p:,} parameters came, and whole Hessians are decomposed up to {MOST_DENSE}"
        )
    zeroth = two_point()
    size = 1 / (4 * (p + 4) * L)
    made.append(
        Run(
            "RG", gradient_descent(size, oracle=zeroth),
            {"random-direction": {"dimensions": float(p)}}, zeroth, seeds,
        )
    )  # fmt: skip
    if why:
        return made, left_out | dict.fromkeys(SAMPLED, why)
    return made + _sampled(problem, known, seeds, batch), left_out


def _batch(problem: Problem, batch: int | None) -> int:
    """The batch asked for, or the root of all examples."""
    m = len(supervised_in(problem, *FOR).inputs)
    b = max(1, round(m**0.5)) if batch is None else batch
    require(
        not misfit(b, int) and 1 <= b <= m,
        f"a batch of {told(b)} of {m} examples came; give 1 to {m}",
    )
    return b


def _sampled(
    problem: Problem, known: Mapping[str, float], seeds: int, batch: int | None
) -> list[Run]:
    """Methods that see some of the examples, each with all that is common to them."""
    m, b = len(supervised_in(problem, *FOR).inputs), _batch(problem, batch)
    L = known["smoothness"]
    mean, most = known["mean_smoothness"], known["example_smoothness"]
    chance = b / (m + b)
    by_page = 1 / (mean * (1 + ((1 - chance) / (chance * b)) ** 0.5))
    cube = max(1, round(m ** (1 / 3)))
    rows: dict[str, Mapping[str, float]] = {
        "sgd": {"step_size": 1 / (2 * L), "batch": float(b)},
        "page": {"step_size": by_page},
    }
    return [
        Run(f"{label}, {b} of {m}", gradient_descent(size, oracle=oracle), held, oracle, seeds)
        for label, size, oracle, held in (
            ("SGD", 1 / (2 * L), minibatch(b, replace=True), {"sgd": rows["sgd"]}),
            ("PAGE", by_page, page(b), {"page": rows["page"]}),
            ("SARAH", 1 / (2 * mean), sarah(b, b), {"spider": {}}),
            ("SVRG", 1 / (3 * most), svrg(min(m, cube**2), cube), {"svrg": {}}),
        )
    ]


def _walk(problem: Problem, run: Run, start: Any, steps: int) -> Walked:
    keys = jax.random.split(jax.random.key(1), run.seeds)
    found = paths(run.dynamics, problem, start, 1, steps, _observe, keys, over=("key",))
    loss, gradient, points, least = (np.asarray(a, float) for a in found.seen)
    passes = np.asarray(found.evaluations[0], float)
    if run.oracle is not None:
        told_of = run.oracle.counts(problem)
        if told_of.component_gradients:
            n = len(supervised_in(problem, *FOR).inputs)
            passes = run.oracle.spent(problem, np.arange(steps + 1)) / n
        else:  # two values are about a gradient
            passes = np.arange(steps + 1) * told_of.values / 2
    return Walked(loss, gradient, points, least, passes)


def _points(start: Any, walked: Mapping[str, Walked], lowest: np.ndarray) -> Any:
    """Points of all paths, those of one path together, after the lowest of all."""
    rows = [lowest[None]]
    for w in walked.values():
        steps = np.unique(np.geomspace(1, w.points.shape[1], POINTS).astype(int) - 1)
        rows.append(w.points[0, steps])
    every = np.concatenate(rows)
    finite = every[np.all(np.isfinite(every), axis=1)]
    return jax.vmap(ravel_pytree(start)[1])(jnp.asarray(finite))


WORDS = {
    "exponent": "measured exponent of the cost in 1/eps", "exponent_error": "its standard error",
    "ratio": "worst ratio of observed to bound", "at": "the step it is at",
    "holds": "whether the bound holds", "said": "what is to be said", "run": "what was run",
    "bounded": "what is bounded", "source": "where the theorem is from", "method": "method",
    "assumption": "assumption", "step": "step size", "complexity": "cost to eps",
}  # fmt: skip


def _table(rows: list[dict[str, Any]]) -> xr.Dataset:
    return xr.Dataset(
        {
            name: ("row", [row[name] for row in rows], {"units": "1", "long_name": words})
            for name, words in WORDS.items()
        },
        {"row": [row["row"] for row in rows]},
    )


def _paths_table(walked: Mapping[str, Walked], steps: int) -> xr.Dataset:
    columns: dict[str, tuple[list[np.ndarray], str, str]] = {
        "gradient_norm": (
            [np.median(w.norm, axis=0) for w in walked.values()], "loss/parameter",
            "gradient norm, the median over seeds",
        ),
        "loss": (
            [np.median(w.loss, axis=0) for w in walked.values()], "loss",
            "the loss, the median over seeds",
        ),
        "passes": ([w.passes for w in walked.values()], "1", "gradients of the whole"),
    }  # fmt: skip
    return xr.Dataset(
        {
            name: (("run", "step"), np.stack(values), {"units": unit, "long_name": words})
            for name, (values, unit, words) in columns.items()
        },
        {"run": list(walked), "step": np.arange(steps + 1)},
    )


def _kept(made: Rates, problem: Problem, folder: Path, command: str, seconds: float) -> Rates:
    """The same, written into a folder with its page."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        replace(folder / KEPT, made.json().encode())
    numbers = made.table[["exponent", "exponent_error", "ratio"]].assign_coords(
        place=("row", np.arange(made.table.sizes["row"]))
    )
    save_dataset(numbers, folder / f"{TABLE}.zarr")
    save_dataset(made.paths, folder / f"{PATHS}.zarr")
    with writing(folder):
        about = problem.describe()
        write_page(rates_page(made.rows(), made.assumptions, about, command, seconds), folder)
        page_file = build(folder)
    build_index(folder.resolve().parent)
    return Rates(made.table, made.paths, made.assumptions, folder, page_file)
