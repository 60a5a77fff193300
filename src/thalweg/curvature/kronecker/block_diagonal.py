"""The block-diagonal Kronecker approximation, in factors and in its eigenbasis."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.hessian_product import Product
from thalweg.curvature.kronecker.factors import Factors
from thalweg.curvature.kronecker.layers import Layers
from thalweg.curvature.operator import Operator

Matrices = list[Array]  # a matrix (d_out, d_in + 1) for each block


class Kronecker(Operator):
    """A matrix on parameters that is known by its blocks, with its inverse and determinant.

    Products and solutions take what `Operator` takes: a flat vector, columns, or a pytree.

    Attributes:
        layers: The blocks of parameters; `layers.report()` says how each is treated.
    """

    layers: Layers = eqx.field(static=True)
    cost: ClassVar[float] = 0.0

    @abc.abstractmethod
    def times(self, blocks: Matrices) -> Matrices:
        """The product, block by block."""

    @abc.abstractmethod
    def factorised(self) -> Any:
        """What all solutions share, a pytree of arrays."""

    @abc.abstractmethod
    def solved(self, shared: Any, blocks: Matrices) -> Matrices:
        """The inverse times a vector, block by block, with what `factorised` made."""

    @abc.abstractmethod
    def log_determinant(self) -> Float[Array, ""]:
        """The logarithm of the determinant; -inf or NaN where the matrix is singular."""

    @property
    def shape(self) -> tuple[int, int]:
        p = sum(int(np.prod(leaf.shape)) for leaf in self.layers.leaves)
        return p, p

    @property
    def dtype(self) -> np.dtype:
        return jnp.result_type(*(leaf.dtype for leaf in self.layers.leaves))

    def prepared(self) -> Product:
        return lambda v: self._flat(self.times(self._blocks(v)))

    def solve(self, v: Any) -> Any:
        """The inverse times a flat vector (p,), columns (p, k), or a pytree of parameters.

        Error: rounding, times the condition of the factors. Damp what is singular.

        Raises:
            InputError: If `v` is none of the three.
        """
        if isinstance(v, jax.Array | np.ndarray) and v.ndim in (1, 2) and len(v) == self.shape[1]:
            return _solved(self, jnp.asarray(v, self.dtype))
        return self._left(_solved(self, self._entered(v)))

    def _entered(self, tree: Any) -> Array:
        leaves, structure = jax.tree.flatten(tree)
        shapes = [jnp.shape(leaf) for leaf in leaves]
        own = [leaf.shape for leaf in self.layers.leaves]
        require(
            structure == self.layers.structure and shapes == own,
            f"a tree with leaves {shapes} came; give a flat vector, a block of columns, or a tree "
            f"shaped as the parameters: {own}",
        )
        return jnp.concatenate([jnp.asarray(leaf, self.dtype).ravel() for leaf in leaves])

    def _left(self, flat: Array) -> Any:
        return jax.tree.unflatten(self.layers.structure, self._leaves(flat))

    def _leaves(self, flat: Array) -> list[Array]:
        sizes = [int(np.prod(leaf.shape)) for leaf in self.layers.leaves]
        parts = jnp.split(flat, np.cumsum(sizes)[:-1])
        return [p.reshape(s.shape) for p, s in zip(parts, self.layers.leaves, strict=True)]

    def _blocks(self, flat: Array) -> Matrices:
        return self.layers.split(self._leaves(flat))

    def _flat(self, blocks: Matrices) -> Array:
        return jnp.concatenate([leaf.ravel() for leaf in self.layers.joined(blocks)])


@eqx.filter_jit
def _solved(operator: Kronecker, v: Array) -> Array:
    shared = operator.factorised()

    def one(v: Array) -> Array:
        return operator._flat(operator.solved(shared, operator._blocks(v)))

    return one(v) if v.ndim == 1 else jax.vmap(one, 1, 1)(v)


class BlockDiagonal(Kronecker):
    """diag(A_1 (x) G_1, ...): U_i = G_i^-1 V_i A_i^-1 solves it (E3); see `kronecker_fisher`.

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.zeros((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> F = tw.curvature.kronecker_fisher(problem, [{"weight": jnp.ones((1, 2))}])
        >>> damped = F.damped(0.5)  # (X^T X/n + pi/2) (1 + 1/(2 pi)), pi^2 = 5/4
        >>> damped.dense().round(2).tolist()
        [[1.53, 0.0], [0.0, 3.7]]
    """

    factors: Factors

    def damped(self, gamma: Array | float) -> BlockDiagonal:
        """(A + pi gamma I) (x) (G + gamma/pi I), pi^2 = (tr A/dim A)/(tr G/dim G).

        It adds about gamma^2 I: the pi that makes least of a bound of the trace norm of what is
        added besides. To a block that is no Kronecker product gamma^2 is added.

        Args:
            gamma: Root of the damping (unit: root of a curvature).

        Source: Martens and Grosse (2015), section 6.3 (E9, E10).
        """
        inputs, outputs = [], []
        gamma = jnp.asarray(gamma, self.factors.inputs[0].dtype)
        for layer, A, G in zip(
            self.layers.blocks, self.factors.inputs, self.factors.outputs, strict=True
        ):
            if not layer.kronecker:
                inputs.append(A + gamma**2)
                outputs.append(G)
                continue
            pi = balance(A, G)
            inputs.append(A + pi * gamma * jnp.eye(len(A), dtype=A.dtype))
            outputs.append(G + gamma / pi * jnp.eye(len(G), dtype=G.dtype))
        damped = eqx.tree_at(
            lambda f: (f.inputs, f.outputs), self.factors, (tuple(inputs), tuple(outputs))
        )
        return BlockDiagonal(self.layers, damped)

    def shifted(self, damping: Array | float) -> Eigenbasis:
        """A (x) G + damping I exactly, by an eigendecomposition of every factor."""
        bases: list[tuple[Array, ...]] = []
        values: list[Array] = []
        for layer, A, G in zip(
            self.layers.blocks, self.factors.inputs, self.factors.outputs, strict=True
        ):
            if not layer.kronecker:
                bases.append(())
                values.append(A[None])
                continue
            (a, U), (g, V) = (jnp.linalg.eigh((M + M.T) / 2) for M in (A, G))
            bases.append((U, V))
            values.append(jnp.maximum(g, 0)[:, None] * jnp.maximum(a, 0)[None])
        return Eigenbasis(self.layers, tuple(bases), tuple(values), jnp.asarray(damping, A.dtype))

    def times(self, blocks: Matrices) -> Matrices:
        return [
            G @ V @ A if layer.kronecker else V * A[None]
            for layer, A, G, V in zip(
                self.layers.blocks, self.factors.inputs, self.factors.outputs, blocks, strict=True
            )
        ]

    def factorised(self) -> Any:
        return tuple(
            (cho_factor(A)[0], cho_factor(G)[0]) if layer.kronecker else (A, G)
            for layer, A, G in zip(
                self.layers.blocks, self.factors.inputs, self.factors.outputs, strict=True
            )
        )

    def solved(self, shared: Any, blocks: Matrices) -> Matrices:
        return [
            cho_solve((A, False), cho_solve((G, False), V).T).T if layer.kronecker else V / A[None]
            for layer, (A, G), V in zip(self.layers.blocks, shared, blocks, strict=True)
        ]

    def log_determinant(self) -> Float[Array, ""]:
        total = jnp.zeros((), self.dtype)
        for layer, A, G in zip(
            self.layers.blocks, self.factors.inputs, self.factors.outputs, strict=True
        ):
            if layer.kronecker:
                total += len(G) * jnp.linalg.slogdet(A)[1] + len(A) * jnp.linalg.slogdet(G)[1]
            else:
                total += jnp.sum(jnp.log(A))
        return total


class Eigenbasis(Kronecker):
    """Blocks V_G diag(s) V_A^T of a Kronecker product of orthogonal bases, plus a multiple of I.

    Attributes:
        bases: (V_A, V_G) of each block; () where it is diagonal.
        values: s as (d_out, d_in + 1); products of eigenvalues, or second moments of the gradient
            in the basis (EKFAC).
        damping: What is added.

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.zeros((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> at = [{"weight": jnp.ones((1, 2))}]
        >>> F = tw.curvature.kronecker_fisher(problem, at, structure="eigenvalues")
        >>> F.shifted(1.0).dense().round(6).tolist()
        [[1.5, 0.0], [0.0, 3.0]]
    """

    bases: tuple[tuple[Array, ...], ...]
    values: tuple[Array, ...]
    damping: Float[Array, ""]

    def shifted(self, damping: Array | float) -> Eigenbasis:
        """The same with another multiple of I added."""
        return Eigenbasis(
            self.layers, self.bases, self.values, jnp.asarray(damping, self.damping.dtype)
        )

    def times(self, blocks: Matrices) -> Matrices:
        return self._scaled(blocks, [s + self.damping for s in self.values])

    def factorised(self) -> Any:
        return ()

    def solved(self, shared: Any, blocks: Matrices) -> Matrices:
        return self._scaled(blocks, [1 / (s + self.damping) for s in self.values])

    def log_determinant(self) -> Float[Array, ""]:
        return sum(
            (jnp.sum(jnp.log(s + self.damping)) for s in self.values), jnp.zeros((), self.dtype)
        )

    def _scaled(self, blocks: Matrices, by: list[Array]) -> Matrices:
        made = []
        for basis, V, s in zip(self.bases, blocks, by, strict=True):
            if basis:
                U, W = basis
                made.append(W @ (s * (W.T @ V @ U)) @ U.T)
            else:
                made.append(s * V)
        return made


def balance(A: Float[Array, "a a"], G: Float[Array, "g g"]) -> Float[Array, ""]:
    """Pi = sqrt((tr A/dim A)/(tr G/dim G)) (E10); 1 where a trace is zero."""
    a, g = jnp.trace(A) / len(A), jnp.trace(G) / len(G)
    sound = (a > 0) & (g > 0)
    return jnp.where(sound, jnp.sqrt(jnp.where(sound, a, 1) / jnp.where(sound, g, 1)), 1.0)
