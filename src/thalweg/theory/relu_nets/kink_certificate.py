"""That no kink of a one-input ReLU net will ever pass an example: a sufficient condition.

The errors of the two lines shrink at least geometrically while A = A^ref; the certificate bounds
what all later steps together can move (kappa), how far that moves A, and with it every kink. It is
the authors' criterion, with the columns of the eigenvectors where their code takes the rows.

Source: Holzmueller and Steinwart (2022), arXiv 2002.04861, and their code; E7 of the study.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.theory.relu_nets.kink_dynamics import KinkDynamics, ReducedState
from thalweg.theory.relu_nets.one_input import (
    OneInputData,
    OneInputNet,
    reference_matrix,
    second_moments,
    square_root,
    two_lines,
)

UNDECIDED, CROSSED, CERTIFIED, DEGENERATE = range(4)
FATES = ("undecided", "crossed", "certified", "degenerate")
COUPLED = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])


class KinkCertificate(NamedTuple):
    """What bounds all later steps, (...) each.

    Attributes:
        holds: Whether no kink can ever pass an example under gradient descent of this step size.
        kappa: Bound on sum_k h ||u_k||_inf over all later steps; it must stay below 1/2.
        drift: Bound on what the moving A adds to the sum, at most 1/2.
        margin: Least (|a_i| - d_a) min |x_j| - |b_i| - d_b over the units; it must be positive.
    """

    holds: Bool[np.ndarray, "..."]
    kappa: Float[np.ndarray, "..."]
    drift: Float[np.ndarray, "..."]
    margin: Float[np.ndarray, "..."]


def never_crosses(net: OneInputNet, data: OneInputData, step_size: ArrayLike) -> KinkCertificate:
    """Whether no kink will ever pass an example, from the net as it is now (E7).

    Sufficient, not necessary: it holds late, once the errors are small. ReLU and plain gradient
    descent alone; float64, as differences of 1e-10 decide. Kinks must not have passed an example.

    Args:
        net: The net now, (..., n).
        data: The examples.
        step_size: h of all later steps, (...).

    Returns:
        The certificate; `holds` is False where a side has fewer than two inputs.

    Raises:
        InputError: If the net is not in float64.

    Cost: an eigendecomposition of 4 x 4 and some 30 operations a unit.

    Examples:
        >>> from thalweg.theory.relu_nets.kink_certificate import never_crosses
        >>> from thalweg.theory.relu_nets.kink_dynamics import kink_dynamics
        >>> from thalweg.theory.relu_nets.one_input import he_net, one_input_data
        >>> data = one_input_data([-3, -2, -1, 1, 2, 3], [-1, 2, -1, 1, -2, 1])
        >>> run = kink_dynamics(he_net(np.random.default_rng(0), 16), data)
        >>> at = [run.start, run.advance(run.start, 20_000)]
        >>> [bool(never_crosses(run.net_at(s), data, run.step_size).holds) for s in at]
        [False, True]
    """
    require(
        np.asarray(net.a).dtype == np.float64,
        f"the net came as {np.asarray(net.a).dtype}; give float64, as differences of 1e-10 decide",
    )
    h = np.asarray(step_size, float)
    M, sigma = data.moments(), second_moments(net)
    root, inverse = square_root(M), square_root(M, -0.5)
    rates, U = np.linalg.eigh(root @ reference_matrix(sigma) @ root)
    factors = h[..., None] * rates
    slowest = np.max(np.abs(1 - factors), axis=-1)
    pull = data.targets() - np.einsum("...ij,...j->...i", M, two_lines(sigma, net.c))
    psi = np.einsum("...ij,...j->...i", inverse, pull)
    parts = np.abs(np.einsum("...il,...i->...l", U, psi)) * np.max(np.abs(U), axis=-2)
    widest = np.max(np.sum(np.abs(root), axis=-1), axis=-1)
    with np.errstate(all="ignore"):  # where the series does not converge nothing is certified
        kappa = 2 * widest * np.sum(h[..., None] / np.abs(factors) * parts, axis=-1)
        drift = 2 * h / (1 - slowest) * widest**2 * _drift_of_reference(sigma, kappa)
        margin = _least_margin(net, data.nearest, kappa)
        holds = (slowest < 1) & (kappa < 0.5) & (drift <= 0.5) & (margin > 0) & ~data.degenerate()
    return KinkCertificate(holds, kappa, drift, margin)


def _drift_of_reference(sigma: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """Bound on how far A moves: D_w + D_ab + D_wab."""
    size, k = np.abs(sigma), kappa[..., None, None, None]
    norm = np.max(np.sum(size, axis=-1), axis=-1)[..., None, None]
    D = k * (COUPLED @ size + size @ COUPLED) + 8 * k**2 * np.exp(4 * k) * norm
    w = np.max(D[..., 2, 2], axis=-1)
    ab = np.max(D[..., 0, 0] + D[..., 0, 1] + D[..., 1, 1], axis=-1)
    cross = size[..., 2, 0] + size[..., 2, 1] + D[..., 2, 0] + D[..., 2, 1]
    return w + ab + kappa * np.max(cross, axis=-1)


def _least_margin(net: OneInputNet, nearest: float, kappa: np.ndarray) -> np.ndarray:
    """How near the nearest kink may still come, over all units."""
    size, k = np.abs(net.theta), kappa[..., None, None]
    most = np.max(size, axis=-1, keepdims=True)
    d = k * (size @ COUPLED) + 2 * k**2 * np.exp(2 * k) * most
    room = (size[..., 0] - d[..., 0]) * nearest - (size[..., 1] + d[..., 1])
    return np.min(room, axis=-1)


class KinkFates(NamedTuple):
    """What became of many runs, (runs,) each.

    Attributes:
        fate: An index into `FATES`: "undecided", "crossed", "certified", "degenerate" (a side
            without units, or with fewer than two inputs: not run).
        steps: After how many steps it was known; certificates are asked at multiples of `every`.
    """

    fate: np.ndarray
    steps: np.ndarray

    def share(self, name: str) -> float:
        """The share of runs that came to one of `FATES`."""
        return float(np.mean(self.fate == FATES.index(name)))


def kink_fates(runs: KinkDynamics, most_steps: int, every: int = 1000) -> KinkFates:
    """Follow reduced runs until each has crossed or is certified never to, at most so many steps.

    Args:
        runs: Many runs on one leading axis, without a leak.
        most_steps: Where to give up.
        every: Steps between certificates.

    Raises:
        InputError: If the runs have a leak, or other than one leading axis.

    Cost: that of `KinkDynamics.advance`, for the runs still undecided alone, and n operations a
    run and certificate.

    Examples:
        >>> from thalweg.theory.relu_nets.kink_certificate import kink_fates
        >>> from thalweg.theory.relu_nets.kink_dynamics import kink_dynamics
        >>> from thalweg.theory.relu_nets.one_input import he_net, one_input_data
        >>> data = one_input_data([-3, -2, -1, 1, 2, 3], [-1, 2, -1, 1, -2, 1])
        >>> runs = kink_dynamics(he_net(np.random.default_rng(0), 16, (50,)), data)
        >>> kink_fates(runs, 40_000).share("undecided")
        0.0
    """
    require(runs.leak == 0, f"the leak came as {runs.leak}; the certificate is for ReLU alone")
    require(
        runs.step_size.ndim == 1,
        f"the runs came with {runs.step_size.ndim} leading axes; give them one",
    )
    one_sided = ~np.stack([own.any(-1) for own in runs.net.sides()]).all(0)
    fate = np.where(one_sided | runs.data.degenerate(), DEGENERATE, UNDECIDED)
    steps, state = np.zeros(fate.shape, int), runs.start
    for _ in range(0, most_steps, every):
        left = np.flatnonzero(fate == UNDECIDED)
        if not left.size:
            break
        # Whole powers of two, so that few sizes are compiled; what is run twice ends alike.
        index = np.resize(left, 1 << int(left.size - 1).bit_length())
        part = runs.take(index)
        now = part.advance(ReducedState(*(v[index] for v in state)), every)
        for whole, new in zip(state, now, strict=True):
            whole[index] = new
        safe = never_crosses(part.net_at(now), part.data, part.step_size).holds
        fate[index] = np.where(now.crossed, CROSSED, np.where(safe, CERTIFIED, UNDECIDED))
        steps[index] = now.steps
    return KinkFates(fate, steps)
