"""Learning coefficients of singular models that are known, and their exact means at any t."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive

EDGE, NODES = 12.0, 4001  # of the quadrature: x = sinh(s) over |s| <= EDGE, scaled


def monomial_coefficient(powers: Sequence[float]) -> tuple[float, int]:
    """Coefficient and multiplicity of f(w) = prod |w_i|^p_i at 0: min 1/p_i, how many attain it.

    Z(t) = int exp(-t f) over a neighbourhood of 0 is of the order t^-lambda (log t)^(m - 1).

    Args:
        powers: p_i, positive.

    Raises:
        InputError: If a power is not positive.

    Source: Watanabe (2009), section 2.4.

    Examples:
        >>> from thalweg.theory.landscape.singular_models import monomial_coefficient
        >>> monomial_coefficient([2, 2])
        (0.5, 2)
    """
    inverse = [1 / p for p in _positive(powers)]
    return min(inverse), sum(math.isclose(q, min(inverse)) for q in inverse)


def sum_coefficient(powers: Sequence[float]) -> tuple[float, int]:
    """Coefficient and multiplicity of f(w) = sum |w_i|^p_i at 0: sum 1/p_i, and 1.

    Args:
        powers: p_i, positive.

    Raises:
        InputError: If a power is not positive.

    Examples:
        >>> from thalweg.theory.landscape.singular_models import sum_coefficient
        >>> sum_coefficient([2, 4])
        (0.75, 1)
    """
    return sum(1 / p for p in _positive(powers)), 1


def gibbs_coefficient(
    loss: Callable[[Float[np.ndarray, "n m"], Float[np.ndarray, "n m"]], ArrayLike],
    inverse_temperature: float,
    localisation: float,
) -> float:
    """The mean t E f(w) for two parameters, w ~ exp(-t f(w) - g/2 ||w||^2), f(0) = 0 its minimum.

    Args:
        loss: f of arrays of first and second parameters.
        inverse_temperature: t.
        localisation: g.

    Raises:
        InputError: If t or g is not positive.

    Error: about 1e-6 for polynomials and t/g^2 up to 1e6, the trapezoidal rule in s with
    w = 18 sinh(s)/(sinh(12) sqrt(g)) converging exponentially.
    Cost: 1.6e7 evaluations of f.

    Examples:
        >>> from thalweg.theory.landscape.singular_models import gibbs_coefficient
        >>> round(gibbs_coefficient(lambda x, y: (x**2 + y**2) / 2, 9.0, 1.0), 6)  # t/(t + g)
        0.9
    """
    require_positive(inverse_temperature=inverse_temperature, localisation=localisation)
    s = np.linspace(-EDGE, EDGE, NODES)
    w = 18 * np.sinh(s) / np.sinh(EDGE) / math.sqrt(localisation)
    whole = total = 0.0
    weights = np.cosh(s)
    for block in np.array_split(np.arange(NODES), 16):
        x, y = w[block][:, None], w[None]
        rise = inverse_temperature * np.asarray(loss(x, y), float)
        density = (
            np.exp(-rise - localisation / 2 * (x**2 + y**2)) * weights[block][:, None] * weights
        )
        whole += float(density.sum())
        total += float((rise * density).sum())
    return total / whole


def _positive(powers: Sequence[float]) -> list[float]:
    found = [float(p) for p in powers]
    fit = len(found) > 0 and all(0 < p < math.inf for p in found)
    require(fit, f"powers came as {found}; give one positive number or more")
    return found
