"""What is measured at a point, every value with its error."""

from collections.abc import Callable

from thalweg.probes.basic import accuracy, distance_from_start, gradient_norm, loss
from thalweg.probes.curvature import sharpness, smallest_eigenvalue
from thalweg.probes.layers import balancedness, singular_values
from thalweg.probes.probe import Every, Moment, Probe, every, measure

PROBES: dict[str, Callable[[], Probe]] = {
    "loss": loss,
    "gradient-norm": gradient_norm,
    "accuracy": accuracy,
    "distance-from-start": distance_from_start,
    "sharpness": sharpness,
    "smallest-eigenvalue": smallest_eigenvalue,
    "balancedness": balancedness,
    "singular-values": singular_values,
}

__all__ = [
    "PROBES",
    "Every",
    "Moment",
    "Probe",
    "accuracy",
    "balancedness",
    "distance_from_start",
    "every",
    "gradient_norm",
    "loss",
    "measure",
    "sharpness",
    "singular_values",
    "smallest_eigenvalue",
]
