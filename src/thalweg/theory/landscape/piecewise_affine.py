"""Nets with piecewise-affine activations, layer by layer: local matrices, exact layer Hessians.

At an input that lies on no kink the net is affine around it. A layer z' = beta s(W z + b) + rho z,
whose activation s has the slopes d = (d_1, ..., d_n) there, has the local matrix beta D W + rho I,
D = diag(d); the matrices above a layer multiply to Q = d output / d pre-activation. With squared
error, and everything but one layer held fixed, the loss is then quadratic in that layer's weights,
with a Hessian that is known without differentiating twice.

Layers are counted from 0; the readout of a `ResidualMLP`, where it has one, is the last and affine.
The functions take one input at a time unless they say otherwise; `jax.vmap` takes many.

Source: Riedi, Balestriero and Baraniuk (2023), arXiv 2203.03099.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require, unknown
from thalweg.core.tree import Params
from thalweg.models import activation
from thalweg.models.residual import JOINS, ResidualMLP
from thalweg.problems.problem import REDUCTIONS

ORDERS = ("columns", "rows")
PARTS = ("weight", "bias")


class Passage(NamedTuple):
    """One input's way through a net.

    Attributes:
        inputs: What each layer sees, z_0 (the input), z_1, ...; the readout's included.
        preactivations: W z + b of each hidden layer.
        output: Shape (outputs,).
    """

    inputs: tuple[Array, ...]
    preactivations: tuple[Array, ...]
    output: Array


def passage(model: ResidualMLP, params: Params, x: Float[Array, "..."]) -> Passage:
    """The layers' inputs and pre-activations at one input, of any shape.

    Raises:
        InputError: If the net's activation is not piecewise affine, or the net is normalised.

    Examples:
        >>> from thalweg.theory.landscape.piecewise_affine import passage
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> way = passage(net, params, jnp.array([1.0, -1.0]))
        >>> way.inputs[1].tolist(), way.output.tolist()  # z + relu(z), then 3 * 2 - 5
        ([2.0, -1.0], [1.0])
    """
    kinks(model)
    act = activation(model.activation).function
    z, inputs, before = jnp.ravel(x), [], []
    for layer in params[: len(model.hidden)]:
        p = _affine(layer, z)
        inputs.append(z)
        before.append(p)
        h = model.branch * act(p)
        if model.join == "concatenate":
            z = jnp.concatenate([h, z])
        else:
            z = h + model.skip * z if h.shape == z.shape else h
    if not model.readout:
        return Passage(tuple(inputs), tuple(before), z)
    return Passage((*inputs, z), tuple(before), _affine(params[-1], z))


def activation_slopes(model: ResidualMLP, params: Params, x: Float[Array, "..."]) -> list[Array]:
    """Slopes d of every hidden layer at one input: the upper one where W z + b > 0, else the lower.

    Returns:
        One array of shape (width,) per hidden layer; for ReLU of ones and zeros.

    Raises:
        InputError: As `passage`.

    Examples:
        >>> from thalweg.theory.landscape.piecewise_affine import activation_slopes
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> [d.tolist() for d in activation_slopes(net, params, jnp.array([1.0, -1.0]))]
        [[1.0, 0.0]]
    """
    on, off = kinks(model)
    return [jnp.where(p > 0, on, off) for p in passage(model, params, x).preactivations]


def kinks(model: ResidualMLP) -> tuple[float, float]:
    """The slopes (above zero, below zero) of a net's activation.

    Raises:
        InputError: If the activation has more than two slopes, or the net is normalised, so that
            its layers are not affine in their weights.

    Examples:
        >>> from thalweg.theory.landscape.piecewise_affine import kinks
        >>> kinks(tw.models.ResidualMLP([2], "relu"))
        (1.0, 0.0)
    """
    slopes = activation(model.activation).slopes
    require(
        slopes is not None,
        f"activation {model.activation!r} is not piecewise affine; use one with two slopes: "
        "relu, leaky-relu, abs or linear",
    )
    require(
        not model.normalised,
        "the net is normalised, so that its layers are not affine in their weights; give one "
        "without normalisation",
    )
    assert slopes is not None
    return slopes


def affine_piece(
    W: Float[ArrayLike, "*b out in"],
    slopes: Float[ArrayLike, "*b out"],
    skip: float = 0.0,
    branch: float = 1.0,
    join: str = "add",
) -> Array:
    """The local matrix beta D W + rho I of one layer, or [beta D W; I] where it concatenates.

    The skip sits outside the activation. A layer that changes the width has no skip to add.

    Args:
        W: Weights, with any batch axes in front.
        slopes: The diagonal of D.
        skip: rho.
        branch: beta.
        join: "add" or "concatenate".

    Returns:
        Shape (..., out, in), or (..., out + in, in).

    Raises:
        InputError: If `join` is unknown.

    Source: the paper's local representation (E1).

    Examples:
        >>> from thalweg.theory.landscape.piecewise_affine import affine_piece
        >>> affine_piece(jnp.array([[2.0]]), jnp.array([1.0]), skip=1.0).tolist()
        [[3.0]]
    """
    require(join in JOINS, unknown(join, JOINS, "join"))
    W, slopes = jnp.asarray(W), jnp.asarray(slopes)
    DW = branch * slopes[..., None] * W
    eye = jnp.eye(W.shape[-1], dtype=DW.dtype)
    if join == "concatenate":
        return jnp.concatenate([DW, jnp.broadcast_to(eye, (*DW.shape[:-2], *eye.shape))], -2)
    square = W.shape[-2] == W.shape[-1]
    return DW + skip * jnp.broadcast_to(eye, DW.shape) if square else DW


def local_matrix(
    model: ResidualMLP, params: Params, x: Float[Array, "..."], layer: int
) -> Float[Array, "after before"]:
    """The Jacobian of a layer's output with respect to its input, at one input of the net.

    See `affine_piece`; for the readout it is its weight matrix.

    Raises:
        InputError: As `passage`, or if there is no such layer.

    Examples:
        >>> from thalweg.theory.landscape.piecewise_affine import local_matrix
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> local_matrix(net, params, jnp.array([1.0, -1.0]), 0).tolist()  # D W + I
        [[2.0, 0.0], [0.0, 1.0]]
    """
    _layer(params, layer)
    if layer == len(model.hidden):
        return params[layer]["weight"]
    d = activation_slopes(model, params, x)[layer]
    return _piece(model, params, d, layer)


def downstream_matrix(
    model: ResidualMLP, params: Params, x: Float[Array, "..."], layer: int
) -> Float[Array, "outputs width"]:
    """Q, the Jacobian of the net's output with respect to a layer's pre-activation, at one input.

    Q = M_last ... M_{layer+1} beta D_layer, M_j the local matrices above; the layer's own skip
    does not enter. It is the identity for the readout.

    Raises:
        InputError: As `local_matrix`.

    Cost: one matrix product per layer above.

    Source: the paper's local representation (E2).

    Examples:
        >>> from thalweg.theory.landscape.piecewise_affine import downstream_matrix
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> downstream_matrix(net, params, jnp.array([1.0, -1.0]), 0).tolist()
        [[3.0, 0.0]]
    """
    return downstream_of_slopes(model, params, activation_slopes(model, params, x), layer)


def downstream_of_slopes(
    model: ResidualMLP, params: Params, slopes: list[Array], layer: int
) -> Float[Array, "outputs width"]:
    """`downstream_matrix` in the region that has these slopes, whether or not an input is there.

    Args:
        model: The net.
        params: Its parameters.
        slopes: One array per hidden layer, as `activation_slopes` gives.
        layer: Which layer's pre-activation.

    Examples:
        >>> from thalweg.theory.landscape.piecewise_affine import downstream_of_slopes
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> downstream_of_slopes(net, params, [jnp.array([0.0, 1.0])], 0).tolist()
        [[0.0, 5.0]]
    """
    _layer(params, layer)
    hidden = len(model.hidden)
    if layer == hidden:
        width = params[layer]["weight"].shape[0]
        return jnp.eye(width, dtype=params[layer]["weight"].dtype)
    Q = own_slopes(model, params, slopes, layer)
    for j in range(layer + 1, hidden):
        Q = _piece(model, params, slopes[j], j) @ Q
    return params[-1]["weight"] @ Q if model.readout else Q


def own_slopes(
    model: ResidualMLP, params: Params, slopes: list[Array], layer: int
) -> Float[Array, "after width"]:
    """The Jacobian of a hidden layer's output with respect to its own pre-activation.

    beta D, with a row of zeros per input of the layer below it where it concatenates.

    Examples:
        >>> from thalweg.theory.landscape.piecewise_affine import own_slopes
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False, branch=0.5)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> own_slopes(net, params, [jnp.array([1.0, 0.0])], 0).tolist()
        [[0.5, 0.0], [0.0, 0.0]]
    """
    out, into = params[layer]["weight"].shape
    D = model.branch * jnp.diag(slopes[layer])
    if model.join == "concatenate":
        return jnp.concatenate([D, jnp.zeros((into, out), D.dtype)])
    return D


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
        >>> from thalweg.theory.landscape.piecewise_affine import layer_hessian
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> found = layer_hessian(net, params, jnp.array([[1.0, -1.0]]), 0)
        >>> found.spectrum().round(6).tolist()  # |z|^2 |Q|^2 = 2 * 9
        [18.0, 0.0, 0.0, 0.0]
    """
    require(part in PARTS, unknown(part, PARTS, "part"))
    require(reduction in REDUCTIONS, unknown(reduction, REDUCTIONS, "reduction"))
    _layer(params, layer)

    def one(example: Array) -> tuple[Array, Array]:
        z = passage(model, params, example).inputs[layer]
        return downstream_matrix(model, params, example, layer), z

    maps, inputs = jax.vmap(one)(x)
    if part == "bias":
        inputs = jnp.ones((len(x), 1), maps.dtype)
    return LayerHessian(maps, inputs, 1 / len(x) if reduction == "mean" else 1.0)


def _piece(model: ResidualMLP, params: Params, slopes: Array, layer: int) -> Array:
    W = params[layer]["weight"]
    return affine_piece(W, slopes, model.skip, model.branch, model.join)


def _affine(layer: Params, z: Array) -> Array:
    p = layer["weight"] @ z
    return p + layer["bias"] if "bias" in layer else p


def _layer(params: Params, layer: int) -> None:
    require(
        0 <= layer < len(params),
        f"layer came as {layer}; this net has the layers 0 to {len(params) - 1}",
    )
