"""A term that rewards interaction between far patches of an input, against locality."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from thalweg.core.errors import require
from thalweg.core.ranges import from_zero
from thalweg.core.tree import Params
from thalweg.problems.problem import Supervised

EPSILON = 1e-12


def interaction_regulariser(
    f: Callable[[Float[Array, "n ..."]], Float[Array, " n"]],
    x: Float[Array, "n ..."],
    patch_p: Bool[Array, "..."],
    patch_q: Bool[Array, "..."],
    epsilon: float = EPSILON,
) -> Float[Array, ""]:
    """R = mean_i | cos( grad_{x_p} f(x_i), grad_{x_p} f(x'_i) ) |, to be added to a loss.

    x'_i is x_i with patch q replaced by that of the example before it (the last one's for the
    first). The less the gradient on p depends on what stands in q, the larger R: it is 1 if
    f = g(x_p) + h(x_q) or f = g(x_p) h(x_q). Adding lambda R to a loss works against locality.

    Args:
        f: Maps a batch to one score for each example: a logit, that of the true label.
        x: The batch, at least two examples.
        patch_p: Which entries of an example belong to p, for all alike or (n, ...) for each.
        patch_q: The same for q, which has none of them.
        epsilon: Added under both roots, (gradient)^2: an example whose gradient vanishes counts
            0 and does not make derivatives NaN. Others are changed by epsilon / ||gradient||^2.

    Returns:
        A number from 0 to 1; twice differentiable where f is three times and no cosine is 0.
        Cost: two gradients in x; with respect to parameters, the derivative of these, about six
        passes more.

    Raises:
        InputError: If there is only one example.

    Source: Razin, Maman and Cohen (2022), regularisation against locality.

    Examples:
        >>> f = lambda x: x[:, 0] ** 2 + x[:, 1] ** 2  # nothing between the two patches
        >>> p, q = jnp.array([True, False]), jnp.array([False, True])
        >>> x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
        >>> round(float(tw.problems.interaction_regulariser(f, x, p, q)), 6)
        1.0
    """
    require(len(x) >= 2, "a batch of one example came; the term compares at least two")
    gradient = jax.grad(lambda batch: jnp.sum(f(batch)))
    p, q = (jnp.broadcast_to(patch, x.shape) for patch in (patch_p, patch_q))
    exchanged = jnp.where(q, jnp.roll(x, 1, axis=0), x)
    a, b = (jnp.where(p, gradient(v), 0).reshape(len(x), -1) for v in (x, exchanged))
    sizes = (jnp.sum(a**2, 1) + epsilon) * (jnp.sum(b**2, 1) + epsilon)
    return jnp.mean(jnp.abs(jnp.sum(a * b, 1)) / jnp.sqrt(sizes))


class LongRange(Supervised):
    """A supervised problem plus lambda times `interaction_regulariser`, on any model.

    Make it with `long_range`. The score is the output of the true label, or the only output.
    Example i of a batch takes the pair of patches i mod k, so that with batches drawn at random
    every example meets every pair. Mini-batches are drawn as for any supervised problem; as the
    term compares examples within a batch, their noise has no known covariance.

    Attributes:
        pairs: Which entries belong to p and to q, (k, 2, ...) with the shape of an example.
        strength: lambda, at least 0 (unit: loss).
    """

    pairs: Bool[Array, "k 2 ..."] = eqx.field(default_factory=lambda: jnp.zeros((0, 2), bool))
    strength: Float[Array, ""] = eqx.field(converter=partial(from_zero, "strength"), default=1.0)

    def objective(self, params: Params) -> Float[Array, ""]:
        kind = self.inputs.dtype
        return super().objective(params) + self.strength.astype(kind) * self.interaction(params)

    @property
    def smooth(self) -> bool:
        """False: where gradients on p turn past a right angle, |cos| has a kink."""
        return False

    def interaction(self, params: Params) -> Float[Array, ""]:
        """R on the examples, without lambda."""
        turn = jnp.arange(len(self.inputs)) % len(self.pairs)
        p, q = jnp.moveaxis(self.pairs[turn], 1, 0)
        return interaction_regulariser(lambda x: self._scores(params, x), self.inputs, p, q)

    def _scores(self, params: Params, x: Array) -> Float[Array, " n"]:
        out = self.model.apply(params, x)
        return out[:, 0] if out.shape[1] == 1 else jnp.sum(out * self.targets, 1)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "interaction_strength": float(self.strength)}


def long_range(problem: Supervised, pairs: Any, strength: float | Array) -> LongRange:
    """A problem with the term that rewards interaction between patches; see `LongRange`.

    Args:
        problem: Any supervised problem.
        pairs: Booleans (k, 2, ...): for each pair, which entries of an example are p and which q.
        strength: lambda; the paper takes 0.1 to 9.

    Raises:
        InputError: If the masks do not fit an example, are empty, or overlap.

    Examples:
        >>> data = (np.array([[1.0, 2.0], [3.0, 4.0]]), np.zeros((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> harder = tw.problems.long_range(problem, [[[True, False], [False, True]]], strength=0.5)
        >>> params = [{"weight": jnp.ones((1, 2))}]
        >>> round(float(harder.objective(params) - problem.objective(params)), 6)  # R = 1
        0.5
    """
    masks = jnp.asarray(pairs)
    example = problem.inputs.shape[1:]
    require(
        masks.dtype == bool and masks.shape[1:] == (2, *example) and len(masks) > 0,
        f"pairs came as {masks.dtype} of shape {masks.shape}; give booleans (k, 2, *{example})",
    )
    filled = jnp.any(masks.reshape(len(masks), 2, -1), 2)
    require(bool(jnp.all(filled)), "a patch without entries came; every patch needs at least one")
    require(not bool(jnp.any(masks[:, 0] & masks[:, 1])), "patches overlap; p and q are disjoint")
    given = {name: getattr(problem, name) for name in problem.__dataclass_fields__}
    return LongRange(**given, pairs=masks, strength=from_zero("strength", strength))
