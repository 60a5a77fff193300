"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import numpy as np

from planting import Fault, fault_table
from thalweg.studies.lyu2022_normalization_sharpness import completion, regression, sphere
from thalweg.theory.limits import sharpness_reduction as theory
from thalweg.theory.limits.minimum_norm import MinimumNorm, RowNullSplit

COARSE = {"points": 30}  # the curves of X1 and its kin
LONG = {"draws": 1, "pairs": 25, "stride": 400}  # X3


def decay_not_divided(right, step_size, weight_decay, squared):
    return step_size / np.asarray(squared)


def twice(right, *arguments):
    return 2 * right(*arguments)


def without_the_square(right, rate, squared_gradient, decay):
    return (1 - decay) ** 4 * (1 / np.asarray(rate) ** 2 + 2 * np.asarray(squared_gradient))


def square_for_fourth(right, rate, squared_gradient, decay):
    return right(rate, squared_gradient, decay) / (1 - decay) ** 2


def half_the_constant(right, *arguments):
    target = right(*arguments)
    return target._replace(constant=target.constant / 2)


def targets_not_taken_out(right, X, y):
    found = right(X, y)
    centred = X - np.mean(X, axis=0)
    return found._replace(constant=2 / len(X) * np.linalg.norm(centred, 2) ** 2)


def other_target(right, X, y):
    return right(X, y + 0.1 * np.arange(len(y)))


def norm_for_its_square(right, self, regressor):
    return self.constant * np.linalg.norm(regressor, axis=-1)


def other_averaging(right, step, averaging=2.0):
    return right(step, 2 * averaging)


def always_squared(right, self, start, times, averaging=2.0, squared=True):
    return right(self, start, times, averaging)


def half_the_clock(right, lab, end, averaging=2.0):
    spline = right(lab, end, averaging)
    return lambda tau: spline(np.asarray(tau) / 2)


def slope_left_out(right, slope, averaging=2.0):
    return right(0 * np.asarray(slope), averaging)


def half_the_slope(right, slope, averaging=2.0):
    return right(np.asarray(slope) / 2, averaging)


def even_steps(right, stride, pairs):
    return np.tile([stride, 0], pairs)


def swapped(right, self, v):
    row, null = right(self, v)
    return RowNullSplit(null, row)


def more_decay(right, step_size, weight_decay):
    return right(step_size, 1.05 * weight_decay)


def no_decay(right, step_size, weight_decay):
    return right(step_size, 0.0)


def norm_squared(right, self, regressor):
    return right(self, regressor) ** 2


def half_forgotten(right, self, step_size):
    return 2 * right(self, step_size)


def one_for_two(right, decay, step_size, squared_norm, sharpness):
    return right(decay, step_size, squared_norm / 2, sharpness)


def norm_at_the_start(right, decay, step_size, squared_norm, sharpness):
    return right(decay, step_size, squared_norm**0.5, sharpness)


def always_two(right, step_size, averaging=2.0, initial=1.0):
    return right(step_size, 2.0, initial)


def always_decays(right, step_size, weight_decay):
    return right(step_size, 2e-3)


def planted(claim, name, wrong, about, sizes=None, place=theory, **more):
    return Fault(claim, place, name, wrong, about, sizes or {}, **more)


@fault_table(
    planted("C1", "effective_rate", decay_not_divided, "1 - eta lambda left out"),
    planted("C1", "next_inverse_square", square_for_fourth, "(1 - eta lambda)^2 for its square"),
    planted("C1", "next_inverse_square", without_the_square, "last term left out"),
    planted("C2", "normalised_target", half_the_constant, "1/n for 2/n"),
    planted("C2", "normalised_target", targets_not_taken_out, "projector left out of K"),
    planted("C2", "sharpness", norm_for_its_square, "norm for its square", None,
            theory.NormalisedTarget),
    planted("C3", "sharpness_reduction_flow", other_averaging, "C = 4", COARSE, sphere),
    planted("C3", "flow_angles", half_the_clock, "eta^2 k for tau", COARSE, sphere),
    planted("C3", "angles", always_squared, "the same flow twice", COARSE, theory.Circle),
    planted("C3b", "mean_square", slope_left_out, "g left out"),
    planted("C3b", "mean_square", half_the_slope, "half of g"),
    planted("C4", "effective_rate", twice, "factor 2", COARSE),
    planted("C4", "gaps", even_steps, "even steps alone", None, regression, reruns=("X2",)),
    planted("C5", "decayed_descent", more_decay, "other decay", None, regression),
    planted("C5", "split", swapped, "parts exchanged", None, MinimumNorm),
    planted("C6", "tangent", norm_squared, "tangent squared", None, theory.NormalisedTarget),
    planted("C6", "row_norm_squared", half_forgotten, "half left out", None,
            theory.NormalisedTarget),
    planted("C7", "decayed_descent", no_decay, "no decay", None, regression),
    planted("C7", "normalised_target", other_target, "the least norm of other targets"),
    planted("C8", "edge_time", one_for_two, "2 left out of the logarithm"),
    planted("C8", "edge_time", norm_at_the_start, "norm for its square"),
    planted("C9", "spherical_rmsprop", always_two, "C = 2 for all", COARSE, sphere),
    planted("C9", "sharpness_reduction_flow", other_averaging, "C doubled", COARSE, sphere),
    planted("C10", "decayed_descent", always_decays, "decay in both", LONG, completion),
    planted("C10", "decayed_descent", no_decay, "decay in neither", LONG, completion),
)  # fmt: skip
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
