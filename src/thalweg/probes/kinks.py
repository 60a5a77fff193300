"""Where the kinks of a ReLU net are, how far they have moved, and what they have passed."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.result import Reading, exact
from thalweg.core.tree import Params
from thalweg.models import MLP
from thalweg.models.dense import affine
from thalweg.models.model import activation
from thalweg.models.starts import Restarted
from thalweg.probes.probe import Moment, Probe, with_data
from thalweg.problems.problem import Problem, Supervised


def _kinked(problem: Problem, what: str) -> tuple[Supervised, MLP]:
    """The problem and its dense net with a kink at 0 in the activation."""
    data, model = with_data(problem, what), getattr(problem, "model", None)
    while isinstance(model, Restarted):
        model = model.model
    slopes = activation(model.activation).slopes if isinstance(model, MLP) else None
    require(
        isinstance(model, MLP)
        and len(model.hidden) > 0
        and slopes is not None
        and slopes != (1, 1),
        f"{what} needs a dense net whose activation has a kink at 0, as mlp([16], 'relu')",
    )
    assert isinstance(model, MLP)
    return data, model


def _first_layer(problem: Problem, params: Params, what: str) -> tuple[Array, Array, Array]:
    """Weights a (n,) and biases b (n,) of a net of one input, and its inputs x (N,)."""
    data, model = _kinked(problem, what)
    require(
        len(model.hidden) == 1 and model.bias and data.inputs.shape[1:] == (1,),
        f"{what} needs a net of one hidden layer with biases and of one input",
    )
    return params[0]["weight"][:, 0], params[0]["bias"], data.inputs[:, 0]


class KinkPositions(Probe):
    """-b_i/a_i of the hidden units of a one-input net, where f is not affine.

    value   (unit,), the input's unit
    error   exact up to rounding; a unit whose a_i is 0 has no kink, which is NONFINITE
    raises  InputError for other nets: one input, one hidden layer with biases, a kinked activation
    cost    none
    """

    name: ClassVar[str] = "kink_positions"
    unit: ClassVar[str] = "input"
    dims: ClassVar[tuple[str, ...]] = ("unit",)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        a, b, _ = _first_layer(problem, params, "where the kinks are")
        return exact(-b / a), ()


class KinkReach(Probe):
    """max_i |b_i/a_i| over min_j |x_j| of a one-input net; from 1 on a kink may have passed one.

    Until then a net that started with zero hidden biases is affine on either side of 0. The first
    record at which it is 1 or more is the first crossing as far as the records tell;
    `theory.kink_dynamics` looks at every step.

    value   (), a pure number
    error   exact up to rounding; infinite, hence NONFINITE, if an input or an a_i is 0
    raises  InputError as `kink_positions`
    cost    none

    Source: Holzmueller and Steinwart (2022), arXiv 2002.04861.
    """

    name: ClassVar[str] = "kink_reach"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        a, b, x = _first_layer(problem, params, "how far the kinks reach")
        return exact(jnp.max(jnp.abs(b / a)) / jnp.min(jnp.abs(x))), ()


class ActivationChanges(Probe):
    """The share of (example, hidden unit) whose pre-activation is not on its side of the start's.

    0 while no kink, of any layer and in any number of inputs, has passed an example: the net is
    then what its start's pattern makes of it, a polynomial in its parameters.

    value   (), a pure number from 0 to 1
    error   exact
    raises  InputError for nets that are not dense or have no kink in their activation
    cost    a forward pass
    """

    name: ClassVar[str] = "activation_changes"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def start(self, problem: Problem, params: Params) -> Float[Array, "N units"]:
        return self._pattern(problem, params)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(jnp.mean(jnp.abs(self._pattern(problem, params) - memory))), memory

    def _pattern(self, problem: Problem, params: Params) -> Float[Array, "N units"]:
        """1 for a pre-activation above 0, else 0; NaN where there is no number."""
        data, model = _kinked(problem, "what the kinks have passed")
        act, h, found = activation(model.activation).function, data.inputs, []
        h = h.reshape(len(h), -1)
        for layer in params[:-1]:
            z = affine(layer, h)
            found.append(jnp.where(jnp.isnan(z), z, (z > 0).astype(z.dtype)))
            h = act(z)
        return jnp.concatenate(found, axis=1)


def kink_positions() -> KinkPositions:
    """Where the kinks of a one-input net are; see `KinkPositions`.

    Examples:
        >>> data = (np.array([[1.0], [-2.0]]), np.zeros((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.mlp([2], "relu"), data)
        >>> first = {"weight": jnp.array([[2.0], [-1.0]]), "bias": jnp.array([1.0, 3.0])}
        >>> params = [first, {"weight": jnp.ones((1, 2)), "bias": jnp.zeros(1)}]
        >>> tw.measure(problem, params, tw.probes.kink_positions()).value.tolist()
        [-0.5, 3.0]
    """
    return KinkPositions()


def kink_reach() -> KinkReach:
    """How far the kinks of a one-input net reach, over the nearest input; see `KinkReach`.

    Examples:
        >>> data = (np.array([[1.0], [-2.0]]), np.zeros((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.mlp([2], "relu"), data)
        >>> first = {"weight": jnp.array([[2.0], [-1.0]]), "bias": jnp.array([1.0, 0.2])}
        >>> params = [first, {"weight": jnp.ones((1, 2)), "bias": jnp.zeros(1)}]
        >>> float(tw.measure(problem, params, tw.probes.kink_reach()).value)  # of 1 allowed
        0.5
    """
    return KinkReach()


def activation_changes() -> ActivationChanges:
    """What share of the activation pattern differs from the start's; see `ActivationChanges`.

    Examples:
        >>> data = (np.array([[1.0], [-2.0]]), np.array([[1.0], [2.0]]))
        >>> problem = tw.problems.supervised(tw.models.mlp([8], "relu"), data)
        >>> options = {"until": 0.01, "records": 1, "progress": False}
        >>> run = tw.run(problem, tw.gradient_descent(0.01), probes="activation-changes", **options)
        >>> run.dataset["activation_changes"].values[0, 0].tolist()  # at the start
        0.0
    """
    return ActivationChanges()
