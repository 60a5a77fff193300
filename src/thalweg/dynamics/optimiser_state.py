"""What an optimiser remembers, by the names that Optax gives its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from thalweg.core.arguments import told
from thalweg.core.errors import InputError, require
from thalweg.core.tree import Params
from thalweg.dynamics.optax_update import is_key, typed_as

COUNTED = "count"  # the one part that is a number; all others are of the parameters' shapes
PARTS = (COUNTED, "mu", "nu", "nu_max", "trace", "sum_of_squares", "e_g", "e_x")


def _is_part(found: Any) -> bool:
    """Whether this is a piece of a state whose fields have the names in `PARTS`."""
    fields = getattr(found, "_fields", ())
    return isinstance(found, tuple) and bool(fields) and set(fields) <= set(PARTS)


def named_parts(state: Any) -> dict[str, Any]:
    """The parts of an Optax state by name, those in `PARTS`; of a name met twice, the first."""
    found: dict[str, Any] = {}
    for piece in jax.tree.leaves(state, is_leaf=_is_part):
        if _is_part(piece):
            found = piece._asdict() | found
    return found


def steps_counted(state: Any) -> int | None:
    """The steps that a state has seen; None where it does not count them."""
    count = named_parts(state).get(COUNTED)
    return None if count is None else int(count)


def flat_parts(state: Any, params: Params) -> dict[str, Array]:
    """The parts of the parameters' shapes by name, flat (p,); of others nothing is told."""
    like: Any = jax.tree.structure(params)
    return {
        name: ravel_pytree(jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), part))[0]
        for name, part in named_parts(state).items()
        if name != COUNTED and like == jax.tree.structure(part)
    }


def from_parts(parts: Mapping[str, Any], like: Any, params: Params, owner: str) -> Any:
    """A state from its parts by name.

    Args:
        parts: By the names in `PARTS`: trees as the parameters, or flat (p,); a number for count.
        like: The shapes of the state.
        params: The shapes of the parameters.
        owner: Whose state it is, for sentences.

    Raises:
        InputError: If a part is missing, is none of this state, or does not fit.
    """
    has = list(named_parts(like))
    for name in parts:
        if name not in has:
            holds = f"its state has {_listed(has)}" if has else "it remembers nothing by name"
            raise InputError(f"state holds {name}, which {owner} does not remember; {holds}")
    for name in has:
        require(
            name in parts,
            f"state came without {name}, which {owner} remembers beside "
            f"{_listed([n for n in has if n != name]) or 'nothing else'}; give it, too",
        )

    def filled(piece: Any) -> Any:
        if not _is_part(piece):
            raise InputError(
                f"the state of {owner} has parts without a name; give it as Optax made it"
            )
        return type(piece)(*(_fitted(n, parts[n], part, params) for n, part in _fields(piece)))

    return jax.tree.map(filled, like, is_leaf=_is_part)


def _fields(piece: Any) -> Any:
    return piece._asdict().items()


def _fitted(name: str, part: Any, like: Any, params: Params) -> Any:
    """A part in the shape of the state."""
    if name == COUNTED:
        count = np.asarray(part)
        require(
            count.size == 1 and count.dtype.kind in "iuf" and bool(count >= 0 and count % 1 == 0),
            f"count of the state came as {told(part)}; give the number of steps taken",
        )
        return jnp.asarray(count.reshape(()), like.dtype)
    leaves, structure = jax.tree.flatten(params)
    own: Any = jax.tree.structure(part)
    if own != structure or _shapes(part) != _shapes(params):
        size = sum(int(np.prod(leaf.shape)) for leaf in leaves)
        require(
            np.shape(part) == (size,) if hasattr(part, "shape") else False,
            f"{name} of the state came as {told(part)}; the problem has {size} parameters: give "
            "it as problem.init does, or flat as a run records parameters",
        )
        ends = np.cumsum([int(np.prod(leaf.shape)) for leaf in leaves])[:-1]
        cut = np.split(np.asarray(part), ends)
        part = jax.tree.unflatten(
            structure, [a.reshape(leaf.shape) for a, leaf in zip(cut, leaves, strict=True)]
        )
    return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), part, like)


def require_fits(state: Any, like: Any, owner: str) -> Any:
    """A state in the types of its optimiser.

    Args:
        state: As Optax made it.
        like: The shapes and types of the optimiser's own.
        owner: Its name.

    Raises:
        InputError: If it is of another optimiser or of other parameters, or not finite.
    """
    alike: Any = jax.tree.structure(state)
    require(
        alike == jax.tree.structure(like) and _shapes(state) == _shapes(like),
        f"state came as that of another optimiser or of other parameters: it holds "
        f"{_in_short(state)}, and what {owner} remembers is {_in_short(like)}",
    )
    for name, part in named_parts(state).items():
        lost = sum(
            int((~np.isfinite(np.asarray(leaf, float))).sum())
            for leaf in jax.tree.leaves(part)
            if not isinstance(leaf, jax.core.Tracer | jax.ShapeDtypeStruct)
        )
        require(
            lost == 0,
            f"{lost} numbers in {name} of the state are not finite; begin where the run had not "
            "diverged yet",
        )
    return jax.tree.map(lambda a, b: jnp.asarray(a) if is_key(b) else typed_as(a, b), state, like)


def _shapes(tree: Any) -> list[tuple[int, ...]]:
    return [np.shape(leaf) for leaf in jax.tree.leaves(tree)]


def _in_short(state: Any) -> str:
    parts = named_parts(state)
    if not parts:
        count = len(jax.tree.leaves(state))
        return f"{count} array{'' if count == 1 else 's'}" if count else "nothing"
    return _listed([
        name if name == COUNTED else f"{name} of {sum(_sizes(part))} numbers"
        for name, part in parts.items()
    ])  # fmt: skip


def _sizes(tree: Any) -> list[int]:
    return [int(np.prod(shape)) for shape in _shapes(tree)]


def _listed(names: list[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
