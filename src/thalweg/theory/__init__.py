"""What papers predict: closed forms, bounds, rates, certificates."""

from thalweg.theory import (
    adaptive_geometry,
    euler,
    expressivity,
    geometric_rate,
    homogeneous,
    isometry,
    last_layer,
    linear_modes,
    parameter_count,
    piecewise_affine,
    polyak_lojasiewicz,
    regions,
    scalar_linear,
    singular_values,
)
from thalweg.theory.prediction import Prediction, make_prediction

__all__ = [
    "Prediction",
    "adaptive_geometry",
    "euler",
    "expressivity",
    "geometric_rate",
    "homogeneous",
    "isometry",
    "last_layer",
    "linear_modes",
    "make_prediction",
    "parameter_count",
    "piecewise_affine",
    "polyak_lojasiewicz",
    "regions",
    "scalar_linear",
    "singular_values",
]
