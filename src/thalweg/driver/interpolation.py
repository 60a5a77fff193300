"""Where a net begins to fit random labels: a strong optimiser swept over the number of units."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.dynamics.damped_gauss_newton import least_squares

SCALE = 1.5  # standard deviation of every parameter at the start


def interpolation_residuals(
    inputs: Float[ArrayLike, "data n m_x"],
    targets: Float[ArrayLike, "data n"],
    units: Sequence[int],
    starts: int,
    key: Array,
    *,
    steps: int = 150,
) -> Float[np.ndarray, "units data"]:
    """Least mean squared residual that a two-layer net reaches, by units and data set.

        f(x) = c + m^{-1/2} sum_{r <= m} v_r tanh(w_r . x / sqrt(m_x) + b_r),

    of (m_x + 2) m + 1 parameters, each from N(0, 1.5^2), is fitted by Levenberg-Marquardt; the
    best of several starts counts. Nets of all widths share one compilation.

    Args:
        inputs: Data sets of equal size.
        targets: One number per example.
        units: Widths m, each at least 1.
        starts: How many starts per width and data set.
        key: Source of the starts.
        steps: At most so many steps of Levenberg-Marquardt.

    Returns:
        Shape (len(units), data sets), unit target^2. A fit stops below 1e-18.

    Raises:
        InputError: If a width or the number of starts is below 1.

    Source: Algorithm B and X1 of the study of Kawaguchi and Huang (2019).
    """
    require(
        starts >= 1 and min(units, default=0) >= 1,
        f"{starts} starts and widths {list(units)} came; give at least 1 of each",
    )
    x, y = jnp.asarray(inputs), jnp.asarray(targets)
    keys = jax.random.split(key, (len(x), starts))
    widths = jnp.asarray(units, x.dtype)
    return np.asarray(_best(x, y, widths, keys, max(units), steps))


@eqx.filter_jit
def _best(x: Array, y: Array, widths: Array, keys: Array, most: int, steps: int) -> Array:
    size = (x.shape[-1] + 2) * most + 1

    def lane(x: Array, y: Array, width: Array, key: Array) -> Array:
        def one(theta: Array, example: tuple[Array, Array]) -> Array:
            return (_net(theta, example[0], width, most) - example[1])[None]

        theta = SCALE * jax.random.normal(key, (size,), x.dtype)
        return least_squares(one, (x, y), theta, steps=steps).mean_square

    over_starts = jax.vmap(lane, (None, None, None, 0))
    over_data = jax.vmap(over_starts, (0, 0, None, 0))
    return jax.vmap(over_data, (None, None, 0, None))(x, y, widths, keys).min(axis=-1)


def _net(theta: Array, x: Array, width: Array, most: int) -> Array:
    """The net of `width` units, its parameters padded to `most` units, at one input."""
    v, b, w, c = jnp.split(theta, [most, 2 * most, theta.size - 1])
    h = jnp.tanh(w.reshape(most, -1) @ x / np.sqrt(x.size) + b)
    live = jnp.arange(most, dtype=width.dtype) < width
    return c[0] + jnp.sum(jnp.where(live, v * h, 0)) / jnp.sqrt(width.astype(v.dtype))


def interpolation_threshold(parameters: ArrayLike, success: ArrayLike) -> float:
    """The least number of parameters at which at least half of the data sets are fitted.

    Args:
        parameters: Ascending, shape (w,).
        success: Fraction of data sets that are fitted, shape (w,).

    Returns:
        NaN if there is none. Its error is the spacing of `parameters`.
    """
    d, p = np.asarray(parameters, float), np.asarray(success, float)
    above = np.flatnonzero(p >= 0.5)
    return float(d[above[0]]) if above.size else float("nan")
