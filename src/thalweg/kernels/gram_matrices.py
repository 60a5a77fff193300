"""Gram matrices of gradients by one layer's weights at finite width, which drive descent.

With u_i = f(x_i), descent on 1/2 ||u - y||^2 moves u by -eta G (u - y) to first order, G the sum
over layers of G^(h)_ij = <du_i/dW^(h), du_j/dW^(h)>. Their limits: `population_gram`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import told
from thalweg.core.doors import is_drawn
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.kernels.tangent import tangent_kernel
from thalweg.models import Activation
from thalweg.models import activation as named
from thalweg.models.wide import WideNet
from thalweg.problems.problem import Problem


class LayerGrams(NamedTuple):
    """Gram matrices of gradients, layer by layer and together (unit: output^2/parameter^2).

    Attributes:
        layers: G^(1), ..., G^(H+1), (H+1, n, n), first layer first; each positive semidefinite.
        total: G, their sum, (n, n).
    """

    layers: Float[Array, "layers n n"]
    total: Float[Array, "n n"]


def layer_grams(problem: Problem, params: Params) -> LayerGrams:
    """G^(h)_ij = <du_i/dW^(h), du_j/dW^(h)> of every layer, and their sum, by Jacobians.

    Args:
        problem: A `Supervised` on its examples; of several outputs the Gram matrices are added.
        params: The point: a list of layers.

    Returns:
        A `LayerGrams`. Error: rounding, see `tangent_kernel`, of which these are the layers.

    Raises:
        InputError: As `tangent_kernel`.

    Cost: a gradient of every example, and n gradients of memory; `last_layer_gram` needs less.

    Source: Du et al. (2019), arXiv 1811.03804, sec. 4 (E4 of the study).

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([1]), (np.eye(2), np.ones((2, 1))))
        >>> params = [{"weight": jnp.array([[1.0, 2.0]])}, {"weight": jnp.array([[3.0]])}]
        >>> grams = tw.kernels.layer_grams(problem, params)
        >>> grams.layers.tolist()  # 3^2 x.x', then h h' with h = W_1 x
        [[[9.0, 0.0], [0.0, 9.0]], [[1.0, 2.0], [2.0, 4.0]]]
    """
    by_layer = tangent_kernel(problem, params, outputs="trace", layers=True)
    assert isinstance(by_layer, dict)
    layers = jnp.stack([by_layer[str(h)] for h in range(len(by_layer))])
    return LayerGrams(layers, jnp.sum(layers, axis=0))


def last_layer_gram(
    model: WideNet, params: Params, x: Float[Array, "n ..."]
) -> Float[Array, "n n"]:
    """G^(H), the Gram matrix of gradients by the last hidden layer's weights, by its formula.

        G^(H)_ij = g^2 sum_{l,k} (p_il . p_jk) sum_r a_rl a_rk s'(w_r . p_il) s'(w_r . p_jk)

    over pairs of pixels l, k (one each without convolutions), p what the weights act on: x^(H-1)
    or its windows; g^2 = c_s/m (fully connected) or c_res^2/(H^2 m) (residual).

    Args:
        model: The net.
        params: Its parameters, with one output.
        x: Examples.

    Returns:
        (n, n), unit output^2/parameter^2; exact up to rounding.

    Raises:
        InputError: If the net has several outputs.

    Cost: a forward pass and (n pixels)^2 m products; memory that of the pass, no Jacobian.

    Source: Du et al. (2019), arXiv 1811.03804, definition of G^(H) (E5 of the study).

    Examples:
        >>> net = tw.models.WideNet("fully-connected", width=5, depth=1, activation="linear")
        >>> params = net.init(jax.random.key(0), (2,), 1, jnp.float64)
        >>> gram = tw.kernels.last_layer_gram(net, params, jnp.eye(2))  # x.x' |a|^2/m
        >>> bool(jnp.allclose(gram, jnp.eye(2) * jnp.mean(params[-1]["weight"] ** 2)))
        True
    """
    require(
        is_drawn(params, lambda key: model.init(key, np.shape(x)[1:], 1, x.dtype)),
        f"params came as {told(params)}; give parameters of the net with one output for inputs of "
        f"shape {np.shape(x)[1:]}, as model.init(jax.random.key(0), {np.shape(x)[1:]}, 1)",
    )
    readout = params[-1]["weight"]
    seen = model.seen(model.levels(params, x)[-2])
    n, pixels, _ = seen.shape
    z = seen @ params[-2]["weight"].T
    back = readout.reshape(1, pixels, -1) * _slope(model.activation, z)
    points, signals = seen.reshape(n * pixels, -1), back.reshape(n * pixels, -1)
    pairs = (points @ points.T) * (signals @ signals.T)
    return model.scale(model.depth) ** 2 * pairs.reshape(n, pixels, n, pixels).sum((1, 3))


def two_layer_gram(
    weights: Float[Array, "m d"], x: Float[Array, "n d"], activation: str = "relu"
) -> Float[Array, "n n"]:
    """Gram matrix by the first layer of a `TwoLayerNet`, (x . x'/m) sum_r s'(w_r.x) s'(w_r.x').

    For ReLU x . x' times the fraction of neurons that are active on both, whose limit is
    `two_layer_relu_gram`.

    Args:
        weights: w_r in rows.
        x: Examples.
        activation: A name that `thalweg.models.activation` takes.

    Returns:
        (n, n), unit output^2/parameter^2; exact up to rounding. Cost: n^2 m products.

    Source: Du, Zhai, Poczos and Singh (2019), arXiv 1810.02054, eq. for H(t) (E10 of the study).

    Examples:
        >>> weights = jnp.array([[1.0, 1.0], [1.0, -1.0]])
        >>> tw.kernels.two_layer_gram(weights, jnp.eye(2)).tolist()  # all are active, and half
        [[1.0, 0.0], [0.0, 0.5]]
    """
    slopes = _slope(activation, x @ weights.T)
    return (x @ x.T) * (slopes @ slopes.T) / len(weights)


def pattern_change(
    weights: Float[Array, "m d"], start: Float[Array, "m d"], x: Float[Array, "n d"]
) -> Float[Array, ""]:
    """The fraction of (neuron, example) pairs active, w . x >= 0, at only one of two points.

    Args:
        weights: First layer, neurons in rows.
        start: The same at the other point.
        x: Examples.

    Returns:
        Between 0 and 1; 0 where every ReLU is on the linear piece where it was. Exact.

    Source: Du, Zhai, Poczos and Singh (2019), arXiv 1810.02054, sec. 5, pattern changes.

    Examples:
        >>> weights, start = jnp.array([[1.0], [-1.0]]), jnp.array([[1.0], [1.0]])
        >>> float(tw.kernels.pattern_change(weights, start, jnp.array([[2.0], [-3.0]])))
        0.5
    """
    changed = (x @ weights.T >= 0) != (x @ start.T >= 0)
    return jnp.mean(changed, dtype=x.dtype)


def _slope(activation: str | Activation, z: Array) -> Array:
    return jax.jvp(named(activation).function, (z,), (jnp.ones_like(z),))[1]
