"""Local entropy, local energy and the entropic optimisers on a quadratic, where all is exact.

f(w) = w^T H w/2; beta is the inverse temperature, gamma the coupling. Numbered as the identities of
the study of Pittorino et al. (2021).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require

Vector = Float[np.ndarray, " p"]
CONVENTIONS = ("paper", "code")


def quadratic_local_entropy(H: ArrayLike, w: ArrayLike, beta: float, gamma: float) -> float:
    """The logarithm of E exp(-beta f(w')), w' normal about w of covariance I/(beta gamma) (E7).

    -beta gamma/2 w^T H (H + gamma)^-1 w - 1/2 log det(I + H/gamma).

    Args:
        H: Symmetric, shape (p, p), eigenvalues above -gamma.
        w: Shape (p,).
        beta: Inverse temperature.
        gamma: Coupling.

    Raises:
        InputError: If shapes do not fit, or an eigenvalue is -gamma or below: the mean is infinite.

    Examples:
        >>> from thalweg.theory.landscape.entropic_quadratics import quadratic_local_entropy
        >>> round(quadratic_local_entropy([[1.3]], [0.8], 4.0, 0.5), 6)
        -1.102689
    """
    H, w = _quadratic(H, w, gamma)
    values, vectors = np.linalg.eigh(H)
    along = vectors.T @ w
    bent = beta * gamma / 2 * np.sum(along**2 * values / (values + gamma))
    return float(-bent - 0.5 * np.sum(np.log1p(values / gamma)))


def quadratic_entropy_gradient(H: ArrayLike, w: ArrayLike, gamma: float) -> Vector:
    """Gradient of the local-entropy loss, gamma H (H + gamma)^-1 w, the same for every beta (E7).

    Examples:
        >>> from thalweg.theory.landscape.entropic_quadratics import quadratic_entropy_gradient
        >>> quadratic_entropy_gradient([[3.0]], [1.0], 1.0).tolist()
        [0.75]
    """
    H, w = _quadratic(H, w, gamma)
    return gamma * np.asarray(np.linalg.solve(H + gamma * np.eye(len(w)), H @ w))


def quadratic_local_energy(H: ArrayLike, w: ArrayLike, sigma: float) -> float:
    """E f(w + sigma z * w) - f(w) = sigma^2/2 sum_i H_ii w_i^2 (E10).

    Examples:
        >>> from thalweg.theory.landscape.entropic_quadratics import quadratic_local_energy
        >>> quadratic_local_energy([[2.0]], [3.0], 0.5)
        2.25
    """
    H, w = _quadratic(H, w, math.inf)
    return float(0.5 * sigma**2 * np.sum(np.diag(H) * w**2))


def averaged_step(
    curvature: float, coupling: float, steps: int, averaging: float, inner_step: float
) -> float:
    """1 - mu after L inner steps of Entropy-SGD without noise from w = 1, f = h w^2/2 (E8).

    1 - [alpha^L + x (1 - alpha^L) + (1 - x) (1 - alpha) sum_l alpha^(L - l) rho^l], with rho = 1 -
    eta' (h + gamma) and x = gamma/(h + gamma).

    Args:
        curvature: h.
        coupling: gamma.
        steps: L.
        averaging: alpha.
        inner_step: eta'.

    Examples:
        >>> from thalweg.theory.landscape.entropic_quadratics import averaged_step
        >>> round(averaged_step(0.9, 0.7, 5, 0.75, 0.1), 12)
        0.191575341225
    """
    require(
        curvature + coupling != 0, "curvature and coupling add up to 0; give a stiffer coupling"
    )
    rho = 1 - inner_step * (curvature + coupling)
    rest = coupling / (curvature + coupling)
    kept = averaging**steps
    late = sum(averaging ** (steps - k) * rho**k for k in range(1, steps + 1))
    return 1 - (kept + rest * (1 - kept) + (1 - rest) * (1 - averaging) * late)


def inner_variance(
    curvature: float, coupling: float, inner_step: float, noise: float, convention: str = "paper"
) -> float:
    """Stationary variance of Entropy-SGD's inner chain on h w^2/2 (E9).

    epsilon^2/((h + gamma) (2 - eta' (h + gamma))), twice that where noise is as in the public code.

    Args:
        curvature: h.
        coupling: gamma.
        inner_step: eta'.
        noise: epsilon.
        convention: "paper", sqrt(eta') epsilon a step, or "code", sqrt(2 eta') epsilon.

    Raises:
        InputError: If the chain is not stable, or the convention is unknown.

    Examples:
        >>> from thalweg.theory.landscape.entropic_quadratics import inner_variance
        >>> round(inner_variance(0.9, 0.7, 0.1, 0.3), 6)
        0.030571
    """
    require(convention in CONVENTIONS, f"convention came as {convention!r}; give 'paper' or 'code'")
    stiff = curvature + coupling
    require(
        0 < inner_step * stiff < 2,
        f"the inner step times curvature and coupling is {inner_step * stiff:g}; a stationary law "
        "needs one between 0 and 2",
    )
    return (1 if convention == "paper" else 2) * noise**2 / (stiff * (2 - inner_step * stiff))


def _quadratic(H: ArrayLike, w: ArrayLike, gamma: float) -> tuple[np.ndarray, Vector]:
    H, w = np.asarray(H, float), np.asarray(w, float)
    require(
        w.ndim == 1 and H.shape == (len(w), len(w)) and bool(np.allclose(H, H.T)),
        f"H came with shape {H.shape} and w with {w.shape}; give a symmetric (p, p) and (p,)",
    )
    require(gamma > 0, f"gamma came as {gamma}; give a positive number")  # infinite: no coupling
    if len(w):
        least = float(np.linalg.eigvalsh(H)[0])
        require(
            least > -gamma,
            f"the least eigenvalue of H is {least:g}; the mean is infinite unless it is above "
            f"-gamma = {-gamma:g}",
        )
    return H, w
