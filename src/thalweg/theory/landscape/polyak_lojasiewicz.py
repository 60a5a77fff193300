"""The Polyak-Lojasiewicz inequality ||grad L||^2 >= 2 mu (L - L*), and what the last layer gives.

For L = 1/(2n) ||A V - Y||^2 with A = [features, 1] of shape (n, m) and V the last layer,
||grad L||^2 >= ||dL/dV||^2 = ||A^T (A V - Y)||^2 / n^2 >= (2 sigma_n(A)^2 / n) L, so that the
inequality holds with mu = sigma_n(A)^2 / n wherever the features keep sigma_n(A) > 0. The chain
at a point is measured by `thalweg.curvature.gradient_domination`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.theory.prediction import Prediction, make_prediction

SOURCE = "Kawaguchi and Huang (2019), arXiv 1908.02419"


def last_layer_constant(sigma: ArrayLike, examples: int) -> np.ndarray:
    """The constant sigma_n(A)^2 / n, a lower bound on the one of the mean squared error.

    Args:
        sigma: The n-th singular value of A, any shape.
        examples: n, the number of examples.

    Source: E2 of the study of Kawaguchi and Huang (2019).

    Examples:
        >>> from thalweg.theory.landscape.polyak_lojasiewicz import last_layer_constant
        >>> float(last_layer_constant(sigma=2.0, examples=4))
        1.0
    """
    return np.asarray(sigma, float) ** 2 / examples


def last_layer_step(A: ArrayLike) -> float:
    """The step size n / sigma_1(A)^2, which is 1/M for the M-smooth problem of the last layer.

    The hidden layers add curvature of their own once the last layer is not zero, so that descent
    on all layers at this step may rise a little.

    Args:
        A: Inputs of the last layer, shape (n, m).

    Source: Algorithm A of the study of Kawaguchi and Huang (2019).

    Examples:
        >>> from thalweg.theory.landscape.polyak_lojasiewicz import last_layer_step
        >>> round(last_layer_step(np.diag([2.0, 1.0])), 6)
        0.5
    """
    A = np.asarray(A, float)
    return float(len(A) / np.linalg.norm(A, 2) ** 2)


def convex_gap(slope: ArrayLike, V: ArrayLike, V_star: ArrayLike) -> tuple[float, float]:
    """(<dL/dV, V - V*>, ||dL/dV|| ||V - V*||): two upper bounds on L(theta) - L*, second looser.

    Holds for any loss convex in the outputs, with A V* optimal for the features at theta.

    Args:
        slope: dL/dV, shape (m, k).
        V: The last layer, same shape.
        V_star: One that is optimal.

    Source: E4 of the study of Kawaguchi and Huang (2019).

    Examples:
        >>> from thalweg.theory.landscape.polyak_lojasiewicz import convex_gap
        >>> convex_gap([[2.0]], [[3.0]], [[1.0]])
        (4.0, 4.0)
    """
    g, gap = np.asarray(slope, float), np.asarray(V, float) - np.asarray(V_star, float)
    return float(np.sum(g * gap)), float(np.linalg.norm(g) * np.linalg.norm(gap))


def geometric_descent(step_size: float, constant: float, start: float) -> Prediction:
    """Loss of gradient descent under the inequality: L(t) <= (1 - eta mu)^(t / eta) L(0), L* = 0.

    Args:
        step_size: eta; training time t = eta times the number of steps.
        constant: mu, at most 1/eta, a lower bound on `pl_constant` along the run.
        start: L(0).

    Raises:
        InputError: If eta mu is not in [0, 1].

    Source: Polyak (1963); E3 of the study of Kawaguchi and Huang (2019).

    Examples:
        >>> from thalweg.theory.landscape.polyak_lojasiewicz import geometric_descent
        >>> geometric_descent(step_size=0.5, constant=1.0, start=2.0).at([0.0, 0.5, 1.0]).tolist()
        [2.0, 1.0, 0.5]
    """
    shrink = step_size * constant
    require(0 <= shrink <= 1, f"step size x constant is {shrink:g}; it must lie in [0, 1]")

    def at(times: ArrayLike) -> np.ndarray:
        steps = np.asarray(times, float) / step_size
        return start * (1 - shrink) ** steps

    return make_prediction(
        "loss",
        "loss",
        "upper",
        "||grad L||^2 >= 2 mu L along the run, and the step is at most 1/M for an M-smooth loss.",
        at,
        f"{SOURCE}, E3 of the study",
    )
