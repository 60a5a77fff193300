"""What gradient flow costs, and whether its estimate of the path error is honest.

Problem S1: MLP 32-32 tanh, 200 digits, squared error. For each solver and request: gradients spent
(the companion path included), seconds, the true error against a reference of dopri8 at rtol 1e-10,
the error that was reported, and their ratio at the recorded times, smallest to largest.
"""

from __future__ import annotations

import time

import numpy as np
from timing import limit_threads, machine, options, show

import thalweg as tw

REQUESTS: list[tuple[str, dict[str, float]]] = [
    *[("auto", {"error": error}) for error in (1e-2, 1e-3, 1e-4)],
    *[("rkc2", {"error": error}) for error in (1e-2, 1e-3)],
    *[(solver, {"rtol": rtol}) for solver in ("tsit5", "bosh3") for rtol in (1e-4, 1e-6)],
    ("dopri8", {"rtol": 1e-6}),
]


def measure(
    problem: tw.problems.Problem, times: np.ndarray, exact: np.ndarray, solver: str, asked: dict
) -> list[str]:
    flow = tw.gradient_flow(solver=solver, **asked)
    tw.run(problem, flow, times=times[:2])
    begun = time.perf_counter()
    run = tw.run(problem, flow, times=times)
    seconds = time.perf_counter() - begun
    true = np.linalg.norm(run.parameters.values[0] - exact, axis=1)[1:]
    told = run.dataset["path_error"].values[0, 1:]
    sizes = np.linalg.norm(exact, axis=1)[1:]
    ratio = told / true
    ((what, value),) = asked.items()
    return [
        solver,
        f"{what} {value:.0e}",
        f"{int(run.dataset['evaluations'][0, -1]):,}",
        f"{seconds:.2f} s",
        f"{np.max(true / sizes):.1e}",
        f"{np.max(told / sizes):.1e}",
        f"{np.median(ratio):.2g} ({ratio.min():.2g} to {ratio.max():.2g})",
    ]


def main() -> None:
    chosen = options(__doc__)
    limit_threads(chosen.threads)
    horizon = 5.0 if chosen.quick else 100.0
    times = np.concatenate([[0.0], horizon * np.geomspace(1 / 128, 1, 12)])
    model = tw.models.mlp([32, 32], "tanh")
    problem = tw.problems.digits(model, "squared-error", samples=200)
    reference = tw.run(problem, tw.gradient_flow(1e-10, "dopri8"), times=times)
    exact = reference.parameters.values[0]
    requests = REQUESTS[:1] + REQUESTS[-1:] if chosen.quick else REQUESTS
    rows = [measure(problem, times, exact, solver, asked) for solver, asked in requests]
    own = float(np.max(reference.dataset["path_error"].values[0] / np.linalg.norm(exact, axis=1)))
    title = f"Gradient flow of S1 to time {horizon:g}; {machine(chosen.threads)} but for seconds; "
    title += f"errors relative to the parameters, largest over 12 times; reference {own:.0e}"
    columns = ["solver", "asked", "gradients", "wall", "true error", "reported", "reported/true"]
    show(title, columns, rows)


if __name__ == "__main__":
    main()
