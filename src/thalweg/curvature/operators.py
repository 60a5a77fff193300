"""Curvature matrices as maps: Hessian, Gauss-Newton, Fisher, Jacobian, on all or some parameters.

Everything is exact over the data; a problem's `microbatch` bounds the memory and changes a result
by rounding only. Cost is counted in gradients of the full objective, with a pass backward as dear
as two forward: a Hessian product is 2, a product with J^T C J 4/3, with J 2/3, with J^T 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from thalweg.core.errors import InputError, require
from thalweg.core.hessian_product import Product, hessian_product
from thalweg.core.selection import Part, Where, part_of
from thalweg.core.tree import Params
from thalweg.curvature.metrics import LossHessian, Metric, OwnGradient, SampledGradients
from thalweg.curvature.operator import ABREAST, Operator
from thalweg.problems.likelihoods import LIKELIHOODS
from thalweg.problems.problem import Problem, Supervised


class _OnParameters(Operator):
    """A symmetric map on (a part of) a problem's parameters."""

    problem: Problem
    part: Part

    @property
    def shape(self) -> tuple[int, int]:
        return self.part.theta.size, self.part.theta.size

    @property
    def dtype(self) -> np.dtype:
        return self.part.theta.dtype

    @property
    def abreast(self) -> int:
        return ABREAST if getattr(self.problem, "microbatch", None) is None else 1

    def _entered(self, tree: Any) -> Array:
        return self.part.flat(tree)

    def _left(self, flat: Array) -> Any:
        return self.part.tree(flat)


class Hessian(_OnParameters):
    """The Hessian of the full objective; see `hessian`."""

    cost: ClassVar[float] = 2.0

    def prepared(self) -> Product:
        part = self.part
        return hessian_product(lambda t: self.problem.objective(part.params(t)), part.theta)


class Pullback(_OnParameters):
    """J^T C J, the metric C of outputs pulled back to the parameters."""

    problem: Supervised
    metric: Metric
    cost: ClassVar[float] = 4 / 3

    def prepared(self) -> Product:
        problem, part, theta = self.problem, self.part, self.part.theta

        def at(x: Array, y: Array, index: Array, new: Array) -> Product:
            out, push = jax.linearize(lambda t: problem.model.apply(part.params(t), x), theta)
            pull = jax.linear_transpose(push, theta)
            curved = self.metric(problem.loss, out, y, index)
            return lambda v: pull(jnp.where(new[:, None], curved(push(v)), 0))[0]

        total = _summed(problem, at, theta)
        share = len(problem.inputs) if problem.reduction == "mean" else 1
        return lambda v: total(v) / share


class Jacobian(_OnParameters):
    """J or its transpose; see `jacobian`."""

    problem: Supervised
    transposed: bool = eqx.field(static=True, default=False)
    symmetric: ClassVar[bool] = False

    @property
    def cost(self) -> float:  # type: ignore[override]
        """Gradients of the full objective that a product costs."""
        return 1.0 if self.transposed else 2 / 3

    @property
    def shape(self) -> tuple[int, int]:
        sides = self.problem.targets.size, self.part.theta.size
        return sides[::-1] if self.transposed else sides

    @property
    def T(self) -> Jacobian:  # noqa: N802
        return Jacobian(self.problem, self.part, not self.transposed)

    def prepared(self) -> Product:
        problem, part, theta = self.problem, self.part, self.part.theta
        if not self.transposed:

            def outputs(t: Array) -> Array:
                return problem.outputs(part.params(t)).ravel()

            if problem.microbatch is None:
                return jax.linearize(outputs, theta)[1]
            return lambda v: jax.jvp(outputs, (theta,), (v,))[1]

        def at(x: Array, y: Array, index: Array, new: Array) -> Product:
            pull = jax.vjp(lambda t: problem.model.apply(part.params(t), x), theta)[1]
            return lambda u: pull(
                jnp.where(new[:, None], u.reshape(problem.targets.shape)[index], 0)
            )[0]

        return _summed(problem, at, theta)

    def _entered(self, tree: Any) -> Array:
        if not self.transposed:
            return self.part.flat(tree)
        shape = self.problem.targets.shape
        require(
            jnp.shape(tree) == shape,
            f"{jnp.shape(tree)} came; give outputs of shape {shape}, a vector of "
            f"{self.shape[1]} entries or a block of such columns",
        )
        return jnp.asarray(tree, self.dtype).ravel()

    def _left(self, flat: Array) -> Any:
        return self.part.tree(flat) if self.transposed else flat.reshape(self.problem.targets.shape)


