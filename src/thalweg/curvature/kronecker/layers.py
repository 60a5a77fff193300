"""Layers found in the trace of any model: weights whose gradients are sums of outer products.

A weight W that an example meets as z_t = W h_t, t = 1..T, in one or several places, has the
gradient sum_t g_t h_t^T, g_t the derivative by z_t: a dense layer (T = 1, or as many as there are
positions), a convolution (h_t the patches), an embedding (h_t one-hot), and tied weights, whose
places are joined. A bias added to z alone is the column of W that meets the number 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn, Var
from jaxtyping import Array, Int

from thalweg.core.trace import shape_of, trace_of
from thalweg.curvature.kronecker.meetings import Meeting, after_moving, meeting_of

ELEMENTWISE = ("mul", "div", "add", "sub", "add_any")
KRONECKER = ("dense", "convolution", "embedding")
SIZE_KEPT = ("transpose", "reshape", "squeeze", "expand_dims", "convert_element_type", "copy")


class Layer(NamedTuple):
    """A block of the parameters.

    Attributes:
        kind: "dense", "convolution", "embedding", or for blocks without outer products
            "scale-and-shift" and "other".
        name: The path of its weight.
        weight: The position of its weight among the leaves.
        bias: That of its bias, or None.
        entries: Those of the weight as a matrix (d_out, d_in); of other blocks in a row.
        permutation: Entry of the bias of each row.
        places: Where the weight is met; none for other blocks.
    """

    kind: str
    name: str
    weight: int
    bias: int | None
    entries: Int[np.ndarray, "d_out d_in"]
    permutation: Int[np.ndarray, " d_out"] | None
    places: tuple[Meeting, ...]

    @property
    def kronecker(self) -> bool:
        """Whether its block is a Kronecker product."""
        return self.kind in KRONECKER

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of its block of parameters, the bias among the columns."""
        rows, columns = self.entries.shape
        return rows, columns + (self.bias is not None)

    @property
    def single(self) -> bool:
        """Whether an example meets its weight once, by one vector."""
        return len(self.places) == 1 and len(self.places[0].order) == 1


class Layers:
    """All parameters of a model, block by block, in the order in which an example meets them.

    Equal where the blocks are, so that programs compiled for the one serve the other.

    Attributes:
        trace: Of the outputs (k,) over (leaves, example).
        blocks: What the parameters fall into.
        structure: Of the pytree.
        leaves: Their shapes.
    """

    def __init__(
        self,
        trace: ClosedJaxpr,
        blocks: tuple[Layer, ...],
        structure: Any,
        leaves: tuple[jax.ShapeDtypeStruct, ...],
    ) -> None:
        self.trace, self.blocks, self.structure, self.leaves = trace, blocks, structure, leaves
        self._key = structure, tuple((s.shape, s.dtype) for s in leaves), tuple(
            (b.kind, b.weight, b.bias, b.shape, b.entries.tobytes(), len(b.places),
             None if b.permutation is None else b.permutation.tobytes()) for b in blocks
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layers) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def report(self) -> str:
        """A line for every block: its weight, how it is treated, and its size."""
        lines = []
        for layer in self.blocks:
            rows, columns = layer.shape
            size = f"{rows} x {columns}" if layer.kronecker else f"{columns} entries"
            tied = f", tied in {len(layer.places)} places" if len(layer.places) > 1 else ""
            other = {
                "scale-and-shift": ": diagonal of the Fisher matrix",
                "other": ": met in a way that gives no Kronecker product; diagonal instead",
            }
            treated = layer.kind + tied + other.get(layer.kind, "")
            lines.append(f"{layer.name}: {treated} ({size})")
        return "\n".join(lines)

    def split(self, leaves: list[Array]) -> list[Array]:
        """Leaves as the matrices of blocks, (d_out, d_in + 1 or so) or a row."""
        made = []
        for layer in self.blocks:
            matrix = _picked(leaves[layer.weight].ravel(), layer.entries)
            if layer.bias is not None:
                bias = leaves[layer.bias].ravel()[layer.permutation]
                matrix = jnp.concatenate([matrix, bias[:, None]], axis=1)
            made.append(matrix)
        return made

    def joined(self, matrices: list[Array]) -> list[Array]:
        """The leaves of matrices of blocks: the inverse of `split`."""
        leaves: list[Any] = [None] * len(self.leaves)
        for layer, matrix in zip(self.blocks, matrices, strict=True):
            if layer.bias is not None and layer.permutation is not None:
                bias = matrix[:, -1][np.argsort(layer.permutation)]
                leaves[layer.bias] = bias.reshape(self.leaves[layer.bias].shape)
                matrix = matrix[:, :-1]
            leaf = self.leaves[layer.weight]
            leaves[layer.weight] = _placed(matrix, layer.entries).reshape(leaf.shape)
        return leaves


def find_layers(outputs: Callable[[list[Array], Array], Array], params: Any, x: Any) -> Layers:
    """The blocks of parameters in the trace of a model on one example.

    Args:
        outputs: Maps a list of leaves and an example to outputs (k,).
        params: Parameters, or their shapes.
        x: An example, or its shape.
    """
    paths = jax.tree_util.tree_leaves_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    leaves = [leaf for _, leaf in paths]
    trace = trace_of(outputs, leaves, x)
    walk = _Walk(trace)
    met = {i: walk.places(leaf) for i, leaf in enumerate(trace.jaxpr.invars[:-1])}
    weights = {i: found for i, found in met.items() if found is not None}
    biases = {i: walk.bias(trace.jaxpr.invars[i], weights) for i in met if i not in weights}
    blocks = []
    for i, name in enumerate(names):
        if i in weights:
            kind, index, places = weights[i]
            bias = next((b for b, found in biases.items() if found and found[0] == i), None)
            permutation = None if bias is None else biases[bias][1]  # type: ignore[index]
            blocks.append(Layer(kind, name, i, bias, index, permutation, places))
        elif biases[i] is None:
            kind = "scale-and-shift" if walk.elementwise(trace.jaxpr.invars[i]) else "other"
            row = np.arange(math.prod(leaves[i].shape)).reshape(1, -1)
            blocks.append(Layer(kind, name, i, None, row, None, ()))
    blocks.sort(key=lambda layer: walk.first_use(trace.jaxpr.invars[layer.weight]))
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    return Layers(trace, tuple(blocks), jax.tree.structure(params), shapes)


