"""Expectations of activations of two correlated Gaussian numbers, in closed form or by quadrature.

For (u, v) centred Gaussian with variances q1, q2 and covariance c: E[s(u) s(v)] and E[s'(u) s'(v)].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.gaussian import NODES, normal_rule
from thalweg.models import activation as named

NUMBERS_AT_ONCE = 2**22

Activation = Callable[[Array], Array]


class Covariance(NamedTuple):
    """Second moments of pairs (u, v) of Gaussian numbers; shapes that broadcast.

    Attributes:
        left: q1, variances of u, at least 0.
        cross: c, covariances.
        right: q2, variances of v, at least 0.
    """

    left: Float[Array, "*#pairs"]
    cross: Float[Array, "*#pairs"]
    right: Float[Array, "*#pairs"]

    @property
    def scale(self) -> Float[Array, "*pairs"]:
        """sqrt(q1 q2)."""
        return jnp.sqrt(self.left * self.right)

    @property
    def correlation(self) -> Float[Array, "*pairs"]:
        """Correlations c / sqrt(q1 q2), in [-1, 1]; 0 where a variance is 0."""
        scale = self.scale
        return jnp.clip(jnp.where(scale > 0, self.cross / jnp.where(scale > 0, scale, 1), 0), -1, 1)


class Expected(NamedTuple):
    """E[s(u) s(v)] and E[s'(u) s'(v)], one for each pair."""

    product: Float[Array, "*pairs"]
    slopes: Float[Array, "*pairs"]


def expectations(
    activation: str | Activation, covariance: Covariance, nodes: int = NODES
) -> Expected:
    """E[s(u) s(v)] and E[s'(u) s'(v)] over centred Gaussian pairs.

    Closed forms (q1, q2 variances, c covariance, r the correlation):

        linear      c;  1
        relu, leaky-relu, slopes a for z > 0 and b for z < 0:
            sqrt(q1 q2) ((a^2 + b^2) R(r) - 2 a b R(-r));  (a^2 + b^2) S(r) + 2 a b S(-r), with
            R(r) = (sqrt(1 - r^2) + r (pi - arccos r)) / (2 pi),  S(r) = (pi - arccos r) / (2 pi)
        erf         (2/pi) arcsin(2 c / sqrt((1 + 2 q1)(1 + 2 q2)));
            (4/pi) / sqrt((1 + 2 q1)(1 + 2 q2) - 4 c^2)
        sin         exp(-(q1 + q2)/2) sinh(c);  exp(-(q1 + q2)/2) cosh(c)

    Others, as gelu (in the models' tanh form): trapezoidal rules in two independent directions,
    which for smooth s take far fewer nodes than Gauss-Hermite rules to the same error.

    Args:
        activation: A name that `thalweg.models.activation` takes, or any elementwise function,
            which is taken by quadrature with its derivative by JAX.
        covariance: Of u and v.
        nodes: Of the quadrature, in each of two directions.

    Returns:
        An `Expected`. Error: rounding for closed forms, but 1e-8 in S where r is within rounding
        of +-1, as its derivative is infinite there; by quadrature exponentially small in the nodes
        for analytic s (1e-12 for tanh at variance 1 and 64 nodes), of order 1/nodes in the second
        expectation for kinks: compare with half of the nodes.

    Raises:
        InputError: If the activation is unknown, or nodes < 2.

    Source: Cho and Saul (2009), eqs. 6-7; Williams (1997), eq. 11; sin by e^{iu}. Trefethen (2022),
    Exactness of quadrature formulas, for the choice of the rule.

    Examples:
        >>> pairs = tw.kernels.Covariance(jnp.array(1.0), jnp.array(0.0), jnp.array(1.0))
        >>> product, slopes = tw.kernels.expectations("relu", pairs)
        >>> round(float(product) * 2 * np.pi, 6), float(slopes)  # E[relu(u)]^2 = 1/(2 pi)
        (1.0, 0.25)
    """
    if isinstance(activation, str):
        slopes = activation_named(activation)[1]
        if slopes is not None:
            return _of_slopes(slopes, covariance)
        if activation in _CLOSED:
            return _CLOSED[activation](covariance)
    return _by_quadrature(function_of(activation), covariance, nodes)


def gaussian_mean(
    activation: str | Activation, variances: Float[Array, "*shape"], nodes: int = NODES
) -> Float[Array, "*shape"]:
    """E[s(u)], u centred Gaussian of the given variances, by the trapezoidal rule.

    For positively homogeneous s the closed form (a - b) sqrt(q / (2 pi)) is taken.

    Args:
        activation: As in `expectations`.
        variances: Any shape.
        nodes: Of the quadrature.

    Examples:
        >>> mean = tw.kernels.gaussian_mean("relu", jnp.array(2 * jnp.pi))  # sqrt(variance/(2 pi))
        >>> round(float(mean), 6)
        1.0
    """
    if isinstance(activation, str):
        slopes = activation_named(activation)[1]
        if slopes is not None:
            return (slopes[0] - slopes[1]) * jnp.sqrt(variances / (2 * math.pi))
    z, weights = normal_rule(nodes)
    along = z.reshape(*[1] * jnp.ndim(variances), -1)
    return function_of(activation)(jnp.sqrt(variances)[..., None] * along) @ weights


def closed(activation: str | Activation) -> bool:
    """Whether `expectations` has a closed form for an activation."""
    if not isinstance(activation, str):
        return False
    return activation in _CLOSED or activation_named(activation)[1] is not None


def function_of(activation: str | Activation) -> Activation:
    """The elementwise function of a name, or the function itself.

    Raises:
        InputError: If the name is unknown.
    """
    return activation_named(activation)[0] if isinstance(activation, str) else activation


def activation_named(name: str) -> tuple[Activation, tuple[float, float] | None]:
    """The function of a name, and its slopes if it is positively homogeneous.

    Raises:
        InputError: If the name is unknown.
    """
    entry = named(name)
    return entry.function, entry.slopes


def _of_slopes(slopes: tuple[float, float], of: Covariance) -> Expected:
    a, b = slopes
    r = of.correlation
    angle = jnp.arccos(r)
    root = jnp.sqrt((1 - r) * (1 + r))
    same, opposite = root + r * (math.pi - angle), root - r * angle
    both, either = math.pi - angle, angle
    squares, product = a**2 + b**2, 2 * a * b
    return Expected(
        of.scale * (squares * same - product * opposite) / (2 * math.pi),
        (squares * both + product * either) / (2 * math.pi),
    )


def _of_erf(of: Covariance) -> Expected:
    sides = (1 + 2 * of.left) * (1 + 2 * of.right)
    return Expected(
        2 / math.pi * jnp.arcsin(2 * of.cross / jnp.sqrt(sides)),
        4 / math.pi / jnp.sqrt(sides - 4 * of.cross**2),
    )


def _of_sin(of: Covariance) -> Expected:
    # The exponents are at most 0, whereas sinh(c) alone may overflow.
    half = (of.left + of.right) / 2
    near, far = jnp.exp(of.cross - half) / 2, jnp.exp(-of.cross - half) / 2
    small = jnp.exp(-half) * jnp.sinh(jnp.clip(of.cross, -1, 1))
    return Expected(jnp.where(jnp.abs(of.cross) < 1, small, near - far), near + far)


_CLOSED: dict[str, Callable[[Covariance], Expected]] = {"erf": _of_erf, "sin": _of_sin}


@partial(jax.jit, static_argnames=("function", "nodes"))
def _by_quadrature(function: Activation, of: Covariance, nodes: int) -> Expected:
    """Both expectations, with the symmetric root of the correlation, so that u and v may swap."""
    z, weights = normal_rule(nodes)

    def slope(t: Array) -> Array:
        return jax.jvp(function, (t,), (jnp.ones_like(t),))[1]

    def pair(moments: tuple[Array, Array, Array]) -> Array:
        first, r, second = moments
        more, less = jnp.sqrt(1 + r) / 2, jnp.sqrt(1 - r) / 2
        near, far = more + less, more - less
        u = first * (near * z[:, None] + far * z[None])
        v = second * (far * z[:, None] + near * z[None])
        return jnp.stack([weights @ (s(u) * s(v)) @ weights for s in (function, slope)])

    r = of.correlation
    roots = (jnp.sqrt(of.left), r, jnp.sqrt(of.right))
    flat = tuple(jnp.ravel(jnp.broadcast_to(a, r.shape)) for a in roots)
    at_once = max(1, NUMBERS_AT_ONCE // nodes**2)
    values = jax.lax.map(pair, flat, batch_size=at_once)
    return Expected(values[:, 0].reshape(r.shape), values[:, 1].reshape(r.shape))
