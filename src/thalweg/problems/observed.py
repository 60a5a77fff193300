"""What a user's model turns out to be: found out on a few examples when a problem is made."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import jax
from jaxtyping import Array

from thalweg.core.behaviour import KEPT, kinked, mixes, traced, varies
from thalweg.core.errors import require
from thalweg.models import Applied, Model

P = TypeVar("P")


def observed(problem: P) -> P:
    """The problem with what its model leaves open found out, where that is a user's.

    An `Applied` that says neither of `is_separable` nor of `is_smooth` is asked by calls: whether
    outputs depend on the rest of the batch, and whether they have kinks in the parameters.

    Raises:
        InputError: If the model's outputs are random, or it depends on the batch and says no.
    """
    given: Any = problem
    model, inputs = given.model, given.inputs
    users = [part for part in jax.tree.leaves(model, is_leaf=_users) if _users(part)]
    if not users or traced(problem):
        return problem
    params = given.init(jax.random.key(0))

    def outputs(x: Array) -> Array:
        return model.apply(params, x)

    require(
        not varies(outputs, inputs[:2]),
        "the model's outputs differ between two calls with the same parameters and inputs (dropout "
        "in training?); give it as for evaluation, or with one fixed key",
    )
    sworn = all(isinstance(part, Applied) and part.is_separable for part in users)
    if model.separable and mixes(outputs, inputs, poison=not sworn):
        model = _said(model, "is_separable")
        require(
            not model.separable,
            f"{type(users[0]).__name__} says that it is separable, and its outputs for an example "
            "change with the others of the batch (batch normalisation?); let it say False",
        )
    asked = any(isinstance(part, Applied) and part.is_smooth is None for part in users)
    if asked and kinked(lambda p: model.apply(p, inputs[:KEPT]), params):
        model = _said(model, "is_smooth")
    return problem if model is given.model else dataclasses.replace(given, model=model)


def _said(model: Any, name: str) -> Any:
    """The model whose parts that left a property open say that they lack it."""
    lacking: dict[str, Any] = {name: False}
    return jax.tree.map(
        lambda part: (
            dataclasses.replace(part, **lacking)
            if isinstance(part, Applied) and getattr(part, name) is None
            else part
        ),
        model,
        is_leaf=lambda part: isinstance(part, Applied),
    )


def _users(part: Any) -> bool:
    """Whether a model was written by a user, so that what it says of itself is checked."""
    return isinstance(part, Applied) or (
        isinstance(part, Model) and not type(part).__module__.startswith("thalweg.")
    )
