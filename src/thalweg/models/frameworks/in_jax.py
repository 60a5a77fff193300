"""What networks of JAX's frameworks share: they are held against their own uncompiled calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thalweg.core.errors import InputError
from thalweg.core.trained import divide, is_real, join
from thalweg.core.tree import Params
from thalweg.models.frameworks.agreement import agreement_of, derived, reverse_over_reverse
from thalweg.models.frameworks.network import Network


def double(tree: Params) -> Params:
    """Floating-point arrays in double precision."""
    return jax.tree.map(lambda a: a.astype(jnp.float64) if is_real(a) else a, tree)


def first(out: Any) -> Array:
    """Outputs, of a pair (outputs, updates) too."""
    return out[0] if isinstance(out, tuple | list) else out


def start_of(model: Network) -> tuple[Params, Params]:
    """The weights that are trained, in double precision, and what of their tree is not."""
    trained, held = divide(model.own_weights(), "weights")
    return double(trained), held


def held_against(
    model: Network, theirs: Callable[[Params], Any], rows: np.ndarray, title: str
) -> Network:
    """The model, its outputs and derivatives compared with the framework's own.

    Args:
        model: Compiled, forward over reverse.
        theirs: The framework's call, of its own tree of weights; reverse over reverse.
        rows: Examples.
        title: What the network is called.
    """
    params, held = start_of(model)
    x = jnp.asarray(rows, jnp.float64)
    mine = derived(lambda p: model.apply(p, x), params)
    other = reverse_over_reverse(lambda p: first(theirs(join(p, held))), params)
    unknown = "no layer is known to differ: please report it"
    return dataclasses.replace(model, agreement=agreement_of(mine, other, title, lambda: unknown))


def narrows(model: Network, rows: np.ndarray, title: str, layers: dict[str, Any]) -> None:
    """Refuse a network that computes in less than the precision of its weights.

    Args:
        model: The network.
        rows: Examples.
        title: What it is called.
        layers: Its layers by name, whose `dtype` may say which; those of Linen are read off the
            trace.

    Raises:
        InputError: If a number of double precision is rounded on its way to the outputs.
    """
    params, _ = start_of(model)
    x = jnp.asarray(rows, jnp.float64)
    traced = jax.make_jaxpr(lambda p: model.apply(p, x))(params)
    for scope, kind in _roundings(traced.jaxpr):
        named = [name for name, layer in layers.items() if _is_narrow(layer)]
        where = ", ".join(named[:3]) or scope or "some layer"
        raise InputError(
            f"{title} computes in {kind} although its weights are in float64, at {where}; "
            "construct it without dtype, so that it computes in the precision of its weights"
        )


def _is_narrow(layer: Any) -> bool:
    kind = getattr(layer, "dtype", None)
    return kind is not None and jnp.issubdtype(kind, jnp.inexact) and jnp.finfo(kind).bits < 64


def _roundings(jaxpr: Any) -> list[tuple[str, str]]:
    """Where numbers of double precision are rounded: the scope, as "Net/Dense_0", and the type."""
    found = []
    for step in jaxpr.eqns:
        if step.primitive.name == "convert_element_type":
            old, new = step.invars[0].aval.dtype, step.outvars[0].aval.dtype
            if old == jnp.float64 and jnp.issubdtype(new, jnp.floating) and new != old:
                found.append((str(step.source_info.name_stack), str(new)))
        for value in step.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    found += _roundings(inner)
    return found
