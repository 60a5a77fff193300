"""A small example of every prediction, with the run that it predicts: contract tests hold them.

A new prediction adds a line. An example names a problem, a start and a step size, and what is
measured; no run is made here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.tree import Params
from thalweg.curvature import layer_hessian
from thalweg.models import MLP, ResidualMLP, linear
from thalweg.problems import (
    Function,
    Problem,
    layered_media,
    linear_classifier,
    supervised,
    trained_part,
)
from thalweg.problems.closed_form import Quadratic
from thalweg.theory.descent import euler, geometric_rate, last_layer
from thalweg.theory.inverse_problems import boundary_control, time_reversal
from thalweg.theory.landscape import polyak_lojasiewicz, regions, stagnation
from thalweg.theory.limits import separable
from thalweg.theory.limits.max_margin import hard_margin_svm
from thalweg.theory.linear_nets import local_components, low_dimensional, weight_normalisation
from thalweg.theory.optimisers import rates
from thalweg.theory.prediction import Prediction


class Example(NamedTuple):
    """A prediction and the run that it is about.

    Attributes:
        prediction: What theory says.
        times: Training times at which it is asked, the first 0.
        problem: What is run, or None where the limit that the prediction names is out of reach.
        start: Parameters at time 0.
        step_size: Of gradient descent, or None for gradient flow.
        measured: What is predicted, from the problem, the parameters and the time; the objective
            by default.
        error: How far the measured value may be from exact, relative, for reasons of numerics.
    """

    prediction: Prediction
    times: np.ndarray
    problem: Problem | None = None
    start: Params = None
    step_size: float | None = None
    measured: Callable[[Problem, Params, float], Array] = lambda f, params, _: f.objective(params)
    error: float = 1e-9


DRAWN = np.random.default_rng(11)
X, Y = DRAWN.normal(size=(3, 5)), DRAWN.normal(size=(3, 2))
CURVATURE, START = np.array([2.0, 1.0, 0.25]), np.array([0.3, -0.5, 0.4])
ROOT = float(np.linalg.norm(START))
SEPARABLE = np.array([(0.5, 1.5), (1.5, 0.5), (3.0, 2.0), (2.0, -1.0)])
STEPS = np.arange(0, 40, 3)


def _quadratic() -> Quadratic:
    return Quadratic(jnp.asarray(CURVATURE), jnp.zeros(3), jnp.asarray(START))


def _rate(name: str, **constants: float) -> Example:
    """Descent at 1/L on a quadratic, held against the bound of its theorem."""
    L = float(CURVATURE[0])
    predicted = rates.rate_prediction(name, 1 / L, smoothness=L, **constants)
    return Example(predicted, STEPS / L, _quadratic(), jnp.asarray(START), 1 / L)


def _map(reduction: str) -> Problem:
    net = linear([])
    assert isinstance(net, MLP)
    return supervised(net, (X, Y), reduction=reduction)


def _linearised_loss() -> Example:
    """A linear map: its kernel stands still at any width, so that the limit is reached."""
    problem, eta = _map("sum"), 0.05
    gram, residual = np.kron(X @ X.T, np.eye(2)), -Y.ravel()
    predicted = geometric_rate.linearised_loss(gram, residual, eta)
    return Example(predicted, eta * STEPS, problem, [{"weight": jnp.zeros((2, 5))}], eta)


def _euler() -> Example:
    """Descent from the flow's own start on a convex quadratic, whose flow is known."""
    problem, eta, eps = _quadratic(), 0.02, 0.1
    grid = np.linspace(0, 2, 201)
    flow = np.exp(-CURVATURE * grid[:, None]) * START
    slope = np.linalg.norm(CURVATURE * flow, axis=1) + CURVATURE.max() * eps
    certificate = euler.euler_certificate(
        grid, -CURVATURE.min() + 0 * grid, CURVATURE.max() + 0 * grid, slope, eps
    )

    def distance(_: Problem, params: Params, time: float) -> Array:
        return jnp.linalg.norm(params - jnp.exp(-CURVATURE * time) * START)

    times = eta * np.arange(0, 90, 10)
    return Example(certificate.prediction(eta), times, problem, jnp.asarray(START), eta, distance)


def _last_layer() -> tuple[Problem, float, float]:
    """Least squares, L_H of it, and the distance of its minimiser from zero."""
    smoothness = last_layer.last_layer_smoothness(X, 1.0)
    gap = last_layer.nearest_minimiser(X, Y, np.zeros((5, 2)))
    return _map("mean"), smoothness, float(np.linalg.norm(gap))


def _descent_bound() -> Example:
    problem, smoothness, distance = _last_layer()
    eta = 1 / smoothness
    predicted = last_layer.descent_bound(smoothness, distance, eta)
    return Example(predicted, eta * STEPS, problem, [{"weight": jnp.zeros((2, 5))}], eta)


def _stochastic_bound() -> Example:
    """Full batches are unbiased too; the gradient is largest at the start."""
    problem, smoothness, distance = _last_layer()
    start, eta = [{"weight": jnp.zeros((2, 5))}], 0.5 / smoothness
    steepest = float(tree.norm(jax.grad(problem.objective)(start)))
    predicted = last_layer.stochastic_bound(distance, steepest, np.full(60, eta))
    return Example(predicted, eta * STEPS, problem, start, eta)


def _geometric_descent() -> Example:
    problem, eta = _quadratic(), 1 / CURVATURE.max()
    first = float(problem.objective(jnp.asarray(START)))
    predicted = polyak_lojasiewicz.geometric_descent(eta, CURVATURE.min(), first)
    return Example(predicted, eta * STEPS, problem, jnp.asarray(START), eta)


