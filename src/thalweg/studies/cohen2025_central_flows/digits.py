"""A net on a hundred digits: descent, its central flow and gradient flow from one start."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from sklearn.datasets import load_digits

from thalweg.core.tree import Params, flatten
from thalweg.curvature.eigenvalues import Eigenpairs, top_k
from thalweg.curvature.operators import hessian
from thalweg.driver.path import paths
from thalweg.dynamics import central_flow, gradient_descent, gradient_flow
from thalweg.dynamics.dynamics import State
from thalweg.dynamics.flow.central import CentralFlow
from thalweg.models import mlp
from thalweg.problems import Problem, supervised
from thalweg.problems.problem import unraveller


@dataclass(frozen=True)
class Net:
    """Digits, and a tanh net with biases on them.

    Attributes:
        images: Every 17th of scikit-learn's digits, so many.
        pooled: Whether pixels are averaged two by two, to 4 x 4.
        hidden: Widths.
        gain: Of the first weights, times 1/sqrt(fan-in).
    """

    images: int = 100
    pooled: bool = False
    hidden: tuple[int, ...] = (20, 20, 20)
    gain: float = 0.577

    @property
    def problem(self) -> Problem:
        """Squared error on one-hot targets."""
        found = load_digits()
        x, labels = found.data[::17][: self.images] / 16, found.target[::17][: self.images]
        if self.pooled:
            x = x.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(len(x), -1)
        x = x - x.mean(axis=0)
        return supervised(mlp(self.hidden, "tanh"), (x / x.std(), np.eye(10)[labels]))

    def drawn(self, seed: int) -> Params:
        """The weights that NumPy draws of a seed, layer by layer; biases are zero."""
        rng = np.random.default_rng(seed)
        widths = (16 if self.pooled else 64, *self.hidden, 10)
        return [
            {
                "weight": jnp.asarray(self.gain * rng.standard_normal((a, b)).T / np.sqrt(a)),
                "bias": jnp.zeros(b),
            }
            for a, b in itertools.pairwise(widths)
        ]


class Told(NamedTuple):
    """What is kept of the central flow after each step."""

    theta: Array
    error: Array
    statistics: dict[str, Array]


class Observed(eqx.Module):
    """Sees what the central flow tells."""

    dynamics: CentralFlow

    def __call__(self, problem: Problem, state: State) -> Told:
        error = self.dynamics.path_error(problem, state)
        return Told(flatten(state.params), error, self.dynamics.statistics(problem, state))


@jax.jit
def flat_of(params: Params) -> Array:
    """Flat rows of parameters recorded with a leading axis."""
    return jax.vmap(flatten)(params)


@eqx.filter_jit
def seen(problem: Problem, flat: Array) -> tuple[Array, Array]:
    """Loss and gradient of flat rows."""
    unravel = unraveller(problem)

    def objective(flat: Array) -> Array:
        return problem.objective(unravel(flat))

    return jax.lax.map(jax.value_and_grad(objective), flat)


def midpoints(steps: np.ndarray) -> np.ndarray:
    """(w_(k-1) + 2 w_k + w_(k+1))/4, without an oscillation of period two; NaN at the ends."""
    found = np.full_like(steps, np.nan)
    found[1:-1] = (steps[:-2] + 2 * steps[1:-1] + steps[2:]) / 4
    return found


def leading(problem: Problem, flat: Any, k: int, start: Array | None = None) -> Eigenpairs:
    """The k largest eigenpairs of the Hessian."""
    operator = hessian(problem, unraveller(problem)(jnp.asarray(flat)))
    key = jax.random.key(0)
    return top_k(operator, k, key, start=start, tolerance=2e-4, width=24, check=False)


@dataclass(frozen=True)
class Run:
    """Descent on digits, and where both flows begin beside it.

    Attributes:
        net: The problem.
        step_size: eta.
        seeds: Of the first weights.
        starts: The step of each seed at whose midpoint both flows begin.
        steps: How many they are followed for.
        every: Steps between looks at curvature.
        points: At how many points of the second half the equations are checked by differences.
    """

    net: Net = field(default_factory=Net)
    step_size: float = 2 / 3
    seeds: tuple[int, ...] = (0, 1)
    starts: tuple[int, ...] = (120, 130)
    steps: int = 200
    every: int = 5
    points: int = 8


class Beside(NamedTuple):
    """The three paths of a seed at equal times, flat."""

    problem: Problem
    flow: CentralFlow
    steps: np.ndarray
    middle: np.ndarray
    losses: np.ndarray
    gradients: np.ndarray
    plain: np.ndarray
    told: Told


def beside(size: Run, seed: int) -> Beside:
    """Follow descent, and from a midpoint of it both flows."""
    problem, begin = size.net.problem, size.starts[size.seeds.index(seed)]
    start, eta, steps = size.net.drawn(seed), size.step_size, size.steps
    found = paths(gradient_descent(eta), problem, start, 1, begin + steps + 1, over=())
    W = np.asarray(flat_of(found.seen))
    losses, gradients = map(np.asarray, seen(problem, jnp.asarray(W)))
    middle = midpoints(W)
    first = unraveller(problem)(jnp.asarray(middle[begin]))
    flow = central_flow(eta)
    told = paths(flow, problem, first, eta, steps, observe=Observed(flow), over=()).seen
    plain = paths(gradient_flow(error=1e-5), problem, first, eta, steps, over=()).seen
    k = slice(begin, begin + steps + 1)
    return Beside(
        problem, flow, W[k], middle[k], losses[k], gradients[k],
        np.asarray(flat_of(plain)), jax.tree.map(np.asarray, told),
    )  # fmt: skip
