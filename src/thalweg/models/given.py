"""What users give as a model, as one of ours, or a sentence that says what to give."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx

from thalweg.core.arguments import framework, told
from thalweg.core.errors import InputError
from thalweg.models.frameworks import Network, from_flax, from_haiku, from_keras, from_torch
from thalweg.models.model import Model, from_equinox
from thalweg.models.parse import parse_model

ModelLike = Any  # what `as_model` takes
APPLIED = "models.Applied(apply_function, start=parameters)"
# What makes a model of another framework's network; by package.
TAKEN: dict[str, Callable[..., Model]] = {
    "flax": from_flax,
    "haiku": from_haiku,
    "keras": from_keras,
    "torch": from_torch,
}


def as_model(model: Any, example: Any = None) -> Model:
    """A model, another framework's network, or text as the command line takes it ("mlp:64-64").

    Args:
        model: A `Model`, an Equinox, Flax, Keras or PyTorch module, what `hk.transform` made, or
            text.
        example: A batch of inputs, on which another framework's network is held against it.

    Raises:
        InputError: If it is anything else, or a network that cannot be taken; the sentence names
            the layer.
    """
    if isinstance(model, Network):
        return model if example is None or model.verified is None else model.verified(example)
    if isinstance(model, Model):
        return model
    if isinstance(model, str):
        return parse_model(model)
    if isinstance(model, eqx.Module) and callable(model):
        return from_equinox(model)
    what, whose = f"model came as {told(model)}", framework(model)
    if isinstance(model, type):
        raise InputError(f"{what}; give an instance, made by calling it, as models.mlp([16])")
    if whose in TAKEN:
        return TAKEN[whose](model, example=example)
    if whose in ("tensorflow", "mlx", "paddle", "sklearn"):
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
