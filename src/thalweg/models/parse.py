"""Models from a line of text, as the command line takes them."""

from __future__ import annotations

import re

from thalweg.core.errors import InputError, choose
from thalweg.models.convolutional import ConvNet, Convolution
from thalweg.models.dense import MLP
from thalweg.models.model import ACTIVATIONS, Model

_LAYER = re.compile(r"(\d{1,6})k(\d{1,6})(?:s(\d{1,6}))?(?:p(\d{1,6}))?(?:m(\d{1,6}))?", re.ASCII)
FORMS = {
    "mlp": "mlp:64-64 (hidden widths)",
    "linear": "linear:20-20 (hidden widths, no activation, no biases)",
    "conv": "conv:6k5s2p2-16k5s2/120-84 (filters, kernel, stride, padding, m max-pool)",
}


def parse_model(
    text: str, activation: str = "tanh", bias: bool = True, initialiser: str = "xavier-uniform"
) -> Model:
    """A model from `kind:layers`; `FORMS` lists the kinds.

    Raises:
        InputError: If the text is not of one of the forms; the sentence shows the right form.
    """
    kind, _, layers = text.partition(":")
    form = choose(kind, FORMS, "model")
    choose(activation, ACTIVATIONS, "activation")
    try:
        if kind == "conv":
            kernels, _, dense = layers.partition("/")
            convolutions = tuple(_convolution(part) for part in kernels.split("-"))
            return ConvNet(convolutions, _widths(dense), activation, bias, initialiser)
        if kind == "linear":
            return MLP(_widths(layers), "linear", False, initialiser)
        return MLP(_widths(layers), activation, bias, initialiser)
    except _MalformedError:
        raise InputError(f"model {text!r} is not of the form {form}") from None


class _MalformedError(Exception):
    pass


def _widths(text: str) -> tuple[int, ...]:
    parts = text.split("-") if text else []
    return tuple(_size(part) for part in parts)


def _size(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 0 < int(text) <= 100_000:
        raise _MalformedError
    return int(text)


def _convolution(text: str) -> Convolution:
    match = _LAYER.fullmatch(text)
    if match is None:
        raise _MalformedError
    defaults = ("0", "0", "1", "0", "1")
    layer = Convolution(*(int(g or d) for g, d in zip(match.groups(), defaults, strict=True)))
    if min(layer.filters, layer.kernel, layer.stride, layer.pool) < 1:
        raise _MalformedError
    return layer
