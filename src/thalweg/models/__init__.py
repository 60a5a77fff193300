"""Networks as pairs of pure functions, with their papers' scalings."""

from thalweg.core.doors import guard
from thalweg.core.tensors import ModeTree, hierarchical_rank, mode_tree, perfect_tree
from thalweg.models.bias_starts import BIAS_LAWS, SpreadBiases, spread_biases
from thalweg.models.convolutional import ConvNet, Convolution
from thalweg.models.dense import MLP, layer_weights, linear, mlp
from thalweg.models.examples import MODELS
from thalweg.models.feature_rank import (
    Expressivity,
    Search,
    constructed_witness,
    expressivity,
    expressivity_search,
    feature_matrix,
    rank_of,
)
from thalweg.models.frameworks import Network, from_flax, from_haiku, from_keras, from_torch
from thalweg.models.initialisers import INITIALISERS
from thalweg.models.input_derivatives import first_layer_gradient, normal_derivatives
from thalweg.models.knots_on_the_line import (
    Knots,
    KnotsOfGaps,
    function_knots,
    knots_of_gaps,
    net_knots,
)
from thalweg.models.mean_field import MeanFieldNet
from thalweg.models.model import ACTIVATIONS, Activation, Applied, Model, activation, from_equinox
from thalweg.models.operator_recurrent import OperatorRecurrent
from thalweg.models.overparametrisation import Overparametrised
from thalweg.models.parse import parse_model
from thalweg.models.piecewise_affine import (
    Passage,
    activation_slopes,
    affine_piece,
    downstream_matrix,
    downstream_of_slopes,
    local_matrix,
    own_slopes,
    passage,
    two_slopes,
)
from thalweg.models.rank_one_factors import (
    FactorPair,
    balanced_pair,
    factor_norms,
    factor_pairs,
    factor_regulariser,
)
from thalweg.models.residual import ResidualMLP
from thalweg.models.residual_convolutional import ConvResNet, Stage
from thalweg.models.scale_and_direction import WeightNormalised, weight_normalised
from thalweg.models.signal_convolutional import SignalConvNet
from thalweg.models.size import parameter_count
from thalweg.models.spiking.coding import rate_coded
from thalweg.models.spiking.convolutional import SpikingConvNet, spiking_convolutional
from thalweg.models.spiking.dense import SpikingMLP, SpikingModel, spiking_mlp
from thalweg.models.spiking.neuron import LIF, LayerRun, lif_rollout
from thalweg.models.spiking.surrogates import (
    SURROGATES,
    SurrogateDerivative,
    spikes_of,
    surrogate_derivative,
)
from thalweg.models.starts import gaussian_start, given_start, zero_last_start
from thalweg.models.tensor_factorisation import (
    ArithmeticCircuit,
    CPFactorisation,
    HierarchicalFactorisation,
)
from thalweg.models.wide import TwoLayerNet, WideNet

__all__ = [
    "ACTIVATIONS",
    "BIAS_LAWS",
    "INITIALISERS",
    "LIF",
    "MLP",
    "MODELS",
    "SURROGATES",
    "Activation",
    "Applied",
    "ArithmeticCircuit",
    "CPFactorisation",
    "ConvNet",
    "ConvResNet",
    "Convolution",
    "Expressivity",
    "FactorPair",
    "HierarchicalFactorisation",
    "Knots",
    "KnotsOfGaps",
    "LayerRun",
    "MeanFieldNet",
    "ModeTree",
    "Model",
    "Network",
    "OperatorRecurrent",
    "Overparametrised",
    "Passage",
    "ResidualMLP",
    "Search",
    "SignalConvNet",
    "SpikingConvNet",
    "SpikingMLP",
    "SpikingModel",
    "SpreadBiases",
    "Stage",
    "SurrogateDerivative",
    "TwoLayerNet",
    "WeightNormalised",
    "WideNet",
    "activation",
    "activation_slopes",
    "affine_piece",
    "balanced_pair",
    "constructed_witness",
    "downstream_matrix",
    "downstream_of_slopes",
    "expressivity",
    "expressivity_search",
    "factor_norms",
    "factor_pairs",
    "factor_regulariser",
    "feature_matrix",
    "first_layer_gradient",
    "from_equinox",
    "from_flax",
    "from_haiku",
    "from_keras",
    "from_torch",
    "function_knots",
    "gaussian_start",
    "given_start",
    "hierarchical_rank",
    "knots_of_gaps",
    "layer_weights",
    "lif_rollout",
    "linear",
    "local_matrix",
    "mlp",
    "mode_tree",
    "net_knots",
    "normal_derivatives",
    "own_slopes",
    "parameter_count",
    "parse_model",
    "passage",
    "perfect_tree",
    "rank_of",
    "rate_coded",
    "spikes_of",
    "spiking_convolutional",
    "spiking_mlp",
    "spread_biases",
    "surrogate_derivative",
    "two_slopes",
    "weight_normalised",
    "zero_last_start",
]

guard(globals(), __all__)
