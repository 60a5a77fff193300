"""What moves parameters: gradient descent, gradient flow, any Optax transformation."""

from thalweg.core.doors import guard
from thalweg.dynamics.crossprop_rule import Crossprop, crossprop
from thalweg.dynamics.damped_gauss_newton import levenberg_marquardt
from thalweg.dynamics.decayed import DecayedDescent, decayed_descent
from thalweg.dynamics.descent import GradientDescent, gradient_descent
from thalweg.dynamics.dynamics import Clock, Continuous, Discrete, Dynamics, Info, State, Statistic
from thalweg.dynamics.end_to_end_rule import EndToEndDescent, end_to_end_descent
from thalweg.dynamics.entropy_descent import EntropySGD, entropy_sgd
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
from thalweg.dynamics.flow.second_order import (
    SecondOrderFlow,
    accelerated_flow,
    momentum_flow,
)
from thalweg.dynamics.flow.sharpness_reduction import (
    SharpnessReductionFlow,
    sharpness_reduction_flow,
)
from thalweg.dynamics.flow.solvers import FLOW_SOLVERS, FlowSolver
from thalweg.dynamics.flow.stabilised import RKC2, RKL2x
from thalweg.dynamics.flow.variational import LimitMap, limit_map
from thalweg.dynamics.from_state import continued
from thalweg.dynamics.given_limit import WithLimit, with_limit
from thalweg.dynamics.grouped_rmsprop import group_rmsprop
from thalweg.dynamics.methods.accelerated import AcceleratedDescent, accelerated_descent
from thalweg.dynamics.methods.agmsdr import Agmsdr, agmsdr
from thalweg.dynamics.methods.newton_type import NewtonType, newton_type
from thalweg.dynamics.methods.optimistix_steps import (
    OptimistixDescent,
    ParabolaSearch,
    optimistix_dynamics,
)
from thalweg.dynamics.methods.perturbed import PerturbedDescent, perturbed_descent
from thalweg.dynamics.methods.shelf import METHODS, MethodEntry, method
from thalweg.dynamics.natural_gradient.entry import kfac, optax_kfac
from thalweg.dynamics.natural_gradient.exact import (
    NaturalGradientDescent,
    NaturalGradientFlow,
    natural_gradient_descent,
    natural_gradient_flow,
)
from thalweg.dynamics.natural_gradient.growing import growing_batches
from thalweg.dynamics.natural_gradient.kronecker import KFAC
from thalweg.dynamics.noisy_steps import Noisy, noisy
from thalweg.dynamics.normalised import NormalisedDescent, normalised_descent
from thalweg.dynamics.on_stream import Online, online
from thalweg.dynamics.optax_descent import OptaxDescent, optax_dynamics
from thalweg.dynamics.optimisers import OPTIMISERS, Optimiser, optimiser
from thalweg.dynamics.reparametrised_projected import (
    projected_descent,
    two_phase_projected_descent,
    weight_normalised_descent,
)
from thalweg.dynamics.replicated import ReplicatedSGD, replicated_sgd
from thalweg.dynamics.rewiring.deep_rewiring import deep_r, soft_deep_r
from thalweg.dynamics.rewiring.gradient_rewiring import grad_r
from thalweg.dynamics.rewiring.hidden_strengths import RewiringState, only_matrices
from thalweg.dynamics.rewiring.laplace_prior import laplace_centre
from thalweg.dynamics.rewiring.magnitude import (
    MagnitudeState,
    magnitude_pruned,
    magnitude_pruning,
)
from thalweg.dynamics.spherical import SphericalRMSProp, spherical_rmsprop
from thalweg.dynamics.stability import StabilityRule
from thalweg.dynamics.stagnation_monitor import Monitored, monitored
from thalweg.dynamics.trainer import StabilisedDescent, stabilised_descent
from thalweg.dynamics.two_phase_training import TwoPhase, two_phase

__all__ = [
    "DYNAMICS",
    "FLOW_SOLVERS",
    "KFAC",
    "KINKED_ERROR",
    "METHODS",
    "OPTIMISERS",
    "RKC2",
    "AcceleratedDescent",
    "AdaGradFlow",
    "Agmsdr",
    "CentralFlow",
    "Clock",
    "Continuous",
    "Crossprop",
    "DecayedDescent",
    "Discrete",
    "Drift",
    "Dynamics",
    "EndToEndDescent",
    "EntropySGD",
    "Flow",
    "FlowSolver",
    "GradientDescent",
    "GradientFlow",
    "Info",
    "Limit",
    "LimitMap",
    "LimitingDiffusion",
    "LimitingFlow",
    "MagnitudeState",
    "MethodEntry",
    "ModifiedFlow",
    "Monitored",
    "NaturalGradientDescent",
    "NaturalGradientFlow",
    "NewtonType",
    "Noisy",
    "NormalisedDescent",
    "Online",
    "OptaxDescent",
    "Optimiser",
    "OptimistixDescent",
    "ParabolaSearch",
    "PerturbedDescent",
    "PreconditionedFlow",
    "RKL2x",
    "ReplicatedSGD",
    "RewiringState",
    "SecondOrderFlow",
    "SharpnessReductionFlow",
    "SphericalRMSProp",
    "StabilisedDescent",
    "StabilityRule",
    "State",
    "Statistic",
    "TwoPhase",
    "WithLimit",
    "accelerated_descent",
    "accelerated_flow",
    "adagrad_flow",
    "agmsdr",
    "central_flow",
    "continued",
    "crossprop",
    "decayed_descent",
    "deep_r",
    "diffusion",
    "end_to_end_descent",
    "entropy_sgd",
    "flow_limit",
    "grad_r",
    "gradient_descent",
    "gradient_flow",
    "group_rmsprop",
    "growing_batches",
    "kfac",
    "langevin_dynamics",
    "laplace_centre",
    "levenberg_marquardt",
    "limit_map",
    "limiting_diffusion",
    "limiting_drift",
    "limiting_flow",
    "magnitude_pruned",
    "magnitude_pruning",
    "method",
    "modified_flow",
    "momentum_flow",
    "monitored",
    "natural_gradient_descent",
    "natural_gradient_flow",
    "newton_type",
    "noisy",
    "normalised_descent",
    "online",
    "only_matrices",
    "optax_dynamics",
    "optax_kfac",
    "optimiser",
    "optimistix_dynamics",
    "perturbed_descent",
    "preconditioned_flow",
    "projected_descent",
    "replicated_sgd",
    "sharpness_reduction_flow",
    "soft_deep_r",
    "spherical_rmsprop",
    "stabilised_descent",
    "two_phase",
    "two_phase_projected_descent",
    "weight_normalised_descent",
    "with_limit",
]

guard(globals(), __all__)
