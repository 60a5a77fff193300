"""Geometric rates of gradient descent on wide nets, and what else their linearisation predicts.

On L = 1/2 ||u - y||^2 of a wide net the error of the outputs obeys u(k+1) - y = (I - eta G)(u(k) -
y) with a Gram matrix G that hardly moves. Du, Lee, Li, Wang and Zhai (2019) prove from one part of
it, of smallest eigenvalue lambda_0 in the limit, that L(k) <= (1 - eta lambda_0/2)^k L(0).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.theory.prediction import Prediction, make_prediction

Values = NDArray[np.float64]
DEEP = "Du, Lee, Li, Wang & Zhai 2019 (arXiv 1811.03804)"


class RateCertificate(NamedTuple):
    """Whether losses fell at a geometric rate from step to step.

    Attributes:
        holds: Whether L(k) <= factor^k L(0) for every k.
        factor: 1 - eta lambda_0/2, the bound's factor per step.
        first_failure: The first k at which it does not hold, None if there is none.
        room: min_k ln(factor^k L(0)/L(k)) over k >= 1, at least 0 where the certificate holds.
        tightest: max_k (L(k)/L(0))^(1/k), the smallest factor for which it would hold.
    """

    holds: bool
    factor: float
    first_failure: int | None
    room: float
    tightest: float


def rate_certificate(losses: ArrayLike, step_size: float, smallest: float) -> RateCertificate:
    """Test L(k) <= (1 - eta lambda_0/2)^k L(0) at every step, and find the tightest such rate.

    Args:
        losses: L(0), L(1), ..., shape (K + 1,), K >= 1, not negative, L(0) > 0.
        step_size: eta, > 0.
        smallest: lambda_0, >= 0, with eta lambda_0 < 2.

    Returns:
        A `RateCertificate`; exact up to rounding. A loss that is not finite fails.

    Raises:
        InputError: On arguments outside these ranges.

    Source: Du et al. (2019), arXiv 1811.03804, theorems for the three architectures (E9).

    Examples:
        >>> from thalweg.theory.descent.geometric_rate import rate_certificate
        >>> found = rate_certificate([1.0, 0.25, 0.0625], step_size=0.5, smallest=1.0)
        >>> found.holds, found.factor, round(found.tightest, 6)
        (True, 0.75, 0.25)
    """
    L = np.asarray(losses, float)
    require(
        L.ndim == 1 and L.size > 1 and bool(L[0] > 0) and not bool(np.any(L < 0)),
        f"losses came with shape {L.shape}; give L(0) > 0, L(1), ..., none of them negative",
    )
    require_positive(step_size=step_size)
    require(
        smallest >= 0 and step_size * smallest < 2,
        f"the smallest eigenvalue is {smallest}; with step size {step_size} the rate needs one "
        f"from 0 to below {2 / step_size}",
    )
    k = np.arange(1, L.size)
    with np.errstate(divide="ignore"):
        logs = np.where(np.isnan(L[1:]), np.inf, np.log(L[1:] / L[0]))
    room = k * math.log1p(-step_size * smallest / 2) - logs
    failed = np.flatnonzero(room < 0)
    return RateCertificate(
        failed.size == 0,
        1 - step_size * smallest / 2,
        int(k[failed[0]]) if failed.size else None,
        float(np.min(room)),
        float(np.exp(np.max(logs / k))),
    )


def linearised_loss(gram: ArrayLike, residual: ArrayLike, step_size: float) -> Prediction:
    """The loss of descent with the Gram matrix of its start, as a prediction.

    L(k) = 1/2 sum_j (1 - eta lambda_j)^(2k) (v_j . (u(0) - y))^2 at training time k eta, with the
    eigenpairs (lambda_j, v_j) of G(0); k is rounded to whole steps.

    Args:
        gram: G(0), all layers together, symmetric (n, n), unit output^2/parameter^2.
        residual: u(0) - y, (n,).
        step_size: eta, > 0.

    Raises:
        InputError: If shapes do not agree or the step size is not positive.

    Source: Du et al. (2019), arXiv 1811.03804, technique overview: y - u(k+1) =
    (I - eta G(k))(y - u(k)).

    Examples:
        >>> from thalweg.theory.descent.geometric_rate import linearised_loss
        >>> linearised_loss([[1.0]], [1.0], step_size=0.5).at([0.0, 0.5]).tolist()
        [0.5, 0.125]
    """
    G, r = np.asarray(gram, float), np.asarray(residual, float)
    require(
        r.ndim == 1 and G.shape == (r.size, r.size),
        f"a Gram matrix of shape {G.shape} and a residual of shape {r.shape} do not agree; give "
        "(n, n) and (n,)",
    )
    require_positive(step_size=step_size)
    values, vectors = np.linalg.eigh((G + G.T) / 2)
    power, decay = (vectors.T @ r) ** 2 / 2, 1 - step_size * values

    def at(times: ArrayLike) -> Values:
        k = np.rint(np.asarray(times, float) / step_size)
        return (decay ** (2 * k[..., None])) @ power

    return make_prediction(
        "loss",
        "loss",
        "asymptotic",
        "the width goes to infinity at a fixed number of steps, the loss is 1/2 sum (u - y)^2",
        at,
        f"{DEEP}, technique overview",
    )


def linearised_tail_rate(smallest: float, step_size: float) -> float:
    """The rate -2 ln|1 - eta lambda| per step at which the slowest mode's loss falls in the end.

    Args:
        smallest: lambda, the smallest eigenvalue of G(0), that of the slowest mode if
            eta lambda_max <= 1.
        step_size: eta.

    Examples:
        >>> from thalweg.theory.descent.geometric_rate import linearised_tail_rate
        >>> bool(np.isclose(linearised_tail_rate(smallest=0.5, step_size=1.0), 2 * np.log(2)))
        True
    """
    return -2 * math.log(abs(1 - step_size * smallest))


def tail_rate(losses: ArrayLike) -> float:
    """The rate -ln(L(K)/L(h))/(K - h) per step over the second half of K steps, h = K // 2.

    Args:
        losses: L(0), ..., L(K), positive, K >= 1.

    Raises:
        InputError: If there are fewer than two losses.

    Examples:
        >>> from thalweg.theory.descent.geometric_rate import tail_rate
        >>> round(tail_rate(np.exp([0.0, -3.0, -6.0])), 6)
        3.0
    """
    L = np.asarray(losses, float)
    require(L.ndim == 1 and L.size > 1, f"losses came with shape {L.shape}; give at least two")
    last, half = L.size - 1, (L.size - 1) // 2
    return float(-np.log(L[last] / L[half]) / (last - half))


def two_layer_drift_bound(
    residual_norm: float, examples: int, width: int, smallest: float
) -> float:
    """A bound 4 sqrt(n) ||y - u(0)|| / (sqrt(m) lambda_0) on how far any neuron ever moves.

    It holds max_r ||w_r(k) - w_r(0)|| of `TwoLayerNet` under gradient descent with
    L(k) <= (1 - eta lambda_0/2)^k L(0) and unit inputs; under gradient flow without the 4.

    Args:
        residual_norm: ||y - u(0)||.
        examples: n, the number of examples.
        width: m.
        smallest: lambda_0 > 0, the smallest eigenvalue of `two_layer_relu_gram`.

    Raises:
        InputError: If lambda_0, n or the width is not positive.

    Source: Du, Zhai, Poczos and Singh (2019), arXiv 1810.02054, corollary of theorem 4.1.

    Examples:
        >>> from thalweg.theory.descent.geometric_rate import two_layer_drift_bound
        >>> two_layer_drift_bound(residual_norm=1.0, examples=4, width=16, smallest=2.0)
        1.0
    """
    require(
        smallest > 0 and examples >= 1 and width >= 1,
        f"smallest {smallest}, examples {examples}, width {width}: give positive numbers",
    )
    return 4 * math.sqrt(examples) * residual_norm / (math.sqrt(width) * smallest)
