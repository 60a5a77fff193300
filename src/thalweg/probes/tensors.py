"""Components and ranks of a tensor factorisation, along a run."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core.errors import choose, require
from thalweg.core.rank import effective_rank_from
from thalweg.core.result import Reading, exact
from thalweg.core.tensors import ModeTree, matricisation_spectra
from thalweg.core.tree import Params
from thalweg.models.tensor_factorisation import TensorFactorisation, unbalancedness
from thalweg.probes.probe import Moment, Probe
from thalweg.problems.problem import Problem
from thalweg.problems.tensor_entries import TensorRecovery


def _recovery(problem: Problem, what: str) -> TensorRecovery:
    require(
        isinstance(problem, TensorRecovery),
        f"{what} needs a recovery of a tensor by a factorisation, as tensor_completion makes; "
        f"this problem is a {type(problem).__name__}",
    )
    assert isinstance(problem, TensorRecovery)
    return problem


def _factorisation(problem: Problem, what: str) -> TensorFactorisation:
    return _recovery(problem, what).factorisation


class ComponentNorms(Probe):
    """Norms of the components at a node, in decreasing order.

    value (component,), parameter^L for L weight vectors a component; exact up to rounding; no
    gradients. Source: Razin, Maman and Cohen (2022).

    Attributes:
        node: Name of an interior node, as "0-1"; "" for the root.
    """

    node: str = eqx.field(static=True, default="")
    name: ClassVar[str] = "component_norms"
    unit: ClassVar[str] = "parameter^L"
    dims: ClassVar[tuple[str, ...]] = ("component",)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        norms = _factorisation(problem, "the norms of components").component_norms(params)
        found = choose(self.node or next(iter(norms)), norms, "node")
        return exact(-jnp.sort(-found)), ()


class ComponentUnbalancedness(Probe):
    """The largest | ||w||^2 - ||w'||^2 | within a component, at every node.

    Gradient flow conserves the differences exactly. value (node,), parameter^2, in the order of
    the factorisation's nodes, root first; exact up to rounding; no gradients.
    """

    name: ClassVar[str] = "component_unbalancedness"
    unit: ClassVar[str] = "parameter^2"
    dims: ClassVar[tuple[str, ...]] = ("node",)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        norms = _factorisation(problem, "unbalancedness").vector_norms(params)
        return exact(jnp.stack([unbalancedness(found) for found in norms.values()])), ()


class HierarchicalEffectiveRank(Probe):
    """Effective rank of the matricisation of the tensor at every node of a tree but its root.

    exp of the entropy of the normalised singular values. value (matricisation,), a pure number,
    in the order of the tree's nodes, parents first; exact up to rounding; no gradients.

    Attributes:
        tree: The tree of modes; its leaves are the axes of the tensor.
    """

    tree: ModeTree = eqx.field(static=True)
    name: ClassVar[str] = "hierarchical_effective_rank"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ("matricisation",)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        tensor = _factorisation(problem, "the hierarchical rank").tensor(params)
        order = len(self.tree.order)
        require(
            tensor.ndim == order,
            f"a tree over {order} modes for a tensor of order {tensor.ndim}; they must agree",
        )
        spectra = matricisation_spectra(tensor, self.tree).values()
        return exact(jnp.stack([effective_rank_from(s) for s in spectra])), ()


class TensorError(Probe):
    """||W - W*||_F / ||W*||_F over all entries, seen and unseen; a pure number, exact."""

    name: ClassVar[str] = "tensor_error"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        error: Array = _recovery(problem, "the reconstruction error").error(params)
        return exact(error), ()


def component_norms(node: str = "") -> ComponentNorms:
    """Norms of the components at a node; see `ComponentNorms`.

    Examples:
        >>> from thalweg.problems import tensor_completion
        >>> cp = tw.models.CPFactorisation((2, 2), 1)
        >>> problem = tensor_completion(cp, jnp.ones((2, 2)), 3, jax.random.key(0))
        >>> params = jax.tree.map(jnp.ones_like, problem.init(jax.random.key(0)))
        >>> tw.measure(problem, params, tw.probes.component_norms()).value.round(6).tolist()
        [2.0]
    """
    return ComponentNorms(node)


def component_unbalancedness() -> ComponentUnbalancedness:
    """Unbalancedness of the components at every node; see `ComponentUnbalancedness`.

    Examples:
        >>> from thalweg.problems import tensor_completion
        >>> cp = tw.models.CPFactorisation((2, 3), 1)
        >>> problem = tensor_completion(cp, jnp.ones((2, 3)), 3, jax.random.key(0))
        >>> params = jax.tree.map(jnp.ones_like, problem.init(jax.random.key(0)))
        >>> reading = tw.measure(problem, params, tw.probes.component_unbalancedness())
        >>> reading.value.round(6).tolist()  # 3 - 2
        [1.0]
    """
    return ComponentUnbalancedness()


def hierarchical_effective_rank(tree: ModeTree) -> HierarchicalEffectiveRank:
    """Effective ranks of the matricisations of a tree; see `HierarchicalEffectiveRank`.

    Examples:
        >>> from thalweg.problems import tensor_completion
        >>> cp = tw.models.CPFactorisation((2, 2), 1)
        >>> problem = tensor_completion(cp, jnp.ones((2, 2)), 3, jax.random.key(0))
        >>> params = jax.tree.map(jnp.ones_like, problem.init(jax.random.key(0)))
        >>> ranks = tw.probes.hierarchical_effective_rank(tw.models.mode_tree([0, 1]))
        >>> tw.measure(problem, params, ranks).value.round(4).tolist()  # a tensor of rank 1
        [1.0, 1.0]
    """
    return HierarchicalEffectiveRank(tree)


def tensor_error() -> TensorError:
    """Relative distance from the target tensor; see `TensorError`.

    Examples:
        >>> from thalweg.problems import tensor_completion
        >>> cp = tw.models.CPFactorisation((2, 2), 1)
        >>> problem = tensor_completion(cp, 2 * jnp.ones((2, 2)), 3, jax.random.key(0))
        >>> params = jax.tree.map(jnp.ones_like, problem.init(jax.random.key(0)))
        >>> round(float(tw.measure(problem, params, tw.probes.tensor_error()).value), 6)
        0.5
    """
    return TensorError()
