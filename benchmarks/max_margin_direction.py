"""The angle to the exact max-margin direction over 30 decades of training time, on digits.

Gradient flow of the exponential loss, followed in log t, for pairs of digits that a plane
separates: principal components of the images where the support vectors span the data, so that the
constant C in angle ~ C/log t is known, and all pixels, where it depends on the path. Beside it the
next order: the angle of w_svm log t + w~, with the exact limit w~ of the residual.
"""

from __future__ import annotations

import time

import numpy as np
from timing import limit_threads, machine, options, show

from thalweg.problems.data.images import digit_images
from thalweg.theory.limits.log_time_flow import log_time_flow
from thalweg.theory.limits.max_margin import MaxMargin, absorb, hard_margin_svm
from thalweg.theory.limits.separable import asymptotic_path, residual_limit

CASES = ((0, 1, 4), (2, 7, 6), (3, 8, 10), (0, 1, None), (3, 8, None))
DECADES = (1, 2, 5, 10, 20, 30)


def pair(first: int, second: int, components: int | None) -> np.ndarray:
    """Rows y (x, 1) of two digits, of all pixels or of the first principal components."""
    data = digit_images(standardize="none")
    pixels = np.asarray(data.inputs, float).reshape(len(data.inputs), -1)
    label = np.asarray(data.targets)
    chosen = (label == first) | (label == second)
    X = pixels[chosen]
    if components is not None:
        X = X - X.mean(axis=0)
        X = X @ np.linalg.svd(X, full_matrices=False)[2][:components].T
    return absorb(X, np.where(label[chosen] == first, 1.0, -1.0), bias=True)


def angles(w: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Angles in radians, exact where they are small."""
    along = w @ direction / np.linalg.norm(direction)
    across = w - np.outer(along, direction) / np.linalg.norm(direction)
    return np.arctan2(np.linalg.norm(across, axis=1), along)


def slowest_power(X: np.ndarray, svm: MaxMargin) -> float:
    """The power of 1/t by which the flow meets w_svm log t + w~: small ones are slow directions."""
    bend = (X.T * svm.alpha) @ X
    curvatures = np.linalg.eigvalsh(bend)[-np.linalg.matrix_rank(bend) :]
    slack = (X @ svm.w - 1)[~svm.support]
    return float(min(1.0, curvatures.min(), slack.min()))


def main() -> None:
    """Print the table."""
    asked = options(__doc__)
    limit_threads(asked.threads)
    print(machine(asked.threads))
    rows = []
    for first, second, components in CASES[:1] if asked.quick else CASES:
        begun = time.perf_counter()
        X = pair(first, second, components)
        svm = hard_margin_svm(X)
        eta = 1 / float(np.linalg.norm(X, 2)) ** 2
        s = np.log(10.0) * np.array(DECADES)
        flow = log_time_flow(X, s, eta)
        seconds = time.perf_counter() - begun
        measured = angles(flow.w, svm.w)
        name = f"{first}/{second}, {components or 'all pixels'}, {svm.support.sum()} on the margin"
        if np.linalg.matrix_rank(X[svm.support]) == np.linalg.matrix_rank(X):
            limit = residual_limit(X, svm, eta)
            constant = angles(limit[None] + 1e9 * svm.w, svm.w)[0] * 1e9
            path = angles(asymptotic_path(svm, limit, np.exp(s)), svm.w)
        else:
            constant, path = np.nan, np.full(len(s), np.nan)
        power = slowest_power(X, svm)
        for k, decade in enumerate(DECADES):
            rows.append(
                [
                    name if k == 0 else "",
                    f"1e{decade}",
                    f"{measured[k]:.5f}",
                    f"{flow.error[k] / np.linalg.norm(flow.w[k]):.0e}",
                    f"{measured[k] * s[k]:.4f}",
                    f"{constant:.4f}",
                    f"{abs(measured[k] - path[k]):.0e}",
                    f"t^-{power:.2g}" if k == 0 else "",
                    f"{seconds:.2f} s" if k == 0 else "",
                ]
            )
    columns = ["digits", "t", "angle", "error", "angle log t", "C", "off the path", "falls as"]
    columns.append("time")
    show("Angle to the max-margin direction", columns, rows)


if __name__ == "__main__":
    main()
