"""Noisy steps: one run of label noise, mini-batches of digits, and thousands of runs at once.

    python benchmarks/noise.py [--quick] [--threads N]

Each case runs through `tw.run`, compiled before, beside a NumPy loop of the same work in the same
process; CPU time (all threads) and wall time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from timing import limit_threads, machine, options

import thalweg as tw

STEPS = 222_222
ETA = 0.003


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def told(name: str, count: float, unit: str, work: Callable[[], object]) -> None:
    cpu, wall = seconds(work)
    print(
        f"{name:<40} {count / cpu:12,.0f} {unit}/CPU s {count / wall:12,.0f} {unit}/s", flush=True
    )


def label_noise() -> None:
    """d = 60, n = 30: the full gradient and the noise of one random example."""
    z = np.random.default_rng(0).normal(size=(30, 60))
    w = np.zeros(60)
    w[:3] = 1, -1, 1
    y = z @ w

    def outputs(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return (x @ (params["u"] ** 2 - params["v"] ** 2))[:, None]

    def square(output: jax.Array, target: jax.Array) -> jax.Array:
        return jnp.sum((output - target) ** 2)

    model = tw.models.Applied(
        outputs, start={"u": jnp.ones(60), "v": jnp.ones(60)}, is_separable=True, is_smooth=True
    )
    problem = tw.problems.supervised(model, (z, y[:, None]), square)
    noise = tw.oracles.label_noise(1.0, single=True, law="sign")
    descent = tw.gradient_descent(ETA, oracle=noise)

    def run(steps: int) -> None:
        tw.run(problem, descent, until=ETA * steps, records=1, parameters=False, progress=False)

    def loop(steps: int) -> None:
        rng = np.random.default_rng(1)
        rows, signs = rng.integers(0, 30, steps), rng.choice([-1.0, 1.0], steps)
        u, v = np.ones(60), np.ones(60)
        for i, s in zip(rows.tolist(), signs.tolist(), strict=True):
            r = z @ (u * u - v * v) - y
            pull = z.T @ (2 / 30 * r) - 2 * s * z[i]
            u, v = u - 2 * ETA * pull * u, v + 2 * ETA * pull * v

    cpu, wall = seconds(lambda: run(STEPS))
    print(f"with compilation: {cpu:.2f} CPU s, {wall:.2f} s")
    told("label noise, run", STEPS, "steps", lambda: run(STEPS))
    plain = tw.gradient_descent(ETA)
    tw.run(problem, plain, until=ETA * 10, records=1, parameters=False, progress=False)
    told(
        "no noise, run",
        STEPS,
        "steps",
        lambda: tw.run(
            problem, plain, until=ETA * STEPS, records=1, parameters=False, progress=False
        ),
    )
    told("label noise, NumPy", STEPS / 10, "steps", lambda: loop(STEPS // 10))


def batches() -> None:
    """Mini-batches of 32 of 1,000 digits, MLP 64-64, float32."""
    problem = tw.problem("digits", samples=1000, model="mlp:64-64", precision="float32")
    steps = STEPS // 20
    for name, batch in (("in batches of 32, run", 32), ("one batch at a time", None)):
        here = problem if batch else problem.on(jnp.arange(32))
        descent = tw.dynamics.optimiser("sgd", 0.01, batch=batch)

        def run(count: int, here=here, descent=descent) -> None:
            tw.run(here, descent, until=0.01 * count, records=1, parameters=False, progress=False)

        run(100)
        told(name, steps, "steps", lambda run=run: run(steps))


def ensemble() -> None:
    """4,000 runs in two dimensions, L = (1 + x^2) y^2/2, noise on both coordinates."""
    lanes, steps = 4000, STEPS // 100

    def valley(p: jax.Array) -> jax.Array:
        return 0.5 * (1 + p[0] ** 2) * p[1] ** 2

    problem = tw.problems.Function(valley, start=jnp.array([1.5, 0.0]))
    descent = tw.gradient_descent(0.05, oracle=tw.oracles.isotropic(1.0))

    def run(count: int) -> None:
        tw.run(
            problem, descent, until=0.05 * count, records=1, seeds=lanes, parameters=False,
            progress=False,
        )  # fmt: skip

    def loop(count: int) -> None:
        rng = np.random.default_rng(1)
        x, y = np.full(lanes, 1.5), np.zeros(lanes)
        for _ in range(count):
            xi = rng.standard_normal((2, lanes))
            x, y = x - 0.05 * (x * y * y + xi[0]), y - 0.05 * ((1 + x * x) * y + xi[1])

    run(100)
    told("4,000 runs, run", lanes * steps, "run-steps", lambda: run(steps))
    told("4,000 runs, NumPy", lanes * steps / 4, "run-steps", lambda: loop(steps // 4))


if __name__ == "__main__":
    asked = options(__doc__)
    limit_threads(asked.threads)
    STEPS = 4000 if asked.quick else STEPS
    print(machine(asked.threads))
    for case in (label_noise, batches, ensemble):
        case()
