"""Mini-batches: each step sees some of the examples."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.oracles.examples_shown import supervised_in, with_supervised
from thalweg.oracles.oracle import MOST_STEPS, Counts, Oracle
from thalweg.problems.losses import Loss, ScaledLoss
from thalweg.problems.problem import Problem, Supervised

FOR = ("to draw batches from", "leave batch out, or give a supervised problem")


class MiniBatch(Oracle):
    """Some of the examples at each step; see `minibatch`.

    Attributes:
        batch: How many.
        replace: Whether each of them is drawn from all examples, so that one may come twice.
    """

    batch: int = eqx.field(static=True)
    replace: bool = eqx.field(static=True, default=False)

    @property
    def name(self) -> str:
        return f"in batches of {self.batch}" + (" with replacement" if self.replace else "")

    @property
    def source(self) -> str:
        return "mini-batches"

    def suit(self, problem: Problem) -> None:
        n = len(supervised_in(problem, *FOR).inputs)
        require(
            self.batch <= n,
            f"a batch of {self.batch} of {n} examples came; give 1 to {n}, or None for all",
        )

    def block(self, problem: Problem, params: Params) -> int:
        if self.replace:
            return super().block(problem, params)
        epoch = len(supervised_in(problem, *FOR).inputs) // self.batch
        return epoch * max(1, MOST_STEPS // epoch)  # whole permutations

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        n = len(supervised_in(problem, *FOR).inputs)
        if self.replace:
            return jax.random.randint(key, (count, self.batch), 0, n, jnp.int32)
        epoch = n // self.batch
        orders = jax.vmap(lambda key: jax.random.permutation(key, jnp.arange(n, dtype=jnp.int32)))(
            jax.random.split(key, -(-count // epoch))
        )
        return orders[:, : epoch * self.batch].reshape(-1, self.batch)[:count]

    def see(self, problem: Problem, params: Params, draw: Any) -> Problem:
        whole = supervised_in(problem, *FOR)
        part = whole.on(draw)
        if whole.reduction == "sum":
            part = dataclasses.replace(
                part, loss=_times(whole.loss, len(whole.inputs) / self.batch)
            )
        return with_supervised(problem, part)

    def counts(self, problem: Problem) -> Counts:
        return Counts(component_gradients=self.batch)

    def size(self, problem: Problem, params: Params) -> int:
        return len(supervised_in(problem, *FOR).inputs)

    def noise(self, problem: Problem, params: Params, xi: Float[Array, " m"]) -> Params:
        whole = supervised_in(problem, *FOR)
        require(
            whole.model.separable,
            "this net normalises over the whole batch, so its examples have no gradients of their "
            "own and the noise of batches no known covariance; measure it on draws",
        )
        require(
            whole.plain,
            f"the objective of a {type(whole).__name__} is not its examples' loss alone, so the "
            "noise of batches has no known covariance; put the other term about the examples with "
            "tw.problems.penalised, or measure it on draws",
        )
        n = len(whole.inputs)
        left = 1.0 if self.replace else (n - self.batch) / max(n - 1, 1)
        total = n if whole.reduction == "sum" else 1
        weights = (xi - jnp.mean(xi)) * (total * (left / (self.batch * n)) ** 0.5)

        def weighted(params: Params) -> Array:
            return jnp.sum(weights.astype(whole.inputs.dtype) * losses(whole, params))

        return jax.grad(weighted)(params)


def losses(problem: Supervised, params: Params) -> Float[Array, " n"]:
    """The loss of every example."""
    return jax.vmap(problem.loss.one)(problem.outputs(params), problem.targets)


def _times(loss: Loss, factor: float) -> Loss:
    def one(outputs: Array, target: Array) -> Array:
        return factor * loss.one(outputs, target)

    return ScaledLoss(loss.name, one, loss.task, loss, factor)


def minibatch(batch: int, replace: bool = False) -> MiniBatch:
    """Mini-batches: each step sees the mean loss of `batch` of the n examples.

    Without replacement the examples come in a random order, batch after batch; after
    floor(n/batch) of them a new order is drawn, so what is left over differs from pass to pass.
    With replacement all examples of all steps are drawn independently. Of both, by themselves,

        Sigma = c/batch 1/n sum_i (g_i - g)(g_i - g)^T,    c = (n - batch)/(n - 1) or 1,

    g_i the gradient of one example. Batches of one pass are not independent: their noise adds up
    to nearly nothing, which a diffusion with this Sigma does not know. Of an objective that sums
    over examples a batch shows n/batch times its sum, Sigma n^2 times this.

    Args:
        batch: Examples a step, 1 to n.
        replace: Whether to draw with replacement.

    Raises:
        InputError: If `batch` is no whole number of at least 1; at the start of a run, if the
            problem has fewer examples, or none.

    Cost: a step sees `batch` gradients of single examples; a product with Sigma costs 2 gradients
    of the full objective. The gradient is unbiased where examples do not see each other.

    Examples:
        >>> x, y = np.array([[1.0], [1.0]]), np.array([[0.0], [2.0]])
        >>> two = tw.problems.supervised(tw.models.linear([]), (x, y))
        >>> sigma = tw.oracles.minibatch(1).covariance(two, [{"weight": jnp.zeros((1, 1))}])
        >>> round(float(sigma.trace()), 6)  # gradients 0 and -2
        1.0
    """
    require(
        not misfit(batch, int) and batch >= 1,
        f"a batch of {told(batch)} examples came; give a whole number from 1 on",
    )
    return MiniBatch(int(batch), bool(replace))


def single() -> MiniBatch:
    """One example a step, drawn with replacement: `minibatch(1, replace=True)`.

    Examples:
        >>> tw.oracles.single().batch
        1
    """
    return MiniBatch(1, True)
