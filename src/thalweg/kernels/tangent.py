"""The empirical tangent kernel of a model at its parameters, whole or block by block."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import InputError, choose, require, unknown
from thalweg.core.tree import Params
from thalweg.kernels.algorithms import CONTRACTIONS, Plan, kernel_block
from thalweg.kernels.cost import MEMORY, cheapest, kernel_cost
from thalweg.models import Model
from thalweg.problems.problem import Problem, Supervised

Kernel = Float[Array, "n1 n2 *outputs"]


class Blocks(NamedTuple):
    """How a kernel is cut: a plan for every block, and the blocks themselves.

    Attributes:
        x1: Examples of the first side.
        x2: Examples of the second side.
        symmetric: Whether both sides are the same, so that blocks below the diagonal are mirrored.
        plan: What a block is made of.
        names: One for each group of leaves in the plan.
        size: Examples of each side in a block.
    """

    x1: Array
    x2: Array
    symmetric: bool
    plan: Plan
    names: tuple[str, ...]
    size: int

    def cells(self) -> Iterator[tuple[slice, slice]]:
        """The rows and columns of every block that has to be computed."""
        for row in _cuts(len(self.x1), self.size):
            for column in _cuts(len(self.x2), self.size):
                if not self.symmetric or row.start <= column.start:
                    yield row, column


def tangent_kernel(
    problem: Problem,
    params: Params,
    x1: Array | None = None,
    x2: Array | None = None,
    *,
    outputs: str = "full",
    layers: bool = False,
    where: str = "*",
    method: str = "auto",
    block: int | None = None,
    memory: float = MEMORY,
) -> Kernel | dict[str, Kernel]:
    """The empirical (neural) tangent kernel, inner products of gradients of outputs.

        K[i, j, a, b] = <d f_a(x1_i) / d theta, d f_b(x2_j) / d theta>

    No factor of the number of examples or outputs is taken out: under gradient flow of the mean
    squared error df/dt = -K (f - y) / n. As a matrix over (example, output) it is positive
    semidefinite; `as_matrix` puts it so.

    Args:
        problem: A `Supervised`; its loss and targets play no part.
        params: The point.
        x1: Examples (n1, ...); those of the problem by default.
        x2: Examples (n2, ...); x1 by default, and then only half of the blocks are computed.
        outputs: "full" (n1, n2, k, k); "diagonal" (n1, n2, k), a = b; "trace" (n1, n2), their sum.
        layers: Whether to return {layer: kernel}. A layer is the node that holds arrays ("0",
            "1", ... of a dense net), or an array that no node below the root holds; the kernels
            of all layers add up to the whole.
        where: A pattern (as of file names) that arrays of parameters must match by their path, as
            "0/weight", "*/bias".
        method: "jacobian", "products", "layers" (activation Gram matrices times those of the
            signals sent back, for the dense layers of any model; Jacobians for the rest) or
            "auto", the cheapest by `kernel_cost`. Equal up to rounding.
        block: Examples of each side in a block; by default as many as `memory` has room for. It
            changes memory and time, and values by rounding only.
        memory: Bytes that a block may hold beside the kernel.

    Returns:
        An array (unit: output^2/parameter^2), or a dict of arrays. Error: rounding, about
        machine epsilon times sqrt(K_ii K_jj) times the square root of the number of parameters.

    Raises:
        InputError: If the problem has no model, a name is unknown, no array matches `where`, or
            the outputs of an example depend on the others of its batch (the check is skipped
            under a JAX transformation).

    Cost: see `kernel_cost`; with method "jacobian" k gradients of every example.

    Source: Jacot, Gabriel and Hongler (2018), sec. 4; Novak, Sohl-Dickstein and Schoenholz (2022)
    for the methods.

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.zeros((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> K = tw.kernels.tangent_kernel(problem, problem.init(jax.random.key(0)), outputs="trace")
        >>> K.tolist()  # x.x' of a linear model
        [[1.0, 0.0], [0.0, 4.0]]
    """
    cut = plan_blocks(
        problem,
        params,
        x1,
        x2,
        outputs=outputs,
        layers=layers,
        where=where,
        method=method,
        block=block,
        memory=memory,
    )
    model = problem.model  # type: ignore[attr-defined]
    cells = {(r.start, c.start): evaluate(model, params, cut, r, c) for r, c in cut.cells()}
    kernels = tuple(_assembled(cut, cells, group) for group in range(len(cut.names)))
    return dict(zip(cut.names, kernels, strict=True)) if layers else kernels[0]


def as_matrix(
    kernel: Float[Array, "n1 n2 k k"] | Float[Array, "n1k n2k"],
) -> Float[Array, "n1k n2k"]:
    """A full kernel as a matrix over (example, output), M[i k + a, j k + b] = K[i, j, a, b].

    Args:
        kernel: (n1, n2, k, k); a kernel (n1, n2) is returned as it is.

    Examples:
        >>> K = jnp.arange(16.0).reshape(2, 2, 2, 2)
        >>> float(tw.kernels.as_matrix(K)[2, 1]) == float(K[1, 0, 0, 1])  # (example, output) pairs
        True
    """
    if kernel.ndim == 2:
        return kernel
    require(
        kernel.ndim == 4,
        f"a kernel of shape {kernel.shape} is no matrix; give (n1, n2) or (n1, n2, k, k)",
    )
    n1, n2, k, also_k = kernel.shape
    return jnp.moveaxis(kernel, 2, 1).reshape(n1 * k, n2 * also_k)


def plan_blocks(
    problem: Problem,
    params: Params,
    x1: Array | None = None,
    x2: Array | None = None,
    *,
    outputs: str = "full",
    layers: bool = False,
    where: str = "*",
    method: str = "auto",
    block: int | None = None,
    memory: float = MEMORY,
) -> Blocks:
    """How `tangent_kernel` with the same arguments cuts its work; the arguments are checked here.

    Raises:
        InputError: As `tangent_kernel`.
    """
    if not isinstance(problem, Supervised):
        raise InputError("a tangent kernel needs a model with examples; this problem has none")
    first = problem.inputs if x1 is None else _examples(problem, x1)
    second = first if x2 is None else _examples(problem, x2)
    _check_alone(problem.model, params, first)
    costs = kernel_cost(
        problem, params, len(first), len(second), outputs=outputs, block=block, memory=memory
    )
    allowed = ["auto", *costs]
    require(method in allowed, unknown(method, allowed, "method"))
    chosen = cheapest(costs, memory) if method == "auto" else method
    choose(outputs, CONTRACTIONS, "choice of outputs")
    groups = _groups(params, where, layers)
    plan = Plan(chosen, outputs, tuple(groups.values()))
    return Blocks(first, second, x2 is None, plan, tuple(groups), costs[chosen].block)


def evaluate(
    model: Model, params: Params, cut: Blocks, row: slice, column: slice
) -> tuple[Array, ...]:
    """The kernel in one cell of `Blocks.cells`, one array for each group."""
    same = cut.symmetric and row == column
    return kernel_block(model, params, cut.x1[row], None if same else cut.x2[column], cut.plan)


def mirrored(block: Array) -> Array:
    """The block on the other side of the diagonal: examples and outputs change places."""
    block = jnp.swapaxes(block, 0, 1)
    return jnp.swapaxes(block, 2, 3) if block.ndim == 4 else block


def _assembled(cut: Blocks, cells: dict[tuple[int, int], tuple[Array, ...]], group: int) -> Array:
    rows = []
    for r in _cuts(len(cut.x1), cut.size):
        row = []
        for c in _cuts(len(cut.x2), cut.size):
            here = cells.get((r.start, c.start))
            there = cells.get((c.start, r.start)) if here is None else None
            row.append(here[group] if here is not None else mirrored(there[group]))  # type: ignore[index]
        rows.append(jnp.concatenate(row, axis=1))
    return jnp.concatenate(rows)


def _cuts(n: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, n)) for first in range(0, n, size)]


def _examples(problem: Supervised, x: Any) -> Array:
    x = jnp.asarray(x, problem.inputs.dtype)
    shape = problem.inputs.shape[1:]
    require(
        x.ndim == problem.inputs.ndim and x.shape[1:] == shape and len(x) > 0,
        f"examples came with shape {x.shape}; give (n, {', '.join(map(str, shape))})",
    )
    return x


def _groups(params: Params, where: str, layers: bool) -> dict[str, tuple[int, ...]]:
    """Names of groups of leaves, and the positions of their leaves."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    groups: dict[str, tuple[int, ...]] = {}
    for position, path in enumerate(paths):
        if fnmatchcase(_name(path), where):
            layer = _name(path[:-1] if len(path) > 1 else path) if layers else "all"
            groups[layer] = (*groups.get(layer, ()), position)
    names = ", ".join(_name(path) for path in paths)
    require(bool(groups), f"no array of parameters matches {where!r}. Arrays: {names}.")
    return groups


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _check_alone(model: Model, params: Params, x: Array) -> None:
    """Gradients are taken example by example, which batch statistics would make another net."""
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((params, x)))
    if len(x) < 2 or traced:
        return
    together, alone = _two_ways(model, params, x[:2])
    tolerance = 1e3 * float(jnp.finfo(together.dtype).eps)
    close = bool(jnp.allclose(together, alone, rtol=tolerance, atol=tolerance, equal_nan=True))
    require(
        close,
        "the outputs of an example change with the others of its batch (batch normalisation?); "
        "a tangent kernel needs outputs that depend on one example each",
    )


@eqx.filter_jit
def _two_ways(model: Model, params: Params, x: Array) -> tuple[Array, Array]:
    alone = jax.vmap(lambda one: model.apply(params, one[None])[0])(x)
    return model.apply(params, x), alone
