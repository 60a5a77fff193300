"""Local energy: by how much the objective rises on average under random steps of the parameters."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.errors import require, unknown
from thalweg.core.result import Reading, finite
from thalweg.core.sampling import sample_mean
from thalweg.core.tree import Params
from thalweg.probes.flatness.measure import Costed, FlatnessMeasure
from thalweg.probes.probe import with_data
from thalweg.problems.problem import Problem, Supervised

NOISES = ("multiplicative", "additive")
QUANTITIES = ("auto", "error", "loss")


class LocalEnergy(FlatnessMeasure):
    """E_z E(w + sigma z * w) - E(w), z normal: the mean rise under multiplicative noise.

    value   (sigma,), 1 for the error (wrong share of the training examples), loss for the loss
    error   (sigma,), standard error over the draws, widened for few (`thalweg.core.sampling`)
    result  NONFINITE if a value is not finite
    cost    `draws` evaluations a sigma, twice that in pairs: no gradient

    With multiplicative noise and the same z it is unchanged where a hidden unit of a ReLU net is
    rescaled; additive noise, sigma z in place of sigma z * w, is unchanged by rotations instead.
    The z are those of `draw`, whatever the key: the same for all sigma, points and methods, so that
    ratios vary little. Source: Pittorino et al. (2021), section 2.2.
    """

    sigmas: tuple[float, ...] = eqx.field(static=True, default=(0.2, 0.3, 0.4, 0.5))
    draws: int = eqx.field(static=True, default=50)
    quantity: str = eqx.field(static=True, default="auto")
    noise: str = eqx.field(static=True, default="multiplicative")
    pairs: bool = eqx.field(static=True, default=False)
    draw: int = eqx.field(static=True, default=0)
    name: ClassVar[str] = "local_energy"
    unit: ClassVar[str] = "error or loss"
    dims: ClassVar[tuple[str, ...]] = ("sigma",)
    title: ClassVar[str] = "local energy"

    def __check_init__(self) -> None:
        fit = len(self.sigmas) > 0 and all(0 <= s < math.inf for s in self.sigmas)
        require(fit, f"sigmas came as {self.sigmas}; give numbers from 0 on, as (0.2, 0.4)")
        require(self.draws >= 2, f"draws came as {self.draws}; give at least 2, for an error")
        require(self.noise in NOISES, unknown(self.noise, NOISES, "noise"))
        require(self.quantity in QUANTITIES, unknown(self.quantity, QUANTITIES, "quantity"))

    @property
    def unchanged_by(self) -> tuple[str, ...]:
        """Rescaling under multiplicative noise, rotations and translations under additive noise."""
        own = ("rescaling",) if self.noise == "multiplicative" else ("translation", "rotation")
        return ("permutation", *own)

    def taken(self, problem: Problem, params: Params, key: Array) -> Costed:
        measured = self._measured(problem)
        theta, unravel = ravel_pytree(params)
        scale = theta if self.noise == "multiplicative" else jnp.ones_like(theta)
        here = measured(params)
        sigmas = jnp.asarray(self.sigmas, theta.dtype)

        def rises(key: Array) -> Float[Array, " sigma"]:
            z = jax.random.normal(key, theta.shape, theta.dtype) * scale

            def rise(sigma: Array) -> Array:
                up = measured(unravel(theta + sigma * z)) - here
                if not self.pairs:
                    return up
                return (up + measured(unravel(theta - sigma * z)) - here) / 2

            return jax.lax.map(rise, sigmas)

        drawn = jax.lax.map(rises, jax.random.split(jax.random.key(self.draw), self.draws))
        value, error = sample_mean(drawn)
        evaluations = 1 + len(self.sigmas) * self.draws * (2 if self.pairs else 1)
        return Costed(
            Reading(value, error, finite(here, value, error)), jnp.asarray(evaluations / 3)
        )

    def told_unit(self, problem: Problem) -> str:
        """The unit on a problem: 1 for the error, loss for the loss."""
        return "1" if self._of_errors(problem) else "loss"

    def _of_errors(self, problem: Problem) -> bool:
        labels = isinstance(problem, Supervised) and problem.classification
        return self.quantity == "error" or (self.quantity == "auto" and labels)

    def _measured(self, problem: Problem) -> Any:
        if not self._of_errors(problem):
            return problem.objective
        data = with_data(problem, "the local energy of the error")
        require(
            data.classification,
            "the local energy of the error needs labels; this problem is a regression: give "
            "quantity='loss'",
        )
        labels = jnp.argmax(data.targets, axis=1)

        def wrong(params: Params) -> Float[Array, ""]:
            outputs = data.outputs(params)
            share = jnp.mean((jnp.argmax(outputs, axis=1) != labels).astype(outputs.dtype))
            return jnp.where(jnp.all(jnp.isfinite(outputs)), share, jnp.nan)

        return wrong


def local_energy(
    sigmas: tuple[float, ...] = (0.2, 0.3, 0.4, 0.5),
    draws: int = 50,
    quantity: str = "auto",
    noise: str = "multiplicative",
    pairs: bool = False,
    draw: int = 0,
) -> LocalEnergy:
    """Mean rise of error or loss under random steps of the parameters; see `LocalEnergy`.

    Args:
        sigmas: Sizes of the noise.
        draws: How many z.
        quantity: "error" (needs labels), "loss", or "auto": the error where there are labels.
        noise: "multiplicative", on weights and biases alike, or "additive".
        pairs: Whether each z comes with -z, which takes out what is odd in z.
        draw: Which z: the same number gives the same for every point.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> probe = tw.probes.local_energy((0.3,), draws=4000, pairs=True)
        >>> rise, error, _ = tw.measure(bowl, bowl.start, probe)
        >>> bool(abs(rise[0] - 0.3**2 * 2 / 2) < 3 * error[0])  # sigma^2/2 sum_i H_ii w_i^2
        True
    """
    return LocalEnergy(tuple(sigmas), draws, quantity, noise, pairs, draw)
