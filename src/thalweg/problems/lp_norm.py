"""Linear regression in the l_p norm: the objective, on nets of any depth, and its exact optimum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import InputError, require
from thalweg.models import linear
from thalweg.problems.losses import Loss
from thalweg.problems.problem import Supervised, supervised

NEWTON_STEPS = 200


@dataclass(frozen=True)
class _Power:
    """sum_c |outputs_c - target_c|^p / p; equal for equal p, so that it is compiled once."""

    p: float

    def __call__(self, outputs: Float[Array, " k"], target: Float[Array, " k"]) -> Float[Array, ""]:
        gap = outputs - target
        if self.p % 2 == 0:  # products are much cheaper than powers
            return jnp.sum(gap ** int(self.p)) / self.p
        return jnp.sum(jnp.abs(gap) ** self.p) / self.p


def lp_loss(p: float) -> Loss:
    """sum_c |outputs_c - target_c|^p / p of one example, for p >= 2.

    Raises:
        InputError: If p is below 2, where the second derivative is infinite at zero.
    """
    require(2 <= p < np.inf, f"p came as {p}; give a finite number of at least 2")
    return Loss(f"l_{p:g}", _Power(float(p)), "regression")


def lp_regression(
    X: ArrayLike,
    y: ArrayLike,
    p: float,
    hidden: Sequence[int] = (),
    *,
    reduction: str = "mean",
) -> Supervised:
    """L(W) = (1/n) sum_i |W x_i - y_i|^p / p of a linear map W, or of a product of matrices.

    Args:
        X: Inputs, shape (n, d).
        y: Targets, shape (n,) or (n, k).
        p: At least 2.
        hidden: Hidden widths of the product; (1, 1) is a vector and two scalars, all in [{"weight":
            W_1}, ...]; without hidden layers, W alone.
        reduction: "mean" or "sum" over examples.

    Raises:
        InputError: If p or the shapes do not fit.

    Source: Arora, Cohen and Hazan (2018), experiments.

    Examples:
        >>> problem = tw.problems.lp_regression([[1.0], [1.0]], [0.0, 2.0], p=4)
        >>> float(problem.objective([{"weight": jnp.array([[1.0]])}]))  # |1|^4/4
        0.25
    """
    y = np.asarray(y, float)
    data = (np.asarray(X, float), y[:, None] if y.ndim == 1 else y)
    return supervised(linear(hidden), data, lp_loss(p), reduction=reduction)


class Optimum(NamedTuple):
    """The least l_p loss and where it is.

    Attributes:
        w: Where, shape (d,).
        loss: The mean loss there.
        error: How far the loss may be above the least one: half the last Newton decrement,
            g . H^+ g / 2, which is its leading term.
    """

    w: NDArray[np.float64]
    loss: float
    error: float


def lp_optimum(X: ArrayLike, y: ArrayLike, p: float, tolerance: float = 1e-15) -> Optimum:
    """The least of (1/n) sum_i |w.x_i - y_i|^p / p by damped Newton steps from least squares.

    Args:
        X: Inputs, shape (n, d).
        y: Targets, shape (n,).
        p: At least 2.
        tolerance: Wanted error of the loss, relative to the loss of w = 0.

    Raises:
        InputError: If p or the shapes do not fit, or that error is not reached in 200 steps.

    Cost: a d x d linear system a step; about ten steps where the data do not fit exactly, and
    convergence by a factor (p - 2)/(p - 1) a step in w where they do.

    Examples:
        >>> best = tw.problems.lp_optimum([[1.0], [1.0]], [0.0, 2.0], p=4)
        >>> round(float(best.w[0]), 6), round(best.loss, 6)  # half-way, |1|^4/4
        (1.0, 0.25)
    """
    X, y = np.asarray(X, float), np.asarray(y, float)
    require(
        X.ndim == 2 and y.shape == X.shape[:1],
        f"X has shape {X.shape} and y {y.shape}; give (n, d) and (n,)",
    )
    lp_loss(p)
    w = np.linalg.lstsq(X, y, rcond=None)[0]
    aim = tolerance * _mean_power(y, p)
    for _ in range(NEWTON_STEPS):
        gap = X @ w - y
        gradient = X.T @ (np.abs(gap) ** (p - 2) * gap) / len(y)
        weight = (p - 1) * np.abs(gap) ** (p - 2) / len(y)
        step = np.linalg.lstsq(X.T @ (weight[:, None] * X), gradient, rcond=None)[0]
        loss, error = _mean_power(gap, p), float(gradient @ step) / 2
        if error <= aim:
            return Optimum(w, loss, max(error, 0.0))
        w = w - _damping(gap, X @ step, p) * step
    raise InputError(
        f"the l_{p:g} optimum is known to {error:.1e} only after {NEWTON_STEPS} Newton steps; "
        f"give a tolerance above {tolerance:g}"
    )


def _mean_power(gap: NDArray[np.float64], p: float) -> float:
    return float(np.mean(np.abs(gap) ** p)) / p


def _damping(gap: NDArray[np.float64], change: NDArray[np.float64], p: float) -> float:
    """The longest of 1, 1/2, 1/4, ... that lowers the loss of gap - t change; 0 if none does."""
    here = _mean_power(gap, p)
    lengths = 0.5 ** np.arange(40)
    return next((float(t) for t in lengths if _mean_power(gap - t * change, p) < here), 0.0)
