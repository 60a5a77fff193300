"""PAGE: mini-batches corrected by the step before, with full gradients at random steps."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.oracles.batches import FOR, MiniBatch
from thalweg.oracles.examples_shown import supervised_in
from thalweg.oracles.oracle import Counts
from thalweg.oracles.variance_reduced import Anchor, Anchored
from thalweg.problems.problem import Problem


class RandomRefresh(Anchored):
    """As `sarah`, with a full gradient by chance; see `page`.

    Attributes:
        chance: Probability p of a full gradient; None for b/(n + b).
    """

    chance: float | None = None

    @property
    def name(self) -> str:
        return f"by PAGE {self.batches.name}"

    def probability(self, problem: Problem) -> float:
        """The chance p of a full gradient."""
        n, b = len(supervised_in(problem, *FOR).inputs), self.batches.batch
        return b / (n + b) if self.chance is None else self.chance

    def block(self, problem: Problem, params: Params) -> int:
        return self.batches.block(problem, params)

    def start(self, problem: Problem, params: Params) -> Anchor:
        return Anchor(params, jax.grad(problem.objective)(params))

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        own, rows = jax.random.split(key)
        anew = jax.random.bernoulli(own, self.probability(problem), (count,))
        return anew, (), self.batches.draws(problem, params, rows, count)

    def counts(self, problem: Problem) -> Counts:
        p, b = self.probability(problem), self.batches.batch
        n = len(supervised_in(problem, *FOR).inputs)
        components = p * n + 2 * (1 - p) * b
        return Counts(gradients=p + 2 * (1 - p), component_gradients=components)

    def spent(self, problem: Problem, steps: np.ndarray) -> np.ndarray:
        """On average: what a run spent depends on what was drawn."""
        n = len(supervised_in(problem, *FOR).inputs)
        return n + np.asarray(steps) * self.counts(problem).component_gradients

    def noise(self, problem: Problem, params: Params, xi: Float[Array, " m"]) -> Params:
        share = (1 - self.probability(problem)) ** 0.5
        return jax.tree.map(lambda a: share * a, super().noise(problem, params, xi))


def page(batch: int, chance: float | None = None) -> RandomRefresh:
    """Batches corrected by the step before, and by chance a full gradient (PAGE).

        v_k = grad f(theta_k)                                           with probability p,
        v_k = grad f_B(theta_k) - grad f_B(theta_(k-1)) + v_(k-1)       else.

    With b = sqrt(n), p = b/(n + b) and the step size 1/(L_av (1 + sqrt((1 - p)/(p b)))) it takes
    O(n + sqrt(n)/eps^2) gradients of examples to ||grad f|| <= eps, which is optimal. Biased, given
    what it remembers.

    Args:
        batch: b, examples drawn with replacement.
        chance: p; None for b/(n + b).

    Raises:
        InputError: If `batch` is no whole number from 1 on, or not 0 < p <= 1.

    Cost: p n + 2 (1 - p) b gradients of single examples a step, on average.

    Source: Li, Bao, Zhang and Richtarik (2021), arXiv 2008.10898.

    Examples:
        >>> x, y = np.ones((9, 1)), np.zeros((9, 1))
        >>> nine = tw.problems.supervised(tw.models.linear([]), (x, y))
        >>> tw.oracles.page(3).counts(nine).component_gradients  # 9/4 + 2 (3/4) 3
        6.75
    """
    require(
        not misfit(batch, int) and batch >= 1,
        f"batch came as {told(batch)}; give a whole number from 1 on",
    )
    require(
        chance is None or (not misfit(chance, float) and 0 < chance <= 1),
        f"chance came as {told(chance)}; give a probability above 0, up to 1",
    )
    return RandomRefresh(
        MiniBatch(int(batch), True), 1, True, chance=None if chance is None else float(chance)
    )
