"""Nets with piecewise-affine activations, layer by layer: what is affine around an input.

At an input that lies on no kink the net is affine around it. A layer z' = beta s(W z + b) + rho z,
whose activation s has the slopes d = (d_1, ..., d_n) there, has the local matrix beta D W + rho I,
D = diag(d); the matrices above a layer multiply to Q = d output / d pre-activation.

Layers are counted from 0; the readout of a `ResidualMLP`, where it has one, is the last and affine.
The functions take one input at a time unless they say otherwise; `jax.vmap` takes many.

Source: Riedi, Balestriero and Baraniuk (2023), arXiv 2203.03099.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from thalweg.core.arguments import told
from thalweg.core.errors import require, unknown
from thalweg.core.tree import Params
from thalweg.models.model import activation
from thalweg.models.residual import JOINS, ResidualMLP


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
        >>> from thalweg.models import passage
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> way = passage(net, params, jnp.array([1.0, -1.0]))
        >>> way.inputs[1].tolist(), way.output.tolist()  # z + relu(z), then 3 * 2 - 5
        ([2.0, -1.0], [1.0])
    """
    two_slopes(model)
    _check_layers(model, params)
    width, values = params[0]["weight"].shape[1], jnp.size(x)
    require(
        values == width,
        f"x came with {values} numbers; this net takes {width}, one input at a time",
    )
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
        >>> from thalweg.models import activation_slopes
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> [d.tolist() for d in activation_slopes(net, params, jnp.array([1.0, -1.0]))]
        [[1.0, 0.0]]
    """
    on, off = two_slopes(model)
    return [jnp.where(p > 0, on, off) for p in passage(model, params, x).preactivations]


def two_slopes(model: ResidualMLP) -> tuple[float, float]:
    """The slopes (above zero, below zero) of a net's activation.

    Raises:
        InputError: If the activation has more than two slopes, or the net is normalised, so that
            its layers are not affine in their weights.

    Examples:
        >>> from thalweg.models import two_slopes
        >>> two_slopes(tw.models.ResidualMLP([2], "relu"))
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
        >>> from thalweg.models import affine_piece
        >>> affine_piece(jnp.array([[2.0]]), jnp.array([1.0]), skip=1.0).tolist()
        [[3.0]]
    """
    require(join in JOINS, unknown(join, JOINS, "join"))
    W, slopes = jnp.asarray(W), jnp.asarray(slopes)
    require(
        W.ndim >= 2 and slopes.shape == W.shape[:-1],
        f"weights of shape {W.shape} came with slopes of shape {slopes.shape}; give weights "
        "(..., out, in) and slopes (..., out)",
    )
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
        >>> from thalweg.models import local_matrix
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> local_matrix(net, params, jnp.array([1.0, -1.0]), 0).tolist()  # D W + I
        [[2.0, 0.0], [0.0, 1.0]]
    """
    require_layer(model, params, layer)
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
        >>> from thalweg.models import downstream_matrix
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
        >>> from thalweg.models import downstream_of_slopes
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> downstream_of_slopes(net, params, [jnp.array([0.0, 1.0])], 0).tolist()
        [[0.0, 5.0]]
    """
    require_layer(model, params, layer)
    _check_layers(model, params, slopes)
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
        >>> from thalweg.models import own_slopes
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False, branch=0.5)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> own_slopes(net, params, [jnp.array([1.0, 0.0])], 0).tolist()
        [[0.5, 0.0], [0.0, 0.0]]
    """
    require_layer(model, params, layer)
    _check_layers(model, params, slopes)
    out, into = params[layer]["weight"].shape
    D = model.branch * jnp.diag(slopes[layer])
    if model.join == "concatenate":
        return jnp.concatenate([D, jnp.zeros((into, out), D.dtype)])
    return D


def _piece(model: ResidualMLP, params: Params, slopes: Array, layer: int) -> Array:
    W = params[layer]["weight"]
    return affine_piece(W, slopes, model.skip, model.branch, model.join)


def _affine(layer: Params, z: Array) -> Array:
    p = layer["weight"] @ z
    return p + layer["bias"] if "bias" in layer else p


def _check_layers(model: ResidualMLP, params: Params, slopes: Any = None) -> None:
    """Refuse parameters that are not the layers of a net, and slopes of other layers."""
    count = len(model.hidden) + bool(model.readout)
    fits = isinstance(params, list | tuple) and len(params) == count
    require(
        fits and all(isinstance(p, dict) and jnp.ndim(p.get("weight", 0)) == 2 for p in params),
        f"params came as {told(params)}; give the {count} layers of this net, as model.init draws "
        "them",
    )
    if slopes is None:
        return
    widths = [(p["weight"].shape[0],) for p in params[: len(model.hidden)]]
    fits = isinstance(slopes, list | tuple) and len(slopes) == len(widths)
    require(
        fits and [getattr(d, "shape", None) for d in slopes] == widths,
        f"slopes came as {told(slopes)}; give one array for each hidden layer, of the shapes "
        f"{', '.join(map(str, widths))}",
    )


def require_layer(model: ResidualMLP, params: Params, layer: int) -> None:
    """Refuse a layer that is not there, and parameters that are not the layers of the net."""
    _check_layers(model, params)
    require(
        0 <= layer < len(params),
        f"layer came as {layer}; this net has the layers 0 to {len(params) - 1}",
    )
