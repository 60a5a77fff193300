"""Differences along the axes of a lattice, their adjoint, null space and spectrum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.sparse
from jaxtyping import Float

from thalweg.core.errors import InputError, require

Values = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class AxisDifferences:
    """m-th differences of N values on a line: m first ones, weighted after each but the last.

        D^(m) = D^(1) diag(w_{m-1}) ... diag(w_1) D^(1),   w_i = i h / (x_{j+i} - x_j)

    with h the mean spacing, so that on even designs all weights are 1. `weighted` leaves the last
    weights on: the M with D^(m+1) = D^(1) M.

    Attributes:
        size: N.
        power: m, from 0 (the identity) to N.
        design: Increasing coordinates; None if evenly spaced.
        weighted: Whether the m-th differences are weighted, too.
    """

    size: int
    power: int
    design: tuple[float, ...] | None = None
    weighted: bool = False

    @cached_property
    def weights(self) -> tuple[Float[np.ndarray, " _"] | None, ...]:
        """The factors after each difference."""
        if self.design is None or self.power == 0:
            return (None,) * self.power
        x = np.asarray(self.design)
        h = (x[-1] - x[0]) / (self.size - 1)
        factors = [i * h / (x[i:] - x[:-i]) for i in range(1, self.power + 1)]
        return (*factors[:-1], factors[-1] if self.weighted else None)

    def apply(self, values: Values, axis: int) -> Values:
        """D x along an axis, which gets shorter by m."""
        for weight in self.weights:
            values = np.diff(values, axis=axis)
            if weight is not None:
                values = values * _along(weight, axis, values.ndim)
        return values

    def adjoint(self, parts: Values, axis: int) -> Values:
        """D^T z along an axis, which gets longer by m."""
        for weight in reversed(self.weights):
            if weight is not None:
                parts = parts * _along(weight, axis, parts.ndim)
            parts = adjoint_difference(parts, axis)
        return parts

    def dense(self) -> Float[np.ndarray, "rows N"]:
        """The matrix."""
        return self.apply(np.eye(self.size), 0)

    @cached_property
    def spectrum(self) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, "N N"] | None]:
        """Eigenvalues of D^T D, rising, and eigenvectors as columns; None for those of the DCT-II.

        First differences on even designs have 4 sin^2(pi i / 2N).
        """
        n = self.size
        if self.power == 0:
            return np.ones(n), None
        if not self.spectrum_is_dense:
            return 4 * np.sin(np.pi * np.arange(n) / (2 * n)) ** 2, None
        _, singular, vectors = np.linalg.svd(self.dense())
        eigenvalues = np.zeros(n)
        eigenvalues[self.power :] = singular[::-1] ** 2
        return eigenvalues, np.ascontiguousarray(vectors[::-1].T)

    @property
    def spectrum_is_dense(self) -> bool:
        """Whether eigenvectors are a matrix; else they are units or cosines."""
        return self.power > 1 or (self.power == 1 and self.design is not None)

    @cached_property
    def entries(self) -> Float[np.ndarray, "rows width"]:
        """The entries of the matrix that are not zero: row i has them in the columns i to i + m."""
        rows, width = self.size - self.power, self.power + 1
        # Columns m + 1 apart do not share a row, so that m + 1 probes show every entry.
        probes = np.zeros((self.size, width))
        probes[np.arange(self.size), np.arange(self.size) % width] = 1.0
        seen, row = self.apply(probes, 0), np.arange(rows)
        return np.stack([seen[row, (row + i) % width] for i in range(width)], axis=1)

    def sparse(self) -> scipy.sparse.csr_array:
        """The matrix, with m + 1 entries in a row."""
        row, beside = np.indices(self.entries.shape)
        places = (row.ravel(), (row + beside).ravel())
        shape = (self.size - self.power, self.size)
        return scipy.sparse.csr_array((self.entries.ravel(), places), shape=shape)

    @cached_property
    def banded_gram(self) -> Float[np.ndarray, "width N"]:
        """D^T D as upper diagonals, as `scipy.linalg.solveh_banded` takes them; O(N)."""
        rows, width = self.size - self.power, self.power + 1
        bands = np.zeros((width, self.size))
        for i in range(width):
            for j in range(i, width):
                bands[width - 1 - (j - i), j : j + rows] += self.entries[:, i] * self.entries[:, j]
        return bands


def adjoint_difference(parts: Values, axis: int) -> Values:
    """The adjoint of first differences along an axis: -z_1, z_1 - z_2, ..., z_{N-1}."""
    shape = list(parts.shape)
    shape[axis] += 1
    out = np.zeros(shape)
    ahead: list[slice] = [slice(None)] * parts.ndim
    behind = list(ahead)
    ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
    out[tuple(ahead)] = parts
    out[tuple(behind)] -= parts
    return out


def _along(weight: Float[np.ndarray, " _"], axis: int, dims: int) -> Values:
    return weight.reshape([-1 if i == axis % dims else 1 for i in range(dims)])


@dataclass(frozen=True)
class DifferenceOperator:
    """(k+1)-st differences along every axis of a lattice, stacked: D of Kronecker trend filtering.

        D = stack over j of I x ... x D_{N_j}^{(k+1)} (place j) x ... x I

    Axes may have orders of their own. Arrays have the lattice's shape as their last dims;
    dims before are independent.

    Attributes:
        shape: (N_1, ..., N_d).
        axes: The differences along each axis.
    """

    shape: tuple[int, ...]
    axes: tuple[AxisDifferences, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """How many rows each axis has: (N_j - k - 1) times the sizes of the others."""
        n = math.prod(self.shape)
        return tuple(n // a.size * (a.size - a.power) for a in self.axes)

    @property
    def nullity(self) -> int:
        """The dimension of the null space, tensor polynomials of degree k in each variable."""
        return math.prod(min(axis.power, axis.size) for axis in self.axes)

    def apply(self, values: Values) -> tuple[Values, ...]:
        """The differences along each axis, one array for each.

        Examples:
            >>> plane = np.add.outer(np.arange(4.0), 2 * np.arange(5.0))
            >>> down, across = tw.estimators.difference_operator((4, 5), order=0).apply(plane)
            >>> down[0].tolist(), across[0].tolist()
            ([1.0, 1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0])
        """
        first = self._checked(values).ndim - len(self.shape)
        return tuple(a.apply(values, first + j) for j, a in enumerate(self.axes))

    def adjoint(self, parts: Sequence[Values]) -> Values:
        """D^T v, from one array for each axis."""
        first = parts[0].ndim - len(self.shape)
        total = self.axes[0].adjoint(parts[0], first)
        for j, axis in enumerate(self.axes[1:], start=1):
            total += axis.adjoint(parts[j], first + j)
        return total

    def norm(self, values: Values) -> Values:
        """||D x||_1, over the lattice."""
        lattice = tuple(range(-len(self.shape), 0))
        return sum((np.abs(part).sum(axis=lattice) for part in self.apply(values)), np.zeros(()))

    def dense(self) -> Float[np.ndarray, "rows n"]:
        """The matrix on values in C order: for small lattices."""
        n = math.prod(self.shape)
        units = np.eye(n).reshape(n, *self.shape)
        return np.concatenate([part.reshape(n, -1).T for part in self.apply(units)])

    def sparse(self) -> scipy.sparse.csr_array:
        """The matrix on values in C order, with k + 2 entries in a row."""
        blocks = []
        for j, axis in enumerate(self.axes):
            before, after = math.prod(self.shape[:j]), math.prod(self.shape[j + 1 :])
            block = scipy.sparse.kron(scipy.sparse.eye_array(before), axis.sparse())
            blocks.append(scipy.sparse.kron(block, scipy.sparse.eye_array(after)))
        return scipy.sparse.csr_array(scipy.sparse.vstack(blocks))

    def null_projection(self, values: Values) -> Values:
        """The orthogonal projection on the null space: the limit of fits for large penalties.

        Taken axis by axis with orthonormal polynomials of degree up to k, to rounding.
        """
        values = self._checked(values)
        first = values.ndim - len(self.shape)
        for j, axis in enumerate(self.axes):
            x = np.arange(axis.size) if axis.design is None else np.asarray(axis.design)
            x = 2 * (x - x[0]) / max(x[-1] - x[0], 1e-300) - 1
            degree = min(axis.power, axis.size)
            basis, _ = np.linalg.qr(np.polynomial.legendre.legvander(x, degree)[:, :degree])
            values = _multiply(basis @ basis.T, values, first + j)
        return values

    @cached_property
    def eigenvalues(self) -> Values:
        """Those of D^T D: the sums w_{i_1} + ... + w_{i_d} of the axes', of the lattice's shape."""
        dims = len(self.shape)
        return sum(
            (_along(a.spectrum[0], j, dims) for j, a in enumerate(self.axes)), np.zeros(self.shape)
        )

    def transform(self, values: Values) -> Values:
        """Coefficients of values along the orthonormal eigenvectors of D^T D."""
        return self._turn(self._checked(values), forward=True)

    def inverse(self, coefficients: Values) -> Values:
        """Values from their coefficients: the transpose of `transform`."""
        return self._turn(self._checked(coefficients), forward=False)

    def solve(self, right: Values, penalty: float | Values, shift: float | Values = 1.0) -> Values:
        """(c I + p D^T D)^{-1} b with c = `shift`, exact: by bands on a line, by the spectrum else.

        Args:
            right: b.
            penalty: p, at least 0; arrays broadcast against b.
            shift: c, above 0.

        Cost:
            A transform forth and back: d N^{d+1} multiplications, or n log n where it is a DCT; on
            a line O(n).
        """
        right = self._checked(right)
        if len(self.shape) == 1 and self.axes[0].spectrum_is_dense:
            return self._solve_banded(right, penalty, shift)
        return self.inverse(self.transform(right) / (shift + penalty * self.eigenvalues))

    def _solve_banded(
        self, right: Values, penalty: float | Values, shift: float | Values
    ) -> Values:
        flat = right.reshape(-1, self.shape[0])
        spread = [np.broadcast_to(p, (*right.shape[:-1], 1)).ravel() for p in (penalty, shift)]
        out = np.empty_like(flat)
        for i, (p, c) in enumerate(zip(*spread, strict=True)):
            bands = p * self.axes[0].banded_gram
            bands[-1] += c
            out[i] = scipy.linalg.solveh_banded(bands, flat[i], check_finite=False)
        return out.reshape(right.shape)

    def _turn(self, values: Values, forward: bool) -> Values:
        first = values.ndim - len(self.shape)
        if all(a.power == 0 for a in self.axes):
            return values
        cosine = []
        for j, axis in enumerate(self.axes):
            vectors = axis.spectrum[1]
            if vectors is not None:
                values = _multiply(vectors.T if forward else vectors, values, first + j)
            elif axis.power:
                cosine.append(first + j)
        if cosine:
            turn = scipy.fft.dctn if forward else scipy.fft.idctn
            values = turn(values, axes=cosine, norm="ortho")
        return values

    def _checked(self, values: Values) -> Values:
        values = np.asarray(values, dtype=float)
        dims = len(self.shape)
        require(
            values.shape[max(values.ndim - dims, 0) :] == self.shape,
            f"values of shape {values.shape} do not lie on the lattice {self.shape}; its sides must"
            " be the last of theirs.",
        )
        return values


def _multiply(matrix: Float[np.ndarray, "M N"], values: Values, axis: int) -> Values:
    """A matrix times values along one axis, without moving axes."""
    before, after = values.shape[:axis], values.shape[axis + 1 :]
    if not after:
        return values @ matrix.T
    product = matrix @ values.reshape(-1, values.shape[axis], math.prod(after))
    return product.reshape(*before, len(matrix), *after)


def difference_operator(
    shape: Sequence[int],
    order: int | Sequence[int] = 1,
    designs: Sequence[Sequence[float] | np.ndarray | None] | None = None,
) -> DifferenceOperator:
    """(k+1)-st differences along every axis of a lattice: `apply`, `adjoint`, `dense`, `solve`.

    Args:
        shape: Sides (N_1, ..., N_d) of the lattice, each at least k + 2.
        order: k, at least 0: 0 of piecewise constant, 1 of piecewise linear fits; one for all axes
            or one for each.
        designs: Increasing coordinates of each axis, None for even ones. Differences are then
            divided by spacings in units of the mean one, k / (x_{i+k} - x_i) between the k-th and
            the next, so that functions with linear pieces (k = 1) have no difference inside one.

    Raises:
        InputError: If a side is too short, an order negative, or a design not increasing.

    References:
        Sadhanala et al. (2021), E1; Tibshirani (2020) for uneven designs.

    Examples:
        >>> operator = tw.estimators.difference_operator((5, 6), order=1)
        >>> operator.rows, operator.nullity, operator.dense().shape
        ((18, 20), 4, (38, 30))
    """
    sides = lattice_sizes(shape, "shape")
    require(len(sides) > 0, "shape is empty; give the lattice at least one side.")
    orders = orders_of(order, len(sides))
    given = [None] * len(sides) if designs is None else list(designs)
    require(
        len(given) == len(sides),
        f"designs has {len(given)} entries for {len(sides)} axes; give one for each.",
    )
    return DifferenceOperator(
        sides,
        tuple(
            _axis(n, int(k), x, j)
            for j, (n, k, x) in enumerate(zip(sides, orders, given, strict=True))
        ),
    )


def lattice_sizes(values: Sequence[int] | np.ndarray, name: str) -> tuple[int, ...]:
    """A list of whole numbers, or one sentence about it."""
    found = np.asarray(list(values), dtype=object)
    whole = found.ndim == 1 and all(isinstance(v, int | np.integer) for v in found.tolist())
    require(whole, f"{name} must be a list of whole numbers, one for each axis.")
    return tuple(int(v) for v in found)


def orders_of(order: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """One order for each axis."""
    if isinstance(order, int | np.integer):
        return (int(order),) * axes
    orders = lattice_sizes(order, "order")
    require(
        len(orders) == axes,
        f"order has {len(orders)} entries for {axes} axes; give one for each, or one for all.",
    )
    return orders


def _axis(
    size: int, order: int, design: Sequence[float] | np.ndarray | None, place: int
) -> AxisDifferences:
    require(order >= 0, f"order={order} of axis {place} is negative; 0 is piecewise constant.")
    require(
        size >= order + 2,
        f"axis {place} has {size} cells, fewer than the {order + 2} that order {order} takes;"
        " give it more cells or a lower order.",
    )
    if design is None:
        return AxisDifferences(size, order + 1)
    x = np.asarray(design, dtype=float)
    require(
        x.shape == (size,) and bool(np.isfinite(x).all()),
        f"the design of axis {place} has shape {x.shape}; give {size} finite coordinates.",
    )
    require(
        bool((np.diff(x) > 0).all()),
        f"the design of axis {place} must increase; sort it, drop ties.",
    )
    steps = np.diff(x)
    if np.ptp(steps) <= 1e-12 * np.abs(x).max():
        return AxisDifferences(size, order + 1)
    return AxisDifferences(size, order + 1, tuple(x.tolist()))


def inner_operator(operator: DifferenceOperator) -> DifferenceOperator:
    """M with D = D^(1) M along every axis: D without its last first differences."""
    if any(axis.power == 0 for axis in operator.axes):
        raise InputError("an axis without differences has no first difference to take off.")
    return DifferenceOperator(
        operator.shape,
        tuple(AxisDifferences(a.size, a.power - 1, a.design, weighted=True) for a in operator.axes),
    )
