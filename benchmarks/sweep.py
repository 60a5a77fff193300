"""A sweep of step sizes and seeds with sharpness on digits, against other ways to have the same.

The same members, seeds, steps and records are run as one sweep; as a `tw.run` each in one process,
which shares its compiled programs; as a process each, of which a few are run and the time of all
is told in proportion; and as a plain NumPy loop with the same gradient by hand and a power
iteration of Hessian products for the sharpness, one run after the other. All arrive at the same
losses. Compiling is counted: no folder of compiled programs is used.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

for name in ("JAX_COMPILATION_CACHE_DIR", "THALWEG_CACHE"):
    os.environ.pop(name, None)

import numpy as np  # noqa: E402
from timing import limit_threads, machine, options, show  # noqa: E402

import thalweg as tw  # noqa: E402

RECORDS = 10
PRODUCTS = 8  # of a power iteration, warm from record to record


def problem(samples: int) -> tw.problems.Supervised:
    return tw.problems.digits(tw.models.mlp([16], "tanh"), "cross-entropy", samples=samples)


def alone(on: tw.problems.Problem, eta: float, seed: int, steps: int) -> tw.Trajectory:
    times = eta * np.unique(np.round(np.linspace(0, steps, RECORDS + 1)))
    return tw.run(on, tw.gradient_descent(eta), times=times, seeds=[seed], probes="sharpness")


def spent() -> float:
    """Processor seconds of this process and of those that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Net:
    """The same network and loss in NumPy; parameters as the trajectory holds them, flat."""

    def __init__(self, samples: int) -> None:
        self.x = np.asarray(problem(samples).inputs)
        self.y = np.asarray(problem(samples).targets)
        self.shapes = [(16,), (16, 64), (10,), (10, 16)]

    def parts(self, theta: np.ndarray) -> list[np.ndarray]:
        sizes = np.cumsum([int(np.prod(s)) for s in self.shapes])[:-1]
        return [p.reshape(s) for p, s in zip(np.split(theta, sizes), self.shapes, strict=True)]

    def loss_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        b1, w1, b2, w2 = self.parts(theta)
        h = np.tanh(self.x @ w1.T + b1)
        z = h @ w2.T + b2
        z = z - z.max(1, keepdims=True)
        log = z - np.log(np.exp(z).sum(1, keepdims=True))
        loss = -np.sum(self.y * log) / len(self.x)
        dz = (np.exp(log) - self.y) / len(self.x)
        dh = (dz @ w2) * (1 - h**2)
        parts = (dh.sum(0), dh.T @ self.x, dz.sum(0), dz.T @ h)
        return loss, np.concatenate([p.ravel() for p in parts])

    def sharpness(self, theta: np.ndarray, v: np.ndarray) -> tuple[float, np.ndarray]:
        value = 0.0
        for _ in range(PRODUCTS):
            v = v / np.linalg.norm(v)
            shift = 1e-5 * v
            hv = self.loss_and_gradient(theta + shift)[1] - self.loss_and_gradient(theta - shift)[1]
            hv = hv / 2e-5
            value, v = float(v @ hv), hv
        return value, v


def by_numpy(net: Net, starts: list[np.ndarray], sizes: np.ndarray, steps: int) -> np.ndarray:
    marks = set(np.unique(np.round(np.linspace(0, steps, RECORDS + 1))).astype(int).tolist())
    ends = np.empty((len(sizes), len(starts)))
    for i, eta in enumerate(sizes):
        for j, start in enumerate(starts):
            theta, v = start.copy(), np.random.default_rng(0).normal(size=start.size)
            for step in range(steps + 1):
                loss, gradient = net.loss_and_gradient(theta)
                if step in marks:
                    _, v = net.sharpness(theta, v)
                if step < steps:
                    theta = theta - eta * gradient
            ends[i, j] = loss
    return ends


def main() -> None:
    if sys.argv[1:2] == ["one"]:
        eta, seed, steps, samples = float(sys.argv[2]), *map(int, sys.argv[3:])
        alone(problem(samples), eta, seed, steps)
        return
    asked = options(__doc__)
    quick = asked.quick
    limit_threads(asked.threads)
    count, seeds, steps, samples = (3, 2, 20, 50) if quick else (20, 5, 200, 100)
    sizes = np.geomspace(0.01, 0.3, count)
    on = problem(samples)
    begun = spent()
    found = tw.sweep(
        on, tw.gradient_descent, step_size=sizes, steps=steps, records=RECORDS,
        seeds=seeds,
    )  # fmt: skip
    ours = spent() - begun
    begun = spent()
    single = [[alone(on, eta, seed, steps) for seed in range(seeds)] for eta in sizes]
    together = spent() - begun
    losses = np.asarray([[run.dataset["loss"].values[0, -1] for run in row] for row in single])
    ends = found.dataset["loss"].values[..., -1]
    np.testing.assert_allclose(ends, losses, rtol=1e-6)

    net, starts = Net(samples), [run.parameters.values[0, 0] for run in single[0]]
    begun = spent()
    plain = by_numpy(net, starts, sizes, steps)
    numpy = spent() - begun
    np.testing.assert_allclose(plain, ends, rtol=1e-6)  # the same paths

    few = 1 if quick else 3
    begun = spent()
    for seed in range(few):
        command = [sys.executable, str(Path(__file__)), "one", "0.1", str(seed), str(steps)]
        subprocess.run([*command, str(samples)], check=True)
    each = (spent() - begun) / few
    total = count * seeds
    rows = [
        ["one sweep", f"{ours:.1f}", "1"],
        [f"{total} runs in one process", f"{together:.1f}", f"{together / ours:.1f}"],
        [f"{total} processes ({few} run)", f"{each * total:.0f}", f"{each * total / ours:.0f}"],
        ["NumPy loop", f"{numpy:.1f}", f"{numpy / ours:.1f}"],
    ]
    print(machine(asked.threads))
    title = (
        f"{count} step sizes x {seeds} seeds, {steps} steps, {RECORDS} records, {samples} digits"
    )
    show(title, ["way", "seconds", "over one sweep"], rows)


if __name__ == "__main__":
    main()
