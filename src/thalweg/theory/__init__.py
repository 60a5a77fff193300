"""What papers predict: closed forms, bounds, rates, certificates."""

from thalweg.theory import euler, homogeneous, isometry, linear_modes, scalar_linear
from thalweg.theory.prediction import Prediction, make_prediction

__all__ = [
    "Prediction",
    "euler",
    "homogeneous",
    "isometry",
    "linear_modes",
    "make_prediction",
    "scalar_linear",
]
