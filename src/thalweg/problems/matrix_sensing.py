"""Deep matrix factorisation: a matrix seen in part, fitted by a product of matrices.

f(W_1, ..., W_N) = (1/m) sum_i (<A_i, W> - b_i)^2 with W = W_N ... W_1 and no constraint on the
rank. Matrix completion sees entries, A_i = e_a e_c^T; matrix sensing sees inner products with
given matrices. Parameters are as a linear net's, [{"weight": W_1}, ...].

Source: Arora, Cohen, Hu and Luo (2019, arXiv 1905.13655).
"""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from thalweg.core.arguments import real_array
from thalweg.core.errors import require, unknown
from thalweg.core.spectra import layer_product
from thalweg.core.tree import Params
from thalweg.models import layer_weights
from thalweg.models.initialisers import orthogonal
from thalweg.models.overparametrisation import balanced_factors
from thalweg.problems.linear_targets import deep_linear_params
from thalweg.problems.problem import REDUCTIONS, Problem

STARTS = ("gaussian", "balanced", "orthogonal", "identity")


class Observations(eqx.Module):
    """What is known of a matrix: m linear measurements <A_i, W*> = b_i."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """Shape (out, in) of the matrix."""

    @property
    @abc.abstractmethod
    def count(self) -> Any:
        """m, how many measurements there are."""

    @abc.abstractmethod
    def residuals(self, W: Float[Array, "out in"]) -> Array:
        """<A_i, W> - b_i in any shape; entries beside the m residuals are 0."""


class Entries(Observations):
    """Entries of a matrix, as in matrix completion.

    Attributes:
        mask: Which entries are known, shape (out, in).
        values: The matrix; entries that are not known do not matter.
    """

    mask: Bool[Array, "out in"] = eqx.field(converter=jnp.asarray)
    values: Float[Array, "out in"] = eqx.field(converter=real_array)

    def __check_init__(self) -> None:
        require(
            self.mask.dtype == bool
            and self.mask.ndim == 2
            and self.mask.shape == self.values.shape,
            f"the mask is {self.mask.dtype} of shape {self.mask.shape}, the values have shape "
            f"{self.values.shape}; give booleans and numbers of one shape (out, in)",
        )

    @property
    def shape(self) -> tuple[int, int]:
        out, inputs = self.mask.shape
        return out, inputs

    @property
    def count(self) -> Array:
        return jnp.sum(self.mask)

    def residuals(self, W: Float[Array, "out in"]) -> Float[Array, "out in"]:
        return jnp.where(self.mask, W - self.values, 0)


class Measurements(Observations):
    """Inner products with given matrices, as in matrix sensing.

    Attributes:
        A: The matrices A_i, shape (m, out, in).
        b: The inner products, shape (m,).
    """

    A: Float[Array, "m out in"] = eqx.field(converter=real_array)
    b: Float[Array, " m"] = eqx.field(converter=real_array)

    def __check_init__(self) -> None:
        require(
            self.A.ndim == 3 and self.b.shape == self.A.shape[:1],
            f"A has shape {self.A.shape} and b {self.b.shape}; give (m, out, in) and (m,)",
        )

    @property
    def shape(self) -> tuple[int, int]:
        _, out, inputs = self.A.shape
        return out, inputs

    @property
    def count(self) -> int:
        return len(self.b)

    def residuals(self, W: Float[Array, "out in"]) -> Float[Array, " m"]:
        return self.A.reshape(len(self.b), -1) @ W.ravel() - self.b


class MatrixFactorisation(Problem):
    """f = (1/m) sum_i r_i^2, or 1/2 sum_i r_i^2 by "sum", r_i = <A_i, W_N ... W_1> - b_i.

    Cost of a gradient: 6 (N - 1) width^3 operations for square factors, and 4 m out in where
    measurements are not entries.

    Attributes:
        observed: What is known of the matrix.
        depth: N, at least 1.
        scale: alpha, the size of the product at the start, at least 0.
        start: How the factors start; at depth N all factors have the N-th root of the size.
            "gaussian": independent entries of standard deviation alpha^{1/N} / sqrt(inputs of the
            factor), so that a square product has ||W||_F ~ alpha sqrt(d); "balanced": a product of
            independent entries alpha / sqrt(in) in balanced factors; "orthogonal": every factor
            (alpha sqrt(in))^{1/N} times a semi-orthogonal one, ||W||_F = alpha d for a square;
            "identity": alpha^{1/N} I, square matrices only.
        width: Of the hidden layers, at least min(out, in) for no constraint on the rank; that by
            default.
        reduction: "mean" or "sum".

    Source: Arora, Cohen, Hu and Luo (2019), section 2 and appendix D.

    Examples:
        >>> seen = tw.problems.observed_entries(jax.random.key(0), np.diag([2.0, 1.0]), 4)
        >>> problem = tw.problems.MatrixFactorisation(seen, depth=2, scale=0.0)
        >>> float(problem.objective(problem.init(jax.random.key(0))))  # (2^2 + 1^2)/4 at zero
        1.25
    """

    observed: Observations
    depth: int = eqx.field(static=True)
    scale: float = eqx.field(static=True, default=1e-3)
    start: str = eqx.field(static=True, default="gaussian")
    width: int | None = eqx.field(static=True, default=None)
    reduction: str = eqx.field(static=True, default="mean")

    def __check_init__(self) -> None:
        out, inputs = self.observed.shape
        require(self.depth >= 1, f"the depth came as {self.depth}; give at least 1")
        require(self.scale >= 0, f"the scale came as {self.scale}; give at least 0")
        require(self.start in STARTS, unknown(self.start, STARTS, "start"))
        require(self.reduction in REDUCTIONS, unknown(self.reduction, REDUCTIONS, "reduction"))
        require(
            self.start not in ("identity", "balanced") or self._width >= min(out, inputs),
            f"width {self._width} is below the rank of a {self.start} start; give at least "
            f"{min(out, inputs)}",
        )
        require(
            self.start != "identity" or out == inputs == self._width,
            f"a {out}x{inputs} matrix through width {self._width} has no identity start; take "
            "another start",
        )

    def init(self, key: Array) -> Params:
        out, inputs = self.observed.shape
        N, root = self.depth, self.scale ** (1 / self.depth)
        sizes = [inputs, *[self._width] * (N - 1), out]
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        keys = jax.random.split(key, N)
        if self.start == "identity":
            return deep_linear_params([root * jnp.eye(inputs)] * N)
        if self.start == "balanced":
            W = self.scale / np.sqrt(inputs) * jax.random.normal(keys[0], (out, inputs))
            return deep_linear_params(
                balanced_factors(W, N, self._width, jax.random.fold_in(key, N))
            )
        if self.start == "orthogonal":
            gain = (self.scale * np.sqrt(inputs)) ** (1 / N)
            return deep_linear_params(
                [orthogonal(k, shape, gain=gain) for k, shape in zip(keys, shapes, strict=True)]
            )
        return deep_linear_params(
            [
                root / np.sqrt(shape[1]) * jax.random.normal(k, shape)
                for k, shape in zip(keys, shapes, strict=True)
            ]
        )

    def objective(self, params: Params) -> Float[Array, ""]:
        squares = jnp.sum(self.observed.residuals(layer_product(layer_weights(params))) ** 2)
        if self.reduction == "sum":
            return squares / 2
        return squares / jnp.asarray(self.observed.count, squares.dtype)

    def gradient_of_product(self, W: Float[Array, "out in"]) -> Float[Array, "out in"]:
        """The gradient of the objective in the product itself, grad l(W) (unit: loss/parameter)."""
        return jax.grad(self.objective)(deep_linear_params([W]))[0]["weight"]

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "matrix factorisation",
            "observed": type(self.observed).__name__.lower(),
            "count": int(self.observed.count),
            "matrix": list(self.observed.shape),
            "depth": self.depth,
            "start": self.start,
            "scale": self.scale,
            "reduction": self.reduction,
        }

    @property
    def _width(self) -> int:
        return min(self.observed.shape) if self.width is None else self.width


def low_rank_matrix(key: Array, out: int, inputs: int, rank: int) -> Float[Array, "out in"]:
    """U V^T of independent Gaussian U (out, rank), V (in, rank), scaled to entries of rms 1.

    Raises:
        InputError: If the rank is not from 1 to min(out, in).

    Source: Arora, Cohen, Hu and Luo (2019), experiments.

    Examples:
        >>> W = tw.problems.low_rank_matrix(jax.random.key(0), 4, 3, rank=1)
        >>> int(jnp.linalg.matrix_rank(W)), bool(jnp.isclose(jnp.mean(W**2), 1))
        (1, True)
    """
    require(
        1 <= rank <= min(out, inputs),
        f"rank {rank} of a {out}x{inputs} matrix came; give 1 to {min(out, inputs)}",
    )
    left, right = jax.random.split(key)
    W = jax.random.normal(left, (out, rank)) @ jax.random.normal(right, (inputs, rank)).T
    return W * jnp.sqrt(out * inputs) / jnp.linalg.norm(W)


def observed_entries(key: Array, truth: ArrayLike, count: int) -> Entries:
    """`count` distinct entries of a matrix, drawn without replacement.

    Raises:
        InputError: If there are not so many.

    Examples:
        >>> seen = tw.problems.observed_entries(jax.random.key(0), np.ones((3, 4)), 5)
        >>> int(jnp.sum(seen.mask))
        5
    """
    W = jnp.asarray(truth)
    require(1 <= count <= W.size, f"{count} of {W.size} entries came; give 1 to {W.size}")
    chosen = jax.random.choice(key, W.size, (count,), replace=False)
    return Entries(jnp.zeros(W.size, bool).at[chosen].set(True).reshape(W.shape), W)


def gaussian_measurements(key: Array, truth: ArrayLike, count: int) -> Measurements:
    """`count` inner products with matrices of independent N(0, 1/(out in)) entries.

    Raises:
        InputError: If there is less than one.

    Source: Arora, Cohen, Hu and Luo (2019), experiments on sensing.

    Examples:
        >>> seen = tw.problems.gaussian_measurements(jax.random.key(0), np.eye(2), 3)
        >>> bool(jnp.allclose(seen.b, jnp.trace(seen.A, axis1=1, axis2=2)))  # <A, I>
        True
    """
    W = jnp.asarray(truth)
    require(W.ndim == 2, f"truth came of shape {W.shape}; give a matrix (out, in)")
    require(count >= 1, f"{count} measurements came; give at least 1")
    A = jax.random.normal(key, (count, *W.shape)) / np.sqrt(W.size)
    return Measurements(A, jnp.einsum("mij,ij->m", A, W))
