"""Weights that an example meets once, as one vector: their derivatives are outer products.

A dense layer z = W h + b gives df/dW = (df/dz) h^T and df/db = df/dz, so of its Jacobian only h
and df/dz need be held, and inner products of two Jacobians are products of two small Gram matrices.
Such weights are found in the trace of the model on one example, whatever the model is made of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Var
from jaxtyping import Array, Float

from thalweg.core.trace import evaluated, shape_of

ADDED = ("add", "add_any")
RESHAPED = ("transpose", "reshape", "broadcast_in_dim", "squeeze", "expand_dims")


class Met(NamedTuple):
    """How the trace meets a leaf.

    Attributes:
        tap: Number of the value z among `Structure.taps`: z = W h + ..., or z = b + ...
        vector: The value h; None for a bias.
    """

    tap: int
    vector: Var | None


class Structure(NamedTuple):
    """A model's outputs (k,) of one example, as a trace over (leaves, example).

    Attributes:
        trace: Of JAX.
        taps: Values z whose derivatives are wanted; those of weights and biases are shared.
        met: By the position of a leaf; all other leaves have Jacobians without structure.
    """

    trace: ClosedJaxpr
    taps: tuple[Var, ...]
    met: dict[int, Met]

    @property
    def traffic(self) -> int:
        """How many numbers the trace makes that depend on the example."""
        jaxpr = self.trace.jaxpr
        reached, count = {jaxpr.invars[-1]}, 0
        for equation in jaxpr.eqns:
            if any(isinstance(v, Var) and v in reached for v in equation.invars):
                reached.update(equation.outvars)
                count += sum(shape_of(v).size for v in equation.outvars)
        return count


def find_structure(
    outputs: Callable[[list[Array], Array], Array], leaves: list[Any], x: Any
) -> Structure:
    """The trace of `outputs(leaves, x)` and the leaves that it meets once, as one vector.

    Args:
        outputs: Of one example, shape (k,).
        leaves: Arrays of parameters, or their shapes.
        x: An example, or its shape.
    """
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    trace = jax.make_jaxpr(outputs)(shapes, jax.ShapeDtypeStruct(x.shape, x.dtype))
    met: dict[int, Met] = {}
    taps: list[Var] = []
    users = _only_users(trace.jaxpr)
    for i, leaf in enumerate(trace.jaxpr.invars[:-1]):
        found = _meeting(users, leaf)
        if found is not None:
            tap, vector = found
            if tap not in taps:
                taps.append(tap)
            met[i] = Met(taps.index(tap), vector)
    return Structure(trace, tuple(taps), met)


def evaluate_structure(
    structure: Structure, leaves: list[Array], x: Array, added: list[Float[Array, " d_out"]]
) -> tuple[Float[Array, " k"], dict[int, Float[Array, " d_in"]]]:
    """The outputs with something added at every tap, and the vectors that the matrices meet."""
    vectors = {i: met.vector for i, met in structure.met.items() if met.vector is not None}
    extra = dict(zip(structure.taps, added, strict=True))
    outputs, values = evaluated(structure.trace, [*leaves, x], extra, list(vectors.values()))
    return outputs, {i: v.ravel() for i, v in zip(vectors, values, strict=True)}


def _only_users(jaxpr: Jaxpr) -> dict[Var, Any]:
    """The equation that uses a value, for every value that is used once, by an equation."""
    used = Counter(v for e in jaxpr.eqns for v in e.invars if isinstance(v, Var))
    used.update(v for v in jaxpr.outvars if isinstance(v, Var))
    users = {v: e for e in jaxpr.eqns for v in e.invars if isinstance(v, Var)}
    return {v: e for v, e in users.items() if used[v] == 1}


def _meeting(users: dict[Var, Any], leaf: Var) -> tuple[Var, Var | None] | None:
    """The z and the h of a leaf that is met once, by one vector or by addition."""
    here = leaf
    equation = users.get(here)
    while equation is not None and equation.primitive.name in RESHAPED:
        (there,) = equation.outvars
        if shape_of(there).size != shape_of(leaf).size:
            return None  # repeated by broadcasting: the sum over copies has no structure
        here, equation = there, users.get(there)
    if equation is None:
        return None
    vector: Var | None = None
    if equation.primitive.name == "dot_general" and shape_of(here).ndim == 2:
        left = equation.invars[0] is here
        other = equation.invars[1 if left else 0]
        contracted, batched = equation.params["dimension_numbers"]
        own = contracted[0 if left else 1]
        if any(batched) or len(own) != 1 or not isinstance(other, Var):
            return None
        if shape_of(other).size != shape_of(here).shape[own[0]]:
            return None  # several vectors
        vector = other
    elif equation.primitive.name not in ADDED:
        return None
    (tap,) = equation.outvars
    if vector is None and shape_of(tap).size != shape_of(leaf).size:
        return None
    # z + ... has the derivatives of z, and shares its tap with the bias added to it.
    while (after := users.get(tap)) is not None and after.primitive.name in ADDED:
        (tap,) = after.outvars
    return tap, vector
