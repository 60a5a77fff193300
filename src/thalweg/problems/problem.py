"""What is trained: an objective of parameters, with or without data behind it.

Every convention about the loss lives here: the objective is the mean over examples (or the sum,
on request) of a loss whose own factors are stated in `thalweg.problems.losses`.
"""

from __future__ import annotations

import abc
import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from thalweg.core.arguments import told
from thalweg.core.digest import identity
from thalweg.core.doors import Checked, real_number, takes_one
from thalweg.core.errors import InputError, choose, reason, require, unknown
from thalweg.core.tree import Params, size
from thalweg.models import Model
from thalweg.models.given import ModelLike, as_model
from thalweg.problems.data.data import Data
from thalweg.problems.data.files import as_data
from thalweg.problems.losses import Loss, as_loss
from thalweg.problems.observed import observed

REDUCTIONS = ("mean", "sum")
PRECISIONS = {"float64": jnp.float64, "float32": jnp.float32}


class Problem(Checked):
    """An objective to descend, and how to draw a start."""

    @abc.abstractmethod
    def init(self, key: Array) -> Params:
        """Fresh parameters."""

    @abc.abstractmethod
    def objective(self, params: Params) -> Float[Array, ""]:
        """The full objective (unit: loss)."""

    @property
    def smooth(self) -> bool:
        """Whether the objective is twice differentiable everywhere."""
        return True

    def describe(self) -> dict[str, Any]:
        """What the record of a run says of the problem: plain data."""
        return {"kind": type(self).__name__}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from thalweg.problems.shown import problem_card

        shapes = jax.eval_shape(self.init, jax.random.key(0))
        return problem_card(self.describe(), sum(leaf.size for leaf in jax.tree.leaves(shapes)))


class Supervised(Problem):
    """A model, a loss and examples; the objective is their mean (or summed) loss.

    Attributes:
        model: The network.
        loss: The loss of one example.
        inputs: Shape (n, ...).
        targets: Shape (n, k), labels one-hot.
        reduction: "mean" or "sum" over examples.
        classification: Whether targets are one-hot labels.
        source: What the data are and what was done to them: plain data.
        microbatch: How many examples are worked on at a time, or None for all at once. The
            objective is the same up to rounding; memory is that of so many examples, and a
            gradient costs a third more, as the forward pass is done twice.
    """

    model: Model
    loss: Loss
    inputs: Float[Array, "n ..."]
    targets: Float[Array, "n k"]
    reduction: str = eqx.field(static=True, default="mean")
    classification: bool = eqx.field(static=True, default=False)
    source: tuple[tuple[str, Any], ...] = eqx.field(static=True, default=())
    microbatch: int | None = eqx.field(static=True, default=None)

    def init(self, key: Array) -> Params:
        shape, outputs = self.inputs.shape[1:], self.targets.shape[1]
        return self.model.init(key, shape, outputs, self.inputs.dtype)

    def outputs(self, params: Params, x: Float[Array, "n ..."] | None = None) -> Array:
        """The model's outputs (n, k), on the training inputs unless others are given."""
        x = self.inputs if x is None else x
        if self.microbatch is None or self.microbatch >= len(x):
            return self.model.apply(params, x)

        def one(example: Array) -> Array:
            return self.model.apply(params, example[None])[0]

        return jax.lax.map(one, x, batch_size=self.microbatch)

    def objective(self, params: Params) -> Float[Array, ""]:
        n = len(self.inputs)
        if self.microbatch is None or self.microbatch >= n:
            total = jnp.sum(self._losses(params, self.inputs, self.targets))
        else:
            total = self._in_blocks(params, self.microbatch)
        return total / n if self.reduction == "mean" else total

    @property
    def plain(self) -> bool:
        """Whether the objective is the loss over the examples alone, without another term."""
        return type(self).objective is Supervised.objective

    @property
    def examples(self) -> Data:
        """The examples with their names and all that is known of where they come from."""
        told = _thawed(self.source)
        told = told if isinstance(told, dict) else {}
        targets = np.asarray(self.targets, np.float64)
        task = "classification" if self.classification else "regression"
        classes: tuple[str, ...] = ()
        if self.classification:
            targets = np.argmax(targets, axis=1)
            classes = tuple(told.get("classes", map(str, range(self.targets.shape[1]))))
        name = str(told.get("name", "examples"))
        return Data(name, np.asarray(self.inputs, np.float64), targets, task, classes, told)

    def on(self, index: Int[Array, " b"]) -> Supervised:
        """The same problem on some of the examples, (b,) row numbers; a mean is over these."""
        return dataclasses.replace(self, inputs=self.inputs[index], targets=self.targets[index])

    def over_devices(self, devices: Sequence[jax.Device] | None = None) -> Supervised:
        """The same problem with its examples spread over devices, which then share all work.

        Objective, gradients, products and kernels change by rounding only: sums over examples are
        taken in another order. Nothing else need be said; parameters stay on every device.

        Args:
            devices: Of one kind; by default all of JAX. Their number must divide that of the
                examples.

        Raises:
            InputError: If the examples cannot be shared out evenly, or a device comes twice.
        """
        found = jax.devices() if devices is None else list(devices)
        n = len(self.inputs)
        require(
            len(found) > 0 and n % len(found) == 0,
            f"{n} examples cannot be spread evenly over {len(found)} devices; leave out "
            f"{n % max(len(found), 1)} examples, or take fewer devices",
        )
        require(len(set(found)) == len(found), "a device came twice; give each once")
        mesh = Mesh(np.array(found), ("examples",))
        rows = NamedSharding(mesh, PartitionSpec("examples"))
        inputs, targets = (jax.device_put(a, rows) for a in (self.inputs, self.targets))
        return dataclasses.replace(self, inputs=inputs, targets=targets)

    def _losses(self, params: Params, x: Array, y: Array) -> Float[Array, " n"]:
        return jax.vmap(self.loss.one)(self.model.apply(params, x), y)

    def _in_blocks(self, params: Params, size: int) -> Float[Array, ""]:
        """The summed loss, `size` examples at a time."""
        last = len(self.inputs) - size

        @jax.checkpoint
        def block(params: Params, first: Array) -> Array:
            # The last block begins early enough to be full; what it repeats does not count.
            begin = jnp.minimum(first, last)
            x, y = (
                jax.lax.dynamic_slice_in_dim(a, begin, size) for a in (self.inputs, self.targets)
            )
            new = begin + jnp.arange(size) >= first
            return jnp.sum(jnp.where(new, self._losses(params, x, y), 0))

        def on(total: Array, first: Array) -> tuple[Array, None]:
            return total + block(params, first), None

        kind = jax.eval_shape(block, params, jnp.asarray(0)).dtype
        starts = jnp.arange(0, len(self.inputs), size)
        return jax.lax.scan(on, jnp.zeros((), kind), starts)[0]

    @property
    def smooth(self) -> bool:
        return self.model.smooth

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "supervised",
            "model": repr(self.model),
            "loss": self.loss.name,
            "functions": identity((self.model, self.loss)),
            "reduction": self.reduction,
            **({} if self.microbatch is None else {"microbatch": self.microbatch}),
            "examples": int(self.inputs.shape[0]),
            "inputs": list(self.inputs.shape[1:]),
            "outputs": int(self.targets.shape[1]),
            **({"held fixed": held} if (held := getattr(self.model, "held", [])) else {}),
            "precision": str(self.inputs.dtype),
            "data": dict(self.source),
        }


