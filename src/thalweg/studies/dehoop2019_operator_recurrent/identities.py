"""What holds of operator recurrent nets to rounding: solver, polynomials, factors, bounds."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import Model, OperatorRecurrent, balanced_pair, factor_regulariser
from thalweg.problems import wave_media
from thalweg.theory.inverse_problems import boundary_control as bc
from thalweg.theory.inverse_problems import time_reversal as tr
from thalweg.theory.operator_nets.operator_bounds import layer_bounds
from thalweg.theory.operator_nets.unrolled_control import unrolled_control

LAYERS, STEPS = 50, 20
DEGREES = (1, 2, 4)
MIXINGS = 50
WORDS = {
    "unrolled": "largest |difference| of the net and 50 iterations, relative, r = T",
    "unrolled_half": "the same, r = T/2",
    "volume": "relative difference of the readout and <b, f>",
    "bound_norm": "largest state over its bound H",
    "bound_slope": "largest slope in X over its bound K",
    "bound_change": "largest change with the parameters over its bound D",
}
FACTORS = {
    "balanced": "R of balanced factors over its least value",
    "mixed": "least R over mixed factors, over the least value",
}


@experiment("N0", Draws(10), smoke={"draws": 2}, full={"draws": 100})
def networks_exactly(lab: Lab, size: Draws) -> xr.Dataset:
    """Nets with the solver's weights, nets without a branch, factors and bounds, at random."""
    media = wave_media(jax.random.key(5), size.draws, STEPS)

    def of(draw: int) -> xr.Dataset:
        rng = np.random.default_rng(draw)
        found = _unrolled(media.responses[draw], media.operators[draw], media.time_step)
        found |= _bounds(draw, rng)
        balanced, mixed = _factors(rng)
        over_degree, top = zip(*(_polynomial(degree, draw, rng) for degree in DEGREES), strict=True)
        return table(
            {
                "": {name: (found[name], "1", said) for name, said in WORDS.items()},
                "exponent": {
                    "balanced": (balanced, "1", FACTORS["balanced"]),
                    "mixed": (mixed, "1", FACTORS["mixed"]),
                },
                "layers": {
                    "beyond": (over_degree, "1", "coefficient of t^(L+1) over the largest"),
                    "top": (top, "1", "coefficient of t^L over the largest"),
                },
            },
            exponent=[0.5, 1.0],
            layers=DEGREES,
        )

    return over(of, draw=range(size.draws))


def _unrolled(response: np.ndarray, operator: np.ndarray, dt: float) -> dict[str, float]:
    control = bc.control_operators(response, dt)
    bound = float(np.linalg.norm(control.K, 2))
    found = {}
    for name, reach in (("unrolled", STEPS), ("unrolled_half", STEPS // 2)):
        penalty = 1e-4 * bound
        f = tr.landweber(control, LAYERS, penalty, bound, reach)
        net = unrolled_control(
            STEPS, dt, LAYERS, bound, penalty, reach, scale=2.0, tied=True, readout=False
        )
        state = applied(net.model, net.start, operator[None] / 2)[0]
        found[name] = float(np.abs(state[:STEPS] - f).max() / np.abs(f).max())
        read = unrolled_control(STEPS, dt, LAYERS, bound, penalty, reach, tied=True)
        volume = float(applied(read.model, read.start, operator[None])[0, 0])
        found["volume"] = max(found.get("volume", 0.0), abs(volume / float(control.b @ f) - 1))
    return found


def _polynomial(degree: int, draw: int, rng: np.random.Generator) -> tuple[float, float]:
    """Coefficients of degree L + 1 and L of t -> f(t X), from values at Chebyshev's nodes."""
    net = OperatorRecurrent(degree, activation=None, readout=False, first=jnp.ones(5), gain=3.0)
    params = net.init(jax.random.key(draw), (5, 5), 5)
    X, count = rng.normal(size=(5, 5)), degree + 2
    t = np.cos((2 * np.arange(count) + 1) * np.pi / (2 * count))
    values = applied(net, params, t[:, None, None] * X)
    sizes = np.abs(np.linalg.solve(np.vander(t, increasing=True), values)).max(1)
    return float(sizes[degree + 1] / sizes.max()), float(sizes[degree] / sizes.max())


def _factors(rng: np.random.Generator) -> tuple[list[float], list[float]]:
    """R of the balanced pair and the least of pairs mixed at random, over what is least."""
    A = rng.normal(size=(7, 5))
    s = np.linalg.svd(A, compute_uv=False)
    pair, balanced, mixed = balanced_pair(A), [], []
    for exponent, least in ((0.5, 2 * np.sqrt(s).sum()), (1.0, s.sum())):
        balanced.append(float(factor_regulariser(pair._asdict(), exponent)) / least)
        ratios = []
        for _ in range(MIXINGS):
            Q = np.linalg.qr(rng.normal(size=(5, 5)))[0] * np.exp(0.3 * rng.normal(size=5))
            other = {"left": pair.left @ Q, "right": pair.right @ np.linalg.inv(Q).T}
            ratios.append(float(factor_regulariser(other, exponent)) / least)
        mixed.append(min(ratios))
    return balanced, mixed


def _bounds(draw: int, rng: np.random.Generator) -> dict[str, float]:
    """How much of each bound random nets use, on operators of norm at most M.

    One of them has a positive number for each matrix, so that nothing is lost and all is used.
    """
    M, found = 1.2, []
    for n in (6, 1):
        net = OperatorRecurrent(3, rank=3, gain=4.0, first=jnp.ones(n))
        params = net.init(jax.random.key(draw), (n, n), 1)
        moved = jax.tree.map(lambda w: jnp.asarray(0.2 * rng.normal(size=w.shape)), params)
        X, Y = (_within(M, rng, n) for _ in range(2))
        if n == 1:
            params, moved = (jax.tree.map(jnp.abs, p) for p in (params, moved))
            X, Y = np.abs(X), np.abs(X) - 1e-3
        other = jax.tree.map(jnp.add, params, moved)
        bounds = layer_bounds(net, params, M, other)
        gap = np.linalg.norm(X - Y, 2, (1, 2))
        h, near, far = (
            np.asarray(net.states(p, jnp.asarray(x)))
            for p, x in ((params, X), (params, Y), (other, X))
        )
        slopes = (h - near) / gap[None, :, None]
        found.append(
            {
                "bound_norm": _used(h, bounds.norms),
                "bound_slope": _used(slopes, bounds.lipschitz),
                "bound_change": _used(h - far, bounds.changes),
            }
        )
    return {name: max(one[name] for one in found) for name in found[0]}


def _used(states: np.ndarray, most: jax.Array) -> float:
    """The largest share of a bound, over layers."""
    sizes = np.linalg.norm(states, axis=-1).max(1)[1:]
    return float((sizes / np.asarray(most)[1:]).max())


def _within(norm: float, rng: np.random.Generator, n: int) -> np.ndarray:
    drawn = rng.normal(size=(40, n, n))
    drawn[::2] = drawn[::2, :, :1] * drawn[::2, :1]  # of rank one, for which norms are attained
    return np.asarray(norm * drawn / np.linalg.norm(drawn, 2, (1, 2))[:, None, None])


@jax.jit
def _jitted(net: Model, params: object, X: jax.Array) -> jax.Array:
    return net.apply(params, X)


def applied(net: Model, params: object, X: Any) -> np.ndarray:
    """The outputs of a net."""
    return np.asarray(_jitted(net, params, jnp.asarray(X)))
