"""A small example of every dynamics: a new one adds a line, and contract tests meet it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
import optimistix as optx

from thalweg.core.tree import Params
from thalweg.curvature.stagnation_sets import nearest_points
from thalweg.dynamics.crossprop_rule import crossprop
from thalweg.dynamics.damped_gauss_newton import levenberg_marquardt
from thalweg.dynamics.decayed import decayed_descent
from thalweg.dynamics.descent import gradient_descent
from thalweg.dynamics.dynamics import Dynamics
from thalweg.dynamics.end_to_end_rule import end_to_end_descent
from thalweg.dynamics.entropy_descent import entropy_sgd
from thalweg.dynamics.euler_maruyama import diffusion, langevin_dynamics
from thalweg.dynamics.flow.accumulated import adagrad_flow
from thalweg.dynamics.flow.along_minima import limiting_diffusion, limiting_flow
from thalweg.dynamics.flow.central import central_flow
from thalweg.dynamics.flow.gradient_flow import gradient_flow
from thalweg.dynamics.flow.modified import modified_flow
from thalweg.dynamics.flow.preconditioned import preconditioned_flow
from thalweg.dynamics.flow.second_order import accelerated_flow, momentum_flow
from thalweg.dynamics.flow.sharpness_reduction import sharpness_reduction_flow
from thalweg.dynamics.given_limit import with_limit
from thalweg.dynamics.grouped_rmsprop import group_rmsprop
from thalweg.dynamics.methods.accelerated import accelerated_descent
from thalweg.dynamics.methods.agmsdr import agmsdr
from thalweg.dynamics.methods.newton_type import newton_type
from thalweg.dynamics.methods.optimistix_steps import optimistix_dynamics
from thalweg.dynamics.methods.perturbed import perturbed_descent
from thalweg.dynamics.natural_gradient.entry import kfac
from thalweg.dynamics.natural_gradient.exact import natural_gradient_descent, natural_gradient_flow
from thalweg.dynamics.noisy_steps import noisy
from thalweg.dynamics.normalised import normalised_descent
from thalweg.dynamics.on_stream import online
from thalweg.dynamics.optax_descent import optax_dynamics
from thalweg.dynamics.reparametrised_projected import (
    projected_descent,
    two_phase_projected_descent,
    weight_normalised_descent,
)
from thalweg.dynamics.replicated import replicated_sgd
from thalweg.dynamics.rewiring.deep_rewiring import deep_r, soft_deep_r
from thalweg.dynamics.rewiring.gradient_rewiring import grad_r
from thalweg.dynamics.rewiring.magnitude import magnitude_pruning
from thalweg.dynamics.spherical import spherical_rmsprop
from thalweg.dynamics.stagnation_monitor import monitored
from thalweg.dynamics.trainer import stabilised_descent
from thalweg.dynamics.two_phase_training import two_phase
from thalweg.oracles.added import gaussian, isotropic
from thalweg.oracles.variance_reduced import svrg


def _push(params: Params) -> jnp.ndarray:
    """Noise for the over-parametrised linear model, across its manifold of minima and along."""
    return jnp.stack([jnp.r_[params["u"], -params["v"]], jnp.r_[params["v"], params["v"]]], axis=1)


DYNAMICS: dict[str, Callable[[], Dynamics]] = {
    "gradient-descent": lambda: gradient_descent(0.05),
    "decayed-descent": lambda: decayed_descent(0.05, 0.1),
    "spherical-rmsprop": lambda: spherical_rmsprop(0.05),
    "gradient-flow": lambda: gradient_flow(1e-5),
    "gradient-flow-of-an-error": lambda: gradient_flow(error=1e-3),
    "central-flow": lambda: central_flow(0.05),
    "central-flow-of-rmsprop": lambda: central_flow(0.005, average="each", epsilon=0.1),
    "modified-flow": lambda: modified_flow(0.05, 1e-5),
    "preconditioned-flow": lambda: preconditioned_flow(0.05, rtol=1e-5),
    "preconditioned-flow-of-rmsprop": lambda: preconditioned_flow(
        0.05, 0.0, 0.9, epsilon=0.0, epsilon_root=1e-8, corrected=False, rtol=1e-5
    ),
    "adagrad-flow": lambda: adagrad_flow(0.05, rtol=1e-5),
    "momentum-flow": lambda: momentum_flow(0.005, rtol=1e-5),
    "accelerated-flow": lambda: accelerated_flow(0.05, rtol=1e-5),
    "sharpness-reduction-flow": sharpness_reduction_flow,
    "stabilised-descent": stabilised_descent,
    "entropy-sgd": lambda: entropy_sgd(0.5, coupling_steps=10, free_steps=1),
    "replicated-sgd": lambda: replicated_sgd(0.01, coupling_steps=10),
    "levenberg-marquardt": lambda: levenberg_marquardt(3),
    "k-fac": lambda: kfac(polyak=0.9),
    "momentum": lambda: optax_dynamics(optax.sgd(0.05, momentum=0.9), 0.05, "momentum"),
    "held-against-a-flow": lambda: with_limit(gradient_descent(0.05), modified_flow(0.05, 1e-5)),
    "limiting-flow": lambda: limiting_flow(gaussian(_push), rtol=1e-5),
    "limiting-diffusion": lambda: limiting_diffusion(gaussian(_push), 0.05),
    "noisy": lambda: noisy(gradient_descent(0.05), isotropic(0.1)),
    "variance-reduced": lambda: noisy(gradient_descent(0.05), svrg(1, period=2)),
    "monitored": lambda: monitored(
        noisy(gradient_descent(0.05), isotropic(0.1)),
        nearest_points(lambda params: jax.tree.map(jnp.zeros_like, params)),
        [0.5, 1.0],
    ),
    "diffusion": lambda: diffusion(0.1, isotropic(0.1), 0.05),
    "langevin": lambda: langevin_dynamics(0.1, 0.05),
    "adam-in-batches": lambda: optax_dynamics(optax.adam(0.01), 0.01, "Adam", batch=2),
    "line-search": lambda: optax_dynamics(optax.lbfgs(), 1.0, "L-BFGS"),
    "group-rmsprop": lambda: optax_dynamics(group_rmsprop(0.01), 0.01, "group RMSprop"),
    "normalised-by-loss": lambda: normalised_descent(0.05, "loss"),
    "normalised-by-gradient": lambda: normalised_descent(0.05),
    "two-phase": lambda: two_phase(optax.sgd(0.05), 0.05, tau=2, noise=0.01),
    "end-to-end": lambda: end_to_end_descent(0.05, 3, 0.1),
    "weight-normalisation": lambda: weight_normalised_descent(0.05, 0.02),
    "projected": lambda: projected_descent(0.05, 0.02),
    "crossprop": lambda: crossprop(0.05),
    "exact-crossprop": lambda: crossprop(0.05, "sum", trace="exact"),
    "online": lambda: online(crossprop(0.05, 0.5, trace="factored")),
    "two-phase-projected": lambda: two_phase_projected_descent(0.05, 2, 0.05, 0.02),
    "accelerated": lambda: accelerated_descent(20.0, 1.0),
    "agmsdr": agmsdr,
    "perturbed": lambda: perturbed_descent(0.05, 0.01, 1e3, 2),
    "cubic-newton": lambda: newton_type("cubic", 10.0),
    "trust-region-in-krylov-space": lambda: newton_type("trust-region", 0.1, krylov=3),
    "natural-gradient": lambda: natural_gradient_descent(0.05, 0.1),
    "natural-gradient-flow": lambda: natural_gradient_flow(0.1, rtol=1e-4),
    "grad-r": lambda: optax_dynamics(grad_r(0.01, 1.0), 0.01, "Grad R"),
    "deep-r": lambda: optax_dynamics(deep_r(0.01, 1.0, 0.2), 0.01, "Deep R", reseed=True),
    "soft-deep-r": lambda: optax_dynamics(
        soft_deep_r(0.01, 1.0, 0.1), 0.01, "soft Deep R", reseed=True
    ),
    "magnitude-pruning": lambda: optax_dynamics(
        magnitude_pruning(optax.adam(0.01), 0.5, begin=1), 0.01, "magnitude pruning"
    ),
    "bfgs": lambda: optimistix_dynamics(optx.BFGS(1e-8, 1e-8)),
}
