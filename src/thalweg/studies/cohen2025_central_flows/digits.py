"""A net on a hundred digits: a method, its central flow and its plain flow from one start."""

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
from thalweg.curvature.operator import preconditioned
from thalweg.curvature.operators import hessian
from thalweg.driver.path import flat_parameters, iterates, paths
from thalweg.dynamics.dynamics import State
from thalweg.dynamics.flow.central import CentralFlow
from thalweg.models import mlp
from thalweg.problems import Problem, supervised
from thalweg.problems.problem import unraveller
from thalweg.studies.cohen2025_central_flows.methods import Method


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
    nu: Array
    error: Array
    statistics: dict[str, Array]


class Observed(eqx.Module):
    """Sees what the central flow tells."""

    dynamics: CentralFlow

    def __call__(self, problem: Problem, state: State) -> Told:
        error = self.dynamics.path_error(problem, state)
        statistics = self.dynamics.statistics(problem, state)
        return Told(flatten(state.params), state.memory.path.nu, error, statistics)


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


def leading(
    problem: Problem, flat: Any, diagonal: Array, k: int, start: Array | None = None
) -> Eigenpairs:
    """The k largest eigenpairs of P^-1/2 H P^-1/2, of a diagonal P."""
    curvature = hessian(problem, unraveller(problem)(jnp.asarray(flat)))
    operator, key = preconditioned(curvature, diagonal), jax.random.key(0)
    return top_k(operator, k, key, start=start, tolerance=2e-4, width=24, check=False)


@dataclass(frozen=True)
class Run:
    """A method on digits, and where both flows begin beside it.

    Attributes:
        net: The problem.
        method: What descends.
        seeds: Of the first weights.
        starts: The step of each seed at whose midpoint both flows begin; 0 for the first weights.
        steps: How many they are followed for.
        every: Steps between looks at curvature.
        points: At how many points of the second half the equations are checked by differences.
    """

    net: Net = field(default_factory=Net)
    method: Method = field(default_factory=Method)
    seeds: tuple[int, ...] = (0, 1)
    starts: tuple[int, ...] = (120, 130)
    steps: int = 200
    every: int = 5
    points: int = 0


class Beside(NamedTuple):
    """The three paths of a seed at equal times, flat, with the averages of all."""

    problem: Problem
    flow: CentralFlow
    steps: np.ndarray
    nu: np.ndarray
    middle: np.ndarray
    losses: np.ndarray
    gradients: np.ndarray
    plain: np.ndarray
    plain_nu: np.ndarray
    told: Told


def beside(size: Run, seed: int) -> Beside:
    """Follow a method, and from a midpoint of it both flows."""
    problem, begin = size.net.problem, size.starts[size.seeds.index(seed)]
    start, method, steps = size.net.drawn(seed), size.method, size.steps
    how = method.steps(problem, start)
    W = iterates(how, problem, begin + steps + 1, start, flat_parameters)
    losses, gradients = map(np.asarray, seen(problem, jnp.asarray(W)))
    middle, nu = midpoints(W), method.averages(gradients)
    first = unraveller(problem)(jnp.asarray(middle[begin] if begin else W[0]))
    flow = method.central(jnp.asarray(nu[begin]))
    eta = method.step_size
    told = paths(flow, problem, first, eta, steps, observe=Observed(flow), over=()).seen
    plain = method.plain(problem, first, nu[begin], steps)
    k = slice(begin, begin + steps + 1)
    return Beside(
        problem, flow, W[k], nu[k], middle[k], losses[k], gradients[k], *plain,
        jax.tree.map(np.asarray, told),
    )  # fmt: skip
