"""The hard-margin support vector machine of separable data, and whether data are separable.

Labels are absorbed: a row x_n stands for y_n x_n, and w separates the data if x_n . w > 0 for all.
The machine is w = argmin |w|^2 subject to x_n . w >= 1, with duals alpha_n >= 0 such that
w = sum_n alpha_n x_n, alpha_n (x_n . w - 1) = 0 and sum_n alpha_n = |w|^2. A bias is a constant
feature (`absorb`), several classes are rows of differences (`stack_classes`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from scipy.linalg import qr, solve_triangular
from scipy.optimize import nnls

from thalweg.core.errors import require
from thalweg.theory.limits.separating import finite_matrix, separability

ON_MARGIN = 1e-9  # |x . w - 1| of a support vector, relative to sum_j |x_j w_j|
TOUCHING = 1e-13  # 1 - x . w of an example that is not beyond the margin, likewise
TRUSTED = 1e-6  # a larger error of the machine is a refusal
DEPENDENT = 1e-13  # the part of an example that others do not explain, features of one size


class MaxMargin(NamedTuple):
    """A hard-margin support vector machine.

    Attributes:
        w: The separator of least norm, shape (d,), unit 1/input; min_n x_n . w = 1.
        alpha: Dual variables, shape (n,), unit 1/input^2; 0 off the margin. Not unique where
            support vectors are linearly dependent: then those of one choice of them.
        support: Which examples lie on the margin, shape (n,); some may have alpha = 0.
        margin: 1/|w|, the distance of the nearest example from the plane w . x = 0.
        error: Largest violation of the optimality conditions, of x_n . w >= 1, alpha_n >= 0,
            alpha_n (x_n . w - 1) = 0 and w = X^T alpha, each over the sizes of the terms summed (of
            w_j at least what gives an output of 1): how much entries of X would have to change for
            w to be exact. Columns that differ in their last digits only, as times and a constant,
            lose digits of w beyond it.
    """

    w: Float[np.ndarray, " d"]
    alpha: Float[np.ndarray, " n"]
    support: Bool[np.ndarray, " n"]
    margin: float
    error: float


def hard_margin_svm(X: ArrayLike) -> MaxMargin:
    """The w of least |w|^2 subject to x_n . w >= 1, with its dual variables.

    With Z = [X^T/m; 1^T], m the margin of some separating plane, and e = (0, ..., 0, 1),
    a = argmin_{a >= 0} |Z a - e| says which examples carry w. Where columns differ much in size
    that choice is rough; it is mended one example at a time, as in nonnegative least squares, each
    w being the one of least norm with x_n . w = 1 on the chosen. These equations are solved by a
    QR factorisation with rows sorted and columns pivoted, whose rounding is relative to each row,
    whatever the units of the features.

    Units of features may lie eight decades apart; w is then right to about 1e-8 of its length, as
    exact fractions say on small tables. At eighteen decades one table in 200 is refused, and in one
    of 300 digits of w are lost beyond what `error` says.

    Args:
        X: Inputs with labels absorbed, shape (n, d).

    Raises:
        InputError: If X is no matrix, no plane through the origin separates the data, or rounding
            hides whether one does or which is the farthest.

    Source: Soudry et al. (2018), the hard-margin problem; Lawson and Hanson (1974), nonnegative
    least squares and its least-distance form; Cox and Higham (1998), row-wise stability.

    Examples:
        >>> from thalweg.theory.limits.max_margin import hard_margin_svm
        >>> svm = hard_margin_svm([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
        >>> svm.w.round(6).tolist(), svm.support.tolist(), round(svm.margin**2, 6)
        ([1.0, 1.0], [True, True, False], 0.5)
    """
    X = finite_matrix(X)
    told = separability(X)
    require(
        told.separable is not False,
        "no plane through the origin has all examples on its right side, so there is no hard "
        "margin; add a bias (absorb(..., bias=True)), features, or leave out examples",
    )
    require(
        bool(told.separable),
        "whether a plane through the origin separates these examples is hidden by rounding, so "
        "there is no hard margin to be trusted; shift or leave out features that nearly repeat",
    )
    margin = float(np.min(X @ told.w) / np.linalg.norm(told.w))
    w, alpha = _mended(X, _first_weights(X / margin))
    slack = X @ w - 1
    scale, size = np.abs(X) @ np.abs(w), np.abs(X).max(axis=0)
    support = (alpha > 0) | (np.abs(slack) <= ON_MARGIN * scale)
    top = alpha.max() if alpha.max() > 0 else 1.0
    violations = (
        np.max(-slack / scale),
        np.max(-alpha) / top,
        np.max(np.abs(alpha * slack) / scale) / top,
        np.max(np.abs(w - X.T @ alpha) / (np.abs(X).T @ alpha + 1 / np.where(size > 0, size, 1.0))),
    )
    error = max(0.0, *map(float, violations))
    require(
        error <= TRUSTED,
        f"the plane of largest margin could not be told from others (the conditions of the optimum "
        f"are off by {error:.1g}); bring the features nearer to one unit",
    )
    return MaxMargin(w, alpha, support, float(1 / np.linalg.norm(w)), error)


def _first_weights(Z: np.ndarray) -> np.ndarray:
    """The a of `hard_margin_svm`, shape (n,), alpha but for a factor; zero if it is not found."""
    try:
        return nnls(np.vstack([Z.T, np.ones(len(Z))]), np.eye(Z.shape[1] + 1)[-1])[0]
    except RuntimeError:  # its count of iterations
        return np.zeros(len(Z))


def _mended(X: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The machine's w and alpha from a guess of alpha >= 0 that may be rough."""
    alpha = np.array(alpha)
    on = np.flatnonzero(alpha > 0)
    w = np.zeros(X.shape[1])
    for _ in range(10 * sum(X.shape)):
        while len(on):
            w, new = _least_norm(X, on)
            if np.all(new > 0):
                alpha[:] = 0
                alpha[on] = new
                break
            # Back to where the first weight vanishes; that example is given up.
            old = alpha[on]
            down = new <= 0
            fall = np.where(down, old - new, np.inf)
            step = np.min(np.where(fall > 0, old / np.where(fall > 0, fall, 1.0), 0.0)[down])
            moved = np.where(down & (old <= step * (old - new)), 0.0, old + step * (new - old))
            alpha[:] = 0
            alpha[on] = moved
            on = on[moved > 0]
        slack = 1 - X @ w
        worst = slack / np.maximum(np.abs(X) @ np.abs(w), 1.0)
        worst[on] = 0
        add = int(np.argmax(worst))
        if worst[add] <= TOUCHING:
            break
        alpha[on], alpha[add] = _with_another(X, on, add, alpha[on])
        on = np.flatnonzero((alpha > 0) | (np.arange(len(X)) == add))
    return w, alpha


def _with_another(
    X: np.ndarray, on: np.ndarray, add: int, weights: np.ndarray
) -> tuple[np.ndarray, float]:
    """Weights that leave w as it is, with one more example: it takes over where it depends.

    Otherwise its weight begins at 0. If x_add = sum_i r_i x_i, it takes weight from those with
    r_i > 0 until one has none left.
    """
    size = np.abs(X[np.append(on, add)]).max(axis=0)
    plain = X / np.where(size > 0, size, 1.0)
    r = np.linalg.lstsq(plain[on].T, plain[add], rcond=None)[0]
    rest = np.linalg.norm(plain[add] - r @ plain[on])
    if rest > DEPENDENT * (np.abs(r) @ np.abs(plain[on])).max() or not np.any(r > 0):
        return weights, 0.0
    share = np.where(r > 0, weights / np.where(r > 0, r, 1.0), np.inf)
    least = int(np.argmin(share))
    left = np.maximum(weights - share[least] * r, 0.0)
    left[least] = 0.0
    return left, float(share[least])


def _least_norm(X: np.ndarray, on: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The w of least norm with x_n . w = 1 for the examples `on`, and its weights on them."""
    S = X[on]
    size = np.abs(S).max(axis=0)
    order = np.argsort(-size, kind="stable")
    # Which of them are independent is seen where all features are of one size.
    plain = S / np.where(size > 0, size, 1.0)
    R, pivot = qr((plain / np.linalg.norm(plain, axis=1)[:, None]).T, mode="r", pivoting=True)
    free = np.sort(pivot[: np.sum(np.abs(np.diag(R)) > DEPENDENT)])
    Q, R, pivot = qr(S[free][:, order].T, mode="economic", pivoting=True)
    y = solve_triangular(R, np.ones(len(free)), trans="T")
    w = np.empty(X.shape[1])
    w[order] = Q @ y
    weights = np.zeros(len(on))
    weights[free[pivot]] = solve_triangular(R, y)
    return w, weights


def absorb(X: ArrayLike, labels: ArrayLike, bias: bool = False) -> Float[np.ndarray, "n d"]:
    """y_n x_n, or y_n (x_n, 1): the bias is then a weight like the others and enters the norm.

    Args:
        X: Inputs, shape (n, d).
        labels: +1 or -1, shape (n,).
        bias: Whether to add a constant feature 1 behind the others.

    Raises:
        InputError: If shapes do not fit or a label is neither +1 nor -1.

    Examples:
        >>> from thalweg.theory.limits.max_margin import absorb
        >>> absorb([[1.0], [2.0]], [1, -1], bias=True).tolist()
        [[1.0, 1.0], [-2.0, -1.0]]
    """
    X, y = finite_matrix(X), np.asarray(labels, float)
    require(
        y.shape == (len(X),) and bool(np.all(np.abs(y) == 1)),
        f"labels of shape {y.shape} came; give one +1 or -1 for each of {len(X)} examples",
    )
    return y[:, None] * (np.hstack([X, np.ones((len(X), 1))]) if bias else X)


def stack_classes(X: ArrayLike, labels: ArrayLike) -> Float[np.ndarray, "rows kd"]:
    """(e_y - e_k) (x) x_n for all n and k != y_n: K classes as one binary problem.

    The stacked vector (w_1, ..., w_K), the flat form of W (K, d), separates these rows if
    (w_{y_n} - w_k) . x_n > 0: `hard_margin_svm` of them minimises sum_k |w_k|^2 subject to
    (w_{y_n} - w_k) . x_n >= 1.

    Args:
        X: Inputs, shape (n, d).
        labels: Whole numbers 0, ..., K - 1, shape (n,).

    Returns:
        Shape (n (K - 1), K d), the rows of one example beside each other.

    Raises:
        InputError: If shapes do not fit or there are fewer than two classes.

    Source: Soudry et al. (2018), multi-class extension.

    Examples:
        >>> from thalweg.theory.limits.max_margin import stack_classes
        >>> stack_classes([[5.0], [7.0]], [1, 0]).tolist()
        [[-5.0, 5.0], [7.0, -7.0]]
    """
    X, y = finite_matrix(X), np.asarray(labels)
    require(
        y.shape == (len(X),) and y.dtype.kind in "iu" and y.min() >= 0 < y.max(),
        f"labels of shape {y.shape} and type {y.dtype} came; give whole numbers from 0 to K - 1",
    )
    e = np.eye(int(y.max()) + 1)
    rows = [
        np.kron(e[c] - e[k], x) for x, c in zip(X, y, strict=True) for k in range(len(e)) if k != c
    ]
    return np.array(rows)
