"""Steps of gradient descent per second: `thalweg.run` against PyTorch, same net, data and start.

PyTorch takes the step by hand, eagerly (autograd, in-place update) and as one compiled graph; many
seeds go through a Python loop and through torch.func.vmap. thalweg's time is that of the whole
call of `run`, set-up and records included, compilation excluded. Before anything is timed, both
sides take the same steps and must arrive at the same parameters.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import clock_for, interleaved, limit_threads, machine, noise, options, show

import thalweg as tw
from thalweg.problems.linear_targets import DeepLinear

try:
    import torch
except ImportError:
    raise SystemExit("this benchmark needs PyTorch: pip install 'thalweg[bench]'") from None

Leaves = list["torch.Tensor"]


@dataclass(frozen=True)
class Case:
    """One problem on both sides; `loss` maps flat parameters to PyTorch's loss."""

    name: str
    problem: tw.problems.Problem
    loss: Callable[..., torch.Tensor]
    step_size: float
    seeds: int
    torch_steps: int
    thalweg_steps: int


def mlp(precision: str) -> Case:
    problem = tw.problems.digits(
        tw.models.mlp([64, 64], "tanh"), "cross-entropy", samples=500, precision=precision
    )
    x, labels = tensor(problem.inputs), tensor(problem.targets).argmax(1)

    def loss(*leaves: torch.Tensor) -> torch.Tensor:
        h = x
        for j in range(0, len(leaves), 2):  # bias before weight: the order of the leaves
            h = torch.nn.functional.linear(h, leaves[j + 1], leaves[j])
            h = torch.tanh(h) if j + 2 < len(leaves) else h
        return torch.nn.functional.cross_entropy(h, labels)

    return Case(f"MLP 64-64, {precision}", problem, loss, 0.1, 8, 200, 1600)


def deep_linear(precision: str) -> Case:
    target = jnp.diag(jnp.arange(1, 11, dtype=precision) / 10)
    problem = DeepLinear(target, draw=partial(near_identity, precision=precision))
    T = tensor(target)

    def loss(*leaves: torch.Tensor) -> torch.Tensor:
        product = reduce(lambda W, below: W @ below, reversed(leaves))
        return ((product - T) ** 2).sum() / 2

    return Case(f"deep linear, {precision}", problem, loss, 0.01, 32, 2000, 80_000)


def near_identity(key: jax.Array, precision: str) -> list[jax.Array]:
    noise = jax.random.normal(key, (4, 10, 10), precision)
    return list(0.6 * jnp.eye(10, dtype=precision) + 0.1 * noise)


def tensor(array: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(array))


def starts(case: Case, seeds: int) -> list[Leaves]:
    """The start that `run` draws for each seed, as PyTorch's leaves."""
    run = tw.run(case.problem, tw.gradient_descent(1.0), times=[0.0], seeds=seeds)
    shapes = jax.eval_shape(case.problem.init, jax.random.key(0))
    sizes = [leaf.size for leaf in jax.tree.leaves(shapes)]
    return [
        [
            torch.tensor(part.reshape(leaf.shape), requires_grad=True)
            for part, leaf in zip(
                np.split(flat, np.cumsum(sizes)[:-1]), jax.tree.leaves(shapes), strict=True
            )
        ]
        for flat in run.parameters.values[:, 0]
    ]


def descend(case: Case, leaves: Leaves) -> None:
    """One step on one seed, in place."""
    gradient = torch.autograd.grad(case.loss(*leaves), leaves)
    with torch.no_grad():
        for leaf, slope in zip(leaves, gradient, strict=True):
            leaf.sub_(slope, alpha=case.step_size)


def compiled_descend(case: Case, leaves: Leaves) -> Callable[[], None] | str:
    """The whole step as one graph under torch.compile, or why there is none."""
    held = [leaf.detach() for leaf in leaves]
    gradient = torch.func.grad(case.loss, argnums=tuple(range(len(held))))

    def whole() -> None:
        for leaf, slope in zip(held, gradient(*held), strict=True):
            leaf.sub_(slope, alpha=case.step_size)

    step = torch.compile(whole, fullgraph=True)
    try:
        step()
    except Exception as error:  # whatever the compiler raises is the result
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return step


