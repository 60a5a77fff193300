"""What training of the last layer alone will do: the certificates of phase 2.

With frozen features A, (n, m + 1), L(V) = (1/n) sum_i loss(A_i V, y_i) is convex in V. If A has
rank n its infimum is the infimum over all parameters of the net, for any targets. Matrices are
NumPy float64; V = [W^T; b^T] has shape (columns of A, outputs).
eps is that of the precision in which A came.

Source: Kawaguchi and Sun (2021), arXiv 2104.05785; E8 and E9 are our own derivations.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require
from thalweg.core.rank import rounding_of
from thalweg.theory.prediction import Prediction, make_prediction

Values = NDArray[np.float64]
SOURCE = "Kawaguchi and Sun (2021), arXiv 2104.05785"


def last_layer_smoothness(A: ArrayLike, loss_smoothness: float = 1.0) -> float:
    """L_H = (L_l/n) sigma_max(A)^2, a Lipschitz constant of the gradient by V.

    For 1/2 ||q - y||^2, L_l = 1, it is the largest eigenvalue of the Hessian; for the softmax
    cross-entropy, L_l = 1/2, a bound on it.

    Args:
        A: Features with their column of ones, (n, columns).
        loss_smoothness: L_l: see `thalweg.problems.last_layer.loss_smoothness`.

    Error: rounding, about eps of it. Source: our E4, from the paper's assumption on the loss.

    Examples:
        >>> from thalweg.theory.descent.last_layer import last_layer_smoothness
        >>> round(last_layer_smoothness(np.diag([2.0, 1.0])), 6)  # 2^2/2
        2.0
    """
    return float(loss_smoothness * np.linalg.norm(_matrix(A), 2) ** 2 / len(_matrix(A)))


def nearest_minimiser(A: ArrayLike, Y: ArrayLike, V: ArrayLike) -> Values:
    """The minimiser V* = V + A^+ (Y - A V) of ||A V - Y||_F that is nearest to V.

    ||V - V*||_F is the smallest R for the bounds below. Singular values up to
    max(n, columns) eps sigma_1 count as zero.

    Args:
        A: (n, columns).
        Y: Targets (n, outputs).
        V: Where phase 2 begins, (columns, outputs).

    Error: the residual is within a small multiple of eps ||A|| ||V*|| of the least one.

    Examples:
        >>> from thalweg.theory.descent.last_layer import nearest_minimiser
        >>> nearest_minimiser([[1.0, 0.0]], [[2.0]], [[0.0], [5.0]]).round(6).tolist()
        [[2.0], [5.0]]
    """
    eps, A, Y, V = rounding_of(A), _matrix(A), _matrix(Y), _matrix(V)
    cut = max(A.shape) * eps
    return V + np.linalg.lstsq(A, Y - A @ V, rcond=cut)[0]


def descent_bound(
    smoothness: float, distance: float, step_size: float, begin: float = 0.0, floor: float = 0.0
) -> Prediction:
    """L(V_k) - inf L <= L_H R^2 / (2 k) after k steps of descent with step size 1/L_H (E6).

    Args:
        smoothness: L_H.
        distance: R = ||V_0 - V*||_F for any minimiser V*.
        step_size: How much training time a step takes; steps are counted to the nearest whole.
        begin: Training time at which phase 2 begins.
        floor: inf L.

    Returns:
        The bound on the loss; infinite up to `begin`.

    Raises:
        InputError: If a number is negative, or the step size or L_H is zero.

    The rate is loose and, as sigma_n tends to be tiny, slow: its worth is the limit. Where the
    infimum is not attained, as with the cross-entropy on separable data, R is infinite.

    Examples:
        >>> from thalweg.theory.descent.last_layer import descent_bound
        >>> descent_bound(smoothness=1.0, distance=2.0, step_size=1.0).at([1.0, 2.0]).tolist()
        [2.0, 1.0]
    """
    require(
        smoothness > 0 and distance >= 0 and step_size > 0,
        f"L_H = {smoothness}, R = {distance}, step size {step_size} came; give positive numbers",
    )

    def at(times: ArrayLike) -> Values:
        k = np.rint((np.asarray(times, float) - begin) / step_size)
        with np.errstate(divide="ignore"):
            bound = smoothness * distance**2 / (2 * k)
        return np.where(k >= 1, floor + bound, np.inf)

    holds = "plain descent on the last layer alone with step size 1/L_H, a convex loss"
    return make_prediction("loss", "loss", "upper", holds, at, f"{SOURCE}, theorem (E6)")


def stochastic_bound(
    distance: float, gradient_bound: float, step_sizes: ArrayLike, floor: float = 0.0
) -> Prediction:
    """min_{j<k} E L(V_j) - inf L <= (R^2 + G^2 sum_j eta_j^2) / (2 sum_j eta_j), j < k (E7).

    With eta_j in proportion to 1/sqrt(j + 1) it falls as log(k)/sqrt(k).

    Args:
        distance: R = ||V_0 - V*||_F.
        gradient_bound: G, with E ||g_j||^2 <= G^2 for the unbiased gradients g_j.
        step_sizes: eta_0, eta_1, ..., (steps,), positive.
        floor: inf L.

    Returns:
        The bound on the least expected loss before step k, at training time sum_{j<k} eta_j
        counted from the begin of phase 2; infinite at 0, constant after the last step.

    Raises:
        InputError: If a number is negative or a step size is not positive.

    Examples:
        >>> from thalweg.theory.descent.last_layer import stochastic_bound
        >>> float(stochastic_bound(distance=1.0, gradient_bound=1.0, step_sizes=[1.0]).at(1.0))
        1.0
    """
    eta = np.asarray(step_sizes, float)
    require(
        eta.ndim == 1 and eta.size > 0 and bool(np.all(eta > 0)),
        f"step sizes of shape {eta.shape} came; give a list of positive numbers",
    )
    require(
        distance >= 0 and gradient_bound >= 0,
        f"R = {distance} and G = {gradient_bound} came; give numbers of at least 0",
    )
    clock = np.cumsum(eta)
    bounds = floor + (distance**2 + gradient_bound**2 * np.cumsum(eta**2)) / (2 * clock)

    def at(times: ArrayLike) -> Values:
        t = np.asarray(times, float)
        taken = np.searchsorted(clock, t * (1 + 1e-12), side="right")
        return np.where(taken > 0, bounds[np.maximum(taken, 1) - 1], np.inf)

    holds = "unbiased gradients on the last layer alone, a convex loss; a bound in expectation"
    return make_prediction("loss", "loss", "upper", holds, at, f"{SOURCE}, theorem (E7)")


def descent_residual(A: ArrayLike, residual: ArrayLike, steps: ArrayLike) -> Values:
    """r_k = (I - A A^T/sigma_max^2)^k r_0 of the squared error under descent with 1/L_H (E8).

    Every left singular vector of A decays on its own, by 1 - (sigma_j/sigma_1)^2 a step; what is
    orthogonal to the range of A stays. Exact: by a singular value decomposition, not by powers.

    Args:
        A: (n, columns).
        residual: r_0 = A V_0 - Y, (n, outputs).
        steps: k, (steps,), whole numbers of at least 0.

    Returns:
        r_k, (steps, n, outputs). The loss is ||r_k||_F^2/(2n).

    Error: a relative 2 k eps in the modes of slowest decay, from rounding in sigma_j/sigma_1.

    Examples:
        >>> from thalweg.theory.descent.last_layer import descent_residual
        >>> r = descent_residual(np.diag([2.0, 1.0]), [[1.0], [1.0]], [1])
        >>> bool(np.allclose(r.ravel(), [0, 0.75]))  # 1 - 1 and 1 - 1/4 are left
        True
    """
    A, r, k = _matrix(A), _matrix(residual), np.asarray(steps, float)
    require(
        len(A) == len(r) and k.ndim == 1 and bool(np.all(k >= 0)),
        f"features {A.shape}, residual {r.shape} and steps {k.shape} do not fit",
    )
    U, s, _ = np.linalg.svd(A, full_matrices=False)
    inside = U.T @ r
    with np.errstate(divide="ignore"):
        log_factor = np.log1p(-((s / s[0]) ** 2))
    with np.errstate(invalid="ignore"):  # -inf * 0, where no step is taken
        powers = np.exp(np.where(k[:, None] > 0, k[:, None] * log_factor, 0.0))
    return (r - U @ inside) + np.einsum("nj,kj,jc->knc", U, powers, inside, optimize=True)


def range_basis(A: ArrayLike) -> Values:
    """An orthonormal basis Q of the range of A, (n, rank), so that P_A = Q Q^T.

    By QR with column pivoting of the columns scaled to norm 1, which leaves the range as it is: a
    nearly dead unit is a tiny column of full relative accuracy, and a singular value decomposition
    of A as it stands would determine its direction to eps sigma_1/sigma_r only. Columns of norm
    below max(n, columns) eps sigma_1 count as zero, and so do pivots below max(n, columns) eps.

    Args:
        A: (n, columns).

    Examples:
        >>> from thalweg.theory.descent.last_layer import range_basis
        >>> Q = range_basis([[3.0], [4.0]])
        >>> (Q @ Q.T).round(6).tolist()  # the projector onto (3, 4)/5
        [[0.36, 0.48], [0.48, 0.64]]
    """
    eps, A = rounding_of(A), _matrix(A)
    cut, norms = max(A.shape) * eps, np.linalg.norm(A, axis=0)
    kept = norms > cut * np.linalg.norm(A, 2)
    Q, R, _ = scipy.linalg.qr(A[:, kept] / norms[kept], mode="economic", pivoting=True)
    return Q[:, np.abs(np.diag(R)) > cut]


def least_squares_floor(A: ArrayLike, Y: ArrayLike) -> float:
    """||(I - P_A) Y||_F^2 / (2n), below which phase 2 with the squared error cannot come (E9).

    Zero if the rank, the number of columns of `range_basis`, is n.

    Args:
        A: (n, columns).
        Y: Targets (n, outputs).

    Error: about eps over the smallest pivot of the scaled columns, relative.

    Examples:
        >>> from thalweg.theory.descent.last_layer import least_squares_floor
        >>> round(least_squares_floor([[1.0], [0.0]], [[3.0], [2.0]]), 6)  # 2^2/(2 n)
        1.0
    """
    Q, Y = range_basis(A), _matrix(Y)
    if Q.shape[1] == len(Q):
        return 0.0
    return float(np.sum((Y - Q @ (Q.T @ Y)) ** 2) / (2 * len(Q)))


def random_label_floor(examples: int, rank: int, classes: int) -> float:
    """(1 - 1/classes)/2 (1 - rank/n), the expected floor for random one-hot labels.

    Y = 1/classes + Z with independent rows of E ||Z_i||^2 = 1 - 1/classes and E Z = 0; of n
    examples' directions n - rank are left over. The ones must be in the range of A.

    Raises:
        InputError: If the rank is not within 0..n.

    Examples:
        >>> from thalweg.theory.descent.last_layer import random_label_floor
        >>> random_label_floor(examples=10, rank=5, classes=2)
        0.125
    """
    require(
        0 <= rank <= examples and classes >= 2,
        f"{examples} examples, rank {rank}, {classes} classes came",
    )
    return (1 - 1 / classes) / 2 * (1 - rank / examples)


def _matrix(value: ArrayLike) -> Values:
    array = np.asarray(value, float)
    require(array.ndim == 2, f"an array of shape {array.shape} came; give a matrix")
    return array
