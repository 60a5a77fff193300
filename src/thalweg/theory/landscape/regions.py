"""Regions of constant activation slopes: where they end, and what changes when one is left.

Inside a region every pre-activation is affine in the weights of one layer, so that the region is a
convex polytope in them, with one wall p_k = 0 per unit and example; the loss is one quadratic.

Source: Riedi, Balestriero and Baraniuk (2023), arXiv 2203.03099.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.core.tree import Params
from thalweg.curvature import layer_hessian
from thalweg.models import piecewise_affine as pieces
from thalweg.models.residual import ResidualMLP
from thalweg.theory.prediction import Prediction, make_prediction


def activation_pattern(
    model: ResidualMLP, params: Params, x: Float[Array, "n ..."]
) -> Bool[Array, "n units"]:
    """Which pre-activations of a batch are positive, hidden layers one after the other.

    Raises:
        InputError: As `thalweg.models.passage`.

    Examples:
        >>> from thalweg.theory.landscape.regions import activation_pattern
        >>> net = tw.models.ResidualMLP([2], "relu", bias=False)
        >>> params = [{"weight": jnp.eye(2)}, {"weight": jnp.array([[3.0, 5.0]])}]
        >>> activation_pattern(net, params, jnp.array([[1.0, -1.0]])).tolist()
        [[True, False]]
    """

    def one(example: Array) -> Array:
        return jnp.concatenate(pieces.passage(model, params, example).preactivations) > 0

    return jax.vmap(one)(x)


class Boundary(NamedTuple):
    """A wall of a region, met by one unit for one example.

    Attributes:
        distance: How far it is, in the unit that the function says; infinity if there is none.
        example: For which example of the batch; -1 if there is none.
        layer: The unit's layer.
        unit: Its number within the layer.
    """

    distance: float
    example: int
    layer: int
    unit: int


def next_boundary(
    model: ResidualMLP,
    params: Params,
    x: Float[Array, "n ..."],
    layer: int,
    direction: Float[ArrayLike, "width in"],
) -> Boundary:
    """The first wall that W + t V meets, t > 0: t* = min -p_k / p'_k over units with p_k p'_k < 0.

    For 0 <= t < t* the loss is a parabola in t. A unit that sits on its wall already (p_k = 0) is
    left out; of several that cross at once one is named, as where the last live unit below dies
    and all above lose their input. Nothing but the layer's weights W moves.

    Args:
        model: The net.
        params: Its parameters.
        x: A batch of inputs.
        layer: Whose weights move.
        direction: V, shaped as W.

    Returns:
        `distance` is t*, exact up to rounding.

    Raises:
        InputError: As `thalweg.models.local_matrix`, or if the direction has another shape.

    Cost: one pass per example, and one matrix product per layer above.

    Examples:
        >>> from thalweg.theory.landscape.regions import next_boundary
        >>> net = tw.models.ResidualMLP([1], "relu", bias=False)
        >>> params = [{"weight": jnp.array([[6.0]])}, {"weight": jnp.array([[3.0]])}]
        >>> next_boundary(net, params, jnp.array([[2.0]]), 0, [[-2.0]]).distance  # 6 - 2 t = 0
        3.0
    """
    V, own = jnp.asarray(direction), params[layer]["weight"].shape
    require(V.shape == own, f"the direction has shape {V.shape}; give the layer's own, {own}")
    p, S, z = _units(model, params, x, layer)
    rate = np.einsum("gka,ai,gi->gk", S, np.asarray(V), z)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(p * rate < 0, -p / rate, np.inf)
    return _nearest(model, layer, t)


def boundary_distance(
    model: ResidualMLP, params: Params, x: Float[Array, "n ..."], layer: int
) -> Boundary:
    """How far a layer's weights are from the nearest wall, in the Frobenius norm.

    min |p_k| / (||dp_k/dp||_2 ||z||_2) over examples and units, p the layer's pre-activations and
    z its input: the region is an intersection of half-spaces, so that this is the exact radius of
    the largest ball around W in it.

    Returns:
        `distance` in the unit of the weights; 0 on a kink.

    Raises:
        InputError: As `thalweg.models.local_matrix`.

    Examples:
        >>> from thalweg.theory.landscape.regions import boundary_distance
        >>> net = tw.models.ResidualMLP([1], "relu", bias=False)
        >>> params = [{"weight": jnp.array([[6.0]])}, {"weight": jnp.array([[3.0]])}]
        >>> boundary_distance(net, params, jnp.array([[2.0]]), 0).distance  # w is 0 on the wall
        6.0
    """
    p, S, z = _units(model, params, x, layer)
    reach = np.linalg.norm(S, axis=2) * np.linalg.norm(z, axis=1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        r = np.where(reach > 0, np.abs(p) / reach, np.inf)
    return _nearest(model, layer, r)


class RegionCrossing(NamedTuple):
    """Singular values of Q on the two sides of a wall, descending.

    Attributes:
        before: On this side.
        after: Beyond the wall.
        bound: ||Q' - Q||_2, which no singular value can change by more than (Weyl).
    """

    before: Float[np.ndarray, " k"]
    after: Float[np.ndarray, " k"]
    bound: float


def across(
    model: ResidualMLP, params: Params, x: Float[Array, "n ..."], layer: int, wall: Boundary
) -> RegionCrossing:
    """How the singular values of `downstream_matrix` change where one unit crosses its wall.

    Exact: the weights above the layer are fixed, so that Q depends on the slopes alone, and one of
    them changes at a wall (unless several units share it).

    Args:
        model: The net.
        params: Its parameters.
        x: The batch that the wall was found with.
        layer: The layer whose weights move.
        wall: From `next_boundary` or `boundary_distance` with the same layer.

    Raises:
        InputError: If there is no wall.

    Examples:
        >>> from thalweg.theory.landscape.regions import across, boundary_distance
        >>> net = tw.models.ResidualMLP([1], "relu", bias=False)
        >>> params = [{"weight": jnp.array([[6.0]])}, {"weight": jnp.array([[3.0]])}]
        >>> x = jnp.array([[2.0]])
        >>> found = across(net, params, x, 0, boundary_distance(net, params, x, 0))
        >>> found.before.tolist(), found.after.tolist()  # the unit dies
        ([3.0], [0.0])
    """
    require(wall.example >= 0, "there is no wall to cross: none was found")
    on, off = pieces.two_slopes(model)
    slopes = pieces.activation_slopes(model, params, x[wall.example])
    flipped = list(slopes)
    d = slopes[wall.layer]
    flipped[wall.layer] = d.at[wall.unit].set(on + off - d[wall.unit])
    here, there = (
        np.asarray(pieces.downstream_of_slopes(model, params, s, layer)) for s in (slopes, flipped)
    )
    s, after = (np.linalg.svd(Q, compute_uv=False) for Q in (here, there))
    return RegionCrossing(s, after, float(np.linalg.norm(there - here, 2)))


def region_loss(
    model: ResidualMLP,
    params: Params,
    x: Float[Array, "n ..."],
    y: Float[ArrayLike, "n outputs"],
    layer: int,
    step_size: float,
    reduction: str = "mean",
) -> Prediction:
    """The squared error while gradient descent trains one layer's weights inside one region.

    After k steps the errors e = f - y, stacked over examples, are (I - eta K)^k e_0, K the Gram
    matrix of `thalweg.curvature.layer_hessian`; of one example K = ||z||^2 Q Q^T, and the part of
    e_0 along each left singular vector of Q shrinks by 1 - eta ||z||^2 s_i^2 a step.

    Args:
        model: The net.
        params: Its parameters at the start.
        x: The batch.
        y: Targets.
        layer: The layer that is trained.
        step_size: eta.
        reduction: "mean" or "sum" of 1/2 ||f - y||^2 over the batch.

    Returns:
        A prediction of the probe "loss", along training time = steps times step size.

    Raises:
        InputError: As `thalweg.curvature.layer_hessian`.

    Examples:
        >>> from thalweg.theory.landscape.regions import region_loss
        >>> net = tw.models.ResidualMLP([1], "relu", skip=0.0, bias=False)
        >>> params = [{"weight": jnp.array([[2.0]])}, {"weight": jnp.array([[3.0]])}]
        >>> loss = region_loss(net, params, jnp.array([[1.0]]), [[0.0]], 0, step_size=0.1)
        >>> loss.at([0.0, 0.1]).round(6).tolist()  # 6^2/2, and errors shrink by 1 - 0.1 * 3^2
        [18.0, 0.18]
    """
    hessian = layer_hessian(model, params, x, layer, reduction=reduction)
    error = (model.apply(params, jnp.asarray(x)) - jnp.asarray(y)).ravel()
    rates, U = np.linalg.eigh(np.asarray(hessian.gram()))
    parts = hessian.weight / 2 * (U.T @ np.asarray(error)) ** 2

    def at(times: ArrayLike) -> np.ndarray:
        steps = np.asarray(times, float)[..., None] / step_size
        return np.sum(parts * np.abs(1 - step_size * rates) ** (2 * steps), -1)

    return make_prediction(
        "loss",
        "loss",
        "exact",
        f"Gradient descent of step size {step_size:g} moves the weights of layer {layer} alone, "
        "and no pre-activation changes its sign.",
        at,
        "Riedi, Balestriero & Baraniuk 2023, piecewise-quadratic loss (E3)",
    )


def _units(
    model: ResidualMLP, params: Params, x: Float[Array, "n ..."], layer: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pre-activations p (n, units) from a layer on, dp/d(the layer's own), and the layer's z."""
    p, S, z = _reach(model, params, jnp.asarray(x), layer)
    return np.asarray(p), np.asarray(S), np.asarray(z)


