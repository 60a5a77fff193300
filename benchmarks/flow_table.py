"""Gradients that each solver needs for an error: `python benchmarks/flow_table.py C S1`.

Counts are exact and do not depend on the machine. Errors are the largest over the recorded times,
relative to the norm of the parameters; the reference is dopri8 at rtol 1e-11, kept in a folder.
Single solvers are run at the tolerance that they take the wanted error to need; RK4 and gradient
descent at alpha/sharpness of the largest sharpness at those times.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flow_problems import CASES, Case
from jax.flatten_util import ravel_pytree

from thalweg.dynamics import FLOW_SOLVERS
from thalweg.dynamics.integrator import follow
from thalweg.dynamics.path import Tolerances, path_error, start

ERRORS = (1e-2, 1e-3, 1e-4, 1e-6)
SOLVERS = ("auto", "rkc2", "rkl2x", "tsit5", "dopri8")


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
            path = start(self.force, theta, methods, paired)

            def on(path, t):
                limit = jnp.asarray(10**9)
                allowed = Tolerances(relative, jnp.asarray(1e-14))
                path = follow(self.force, path, methods, allowed, t, limit)
                told = path_error(path, methods) if paired else jnp.zeros(())
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


def rows(bench: Bench) -> Iterator[str]:
    size = np.linalg.norm(bench.truth, axis=1)
    *_, path = bench.adaptive("auto", FLOW_SOLVERS["auto"].tolerances(jnp.asarray(1e-3), None))
    sharpness, budget = bench.sharpest, float(path.budget)
    yield f"stiffness budget {budget:.3g}, largest sharpness {sharpness:.3g}"
    for error in ERRORS:
        for solver in SOLVERS:
            if solver == "tsit5" and budget > 2e5:
                continue
            tolerances = FLOW_SOLVERS[solver].tolerances(jnp.asarray(error), None)
            points, _, path = bench.adaptive(solver, tolerances)
            found = np.max(bench.errors(points) / size)
            yield f"{error:7.0e} {solver:7s} {int(path.evaluations.sum()):8d} error {found:.1e}"
        tolerances = FLOW_SOLVERS["auto"].tolerances(jnp.asarray(error), None)
        points, told, path = bench.adaptive("auto", tolerances, paired=True)
        true, spent = bench.errors(points), np.asarray(path.evaluations)
        fair = np.mean((told > true / 5) & (told < 5 * true))
        yield (
            f"{error:7.0e} auto with its error estimate {spent.sum():8d} (companion {spent[-1]}) "
            f"error {np.max(true / size):.1e}, estimate within 5 of it at {fair:.0%} of times"
        )
    if budget <= 2e5:
        for kind, alphas in (("rk4", (2.0, 1.0)), ("descent", (1.0, 0.25))):
            for alpha in alphas:
                points, spent = bench.fixed(kind, alpha / sharpness)
                found = np.max(bench.errors(points) / size)
                yield f"{kind} at {alpha:g}/sharpness {spent:8d} error {found:.1e}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["S1", "SB2", "C", "E"], choices=list(CASES))
    parser.add_argument("--short", action="store_true", help="a tenth of the horizon")
    default = Path(tempfile.gettempdir()) / "thalweg-flow-references"
    parser.add_argument("--references", type=Path, default=default)
    options = parser.parse_args()
    options.references.mkdir(exist_ok=True)
    for name in options.cases:
        bench = Bench(CASES[name], options.references, options.short)
        print(f"\n{name}, horizon {bench.horizon:g}", flush=True)
        for row in rows(bench):
            print(row, flush=True)
