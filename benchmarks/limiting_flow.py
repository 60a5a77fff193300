"""The limiting flow of label-noise descent against that descent, for the same slow time.

    python benchmarks/limiting_flow.py [--quick] [--threads N]

d = 60, n = 30: y = Z w*, outputs Z (u^2 - v^2), squared error, the noise of one random label. Both
begin on the manifold of exact fits; the clock is T = eta^2 k with eta = 0.003. Gradients and CPU
time, compiled before, and how far the trace of the Hessian has fallen at the end.
"""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
from timing import limit_threads, machine, options

import thalweg as tw

STEPS = 222_222
ETA, SIGMA = 0.003, 1.0


def main(steps: int) -> None:
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(30, 60))
    w = np.zeros(60)
    w[:3] = 1, -1, 1
    problem = tw.problems.over_parametrised_linear(Z, Z @ w)
    start = problem.init(jax.random.key(0))
    for _ in range(20):
        start = tw.curvature.retracted(problem, start)
    noise = tw.oracles.label_noise(SIGMA, single=True, law="sign")
    T = ETA**2 * steps
    flow = tw.dynamics.limiting_flow(noise, error=1e-3)
    print(f"slow time {T:.3g}: {steps:,} steps; a speed of the flow counts ", end="")
    print(f"{flow.each(problem, start)} gradients")
    before = float(tw.problems.fitted_trace(problem, start))
    contestants = {
        "descent": (tw.gradient_descent(ETA, oracle=noise), ETA * steps),
        "limiting flow": (flow, T),
    }
    spent, seconds = {}, {}
    for name, (dynamics, until) in contestants.items():
        for _ in range(2):
            begun = time.process_time()
            run = tw.run(problem, dynamics, start=start, until=until, records=1, progress=False)
            seconds[name] = time.process_time() - begun
        end = tw.problems.problem.unraveller(problem)(jnp.asarray(run.parameters.values[0, -1]))
        spent[name] = float(run.dataset["evaluations"][0, -1])
        trace = float(tw.problems.fitted_trace(problem, end))
        print(
            f"  {name:<14} {spent[name]:12,.0f} gradients {seconds[name]:8.3f} CPU s, trace of the "
            f"Hessian {before:.4g} -> {trace:.4g}, result {int(run.dataset['result'].max())}"
        )
    gradients, cpu = (
        by["limiting flow"] / by["descent"] for by in (spent, seconds)
    )  # fmt: skip
    print(f"  flow over descent: gradients {gradients:.4f}, CPU time {cpu:.2f}")


if __name__ == "__main__":
    asked = options(__doc__)
    limit_threads(asked.threads)
    print(machine(asked.threads))
    main(20_000 if asked.quick else STEPS)
