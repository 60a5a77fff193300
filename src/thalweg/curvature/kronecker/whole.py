"""The Fisher matrix of small nets and its Kronecker approximation on all pairs of layers, dense."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.curvature.kronecker.factors import check_chain, covectors_of
from thalweg.curvature.kronecker.passes import layers_of, passes
from thalweg.problems.problem import Supervised


class Whole(NamedTuple):
    """Two matrices on the parameters in the order of layers, columns of each weight stacked.

    Attributes:
        exact: F, the Fisher matrix (p, p).
        approximate: A_ij (x) G_ij in every block; positive semidefinite.
        sizes: Parameters of each layer.
    """

    exact: Float[Array, "p p"]
    approximate: Float[Array, "p p"]
    sizes: tuple[int, ...]

    def block(self, i: int, j: int) -> tuple[slice, slice]:
        """Where the block of two layers lies."""
        ends = [sum(self.sizes[:k]) for k in range(len(self.sizes) + 1)]
        return slice(ends[i], ends[i + 1]), slice(ends[j], ends[j + 1])


def whole_matrices(problem: Supervised, params: Params, last: int | None = None) -> Whole:
    """F and its Kronecker approximation of all pairs of layers, for nets of dense layers.

        F_ij = E[h_i h_j^T (x) g_i g_j^T],    approximately E[h_i h_j^T] (x) E[g_i g_j^T]

    with the exact expectation over targets; of a summed loss as of its mean.

    Args:
        problem: A `Supervised` whose loss is a likelihood.
        params: The point.
        last: How many of the last layers; all by default.

    Raises:
        InputError: If a weight is met more than once in an example, or the loss is no likelihood.

    Cost: k gradients of every example, and p^2 numbers.
    Source: Martens and Grosse (2015), section 3 (E1, E2).

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.zeros((2, 1)))
        >>> line = tw.problems.supervised(tw.models.linear([]), data)
        >>> both = tw.curvature.whole_matrices(line, [{"weight": jnp.ones((1, 2))}])
        >>> both.exact.tolist() == both.approximate.tolist() == [[0.5, 0.0], [0.0, 2.0]]
        True
    """
    layers = layers_of(problem.model, params, problem.inputs)
    check_chain(layers)
    chain = [i for i, layer in enumerate(layers.blocks) if layer.kronecker]
    chain = chain if last is None else chain[-last:]
    shapes = [layers.blocks[i].shape for i in chain]
    exact, approximate = _matrices(problem, params, tuple(chain))
    return Whole(exact, approximate, tuple(rows * columns for rows, columns in shapes))


@eqx.filter_jit
def _matrices(problem: Supervised, params: Params, chain: tuple[int, ...]) -> tuple[Array, Array]:
    layers = layers_of(problem.model, params, problem.inputs)
    at = passes(layers, params, problem.inputs)
    r, weight = covectors_of(problem, at.outputs, "exact")
    n = len(problem.inputs)
    h = [at.vectors[i][0][:, 0] for i in chain]
    sent = jax.lax.map(lambda one: [at.pull(one)[1][i][0][:, 0] for i in chain], r)  # (c, n, d)
    # Rows of examples and targets: h (x) g, the columns of g h^T stacked.
    rows = [
        jnp.einsum("ni,cno->cnio", a, g).reshape(len(r) * n, -1)
        for a, g in zip(h, sent, strict=True)
    ]
    J = jnp.concatenate(rows, axis=1)
    made = [
        [
            jnp.kron(a.T @ b / n, jnp.einsum("cno,cnp->op", g, k) * (weight / n))
            for b, k in zip(h, sent, strict=True)
        ]
        for a, g in zip(h, sent, strict=True)
    ]
    return weight / n * J.T @ J, jnp.block(made)
