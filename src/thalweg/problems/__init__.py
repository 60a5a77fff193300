"""What is trained: models on data, and bare functions."""

from thalweg.core.arguments import guard
from thalweg.problems.classic import digits, mnist5k
from thalweg.problems.data.data import Data
from thalweg.problems.data.files import read_data
from thalweg.problems.data.long_range import is_same_class, noisy_prototypes
from thalweg.problems.data.planes import near_plane
from thalweg.problems.data.random_labels import random_data
from thalweg.problems.examples import PROBLEMS
from thalweg.problems.frozen import trained_part
from thalweg.problems.linear_classification import linear_classifier
from thalweg.problems.locality import interaction_regulariser, long_range
from thalweg.problems.losses import LOSSES, Loss
from thalweg.problems.lp_norm import lp_optimum, lp_regression
from thalweg.problems.matrix_sensing import (
    MatrixFactorisation,
    gaussian_measurements,
    low_rank_matrix,
    observed_entries,
)
from thalweg.problems.off_plane import column_change, error_off_plane
from thalweg.problems.problem import Function, Problem, Supervised, supervised
from thalweg.problems.tensor_entries import random_tensor, tensor_completion, tensor_sensing

__all__ = [
    "LOSSES",
    "PROBLEMS",
    "Data",
    "Function",
    "Loss",
    "MatrixFactorisation",
    "Problem",
    "Supervised",
    "column_change",
    "digits",
    "error_off_plane",
    "gaussian_measurements",
    "interaction_regulariser",
    "is_same_class",
    "linear_classifier",
    "long_range",
    "low_rank_matrix",
    "lp_optimum",
    "lp_regression",
    "mnist5k",
    "near_plane",
    "noisy_prototypes",
    "observed_entries",
    "random_data",
    "random_tensor",
    "read_data",
    "supervised",
    "tensor_completion",
    "tensor_sensing",
    "trained_part",
]

guard(globals(), __all__)
