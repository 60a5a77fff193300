"""What a tangent kernel costs: operations and memory of every method, and the choice among them."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
from jaxtyping import Array

from thalweg.core.errors import InputError, choose, require
from thalweg.core.tree import Params, size
from thalweg.kernels.algorithms import CONTRACTIONS
from thalweg.models import MLP
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
    widths: tuple[tuple[int, int], ...]  # (in, out) of the layers of a dense net, else empty


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
    per example, counted by XLA and in the trace), layers of widths d_in -> d_out, blocks of b
    examples, s = bytes of a number, and c = k^2 for all outputs, else k:

        jacobian  (n1 + n2 ceil(n1/b)) (2k + 1) F + 2 n1 n2 c p
                  memory 2 b k (p + A) s
        products  n2 ceil(n1/b) (2k + 1) F + (n1 ceil(n2/b) + 2 n1 n2 k) F
                  memory k (p + b A) s
        layers    (n1 + n2 ceil(n1/b)) (k + 1) F + 2 n1 n2 sum_l (d_in + c d_out)
                  memory 2 b sum_l (d_in + k d_out) s

    A backward pass is counted as two forward passes, a tangent pass as two; "layers" goes back to
    signals only, which is one. These are counts to choose by, not promises of time.

    Args:
        problem: Gives the model and the shapes.
        params: Parameters, or their shapes.
        n1: Examples of the first side; those of the problem by default.
        n2: Examples of the second side; n1 by default.
        outputs: "full", "diagonal" or "trace".
        block: Examples of each side in a block; by default the most that `memory` has room for.
        memory: Bytes that a block may hold.

    Returns:
        {method: `KernelCost`}; "layers" is there for dense nets (`thalweg.models.MLP`) only.

    Raises:
        InputError: If a size or a name is not allowed.
    """
    choose(outputs, CONTRACTIONS, "choice of outputs")
    require(block is None or block >= 1, f"block came as {block}; give at least 1 example")
    n1 = len(problem.inputs) if n1 is None else n1
    sizes = _sizes(problem, params, n1, n1 if n2 is None else n2)
    bytes_each = problem.inputs.dtype.itemsize
    costs = {}
    for method, (fixed, each) in _memory(sizes).items():
        room = (memory / bytes_each - fixed) // each
        b = block or int(min(max(room, 1), max(sizes.n1, sizes.n2, 1)))
        costs[method] = KernelCost(
            _flops(method, sizes, b, outputs), (fixed + each * b) * bytes_each, b
        )
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
    pairs, c = s.n1 * s.n2, s.k**2 if outputs == "full" else s.k
    match method:
        case "jacobian":
            return (s.n1 + s.n2 * again) * (2 * s.k + 1) * s.forward + 2.0 * pairs * c * s.p
        case "products":
            pulled = s.n2 * again * (2 * s.k + 1)
            return (pulled + s.n1 * math.ceil(s.n2 / block) + 2 * pairs * s.k) * s.forward
        case "layers":
            grams = sum(wide + c * out for wide, out in s.widths)
            return (s.n1 + s.n2 * again) * (s.k + 1) * s.forward + 2.0 * pairs * grams
    raise InputError(f"no cost is known of the method {method!r}")


def _memory(s: _Sizes) -> dict[str, tuple[float, float]]:
    """Numbers held by every method: fixed, and for each example of a block."""
    held: dict[str, tuple[float, float]] = {
        "jacobian": (0, 2 * s.k * (s.p + s.traffic)),
        "products": (s.k * s.p, s.k * s.traffic),
    }
    if s.widths:
        held["layers"] = (0, 2 * sum(wide + s.k * out for wide, out in s.widths))
    return held


def _sizes(problem: Supervised, params: Params, n1: int, n2: int) -> _Sizes:
    x = jax.ShapeDtypeStruct((1, *problem.inputs.shape[1:]), problem.inputs.dtype)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)

    def apply(params: Params, x: Array) -> Array:
        return problem.model.apply(params, x)

    counted = jax.jit(apply).lower(shapes, x).cost_analysis() or {}
    p = size(params)
    made = jax.make_jaxpr(apply)(shapes, x).jaxpr.eqns
    widths: tuple[tuple[int, int], ...] = ()
    if isinstance(problem.model, MLP):
        widths = tuple((w["weight"].shape[1], w["weight"].shape[0]) for w in params)
    return _Sizes(
        n1=n1,
        n2=n2,
        k=problem.targets.shape[1],
        p=p,
        forward=float(counted.get("flops", 2.0 * p)),
        traffic=sum(v.aval.size for eqn in made for v in eqn.outvars),
        widths=widths,
    )
