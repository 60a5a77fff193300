"""Data on or near a linear subspace of the input space: the plane, its bases, points around it.

A plane M through the origin has an orthonormal basis P of its tangent directions and one, N, of
the directions normal to it. A point z has tangent coordinates x = P^T z and normal coordinates
y = N^T z, and lies on M where y = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from thalweg.core.errors import choose, require
from thalweg.problems.data.data import Data

Values = np.ndarray
Law = Callable[[np.random.Generator, tuple[int, int]], Values]

LAWS: dict[str, Law] = {
    "uniform": lambda rng, shape: rng.uniform(-1.0, 1.0, shape),
    "normal": lambda rng, shape: rng.standard_normal(shape),
}


class Plane(NamedTuple):
    """A linear subspace M of R^d by orthonormal bases.

    Attributes:
        tangent: P, shape (d, d_x): M is its range.
        normal: N, shape (d, d_y), d_y = d - d_x.
    """

    tangent: Float[Values, "d dx"]
    normal: Float[Values, "d dy"]

    def points(self, x: ArrayLike, y: ArrayLike | None = None) -> Float[Values, "n d"]:
        """The points P x + N y of coordinates x (n, d_x) and y (n, d_y), on M if y is None."""
        on = np.asarray(x, float) @ self.tangent.T
        return on if y is None else on + np.asarray(y, float) @ self.normal.T

    def coordinates(self, points: ArrayLike) -> tuple[Values, Values]:
        """Tangent and normal coordinates (x, y) of points (n, d): their inverse, up to rounding."""
        z = np.asarray(points, float)
        return z @ self.tangent, z @ self.normal

    def columns(self, weight: ArrayLike) -> tuple[Values, Values]:
        """A = W P and B = W N of a first layer's W (k, d): its action on x and on y.

        W z = A x + B y, so that B is all that a net knows of the directions off M.
        """
        return self.coordinates(weight)


def coordinate_plane(dimension: int, codimension: int) -> Plane:
    """The plane of the first `dimension` axes of R^d, d = dimension + codimension.

    Points on it have normal coordinates that are exactly 0, as what concerns weights that never
    move needs; in a rotated plane rounding leaves 1e-16, which an adaptive optimiser blows up.

    Raises:
        InputError: If a size is negative or the plane is a point.

    Examples:
        >>> plane = tw.problems.coordinate_plane(1, 2)
        >>> plane.points([[3.0]]).tolist()
        [[3.0, 0.0, 0.0]]
    """
    _check_sizes(dimension, codimension)
    axes = np.eye(dimension + codimension)
    return Plane(axes[:, :dimension], axes[:, dimension:])


def random_plane(dimension: int, codimension: int, seed: int = 0) -> Plane:
    """A uniformly distributed plane: a Haar-distributed rotation of the coordinate plane.

    Raises:
        InputError: If a size is negative or the plane is a point.

    Examples:
        >>> plane = tw.problems.random_plane(2, 1, seed=3)
        >>> x, y = plane.coordinates(plane.points([[1.0, 2.0]]))
        >>> x.round(6).tolist(), bool(abs(y).max() < 1e-12)
        ([[1.0, 2.0]], True)
    """
    _check_sizes(dimension, codimension)
    require(seed >= 0, f"seed came as {seed}; give a whole number of at least 0")
    d = dimension + codimension
    Q, R = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
    Q = Q * np.sign(np.diag(R))
    return Plane(Q[:, :dimension], Q[:, dimension:])


def plane_of(points: ArrayLike, tolerance: float = 1e-8) -> Plane:
    """The plane that the points lie on: principal axes whose size is above a share of the largest.

    By a singular value decomposition of the points as they stand, not centred, since M contains
    the origin; axes with sigma_i > tolerance * sigma_1 are tangent.

    Args:
        points: Shape (n, d).
        tolerance: Relative root mean square below which a direction is normal. Noise of standard
            deviation s off a plane of points of standard deviation 1 lies at s.

    Error: rounding for points on M; noise of standard deviation s tilts an axis of root mean
    square e towards a normal one by about s/(e sqrt(n)).

    Raises:
        InputError: If the points are no matrix, all zero, or the tolerance is not in [0, 1).

    Examples:
        >>> plane = tw.problems.plane_of([[1.0, 1.0], [2.0, 2.0]])
        >>> np.abs(plane.tangent).round(6).tolist()
        [[0.707107], [0.707107]]
    """
    z = np.asarray(points, float)
    require(z.ndim == 2 and z.size > 0, f"points of shape {z.shape} came; give (n, d)")
    require(0 <= tolerance < 1, f"the tolerance is {tolerance}; give a share in [0, 1)")
    _, sizes, axes = np.linalg.svd(z, full_matrices=True)
    require(bool(sizes[0] > 0), "all points are at the origin; they span no plane")
    rank = int(np.sum(sizes > tolerance * sizes[0]))
    return Plane(axes[:rank].T, axes[rank:].T)


def near_plane(
    plane: Plane,
    examples: int,
    target: Callable[[Float[Values, "n dx"]], ArrayLike],
    noise: float = 0.0,
    *,
    law: str = "uniform",
    seed: int = 0,
) -> Data:
    """Points P x + N y with y ~ N(0, noise^2 I) and targets g(x), which do not depend on y.

    Inputs x and noise come from independent streams, so that data of one seed have the same x and
    targets whatever the noise, and the same y up to its factor.

    Args:
        plane: M.
        examples: n, how many points.
        target: g, from tangent coordinates (n, d_x) to (n,) or (n, k).
        noise: Standard deviation of every normal coordinate; 0 leaves the points on M.
        law: Of x: "uniform" on [-1, 1]^{d_x}, or "normal", N(0, I).
        seed: Of the generator.

    Raises:
        InputError: If n is below 1, the noise negative, or the law unknown.

    Examples:
        >>> data = tw.problems.near_plane(tw.problems.coordinate_plane(1, 2), 5, lambda x: x[:, 0])
        >>> bool(np.all(data.inputs[:, 1:] == 0))  # on the plane
        True
    """
    draw = choose(law, LAWS, "law of the tangent coordinates")
    require(
        examples >= 1 and noise >= 0,
        f"{examples} examples and noise {noise} came; give examples >= 1 and noise >= 0",
    )
    for_x, for_y = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    dx, dy = plane.tangent.shape[1], plane.normal.shape[1]
    x = draw(for_x, (examples, dx))
    y = noise * for_y.standard_normal((examples, dy))
    name = f"{examples} points near a plane of dimension {dx} and codimension {dy}, seed {seed}"
    return Data.of(plane.points(x, y), np.asarray(target(x), float), name)


def _check_sizes(dimension: int, codimension: int) -> None:
    require(
        dimension >= 1 and codimension >= 0,
        f"dimension {dimension} and codimension {codimension} came; give at least 1 and 0",
    )