def _region_loss() -> Example:
    """One layer is trained, to targets so near that no unit changes its side."""
    net = ResidualMLP((4, 4, 4), "leaky-relu:0.1", readout=False)
    params = net.init(jax.random.key(2), (4,), 4)
    x = jax.random.normal(jax.random.key(52), (3, 4))
    room = regions.boundary_distance(net, params, x, 1).distance
    y = np.asarray(net.apply(params, x)) + 0.01 * room * DRAWN.normal(size=(3, 4))
    eta = 1.5 / float(layer_hessian(net, params, x, 1).spectrum()[0])
    part = trained_part(
        supervised(net, (np.asarray(x), y)), params, lambda path: path == "1.weight"
    )
    predicted = regions.region_loss(net, params, x, y, 1, eta)
    return Example(predicted, eta * STEPS, part, part.init(jax.random.key(0)), eta)


def _rate_bound() -> Example:
    """X = g w/||w|| under gradient flow of g and w alike, c = 1."""
    w0, g0, y, times = np.array([0.6, 0.0, 0.5, 0.4, -0.2]), 0.9, Y[:2, 0], np.linspace(0, 3, 7)
    flow = weight_normalisation.wn_flow(X[:2], y, w0, g0, 1.0, np.linspace(0, 3, 61))

    def squared_error(p: Params) -> Array:
        x = p["g"] * p["w"] / jnp.linalg.norm(p["w"])
        return 0.5 * jnp.sum((X[:2] @ x - y) ** 2)

    start = {"g": jnp.asarray(g0), "w": jnp.asarray(w0)}
    predicted = weight_normalisation.rate_bound(flow, X[:2], y)
    return Example(predicted, times, Function(squared_error, start), start, None, error=1e-5)


def _separable(name: str) -> Example:
    """The limit is in log t, out of reach of a run; only the loss is near, within 3 percent."""
    eta, svm = 0.1, hard_margin_svm(SEPARABLE)
    constants = separable.predicted_constants(SEPARABLE, svm, eta)
    predicted = separable.predicted_rates(svm, constants, eta)[name]
    times = eta * np.array([0, 1000, 10000, 20000])
    if name != "loss":
        return Example(predicted, times)
    problem = linear_classifier(SEPARABLE, "exponential")
    return Example(predicted, times, problem, jnp.zeros(2), eta, error=0.05)


def _staying() -> Example:
    """Descent without noise stays for certain."""
    eta, radius = 0.1, 2.0
    start = float(np.linalg.norm(START))
    predicted = stagnation.staying_prediction(
        radius, start, 3, eta, 0.1, CURVATURE.min(), CURVATURE.max()
    )

    def inside(problem: Problem, params: Params, time: float) -> Array:
        return (tree.norm(params) <= radius).astype(float)

    return Example(predicted, eta * STEPS, _quadratic(), jnp.asarray(START), eta, inside)


def _time_reversal(maker: Callable[..., Prediction]) -> Example:
    """Descent at 1/omega on the control problem, from 0."""
    media = layered_media([1.0, 0.6], steps=5, horizon=1.0)
    operators = boundary_control.control_operators(media.responses[0], media.time_step)
    omega, penalty = 1.1 * float(np.linalg.norm(operators.K, 2)), 1e-3
    limit = boundary_control.control(operators, penalty, 4)[1:]

    def distance(_: Problem, f: Params, time: float) -> Array:
        return jnp.linalg.norm(f - limit) / np.linalg.norm(limit)

    problem = time_reversal.control_problem(operators, penalty, 4)
    predicted = maker(operators, penalty, omega, 4)
    return Example(predicted, STEPS / omega, problem, jnp.zeros(4), 1 / omega, distance)


PREDICTIONS: dict[str, Callable[[], Example]] = {
    "rates.rate_prediction:convex": lambda: _rate("gradient-descent-convex", distance=ROOT),
    "rates.rate_prediction:dominated": lambda: _rate(
        "gradient-descent-dominated", domination=CURVATURE[-1], gap=CURVATURE @ START**2 / 2
    ),
    "geometric_rate.linearised_loss": _linearised_loss,
    "euler.EulerCertificate.prediction": _euler,
    "last_layer.descent_bound": _descent_bound,
    "last_layer.stochastic_bound": _stochastic_bound,
    "polyak_lojasiewicz.geometric_descent": _geometric_descent,
    "regions.region_loss": _region_loss,
    "stagnation.staying_prediction": _staying,
    "time_reversal.landweber_distance": lambda: _time_reversal(time_reversal.landweber_distance),
    "time_reversal.landweber_bound": lambda: _time_reversal(time_reversal.landweber_bound),
    "weight_normalisation.rate_bound": _rate_bound,
    "separable.predicted_rates: loss": lambda: _separable("loss"),
    "separable.predicted_rates: margin": lambda: _separable("normalised_margin"),
    "separable.predicted_rates: distance": lambda: _separable("direction_distance"),
    "separable.predicted_rates: angle": lambda: _separable("angle_gap"),
    "low_dimensional.normal_decay": lambda: Example(
        low_dimensional.normal_decay(0.5, 1.2, 0.3, 3), np.linspace(0, 5, 6)
    ),
    "local_components.norm_prediction": lambda: Example(
        local_components.norm_prediction(np.array([0.1, 0.2]), np.array([0.3, -0.2]), 3),
        np.linspace(0, 5, 6),
    ),
}
