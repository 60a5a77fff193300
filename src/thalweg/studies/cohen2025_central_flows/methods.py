"""The three methods of the study, each with its central flow and its flow without oscillation."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array
from scipy.integrate import solve_ivp

from thalweg.core.tree import Params, flatten
from thalweg.driver.path import flat_parameters, paths
from thalweg.dynamics import (
    central_flow,
    gradient_descent,
    gradient_flow,
    group_rmsprop,
    optax_dynamics,
)
from thalweg.dynamics.dynamics import Discrete
from thalweg.dynamics.flow.central import CentralFlow
from thalweg.problems import Problem
from thalweg.problems.problem import unraveller


@dataclass(frozen=True)
class Method:
    """Gradient descent, scalar RMSProp or RMSProp, whose average begins with the first gradient.

    Attributes:
        step_size: eta.
        average: Of squared gradients: "none", "shared" of their sum, "each" of each parameter.
        decay: b of the average.
        epsilon: Added to its root.
    """

    step_size: float = 2 / 3
    average: str = "none"
    decay: float = 0.99
    epsilon: float = 0.0

    def steps(self, problem: Problem, start: Params) -> Discrete:
        """The method from a start."""
        if self.average == "none":
            return gradient_descent(self.step_size)
        first = jax.tree.map(jnp.square, jax.grad(problem.objective)(start))
        if self.average == "shared":
            whole = float(optax.tree.sum(first))
            how = group_rmsprop(self.step_size, self.decay, self.epsilon, initial=whole)
            return optax_dynamics(how, self.step_size)
        plain = optax.rmsprop(self.step_size, self.decay, self.epsilon, eps_in_sqrt=False)

        def init(params: Params) -> optax.OptState:
            return optax.tree.set(plain.init(params), nu=first)

        how = optax.GradientTransformation(init, plain.update)
        return optax_dynamics(how, self.step_size)

    def averages(self, gradients: np.ndarray) -> np.ndarray:
        """The average that each step divides by the root of, (steps, ...), from flat gradients."""
        if self.average == "none":
            return np.zeros((len(gradients), 0))
        squares = gradients**2 if self.average == "each" else np.sum(gradients**2, axis=1)
        found = [squares[0]]
        for new in squares[1:]:
            found.append(self.decay * found[-1] + (1 - self.decay) * new)
        return np.array(found)

    def rates(self, nu: np.ndarray) -> np.ndarray:
        """Eta/(sqrt(nu) + epsilon), the mean over parameters that have a gradient, (steps,)."""
        rows = nu.reshape(len(nu), -1)
        seen = (rows > 0).all(axis=0)
        return np.mean(self.step_size / (np.sqrt(rows[:, seen]) + self.epsilon), axis=1)

    def central(self, nu: Array) -> CentralFlow:
        """Its central flow, from an average."""
        if self.average == "none":
            return central_flow(self.step_size)
        return central_flow(
            self.step_size, average=self.average, decay=self.decay, epsilon=self.epsilon, initial=nu
        )

    def plain(
        self, problem: Problem, start: Params, nu: np.ndarray, steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Flat parameters of the flow without oscillation after every step, and its averages.

        Gradient flow; with an average theta' = -P^-1 grad f, nu' = kappa (g^2 - nu), in steps.
        """
        if self.average == "none":
            how = gradient_flow(error=1e-5)
            found = paths(how, problem, start, self.step_size, steps, flat_parameters, over=()).seen
            return np.asarray(found), np.zeros((steps + 1, 0))
        scaling, unravel = self.central(jnp.asarray(nu)).scaling, unraveller(problem)
        first = np.asarray(flatten(start))
        p = first.size

        @jax.jit
        def speed(both: Array) -> Array:
            nu = both[p:] if self.average == "each" else both[p]
            g = flatten(jax.grad(problem.objective)(unravel(both[:p])))
            change = jnp.atleast_1d(scaling.speed(nu, g**2))
            return jnp.concatenate([-g / scaling.diagonal(nu, g), change])

        found = solve_ivp(
            lambda _, both: np.asarray(speed(jnp.asarray(both))), (0, steps),
            np.concatenate([first, np.atleast_1d(nu)]), t_eval=np.arange(steps + 1.0),
            rtol=1e-6, atol=1e-9,
        ).y.T  # fmt: skip
        return found[:, :p], found[:, p:] if self.average == "each" else found[:, p]
