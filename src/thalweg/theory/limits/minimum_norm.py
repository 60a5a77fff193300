"""The solution of least norm of an underdetermined system, and the part of a vector beside it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require

Values = NDArray[np.float64]


class RowNullSplit(NamedTuple):
    """v = row + null with row = P v in the row space of A, null = (I - P) v, A null = 0."""

    row: Values
    null: Values


class MinimumNorm(NamedTuple):
    """The solution of least norm of A x = y and what comes with it.

    Attributes:
        solution: x* = A^+ y, shape (d,).
        norm: ||x*||.
        basis: Orthonormal rows that span the row space, (m, d); P = basis^T basis.
        least: Smallest eigenvalue of A A^T.
        most: Largest eigenvalue of A A^T.
        error: Bound on the distance from the exact x*, as measured:
            ||A x* - y||/sqrt(least) + ||(I - P) x*||, up to the rounding of these two.
    """

    solution: Values
    norm: float
    basis: Values
    least: float
    most: float
    error: float

    def split(self, v: ArrayLike) -> RowNullSplit:
        """Row-space and null-space part of vectors (..., d); rounding is eps ||v|| in each."""
        v = np.asarray(v, float)
        row = (v @ self.basis.T) @ self.basis
        return RowNullSplit(row, v - row)

    @property
    def null_projector(self) -> Values:
        """P_perp = I - A^+ A, shape (d, d)."""
        return np.eye(self.basis.shape[1]) - self.basis.T @ self.basis

    def descent_limit(self, x0: ArrayLike) -> Values:
        """Where gradient descent and flow on ||A x - y||^2 end from x0: x* + (I - P) x0.

        They never touch the null-space part, so that the distance from x* is ||(I - P) x0||.
        """
        return self.solution + self.split(x0).null


def minimum_norm(A: ArrayLike, y: ArrayLike) -> MinimumNorm:
    """x* = A^T (A A^T)^{-1} y, of all solutions of A x = y the one of least norm.

    Args:
        A: Shape (m, d), m <= d, of full row rank.
        y: Shape (m,).

    Raises:
        InputError: If shapes do not fit, or the rank is below m to rounding.

    Cost: One singular value decomposition. Source: Moore (1920), Penrose (1955).

    Examples:
        >>> from thalweg.theory.limits.minimum_norm import minimum_norm
        >>> found = minimum_norm([[1.0, 1.0]], [2.0])
        >>> found.solution.round(6).tolist(), found.descent_limit([3.0, 0.0]).round(6).tolist()
        ([1.0, 1.0], [2.5, -0.5])
    """
    A, y = np.asarray(A, float), np.asarray(y, float)
    require(
        A.ndim == 2 and A.shape[0] <= A.shape[1] and y.shape == A.shape[:1],
        f"A came with shape {A.shape} and y with {y.shape}; give (m, d), m <= d, and (m,)",
    )
    left, sigma, basis = np.linalg.svd(A, full_matrices=False)
    require(
        bool(sigma[-1] > max(A.shape) * np.finfo(float).eps * sigma[0]),
        f"the singular values of A range from {sigma[0]:.3g} to {sigma[-1]:.3g}; give a matrix of "
        "full row rank",
    )
    x = basis.T @ ((left.T @ y) / sigma)
    aside = x - basis.T @ (basis @ x)
    error = np.linalg.norm(A @ x - y) / sigma[-1] + np.linalg.norm(aside)
    return MinimumNorm(
        x, float(np.linalg.norm(x)), basis, sigma[-1] ** 2, sigma[0] ** 2, float(error)
    )
