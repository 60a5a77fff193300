"""A small example of every probe that goes by no name, as it takes an argument of the problem's."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core.tensors import perfect_tree
from thalweg.curvature.stagnation_sets import nearest_points
from thalweg.probes.connections import strength_histogram, weight_histogram
from thalweg.probes.margins import angle_gap, direction_distance, validation_error, validation_loss
from thalweg.probes.modes import growing_strengths, mode_strengths
from thalweg.probes.preconditioned import preconditioned_sharpness
from thalweg.probes.probe import Probe
from thalweg.probes.rank import reconstruction_error
from thalweg.probes.scale_invariance import effective_learning_rate
from thalweg.probes.stagnation import set_distance
from thalweg.probes.tensors import hierarchical_effective_rank
from thalweg.problems.examples import MATRIX, X
from thalweg.problems.margin_losses import MARGIN_LOSSES

_U, _, _V = np.linalg.svd(MATRIX, full_matrices=False)

WITH_ARGUMENTS: dict[str, Callable[[], Probe]] = {
    "direction-distance": lambda: direction_distance(np.array([1.0, -2.0, 0.5])),
    "angle-gap": lambda: angle_gap(np.array([1.0, -2.0, 0.5])),
    "validation-loss": lambda: validation_loss(X, MARGIN_LOSSES["logistic"]),
    "validation-error": lambda: validation_error(X),
    "preconditioned-sharpness": lambda: preconditioned_sharpness(
        lambda _: jnp.array([1.0, 4.0, 9.0])
    ),
    "reconstruction-error": lambda: reconstruction_error(MATRIX),
    "mode-strengths": lambda: mode_strengths(_U, _V.T),
    "growing-strengths": lambda: growing_strengths(_U, _V.T),
    "effective-learning-rate": lambda: effective_learning_rate(0.1, 0.2),
    "set-distance": lambda: set_distance(
        nearest_points(lambda params: jax.tree.map(jnp.zeros_like, params))
    ),
    "hierarchical-effective-rank": lambda: hierarchical_effective_rank(perfect_tree(4)),
    "weight-histogram": lambda: weight_histogram([-2.0, -0.1, 0.1, 2.0]),
    "strength-histogram": lambda: strength_histogram([-1.0, 0.0, 0.3, 2.0]),
}
