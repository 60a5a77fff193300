"""Methods of the shelf as optimisers that a name and numbers stand for, without a theorem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import optimistix as optx
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.tree import Params
from thalweg.dynamics.damped_gauss_newton import levenberg_marquardt
from thalweg.dynamics.descent import gradient_descent
from thalweg.dynamics.dynamics import Discrete
from thalweg.dynamics.methods.accelerated import accelerated_descent
from thalweg.dynamics.methods.agmsdr import agmsdr
from thalweg.dynamics.methods.newton_type import newton_type
from thalweg.dynamics.methods.optimistix_steps import (
    OptimistixDescent,
    ParabolaSearch,
    optimistix_dynamics,
)
from thalweg.dynamics.methods.perturbed import perturbed_descent
from thalweg.dynamics.natural_gradient.exact import natural_gradient_descent
from thalweg.dynamics.optax_descent import OptaxDescent, optax_dynamics
from thalweg.dynamics.optimiser_entry import Optimiser
from thalweg.oracles.directions import coordinate
from thalweg.oracles.oracle import Oracle
from thalweg.oracles.variance_reduced import saga, sarah, spider, svrg


def armijo() -> OptaxDescent:
    """Descent whose steps are halved until f falls by half of what its slope foretells.

    Each search begins at twice the last step, and at most at 1.
    """
    search = optax.scale_by_backtracking_linesearch(
        40, slope_rtol=0.5, decrease_factor=0.5, increase_factor=2.0, store_grad=False
    )
    return optax_dynamics(optax.chain(optax.sgd(1.0), search), 1.0, "Armijo descent")


def clipped(rate: float, length: float) -> OptaxDescent:
    """Descent whose gradients are cut to a length."""
    cut = optax.chain(optax.clip_by_global_norm(length), optax.sgd(rate))
    return optax_dynamics(cut, rate, "clipped descent")


def _corrected(oracle: Callable[..., Oracle]) -> Callable[..., Discrete]:
    """Descent on batches that an oracle corrects, from its rate, their size and what it takes."""
    return lambda rate, batch, **values: gradient_descent(rate, oracle(batch, **values))


def polyak_step(least: float) -> OptaxDescent:
    """Descent with the step (f - f_*)/||grad f||^2, 0 where the gradient is.

    Not Optax's, which stays where ||grad f||^2 < 2e-16, in whatever unit that is.
    """

    def update(
        gradient: Params, state: Any, params: Any = None, *, value: Array, **_: Any
    ) -> tuple[Params, Any]:
        length = tree.norm(gradient)
        length = jnp.where(length > 0, length, 1)
        size = (value - least) / length

        def moved(g: Array) -> Array:
            return -size.astype(g.dtype) * (g / length.astype(g.dtype))

        return jax.tree.map(moved, gradient), state

    steps = optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
    return optax_dynamics(steps, 1.0, "Polyak's step")


def parabolic(kind: Any, label: str) -> OptimistixDescent:
    """With a line search that is exact on quadratics, where all these are conjugate gradients."""
    searched = eqx.tree_at(lambda m: m.search, kind(1e-8, 1e-8), ParabolaSearch())
    return optimistix_dynamics(searched, label)


def _constant_momentum(rate: float, convexity: float) -> Any:
    return accelerated_descent(1 / rate, convexity, rate * convexity or None)


BY_NAME: dict[str, Optimiser] = {
    "armijo": Optimiser(
        "descent with steps, at most 1, halved until f falls by half of what its slope foretells",
        lambda: armijo(), rated=False,
    ),
    "polyak-step": Optimiser(
        "descent with the step (f - f_*)/||grad f||^2",
        lambda least: polyak_step(least), {"least": 0.0}, rated=False,
    ),
    "clipped": Optimiser(
        "descent with gradients cut to a length", clipped, {"length": 1.0}, whole=True
    ),
    "accelerated": Optimiser(
        "Nesterov's general schema, its momentum growing from the optimal start",
        lambda rate, convexity: accelerated_descent(1 / rate, convexity),
        {"convexity": 0.0}, whole=True,
    ),
    "nesterov-constant": Optimiser(
        "Nesterov's general schema, its momentum constant, from the condition number",
        _constant_momentum, {"convexity": 0.01}, whole=True,
    ),
    "agmsdr": Optimiser(
        "accelerated descent with line searches, no constants", lambda: agmsdr(), rated=False
    ),
    "coordinate": Optimiser(
        "descent along one coordinate a step, drawn",
        lambda rate: gradient_descent(rate, coordinate()), whole=True,
    ),
    "svrg": Optimiser(
        "descent along batches, corrected where the full gradient is known: every period steps",
        _corrected(svrg), {"period": None}, corrects=True,
    ),
    "saga": Optimiser(
        "descent along batches, corrected by the last gradient seen of every example",
        _corrected(saga), corrects=True,
    ),
    "sarah": Optimiser(
        "descent along batches, corrected by the step before; a full gradient every period steps",
        _corrected(sarah), {"period": None}, corrects=True,
    ),
    "spider": Optimiser(
        "SARAH with the gradient of many examples, drawn, in place of the full one",
        _corrected(spider), {"period": 16, "reference": 256}, corrects=True,
    ),
    "perturbed": Optimiser(
        "descent, moved at random where its gradient is small",
        lambda rate, radius, threshold, wait: perturbed_descent(rate, radius, threshold, wait),
        {"radius": 1e-3, "threshold": 1e-3, "wait": 100}, whole=True,
    ),
    "conjugate-gradients": Optimiser(
        "nonlinear conjugate gradients of Polak and Ribiere, with a line search",
        lambda: parabolic(optx.NonlinearCG, "conjugate gradients"), rated=False,
    ),
    "bfgs": Optimiser(
        "quasi-Newton steps with BFGS updates and a line search",
        lambda: parabolic(optx.BFGS, "BFGS"), rated=False,
    ),
    "dfp": Optimiser(
        "quasi-Newton steps with DFP updates and a line search",
        lambda: parabolic(optx.DFP, "DFP"), rated=False,
    ),
    "natural-gradient": Optimiser(
        "one step size along the exact Fisher matrix's inverse times the gradient",
        lambda rate, damping: natural_gradient_descent(rate, damping),
        {"damping": 1e-3}, whole=True,
    ),
    "gauss-newton": Optimiser(
        "the same with the Gauss-Newton matrix, of any loss",
        lambda rate, damping: natural_gradient_descent(rate, damping, "gauss-newton"),
        {"damping": 1e-3}, whole=True,
    ),
    "constant-kfac": Optimiser(
        "the same with exact Kronecker factors: K-FAC that adapts nothing, and so has a flow",
        lambda rate, damping: natural_gradient_descent(rate, damping, "kronecker"),
        {"damping": 1e-3}, whole=True,
    ),
    "relaxed-newton": Optimiser(
        "Newton's step times a learning rate, which follows Newton's flow",
        lambda rate, damping: natural_gradient_descent(rate, damping, "hessian"),
        {"damping": 0.0}, whole=True,
    ),
    "newton": Optimiser(
        "to the stationary point of the quadratic model, be it a saddle",
        lambda krylov: newton_type("newton", krylov=krylov), {"krylov": 0}, rated=False,
    ),
    "damped-newton": Optimiser(
        "Newton's step with a multiple of the identity added to the Hessian",
        lambda damping, krylov: newton_type("damped", damping, krylov),
        {"damping": 1.0, "krylov": 0}, rated=False,
    ),
    "saddle-free": Optimiser(
        "Newton's step with curvatures replaced by their sizes",
        lambda damping, krylov: newton_type("saddle-free", damping, krylov),
        {"damping": 1e-6, "krylov": 0}, rated=False,
    ),
    "cubic-newton": Optimiser(
        "the minimum of the quadratic model with a cubic term",
        lambda hessian_lipschitz, krylov: newton_type("cubic", hessian_lipschitz, krylov),
        {"hessian_lipschitz": 1.0, "krylov": 0}, rated=False,
    ),
    "trust-region": Optimiser(
        "the minimum of the quadratic model over a ball",
        lambda radius, krylov: newton_type("trust-region", radius, krylov),
        {"radius": 1.0, "krylov": 0}, rated=False,
    ),
    "levenberg-marquardt": Optimiser(
        "damped Gauss-Newton steps on a squared error, in the space of examples",
        lambda tries: levenberg_marquardt(tries), {"tries": 8}, rated=False,
    ),
}  # fmt: skip
