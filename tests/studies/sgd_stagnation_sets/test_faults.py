"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import numpy as np

from planting import Fault, fault_table
from thalweg.oracles.added import Isotropic
from thalweg.studies.sgd_stagnation_sets import bounds, digits, valleys

TRAINED = {"widths": (16,), "seeds": (0,), "descent": 6000, "noisy": 2000}
BOTH = {"widths": (16, 48), "seeds": (0,), "descent": 6000, "noisy": 20}


def twice(right, *arguments, **named):
    return 2 * right(*arguments, **named)


def half(right, *arguments, **named):
    return right(*arguments, **named) / 2


def more_noise(right, oracle, problem, params, xi):
    return 1.2 * right(oracle, problem, params, xi)


def of_twice_the_steps(right, steps, *arguments):
    return right(2 * steps, *arguments)


def with_norms_for_squares(right, steps, radius, start, *arguments):
    return right(steps, radius, start**2, *arguments)


def without_flat_noise(right, stiff, dimensions):
    return valleys.gradient_descent(valleys.ETA, oracle=valleys.isotropic(valleys.SIGMA))


def biased(right, curvatures, eta, sigma, steps=np.inf):
    return right(curvatures, eta, sigma, steps) * (1 + eta * np.asarray(curvatures))


def of_the_plane(right, dimension, *arguments):
    return right(dimension + 4, *arguments)


def of_frobenius(right, weights):
    return np.array([np.linalg.norm(A) for A in weights])


def without_the_sum(right, left, other):
    return right(left, other) / len(left)


def not_centred(right, points):
    return right(np.concatenate([points, -points]))


def of_random_directions(right, basis, vectors):
    return right(basis, np.random.default_rng(0).normal(size=vectors.shape))


def of_single_steps(right, points):
    return right(np.diff(points, axis=0))


def of_more_examples(right, norms, radii, examples):
    return right(norms, radii, 1e12 / examples)


def with_one_logarithm(right, norms, distances, examples, width):
    return right(norms, distances, examples, width) * np.log(examples)


@fault_table(
    Fault("C1", bounds, "perturbation_bound", without_the_sum, "a mean over layers"),
    Fault("C1", bounds, "perturbation_bound", twice, "a bound twice as loose", parts=("ratio of",)),
    Fault("C2", valleys, "staying_probability", of_twice_the_steps, "twice the steps"),
    Fault("C2", valleys, "SIGMA", 0.7, "twice the variance of the noise", value=True,
          compiled=True),
    Fault("C3", valleys, "separately_noisy", without_flat_noise, "one key for all directions",
          parts=("exits",), compiled=True),
    Fault("C3", valleys, "noisy_variance", twice, "twice the diffusion", reruns=("X1",),
          parts=("rms",)),
    Fault("C4", valleys, "noisy_variance", biased, "1 - eta h for its square"),
    Fault("C4", Isotropic, "noise", more_noise, "noise a fifth larger"),
    Fault("C5", valleys, "sphere_offset", of_the_plane, "D + 3 for D - 1"),
    Fault("C5", Isotropic, "noise", more_noise, "noise a fifth larger", parts=("spread",)),
    Fault("C6", digits, "spectral_norms", of_frobenius, "Frobenius norms", sizes=BOTH,
          parts=("product of norms",)),
    Fault("C7", digits, "subspace_overlap", of_random_directions, "directions of a walk",
          sizes=TRAINED, parts=("share",)),
    Fault("C7", digits, "noisy_variance", twice, "twice the variance", sizes=TRAINED,
          parts=("distance in the top",)),
    Fault("C8", bounds, "participation_ratio", of_single_steps, "of its steps"),
    Fault("C9", bounds, "tube_gap_bound", of_more_examples, "n in the numerator"),
    Fault("C9", bounds, "entropy_gap_bound", with_one_logarithm, "a logarithm too many"),
    Fault("C10", digits, "participation_ratio", of_single_steps, "of its steps", sizes=TRAINED),
)  # fmt: skip
def test_a_planted_fault_is_noticed(fault, noticed):
    assert noticed(fault) == "not reproduced"
