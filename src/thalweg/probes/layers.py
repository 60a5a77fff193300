"""Balancedness of the layers of dense networks, and singular values of the weights of any model."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core.errors import InputError, choose, require
from thalweg.core.result import Reading, exact
from thalweg.core.tree import Params, length
from thalweg.models.dense import layer_weights
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem


def matrices(params: Params, what: str) -> list[Array]:
    """The weight matrices of a dense net, or a sentence if the parameters are not one's."""
    try:
        weights = layer_weights(params)
        chained = all(a.shape[0] == b.shape[1] for a, b in pairwise(weights))
        if chained and all(w.ndim == 2 for w in weights):
            return weights
    except (KeyError, TypeError, AttributeError, IndexError):
        pass
    raise InputError(
        f"{what} needs a dense net (mlp or linear), whose layers are matrices that follow each "
        "other; tw.probes.singular_values() takes the weights of any model one by one"
    )


LAST = ("kernel", "w")  # what Flax, Keras and Haiku call weights, whose outputs are the last axis
OUTPUTS = ("by-name", "first", "last")


def weight_matrices(params: Params, outputs: str = "by-name") -> dict[str, Array]:
    """Every weight of two axes or more, as a matrix of a row for each output, by its place.

    A matrix is taken as it stands. Of a kernel of more axes all but the axis of the outputs make up
    the columns, in their order: (out, in, height, width) becomes (out, in * height * width).

    Args:
        params: Parameters, any pytree.
        outputs: Which axis is that of the outputs: "first" (here, in PyTorch and in Equinox),
            "last" (in Flax, Haiku and Keras), or "by-name": the last of leaves that are called
            kernel or w, else the first.

    Returns:
        Matrices by their places in the tree, as `[0]['weight']`, in the order of
        `jax.tree.leaves`.

    Raises:
        InputError: If no leaf has two axes, or `outputs` is none of these.

    Examples:
        >>> params = {"conv": {"kernel": jnp.zeros((3, 3, 1, 8))}, "bias": jnp.zeros(8)}
        >>> {place: W.shape for place, W in tw.probes.weight_matrices(params).items()}
        {"['conv']['kernel']": (8, 9)}
    """
    choose(outputs, dict.fromkeys(OUTPUTS), "outputs")
    found, largest = {}, 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        largest = max(largest, jnp.ndim(leaf))
        if jnp.ndim(leaf) < 2:
            continue
        called = str(getattr(path[-1], "key", getattr(path[-1], "name", ""))) if path else ""
        last = outputs == "last" or (outputs == "by-name" and called in LAST)
        if jnp.ndim(leaf) > 2:
            rows = jnp.moveaxis(leaf, -1, 0) if last else leaf
            leaf = rows.reshape(rows.shape[0], -1)
        found[jax.tree_util.keystr(path)] = leaf
    require(
        bool(found),
        f"singular values need a weight of two axes at least; these parameters have at most "
        f"{largest}",
    )
    return found


class Balancedness(Probe):
    """||W_{j+1}^T W_{j+1} - W_j W_j^T||_F for each pair of adjacent layers.

    Conserved exactly (as a matrix) by gradient flow on deep linear nets; on positively
    homogeneous nets only its trace is. value (pair,), parameter^2; exact up to rounding; no
    gradients. Source: Arora, Cohen and Hazan (2018); Elkabetz and Cohen (2021), E11b.
    """

    name: ClassVar[str] = "balancedness"
    unit: ClassVar[str] = "parameter^2"
    dims: ClassVar[tuple[str, ...]] = ("pair",)
    asks_process: ClassVar[bool] = False

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        weights = matrices(params, "balancedness")
        if len(weights) < 2:
            raise InputError("balancedness compares adjacent layers; this net has only one")
        gaps = [length(after.T @ after - before @ before.T) for before, after in pairwise(weights)]
        return exact(jnp.stack(gaps)), ()


class SingularValues(Probe):
    """Singular values of each weight of two axes or more, in decreasing order.

    value (layer, rank), parameter; layers of lower rank are padded with zeros; exact up
    to rounding; no gradients. Kernels count as the matrices of `weight_matrices`, whose keys name
    the layers in their order.

    Attributes:
        outputs: Which axis of a kernel is that of the outputs, as of `weight_matrices`.
    """

    name: ClassVar[str] = "singular_values"
    unit: ClassVar[str] = "parameter"
    dims: ClassVar[tuple[str, ...]] = ("layer", "rank")
    asks_process: ClassVar[bool] = False
    outputs: str = eqx.field(static=True, default="by-name")

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        weights = list(weight_matrices(params, self.outputs).values())
        rank = max(min(w.shape) for w in weights)
        rows = [jnp.linalg.svd(w, compute_uv=False) for w in weights]
        padded = [jnp.pad(row, (0, rank - row.size)) for row in rows]
        return exact(jnp.stack(padded)), ()


def balancedness() -> Balancedness:
    """Balancedness of adjacent layers; see `Balancedness`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([1]), (np.eye(1), np.eye(1)))
        >>> params = [{"weight": jnp.array([[2.0]])}, {"weight": jnp.array([[3.0]])}]
        >>> tw.measure(problem, params, tw.probes.balancedness()).value.tolist()  # 3^2 - 2^2
        [5.0]
    """
    return Balancedness()


def singular_values(outputs: str = "by-name") -> SingularValues:
    """Singular values of every weight of two axes or more; see `SingularValues`.

    Args:
        outputs: Which axis of a kernel is that of the outputs, as of `weight_matrices`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([2]), (np.eye(2), np.eye(2)))
        >>> params = [{"weight": jnp.diag(jnp.array([1.0, 3.0]))}, {"weight": 2 * jnp.eye(2)}]
        >>> tw.measure(problem, params, tw.probes.singular_values()).value.round(6).tolist()
        [[3.0, 1.0], [2.0, 2.0]]
    """
    choose(outputs, dict.fromkeys(OUTPUTS), "outputs")
    return SingularValues(outputs)