class _Walk:
    """What uses and what makes the values of a trace."""

    def __init__(self, trace: ClosedJaxpr) -> None:
        self.jaxpr = trace.jaxpr
        self.users: dict[Var, list[JaxprEqn]] = {}
        self.maker: dict[Var, JaxprEqn] = {}
        self.place: dict[int, int] = {}
        for number, equation in enumerate(self.jaxpr.eqns):
            self.place[id(equation)] = number
            for var in {v for v in equation.invars if isinstance(v, Var)}:
                self.users.setdefault(var, []).append(equation)
            self.maker.update(dict.fromkeys(equation.outvars, equation))
        self.out = {v for v in self.jaxpr.outvars if isinstance(v, Var)}

    def first_use(self, leaf: Var) -> int:
        """The number of the first equation that uses a leaf."""
        return min((self.place[id(e)] for e in self.users.get(leaf, [])), default=0)

    def views(self, var: Var, index: np.ndarray) -> list[tuple[Var, np.ndarray, JaxprEqn]] | None:
        """Where a leaf ends up after being reshaped: (value, its entries, equation) of each use."""
        if var in self.out:
            return None
        ends = []
        for equation in self.users.get(var, []):
            moved = after_moving(equation, index)
            if moved is None:
                ends.append((var, index, equation))
                continue
            further = self.views(equation.outvars[0], moved)
            if further is None:
                return None
            ends.extend(further)
        return ends

    def places(self, leaf: Var) -> tuple[str, np.ndarray, tuple[Meeting, ...]] | None:
        """How vectors meet a weight: the kind, its entries as a matrix, and where."""
        index = np.arange(shape_of(leaf).size).reshape(shape_of(leaf).shape)
        ends = self.views(leaf, index)
        if not ends:
            return None
        found = [meeting_of(*end) for end in ends]
        kinds = {f[0] for f in found if f is not None}
        if None in found or len(kinds - {"embedding"}) > 1:
            return None
        matrix, places = found[0][1], []  # type: ignore[index]
        for meeting in found:
            assert meeting is not None
            _, own, place = meeting
            if np.array_equal(own, matrix):
                places.append(place)
            elif np.array_equal(own.T, matrix):
                places.append(place._replace(turned=True))
            else:
                return None
        return max(kinds, key=KRONECKER[::-1].index), matrix, tuple(places)

    def bias(self, leaf: Var, weights: dict[int, Any]) -> tuple[int, np.ndarray] | None:
        """The weight whose vectors z a leaf is added to, and its entry for each of their rows."""
        index = np.arange(shape_of(leaf).size).reshape(shape_of(leaf).shape)
        ends = self.views(leaf, index)
        if ends is None or len(ends) != 1:
            return None
        var, entries, equation = ends[0]
        if equation.primitive.name not in ("add", "add_any"):
            return None
        others = [v for v in equation.invars if v is not var]
        if len(others) != 1 or not isinstance(others[0], Var):
            return None
        z = chain = others[0]
        way: list[JaxprEqn] = []
        while (made := self.maker.get(chain)) is not None and made.primitive.name in SIZE_KEPT:
            if len(self.users[chain]) > 1 or not isinstance(made.invars[0], Var):
                return None
            way.append(made)
            chain = made.invars[0]
        for i, (_, matrix, places) in weights.items():
            if len(places) != 1 or places[0].tap is not chain or places[0].turned:
                continue
            if len(self.users[chain]) > 1 or chain in self.out:
                return None
            order = np.arange(shape_of(chain).size).reshape(shape_of(chain).shape)
            for made in reversed(way):
                order = after_moving(made, order)  # type: ignore[assignment]
            assert order.shape == shape_of(z).shape
            added = np.empty(order.size, int)
            added[order.ravel()] = np.broadcast_to(entries, order.shape).ravel()
            rows = added[places[0].order]
            alike = bool(np.all(rows == rows[:1])) and index.size == len(matrix)
            if alike and np.array_equal(np.sort(rows[0]), np.arange(len(matrix))):
                return i, rows[0]
        return None

    def elementwise(self, leaf: Var) -> bool:
        """Whether a leaf is only ever multiplied or added entry by entry."""
        index = np.arange(shape_of(leaf).size).reshape(shape_of(leaf).shape)
        ends = self.views(leaf, index)
        return bool(ends) and all(e.primitive.name in ELEMENTWISE for _, _, e in ends or [])


def _picked(flat: Array, index: np.ndarray) -> Array:
    """flat[index], without a gather where the entries lie in order."""
    if in_order(index):
        return flat.reshape(index.shape)
    if in_order(index.T):
        return flat.reshape(index.T.shape).T
    return flat[index]


def _placed(matrix: Array, index: np.ndarray) -> Array:
    """The flat leaf of its matrix."""
    if in_order(index):
        return matrix.ravel()
    if in_order(index.T):
        return matrix.T.ravel()
    return matrix.ravel()[np.argsort(index.ravel())]


def in_order(index: np.ndarray) -> bool:
    """Whether entries come as they are counted."""
    return bool(np.array_equal(index.ravel(), np.arange(index.size)))
