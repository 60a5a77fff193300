"""What PyTorch itself says of a module: outputs, gradient, Hessian product; layer by layer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.tree import Params
from thalweg.models.frameworks.agreement import (
    DIFFERENCES,
    TOLERANCE,
    Derived,
    coefficients,
    directions,
    relative_gap,
)
from thalweg.models.frameworks.torch_program import Program, Step, perform, working_kind


@contextmanager
def without_fused_kernels() -> Iterator[None]:
    """PyTorch without its fused kernels, which have no second derivatives, and its warnings."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def truth(net: Any, rows: np.ndarray, names: list[str], product: np.ndarray) -> Derived:
    """Outputs, a gradient, and a Hessian product by double backward.

    Some of PyTorch's operations have no second derivative, and that of `weight_norm` is wrong
    (2.13). Where it is not there, or is not the product given, differences of PyTorch's gradients
    are taken if they confirm the product given.

    Args:
        net: In double precision.
        rows: Examples.
        names: Of the weights, in order.
        product: The Hessian product to be confirmed.
    """
    import torch

    weights = dict(net.named_parameters())
    with_gradient = [weights[name] for name in names]
    along = [torch.as_tensor(v) for v in directions([p.detach().numpy() for p in with_gradient])]

    def slopes(create_graph: bool) -> tuple[Any, Any]:
        out = net(torch.as_tensor(rows))
        out = out[:, None] if out.ndim == 1 else out
        c = torch.as_tensor(coefficients(tuple(out.shape)))
        objective = (c * out + out**2 / 2).sum()
        found = torch.autograd.grad(
            objective, with_gradient, create_graph=create_graph, materialize_grads=True
        )
        return out.detach().numpy(), found

    def moved(share: float) -> np.ndarray:
        with torch.no_grad():
            for p, v in zip(with_gradient, along, strict=True):
                p.add_(share * v)
        return _flat(slopes(create_graph=False)[1])

    with without_fused_kernels():
        outputs, gradient = slopes(create_graph=True)
        slope = sum((g * v).sum() for g, v in zip(gradient, along, strict=True))
        try:
            second = _flat(torch.autograd.grad(slope, with_gradient, materialize_grads=True))
        except RuntimeError:  # an operation without a second derivative, or none at all
            second = np.full_like(product, np.nan)
        if relative_gap(product, second) > TOLERANCE:
            kept = [p.detach().clone() for p in with_gradient]
            size = 1e-5 / max(float(v.abs().max()) for v in along)
            apart = (moved(size) - moved(-2 * size)) / (2 * size)
            with torch.no_grad():
                for p, old in zip(with_gradient, kept, strict=True):
                    p.copy_(old)
            if np.isnan(second).any() or relative_gap(product, apart) <= DIFFERENCES:
                return Derived(outputs, _flat(gradient), apart, exact=False)
    return Derived(outputs, _flat(gradient), second)


def _flat(tensors: Any) -> np.ndarray:
    return np.concatenate([t.detach().numpy().ravel() for t in tensors])


def blamed(graph: Any, program: Program, params: Params, beside: Params, rows: np.ndarray) -> str:
    """Which layer is the first whose result or slope differs, and by how much."""
    import torch

    ours = program.values(params, beside, jnp.asarray(rows))
    theirs: dict[str, Any] = {}

    class Watched(torch.fx.Interpreter):
        def run_node(self, node: Any) -> Any:
            theirs[node.name] = super().run_node(node)
            return theirs[node.name]

    with torch.no_grad():
        Watched(graph.graph_module).run(*_inputs(program, params, beside, rows))
    for step in program.steps:
        gap = _gap(ours[step.name], theirs[step.name])
        if gap > TOLERANCE:
            return _told(step, "result", gap)
    nodes = {node.name: node for node in graph.graph.nodes}
    for step in program.steps:
        gap = _slope_gap(step, nodes[step.name], theirs, working_kind(params))
        if gap > TOLERANCE:
            return _told(step, "slope", gap)
    return "every layer agrees by itself, so the exported program differs from the module"


def _told(step: Step, what: str, gap: float) -> str:
    where = f"the layer {step.layer}" if step.layer else "the module itself"
    return f"the first to differ is {where}, whose {what} of {step.operation} is off by {gap:.1e}"


def _inputs(program: Program, params: Params, beside: Params, rows: np.ndarray) -> list[Any]:
    import torch

    sources = {"weight": params, "held": beside}
    return [
        torch.as_tensor(np.array(rows if kind == "input" else sources[kind][key]))
        for _, (kind, key) in program.inputs
    ]


def _gap(mine: Any, other: Any) -> float:
    """The largest difference of arrays, or of the first of several, relative to the largest."""
    if isinstance(mine, list | tuple):
        return _gap(mine[0], other[0])
    if not hasattr(other, "detach"):
        return 0.0
    found = other.detach().numpy()
    if found.dtype.kind != "f":
        return 0.0 if np.array_equal(np.asarray(mine), found) else 1.0
    with np.errstate(invalid="ignore"):
        gap = np.nan_to_num(np.abs(np.asarray(mine) - found))
    return float(np.max(gap, initial=0.0) / max(np.max(np.abs(found), initial=0.0), 1e-300))


def _slope_gap(step: Step, node: Any, theirs: dict[str, Any], kind: Any) -> float:
    """What the slopes of one operation differ by, at PyTorch's own values."""
    import torch

    names = [a.name for a in node.all_input_nodes]
    real = [n for n in names if getattr(theirs[n], "is_floating_point", lambda: False)()]
    if not real:
        return 0.0
    leaves = {n: theirs[n].detach().clone().requires_grad_() for n in real}

    def value(name: str) -> Any:
        return leaves.get(name, theirs[name])

    args = torch.fx.node.map_arg(node.args, lambda a: value(a.name))
    kwargs = torch.fx.node.map_arg(node.kwargs, lambda a: value(a.name))
    with torch.enable_grad():
        out = node.target(*args, **kwargs)
        out = out[0] if isinstance(out, list | tuple) else out
        if not getattr(out, "requires_grad", False):
            return 0.0
        weights = torch.as_tensor(coefficients(tuple(out.shape)))
        wanted = torch.autograd.grad(
            (weights * out).sum(), list(leaves.values()), materialize_grads=True
        )

    def ours(values: dict[str, Any]) -> Any:
        others = {n: _given(theirs[n]) for n in names if n not in values}
        result = perform(step, {**others, **values}, kind)
        result = result[0] if isinstance(result, list | tuple) else result
        return jnp.sum(coefficients(result.shape) * result)

    mine = jax.grad(ours)({n: jnp.asarray(leaves[n].detach().numpy()) for n in real})
    return max(_gap(mine[n], w) for n, w in zip(real, wanted, strict=True))


def _given(value: Any) -> Any:
    if hasattr(value, "detach"):
        return jnp.asarray(value.detach().numpy())
    return [_given(part) for part in value] if isinstance(value, list | tuple) else value
