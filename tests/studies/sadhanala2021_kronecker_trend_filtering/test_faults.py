"""Planted faults: every claim of the study fails when what it rests on is wrong."""

from dataclasses import replace

import numpy as np

from planting import Fault, fault_table
from thalweg.studies.sadhanala2021_kronecker_trend_filtering import exact, risks


def next_order(right, dims, order):
    return right(dims, order + 1)


def twice_the_penalty(right, y, penalty, *arguments, **options):
    return right(y, 2 * np.asarray(penalty), *arguments, **options)


def unscaled(right, size, order):
    return 1.0


def other_sign(right, *arguments):
    return -right(*arguments)


def nearest(right, points, values, order, designs):
    points = np.asarray(points).reshape(len(points), -1)
    places = [np.abs(p[:, None] - x).argmin(1) for p, x in zip(points.T, designs, strict=True)]
    return np.asarray(values)[tuple(places)]


def lax(right, *arguments, **options):
    return right(*arguments, **{**options, "tolerance": 1e-3})


def two_more(right, fit):
    return right(fit) + 2


def secretly_linear(right, y, penalty, order, **options):
    """Ridge on D x."""
    fit = right(y, penalty, order, **{**options, "tolerance": 0.5})
    lam = fit.penalty.reshape(-1, *[1] * (np.ndim(y) - 1))
    return replace(fit, values=fit.operator.solve(np.asarray(y), lam))


def power_one(right, truth, sigma, *power):
    return right(truth, sigma)


@fault_table(
    Fault("C1", exact, "_nullity", next_order, "one order too many"),
    Fault("C2", exact, "trend_filter", twice_the_penalty, "twice the penalty"),
    Fault("C3", exact, "scale", unscaled, "N^k is missing"),
    Fault("C3", exact, "falling_factorial_coefficients", other_sign, "the sign of differences"),
    Fault("C4", exact, "interpolate", nearest, "interpolation of the nearest value"),
    Fault("C5", exact, "scale", unscaled, "N^k is missing"),
    Fault("C6", exact, "trend_filter", lax, "a fit that stops too early"),
    Fault("C7", risks, "degrees_of_freedom", two_more, "two pieces too many"),
    Fault("C8", risks, "trend_filter", secretly_linear, "a solver that is secretly linear"),
    Fault("C9", risks, "trend_filter", secretly_linear, "a solver that is secretly linear"),
    Fault("C10", risks, "best_laplacian", power_one, "the first power of the Laplacian for all"),
    Fault("C10", risks, "trend_filter", secretly_linear, "a solver that is secretly linear"),
)  # fmt: skip
def test_a_planted_fault_is_noticed(fault, noticed):
    assert noticed(fault) == "not reproduced"
