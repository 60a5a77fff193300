"""Kronecker trend filtering on lattices of any dimension and order, certified by its duality gap.

    min_x  1/2 sum c_i (y_i - x_i)^2 + lambda ||D x||_1

with D the (k+1)-st differences along every axis. Alternating directions split z_j = M_j x with
D_j = D^(1) M_j: the solve in x is spectral, that in z_j an exact total-variation denoising of every
line, which carries the exact zeros. The penalty rho of the
split follows the two parts that the duality gap falls into. With the dual point v (|v| <= lambda by
the denoising itself) and f = D^T v,

    gap = 1/2 sum (c (y - x) - f)^2 / c  +  lambda ||D x||_1 - <v, D x>,

rho grows where the second part, of the split, exceeds the first, and falls where it is less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.estimators.differences import (
    DifferenceOperator,
    adjoint_difference,
    difference_operator,
    inner_operator,
)
from thalweg.estimators.pieces import piecewise_constant
from thalweg.estimators.total_variation import taut_strings
from thalweg.estimators.trend_fit import TrendFit

Values = Float[np.ndarray, "..."]

OVER_RELAXATION = 1.7
FIRST_RATIO = 20.0  # rho std(y) / lambda at the start; 30 to 1000 at the end of what was measured
CHECKED_EVERY = 10
SMALLEST_OBJECTIVE = 1e-5  # of that of the mean: below, the gap is taken relative to this
CHANGE = 2.0  # of rho at one check, at most
IDLE = 1.2  # changes of rho by less are not made
REST = 0.5  # of the iterations so far pass before rho may change again, so that it settles
LARGEST_POWER = 900  # of the two that data are divided by: squares of what is left neither overflow
FARTHEST = 1e100  # of a penalty from the size of the data: squares of their ratio stay finite
MOST_SIDE = 256  # of lattices whose limit of large penalties is looked at, a decomposition of axes


def trend_filter(
    y: ArrayLike,
    penalty: ArrayLike,
    order: int | Sequence[int] = 1,
    *,
    designs: Sequence[Sequence[float] | np.ndarray | None] | None = None,
    weights: ArrayLike | None = None,
    draws: bool = False,
    tolerance: float = 1e-6,
    start: TrendFit | None = None,
    most_iterations: int = 20_000,
) -> TrendFit:
    """Kronecker trend filtering: 1/2 ||y - x||^2 + lambda ||D x||_1 minimised over the lattice.

    Args:
        y: Data on the lattice. Where a weight is zero they are not looked at.
        penalty: lambda, above 0, in the unit of y; with `draws` one for each may be given. It is
            that of unscaled differences: no factor N^k.
        order: k: 0, 1, 2 for piecewise constant, linear, quadratic fits; a list has one for each
            axis.
        designs: Coordinates of the axes where these are uneven, see `difference_operator`.
        weights: c, at least 0, of the lattice's shape: how many data a cell has.
        draws: Whether the first dim of `y` counts independent data, which are fitted at once.
        tolerance: The relative duality gap at which to stop.
        start: A fit of the same lattice and order to start from.
        most_iterations: Where to give up; the fit then says the gap that it has.

    Returns:
        The fit. ||x - minimiser||^2 <= 2 gap objective where all weights are one.

    Raises:
        InputError: If the data are not finite, a side is too short for the order, the penalty is
            1e100 times as large or small as the data, or weights, tolerance or start do not fit.

    Cost:
        An iteration is a transform of the lattice forth and back and 2 to 3 passes over its lines,
        1.5 to 2.5 ms of one thread at 128 x 128; 100 (k = 0) to 1000 (k = 2) to a gap of 1e-6.
        A penalty that leaves polynomials alone takes 10, on sides up to 256.
        Memory of about 20 (d + 1) arrays of the lattice's size.

    References:
        Sadhanala et al. (2021), E2, E3; Barbero and Sra (2018) and Ramdas and Tibshirani (2016)
        for the splits.

    Examples:
        >>> fit = tw.estimators.trend_filter([1.0, 3.0], 0.4, order=0)
        >>> fit.values.round(6).tolist(), bool(fit.gap <= 1e-6)
        ([1.4, 2.6], True)
    """
    data = np.asarray(y, dtype=float)
    require(
        data.ndim > (1 if draws else 0),
        f"y has {data.ndim} dims; give an array over a lattice"
        + (", draws first." if draws else "."),
    )
    if not draws:
        data = data[None]
    lattice = data.shape[1:]
    operator = difference_operator(lattice, order, designs)
    require(data.size > 0, "y is empty; give data.")
    cell = _checked_weights(weights, lattice)
    seen = data if cell is None else np.where(cell > 0, data, 0.0)
    require(bool(np.isfinite(seen).all()), "y must be finite; drop or fill NaN and infinity.")
    require(
        bool(np.isfinite(tolerance)) and tolerance > 0,
        f"tolerance={tolerance} must be a positive number.",
    )
    require(most_iterations >= 1, f"most_iterations={most_iterations} must be at least 1.")
    given = np.asarray(penalty, dtype=float)
    require(
        bool(np.isfinite(given).all() and (given > 0).all())
        and given.shape in ((), data.shape[:1]),
        ("penalty" if given.ndim else f"penalty={given}")
        + (" must be a positive number" + (" or one for each draw." if draws else ".")),
    )
    lam = np.broadcast_to(given, data.shape[:1]).astype(float)
    power = _power_of_two(seen)
    own = np.ldexp(seen, -power[(...,) + (None,) * len(lattice)])
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.ldexp(lam, -power)
    require(
        bool((scaled > 1 / FARTHEST).all() and (scaled < FARTHEST).all()),
        f"penalties of {lam.min():.0e} to {lam.max():.0e} came for data of up to"
        f" {np.abs(seen).max():.0e}; give some within {FARTHEST:.0e} times these, up or down.",
    )
    split = _Split(operator, own, scaled, cell)
    if start is None:
        split.begin()
    else:
        split.warm(start.scaled(-(power if draws else power[0])), draws)
    fit = split.run(tolerance, most_iterations).scaled(power)
    return fit if draws else fit.at(0)


def _power_of_two(data: Float[np.ndarray, "draws ..."]) -> Int[np.ndarray, " draws"]:
    """The power of two in whose unit the data of a draw are of ordinary size."""
    largest = np.abs(data).max(tuple(range(1, data.ndim)))
    return np.clip(np.frexp(largest)[1], -LARGEST_POWER, LARGEST_POWER)


def _checked_weights(weights: ArrayLike | None, lattice: tuple[int, ...]) -> Values | None:
    if weights is None:
        return None
    cell = np.asarray(weights, dtype=float)
    require(
        cell.shape == lattice,
        f"weights have shape {cell.shape}; give one for each cell of the lattice {lattice}.",
    )
    require(
        bool(np.isfinite(cell).all() and (cell >= 0).all() and cell.any()),
        "weights must be finite, none negative and one positive.",
    )
    return None if (cell == 1).all() else cell


class _Split:
    """The state of alternating directions for data that are not yet done, dims (draws, lattice)."""

    def __init__(
        self,
        operator: DifferenceOperator,
        data: Values,
        penalty: Float[np.ndarray, " draws"],
        cell: Values | None,
    ) -> None:
        self.operator, self.inner = operator, inner_operator(operator)
        self.dims = len(operator.shape)
        self.lattice = tuple(range(1, self.dims + 1))
        self.cell = cell
        if cell is None:
            self.offset = data.mean(self.lattice, keepdims=True)
        else:
            self.offset = (cell * data).sum(self.lattice, keepdims=True) / cell.sum()
            # Cells without data are judged as if they had the mean weight.
            self.judged = np.where(cell > 0, cell, cell[cell > 0].mean())
            self.shift = self.judged.mean()
        self.data = data - self.offset
        if cell is not None:
            self.data[:, cell == 0] = 0.0
        self.penalty = penalty[(...,) + (None,) * self.dims]
        spread = self.data.std(self.lattice, keepdims=True)
        self.rho = FIRST_RATIO * np.minimum(self.penalty / np.where(spread > 0, spread, 1.0), 10.0)
        self.next = np.zeros(len(data))  # when rho may change again
        self.points = [np.zeros_like(part) for part in self.inner.apply(self.data)]
        self.copy = np.zeros_like(self.data)  # of x, for the weighted squares
        self.touches: list[np.ndarray | None] = [None] * self.dims
        weighed = np.ones(()) if cell is None else cell
        self.least = SMALLEST_OBJECTIVE * 0.5 * (weighed * self.data**2).sum(self.lattice)

    def begin(self) -> None:
        """Begin at the solution where the penalty leaves no difference.

        That is the projection x of the data y on the null space, if some |v| <= lambda has
        D^T v = y - x; tried is the shortest, v = D (D^T D)^+ y. From elsewhere the iteration would
        take the longer, the larger lambda is.
        """
        if self.cell is not None or max(self.operator.shape) > MOST_SIDE:
            return
        flat, spectrum = self.operator.null_projection(self.data), self.operator.eigenvalues
        inverse = np.divide(1.0, spectrum, out=np.zeros_like(spectrum), where=spectrum > 0)
        spread = self.operator.inverse(inverse * self.operator.transform(self.data - flat))
        dual = self.operator.apply(spread)
        met = np.ones_like(self.penalty, bool)
        for v in dual:
            met &= np.abs(v).max(self.lattice, keepdims=True) <= self.penalty
        for j, (part, v) in enumerate(zip(self.inner.apply(flat), dual, strict=True)):
            self.points[j] = np.where(met, part + adjoint_difference(v, j + 1) / self.rho, 0.0)

    def warm(self, start: TrendFit, draws: bool) -> None:
        """Begin from a fit: at its values, its dual point carried to the new bounds."""
        fitted = start.values if draws else start.values[None]
        require(
            fitted.shape == self.data.shape and start.operator == self.operator,
            "start is a fit of another lattice, order or number of draws; leave it out.",
        )
        values = fitted - self.offset
        lead = (...,) if draws else (None, ...)
        grown = self.penalty.ravel() / start.penalty
        self.rho = np.broadcast_to(start.rho * grown, len(values))[(...,) + (None,) * self.dims]
        self.points = list(self.inner.apply(values))
        for j, (v, s) in enumerate(zip(start.dual, start.signs, strict=True)):
            bound = np.where(s[lead] != 0, self.penalty * s[lead], v[lead])
            bound = np.clip(bound, -self.penalty, self.penalty)
            self.points[j] = self.points[j] + adjoint_difference(bound, j + 1) / self.rho
        if self.cell is not None:
            self.copy = values + self.cell * (self.data - values) / self.shift
        for j, signs in enumerate(start.signs):
            moved = np.moveaxis(signs[lead], j + 1, -1)
            ended = np.concatenate([moved, np.zeros((*moved.shape[:-1], 1), np.int8)], axis=-1)
            self.touches[j] = ended.reshape(-1, ended.shape[-1])

    def run(self, tolerance: float, most: int) -> TrendFit:
        """Iterate until every draw has the tolerance, putting those that have it aside."""
        count = len(self.data)
        left = np.arange(count)
        done: dict[int, tuple[object, ...]] = {}
        for iteration in range(1, most + 1):
            shrunk, heights = self._denoise()
            values, spread = self._solve(shrunk)
            if iteration % CHECKED_EVERY == 0 or iteration == most:
                dual = [np.clip(self.rho * h, -self.penalty, self.penalty) for h in heights]
                split, fidelity, objective = self._gap(values, dual)
                size = np.maximum(objective, self.least)
                relative = np.where(objective > 0, split + fidelity, 0.0)
                relative /= np.where(size > 0, size, 1.0)
                ended = (relative <= tolerance) | (iteration == most)
                for i in np.flatnonzero(ended):
                    done[int(left[i])] = self._finished(int(i), values, dual, iteration)
                if ended.all():
                    break
                self._advance(shrunk, spread, values)
                self._balance(split, fidelity, shrunk, iteration)
                if ended.any():
                    self._keep(~ended)
                    left = left[~ended]
            else:
                self._advance(shrunk, spread, values)
        return self._joined([done[i] for i in range(count)])

    def _denoise(self) -> tuple[list[Values], list[Values]]:
        """Z and the heights v / rho of every axis: total-variation denoising of all lines."""
        shrunk, heights = [], []
        for j, point in enumerate(self.points):
            moved = np.moveaxis(point, j + 1, -1)
            lines = moved.reshape(-1, moved.shape[-1])
            radii = np.repeat((self.penalty / self.rho).ravel(), len(lines) // len(point))
            strings = taut_strings(lines, radii, self.touches[j])
            self.touches[j] = strings.touches
            shrunk.append(np.moveaxis(strings.values.reshape(moved.shape), -1, j + 1))
            raised = strings.heights.reshape(*moved.shape[:-1], -1)
            heights.append(np.moveaxis(raised, -1, j + 1))
        return shrunk, heights

    def _solve(self, shrunk: list[Values]) -> tuple[Values, tuple[Values, ...]]:
        """X and M x."""
        ahead = [2 * z - w for z, w in zip(shrunk, self.points, strict=True)]
        right = self.rho * self.inner.adjoint(ahead)
        if self.cell is None:
            values = self.inner.solve(right + self.data, self.rho)
        else:
            self.smooth = (self.cell * self.data + self.shift * self.copy) / (
                self.cell + self.shift
            )
            right = right + self.shift * (2 * self.smooth - self.copy)
            values = self.inner.solve(right, self.rho, self.shift)
        return values, self.inner.apply(values)

    def _advance(self, shrunk: list[Values], spread: tuple[Values, ...], values: Values) -> None:
        for w, z, mx in zip(self.points, shrunk, spread, strict=True):
            w += OVER_RELAXATION * (mx - z)
        if self.cell is not None:
            self.copy += OVER_RELAXATION * (values - self.smooth)

    def _gap(
        self, values: Values, dual: list[Values], some: slice = slice(None)
    ) -> tuple[Values, Values, Values]:
        """The two parts of the duality gap, and the objective, of some draws."""
        weighed: Values = np.ones(()) if self.cell is None else self.cell
        judged: Values = np.ones(()) if self.cell is None else self.judged
        off = self.data[some] - values
        unmet = weighed * off - self.operator.adjoint(dual)
        fidelity = 0.5 * (unmet**2 / judged).sum(self.lattice)
        split, norm = np.zeros(len(values)), np.zeros(len(values))
        lam = self.penalty[some].reshape(-1)
        for part, v in zip(self.operator.apply(values), dual, strict=True):
            size = lam * np.abs(part).sum(self.lattice)
            norm += size
            split += size - (v * part).sum(self.lattice)
        objective = 0.5 * (weighed * off**2).sum(self.lattice) + norm
        return np.maximum(split, 0.0), fidelity, objective

    def _balance(
        self, split: Values, fidelity: Values, shrunk: list[Values], iteration: int
    ) -> None:
        """Change rho towards equal parts of the gap, leaving the dual point where it is."""
        tiny = np.finfo(float).tiny
        factor = np.clip(((split + tiny) / (fidelity + tiny)) ** 0.25, 1 / CHANGE, CHANGE)
        idle = (factor < IDLE) & (factor > 1 / IDLE) | (iteration < self.next)
        factor = np.where(idle, 1.0, factor)
        self.next = np.where(idle, self.next, (1 + REST) * iteration)
        factor = factor[(...,) + (None,) * self.dims]
        self.points = [z + (w - z) / factor for w, z in zip(self.points, shrunk, strict=True)]
        self.rho = self.rho * factor

    def _keep(self, some: Bool[np.ndarray, " draws"]) -> None:
        before = len(some)
        for name in ("data", "offset", "penalty", "rho", "copy", "least", "next"):
            setattr(self, name, getattr(self, name)[some])
        self.points = [w[some] for w in self.points]
        self.touches = [
            None if t is None else t.reshape(before, -1, t.shape[-1])[some].reshape(-1, t.shape[-1])
            for t in self.touches
        ]

    def _finished(
        self, i: int, values: Values, dual: list[Values], iteration: int
    ) -> tuple[object, ...]:
        """What a draw's fit holds; a piecewise constant one is made exact if that is better."""
        signs = []
        for j, part in enumerate(dual):
            sides = (part.shape[0], *np.delete(part.shape[1:], j), part.shape[j + 1] + 1)
            touched = self.touches[j]
            assert touched is not None
            ended = touched.reshape(sides)[i]
            signs.append(np.ascontiguousarray(np.moveaxis(ended[..., :-1], -1, j)))
        here = slice(i, i + 1)
        own = [v[here] for v in dual]
        fitted = values[i]
        split, fidelity, objective = self._gap(fitted[None], own, here)
        if all(axis.power == 1 for axis in self.operator.axes):
            pull = self.penalty[i] * self.operator.adjoint([s.astype(float) for s in signs])
            exact = piecewise_constant(self.data[i], signs, pull, self.cell)
            merged = self._gap(exact[None], own, here)
            if merged[0] + merged[1] <= split + fidelity:
                fitted, (split, fidelity, objective) = exact, merged
        size = max(float(objective[0]), float(self.least[i]))
        gap = float(split[0] + fidelity[0]) / size if size else 0.0
        penalty = float(self.penalty[i].ravel()[0])
        rho = float(self.rho[i].ravel()[0])
        own = [v[0] for v in own]
        return fitted + self.offset[i], penalty, own, signs, objective[0], gap, iteration, rho

    def _joined(self, rows: list[tuple[object, ...]]) -> TrendFit:
        values, penalty, dual, signs, objective, gap, iterations, rho = zip(*rows, strict=True)
        residual = np.array(gap)
        bare = self.cell is not None and bool((self.cell == 0).any())
        return TrendFit(
            np.array(values),
            np.array(penalty),
            self.operator,
            tuple(np.array(parts) for parts in zip(*dual, strict=True)),
            tuple(np.array(parts) for parts in zip(*signs, strict=True)),
            np.array(objective),
            np.full_like(residual, np.nan) if bare else residual,
            residual,
            np.array(iterations),
            np.array(rho),
            self.cell,
        )
