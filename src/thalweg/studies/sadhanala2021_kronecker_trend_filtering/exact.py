"""Identities of differences, spectra, discrete splines and spikes, and certified fits."""

from __future__ import annotations

import numpy as np
import xarray as xr

from thalweg.estimators.differences import difference_operator
from thalweg.estimators.falling_factorials import (
    falling_factorial_basis,
    falling_factorial_coefficients,
    interpolate,
    spline_total_variation,
)
from thalweg.estimators.signals import centred_spike
from thalweg.estimators.trend_filtering import trend_filter
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, table

NULL_SPACES = ("2, 0", "2, 1", "2, 2", "3, 1")  # dims, order
CERTIFIED = {"1, 1": (60,), "2, 0": (16, 16), "2, 1": (16, 16), "3, 0": (8, 8, 8)}
ORDERS = (0, 1, 2, 3)


@experiment("X0", Draws(4), smoke={"draws": 1}, full={"draws": 20})
def identities(lab: Lab, size: Draws) -> xr.Dataset:
    """Differences, their spectrum and null space, discrete splines: what holds to rounding."""
    return over(_identities, draw=range(size.draws))


def _identities(draw: int) -> xr.Dataset:
    rng = np.random.default_rng(draw)
    shape = (5, 6, 4)
    operator, dense = difference_operator(shape, 0), difference_operator(shape, 0).dense()
    y = rng.normal(size=shape)
    solved = np.linalg.solve(np.eye(y.size) + 0.7 * dense.T @ dense, y.ravel()).reshape(shape)
    plane = difference_operator((7, 6), 1)
    z = rng.normal(size=(7, 6))
    _, singular, vectors = np.linalg.svd(plane.dense())
    null = vectors[int((singular > 1e-9).sum()) :]
    far = trend_filter(z, 100.0, 1, tolerance=1e-10).values
    splines = [_spline(rng, order) for order in ORDERS]
    size = "largest |difference| of"
    return table(
        {
            "": {
                "spectrum": (
                    np.abs(
                        np.sort(operator.eigenvalues.ravel()) - np.linalg.eigvalsh(dense.T @ dense)
                    ).max(),
                    "1",
                    f"{size} eigenvalues of D^T D and sums of those of axes",
                ),
                "solve": (
                    np.abs(operator.solve(y, 0.7) - solved).max(),
                    "1",
                    f"{size} both solves",
                ),
                "projector": (
                    np.abs(plane.null_projection(z).ravel() - null.T @ (null @ z.ravel())).max(),
                    "1",
                    f"{size} projections on polynomials",
                ),
                "limit": (
                    np.abs(far - plane.null_projection(z)).max(),
                    "1",
                    f"{size} the fit at a large penalty and the projection",
                ),
                "two": (
                    np.abs(trend_filter([1.0, 3.0], 0.4, 0).values - [1.4, 2.6]).max(),
                    "1",
                    f"{size} the fit to (1, 3) at 0.4 and (1.4, 2.6)",
                ),
            },
            "case": {
                "nullity": (
                    [float(_nullity(*_pair(case))) for case in NULL_SPACES],
                    "1",
                    "cells less rank of D",
                )
            },
            "order": {
                name: ([s[name] for s in splines], "1", words) for name, words in SPLINES.items()
            },
        },
        case=NULL_SPACES,
        order=ORDERS,
    )


SPLINES = {
    "even": "relative error of coefficients from N^k D f, even design",
    "uneven": "relative error of coefficients, uneven design",
    "between": "largest |difference| of interpolant and basis, even design",
    "between_uneven": "that of an uneven design",
    "tensor": "that of a tensor product",
    "lattice": "largest |difference| of interpolant and values on the lattice",
    "polynomial": "that of a polynomial of degree k anywhere",
    "variation": "relative difference of N^k ||D f||_1 and TV(f^(k))",
    "spike": "||D x||_1 of a spike of height 1, over d 2^(k+1)",
}


def scale(size: int, order: int) -> float:
    """N^k, by which unscaled differences become total variation."""
    return float(size) ** order


