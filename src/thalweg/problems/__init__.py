"""What is trained: models on data, and bare functions."""

from thalweg.problems.classic import digits
from thalweg.problems.data import Data
from thalweg.problems.files import load
from thalweg.problems.frozen import trained_part
from thalweg.problems.linear_classifier import linear_classifier
from thalweg.problems.losses import LOSSES, Loss
from thalweg.problems.lp_regression import lp_regression
from thalweg.problems.planes import near_plane
from thalweg.problems.problem import Function, Problem, Supervised, supervised
from thalweg.problems.random_labels import random_data

__all__ = [
    "LOSSES",
    "Data",
    "Function",
    "Loss",
    "Problem",
    "Supervised",
    "digits",
    "linear_classifier",
    "load",
    "lp_regression",
    "near_plane",
    "random_data",
    "supervised",
    "trained_part",
]
