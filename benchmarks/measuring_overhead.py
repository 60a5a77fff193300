"""What measuring costs: gradient descent with the sharpness every few steps, and without.

The last row goes on into the edge of stability, where the leading eigenvectors move.

Both runs stop at the same marks and record loss and parameters there. Products are counted where
they happen, by measuring once more along the recorded parameters.
"""

from __future__ import annotations

import statistics
from typing import NamedTuple
from unittest import mock

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from timing import clock_for, interleaved, limit_threads, machine, noise, options, show

import thalweg as tw
from thalweg.core.hessian_product import hessian_product
from thalweg.probes.probe import Moment


class Setting(NamedTuple):
    """A run to measure."""

    precision: str
    seeds: int
    records: int
    every: int = 10
    step_size: float = 0.1
    loss: str = "cross-entropy"


SETTINGS = (
    Setting("float32", 1, 200),
    Setting("float32", 4, 100),
    Setting("float64", 1, 200),
    Setting("float64", 4, 100),
    Setting("float64", 1, 200, every=5),
    Setting("float64", 1, 200, every=5, loss="squared-error"),  # to the edge of stability
)


def digits(s: Setting) -> tw.problems.Problem:
    model = tw.models.mlp([64, 64], "tanh")
    return tw.problems.digits(model, s.loss, samples=500, precision=s.precision)


def descent(problem: tw.problems.Problem, s: Setting, measured: bool) -> tw.Trajectory:
    return tw.run(
        problem,
        tw.gradient_descent(s.step_size),
        until=s.records * s.every * s.step_size,
        records=s.records,
        probes=[tw.probes.sharpness()] if measured else [],
        seeds=s.seeds,
        progress=False,
    )


def products(problem: tw.problems.Problem, points: jax.Array) -> list[int]:
    """Hessian products that the sharpness takes at each of the points of one run."""
    probe, counts = tw.probes.sharpness(), [0]

    def counted(objective, params):
        product = hessian_product(objective, params)

        def count() -> None:
            counts[-1] += 1

        def told(vector: jax.Array) -> jax.Array:
            jax.debug.callback(count)
            return product(vector)

        return told

    unravel = ravel_pytree(problem.init(jax.random.key(0)))[1]
    with mock.patch("thalweg.probes.curvature.hessian_product", counted):
        measure = eqx.filter_jit(lambda flat, *more: probe.measure(problem, unravel(flat), *more))
        memory = probe.start(problem, unravel(points[0]))
        for i, flat in enumerate(points):
            _, memory = measure(flat, memory, Moment(jnp.asarray(i), jax.random.key(i)))
            jax.effects_barrier()
            counts.append(0)
    return counts[:-1]


def measure(s: Setting, quick: bool, threads: int) -> list[str]:
    problem = digits(s)
    seconds = interleaved(
        {kind: lambda m=m: descent(problem, s, m) for kind, m in KINDS.items()},
        1 if quick else 3,
        clock_for(threads),
    )
    without, with_ = (statistics.median(seconds[kind]) for kind in KINDS)
    path = descent(problem, s._replace(seeds=1), True)
    spent = products(problem, jnp.asarray(path.parameters.values[0]))
    edge = s.step_size * float(path.dataset.sharpness[0, -1])
    return [
        f"{s.loss}, {s.precision}, {s.seeds} seed(s), {s.records} records, one in {s.every} steps",
        f"{edge:.2f}",
        f"{without:.2f} s",
        f"{with_:.2f} s",
        f"{with_ / without:.2f}x",
        f"±{100 * noise(seconds['with']):.0f}%",
        f"{statistics.mean(spent):.2f}",
        f"{statistics.median(spent):.0f}",
    ]


KINDS = {"without": False, "with": True}


def main() -> None:
    chosen = options(__doc__)
    limit_threads(chosen.threads)
    rows = [
        measure(s._replace(records=20) if chosen.quick else s, chosen.quick, chosen.threads)
        for s in SETTINGS
    ]
    columns = ["MLP 64-64, 500 digits", "step x sharpness at the end", "without", "with", "ratio"]
    columns += ["spread", "products/record", "median"]
    show(f"What the sharpness costs; {machine(chosen.threads)}", columns, rows)


if __name__ == "__main__":
    main()
