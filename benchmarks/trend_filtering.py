"""Kronecker trend filtering to a certified gap of 1e-6, and prediction on lattices of any size.

Data: a pyramid on a plane, in three dimensions a box on a slope, in noise 1/2. Peers are timed if
they are installed: cvxpy with Clarabel below 128 x 128.
"""

from __future__ import annotations

import importlib.util
import tracemalloc

import numpy as np
from timing import clock_for, limit_threads, machine, options, show

from thalweg.estimators import difference_operator, interpolate, pyramid_on_plane, trend_filter

CASES = (
    ((64, 64), 0, 0.7),
    ((64, 64), 1, 1.0),
    ((64, 64), 2, 1.5),
    ((128, 128), 0, 0.7),
    ((128, 128), 1, 1.5),
    ((128, 128), 2, 2.5),
    ((256, 256), 0, 0.7),
    ((32, 32, 32), 0, 0.4),
    ((64, 64, 64), 0, 0.4),
)
POINTS = 10_000


def data(shape: tuple[int, ...]) -> np.ndarray:
    """The truth in noise 1/2."""
    if len(shape) == 2:
        truth = pyramid_on_plane(shape[0])
    else:
        u, v, w = np.meshgrid(*[np.arange(1, n + 1) / n for n in shape], indexing="ij")
        inside = (abs(u - 0.3) < 0.12) & (abs(v - 0.3) < 0.12) & (abs(w - 0.3) < 0.12)
        truth = 4.0 * inside + 0.5 * u
    return truth + 0.5 * np.random.default_rng(0).normal(size=shape)


def clarabel(y: np.ndarray, penalty: float, order: int) -> None:
    """The same problem by an interior-point method."""
    import cvxpy

    x = cvxpy.Variable(y.size)
    norm = cvxpy.norm1(difference_operator(y.shape, order).sparse() @ x)
    cost = 0.5 * cvxpy.sum_squares(x - y.ravel()) + penalty * norm
    cvxpy.Problem(cvxpy.Minimize(cost)).solve(solver="CLARABEL")


def main() -> None:
    """Time fits and predictions."""
    asked = options(__doc__)
    limit_threads(asked.threads)
    clock = clock_for(asked.threads)
    print(machine(asked.threads))
    peer = importlib.util.find_spec("cvxpy") is not None
    rows = []
    for shape, order, penalty in CASES[:1] if asked.quick else CASES:
        y = data(shape)
        begun = clock()
        fit = trend_filter(y, penalty, order)
        seconds = clock() - begun
        tracemalloc.start()
        trend_filter(y, penalty, order, most_iterations=20)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        begun = clock()
        if small := peer and y.size <= 2**12:
            clarabel(y, penalty, order)
        other = f"{clock() - begun:.2f} s" if small else "not run"
        name = f"{' x '.join(map(str, shape))}, k = {order}"
        told = [f"{seconds:.2f} s", f"{fit.gap:.0e}", f"{fit.iterations}", f"{peak:.0f} MB", other]
        rows.append([name, *told])
    show("Fits", ["lattice", "time", "relative gap", "iterations", "memory", "Clarabel"], rows)
    rows = []
    at = np.random.default_rng(1).uniform(0.1, 0.9, size=(POINTS, 2))
    for side in (32, 128, 512, 2048):
        values, design = pyramid_on_plane(side), np.arange(1, side + 1) / side
        begun = clock()
        for _ in range(3):
            interpolate(at, values, 1, [design, design])
        rows.append([f"{side} x {side}", f"{(clock() - begun) / 3 / POINTS * 1e6:.2f} us"])
    show("Prediction between the points, k = 1", ["lattice", "a point"], rows)


if __name__ == "__main__":
    main()
