"""The infinitely wide two-layer ReLU net on the line at a temperature: its Gibbs law, exactly.

Neurons theta = (a, w, b) with sigma(x, theta) = a (w x + b)_+, all of them decayed, minimise the
free energy

    F(rho) = 1/(2M) sum_j (y_j - int sigma(x_j, .) rho)^2 + lambda/2 int |theta|^2 rho
             + (1/beta) int rho log rho,

whose minimiser is rho = exp(-beta Psi)/Z, Psi = sum_i R_i sigma(x_i, .) + lambda |theta|^2/2, with
R_i = (prediction at x_i - y_i)/M. Integrated over a and |(w, b)|, with h as in `neuron_circle`,

    Z = sqrt(2 pi/(beta lambda)) Xi/(beta lambda),   Xi = int d alpha/(1 - h^2),   |h| < 1,

and R is the maximiser of the concave dual -M/2 |R|^2 - R.y - (1/beta) log Z(R).

Source: Shevchenko, Kungurtsev and Mondelli (2022), JMLR 23(130), their E4 to E6; the closed forms
(E9 to E13 of the study) follow from it without smoothing or truncation of the activation.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.core.ranges import require_positive
from thalweg.theory.mean_field.neuron_circle import (
    Arcs,
    Rule,
    circle_rule,
    neuron_arcs,
    panel_nodes,
)

MOST_STEPS, MOST_HALVINGS = 200, 60
EXACT = 1e-13  # of the largest |y|: below it the gradient of the dual is rounding
LADDER = 8.0  # from one inverse temperature to the next on the way up
ARMIJO = 1e-4
BLIND = 1e-11  # of the value of the dual: a rise that rounding hides


class GibbsNet(NamedTuple):
    """The Gibbs law of a neuron at a temperature, and the net that it makes.

    Attributes:
        arcs: The arcs of the inputs.
        y: Targets, shape (M,).
        weight_decay: lambda.
        inverse_temperature: beta.
        R: (prediction at x_i - y_i)/M, shape (M,).
        log_partition: log Z.
        error: max_i |prediction at x_i - y_i - M R_i| (unit: output): how far the law is from
            being that of its own prediction.
    """

    arcs: Arcs
    y: Float[np.ndarray, " M"]
    weight_decay: float
    inverse_temperature: float
    R: Float[np.ndarray, " M"]
    log_partition: float
    error: float

    @property
    def rule(self) -> Rule:
        """The quadrature over directions that fits this law."""
        return circle_rule(self.arcs, self.R, self.weight_decay)

    def predictor(self, at: ArrayLike) -> Float[np.ndarray, " n"]:
        """The net's outputs: -2/(beta lambda Xi) int h (1 - h^2)^-2 phi_alpha(x) d alpha."""
        at = np.atleast_1d(np.asarray(at, float))
        rule = self.rule
        xi = np.sum(rule.weight / _gap(rule.h))
        through = np.cumsum(np.insert(_both(rule), 0, 0.0, axis=0), axis=0)
        begin = -np.arctan(at)  # the neuron sees x from here on, over half a turn
        begin = np.where(begin < rule.edges[0], begin + 2 * np.pi, begin)
        ends = np.stack([begin, begin + np.pi])
        wraps = ends > rule.edges[-1]
        upto = self._moments(rule, through, np.where(wraps, ends - 2 * np.pi, ends).ravel())
        upto = upto.reshape(2, -1, 2) + through[-1] * wraps[..., None]
        cos, sin = np.moveaxis(upto[1] - upto[0], -1, 0)
        return -2 / (self.inverse_temperature * self.weight_decay * xi) * (at * cos + sin)

    def curvature(self, at: ArrayLike) -> Float[np.ndarray, " n"]:
        """The second derivative of the net's outputs in x (unit: output/input^2).

        -2/(beta lambda Xi) (1 + x^2)^(-3/2) sum_+- h_+-(x) (1 - h_+-(x)^2)^-2, with h_+- at the two
        directions whose kink is at x.
        """
        at = np.atleast_1d(np.asarray(at, float))
        rule = self.rule
        xi = np.sum(rule.weight / _gap(rule.h))
        total = np.zeros(len(at))
        for turn in (0.0, np.pi):
            h = self.arcs.features(turn - np.arctan(at)) @ self.R / self.weight_decay
            total += h / _gap(h) ** 2
        scale = self.inverse_temperature * self.weight_decay * xi
        return -2 / scale * (1 + at**2) ** -1.5 * total

    @property
    def second_moments(self) -> tuple[float, float]:
        """E a^2 and E (w^2 + b^2) (unit: parameter^2)."""
        rule = self.rule
        gap = _gap(rule.h)
        p = rule.weight / gap
        p /= p.sum()
        unit = 1 / (self.inverse_temperature * self.weight_decay)
        return (
            unit * (1 + float(np.sum(p * 2 * rule.h**2 / gap))),
            unit * float(np.sum(p * 2 / gap)),
        )

    @property
    def risk(self) -> float:
        """Half the mean squared error, M |R|^2/2."""
        return float(len(self.y) / 2 * self.R @ self.R)

    @property
    def penalty(self) -> float:
        """lambda/2 E |theta|^2."""
        return self.weight_decay / 2 * sum(self.second_moments)

    @property
    def free_energy(self) -> float:
        """F of the Gibbs law, as the value of the dual."""
        return -self.risk - float(self.R @ self.y) - self.log_partition / self.inverse_temperature

    @property
    def entropy(self) -> float:
        """-int rho log rho of the law, from what the free energy leaves (unit: nat)."""
        return self.inverse_temperature * (self.risk + self.penalty - self.free_energy)

    def _moments(self, rule: Rule, through: np.ndarray, upto: np.ndarray) -> np.ndarray:
        """Integrals of h (1 - h^2)^-2 (cos, sin) up to each angle, shape (angles, 2)."""
        last = len(rule.arc) - 1
        panel = np.clip(np.searchsorted(rule.edges, upto, side="right") - 1, 0, last)
        alpha, weight = panel_nodes(rule.edges[panel], upto)
        P, Q = self.arcs.coefficients(self.R, self.weight_decay)[:, rule.arc[panel], None]
        h = P * np.cos(alpha) + Q * np.sin(alpha)
        return through[panel] + _both(Rule(rule.edges, rule.arc, alpha, weight, h))


