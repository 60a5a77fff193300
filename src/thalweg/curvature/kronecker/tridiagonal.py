"""The Kronecker approximation whose inverse is block-tridiagonal."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve, solve_triangular
from jaxtyping import Array, Float

from thalweg.curvature.kronecker.block_diagonal import BlockDiagonal, Kronecker, Matrices


class Difference(NamedTuple):
    """A (x) B - C (x) D, or their sum, by two congruences (E7).

    Attributes:
        K1: A^-1/2 E1, so that K1^T A K1 = I and K1^T C K1 = diag(s1).
        K2: The same of B and D.
        s1: Eigenvalues of A^-1/2 C A^-1/2.
        s2: The same of B and D.
        sign: -1 for the difference, 1 for the sum.
    """

    K1: Float[Array, "a a"]
    K2: Float[Array, "b b"]
    s1: Float[Array, " a"]
    s2: Float[Array, " b"]
    sign: float = -1.0

    @property
    def core(self) -> Float[Array, "b a"]:
        """Its eigenvalues against A (x) B."""
        return 1 + self.sign * self.s2[:, None] * self.s1[None]

    def solve(self, V: Float[Array, "b a"]) -> Float[Array, "b a"]:
        """U with B U A^T - D U C^T = V; exact up to rounding times the condition."""
        return self.K2 @ ((self.K2.T @ V @ self.K1) / self.core) @ self.K1.T

    def log_determinant(self) -> Float[Array, ""]:
        """Of the whole, (a b, a b)."""
        a = -2 * len(self.s2) * jnp.linalg.slogdet(self.K1)[1]
        b = -2 * len(self.s1) * jnp.linalg.slogdet(self.K2)[1]
        return a + b + jnp.sum(jnp.log(self.core))


def kronecker_difference(
    A: Float[Array, "a a"],
    B: Float[Array, "b b"],
    C: Float[Array, "a a"],
    D: Float[Array, "b b"],
    sign: float = -1.0,
) -> Difference:
    """What solves with A (x) B - C (x) D, for A, B positive definite and C, D semidefinite.

    Args:
        A: Symmetric, positive definite.
        B: Symmetric, positive definite.
        C: Symmetric, positive semidefinite.
        D: Symmetric, positive semidefinite.
        sign: 1.0 for the sum.

    Cost: two Cholesky and two eigendecompositions, O(a^3 + b^3).
    Source: Martens and Grosse (2015), appendix B; E7.

    Examples:
        >>> I, one = jnp.eye(2), jnp.ones((1, 1))
        >>> pair = tw.curvature.kronecker_difference(2 * I, one, I, one)
        >>> pair.solve(jnp.ones((1, 2))).round(6).tolist()  # (2 - 1) U = V
        [[1.0, 1.0]]
    """
    (K1, s1), (K2, s2) = _congruence(A, C), _congruence(B, D)
    return Difference(K1, K2, s1, s2, sign)


class Tridiagonal(Kronecker):
    """Agrees with the Kronecker approximation on neighbouring blocks, inverse block-tridiagonal.

    F^-1 = Xi^T Lambda Xi (E4 to E6), over the chain of Kronecker blocks; other blocks stand alone.

    Attributes:
        diagonal: Its diagonal blocks, damped.

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.zeros((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> at = [{"weight": jnp.ones((1, 2))}]
        >>> F = tw.curvature.kronecker_fisher(problem, at, structure="tridiagonal")
        >>> F.solve(jnp.ones(2)).round(6).tolist()  # of one layer it is the block itself
        [2.0, 0.5]
    """

    diagonal: BlockDiagonal

    def times(self, blocks: Matrices) -> Matrices:
        shared = self.factorised()
        alone, chain = self._parted(blocks)
        A, G = self._factors
        for i, (psi_a, psi_g) in enumerate(shared[1]):  # Xi^-T
            chain[i + 1] = chain[i + 1] + psi_g.T @ chain[i] @ psi_a
        for i, V in enumerate(chain):  # Lambda^-1
            chain[i] = G[i] @ V @ A[i]
            if i < len(shared[1]):
                psi_a, psi_g = shared[1][i]
                inner = psi_g.T @ V @ psi_a
                chain[i] = chain[i] - psi_g @ G[i + 1] @ inner @ A[i + 1] @ psi_a.T
        for i in reversed(range(len(shared[1]))):  # Xi^-1
            psi_a, psi_g = shared[1][i]
            chain[i] = chain[i] + psi_g @ chain[i + 1] @ psi_a.T
        return self._together(self.diagonal.times(alone), chain)

    def factorised(self) -> Any:
        A, G = self._factors
        pairs = self.diagonal.factors
        psi, sigma = [], []
        for i, (AA, GG) in enumerate(zip(pairs.input_pairs, pairs.output_pairs, strict=True)):
            psi_a = cho_solve(cho_factor(A[i + 1]), AA.T).T
            psi_g = cho_solve(cho_factor(G[i + 1]), GG.T).T
            psi.append((psi_a, psi_g))
            C, D = psi_a @ A[i + 1] @ psi_a.T, psi_g @ G[i + 1] @ psi_g.T
            sigma.append(kronecker_difference(A[i], G[i], C, D)[:4])
        return self.diagonal.factorised(), tuple(psi), tuple(sigma)

    def solved(self, shared: Any, blocks: Matrices) -> Matrices:
        whole, psi, sigma = shared
        u = self._parted(blocks)[1]
        for i, (psi_a, psi_g) in enumerate(psi):
            u[i] = u[i] - psi_g @ u[i + 1] @ psi_a.T
        # The last block, and blocks that stand alone, have no neighbour to be cleared of.
        alone = self.diagonal.solved(whole, blocks)
        w = [Difference(*parts).solve(V) for parts, V in zip(sigma, u, strict=False)]
        w.append(self._parted(alone)[1][-1])
        for i in reversed(range(len(psi))):
            psi_a, psi_g = psi[i]
            w[i + 1] = w[i + 1] - psi_g.T @ w[i] @ psi_a
        return self._together(alone, w)

    def log_determinant(self) -> Float[Array, ""]:
        _, _, sigma = self.factorised()
        total = self.diagonal.log_determinant()
        for parts in sigma:
            total += jnp.sum(jnp.log(Difference(*parts).core))
        return total

    @property
    def _factors(self) -> tuple[list[Array], list[Array]]:
        f, blocks = self.diagonal.factors, self.layers.blocks
        return (
            [A for layer, A in zip(blocks, f.inputs, strict=True) if layer.kronecker],
            [G for layer, G in zip(blocks, f.outputs, strict=True) if layer.kronecker],
        )

    def _parted(self, blocks: Matrices) -> tuple[Matrices, Matrices]:
        """All blocks, and the chain of Kronecker blocks."""
        chain = zip(self.layers.blocks, blocks, strict=True)
        return list(blocks), [V for layer, V in chain if layer.kronecker]

    def _together(self, alone: Matrices, chain: Matrices) -> Matrices:
        rest = iter(chain)
        return [
            next(rest) if layer.kronecker else V
            for layer, V in zip(self.layers.blocks, alone, strict=True)
        ]


def _congruence(A: Array, C: Array) -> tuple[Array, Array]:
    """K and s with K^T A K = I and K^T C K = diag(s)."""
    lower = jnp.linalg.cholesky((A + A.T) / 2)
    half = solve_triangular(lower, (C + C.T) / 2, lower=True)
    inner = solve_triangular(lower, half.T, lower=True)
    s, E = jnp.linalg.eigh((inner + inner.T) / 2)
    K = solve_triangular(lower.T, E, lower=False)
    return K, jnp.maximum(s, 0)