def _pair(case: str) -> tuple[int, int]:
    dims, order = case.split(", ")
    return int(dims), int(order)


def _nullity(dims: int, order: int) -> int:
    matrix = difference_operator((order + 4,) * dims, order).dense()
    return matrix.shape[1] - int(np.linalg.matrix_rank(matrix))


def _spline(rng: np.random.Generator, order: int) -> dict[str, float]:
    n = 12
    even = np.arange(1, n + 1) / n
    uneven = np.cumsum(0.2 + 0.8 * rng.uniform(size=n)) / n
    f = rng.normal(size=n)
    alpha = falling_factorial_coefficients(even, f, order)
    (bends,) = difference_operator((n,), order).apply(f)
    found = {"even": _relative(alpha[order + 1 :], scale(n, order) * bends)}
    # Values made from coefficients, by the basis, must give them back.
    truth = rng.normal(size=n)
    back = falling_factorial_coefficients(
        uneven, falling_factorial_basis(uneven, order) @ truth, order
    )
    found["uneven"] = _relative(back, truth)
    for name, x in (("between", even), ("between_uneven", uneven)):
        at = rng.uniform(x[0], x[-1] + 0.1, size=50)
        expanded = falling_factorial_basis(x, order, at) @ falling_factorial_coefficients(
            x, f, order
        )
        found[name] = float(np.abs(interpolate(at, f, order, [x]) - expanded).max())
    values = rng.normal(size=(n, n))
    both = falling_factorial_coefficients(even, values, order)
    both = falling_factorial_coefficients(uneven, both.T, order).T
    at = rng.uniform(0.1, 0.9, size=(50, 2)) * [uneven[-1], 1.0]
    left = falling_factorial_basis(uneven, order, at[:, 0])
    right = falling_factorial_basis(even, order, at[:, 1])
    expanded = np.einsum("pi,ij,pj->p", left, both, right)
    tensor = interpolate(at, values, order, [uneven, even])
    found["tensor"] = float(np.abs(tensor - expanded).max())
    found["lattice"] = float(np.abs(interpolate(uneven, f, order, [uneven]) - f).max())
    curve = np.polynomial.Polynomial(rng.normal(size=order + 1))
    at = rng.uniform(-0.1, 1.3, size=50)
    reached = interpolate(at, curve(uneven), order, [uneven])
    found["polynomial"] = float(np.abs(reached - curve(at)).max())
    variation = float(spline_total_variation(even, f, order))
    found["variation"] = abs(scale(n, order) * float(np.abs(bends).sum()) / variation - 1)
    spike = centred_spike(11, 2, order)
    norm = float(difference_operator((11, 11), order).norm(spike / spike.max()))
    found["spike"] = norm / (2 * 2 ** (order + 1))
    return found


def _relative(found: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(found - right).max() / np.abs(right).max())


@experiment("X6", Draws(6), smoke={"draws": 2}, full={"draws": 30})
def certified(lab: Lab, size: Draws) -> xr.Dataset:
    """Fits to noise at penalty 1, with their duality gaps."""

    def of(case: str) -> xr.Dataset:
        shape, order = CERTIFIED[case], _pair(case)[1]
        y = np.random.default_rng(0).normal(size=(size.draws, *shape))
        fit = trend_filter(y, 1.0, order, draws=True)
        # By hand, from the dual point alone.
        pulled = fit.operator.adjoint(fit.dual)
        sums = tuple(range(1, y.ndim))
        dual = 0.5 * (y**2).sum(sums) - 0.5 * ((y - pulled) ** 2).sum(sums)
        primal = 0.5 * ((y - fit.values) ** 2).sum(sums) + fit.operator.norm(fit.values)
        outside = max(float(np.abs(v).max()) for v in fit.dual) - 1.0
        return table(
            {
                "draw": {
                    "gap": (fit.gap, "1", "relative duality gap, as told"),
                    "by_hand": ((primal - dual) / primal, "1", "that from primal and dual values"),
                },
                "": {"outside": (outside, "1", "largest |v| - 1")},
            }
        )

    return over(of, case=list(CERTIFIED))