class Function(Problem):
    """A bare function of parameters, without data.

    Args:
        function: Maps a pytree of parameters to a scalar.
        start: Parameters that every seed starts from, or None if `draw` is given.
        draw: Maps a key to parameters.
        is_smooth: Declare False if the function has kinks.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.array([3.0, 4.0]))
        >>> float(bowl.objective(bowl.start))
        12.5
    """

    function: Callable[[Params], Array] = eqx.field(static=True)
    start: Params = None
    draw: Callable[[Array], Params] | None = eqx.field(static=True, default=None)
    is_smooth: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        if (self.start is None) == (self.draw is None):
            raise InputError("give either start (parameters) or draw (key -> parameters)")
        takes_one(self.function, "the objective", "the parameters")
        takes_one(self.draw, "draw", "a key")
        if inspect.isroutine(self.start) or hasattr(self.start, "__func__"):
            raise InputError(
                "start came as a function; give parameters, or draw=, which maps a key to them"
            )

    def init(self, key: Array) -> Params:
        params = self.start if self.draw is None else self.draw(key)
        params = jax.tree.map(_as_array, params)
        kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(params)}
        require(
            all(jnp.issubdtype(kind, jnp.floating) for kind in kinds),
            f"parameters came as {', '.join(sorted(kinds))}; give floating-point numbers, as 1.0",
        )
        require(size(params) > 0, "parameters came without a single number; give some")
        return params

    def objective(self, params: Params) -> Float[Array, ""]:
        return real_number(self.function(params), "the objective")

    @property
    def smooth(self) -> bool:
        return self.is_smooth

    def describe(self) -> dict[str, Any]:
        name = getattr(self.function, "__qualname__", repr(self.function))
        return {"kind": "function", "function": name, "code": identity((self.function, self.draw))}


def _as_array(leaf: Any) -> Array:
    try:
        return jnp.asarray(leaf)
    except (TypeError, ValueError):  # text, or objects
        raise InputError(
            f"parameters came as {told(leaf)}; give floating-point numbers, as 1.0"
        ) from None


