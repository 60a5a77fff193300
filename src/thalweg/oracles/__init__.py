"""What a step gets to see of a problem: a mini-batch, moved labels, added noise, few directions."""

from thalweg.core.doors import guard
from thalweg.oracles.added import (
    Isotropic,
    gaussian,
    isotropic,
    langevin,
    particle_noise,
    surrogate,
)
from thalweg.oracles.batches import MiniBatch, minibatch, single
from thalweg.oracles.directions import Directions, coordinate, two_point
from thalweg.oracles.examples import ORACLES
from thalweg.oracles.labels import LabelNoise, label_noise
from thalweg.oracles.oracle import Counts, Factor, NoiseCovariance, Oracle, full
from thalweg.oracles.random_refresh import RandomRefresh, page
from thalweg.oracles.remembering import Remembering
from thalweg.oracles.variance_reduced import Anchored, Saga, saga, sarah, spider, svrg

__all__ = [
    "ORACLES",
    "Anchored",
    "Counts",
    "Directions",
    "Factor",
    "Isotropic",
    "LabelNoise",
    "MiniBatch",
    "NoiseCovariance",
    "Oracle",
    "RandomRefresh",
    "Remembering",
    "Saga",
    "coordinate",
    "full",
    "gaussian",
    "isotropic",
    "label_noise",
    "langevin",
    "minibatch",
    "page",
    "particle_noise",
    "saga",
    "sarah",
    "single",
    "spider",
    "surrogate",
    "svrg",
    "two_point",
]

guard(globals(), __all__)
