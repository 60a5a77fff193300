"""Tangent kernels of nets, at finite and at infinite width, and training as they predict it."""

from thalweg.core.doors import guard
from thalweg.kernels.cost import KernelCost, kernel_cost
from thalweg.kernels.gaussian import Covariance, Expected, expectations, gaussian_mean
from thalweg.kernels.gram_matrices import (
    LayerGrams,
    last_layer_gram,
    layer_grams,
    pattern_change,
    two_layer_gram,
)
from thalweg.kernels.infinite_width import (
    InfiniteWidthKernels,
    arc_cosine_kernel,
    infinite_width_kernels,
)
from thalweg.kernels.linearised import (
    LinearisedPath,
    linearised_flow,
    linearised_outputs,
    linearised_parameters,
)
from thalweg.kernels.measures import (
    alignment,
    drift,
    effective_rank_of,
    smallest_eigenvalue_of,
    target_alignment,
)
from thalweg.kernels.population import (
    PopulationGram,
    normalisation,
    population_gram,
    two_layer_relu_gram,
)
from thalweg.kernels.stored import tangent_kernel_to_zarr
from thalweg.kernels.tangent import as_matrix, tangent_kernel

__all__ = [
    "Covariance",
    "Expected",
    "InfiniteWidthKernels",
    "KernelCost",
    "LayerGrams",
    "LinearisedPath",
    "PopulationGram",
    "alignment",
    "arc_cosine_kernel",
    "as_matrix",
    "drift",
    "effective_rank_of",
    "expectations",
    "gaussian_mean",
    "infinite_width_kernels",
    "kernel_cost",
    "last_layer_gram",
    "layer_grams",
    "linearised_flow",
    "linearised_outputs",
    "linearised_parameters",
    "normalisation",
    "pattern_change",
    "population_gram",
    "smallest_eigenvalue_of",
    "tangent_kernel",
    "tangent_kernel_to_zarr",
    "target_alignment",
    "two_layer_gram",
    "two_layer_relu_gram",
]

guard(globals(), __all__)
