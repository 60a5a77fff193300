"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import numpy as np

from planting import Fault, fault_table
from thalweg.oracles import added
from thalweg.studies.shevchenko2021_piecewise_linear import particles, wide
from thalweg.theory.mean_field import cold, gibbs
from thalweg.theory.mean_field.gibbs import GibbsNet

DESCENT = {"widths": (500,), "steps": 200_000, "records": 1000}
NOISY = {"widths": (500,), "steps": 40_000, "records": 2000}
SAMPLED = {"widths": (1000,), "steps": 20_000, "records": 1000}


def halved(right, *a):
    return right(*a) / 2


def targets_negated(right, arcs, y, *a):
    return right(arcs, -y, *a)


def half_of_beta(right, x, y, decay, beta):
    return right(x, y, decay, beta / 2)


def factor_left_out(right, self, at):
    return right(self, at) * (1 + np.asarray(at) ** 2) ** 1.5


def one_side_only(right, self, at):
    return right(self._replace(R=np.where(self.arcs.x > 2, self.R, 0.0)), at)


def half_the_decay(right, x, y, decay):
    return right(x, y, decay / 2)


def sum_for_mean(right, features, y, lam):
    return right(features, len(y) * y, lam)


def decay_left_out(right, x, R, decay):
    return right(x, R, 1.0)


def mirrored(right, x, R, decay):
    return right(x, R[::-1], decay)


def sides_exchanged(right, x, R, decay):
    found = right(x, R, decay)
    return found._replace(A=found.A[:, ::-1], B=found.B[:, ::-1])


def at_inputs_only(right, knots, x, tolerance):
    nearest = np.abs(np.subtract.outer(knots, x)).argmin(axis=1)
    return right(x[nearest], x, tolerance)


def ends_count_inside(right, knots, x, tolerance):
    found = right(knots, x, tolerance)
    return found._replace(interior=found.total)


def other_sign(right, alpha):
    return -right(alpha)[::-1]


def never_cold(right, x, y, decay, beta):
    return right(x, y, decay, min(beta, 1e4))


def twice_the_decay(right, problem, decay):
    return right(problem, 2 * decay)


def no_decay(right, problem, decay):
    return problem


def summed(right, *a):
    return right(*a, reduction="sum")


def step_for_twice_the_step(right, beta, eta, *a):
    return right(beta, eta / 2, *a)


def half_the_noise(right, beta, *a):
    return right(2 * beta, *a)


@fault_table(
    Fault("C1", GibbsNet, "predictor", halved, "factor 2 in E10"),
    Fault("C1", gibbs, "_dual", targets_negated, "sign of y in the dual"),
    Fault("C2", wide, "gibbs_net", half_of_beta, "beta/2", reruns=("X1-brute",)),
    Fault("C2", GibbsNet, "curvature", factor_left_out, "(1 + x^2)^(-3/2) left out"),
    Fault("C2", GibbsNet, "curvature", one_side_only, "some inputs left out of h"),
    Fault("C3", wide, "cold_net", half_the_decay, "lambda/2"),
    Fault("C3", wide, "cluster_polynomials", decay_left_out, "lambda left out of f"),
    Fault("C4", wide, "cluster_polynomials", mirrored, "R in reversed order"),
    Fault("C4", wide, "cluster_polynomials", sides_exchanged, "gaps numbered from the right"),
    Fault("C5", wide, "knots_of_gaps", at_inputs_only, "knots at inputs only"),
    Fault("C5", wide, "knots_of_gaps", ends_count_inside, "knots at ends count inside"),
    Fault("C6", cold, "_projected", sum_for_mean, "sum for mean"),
    Fault("C6", cold, "knots_of_directions", other_sign, "sign of tan"),
    Fault("C7", GibbsNet, "curvature", factor_left_out, "(1 + x^2)^(-3/2) left out"),
    Fault("C7", wide, "gibbs_net", never_cold, "beta at most 1e4"),
    Fault("C8", particles, "Decayed", twice_the_decay, "2 lambda", DESCENT),
    Fault("C9", particles, "particle_noise", step_for_twice_the_step, "s for 2 s", SAMPLED),
    Fault("C9", added.CONVENTIONS, "paper", 1.0, "both conventions alike", SAMPLED, value=True),
    Fault("C9", particles, "Decayed", no_decay, "no decay", SAMPLED),
    Fault("C10", particles, "particle_noise", half_the_noise, "half the noise", NOISY),
    Fault("C10", particles, "Decayed", twice_the_decay, "2 lambda", NOISY),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
