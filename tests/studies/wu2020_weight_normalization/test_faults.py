"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from planting import Fault, fault_table
from thalweg.studies.wu2020_weight_normalization import steps
from thalweg.theory.limits.minimum_norm import MinimumNorm, RowNullSplit
from thalweg.theory.linear_nets import weight_normalisation as theory

SHORT = {"end": 300.0, "records": 20}  # the flow
BRIEF = {"end": 1.0, "records": 2}  # X2, where only the two phases matter
ALONE = {"phase_one_most": 1, "phase_two_steps": 1}  # X2, where they do not


def not_tangential(right, A, y, w, g, slope=theory.squared_slope):
    scale, direction = right(A, y, w, g, slope)
    u = w / np.linalg.norm(w)
    return theory.WNGradients(scale, direction + g * scale * u)


def weight_decay(right, A, y, w, g, slope=theory.squared_slope):
    scale, direction = right(A, y, w, g, slope)
    return theory.WNGradients(scale + 0.01 * g, direction)


def doubled_scale(right, A, y, w, g, slope=theory.squared_slope):
    scale, direction = right(A, y, w, g, slope)
    return theory.WNGradients(2 * scale, direction)


def length_left_out(right, A, y, w, g, slope):
    scale, direction = right(A, y, w, g, slope)
    return theory.WNGradients(scale, direction * np.linalg.norm(w))


def g_left_out(right, A, y, w, g, slope=theory.squared_slope):
    scale, direction = right(A, y, w, g, slope)
    return theory.WNGradients(scale, direction / np.asarray(g)[..., None])


def radial(right, A, y, w, g):
    scale, direction = right(A, y, w, g)
    return theory.WNGradients(scale, direction + (np.asarray(scale) * g)[..., None] * w)


def without_factor_two(right, w, g, projector, c, g0=0.0):
    return right(w, g, projector, c / 2, g0)


def other_sign(right, w, g, projector, c, g0=0.0):
    return right(w, np.asarray(g), projector, -c, g0)


def row_space(right, w, g, projector, c, g0=0.0):
    return right(w, g, np.eye(len(projector)) - projector, c, g0)


def perp_not_squared(right, norm, perp, g0, c=1.0):
    return right(norm, perp**0.5, g0, c)


def half_ratio(right, norm, perp, g0, c=1.0):
    return right(norm, perp, g0, c / 2)


def start_forgotten(right, norm, perp, g0, c=1.0):
    return right(norm, perp, 0.0, c)


def sign_forgotten(right, A, y, w0, g0, c, times, **k):
    return right(A, y, w0, abs(g0), c, times, **k)


def larger_distance(right, *a):
    limit = right(*a)
    return limit._replace(distance=limit.distance**2)


def descent_forgets_perp(right, A, y, w0, g0, c=1.0):
    return right(A, y, w0, g0, c)._replace(descent_distance=abs(g0))


def swapped(right, self, v):
    row, null = right(self, v)
    return RowNullSplit(null, row)


def floor_too_high(right, perp, g0, c=1.0):
    return right(perp**0.5, g0, c)


def rate_of_the_fastest(right, A, y):
    found = right(A, y)
    return found._replace(least=found.most)


def norm_not_squared(right, c, w0):
    return c * np.linalg.norm(w0)


def norm_left_out(right, c, w0):
    return c


def kappa_inverted(right, perp, ratio, steps):
    return right(perp, 1 / ratio, steps)


def sum_left_out(right, perp, ratio, steps):
    return perp * ratio ** np.asarray(steps, float)


def kappa_not_squared(right, perp, ratio, steps):
    return right(perp, ratio**0.5, steps)


def changed(name, change):
    """A fault of `follow`: one array of the dynamics is another."""

    def wrong(right, dynamics, *a):
        if hasattr(dynamics, name):
            dynamics = dataclasses.replace(dynamics, **{name: change(getattr(dynamics, name))})
        return right(dynamics, *a)

    return wrong


def larger_phase_one(right, draws, lanes, first, size):
    return right(draws, lanes, 4 * first, size)


def always_small(right, draws, lanes, first, size):
    return right(draws, lanes, np.minimum(first, 0.4), size)


def never_aligned(right, lanes, *a):
    return jnp.zeros(lanes.g0.shape, jnp.int64)


def twice_the_start(right, lanes, number):
    return right(lanes._replace(g0=2 * lanes.g0), number)


