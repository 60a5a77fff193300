"""Connections of a net: how many are left, which came and went, how strong they are."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from thalweg.core.arguments import told
from thalweg.core.errors import require
from thalweg.core.result import Reading, Result, exact, finite
from thalweg.core.tree import Params
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem

ABSENT_BELOW = 1e-10  # |w| of a connection that does not count
OWNER = "RewiringState"  # of the strengths, in the state of an Optax transformation


class Connections(Probe):
    """What all probes of connections share: which arrays have any.

    Along a run of a rewiring transformation these are the arrays that it wires, otherwise those of
    two or more axes. A connection is present if |w| >= 1e-10.
    """

    def weights(self, params: Params, moment: Moment | None = None) -> list[Array]:
        """The arrays that have connections.

        Raises:
            InputError: If there is none.
        """
        known = None if moment is None else strengths(moment.process)
        leaves = jax.tree.leaves(params)
        if known is None:
            chosen = [w for w in leaves if w.ndim >= 2]
        else:
            chosen = [w for w, s in zip(leaves, known, strict=True) if _real(s)]
        require(
            bool(chosen),
            f"{self.name} needs connections: no array of the parameters has two or more axes",
        )
        return chosen


def strengths(process: Any) -> list[Any] | None:
    """Hidden strengths in the state of a process, one for each array of the parameters; else None.

    What is not wired is an `optax.MaskedNode`.
    """

    def owned(path: Any, value: Any) -> bool:
        return getattr(path[-1], "tuple_name", "") == OWNER

    found = optax.tree_utils.tree_get(process, "strength", None, owned)
    return None if found is None else jax.tree.leaves(found, is_leaf=lambda a: not _inner(a))


def _inner(part: Any) -> bool:
    return not _real(part) and not isinstance(part, optax.MaskedNode)


def _real(part: Any) -> bool:
    return hasattr(part, "dtype")


def present(w: Array) -> Bool[Array, "..."]:
    """Which connections are there."""
    return jnp.abs(w) >= ABSENT_BELOW


def _share(w: Array) -> Array:
    """The share that is present; NaN where a weight is not finite."""
    there = jnp.mean(present(w).astype(w.dtype))
    return jnp.where(jnp.all(jnp.isfinite(w)), there, jnp.nan)


class Connectivity(Connections):
    """Share of connections that are present, over all arrays (unit: 1; exact; no gradient)."""

    name: ClassVar[str] = "connectivity"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        arrays = self.weights(params, moment)
        sizes = np.array([w.size for w in arrays]) / sum(w.size for w in arrays)
        shares = jnp.stack([_share(w) for w in arrays])
        return exact(jnp.sum(shares * jnp.asarray(sizes, shares.dtype))), ()


class TensorConnectivity(Connections):
    """Share of connections that are present in each array that has any.

    value (tensor,), a pure number, in the order of the parameters; exact; no gradient.
    """

    name: ClassVar[str] = "tensor_connectivity"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ("tensor",)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return exact(jnp.stack([_share(w) for w in self.weights(params, moment)])), ()


class Turned(Connections):
    """Connections that were one thing at the last record and another now."""

    def start(self, problem: Problem, params: Params) -> Any:
        return jax.tree.map(lambda w: present(w).astype(w.dtype), params)

    @abc.abstractmethod
    def turned(self, before: Bool[Array, "..."], now: Bool[Array, "..."]) -> Bool[Array, "..."]:
        """Those that count."""

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        arrays, last = self.weights(params, moment), self.weights(memory, moment)
        kind = jnp.result_type(*arrays)
        pairs = zip(last, arrays, strict=True)
        counts = [jnp.sum(self.turned(b > 0, present(w))).astype(kind) for b, w in pairs]
        known = jnp.stack([jnp.all(jnp.isfinite(w)) for w in arrays])
        total = jnp.where(jnp.all(known), jnp.sum(jnp.stack(counts)), jnp.nan)
        return exact(total), self.start(problem, params)


class PrunedConnections(Turned):
    """How many connections were present at the last record and are not now.

    value (), a count; exact; no gradient. What goes and comes back between two records is not seen:
    counted at every step it is several times as many.
    """

    name: ClassVar[str] = "pruned_connections"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def turned(self, before: Bool[Array, "..."], now: Bool[Array, "..."]) -> Bool[Array, "..."]:
        return before & ~now


class RegrownConnections(Turned):
    """How many connections were absent at the last record and are present now.

    value (), a count; exact; no gradient; as `PrunedConnections`.
    """

    name: ClassVar[str] = "regrown_connections"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def turned(self, before: Bool[Array, "..."], now: Bool[Array, "..."]) -> Bool[Array, "..."]:
        return ~before & now


class RewiringCosine(Connections):
    """Cosine between the gradient that rewiring follows and the true one of the strengths.

    ||grad_theta L||/||g||, g = s dL/dw of all connections and grad_theta L its part of those that
    are present: the descent theorem says that it is the cosine of their angle, and at least 0.

    value (), a pure number; exact up to rounding; NOT_MEASURED where the gradient is 0. One
    gradient. Source: Chen et al. (2021), theorem 1.
    """

    name: ClassVar[str] = "rewiring_cosine"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        slopes = self.weights(jax.grad(problem.objective)(params), moment)
        there = [present(w) for w in self.weights(params, moment)]
        pairs = list(zip(slopes, there, strict=True))
        whole = jnp.sum(jnp.stack([jnp.sum(g**2) for g, _ in pairs]))
        true = jnp.sum(jnp.stack([jnp.sum(jnp.where(yes, g, jnp.zeros_like(g)) ** 2)
                                  for g, yes in pairs]))  # fmt: skip
        value = jnp.sqrt(true / jnp.where(whole == 0, jnp.ones_like(whole), whole))
        none = whole == 0
        value = jnp.where(none, jnp.nan, value)
        code = jnp.where(none, int(Result.NOT_MEASURED), finite(value)).astype(jnp.int32)
        return Reading(value, jnp.zeros_like(value), code), ()


class Histogram(Connections):
    """Shares of connections between edges; those outside are in none.

    Attributes:
        edges: Increasing, n + 1 of them (unit: parameter).
    """

    edges: tuple[float, ...] = eqx.field(static=True)

    def __check_init__(self) -> None:
        good = len(self.edges) > 1 and bool(np.all(np.diff(self.edges) > 0))
        require(
            good and bool(np.all(np.isfinite(self.edges))),
            f"edges came as {told(list(self.edges))}; give at least two finite numbers, increasing",
        )

    def shares(self, values: list[Array]) -> Reading:
        """Of all values, per bin."""
        flat = jnp.concatenate([v.ravel() for v in values])
        counts = jnp.histogram(flat, bins=jnp.asarray(self.edges, flat.dtype))[0]
        share: Float[Array, " bin"] = counts.astype(flat.dtype) / flat.size
        return exact(jnp.where(jnp.all(jnp.isfinite(flat)), share, jnp.nan))


class WeightHistogram(Histogram):
    """Shares of weights between edges, of all arrays with connections.

    value (bin,), pure numbers; exact; no gradient. Absent ones are in the bin of 0.
    """

    name: ClassVar[str] = "weight_histogram"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ("bin",)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return self.shares(self.weights(params, moment)), ()


class StrengthHistogram(Histogram):
    """Shares of hidden strengths between edges, negative ones of absent connections.

    Read from the state of a rewiring transformation along its run; anywhere else a strength is |w|,
    as rewiring would begin.

    value (strength_bin,), pure numbers; exact; no gradient.
    """

    name: ClassVar[str] = "strength_histogram"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ("strength_bin",)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        known = strengths(moment.process)
        if known is None:
            return self.shares([jnp.abs(w) for w in self.weights(params)]), ()
        return self.shares([s for s in known if _real(s)]), ()


def connectivity() -> Connectivity:
    """Share of connections that are present; see `Connectivity`.

    Examples:
        >>> net = tw.problems.Function(lambda w: jnp.sum(w**2), start=jnp.ones((2, 2)))
        >>> w = jnp.array([[0.0, 1.0], [2.0, -1.0]])
        >>> float(tw.measure(net, w, tw.probes.connectivity()).value)
        0.75
    """
    return Connectivity()


def tensor_connectivity() -> TensorConnectivity:
    """Share of connections that are present, by array; see `TensorConnectivity`.

    Examples:
        >>> net = tw.problems.Function(lambda w: jnp.sum(w**2), start=jnp.ones((2, 2)))
        >>> w = jnp.array([[0.0, 1.0], [2.0, -1.0]])
        >>> tw.measure(net, w, tw.probes.tensor_connectivity()).value.tolist()
        [0.75]
    """
    return TensorConnectivity()


def pruned_connections() -> PrunedConnections:
    """Connections that went since the last record; see `PrunedConnections`.

    Examples:
        >>> net = tw.problems.Function(lambda w: 0 * jnp.sum(w), start=jnp.array([[0.3, -0.02]]))
        >>> rewiring = tw.optax_dynamics(tw.dynamics.grad_r(0.1, 1.0, rule="sgd"), 0.1)
        >>> path = tw.run(net, rewiring, until=0.2, records=2, probes="pruned_connections")
        >>> path.dataset["pruned_connections"].values[0].tolist()
        [0.0, 1.0, 0.0]
    """
    return PrunedConnections()


def regrown_connections() -> RegrownConnections:
    """Connections that came since the last record; see `RegrownConnections`.

    Examples:
        >>> net = tw.problems.Function(lambda w: jnp.sum(w**2), start=jnp.ones((1, 2)))
        >>> float(tw.measure(net, jnp.ones((1, 2)), tw.probes.regrown_connections()).value)
        0.0
    """
    return RegrownConnections()


def rewiring_cosine() -> RewiringCosine:
    """Cosine between the gradient of rewiring and the true one; see `RewiringCosine`.

    Examples:
        >>> slopes = jnp.array([[3.0], [4.0]])
        >>> net = tw.problems.Function(lambda w: jnp.sum(slopes * w), start=jnp.ones((2, 1)))
        >>> w = jnp.array([[1.0], [0.0]])  # a slope of 4 where nothing is connected
        >>> round(float(tw.measure(net, w, tw.probes.rewiring_cosine()).value), 12)  # 3/5
        0.6
    """
    return RewiringCosine()


def weight_histogram(edges: Sequence[float]) -> WeightHistogram:
    """Shares of weights between edges; see `WeightHistogram`.

    Args:
        edges: At least two, increasing.

    Examples:
        >>> net = tw.problems.Function(lambda w: jnp.sum(w**2), start=jnp.ones((2, 2)))
        >>> w = jnp.array([[0.0, 0.5], [2.0, -1.0]])
        >>> tw.measure(net, w, tw.probes.weight_histogram([-2, 0, 1])).value.tolist()
        [0.25, 0.5]
    """
    return WeightHistogram(tuple(float(edge) for edge in edges))


def strength_histogram(edges: Sequence[float]) -> StrengthHistogram:
    """Shares of hidden strengths between edges; see `StrengthHistogram`.

    Args:
        edges: At least two, increasing.

    Examples:
        >>> net = tw.problems.Function(lambda w: 0 * jnp.sum(w), start=jnp.array([[0.3, -0.02]]))
        >>> rewiring = tw.optax_dynamics(tw.dynamics.grad_r(0.1, 1.0, rule="sgd"), 0.1)
        >>> seen = tw.probes.strength_histogram([-1, 0, 1])
        >>> path = tw.run(net, rewiring, until=0.1, records=1, probes=seen)
        >>> path.dataset["strength_histogram"].values[0].tolist()  # the second went below 0
        [[0.0, 1.0], [0.5, 0.5]]
    """
    return StrengthHistogram(tuple(float(edge) for edge in edges))