def many_descend(case: Case, stacked: Leaves) -> None:
    """One step on all seeds by torch.func, in place."""
    gradient = torch.func.vmap(torch.func.grad(case.loss, argnums=tuple(range(len(stacked)))))
    for leaf, slope in zip(stacked, gradient(*stacked), strict=True):
        leaf.sub_(slope, alpha=case.step_size)


def ours(case: Case, steps: int, seeds: int, parameters: bool = False) -> tw.Trajectory:
    return tw.run(
        case.problem,
        tw.gradient_descent(case.step_size),
        times=[0.0, steps * case.step_size],
        seeds=seeds,
        parameters=parameters,
        progress=False,
    )


def same_path(case: Case, steps: int = 20) -> float:
    """Relative distance between the two sides after some steps."""
    leaves = starts(case, 1)[0]
    for _ in range(steps):
        descend(case, leaves)
    theirs = np.concatenate([leaf.detach().numpy().ravel() for leaf in leaves])
    mine = ours(case, steps, 1, parameters=True).parameters.values[0, -1]
    return float(np.linalg.norm(theirs - mine) / np.linalg.norm(mine))


def repeat(times: int, step: Callable[[], None]) -> None:
    for _ in range(times):
        step()


def measure(case: Case, quick: bool, threads: int) -> list[list[str]]:
    """Rows of the table for one case."""
    shorter = 20 if quick else 1
    n, m, s = case.torch_steps // shorter, case.thalweg_steps // shorter, case.seeds
    single, looped = starts(case, 1)[0], starts(case, s)
    stacked = [
        torch.stack([leaf.detach() for leaf in leaves]) for leaves in zip(*looped, strict=True)
    ]
    compiled = compiled_descend(case, starts(case, 1)[0])
    loop_rounds, our_rounds = max(n // s, 1), max(2 * m // s, 1)

    work: dict[str, tuple[int, Callable[[], object]]] = {
        "PyTorch eager": (n, lambda: repeat(n, lambda: descend(case, single))),
        "torch.compile": (n, lambda: repeat(n, compiled)),  # type: ignore[arg-type]
        "thalweg": (m, lambda: ours(case, m, 1)),
        f"PyTorch eager, loop over {s}": (
            loop_rounds * s,
            lambda: repeat(loop_rounds, lambda: [descend(case, w) for w in looped]),
        ),
        f"torch.func.vmap, {s}": (n * s, lambda: repeat(n, lambda: many_descend(case, stacked))),
        f"thalweg, {s}": (our_rounds * s, lambda: ours(case, our_rounds, s)),
    }
    if isinstance(compiled, str):
        del work["torch.compile"]
        print(f"torch.compile failed on {case.name}: {compiled}")
    rounds = 1 if quick else 5
    seconds = interleaved({k: f for k, (_, f) in work.items()}, rounds, clock_for(threads))
    rates = {k: work[k][0] / statistics.median(t) for k, t in seconds.items()}
    base = rates["PyTorch eager"]
    return [
        [case.name, k, f"{r:,.0f}", f"{r / base:.2f}x", f"±{100 * noise(seconds[k]):.0f}%"]
        for k, r in rates.items()
    ]


def main() -> None:
    chosen = options(__doc__)
    limit_threads(chosen.threads)
    torch.set_num_threads(chosen.threads)
    rows = []
    for precision, allowed in (("float32", 1e-4), ("float64", 1e-11)):
        for case in (mlp(precision), deep_linear(precision)):
            apart = same_path(case)
            if apart > allowed:
                raise SystemExit(f"{case.name}: the two sides differ by {apart:.1e} after 20 steps")
            rows += measure(case, chosen.quick, chosen.threads)
    title = f"Gradient descent, seed-steps per second; {machine(chosen.threads)}, "
    columns = ["problem", "contestant", "seed-steps/s", "over eager", "spread"]
    show(title + f"PyTorch {torch.__version__}", columns, rows)


if __name__ == "__main__":
    main()
