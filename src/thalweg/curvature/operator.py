"""Linear maps that are known by their products."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import is_array, real_array, told
from thalweg.core.errors import InputError, require
from thalweg.core.hessian_product import Product
from thalweg.core.tree import Params

ABREAST = 8  # columns of a block that are worked on at once, where no microbatch bounds the memory


class Operator(eqx.Module):
    """A linear map that is known by its products.

    `A @ v` takes a flat vector (p,) in the order of `jax.flatten_util.ravel_pytree`, a block of
    columns (p, k), or a pytree shaped as the parameters, and gives back the same kind. A part
    chosen by `where` reads its own entries of a pytree and leaves zeros elsewhere.

    Attributes:
        cost: Gradients of the full objective that a product costs.
        symmetric: Whether A = A^T.
    """

    cost: ClassVar[float]
    symmetric: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    @abc.abstractmethod
    def dtype(self) -> np.dtype:
        """The precision of vectors and products."""

    @abc.abstractmethod
    def prepared(self) -> Product:
        """The map of flat vectors, with what all products share computed once."""

    @property
    def abreast(self) -> int:
        """How many columns of a block are worked on at once."""
        return ABREAST

    @property
    def T(self) -> Operator:  # noqa: N802
        """The transpose."""
        return self

    def dense(self) -> Float[Array, "rows columns"]:
        """The matrix, for small sizes: a product for every column."""
        return self @ jnp.eye(self.shape[1], dtype=self.dtype)

    def __matmul__(self, v: Any) -> Any:
        """The product with a vector, a block of columns or a pytree.

        Raises:
            InputError: If `v` is none of the three; the sentence says the sizes.
        """
        size = self.shape[1]
        if isinstance(v, jax.Array | np.ndarray) and v.ndim in (1, 2) and v.shape[0] == size:
            return _times(self, jnp.asarray(v, self.dtype))
        return self._left(_times(self, self._entered(v)))

    def _entered(self, tree: Any) -> Float[Array, " columns"]:
        """A tree of the domain as a flat vector."""
        shape = getattr(tree, "shape", type(tree).__name__)
        raise InputError(
            f"{shape} came; give a vector of {self.shape[1]} entries or a block of such columns"
        )

    def _left(self, flat: Float[Array, " rows"]) -> Any:
        """A flat vector of the range as a tree."""
        return flat


@eqx.filter_jit
def _times(operator: Operator, v: Array) -> Array:
    product = operator.prepared()
    if v.ndim == 1:
        return product(v)
    return jax.lax.map(product, v.T, batch_size=min(operator.abreast, max(v.shape[1], 1))).T


class Matrix(Operator):
    """A symmetric matrix that is held in memory.

    Examples:
        >>> A = tw.curvature.Matrix(jnp.array([[2.0, 0.0], [0.0, 3.0]]))
        >>> (A @ jnp.array([1.0, 1.0])).tolist()
        [2.0, 3.0]
    """

    values: Float[Array, "p p"] = eqx.field(converter=real_array)
    cost: ClassVar[float] = 0.0

    def __check_init__(self) -> None:
        require(
            is_array(self.values) and self.values.ndim == 2 and len(set(self.values.shape)) == 1,
            f"the matrix came as {told(self.values)}; give a square symmetric one",
        )

    @property
    def shape(self) -> tuple[int, int]:
        p = len(self.values)
        return p, p

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    def prepared(self) -> Product:
        return lambda v: self.values @ v


class Preconditioned(Operator):
    """D^{-1/2} A D^{-1/2}; see `preconditioned`."""

    inner: Operator
    scale: Float[Array, " p"]

    @property
    def cost(self) -> float:  # type: ignore[override]
        """Gradients of the full objective that a product costs."""
        return self.inner.cost

    @property
    def shape(self) -> tuple[int, int]:
        return self.inner.shape

    @property
    def dtype(self) -> np.dtype:
        return self.inner.dtype

    @property
    def abreast(self) -> int:
        return self.inner.abreast

    def prepared(self) -> Product:
        product = self.inner.prepared()
        return lambda v: self.scale * product(self.scale * v)

    def _entered(self, tree: Any) -> Array:
        return self.inner._entered(tree)

    def _left(self, flat: Array) -> Any:
        return self.inner._left(flat)


def preconditioned(operator: Operator, diagonal: Float[Array, " p"] | Params) -> Preconditioned:
    """D^{-1/2} A D^{-1/2}, similar to the D^{-1} A whose largest eigenvalue adaptive methods meet.

    Args:
        operator: A symmetric A on parameters, as the Hessian.
        diagonal: The positive diagonal of D, flat (p,) or shaped as the parameters; for Adam or
            RMSProp sqrt(second moment) + epsilon. Source: Cohen et al. (2022, arXiv 2207.14484).

    Raises:
        InputError: If sizes do not fit, A is not symmetric, or an entry is not positive.

    Examples:
        >>> A = tw.curvature.Matrix(jnp.diag(jnp.array([8.0, 3.0])))
        >>> tw.curvature.preconditioned(A, jnp.array([4.0, 1.0])).dense().tolist()
        [[2.0, 0.0], [0.0, 3.0]]
    """
    require(operator.symmetric, "a map that is not symmetric came; give a Hessian or its like")
    flat = isinstance(diagonal, jax.Array | np.ndarray) and diagonal.shape == operator.shape[:1]
    d = jnp.asarray(diagonal, operator.dtype) if flat else operator._entered(diagonal)
    if not isinstance(d, jax.core.Tracer):
        require(bool(jnp.all(d > 0)), "the diagonal has entries that are not positive; add epsilon")
    return Preconditioned(operator, 1 / jnp.sqrt(d))
