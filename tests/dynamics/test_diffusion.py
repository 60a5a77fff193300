"""The diffusion of a noisy descent against the Ornstein-Uhlenbeck process, whose law is known."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.oracles import gaussian
from thalweg.problems import Function

CURVATURE, ETA, UNTIL, SEEDS = np.array([1.0, 0.5]), 0.3, 2.0, 20_000
FACTOR = np.array([[1.0, 0.0], [0.6, 0.4]])  # correlated noise
START = np.array([1.0, -2.0])
BOWL = Function(lambda x: 0.5 * jnp.sum(jnp.asarray(CURVATURE) * x**2), start=jnp.asarray(START))


def exact() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of d theta = -A theta dt + sqrt(eta) F dW."""
    rates = CURVATURE[:, None] + CURVATURE
    covariance = ETA * FACTOR @ FACTOR.T * (1 - np.exp(-rates * UNTIL)) / rates
    return np.exp(-CURVATURE * UNTIL) * START, covariance


def of_the_steps(dt: float) -> tuple[np.ndarray, np.ndarray]:
    """The same of the method of Euler and Maruyama."""
    turn, mean, covariance = 1 - CURVATURE * dt, START, np.zeros((2, 2))
    for _ in range(round(UNTIL / dt)):
        mean = turn * mean
        covariance = turn[:, None] * covariance * turn + ETA * dt * FACTOR @ FACTOR.T
    return mean, covariance


def measured(dt: float) -> tuple[np.ndarray, np.ndarray]:
    sde = tw.dynamics.diffusion(ETA, gaussian(lambda x: jnp.asarray(FACTOR)), dt)
    path = tw.run(BOWL, sde, until=UNTIL, records=1, seeds=SEEDS, progress=False)
    end = path.parameters.values[:, -1]
    return end.mean(0), np.cov(end.T)


@pytest.mark.parametrize("dt", [0.5, 0.1])
def test_moments_are_those_of_the_method(dt):
    mean, covariance = measured(dt)
    wanted = of_the_steps(dt)
    spread = np.sqrt(np.diag(wanted[1]))
    assert np.all(np.abs(mean - wanted[0]) < 4.5 * spread / np.sqrt(SEEDS))
    error = np.sqrt((wanted[1] ** 2 + np.outer(spread, spread) ** 2) / SEEDS)
    assert np.all(np.abs(covariance - wanted[1]) < 4.5 * error)


def test_it_is_of_weak_order_one():
    """The mean, whose error stands far above that of the ensemble, halves with dt."""
    errors = [np.abs(measured(dt)[0] - exact()[0])[1] for dt in (0.5, 0.25)]
    # 20,000 seeds leave the ratio uncertain by 0.1.
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=0.5)


def test_langevin_dynamics_meets_the_gibbs_law():
    hot = tw.dynamics.langevin_dynamics(0.4, dt=0.1)
    path = tw.run(BOWL, hot, until=20.0, records=1, seeds=SEEDS, progress=False)
    variance = path.parameters.values[:, -1].var(0)
    wanted = 0.4 / CURVATURE / (1 - CURVATURE * 0.1 / 2)  # the step's own: T/c to first order
    assert np.all(np.abs(variance / wanted - 1) < 4.5 * np.sqrt(2 / SEEDS))
