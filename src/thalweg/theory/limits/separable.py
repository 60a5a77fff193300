"""Gradient descent on separable data: where the weights go, and how fast.

On separable data (labels absorbed into the rows x_n) and a loss with -l'(u) ~ c e^{-a u}, descent
with step eta on the SUM L(w) = sum_n l(x_n . w) goes as w(t) = (w_svm/a) log t + rho(t), t counting
steps, with w_svm the hard-margin vector of `max_margin` and rho bounded for almost all data.

Source: Soudry, Hoffer, Nacson, Gunasekar and Srebro (2018, arXiv 1710.10345); constants derived.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular
from scipy.optimize import linprog

from thalweg.core.errors import require
from thalweg.theory.limits.max_margin import TRUSTED, MaxMargin, hard_margin_svm
from thalweg.theory.limits.separating import EPS, finite_matrix
from thalweg.theory.prediction import Prediction, make_prediction

SOURCE = "Soudry et al. (2018), arXiv 1710.10345"


def largest_step(X: ArrayLike, smoothness: float = 0.25) -> float:
    """2/(beta sigma_max(X)^2): below it descent drives the loss to zero from any start.

    Args:
        X: Inputs with labels absorbed, shape (n, d).
        smoothness: beta >= l''; 1/4 for the logistic loss. The exponential loss has none.

    Source: Soudry et al. (2018), Lemma 1.

    Examples:
        >>> from thalweg.theory.limits.separable import largest_step
        >>> round(largest_step([[2.0]]), 6)
        2.0
    """
    return 2 / (smoothness * float(np.linalg.norm(np.asarray(X, float), 2)) ** 2)


def positive_duals(X: ArrayLike, svm: MaxMargin) -> Float[np.ndarray, " n"]:
    """Dual variables of w = X^T alpha whose smallest entry on the margin is as large as can be.

    Equal to `svm.alpha` where the support vectors are linearly independent. If their smallest is
    0 the data are degenerate: rho(t) then grows as log log t.

    Args:
        X: Inputs with labels absorbed, shape (n, d).
        svm: Their hard-margin machine.

    Examples:
        >>> from thalweg.theory.limits.separable import positive_duals
        >>> svm = tw.theory.max_margin.hard_margin_svm([[1.0], [1.0]])
        >>> positive_duals([[1.0], [1.0]], svm).round(6).tolist()  # of all choices the even one
        [0.5, 0.5]
    """
    S = np.asarray(X, float)[svm.support]
    size, unit = float(np.abs(S).max()), float(svm.alpha.max())
    n = len(S)
    found = linprog(
        np.append(np.zeros(n), -1.0),
        np.hstack([-np.eye(n), np.ones((n, 1))]),
        np.zeros(n),
        np.hstack([S.T / size, np.zeros((S.shape[1], 1))]),
        svm.w / (size * unit),
        bounds=[(0, None)] * (n + 1),
        method="highs",
    )
    alpha = np.array(svm.alpha)
    if found.x is not None:
        alpha[svm.support] = unit * found.x[:-1]
    return alpha


def residual_limit(
    X: ArrayLike,
    svm: MaxMargin,
    step_size: float,
    start: ArrayLike | None = None,
    *,
    rate: float = 1.0,
    scale: float = 1.0,
    momentum: float = 0.0,
) -> Float[np.ndarray, " d"]:
    """The limit w~ of rho(t) = w(t) - (w_svm/a) log t, shape (d,), unit weight.

    On the margin h a c exp(-a x_n . w~) = alpha_n with sum_n alpha_n x_n = w_svm, where
    h = eta/(1 - mu); off the span of the data w~ = w(0). Where support vectors repeat or are
    dependent, these equations choose alpha, too: w~ is the minimiser of the convex function
    h c sum_S exp(-a x_n . v) + (w_svm/a) . v, found by Newton's method to rounding.

    Args:
        X: Inputs with labels absorbed, shape (n, d).
        svm: Their hard-margin machine.
        step_size: eta, for the loss summed over examples.
        start: w(0); zero by default.
        rate: a of the tail -l'(u) ~ c e^{-a u}.
        scale: c.
        momentum: mu of heavy-ball momentum.

    Raises:
        InputError: If the support vectors do not span the data, if one has alpha = 0 (rho then
            grows without bound), or if some so nearly repeat others that rounding hides w~.

    Source: Soudry et al. (2018), Theorem 4 (E3 of the study); tails and momentum: derived.

    Examples:
        >>> from thalweg.theory.limits.separable import residual_limit
        >>> svm = tw.theory.max_margin.hard_margin_svm([[1.0]])
        >>> residual_limit([[1.0]], svm, step_size=np.e).round(6).tolist()  # eta exp(-w) = 1
        [1.0]
    """
    X = np.asarray(X, float)
    S = X[svm.support]
    require(
        np.linalg.matrix_rank(S) == np.linalg.matrix_rank(X),
        "the support vectors do not span the data, so the limit of the residual depends on the "
        "whole path; take data whose support vectors have the rank of all examples",
    )
    alpha = positive_duals(X, svm)[svm.support]
    require(
        alpha.min() > 1e-9 * alpha.max(),
        "a support vector has alpha = 0: these data are degenerate and the residual is unbounded",
    )
    h = step_size * rate * scale / (1 - momentum)
    basis = np.linalg.svd(X, full_matrices=False)[2][: np.linalg.matrix_rank(X)].T
    A, b = S @ basis, svm.w @ basis
    v = np.linalg.lstsq(A, np.log(h / alpha), rcond=None)[0]
    v, left = _newton(lambda v: _exponential_sum(A, b, h, v), v)
    # Outputs are exponents, so that errors of them are relative errors of alpha.
    off = np.max(np.abs(A @ left) + EPS * (np.abs(S) @ np.abs(basis @ v)))
    require(
        bool(off <= TRUSTED),
        "rounding hides the limit of the residual, as some support vectors nearly repeat others; "
        "leave out those",
    )
    w0 = np.zeros(X.shape[1]) if start is None else np.asarray(start, float)
    return basis @ v / rate + w0 - basis @ (basis.T @ w0)


def _exponential_sum(A: np.ndarray, b: np.ndarray, h: float, v: np.ndarray) -> tuple:
    """Value of h sum exp(-A v) + b . v, its gradient, and B where its Hessian is B^T B."""
    with np.errstate(over="ignore"):
        e = h * np.exp(-A @ v)
    return e.sum() + b @ v, b - A.T @ e, np.sqrt(e)[:, None] * A


def _newton(
    function: Callable[[np.ndarray], tuple], v: np.ndarray, steps: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """The minimiser of a strictly convex function by damped Newton steps, and the move left."""
    value, gradient, root = function(v)
    for _ in range(steps):
        move = _move(gradient, root)
        length = 1.0
        while length > 1e-8:
            new = function(v - length * move)
            if new[0] <= value:
                break
            length /= 2
        else:
            break  # no descent left but rounding
        v, (value, gradient, root) = v - length * move, new
        if np.linalg.norm(move) <= 1e-15 * np.linalg.norm(v):
            break
    return v, _move(gradient, root)


def _move(gradient: np.ndarray, root: np.ndarray) -> np.ndarray:
    """(B^T B)^-1 g without the square, whose condition is that of B squared; NaN if singular."""
    R = np.linalg.qr(root, mode="r")
    if not np.all(np.isfinite(R)) or np.any(np.diag(R) == 0):
        return np.full_like(gradient, np.nan)
    return solve_triangular(R, solve_triangular(R, gradient, trans="T"))


def asymptotic_path(
    svm: MaxMargin, limit: ArrayLike, steps: ArrayLike, rate: float = 1.0
) -> Float[np.ndarray, "T d"]:
    """(w_svm/a) log t + w~, from which w(t) differs by a power of 1/t.

    All 1/log t corrections of norms, angles and margins are in it. The power is at most 1, the
    smallest nonzero eigenvalue of sum alpha_n x_n x_n^T, and the least x_n . w_svm - 1 off the
    margin.

    Args:
        svm: The hard-margin machine.
        limit: w~ of `residual_limit`, shape (d,).
        steps: t, steps taken, shape (T,).
        rate: a of the tail.

    Source: Soudry et al. (2018), Theorem 3.

    Examples:
        >>> from thalweg.theory.limits.separable import asymptotic_path
        >>> svm = tw.theory.max_margin.hard_margin_svm([[1.0]])
        >>> asymptotic_path(svm, [1.0], np.exp([0.0, 1.0])).round(6).tolist()  # log t + 1
        [[1.0], [2.0]]
    """
    return np.outer(np.log(np.asarray(steps, float)) / rate, svm.w) + np.asarray(limit, float)


class RateConstants(NamedTuple):
    """What t L and the gaps times log t tend to, t counting steps; see `predicted_constants`.

    Attributes:
        loss: Of t L(w(t)).
        margin: Of log t (gamma - min_n x_n . w/|w|), unit input.
        distance: Of log t |w/|w| - w_svm/|w_svm||.
        angle: Of log^2 t (1 - cos(w, w_svm)).
    """

    loss: float
    margin: float
    distance: float
    angle: float


def loss_constant(
    svm: MaxMargin, step_size: float, *, rate: float = 1.0, momentum: float = 0.0
) -> float:
    """The limit of t L(w(t)): |w_svm|^2 (1 - mu)/(eta a^2), for the summed loss.

    Source: derived from Theorem 4 of Soudry et al. (2018) (E5 of the study).

    Examples:
        >>> from thalweg.theory.limits.separable import loss_constant
        >>> svm = tw.theory.max_margin.hard_margin_svm([[1.0]])
        >>> round(loss_constant(svm, step_size=0.5), 6)
        2.0
    """
    return float(svm.w @ svm.w) * (1 - momentum) / (step_size * rate**2)


def predicted_constants(
    X: ArrayLike,
    svm: MaxMargin,
    step_size: float,
    start: ArrayLike | None = None,
    *,
    rate: float = 1.0,
    scale: float = 1.0,
    momentum: float = 0.0,
) -> RateConstants:
    """Sharp constants of the rates, from w(t) = (w_svm/a) log t + w~.

    loss      |w_svm|^2 (1 - mu)/(eta a^2)
    margin    a (w_svm . w~/|w_svm|^2 - min_S x_n . w~)/|w_svm|, which for a = c = 1 and independent
              support vectors is (log max alpha_n - sum_n p_n log alpha_n)/|w_svm|,
              p_n = alpha_n/sum alpha: free of eta, and 0 if all alpha_n are equal
    distance  a |P w~|/|w_svm|, P the projector orthogonal to w_svm
    angle     distance^2/2

    A constant of 0 means that the quantity falls faster than the rate. Arguments and raises: see
    `residual_limit`.

    Source: derived from Theorem 4 of Soudry et al. (2018) (E5 of the study).

    Examples:
        >>> from thalweg.theory.limits.separable import predicted_constants
        >>> svm = tw.theory.max_margin.hard_margin_svm([[2.0]])
        >>> found = predicted_constants([[2.0]], svm, step_size=1.0)
        >>> round(found.loss, 6), abs(round(found.distance, 6))  # the direction is right
        (0.25, 0.0)
    """
    options = {"rate": rate, "scale": scale, "momentum": momentum}
    limit = residual_limit(X, svm, step_size, start, **options)
    size = float(np.linalg.norm(svm.w))
    along = float(svm.w @ limit) / size**2
    least = float(np.min(np.asarray(X, float)[svm.support] @ limit))
    distance = rate * float(np.linalg.norm(limit - along * svm.w)) / size
    return RateConstants(
        loss_constant(svm, step_size, rate=rate, momentum=momentum),
        rate * (along - least) / size,
        distance,
        distance**2 / 2,
    )


def predicted_rates(
    svm: MaxMargin, constants: RateConstants, step_size: float
) -> dict[str, Prediction]:
    """The leading terms as predictions of training time eta t, by the names of the probes.

    loss = C_loss/t, normalised_margin = gamma - C_margin/log t,
    direction_distance = C_distance/log t and angle_gap = C_angle/log^2 t, t = time/eta > 1.

    Source: Soudry et al. (2018), Theorem 5; constants derived.

    Examples:
        >>> from thalweg.theory.limits.separable import RateConstants, predicted_rates
        >>> svm = tw.theory.max_margin.hard_margin_svm([[1.0]])
        >>> rates = predicted_rates(svm, RateConstants(1.0, 0.0, 0.0, 0.0), step_size=0.5)
        >>> float(rates["loss"].at(5.0))  # after ten steps
        0.1
    """
    holds = "separable data, a step below `largest_step`, no alpha_n = 0, in the limit log t -> oo"

    def rate(name: str, unit: str, of: Callable[[np.ndarray], np.ndarray]) -> Prediction:
        def at(time: ArrayLike) -> np.ndarray:
            with np.errstate(divide="ignore"):  # at time 0, far from the limit
                return of(np.asarray(time, float) / step_size)

        return make_prediction(name, unit, "asymptotic", holds, at, SOURCE)

    c = constants
    rates = (
        rate("loss", "loss", lambda t: c.loss / t),
        rate("normalised_margin", "output/parameter", lambda t: svm.margin - c.margin / np.log(t)),
        rate("direction_distance", "1", lambda t: c.distance / np.log(t)),
        rate("angle_gap", "1", lambda t: c.angle / np.log(t) ** 2),
    )
    return {prediction.name: prediction for prediction in rates}


def power_tail_direction(X: ArrayLike, power: float) -> Float[np.ndarray, " d"]:
    """The unit v of least sum_n (x_n . v)^-p, where descent on a power tail tends to.

    Up to its length it is the minimiser of the convex sum_n (x_n . q)^-p + |q|^2/2, found by
    Newton's method to rounding. It is not the hard-margin direction, which is its limit p -> oo.

    Args:
        X: Inputs with labels absorbed, shape (n, d).
        power: p > 0.

    Raises:
        InputError: If the data are not separable, or rounding hides the minimiser.

    Source: derived (E10 of the study).

    Examples:
        >>> from thalweg.theory.limits.separable import power_tail_direction
        >>> power_tail_direction([[3.0, 4.0]], 2.0).round(6).tolist()
        [0.6, 0.8]
    """
    require(0 < power < np.inf, f"power came as {power}; give a positive number")
    X = finite_matrix(X)
    size = float(np.abs(X).max(initial=0.0))
    X = X / (size if size > 0 else 1.0)  # the direction does not know the unit of the inputs

    def function(q: np.ndarray) -> tuple:
        u = X @ q
        if np.any(u <= 0):
            return np.inf, q, np.eye(len(q))
        bend = power * (power + 1) * u ** (-power - 2)
        gradient = q - power * u ** (-power - 1) @ X
        root = np.vstack([np.sqrt(bend)[:, None] * X, np.eye(len(q))])
        return np.sum(u**-power) + q @ q / 2, gradient, root

    q, left = _newton(function, hard_margin_svm(X).w)
    require(
        bool(np.max(np.abs(X @ left) / (X @ q)) <= TRUSTED),
        f"the direction of least sum of outputs to the power -{power:g} was not found, as some "
        "outputs are tiny beside others; give a smaller power, or examples farther from the plane",
    )
    return q / np.linalg.norm(q)
