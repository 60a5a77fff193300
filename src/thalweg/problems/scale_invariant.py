"""Problems whose objective does not change with the scale of the parameters: f(c w) = f(w), c > 0.

Outputs z are normalised over the whole batch, to the mean and spread of the targets y:
out = std(y) (z - mean z)/std z + mean y, with population moments, and the loss is the mean of
(out - y)^2, without a factor 1/2. Scale and shift stay fixed: with trained ones the objective would
not be scale-invariant in all parameters.

Source: Lyu, Li and Arora (2022, arXiv 2206.07085); constants derived for these conventions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.arguments import real_array
from thalweg.core.behaviour import traced
from thalweg.core.errors import require
from thalweg.core.ranges import positive, require_from_zero
from thalweg.core.spectra import layer_product
from thalweg.core.tree import Params
from thalweg.models import layer_weights
from thalweg.problems.linear_targets import deep_linear_params
from thalweg.problems.matrix_sensing import Entries
from thalweg.problems.problem import Function, Problem


def _normalised(z: Array, y: Array, seen: Array) -> Array:
    """Outputs with the mean and the spread of the targets, both over the entries that are seen."""
    count = jnp.sum(seen).astype(z.dtype)

    def mean(values: Array) -> Array:
        return jnp.sum(jnp.where(seen, values, 0)) / count

    def spread(values: Array) -> Array:
        return jnp.sqrt(mean((values - mean(values)) ** 2))

    return spread(y) * (z - mean(z)) / spread(z) + mean(y)


class NormalisedRegression(Problem):
    """L(w) = (1/n) sum_i (s_y (w.x_i - mean)/std(w.x) + mean y - y_i)^2 on a vector w, (d,).

    Its minima of loss zero are Gamma = {X_c w = c y_c, c > 0}, X_c and y_c centred, and
    w/c is the linear regressor that such a w stands for. Cost of a gradient: 6 n d operations.
    Not defined at w with X_c w = 0.

    Attributes:
        inputs: X, shape (n, d), n at least 3.
        targets: y, shape (n,), not all the same.
        norm: ||w|| at the start, which is drawn uniformly from that sphere.

    Raises:
        InputError: If shapes do not fit, a number is not finite, or all targets or inputs are the
            same.

    Source: Lyu, Li and Arora (2022), linear regression with batch normalisation.

    Examples:
        >>> x, y = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), np.array([1.0, 0.0, -1.0])
        >>> problem = tw.problems.NormalisedRegression(x, y)
        >>> [round(float(problem.objective(c * jnp.array([1.0, 0.0]))), 12) for c in (1, 5)]
        [0.0, 0.0]
    """

    inputs: Float[Array, "n d"] = eqx.field(converter=real_array)
    targets: Float[Array, " n"] = eqx.field(converter=real_array)
    norm: Float[Array, ""] = eqx.field(converter=partial(positive, "norm"), default=1.0)

    def __check_init__(self) -> None:
        require(
            self.inputs.ndim == 2 and self.targets.shape == self.inputs.shape[:1],
            f"inputs came with shape {self.inputs.shape} and targets with {self.targets.shape}; "
            "give (n, d) and (n,)",
        )
        require(len(self.targets) >= 3, f"{len(self.targets)} examples came; give at least 3")
        if not traced((self.inputs, self.targets)):
            require(
                all(bool(jnp.all(jnp.isfinite(a))) for a in (self.inputs, self.targets)),
                "inputs or targets came with NaN or infinity; give finite numbers",
            )
            same = "are the same; give two values or more"
            require(bool(jnp.ptp(self.targets) > 0), f"all targets {same}")
            require(bool(jnp.any(jnp.ptp(self.inputs, axis=0) > 0)), f"all inputs {same}")

    def init(self, key: Array) -> Params:
        w = jax.random.normal(key, self.inputs.shape[1:], self.inputs.dtype)
        return self.norm.astype(w.dtype) * w / tree.length(w)

    def outputs(self, params: Params, x: Float[Array, "m d"] | None = None) -> Float[Array, " m"]:
        """The normalised outputs on the inputs, or on others by the moments of the inputs."""
        z = self.inputs @ params
        if x is None:
            return _normalised(z, self.targets, jnp.ones_like(z, bool))
        spread = jnp.std(self.targets) / jnp.std(z)
        return spread * (x @ params - jnp.mean(z)) + jnp.mean(self.targets)

    def objective(self, params: Params) -> Float[Array, ""]:
        return jnp.mean((self.outputs(params) - self.targets) ** 2)

    def regressor(self, params: Params) -> Float[Array, " d"]:
        """w/c, c = <X_c w, y_c>/||y_c||^2: the linear regressor that w stands for; (d,)."""
        y = self.targets - jnp.mean(self.targets)
        z = self.inputs @ params
        return params / (jnp.dot(z - jnp.mean(z), y) / jnp.dot(y, y))

    def describe(self) -> dict[str, Any]:
        n, d = self.inputs.shape
        return {"kind": "normalised regression", "examples": n, "inputs": [d]}


class NormalisedCompletion(Problem):
    """Matrix completion whose prediction has the mean and spread of the entries that are known.

    f = mean over known entries of (s_y (W - mean W)/std W + mean y - y)^2, W = W_N ... W_1 and the
    moments over known entries. Parameters are as a linear net's, [{"weight": W_1}, ...], square
    factors of the full width.

    Attributes:
        observed: The entries that are known, at least 3 and not all the same.
        depth: N.
        norm: Euclidean norm of all parameters at the start, which is Gaussian in direction.

    Raises:
        InputError: If fewer than 3 entries are known or all are the same.

    Source: Lyu, Li and Arora (2022), matrix completion with batch normalisation.

    Examples:
        >>> truth = np.outer([1.0, 2.0, 3.0], [1.0, -1.0, 2.0])
        >>> seen = tw.problems.observed_entries(jax.random.key(0), truth, 6)
        >>> problem = tw.problems.NormalisedCompletion(seen)
        >>> once = problem.init(jax.random.key(1))
        >>> twice = jax.tree.map(lambda w: 2 * w, once)
        >>> bool(problem.objective(once) == problem.objective(twice))
        True
    """

    observed: Entries
    depth: int = eqx.field(static=True, default=2)
    norm: Float[Array, ""] = eqx.field(converter=partial(positive, "norm"), default=1.0)

    def __check_init__(self) -> None:
        require(self.depth >= 1, f"the depth came as {self.depth}; give at least 1")
        if not traced((self.observed.mask, self.observed.values)):
            known = self.observed.values[self.observed.mask]
            require(
                len(known) >= 3 and bool(jnp.ptp(known) > 0),
                f"{len(known)} entries are known; give at least 3, not all the same",
            )

    def init(self, key: Array) -> Params:
        out, inputs = self.observed.shape
        width = min(out, inputs)
        sizes = [inputs, *[width] * (self.depth - 1), out]
        kind = self.observed.values.dtype
        drawn = deep_linear_params(
            [
                jax.random.normal(k, (rows, columns), kind)
                for k, rows, columns in zip(
                    jax.random.split(key, self.depth), sizes[1:], sizes[:-1], strict=True
                )
            ]
        )
        scale = self.norm.astype(kind) / tree.norm(drawn)
        return jax.tree.map(lambda w: scale * w, drawn)

    def completed(self, params: Params) -> Float[Array, "out in"]:
        """The whole matrix as it is predicted."""
        W = layer_product(layer_weights(params))
        return _normalised(W, self.observed.values, self.observed.mask)

    def objective(self, params: Params) -> Float[Array, ""]:
        squares = jnp.sum(self.observed.residuals(self.completed(params)) ** 2)
        return squares / jnp.asarray(self.observed.count, squares.dtype)

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "normalised matrix completion",
            "count": int(self.observed.count),
            "matrix": list(self.observed.shape),
            "depth": self.depth,
        }


@dataclass(frozen=True)
class _Circle:
    """L(w) = (1 + b theta_2^2) theta_3^2/2; equal for equal b, so that it is compiled once."""

    slope: float

    def __call__(self, w: Float[Array, " 3"]) -> Float[Array, ""]:
        theta = w / tree.length(w)
        return (1 + self.slope * theta[1] ** 2) * theta[2] ** 2 / 2


def circle_of_minima(slope: float = 3.0) -> Function:
    """L(w) = (1/2) (1 + b theta_2^2) theta_3^2, theta = w/||w||: a circle of minima on the sphere.

    At the angle phi of the circle the spherical sharpness is 1 + b sin^2 phi.

    Args:
        slope: b, at least 0.

    Raises:
        InputError: If b is negative.

    Source: after Lyu, Li and Arora (2022), the figure of a sphere.

    Examples:
        >>> valley = tw.problems.circle_of_minima(3.0)
        >>> float(valley.objective(jnp.array([0.0, 2.0, 0.0])))
        0.0
        >>> top = tw.measure(valley, jnp.array([0.0, 2.0, 0.0]), "spherical-sharpness")
        >>> round(float(top.value), 6)  # 1 + b
        4.0
    """
    require_from_zero(slope=slope)
    return Function(_Circle(float(slope)), start=jnp.array([0.3, 1.0, 0.01]))
