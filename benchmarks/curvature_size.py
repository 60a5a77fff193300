"""How large a net can be for its five largest Hessian eigenvalues to take under a minute.

Each size in a process of its own, so that its peak of memory is its own; float32, residuals at
most 1e-4 of the largest eigenvalue, the check for missed eigenvalues included.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

from timing import limit_threads, machine, options, show

SIZES = [(256, 1000), (1024, 1000), (2048, 1000), (3072, 1000), (1024, 10_000)]  # width, examples


def one(width: int, examples: int) -> dict[str, float]:
    """Seconds, products, residual and memory at one size."""
    import jax
    import numpy as np

    import thalweg as tw

    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(examples, 256)), rng.integers(0, 10, examples)
    net = tw.models.mlp([width, width], "tanh")
    problem = tw.problems.supervised(
        net, (x, labels), precision="float32", microbatch=1000 if examples > 1000 else None
    )
    params = problem.init(jax.random.key(0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    found = tw.curvature.top_k(tw.curvature.hessian(problem, params), 5, jax.random.key(1))
    found.values.block_until_ready()
    return {
        "parameters": float(sum(leaf.size for leaf in jax.tree.leaves(params))),
        "seconds": time.perf_counter() - begun,
        "products": float(found.products),
        "residual": float((found.residuals / found.values[0]).max()),
        "memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def main() -> None:
    """Print the table."""
    if len(sys.argv) == 3 and sys.argv[1].isdigit():
        print(json.dumps(one(int(sys.argv[1]), int(sys.argv[2]))))
        return
    asked = options(__doc__)
    limit_threads(asked.threads)
    rows = []
    for width, examples in SIZES[:1] if asked.quick else SIZES:
        command = [sys.executable, __file__, str(width), str(examples)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        got = json.loads(told.splitlines()[-1])
        rows.append(
            [
                f"{got['parameters']:,.0f}",
                f"{examples:,}",
                f"{got['seconds']:.0f} s",
                f"{got['products']:.0f}",
                f"{got['residual']:.0e}",
                f"{got['memory']:.0f} MB",
                f"{got['memory'] * 2**20 / 4 / got['parameters']:.0f}",
            ]
        )
    columns = ["parameters", "examples", "time with compilation", "products", "worst residual"]
    columns += ["memory on top", "vectors of memory"]
    show(f"Top 5, MLP, float32; {machine(asked.threads)}", columns, rows)


if __name__ == "__main__":
    main()
