"""Models from a line of text, as the command line takes them."""

from __future__ import annotations

import re
from typing import Any

from thalweg.core.errors import InputError, key_of
from thalweg.models.convolutional import ConvNet, Convolution
from thalweg.models.dense import MLP
from thalweg.models.model import Model
from thalweg.models.model import activation as named
from thalweg.models.residual import ResidualMLP
from thalweg.models.residual_convolutional import ConvResNet, Stage
from thalweg.models.spiking.convolutional import spiking_convolutional
from thalweg.models.spiking.dense import spiking_mlp

_LAYER = re.compile(r"(\d{1,6})k(\d{1,6})(?:s(\d{1,6}))?(?:p(\d{1,6}))?(?:m(\d{1,6}))?", re.ASCII)
FORMS = {
    "mlp": "mlp:64-64 (hidden widths)",
    "linear": "linear:20-20 (hidden widths, no activation, no biases)",
    "conv": "conv:6k5s2p2-16k5s2/120-84 (filters, kernel, stride, padding, m max-pool)",
    "mlp-bn": "mlp-bn:64-64 (hidden widths, batch-normalised)",
    "residual": "residual:64-64-64 (hidden widths, a skip wherever the width stays)",
    "residual-bn": "residual-bn:64-64-64 (the same, batch-normalised)",
    "dense-skip": "dense-skip:32-32-32 (hidden widths, every layer sees all earlier ones)",
    "spiking": "spiking:200-100/8 (hidden widths of LIF neurons, no biases; steps, 8 if left out)",
    "spiking-conv": "spiking-conv:16k3p1-32k3p1m2/120/8 (as conv, of LIF neurons, "
    "batch-normalised, no biases; steps)",
    "resnet": "resnet:16x2-32x2/64 (filters x residual blocks, batch-normalised; dense widths)",
}

SKIPS: dict[str, dict[str, Any]] = {
    "mlp-bn": {"skip": 0.0, "normalised": True},
    "residual": {},
    "residual-bn": {"normalised": True},
    "dense-skip": {"join": "concatenate"},
}


def parse_model(
    text: str, activation: str = "tanh", bias: bool = True, initialiser: str = "xavier-uniform"
) -> Model:
    """A model from `kind:layers`; `FORMS` lists the kinds.

    Raises:
        InputError: If the text is not of one of the forms; the sentence shows the right form.

    Examples:
        >>> tw.models.parse_model("mlp:64-32", activation="gelu").hidden
        (64, 32)
    """
    kind, _, layers = text.partition(":")
    kind = key_of(kind, FORMS, "model")
    form = FORMS[kind]
    named(activation)
    try:
        if kind == "conv":
            kernels, _, dense = layers.partition("/")
            convolutions = tuple(_convolution(part) for part in kernels.split("-"))
            return ConvNet(convolutions, _widths(dense), activation, bias, initialiser)
        if kind == "resnet":
            stages, _, dense = layers.partition("/")
            sizes = tuple(_stage(part) for part in stages.split("-"))
            return ConvResNet(sizes, _widths(dense), activation, initialiser=initialiser)
        if kind == "spiking":
            dense, slash, steps = layers.partition("/")
            run = _size(steps) if slash else 8
            return spiking_mlp(_widths(dense), run, initialiser=initialiser)
        if kind == "spiking-conv":
            kernels, _, rest = layers.partition("/")
            dense, slash, steps = rest.partition("/")
            run = _size(steps) if slash else 8
            convolved = [_convolution(part) for part in kernels.split("-")]
            return spiking_convolutional(convolved, _widths(dense), run, initialiser=initialiser)
        if kind in SKIPS:
            return ResidualMLP(
                _some(_widths(layers)),
                activation,
                bias=bias,
                initialiser=initialiser,
                **SKIPS[kind],
            )
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


def _some(widths: tuple[int, ...]) -> tuple[int, ...]:
    if not widths:
        raise _MalformedError
    return widths


def _stage(text: str) -> Stage:
    filters, times, blocks = text.partition("x")
    return Stage(_size(filters), _size(blocks) if times else 1)


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
