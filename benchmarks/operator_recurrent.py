"""Learning volumes from Neumann-to-Dirichlet maps: what training an operator recurrent net costs.

Five layers of width 40, batches of 50, Adam: experiment B of the study, in either precision, beside
an MLP of 100-100-100 on the response. Steps are timed in a second run, when all is compiled.
"""

from __future__ import annotations

import jax
import optax
from timing import clock_for, limit_threads, machine, options, show

from thalweg.driver.path import paths
from thalweg.dynamics import optax_dynamics
from thalweg.models import OperatorRecurrent, mlp
from thalweg.problems import supervised, volume_data, wave_media

MEDIA, BATCH = 2000, 50


def main() -> None:
    """Time compilation and steps."""
    asked = options(__doc__)
    limit_threads(asked.threads)
    clock = clock_for(asked.threads)
    print(machine(asked.threads))
    steps = (2 if asked.quick else 60) * MEDIA // BATCH
    media = wave_media(jax.random.key(0), MEDIA)
    maps = volume_data(media)
    heard = (media.responses, maps.targets)
    rows = []
    for name, model, data in (
        ("operator recurrent", OperatorRecurrent(5), maps),
        ("MLP on the response", mlp([100, 100, 100], "relu"), heard),
    ):
        for precision in ("float64", "float32"):
            problem = supervised(model, data, precision=precision)
            adam = optax_dynamics(optax.adam(1e-3), 1e-3, batch=BATCH)
            spans, begun = [], clock()
            for seed in range(2):
                start = problem.init(jax.random.key(seed))
                found = paths(adam, problem, start, steps, 1, key=jax.random.key(seed), over=[])
                jax.block_until_ready(found.seen)
                spans.append(clock() - begun)
                begun = clock()
            loss = float(2 * problem.objective(jax.tree.map(lambda a: a[-1], found.seen)))
            rows.append(
                [
                    name, precision, f"{spans[0] - spans[1]:.1f} s", f"{spans[1]:.2f} s",
                    f"{1e6 * spans[1] / steps:.0f} us", f"{loss:.1e}",
                ]
            )  # fmt: skip
    show(
        "Operator recurrent nets",
        ["net", "precision", "compilation", f"{steps} steps", "a step", "training error"],
        rows,
    )


if __name__ == "__main__":
    main()
