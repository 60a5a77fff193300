"""Whether PyTorch's second derivatives of a net are right: held against differences of gradients.

Some operations have none (`hardsigmoid`), some a wrong one (`weight_norm` in 2.13 is off by a
quarter), and neither shows in training. Differences are taken over several lengths: at a kink, as
of ReLU, one of them may cross it, which says nothing, but a wrong derivative agrees with none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from thalweg.core.errors import InputError, require
from thalweg.models.frameworks.agreement import DIFFERENCES
from thalweg.torch.objective import Copy, flat

ROWS = 4
# By bits: lengths relative to that of the weights, and what a right derivative may differ by.
LENGTHS = {64: (1e-7, 1e-6, 1e-8, 1e-5), 32: (1e-3, 1e-2, 1e-4)}
TOLERANCES = {64: 1e-4, 32: 5e-2}


class Verdict(NamedTuple):
    """What was found of a net's Hessian products.

    Attributes:
        wrong: Why those of PyTorch cannot be used; empty where they can.
        rounding: Error of a product in the precision of the measurement, relative to ||H||.
    """

    wrong: str
    rounding: float


def verdict(work: Copy, net: Any, loss: Any, batch: Any, title: str, training: bool) -> Verdict:
    """Holds the products of a copy against differences in double precision, on a few rows.

    Args:
        work: The copy that measures.
        net: The module that it is a copy of.
        loss: Of outputs and targets.
        batch: Inputs and targets.
        title: What the net is called.
        training: The mode.

    Raises:
        InputError: If the net draws random numbers; the sentence names the layer.
    """
    import torch

    x, y = batch
    few = (x[:ROWS], y[:ROWS]) if x.ndim and y.ndim and len(x) == len(y) > ROWS else batch
    devices = [work.device] if work.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        exact = work
        if not (work.dtype == torch.float64 and work.device.type == "cpu"):
            exact = Copy(net, loss, title, training, torch.float64, torch.device("cpu"))
        for given in (few, batch):
            try:
                work.load(net, given)
                exact.load(net, given)
                with exact.kernels():
                    exact.value()
            except Exception:  # so few rows, or double precision, the net may refuse
                exact = work if given is batch else exact
                continue
            break
        work.load(net, given)
        exact.load(net, given)
        _refuse_random(exact, title)
        gap, product = _discrepancy(exact.value, exact.weights, exact.kernels)
        if not gap <= TOLERANCES[_bits(exact.dtype)]:
            return Verdict(f"{_blamed(exact)}{_told(gap)}", DIFFERENCES)
        return Verdict("", 0.0 if exact is work else _rounding(work, exact, product))


def _bits(dtype: Any) -> int:
    import torch

    return int(torch.finfo(dtype).bits)


def _told(gap: float) -> str:
    if gap == float("inf"):
        return " has no second derivative in PyTorch"
    return f" has a second derivative in PyTorch that differences of gradients refute by {gap:.1e}"


def _rounding(work: Copy, exact: Copy, product: Any) -> float:
    """What products in the precision of `work` differ by, along a direction of large curvature."""
    work.linearise(again=True)
    exact.linearise(again=True)
    try:
        for _ in range(2):
            if not float(product.norm()) > 0:
                return 0.0
            v = product / product.norm()
            product = exact.product(v)
        other = work.product(v.to(device=work.device, dtype=work.dtype)).to(product)
    finally:
        work.release()
        exact.release()
    return float((other - product).norm() / product.norm())


def _discrepancy(
    function: Callable[[], Any], leaves: list[Any], kernels: Callable[[], Any]
) -> tuple[float, Any]:
    """How far a product is from differences, relative to its length; infinite if there is none.

    Args:
        function: Gives a number with its history.
        leaves: The tensors that it is differentiated in; they are moved, and put back.
        kernels: The context for it.

    Returns:
        The least over several lengths, and the product.
    """
    import torch

    bits = _bits(leaves[0].dtype)
    source = torch.Generator().manual_seed(0)
    draws = [torch.randn(p.shape, generator=source, dtype=torch.float64) for p in leaves]
    along = [draw.to(p) for draw, p in zip(draws, leaves, strict=True)]
    kept = [p.detach().clone() for p in leaves]
    length, norm = float(flat(kept).norm()) or 1.0, float(flat(along).norm())

    def slopes(again: bool) -> Any:
        return torch.autograd.grad(function(), leaves, create_graph=again, materialize_grads=True)

    def at(share: float) -> Any:
        with torch.no_grad():
            for p, old, part in zip(leaves, kept, along, strict=True):
                p.copy_(old + share * part)
        return flat(slopes(again=False))

    with kernels():
        gradient = slopes(again=True)
        slope = sum((g * v).sum() for g, v in zip(gradient, along, strict=True))
        size = float(flat(gradient).norm())
        try:
            product = torch.zeros_like(flat(leaves))
            if slope.requires_grad:
                product = flat(torch.autograd.grad(slope, leaves, materialize_grads=True))
        except RuntimeError:  # an operation without a second derivative
            return float("inf"), None
        least = float("inf")
        for apart in LENGTHS[bits]:
            share = apart * length / norm
            difference = (at(share) - at(-share)) / (2 * share)
            floor = 10 * torch.finfo(leaves[0].dtype).eps * size / share / TOLERANCES[bits]
            scale = max(float(product.norm()), float(difference.norm())) + floor
            least = min(least, float((product - difference).norm()) / scale if scale else 0.0)
            if least <= TOLERANCES[bits]:
                break
        with torch.no_grad():
            for p, old in zip(leaves, kept, strict=True):
                p.copy_(old)
    return least, product


class _Call(NamedTuple):
    """A layer as it was called."""

    name: str
    layer: Any
    args: Any
    kwargs: Any
    result: Any


def _calls(copy: Copy) -> list[_Call]:
    """The first call of every layer, inner ones before those that they are parts of."""
    import torch

    calls: dict[str, _Call] = {}
    hooks = []

    def watched(name: str) -> Callable[..., None]:
        def hook(layer: Any, args: Any, kwargs: Any, result: Any) -> None:
            held = jax.tree.map(_still, (args, kwargs, result))
            calls.setdefault(name, _Call(name, layer, *held))

        return hook

    for name, layer in copy.net.named_modules():
        title = f"{name or 'the module itself'} ({type(layer).__name__})"
        hooks.append(layer.register_forward_hook(watched(title), with_kwargs=True))
    try:
        with copy.kernels(), torch.no_grad():
            copy.net(copy.batch[0])
    finally:
        for hook in hooks:
            hook.remove()
    return list(calls.values())


def _still(value: Any) -> Any:
    return value.detach().clone() if hasattr(value, "detach") else value


def _real(value: Any) -> bool:
    return hasattr(value, "is_floating_point") and value.is_floating_point()


def _blamed(copy: Copy) -> str:
    """The innermost layer whose second derivative is not right."""
    import torch

    for call in _calls(copy):
        given, shape = jax.tree.flatten((call.args, call.kwargs))
        given = [v.clone().requires_grad_() if _real(v) else v for v in given]
        leaves = [v for v in given if _real(v)]
        leaves += [p for p in call.layer.parameters() if p.requires_grad]

        def function(call: _Call = call, given: Any = given, shape: Any = shape) -> Any:
            fresh = [v * 1 if _real(v) else v for v in given]  # layers may write into their inputs
            args, kwargs = jax.tree.unflatten(shape, fresh)
            results = [v for v in jax.tree.leaves(call.layer(*args, **kwargs)) if _real(v)]
            weighed = [torch.arange(1.0, v.numel() + 1).cos().to(v).view(v.shape) for v in results]
            return sum((c * v + v**2 / 2).sum() for c, v in zip(weighed, results, strict=True))

        try:
            gap, _ = _discrepancy(function, leaves, copy.kernels)
        except Exception:  # one that cannot be called by itself is judged with what holds it
            continue
        if not gap <= TOLERANCES[_bits(copy.dtype)]:
            return f"the layer {call.name}"
    return "the net with its loss, of which every layer by itself is right,"


def _refuse_random(copy: Copy, title: str) -> None:
    """Refuse a net that gives something else at every call, by the layer's name."""
    with copy.kernels():
        values = [float(copy.value()) for _ in range(2)]
    if values[0] == values[1] or not abs(values[0] - values[1]) > 1e-10 * abs(values[0]):
        return
    for first, second in zip(_calls(copy), _calls(copy), strict=True):
        pairs = zip(jax.tree.leaves(first.result), jax.tree.leaves(second.result), strict=True)
        require(
            not any(_real(a) and not bool((a == b).all()) for a, b in pairs),
            f"{title} gives something else at every call: the layer {first.name} draws random "
            "numbers; switch it off to measure",
        )
    raise InputError(f"{title} or its loss draws random numbers; switch that off to measure")