def other_ratio(right, algorithm, step_size, lanes):
    dynamics = right(algorithm, step_size, lanes)
    return dataclasses.replace(dynamics, scale_step_size=2 * dynamics.scale_step_size)


def one_step_size(right, algorithm, step_size, lanes):
    return right(algorithm, 0.02, lanes)


def always_projected(right, algorithm, step_size, lanes):
    return right("rPGD", step_size, lanes)


def planted(claim, name, wrong, about, sizes, place=theory):
    return Fault(claim, place, name, wrong, about, sizes)


HALVED = changed("step_size", lambda v: v / 2)
FASTER = changed("scale_step_size", lambda v: 1.01 * v)
UNHELD = changed("switch", jnp.zeros_like)


@fault_table(
    planted("C1", "wn_gradients", not_tangential, "radial part kept", SHORT),
    planted("C1", "wn_gradients", weight_decay, "weight decay", SHORT),
    planted("C1", "wn_invariant", without_factor_two, "c for 2 c", SHORT),
    planted("C1", "wn_invariant", other_sign, "sign of the exponent", SHORT),
    planted("C1", "wn_invariant", row_space, "P for P_perp", SHORT),
    planted("C2", "wn_gradients", doubled_scale, "factor 2 in g'", SHORT),
    planted("C2", "limit_scale_squared", perp_not_squared, "perp for its square", SHORT),
    planted("C2", "limit_scale_squared", half_ratio, "c/2", SHORT),
    planted("C2", "limit_scale_squared", start_forgotten, "g0 left out", SHORT),
    planted("C2", "wn_flow", sign_forgotten, "sign of g0", SHORT),
    planted("C3", "wn_limit", larger_distance, "square in the distance", SHORT),
    planted("C3", "wn_limit", descent_forgets_perp, "descent without perp", SHORT),
    planted("C3", "split", swapped, "parts exchanged", SHORT, MinimumNorm),
    planted("C3", "wn_gradients", doubled_scale, "factor 2 in g'", SHORT),
    planted("C4", "least_scale_squared", floor_too_high, "perp for its square", SHORT),
    planted("C4", "minimum_norm", rate_of_the_fastest, "largest eigenvalue in E9", SHORT),
    planted("C5", "phase1_closed_form", kappa_inverted, "kappa inverted", {}),
    planted("C5", "phase1_closed_form", sum_left_out, "geometric sum left out", {}),
    planted("C5", "phase1_closed_form", kappa_not_squared, "g0/g* for its square", {}),
    planted("C5", "follow", HALVED, "half the step", {}, steps),
    planted("C6", "follow", FASTER, "gamma larger", {}, steps),
    planted("C6", "follow", UNHELD, "no phase I", {}, steps),
    planted("C7", "two_phase_end", larger_phase_one, "phase I above g*", BRIEF, steps),
    planted("C7", "two_phase_end", always_small, "phase I never above g*", BRIEF, steps),
    planted("C7", "aligned_after", never_aligned, "no phase I", BRIEF, steps),
    planted("C7", "plain_descent", twice_the_start, "descent from 2 x0", BRIEF, steps),
    planted("C8", "limit_scale_squared", perp_not_squared, "perp for its square", ALONE),
    planted("C8", "wn_limit", larger_distance, "square in the distance", ALONE),
    planted("C8", "reparametrised", other_ratio, "gamma = 2 eta", ALONE, steps),
    planted("C8", "plain_descent", twice_the_start, "descent from 2 x0", ALONE, steps),
    planted("C9", "wn_invariant", without_factor_two, "c for 2 c", ALONE),
    planted("C9", "reparametrised", one_step_size, "one step size", ALONE, steps),
    planted("C9", "reparametrised", always_projected, "WN projected", ALONE, steps),
    planted("C10", "wn_gradients", radial, "radial part kept", {}),
    planted("C10", "wn_gradients", g_left_out, "g left out", {}),
    planted("C10", "reparametrised", always_projected, "projected", {}, steps),
    planted("C11", "effective_ratio", norm_not_squared, "norm for its square", SHORT),
    planted("C11", "effective_ratio", norm_left_out, "c itself", SHORT),
    planted("C11", "wn_gradients", weight_decay, "weight decay", SHORT),
    planted("C11", "wn_gradients", length_left_out, "||w|| left out of w'", SHORT),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"


def test_c4_notices_the_larger_of_the_two(monkeypatch, noticed):
    monkeypatch.setattr(theory, "min", max, raising=False)
    assert noticed(Fault("C4", theory, "min", max, value=True, sizes=SHORT)) == "not reproduced"
