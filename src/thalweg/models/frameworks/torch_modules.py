"""PyTorch: modules exported to core operations, which are carried out in JAX."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from thalweg.core.arguments import told
from thalweg.core.errors import InputError, reason, require
from thalweg.core.tree import Params
from thalweg.models.frameworks.agreement import (
    TOLERANCE,
    agreement_of,
    derived,
    differences,
    relative_gap,
)
from thalweg.models.frameworks.in_jax import start_of
from thalweg.models.frameworks.network import Network, as_examples, freely, needing, taken
from thalweg.models.frameworks.torch_program import Program, program_of
from thalweg.models.frameworks.torch_truth import blamed, truth, without_fused_kernels

EVALUATION = "give net.eval()"
KERNELS = 1e-7  # what single precision in a kernel of PyTorch explains, as in that of hardsigmoid


@freely()
def from_torch(
    net: Any, example: Any = None, smooth: bool | None = None, batch_statistics: bool = False
) -> Network:
    """A model from a PyTorch module, which starts from its own weights.

    The module is copied to the CPU in double precision and exported by `torch.export`; its core
    operations are carried out in JAX. Parameters that require gradients are trained; buffers and
    frozen parameters are held fixed. The module itself is left as it is.

    Args:
        net: A module whose `forward` maps a batch (n, ...) to outputs (n, k).
        example: A batch of inputs. On its first rows outputs, a gradient and a Hessian product
            are compared with PyTorch's own (double backward) in float64; whole numbers say that
            the net takes tokens. None: nothing is exported before `problems.supervised` gives its
            data.
        smooth: Whether the net is free of kinks (of ReLU, max-pooling); None: see `Applied`.
        batch_statistics: Whether batch normalisation in training mode is taken as the function of
            the whole batch that it is. False: it is refused, as dropout is.

    Raises:
        InputError: If PyTorch is not installed, the module is in training mode with layers that
            mind it, has complex weights, uses an operation that is not known here, or something
            differs; the sentence names the layer.

    Cost: with an example an export (a second, three for a transformer), and a gradient and a
        Hessian product by either framework.

    Examples:
        >>> import torch
        >>> net = torch.nn.Linear(2, 1, bias=False)
        >>> model = tw.models.from_torch(net, example=np.eye(2))
        >>> params = model.init(jax.random.key(0), (2,), 1, jnp.float64)  # the net's own, cast
        >>> outputs = net(torch.eye(2)).detach().numpy()
        >>> bool(jnp.allclose(model.apply(params, jnp.eye(2)), outputs))
        True
        >>> type(model.to_framework(params)).__name__  # a module again
        'Linear'
    """
    with needing("torch"):
        import torch
    require(
        isinstance(net, torch.nn.Module),
        f"net came as {told(net)}; give a PyTorch module, as torch.nn.Linear(4, 2)",
    )
    title = f"the PyTorch module {type(net).__name__}"
    _refuse(net, title, batch_statistics)
    names = [name for name, p in net.named_parameters() if p.requires_grad]
    require(bool(names), f"{title} has no parameter that requires a gradient; nothing is trained")
    start = {name: _array(p) for name, p in net.named_parameters() if p.requires_grad}
    again = partial(from_torch, net, smooth=smooth, batch_statistics=batch_statistics)
    if example is None:
        return Network(
            _not_yet,
            start=start,
            is_smooth=smooth,
            beside={},
            title=f"from_torch({type(net).__name__})",
            returned=partial(_returned, net),
            verified=again,
            named=partial(_named, net),
        )
    double = copied(net, title)
    rows = taken(lambda x: double(torch.as_tensor(x)), as_examples(example), title)
    rows = rows if len(rows) > 1 else np.concatenate([rows, rows])
    exported = export(double, (torch.as_tensor(rows),), title)
    program = exported.program
    whole = rows.dtype.kind in "iu"
    remake = None
    if not (program.free and _fits_others(exported, double, start, rows)):
        remake = lru_cache(partial(_remade, double, rows, title))
    model = Network(
        _Calls(program, len(rows), whole, remake),
        start=start,
        is_smooth=smooth,
        beside=exported.held,
        title=f"from_torch({type(net).__name__})",
        returned=partial(_returned, net),
        named=partial(_named, net),
    )
    params, _ = start_of(model)
    x = jnp.asarray(rows, jnp.float64)
    mine = derived(lambda p: model.apply(p, x), params)
    theirs = truth(double, rows, sorted(start), mine.product)
    if KERNELS >= differences(mine, theirs).worst > TOLERANCE:
        # Some fused kernels hold numbers in single precision: the same in core operations decides.
        theirs = truth(exported.graph.module(), rows, sorted(start), mine.product)
    blame = partial(blamed, exported.graph, program, params, model.beside, rows)
    return dataclasses.replace(model, agreement=agreement_of(mine, theirs, title, blame))


@dataclasses.dataclass(frozen=True, eq=False)
class Exported:
    """A module as PyTorch's exporter gives it, and as a program of ours.

    Attributes:
        graph: The `ExportedProgram` in core operations.
        program: The same for JAX.
        held: What the program takes beside weights, by name.
    """

    graph: Any
    program: Program
    held: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class _Calls:
    """The program as a function of weights, what is held beside them, and a batch."""

    program: Program
    rows: int
    whole: bool
    remake: Callable[[int], Program] | None

    def __call__(self, params: Params, beside: Params, x: Any) -> Any:
        x = jnp.rint(x).astype(int) if self.whole else x
        again = self.remake is not None and len(x) != self.rows
        program = self.remake(len(x)) if again and self.remake else self.program
        return program(params, beside, x)


def _not_yet(params: Params, beside: Params, x: Any) -> Any:
    raise InputError(
        "the PyTorch module was given without an example and has not seen data; give "
        "from_torch(net, example=inputs)"
    )


def _remade(net: Any, rows: np.ndarray, title: str, count: int) -> Program:
    """The program for another number of examples, where the exporter cannot leave it open."""
    import torch

    return export(net, (torch.as_tensor(np.resize(rows, (count, *rows.shape[1:]))),), title).program


def _fits_others(exported: Exported, net: Any, start: Params, rows: np.ndarray) -> bool:
    """Whether the program is right for other numbers of examples than it was exported with."""
    import torch

    params = {name: jnp.asarray(value, float) for name, value in start.items()}
    for count in (1, len(rows) + 1):
        x = np.resize(rows, (count, *rows.shape[1:]))
        try:
            with torch.no_grad():
                theirs = net(torch.as_tensor(x)).numpy()
        except Exception:  # a number that the module itself refuses
            continue
        try:
            mine = exported.program(params, exported.held, jnp.asarray(x))
        except Exception:  # sizes of the batch that it was exported with
            return False
        if mine.shape != theirs.shape or relative_gap(np.asarray(mine), theirs) > KERNELS:
            return False
    return True


def _refuse(net: Any, title: str, batch_statistics: bool) -> None:
    """Refuse layers that are random or keep averages in the mode that they are in, by name."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.dropout import _DropoutNd

    for name, layer in net.named_modules():
        name = name or "the module itself"
        share = getattr(layer, "p", 0) if isinstance(layer, _DropoutNd) else 0
        if isinstance(layer, torch.nn.MultiheadAttention | torch.nn.RNNBase):
            share = layer.dropout
        require(
            not (layer.training and share),
            f"{title} is in training mode: {name} ({type(layer).__name__}) drops out at random; "
            f"{EVALUATION}",
        )
        averages = layer.training or getattr(layer, "running_mean", 0) is None
        require(
            batch_statistics or not (isinstance(layer, _BatchNorm) and averages),
            f"{title} is in training mode: {name} ({type(layer).__name__}) normalises by the "
            f"batch's own averages; {EVALUATION}, or from_torch(net, batch_statistics=True) for "
            "the function of the whole batch",
        )
    for name, p in net.named_parameters():
        lazy = isinstance(p, torch.nn.parameter.UninitializedParameter)
        require(not lazy, f"{title} has not been called yet, so that {name} has no shape; call it")
        require(
            not p.is_complex(),
            f"{title} has complex weights ({name}, {p.dtype}), which are not translated; keep real "
            "and imaginary parts as two real parameters",
        )
        require(
            p.is_floating_point() or not p.requires_grad,
            f"{title} has weights of {p.dtype} ({name}); give floating-point ones",
        )


