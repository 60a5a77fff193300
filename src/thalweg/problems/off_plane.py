"""What a network answers off the plane of its inputs, and how far its first layer has moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.problems.data.planes import Plane


class ColumnChange(NamedTuple):
    """How far the first layer's columns have moved since a start.

    Attributes:
        normal: ||B_k - B_0||_F / ||B_0||_F, B = W_1 N: 0 if the data lie exactly on M.
        tangent: The same of A = W_1 P.
        largest: max |B_k - B_0|, entry by entry.
    """

    normal: float
    tangent: float
    largest: float


def column_change(before: ArrayLike, after: ArrayLike, plane: Plane) -> ColumnChange:
    """How far normal and tangent columns of the first layer have moved: are they frozen?

    Args:
        before: W_1 at the start, (k, d).
        after: W_1 later, (k, d).
        plane: Bases of M, as by `thalweg.problems.data.planes.plane_of`.

    Error: rounding; exactly 0 for columns that did not move in a coordinate plane.

    Raises:
        InputError: If the shapes differ or do not fit the plane.

    Source: He, Tsai and Ward (2023); E3 of the study.

    Examples:
        >>> plane = tw.problems.coordinate_plane(1, 1)
        >>> change = tw.problems.column_change([[1.0, 2.0]], [[4.0, 2.0]], plane)
        >>> float(change.tangent), float(change.normal)
        (3.0, 0.0)
    """
    first, last = np.asarray(before, float), np.asarray(after, float)
    require(
        first.shape == last.shape and first.shape[1:] == plane.normal.shape[:1],
        f"first layers of shapes {first.shape} and {last.shape} came for a plane in "
        f"R^{len(plane.normal)}; give two of one shape (k, d)",
    )
    (A0, B0), (A, B) = plane.columns(first), plane.columns(last)
    return ColumnChange(_relative(B, B0), _relative(A, A0), float(np.max(np.abs(B - B0))))


def _relative(now: np.ndarray, then: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.linalg.norm(now - then) / np.linalg.norm(then))


def error_off_plane(
    f: Callable[[Array], Array],
    target: Callable[[np.ndarray], ArrayLike],
    plane: Plane,
    x: Float[ArrayLike, "n dx"],
    distances: Float[ArrayLike, " m"],
    directions: int = 8,
    seed: int = 0,
) -> Float[np.ndarray, " m"]:
    """Root mean square of f(P x + r N u) - g(x) over points x and random unit vectors u.

    To first order in r it is sqrt(e^2 + r^2 ||df/dy||^2/d_y) with e the error on M.

    Args:
        f: Maps a batch (n, d) to outputs (n,) or (n, k).
        target: g, from tangent coordinates.
        plane: M, of codimension at least 1.
        x: Tangent coordinates of points on M, (n, d_x).
        distances: r, at least 0, in units of the inputs.
        directions: How many u for every point and distance, in pairs u, -u.
        seed: Of the directions.

    Returns:
        One number for every distance, in units of the output; from finitely many directions it
        scatters by a relative 1/sqrt(directions * n) or so.

    Raises:
        InputError: If the plane fills the space.

    Examples:
        >>> plane = tw.problems.coordinate_plane(1, 1)
        >>> f = lambda z: z[:, 0] + 3 * z[:, 1]  # right on the plane, of slope 3 off it
        >>> target, x = lambda x: x[:, 0], np.array([[1.0], [2.0]])
        >>> errors = tw.problems.error_off_plane(f, target, plane, x, np.array([0.0, 0.5]))
        >>> errors.round(6).tolist()
        [0.0, 1.5]
    """
    x, distances = np.asarray(x, float), np.asarray(distances, float)
    dy = plane.normal.shape[1]
    require(dy >= 1, "the plane fills the space; there is nothing off it")
    u = np.random.default_rng(seed).standard_normal(((directions + 1) // 2, len(x), dy))
    u /= np.linalg.norm(u, axis=-1, keepdims=True)
    wanted = np.asarray(target(x), float).reshape(len(x), -1)

    def error(r: float) -> float:
        off = [plane.points(x, side * r * turn) for turn in u for side in (1.0, -1.0)]
        outputs = np.asarray(f(jnp.asarray(np.concatenate(off)))).reshape(len(off), len(x), -1)
        return float(np.sqrt(np.mean(np.sum((outputs - wanted) ** 2, axis=-1))))

    return np.array([error(float(r)) for r in distances])
