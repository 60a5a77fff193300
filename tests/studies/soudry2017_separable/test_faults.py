"""Planted faults: every claim of the study fails when what it rests on is wrong."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import optax

from planting import Fault, fault_table
from thalweg.dynamics import gradient_descent, optax_dynamics
from thalweg.problems.margin_losses import stretched_exponential
from thalweg.studies.soudry2017_separable import descent, exact
from thalweg.theory.limits import log_time_flow, separable

# The machine and the flow in logarithmic time: plain NumPy.


def scaled_svm(**factors):
    def wrong(right, X):
        svm = right(X)
        return svm._replace(**{k: getattr(svm, k) * v for k, v in factors.items()})

    return wrong


def all_points(right, X):
    """The w of least norm that has every example on the margin, as nearly as it can."""
    w = np.linalg.lstsq(X, np.ones(len(X)), rcond=None)[0]
    return right(X)._replace(w=w, margin=1 / np.linalg.norm(w))


def perceptron(right, X):
    """A separator that is not the one of largest margin."""
    svm = right(X)
    mean = np.mean(X, axis=0)
    w = mean / np.min(X @ mean)
    return svm._replace(w=w, margin=1 / np.linalg.norm(w))


def half_pull(right, slope, jacobian, first, s):
    """The term -w_svm (or the shrinking of q) twice as strong."""
    rest = slope(1e9, np.full(len(first), 1e9))  # all exponentials are gone there
    return right(lambda s, r: slope(s, r) + rest, jacobian, first, s)


def double_slope(right, slope, jacobian, first, s):
    return right(lambda s, r: 2 * slope(s, r), lambda s, r: 2 * jacobian(s, r), first, s)


def other_step(factor):
    def wrong(right, X, svm, step_size, *a, **k):
        return right(X, svm, factor * step_size, *a, **k)

    return wrong


def swapped_margin(right, *a, **k):
    c = right(*a, **k)
    return c._replace(margin=c.distance, distance=c.margin)


def unlogged(right, *a, **k):
    c = right(*a, **k)
    return c._replace(angle=2 * c.angle)


def other_power(right, X, power, *a):
    return right(X, power + 1, *a)


# Descent: what is compared is wrong, or the method is.


def mean_loss(right, lab, name, problem, dynamics, last, svm, **k):
    """Descent on the mean instead of the sum: a step that is n times smaller."""
    n = len(problem.X)
    return right(lab, name, problem, gradient_descent(dynamics.step_size / n), last, svm, **k)


def averaged(right, lab, name, problem, dynamics, last, svm, constant, **k):
    n = len(problem.X)
    return right(lab, name, problem, dynamics, last, svm, constant=constant / n, **k)


def twice(right, *a, **k):
    return 2 * right(*a, **k)


def momentum_forgotten(right, svm, step_size, **k):
    return right(svm, step_size)


def halved(right, X):
    svm = right(X)
    return svm._replace(w=svm.w / 2, margin=2 * svm.margin)


def other_tail(right, X):
    return right(X, stretched_exponential(0.5))


def only_descent(right, method, step_size):
    return right("gradient descent", step_size)


@cache
def large_epsilon(right, method, step_size):
    """Adam with an epsilon far above the gradients is gradient descent with momentum."""
    if method == "Adam":
        return optax_dynamics(optax.adam(100 * step_size, eps=100.0), step_size, method)
    return right(method, step_size)


def constant_steps(right, first):
    return lambda k: first + 0.0 * k


def shorter_steps(right, first):
    return lambda k: first / (k + 1.0)


def labels_lost(right):
    X, V = right()
    return X, V * np.sign(V[:, -1:])


def doubled_outputs(right, V, loss):
    return right(2 * V, loss)


def stretched_rows(right, X, labels):
    return 2 * right(X, labels)


def uneven(right, W, x):
    return right(W, x) * jnp.array([1.0, 2.0, 1.0])


@fault_table(
    Fault("C1", exact, "hard_margin_svm", scaled_svm(w=2), "w twice too long"),
    Fault("C1", exact, "hard_margin_svm", scaled_svm(alpha=0.5), "alpha without its factor"),
    Fault("C1", exact, "hard_margin_svm", all_points, "all examples on the margin"),
    Fault("C1", exact, "hard_margin_svm", perceptron, "not the largest margin"),
    Fault("C2", exact, "residual_limit", other_step(2), "eta twice as large"),
    Fault("C2", separable, "loss_constant", twice, "loss constant"),
    Fault("C2", log_time_flow, "_follow", half_pull, "flow twice as fast"),
    Fault("C2", exact, "predicted_constants", swapped_margin, "constants exchanged"),
    Fault("C2", exact, "predicted_constants", unlogged, "factor 1/2 of the angle"),
    Fault("C3", descent, "follow", mean_loss, "mean for sum"),
    Fault("C3", descent, "inverse_square", twice, "another step size"),
    Fault("C3", descent, "hard_margin_svm", halved, "|w_svm|/2"),
    Fault("C3", descent, "follow", averaged, "loss averaged"),
    Fault("C4", descent, "hard_margin_svm", halved, "|w_svm|/2"),
    Fault("C4", descent, "linear_classifier", other_tail, "another tail"),
    Fault("C5", descent, "loss_constant", momentum_forgotten, "momentum forgotten"),
    Fault("C5", descent, "follow", averaged, "loss averaged"),
    Fault("C6", log_time_flow, "_follow", double_slope, "twice the time"),
    Fault("C6", log_time_flow, "_follow", half_pull, "pull of w_svm"),
    Fault("C7", descent, "optimiser", only_descent, "descent in Adam's place"),
    Fault("C7", descent, "optimiser", large_epsilon, "epsilon large"),
    Fault("C8", exact, "power_tail_flow", other_power, "u^-3"),
    Fault("C8", exact, "power_tail_direction", other_power, "minimiser of u^-3"),
    Fault("C8", exact, "hard_margin_svm", perceptron, "not the largest margin"),
    Fault("C9", descent, "inverse_root_steps", constant_steps, "constant steps"),
    Fault("C9", descent, "inverse_root_steps", shorter_steps, "eta_0/t"),
    Fault("C10", descent, "even_or_odd", labels_lost, "labels lost"),
    Fault("C10", descent, "hard_margin_svm", halved, "|w_svm|/2"),
    Fault("C10", descent, "validation_loss", doubled_outputs, "outputs doubled"),
    Fault("C10", descent, "follow", mean_loss, "mean for sum"),
    Fault("C11", descent, "stack_classes", stretched_rows, "factor 2 in the rows"),
    Fault("C11", descent, "linear_map", uneven, "classes not alike"),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
