"""What a step gets to see of a problem: all of it, a mini-batch, moved labels, added noise."""

from thalweg.core.arguments import guard
from thalweg.oracles.added import (
    Isotropic,
    gaussian,
    isotropic,
    langevin,
    particle_noise,
    surrogate,
)
from thalweg.oracles.batches import MiniBatch, minibatch, single
from thalweg.oracles.examples import ORACLES
from thalweg.oracles.labels import LabelNoise, label_noise
from thalweg.oracles.oracle import Counts, Factor, NoiseCovariance, Oracle, full

__all__ = [
    "ORACLES",
    "Counts",
    "Factor",
    "Isotropic",
    "LabelNoise",
    "MiniBatch",
    "NoiseCovariance",
    "Oracle",
    "full",
    "gaussian",
    "isotropic",
    "label_noise",
    "langevin",
    "minibatch",
    "particle_noise",
    "single",
    "surrogate",
]

guard(globals(), __all__)
