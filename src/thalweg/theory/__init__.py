"""What papers predict: closed forms, bounds, rates, certificates."""

from thalweg.theory import euler, geometric_rate, homogeneous, isometry, linear_modes, scalar_linear
from thalweg.theory.prediction import Prediction, make_prediction

__all__ = [
    "Prediction",
    "euler",
    "geometric_rate",
    "homogeneous",
    "isometry",
    "linear_modes",
    "make_prediction",
    "scalar_linear",
]
