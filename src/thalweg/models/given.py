"""What users give as a model, as one of ours, or a sentence that says how to wrap it."""

from __future__ import annotations

import inspect
from typing import Any

import equinox as eqx

from thalweg.core.arguments import framework, told
from thalweg.core.errors import InputError
from thalweg.models.model import Model, from_equinox
from thalweg.models.parse import parse_model

ModelLike = Any  # what `as_model` takes
APPLIED = "models.Applied(apply_function, start=parameters)"
# How a network of another framework is wrapped, where it is made of JAX; by package.
WRAPPED = {
    "flax": "models.Applied(lambda v, x: net.apply(v, x), lambda key: net.init(key, inputs[:1])), "
    "or of an nnx module models.Applied(lambda s, x: nnx.merge(graph, s)(x), start=state) with "
    "graph, state = nnx.split(net)",
    "haiku": "models.Applied(lambda p, x: net.apply(p, None, x), "
    "lambda key: net.init(key, inputs[:1])), of hk.transform with is_training=False",
    "keras": f"{APPLIED} with a function of JAX for its forward pass, as "
    "net.stateless_call on Keras's JAX backend",
}


def as_model(model: Any) -> Model:
    """A model, an Equinox module, or text as the command line takes it ("mlp:64-64").

    Raises:
        InputError: If it is anything else; for networks of other frameworks the sentence says how
            to wrap them.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, str):
        return parse_model(model)
    if isinstance(model, eqx.Module) and callable(model):
        return from_equinox(model)
    what, whose = f"model came as {told(model)}", framework(model)
    if isinstance(model, type):
        raise InputError(f"{what}; give an instance, made by calling it, as models.mlp([16])")
    if whose in WRAPPED:
        raise InputError(f"{what}; wrap it: {WRAPPED[whose]}")
    if whose in ("torch", "tensorflow", "mlx", "paddle", "sklearn"):
        raise InputError(
            f"{what}, which JAX cannot differentiate; write its forward pass as a function of JAX "
            f"and give {APPLIED}"
        )
    if inspect.isroutine(model) or callable(model):
        raise InputError(
            f"{what}; give models.Applied({getattr(model, '__name__', 'function')}, "
            "start=parameters), which maps parameters and a batch to outputs, or for a function "
            "that makes a model, its result"
        )
    raise InputError(f"{what}; give a model, as models.mlp([16]), or text such as 'mlp:16'")
