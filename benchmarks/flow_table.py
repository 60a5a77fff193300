"""Gradients that solvers need for an error of the path: `python benchmarks/flow_table.py C S1`.

Counts are exact and do not depend on the machine. Each solver is run at a row of tolerances, RK4
and gradient descent at alpha/sharpness of the largest sharpness; the gradients for an error are
interpolated (logarithms). Errors are the largest over the recorded times, relative to the norm of
the parameters; the reference is dopri8 at rtol 1e-11, kept in a folder. "auto" follows the path
alone, as the others do; "+ estimate" is what is shipped, with its companion.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flow_problems import CASES, Case
from jax.flatten_util import ravel_pytree
from timing import limit_threads, machine, show

from thalweg.dynamics import FLOW_SOLVERS
from thalweg.dynamics.flow.integrator import follow
from thalweg.dynamics.flow.path import Tolerances, path_error, start_path

ERRORS = (1e-2, 1e-3, 1e-4, 1e-6)
ASKED = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6, 1e-7)
SOLVERS = ("auto", "rkc2", "rkl2x", "tsit5", "dopri8")
MANY = ("auto", "rkc2", "rkl2x")  # those for flows too stiff for explicit methods
COLUMNS = ("auto", "+ estimate", "rkc2", "rkl2x", "tsit5", "dopri8", "rk4", "descent")


class Bench:
    """One problem, its recorded times and its reference."""

    def __init__(self, case: Case, folder: Path, short: bool) -> None:
        problem = case.make()
        self.horizon = case.short if short else case.horizon
        self.times = case.times(self.horizon)
        params = problem.init(jax.random.fold_in(jax.random.key(0), 0))
        self.theta, unravel = ravel_pytree(params)
        gradient = jax.grad(problem.objective)
        self.force = lambda v: -ravel_pytree(gradient(unravel(v)))[0]
        self.compiled: dict = {}
        kept = folder / f"{case.name}-{self.horizon:g}.npy"
        if case.name == "E":
            decay = -np.asarray(problem.curvature) * self.times[:, None]
            self.truth = np.exp(decay) * np.asarray(self.theta)
        elif kept.exists():
            self.truth = np.load(kept)
        else:
            self.truth = self.adaptive("dopri8", 1e-11)[0]
            np.save(kept, self.truth)

    def adaptive(self, solver: str, tolerances, paired: bool = False):
        methods = FLOW_SOLVERS[solver].methods

        def whole(relative, theta):
            path = start_path(self.force, theta, methods, paired)

            def on(path, t):
                limit = jnp.asarray(10**9)
                allowed = Tolerances(relative, jnp.asarray(1e-14))
                path = follow(self.force, path, methods, allowed, t, limit)
                told = path_error(path) if paired else jnp.zeros(())
                return path, (path.theta, told, path.sharpness)

            return jax.lax.scan(on, path, jnp.asarray(self.times))

        key = (solver, paired)
        self.compiled.setdefault(key, jax.jit(whole))
        relative = jnp.broadcast_to(jnp.asarray(tolerances), (len(methods),))
        path, (points, told, sharpness) = self.compiled[key](relative, self.theta)
        self.sharpest = float(jnp.max(sharpness))
        return np.asarray(points), np.asarray(told), path

    def fixed(self, kind: str, length: float):
        """RK4 or Euler steps of about one length; the times are met exactly."""

        def step(theta, h):
            k1 = self.force(theta)
            if kind == "descent":
                return theta + h * k1
            k2 = self.force(theta + h / 2 * k1)
            k3 = self.force(theta + h / 2 * k2)
            return theta + h / 6 * (k1 + 2 * k2 + 2 * k3 + self.force(theta + h * k3))

        spans = np.diff(np.r_[0.0, self.times])
        counts = np.ceil(spans / length).astype(int)

        def whole(theta, spans, counts):
            def on(theta, what):
                span, n = what
                theta = jax.lax.fori_loop(0, n, lambda _, v: step(v, span / n), theta)
                return theta, theta

            return jax.lax.scan(on, theta, (spans, counts))[1]

        self.compiled.setdefault(kind, jax.jit(whole))
        points = self.compiled[kind](self.theta, jnp.asarray(spans), jnp.asarray(counts))
        return np.asarray(points), int(counts.sum()) * (4 if kind == "rk4" else 1)

    def errors(self, points) -> np.ndarray:
        return np.linalg.norm(points - self.truth, axis=1)


def sweep(bench: Bench, solver: str, paired: bool = False) -> list[tuple[float, int]]:
    """(error, gradients) of a solver from loose to tight."""
    size, found = np.linalg.norm(bench.truth, axis=1), []
    for asked in ASKED:
        error = jnp.asarray(asked)
        tolerances = FLOW_SOLVERS[solver].tolerances(error, None)
        points, _, path = bench.adaptive(solver, tolerances, paired)
        found.append((float(np.max(bench.errors(points) / size)), int(path.evaluations.sum())))
    return found


def fixed_steps(bench: Bench, kind: str, sharpness: float) -> list[tuple[float, int]]:
    size, found = np.linalg.norm(bench.truth, axis=1), []
    for alpha in (2.0, 1.0, 0.5) if kind == "rk4" else (1.0, 0.5, 0.25):
        points, spent = bench.fixed(kind, alpha / sharpness)
        found.append((float(np.max(bench.errors(points) / size)), spent))
    return found


def needed(runs: list[tuple[float, int]], error: float) -> float:
    """Gradients for an error by a work-precision curve; NaN where it does not get there."""
    good = [spent for reached, spent in runs if reached <= error]
    if not good:
        return np.nan
    best = float(min(good))
    for (loose, few), (tight, many) in itertools.pairwise(runs):
        if tight <= error < loose and many > few:
            share = np.log(loose / error) / np.log(loose / tight)
            best = min(best, float(few * (many / few) ** share))
    return best


def table(bench: Bench) -> tuple[str, list[list[str]]]:
    *_, path = bench.adaptive("auto", FLOW_SOLVERS["auto"].tolerances(jnp.asarray(1e-3), None))
    sharpness, budget = bench.sharpest, float(path.budget)
    curves = {solver: sweep(bench, solver) for solver in SOLVERS if budget < 2e5 or solver in MANY}
    curves["+ estimate"] = sweep(bench, "auto", paired=True)
    if budget < 2e5:
        curves |= {kind: fixed_steps(bench, kind, sharpness) for kind in ("rk4", "descent")}
    lines = []
    for error in ERRORS:
        spent = {name: needed(curve, error) for name, curve in curves.items()}
        single = min(
            (spent[s] for s in SOLVERS[1:] if np.isfinite(spent.get(s, np.nan))), default=1
        )
        ratios = [spent.get(name, np.nan) / spent["auto"] for name in ("tsit5", "rk4", "descent")]
        lines.append(
            [f"{error:.0e}"]
            + [f"{spent.get(name, np.nan):,.0f}".replace("nan", "-") for name in COLUMNS]
            + [f"{spent['auto'] / single:.2f}"]
            + [f"{ratio:.3g}x".replace("nanx", "-") for ratio in ratios]
        )
    kept = max(error / asked for asked, (error, _) in zip(ASKED, curves["auto"], strict=True))
    paired = zip(ASKED, curves["+ estimate"], strict=True)
    shipped = max(error / asked for asked, (error, _) in paired)
    title = (
        f"horizon {bench.horizon:g}, stiffness budget {budget:.3g}, largest sharpness "
        f"{sharpness:.3g}; error of auto at most {kept:.2g} times what was asked, "
        f"with its estimate {shipped:.2g} times"
    )
    return title, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["S1", "SB2", "C"], metavar="case")
    parser.add_argument("--quick", action="store_true", help="C alone, a smoke run")
    parser.add_argument("--short", action="store_true", help="a tenth of the horizon")
    parser.add_argument("--threads", type=int, default=1, help="threads (1)")
    default = Path(tempfile.gettempdir()) / "thalweg-flow-references"
    parser.add_argument("--references", type=Path, default=default)
    chosen = parser.parse_args()
    limit_threads(chosen.threads)
    chosen.references.mkdir(exist_ok=True)
    names = ["C"] if chosen.quick else list(CASES) if chosen.cases == ["all"] else chosen.cases
    for name in names:
        if name not in CASES:
            parser.error(f"case came as {name}; give all or some of {', '.join(CASES)}")
    for name in names:
        about, lines = table(Bench(CASES[name], chosen.references, chosen.short))
        columns = ["error", *COLUMNS, "auto/best", "tsit5/auto", "rk4/auto", "descent/auto"]
        show(f"{name}: {about}; {machine(chosen.threads)}", columns, lines)


if __name__ == "__main__":
    main()
