"""Where the net of the low-temperature limit may bend: two quadratics for each gap between inputs.

On the gap I_j between the inputs x_j and x_{j+1} (I_0 and I_M are the half-lines outside),

    f_j(x) = 1 + x^2 - (A_j x - B_j)^2,  A_j = (1/lambda) sum_{i > j} R_i,  B_j = ... R_i x_i,

of neurons with w > 0, and the same with i <= j of those with w < 0. At temperature 0 both are at
least 0 on their gap, and knots lie at their zeros: at most three in a gap, and if three, then one
at each end and one inside. At a temperature f_j/(1 + x^2) = 1 - h^2 of the neuron that bends at x.

Source: Shevchenko, Kungurtsev and Mondelli (2022), JMLR 23(130), their cluster polynomials.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.theory.mean_field.neuron_circle import neuron_arcs


class ClusterPolynomials(NamedTuple):
    """Coefficients of the quadratics of every gap, the half-lines outside included.

    Attributes:
        x: Inputs, ascending, shape (M,).
        A: Of neurons that see what lies right of the gap and of those that see what lies left,
            shape (2, M + 1).
        B: The same.
    """

    x: Float[np.ndarray, " M"]
    A: Float[np.ndarray, "2 gaps"]
    B: Float[np.ndarray, "2 gaps"]

    def at(self, x: ArrayLike, gap: int | None = None) -> Float[np.ndarray, "2 n"]:
        """Both quadratics at points, each in its own gap, or all in the gap of that number."""
        x = np.atleast_1d(np.asarray(x, float))
        j = np.searchsorted(self.x, x) if gap is None else gap
        return 1 + x**2 - (self.A[:, j].reshape(2, -1) * x - self.B[:, j].reshape(2, -1)) ** 2

    def cluster_set(
        self, low: float = -np.inf, high: float = np.inf, below: float = 0.0
    ) -> list[list[tuple[float, float]]]:
        """The intervals of each gap where a quadratic is at most `below` (1 + x^2).

        Args:
            low: Where the first half-line is cut off.
            high: Where the last is.
            below: 1 - h^2 at which a neuron counts; 0 is the paper's set.

        Returns:
            One list of disjoint intervals per gap, ascending; at most three each.

        Raises:
            InputError: If `low` and `high` do not enclose the inputs.
        """
        require(
            low <= self.x[0] and high >= self.x[-1],
            f"low and high came as {low:g} and {high:g}; give ends that enclose the inputs, from "
            f"{self.x[0]:g} to {self.x[-1]:g}",
        )
        ends = np.concatenate([[low], self.x, [high]])
        found = []
        for j, (left, right) in enumerate(pairwise(ends)):
            both = [
                piece
                for A, B in zip(self.A[:, j], self.B[:, j], strict=True)
                for piece in _at_most_zero(
                    1 - below - A**2, 2 * A * B, 1 - below - B**2, left, right
                )
            ]
            found.append(_joined(both))
        return found


def cluster_polynomials(x: ArrayLike, R: ArrayLike, weight_decay: float) -> ClusterPolynomials:
    """The quadratics f_j of every gap.

    Args:
        x: Inputs, distinct and ascending, shape (M,).
        R: (prediction at x_i - y_i)/M, shape (M,), as of `gibbs_net` or `cold_net`.
        weight_decay: lambda, above 0.

    Raises:
        InputError: If shapes do not fit, or a number is out of range.

    Examples:
        >>> from thalweg.theory.mean_field.cluster_set import cluster_polynomials
        >>> R = -1 / np.sqrt(101)  # two points at temperature 0, weight decay 1
        >>> polynomials = cluster_polynomials([-10.0, 10.0], [R, R], 1.0)
        >>> bool(np.allclose(polynomials.at([0.3])[0], (10 * 0.3 + 1) ** 2 / 101))
        True
        >>> knots = polynomials.cluster_set(-20.0, 20.0, below=1e-9)[1]
        >>> np.mean(knots, axis=1).round(4).tolist()
        [-0.1, 0.1]
    """
    x, R = neuron_arcs(x).x, np.asarray(R, float)
    require(
        R.shape == x.shape, f"R came with shape {R.shape}; give one for each of {len(x)} inputs"
    )
    require_positive(weight_decay=weight_decay)

    def both(r: np.ndarray) -> np.ndarray:
        left = np.concatenate([[0.0], np.cumsum(r)])
        right = np.concatenate([np.cumsum(r[::-1])[::-1], [0.0]])
        return np.stack([right, left]) / weight_decay

    return ClusterPolynomials(x, both(R), both(R * x))


def _at_most_zero(
    a: float, b: float, c: float, low: float, high: float
) -> list[tuple[float, float]]:
    """Where a x^2 + b x + c <= 0 within [low, high]."""
    inner = b * b - 4 * a * c
    if inner < 0 or (a == 0 and b == 0):
        return [(low, high)] if (c < 0 if a == 0 else a < 0) else []
    if a == 0:
        pieces = [(-np.inf, -c / b)] if b > 0 else [(-c / b, np.inf)]
    else:
        q = -(b + np.copysign(np.sqrt(inner), b)) / 2
        one, two = sorted((q / a, c / q if q != 0 else 0.0))
        pieces = [(one, two)] if a > 0 else [(-np.inf, one), (two, np.inf)]
    cut = [(float(max(p, low)), float(min(q, high))) for p, q in pieces]
    return [(p, q) for p, q in cut if p <= q]


def _joined(pieces: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Disjoint intervals, ascending."""
    found: list[tuple[float, float]] = []
    for low, high in sorted(pieces):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found
