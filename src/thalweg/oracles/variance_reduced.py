"""Variance-reduced gradients: mini-batches, corrected by what was seen before."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require
from thalweg.core.memory import require_memory
from thalweg.core.tree import Params
from thalweg.oracles.batches import FOR, MiniBatch
from thalweg.oracles.examples_shown import supervised_in
from thalweg.oracles.oracle import Counts, Tilted
from thalweg.oracles.remembering import Remembering
from thalweg.problems.problem import Problem, Supervised


class Anchor(NamedTuple):
    """A point, and the gradient that is taken for the full one there."""

    params: Params
    gradient: Params


class Anchored(Remembering):
    """grad f_B(theta) - grad f_B(a) + v: batches corrected at an anchor; see `svrg` and `sarah`.

    Attributes:
        batches: What batches B are drawn.
        period: Looks from one full gradient to the next; None for as many as make two passes.
        recursive: Whether each look is the anchor of the next, v being what it showed.
        reference: Examples, drawn with replacement, whose mean gradient stands for the full one.
        memory: The anchor a and v.
    """

    batches: MiniBatch
    period: int | None = eqx.field(static=True, default=None)
    recursive: bool = eqx.field(static=True, default=False)
    reference: int | None = eqx.field(static=True, default=None)

    @property
    def name(self) -> str:
        kind = "SARAH" if self.recursive and self.reference is None else "SVRG"
        kind = "SPIDER" if self.recursive and self.reference is not None else kind
        return f"by {kind} {self.batches.name}"

    @property
    def source(self) -> str:
        return "corrected mini-batches"

    @property
    def unbiased(self) -> bool:
        return not self.recursive and self.reference is None

    def suit(self, problem: Problem) -> None:
        self.batches.suit(problem)

    def every(self, problem: Problem) -> int:
        """Looks from one full gradient to the next."""
        return self.period or -(-2 * _count(problem) // self.batches.batch)

    def block(self, problem: Problem, params: Params) -> int:
        period = self.every(problem)
        return period * max(1, self.batches.block(problem, params) // period)

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        # Places in a period are the same for all lanes, so that a branch on them stays one.
        anew = jnp.arange(count) % self.every(problem) == 0
        words = () if self.reference is None else jax.random.bits(key, (count,), jnp.uint32)
        return anew, words, self.batches.draws(problem, params, key, count)

    def start(self, problem: Problem, params: Params) -> Anchor:
        # The first look of a run takes the full gradient; nothing is known before it.
        return Anchor(params, jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), params))

    def look(self, problem: Problem, params: Params, draw: Any) -> tuple[Problem, Self]:
        anew, word, rows = draw
        part = self.batches.see(problem, params, rows)

        def afresh() -> Anchor:
            whole = problem if self.reference is None else self._reference(problem, params, word)
            return Anchor(params, jax.grad(whole.objective)(params))

        anchor = jax.lax.cond(anew, afresh, lambda: self.held())
        slope = tree.difference(anchor.gradient, jax.grad(part.objective)(anchor.params))
        if self.recursive:  # the compiler takes this gradient for that of the step at `params`
            shown = jax.tree.map(jnp.add, jax.grad(part.objective)(params), slope)
            anchor = Anchor(params, shown)
        return Tilted(part, slope, params), self.holding(anchor)

    def _reference(self, problem: Problem, params: Params, word: Array) -> Problem:
        assert self.reference is not None
        some = MiniBatch(self.reference, True)
        rows = some.draws(problem, params, jax.random.key(word), 1)[0]
        return some.see(problem, params, rows)

    def counts(self, problem: Problem) -> Counts:
        period, batch = self.every(problem), self.batches.batch
        whole = self.reference or _count(problem)
        return Counts(gradients=2 + 1 / period, component_gradients=2 * batch + whole / period)

    def spent(self, problem: Problem, steps: np.ndarray) -> np.ndarray:
        steps = np.asarray(steps)
        whole = self.reference or _count(problem)
        return 2 * self.batches.batch * steps + whole * -(-steps // self.every(problem))

    def size(self, problem: Problem, params: Params) -> int:
        return self.batches.size(problem, params)

    def noise(self, problem: Problem, params: Params, xi: Float[Array, " m"]) -> Params:
        anchor: Anchor = self.held()
        here, there = (self.batches.noise(problem, at, xi) for at in (params, anchor.params))
        return tree.difference(here, there)


class Table(NamedTuple):
    """The last gradient seen of every example, and their mean."""

    rows: Params
    mean: Params


class Saga(Remembering):
    """mean over B of grad f_i(theta) - t_i, plus the mean of all t_i; see `saga`.

    Attributes:
        batch: Examples a look, drawn with replacement.
        memory: The table t of gradients, one row an example, and its mean.
    """

    batch: int = eqx.field(static=True)

    @property
    def name(self) -> str:
        return f"by SAGA {self.batches.name}"

    @property
    def source(self) -> str:
        return "corrected mini-batches"

    @property
    def batches(self) -> MiniBatch:
        """What batches are drawn."""
        return MiniBatch(self.batch, True)

    def suit(self, problem: Problem) -> None:
        self.batches.suit(problem)
        whole = supervised_in(problem, *FOR)
        require(
            whole.model.separable,
            "this net normalises over the whole batch, so its examples have no gradients of their "
            "own to keep in a table; take tw.oracles.svrg",
        )
        size = tree.size(jax.eval_shape(problem.init, jax.random.key(0)))
        n = len(whole.inputs)
        require_memory(
            2.0 * n * size * whole.inputs.dtype.itemsize,
            f"a table of {n:,} gradients of {size:,} parameters",
            "take tw.oracles.svrg, which keeps two",
        )

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        return self.batches.draws(problem, params, key, count)

    def start(self, problem: Problem, params: Params) -> Table:
        each = jnp.arange(_count(problem))
        rows = jax.lax.map(lambda i: self._gradient(problem, params, i), each)
        return Table(rows, jax.tree.map(lambda row: jnp.mean(row, axis=0), rows))

    def _gradient(self, problem: Problem, params: Params, i: Array) -> Params:
        alone = MiniBatch(1, True).see(problem, params, i[None])
        return jax.grad(alone.objective)(params)

    def look(self, problem: Problem, params: Params, draw: Any) -> tuple[Problem, Self]:
        table: Table = self.held()
        part = self.batches.see(problem, params, draw)
        if self.batch == 1:  # the compiler takes this gradient for that of the step
            seen = jax.tree.map(lambda g: g[None], jax.grad(part.objective)(params))
        else:
            seen = jax.vmap(lambda i: self._gradient(problem, params, i))(draw)
        change = jax.tree.map(lambda g, rows: g - rows[draw], seen, table.rows)
        slope = jax.tree.map(
            lambda mean, rows: mean - jnp.mean(rows[draw], axis=0), table.mean, table.rows
        )
        # An example that was drawn twice is put down once.
        once = 1 / jnp.sum(draw[:, None] == draw[None, :], axis=1)
        mean = jax.tree.map(
            lambda mean, c: mean + jnp.tensordot(once.astype(c.dtype), c, axes=1) / _count(problem),
            table.mean,
            change,
        )
        rows = jax.tree.map(lambda rows, g: rows.at[draw].set(g), table.rows, seen)
        return Tilted(part, slope, params), self.holding(Table(rows, mean))

    def counts(self, problem: Problem) -> Counts:
        looks = 1 if self.batch == 1 else 2
        return Counts(gradients=looks, component_gradients=looks * self.batch)

    def spent(self, problem: Problem, steps: np.ndarray) -> np.ndarray:
        """The table first, then what looks took."""
        return _count(problem) + super().spent(problem, steps)

    def size(self, problem: Problem, params: Params) -> int:
        return _count(problem)

    def noise(self, problem: Problem, params: Params, xi: Float[Array, " m"]) -> Params:
        table: Table = self.held()
        weights = (xi - jnp.mean(xi)) / (self.batch * xi.size) ** 0.5
        known = jax.tree.map(
            lambda rows: jnp.tensordot(weights.astype(rows.dtype), rows, axes=1), table.rows
        )
        return tree.difference(self.batches.noise(problem, params, xi), known)


def _count(problem: Problem) -> int:
    whole: Supervised = supervised_in(problem, *FOR)
    return len(whole.inputs)


def _whole(value: Any, name: str) -> int:
    require(
        not misfit(value, int) and value >= 1,
        f"{name} came as {told(value)}; give a whole number from 1 on",
    )
    return int(value)


def _period(value: int | None) -> int | None:
    return None if value is None else _whole(value, "period")


def svrg(batch: int = 1, period: int | None = None, replace: bool = True) -> Anchored:
    """Batches corrected by an anchor a, where the full gradient is known (SVRG).

        g = grad f_B(theta) - grad f_B(a) + grad f(a),
        Sigma = 1/b Cov_i(grad f_i(theta) - grad f_i(a)):

    unbiased, and without noise where theta and a meet. The anchor is renewed every `period` steps.

    Args:
        batch: b, examples a step.
        period: Steps from anchor to anchor; None for two passes over the data, 2n/b.
        replace: Whether examples are drawn with replacement, all independently, or as passes.

    Raises:
        InputError: If a number is out of range; at the start of a run, if there are too few
            examples, or none.

    Cost: 2b gradients of single examples a step, and n at each anchor; twice the parameters in
    memory.

    Source: Johnson and Zhang (2013).

    Examples:
        >>> x, y = np.array([[1.0], [1.0]]), np.array([[0.0], [2.0]])
        >>> two = tw.problems.supervised(tw.models.linear([]), (x, y))
        >>> params = [{"weight": jnp.zeros((1, 1))}]
        >>> steady = tw.oracles.svrg().begin(two, params)
        >>> float(steady.covariance(two, params).trace())
        0.0
    """
    return Anchored(MiniBatch(_whole(batch, "batch"), bool(replace)), _period(period))


def sarah(batch: int = 1, period: int | None = None, replace: bool = True) -> Anchored:
    """Batches corrected by the step before (SARAH).

        v_k = grad f_B(theta_k) - grad f_B(theta_(k-1)) + v_(k-1),
        v_k = grad f(theta_k) every `period` steps.

    Biased, given what it remembers: E v_k = grad f(theta_k) + v_(k-1) - grad f(theta_(k-1)). Its
    covariance is that of grad f_B(theta_k) - grad f_B(theta_(k-1)).

    Args:
        batch: b, examples a step.
        period: Steps from one full gradient to the next; None for two passes over the data, 2n/b.
        replace: Whether examples are drawn with replacement, all independently, or as passes.

    Raises:
        InputError: As `svrg`.

    Cost: 2b gradients of single examples a step, and n every `period`; twice the parameters in
    memory.

    Source: Nguyen, Liu, Scheinberg and Takac (2017), arXiv 1703.00102.

    Examples:
        >>> tw.oracles.sarah(4).unbiased, tw.oracles.svrg(4).unbiased
        (False, True)
    """
    return Anchored(MiniBatch(_whole(batch, "batch"), bool(replace)), _period(period), True)


def spider(batch: int, period: int, reference: int) -> Anchored:
    """SARAH whose full gradient is that of a large batch (SPIDER).

    As `sarah`, with v_k = grad f_R(theta_k) every `period` steps, R of `reference` examples; all
    are drawn with replacement. Biased, given what it remembers. The paper takes normalised steps:
    `tw.dynamics.normalised_descent`.

    Args:
        batch: b, examples a step.
        period: Steps from one large batch to the next.
        reference: Examples in it.

    Raises:
        InputError: As `svrg`.

    Cost: 2b gradients of single examples a step, and `reference` every `period`; twice the
    parameters in memory.

    Source: Fang, Li, Lin and Zhang (2018), arXiv 1807.01695.

    Examples:
        >>> problem = tw.problem("digits", samples=50, model="mlp:8")
        >>> tw.oracles.spider(4, 10, 20).counts(problem).component_gradients  # 2 * 4 + 20/10
        10.0
    """
    batches = MiniBatch(_whole(batch, "batch"), True)
    return Anchored(batches, _period(period), True, _whole(reference, "reference"))


def saga(batch: int = 1) -> Saga:
    """Batches corrected by a table of the last gradient seen of every example (SAGA).

        g = 1/b sum_(i in B) (grad f_i(theta) - t_i) + 1/n sum_i t_i,
        Sigma = 1/b Cov_i(grad f_i(theta) - t_i):

    unbiased; afterwards t_i = grad f_i(theta) for i in B. Examples are drawn with replacement.

    Args:
        batch: b, examples a step.

    Raises:
        InputError: If it is no whole number of at least 1; at the start of a run, if the problem
            has no examples, or they have no gradients of their own, or the table does not fit.

    Cost: b gradients of single examples a step if b is 1, else 2b; n at the start. The table holds
    n times the parameters.

    Source: Defazio, Bach and Lacoste-Julien (2014), arXiv 1407.0202.

    Examples:
        >>> x, y = np.array([[1.0], [1.0]]), np.array([[0.0], [2.0]])
        >>> two = tw.problems.supervised(tw.models.linear([]), (x, y))
        >>> here = [{"weight": jnp.zeros((1, 1))}]
        >>> tw.oracles.saga().begin(two, here).memory.rows[0]["weight"].ravel().tolist()
        [0.0, -2.0]
    """
    return Saga(_whole(batch, "batch"))
