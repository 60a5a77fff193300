"""Curvature: operators on parameters, and what can be known of their spectra."""

from thalweg.core.arguments import guard
from thalweg.curvature.density import Density, spectral_density
from thalweg.curvature.diagonal_ratio import block_ratios, max_over_median
from thalweg.curvature.eigenvalues import Eigenpairs, above, smallest, top_k
from thalweg.curvature.layers import LayerHessian, layer_hessian
from thalweg.curvature.manifolds import (
    NormalSpace,
    lyapunov_solve,
    normal_space,
    retracted,
    third_contracted,
)
from thalweg.curvature.minima import NormalSplit, normal_split
from thalweg.curvature.numerical_rank import JacobianRank, jacobian_rank
from thalweg.curvature.operator import Matrix, Operator, preconditioned
from thalweg.curvature.operators import (
    empirical_fisher,
    fisher,
    fisher_sampled,
    gauss_newton,
    hessian,
    jacobian,
)
from thalweg.curvature.polyak_lojasiewicz import Domination, gradient_domination, pl_constant
from thalweg.curvature.stochastic import diagonal, trace
from thalweg.curvature.third_order import (
    SharpnessGradient,
    sharpness_gradient,
    third_derivative,
    trace_gradient,
)

__all__ = [
    "Density",
    "Domination",
    "Eigenpairs",
    "JacobianRank",
    "LayerHessian",
    "Matrix",
    "NormalSpace",
    "NormalSplit",
    "Operator",
    "SharpnessGradient",
    "above",
    "block_ratios",
    "diagonal",
    "empirical_fisher",
    "fisher",
    "fisher_sampled",
    "gauss_newton",
    "gradient_domination",
    "hessian",
    "jacobian",
    "jacobian_rank",
    "layer_hessian",
    "lyapunov_solve",
    "max_over_median",
    "normal_space",
    "normal_split",
    "pl_constant",
    "preconditioned",
    "retracted",
    "sharpness_gradient",
    "smallest",
    "spectral_density",
    "third_contracted",
    "third_derivative",
    "top_k",
    "trace",
    "trace_gradient",
]

guard(globals(), __all__)
