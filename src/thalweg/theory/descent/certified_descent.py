"""Gradient descent with a guarantee: flow analysis turned into a step size and a number of steps.

For deep linear networks with one output the flow is known exactly (`scalar_linear`) and so are
bounds on its tube (`homogeneous.linear_tube_bounds`). Together they make `euler_certificate` a
theorem about gradient descent, with every number of it computed.

Source: Elkabetz & Cohen 2021 (arXiv 2107.06608), translation of flow analyses to descent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.theory.descent import euler
from thalweg.theory.descent.euler import EulerCertificate
from thalweg.theory.linear_nets import homogeneous, scalar_linear

GRID = 4001


@dataclass(frozen=True)
class DescentGuarantee:
    """Gradient descent from any balanced start of the stated norm and cosine reaches the loss.

    Attributes:
        step_size: eta, exactly T / steps.
        steps: K.
        loss: (1/2)|W_n...W_1 - L|^2 is at most this after K steps.
        certificate: Why: the descent stays within `certificate.eps` of the flow up to T.
    """

    step_size: float
    steps: int
    loss: float
    certificate: EulerCertificate


def scalar_linear_certificate(
    r0: float,
    nu: float,
    depth: int,
    until: float,
    eps: float,
    *,
    constant: bool = False,
    grid: int = GRID,
) -> EulerCertificate:
    """The certificate of gradient descent on a deep linear network with one output.

    From a balanced start with product of norm r0 and cosine nu to the target of norm 1. Orthogonal
    matrices between the layers and zero padding to any width change no norm, so hidden width 1
    stands for all.

    Args:
        r0: As `scalar_linear.scalar_linear_flow`.
        nu: As there.
        depth: As there.
        until: T, the time up to which descent must follow the flow, > 0.
        eps: Allowed distance in weight space, > 0.
        constant: Replace m(t) by the constant beta_T, which is what one knows without the
            curvature along the flow; the step size is then exponentially small.
        grid: Number of equally spaced times.

    Raises:
        InputError: On arguments outside these ranges.

    Source: Elkabetz & Cohen 2021, main theorem and section on deep linear networks.

    Examples:
        >>> from thalweg.theory.descent.certified_descent import scalar_linear_certificate
        >>> found = scalar_linear_certificate(0.1, 1.0, 3, until=5.0, eps=0.1, grid=201)
        >>> blind = scalar_linear_certificate(0.1, 1.0, 3, 5.0, 0.1, constant=True, grid=201)
        >>> found.step_size > 100 * blind.step_size > 0  # what knowing the curvature is worth
        True
    """
    require_positive(until=until)
    times = np.linspace(0.0, until, grid)
    flow = scalar_linear.scalar_linear_flow(r0, nu, depth, times)
    product = r0 * jnp.asarray([[nu, math.sqrt(1 - nu**2)]])
    start = scalar_linear.balanced_init(product, depth, [1] * (depth - 1))
    target = jnp.asarray([[1.0, 0.0]])
    weights = scalar_linear.scalar_linear_weights(flow, start, target)
    tube = homogeneous.linear_tube_bounds([jnp.asarray(w) for w in weights], target, eps)
    m = np.full(grid, float(np.max(tube.beta))) if constant else tube.m
    return euler.euler_certificate(times, m, tube.beta, tube.gamma, eps)


def descent_guarantee(
    r0: float, nu: float, depth: int, loss: float, *, grid: int = GRID
) -> DescentGuarantee:
    """A step size and a number of steps after which gradient descent has the loss, for certain.

    T is the time at which the flow has half the loss; eps is such that no point within eps of
    the flow at T has more than the loss: with G = |W_n...W_1 - L| = sqrt(loss) there,
    G + eps sqrt(n) (r^{1/n} + eps)^{n-1} <= sqrt(2 loss); eta comes from the certificate, cut so
    that T is a whole number K of steps.

    Args:
        r0: As `scalar_linear.scalar_linear_flow`.
        nu: As there.
        depth: As there.
        loss: Target, below the loss at the start.
        grid: Number of times of the certificate.

    Raises:
        InputError: On arguments outside these ranges.

    Source: Elkabetz & Cohen 2021, convergence of gradient descent, with every constant computed.

    Examples:
        >>> from thalweg.theory.descent.certified_descent import descent_guarantee
        >>> from thalweg.theory.linear_nets.scalar_linear import time_to_loss
        >>> found = descent_guarantee(0.5, 1.0, 2, loss=0.05, grid=201)
        >>> bool(np.isclose(found.steps * found.step_size, time_to_loss(0.5, 1.0, 2, 0.025)))
        True
    """
    until = scalar_linear.time_to_loss(r0, nu, depth, loss / 2)
    require(until > 0, f"the loss starts below {loss}; ask for a smaller one.")
    end = scalar_linear.scalar_linear_flow(r0, nu, depth, [until])
    weight = float(end.norm[0]) ** (1 / depth)
    room = math.sqrt(2 * loss) - math.sqrt(2 * float(end.loss[0]))

    def excess(eps: float) -> float:
        return eps * math.sqrt(depth) * (weight + eps) ** (depth - 1) - room

    eps = float(brentq(excess, 0.0, 1.0 + room, xtol=1e-16)) * (1 - 1e-9)
    certificate = scalar_linear_certificate(r0, nu, depth, until, eps, grid=grid)
    steps = math.ceil(until / certificate.step_size)
    return DescentGuarantee(until / steps, steps, loss, certificate)
