"""Curvature in a training loop that stays in PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from thalweg.core.arguments import several, told
from thalweg.core.errors import InputError, reason, require, unknown
from thalweg.core.hessian_product import Product, hessian_product
from thalweg.core.result import Reading, Result
from thalweg.models.frameworks.network import needing
from thalweg.models.frameworks.torch_modules import double_copy, fixed_dropout
from thalweg.probes.basic import GradientNorm, Objective
from thalweg.probes.curvature import Sharpness, SmallestEigenvalue, tracked
from thalweg.probes.probe import Moment
from thalweg.problems.problem import Function
from thalweg.torch.host import Host
from thalweg.torch.objective import translated
from thalweg.torch.optimisers import check_optimiser, preconditioner
from thalweg.torch.record import Record

QUANTITIES = ("loss", "gradient_norm", "sharpness", "smallest_eigenvalue")
PRECONDITIONED = "preconditioned_sharpness"
PRECISIONS = {"float64": jnp.float64, "float32": jnp.float32}


class Tracker:
    """Sharpness and its like of a net in a PyTorch loop, warm-started from record to record.

        track = thalweg.torch.Tracker(net, torch.nn.CrossEntropyLoss(), optimizer)
        for step, (x, y) in enumerate(batches):
            ...  # your own step
            if step % 10 == 0:
                record = track.measure(batch)
                record["sharpness"].value, record["sharpness"].error, record.seconds

    Measured is loss(net(x), y) at the net's present weights and buffers, on a copy on the CPU:
    device, mode, gradients and random state of the net are left alone. Measure on one fixed batch
    to follow one objective; a fresh batch each time gives numbers of that batch, and the warm start
    saves less. The first record exports and compiles, each new shape of batch compiles again.

    The net is carried over to JAX (see `models.from_torch`) and held against PyTorch; one that
    cannot be is measured all the same, by PyTorch's double backward: `record.by` says which, and
    why. Values, errors and codes are those of the probes of the same names.

    Args:
        net: A module; its parameters that require gradients are measured in.
        loss: Of outputs and targets, to one number: `torch.nn.CrossEntropyLoss()`, a function.
        optimizer: Of `torch.optim` (SGD, Adam, AdamW, RMSprop, Adagrad), whose present
            preconditioner then gives "preconditioned_sharpness": the largest eigenvalue of
            D^{-1/2} H D^{-1/2}, D that of its last step as `probes.preconditioned_sharpness` has it
            (L2 penalty and decoupled decay included), which a stable optimiser keeps below
            `record.threshold`. Of adaptive ones not measured before the first step.
        quantities: Some of "loss", "gradient_norm", "sharpness", "smallest_eigenvalue". The last
            costs 62 Hessian products at every record and is not among the default.
        training: Whether batch normalisation acts as in training, by the batch's averages: the
            loss that training sees. Dropout is switched off either way.
        precision: "float64" or "float32", which is faster and knows fewer digits.
        tolerance: Relative error asked of the sharpness.
        most_products: Products after which its search gives up.
        seed: Of the random directions.

    Raises:
        InputError: If an argument does not fit, or PyTorch is not installed.

    Cost: as `probes.sharpness`: two Hessian products and a gradient when training is slow, more at
        every 25th record. `record` counts them.
    """

    def __init__(
        self,
        net: Any,
        loss: Callable[..., Any],
        optimizer: Any = None,
        quantities: str | Sequence[str] = QUANTITIES[:3],
        *,
        training: bool = False,
        precision: str = "float64",
        tolerance: float = 1e-2,
        most_products: int = 200,
        seed: int = 0,
    ) -> None:
        with needing("torch"):
            import torch
        require(
            isinstance(net, torch.nn.Module),
            f"net came as {told(net)}; give a PyTorch module, as torch.nn.Linear(4, 2)",
        )
        require(
            callable(loss) and not isinstance(loss, type),
            f"loss came as {told(loss)}; give a function of outputs and targets, as "
            "torch.nn.CrossEntropyLoss()",
        )
        self.quantities = tuple(several(quantities))
        for name in self.quantities:
            require(name in QUANTITIES, unknown(name, QUANTITIES, "quantity"))
        require(precision in PRECISIONS, unknown(precision, PRECISIONS, "precision"))
        self.net, self.optimizer, self.training = net, optimizer, training
        self.weights = {n: p for n, p in net.named_parameters() if p.requires_grad}
        require(bool(self.weights), "net has no parameter that requires a gradient")
        self.names = {id(p): name for name, p in self.weights.items()}
        if optimizer is not None:
            check_optimiser(optimizer, self.names)
        self.loss = loss
        self.kind = PRECISIONS[precision]
        self.sharpness = Sharpness(tolerance=float(tolerance), most_products=int(most_products))
        self.seed = int(seed)
        self.counts: dict[str, int] = {}
        self.memory: dict[str, Any] = {}
        self.host: Host | None = None
        self.by = "JAX"
        self._record: Callable[..., Any] | None = None
        self._scaled: Callable[..., Any] | None = None

    def measure(self, batch: Any) -> Record:
        """What was asked for at the net's present weights.

        Args:
            batch: Inputs and targets, two tensors or arrays.

        Raises:
            InputError: If the net or the loss refuses the batch, or the loss is not one number.
        """
        begun = time.perf_counter()
        x, y = self._batch(batch)
        if self._record is None:
            self._begin(x, y)
        assert self._record is not None
        theta, _ = ravel_pytree({n: self._array(p) for n, p in self.weights.items()})
        theta = jnp.asarray(theta, self.kind)
        buffers = {name: b.detach().cpu() for name, b in self.net.named_buffers()}
        if self.host is not None:
            self.host.load(buffers, (x, y))
            given: tuple[Any, ...] = ()
        else:
            frozen = {n: p.detach().cpu() for n, p in self.net.named_parameters()}
            sources = {**frozen, **buffers}
            held = {k: self._array(sources[k]) if k in sources else v for k, v in self.held.items()}
            given = (held, self._array(x), self._array(y))
        moment = self._moment("all")
        readings, memory, products = self._record(theta, given, self._kept(theta), moment)
        self.memory.update(memory)
        gradients = len(set(self.quantities) - {"loss"})
        threshold = None
        if self.optimizer is not None:
            scaling, threshold = self._scaling()
            if scaling is None:
                nothing, code = jnp.asarray(jnp.nan), jnp.asarray(int(Result.NOT_MEASURED))
                readings[PRECONDITIONED] = Reading(nothing, nothing, code)
            else:
                assert self._scaled is not None
                kept, moment = self._kept(theta)[PRECONDITIONED], self._moment(PRECONDITIONED)
                found = self._scaled(theta, given, scaling, kept, moment)
                readings[PRECONDITIONED], self.memory[PRECONDITIONED], more = found
                products, gradients = products + more, gradients + 1
        readings = jax.tree.map(np.asarray, readings)
        seconds = time.perf_counter() - begun
        return Record(readings, threshold, gradients, int(products), seconds, self.by)

    def _moment(self, what: str) -> Moment:
        """A moment that counts how often a thing has been measured."""
        count = self.counts.get(what, 0)
        self.counts[what] = count + 1
        key = jax.random.fold_in(jax.random.key(self.seed), count)
        return Moment(jnp.asarray(count, jnp.int32), key)

    def _kept(self, theta: Any) -> dict[str, Any]:
        """What is carried from record to record."""
        if not self.memory:
            empty = jnp.zeros((min(2, theta.size), theta.size), theta.dtype)
            self.memory = dict.fromkeys(("sharpness", PRECONDITIONED), empty)
            self.memory["smallest_eigenvalue"] = empty[0]
        return self.memory

    def _array(self, tensor: Any) -> np.ndarray:
        tensor = tensor.detach().cpu()
        return (tensor.double() if tensor.is_floating_point() else tensor).numpy()

    def _batch(self, batch: Any) -> tuple[Any, Any]:
        """Inputs and targets on the CPU, floating-point numbers in double precision."""
        import torch

        require(
            isinstance(batch, tuple | list) and len(batch) == 2,
            f"batch came as {told(batch)}; give inputs and targets, as (x, y)",
        )
        try:
            x, y = (torch.as_tensor(part).detach().cpu() for part in batch)
        except Exception as error:
            raise InputError(f"batch cannot be read as two tensors: {reason(error)}") from error
        x, y = (part.double() if part.is_floating_point() else part for part in (x, y))
        return x, y

    def _begin(self, x: Any, y: Any) -> None:
        """Carry the net over, or take it as it is."""
        import torch

        title = f"the PyTorch module {type(self.net).__name__}"
        net = fixed_dropout(double_copy(self.net, title).train(self.training))
        loss = (
            double_copy(self.loss, "the loss")
            if isinstance(self.loss, torch.nn.Module)
            else self.loss
        )
        try:
            with torch.no_grad():
                value = loss(net(x), y)
        except Exception as error:  # a user's net may raise anything
            raise InputError(
                f"{title} or its loss does not take this batch: {reason(error)}"
            ) from error
        require(
            isinstance(value, torch.Tensor) and value.numel() == 1 and value.is_floating_point(),
            f"the loss came as {told(value)}; let it give one real number, as by reduction='mean'",
        )
        try:
            model, objective = translated(net, loss, x, y)
            self.held = dict(model.beside)
        except Exception as error:  # whatever keeps it from JAX, PyTorch can do it
            self.by = f"PyTorch's double backward ({reason(error)})"
            self.kind = jnp.float64
            self.host = Host(net, loss, sorted(self.weights))
            host = self.host.objective
            function = lambda theta: host(theta)  # noqa: E731
        else:
            unravel = ravel_pytree({n: self._array(p) for n, p in self.weights.items()})[1]
            function = partial(_carried, objective, unravel, self.kind)
        self._record = jax.jit(partial(_recorded, function, self.sharpness, self.quantities))
        self._scaled = jax.jit(partial(_preconditioned, function, self.sharpness))

    def _scaling(self) -> tuple[Any, float | None]:
        """Gains, decays and shrinks, flat, and the threshold; None where nothing is known."""
        if self.optimizer is None:
            return None, None
        found = preconditioner(self.optimizer, self.names)
        if found is None:
            return None, None
        parts = []
        for of in (found.gains, found.decays, found.shrinks):
            whole = {
                n: np.broadcast_to(of.get(n, 0.0), tuple(p.shape)) for n, p in self.weights.items()
            }
            parts.append(jnp.asarray(ravel_pytree(whole)[0], self.kind))
        return tuple(parts), found.threshold


def _carried(
    objective: Callable[..., Any], unravel: Any, kind: Any, theta: Any, held: Any, x: Any, y: Any
) -> Any:
    cast = jax.tree.map(
        lambda a: a.astype(kind) if jnp.issubdtype(a.dtype, jnp.floating) else a, (held, x, y)
    )
    weights = jax.tree.map(lambda a: a.astype(kind), unravel(theta.astype(jnp.float64)))
    return jnp.reshape(objective(weights, *cast), ())


def _recorded(
    function: Callable[..., Any],
    sharpness: Sharpness,
    quantities: tuple[str, ...],
    theta: Any,
    given: tuple[Any, ...],
    memory: dict[str, Any],
    moment: Moment,
) -> tuple[dict[str, Reading], dict[str, Any], Any]:
    """Readings by name, memory and the number of products."""
    problem = Function(lambda t: function(t, *given), start=theta)
    readings, renewed, products = {}, {}, jnp.zeros((), jnp.int32)
    for probe in (Objective(), GradientNorm()):
        if probe.name in quantities:
            readings[probe.name] = probe.measure(problem, theta, (), moment)[0]
    if sharpness.name in quantities:
        product = hessian_product(problem.objective, theta)
        reading, kept, products = _largest(product, sharpness, memory[sharpness.name], moment)
        readings[sharpness.name], renewed[sharpness.name] = reading, kept
    lowest = SmallestEigenvalue()
    if lowest.name in quantities:
        reading, kept = lowest.measure(problem, theta, memory[lowest.name], moment)
        readings[lowest.name], renewed[lowest.name] = reading, kept
        products = products + min(lowest.products, theta.size) + 2
    return readings, renewed, products


def _preconditioned(
    function: Callable[..., Any],
    sharpness: Sharpness,
    theta: Any,
    given: tuple[Any, ...],
    scaling: Any,
    memory: Any,
    moment: Moment,
) -> tuple[Reading, Any, Any]:
    """The reading of D^{-1/2} (H + decays) D^{-1/2} + shrinks, memory, number of products."""
    hessian = hessian_product(lambda t: function(t, *given), theta)
    gains, decays, shrinks = scaling
    root = jnp.sqrt(gains)

    def scaled(v: Any) -> Any:
        return root * (hessian(root * v) + decays * root * v) + shrinks * v

    return _largest(scaled, sharpness, memory, moment)


def _largest(
    product: Product, how: Sharpness, memory: Any, moment: Moment
) -> tuple[Reading, Any, Any]:
    found = tracked(product, memory, moment, how.tolerance, how.recheck, how.most_products)
    value, error, result = found.reading
    return Reading(value[0], error[0], result), found.memory, found.products