def _array(tensor: Any) -> np.ndarray:
    """A tensor as an array; half precision as single, which NumPy knows."""
    import torch

    tensor = tensor.detach().cpu()
    half = tensor.dtype in (torch.float16, torch.bfloat16)
    return (tensor.float() if half else tensor).numpy().copy()


def copied(module: Any, title: str, device: Any = "cpu", dtype: Any = None) -> Any:
    """The module in another type (double precision) and place, apart from the one trained.

    Raises:
        InputError: If it cannot be copied.
    """
    import torch

    try:
        return copy.deepcopy(module).to(device=device, dtype=dtype or torch.float64)
    except Exception as error:  # tensors with a history refuse to be copied
        raise InputError(
            f"{title} cannot be copied ({reason(error)}); measure it between two steps, and hold "
            "no tensor with a history in it"
        ) from error


def export(net: Any, given: tuple[Any, ...], title: str) -> Exported:
    """A module in core operations.

    Args:
        net: In double precision.
        given: Its inputs, tensors of at least two examples each.
        title: What the network is called.

    Raises:
        InputError: If PyTorch cannot export it, or an operation is unknown here.
    """
    import torch

    table = torch.export.default_decompositions()
    table.pop(torch.ops.aten.detach.default, None)  # it would lose that it stops gradients
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):  # else every moment is written out
        table.pop(getattr(torch.ops.aten, name).input, None)
    free = tuple({0: torch.export.Dim.AUTO} for _ in given)
    with without_fused_kernels(), torch.no_grad():
        try:
            graph = torch.export.export(net, given, dynamic_shapes=free, strict=False)
            graph = graph.run_decompositions(table)
        except Exception as error:  # the exporter raises what it likes
            raise InputError(f"torch.export cannot take {title}: {reason(error)}") from error
    first: dict[int, str] = {}
    layers = {
        name: first.setdefault(id(p), name)
        for name, p in net.named_parameters(remove_duplicate=False)
    }
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    program = program_of(graph, layers, frozen, title)
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers()), **graph.constants}
    wanted = [key for _, (kind, key) in program.inputs if kind == "held"]
    return Exported(graph, program, {name: _array(tensors[name]) for name in wanted})


def _named(net: Any) -> list[tuple[str, Any]]:
    """The module's own weights, frozen ones too."""
    return list(net.named_parameters())


def _returned(net: Any, weights: Params) -> Any:
    """A copy of the module with these weights."""
    import torch

    fresh = copy.deepcopy(net)
    with torch.no_grad():
        for name, p in fresh.named_parameters():
            if name in weights:
                p.copy_(torch.as_tensor(np.array(weights[name])))
    return fresh
