"""Estimators that fit data without training: trend filtering on lattices, and linear smoothers."""

from thalweg.core.doors import guard
from thalweg.estimators.differences import DifferenceOperator, difference_operator
from thalweg.estimators.falling_factorials import (
    divided_differences,
    falling_factorial_basis,
    falling_factorial_coefficients,
    interpolate,
    spline_total_variation,
)
from thalweg.estimators.kronecker_trend_filter import KroneckerTrendFilter
from thalweg.estimators.linear_smoothers import (
    TunedSmoother,
    best_eigenmap,
    best_laplacian,
    eigenmap_filter,
    laplacian_filter,
    lattice_laplacian,
    linear_risk,
    smooth,
)
from thalweg.estimators.pieces import degrees_of_freedom, piece_labels
from thalweg.estimators.signals import centred_spike, pyramid_on_plane
from thalweg.estimators.total_variation import total_variation_prox
from thalweg.estimators.trend_filtering import trend_filter
from thalweg.estimators.trend_fit import TrendFit
from thalweg.estimators.tuning import (
    TunedFit,
    stein_risk,
    trend_filter_path,
    tune_by_cross_validation,
    tune_by_stein,
    tune_by_truth,
)

__all__ = [
    "DifferenceOperator",
    "KroneckerTrendFilter",
    "TrendFit",
    "TunedFit",
    "TunedSmoother",
    "best_eigenmap",
    "best_laplacian",
    "centred_spike",
    "degrees_of_freedom",
    "difference_operator",
    "divided_differences",
    "eigenmap_filter",
    "falling_factorial_basis",
    "falling_factorial_coefficients",
    "interpolate",
    "laplacian_filter",
    "lattice_laplacian",
    "linear_risk",
    "piece_labels",
    "pyramid_on_plane",
    "smooth",
    "spline_total_variation",
    "stein_risk",
    "total_variation_prox",
    "trend_filter",
    "trend_filter_path",
    "tune_by_cross_validation",
    "tune_by_stein",
    "tune_by_truth",
]

guard(globals(), __all__)
