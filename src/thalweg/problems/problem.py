"""What is trained: an objective of parameters, with or without data behind it.

Every convention about the loss lives here: the objective is the mean over examples (or the sum,
on request) of a loss whose own factors are stated in `thalweg.problems.losses`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.errors import InputError, choose, require, unknown
from thalweg.core.identity import identity
from thalweg.core.tree import Params
from thalweg.models import Model
from thalweg.problems.data import Data
from thalweg.problems.losses import Loss, loss_named

REDUCTIONS = ("mean", "sum")
PRECISIONS = {"float64": jnp.float64, "float32": jnp.float32}


class Problem(eqx.Module):
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
    """

    model: Model
    loss: Loss
    inputs: Float[Array, "n ..."]
    targets: Float[Array, "n k"]
    reduction: str = eqx.field(static=True, default="mean")
    classification: bool = eqx.field(static=True, default=False)
    source: tuple[tuple[str, Any], ...] = eqx.field(static=True, default=())

    def init(self, key: Array) -> Params:
        shape, outputs = self.inputs.shape[1:], self.targets.shape[1]
        return self.model.init(key, shape, outputs, self.inputs.dtype)

    def outputs(self, params: Params, x: Float[Array, "n ..."] | None = None) -> Array:
        """The model's outputs (n, k), on the training inputs unless others are given."""
        return self.model.apply(params, self.inputs if x is None else x)

    def objective(self, params: Params) -> Float[Array, ""]:
        each = jax.vmap(self.loss.one)(self.outputs(params), self.targets)
        return jnp.mean(each) if self.reduction == "mean" else jnp.sum(each)

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
            "examples": int(self.inputs.shape[0]),
            "inputs": list(self.inputs.shape[1:]),
            "outputs": int(self.targets.shape[1]),
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
    """

    function: Callable[[Params], Array] = eqx.field(static=True)
    start: Params = None
    draw: Callable[[Array], Params] | None = eqx.field(static=True, default=None)
    is_smooth: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        if (self.start is None) == (self.draw is None):
            raise InputError("give either start (parameters) or draw (key -> parameters)")

    def init(self, key: Array) -> Params:
        params = self.start if self.draw is None else self.draw(key)
        params = jax.tree.map(jnp.asarray, params)
        kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(params)}
        require(
            all(jnp.issubdtype(kind, jnp.floating) for kind in kinds),
            f"parameters came as {', '.join(sorted(kinds))}; give floating-point numbers, as 1.0",
        )
        return params

    def objective(self, params: Params) -> Float[Array, ""]:
        return self.function(params)

    @property
    def smooth(self) -> bool:
        return self.is_smooth

    def describe(self) -> dict[str, Any]:
        name = getattr(self.function, "__qualname__", repr(self.function))
        return {"kind": "function", "function": name, "code": identity((self.function, self.draw))}


def supervised(
    model: Model,
    data: Data | tuple[Any, Any],
    loss: str | Loss | None = None,
    *,
    reduction: str = "mean",
    precision: str = "float64",
) -> Supervised:
    """A problem from a model and examples.

    Args:
        model: The network.
        data: A `Data`, or (inputs, targets): targets (n, k) of floats for regression, (n,) of
            whole numbers 0..k-1 for classification.
        loss: Name or `Loss`; by default cross-entropy for labels, squared error for numbers.
        reduction: "mean" or "sum" over examples.
        precision: "float64" or "float32".

    Raises:
        InputError: If shapes, types, names or the pair (loss, task) do not fit.
    """
    if not isinstance(data, Data):
        inputs, targets = data
        data = Data.of(np.asarray(inputs), np.asarray(targets))
    require(reduction in REDUCTIONS, unknown(reduction, REDUCTIONS, "reduction"))
    kind = choose(precision, PRECISIONS, "precision")
    labels = data.task == "classification"
    if loss is None:
        loss = "cross-entropy" if labels else "squared-error"
    if isinstance(loss, str):
        loss = loss_named(loss)
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
        tuple(sorted((k, _frozen(v)) for k, v in data.description.items())),
    )
    _check_outputs(problem)
    return problem


def _check_outputs(problem: Supervised) -> None:
    """Shapes are checked before anything is compiled, so that a mismatch is one sentence."""
    try:
        params = jax.eval_shape(problem.init, jax.random.key(0))
        out = jax.eval_shape(problem.outputs, params)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the model does not accept inputs of shape {problem.inputs.shape}: {reason}"
        ) from error
    require(
        out.shape == problem.targets.shape,
        f"the model's outputs have shape {out.shape}, the targets {problem.targets.shape}; "
        "they must agree",
    )


def _frozen(value: Any) -> Any:
    """A hashable copy of plain data, so that a problem can be a compilation key."""
    if isinstance(value, dict):
        return tuple(sorted((k, _frozen(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return tuple(_frozen(v) for v in value)
    return value
