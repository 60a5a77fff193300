"""Trend filtering with scikit-learn's interface: fitted on a lattice, predicted anywhere."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from thalweg.core.errors import require
from thalweg.estimators.falling_factorials import interpolate
from thalweg.estimators.trend_filtering import trend_filter

MOST_CELLS = 2**20
CELLS_PER_DATUM = 4  # up to which the coordinates themselves are the lattice


class KroneckerTrendFilter(RegressorMixin, BaseEstimator):
    """Piecewise polynomial regression that finds its own knots, on data over a lattice.

    Coordinates that fill a lattice, or a quarter of one, are its axes, evenly spaced or not; other
    points are put into equal cells, whose means are fitted with their weights. Cells without
    data are filled in. Axes of fewer than order + 2 cells take the order that they can.

    Args:
        order: k: 0 for piecewise constant, 1 for piecewise linear, 2 for piecewise quadratic fits.
        penalty: lambda, in the unit of y, of (k+1)-st differences between neighbouring cells.
        cells: Cells along each axis for points that are no lattice; by default as many in all as
            there are distinct points. Of more features than these can tell two halves of, log2 of
            their number, those that go with y most closely are used, the others not.
        tol: The relative duality gap at which to stop.
        max_iter: Where to give up.

    Attributes:
        values_: The fit on the lattice.
        designs_: Coordinates of its axes; one entry where a feature does not vary.
        orders_: k of each axis.
        counts_: Weight of the data in each cell.
        gap_: A bound on (objective - minimum) / objective; NaN where it is not certified, because
            cells have no data.
        residual_: The same number where it is no bound.
        n_iter_: Iterations.
        fit_: The `TrendFit` behind it, on the axes that vary; None if none does.

    Raises:
        InputError: If a parameter does not fit, or `cells` make a lattice of over a million.

    Cost:
        `fit` as of `trend_filter`; `predict` takes (k + 1)^d values for each point, of any
        lattice.

    References:
        Sadhanala, Wang, Hu and Tibshirani (2021).

    Examples:
        >>> x = np.linspace(0, 1, 20)[:, None]
        >>> model = tw.estimators.KroneckerTrendFilter(order=1, penalty=0.01)
        >>> model = model.fit(x, abs(x[:, 0] - 0.5))
        >>> model.predict([[0.0], [1.2]]).round(1).tolist(), bool(model.gap_ <= 1e-6)
        ([0.5, 0.7], True)
    """

    def __init__(
        self,
        order: int = 1,
        penalty: float = 0.1,
        *,
        cells: int | None = None,
        tol: float = 1e-6,
        max_iter: int = 20_000,
    ) -> None:
        self.order = order
        self.penalty = penalty
        self.cells = cells
        self.tol = tol
        self.max_iter = max_iter

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> KroneckerTrendFilter:
        """Fit the values of a lattice to data.

        Args:
            X: Coordinates (data, features).
            y: One number for each.
            sample_weight: Weight of each datum's square; a datum of weight 2 counts as two.
        """
        points, targets = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        targets = targets.astype(float)
        mass = _check_sample_weight(sample_weight, points, dtype=np.float64)
        require(
            bool((mass >= 0).all() and mass.any()),
            "sample_weight must have no negative and one positive entry.",
        )
        points, targets, mass = points[mass > 0], targets[mass > 0], mass[mass > 0]
        self.designs_, places = self._lattice(points, targets, mass)
        shape = tuple(len(x) for x in self.designs_)
        cell = np.ravel_multi_index(tuple(places.T), shape)
        counts = np.bincount(cell, mass, math.prod(shape))
        sums = np.bincount(cell, mass * targets, math.prod(shape))
        self.counts_ = counts.reshape(shape)
        means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
        self.orders_ = tuple(min(int(self.order), n - 2) if n > 1 else 0 for n in shape)
        varying = [j for j, n in enumerate(shape) if n > 1]
        if not varying:
            self.fit_, self.values_ = None, means.reshape(shape)
            self.gap_, self.residual_, self.n_iter_ = 0.0, 0.0, 1
            return self
        lattice = tuple(shape[j] for j in varying)
        self.fit_ = trend_filter(
            means.reshape(lattice),
            self.penalty,
            [self.orders_[j] for j in varying],
            designs=[self.designs_[j] for j in varying],
            weights=counts.reshape(lattice),
            tolerance=self.tol,
            most_iterations=self.max_iter,
        )
        self.values_ = self.fit_.values.reshape(shape)
        self.gap_, self.residual_ = float(self.fit_.gap), float(self.fit_.residual)
        self.n_iter_ = int(self.fit_.iterations)
        if self.residual_ > self.tol:
            warnings.warn(
                f"the fit stopped at max_iter={self.max_iter} with a relative gap of"
                f" {self.residual_:.1e}, above tol={self.tol}; raise either.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def predict(self, X: ArrayLike) -> Float[np.ndarray, " points"]:
        """The fitted discrete spline at any points; beyond the lattice its polynomials go on.

        Args:
            X: Coordinates (points, features).
        """
        check_is_fitted(self)
        points = validate_data(self, X, dtype=np.float64, reset=False)
        return interpolate(points, self.values_, self.orders_, self.designs_)

    def _lattice(
        self,
        points: Float[np.ndarray, "m d"],
        targets: Float[np.ndarray, " m"],
        mass: Float[np.ndarray, " m"],
    ) -> tuple[list[Any], np.ndarray]:
        """Coordinates of the axes, and the cell of each point along each."""
        require(
            isinstance(self.order, int | np.integer) and self.order >= 0,
            f"order={self.order} must be a whole number of at least 0.",
        )
        require(
            self.cells is None or (isinstance(self.cells, int | np.integer) and self.cells >= 1),
            f"cells={self.cells} must be a whole number of at least 1, or None.",
        )
        axes = [np.unique(column, return_inverse=True) for column in points.T]
        sizes = [len(x) for x, _ in axes]
        distinct = len(np.unique(points, axis=0))
        if self.cells is None and math.prod(sizes) <= CELLS_PER_DATUM * distinct:
            return [x for x, _ in axes], np.stack([place for _, place in axes], axis=1)
        sides = self._sides(sizes, distinct, points, targets, mass)
        designs, places = [], []
        for column, n in zip(points.T, sides, strict=True):
            low, width = column.min(), np.ptp(column) / n
            # Constant pieces reach from one coordinate down to the next: theirs are the upper ends.
            centre = 1.0 if min(self.order, n - 2) <= 0 else 0.5
            designs.append(low + width * (np.arange(n) + centre) if n > 1 else column[:1])
            place = np.ceil((column - low) / width) - 1 if n > 1 else np.zeros(len(column))
            places.append(np.clip(place, 0, n - 1).astype(int))
        return designs, np.stack(places, axis=1)

    def _sides(
        self,
        sizes: list[int],
        distinct: int,
        points: Float[np.ndarray, "m d"],
        targets: Float[np.ndarray, " m"],
        mass: Float[np.ndarray, " m"],
    ) -> list[int]:
        """How many cells each axis has where points are no lattice."""
        varying = [j for j, n in enumerate(sizes) if n > 1]
        if self.cells is not None:
            sides = [min(int(self.cells), n) for n in sizes]
            require(
                math.prod(sides) <= MOST_CELLS,
                f"cells={self.cells} for each of {len(varying)} features make a lattice of"
                f" {math.prod(sides)} cells, more than {MOST_CELLS}; choose fewer of either.",
            )
            return sides
        most = max(1, int(math.log2(distinct)))
        if len(varying) > most:
            # As many features as data can tell two halves of: those that go with y most closely.
            off = points[:, varying] - np.average(points[:, varying], axis=0, weights=mass)
            along = np.abs((mass * (targets - np.average(targets, weights=mass))) @ off)
            spread = np.sqrt(mass @ off**2)
            closest = np.argsort(-(along / spread).round(9), kind="stable")[:most]
            varying = [varying[i] for i in sorted(closest)]
        side = max(2, round(distinct ** (1 / len(varying))))
        return [min(side, n) if j in varying else 1 for j, n in enumerate(sizes)]
