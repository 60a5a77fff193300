"""A PyTorch network as a list of core operations, and the list as a function of JAX."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from thalweg.core.errors import InputError
from thalweg.core.tree import Params
from thalweg.models.frameworks.aten import OPERATIONS

TYPES = {
    **{f"torch.{name}": getattr(jnp, name) for name in ("int8", "int16", "int32", "int64")},
    "torch.bool": jnp.bool_,
    "torch.uint8": jnp.uint8,
}
WORKING = "torch.float64"  # the type that programs are exported in, here that of the weights


class Ref(NamedTuple):
    """The result of an earlier step."""

    name: str


class Type(NamedTuple):
    """A type by PyTorch's name."""

    name: str


class Step(NamedTuple):
    """One operation.

    Attributes:
        name: Of its result.
        operation: As `thalweg.models.frameworks.aten.OPERATIONS` has it.
        args: Values, lists of values, and `Ref`s.
        kwargs: Pairs of names and values.
        layer: The module of the network that it belongs to, as "encoder.layers.0.linear1".
    """

    name: str
    operation: str
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    layer: str


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A network's operations in order.

    Attributes:
        inputs: Pairs (name, source): "weight" or "held" with the name there, or "input" with its
            place.
        steps: The operations.
        output: What the network returns.
        free: Whether the number of examples is left open.
    """

    inputs: tuple[tuple[str, tuple[str, str]], ...]
    steps: tuple[Step, ...]
    output: Ref
    free: bool

    def __call__(self, params: Params, beside: Params, *given: Any) -> Any:
        """The outputs, for weights and held arrays by their names in the network, and inputs."""
        return self.values(params, beside, *given)[self.output.name]

    def values(self, params: Params, beside: Params, *given: Any) -> dict[str, Any]:
        """The results of all steps by name."""
        sources: dict[str, Any] = {"weight": params, "held": beside}
        sources["input"] = {str(place): value for place, value in enumerate(given)}
        found = {name: sources[kind][key] for name, (kind, key) in self.inputs}
        kind = working_kind(params or given)
        for step in self.steps:
            found[step.name] = perform(step, found, kind)
        return found


def working_kind(params: Params) -> Any:
    """The type of the weights, or of the first array where there are none."""
    return jax.tree.leaves(params)[0].dtype


def perform(step: Step, found: dict[str, Any], kind: Any) -> Any:
    """The result of one step, from those before it."""

    def filled(value: Any) -> Any:
        if isinstance(value, Ref):
            return found[value.name]
        if isinstance(value, Type):
            return kind if value.name == WORKING else TYPES[value.name]
        if isinstance(value, list):
            return [filled(part) for part in value]
        return value

    args = [filled(value) for value in step.args]
    return OPERATIONS[step.operation](*args, **{k: filled(v) for k, v in step.kwargs})


def program_of(exported: Any, layers: dict[str, str], frozen: set[str], title: str) -> Program:
    """A program of PyTorch's exporter, in core operations.

    Args:
        exported: A `torch.export.ExportedProgram` after `run_decompositions`.
        layers: Of weights by all names that they go by: the first one.
        frozen: Names of those that are held fixed.
        title: What the network is called.

    Raises:
        InputError: If an operation is not known here; the sentence names it and its layer.
    """
    import torch

    signature = exported.graph_signature
    weights = {
        k: ("held" if layers[v] in frozen else "weight", layers[v])
        for k, v in signature.inputs_to_parameters.items()
    }
    held = {k: ("held", v) for k, v in signature.inputs_to_buffers.items()}
    constants = {k: ("held", v) for k, v in signature.inputs_to_lifted_tensor_constants.items()}
    sources = weights | held | constants
    inputs, steps, layer = [], [], ""
    places, free = 0, True
    output = None
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            if node.name in sources:
                inputs.append((node.name, sources[node.name]))
            else:
                inputs.append((node.name, ("input", str(places))))
                places += 1
                free = free and not isinstance(node.meta["val"].shape[0], int)
        elif node.op == "output":
            wanted = [
                spec.arg.name
                for spec in signature.output_specs
                if spec.kind is torch.export.graph_signature.OutputKind.USER_OUTPUT
            ]
            if len(wanted) != 1:
                raise InputError(
                    f"{title} returns {len(wanted)} arrays; let its forward return the outputs "
                    "(n, k) alone"
                )
            output = Ref(wanted[0])
        else:
            layer = _layer(node) or layer
            steps.append(_step(node, layer, title))
    assert output is not None
    return Program(tuple(inputs), tuple(_needed(steps, output)), output, free)


def _needed(steps: list[Step], output: Ref) -> Iterator[Step]:
    """Steps that the output depends on, in order."""
    wanted, kept = {output.name}, []
    for step in reversed(steps):
        if step.name in wanted:
            kept.append(step)
            pending: list[Any] = [*step.args, *(v for _, v in step.kwargs)]
            while pending:
                value = pending.pop()
                if isinstance(value, Ref):
                    wanted.add(value.name)
                elif isinstance(value, list):
                    pending += value
    return reversed(kept)


def _layer(node: Any) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values()]
    return paths[-1].removeprefix("L['self'].") if paths else ""


def _step(node: Any, layer: str, title: str) -> Step:
    name = _operation(node)
    where = f" in the layer {layer}" if layer else ""
    if node.op != "call_function" or name not in OPERATIONS:
        raise InputError(
            f"{title} uses {name}{where}, which has no translation; the operations are those of "
            "thalweg.models.frameworks.aten: write the layer with them, or add it there"
        )
    schema = getattr(node.target, "_schema", None)
    args = [_plain(value, name, where, title) for value in node.args]
    kwargs = {k: _plain(v, name, where, title) for k, v in node.kwargs.items()}
    if schema is not None:
        names = [argument.name for argument in schema.arguments]
        kwargs = {k: v for k, v in kwargs.items() if k not in _IDLE}
        args = [v for k, v in zip(names, args, strict=False) if k not in _IDLE]
    return Step(node.name, name, tuple(args), tuple(kwargs.items()), layer)


# What says where and how an array lies in memory; and generators, of which none is left.
_IDLE = {"device", "layout", "pin_memory", "memory_format", "requires_grad", "generator"}


def _operation(node: Any) -> str:
    target = node.target
    packet = getattr(target, "overloadpacket", None)
    if packet is not None:
        name = str(packet)
        return name.removeprefix("aten.") if name.startswith("aten.") else name
    module = getattr(target, "__module__", "") or ""
    plain = getattr(target, "__name__", str(target))
    if module in ("_operator", "math", "operator"):
        return f"{module.removeprefix('_')}.{plain}"
    return plain if module == "torch" else f"{node.op} {plain}"


def _plain(value: Any, name: str, where: str, title: str) -> Any:
    """An argument without objects of PyTorch."""
    import torch

    if isinstance(value, torch.fx.Node):
        return Ref(value.name)
    if isinstance(value, list | tuple):
        return [_plain(part, name, where, title) for part in value]
    if isinstance(value, torch.dtype):
        if str(value) != WORKING and (value.is_floating_point or value.is_complex):
            raise InputError(
                f"{title} casts to {value} in {name}{where}, which rounds what is measured in "
                "float64; leave the cast out"
            )
        return Type(str(value))
    if isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
        raise InputError(f"{title} has a size in {name}{where} that depends on its data")
    if isinstance(value, torch.device | torch.layout | torch.memory_format):
        return None
    return value
