"""Size and rank of matrices that are trained as sums of rank-one factors."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core.rank import effective_rank_from
from thalweg.core.result import Reading, exact
from thalweg.core.tree import Params
from thalweg.models.rank_one_factors import factor_pairs, factor_regulariser
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem


class FactorNormSum(Probe):
    """R_(1/2) = sum_p ||u_p|| + ||v_p|| over all rank-one factors.

    value (), parameter; exact up to rounding; no gradients. Source: de Hoop, Lassas and Wong
    (2019).
    """

    name: ClassVar[str] = "factor_norm_sum"
    unit: ClassVar[str] = "parameter"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(factor_regulariser(params, 0.5)), ()


class FactorSquareSum(Probe):
    """R_1 = 1/2 sum_p ||u_p||^2 + ||v_p||^2 over all rank-one factors.

    Never below the sum of the nuclear norms of the matrices. value (), parameter^2; exact up to
    rounding; no gradients. Source: de Hoop, Lassas and Wong (2019).
    """

    name: ClassVar[str] = "factor_square_sum"
    unit: ClassVar[str] = "parameter^2"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(factor_regulariser(params, 1.0)), ()


class FactorRanks(Probe):
    """Effective rank exp(-sum p log p), p = sigma / sum sigma, of each factored matrix.

    In the order of `models.factor_pairs`. value (matrix,), dimensionless: 0 of a matrix that
    vanishes, else from 1 to the number of factors; exact up to rounding; no gradients. Cost: an SVD
    of each matrix. Source: Roy and Vetterli (2007), definition 1.
    """

    name: ClassVar[str] = "factor_ranks"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ("matrix",)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        pairs = factor_pairs(params).values()
        return exact(jnp.stack([_effective_rank(pair.left @ pair.right.T) for pair in pairs])), ()


def _effective_rank(matrix: Array) -> Array:
    s = jnp.linalg.svd(matrix, compute_uv=False)
    gone = jnp.sum(s) == 0
    return jnp.where(gone, 0, effective_rank_from(jnp.where(gone, 1, s)))


def factor_norm_sum() -> FactorNormSum:
    """R_(1/2) of the rank-one factors; see `FactorNormSum`.

    Examples:
        >>> from thalweg.models import factor_regulariser
        >>> net = tw.models.OperatorRecurrent(2, rank=3)
        >>> problem = tw.problems.supervised(net, (np.ones((4, 2, 2)), np.ones((4, 1))))
        >>> params = problem.init(jax.random.key(0))
        >>> reading = tw.measure(problem, params, tw.probes.factor_norm_sum())
        >>> bool(jnp.isclose(reading.value, factor_regulariser(params)))
        True
    """
    return FactorNormSum()


def factor_square_sum() -> FactorSquareSum:
    """R_1 of the rank-one factors; see `FactorSquareSum`.

    Examples:
        >>> from thalweg.models import factor_regulariser
        >>> net = tw.models.OperatorRecurrent(2, rank=3)
        >>> problem = tw.problems.supervised(net, (np.ones((4, 2, 2)), np.ones((4, 1))))
        >>> params = problem.init(jax.random.key(0))
        >>> reading = tw.measure(problem, params, tw.probes.factor_square_sum())
        >>> bool(jnp.isclose(reading.value, factor_regulariser(params, 1)))
        True
    """
    return FactorSquareSum()


def factor_ranks() -> FactorRanks:
    """Effective rank of each factored matrix; see `FactorRanks`.

    Examples:
        >>> net = tw.models.OperatorRecurrent(1, rank=1)
        >>> problem = tw.problems.supervised(net, (np.ones((4, 2, 2)), np.ones((4, 1))))
        >>> params = problem.init(jax.random.key(0))
        >>> tw.measure(problem, params, tw.probes.factor_ranks()).value.round(6).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    return FactorRanks()
