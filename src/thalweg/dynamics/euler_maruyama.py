"""Stochastic differential equations of noisy descent, by the method of Euler and Maruyama."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from thalweg.dynamics.descent import GradientDescent
from thalweg.dynamics.dynamics import step_size_array
from thalweg.dynamics.noisy_steps import Noisy
from thalweg.oracles.added import langevin, surrogate
from thalweg.oracles.oracle import Oracle


def diffusion(step_size: float | Array, oracle: Oracle, dt: float | Array) -> Noisy:
    """The diffusion that stands for noisy descent: d theta = -grad f dt + sqrt(eta Sigma) dW.

    Steps of Euler and Maruyama, theta <- theta - dt grad f + sqrt(eta dt) F xi, F F^T = Sigma the
    covariance of the oracle at theta. At dt = eta it is descent itself with normal noise in place
    of the oracle's. It is on the clock of training time; moments at a time are wrong by O(dt).

    Args:
        step_size: eta of the descent that it stands for.
        oracle: Whose covariance, as `tw.oracles.minibatch(32)`.
        dt: Training time of a step; not above eta as a rule.

    Raises:
        InputError: If a number is not positive; at the start of a run, if the covariance of the
            oracle is not known.

    Cost: a step takes a gradient and a product with F, about another. Source: Li, Tai and E (2017).

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> sde = tw.dynamics.diffusion(0.1, tw.oracles.isotropic(1.0), dt=0.01)
        >>> path = tw.run(bowl, sde, until=1.0, records=1, seeds=200)
        >>> bool(abs(path.dataset["parameters"][:, -1].mean() - np.exp(-1.0)) < 0.1)
        True
    """
    eta, size = step_size_array(step_size), step_size_array(dt)
    return Noisy(GradientDescent(size), surrogate(oracle, jnp.sqrt(eta / size)), "diffusion")


def langevin_dynamics(temperature: float | Array, dt: float | Array) -> Noisy:
    """Overdamped Langevin dynamics: d theta = -grad f dt + sqrt(2 T) dW.

    Its law goes to the Gibbs law exp(-f/T); that of the steps is wrong by O(dt). Steps of Euler
    and Maruyama on the clock of training time.

    Args:
        temperature: T, at least 0 (unit: loss).
        dt: Training time of a step.

    Raises:
        InputError: If a number is out of range.

    Cost: a gradient a step.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.zeros(1))
        >>> hot = tw.dynamics.langevin_dynamics(0.5, dt=0.1)
        >>> path = tw.run(bowl, hot, until=5.0, records=1, seeds=400)
        >>> bool(abs(path.dataset["parameters"][:, -1].var() - 0.5) < 0.15)  # T over curvature
        True
    """
    size = step_size_array(dt)
    return Noisy(GradientDescent(size), langevin(temperature, size), "Langevin dynamics")
