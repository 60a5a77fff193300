"""A small example of every oracle: a new one adds a line, and contract tests meet it."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from thalweg.core import tree
from thalweg.core.tree import Params
from thalweg.oracles.added import gaussian, isotropic, langevin, particle_noise, surrogate
from thalweg.oracles.batches import minibatch, single
from thalweg.oracles.directions import coordinate, two_point
from thalweg.oracles.labels import label_noise
from thalweg.oracles.oracle import Oracle, full
from thalweg.oracles.random_refresh import page
from thalweg.oracles.variance_reduced import saga, sarah, spider, svrg


def two_columns(params: Params) -> Array:
    """A factor (p, 2) that grows with the parameters."""
    theta = tree.flatten(params)
    return jnp.stack([0.5 * theta, -0.2 * theta**2], axis=1)


ORACLES: dict[str, Callable[[], Oracle]] = {
    "full": full,
    "minibatch": lambda: minibatch(3),
    "minibatch-with-replacement": lambda: minibatch(2, replace=True),
    "single": single,
    "label-noise": lambda: label_noise(0.5),
    "label-noise-single": lambda: label_noise(0.5, single=True, law="sign"),
    "isotropic": lambda: isotropic(0.5),
    "langevin": lambda: langevin(0.1, 0.05),
    "particle-noise": lambda: particle_noise(20.0, 0.05, 3),
    "gaussian": lambda: gaussian(two_columns),
    "surrogate": lambda: surrogate(minibatch(2), 0.5),
    "svrg": lambda: svrg(2, period=3),
    "sarah": lambda: sarah(2, period=3),
    "spider": lambda: spider(2, 3, 4),
    "page": lambda: page(2, 0.3),
    "saga": saga,
    "saga-in-batches": lambda: saga(3),
    "two-point": lambda: two_point(1e-4),
    "two-point-on-a-sphere": lambda: two_point(directions=2, law="sphere"),
    "coordinate": coordinate,
    "coordinates": lambda: coordinate(3),
}
