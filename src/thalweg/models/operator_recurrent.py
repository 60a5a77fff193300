"""Networks whose input is a matrix that each layer applies to its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import real_array, told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.dense import affine
from thalweg.models.initialisers import INITIALISERS
from thalweg.models.model import Activation, Model, Shape, activation, activation_given

MATRICES = ("A0", "B0", "A1", "B1")
_BRANCHES = (("A0", "B0", "b0"), ("A1", "B1", "b1"))  # the affine one, and that under phi


def _branch(value: Any) -> str | Activation | None:
    return None if value is None else activation_given(value)


def _parts(value: Any) -> dict[str, Array] | None:
    if value is None:
        return None
    known = isinstance(value, Mapping) and set(value) <= set(MATRICES)
    require(
        known,
        f"fixed came as {told(value)}; give a dictionary of matrices by some of the names "
        f"{', '.join(MATRICES)}",
    )
    return {name: real_array(part) for name, part in value.items()}


class OperatorRecurrent(Model):
    """h_l = b0 + A0 h + B0 X h + phi(b1 + A1 h + B1 X h), h = h_(l-1); outputs w h_L + b.

    An example is a square matrix X (n, n), as a discretised operator; the state has k n numbers,
    and X acts on each of its k blocks: I_k (x) X. Each layer applies X once, so that without the
    branch under phi the outputs are a polynomial in X of degree L.

    All six parts of a layer start random, biases too: with h_0 = 0 and no bias the net is zero.
    Matrices, biases and readout are uniform in +-gain/sqrt(k n). With a rank, every matrix is a
    fixed part plus sum_p u_p v_p^T over r rank-one factors, whose entries start N(0, gain/(k n
    sqrt(r))), so that those of the sum have standard deviation gain/(k n). Scale X to a norm near
    1: outputs grow as ||X||^L.

    The parameters are a list of layers {"A0": ..., "B0": ..., "b0": ..., "A1": ..., ...} (one if
    they are tied), a factored matrix being {"left": (k n, r), "right": (k n, r)}, and last the
    readout {"weight": ..., "bias": ...}.

    Attributes:
        layers: L, how often X is applied.
        blocks: k.
        rank: r, or None for dense matrices.
        activation: phi, a name in `thalweg.models.ACTIVATIONS`; None leaves its branch out.
        tied: Whether all layers share their weights.
        readout: Whether an affine layer reads the outputs off h_L; else they are h_L itself.
        first: h_0, (k n,), the same for all examples and not trained; None for zero.
        fixed: Parts of matrices that are not trained, by name: "A0", "B0", "A1", "B1", shape (k n,
            k n), or (L, k n, k n) for each layer its own.
        gain: Every initial weight is multiplied by it.

    Source: de Hoop, Lassas and Wong (2019, arXiv 1912.11090), definition 2.1.

    Examples:
        >>> net = tw.models.OperatorRecurrent(2, activation=None, tied=True, readout=False)
        >>> halve = [{"A0": jnp.eye(1), "B0": -jnp.eye(1), "b0": jnp.ones(1)}]  # h + (1 - X h)
        >>> net.apply(halve, jnp.array([[[0.5]]])).tolist()  # 1, then 1.5: on the way to 1 / X = 2
        [[1.5]]
    """

    layers: int = eqx.field(static=True)
    blocks: int = eqx.field(static=True, default=1)
    rank: int | None = eqx.field(static=True, default=None)
    activation: str | Activation | None = eqx.field(static=True, converter=_branch, default="relu")
    tied: bool = eqx.field(static=True, default=False)
    readout: bool = eqx.field(static=True, default=True)
    first: Float[Array, " kn"] | None = eqx.field(converter=real_array, default=None)
    fixed: dict[str, Float[Array, "..."]] | None = eqx.field(converter=_parts, default=None)
    gain: float = eqx.field(static=True, default=1.0)

    def __check_init__(self) -> None:
        for name, least in (("layers", 1), ("blocks", 1), ("rank", 1)):
            value = getattr(self, name)
            require(
                value is None or value >= least,
                f"{name} came as {value}; give a whole number of at least {least}",
            )
        if self.activation is not None:
            activation(self.activation)
        for name, part in (self.fixed or {}).items():
            require(
                self.activation is not None or name in _BRANCHES[0],
                f"a fixed part of {name} came without an activation, so that no {name} is there; "
                "give an activation, or leave the part out",
            )
            stacked = part.ndim == 3 and not self.tied and part.shape[0] == self.layers
            require(
                part.ndim == 2 or stacked,
                f"the fixed part of {name} came with shape {part.shape}; give (k n, k n)"
                + ("" if self.tied else f", or ({self.layers}, k n, k n)"),
            )

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        require(
            len(inputs) == 2 and inputs[0] == inputs[1],
            f"an operator recurrent net takes square matrices (n, n), not examples of shape "
            f"{tuple(inputs)}",
        )
        size = self.blocks * inputs[0]
        for name, part in (("h_0", self.first), *(self.fixed or {}).items()):
            sides = () if part is None else part.shape[part.ndim == 3 :]
            require(
                all(side == size for side in sides),
                f"{name} came with shape {sides} for a state of {size} numbers ({self.blocks} "
                f"blocks of {inputs[0]}); let them agree",
            )
        require(
            self.readout or outputs == size,
            f"without a readout the outputs are the {size} numbers of the state, and {outputs} "
            "were asked for; give readout=True, or targets of that size",
        )
        draw = INITIALISERS["uniform-fan-in"]

        def uniform(key: Array, *shape: int) -> Array:
            return draw(key, (*shape, size), dtype, gain=self.gain).reshape(*shape, size)

        def matrix(key: Array) -> Params:
            if self.rank is None:
                return uniform(key, size)
            std = jnp.asarray((self.gain / (size * self.rank**0.5)) ** 0.5, dtype)
            left, right = std * jax.random.normal(key, (2, size, self.rank), dtype)
            return {"left": left, "right": right}

        layers = []
        for j in range(1 if self.tied else self.layers):
            own = jax.random.fold_in(key, j)
            layer: dict[str, Params] = {}
            for name in (name for branch in self.branches for name in branch):
                own, part = jax.random.split(own)
                layer[name] = matrix(part) if name in MATRICES else uniform(part, 1)[0]
            layers.append(layer)
        if not self.readout:
            return layers
        weight, bias = jax.random.split(jax.random.fold_in(key, self.layers))
        shift = self.gain / size**0.5 * jax.random.uniform(bias, (outputs,), dtype, -1.0, 1.0)
        return [*layers, {"weight": uniform(weight, outputs), "bias": shift.astype(dtype)}]

    def apply(self, params: Params, x: Float[Array, "count n n"]) -> Float[Array, "count out"]:
        if not self.readout:
            return self._last(params, x)
        return affine(params[-1], self._last(params, x))

    def features(self, params: Params, x: Float[Array, "count n n"]) -> Float[Array, "count kn"]:
        return self._last(params, x) if self.readout else super().features(params, x)

    def states(
        self, params: Params, x: Float[Array, "count n n"]
    ) -> Float[Array, "states count kn"]:
        """h_0, ..., h_L for every example, shape (L + 1, count, k n)."""
        h = [self._begin(x)]
        for j in range(self.layers):
            h.append(self._layer(self._at(params, j), h[-1], x))
        return jnp.stack(h)

    def matrices(self, params: Params) -> list[dict[str, Float[Array, "kn kn"]]]:
        """The matrices of each layer by name, fixed parts and factors added up, first layer first.

        One for each of the L layers, also where they are tied.
        """
        found = []
        for j in range(self.layers):
            layer = self._at(params, j)
            names = [name for name in MATRICES if name in layer]
            found.append({name: self._whole(layer[name], layer.get(f"+{name}")) for name in names})
        return found

    @property
    def smooth(self) -> bool:
        return self.activation is None or activation(self.activation).smooth

    @property
    def branches(self) -> tuple[tuple[str, str, str], ...]:
        """Names of the parts of a layer, by branch."""
        return _BRANCHES[: 1 if self.activation is None else 2]

    def _begin(self, x: Array) -> Float[Array, "count kn"]:
        size = self.blocks * x.shape[-1]
        first = jnp.zeros(size) if self.first is None else self.first
        return jnp.broadcast_to(first.astype(x.dtype), (len(x), size))

    def _last(self, params: Params, x: Array) -> Float[Array, "count kn"]:
        h = self._begin(x)
        if self.tied:
            layer = self._at(params, 0)
            return jax.lax.scan(
                lambda h, _: (self._layer(layer, h, x), None), h, length=self.layers
            )[0]
        for j in range(self.layers):
            h = self._layer(self._at(params, j), h, x)
        return h

    def _at(self, params: Params, j: int) -> dict[str, Params]:
        """The parts of layer j, with the fixed ones as "+A0" and so on."""
        layer = dict(params[0 if self.tied else j])
        for name, part in (self.fixed or {}).items():
            layer[f"+{name}"] = part[j] if part.ndim == 3 else part
        return layer

    def _layer(self, layer: dict[str, Params], h: Array, x: Array) -> Array:
        blocks = h.reshape(len(h), self.blocks, -1)
        # A row for each block, so that all of them are one product with X.
        applied = jnp.einsum("bij,bkj->bki", x, blocks).reshape(h.shape)

        def of(A: str, B: str, b: str) -> Array:
            moved = _times(layer[A], layer.get(f"+{A}"), h)
            acted = _times(layer[B], layer.get(f"+{B}"), applied)
            return moved + acted + layer[b][None]

        found = of(*_BRANCHES[0])
        if self.activation is None:
            return found
        phi: Callable[[Array], Array] = activation(self.activation).function
        return found + phi(of(*_BRANCHES[1]))

    @staticmethod
    def _whole(part: Params, fixed: Array | None) -> Float[Array, "kn kn"]:
        trained = part["left"] @ part["right"].T if isinstance(part, Mapping) else part
        return trained if fixed is None else trained + fixed.astype(trained.dtype)


def _times(part: Params, fixed: Array | None, h: Array) -> Array:
    """(fixed + part) h for every row of a batch; factors are never multiplied out."""
    factored = isinstance(part, Mapping)
    found = h @ part["right"] @ part["left"].T if factored else h @ part.T
    return found if fixed is None else found + h @ fixed.T.astype(h.dtype)
