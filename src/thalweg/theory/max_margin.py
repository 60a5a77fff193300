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
from scipy.optimize import linprog, nnls

from thalweg.core.errors import InputError, require

ON_MARGIN = 1e-9  # |x . w - 1| of a support vector, relative to |x| |w|
SEPARATED = 1e-12  # the smallest margin told from zero, relative to the largest entry


class MaxMargin(NamedTuple):
    """A hard-margin support vector machine.

    Attributes:
        w: The separator of least norm, shape (d,), unit 1/input; min_n x_n . w = 1.
        alpha: Dual variables, shape (n,), unit 1/input^2; 0 off the margin. Not unique where
            support vectors are linearly dependent: then those of one choice of them.
        support: Which examples lie on the margin, shape (n,); some may have alpha = 0.
        margin: 1/|w|, the distance of the nearest example from the plane w . x = 0.
        error: Largest violation of the optimality conditions, relative: of x_n . w >= 1,
            alpha_n >= 0, alpha_n (x_n . w - 1) = 0, each over the size of its terms, and of
            |w - X^T alpha|/|w|.
    """

    w: Float[np.ndarray, " d"]
    alpha: Float[np.ndarray, " n"]
    support: Bool[np.ndarray, " n"]
    margin: float
    error: float


def hard_margin_svm(X: ArrayLike) -> MaxMargin:
    """The w of least |w|^2 subject to x_n . w >= 1, with its dual variables.

    With Z = [X^T; 1^T] and e = (0, ..., 0, 1), a = argmin_{a >= 0} |Z a - e| gives
    alpha = a/(1 - sum a) and w = X^T alpha. Which a are positive is taken from there, w and alpha
    then from the linear equations x_n . w = 1 on these examples.

    Args:
        X: Inputs with labels absorbed, shape (n, d).

    Raises:
        InputError: If X is no matrix, or no plane through the origin separates the data.

    Source: Soudry et al. (2018), the hard-margin problem; nonnegative least squares: derived.
    """
    X = _matrix(X)
    require(
        separability(X).separable,
        "no plane through the origin has all examples on its right side, so there is no hard "
        "margin; add a bias (absorb(..., bias=True)), features, or leave out examples",
    )
    size = float(np.abs(X).max())
    a = nnls(np.vstack([X.T / size, np.ones(len(X))]), np.eye(X.shape[1] + 1)[-1])[0]
    used = a > 0
    w = np.linalg.lstsq(X[used], np.ones(used.sum()), rcond=None)[0]
    alpha = np.zeros(len(X))
    alpha[used] = np.linalg.lstsq(X[used].T, w, rcond=None)[0]
    slack = X @ w - 1
    scale = np.linalg.norm(X, axis=1) * np.linalg.norm(w)
    support = used | (np.abs(slack) <= ON_MARGIN * scale)
    violations = (
        np.max(-slack / scale),
        np.max(-alpha) / alpha.max(),
        np.max(np.abs(alpha * slack) / scale) / alpha.max(),
        np.linalg.norm(w - X.T @ alpha) / np.linalg.norm(w),
    )
    error = max(0.0, *map(float, violations))
    return MaxMargin(w, alpha, support, float(1 / np.linalg.norm(w)), error)


class Separability(NamedTuple):
    """Whether a plane through the origin separates data, with the best one in another norm.

    Attributes:
        separable: Whether the margin is above rounding.
        margin: max_{|w_j| <= 1} min_n x_n . w, 0 if the data are not separable (unit: input).
        w: A maximiser, shape (d,); not always unique.
    """

    separable: bool
    margin: float
    w: Float[np.ndarray, " d"]


def separability(X: ArrayLike) -> Separability:
    """max_{|w_j| <= 1} min_n x_n . w by linear programming: positive exactly if w separates.

    The maximiser is also where methods of sign-like steps (Adam without epsilon) tend to.

    Args:
        X: Inputs with labels absorbed, shape (n, d).

    Raises:
        InputError: If X is no matrix of finite numbers.
    """
    X = _matrix(X)
    n, d = X.shape
    size = float(np.abs(X).max()) or 1.0
    found = linprog(
        np.append(np.zeros(d), -1.0),
        np.hstack([-X / size, np.ones((n, 1))]),
        np.zeros(n),
        bounds=[(-1, 1)] * d + [(0, None)],
        method="highs",
    )
    if found.x is None:
        raise InputError(f"the linear program failed ({found.message}); scale the inputs")
    w = found.x[:d]
    margin = float(np.min(X @ w))
    separable = margin > SEPARATED * size
    return Separability(separable, margin if separable else 0.0, w)


def absorb(X: ArrayLike, labels: ArrayLike, bias: bool = False) -> Float[np.ndarray, "n d"]:
    """y_n x_n, or y_n (x_n, 1): the bias is then a weight like the others and enters the norm.

    Args:
        X: Inputs, shape (n, d).
        labels: +1 or -1, shape (n,).
        bias: Whether to add a constant feature 1 behind the others.

    Raises:
        InputError: If shapes do not fit or a label is neither +1 nor -1.
    """
    X, y = _matrix(X), np.asarray(labels, float)
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
    """
    X, y = _matrix(X), np.asarray(labels)
    require(
        y.shape == (len(X),) and y.dtype.kind in "iu" and y.min() >= 0 < y.max(),
        f"labels of shape {y.shape} and type {y.dtype} came; give whole numbers from 0 to K - 1",
    )
    e = np.eye(int(y.max()) + 1)
    rows = [
        np.kron(e[c] - e[k], x) for x, c in zip(X, y, strict=True) for k in range(len(e)) if k != c
    ]
    return np.array(rows)


def _matrix(X: ArrayLike) -> np.ndarray:
    X = np.asarray(X, float)
    require(
        X.ndim == 2 and X.size > 0 and bool(np.all(np.isfinite(X))),
        f"inputs of shape {X.shape} came; give finite numbers (examples, features)",
    )
    return X
