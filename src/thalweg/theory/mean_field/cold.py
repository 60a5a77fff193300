"""The zero-temperature limit of the infinitely wide two-layer ReLU net on the line.

Of all measures c on directions alpha (see `neuron_circle`) it minimises

    1/(2M) sum_j (y_j - sum_alpha c_alpha phi_alpha(x_j))^2 + lambda sum_alpha |c_alpha|,

so that a knot at t of slope change kappa costs lambda |kappa| sqrt(1 + t^2). The dual is the
projection of -y/M on the set of R with |h(alpha)| <= 1 for all alpha; directions with |h| = 1 may
carry weight. R is unique, and so are the places where the net may bend.

Source: the limit of Shevchenko, Kungurtsev and Mondelli (2022), JMLR 23(130); E14 of the study.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from thalweg.core.ranges import require_positive
from thalweg.theory.mean_field.gibbs import regression_targets
from thalweg.theory.mean_field.neuron_circle import Arcs, neuron_arcs

VIOLATED, CLOSED = 1e-12, 1e-10  # |h| - 1 of a cut that is added, and of an end
TOUCHING = 1e-8  # 1 - |h| of a direction that may carry weight, before the Newton steps
TOUCHES, KNOWN = 1e-11, 10.0  # and after: this, or so many times what |h| still exceeds 1 by
MOST_ROUNDS = 200
POLISHES = 8  # Newton steps at the end
SMALLEST = 1e-7  # of the largest coefficient: below it an atom is rounding
UPRIGHT = 1e-9  # |cos alpha| of a constant, which has no knot
SAME = 1e-6  # knots nearer than this, in units of sqrt(1 + t^2), are one


class ColdNet(NamedTuple):
    """The zero-temperature limit.

    Attributes:
        arcs: The arcs of the inputs.
        y: Targets, shape (M,).
        weight_decay: lambda.
        R: (prediction at x_i - y_i)/M, shape (M,); unique.
        directions: alpha of the atoms, shape (atoms,).
        coefficients: c of each: the net is x -> sum c (x cos alpha + sin alpha)_+.
        touching: All directions with |h| = 1, shape (touching,): where the net may bend.
        knots: -tan alpha of the atoms, ascending, those that coincide once, constants left out.
        touching_knots: The same of `touching`.
        objective: The minimum, as the value of the dual.
        gap: Primal less dual value (unit: loss): 0 but for rounding.
        violation: max |h| - 1, 0 but for rounding.
    """

    arcs: Arcs
    y: Float[np.ndarray, " M"]
    weight_decay: float
    R: Float[np.ndarray, " M"]
    directions: Float[np.ndarray, " atoms"]
    coefficients: Float[np.ndarray, " atoms"]
    touching: Float[np.ndarray, " touching"]
    knots: Float[np.ndarray, " knots"]
    touching_knots: Float[np.ndarray, " places"]
    objective: float
    gap: float
    violation: float

    def predictor(self, at: ArrayLike) -> Float[np.ndarray, " n"]:
        """The net's outputs, piecewise affine."""
        at = np.atleast_1d(np.asarray(at, float))[:, None]
        before = at * np.cos(self.directions) + np.sin(self.directions)
        return np.maximum(before, 0.0) @ self.coefficients


def cold_net(x: ArrayLike, y: ArrayLike, weight_decay: float) -> ColdNet:
    """The net that infinitely wide two-layer ReLU nets on the line tend to as noise vanishes.

    Cutting planes: R is projected on the constraints of finitely many directions (a least-distance
    problem, by nonnegative least squares), then every direction is added at which |h| exceeds 1;
    the extremum on each arc has a closed form, so that none is missed.

    Args:
        x: Inputs, distinct and ascending, shape (M,).
        y: Targets, shape (M,).
        weight_decay: lambda, above 0, of all weights and biases alike.

    Returns:
        The net; its `gap` and `violation` are a few 1e-14 after Newton steps on the atoms.

    Raises:
        InputError: If inputs are not distinct and ascending, shapes do not fit, or the weight decay
            is not above 0.

    Cost: 5 to 40 rounds, each a nonnegative least-squares problem of M + 1 rows.

    Source: E14 of the study; Lawson and Hanson (1974), least-distance programming.

    Examples:
        >>> from thalweg.theory.mean_field.cold import cold_net
        >>> net = cold_net([-10.0, 10.0], [2.0, 2.0], 1.0)
        >>> net.knots.round(6).tolist(), round(net.objective, 10)  # 4/sqrt(101) - 2/101
        ([-0.1, 0.1], 0.3782128959)
    """
    require_positive(weight_decay=weight_decay)
    arcs = neuron_arcs(x)
    y, lam = regression_targets(arcs, y), float(weight_decay)
    angles = arcs.edges[:-1]
    R, last = _projected(arcs.features(angles), y, lam), np.inf
    for _ in range(MOST_ROUNDS):
        worst = arcs.largest(R, lam) - 1
        if worst <= CLOSED:
            break
        candidates = _candidates(arcs, R, lam)
        h = arcs.features(candidates) @ R / lam
        added = candidates[np.abs(h) > 1 + VIOLATED]
        new = np.setdiff1d(added, angles)
        if len(new) == 0 or (worst < 1e-9 and worst >= last):
            break
        angles, last = np.concatenate([angles, new]), worst
        R = _projected(arcs.features(angles), y, lam)
    return _primal(arcs, y, lam, R)


