"""The end-to-end rule as a dynamics: what a deep linear net does, on its product alone."""

from __future__ import annotations

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require
from thalweg.core.ranges import from_zero
from thalweg.core.result import finite
from thalweg.core.tree import Params
from thalweg.dynamics.descent import nearest_count
from thalweg.dynamics.dynamics import Discrete, Info, State, fresh, step_size_array
from thalweg.dynamics.stability import StabilityRule, descent_rule, no_rule
from thalweg.problems.problem import Problem


class EndToEndDescent(Discrete):
    """W <- (1 - eta lambda N) W - eta sum_j [W W^T]^{(j-1)/N} grad L(W) [W^T W]^{(N-j)/N}.

    Gradient descent on the matrices of a deep linear net, balanced at the start, follows it to
    O(eta) at a fixed training time. The problem's parameters are one matrix (out, in), bare or in
    a tree, as those of `linear([])`. Deterministic. Step k sits at training time k * eta. Cost: one
    gradient and one singular value decomposition a step.

    Attributes:
        step_size: eta.
        depth: N, the number of matrices; 1 is gradient descent.
        weight_decay: lambda, of every matrix.

    Source: Arora, Cohen and Hazan (2018), Theorem 1.
    """

    step_size: Float[Array, ""] = eqx.field(converter=step_size_array)
    depth: int = eqx.field(static=True)
    weight_decay: Float[Array, ""] = eqx.field(
        converter=partial(from_zero, "weight decay"), default=0.0
    )

    def __check_init__(self) -> None:
        require(
            self.depth >= 1,
            f"the depth came as {self.depth}; give the number of matrices, at least 1",
        )

    @property
    def name(self) -> str:
        return f"end-to-end descent of depth {self.depth}"

    def init(self, problem: Problem, params: Params) -> State:
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(params)]
        require(
            len(shapes) == 1 and len(shapes[0]) == 2,
            f"parameters of shapes {shapes} came; give one matrix, as of linear([])",
        )
        return fresh(params, ())

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        loss, gradient = jax.value_and_grad(problem.objective)(state.params)

        def moved(W: Array, G: Array) -> Array:
            decay = self.weight_decay.astype(W.dtype) * self.depth * W
            slope = depth_preconditioned(W, G, self.depth) + decay
            return W - self.step_size.astype(W.dtype) * slope

        count = state.step + 1
        after = state._replace(
            params=jax.tree.map(moved, state.params, gradient),
            time=count.astype(jnp.float64) * self.step_size,
            step=count,
            evaluations=state.evaluations + 1,
            result=jnp.maximum(state.result, finite(loss)),
        )
        return after, Info(loss)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(steps) * float(self.step_size)

    def steps_until(self, time: float) -> int:
        return nearest_count(time, float(self.step_size))

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        if self.depth == 1:  # gradient descent, its objective with lambda/2 ||W||^2
            rule = descent_rule(float(self.step_size))
            decay = float(self.weight_decay)
            if decay == 0:
                return rule
            lowered = rule.threshold - decay
            return rule._replace(threshold=lowered, formula="2/eta - weight decay")
        return no_rule("what bounds it is the sharpness of the deep net whose product it moves")


def depth_preconditioned(
    W: Float[Array, "out in"], G: Float[Array, "out in"], depth: int
) -> Float[Array, "out in"]:
    """sum_j [W W^T]^{(j-1)/N} G [W^T W]^{(N-j)/N}, j = 1..N, in the singular vectors of W.

    Only the first and the last power are the whole identity, so that all terms between them lie
    in the range of W. Exact up to rounding. Cost: one thin singular value decomposition.
    """
    if depth == 1:
        return G
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    outer = s ** (2 * (depth - 1) / depth)
    ends = ((G @ Vt.T) * outer[None]) @ Vt + U @ (outer[:, None] * (U.T @ G))
    between = [
        s[:, None] ** (2 * (j - 1) / depth) * s[None] ** (2 * (depth - j) / depth)
        for j in range(2, depth)
    ]
    inner = U.T @ G @ Vt.T
    return ends + U @ (sum(between, jnp.zeros_like(inner)) * inner) @ Vt


def end_to_end_descent(
    step_size: float | Array, depth: int, weight_decay: float | Array = 0.0
) -> EndToEndDescent:
    """The end-to-end rule with a constant step size; see `EndToEndDescent`.

    Examples:
        >>> start = [{"weight": jnp.array([[1.0]])}]
        >>> net = tw.models.given_start(tw.models.linear([]), start)
        >>> problem = tw.problems.supervised(net, (np.array([[1.0]]), np.array([[3.0]])))
        >>> rule = tw.dynamics.end_to_end_descent(0.1, depth=2)  # w <- w - 0.1 * 2 |w| (w - 3)
        >>> path = tw.run(problem, rule, until=0.1, records=1)
        >>> path.dataset["parameters"].values.ravel().round(6).tolist()
        [1.0, 1.4]
    """
    return EndToEndDescent(
        step_size_array(step_size), depth, from_zero("weight decay", weight_decay)
    )