def _summed(
    problem: Supervised,
    at: Callable[
        [Float[Array, "m ..."], Float[Array, "m k"], Int[Array, " m"], Bool[Array, " m"]], Product
    ],
    like: Float[Array, " p"],
) -> Product:
    """The sum over examples of products, `problem.microbatch` examples at a time.

    `at(x, y, index, new)` is the product of some examples: their inputs, targets, places in the
    data, and which of them count (the last block repeats some to be full).
    """
    n, size = len(problem.inputs), problem.microbatch
    if size is None or size >= n:
        return at(problem.inputs, problem.targets, jnp.arange(n), jnp.ones(n, bool))

    def product(v: Array) -> Array:
        def on(total: Array, first: Array) -> tuple[Array, None]:
            begin = jnp.minimum(first, n - size)
            x, y = (
                jax.lax.dynamic_slice_in_dim(a, begin, size)
                for a in (problem.inputs, problem.targets)
            )
            index = begin + jnp.arange(size)
            return total + at(x, y, index, index >= first)(v), None

        return jax.lax.scan(on, jnp.zeros_like(like), jnp.arange(0, n, size))[0]

    return product


def hessian(problem: Problem, params: Params, where: Where = None) -> Hessian:
    """The Hessian H of the full objective at the parameters.

    Args:
        problem: What is trained; any `Problem`.
        params: The point.
        where: The part of the parameters, all by default: a layer or a leaf by name, as "1" or
            "1.weight"; a function of a leaf's name; or booleans in the structure of the parameters.

    Returns:
        Operator (p, p), loss/parameter^2; exact up to rounding. For piecewise smooth nets it is
        the Hessian of the linear piece. Cost of a product: 2 gradients.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: x[0] ** 2 + 3 * x[0] * x[1], start=jnp.zeros(2))
        >>> H = tw.curvature.hessian(bowl, bowl.start)
        >>> H.dense().tolist(), (H @ jnp.array([1.0, 0.0])).tolist()
        ([[2.0, 3.0], [3.0, 0.0]], [2.0, 3.0])
    """
    return Hessian(problem, part_of(params, where))


def gauss_newton(problem: Problem, params: Params, where: Where = None) -> Pullback:
    """The generalised Gauss-Newton matrix G = 1/n sum_i J_i^T H_i J_i, positive semidefinite.

    H_i is the Hessian of the loss of one example in its k outputs: the identity for squared
    error, diag(p) - p p^T for cross-entropy, the tangent of the output gradient for other losses;
    never a k x k matrix. G is the Hessian of the objective with the outputs linearised. Without
    the factor 1/n where the problem sums over examples. Source: Schraudolph (2002).

    Returns:
        Operator (p, p), loss/parameter^2; exact up to rounding. Cost of a product: 4/3 gradients.

    Raises:
        InputError: If the problem has no model and data.

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.zeros((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> G = tw.curvature.gauss_newton(problem, [{"weight": jnp.ones((1, 2))}])
        >>> G.dense().tolist()  # X^T X / n
        [[0.5, 0.0], [0.0, 2.0]]
    """
    return Pullback(_supervised(problem, "gauss_newton"), part_of(params, where), LossHessian())


