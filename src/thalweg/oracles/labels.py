"""Label noise: each step sees labels that were moved at random."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require, unknown
from thalweg.core.ranges import from_zero
from thalweg.core.tree import Params
from thalweg.oracles.examples_shown import supervised_in, with_supervised
from thalweg.oracles.oracle import Oracle
from thalweg.oracles.random_numbers import normals
from thalweg.problems.losses import Loss
from thalweg.problems.problem import Problem, Supervised

FOR = ("whose labels could be moved", "give a supervised problem, or isotropic noise")
LAWS = ("normal", "sign")


class LabelNoise(Oracle):
    """Labels moved at random at each step; see `label_noise`.

    Attributes:
        sigma: Standard deviation of what is added to a label (unit: target).
        single: Whether one label alone is moved.
        law: "normal", or "sign" for +-sigma.
    """

    sigma: Float[Array, ""] = eqx.field(converter=partial(from_zero, "sigma"))
    single: bool = eqx.field(static=True, default=False)
    law: str = eqx.field(static=True, default="normal")

    @property
    def name(self) -> str:
        return "with noise on a label" if self.single else "with noise on labels"

    @property
    def source(self) -> str:
        return "label noise"

    def suit(self, problem: Problem) -> None:
        whole = supervised_in(problem, *FOR)
        require(
            _affine(whole.loss, whole),
            f"label noise leaves the gradient of {whole.loss.name!r} not unbiased, as this is not "
            "affine in the label; take squared-error or cross-entropy, or isotropic noise",
        )

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        whole = supervised_in(problem, *FOR)
        (n, k), kind = whole.targets.shape, whole.targets.dtype
        places, moves = jax.random.split(key)
        shape = (count, k) if self.single else (count, n, k)
        if self.law == "normal":
            xi = normals(moves, shape, kind)
        else:
            xi = jax.random.rademacher(moves, shape, kind)
        return (jax.random.randint(places, (count,), 0, n, jnp.int32), xi) if self.single else xi

    def see(self, problem: Problem, params: Params, draw: Any) -> Problem:
        whole = supervised_in(problem, *FOR)
        sigma = self.sigma.astype(whole.targets.dtype)
        if self.single:
            # One label moved n times as far in the full objective gives the noise of one example.
            place, xi = draw
            # Not by a scatter, which costs half a small step.
            here = jnp.arange(len(whole.targets), dtype=place.dtype) == place
            moved = whole.targets + jnp.where(here[:, None], sigma * len(whole.targets) * xi, 0)
        else:
            moved = whole.targets + sigma * draw
        return with_supervised(problem, dataclasses.replace(whole, targets=moved))

    def size(self, problem: Problem, params: Params) -> int:
        return supervised_in(problem, *FOR).targets.size

    def share_of_hessian(self, problem: Problem) -> Array:
        whole = supervised_in(problem, *FOR)
        n = len(whole.targets)
        return self.sigma**2 * (n if self.single else 1) / (n if whole.reduction == "mean" else 1)

    def noise(self, problem: Problem, params: Params, xi: Float[Array, " m"]) -> Params:
        whole = supervised_in(problem, *FOR)
        spread = len(whole.targets) ** 0.5 if self.single else 1.0
        moves = self.sigma.astype(xi.dtype) * spread * xi.reshape(whole.targets.shape)

        def moved(params: Params) -> Array:
            def objective(targets: Array) -> Array:
                return dataclasses.replace(whole, targets=targets).objective(params)

            return jax.jvp(objective, (whole.targets,), (moves.astype(whole.targets.dtype),))[1]

        return jax.grad(moved)(params)


def label_noise(sigma: float | Array, single: bool = False, law: str = "normal") -> LabelNoise:
    """Fresh noise on the labels at each step.

    All labels are moved by sigma xi, xi independent of mean 0 and variance 1: for squared error

        g = grad f - sigma/n J^T xi,    Sigma = sigma^2/n^2 J^T J,

    J the Jacobian of all outputs; at an exact fit sigma^2/n times the Hessian. With `single` the
    full gradient is taken with the noise of one random example, -sigma J_i^T xi: Sigma is n times
    larger, sigma^2 times the Hessian at an exact fit, that of steps on single examples there,
    which need far smaller step sizes. (For a loss without the factor 1/2 moves count double.)

    Args:
        sigma: Standard deviation, at least 0 (unit: target).
        single: Whether one random label is moved at each step.
        law: "normal", or "sign" for noise +-sigma.

    Raises:
        InputError: If a number or a name is out of range; at the start of a run, if the problem
            has no labels, or its loss is not affine in them, so that the noise would not average
            out (squared error and cross-entropy are).

    Cost: a step costs one gradient; a product with Sigma about 4.

    Source: Blanc et al. (2020); Li, Wang and Arora (2022), arXiv 2110.06914.

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.array([[1.0], [4.0]]))
        >>> fit, params = tw.problems.supervised(tw.models.linear([]), data), jnp.ones((1, 2))
        >>> sigma = tw.oracles.label_noise(0.5).covariance(fit, [{"weight": params}])
        >>> sigma.dense().tolist()  # 0.5^2/2^2 X^T X
        [[0.0625, 0.0], [0.0, 0.25]]
    """
    require(law in LAWS, unknown(law, LAWS, "law of the noise"))
    return LabelNoise(from_zero("sigma", sigma), bool(single), law)


def _affine(loss: Loss, problem: Supervised) -> bool:
    """Whether the gradient of a loss in the outputs is affine in the label, at a drawn point."""
    shape, kind = problem.targets.shape[1:], problem.targets.dtype
    with jax.ensure_compile_time_eval():
        outputs, label, move = (
            jax.random.normal(jax.random.key(i), shape, jnp.float64).astype(kind) for i in range(3)
        )
        g = [jax.grad(loss.one)(outputs, label + c * move) for c in (-1, 0, 1)]
        bent = jnp.max(jnp.abs(g[0] - 2 * g[1] + g[2]))
        size = jnp.max(jnp.abs(jnp.stack(g)))
        return bool(bent <= 1e3 * float(jnp.finfo(kind).eps) * size)
