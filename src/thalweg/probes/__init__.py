"""What is measured at a point, every value with its error."""

from collections.abc import Callable

from thalweg.core.doors import guard
from thalweg.probes.assumptions import Assumption, measured_assumptions
from thalweg.probes.basic import (
    accuracy,
    distance_from_start,
    gradient_norm,
    layer_drift,
    loss,
)
from thalweg.probes.connections import (
    connectivity,
    pruned_connections,
    regrown_connections,
    rewiring_cosine,
    strength_histogram,
    tensor_connectivity,
    weight_histogram,
)
from thalweg.probes.curvature import sharpness, smallest_eigenvalue, top_eigenvalues
from thalweg.probes.diagonal import diagonal_ratio
from thalweg.probes.factors import factor_norm_sum, factor_ranks, factor_square_sum
from thalweg.probes.features import feature_singular_value
from thalweg.probes.flatness.ascent import adaptive_sharpness, sam_sharpness
from thalweg.probes.flatness.coefficient import (
    LearningCoefficients,
    learning_coefficient,
    learning_coefficients,
)
from thalweg.probes.flatness.determinant import hessian_trace, log_pseudo_determinant
from thalweg.probes.flatness.entropy import local_entropy
from thalweg.probes.flatness.measure import REPARAMETRISATIONS, FlatnessMeasure
from thalweg.probes.flatness.perturbed import local_energy
from thalweg.probes.flatness.table import FlatnessTable
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
from thalweg.probes.spiking import (
    firing_rate,
    layer_gradient_norm,
    silent_neurons,
    surrogate_alive,
)
from thalweg.probes.stagnation import gradient_overlap, set_distance
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
    "layer-drift": layer_drift,
    "layer-gradient-norm": layer_gradient_norm,
    "firing-rate": firing_rate,
    "silent-neurons": silent_neurons,
    "surrogate-alive": surrogate_alive,
    "sharpness": sharpness,
    "preconditioned-sharpness": preconditioned_sharpness,
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
    "hessian-trace": hessian_trace,
    "log-pseudo-determinant": log_pseudo_determinant,
    "sam-sharpness": sam_sharpness,
    "adaptive-sharpness": adaptive_sharpness,
    "local-energy": local_energy,
    "local-entropy": local_entropy,
    "learning-coefficient": learning_coefficient,
    "gradient-overlap": gradient_overlap,
    "connectivity": connectivity,
    "tensor-connectivity": tensor_connectivity,
    "pruned-connections": pruned_connections,
    "regrown-connections": regrown_connections,
    "rewiring-cosine": rewiring_cosine,
    "factor-norm-sum": factor_norm_sum,
    "factor-square-sum": factor_square_sum,
    "factor-ranks": factor_ranks,
}

__all__ = [
    "PROBES",
    "REPARAMETRISATIONS",
    "Assumption",
    "Every",
    "FlatnessMeasure",
    "FlatnessTable",
    "LearningCoefficients",
    "Moment",
    "Probe",
    "Tracker",
    "accuracy",
    "activation_changes",
    "adaptive_sharpness",
    "angle_gap",
    "balancedness",
    "component_norms",
    "component_unbalancedness",
    "connectivity",
    "diagonal_ratio",
    "direction_distance",
    "distance_from_start",
    "effective_learning_rate",
    "effective_rank",
    "end_to_end_singular_values",
    "every",
    "factor_norm_sum",
    "factor_ranks",
    "factor_square_sum",
    "feature_singular_value",
    "firing_rate",
    "gradient_norm",
    "gradient_overlap",
    "growing_strengths",
    "hessian_trace",
    "hierarchical_effective_rank",
    "kernel_alignment",
    "kernel_drift",
    "kernel_effective_rank",
    "kernel_smallest_eigenvalue",
    "kink_positions",
    "kink_reach",
    "layer_drift",
    "layer_gradient_norm",
    "learning_coefficient",
    "learning_coefficients",
    "local_energy",
    "local_entropy",
    "log_pseudo_determinant",
    "loss",
    "margin",
    "measure",
    "measured_assumptions",
    "mode_strengths",
    "normal_derivative",
    "normalised_margin",
    "nuclear_norm",
    "parameter_norm",
    "preconditioned_sharpness",
    "pruned_connections",
    "reconstruction_error",
    "regrown_connections",
    "rewiring_cosine",
    "sam_sharpness",
    "scale_invariance_defect",
    "second_moment",
    "set_distance",
    "sharpness",
    "silent_neurons",
    "singular_values",
    "smallest_eigenvalue",
    "spherical_sharpness",
    "stable_rank",
    "strength_histogram",
    "surrogate_alive",
    "tensor_connectivity",
    "tensor_error",
    "top_eigenvalues",
    "validation_error",
    "validation_loss",
    "weight_histogram",
    "weight_matrices",
]

SHELF.update(PROBES)
guard(globals(), __all__)