def gibbs_net(
    x: ArrayLike,
    y: ArrayLike,
    weight_decay: float,
    inverse_temperature: float,
    start: ArrayLike | None = None,
) -> GibbsNet:
    """The minimiser of the free energy of infinitely wide two-layer ReLU nets on the line.

    Damped Newton steps on the dual, M unknowns; without a start up a ladder of temperatures from
    the hottest at which R = 0 is near. The barrier log Z keeps |h| < 1.

    Args:
        x: Inputs, distinct and ascending, shape (M,).
        y: Targets, shape (M,).
        weight_decay: lambda, above 0, of a, w and b alike.
        inverse_temperature: beta, above 0; the noise of descent that samples it is
            `thalweg.oracles.particle_noise`.
        start: R of a neighbouring temperature, with |h| < 1.

    Returns:
        The law. `error` is how far it is from its own prediction: rounding, about 1e-13 of |y| at
        beta = 100, 1e-10 at 1e6.

    Raises:
        InputError: If inputs are not distinct and ascending, shapes do not fit, or a number is out
            of range.

    Cost: 5 to 15 Newton steps a rung, each a quadrature of about 800 nodes an arc.

    Source: E9 to E13 of the study.

    Examples:
        >>> from thalweg.theory.mean_field.gibbs import gibbs_net
        >>> net = gibbs_net([-10.0, 10.0], [2.0, 2.0], 1.0, 20.0)
        >>> round(float(net.predictor(10.0)[0]), 6), round(sum(net.second_moments), 6)
        (1.814294, 0.82385)
    """
    arcs = neuron_arcs(x)
    y = regression_targets(arcs, y)
    require_positive(weight_decay=weight_decay, inverse_temperature=inverse_temperature)
    lam, beta = float(weight_decay), float(inverse_temperature)
    R = np.zeros(len(y))
    if start is not None:
        R = np.array(start, float)
        require(
            R.shape == y.shape and arcs.largest(R, lam) < 1,
            "start is no R of these data with |h| < 1 for all directions; give that of a "
            "neighbouring temperature, or leave it out",
        )
    hottest = beta if start is not None else min(beta, 10 / lam)
    rungs = math.ceil(math.log(beta / hottest) / math.log(LADDER) - 1e-9)
    for rung in range(rungs, -1, -1):
        R, log_z, error = _solved(arcs, y, lam, beta / LADDER**rung, R)
    return GibbsNet(arcs, y, lam, beta, R, log_z, error)