def fisher(problem: Problem, params: Params, where: Where = None) -> Pullback:
    """The Fisher information matrix F = 1/n sum_i E_y[g_i(y) g_i(y)^T], y drawn from the model.

    g_i(y) is the gradient of -log p(y | x_i): softmax probabilities for cross-entropy, a Gaussian
    of unit variance about the outputs for squared error, coins for binary cross-entropy. For all
    three F is the Gauss-Newton matrix (Martens 2020), and the expectation is exact. Cost of a
    product: 4/3 gradients.

    Raises:
        InputError: If the loss is none of them, or the problem has no model and data.

    Examples:
        >>> data = (np.eye(2), np.array([[1.0], [2.0]]))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> F = tw.curvature.fisher(problem, [{"weight": jnp.zeros((1, 2))}])
        >>> F.dense().tolist()  # J^T J / n, whatever the targets
        [[0.5, 0.0], [0.0, 0.5]]
    """
    return Pullback(_likelihood(problem, "fisher"), part_of(params, where), LossHessian())


def fisher_sampled(
    problem: Problem, params: Params, key: Array, samples: int = 1, where: Where = None
) -> Pullback:
    """The Fisher matrix with the expectation replaced by `samples` draws for every example.

    Unbiased over the key, which fixes the draws: all products are with one matrix, of rank at
    most n * samples. Its standard error falls as 1/sqrt(samples); no estimate of it comes with
    the products. Cost of a product: 4/3 gradients.

    Raises:
        InputError: As `fisher`, or if `samples` is below 1.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([]), (np.eye(2), np.zeros((2, 1))))
        >>> params = [{"weight": jnp.zeros((1, 2))}]
        >>> F = tw.curvature.fisher_sampled(problem, params, jax.random.key(0), samples=10_000)
        >>> bool(jnp.allclose(F.dense(), jnp.eye(2) / 2, atol=0.05))  # near the Fisher matrix
        True
    """
    require(samples >= 1, f"samples came as {samples}; give at least 1")
    problem = _likelihood(problem, "fisher_sampled")
    return Pullback(problem, part_of(params, where), SampledGradients(key, samples))


def empirical_fisher(problem: Problem, params: Params, where: Where = None) -> Pullback:
    """The second moment 1/n sum_i g_i g_i^T of the gradients of single examples at their targets.

    It is not the Fisher matrix, whose targets are drawn from the model (Kunstner et al. 2019).
    Without the factor 1/n where the problem sums. Cost of a product: 4/3 gradients.

    Raises:
        InputError: If the problem has no model and data.

    Examples:
        >>> data = (np.eye(2), np.array([[1.0], [2.0]]))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> F = tw.curvature.empirical_fisher(problem, [{"weight": jnp.zeros((1, 2))}])
        >>> F.dense().tolist()  # gradients (-1, 0) and (0, -2), a mean over two examples
        [[0.5, 0.0], [0.0, 2.0]]
    """
    problem = _supervised(problem, "empirical_fisher")
    return Pullback(problem, part_of(params, where), OwnGradient())


def jacobian(problem: Problem, params: Params, where: Where = None) -> Jacobian:
    """The Jacobian of all outputs on the training inputs, and its transpose as `.T`.

    J[i k + c, j] = d outputs[i, c] / d params[j], no factor of the loss. Of a pytree it makes
    outputs (n, k); the transpose takes outputs (n, k) to a pytree.

    Returns:
        Operator (n k, p), output/parameter; exact up to rounding. Cost of a product: 2/3
        gradients, of the transpose 1.

    Raises:
        InputError: If the problem has no model and data.

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.zeros((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> J = tw.curvature.jacobian(problem, [{"weight": jnp.ones((1, 2))}])
        >>> J.dense().tolist()  # outputs are W x
        [[1.0, 0.0], [0.0, 2.0]]
    """
    return Jacobian(_supervised(problem, "jacobian"), part_of(params, where))


def _supervised(problem: Problem, what: str) -> Supervised:
    if isinstance(problem, Supervised):
        return problem
    raise InputError(
        f"{what} needs a model, a loss and examples, and the problem is a {type(problem).__name__};"
        " give a problem made by `supervised`, or use `hessian`"
    )


def _likelihood(problem: Problem, what: str) -> Supervised:
    problem = _supervised(problem, what)
    require(
        problem.loss.one in LIKELIHOODS,
        f"{what} needs a loss that is a likelihood, and it came as {problem.loss.name!r}; use "
        "squared-error, cross-entropy or binary-cross-entropy, or gauss_newton",
    )
    return problem
