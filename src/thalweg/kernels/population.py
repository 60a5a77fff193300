"""Population Gram matrices of wide nets with all layers trained: what drives their descent.

Du, Lee, Li, Wang and Zhai (2019): gradient descent on 1/2 sum (f - y)^2 of a wide enough net
contracts at a rate set by lambda_0, the smallest eigenvalue of K^(H), the infinite-width limit of
the Gram matrix of gradients by the weights of the last hidden layer. All weights are standard
normal, there are no biases, and the scalings are in the forward maps:

    x^(1) = sqrt(c_s/m) s(W^(1) x),  c_s = 1/E[s(z)^2],   f = a . x^(H), and for 2 <= h <= H
    "fully-connected"         x^(h) = sqrt(c_s/m) s(W^(h) x^(h-1))
    "resnet"                  x^(h) = x^(h-1) + c_res/(H sqrt(m)) s(W^(h) x^(h-1))
    "convolutional-resnet"    the same on channels x pixels, W^(h) acting on windows of q pixels,
                              stride 1 and zero padding
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.errors import choose, require
from thalweg.core.ranges import require_positive
from thalweg.core.result import Reading
from thalweg.kernels.gaussian import (
    NODES,
    Activation,
    Covariance,
    Expected,
    expectations,
    gaussian_mean,
)
from thalweg.kernels.infinite_width import arc_cosine_kernel, compared
from thalweg.kernels.measures import smallest_eigenvalue_of


class PopulationGram(NamedTuple):
    """Population Gram matrices of one architecture.

    Attributes:
        levels: K^(0), ..., K^(H-1), Readings (n, n), or (n, p, n, p) with pixels.
        gram: K^(H), a Reading (n, n).
        smallest: lambda_0, the smallest eigenvalue of K^(H), a Reading ().
    """

    levels: tuple[Reading, ...]
    gram: Reading
    smallest: Reading


class _Net(NamedTuple):
    depth: int
    activation: str | Activation
    residual: float  # c_res / H
    window: int
    nodes: int


def population_gram(
    architecture: str,
    x: ArrayLike,
    depth: int,
    activation: str | Activation = "softplus",
    *,
    c_res: float = 0.5,
    window: int = 3,
    nodes: int = NODES,
) -> PopulationGram:
    """K^(0), ..., K^(H) and lambda_0 of Du et al. for three architectures.

    With (u, v) ~ N(0, K^(h-1) on i, j), b^(1) = sqrt(c_s) E[s(u)] and K^(0) = X X^T,

        fully-connected:  K^(h) = c_s E[s(u) s(v)],  h < H;
            K^(H) = c_s K^(H-1) E[s'(u) s'(v)]
        resnet:  K^(1) = c_s E[s(u) s(v)];  with e = E[s(u)], r = c_res/H, 2 <= h < H,
            K^(h)_ij = K^(h-1)_ij + r (b_i e_j + b_j e_i) + r^2 E[s(u) s(v)],  b <- b + r e;
            K^(H) = r^2 K^(H-1) E[s'(u) s'(v)]
        convolutional-resnet:  the same on T over (example, pixel) pairs, K = P(T) the sum over
            pairs of equal places in the windows;  K^(H)_ij = r^2 sum_l K^(H-1)_il,jl E[s'(u) s'(v)]

    Args:
        architecture: "fully-connected", "resnet" or "convolutional-resnet".
        x: Examples (n, d), or (n, channels, pixels) for convolutions; the theory takes them of
            norm 1, the formulas do not.
        depth: H, the number of hidden layers: at least 1, at least 2 for the others.
        activation: A name, or any elementwise function. The theory of lambda_0 > 0 needs
            it smooth and no polynomial.
        c_res: Scale of the residual branches.
        window: q, odd: pixels in a window.
        nodes: Nodes of the quadrature in each of two directions.

    Returns:
        A `PopulationGram`. Error: the distance to the same recursion with half of the nodes, an
        estimate; in lambda_0 with that of the eigenvalue solver (`smallest_eigenvalue_of`).

    Raises:
        InputError: If a name, the shape of x, depth, window or c_res is not allowed.

    Source: Du et al. (2019), arXiv 1811.03804, definitions of K^(h) for the three architectures.

    Examples:
        >>> x = np.eye(2)
        >>> found = tw.kernels.population_gram("fully-connected", x, depth=1, activation="linear")
        >>> found.gram.value.round(6).tolist(), round(float(found.smallest.value), 6)
        ([[1.0, 0.0], [0.0, 1.0]], 1.0)
    """
    grams = choose(architecture, ARCHITECTURES, "architecture")
    x = jnp.asarray(x, float)
    _check(architecture, x, depth, c_res, window)
    fine, coarse = (
        grams(x, net=_Net(depth, activation, c_res / depth, window, m))
        for m in (nodes, max(2, nodes // 2))
    )
    *levels, gram = (compared(a, b) for a, b in zip(fine, coarse, strict=True))
    return PopulationGram(tuple(levels), gram, smallest_eigenvalue_of(gram.value, gram.error))


def two_layer_relu_gram(x: ArrayLike) -> Reading:
    """H^inf of two-layer ReLU nets whose first layer is trained, x . x' (pi - angle) / (2 pi).

    The limit of x . x' times the fraction of m neurons that are active on both, the Gram matrix of
    f = m^(-1/2) sum_r a_r relu(w_r . x), w_r standard normal, a_r = +-1 fixed.

    Args:
        x: Examples (n, d), of any norms.

    Returns:
        A `Reading` (n, n). Error: rounding, see `arc_cosine_kernel`.

    Source: Du, Zhai, Poczos and Singh (2019), arXiv 1810.02054, definition 3.1.

    Examples:
        >>> tw.kernels.two_layer_relu_gram(np.eye(2)).value.round(6).tolist()  # half are active
        [[0.5, 0.0], [0.0, 0.5]]
    """
    active = arc_cosine_kernel(x, order=0)
    x = jnp.asarray(x)
    gram = x @ x.T / 2
    return Reading(gram * active.value, jnp.abs(gram) * active.error, active.result)


def normalisation(activation: str | Activation, nodes: int = NODES) -> Float[Array, ""]:
    """c_s = 1 / E[s(z)^2], z standard normal; error: that of the quadrature.

    Args:
        activation: As in `population_gram`.
        nodes: Nodes of the quadrature.

    Examples:
        >>> round(float(tw.kernels.normalisation("relu")), 6)  # E[relu(z)^2] = 1/2
        2.0
    """
    one = jnp.ones(())
    return 1 / expectations(activation, Covariance(one, one, one), nodes).product


def _fully_connected(x: Array, net: _Net) -> list[Array]:
    scale = normalisation(net.activation, net.nodes)
    levels = [x @ x.T]
    for _ in range(net.depth - 1):
        levels.append(scale * _expected(levels[-1], net).product)
    return [*levels, scale * levels[-1] * _expected(levels[-1], net).slopes]


def _resnet(x: Array, net: _Net) -> list[Array]:
    levels = _residual_levels(x @ x.T, lambda T: T, net)
    return [*levels, net.residual**2 * levels[-1] * _expected(levels[-1], net).slopes]


def _convolutional_resnet(x: Array, net: _Net) -> list[Array]:
    n, _, p = x.shape

    def patches(T: Array) -> Array:
        """P: sums over pairs of equal places in the windows, pixels outside being zero."""
        reach = net.window // 2
        grid = jnp.pad(T.reshape(n, p, n, p), ((0, 0), (reach, reach), (0, 0), (reach, reach)))
        places = (grid[:, s : s + p, :, s : s + p] for s in range(net.window))
        return jnp.sum(jnp.stack(list(places)), axis=0).reshape(n * p, n * p)

    points = jnp.moveaxis(x, 2, 1).reshape(n * p, -1)
    levels = _residual_levels(patches(points @ points.T), patches, net)
    last = (levels[-1] * _expected(levels[-1], net).slopes).reshape(n, p, n, p)
    grids = [level.reshape(n, p, n, p) for level in levels]
    return [*grids, net.residual**2 * jnp.einsum("iljl->ij", last)]


def _residual_levels(start: Array, seen: Callable[[Array], Array], net: _Net) -> list[Array]:
    """K^(0), ..., K^(H-1); `seen` makes what a layer sees of the products of what is below it."""
    scale, r = normalisation(net.activation, net.nodes), net.residual
    T = scale * _expected(start, net).product
    b = jnp.sqrt(scale) * gaussian_mean(net.activation, jnp.diagonal(start), net.nodes)
    levels = [start, seen(T)]
    for _ in range(net.depth - 2):
        K = levels[-1]
        e = gaussian_mean(net.activation, jnp.diagonal(K), net.nodes)
        T = T + r * (jnp.outer(b, e) + jnp.outer(e, b)) + r**2 * _expected(K, net).product
        b = b + r * e
        levels.append(seen(T))
    return levels


def _expected(K: Float[Array, "n n"], net: _Net) -> Expected:
    own = jnp.diagonal(K)
    return expectations(net.activation, Covariance(own[:, None], K, own[None]), net.nodes)


def _check(architecture: str, x: Array, depth: int, c_res: float, window: int) -> None:
    pixels = architecture == "convolutional-resnet"
    wanted = "(n, channels, pixels)" if pixels else "(n, d)"
    require(
        x.ndim == (3 if pixels else 2) and x.size > 0,
        f"examples came with shape {x.shape}; {architecture} takes {wanted}",
    )
    least = 1 if architecture == "fully-connected" else 2
    require(depth >= least, f"depth came as {depth}; {architecture} takes at least {least}")
    require_positive(c_res=c_res)
    require(
        window >= 1 and window % 2 == 1, f"window came as {window}; give an odd number of pixels"
    )


ARCHITECTURES: dict[str, Callable[..., list[Array]]] = {
    "fully-connected": _fully_connected,
    "resnet": _resnet,
    "convolutional-resnet": _convolutional_resnet,
}
