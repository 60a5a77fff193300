"""What of a user's tree is trained, and what is held fixed: the one door for foreign parameters.

Trained are real floating-point leaves, in at least single precision. Complex leaves are trained as
pairs of real arrays, half-precision ones are taken as float32; everything else is held fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core.arguments import ARRAYS_ELSEWHERE, framework, told
from thalweg.core.errors import InputError, require
from thalweg.core.tree import Params

# Flax's collections beside "params", and what Equinox and Flax's nnx keep running averages in.
UNTRAINED = ("batch_stats", "cache", "intermediates", "losses", "metrics", "perturbations")
ARRAYS = (np.ndarray, np.generic, jax.Array, jax.ShapeDtypeStruct)  # or the shape of one
RUNNING = (eqx.nn.State, eqx.nn.StateIndex)
RUNNING_NAMES = ("BatchStat", "Cache", "Intermediate")


class Complex(NamedTuple):
    """A complex leaf as what is trained of it: two real arrays of its shape."""

    real: Float[Array, " *shape"]
    imag: Float[Array, " *shape"]

    @property
    def dtype(self) -> Any:
        """The complex type that they make together."""
        return jnp.result_type(self.real.dtype, jnp.complex64)


def divide(tree: Params, what: str) -> tuple[Params, Params]:
    """A tree as what is trained of it and what is held fixed, both in its structure.

    Trained are arrays of floating-point numbers (outside Equinox modules Python's floats too):
    real ones as they are, float16 and bfloat16 as float32, complex ones as `Complex` pairs, for
    which gradients and curvature are those of a function of real and imaginary parts. Held fixed
    are whole numbers, booleans, PRNG keys, functions, and running averages: Equinox's `State`,
    "batch_stats" anywhere, Flax's other collections beside "params".

    Args:
        tree: Any pytree, an Equinox module as well.
        what: What came, for error sentences ("start").

    Returns:
        The trained leaves with None in place of the others, and the other way round; `join` puts
        them together again.

    Raises:
        InputError: If nothing is left to train, a leaf belongs to another framework, or it is not
            plain which collections are parameters; the sentence names the leaves.
    """
    _check_collections(tree, what)
    marks = jax.tree_util.tree_map_with_path(
        lambda path, node: _mark(path, node, what), tree, is_leaf=_closed
    )
    trained, held = eqx.partition(tree, marks)
    if not jax.tree.leaves(trained):
        found = ", ".join(f"{name} ({_kind(leaf)})" for name, leaf in _named(tree)[:6])
        raise InputError(
            f"{what} came without a floating-point leaf to train: {found or 'it has no leaves'}; "
            "give arrays of numbers such as 1.0"
        )
    return jax.tree.map(_real, trained), held


def join(trained: Params, held: Params) -> Params:
    """The tree that `divide` took apart, its trained leaves in their present types."""
    whole = jax.tree.map(
        lambda node: jax.lax.complex(*node) if isinstance(node, Complex) else node,
        trained,
        is_leaf=lambda node: isinstance(node, Complex),
    )
    return eqx.combine(whole, held)


def held_names(held: Params) -> list[str]:
    """Paths of the arrays that are held fixed, as "step", "norm.mean"."""
    return [name for name, leaf in _named(held) if isinstance(leaf, ARRAYS)]


def _closed(node: Any) -> bool:
    """Whether a node is judged as a whole."""
    return isinstance(node, (eqx.Module, *RUNNING)) or _is_running(node)


def _is_running(node: Any) -> bool:
    kind = type(node)
    return isinstance(node, RUNNING) or (
        kind.__name__ in RUNNING_NAMES and kind.__module__.partition(".")[0] == "flax"
    )


def _mark(path: tuple[Any, ...], node: Any, what: str) -> Any:
    """Which leaves of a node are trained: booleans over a prefix of it."""
    if _is_running(node) or any(getattr(key, "key", None) == "batch_stats" for key in path):
        return False
    if isinstance(node, eqx.Module):
        return jax.tree.map(_inside, node, is_leaf=_is_running)
    if isinstance(node, float | complex):
        return True
    if framework(node) in ARRAYS_ELSEWHERE:
        raise InputError(
            f"{what} holds {told(node)} at {_name(path)}; give a NumPy or JAX array, by "
            "numpy.asarray"
        )
    return _floating(node)


def _inside(node: Any) -> bool:
    return not _is_running(node) and _floating(node)


def is_real(leaf: Any) -> bool:
    """Whether a leaf is an array of real floating-point numbers."""
    return isinstance(leaf, ARRAYS) and bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _floating(leaf: Any) -> bool:
    """Whether a leaf is an array of real or complex floating-point numbers."""
    return isinstance(leaf, ARRAYS) and bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def _real(leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.eval_shape(_real, leaf)
    array = jnp.asarray(leaf)
    if jnp.iscomplexobj(array):
        return Complex(array.real, array.imag)
    return array.astype(jnp.float32) if array.dtype.itemsize < 4 else array


def _check_collections(tree: Params, what: str) -> None:
    """Beside "params", only what is known to be no parameters may hold floating-point numbers."""
    if not isinstance(tree, Mapping) or "params" not in tree:
        return
    others = [
        str(name)
        for name, part in tree.items()
        if name != "params" and any(map(_floating, jax.tree.leaves(part)))
    ]
    unknown = [name for name in others if name not in UNTRAINED]
    require(
        not unknown,
        f"{what} came with {', '.join(unknown)} beside params; only params can be trained: give "
        f"{what}=variables['params'], and a function that brings the rest",
    )


def _named(tree: Params) -> list[tuple[str, Any]]:
    return [(_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".") or "its root"


def _kind(leaf: Any) -> str:
    return str(getattr(leaf, "dtype", type(leaf).__name__))
