"""Size and rank of the product of a deep linear net's matrices, and its distance from a target."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core import rank
from thalweg.core.arguments import real_array
from thalweg.core.errors import require
from thalweg.core.result import Reading, exact
from thalweg.core.spectra import layer_product, product_spectrum
from thalweg.core.tree import Params
from thalweg.probes.layers import matrices
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem


class EndToEndSingularValues(Probe):
    """Singular values of W = W_N ... W_1, descending.

    value (mode,), output/input; each exact to rounding times the largest. No gradients.
    """

    name: ClassVar[str] = "end_to_end_singular_values"
    unit: ClassVar[str] = "output/input"
    dims: ClassVar[tuple[str, ...]] = ("mode",)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(product_spectrum(matrices(params, "the product's singular values"))), ()


class EffectiveRank(Probe):
    """exp(-sum p_r log p_r), p_r = sigma_r / sum sigma, of W = W_N ... W_1.

    value (), dimensionless, from 1 to the number of singular values; exact up to rounding; no
    gradients. Source: Roy and Vetterli (2007), definition 1.
    """

    name: ClassVar[str] = "effective_rank"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        s = product_spectrum(matrices(params, "effective rank"))
        return exact(rank.effective_rank_from(s)), ()


class StableRank(Probe):
    """||W||_F^2 / ||W||^2 of W = W_N ... W_1.

    value (), dimensionless, from 1 to the rank; exact up to rounding; no gradients. Source:
    Rudelson and Vershynin (2007).
    """

    name: ClassVar[str] = "stable_rank"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(rank.stable_rank_from(product_spectrum(matrices(params, "stable rank")))), ()


class NuclearNorm(Probe):
    """||W||_* = sum_r sigma_r of W = W_N ... W_1.

    value (), output/input; exact up to rounding; no gradients.
    """

    name: ClassVar[str] = "nuclear_norm"
    unit: ClassVar[str] = "output/input"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(jnp.sum(product_spectrum(matrices(params, "nuclear norm")))), ()


class ReconstructionError(Probe):
    """Mean of (W - target)^2 over all entries, observed ones too, W = W_N ... W_1.

    value (), (output/input)^2; exact up to rounding; no gradients.

    Attributes:
        target: The matrix that was to be found, shape (out, in).

    Source: Arora, Cohen, Hu and Luo (2019), experiments.
    """

    name: ClassVar[str] = "reconstruction_error"
    unit: ClassVar[str] = "(output/input)^2"
    dims: ClassVar[tuple[str, ...]] = ()
    target: Float[Array, "out in"] = eqx.field(converter=real_array)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        product = layer_product(matrices(params, "reconstruction error"))
        require(
            product.shape == self.target.shape,
            f"the target has shape {self.target.shape} and the product {product.shape}; give the "
            "matrix that was observed",
        )
        return exact(jnp.mean((product - self.target) ** 2)), ()


def end_to_end_singular_values() -> EndToEndSingularValues:
    """Singular values of the product of the layers; see `EndToEndSingularValues`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([2]), (np.eye(2), np.eye(2)))
        >>> params = [{"weight": jnp.diag(jnp.array([1.0, 3.0]))}, {"weight": 2 * jnp.eye(2)}]
        >>> reading = tw.measure(problem, params, tw.probes.end_to_end_singular_values())
        >>> reading.value.round(6).tolist()
        [6.0, 2.0]
    """
    return EndToEndSingularValues()


def effective_rank() -> EffectiveRank:
    """Effective rank of the product of the layers; see `EffectiveRank`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([]), (np.eye(2), np.eye(2)))
        >>> params = [{"weight": jnp.diag(jnp.array([3.0, 3.0]))}]
        >>> round(float(tw.measure(problem, params, tw.probes.effective_rank()).value), 6)
        2.0
    """
    return EffectiveRank()


def stable_rank() -> StableRank:
    """Stable rank of the product of the layers; see `StableRank`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([]), (np.eye(2), np.eye(2)))
        >>> params = [{"weight": jnp.diag(jnp.array([2.0, 1.0]))}]
        >>> round(float(tw.measure(problem, params, tw.probes.stable_rank()).value), 6)  # (4 + 1)/4
        1.25
    """
    return StableRank()


def nuclear_norm() -> NuclearNorm:
    """Nuclear norm of the product of the layers; see `NuclearNorm`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([]), (np.eye(2), np.eye(2)))
        >>> params = [{"weight": jnp.diag(jnp.array([3.0, -1.0]))}]
        >>> round(float(tw.measure(problem, params, tw.probes.nuclear_norm()).value), 6)
        4.0
    """
    return NuclearNorm()


def reconstruction_error(target: ArrayLike) -> ReconstructionError:
    """Mean squared distance of the product from a known matrix; see `ReconstructionError`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([]), (np.eye(2), np.eye(2)))
        >>> params = [{"weight": jnp.zeros((2, 2))}]
        >>> error = tw.probes.reconstruction_error([[2, 0], [0, 2]])
        >>> float(tw.measure(problem, params, error).value)
        2.0
    """
    return ReconstructionError(jnp.asarray(target))
