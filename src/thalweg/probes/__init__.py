"""What is measured at a point, every value with its error."""

from collections.abc import Callable

from thalweg.core.arguments import guard
from thalweg.probes.basic import accuracy, distance_from_start, gradient_norm, loss
from thalweg.probes.curvature import sharpness, smallest_eigenvalue, top_eigenvalues
from thalweg.probes.diagonal import diagonal_ratio
from thalweg.probes.features import feature_singular_value
from thalweg.probes.kernels import (
    kernel_alignment,
    kernel_drift,
    kernel_effective_rank,
    kernel_smallest_eigenvalue,
)
from thalweg.probes.kinks import activation_changes, kink_positions, kink_reach
from thalweg.probes.layers import balancedness, singular_values, weight_matrices
from thalweg.probes.margins import (
    angle_gap,
    direction_distance,
    margin,
    normalised_margin,
    parameter_norm,
    validation_error,
    validation_loss,
)
from thalweg.probes.modes import growing_strengths, mode_strengths
from thalweg.probes.preconditioned import preconditioned_sharpness, second_moment
from thalweg.probes.probe import SHELF, Every, Moment, Probe, every, measure
from thalweg.probes.rank import (
    effective_rank,
    end_to_end_singular_values,
    nuclear_norm,
    reconstruction_error,
    stable_rank,
)
from thalweg.probes.scale_invariance import (
    effective_learning_rate,
    scale_invariance_defect,
    spherical_sharpness,
)
from thalweg.probes.tensors import (
    component_norms,
    component_unbalancedness,
    hierarchical_effective_rank,
    tensor_error,
)
from thalweg.probes.tracker import Tracker
from thalweg.probes.transversal import normal_derivative

PROBES: dict[str, Callable[[], Probe]] = {
    "loss": loss,
    "gradient-norm": gradient_norm,
    "accuracy": accuracy,
    "distance-from-start": distance_from_start,
    "sharpness": sharpness,
    "smallest-eigenvalue": smallest_eigenvalue,
    "top-eigenvalues": top_eigenvalues,
    "kernel-drift": kernel_drift,
    "kernel-alignment": kernel_alignment,
    "kernel-effective-rank": kernel_effective_rank,
    "kernel-smallest-eigenvalue": kernel_smallest_eigenvalue,
    "diagonal-ratio": diagonal_ratio,
    "effective-rank": effective_rank,
    "stable-rank": stable_rank,
    "nuclear-norm": nuclear_norm,
    "end-to-end-singular-values": end_to_end_singular_values,
    "balancedness": balancedness,
    "singular-values": singular_values,
    "parameter-norm": parameter_norm,
    "margin": margin,
    "normalised-margin": normalised_margin,
    "feature-singular-value": feature_singular_value,
    "normal-derivative": normal_derivative,
    "component-norms": component_norms,
    "component-unbalancedness": component_unbalancedness,
    "tensor-error": tensor_error,
    "scale-invariance-defect": scale_invariance_defect,
    "spherical-sharpness": spherical_sharpness,
    "effective-learning-rate": effective_learning_rate,
    "kink-positions": kink_positions,
    "kink-reach": kink_reach,
    "activation-changes": activation_changes,
}

__all__ = [
    "PROBES",
    "Every",
    "Moment",
    "Probe",
    "Tracker",
    "accuracy",
    "activation_changes",
    "angle_gap",
    "balancedness",
    "component_norms",
    "component_unbalancedness",
    "diagonal_ratio",
    "direction_distance",
    "distance_from_start",
    "effective_learning_rate",
    "effective_rank",
    "end_to_end_singular_values",
    "every",
    "feature_singular_value",
    "gradient_norm",
    "growing_strengths",
    "hierarchical_effective_rank",
    "kernel_alignment",
    "kernel_drift",
    "kernel_effective_rank",
    "kernel_smallest_eigenvalue",
    "kink_positions",
    "kink_reach",
    "loss",
    "margin",
    "measure",
    "mode_strengths",
    "normal_derivative",
    "normalised_margin",
    "nuclear_norm",
    "parameter_norm",
    "preconditioned_sharpness",
    "reconstruction_error",
    "scale_invariance_defect",
    "second_moment",
    "sharpness",
    "singular_values",
    "smallest_eigenvalue",
    "spherical_sharpness",
    "stable_rank",
    "tensor_error",
    "top_eigenvalues",
    "validation_error",
    "validation_loss",
    "weight_matrices",
]

SHELF.update(PROBES)
guard(globals(), __all__)
