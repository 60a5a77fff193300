"""Random weights by name, and starts that are aligned with given singular bases.

Kernels have shape (out, in, ...): trailing axes are the window of a convolution, whose size
multiplies both fans. Every initialiser takes a `gain` that multiplies the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from thalweg.core.errors import InputError, choose, key_of, require


class Initialiser(Protocol):
    """Draws a kernel of the given shape (out, in, ...), times `gain`."""

    def __call__(
        self,
        key: Array,
        shape: Sequence[int],
        dtype: DTypeLike = jnp.float64,
        *,
        gain: float = 1.0,
    ) -> Array:
        """Draw the kernel; see the class."""
        ...


def _scaled(variance: float, fan: str, law: str) -> Initialiser:
    """Independent entries of variance gain^2 * variance / fan."""

    def init(
        key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float64, *, gain: float = 1.0
    ) -> Array:
        _check_shape(shape)
        # variance_scaling refuses a scale of 0, so the gain stays outside.
        draw = jax.nn.initializers.variance_scaling(variance, fan, law, in_axis=1, out_axis=0)  # type: ignore[arg-type]
        return jnp.asarray(gain, dtype) * draw(key, tuple(shape), dtype)

    return init


def orthogonal(
    key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float64, *, gain: float = 1.0
) -> Array:
    """Haar-distributed orthogonal matrix times gain; a kernel is flattened to (out, rest).

    A rectangle is semi-orthogonal: orthonormal rows if out <= rest, else orthonormal columns,
    uniform on all of them. QR of a Gaussian matrix with the signs of R's diagonal fixed; without
    that it is not Haar (Mezzadri 2007).

    Args:
        key: Source of randomness.
        shape: (out, in, ...).
        dtype: Type of the entries.
        gain: Value of all singular values.
    """
    _check_shape(shape)
    return jax.nn.initializers.orthogonal(gain, column_axis=0)(key, tuple(shape), dtype)


# Normal laws are untruncated, except lecun-normal (two standard deviations, as in Flax and Keras).
INITIALISERS: dict[str, Initialiser] = {
    "xavier-uniform": _scaled(1.0, "fan_avg", "uniform"),
    "xavier-normal": _scaled(1.0, "fan_avg", "normal"),
    "he-uniform": _scaled(2.0, "fan_in", "uniform"),
    "he-normal": _scaled(2.0, "fan_in", "normal"),
    "lecun-normal": _scaled(1.0, "fan_in", "truncated_normal"),
    "uniform-fan-in": _scaled(1 / 3, "fan_in", "uniform"),  # U(-r, r), r = 1/sqrt(fan_in): PyTorch
    "gaussian": _scaled(1.0, "fan_in", "normal"),
    "orthogonal": orthogonal,
}
LAWS = {
    "xavier-uniform": "uniform, variance 2 / (in + out)",
    "xavier-normal": "normal, variance 2 / (in + out)",
    "he-uniform": "uniform, variance 2 / in",
    "he-normal": "normal, variance 2 / in",
    "lecun-normal": "normal, cut at two standard deviations, variance 1 / in",
    "uniform-fan-in": "uniform, variance 1 / (3 in), as PyTorch's layers",
    "gaussian": "normal, variance 1 / in",
    "orthogonal": "orthonormal rows or columns, Haar-distributed",
}


def initialiser(name: str) -> Initialiser:
    """The initialiser of a name in `INITIALISERS`.

    Raises:
        InputError: If the name is unknown.
    """
    return choose(name, INITIALISERS, "initialiser")


def initialiser_given(name: str) -> str:
    """What a net keeps of an initialiser: its key in `INITIALISERS`, whatever alias was given.

    Raises:
        InputError: If the name is unknown.
    """
    return key_of(name, INITIALISERS, "initialiser") if isinstance(name, str) else name


def hidden_frames(
    key: Array, widths: Sequence[int], rank: int, dtype: DTypeLike = jnp.float64
) -> list[Float[Array, "width rank"]]:
    """Independent Haar-distributed orthonormal frames, one per hidden layer.

    Args:
        key: Source of randomness.
        widths: Hidden widths, each at least `rank`.
        rank: Number of columns.
        dtype: Type of the entries.

    Returns:
        R with R^T R = I, of shape (width, rank), for every width.

    Raises:
        InputError: If a width is too small.
    """
    narrow = [width for width in widths if width < rank]
    require(
        not narrow,
        f"hidden widths {narrow} cannot carry {rank} modes: give widths of at least {rank}.",
    )
    keys = jax.random.split(key, max(len(widths), 1))
    return [orthogonal(k, (width, rank), dtype) for k, width in zip(keys, widths, strict=False)]


def decoupled_init(
    U: Float[Array, "out r"],
    V: Float[Array, "in r"],
    strength: Float[Array, " r"] | float,
    depth: int,
    widths: Sequence[int] | int,
    key: Array,
) -> list[Float[Array, "_ _"]]:
    """Balanced weights W_l = R_{l+1} D R_l^T, D = diag(strength^{1/L}), R_1 = V, R_{L+1} = U.

    Their product is U diag(strength) V^T; all layers are equal in every mode, so that modes do
    not mix when U and V diagonalise the input-output correlation. U and V must come from ONE
    singular value decomposition: two calls may differ in signs, which puts modes on the far side
    of the saddle, where they never learn.

    Args:
        U: Output singular vectors, orthonormal columns.
        V: Input singular vectors, orthonormal columns.
        strength: Of the product in each mode, at least 0; a scalar serves all modes.
        depth: L, the number of weight matrices.
        widths: The L - 1 hidden widths, or one number for all.
        key: Draws the hidden frames (`hidden_frames`).

    Returns:
        [W_1, ..., W_L], of shapes (out, in), in the type of U.

    Raises:
        InputError: If the bases are not orthonormal or their sizes, the widths, the depth or the
            strengths do not fit.

    Source: Saxe, McClelland and Ganguli (2014), decoupled initial conditions.
    """
    U, V = jnp.asarray(U), jnp.asarray(V)
    r = U.shape[-1]
    require(
        U.ndim == V.ndim == 2 and V.shape[1] == r,
        f"the singular bases have shapes {U.shape} and {V.shape}: give (out, r) and (in, r).",
    )
    for name, basis in (("U", U), ("V", V)):
        tolerance = 100 * r * float(jnp.finfo(basis.dtype).eps)
        columns = np.asarray(basis)  # NumPy, so that only the key may be traced by jit or vmap
        if not np.allclose(columns.T @ columns, np.eye(r), rtol=0.0, atol=tolerance):
            raise InputError(f"the columns of {name} are not orthonormal: take them from an SVD.")
    require(depth >= 1, f"the depth is {depth}: give at least one weight matrix.")
    widths = [widths] * (depth - 1) if isinstance(widths, int) else list(widths)
    require(
        len(widths) == depth - 1,
        f"{len(widths)} hidden widths for depth {depth}: give {depth - 1}, or one number for all.",
    )
    strengths = np.asarray(strength, dtype=np.float64)
    require(
        strengths.shape in ((), (r,)) and bool(np.all(strengths >= 0)),
        f"the strengths must be at least 0, one number or {r} of them.",
    )
    D = jnp.broadcast_to(jnp.asarray(strengths ** (1 / depth), U.dtype), (r,))
    frames = [V, *hidden_frames(key, widths, r, U.dtype), U]
    return [(top * D[None]) @ bottom.T for bottom, top in pairwise(frames)]


def _check_shape(shape: Sequence[int]) -> None:
    require(
        len(shape) >= 2 and all(size >= 1 for size in shape),
        f"a kernel of shape {tuple(shape)} has no fans: give (out, in) or (out, in, window...).",
    )
