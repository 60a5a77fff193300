"""What a deep matrix factorisation costs from a small start: descent, flow, stabilised descent.

Completion of a 100x100 matrix of rank 5 from 2000 entries at depth 3, Gaussian start of scale 1e-2.
For each method: gradients and seconds to a mean square of 1e-6 on the entries seen, and the mean
square over all entries there. Equal loss is not an equal result: only methods that stay near
gradient flow end where small steps of descent do.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from timing import limit_threads, machine, options, show

import thalweg as tw
from thalweg.core.spectra import layer_product
from thalweg.driver.until import Stopped, advance_until, descend_until
from thalweg.models import layer_weights
from thalweg.problems.matrix_sensing import (
    MatrixFactorisation,
    low_rank_matrix,
    observed_entries,
)

LEVEL = 1e-6
RATES = (0.4, 0.2, 0.1)
MOST = 500_000


def main() -> None:
    chosen = options(__doc__)
    limit_threads(chosen.threads)
    side, rank, seen = (16, 1, 100) if chosen.quick else (100, 5, 2000)
    most = 20_000 if chosen.quick else MOST
    truth = low_rank_matrix(jax.random.key(0), side, side, rank)
    observed = observed_entries(jax.random.key(1), truth, seen)
    problem = MatrixFactorisation(observed, 3, 1e-2)
    start = problem.init(jax.random.key(2))

    def descent(rate: float, most: int) -> Stopped:
        size = jnp.asarray(rate)
        return descend_until(tw.gradient_descent, size, problem, start, LEVEL, most)

    def process(dynamics: tw.dynamics.Continuous, most: int) -> Stopped:
        return advance_until(dynamics, problem, start, LEVEL, most)

    contestants: dict[str, Callable[[int], Stopped]] = {
        **{f"descent, step {rate}": lambda n, r=rate: descent(r, n) for rate in RATES},
        "gradient flow, error 1e-2": lambda n: process(tw.gradient_flow(error=1e-2), n),
        "stabilised descent": lambda n: process(tw.stabilised_descent(), n),
    }
    rows = []
    for name, work in contestants.items():
        work(1)  # compiles
        begun = time.perf_counter()
        end = jax.block_until_ready(work(most))
        seconds = time.perf_counter() - begun
        W = layer_product(layer_weights(end.params))
        rows.append(
            [
                name,
                f"{int(end.evaluations):,}",
                f"{seconds:.2f} s",
                f"{float(end.loss):.1e}" + ("" if end.reached else " (not reached)"),
                f"{float(jnp.mean((W - truth) ** 2)):.1e}",
            ]
        )
    title = f"{side}x{side}, rank {rank}, {seen} entries, depth 3; {machine(chosen.threads)}"
    show(title, ["method", "gradients", "seconds (wall)", "mean square seen", "all entries"], rows)


if __name__ == "__main__":
    main()
