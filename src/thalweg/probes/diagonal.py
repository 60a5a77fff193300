"""Uniformity of the Hessian's diagonal in each layer, along a run."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp

from thalweg.core.errors import require
from thalweg.core.result import Reading
from thalweg.core.tree import Params
from thalweg.curvature.diagonal_ratio import block_ratios, sampled_coordinates
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem


class DiagonalRatio(Probe):
    """R_med = max |H_ii| / median |H_ii| of every weight matrix, on fixed random coordinates.

    value   (block,), a pure number, at least 1: 1 for a uniform diagonal, infinite where half
            of the entries or more are 0. Blocks are the leaves with two axes or more, in order
    error   (block,), 0: the entries are exact up to rounding. The maximum is that of the
            coordinates looked at, so the ratio of the whole block can be larger
    result  NONFINITE if an entry is not finite
    cost    `count` Hessian products a block, 2 gradients each

    The coordinates are the same at every record, for every seed and every dynamics with the same
    `draw`, so that runs can be compared. Source: Jiang, Malik and Li (2023).
    """

    count: int = eqx.field(static=True, default=200)
    draw: int = eqx.field(static=True, default=0)
    name: ClassVar[str] = "diagonal_ratio"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ("block",)

    def __check_init__(self) -> None:
        require(self.count >= 1, f"count came as {self.count}; give at least 1")

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        coordinates = sampled_coordinates(params, self.count, self.draw)
        found = list(block_ratios(problem, params, coordinates).values())
        value, error, result = (
            jnp.stack([getattr(ratio, field) for ratio in found])
            for field in ("value", "error", "result")
        )
        return Reading(value, error, jnp.max(result)), ()


def diagonal_ratio(count: int = 200, draw: int = 0) -> DiagonalRatio:
    """Largest over median diagonal entry of the Hessian, per layer; see `DiagonalRatio`.

    Examples:
        >>> data = (np.diag([1.0, 1.0, 3.0]), np.ones((3, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> params = problem.init(jax.random.key(0))
        >>> tw.measure(problem, params, tw.probes.diagonal_ratio()).value.round(6).tolist()
        [9.0]
    """
    return DiagonalRatio(count, draw)
