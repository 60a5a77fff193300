"""Iterative time reversal: boundary control without a matrix solved, by Landweber's iteration.

    f <- (1 - alpha/omega) f - P K f/omega + P b/omega,    omega >= |K|,

with K = J Lambda - R Lambda R J: a wave is sent in, heard, turned round in time and averaged.
It is gradient descent of step size 1/omega on a quadratic, and its errors are known exactly.

Source: Bingham, Kurylev, Lassas and Siltanen (2008); de Hoop, Lassas and Wong (2019, arXiv
1912.11090), where it is an operator recurrent network with known weights.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require
from thalweg.problems import Function
from thalweg.theory.inverse_problems.boundary_control import ControlOperators, restricted_system
from thalweg.theory.prediction import Prediction, make_prediction

SOURCE = "de Hoop, Lassas and Wong (2019), boundary control"


def landweber(
    operators: ControlOperators,
    count: int,
    penalty: float,
    bound: float | None = None,
    reach: int | None = None,
) -> NDArray[np.float64]:
    """Iterative time reversal from f = 0: f <- (1 - alpha/omega) f - P K f/omega + P b/omega.

    Each step applies Lambda twice and averages over time. It is gradient descent of step size
    1/omega on `control_problem`.

    Args:
        operators: One K and b.
        count: How many steps.
        penalty: alpha, at least 0.
        bound: omega, at least the norm of K; that norm by default.
        reach: As of `control`.

    Returns:
        f after so many steps, shape (N,); `landweber_distance` says how far from `control`.

    Raises:
        InputError: If a number is out of its range, or several K came.

    Cost: 2 k^2 operations a step.

    Source: de Hoop, Lassas and Wong (2019); Bingham and others (2008).

    Examples:
        >>> from thalweg.theory.inverse_problems.boundary_control import control_operators
        >>> from thalweg.theory.inverse_problems.time_reversal import landweber
        >>> media = tw.problems.layered_media([1.0], steps=2, horizon=2.0)
        >>> landweber(control_operators(media.responses[0], 1.0), 1, 0.0).tolist()  # b/|K|
        [0.5, 0.25]
    """
    require(count >= 0, f"count came as {count}; give at least 0")
    matrix, right, omega = _iterated(operators, penalty, bound, reach)
    f = np.zeros_like(right)
    for _ in range(count):
        f = f + (right - matrix @ f) / omega
    return np.concatenate([np.zeros(len(operators.b) - len(f)), f])


def landweber_distance(
    operators: ControlOperators,
    penalty: float,
    bound: float | None = None,
    reach: int | None = None,
) -> Prediction:
    """|f - f_r| / |f_r| of `landweber`: what is left of each eigenvector of P K P.

    (sum_i (1 - (alpha + lambda_i)/omega)^2m <f_r, q_i>^2)^1/2 / |f_r| after m = omega t steps.

    Args:
        operators: One K and b.
        penalty: alpha, at least 0.
        bound: omega; the norm of K by default.
        reach: As of `control`.

    Returns:
        The distance as a function of training time m/omega.

    Raises:
        InputError: As of `landweber`.

    Error: Rounding. Cost: 9 k^3 operations, and k for each time.

    Source: de Hoop, Lassas and Wong (2019); elementary.

    Examples:
        >>> from thalweg.theory.inverse_problems.boundary_control import control_operators
        >>> from thalweg.theory.inverse_problems.time_reversal import landweber_distance
        >>> media = tw.problems.layered_media([1.0], steps=2, horizon=2.0)
        >>> operators = control_operators(media.responses[0], 1.0)  # K is diag(4, 2)
        >>> landweber_distance(operators, 0.0, bound=4.0, reach=1).at([0.0, 0.25, 0.5]).tolist()
        [1.0, 0.5, 0.25]
    """
    matrix, right, omega = _iterated(operators, penalty, bound, reach)
    eigenvalues, vectors = np.linalg.eigh(matrix)
    limit = (vectors.T @ right) / eigenvalues

    def at(t: ArrayLike) -> np.ndarray:
        steps = np.rint(np.atleast_1d(np.asarray(t, float)) * omega)[:, None]
        left = (1 - eigenvalues / omega) ** steps * limit
        return np.asarray(np.linalg.norm(left, axis=-1) / np.linalg.norm(limit))

    return make_prediction(
        "distance",
        "1",
        "exact",
        "Landweber's iteration from 0 for a bound that is at least the norm of K + alpha",
        at,
        SOURCE,
    )


def landweber_bound(
    operators: ControlOperators,
    penalty: float,
    bound: float | None = None,
    reach: int | None = None,
) -> Prediction:
    """|f - f_r| / |f_r| <= (1 - (alpha + lambda_min)/omega)^m, the geometric rate of `landweber`.

    Arguments, error and what raises are as of `landweber_distance`.

    Source: de Hoop, Lassas and Wong (2019).

    Examples:
        >>> from thalweg.theory.inverse_problems.boundary_control import control_operators
        >>> from thalweg.theory.inverse_problems.time_reversal import landweber_bound
        >>> media = tw.problems.layered_media([1.0], steps=2, horizon=2.0)
        >>> operators = control_operators(media.responses[0], 1.0)  # K is diag(4, 2)
        >>> landweber_bound(operators, 0.0, bound=8.0).at([0.25]).tolist()  # two steps
        [0.5625]
    """
    matrix, _, omega = _iterated(operators, penalty, bound, reach)
    rate = 1 - np.linalg.eigvalsh(matrix)[0] / omega

    def at(t: ArrayLike) -> np.ndarray:
        return np.asarray(rate ** np.rint(np.atleast_1d(np.asarray(t, float)) * omega))

    return make_prediction(
        "distance",
        "1",
        "upper",
        "Landweber's iteration from 0 for a bound that is at least the norm of K + alpha",
        at,
        SOURCE,
    )


def control_problem(
    operators: ControlOperators, penalty: float = 0.0, reach: int | None = None
) -> Function:
    """What `control` minimises, f . (K + alpha) f / 2 - b . f over sources of the last k times.

    Args:
        operators: One K and b.
        penalty: alpha, at least 0.
        reach: k; N by default.

    Returns:
        A problem with parameters of shape (k,) that start at 0.

    Raises:
        InputError: As of `landweber`.

    Source: de Hoop, Lassas and Wong (2019).

    Examples:
        >>> from thalweg.theory.inverse_problems.boundary_control import control_operators
        >>> from thalweg.theory.inverse_problems.time_reversal import control_problem
        >>> media = tw.problems.layered_media([1.0], steps=2, horizon=2.0)
        >>> problem = control_problem(control_operators(media.responses[0], 1.0))
        >>> float(problem.objective(jnp.array([0.5, 0.5])))  # -V/2
        -0.75
    """
    matrix, right, _ = _iterated(operators, penalty, None, reach)
    K, b = jnp.asarray(matrix), jnp.asarray(right)
    return Function(lambda f: f @ (K @ f) / 2 - b @ f, start=jnp.zeros(len(right)))


def _iterated(
    operators: ControlOperators, penalty: float, bound: float | None, reach: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """P (K + alpha) P and P b on the last k times, and omega."""
    shape = operators.K.shape
    require(len(shape) == 2, f"K came with shape {shape}; give one medium's, (N, N)")
    norm = float(np.linalg.norm(operators.K, 2))
    require(norm > 0, "K came as 0: nothing was heard, so there is nothing to iterate")
    omega = norm if bound is None else float(bound)
    require(
        omega >= norm * (1 - 1e-12),
        f"bound came as {bound}; give at least the norm of K, {norm:.4g}",
    )
    return *restricted_system(operators, penalty, reach), omega
