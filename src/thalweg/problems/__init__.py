"""What is trained: models on data, and bare functions."""

from thalweg.core.doors import guard
from thalweg.problems.classic import digits, mnist5k
from thalweg.problems.closed_form import Factorisation, Quadratic
from thalweg.problems.data.cifar import cifar10_images
from thalweg.problems.data.data import Data
from thalweg.problems.data.files import read_data
from thalweg.problems.data.hierarchical import HierarchicalData, hierarchical_dataset
from thalweg.problems.data.images import digit_images, mnist5k_images, mnist_images
from thalweg.problems.data.long_range import is_same_class, noisy_prototypes
from thalweg.problems.data.planes import Plane, coordinate_plane, near_plane, plane_of, random_plane
from thalweg.problems.data.random_labels import random_data
from thalweg.problems.difference_of_squares import (
    SquaresModel,
    fitted_trace,
    linear_weights,
    over_parametrised_linear,
)
from thalweg.problems.examples import PROBLEMS
from thalweg.problems.frozen import trained_part
from thalweg.problems.hard_for_first_order import hard_chain, heavy_ball_trap
from thalweg.problems.last_layer import last_layer_problem, loss_smoothness
from thalweg.problems.likelihoods import Likelihood, likelihood
from thalweg.problems.linear_classification import linear_classifier
from thalweg.problems.linear_targets import (
    DeepLinear,
    Modes,
    deep_linear_params,
    modes_of,
    random_modes,
    scalar_chain,
    whitened_modes,
)
from thalweg.problems.locality import interaction_regulariser, long_range
from thalweg.problems.losses import LOSSES, Loss
from thalweg.problems.lp_norm import lp_optimum, lp_regression
from thalweg.problems.margin_losses import (
    MARGIN_LOSSES,
    MarginLoss,
    power_tail,
    stretched_exponential,
)
from thalweg.problems.matrix_sensing import (
    MatrixFactorisation,
    gaussian_measurements,
    low_rank_matrix,
    observed_entries,
)
from thalweg.problems.off_plane import column_change, error_off_plane
from thalweg.problems.penalties import Penalised, penalised
from thalweg.problems.problem import Function, Problem, Supervised, supervised
from thalweg.problems.robust import Functional, robust_regression
from thalweg.problems.scale_invariant import (
    NormalisedCompletion,
    NormalisedRegression,
    circle_of_minima,
)
from thalweg.problems.streams import Stream, geoff_stream, shifted_labels_stream, stream
from thalweg.problems.tensor_entries import random_tensor, tensor_completion, tensor_sensing
from thalweg.problems.wave_equation import (
    DrivenWave,
    WaveGrid,
    WaveMedia,
    causal_toeplitz,
    driven_wave,
    layered_media,
    travel_time_grid,
    volume_data,
    wave_media,
)
from thalweg.problems.weight_decay import Decayed

__all__ = [
    "LOSSES",
    "MARGIN_LOSSES",
    "PROBLEMS",
    "Data",
    "Decayed",
    "DeepLinear",
    "DrivenWave",
    "Factorisation",
    "Function",
    "Functional",
    "HierarchicalData",
    "Likelihood",
    "Loss",
    "MarginLoss",
    "MatrixFactorisation",
    "Modes",
    "NormalisedCompletion",
    "NormalisedRegression",
    "Penalised",
    "Plane",
    "Problem",
    "Quadratic",
    "SquaresModel",
    "Stream",
    "Supervised",
    "WaveGrid",
    "WaveMedia",
    "causal_toeplitz",
    "cifar10_images",
    "circle_of_minima",
    "column_change",
    "coordinate_plane",
    "deep_linear_params",
    "digit_images",
    "digits",
    "driven_wave",
    "error_off_plane",
    "fitted_trace",
    "gaussian_measurements",
    "geoff_stream",
    "hard_chain",
    "heavy_ball_trap",
    "hierarchical_dataset",
    "interaction_regulariser",
    "is_same_class",
    "last_layer_problem",
    "layered_media",
    "likelihood",
    "linear_classifier",
    "linear_weights",
    "long_range",
    "loss_smoothness",
    "low_rank_matrix",
    "lp_optimum",
    "lp_regression",
    "mnist5k",
    "mnist5k_images",
    "mnist_images",
    "modes_of",
    "near_plane",
    "noisy_prototypes",
    "observed_entries",
    "over_parametrised_linear",
    "penalised",
    "plane_of",
    "power_tail",
    "random_data",
    "random_modes",
    "random_plane",
    "random_tensor",
    "read_data",
    "robust_regression",
    "scalar_chain",
    "shifted_labels_stream",
    "stream",
    "stretched_exponential",
    "supervised",
    "tensor_completion",
    "tensor_sensing",
    "trained_part",
    "travel_time_grid",
    "volume_data",
    "wave_media",
    "whitened_modes",
]

guard(globals(), __all__)
