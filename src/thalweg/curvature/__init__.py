"""Curvature: operators on parameters, and what can be known of their spectra."""

from thalweg.core.doors import guard
from thalweg.curvature.density import Density, spectral_density
from thalweg.curvature.diagonal_ratio import block_ratios, max_over_median
from thalweg.curvature.eigenvalues import Eigenpairs, above, smallest, top_k
from thalweg.curvature.finite_differences import difference_gradient
from thalweg.curvature.kronecker.block_diagonal import BlockDiagonal, Eigenbasis, Kronecker
from thalweg.curvature.kronecker.fisher import kronecker_fisher, kronecker_layers
from thalweg.curvature.kronecker.tridiagonal import Tridiagonal, kronecker_difference
from thalweg.curvature.kronecker.whole import Whole, whole_matrices
from thalweg.curvature.layers import LayerHessian, layer_hessian
from thalweg.curvature.linear_norm import spectral_norm
from thalweg.curvature.manifolds import (
    NormalSpace,
    lyapunov_solve,
    normal_space,
    retracted,
    third_contracted,
)
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
from thalweg.curvature.secant_ratios import EssentialConvexity, essential_convexity
from thalweg.curvature.stagnation_sets import (
    AffineSet,
    NearestPoints,
    StagnationSet,
    affine_set,
    nearest_points,
    stiff_set,
)
from thalweg.curvature.stochastic import diagonal, trace
from thalweg.curvature.subspaces import (
    Overlap,
    WalkParticipation,
    participation_ratio,
    subspace_overlap,
    walk_participation,
)
from thalweg.curvature.third_order import (
    SharpnessGradient,
    sharpness_gradient,
    third_derivative,
    trace_gradient,
)

__all__ = [
    "AffineSet",
    "BlockDiagonal",
    "Density",
    "Domination",
    "Eigenbasis",
    "Eigenpairs",
    "EssentialConvexity",
    "JacobianRank",
    "Kronecker",
    "LayerHessian",
    "Matrix",
    "NearestPoints",
    "NormalSpace",
    "Operator",
    "Overlap",
    "SharpnessGradient",
    "StagnationSet",
    "Tridiagonal",
    "WalkParticipation",
    "Whole",
    "above",
    "affine_set",
    "block_ratios",
    "diagonal",
    "difference_gradient",
    "empirical_fisher",
    "essential_convexity",
    "fisher",
    "fisher_sampled",
    "gauss_newton",
    "gradient_domination",
    "hessian",
    "jacobian",
    "jacobian_rank",
    "kronecker_difference",
    "kronecker_fisher",
    "kronecker_layers",
    "layer_hessian",
    "lyapunov_solve",
    "max_over_median",
    "nearest_points",
    "normal_space",
    "participation_ratio",
    "pl_constant",
    "preconditioned",
    "retracted",
    "sharpness_gradient",
    "smallest",
    "spectral_density",
    "spectral_norm",
    "stiff_set",
    "subspace_overlap",
    "third_contracted",
    "third_derivative",
    "top_k",
    "trace",
    "trace_gradient",
    "walk_participation",
    "whole_matrices",
]

guard(globals(), __all__)