def _solved(
    arcs: Arcs, y: np.ndarray, lam: float, beta: float, R: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """R, log Z and the largest gradient of the dual at one temperature."""
    value, log_z, slope, bend = _dual(arcs, y, lam, beta, R)
    small = EXACT * max(float(np.abs(y).max()), 1e-300)
    for _ in range(MOST_STEPS):
        if np.abs(slope).max() <= small:
            break
        step = np.linalg.solve(-bend, slope)
        rise, size, moved = float(slope @ step), 1.0, False
        blind = rise < BLIND * abs(value)  # the value has no digits left to tell, the gradient has
        for _ in range(1 if blind else MOST_HALVINGS):
            trial = R + size * step
            if arcs.largest(trial, lam) < 1:
                found = _dual(arcs, y, lam, beta, trial)
                if blind:
                    moved = bool(np.abs(found[2]).max() < np.abs(slope).max() / 2)
                else:
                    moved = found[0] >= value + ARMIJO * size * rise
                if moved:
                    break
            size /= 2
        if not moved:
            break
        R, (value, log_z, slope, bend) = trial, found
    return R, log_z, float(np.abs(slope).max())


def _dual(
    arcs: Arcs, y: np.ndarray, lam: float, beta: float, R: np.ndarray
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Value of the dual, log Z, gradient and Hessian in R."""
    rule = circle_rule(arcs, R, lam)
    gap, cos, sin = _gap(rule.h), np.cos(rule.alpha), np.sin(rule.alpha)
    p = rule.weight / gap
    xi = p.sum()
    p = p / xi
    log_z = 0.5 * math.log(2 * math.pi / (beta * lam)) + math.log(xi / (beta * lam))
    first, second = p * 2 * rule.h / gap / lam, p * (2 / gap + 8 * (rule.h / gap) ** 2) / lam**2

    def by_arc(integrand: np.ndarray) -> np.ndarray:
        return np.bincount(rule.arc, integrand.sum(axis=1), minlength=len(arcs.active))

    A = arcs.active.astype(float)
    c, s = by_arc(first * cos) @ A, by_arc(first * sin) @ A
    slope = arcs.x * c + s  # of log Z

    def pairs(integrand: np.ndarray) -> np.ndarray:
        return (A * by_arc(second * integrand)[:, None]).T @ A

    x, mixed = arcs.x, pairs(cos * sin)
    moments = np.outer(x, x) * pairs(cos**2) + (x[:, None] + x) * mixed + pairs(sin**2)
    M = len(y)
    value = -M / 2 * float(R @ R) - float(R @ y) - log_z / beta
    bend = -M * np.eye(M) - (moments - np.outer(slope, slope)) / beta
    return value, log_z, -M * R - y - slope / beta, bend


def _gap(h: np.ndarray) -> np.ndarray:
    """1 - h^2, without loss of digits where |h| is near one."""
    return (1 - h) * (1 + h)


def _both(rule: Rule) -> np.ndarray:
    """Integrals of h (1 - h^2)^-2 (cos, sin) over each panel, shape (panels, 2)."""
    w = rule.weight * rule.h / _gap(rule.h) ** 2
    return np.stack([np.sum(w * f(rule.alpha), axis=1) for f in (np.cos, np.sin)], axis=-1)


def regression_targets(arcs: Arcs, y: ArrayLike) -> Float[np.ndarray, " M"]:
    """Finite targets, one an input, or a refusal.

    Examples:
        >>> from thalweg.theory.mean_field.gibbs import regression_targets
        >>> from thalweg.theory.mean_field.neuron_circle import neuron_arcs
        >>> regression_targets(neuron_arcs([0.0, 1.0]), [2, 3]).tolist()
        [2.0, 3.0]
    """
    y = np.asarray(y, float)
    require(
        y.shape == arcs.x.shape and bool(np.all(np.isfinite(y))),
        f"y came with shape {y.shape}; give one finite number for each of the {len(arcs.x)} inputs",
    )
    return y
