"""Crossprop on a stream, an example at a time, against a bare compiled loop and one in NumPy.

    python benchmarks/crossprop.py [--quick] [--threads N]

The GEOFF stream at its full size, a net 20-500-1 of tanh units, float32. All walk the same examples
from the same weights and must arrive at the same place. The bare loop holds the hidden weights with
the units last and keeps no record; ours also sums losses and mistakes and counts. Microseconds an
example of processor time, contestants in turn, medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import limit_threads, machine, options, show

import thalweg as tw
from thalweg.driver.lanes import take_steps

ETA = 1e-4
RUNS = 30  # one after the other in one program


def by_numpy(x: np.ndarray, y: np.ndarray, params: Any, steps: int) -> np.ndarray:
    (first, last), eta = jax.tree.map(np.array, params), np.float32(ETA)
    U, c, w, b = first["weight"], first["bias"], last["weight"][0], last["bias"][0]
    h, hb = np.zeros_like(U), np.zeros_like(c)
    for k in range(steps):
        at = x[k % len(x)]
        phi = np.tanh(U @ at + c)
        e = y[k % len(x), 0] - (w @ phi + b)
        steered, driven, kept = eta * e * phi, eta * e * (1 - phi**2), 1 - eta * phi**2
        U += steered[:, None] * h
        c += steered * hb
        h *= kept[:, None]
        h += np.outer(driven, at)
        hb *= kept
        hb += driven
        w += eta * e * phi
        b += eta * e
    return U


@jax.jit
def bare(x: Any, y: Any, params: Any, steps: Any) -> Any:
    first, last = params
    eta = jnp.asarray(ETA, x.dtype)

    def body(k: Any, carried: Any) -> Any:
        U, c, w, b, h, hb = carried
        at = x[k % len(x)]
        phi = jnp.tanh(at @ U + c)
        e = y[k % len(x), 0] - (w @ phi + b)
        steered, driven, kept = eta * e * phi, eta * e * (1 - phi**2), 1 - eta * phi**2
        U, c = U + steered * h, c + steered * hb
        driven = driven + 0 * U[0, 0]  # the trace after the weights: it is updated in place
        h, hb = h * kept + at[:, None] * driven, hb * kept + driven
        return U, c, w + eta * e * phi, b + eta * e, h, hb

    U = first["weight"].T
    start = (U, first["bias"], last["weight"][0], last["bias"][0])
    nothing = jnp.zeros_like(U), jnp.zeros_like(first["bias"])
    return jax.lax.fori_loop(0, steps, body, (*start, *nothing))[0].T


def main(steps: int, rounds: int) -> None:
    problem = tw.problems.geoff_stream(stages=("A",), length=2000)
    params = problem.init(jax.random.key(0))
    learner = tw.dynamics.online(tw.dynamics.crossprop(ETA))
    begin = learner.init(problem, params)
    x, y = problem.inputs, problem.targets
    on_numpy = np.asarray(x), np.asarray(y)

    def ours(lanes: int, count: int) -> Any:
        states = jax.tree.map(lambda a: jnp.stack([a] * lanes), begin)
        keys = jax.vmap(jax.random.key)(jnp.arange(lanes))
        how = "single" if lanes == 1 else "map"
        after = take_steps(problem, learner, states, keys, np.asarray(count), how)
        return jax.block_until_ready(after.params[0]["weight"][0])

    each = max(steps // RUNS, 1)
    ways: dict[str, tuple[int, Callable[[], Any]]] = {
        "a bare compiled loop": (
            steps,
            lambda: jax.block_until_ready(bare(x, y, params, steps)),
        ),
        "thalweg": (steps, lambda: ours(1, steps)),
        f"thalweg, {RUNS} runs one after the other": (RUNS * each, lambda: ours(RUNS, each)),
        "NumPy loop": (steps, lambda: by_numpy(*on_numpy, params, steps)),
    }
    ends = {name: np.asarray(way()) for name, (_, way) in ways.items()}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (count, way) in ways.items():
            begun = time.process_time()
            way()
            spent[name].append(1e6 * (time.process_time() - begun) / count)
    for name in ("thalweg", "NumPy loop"):
        np.testing.assert_allclose(ends[name], ends["a bare compiled loop"], atol=1e-5)
    medians = {name: float(np.median(times)) for name, times in spent.items()}
    least = medians["a bare compiled loop"]
    rows = [[name, f"{m:.1f}", f"{m / least:.2f}"] for name, m in medians.items()]
    show("GEOFF, 20-500-1", ["way", "microseconds an example", "over the bare loop"], rows)


if __name__ == "__main__":
    asked = options(__doc__)
    limit_threads(asked.threads)
    print(machine(asked.threads))
    main(*((300, 2) if asked.quick else (4000, 7)))
