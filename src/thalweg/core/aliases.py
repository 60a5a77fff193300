"""What else people type for a name: of an activation, an initialiser, a loss, a model, a probe.

Keys are plain: lower case, hyphens between words. An alias that may mean several names has them
all, and whoever types it is asked which. Aliases of optimisers stand beside their table.
"""

from __future__ import annotations

ALIASES: dict[str, dict[str, tuple[str, ...]]] = {
    "activation": {
        "swish": ("silu",),
        "sigmoid-linear-unit": ("silu",),
        "logistic": ("sigmoid",),
        "identity": ("linear",),
        "none": ("linear",),
        "id": ("linear",),
        "lrelu": ("leaky-relu",),
        "leakyrelu": ("leaky-relu",),
        "gelu-tanh": ("gelu",),
        "gelu-exact": ("gelu-erf",),
        "absolute": ("abs",),
        "absolute-value": ("abs",),
        "sine": ("sin",),
        "rectifier": ("relu",),
        "hyperbolic-tangent": ("tanh",),
    },
    "initialiser": {
        "xavier": ("xavier-uniform", "xavier-normal"),
        "glorot": ("xavier-uniform", "xavier-normal"),
        "glorot-uniform": ("xavier-uniform",),
        "glorot-normal": ("xavier-normal",),
        "he": ("he-uniform", "he-normal"),
        "kaiming": ("he-uniform", "he-normal"),
        "kaiming-uniform": ("he-uniform",),
        "kaiming-normal": ("he-normal",),
        "lecun": ("lecun-normal",),
        "ortho": ("orthogonal",),
        "haar": ("orthogonal",),
        "normal": ("gaussian",),
        "pytorch": ("uniform-fan-in",),
        "torch": ("uniform-fan-in",),
    },
    "loss": {
        "mse": ("squared-error",),
        "mean-squared-error": ("squared-error",),
        "squared": ("squared-error",),
        "square": ("squared-error",),
        "quadratic": ("squared-error",),
        "l2": ("squared-error",),
        "ce": ("cross-entropy",),
        "xent": ("cross-entropy",),
        "crossentropy": ("cross-entropy",),
        "categorical-crossentropy": ("cross-entropy",),
        "softmax": ("cross-entropy",),
        "nll": ("cross-entropy",),
        "log-loss": ("cross-entropy",),
        "bce": ("binary-cross-entropy",),
        "sigmoid-cross-entropy": ("binary-cross-entropy",),
    },
    "model": {
        "dense": ("mlp",),
        "fc": ("mlp",),
        "fully-connected": ("mlp",),
        "cnn": ("conv",),
        "convnet": ("conv",),
        "dln": ("linear",),
        "deep-linear": ("linear",),
        "densenet": ("dense-skip",),
        "snn": ("spiking",),
        "lif": ("spiking",),
    },
    "probe": {
        "lambda-max": ("sharpness",),
        "max-eigenvalue": ("sharpness",),
        "largest-eigenvalue": ("sharpness",),
        "lambda-min": ("smallest-eigenvalue",),
        "min-eigenvalue": ("smallest-eigenvalue",),
        "grad-norm": ("gradient-norm",),
        "acc": ("accuracy",),
        "weight-norm": ("parameter-norm",),
    },
}
ALIASES["activation with a number"] = ALIASES["activation"]


def plainly(name: str) -> str:
    """A name in lower case with hyphens, however it was typed."""
    return "-".join(name.strip().lower().replace("_", " ").replace("-", " ").split())
