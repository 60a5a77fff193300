"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import numpy as np

from planting import Fault, fault_table
from thalweg.curvature.manifolds import NormalSpace
from thalweg.dynamics.flow import along_minima
from thalweg.studies.li2021_zero_loss import ensembles, exact, sparse


def projected_away(right, space, v):
    return right(space, v) - 0.5 * space.to_normal(v)


def double_inverse(right, space, factor):
    return 2**0.5 * right(space, factor)


def twice(right, *arguments):
    return 2 * right(*arguments)


def half(right, *arguments):
    return right(*arguments) / 2


def exchanged(right, z):
    return right(z)[np.array([0, 2, 1, 4, 3])]


def unweighted(right, Z):
    return np.full(Z.shape[1], right(Z).mean())


def short(right, Z, y):
    return right(Z[1:], y[1:])


@fault_table(
    Fault("C1", NormalSpace, "to_tangent", projected_away, "half the normal part is left"),
    Fault("C2", NormalSpace, "lyapunov", double_inverse, "H^+ for the Lyapunov inverse"),
    Fault("C2", NormalSpace, "pinv", twice, "twice the inverse in mixed and curving terms"),
    Fault("C3", exact, "_slope", twice, "a half of the log-determinant", compiled=True),
    Fault("C4", ensembles, "across", twice, "four times the noise", compiled=True),
    Fault("C5", ensembles, "log_slope", twice, "a half of the log-determinant"),
    Fault("C6", ensembles, "motor_noise", exchanged, "phases exchanged", compiled=True),
    Fault("C7", along_minima, "across_only", twice, "a flow of twice the speed", compiled=True),
    Fault("C7", along_minima, "across_only", half, "of half the speed", compiled=True),
    Fault(
        "C8", sparse, "trace_weights", unweighted, "an l1 norm without weights",
        sizes={"times": sparse.TIMES, "descent": 20_000},
    ),
    Fault("C9", exact, "minimum_norm", short, "an equation left out"),
    Fault("C10", exact, "fitted_trace", half, "the paper's regulariser for the trace"),
)  # fmt: skip
def test_a_planted_fault_is_noticed(fault, noticed):
    assert noticed(fault) == "not reproduced"
