"""Directions of a ReLU neuron on the line, and the arcs on which the dual potential is a cosine.

A neuron a (w x + b)_+ has a direction alpha, (w, b) = r (cos alpha, sin alpha), and its feature is
phi_alpha(x) = (x cos alpha + sin alpha)_+. At inputs x_1 < ... < x_M the circle falls into 2 M arcs
between the angles at which some phi_alpha(x_i) becomes zero. On each the same inputs are active, so

    h(alpha) = (1/lambda) sum_i R_i phi_alpha(x_i) = P cos alpha + Q sin alpha,

which is what every integral over directions and every extremum in this room rests on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require

NODES = 12  # Gauss-Legendre nodes of a panel
HALVINGS = 34  # of a segment towards each of its ends: down to 6e-11 of its length
WITHIN = 1e-12  # an extremum nearer to the end of an arc than this lies on it


class Arcs(NamedTuple):
    """The arcs of a design, once round the circle.

    Attributes:
        x: The inputs, ascending, shape (M,).
        edges: Angles between arcs, ascending, shape (2 M + 1,); the last is the first plus 2 pi.
        active: Which inputs a neuron of an arc sees, shape (2 M, M).
    """

    x: Float[np.ndarray, " M"]
    edges: Float[np.ndarray, " edges"]
    active: Bool[np.ndarray, "arcs M"]

    def coefficients(self, R: ArrayLike, weight_decay: float) -> Float[np.ndarray, "2 arcs"]:
        """P and Q of every arc, h = P cos alpha + Q sin alpha."""
        R = np.asarray(R, float) / weight_decay
        return np.stack([self.active @ (R * self.x), self.active @ R])

    def features(self, alpha: ArrayLike) -> Float[np.ndarray, "angles M"]:
        """phi_alpha(x_i), shape (angles, M)."""
        alpha = np.atleast_1d(np.asarray(alpha, float))[:, None]
        return np.maximum(self.x * np.cos(alpha) + np.sin(alpha), 0.0)

    def features_of(self, arc: np.ndarray, alpha: np.ndarray) -> Float[np.ndarray, "angles M"]:
        """What phi_alpha(x_i) is on an arc, continued to angles beyond it."""
        return self.active[arc] * (self.x * np.cos(alpha)[:, None] + np.sin(alpha)[:, None])

    def extrema(self, R: ArrayLike, weight_decay: float) -> Float[np.ndarray, " arcs"]:
        """The angle inside each arc at which |h| is largest; NaN where it has none inside."""
        P, Q = self.coefficients(R, weight_decay)
        low, high = self.edges[:-1], self.edges[1:]
        top = np.arctan2(Q, P)
        top = top + np.pi * np.ceil((low - top) / np.pi)  # of all that differ by pi, the first
        inside = (top > low + WITHIN) & (top < high - WITHIN) & (np.hypot(P, Q) > 0)
        return np.where(inside, top, np.nan)

    def largest(self, R: ArrayLike, weight_decay: float) -> float:
        """The largest |h| over all directions, exact up to rounding."""
        P, Q = self.coefficients(R, weight_decay)
        at = self.edges[:-1]
        ends = np.abs(P * np.cos(at) + Q * np.sin(at))
        inside = np.where(np.isnan(self.extrema(R, weight_decay)), 0.0, np.hypot(P, Q))
        return float(max(ends.max(), inside.max()))


def neuron_arcs(x: ArrayLike) -> Arcs:
    """The arcs of directions of neurons that see the same inputs.

    Args:
        x: Inputs, distinct and ascending, shape (M,).

    Raises:
        InputError: If they are not.

    Examples:
        >>> from thalweg.theory.mean_field.neuron_circle import neuron_arcs
        >>> arcs = neuron_arcs([0.0, 1.0])
        >>> (arcs.edges / np.pi).round(4).tolist()
        [-0.25, 0.0, 0.75, 1.0, 1.75]
        >>> arcs.active.astype(int).tolist()
        [[0, 1], [1, 1], [1, 0], [0, 0]]
    """
    x = np.asarray(x, float)
    right = x.ndim == 1 and x.size > 0 and bool(np.all(np.isfinite(x)))
    require(
        right and bool(np.all(np.diff(x) > 0)),
        f"x came with shape {x.shape}; give finite inputs on the line, distinct and ascending",
    )
    zeros = np.arctan(-x[::-1]) + 0.0  # ascending, within (-pi/2, pi/2)
    edges = np.concatenate([zeros, zeros + np.pi, zeros[:1] + 2 * np.pi])
    middle = (edges[:-1] + edges[1:]) / 2
    active = np.cos(middle)[:, None] * x + np.sin(middle)[:, None] > 0
    return Arcs(x, edges, active)


class Rule(NamedTuple):
    """A quadrature over directions that resolves the peaks of 1/(1 - h^2) for given R.

    Attributes:
        edges: Ends of panels, ascending, shape (panels + 1,).
        arc: Which arc a panel lies in, shape (panels,).
        alpha: Nodes, shape (panels, nodes).
        weight: Their weights.
        h: At the nodes.
    """

    edges: Float[np.ndarray, " ends"]
    arc: np.ndarray
    alpha: Float[np.ndarray, "panels nodes"]
    weight: Float[np.ndarray, "panels nodes"]
    h: Float[np.ndarray, "panels nodes"]


def circle_rule(arcs: Arcs, R: ArrayLike, weight_decay: float) -> Rule:
    """Gauss-Legendre on panels that halve towards each end of an arc and the extremum of h within.

    There stand the poles of 1/(1 - h^2), at whatever distance from the circle, so that no panel is
    longer than its distance from the nearest pole and the rule is right to rounding at any
    temperature.

    Args:
        arcs: As `neuron_arcs` gives.
        R: One number an input.
        weight_decay: lambda.

    Cost: about 800 nodes an arc.

    Examples:
        >>> from thalweg.theory.mean_field.neuron_circle import circle_rule, neuron_arcs
        >>> rule = circle_rule(neuron_arcs([0.0, 1.0]), [0.5, -0.3], 1.0)
        >>> float(rule.weight.sum()) - 2 * np.pi < 1e-12
        True
    """
    top = arcs.extrema(R, weight_decay)
    inside = np.flatnonzero(~np.isnan(top))
    points = np.concatenate([arcs.edges[:-1], top[inside]])
    owner = np.concatenate([np.arange(len(arcs.edges) - 1), inside])
    order = np.argsort(points, kind="stable")
    points, owner = np.append(points[order], arcs.edges[-1]), owner[order]
    small = 0.5 ** np.arange(HALVINGS, 0, -1.0)
    grades = np.concatenate([[0.0], small, 1 - small[-2::-1], [1.0]])
    edges = points[:-1, None] + np.diff(points)[:, None] * grades
    low, high = edges[:, :-1].ravel(), edges[:, 1:].ravel()
    arc = np.repeat(owner, len(grades) - 1)
    alpha, weight = panel_nodes(low, high)
    P, Q = arcs.coefficients(R, weight_decay)[:, arc, None]
    return Rule(
        np.append(low, points[-1]), arc, alpha, weight, P * np.cos(alpha) + Q * np.sin(alpha)
    )


def panel_nodes(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss and Legendre on intervals, shape (intervals, nodes).

    Examples:
        >>> from thalweg.theory.mean_field.neuron_circle import panel_nodes
        >>> x, w = panel_nodes(np.array([0.0]), np.array([2.0]))
        >>> round(float((w * x**3).sum()), 12)  # 2^4 / 4
        4.0
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    half = (high - low)[:, None] / 2
    return (low + high)[:, None] / 2 + half * nodes, half * weights
