"""Balancedness and singular values of the layers of dense networks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core.errors import InputError
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
    raise InputError(f"{what} needs a dense net (mlp or linear), whose layers are matrices")


class Balancedness(Probe):
    """||W_{j+1}^T W_{j+1} - W_j W_j^T||_F for each pair of adjacent layers.

    Conserved exactly (as a matrix) by gradient flow on deep linear nets; on positively
    homogeneous nets only its trace is. value (pair,), parameter^2; exact up to rounding; no
    gradients. Source: Arora, Cohen and Hazan (2018); Elkabetz and Cohen (2021), E11b.
    """

    name: ClassVar[str] = "balancedness"
    unit: ClassVar[str] = "parameter^2"
    dims: ClassVar[tuple[str, ...]] = ("pair",)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        weights = matrices(params, "balancedness")
        if len(weights) < 2:
            raise InputError("balancedness compares adjacent layers; this net has only one")
        gaps = [length(after.T @ after - before @ before.T) for before, after in pairwise(weights)]
        return exact(jnp.stack(gaps)), ()


class SingularValues(Probe):
    """Singular values of each layer's weight matrix, in decreasing order.

    value (layer, rank), parameter; layers of lower rank are padded with zeros; exact up
    to rounding; no gradients.
    """

    name: ClassVar[str] = "singular_values"
    unit: ClassVar[str] = "parameter"
    dims: ClassVar[tuple[str, ...]] = ("layer", "rank")

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        weights = matrices(params, "singular values")
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


def singular_values() -> SingularValues:
    """Singular values of every layer; see `SingularValues`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([2]), (np.eye(2), np.eye(2)))
        >>> params = [{"weight": jnp.diag(jnp.array([1.0, 3.0]))}, {"weight": 2 * jnp.eye(2)}]
        >>> tw.measure(problem, params, tw.probes.singular_values()).value.round(6).tolist()
        [[3.0, 1.0], [2.0, 2.0]]
    """
    return SingularValues()
