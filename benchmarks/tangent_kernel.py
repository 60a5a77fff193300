"""Time and memory of a whole tangent kernel: ours, torch.func, whole Jacobians in JAX.

1,000 digits and 10 outputs in float32, each contestant in a process of its own, once: operations
are many and compilation, which is counted, is little. The answers are compared.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from timing import clock_for, limit_threads, machine, options, show
from timing.torch_twin import twin

import thalweg as tw

NETS = {
    "MLP 256-256": tw.models.mlp([256, 256], "tanh"),
    "conv 8-16": tw.models.parse_model("conv:8k3p1-16k3s2p1/32", "tanh"),
}


def start(net: str, n: int) -> tuple[tw.problems.Supervised, Any]:
    """Digits under a net at its start."""
    image = net.startswith("conv")
    problem = tw.problems.digits(
        NETS[net], "cross-entropy", samples=n, precision="float32", image=image
    )
    return problem, problem.init(jax.random.key(0))


def ours(problem: tw.problems.Supervised, params: Any) -> Callable[[], Any]:
    """As shipped."""
    return lambda: tw.kernels.tangent_kernel(problem, params)


def whole_jacobians(problem: tw.problems.Supervised, params: Any) -> Callable[[], Any]:
    """All Jacobians at once in JAX."""
    theta, unravel = jax.flatten_util.ravel_pytree(params)

    @jax.jit
    def kernel(t: jax.Array, x: jax.Array) -> jax.Array:
        one = jax.jacrev(lambda t, x: problem.model.apply(unravel(t), x[None])[0])
        J = jax.vmap(one, (None, 0))(t, x)
        return jnp.einsum("iap,jbp->ijab", J, J)

    return lambda: kernel(theta, problem.inputs)


def torch_func(problem: tw.problems.Supervised, params: Any) -> Callable[[], Any]:
    """All Jacobians, held, then contracted layer by layer and in blocks of 100 examples."""
    from torch.func import functional_call, jacrev, vmap

    t = twin(problem, params)
    weights = {k: v.detach() for k, v in t.net.named_parameters()}

    def one(weights: Any, x: torch.Tensor) -> torch.Tensor:
        return functional_call(t.net, weights, (x[None],))[0]

    def jacobians(x: torch.Tensor) -> list[torch.Tensor]:
        return [j.flatten(2) for j in vmap(jacrev(one), (None, 0))(weights, x).values()]

    def pair(left: list[torch.Tensor], right: list[torch.Tensor]) -> Any:
        layers = zip(left, right, strict=True)
        return sum(torch.einsum("iap,jbp->ijab", a, b) for a, b in layers)

    def work() -> torch.Tensor:
        whole = [jacobians(part) for part in t.x.split(100)]
        return torch.cat([torch.cat([pair(a, b) for b in whole], dim=1) for a in whole])

    return work


CONTESTANTS = {"thalweg": ours, "torch.func": torch_func, "whole Jacobians": whole_jacobians}


def peak() -> float:
    """The most memory that this process has held so far, GB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: getrusage would tell of the parent's memory, too
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


def compete(net: str, name: str, n: int, threads: int, answer: Path) -> None:
    """One contestant, in the process made for it."""
    limit_threads(threads)
    work = CONTESTANTS[name](*start(net, n))
    before, begun = peak(), clock_for(threads)()
    kernel = np.asarray(work())
    print(json.dumps({"seconds": clock_for(threads)() - begun, "memory": peak() - before}))
    np.save(answer, kernel)


def main() -> None:
    """Print the table."""
    asked = options(__doc__)
    n = 40 if asked.quick else 1000
    print(machine(asked.threads), f"PyTorch {torch.__version__}")
    rows = []
    for net in NETS:
        found, first = {}, None
        for name in CONTESTANTS:
            with tempfile.TemporaryDirectory() as folder:
                answer = Path(folder) / "kernel.npy"
                job = (net, name, str(n), str(asked.threads), str(answer))
                done = subprocess.run(
                    [sys.executable, __file__, "compete", *job],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                kernel = np.load(answer)
            first = kernel if first is None else first
            gap = float(np.abs(kernel - first).max() / np.abs(first).max())
            found[name] = {**json.loads(done.stdout.splitlines()[-1]), "gap": gap}
        for name, told in found.items():
            rows.append(
                [
                    f"{net}, {n} digits, 10 outputs",
                    name,
                    f"{told['seconds']:.2f} s",
                    f"{told['seconds'] / found['thalweg']['seconds']:.1f}x",
                    f"{told['memory']:.2f} GB",
                    f"{told['gap']:.0e}",
                ]
            )
    columns = ["problem", "method", "time", "over thalweg", "memory", "largest difference"]
    show("Tangent kernel, float32", columns, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["compete"]:
        chosen, contestant, size, count, file = sys.argv[2:]
        compete(chosen, contestant, int(size), int(count), Path(file))
    else:
        main()
