"""Dense layers as products of matrices: the same functions, another descent."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.dense import MLP
from thalweg.models.initialisers import hidden_frames
from thalweg.models.model import Model, Shape


def balanced_factors(
    W: Float[Array, "out in"], depth: int, widths: Sequence[int] | int, key: Array
) -> list[Float[Array, "_ _"]]:
    """[W_1, ..., W_N] with W_N ... W_1 = W and W_{j+1}^T W_{j+1} = W_j W_j^T, for any matrix W.

    W = U diag(s) V^T; W_j = Q_j D Q_{j-1}^T with D = diag(s^{1/N}), Q_0 = V, Q_N = U and
    orthonormal columns drawn for the others. Exact up to rounding.

    Args:
        W: Any matrix; it may be traced.
        depth: N, how many factors, at least 1.
        widths: The N - 1 hidden widths, each at least min(out, in), or one number for all.
        key: Draws the hidden frames.

    Raises:
        InputError: If the depth or the widths do not fit.

    Source: Arora, Cohen and Hazan (2018), balanced initialisation.
    """
    require(depth >= 1, f"the depth came as {depth}; give at least one factor")
    widths = [widths] * (depth - 1) if isinstance(widths, int) else list(widths)
    require(
        len(widths) == depth - 1,
        f"{len(widths)} hidden widths for {depth} factors: give {depth - 1}",
    )
    U, s, Vt = jnp.linalg.svd(jnp.asarray(W), full_matrices=False)
    root = s ** (1 / depth)
    frames = [Vt.T, *hidden_frames(key, widths, s.size, U.dtype), U]
    return [(top * root[None]) @ low.T for low, top in pairwise(frames)]


class Overparametrised(Model):
    """A dense net some of whose weight matrices are products W_N ... W_1.

    It expresses what the net does and starts from the function that the net starts from; descent
    takes another way. The parameters are the net's, with {"factors": [W_1, ..., W_N]} in place of
    {"weight": W} in the chosen layers.

    Attributes:
        model: The dense net.
        factors: N, at least 1.
        layers: Which layers, first is 0; None for all.
        width: Hidden width of the products; None for the smallest that loses nothing,
            min(out, in), which adds that square to the number of parameters for each factor more.

    Source: Arora, Cohen and Hazan (2018), experiment on a convolutional net.

    Examples:
        >>> net = tw.models.linear([])
        >>> deep = tw.models.Overparametrised(net, factors=2)
        >>> x, key = jnp.ones((1, 3)), jax.random.key(0)
        >>> same = [m.apply(m.init(key, (3,), 2, jnp.float64), x) for m in (net, deep)]
        >>> bool(jnp.allclose(*same))  # both start from the same function
        True
    """

    model: MLP
    factors: int = eqx.field(static=True, default=2)
    layers: tuple[int, ...] | None = eqx.field(static=True, default=None)
    width: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        require(self.factors >= 1, f"{self.factors} factors came; give at least 1")
        depth = len(self.model.hidden) + 1
        wrong = [j for j in self.layers or () if not 0 <= j < depth]
        require(not wrong, f"layers {wrong} came; the net has layers 0 to {depth - 1}")

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        drawn = self.model.init(key, inputs, outputs, dtype)
        split = range(len(drawn)) if self.layers is None else self.layers
        frames = jax.random.fold_in(key, len(drawn))
        return [
            self._split(layer, jax.random.fold_in(frames, j)) if j in split else layer
            for j, layer in enumerate(drawn)
        ]

    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        return self.model.apply(self.collapsed(params), x)

    def features(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        return self.model.features(self.collapsed(params), x)

    def collapsed(self, params: Params) -> Params:
        """Parameters of the dense net with the same outputs: products multiplied out."""
        return [_product(layer) if "factors" in layer else layer for layer in params]

    @property
    def smooth(self) -> bool:
        return self.model.smooth

    def _split(self, layer: Params, key: Array) -> Params:
        W = layer["weight"]
        width = min(W.shape) if self.width is None else self.width
        rest = {name: leaf for name, leaf in layer.items() if name != "weight"}
        return {"factors": balanced_factors(W, self.factors, width, key), **rest}


def _product(layer: Params) -> Params:
    rest = {name: leaf for name, leaf in layer.items() if name != "factors"}
    return {"weight": reduce(lambda low, top: top @ low, layer["factors"]), **rest}
