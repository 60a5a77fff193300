"""A linear classifier: the summed loss of its margins, labels absorbed into the inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.errors import choose, require
from thalweg.core.tree import Params
from thalweg.problems.margin_losses import MARGIN_LOSSES, MarginLoss
from thalweg.problems.problem import Problem


class LinearClassifier(Problem):
    """L(w) = sum_n l(x_n . w), the sum over examples, not their mean.

    Attributes:
        X: Inputs times labels +1 or -1, shape (n, d).
        loss: The loss of a margin.
        start: w(0), shape (d,).

    Source: Soudry et al. (2018), the setting.
    """

    X: Float[Array, "n d"]
    loss: MarginLoss
    start: Float[Array, " d"]

    def init(self, key: Array) -> Params:
        return self.start

    def margins(self, params: Params) -> Float[Array, " n"]:
        """x_n . w (unit: input times weight)."""
        return self.X @ params

    def objective(self, params: Params) -> Float[Array, ""]:
        return jnp.sum(self.loss.value(self.margins(params)))

    def log_objective(self, params: Params) -> Float[Array, ""]:
        """Logarithm of L(w), also where L(w) is below the smallest positive number."""
        return jax.scipy.special.logsumexp(self.loss.log(self.margins(params)))

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "linear classifier",
            "loss": self.loss.name,
            "examples": int(self.X.shape[0]),
            "inputs": int(self.X.shape[1]),
        }


def linear_classifier(
    X: ArrayLike, loss: str | MarginLoss = "logistic", start: ArrayLike | None = None
) -> LinearClassifier:
    """A linear classifier on inputs with labels absorbed.

    Args:
        X: y_n x_n with y_n = +1 or -1, shape (n, d); see `thalweg.theory.limits.max_margin.absorb`.
        loss: "logistic", "exponential", or a `MarginLoss` as `power_tail(2)`.
        start: w(0), shape (d,); zero by default.

    Raises:
        InputError: If shapes or the name of the loss do not fit.

    Examples:
        >>> problem = tw.problems.linear_classifier([[1.0, 0.0], [0.0, 1.0]], "exponential")
        >>> float(problem.objective(jnp.zeros(2)))  # exp(0), summed over two examples
        2.0
    """
    inputs = jnp.asarray(X, jnp.float64)
    require(inputs.ndim == 2, f"inputs of shape {inputs.shape} came; give (examples, features)")
    w = jnp.zeros(inputs.shape[1]) if start is None else jnp.asarray(start, jnp.float64)
    require(
        w.shape == inputs.shape[1:],
        f"the start has shape {w.shape}, the examples have {inputs.shape[1]} features",
    )
    kind = choose(loss, MARGIN_LOSSES, "margin loss") if isinstance(loss, str) else loss
    return LinearClassifier(inputs, kind, w)


def log_objective(problem: Problem) -> Callable[[Params], Array]:
    """Logarithm of a positive objective f, without underflow where the problem knows how."""
    if isinstance(problem, LinearClassifier):
        return problem.log_objective
    return lambda params: jnp.log(problem.objective(params))
