"""Time of a gradient of hierarchical tensor completion, orders 4 to 8, against PyTorch eager.

Both sides contract the same weights by the same products at the same nodes, take the mean square
over the same entries and its gradient; the gradients are compared first.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch
from timing import clock_for, interleaved, limit_threads, machine, options, show

from thalweg.core.tensors import ModeTree, mode_tree, perfect_tree
from thalweg.models import HierarchicalFactorisation
from thalweg.problems.tensor_entries import TensorCompletion, random_tensor, tensor_completion

WIDTH = 10
TREES = {
    4: (perfect_tree(4), 10),
    5: (mode_tree(((0, 1), (2, (3, 4)))), 7),
    6: (mode_tree(((0, (1, 2)), (3, (4, 5)))), 5),
    7: (mode_tree(((0, (1, 2)), ((3, 4), (5, 6)))), 4),
    8: (perfect_tree(8), 4),
}


def completion(order: int, precision: str) -> tuple[TensorCompletion, Any]:
    """A tenth of the entries of a tensor of low rank, and small weights."""
    tree, side = TREES[order]
    net = HierarchicalFactorisation((side,) * order, tree, (WIDTH,) * tree.depth)
    target = random_tensor(
        HierarchicalFactorisation((side,) * order, tree, (2,) * tree.depth), jax.random.key(0)
    )
    problem = tensor_completion(net, target, target.size // 10, jax.random.key(1), std=0.5)
    problem, params = jax.tree.map(
        lambda x: x.astype(precision) if x.dtype.kind == "f" else x,
        (problem, problem.init(jax.random.key(2))),
    )
    return problem, params


def gradients(problem: TensorCompletion, count: int) -> Callable[[Any], Any]:
    """`count` gradients, each where the one before has led, as in training."""
    gradient = jax.grad(problem.objective)

    def step(_: int, params: Any) -> Any:
        return jax.tree.map(lambda w, d: w - 1e-6 * d, params, gradient(params))

    return jax.jit(lambda start: jax.lax.fori_loop(0, count, step, start))


def in_torch(problem: TensorCompletion, params: Any) -> Callable[[], dict[str, torch.Tensor]]:
    """Loss and gradient of the same completion, by PyTorch's einsum and autograd."""
    net = problem.factorisation
    assert isinstance(net, HierarchicalFactorisation)
    tree = net.tree
    weights = {k: torch.tensor(np.asarray(v), requires_grad=True) for k, v in params.items()}
    index, values = torch.tensor(np.asarray(problem.index)), torch.tensor(np.array(problem.values))
    sorting = [int(j) for j in np.argsort(tree.order)]

    def below(node: ModeTree) -> torch.Tensor:
        W = weights[node.name]
        if not node.children:
            return W
        k = len(node.children)
        parts = [x for j, c in enumerate(node.children) for x in (below(c), [j, k])]
        joined = torch.einsum(*parts, [*range(k), k])
        return joined.reshape(-1, W.shape[0]) @ W

    def gradient() -> dict[str, torch.Tensor]:
        tensor = below(tree)[:, 0].reshape([net.dims[mode] for mode in tree.order])
        seen = tensor.permute(sorting).reshape(-1)[index]
        loss = torch.mean((seen - values) ** 2)
        return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))

    return gradient


def main() -> None:
    """Print the table."""
    asked = options(__doc__)
    limit_threads(asked.threads)
    print(machine(asked.threads), f"PyTorch {torch.__version__}")
    repeat, rounds = (3, 2) if asked.quick else (100, 7)
    rows = []
    for precision in ("float32", "float64"):
        for order, (_, side) in TREES.items():
            problem, params = completion(order, precision)
            theirs = in_torch(problem, params)
            ours = jax.jit(jax.grad(problem.objective))

            many = gradients(problem, repeat)

            def eager(g: Callable = theirs) -> None:
                for _ in range(repeat):
                    g()

            expected, found = ours(params), theirs()
            worst = max(
                float(np.abs(np.asarray(expected[k]) - found[k].numpy()).max()) for k in expected
            ) / max(float(np.abs(v).max()) for v in expected.values())
            seconds = {
                name: statistics.median(taken) / repeat
                for name, taken in interleaved(
                    {
                        "thalweg": lambda f=many, p=params: jax.block_until_ready(f(p)),
                        "PyTorch": eager,
                    },
                    rounds,
                    clock_for(asked.threads),
                ).items()
            }
            rows.append(
                [
                    f"order {order}, {side}^{order} entries, widths {WIDTH}, {precision}",
                    f"{seconds['PyTorch'] * 1e6:.0f}",
                    f"{seconds['thalweg'] * 1e6:.0f}",
                    f"{seconds['PyTorch'] / seconds['thalweg']:.1f}x",
                    f"{worst:.0e}",
                ]
            )
    columns = ["completion", "PyTorch eager", "thalweg", "ratio", "largest difference"]
    show("Microseconds per gradient", columns, rows)


if __name__ == "__main__":
    main()
