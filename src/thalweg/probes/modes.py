"""Singular modes of a net's input-output map, in given singular bases."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from thalweg.core.arguments import real_array
from thalweg.core.errors import require
from thalweg.core.result import Reading, exact
from thalweg.core.spectra import layer_product
from thalweg.core.tree import Params
from thalweg.probes.layers import matrices
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem, Supervised


class ModeStrengths(Probe):
    """diag(U^T M V), M = sum_mu f(x_mu) x_mu^T the net's input-output correlation.

    With whitened inputs (sum x x^T = I) M is a linear net's product W; nets without examples are
    taken by their product. value (mode,), exact up to rounding; no gradients.

    Attributes:
        U: Output singular vectors, shape (out, r).
        V: Input singular vectors of the same decomposition, shape (in, r).

    Source: Saxe, McClelland and Ganguli (2014), the strength a*b of a mode.
    """

    name: ClassVar[str] = "mode_strengths"
    unit: ClassVar[str] = "output/input"
    dims: ClassVar[tuple[str, ...]] = ("mode",)
    U: Float[Array, "out r"] = eqx.field(converter=real_array)
    V: Float[Array, "in r"] = eqx.field(converter=real_array)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        if isinstance(problem, Supervised):
            inputs = problem.inputs.reshape(problem.inputs.shape[0], -1)
            product = problem.outputs(params).T @ inputs
        else:
            product = layer_product(matrices(params, "mode strengths"))
        _require_fit(self.U, self.V, product.shape)
        return exact(jnp.sum(self.U * (product @ self.V), axis=0)), ()


class GrowingStrengths(Probe):
    """1/4 ||a + b||^2 for every mode of a one-hidden-layer net, a = W_1 v and b = W_2^T u.

    Near the origin a + b grows as e^{s t} and a - b decays, so this is the strength with which a
    mode takes off from a small random start. value (mode,), exact up to rounding; no gradients.

    Attributes:
        U: Output singular vectors, shape (out, r).
        V: Input singular vectors of the same decomposition, shape (in, r).

    Source: linearisation of Saxe, McClelland and Ganguli (2014), E3, at the origin.
    """

    name: ClassVar[str] = "growing_strengths"
    unit: ClassVar[str] = "output/input"
    dims: ClassVar[tuple[str, ...]] = ("mode",)
    U: Float[Array, "out r"] = eqx.field(converter=real_array)
    V: Float[Array, "in r"] = eqx.field(converter=real_array)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        weights = matrices(params, "growing strengths")
        require(
            len(weights) == 2,
            f"growing strengths need a net with one hidden layer; this one has {len(weights) - 1}",
        )
        lower, upper = weights
        _require_fit(self.U, self.V, (upper.shape[0], lower.shape[1]))
        return exact(jnp.sum((lower @ self.V + upper.T @ self.U) ** 2, axis=0) / 4), ()


def _require_fit(U: Array, V: Array, shape: tuple[int, ...]) -> None:
    require(
        (len(U), len(V)) == shape,
        f"U has shape {U.shape} and V {V.shape}, and the map of the inputs is of shape {shape}; "
        "give singular vectors of such a map",
    )


def mode_strengths(U: ArrayLike, V: ArrayLike) -> ModeStrengths:
    """Strengths of the input-output map in singular bases; see `ModeStrengths`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([2]), (np.eye(2), np.eye(2)))
        >>> params = [{"weight": jnp.diag(jnp.array([1.0, 3.0]))}, {"weight": 2 * jnp.eye(2)}]
        >>> probe = tw.probes.mode_strengths(np.eye(2), np.eye(2))
        >>> tw.measure(problem, params, probe).value.round(6).tolist()
        [2.0, 6.0]
    """
    return ModeStrengths(jnp.asarray(U), jnp.asarray(V))


def growing_strengths(U: ArrayLike, V: ArrayLike) -> GrowingStrengths:
    """The part of the start that grows, mode by mode; see `GrowingStrengths`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([2]), (np.eye(2), np.eye(2)))
        >>> params = [{"weight": jnp.diag(jnp.array([1.0, 3.0]))}, {"weight": 2 * jnp.eye(2)}]
        >>> probe = tw.probes.growing_strengths(np.eye(2), np.eye(2))
        >>> tw.measure(problem, params, probe).value.round(6).tolist()
        [2.25, 6.25]
    """
    return GrowingStrengths(jnp.asarray(U), jnp.asarray(V))
