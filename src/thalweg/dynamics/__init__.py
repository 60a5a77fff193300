"""What moves parameters: gradient descent, gradient flow, any Optax transformation."""

from thalweg.dynamics.descent import (
    GradientDescent,
    OptaxDescent,
    gradient_descent,
    optax_dynamics,
)
from thalweg.dynamics.dynamics import Continuous, Discrete, Dynamics, Info, State, Statistic
from thalweg.dynamics.flow import KINKED_ERROR, GradientFlow, gradient_flow
from thalweg.dynamics.levenberg_marquardt import levenberg_marquardt
from thalweg.dynamics.limit import Limit, flow_limit
from thalweg.dynamics.solvers import FLOW_SOLVERS, FlowSolver
from thalweg.dynamics.stabilised import RKC2, RKL2x
from thalweg.dynamics.trainer import StabilisedDescent, stabilised_descent

__all__ = [
    "FLOW_SOLVERS",
    "KINKED_ERROR",
    "RKC2",
    "Continuous",
    "Discrete",
    "Dynamics",
    "FlowSolver",
    "GradientDescent",
    "GradientFlow",
    "Info",
    "Limit",
    "OptaxDescent",
    "RKL2x",
    "StabilisedDescent",
    "State",
    "Statistic",
    "flow_limit",
    "gradient_descent",
    "gradient_flow",
    "levenberg_marquardt",
    "optax_dynamics",
    "stabilised_descent",
]
