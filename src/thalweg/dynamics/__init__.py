"""What moves parameters: gradient descent, gradient flow, any Optax transformation."""

from thalweg.dynamics.descent import (
    GradientDescent,
    OptaxDescent,
    gradient_descent,
    optax_dynamics,
)
from thalweg.dynamics.dynamics import Continuous, Discrete, Dynamics, Info, State
from thalweg.dynamics.flow import GradientFlow, gradient_flow
from thalweg.dynamics.solvers import FLOW_SOLVERS, FlowSolver
from thalweg.dynamics.stabilised import RKC2, RKL2x

__all__ = [
    "FLOW_SOLVERS",
    "RKC2",
    "Continuous",
    "Discrete",
    "Dynamics",
    "FlowSolver",
    "GradientDescent",
    "GradientFlow",
    "Info",
    "OptaxDescent",
    "RKL2x",
    "State",
    "gradient_descent",
    "gradient_flow",
    "optax_dynamics",
]
