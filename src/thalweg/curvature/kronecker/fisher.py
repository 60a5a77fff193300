"""Kronecker approximations of the Fisher matrix of a problem, in one call."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core.errors import InputError, require, unknown
from thalweg.core.tree import Params
from thalweg.curvature.kronecker.block_diagonal import BlockDiagonal, Kronecker
from thalweg.curvature.kronecker.eigenvalues import in_eigenbasis
from thalweg.curvature.kronecker.factors import TARGETS, check_chain, covectors_of, factors_of
from thalweg.curvature.kronecker.layers import Layers
from thalweg.curvature.kronecker.passes import layers_of, passes
from thalweg.curvature.kronecker.tridiagonal import Tridiagonal
from thalweg.problems.likelihoods import likelihood
from thalweg.problems.problem import Problem, Supervised

STRUCTURES = ("diagonal", "tridiagonal", "eigenvalues")


def kronecker_layers(problem: Problem, params: Params) -> Layers:
    """The layers that a model's parameters fall into, as a Kronecker approximation sees them.

    Found in the trace of the model on one example, whatever it is made of: dense layers,
    convolutions in any dimension, embeddings, scale and shift, and weights that are met in several
    places. What is met in another way, as weights inside a loop, gets the diagonal of the Fisher
    matrix, and `report()` says so.

    Args:
        problem: A `Supervised`.
        params: The point; only shapes count.

    Raises:
        InputError: If the problem has no model and data, or its net normalises over the batch.

    Examples:
        >>> data = (np.ones((2, 3)), np.ones((2, 1)))
        >>> net = tw.problems.supervised(tw.models.mlp([4]), data)
        >>> print(tw.curvature.kronecker_layers(net, net.init(jax.random.key(0))).report())
        0/weight: dense (4 x 4)
        1/weight: dense (1 x 5)
    """
    data = _with_data(problem)
    return layers_of(data.model, params, data.inputs)


def kronecker_fisher(
    problem: Problem,
    params: Params,
    *,
    structure: str = "diagonal",
    targets: str = "exact",
    key: Array | None = None,
    samples: int = 1,
    damping: float = 0.0,
) -> Kronecker:
    """The Kronecker-factored approximation of the Fisher matrix, as an operator with an inverse.

        F_ij = E[h_i h_j^T (x) g_i g_j^T]  ~  E[h_i h_j^T] (x) E[g_i g_j^T]

    over layers i, j; F is that of `fisher`: 1/n times the sum over examples, without the factor
    where the problem sums. A product, `solve`, `dense()` and `log_determinant()` act on parameters
    in their own order. It is exact for one linear layer with squared error, for all blocks of a
    deep linear net, and for one convolution; for other nets how far it is off is not estimated:
    compare with `fisher`.

    Args:
        problem: A `Supervised` whose loss is a likelihood.
        params: The point.
        structure: "diagonal" (blocks of layers alone), "tridiagonal" (the inverse couples
            neighbours; dense layers only) or "eigenvalues" (EKFAC: the eigenvalues of the blocks
            are measured in the eigenbasis of their factors).
        targets: "exact" (the expectation, k passes backward), "sampled" (from the model), or
            "empirical" (the data's own, which gives no Fisher matrix).
        key: For "sampled".
        samples: Draws for every example.
        damping: lambda (unit: loss/parameter^2). Put inside the factors, gamma = sqrt(lambda), see
            `BlockDiagonal.damped`; "eigenvalues" add lambda I exactly.

    Returns:
        Operator (p, p), loss/parameter^2.

    Raises:
        InputError: If the problem has no model and data, its loss is no likelihood, a choice is
            unknown, the damping is negative, or the net does not allow the structure.

    Cost: a gradient, and another pass backward for every draw, or every output; d^3 for each
    factorisation. Source: Martens and Grosse (2015, arXiv 1503.05671); for convolutions Grosse and
    Martens (2016, arXiv 1602.01407); George et al. (2018, arXiv 1806.03884).

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.zeros((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> F = tw.curvature.kronecker_fisher(problem, [{"weight": jnp.ones((1, 2))}])
        >>> F.dense().round(6).tolist()  # X^T X / n, as `fisher`
        [[0.5, 0.0], [0.0, 2.0]]
        >>> F.solve(jnp.ones(2)).round(6).tolist()
        [2.0, 0.5]
    """
    require(structure in STRUCTURES, unknown(structure, STRUCTURES, "structure"))
    require(targets in TARGETS, unknown(targets, TARGETS, "choice of targets"))
    require(damping >= 0, f"damping came as {damping}; give 0 or more")
    data = _with_data(problem)
    layers = layers_of(data.model, params, data.inputs)
    if structure == "tridiagonal":
        check_chain(layers)
    if targets != "empirical":
        likelihood(data.loss)
    if targets == "sampled" and key is None:
        raise InputError("targets are sampled, and no key came; give key=jax.random.key(0)")
    return _made(data, params, layers, structure, targets, key, samples, jnp.asarray(damping))


@eqx.filter_jit
def _made(
    data: Supervised,
    params: Params,
    layers: Layers,
    structure: str,
    targets: str,
    key: Array | None,
    samples: int,
    damping: Array,
) -> Kronecker:
    own = layers_of(data.model, params, data.inputs)  # their trace may hold what is traced now
    at = passes(own, params, data.inputs)
    covectors, weight = covectors_of(data, at.outputs, targets, key, samples)
    weight = weight * (len(data.inputs) if data.reduction == "sum" else 1)
    chain = structure == "tridiagonal"
    diagonal = BlockDiagonal(layers, factors_of(layers, at, covectors, weight, chain))
    if structure == "eigenvalues":
        return in_eigenbasis(diagonal, at, covectors, weight).shifted(damping)
    diagonal = diagonal.damped(jnp.sqrt(damping))
    return Tridiagonal(layers, diagonal) if chain else diagonal


def _with_data(problem: Problem) -> Supervised:
    if isinstance(problem, Supervised):
        return problem
    raise InputError(
        "Kronecker factors need a model, a loss and examples, and the problem is a "
        f"{type(problem).__name__}; give a problem made by `supervised`"
    )
