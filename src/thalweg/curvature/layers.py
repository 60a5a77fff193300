"""The exact Hessian of one layer of a net with piecewise-affine activations.

With squared error, and everything but one layer held fixed, the loss is quadratic in that layer's
weights as long as no activation changes its slope, with a Hessian that is known without
differentiating twice: see `thalweg.models.piecewise_affine`.

Source: Riedi, Balestriero and Baraniuk (2023), arXiv 2203.03099.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require, unknown
from thalweg.core.tree import Params
from thalweg.models.piecewise_affine import downstream_matrix, passage, require_layer
from thalweg.models.residual import ResidualMLP
from thalweg.problems.problem import REDUCTIONS

ORDERS = ("columns", "rows")
PARTS = ("weight", "bias")


class LayerHessian(NamedTuple):
    """The sum w sum_g Q_g^T Q_g (x) z_g z_g^T of Kronecker products, kept as its factors.

    Attributes:
        maps: Q_g, shape (n, outputs, width).
        inputs: z_g, shape (n, in).
        weight: w: 1 for a summed loss, 1/n for a mean.
    """

    maps: Float[Array, "n outputs width"]
    inputs: Float[Array, "n in"]
    weight: float

    def dense(self, order: str = "columns") -> Float[Array, "p p"]:
        """The matrix itself, p = width * in.

        Args:
            order: How W is flattened. "columns" stacks its columns: w sum_g z_g z_g^T (x) Q_g^T
                Q_g, as on paper. "rows" is the order of `ravel`: Q_g^T Q_g (x) z_g z_g^T.

        Raises:
            InputError: If the order is unknown.
        """
        require(order in ORDERS, unknown(order, ORDERS, "order"))
        z, Q = self.inputs, self.maps
        sides = "iajb" if order == "columns" else "aibj"
        total = jnp.einsum(f"gi,gj,goa,gob->{sides}", z, z, Q, Q)
        p = self.maps.shape[2] * self.inputs.shape[1]
        return self.weight * total.reshape(p, p)

    def apply(self, V: Float[Array, "width in"]) -> Float[Array, "width in"]:
        """The Hessian on a change V of the weights: w sum_g Q_g^T Q_g V z_g z_g^T."""
        pushed = jnp.einsum("goa,ai,gi->go", self.maps, V, self.inputs)
        return self.weight * jnp.einsum("goa,go,gi->ai", self.maps, pushed, self.inputs)

    def gram(self) -> Float[Array, "m m"]:
        """K with blocks w (z_g . z_h) Q_g Q_h^T, m = n * outputs: the same non-zero eigenvalues.

        Gradient descent of step size eta on the weights multiplies the errors f - y, stacked over
        examples, by I - eta K.
        """
        z, Q = self.inputs, self.maps
        K = jnp.einsum("goa,hpa,gi,hi->gohp", Q, Q, z, z)
        m = Q.shape[0] * Q.shape[1]
        return self.weight * K.reshape(m, m)

    def spectrum(self) -> Float[Array, " p"]:
        """All eigenvalues, descending, of which p - n * outputs or more are zero.

        They are w times the squared singular values of the matrix with rows Q_g (x) z_g^T; of one
        example w ||z||^2 s_i(Q)^2 and zeros. Error: rounding times the largest.

        Cost: a singular value decomposition of an (n * outputs, width * in) matrix.
        """
        J = jnp.einsum("goa,gi->goai", self.maps, self.inputs)
        p = self.maps.shape[2] * self.inputs.shape[1]
        s = jnp.linalg.svd(J.reshape(-1, p), compute_uv=False)
        return self.weight * jnp.pad(s**2, (0, p - s.size))


def layer_hessian(
    model: ResidualMLP,
    params: Params,
    x: Float[Array, "n ..."],
    layer: int,
    part: str = "weight",
    reduction: str = "mean",
) -> LayerHessian:
    """The exact Hessian of the squared error 1/2 ||f(x) - y||^2 in one layer's weights or bias.

    Inside a region of constant activation slopes f is affine in them, so that neither the targets
    nor second derivatives enter. On a kink there is no Hessian: see `regions.boundary_distance`.

    Args:
        model: The net.
        params: Its parameters.
        x: A batch of inputs.
        layer: Which layer.
        part: "weight" or "bias"; a bias is a weight on the constant input 1.
        reduction: "mean" or "sum" over the batch, as in `problems.supervised`.

    Raises:
        InputError: As `local_matrix`, or if a name is unknown.

    Cost: one pass and `downstream_matrix` per example.

    Source: the paper's piecewise-quadratic loss (E3).

    Examples:
        >>> from thalweg.curvature import layer_hessian
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> found = layer_hessian(net, params, jnp.array([[1.0, -1.0]]), 0)
        >>> found.spectrum().round(6).tolist()  # |z|^2 |Q|^2 = 2 * 9
        [18.0, 0.0, 0.0, 0.0]
    """
    require(part in PARTS, unknown(part, PARTS, "part"))
    require(reduction in REDUCTIONS, unknown(reduction, REDUCTIONS, "reduction"))
    require_layer(model, params, layer)
    require(
        jnp.ndim(x) >= 2 and jnp.size(x) > 0,
        f"x came with shape {jnp.shape(x)}; give a batch of inputs, (examples, features)",
    )

    def one(example: Array) -> tuple[Array, Array]:
        z = passage(model, params, example).inputs[layer]
        return downstream_matrix(model, params, example, layer), z

    maps, inputs = jax.vmap(one)(x)
    if part == "bias":
        inputs = jnp.ones((len(x), 1), maps.dtype)
    return LayerHessian(maps, inputs, 1 / len(x) if reduction == "mean" else 1.0)
