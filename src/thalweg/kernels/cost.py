"""What a tangent kernel costs: operations and memory of every method, and the choice among them."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax

from thalweg.core.errors import InputError, choose, require
from thalweg.core.trace import shape_of
from thalweg.core.tree import Params, size
from thalweg.kernels.algorithms import CONTRACTIONS, outputs_of
from thalweg.kernels.structure import find_structure
from thalweg.problems.problem import Supervised

MEMORY = 2**30  # bytes


class KernelCost(NamedTuple):
    """What one method costs.

    Attributes:
        flops: Floating-point operations (a multiplication and an addition are two).
        memory: Bytes held beside the kernel itself, at the block size below.
        block: Examples of each side in a block.
    """

    flops: float
    memory: float
    block: int


class _Sizes(NamedTuple):
    n1: int
    n2: int
    k: int
    p: int
    forward: float  # flops of the outputs of one example
    traffic: int  # numbers that a forward pass of one example makes
    arriving: int  # D_in
    held: int  # D_out + q
    arrays: int  # L
    grams: int  # G


def kernel_cost(
    problem: Supervised,
    params: Params,
    n1: int | None = None,
    n2: int | None = None,
    *,
    outputs: str = "full",
    block: int | None = None,
    memory: float = MEMORY,
) -> dict[str, KernelCost]:
    """What every method that serves this model would cost, for n1 examples against n2.

    With k outputs, p parameters, F operations of a forward pass and A numbers that it makes (both
    per example, counted by XLA and in the trace), L arrays of parameters, blocks of b examples,
    s = bytes of a number, and c = k^2 for all outputs, else k:

        jacobian  (n1 + n2 ceil(n1/b)) (2k + 1) F + 2 n1 n2 c p
                  memory (2 b k (p + A) + b^2 c L) s
        products  n2 ceil(n1/b) (2k + 1) F + (n1 ceil(n2/b) + 2 n1 n2 k) F
                  memory (k (p + b A) + b^2 c) s
        layers    (n1 + n2 ceil(n1/b)) (2k + 1) F + 2 n1 n2 (D_in + c (D_out + q))
                  memory (2 b (D_in + k (D_out + q + A)) + b^2 c G) s

    "layers" takes apart the weight matrices that an example meets once, as one vector, those of
    dense layers: D_in and D_out are the sums of their widths, q is the number of all other
    parameters but the biases beside them, G one more than the number of dense layers and of other
    arrays. A backward pass is counted as two forward passes, a tangent pass as two. These are
    counts to choose by, not promises of time; memory is met within a factor of two.

    Args:
        problem: Gives the model and the shapes.
        params: Parameters, or their shapes.
        n1: Examples of the first side; those of the problem by default.
        n2: Examples of the second side; n1 by default.
        outputs: "full", "diagonal" or "trace".
        block: Examples of each side in a block; by default the most that `memory` has room for.
        memory: Bytes that a block may hold.

    Returns:
        {method: `KernelCost`}.

    Raises:
        InputError: If a size or a name is not allowed.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.mlp([8]), (np.eye(4), np.ones((4, 1))))
        >>> costs = tw.kernels.kernel_cost(problem, problem.init(jax.random.key(0)))
        >>> sorted(costs)
        ['jacobian', 'layers', 'products']
    """
    choose(outputs, CONTRACTIONS, "choice of outputs")
    require(block is None or block >= 1, f"block came as {block}; give at least 1 example")
    require(memory > 0, f"memory came as {memory}; give a positive number of bytes")
    n1 = len(problem.inputs) if n1 is None else n1
    sizes = _sizes(problem, params, n1, n1 if n2 is None else n2)
    bytes_each = problem.inputs.dtype.itemsize
    costs = {}
    for method, (fixed, each, pair) in _memory(sizes, outputs).items():
        room = max(memory / bytes_each - fixed, 0)
        most = (math.sqrt(each**2 + 4 * pair * room) - each) / (2 * pair)
        b = block or int(min(max(most, 1), max(sizes.n1, sizes.n2, 1)))
        held = (fixed + each * b + pair * b**2) * bytes_each
        costs[method] = KernelCost(_flops(method, sizes, b, outputs), held, b)
    return costs


def cheapest(costs: dict[str, KernelCost], memory: float = MEMORY) -> str:
    """The method of fewest operations among those within the memory, else the one of least memory.

    Args:
        costs: Of `kernel_cost`.
        memory: Bytes.
    """
    within = {name: cost for name, cost in costs.items() if cost.memory <= memory}
    if within:
        return min(within, key=lambda name: within[name].flops)
    return min(costs, key=lambda name: costs[name].memory)


def _flops(method: str, s: _Sizes, block: int, outputs: str) -> float:
    again = math.ceil(s.n1 / block)
    pairs, c = s.n1 * s.n2, _entries(s, outputs)
    match method:
        case "jacobian":
            return (s.n1 + s.n2 * again) * (2 * s.k + 1) * s.forward + 2.0 * pairs * c * s.p
        case "products":
            pulled = s.n2 * again * (2 * s.k + 1)
            return (pulled + s.n1 * math.ceil(s.n2 / block) + 2 * pairs * s.k) * s.forward
        case "layers":
            signals = (s.n1 + s.n2 * again) * (2 * s.k + 1) * s.forward
            return signals + 2.0 * pairs * (s.arriving + c * s.held)
    raise InputError(f"no cost is known of the method {method!r}")


def _memory(s: _Sizes, outputs: str) -> dict[str, tuple[float, float, float]]:
    """Numbers held by every method: fixed, for each example of a block, and for each pair."""
    c = _entries(s, outputs)
    return {
        "jacobian": (0, 2 * s.k * (s.p + s.traffic), c * s.arrays),
        "products": (s.k * s.p, s.k * s.traffic, c),
        "layers": (0, 2 * (s.arriving + s.k * (s.held + s.traffic)), c * s.grams),
    }


def _entries(s: _Sizes, outputs: str) -> int:
    """Numbers of the kernel for each pair of examples, as far as work and memory go."""
    return s.k**2 if outputs == "full" else s.k


def _sizes(problem: Supervised, params: Params, n1: int, n2: int) -> _Sizes:
    x = jax.ShapeDtypeStruct(problem.inputs.shape[1:], problem.inputs.dtype)
    outputs, leaves = outputs_of(problem.model, params), jax.tree.leaves(params)
    structure = find_structure(outputs, leaves, x)
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    counted = jax.jit(outputs).lower(shapes, x).cost_analysis() or {}
    vectors = [m.vector for m in structure.met.values() if m.vector is not None]
    rest = sum(leaf.size for i, leaf in enumerate(leaves) if i not in structure.met)
    p = size(params)
    return _Sizes(
        n1=n1,
        n2=n2,
        k=problem.targets.shape[1],
        p=p,
        forward=float(counted.get("flops", 2.0 * p)),
        traffic=structure.traffic,
        arriving=sum(shape_of(vector).size for vector in vectors),
        held=rest + sum(shape_of(tap).size for tap in structure.taps),
        arrays=len(leaves),
        grams=len(structure.taps) + len(leaves) - len(structure.met) + 1,
    )
