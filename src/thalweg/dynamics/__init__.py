"""What moves parameters: gradient descent, gradient flow, any Optax transformation."""

from thalweg.core.arguments import guard
from thalweg.dynamics.damped_gauss_newton import levenberg_marquardt
from thalweg.dynamics.decayed import DecayedDescent, decayed_descent
from thalweg.dynamics.descent import GradientDescent, gradient_descent
from thalweg.dynamics.dynamics import Clock, Continuous, Discrete, Dynamics, Info, State, Statistic
from thalweg.dynamics.end_to_end_rule import EndToEndDescent, end_to_end_descent
from thalweg.dynamics.euler_maruyama import diffusion, langevin_dynamics
from thalweg.dynamics.examples import DYNAMICS
from thalweg.dynamics.flow.accumulated import AdaGradFlow, adagrad_flow
from thalweg.dynamics.flow.along_minima import (
    LimitingDiffusion,
    LimitingFlow,
    limiting_diffusion,
    limiting_flow,
)
from thalweg.dynamics.flow.central import CentralFlow, central_flow
from thalweg.dynamics.flow.drift import Drift, limiting_drift
from thalweg.dynamics.flow.followed import KINKED_ERROR, Flow
from thalweg.dynamics.flow.gradient_flow import GradientFlow, gradient_flow
from thalweg.dynamics.flow.limit import Limit, flow_limit
from thalweg.dynamics.flow.modified import ModifiedFlow, modified_flow
from thalweg.dynamics.flow.preconditioned import PreconditionedFlow, preconditioned_flow
from thalweg.dynamics.flow.sharpness_reduction import (
    SharpnessReductionFlow,
    sharpness_reduction_flow,
)
from thalweg.dynamics.flow.solvers import FLOW_SOLVERS, FlowSolver
from thalweg.dynamics.flow.stabilised import RKC2, RKL2x
from thalweg.dynamics.flow.variational import LimitMap, limit_map
from thalweg.dynamics.grouped_rmsprop import group_rmsprop
from thalweg.dynamics.noisy_steps import Noisy, noisy
from thalweg.dynamics.normalised import NormalisedDescent, normalised_descent
from thalweg.dynamics.optax_descent import OptaxDescent, optax_dynamics
from thalweg.dynamics.optimisers import OPTIMISERS, Optimiser, optimiser
from thalweg.dynamics.reparametrised_projected import (
    projected_descent,
    two_phase_projected_descent,
    weight_normalised_descent,
)
from thalweg.dynamics.spherical import SphericalRMSProp, spherical_rmsprop
from thalweg.dynamics.stability import StabilityRule
from thalweg.dynamics.trainer import StabilisedDescent, stabilised_descent
from thalweg.dynamics.two_phase_training import TwoPhase, two_phase

__all__ = [
    "DYNAMICS",
    "FLOW_SOLVERS",
    "KINKED_ERROR",
    "OPTIMISERS",
    "RKC2",
    "AdaGradFlow",
    "CentralFlow",
    "Clock",
    "Continuous",
    "DecayedDescent",
    "Discrete",
    "Drift",
    "Dynamics",
    "EndToEndDescent",
    "Flow",
    "FlowSolver",
    "GradientDescent",
    "GradientFlow",
    "Info",
    "Limit",
    "LimitMap",
    "LimitingDiffusion",
    "LimitingFlow",
    "ModifiedFlow",
    "Noisy",
    "NormalisedDescent",
    "OptaxDescent",
    "Optimiser",
    "PreconditionedFlow",
    "RKL2x",
    "SharpnessReductionFlow",
    "SphericalRMSProp",
    "StabilisedDescent",
    "StabilityRule",
    "State",
    "Statistic",
    "TwoPhase",
    "adagrad_flow",
    "central_flow",
    "decayed_descent",
    "diffusion",
    "end_to_end_descent",
    "flow_limit",
    "gradient_descent",
    "gradient_flow",
    "group_rmsprop",
    "langevin_dynamics",
    "levenberg_marquardt",
    "limit_map",
    "limiting_diffusion",
    "limiting_drift",
    "limiting_flow",
    "modified_flow",
    "noisy",
    "normalised_descent",
    "optax_dynamics",
    "optimiser",
    "preconditioned_flow",
    "projected_descent",
    "sharpness_reduction_flow",
    "spherical_rmsprop",
    "stabilised_descent",
    "two_phase",
    "two_phase_projected_descent",
    "weight_normalised_descent",
]

guard(globals(), __all__)
