"""What papers predict: closed forms, bounds, rates, certificates."""

from thalweg.core.doors import guard, guard_modules
from thalweg.theory.descent import euler, geometric_rate, last_layer, meta_gradients
from thalweg.theory.examples import PREDICTIONS
from thalweg.theory.inverse_problems import boundary_control, time_reversal
from thalweg.theory.landscape import (
    adaptive_geometry,
    entropic_quadratics,
    parameter_count,
    polyak_lojasiewicz,
    regions,
    singular_models,
    singular_values,
    spectral_bounds,
    stagnation,
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
from thalweg.theory.operator_nets import (
    operator_bounds,
    operator_capacity,
    unrolled_control,
)
from thalweg.theory.optimisers import hidden_strengths, noisy_descent, rates
from thalweg.theory.prediction import Prediction, make_prediction
from thalweg.theory.quadratics import linear_methods, lower_bounds
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
    "boundary_control",
    "cluster_set",
    "cold",
    "commuting_sensing",
    "end_to_end",
    "entropic_quadratics",
    "euler",
    "geometric_rate",
    "gibbs",
    "good_event",
    "hidden_strengths",
    "homogeneous",
    "isometry",
    "kink_certificate",
    "kink_dynamics",
    "last_layer",
    "linear_methods",
    "linear_modes",
    "local_components",
    "log_time_flow",
    "low_dimensional",
    "lower_bounds",
    "make_prediction",
    "max_margin",
    "meta_gradients",
    "minimum_norm",
    "noisy_descent",
    "nuclear_norm",
    "one_input",
    "operator_bounds",
    "operator_capacity",
    "parameter_count",
    "polyak_lojasiewicz",
    "rates",
    "regions",
    "scalar_linear",
    "separable",
    "sharpness_reduction",
    "singular_models",
    "singular_value_flow",
    "singular_values",
    "spectral_bounds",
    "stagnation",
    "time_reversal",
    "unrolled_control",
    "valleys",
    "weight_normalisation",
    "weighted_l1",
]

guard_modules(globals())
guard(globals(), ["make_prediction"])
