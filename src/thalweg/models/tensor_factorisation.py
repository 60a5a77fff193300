"""Tensors as sums of products of weights: CP and hierarchical, and the circuits they compute."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.arguments import listed
from thalweg.core.doors import Checked
from thalweg.core.errors import InputError, require
from thalweg.core.tensors import ModeTree
from thalweg.core.tree import Params
from thalweg.models.model import Model, Shape

Weights = Mapping[str, Array]


def cp_tensor(factors: Sequence[Float[Array, "_ R"]]) -> Float[Array, "..."]:
    """sum_r w_r^1 (x) ... (x) w_r^N, with w_r^n the r-th column of the n-th factor.

    Args:
        factors: N matrices (D_n, R).

    Returns:
        Shape (D_1, ..., D_N). Cost: R prod_n D_n products.
    """
    N = len(factors)
    pairs = [part for n, w in enumerate(factors) for part in (w, [n, N])]
    return jnp.einsum(*pairs, list(range(N)), optimize="optimal")


def htf_tensor(weights: Weights, tree: ModeTree) -> Float[Array, "..."]:
    """The end-to-end tensor of a hierarchical factorisation.

    W^(n,r) = W^(n)_{:,r} at a leaf, W^(v,r) = sum_r' W^(v)_{r'r} (x)_{c below v} W^(c,r') at the
    other nodes, axes sorted; the tensor is W^(root,1).

    Args:
        weights: By the name of a node: (D_n, R_parent) at leaf n, (R_v, R_parent) at an interior
            node, (R_root, 1) at the root.
        tree: The tree of modes.

    Returns:
        Shape (D_1, ..., D_N).

    Source: Razin, Maman and Cohen (2022), definition of the factorisation.
    """
    shape = tuple(weights[str(mode)].shape[0] for mode in tree.order)
    sorting = sorted(range(len(shape)), key=lambda j: tree.order[j])
    return jnp.transpose(_below(weights, tree)[:, 0].reshape(shape), sorting)


def _below(weights: Weights, node: ModeTree) -> Float[Array, "entries r"]:
    """W^(v,r) for every r as flat columns, axes in the order of the leaves."""
    W = weights[node.name]
    if not node.children:
        return W
    k = len(node.children)
    parts = [x for j, c in enumerate(node.children) for x in (_below(weights, c), [j, k])]
    joined = jnp.einsum(*parts, [*range(k), k])
    return joined.reshape(-1, W.shape[0]) @ W


class TensorFactorisation(Checked):
    """A tensor as a function of weight matrices, a sum over components at every node.

    Parameters are {name of a node: matrix}. A component is a set of weight vectors that enter the
    tensor as one product; its norm is the product of their norms.
    """

    dims: eqx.AbstractVar[tuple[int, ...]]

    @abc.abstractmethod
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Shapes of the weight matrices."""

    @abc.abstractmethod
    def tensor(self, params: Params) -> Float[Array, "..."]:
        """The end-to-end tensor, shape `dims`."""

    @abc.abstractmethod
    def contract(self, params: Params, x: Sequence[Float[Array, "n _"]]) -> Float[Array, " n"]:
        """<W, x_1 (x) ... (x) x_N> for each of n tuples of vectors, without forming W."""

    @abc.abstractmethod
    def vector_norms(self, params: Params) -> dict[str, Float[Array, "L R"]]:
        """Norms of the L weight vectors of each of the R components, by node."""

    @abc.abstractmethod
    def component_tensors(self, params: Params) -> dict[str, Float[Array, "R ..."]]:
        """By node, the tensor with all components but one set to zero: they sum to the tensor."""

    def component_norms(self, params: Params) -> dict[str, Float[Array, " R"]]:
        """sigma_r: the product of the norms of a component's weight vectors, by node."""
        return {name: jnp.prod(norms, 0) for name, norms in self.vector_norms(params).items()}

    def init(self, key: Array, std: float | Array = 1.0) -> dict[str, Float[Array, "_ _"]]:
        """All weights independent N(0, std^2)."""
        return {
            name: std * jax.random.normal(jax.random.fold_in(key, j), shape)
            for j, (name, shape) in enumerate(self.shapes().items())
        }


class CPFactorisation(TensorFactorisation):
    """sum_r (x)_n w_r^n; component r holds the r-th columns of all N matrices.

    Attributes:
        dims: (D_1, ..., D_N).
        components: R.
    """

    dims: tuple[int, ...] = eqx.field(static=True, converter=listed)
    components: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        _check_sizes((*self.dims, self.components))

    @property
    def node(self) -> str:
        """The name of the only place where components are: all modes."""
        return "-".join(str(n) for n in range(len(self.dims)))

    def shapes(self) -> dict[str, tuple[int, int]]:
        return {str(n): (D, self.components) for n, D in enumerate(self.dims)}

    def factors(self, params: Params) -> list[Float[Array, "_ R"]]:
        """The matrices in the order of the modes."""
        return [params[str(n)] for n in range(len(self.dims))]

    def tensor(self, params: Params) -> Float[Array, "..."]:
        return cp_tensor(self.factors(params))

    def contract(self, params: Params, x: Sequence[Float[Array, "n _"]]) -> Float[Array, " n"]:
        met = [v @ w for v, w in zip(x, self.factors(params), strict=True)]
        return jnp.sum(jnp.prod(jnp.stack(met), 0), 1)

    def vector_norms(self, params: Params) -> dict[str, Float[Array, "L R"]]:
        norms = [jnp.linalg.norm(w, axis=0) for w in self.factors(params)]
        return {self.node: jnp.stack(norms)}

    def component_tensors(self, params: Params) -> dict[str, Float[Array, "R ..."]]:
        columns = [w.T[:, :, None] for w in self.factors(params)]
        return {self.node: jax.vmap(cp_tensor)(columns)}


class HierarchicalFactorisation(TensorFactorisation):
    """The factorisation of `htf_tensor` over a tree of modes.

    Local component (v, r) holds row r of W^(v) and the r-th columns of the matrices of v's
    children.

    Attributes:
        dims: (D_1, ..., D_N).
        tree: The tree of modes.
        widths: R_v of the interior nodes by their depth, the root's first.
    """

    dims: tuple[int, ...] = eqx.field(static=True, converter=listed)
    tree: ModeTree = eqx.field(static=True)
    widths: tuple[int, ...] = eqx.field(static=True, converter=listed)

    def __check_init__(self) -> None:
        _check_sizes((*self.dims, *self.widths))
        N, depth = len(self.tree.order), self.tree.depth
        require(len(self.dims) == N, f"{len(self.dims)} dims for a tree of {N} modes; give {N}")
        require(
            len(self.widths) == depth,
            f"{len(self.widths)} widths for a tree with {depth} levels of nodes; give {depth}",
        )

    def shapes(self) -> dict[str, tuple[int, int]]:
        return self._shapes(self.tree, 0, 1)

    def _shapes(self, node: ModeTree, depth: int, above: int) -> dict[str, tuple[int, int]]:
        if not node.children:
            return {node.name: (self.dims[node.order[0]], above)}
        R = self.widths[depth]
        found = {node.name: (R, above)}
        for child in node.children:
            found |= self._shapes(child, depth + 1, R)
        return found

    def tensor(self, params: Params) -> Float[Array, "..."]:
        return htf_tensor(params, self.tree)

    def contract(self, params: Params, x: Sequence[Float[Array, "n _"]]) -> Float[Array, " n"]:
        def value(node: ModeTree) -> Float[Array, "n r"]:
            if not node.children:
                return x[node.order[0]] @ params[node.name]
            return jnp.prod(jnp.stack([value(c) for c in node.children]), 0) @ params[node.name]

        return value(self.tree)[:, 0]

    def vector_norms(self, params: Params) -> dict[str, Float[Array, "L R"]]:
        return local_vector_norms(params, self.tree)

    def component_tensors(self, params: Params) -> dict[str, Float[Array, "R ..."]]:
        def alone(node: ModeTree, mask: Array) -> Array:
            kept = {**params, node.name: mask[:, None] * params[node.name]}
            return htf_tensor(kept, self.tree)

        return {
            node.name: jax.vmap(lambda mask, node=node: alone(node, mask))(
                jnp.eye(len(params[node.name]))
            )
            for node in self.tree.interior()
        }


def local_vector_norms(weights: Weights, tree: ModeTree) -> dict[str, Float[Array, "L R"]]:
    """Norms of the weight vectors of every local component of a hierarchical factorisation.

    Row r of W^(v), then column r of W^(c) for each child c of v.

    Returns:
        By interior node, shape (1 + number of children, R_v).
    """
    return {
        node.name: jnp.stack(
            [
                jnp.linalg.norm(weights[node.name], axis=1),
                *(jnp.linalg.norm(weights[child.name], axis=0) for child in node.children),
            ]
        )
        for node in tree.interior()
    }


def local_component_norms(weights: Weights, tree: ModeTree) -> dict[str, Float[Array, " R"]]:
    """sigma_{v,r} = ||W^(v)_{r,:}|| prod_c ||W^(c)_{:,r}||, by interior node.

    Source: Razin, Maman and Cohen (2022), definition of local components.
    """
    return {name: jnp.prod(norms, 0) for name, norms in local_vector_norms(weights, tree).items()}


def norm_differences(norms: Float[Array, "L R"]) -> Float[Array, "rest R"]:
    """||w||^2 - ||w'||^2 within each component: every weight vector against the first.

    Gradient flow on any function of the end-to-end tensor keeps them.

    Args:
        norms: Of the vectors of R components, as `vector_norms` gives them for a node.

    Returns:
        Shape (L - 1, R), parameter^2.
    """
    return norms[1:] ** 2 - norms[:1] ** 2


def unbalancedness(norms: Float[Array, "L R"]) -> Float[Array, ""]:
    """The largest | ||w||^2 - ||w'||^2 | within a component (parameter^2)."""
    squares = norms**2
    return jnp.max(jnp.max(squares, 0) - jnp.min(squares, 0))


class ArithmeticCircuit(Model):
    """The convolutional arithmetic circuit of a factorisation: f(x) = <W, x_1 (x) ... (x) x_N>.

    An example is N vectors of D numbers, the local representations of N patches. A CP
    factorisation is a circuit with one hidden layer and global product pooling; over the perfect
    tree of `pool` children it is a deep one, 1x1 convolutions and product pooling over windows of
    `pool` by turns, weights not shared.

    Attributes:
        factorisation: Its mode sizes must all be equal.
        std: Standard deviation of the weights at the start.

    Source: Cohen, Sharir and Shashua (2016); Razin, Maman and Cohen (2022).

    Examples:
        >>> cp = tw.models.CPFactorisation((2, 2), components=1)
        >>> net = tw.models.ArithmeticCircuit(cp)
        >>> params = {"0": jnp.array([[1.0], [2.0]]), "1": jnp.array([[3.0], [4.0]])}
        >>> net.apply(params, jnp.array([[[1.0, 0.0], [0.0, 1.0]]])).tolist()  # 1 * 4
        [[4.0]]
    """

    factorisation: TensorFactorisation
    std: float = eqx.field(static=True, default=0.1)

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any = jnp.float64) -> Params:
        dims = self.factorisation.dims
        if outputs != 1 or any(inputs != (len(dims), D) for D in dims):
            raise InputError(
                f"a circuit over modes of sizes {dims} came examples of shape {inputs} and "
                f"{outputs} outputs; it takes ({len(dims)}, D), D the size of every mode, and 1"
            )
        drawn = self.factorisation.init(key, self.std)
        return jax.tree.map(lambda w: w.astype(dtype), drawn)

    def apply(self, params: Params, x: Float[Array, "n modes D"]) -> Float[Array, "n 1"]:
        return self.factorisation.contract(params, list(jnp.moveaxis(x, 1, 0)))[:, None]


def _check_sizes(sizes: tuple[int, ...]) -> None:
    require(min(sizes) >= 1, f"sizes {sizes} came; give whole numbers of at least 1")
