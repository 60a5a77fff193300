"""A small example of every kind of network: a new one adds a line, and contract tests meet it."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from thalweg.core.tensors import perfect_tree
from thalweg.models.bias_starts import spread_biases
from thalweg.models.convolutional import ConvNet, Convolution
from thalweg.models.dense import linear, mlp
from thalweg.models.mean_field import MeanFieldNet
from thalweg.models.model import Applied, Model
from thalweg.models.operator_recurrent import OperatorRecurrent
from thalweg.models.overparametrisation import Overparametrised
from thalweg.models.parse import SKIPS
from thalweg.models.residual import ResidualMLP
from thalweg.models.residual_convolutional import ConvResNet, Stage
from thalweg.models.scale_and_direction import weight_normalised
from thalweg.models.signal_convolutional import SignalConvNet
from thalweg.models.spiking.convolutional import spiking_convolutional
from thalweg.models.spiking.dense import spiking_mlp
from thalweg.models.starts import gaussian_start, given_start, zero_last_start
from thalweg.models.tensor_factorisation import (
    ArithmeticCircuit,
    CPFactorisation,
    HierarchicalFactorisation,
)
from thalweg.models.wide import TwoLayerNet, WideNet


def _hand_written() -> Model:
    start = {"w": np.linspace(-1.0, 1.0, 5), "b": np.array([0.5])}
    return Applied(
        lambda p, x: jnp.tanh(x @ p["w"] + p["b"]), start=start, is_smooth=True, is_separable=True
    )


# The kinds of `parse.FORMS` have their names; those of the first lines take (5,), the rest say.
MODELS: dict[str, Callable[[], Model]] = {
    "mlp": lambda: mlp([4, 3]),
    "linear": lambda: linear([3, 2]),
    "mlp-bn": lambda: ResidualMLP((4, 4), "tanh", **SKIPS["mlp-bn"]),
    "residual": lambda: ResidualMLP((4, 4), "relu", **SKIPS["residual"]),
    "residual-bn": lambda: ResidualMLP((4, 4), "tanh", **SKIPS["residual-bn"]),
    "dense-skip": lambda: ResidualMLP((3, 2), "softplus", **SKIPS["dense-skip"]),
    "overparametrised": lambda: Overparametrised(mlp([3], bias=False), 3),
    "weight-normalised": lambda: weight_normalised(linear([3])),
    "two-layer": lambda: TwoLayerNet(6),
    "mean-field": lambda: MeanFieldNet(6),
    "wide": lambda: WideNet("fully-connected", 6, 2),
    "wide-resnet": lambda: WideNet("resnet", 6, 2, "tanh"),
    "gaussian-start": lambda: gaussian_start(mlp([3], "sin"), 0.5),
    "zero-last-start": lambda: zero_last_start(mlp([3])),
    "spread-biases": lambda: spread_biases(mlp([3], "relu"), "unif"),
    "given-start": lambda: given_start(linear([]), [{"weight": np.ones((1, 5))}]),
    "hand-written": _hand_written,
    "spiking": lambda: spiking_mlp([6, 4], steps=4, gain=8.0),
    "conv": lambda: ConvNet((Convolution(2, 3, padding=1, pool=2),), (3,), "tanh"),
    "resnet": lambda: ConvResNet((Stage(2, 1), Stage(3, 1)), (3,), "relu"),
    "spiking-conv": lambda: spiking_convolutional(
        (Convolution(3, 3, padding=1, pool=2),), (5,), steps=4, gain=12.0
    ),
    "wide-convolutional": lambda: WideNet("convolutional-resnet", 4, 2),
    "signal-conv": lambda: SignalConvNet((3, 2)),
    "cp-circuit": lambda: ArithmeticCircuit(CPFactorisation((3, 3, 3, 3), 2)),
    "tree-circuit": lambda: ArithmeticCircuit(
        HierarchicalFactorisation((3, 3, 3, 3), perfect_tree(4), (2, 2))
    ),
    "operator-recurrent": lambda: OperatorRecurrent(3, 2, activation="leaky-relu:0.2"),
    "operator-factored": lambda: OperatorRecurrent(
        2, rank=2, activation=None, tied=True, fixed={"A0": jnp.eye(3)}, first=jnp.ones(3)
    ),
}
