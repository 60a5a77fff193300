"""Nets whose first biases start spread out, so that kinks lie where the examples are.

Source: Holzmueller and Steinwart (2022), arXiv 2002.04861; the laws as in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from thalweg.core.behaviour import traced
from thalweg.core.errors import InputError, choose, key_of, require
from thalweg.core.tree import Params
from thalweg.models.model import Model, Shape
from thalweg.models.starts import Restarted

# From a key, the first weights (n, d) and examples (N, d): their weights and biases (n,).
BiasLaw = Callable[[Array, Array, Array], tuple[Array, Array]]


def _uniform(low: float, high: float, reach: Callable[[int], float]) -> BiasLaw:
    """B ~ U(low r, high r), r a function of the number of inputs."""

    def law(key: Array, W: Array, x: Array) -> tuple[Array, Array]:
        r = reach(W.shape[1])
        return W, jax.random.uniform(key, W.shape[:1], W.dtype, low * r, high * r)

    return law


def _kink_uniform(key: Array, W: Array, x: Array) -> tuple[Array, Array]:
    """-b uniform between the least and the largest pre-activation over the examples."""
    z = x @ W.T
    low, high = jnp.min(z, axis=0), jnp.max(z, axis=0)
    return W, -(low + (high - low) * jax.random.uniform(key, W.shape[:1], W.dtype))


def _kink_at_a_point(key: Array, W: Array, x: Array) -> tuple[Array, Array]:
    """The kink through a random example, on the active side away from 0: b = -|w . x|."""
    chosen = x[jax.random.randint(key, W.shape[:1], 0, len(x))]
    z = jnp.sum(W * chosen, axis=1)
    return jnp.where(z[:, None] < 0, -W, W), -jnp.abs(z)


def _convex_hull(key: Array, W: Array, x: Array, points: int = 5) -> tuple[Array, Array]:
    """-b a random convex combination of the pre-activations of `points` random examples."""
    places, shares = jax.random.split(key)
    chosen = x[jax.random.randint(places, (len(W), points), 0, len(x))]
    weights = jax.random.exponential(shares, (len(W), points), W.dtype)
    weights = weights / jnp.sum(weights, axis=1, keepdims=True)
    return W, -jnp.einsum("nk,nkd,nd->n", weights, chosen, W)


def _he_reach(inputs: int) -> float:
    """sqrt(3 d) s with the weights' standard deviation s = sqrt(2/d): sqrt(6) whatever d is."""
    return math.sqrt(3 * inputs) * math.sqrt(2 / inputs)


BIAS_LAWS: dict[str, BiasLaw] = {
    "unif": _uniform(-1, 1, _he_reach),
    "unif-pos": _uniform(0, 1, _he_reach),
    "unif-neg": _uniform(-1, 0, _he_reach),
    "pytorch": _uniform(-1, 1, lambda inputs: 1 / math.sqrt(inputs)),
    "kink-uniform": _kink_uniform,
    "kink-neg-point": _kink_at_a_point,
    "convex-hull": _convex_hull,
}
NEED_EXAMPLES = ("kink-uniform", "kink-neg-point", "convex-hull")


class SpreadBiases(Restarted):
    """A dense net whose first layer's biases are drawn by a law; all else starts as the net's own.

        "unif"            b ~ U(-sqrt(6), sqrt(6)); "unif-pos" and "unif-neg" its halves
        "pytorch"         b ~ U(-1/sqrt(d), 1/sqrt(d)), d inputs
        "kink-uniform"    -b ~ U over the range of w . x over the examples
        "kink-neg-point"  b = -|w . x_I|, x_I a random example; w changes sign if w . x_I < 0
        "convex-hull"     -b a random convex combination of w . x of five random examples ("he+5")

    Attributes:
        model: A network whose parameters are a list of layers {"weight": ..., "bias": ...}.
        law: A name in `BIAS_LAWS`.
        examples: Inputs (N, d) that the last three laws are about; None for the others.
    """

    law: str = eqx.field(static=True, converter=lambda law: key_of(law, BIAS_LAWS, "bias law"))
    examples: Float[Array, "N d"] | None = None

    def __check_init__(self) -> None:
        require(
            self.law not in NEED_EXAMPLES or self.examples is not None,
            f"the law {self.law!r} puts kinks where examples are; give examples, of shape (N, d)",
        )
        require(
            self.examples is None or (self.examples.ndim >= 2 and len(self.examples) > 0),
            "the examples came without two axes; give them as (N, d)",
        )
        if self.examples is not None and not traced(self.examples):
            finite = bool(jnp.all(jnp.isfinite(self.examples)))
            require(finite, "an example is not finite; leave it out")

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        own, drawn = jax.random.split(key)
        params = self.model.init(own, inputs, outputs, dtype)
        if not (isinstance(params, list) and len(params) > 1 and "bias" in params[0]):
            raise InputError(
                f"{type(self.model).__name__} has no hidden layer with biases; give an mlp"
            )
        W = params[0]["weight"]
        x = jnp.zeros((1, W.shape[1])) if self.examples is None else self.examples
        x = x.reshape(len(x), -1).astype(W.dtype)
        require(
            x.shape[1] == W.shape[1],
            f"the examples have {x.shape[1]} numbers each, the net takes {W.shape[1]}; give "
            "examples of the net's inputs",
        )
        W, b = choose(self.law, BIAS_LAWS, "bias law")(drawn, W, x)
        return [params[0] | {"weight": W, "bias": b}, *params[1:]]


def spread_biases(model: Model, law: str, examples: ArrayLike | None = None) -> SpreadBiases:
    """The net with the biases of its first layer drawn by a law; see `SpreadBiases`.

    Raises:
        InputError: If the law is unknown, or needs examples and has none.

    Examples:
        >>> x = np.array([[-2.0], [1.0], [3.0]])
        >>> net = tw.models.spread_biases(tw.models.mlp([50], "relu"), "kink-neg-point", x)
        >>> first = net.init(jax.random.key(0), (1,), 1)[0]
        >>> kinks = -first["bias"] / first["weight"][:, 0]
        >>> sorted(set(kinks.round(12).tolist()))  # one through each example
        [-2.0, 1.0, 3.0]
    """
    given = None if examples is None else jnp.asarray(examples, float)
    return SpreadBiases(model, law, given)
