"""Recover a tensor from some of its entries or from inner products, by a factorisation."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from thalweg.core.arguments import real_array
from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.models.tensor_factorisation import TensorFactorisation
from thalweg.problems.problem import Problem


class TensorRecovery(Problem):
    """mean_i (measurement_i(W) - y_i)^2, W the tensor of a factorisation; no factor 1/2.

    Class attributes that every recovery has:
        factorisation: Gives W from the parameters.
        values: The measurements y (m,).
        target: The tensor that they were taken of.
        std: All weights start as N(0, std^2).
    """

    factorisation: eqx.AbstractVar[TensorFactorisation]
    values: eqx.AbstractVar[Array]
    target: eqx.AbstractVar[Array]
    std: eqx.AbstractVar[Array]

    @abc.abstractmethod
    def measured(self, tensor: Float[Array, "..."]) -> Float[Array, " m"]:
        """The measurements of a tensor."""

    def init(self, key: Array) -> Params:
        return self.factorisation.init(key, self.std)

    def objective(self, params: Params) -> Float[Array, ""]:
        return jnp.mean((self.measured(self.factorisation.tensor(params)) - self.values) ** 2)

    def error(self, params: Params) -> Float[Array, ""]:
        """||W - W*||_F / ||W*||_F over all entries, the reconstruction error."""
        gap = self.factorisation.tensor(params) - self.target
        return jnp.linalg.norm(gap.ravel()) / jnp.linalg.norm(self.target.ravel())


class TensorCompletion(TensorRecovery):
    """Recovery from entries, at the flat (row-major) positions `index`."""

    factorisation: TensorFactorisation
    index: Int[Array, " m"]
    values: Float[Array, " m"]
    target: Float[Array, "..."]
    std: Float[Array, ""] = eqx.field(converter=real_array)

    def measured(self, tensor: Float[Array, "..."]) -> Float[Array, " m"]:
        return tensor.ravel()[self.index]


class TensorSensing(TensorRecovery):
    """Recovery from inner products with the rows of `design`, (m, number of entries)."""

    factorisation: TensorFactorisation
    design: Float[Array, "m entries"]
    values: Float[Array, " m"]
    target: Float[Array, "..."]
    std: Float[Array, ""] = eqx.field(converter=real_array)

    def measured(self, tensor: Float[Array, "..."]) -> Float[Array, " m"]:
        return self.design @ tensor.ravel()


def random_tensor(factorisation: TensorFactorisation, key: Array, norm: float = 1.0) -> Array:
    """The tensor of N(0, 1) weights, scaled to a Frobenius norm: a low-rank ground truth.

    Examples:
        >>> cp = tw.models.CPFactorisation((2, 3, 2), 1)
        >>> T = tw.problems.random_tensor(cp, jax.random.key(0), norm=5.0)
        >>> T.shape, round(float(jnp.linalg.norm(T)), 6)
        ((2, 3, 2), 5.0)
    """
    tensor = factorisation.tensor(factorisation.init(key))
    return norm * tensor / jnp.linalg.norm(tensor.ravel())


def tensor_completion(
    factorisation: TensorFactorisation,
    target: Float[Array, "..."],
    observed: int,
    key: Array,
    std: float | Array = 0.1,
) -> TensorCompletion:
    """Completion of a tensor from `observed` entries, drawn uniformly without replacement.

    Raises:
        InputError: If shapes do not fit or there are not so many entries.

    Examples:
        >>> cp = tw.models.CPFactorisation((2, 2), 1)
        >>> problem = tw.problems.tensor_completion(cp, 3 * jnp.ones((2, 2)), 4, jax.random.key(0))
        >>> ones = jax.tree.map(jnp.ones_like, problem.init(jax.random.key(0)))
        >>> round(float(problem.objective(ones)), 6)  # (1 - 3)^2 at every entry
        4.0
    """
    target = _checked(factorisation, target, observed)
    require(observed <= target.size, f"{observed} of {target.size} entries came; give at most all")
    index = jnp.sort(jax.random.choice(key, target.size, (observed,), replace=False))
    return TensorCompletion(
        factorisation=factorisation,
        index=index,
        values=target.ravel()[index],
        target=target,
        std=jnp.asarray(std),
    )


def tensor_sensing(
    factorisation: TensorFactorisation,
    target: Float[Array, "..."],
    measurements: int,
    key: Array,
    std: float | Array = 0.1,
) -> TensorSensing:
    """Recovery from inner products with tensors whose entries are independent N(0, 1).

    Raises:
        InputError: If shapes do not fit.

    Examples:
        >>> cp = tw.models.CPFactorisation((2, 2), 1)
        >>> problem = tw.problems.tensor_sensing(cp, jnp.ones((2, 2)), 3, jax.random.key(0))
        >>> ones = jax.tree.map(jnp.ones_like, problem.init(jax.random.key(0)))
        >>> round(float(problem.objective(ones)), 6)  # the tensor that was measured
        0.0
    """
    target = _checked(factorisation, target, measurements)
    design = jax.random.normal(key, (measurements, target.size))
    return TensorSensing(
        factorisation=factorisation,
        design=design,
        values=design @ target.ravel(),
        target=target,
        std=jnp.asarray(std),
    )


def _checked(factorisation: TensorFactorisation, target: Array, count: int) -> Array:
    target = jnp.asarray(target)
    require(
        target.shape == factorisation.dims,
        f"a target of shape {target.shape} for a factorisation of {factorisation.dims}; "
        "they must agree",
    )
    require(count >= 1, f"{count} measurements came; give at least 1")
    return target
