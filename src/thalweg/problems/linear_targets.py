"""Deep linear nets against a linear target: squared error through second moments alone.

On any data the squared error 1/2 sum_mu ||y - W x||^2 of a linear map depends on the examples only
through Sigma_11 = sum x x^T and Sigma_31 = sum y x^T. With T Sigma_11 = Sigma_31 it is
1/2 tr[(W - T) Sigma_11 (W - T)^T] plus a constant, which is dropped here, so that the least loss
is zero. Whitened inputs, Sigma_11 = I, make T = Sigma_31.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.arguments import real_array, told
from thalweg.core.errors import InputError, require
from thalweg.core.tree import Params
from thalweg.models import layer_weights
from thalweg.models.initialisers import orthogonal
from thalweg.problems.data.data import Data
from thalweg.problems.problem import Function, Problem


class Modes(NamedTuple):
    """A linear map and its singular value decomposition, U diag(s) V^T, from ONE call.

    Attributes:
        U: Output singular vectors, shape (out, r).
        s: Singular values, shape (r,).
        V: Input singular vectors, shape (in, r).
    """

    U: Array
    s: Array
    V: Array

    @property
    def matrix(self) -> Float[Array, "out in"]:
        """The map U diag(s) V^T."""
        return (self.U * self.s[None]) @ self.V.T


def modes_of(matrix: ArrayLike) -> Modes:
    """The singular modes of a matrix (out, in), all min(out, in) of them, descending.

    Examples:
        >>> modes = tw.problems.modes_of(np.diag([1.0, 3.0]))
        >>> modes.s.round(6).tolist(), modes.matrix.round(6).tolist()
        ([3.0, 1.0], [[1.0, 0.0], [0.0, 3.0]])
    """
    array = jnp.asarray(matrix)
    require(
        array.ndim == 2 and array.size > 0,
        f"a matrix of shape {array.shape} came; give one of two axes, (out, in)",
    )
    U, s, Vt = jnp.linalg.svd(array, full_matrices=False)
    return Modes(U, s, Vt.T)


def random_modes(key: Array, s: Sequence[float], outputs: int, inputs: int) -> Modes:
    """Modes of given singular values in Haar-distributed bases.

    Args:
        key: Source of randomness.
        s: Singular values, at most min(outputs, inputs) of them.
        outputs: Size of the output.
        inputs: Size of the input.

    Raises:
        InputError: If there are more singular values than modes.

    Examples:
        >>> modes = tw.problems.random_modes(jax.random.key(0), [3.0, 1.0], outputs=4, inputs=3)
        >>> modes.matrix.shape, np.linalg.svd(modes.matrix, compute_uv=False).round(6).tolist()
        ((4, 3), [3.0, 1.0, 0.0])
    """
    require(
        isinstance(s, Sequence | np.ndarray | Array),
        f"s came as {told(s)}; give a list of singular values",
    )
    r = len(s)
    require(
        1 <= r <= min(outputs, inputs),
        f"{r} singular values for a map from {inputs} to {outputs}: give 1 to "
        f"{min(outputs, inputs)} of them.",
    )
    left, right = jax.random.split(key)
    return Modes(orthogonal(left, (outputs, r)), jnp.asarray(s), orthogonal(right, (inputs, r)))


def whitened_modes(data: Data, tolerance: float = 1e-6) -> Modes:
    """Modes of the input-output correlation (1/n) sum y z^T of whitened inputs z.

    z = Sigma^{-1/2} x in the principal axes of Sigma = (1/n) sum x x^T (not centred), without the
    axes whose standard deviation is below `tolerance` of the largest. Labels are one-hot, so that
    the objective of `DeepLinear` on these modes is the mean squared error above its least value.

    Args:
        data: The examples.
        tolerance: Relative standard deviation below which an axis is left out.

    Examples:
        >>> data = tw.problems.read_data((np.diag([3.0, 4.0]), [2.0, 0.0]), task="regression")
        >>> round(float(tw.problems.whitened_modes(data).s[0]), 6)  # (1/n) sum y z^T, n = 2
        1.414214
    """
    x = np.asarray(data.inputs).reshape(len(data.inputs), -1)
    y = np.eye(len(data.classes))[data.targets] if data.classes else np.asarray(data.targets)
    z, spread, _ = np.linalg.svd(x, full_matrices=False)
    return modes_of(y.T @ z[:, spread > tolerance * spread[0]] / np.sqrt(len(x)))


class DeepLinear(Problem):
    """f(W_1, ..., W_L) = 1/2 tr[(W - T) C (W - T)^T] with W = W_L ... W_1.

    The product is taken from the output side, so that a gradient costs about 6 L out width^2
    operations, however many inputs there are. Parameters are as a linear net's,
    [{"weight": W_1}, ...].

    Attributes:
        target: T, shape (out, in).
        correlation: C = Sigma_11, shape (in, in); None for whitened inputs, C = I.
        draw: Maps a key to [W_1, ..., W_L]; None if starts are given elsewhere.

    Examples:
        >>> problem = tw.problems.DeepLinear(np.diag([2.0, 1.0]))
        >>> start = tw.problems.deep_linear_params([np.eye(2), np.eye(2)])
        >>> float(problem.objective(start))  # (2 - 1)^2 / 2
        0.5
    """

    target: Float[Array, "out in"] = eqx.field(converter=real_array)
    correlation: Float[Array, "in in"] | None = eqx.field(converter=real_array, default=None)
    draw: Callable[[Array], Sequence[Array]] | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        inputs, C = self.target.shape[-1], self.correlation
        require(
            C is None or C.shape[-2:] == (inputs, inputs),
            f"correlation came as {told(C)} with a target of shape {self.target.shape}; give one "
            f"of shape ({inputs}, {inputs})",
        )

    def init(self, key: Array) -> Params:
        if self.draw is None:
            raise InputError("this deep linear problem has no start of its own: give draw=")
        return deep_linear_params(self.draw(key))

    def objective(self, params: Params) -> Float[Array, ""]:
        product = reduce(lambda W, below: W @ below, reversed(layer_weights(params)))
        gap = product - self.target
        weighed = gap if self.correlation is None else gap @ self.correlation
        return jnp.sum(gap * weighed) / 2

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "deep linear net",
            "target": list(self.target.shape),
            "inputs": "whitened" if self.correlation is None else "correlated",
        }


def deep_linear_params(weights: Sequence[ArrayLike]) -> Params:
    """Parameters of a linear net from its matrices [W_1, ..., W_L].

    Examples:
        >>> tw.problems.deep_linear_params([np.eye(2)])[0]["weight"].tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    require(
        isinstance(weights, Sequence | np.ndarray | Array),
        f"weights came as {told(weights)}; give a list of matrices",
    )
    return [{"weight": jnp.asarray(W)} for W in weights]


