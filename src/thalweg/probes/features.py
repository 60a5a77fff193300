"""How well the features of the last hidden layer tell the examples apart."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp

from thalweg.core.result import Reading, finite
from thalweg.core.tree import Params
from thalweg.models.last_layer import last_layer_inputs
from thalweg.probes.probe import Moment, Probe, with_data
from thalweg.problems.problem import Problem


class FeatureSingularValue(Probe):
    """sigma_n(A), the n-th singular value of A = [features, 1] on the n training examples.

    While it is positive the last layer alone can fit any targets, and ||grad L||^2 is at least
    (2 sigma_n^2 / n) L for L = 1/(2n) ||A V - Y||^2; a layer of fewer than n inputs has 0.

    value   (), features (the unit of the last layer's inputs)
    error   (), eps * max(n, m) * sigma_1: rounding of the decomposition
    raises  InputError for models without an affine last layer
    cost    a forward pass and a singular value decomposition of (n, m)

    Source: Kawaguchi and Huang (2019), arXiv 1908.02419; E1 and E2 of the study.
    """

    name: ClassVar[str] = "feature_singular_value"
    unit: ClassVar[str] = "features"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        data = with_data(problem, "the singular value of the features")
        A = last_layer_inputs(data.model, params, data.inputs)
        values = jnp.linalg.svd(A, compute_uv=False)
        value = values[-1] if A.shape[1] >= A.shape[0] else jnp.zeros((), A.dtype)
        error = jnp.asarray(jnp.finfo(A.dtype).eps * max(A.shape), A.dtype) * values[0]
        return Reading(value, error, finite(A, error)), ()


def feature_singular_value() -> FeatureSingularValue:
    """The n-th singular value of the last layer's inputs; see `FeatureSingularValue`.

    Examples:
        >>> data = (np.array([[3.0]]), np.ones((1, 1)))
        >>> problem = tw.problems.supervised(tw.models.mlp([]), data)
        >>> params = problem.init(jax.random.key(0))
        >>> reading = tw.measure(problem, params, tw.probes.feature_singular_value())
        >>> round(float(reading.value) ** 2, 6)  # of [3, 1]
        10.0
    """
    return FeatureSingularValue()
