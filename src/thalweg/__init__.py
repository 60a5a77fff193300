"""thalweg: the dynamics of training, integrated, measured, compared with theory and explained."""

import jax

# Float64 is the truth this library measures against. Arrays that are float32 stay float32.
jax.config.update("jax_enable_x64", True)

from thalweg import curvature, dynamics, kernels, models, probes, problems, theory  # noqa: E402
from thalweg.comparison.comparison import Comparison, compare, distance  # noqa: E402
from thalweg.core.arguments import guard  # noqa: E402
from thalweg.core.errors import InputError  # noqa: E402
from thalweg.core.result import Reading, Result  # noqa: E402
from thalweg.diagnosis.diagnosis import Diagnosis, diagnose  # noqa: E402
from thalweg.driver.recorded import Interrupted, run  # noqa: E402
from thalweg.dynamics import (  # noqa: E402
    Limit,
    flow_limit,
    gradient_descent,
    gradient_flow,
    optax_dynamics,
    stabilised_descent,
)
from thalweg.probes import Tracker, every, measure  # noqa: E402
from thalweg.trajectory import Trajectory, load  # noqa: E402

__version__ = "0.1.0.dev0"

__all__ = [
    "Comparison",
    "Diagnosis",
    "InputError",
    "Interrupted",
    "Limit",
    "Reading",
    "Result",
    "Tracker",
    "Trajectory",
    "compare",
    "curvature",
    "diagnose",
    "distance",
    "dynamics",
    "every",
    "flow_limit",
    "gradient_descent",
    "gradient_flow",
    "kernels",
    "load",
    "measure",
    "models",
    "optax_dynamics",
    "probes",
    "problems",
    "run",
    "stabilised_descent",
    "theory",
]

guard(globals(), __all__)
