"""What the targets of a problem say about its losses: their scale, their units, doing nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.problems.problem import Problem, Supervised

ODD_SCALE = 10.0  # a deviation or a mean this far from 1 wants scaling
CONSTANT = 1e-3  # a loss this near to that of a constant prediction equals it
RESTING = 1e-6  # a loss that changes by no more than this has stopped


def constant_loss(problem: Problem) -> float | None:
    """The objective of the best prediction that is the same for every example.

    The mean target under squared error, the shares of the classes under cross-entropy; None for
    other losses. Exact up to rounding.
    """
    if not isinstance(problem, Supervised):
        return None
    mean = jnp.mean(problem.targets, axis=0)
    if problem.loss.name == "cross-entropy":
        mean = jnp.log(jnp.maximum(mean, 1e-30))
    elif problem.loss.name != "squared-error":
        return None
    total = jnp.sum(jax.vmap(lambda y: problem.loss.one(mean, y))(problem.targets))
    return float(total / len(problem.targets) if problem.reduction == "mean" else total)


def stopped_at_constant(problem: Problem, loss: np.ndarray) -> str:
    """A sentence if a run has stopped at the loss of a constant prediction, else "".

    Args:
        problem: What was trained.
        loss: Of one seed at its records, (T,).
    """
    constant = constant_loss(problem)
    tail = loss[-max(2, len(loss) // 4) :]
    if constant is None or not np.isfinite(tail).all() or constant <= 0:
        return ""
    if abs(tail[-1] / constant - 1) > CONSTANT or np.ptp(tail) > RESTING * constant:
        return ""
    return (
        f"Training has stopped at the loss of a constant prediction ({constant:.4g}): the net says "
        "the same for every example, as where its hidden units are saturated or dead."
    )


def wants_scaling(problem: Problem) -> str:
    """A sentence if a target of squared error has a scale far from 1, else ""."""
    if not isinstance(problem, Supervised) or problem.classification:
        return ""
    if problem.loss.name != "squared-error" or _scale(problem) is not None:
        return ""
    targets = np.asarray(problem.targets, np.float64)
    mean, deviation = targets.mean(0), targets.std(0)
    far = np.maximum(np.abs(mean), deviation)
    spread = np.where(deviation > 0, deviation, 1.0)
    odd = (far > ODD_SCALE) | (spread < 1 / ODD_SCALE)
    if not odd.any():
        return ""
    worst = int(np.argmax(np.where(odd, np.abs(np.log(np.where(far > ODD_SCALE, far, spread))), 0)))
    return (
        f"the target has mean {mean[worst]:.4g} and standard deviation {deviation[worst]:.4g}, far "
        "from 0 and 1; under squared error gradients and curvature grow with it, so no usual step "
        "size fits: scale it (scale_target=True)"
    )


def own_units(problem: Problem, loss: float) -> str:
    """A squared-error loss in the units of the target, as a sentence; "" where it has none.

    Exact for one target column, or several of one scale: RMSE = sqrt(2 loss/k) times the scale.
    """
    if not isinstance(problem, Supervised) or problem.loss.name != "squared-error":
        return ""
    if problem.classification or not np.isfinite(loss):
        return ""
    scale = _scale(problem)
    std = np.ones(1) if scale is None else np.atleast_1d(scale)
    if np.ptp(std) > 0:
        return ""
    mean = loss if problem.reduction == "mean" else loss / len(problem.targets)
    error = float(std[0]) * np.sqrt(max(2 * mean / problem.targets.shape[1], 0.0))
    if scale is None:
        return f"The loss at the end, {loss:.4g}, is a root mean squared error of {error:.4g}."
    return (
        f"The loss at the end, {loss:.4g}, is {loss * std[0] ** 2:.4g} in units of the target "
        f"squared, where its deviation {std[0]:.4g} was scaled to 1: a root mean squared error of "
        f"{error:.4g} in the target's own unit."
    )


def _scale(problem: Supervised) -> np.ndarray | None:
    """The deviations by which the targets were divided, one for each column."""
    done = dict(problem.source).get("scale_target")
    return None if not done else np.asarray(dict(done)["std"], np.float64)
