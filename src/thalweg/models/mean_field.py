"""The two-layer ReLU net of mean-field theory: an average over neurons, all of them decayed."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.dense import affine, flat_size
from thalweg.models.model import Model, Shape


class MeanFieldNet(Model):
    """f(x) = (1/N) sum_i a_i (w_i . x + b_i)_+, N neurons theta_i = (a_i, w_i, b_i) from N(0, I).

    Trained are theta_i/sqrt(N), as which the parameters are stored: [{"weight": w (N, inputs),
    "bias": b (N,)}, {"weight": a (outputs, N)}]. As a neuron is homogeneous of degree two, f is
    their plain sum, and everything is in the units of mean-field theory: a descent of step eta
    moves each theta_i by -eta times N times its own gradient, whatever N; weight decay lambda is
    (lambda/2N) sum_i |theta_i|^2; the largest step is 2/sharpness. No bias is added to the sum.

    Attributes:
        width: N.

    Source: Shevchenko, Kungurtsev and Mondelli (2022), JMLR 23(130), E1; in the stored parameters
    their step s is eta = 2 s.

    Examples:
        >>> net = tw.models.MeanFieldNet(width=2)
        >>> theta = jnp.array([[3.0, 1.0, -1.0], [1.0, -1.0, 0.0]])  # rows (a, w, b)
        >>> params = net.from_neurons(theta)
        >>> net.apply(params, jnp.array([[2.0]])).round(12).tolist()  # (3 * 1 + 0)/2
        [[1.5]]
        >>> bool(jnp.allclose(net.neurons(params), theta))
        True
    """

    width: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        require(self.width >= 1, f"width came as {self.width}; give at least 1")

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        columns = outputs + flat_size(inputs) + 1
        theta = jax.random.normal(key, (self.width, columns), dtype)
        return self.from_neurons(theta, outputs)

    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        return affine(params[-1], self.features(params, x))

    def features(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n m"]:
        return jax.nn.relu(affine(params[0], x.reshape(len(x), -1)))

    def neurons(self, params: Params) -> Float[Array, "N columns"]:
        """The neurons theta_i as rows (a, w, b)."""
        first, last = params
        rows = [last["weight"].T, first["weight"], first["bias"][:, None]]
        return jnp.sqrt(self.width).astype(rows[0].dtype) * jnp.concatenate(rows, axis=1)

    def from_neurons(self, theta: Float[Array, "N columns"], outputs: int = 1) -> Params:
        """The parameters whose neurons are these rows (a, w, b).

        Raises:
            InputError: If there are not N rows of at least outputs + 2 numbers.
        """
        theta = jnp.asarray(theta)
        require(
            theta.ndim == 2 and theta.shape[0] == self.width and theta.shape[1] > outputs + 1,
            f"theta came with shape {theta.shape}; give {self.width} rows (a, w, b)",
        )
        theta = theta / jnp.sqrt(self.width).astype(theta.dtype)
        first = {"weight": theta[:, outputs:-1], "bias": theta[:, -1]}
        return [first, {"weight": theta[:, :outputs].T}]

    @property
    def smooth(self) -> bool:
        return False