def _polished(
    arcs: Arcs,
    y: np.ndarray,
    lam: float,
    R: np.ndarray,
    arc: np.ndarray,
    fixed: np.ndarray,
    weight: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method on the optimality conditions of the atoms at hand: R and |c|.

    A cut that is off by d misses |h| - 1 by d^2 only, so that R is right to rounding and atoms
    are off by its root; the curvature of max |h| in R, which cuts have not, mends that.

    Args:
        arcs: Of the inputs.
        y: Targets.
        lam: Weight decay.
        R: The dual solution, right to `CLOSED`.
        arc: The arc that an atom lies in or begins.
        fixed: Its angle if it begins the arc; NaN if it is the extremum within.
        weight: |c|.
    """
    M, goal = len(y), -y / len(y)
    seen = arcs.active[arc] / lam
    best = np.inf
    kept = R, weight
    for _ in range(POLISHES):
        P, Q = arcs.coefficients(R, lam)[:, arc]
        alpha = np.where(np.isnan(fixed), np.arctan2(Q, P), fixed)
        h = P * np.cos(alpha) + Q * np.sin(alpha)
        slope = np.sign(h)[:, None] * arcs.features_of(arc, alpha) / lam
        rest = np.concatenate([R - goal + slope.T @ (weight * lam / M), np.abs(h) - 1])
        off = float(np.abs(rest).max())
        if not off < best or weight.min() < 0 or arcs.largest(R, lam) - 1 > CLOSED:
            break
        best, kept = off, (R, weight)
        across = -np.sin(alpha)[:, None] * seen * arcs.x + np.cos(alpha)[:, None] * seen
        turn = np.where(np.isnan(fixed), weight * lam / M / np.abs(h), 0.0)
        bend = np.eye(M) + (across * turn[:, None]).T @ across
        K = np.block([[bend, slope.T * lam / M], [slope, np.zeros((len(h), len(h)))]])
        step = np.linalg.lstsq(K, -rest, rcond=1e-13)[0]
        R, weight = R + step[:M], weight + step[M:]
    return kept


def _candidates(arcs: Arcs, R: np.ndarray, lam: float) -> np.ndarray:
    """Directions at which |h| may be largest: the ends of arcs and the extrema within."""
    top = arcs.extrema(R, lam)
    return np.concatenate([arcs.edges[:-1], top[~np.isnan(top)]])


def _projected(features: np.ndarray, y: np.ndarray, lam: float) -> np.ndarray:
    """The point nearest to -y/M with |features R| <= lambda."""
    M = len(y)
    goal = -y / M
    G = np.concatenate([-features, features]) / lam
    need = -1 - G @ goal  # G (R - goal) >= need
    if need.max() <= 0:
        return goal
    size = np.maximum(np.linalg.norm(G, axis=1), 1e-300)
    unit = np.max(need / size)  # of the distance, at least: brings both blocks to one size
    E = np.vstack([(G / size[:, None]).T, need / size / unit])
    u = nnls(E, np.append(np.zeros(M), 1.0), maxiter=50 * E.shape[1])[0]
    left = E @ u - np.append(np.zeros(M), 1.0)
    return goal - unit * left[:-1] / left[-1]


def _primal(arcs: Arcs, y: np.ndarray, lam: float, R: np.ndarray) -> ColdNet:
    """The atoms that belong to a dual solution."""
    M, breaks = len(y), len(arcs.edges) - 1

    def touching(R: np.ndarray, within: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        candidates = _candidates(arcs, R, lam)
        h = arcs.features(candidates) @ R / lam
        inside = np.flatnonzero(~np.isnan(arcs.extrema(R, lam)))
        near = np.abs(h) > 1 - within
        return candidates[near], -np.sign(h[near]), np.append(np.arange(breaks), inside)[near]

    angles, sign, arc = touching(R, TOUCHING)
    alpha, c = angles, np.zeros(len(angles))
    if len(angles):
        features = arcs.features(angles)
        size = np.linalg.norm(features, axis=0).max()
        c = nnls((features * sign[:, None]).T / size, (y + M * R) / size, maxiter=10_000)[0]
        kept = c > SMALLEST * c.max()
        alpha, sign, arc, c = angles[kept], sign[kept], arc[kept], c[kept]
        fixed = np.where(np.isin(alpha, arcs.edges), alpha, np.nan)
        R, c = _polished(arcs, y, lam, R, arc, fixed, c)
        top = arcs.extrema(R, lam)[arc]
        alpha = np.where(np.isnan(fixed) & ~np.isnan(top), top, alpha)
        c = c * sign
    misfit = y - arcs.features(alpha).T @ c if len(alpha) else y
    value = -M / 2 * float(R @ R) - float(R @ y)
    primal = float(misfit @ misfit) / (2 * M) + lam * float(np.abs(c).sum())
    worst = arcs.largest(R, lam) - 1
    if len(angles):
        angles = touching(R, max(TOUCHES, KNOWN * worst))[0]
    found, places = knots_of_directions(alpha), knots_of_directions(angles)
    return ColdNet(arcs, y, lam, R, alpha, c, angles, found, places, value, primal - value, worst)


def knots_of_directions(alpha: ArrayLike) -> Float[np.ndarray, " knots"]:
    """-tan alpha of directions, ascending, those that coincide once, constants left out.

    Examples:
        >>> from thalweg.theory.mean_field.cold import knots_of_directions
        >>> knots_of_directions([0.0, np.pi, np.pi / 2, -np.pi / 4]).round(6).tolist()
        [0.0, 1.0]
    """
    alpha = np.asarray(alpha, float)
    alpha = alpha[np.abs(np.cos(alpha)) > UPRIGHT]
    t = np.sort(-np.tan(alpha))
    apart = np.diff(t, prepend=-np.inf) > SAME * np.sqrt(1 + t**2)
    return t[apart] + 0.0
