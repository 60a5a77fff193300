"""Networks as pairs of pure functions, with their papers' scalings."""

from thalweg.models.convolutional import ConvNet, Convolution
from thalweg.models.dense import MLP, layer_weights, linear, mlp
from thalweg.models.initialisers import INITIALISERS
from thalweg.models.model import ACTIVATIONS, Activation, Applied, Model, activation, from_equinox
from thalweg.models.overparametrised import Overparametrised
from thalweg.models.parse import parse_model
from thalweg.models.residual import ResidualMLP
from thalweg.models.residual_convolutional import ConvResNet, Stage
from thalweg.models.weight_normalised import WeightNormalised, weight_normalised
from thalweg.models.wide import TwoLayerNet, WideNet

__all__ = [
    "ACTIVATIONS",
    "INITIALISERS",
    "MLP",
    "Activation",
    "Applied",
    "ConvNet",
    "ConvResNet",
    "Convolution",
    "Model",
    "Overparametrised",
    "ResidualMLP",
    "Stage",
    "TwoLayerNet",
    "WeightNormalised",
    "WideNet",
    "activation",
    "from_equinox",
    "layer_weights",
    "linear",
    "mlp",
    "parse_model",
    "weight_normalised",
]
