"""Three ways to a block of a tangent kernel: Jacobians, products, the structure of layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core.trace import shape_of
from thalweg.core.tree import Params
from thalweg.kernels.structure import evaluate_structure, find_structure
from thalweg.models import Model

# From factors A (i, a, p) and B (j, b, p) to the kernel, for every choice of outputs.
CONTRACTIONS = {
    "full": "iap,jbp->ijab",
    "diagonal": "iap,jap->ija",
    "trace": "iap,jap->ij",
}


class Plan(NamedTuple):
    """What a block is made of.

    Attributes:
        method: A name in `METHODS`.
        outputs: A name in `CONTRACTIONS`.
        groups: Positions of leaves in `jax.tree.leaves(params)`; one kernel for each group.
    """

    method: str
    outputs: str
    groups: tuple[tuple[int, ...], ...]


@eqx.filter_jit
def kernel_block(
    model: Model, params: Params, x1: Array, x2: Array | None, plan: Plan
) -> tuple[Array, ...]:
    """The kernel of x1 against x2, None for x1 itself: one array for each group of leaves."""
    with jax.default_matmul_precision("highest"):
        return METHODS[plan.method](model, params, x1, x2, plan)


def outputs_of(model: Model, params: Params) -> Callable[[list[Array], Array], Array]:
    """The outputs (k,) of one example as a function of the list of leaves."""
    shape = jax.tree.structure(params)

    def outputs(leaves: list[Array], x: Array) -> Array:
        return model.apply(jax.tree.unflatten(shape, leaves), x[None])[0]

    return outputs


def by_jacobians(
    model: Model, params: Params, x1: Array, x2: Array | None, plan: Plan
) -> tuple[Array, ...]:
    """Both Jacobians, then their contraction over parameters."""
    outputs, leaves = outputs_of(model, params), jax.tree.leaves(params)
    chosen = sorted(position for group in plan.groups for position in group)

    def jacobian(x: Array) -> dict[int, Array]:
        def of_chosen(some: list[Array]) -> Array:
            return outputs(_with(leaves, chosen, some), x)

        rows = jax.jacrev(of_chosen)([leaves[i] for i in chosen])
        return {i: row.reshape(row.shape[0], -1) for i, row in zip(chosen, rows, strict=True)}

    rule = CONTRACTIONS[plan.outputs]
    left = jax.vmap(jacobian)(x1)
    right = left if x2 is None else jax.vmap(jacobian)(x2)
    return tuple(sum(jnp.einsum(rule, left[i], right[i]) for i in g) for g in plan.groups)  # type: ignore[misc]


def by_products(
    model: Model, params: Params, x1: Array, x2: Array | None, plan: Plan
) -> tuple[Array, ...]:
    """A gradient of every output of every x2, pushed forward through all of x1."""
    outputs, leaves = outputs_of(model, params), jax.tree.leaves(params)

    def group(positions: tuple[int, ...]) -> Array:
        def restricted(some: list[Array], x: Array) -> Array:
            return outputs(_with(leaves, positions, some), x)

        some = [leaves[i] for i in positions]
        push = jax.linearize(lambda p: jax.vmap(restricted, (None, 0))(p, x1), some)[1]

        def column(x: Array) -> Array:
            value, pull = jax.vjp(lambda p: restricted(p, x), some)
            basis = jnp.eye(value.size, dtype=value.dtype)
            pushed = jax.vmap(lambda e: push(*pull(e)))(basis)  # (b, i, a)
            return jnp.einsum(_PICKED[plan.outputs], pushed)

        return jnp.moveaxis(jax.lax.map(column, x1 if x2 is None else x2), 0, 1)

    return tuple(group(positions) for positions in plan.groups)


_PICKED = {"full": "bia->iab", "diagonal": "aia->ia", "trace": "aia->i"}


def by_layers(
    model: Model, params: Params, x1: Array, x2: Array | None, plan: Plan
) -> tuple[Array, ...]:
    """Gram matrices of activations times those of the signals sent back, where weights allow it.

    A matrix that an example meets once, as one vector h, has the Jacobian (df/dz) (x) h, and a bias
    df/dz (see `Structure`); the Jacobians of all other weights are held as they are.
    """
    outputs, leaves = outputs_of(model, params), jax.tree.leaves(params)
    structure = find_structure(outputs, leaves, x1[0])
    rest = sorted({i for group in plan.groups for i in group} - set(structure.met))

    def factors(x: Array) -> tuple[list[Array], dict[int, Array], dict[int, Array]]:
        """Derivatives (k, d) by every tap, by every leaf of the rest, and the vectors met."""

        def of_parts(added: list[Array], some: list[Array]) -> tuple[Array, dict[int, Array]]:
            return evaluate_structure(structure, _with(leaves, rest, some), x, added)

        zeros = [jnp.zeros(z.size, z.dtype) for z in map(shape_of, structure.taps)]
        (sent, rows), vectors = jax.jacrev(of_parts, (0, 1), has_aux=True)(
            zeros, [leaves[i] for i in rest]
        )
        flat = [row.reshape(row.shape[0], -1) for row in rows]
        return sent, dict(zip(rest, flat, strict=True)), vectors

    rule = CONTRACTIONS[plan.outputs]
    sent1, rows1, vectors1 = left = jax.vmap(factors)(x1)
    sent2, rows2, vectors2 = left if x2 is None else jax.vmap(factors)(x2)
    grams = [jnp.einsum(rule, d1, d2) for d1, d2 in zip(sent1, sent2, strict=True)]

    def kernel(leaf: int) -> Array:
        if leaf in rest:
            return jnp.einsum(rule, rows1[leaf], rows2[leaf])
        gram = grams[structure.met[leaf].tap]
        if leaf not in vectors1:  # a bias
            return gram
        arrived = vectors1[leaf] @ vectors2[leaf].T
        return jnp.expand_dims(arrived, tuple(range(2, gram.ndim))) * gram

    return tuple(sum(map(kernel, group)) for group in plan.groups)  # type: ignore[misc]


def _with(leaves: list[Array], positions: tuple[int, ...] | list[int], some: list[Array]) -> list:
    """The list of leaves with those at the given positions replaced."""
    replaced = dict(zip(positions, some, strict=True))
    return [replaced.get(i, leaf) for i, leaf in enumerate(leaves)]


METHODS: dict[str, Callable[..., tuple[Array, ...]]] = {
    "jacobian": by_jacobians,
    "products": by_products,
    "layers": by_layers,
}
