"""What papers predict: closed forms, bounds, rates, certificates."""

from thalweg.theory.descent import euler, geometric_rate, last_layer
from thalweg.theory.examples import PREDICTIONS
from thalweg.theory.landscape import (
    adaptive_geometry,
    parameter_count,
    polyak_lojasiewicz,
    regions,
    singular_values,
)
from thalweg.theory.limits import (
    log_time_flow,
    max_margin,
    minimum_norm,
    nuclear_norm,
    separable,
    sharpness_reduction,
    valleys,
    weighted_l1,
)
from thalweg.theory.linear_nets import (
    commuting_sensing,
    end_to_end,
    homogeneous,
    isometry,
    linear_modes,
    local_components,
    low_dimensional,
    scalar_linear,
    singular_value_flow,
    weight_normalisation,
)
from thalweg.theory.mean_field import cluster_set, cold, gibbs
from thalweg.theory.prediction import Prediction, make_prediction
from thalweg.theory.relu_nets import (
    affine_floors,
    good_event,
    kink_certificate,
    kink_dynamics,
    one_input,
)

__all__ = [
    "PREDICTIONS",
    "Prediction",
    "adaptive_geometry",
    "affine_floors",
    "cluster_set",
    "cold",
    "commuting_sensing",
    "end_to_end",
    "euler",
    "geometric_rate",
    "gibbs",
    "good_event",
    "homogeneous",
    "isometry",
    "kink_certificate",
    "kink_dynamics",
    "last_layer",
    "linear_modes",
    "local_components",
    "log_time_flow",
    "low_dimensional",
    "make_prediction",
    "max_margin",
    "minimum_norm",
    "nuclear_norm",
    "one_input",
    "parameter_count",
    "polyak_lojasiewicz",
    "regions",
    "scalar_linear",
    "separable",
    "sharpness_reduction",
    "singular_value_flow",
    "singular_values",
    "valleys",
    "weight_normalisation",
    "weighted_l1",
]
