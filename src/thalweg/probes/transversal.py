"""What a network does in directions normal to the plane that its inputs lie on.

Data on a plane M say nothing of df/dn, the derivative normal to M. It decides what a trained
network answers slightly off M. All functions take orthonormal bases: see
`thalweg.problems.data.planes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.errors import InputError, require
from thalweg.core.result import Reading, exact
from thalweg.core.tree import Params
from thalweg.models import Model
from thalweg.probes.probe import Moment, Probe, with_data
from thalweg.problems.data.planes import Plane
from thalweg.problems.problem import Problem, Supervised

Network = Callable[[Array], Array]


class NormalDerivatives(NamedTuple):
    """Derivatives of a network's outputs in normal directions.

    Attributes:
        value: df_k/dy_j at every point, shape (n, k, d_y), unit output/input.
        per_point: sqrt(sum_kj value^2), shape (n,).
        per_direction: Root mean square over points of the norm over outputs, shape (d_y,).
        rms: sqrt(mean over points of per_point^2), shape ().
    """

    value: Float[Array, "n k dy"]
    per_point: Float[Array, " n"]
    per_direction: Float[Array, " dy"]
    rms: Float[Array, ""]


def normal_derivative(
    f: Network, points: Float[ArrayLike, "n d"], normal: Float[ArrayLike, "d dy"]
) -> NormalDerivatives:
    """df/dy_j = N_j . grad f at every point, by reverse differentiation.

    Args:
        f: Maps a batch (n, d) to outputs (n, k) or (n,), every example by itself.
        points: Where: on M, or off it; the kinks of a ReLU net make the two differ.
        normal: N, orthonormal columns.

    Error: rounding. Cost: a forward pass and one backward pass per output.

    Raises:
        InputError: If the basis does not fit the points.

    Source: He, Tsai and Ward (2023), arXiv 2203.00614, df/dn.
    """
    points, normal = jnp.asarray(points), jnp.asarray(normal)
    require(
        points.ndim == normal.ndim == 2 and points.shape[1] == normal.shape[0],
        f"points of shape {points.shape} and a basis of shape {normal.shape} came; give (n, d) "
        "and (d, d_y)",
    )
    value = jnp.einsum("nkd,dj->nkj", _gradients(f, points), normal)
    square = value**2
    return NormalDerivatives(
        value,
        jnp.sqrt(jnp.sum(square, (1, 2))),
        jnp.sqrt(jnp.mean(jnp.sum(square, 1), 0)),
        jnp.sqrt(jnp.mean(jnp.sum(square, (1, 2)))),
    )


def _gradients(f: Network, points: Float[Array, "n d"]) -> Float[Array, "n k d"]:
    """Gradients of all outputs in the inputs."""
    outputs, pull = jax.vjp(lambda z: f(z).reshape(len(z), -1), points)
    k = outputs.shape[1]
    seeds = jnp.broadcast_to(jnp.eye(k, dtype=outputs.dtype)[:, None], (k, *outputs.shape))
    return jnp.moveaxis(jax.vmap(lambda seed: pull(seed)[0])(seeds), 0, 1)


def first_layer_gradient(
    model: Model, params: Params, points: Float[Array, "n d"]
) -> Float[Array, "n width"]:
    """g_1(z), the derivative of a dense net's one output by its first pre-activations.

    df/dy = B^T g_1 with B = W_1 N, and the gradient of the loss in B is the mean of
    residual * g_1 y^T: 0 when all y are.

    Args:
        model: A dense net with biases and one output.
        params: Its parameters.
        points: Shape (n, d).

    Error: rounding. Cost: a forward and a backward pass at every point.

    Raises:
        InputError: If the first layer has no bias.
    """
    require(
        isinstance(params, list) and "bias" in params[0],
        "the derivative by pre-activations is taken by the first layer's bias; give a dense net "
        "with biases",
    )

    def output(bias: Array, z: Array) -> Array:
        return model.apply([params[0] | {"bias": bias}, *params[1:]], z[None])[0, 0]

    return jax.vmap(jax.grad(output), (None, 0))(params[0]["bias"], points)


class ColumnChange(NamedTuple):
    """How far the first layer's columns have moved since a start.

    Attributes:
        normal: ||B_k - B_0||_F / ||B_0||_F, B = W_1 N: 0 if the data lie exactly on M.
        tangent: The same of A = W_1 P.
        largest: max |B_k - B_0|, entry by entry.
    """

    normal: float
    tangent: float
    largest: float


def column_change(before: ArrayLike, after: ArrayLike, plane: Plane) -> ColumnChange:
    """How far normal and tangent columns of the first layer have moved: are they frozen?

    Args:
        before: W_1 at the start, (k, d).
        after: W_1 later, (k, d).
        plane: Bases of M, as by `thalweg.problems.data.planes.plane_of`.

    Error: rounding; exactly 0 for columns that did not move in a coordinate plane.

    Raises:
        InputError: If the shapes differ or do not fit the plane.

    Source: He, Tsai and Ward (2023); E3 of the study.
    """
    first, last = np.asarray(before, float), np.asarray(after, float)
    require(
        first.shape == last.shape and first.shape[1:] == plane.normal.shape[:1],
        f"first layers of shapes {first.shape} and {last.shape} came for a plane in "
        f"R^{len(plane.normal)}; give two of one shape (k, d)",
    )
    (A0, B0), (A, B) = plane.columns(first), plane.columns(last)
    return ColumnChange(_relative(B, B0), _relative(A, A0), float(np.max(np.abs(B - B0))))


def _relative(now: np.ndarray, then: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.linalg.norm(now - then) / np.linalg.norm(then))


def error_off_plane(
    f: Network,
    target: Callable[[np.ndarray], ArrayLike],
    plane: Plane,
    x: Float[ArrayLike, "n dx"],
    distances: Float[ArrayLike, " m"],
    directions: int = 8,
    seed: int = 0,
) -> Float[np.ndarray, " m"]:
    """Root mean square of f(P x + r N u) - g(x) over points x and random unit vectors u.

    To first order in r it is sqrt(e^2 + r^2 ||df/dy||^2/d_y) with e the error on M.

    Args:
        f: Maps a batch (n, d) to outputs (n,) or (n, k).
        target: g, from tangent coordinates.
        plane: M, of codimension at least 1.
        x: Tangent coordinates of points on M, (n, d_x).
        distances: r, at least 0, in units of the inputs.
        directions: How many u for every point and distance, in pairs u, -u.
        seed: Of the directions.

    Returns:
        One number for every distance, in units of the output; from finitely many directions it
        scatters by a relative 1/sqrt(directions * n) or so.

    Raises:
        InputError: If the plane fills the space.
    """
    x, distances = np.asarray(x, float), np.asarray(distances, float)
    dy = plane.normal.shape[1]
    require(dy >= 1, "the plane fills the space; there is nothing off it")
    u = np.random.default_rng(seed).standard_normal(((directions + 1) // 2, len(x), dy))
    u /= np.linalg.norm(u, axis=-1, keepdims=True)
    wanted = np.asarray(target(x), float).reshape(len(x), -1)

    def error(r: float) -> float:
        off = [plane.points(x, side * r * turn) for turn in u for side in (1.0, -1.0)]
        outputs = np.asarray(f(jnp.asarray(np.concatenate(off)))).reshape(len(off), len(x), -1)
        return float(np.sqrt(np.mean(np.sum((outputs - wanted) ** 2, axis=-1))))

    return np.array([error(float(r)) for r in distances])


class NormalDerivative(Probe):
    """Rms over the training inputs, projected onto their plane, of ||df/dn||.

    ||df/dn||^2 sums over outputs and normal directions. The plane is spanned by the principal axes
    of the inputs (not centred) whose size is above `tolerance` of the largest.

    value   (), output/input
    error   0: exact up to rounding
    raises  InputError for problems without data and models that look at whole batches
    cost    a forward pass and a backward pass per output; once a singular value decomposition

    Source: He, Tsai and Ward (2023), arXiv 2203.00614, df/dn.
    """

    tolerance: float = eqx.field(static=True, default=1e-5)
    name: ClassVar[str] = "normal_derivative"
    unit: ClassVar[str] = "output/input"
    dims: ClassVar[tuple[str, ...]] = ()

    def start(self, problem: Problem, params: Params) -> Float[Array, "d d"]:
        """The projector P P^T onto the plane."""
        z = _flat_inputs(with_data(problem, "the normal derivative"))
        _, sizes, axes = jnp.linalg.svd(z, full_matrices=False)
        kept = jnp.where((sizes > self.tolerance * sizes[0])[:, None], axes, 0)
        return kept.T @ kept

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        data = with_data(problem, "the normal derivative")
        if not data.model.separable:
            raise InputError(
                "the normal derivative needs outputs that depend on their own example alone; "
                "this model looks at the whole batch"
            )

        def f(z: Array) -> Array:
            return data.outputs(params, z.reshape(-1, *data.inputs.shape[1:]))

        onto = _flat_inputs(data) @ memory
        off = jnp.eye(len(memory), dtype=memory.dtype) - memory
        return exact(normal_derivative(f, onto, off).rms), memory


def normal_derivative_probe(tolerance: float = 1e-5) -> NormalDerivative:
    """The rms normal derivative along a run; see `NormalDerivative`.

    Args:
        tolerance: Share of the largest principal axis up to which a direction is normal: above
            the noise of the data, below their extent.

    Raises:
        InputError: If the tolerance is not in [0, 1).
    """
    require(0 <= tolerance < 1, f"the tolerance is {tolerance}; give a share in [0, 1)")
    return NormalDerivative(tolerance)


def _flat_inputs(data: Supervised) -> Float[Array, "n d"]:
    return data.inputs.reshape(len(data.inputs), -1)
