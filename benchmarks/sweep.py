"""A sweep of step sizes and seeds with sharpness on digits, against other ways to have the same.

The same members, seeds, steps and records are run as one sweep; as a `tw.run` each in one process,
which shares its compiled programs; as a process each, of which a few are run; and as plain loops,
one run after the other, in NumPy with the gradient by hand and, where it is installed, in PyTorch
with autograd. All must arrive at the same losses. The loops' sharpness is a warm power iteration
that ends, as ours, at a residual of a hundredth of the value; the errors of all against the dense
Hessian are told. Ours bounds at the first record what a search may have missed, which no loop does.

The map of regimes is then asked of the sweep, and held against comparisons of single runs, each
with a gradient flow of its own (of which a few are run). Compiling is counted where it says so: no
folder of compiled programs is used.

`python benchmarks/sweep.py workers [--quick]` holds the sweep in this process against one and two
workers of Dask, each of which compiles for itself, and looks that all have the same bits.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("JAX_COMPILATION_CACHE_DIR", "THALWEG_CACHE"):
    os.environ.pop(name, None)

import jax  # noqa: E402
import jax.flatten_util  # noqa: E402
import numpy as np  # noqa: E402
from timing import limit_threads, machine, options, show  # noqa: E402

import thalweg as tw  # noqa: E402
from thalweg.core.hessian_product import dense_hessian  # noqa: E402

Product = Callable[[Any], Any]

RECORDS = 10
TOLERANCE = 1e-2  # of the sharpness: where a residual ends its search, ours and theirs
MOST_PRODUCTS = 200
FEW = 3  # of what would take too long a hundred times


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

    def product(self, theta: np.ndarray) -> Product:
        """Hessian products by differences of gradients."""

        def apply(v: np.ndarray) -> np.ndarray:
            shift = 1e-5 * v
            ahead, back = (self.loss_and_gradient(theta + sign * shift)[1] for sign in (1, -1))
            return (ahead - back) / 2e-5

        return apply


def by_power(apply: Product, v: Any, norm: Callable[[Any], Any]) -> tuple[float, Any]:
    """The sharpness by a power iteration, and the vector to go on from."""
    value = 0.0
    for _ in range(MOST_PRODUCTS):
        v = v / norm(v)
        hv = apply(v)
        value = float(v @ hv)
        if float(norm(hv - value * v)) <= TOLERANCE * abs(value):
            break
        v = hv
    return value, v


def marks_of(steps: int) -> set[int]:
    return set(np.unique(np.round(np.linspace(0, steps, RECORDS + 1))).astype(int).tolist())


def by_numpy(net: Net, starts: list[np.ndarray], sizes: np.ndarray, steps: int) -> np.ndarray:
    """Loss and sharpness at the end, (sizes, seeds, 2)."""
    marks, ends = marks_of(steps), np.empty((len(sizes), len(starts), 2))
    for i, eta in enumerate(sizes):
        for j, start in enumerate(starts):
            theta, v = start.copy(), np.random.default_rng(0).normal(size=start.size)
            for step in range(steps + 1):
                loss, gradient = net.loss_and_gradient(theta)
                if step in marks:
                    value, v = by_power(net.product(theta), v, np.linalg.norm)
                if step < steps:
                    theta = theta - eta * gradient
            ends[i, j] = loss, value
    return ends


def by_torch(net: Net, starts: list[np.ndarray], sizes: np.ndarray, steps: int) -> np.ndarray:
    """The same in PyTorch, gradients and Hessian products by autograd."""
    import torch

    torch.set_num_threads(1)
    x, y = torch.tensor(net.x), torch.tensor(net.y)
    marks, ends = marks_of(steps), np.empty((len(sizes), len(starts), 2))

    def gradient_of(theta: Any, again: bool) -> tuple[Any, Any]:
        b1, w1, b2, w2 = (
            part.reshape(shape)
            for part, shape in zip(
                theta.split([int(np.prod(s)) for s in net.shapes]), net.shapes, strict=True
            )
        )
        logits = torch.tanh(x @ w1.T + b1) @ w2.T + b2
        loss = -(y * torch.log_softmax(logits, 1)).sum() / len(x)
        return loss, torch.autograd.grad(loss, theta, create_graph=again)[0]

    for i, eta in enumerate(sizes.tolist()):
        for j, start in enumerate(starts):
            theta = torch.tensor(start, requires_grad=True)
            v = torch.tensor(np.random.default_rng(0).normal(size=start.size))
            for step in range(steps + 1):
                loss, gradient = gradient_of(theta, step in marks)
                if step in marks:

                    def apply(v: Any, g: Any = gradient, at: Any = theta) -> Any:
                        return torch.autograd.grad(g, at, v, retain_graph=True)[0]

                    value, v = by_power(apply, v, torch.linalg.vector_norm)
                if step < steps:
                    theta = (theta - eta * gradient).detach().requires_grad_()
            ends[i, j] = float(loss.detach()), value
    return ends


def compared(on: tw.problems.Problem, eta: float, seed: int, steps: int) -> tw.Comparison:
    """One member as `tw.diagnose` takes it: a run, a flow of its own, the comparison."""
    descent = alone(on, eta, seed, steps)
    times = descent.dataset["time"].values
    flow = tw.run(on, tw.gradient_flow(error=1e-4), times=times, seeds=[seed])
    return tw.compare(descent, flow)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    begun = spent()
    found = function()
    return found, spent() - begun


def workers(quick: bool) -> None:
    """This process, then one and two workers of Dask: processor, seconds, the same bits."""
    count, seeds, steps, samples = (3, 2, 20, 50) if quick else (20, 5, 200, 100)
    sizes, on, rows, first = np.geomspace(0.01, 0.3, count), problem(samples), [], None
    for name, number in (("this process", None), ("one worker", 1), ("two workers", 2)):
        clock = time.perf_counter()
        found, seconds = timed(
            lambda number=number: tw.sweep(
                on, tw.gradient_descent, step_size=sizes, steps=steps, records=RECORDS,
                seeds=seeds, workers=number, progress=False,
            )
        )  # fmt: skip
        clock = time.perf_counter() - clock
        first = found.dataset if first is None else first
        same = "yes" if found.dataset.drop_attrs().identical(first.drop_attrs()) else "no"
        rows.append([name, f"{seconds:.1f}", f"{clock:.1f}", same])
    print(machine(1))
    title = f"{count} step sizes x {seeds} seeds, compiling"
    show(title, ["by", "processor", "seconds", "the same bits"], rows)


def main() -> None:
    if sys.argv[1:2] == ["workers"]:
        workers("--quick" in sys.argv)
        return
    if sys.argv[1:2] == ["one"]:
        eta, seed, steps, samples = float(sys.argv[2]), *map(int, sys.argv[3:])
        alone(problem(samples), eta, seed, steps)
        return
    asked = options(__doc__)
    quick = asked.quick
    limit_threads(asked.threads)
    count, seeds, steps, samples = (3, 2, 20, 50) if quick else (20, 5, 200, 100)
    samples = int(os.environ.get("SAMPLES", samples))
    sizes, total = np.geomspace(0.01, 0.3, count), count * seeds
    on = problem(samples)

    def one_sweep(sizes: np.ndarray) -> tw.Sweep:
        return tw.sweep(
            on, tw.gradient_descent, step_size=sizes, steps=steps, records=RECORDS, seeds=seeds
        )

    found, first = timed(lambda: one_sweep(sizes))
    again = timed(lambda: one_sweep(1.001 * sizes))[1]  # programs are there
    regimes, mapped = timed(found.regimes)
    losses, sharp = (found.dataset[name].values[..., -1] for name in ("loss", "sharpness"))
    starts = [found.member(0).parameters.values[seed, 0] for seed in range(seeds)]

    def all_alone() -> np.ndarray:
        runs = [[alone(on, eta, seed, steps) for seed in range(seeds)] for eta in sizes]
        return np.asarray([[run.dataset["loss"].values[0, -1] for run in row] for row in runs])

    jax.clear_caches()
    single, together = timed(all_alone)
    np.testing.assert_allclose(losses, single, rtol=1e-6)
    jax.clear_caches()
    few = 1 if quick else FEW
    compared(on, 0.1, 0, steps)
    each = timed(lambda: [compared(on, sizes[-1 - i], 0, steps) for i in range(few)])[1] / few
    process = [sys.executable, str(Path(__file__)), "one", "0.1", "0", str(steps), str(samples)]
    started = timed(lambda: subprocess.run(process, check=True))[1]

    net = Net(samples)
    rows = [
        ["one sweep, compiling", f"{first:.1f}", "1"],
        ["a further sweep", f"{again:.2f}", f"{again / first:.2f}"],
        [f"{total} runs in one process, compiling", f"{together:.1f}", f"{together / first:.1f}"],
        [f"{total} processes (1 run)", f"{started * total:.0f}", f"{started * total / first:.0f}"],
    ]
    errors = [["sweep", sharp]]
    for name, loop in (("NumPy", by_numpy), ("PyTorch", by_torch)):
        try:
            ends, seconds = timed(lambda loop=loop: loop(net, starts, sizes, steps))
        except ImportError:
            rows.append([f"{name} loop", "not installed", ""])
            continue
        np.testing.assert_allclose(ends[..., 0], losses, rtol=1e-6)  # the same paths
        rows.append([f"{name} loop", f"{seconds:.1f}", f"{seconds / first:.2f}"])
        errors.append([name, ends[..., 1]])
    print(machine(asked.threads))
    title = (
        f"{count} step sizes x {seeds} seeds, {steps} steps, {RECORDS} records, {samples} digits"
    )
    show(title, ["way", "seconds", "over one sweep"], rows)
    whole, comparisons = first + mapped, each * total
    rows = [
        ["a sweep and its map of regimes, compiling", f"{whole:.1f}", "1"],
        ["the map alone", f"{mapped:.1f}", f"{mapped / whole:.2f}"],
        [f"{total} comparisons ({few} run, programs there)", f"{comparisons:.0f}",
         f"{comparisons / whole:.1f}"],
    ]  # fmt: skip
    show("beside gradient flow", ["way", "seconds", "over the first"], rows)
    checked = [(0, 0), (count // 2, seeds - 1), (count - 1, 0)]
    exact = []
    for member, seed in checked:
        theta = found.member(member).parameters.values[seed, -1]
        flat = jax.flatten_util.ravel_pytree(on.init(jax.random.key(0)))[1](theta)
        exact.append(float(np.linalg.eigvalsh(np.asarray(dense_hessian(on.objective, flat)))[-1]))
    told = [
        [name, f"{max(abs(v[at] / e - 1) for at, e in zip(checked, exact, strict=True)):.0e}"]
        for name, v in errors
    ]
    show("sharpness at the end of three runs against the dense Hessian", ["way", "off by"], told)
    print(regimes)


if __name__ == "__main__":
    main()
