"""A part of the parameters as a flat vector: a layer, some layers, or single entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core.errors import InputError, reason, require
from thalweg.core.tree import Params

Where = Callable[[str], bool] | Any  # a name, a predicate on a path, or booleans


class Part(eqx.Module):
    """The chosen entries of a pytree of parameters, in the order of `ravel_pytree`.

    Attributes:
        chosen: Leaves with a chosen entry; None in place of the others.
        fixed: The other leaves; None in place of the chosen.
        entries: Which entries of the flattened `chosen` count, or None for all.
    """

    chosen: Params
    fixed: Params
    entries: Int[Array, " p"] | None

    @property
    def theta(self) -> Float[Array, " p"]:
        """The chosen entries in one vector."""
        return self._picked(ravel_pytree(self.chosen)[0])

    def params(self, theta: Float[Array, " p"]) -> Params:
        """All parameters, the chosen entries replaced by `theta`."""
        flat, unravel = ravel_pytree(self.chosen)
        return eqx.combine(unravel(self._placed(theta, flat)), self.fixed)

    def flat(self, tree: Params) -> Float[Array, " p"]:
        """The chosen entries of a tree shaped as the parameters.

        Raises:
            InputError: If the tree has another structure or other shapes.
        """
        given, own = (
            [(jax.tree_util.keystr(path), jnp.shape(leaf)) for path, leaf in leaves]
            for leaves in map(
                jax.tree_util.tree_leaves_with_path, (tree, eqx.combine(self.chosen, self.fixed))
            )
        )
        require(
            given == own,
            f"a tree with leaves {given} came; give a flat vector, a block of columns, or a tree "
            f"shaped as the parameters: {own}",
        )
        kept = jax.tree.map(
            lambda c, leaf: None if c is None else jnp.asarray(leaf, c.dtype),
            self.chosen,
            tree,
            is_leaf=lambda node: node is None,
        )
        return self._picked(ravel_pytree(kept)[0])

    def tree(self, flat: Float[Array, " p"]) -> Params:
        """A tree shaped as the parameters; entries outside the part are zero."""
        whole, unravel = ravel_pytree(self.chosen)
        inside = unravel(self._placed(flat, jnp.zeros_like(whole)))
        return eqx.combine(inside, jax.tree.map(jnp.zeros_like, self.fixed))

    def _picked(self, flat: Array) -> Array:
        return flat if self.entries is None else flat[self.entries]

    def _placed(self, part: Array, flat: Array) -> Array:
        return part if self.entries is None else flat.at[self.entries].set(part)


def part_of(params: Params, where: Where = None) -> Part:
    """The part of the parameters that `where` chooses.

    Args:
        params: A pytree of floating-point arrays.
        where: None for all; a leaf or a layer by name, as "1.weight" or "1"; a function of a
            leaf's path, as `lambda path: path.endswith("weight")`; or booleans shaped as the
            parameters or a prefix of them, a leaf's boolean standing for the leaf or, as an array
            of its shape, for its entries.

    Raises:
        InputError: If `where` does not fit the parameters or chooses nothing.
    """
    params = jax.tree.map(jnp.asarray, params)
    marks = _marks(params, where)
    chosen, fixed = eqx.partition(params, jax.tree.map(lambda m: bool(m.any()), marks))
    inside = [m.ravel() for m in jax.tree.leaves(marks) if m.any()]
    paths = ", ".join(path for path, _ in _leaves(params))
    named = f"where={where!r}" if isinstance(where, str) else "where"
    require(bool(inside), f"{named} chooses no parameter; the leaves are {paths}")
    flat = np.concatenate(inside)
    return Part(chosen, fixed, None if flat.all() else jnp.asarray(np.flatnonzero(flat)))


def _leaves(params: Params) -> list[tuple[str, Array]]:
    """Leaves under their paths, as "1.weight"."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="."), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    ]


def _marks(params: Params, where: Where) -> Any:
    """Which entries are chosen: a tree of boolean NumPy arrays."""
    if where is None:
        where = True
    if isinstance(where, str):
        named = f"{where}."
        chosen = [f"{path}.".startswith(named) for path, _ in _leaves(params)]
        where = jax.tree.unflatten(jax.tree.structure(params), chosen)
    if callable(where):
        try:
            chosen = [bool(where(path)) for path, _ in _leaves(params)]
        except Exception as error:  # a user's function may raise anything
            raise InputError(
                f"where is no function of a leaf's path, text such as '0.weight': {reason(error)}"
            ) from error
        where = jax.tree.unflatten(jax.tree.structure(params), chosen)

    def mark(leaf: Array, choice: Any) -> np.ndarray:
        choice = np.asarray(choice)
        require(
            choice.dtype == bool and choice.shape in ((), leaf.shape),
            f"where came with {choice.dtype} of shape {choice.shape} for a leaf of shape "
            f"{leaf.shape}; give True, False or an array of booleans of that shape",
        )
        return np.broadcast_to(choice, leaf.shape)

    try:
        return jax.tree.map(mark, params, jax.tree.broadcast(where, params))
    except InputError:
        raise
    except ValueError as error:
        paths = ", ".join(path for path, _ in _leaves(params))
        raise InputError(
            f"where is not a prefix of the parameters, whose leaves are {paths}; give a name, "
            "a function of a path, or booleans in the structure of the parameters"
        ) from error