def scalar_chain(depth: int, s: float, u0: float) -> Function:
    """f(w) = 1/2 (w_1 ... w_L - s)^2 from w_l = u0^{1/L}, a deep linear net of width one.

    Args:
        depth: L, the number of weights, at least 1.
        s: Target.
        u0: Product at the start, at least 0.

    Raises:
        InputError: If L or u0 is out of range.

    Examples:
        >>> problem = tw.problems.scalar_chain(3, s=2.0, u0=8.0)
        >>> start = problem.init(jax.random.key(0))
        >>> start.tolist(), round(float(problem.objective(start)), 6)  # (8 - 2)^2 / 2
        ([2.0, 2.0, 2.0], 18.0)
    """
    require(
        depth >= 1 and u0 >= 0,
        f"a chain of {depth} weights from {u0}: give depth >= 1 and u0 >= 0.",
    )
    return Function(_ChainLoss(s), start=jnp.full(depth, u0 ** (1 / depth)))


@dataclass(frozen=True)
class _ChainLoss:
    """1/2 (w_1 ... w_L - s)^2; equal for equal s, so that it is compiled once."""

    s: float

    def __call__(self, w: Float[Array, " L"]) -> Float[Array, ""]:
        return (jnp.prod(w) - self.s) ** 2 / 2
