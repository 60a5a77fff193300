"""K-FAC against tuned Nesterov momentum, Adam and SOAP on an autoencoder of digits.

    python benchmarks/kfac.py [--quick] [--threads N]

All in one process, each from the same start on all 1797 images in float64: the objective after
iterations and after CPU seconds, iterations and CPU seconds to targets, milliseconds an iteration,
CPU seconds to the end of the first step (compilation in it), and the growth of the process's peak
memory, which what ran before has raised already. Rates of the first-order methods are the best of
a grid at the last iteration. h has a floor of 13.66, the entropy of grey pixels.

SOAP is that of `pytorch_optimizer` 4.1, in PyTorch: its row is there where both are installed.

kfac-jax 0.0.8 does not run on the JAX that thalweg needs. It is raced, in its own process, where
KFAC_JAX_PYTHON names the Python of an environment with it and JAX 0.9.0, its damping the best found
by hand (`peers/kfac_jax_steps.py`).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from timing import limit_threads, machine, options, show

import thalweg as tw
from thalweg.core.compiling import QUICKEST, QuickToCompile
from thalweg.dynamics import Discrete
from thalweg.studies.martens2015_kfac.training import (
    L2,
    RATES,
    WIDTHS,
    digits,
    method,
    problem_of,
    sparse_start,
)

PEER = "KFAC_JAX_PYTHON"
AT = (20, 50, 80, 100, 160, 200)
TARGETS = (17.0, 16.0, 15.71, 15.41)
SOAP_RATES = (1e-2, 3e-2, 1e-1)


class Run(NamedTuple):
    """h after each iteration, CPU seconds up to it, and megabytes by which the peak grew."""

    h: np.ndarray
    seconds: np.ndarray
    megabytes: float

    def first(self, target: float) -> int | None:
        """The first iteration below a target."""
        below = self.h < target
        return int(np.argmax(below)) if below.any() else None

    @property
    def pace(self) -> float:
        """Milliseconds of CPU an iteration, the median."""
        return float(1e3 * np.median(np.diff(self.seconds[1:])))


def peak() -> float:
    """Of the process, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(dynamics: Discrete, problem: Any, start: Any, count: int) -> Run:
    """Step by step; h is what each step itself computes of where it begins."""
    before, begun = peak(), time.process_time()
    key = jax.random.key(0)

    def taken(problem: Any, state: Any, k: Any) -> Any:
        return dynamics.step(problem, state, jax.random.fold_in(key, k))

    # As runs compile it.
    large = dynamics.long_to_compile
    step: Any = QuickToCompile(taken, QUICKEST) if large else jax.jit(taken)

    state, h, seconds = dynamics.init(problem, start), [], [0.0]
    for k in range(count):
        state, info = step(problem, state, np.asarray(k))
        h.append(float(info.loss))
        seconds.append(time.process_time() - begun)
    h.append(float(problem.objective(state.params)))
    return Run(np.array(h), np.array(seconds), peak() - before)


def soap(images: np.ndarray, start: Any, rate: float, count: int) -> Run:
    """SOAP of `pytorch_optimizer` with beta_1 = 0.9, on the same net, loss and start."""
    import torch
    from pytorch_optimizer import SOAP

    torch.set_num_threads(1)
    before, begun = peak(), time.process_time()
    x = torch.tensor(images, dtype=torch.float64)
    layers = [
        [torch.tensor(np.asarray(layer[name]), requires_grad=True) for name in ("weight", "bias")]
        for layer in start
    ]
    every = [leaf for layer in layers for leaf in layer]
    optimiser = SOAP(every, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)

    def objective() -> Any:
        z = x
        for i, (W, b) in enumerate(layers):
            z = z @ W.T + b
            if i + 1 not in (len(layers) // 2, len(layers)):
                z = torch.tanh(z)
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(z, x, reduction="none")
        decay = L2 / 2 * sum((leaf**2).sum() for leaf in every)
        return entropy.sum(1).mean() + decay

    h, seconds = [], [0.0]
    for _ in range(count):
        optimiser.zero_grad()
        loss = objective()
        loss.backward()
        optimiser.step()
        h.append(loss.item())
        seconds.append(time.process_time() - begun)
    h.append(objective().item())
    return Run(np.array(h), np.array(seconds), peak() - before)


def kfac_jax(images: np.ndarray, start: Any, count: int) -> Run:
    """kfac-jax in its own environment, on the same net, loss and start."""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.npz"
        layers = {
            f"{name}{i}": np.asarray(layer[name])
            for i, layer in enumerate(start)
            for name in ("weight", "bias")
        }
        np.savez(given, allow_pickle=False, images=images, decay=L2, **layers)
        peer = Path(__file__).parent / "peers" / "kfac_jax_steps.py"
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "XLA_FLAGS")}
        command = [os.environ[PEER], str(peer), str(given), str(count)]
        told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found = json.loads(told.stdout.splitlines()[-1])
    return Run(np.array(found["h"]), np.array(found["seconds"]), found["megabytes"])


def has_soap() -> bool:
    """Whether SOAP and what it runs in are installed."""
    return all(find_spec(name) is not None for name in ("torch", "pytorch_optimizer"))


def lowest(runs: list[Run]) -> Run:
    """The one that ends lowest."""
    return min(runs, key=lambda r: np.nan_to_num(r.h[-1], nan=np.inf))


def main() -> None:
    chosen = options(__doc__)
    limit_threads(chosen.threads)
    count, images = (6, 60) if chosen.quick else (200, 1797)
    problem, start = problem_of(digits(images), WIDTHS), sparse_start(WIDTHS, 0)
    nesterov = [(r, m) for r in RATES["Nesterov"] for m in (0.9, 0.99)]
    grids: dict[str, list[Discrete]] = {
        "K-FAC, defaults": [tw.kfac()],
        "K-FAC, block-tridiagonal": [tw.kfac(structure="tridiagonal")],
        "EKFAC": [tw.kfac(structure="eigenvalues")],
        "K-FAC, the paper's constants": [method("K-FAC")],
        "Nesterov, best of 8": [
            tw.dynamics.optimiser("nesterov", r, momentum=m) for r, m in nesterov
        ],
        "Adam, best of 3": [tw.dynamics.optimiser("adam", r) for r in RATES["Adam"]],
    }
    found = {}
    for name, grid in grids.items():
        found[name] = lowest([run(dynamics, problem, start, count) for dynamics in grid])
    if has_soap():
        tried = [soap(digits(images), start, rate, count) for rate in SOAP_RATES]
        found[f"SOAP, best of {len(SOAP_RATES)}"] = lowest(tried)
    if PEER in os.environ:
        found["kfac-jax 0.0.8, damping tuned"] = kfac_jax(digits(images), start, count)
    steps = [k for k in AT if k <= count]
    columns = ["", *(f"h@{k}" for k in steps), "ms/it", "first step s", "MB"]
    columns += [f"{t:g}: its / CPU s" for t in TARGETS]
    rows = []
    for name, r in found.items():
        reached = [r.first(t) for t in TARGETS]
        told = ["-" if k is None else f"{k} / {r.seconds[k]:.1f}" for k in reached]
        paid = [f"{r.pace:.1f}", f"{r.seconds[1]:.1f}", f"{r.megabytes:.0f}"]
        rows.append([name, *(f"{r.h[k]:.2f}" for k in steps), *paid, *told])
    show(f"{count} iterations, {images} images; {machine(chosen.threads)}", columns, rows)


if __name__ == "__main__":
    main()