def supervised(
    model: ModelLike,
    data: Any,
    loss: str | Loss | Callable[..., Any] | None = None,
    *,
    reduction: str = "mean",
    precision: str = "float64",
    microbatch: int | None = None,
) -> Supervised:
    """A problem from a model and examples.

    Args:
        model: The network: a `Model`, text as "mlp:64-64", or another framework's network, as an
            Equinox or Flax module (`models.from_flax` and its like say what becomes of it).
        data: A `Data`, what `problems.read_data` makes one of, or (inputs, targets): targets (n, k)
            of floats for regression, (n,) of whole numbers, text or true/false for classification,
            numbered in sorted order.
        loss: Name, `Loss`, or a function of one example's outputs (k,) and target (k,), labels
            one-hot, that gives one number; by default cross-entropy for labels, squared error for
            numbers.
        reduction: "mean" or "sum" over examples.
        precision: "float64" or "float32".
        microbatch: How many examples to work on at a time, where memory is short: see
            `Supervised`.

    Raises:
        InputError: If shapes, types, names or the pair (loss, task) do not fit.

    Examples:
        >>> x, y = np.array([[1.0], [2.0]]), np.array([[1.0], [4.0]])
        >>> problem = tw.problems.supervised(tw.models.linear([]), (x, y))
        >>> float(problem.objective([{"weight": jnp.array([[1.0]])}]))  # mean of 0 and 2^2/2
        1.0
    """
    data = as_data(data)
    model = as_model(model, data.inputs)
    require(reduction in REDUCTIONS, unknown(reduction, REDUCTIONS, "reduction"))
    kind = choose(precision, PRECISIONS, "precision")
    require(
        microbatch is None or microbatch >= 1,
        f"microbatch came as {microbatch}; give at least 1, or leave it out for all at once",
    )
    labels = data.task == "classification"
    if loss is None:
        loss = "cross-entropy" if labels else "squared-error"
    loss = as_loss(loss)
    require(
        labels or loss.task != "classification",
        f"loss {loss.name!r} needs labels, and the target is numeric; "
        "use squared-error, or make the target a column of labels",
    )
    targets = np.eye(len(data.classes))[data.targets] if labels else data.targets
    problem = Supervised(
        model,
        loss,
        jnp.asarray(data.inputs, kind),
        jnp.asarray(targets, kind),
        reduction,
        labels,
        _frozen(data.description | {"name": data.name}),
        microbatch,
    )
    _check_outputs(problem)
    _check_loss(problem)
    problem = observed(problem)
    require(
        microbatch is None or problem.model.separable,
        "this net's outputs for an example depend on the whole batch (batch normalisation?), so "
        f"its examples cannot be worked on {microbatch} at a time; leave microbatch out",
    )
    return problem


def unraveller(problem: Problem) -> Callable[[Array], Params]:
    """What makes flat parameters (p,), as a run records them, those of a problem; draws no start.

    Examples:
        >>> from thalweg.problems.problem import unraveller
        >>> bowl = tw.problems.Function(lambda p: jnp.sum(p["w"] ** 2), start={"w": jnp.ones(2)})
        >>> unraveller(bowl)(jnp.arange(2.0))["w"].tolist()
        [0.0, 1.0]
    """
    like = jax.eval_shape(problem.init, jax.random.key(0))
    return ravel_pytree(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), like))[1]


def _check_outputs(problem: Supervised) -> None:
    """Shapes are checked before anything is compiled, so that a mismatch is one sentence."""
    try:
        params = jax.eval_shape(problem.init, jax.random.key(0))
        out = jax.eval_shape(problem.outputs, params)
    except InputError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise InputError(
            f"the model does not accept inputs of shape {problem.inputs.shape}: {reason(error)}"
        ) from error
    require(
        out.shape == problem.targets.shape,
        f"the model's outputs have shape {out.shape}, the targets {problem.targets.shape}; "
        "they must agree",
    )
    require(
        jnp.issubdtype(out.dtype, jnp.floating) and out.dtype.itemsize >= 4,
        f"the model's outputs came as {out.dtype}; give real floating-point numbers in the "
        f"precision of its parameters, {problem.inputs.dtype}",
    )


def _check_loss(problem: Supervised) -> None:
    target = jax.ShapeDtypeStruct(problem.targets.shape[1:], problem.targets.dtype)
    asked = f"the loss {problem.loss.name!r} of one example, outputs and target of shape " + str(
        target.shape
    )
    try:
        value = jax.eval_shape(problem.loss.one, target, target)
    except Exception as error:  # a user's function may raise anything
        raise InputError(f"{asked}, fails: {reason(error)}") from error
    require(
        value.shape == () and jnp.issubdtype(value.dtype, jnp.floating),
        f"{asked}, has shape {value.shape} and type {value.dtype}; let it give one real number",
    )


def _frozen(value: Any) -> Any:
    """A hashable copy of plain data, so that a problem can be a compilation key."""
    if isinstance(value, dict):
        return tuple(sorted((k, _frozen(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return tuple(_frozen(v) for v in value)
    return value


def _thawed(value: Any) -> Any:
    """Plain data from their hashable copy; an empty list of pairs comes back as one of none."""
    if not isinstance(value, tuple):
        return value
    pairs = all(isinstance(v, tuple) and len(v) == 2 and isinstance(v[0], str) for v in value)
    if value and pairs:
        return {k: _thawed(v) for k, v in value}
    return [_thawed(v) for v in value]
