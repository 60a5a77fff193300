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

__all__ = [
    "FLOW_SOLVERS",
    "Continuous",
    "Discrete",
    "Dynamics",
    "FlowSolver",
    "GradientDescent",
    "GradientFlow",
    "Info",
    "OptaxDescent",
    "State",
    "gradient_descent",
    "gradient_flow",
    "optax_dynamics",
]
