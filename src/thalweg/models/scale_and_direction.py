"""Weight normalisation: a vector, or every row of a network's weights, as scale times direction."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.models.model import Model, Shape


class ScaledDirection(NamedTuple):
    """The parameters (g, w) that stand for x = g w/||w||, or for x = g w with w on the sphere.

    Attributes:
        scale: g, shape () for a vector, (out,) for the rows of a matrix or the kernels of a
            convolution.
        direction: w, shape (d,) or (out, in, ...).
    """

    scale: Float[Array, "..."]
    direction: Float[Array, "... d"]


def scaled_direction(x: Array, *, rows: bool = False) -> ScaledDirection:
    """(||x||, x/||x||) of a vector, or of each entry of the leading axis; NaN directions at zero.

    Args:
        x: Shape (d,), or with `rows` (out, in, ...).
        rows: Whether every row has a scale of its own.
    """
    scale = _norms(x, int(rows))
    return ScaledDirection(scale, unit_directions(x, int(rows)))


def unit_directions(direction: Array, lead: int = 0) -> Array:
    """w/||w||, norms over all but the first `lead` axes: the projection onto the sphere.

    Args:
        direction: w, shape (d,) with `lead` 0 or (out, in, ...) with `lead` 1.
        lead: The number of axes of the scale.
    """
    return direction / _aside(_norms(direction, lead), direction)


def weight_norm(pair: ScaledDirection) -> Array:
    """The vector x = g w/||w||, row by row; its derivative in w is (g/||w||)(I - w w^T/||w||^2).

    Source: Salimans and Kingma (2016), arXiv 1602.07868; Wu et al. (2020), E1.
    """
    return on_sphere(pair._replace(direction=unit_directions(pair.direction, pair.scale.ndim)))


def on_sphere(pair: ScaledDirection) -> Array:
    """The vector x = g w, row by row, for w that something else keeps at norm 1.

    Source: Wu et al. (2020), arXiv 1911.07956, E3.
    """
    return _aside(pair.scale, pair.direction) * pair.direction


def is_scaled_direction(node: Any) -> bool:
    """Whether a node of a tree of parameters is a (g, w)."""
    return isinstance(node, ScaledDirection)


class WeightNormalised(Model):
    """A model whose weight rows are g w/||w||, or g w with ||w|| = 1.

    Every leaf of two or more axes, (out, in) or (out, in, pixels ...), becomes a `ScaledDirection`
    with one scale for each of its rows; biases and other vectors stay. The start is that of the
    model: g the norms of its rows, w of norm 1, so that a step size of g of c times that of w is
    the c of the theory. A row of zeros has no direction: its start is not finite.

    Attributes:
        model: The network.
        sphere: Leave the division by ||w|| out, for dynamics that keep w on the sphere.

    Source: Salimans and Kingma (2016), arXiv 1602.07868.
    """

    model: Model
    sphere: bool = eqx.field(static=True, default=False)

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        params = self.model.init(key, inputs, outputs, dtype)
        return jax.tree.map(
            lambda leaf: scaled_direction(leaf, rows=True) if leaf.ndim > 1 else leaf, params
        )

    def plain(self, params: Params) -> Params:
        """The parameters of the model itself."""
        product = on_sphere if self.sphere else weight_norm
        return jax.tree.map(
            lambda node: product(node) if is_scaled_direction(node) else node,
            params,
            is_leaf=is_scaled_direction,
        )

    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        return self.model.apply(self.plain(params), x)

    @property
    def smooth(self) -> bool:
        return self.model.smooth

    @property
    def separable(self) -> bool:
        return self.model.separable


def weight_normalised(model: Model, *, sphere: bool = False) -> WeightNormalised:
    """A model with weight normalisation; see `WeightNormalised`.

    Examples:
        >>> net = tw.models.weight_normalised(tw.models.linear([]))
        >>> params = net.init(jax.random.key(0), (3,), 1, jnp.float64)
        >>> bool(jnp.isclose(jnp.linalg.norm(params[0]["weight"].direction), 1))
        True
    """
    return WeightNormalised(model, sphere)


def _norms(x: Array, lead: int) -> Array:
    return jnp.sqrt(jnp.sum(x**2, axis=tuple(range(lead, x.ndim))))


def _aside(scale: Array, x: Array) -> Array:
    """The scale with axes of length one behind, so that it multiplies x row by row."""
    return scale.reshape(scale.shape + (1,) * (x.ndim - scale.ndim))