@eqx.filter_jit
def _reach(model: ResidualMLP, params: Params, x: Array, layer: int) -> tuple[Array, Array, Array]:
    def one(example: Array) -> tuple[Array, Array, Array]:
        way = pieces.passage(model, params, example)
        slopes = pieces.activation_slopes(model, params, example)
        hidden = len(model.hidden)
        width = params[layer]["weight"].shape[0]
        if layer == hidden:  # the readout has no unit above it that could change
            return jnp.zeros(0), jnp.zeros((0, width)), way.inputs[layer]
        reach = [jnp.eye(width)]
        below = pieces.own_slopes(model, params, slopes, layer)
        for j in range(layer + 1, hidden):
            reach.append(params[j]["weight"] @ below)
            below = pieces.local_matrix(model, params, example, j) @ below
        p = jnp.concatenate(way.preactivations[layer:])
        return p, jnp.concatenate(reach), way.inputs[layer]

    return jax.vmap(one)(x)


def _nearest(model: ResidualMLP, layer: int, distances: np.ndarray) -> Boundary:
    if distances.size == 0 or not np.isfinite(distances.min()):
        return Boundary(np.inf, -1, -1, -1)
    example, unit = np.unravel_index(int(np.argmin(distances)), distances.shape)
    first = np.concatenate([[0], np.cumsum(model.hidden[layer:])])
    above = int(np.searchsorted(first, unit, side="right")) - 1
    return Boundary(
        float(distances[example, unit]), int(example), layer + above, int(unit - first[above])
    )
