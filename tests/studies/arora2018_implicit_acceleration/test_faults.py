"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from planting import Fault, fault_table
from thalweg.dynamics.end_to_end_rule import end_to_end_descent
from thalweg.lab.experiment import Lab
from thalweg.studies.arora2018_implicit_acceleration import exact, regression
from thalweg.theory.linear_nets import end_to_end

SHORT = {"cases": ((2, 3, 3, 2),), "widths": (3, 4), "until": 0.2, "records": 3}
ONE_SHAPE = {"shapes": ("3x4",), "depths": (3,)}
FOUR_DEPTHS = {"depths": (2, 3, 4, 8)}
ONE_DRAW = {"draws": 1}


def planted(claim, name, wrong, about, sizes=None, place=end_to_end):
    return Fault(claim, place, name, wrong, about, sizes or {})


def decay_without_depth(right, W, G, N, decay=0.0):
    return right(W, G, N, decay / N)


def no_decay(right, W, G, N, decay=0.0):
    return right(W, G, N)


def ascent(right, W, G, N, decay=0.0):
    return right(W, -G, N, decay)


def doubled(right, W, G, N, decay=0.0):
    return right(W, 2 * G, N, decay)


def other_depth(right, W, G, N, *rest):
    return right(W, G, N + 1, *rest)


def halved_exponents(right, W, G, N):
    """sigma^p in place of sigma^(2p)."""
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    return right((U * jnp.sqrt(s)) @ Vt, G, N)


def a_term_missing(right, W, G, N):
    """Without j = 1, G [W^T W]^((N-1)/N)."""
    _, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    return right(W, G, N) - ((G @ Vt.T) * s ** (2 * (N - 1) / N)) @ Vt


def tilted(right, W, N, width, key):
    """The right product of unbalanced factors."""
    low, *middle, top = right(W, N, width, key)
    return [(1 + 0.1 * width) * low, *middle, top / (1 + 0.1 * width)]


def row_major(right, W, N):
    k, d = W.shape
    return right(W, N).reshape(d, k, d, k).transpose(1, 0, 3, 2).reshape(k * d, k * d)


def projectors(right, W, N):
    """The power 0 as the projector on the range, in place of the identity."""
    _, _, Vt = np.linalg.svd(W, full_matrices=True)
    outside = np.eye(W.shape[1]) - Vt[: W.shape[0]].T @ Vt[: W.shape[0]]
    U, s, _ = np.linalg.svd(W)
    last = (U * s ** (2 * (N - 1) / N)) @ U.T
    return right(W, N) - np.kron(outside, last)


def negative(right, *a):
    return -right(*a)


def half_the_power(right, W, N):
    found = right(W, N)
    return found._replace(values=jnp.sqrt(found.values))


def unpadded(right, W, N):
    found = right(W, N)
    rank = min(W.shape)
    return found._replace(values=found.values.at[:, rank:].set(0).at[rank:].set(0))


def swapped_vectors(right, W, N):
    found = right(W, N)
    return found._replace(V=found.V[:, ::-1])


def n_projections(right, w, g, N):
    return right(w, g, N) + jnp.linalg.norm(w) ** (-2 / N) * w * (w @ g)


def no_projection(right, w, g, N):
    return jnp.linalg.norm(w) ** (2 - 2 / N) * g


def other_power(right, w, g, N):
    return right(w, g, N) * jnp.linalg.norm(w) ** (1 / N)


def without_last_term(right, w, factor, g, step_size):
    return right(w, factor, g, step_size) - step_size**2 * (w @ g) * g


def momentum_sign(right, w, factor, g, step_size):
    return right(w, factor, g, step_size) + 2 * step_size / factor**2 * (w @ g) * w


def open_curve(right, *a):
    return right(*a)[:3]


def backwards(right, *a):
    return [lambda t, piece=piece: piece(1 - t) for piece in right(*a)[::-1]]


def next_depth(right, slope, N, *a):
    return right(slope, N + 1, *a)


def depth_three_rule(right, w, g, N):
    return right(w, g, 3)


def half_of_the_jacobian(right, field, w):
    return jnp.zeros(())


def symmetric_part(right, field, w):
    return jnp.max(jnp.abs(jax.jacfwd(field)(w)))


def depth_two(right, step_size):
    return end_to_end_descent(step_size, 2)


def twice_the_step(right, step_size):
    return end_to_end_descent(2 * step_size, 3)


def decaying(right, step_size):
    return end_to_end_descent(step_size, 3, 0.1)


def squares(right, p, methods, size):
    return right(2, methods, size)


def fourth_powers(right, p, methods, size):
    chosen = tuple(regression.regression_l4.sizes["smoke"].chosen[:3])
    return right(4, methods, dataclasses.replace(size, chosen=chosen))


def twice_as_far(right, product, depth):
    return right(2 * product, depth)


def mean_for_sum(right, *a, reduction):
    return right(*a)


def other_exponent(right, X, y, p, *a, **k):
    return right(X, y, 6 - p, *a, **k)


def one_update_too_many(right, *a):
    return right(*a) + 1


@fault_table(
    planted("C1", "end_to_end_velocity", decay_without_depth, "decay without N", SHORT),
    planted("C1", "end_to_end_field", halved_exponents, "halved exponents", SHORT),
    planted("C1", "balanced_factors", tilted, "not balanced", SHORT, exact),
    planted("C1", "end_to_end_velocity", no_decay, "no decay", SHORT),
    planted("C1", "end_to_end_velocity", ascent, "sign", SHORT),
    planted("C1", "end_to_end_velocity", doubled, "factor 2", SHORT),
    planted("C1", "end_to_end_field", other_depth, "another depth", SHORT),
    planted("C1", "end_to_end_field", a_term_missing, "a term missing", SHORT),
    planted("C2", "preconditioner", row_major, "row-major", ONE_SHAPE),
    planted("C2", "preconditioner", projectors, "projector for identity", ONE_SHAPE),
    planted("C2", "preconditioner", negative, "sign", ONE_SHAPE),
    planted("C2", "end_to_end_field", a_term_missing, "a term missing in the rule", ONE_SHAPE),
    planted("C2", "preconditioner_spectrum", half_the_power, "root of eigenvalues", ONE_SHAPE),
    planted("C2", "preconditioner_spectrum", unpadded, "0^0 = 0", ONE_SHAPE),
    planted("C2", "preconditioner_spectrum", swapped_vectors, "vectors reordered", ONE_SHAPE),
    planted("C3", "single_output_rule", n_projections, "N projections"),
    planted("C3", "single_output_rule", no_projection, "no projection"),
    planted("C3", "single_output_rule", other_power, "exponent 2 - 1/N"),
    planted("C3", "scalar_factor_step", without_last_term, "E8 to first order"),
    planted("C3", "scalar_factor_step", momentum_sign, "E8, sign of the momentum"),
    planted("C4", "single_output_rule", no_projection, "no projection", FOUR_DEPTHS),
    planted("C4", "single_output_rule", n_projections, "N projections", FOUR_DEPTHS),
    planted("C4", "single_output_rule", other_power, "exponent 2 - 1/N", FOUR_DEPTHS),
    planted("C4", "gamma_curve", open_curve, "a curve that is open", FOUR_DEPTHS),
    planted("C4", "gamma_curve", backwards, "backwards", FOUR_DEPTHS),
    planted("C4", "constant_gradient_integral", next_depth, "for N + 1", FOUR_DEPTHS),
    planted("C5", "single_output_rule", depth_three_rule, "depth 3"),
    planted("C5", "single_output_rule", n_projections, "N projections"),
    planted("C5", "jacobian_asymmetry", half_of_the_jacobian, "half of the Jacobian"),
    planted("C5", "jacobian_asymmetry", symmetric_part, "J + J^T"),
    planted("C6", "depth_three", depth_two, "depth 2", ONE_DRAW, exact),
    planted("C6", "depth_three", twice_the_step, "twice the step", ONE_DRAW, exact),
    planted("C6", "depth_three", decaying, "weight decay", ONE_DRAW, exact),
    planted("C7", "balanced_factors", tilted, "not balanced", SHORT, exact),
    planted("C8", "compared", squares, "squares", None, regression),
    planted("C9", "compared", fourth_powers, "fourth powers", {"steps": 20_000}, regression),
    planted("C10", "balanced", twice_as_far, "start twice as far", None, regression),
    planted("C10", "lp_regression", mean_for_sum, "mean for sum", None, regression),
    planted("C10", "lp_regression", other_exponent, "p for p", None, regression),
    planted("C10", "steps_to", one_update_too_many, "one update too many", None, regression),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"


def test_unbalanced_factors_alone_break_c1(plant, word):
    plant(exact, "balanced_factors", tilted)
    short = {name: SHORT[name] for name in ("cases", "until", "records")}
    found = exact.flows(Lab("smoke"), **short)
    assert word("C1", X1=found.assign(gap=0 * found["gap"])) == "not reproduced"


@pytest.mark.parametrize(
    ("shown", "taken"),
    [
        ("depth 2", "depth 1"),
        ("depth 3", "depth 1"),
        ("depth 1", "depth 3"),
        ("AdaGrad", "depth 3"),
    ],
)
def test_depth_is_what_accelerates(results, word, shown, taken):
    """The data of one optimiser under the name of another."""
    data = results["X2-l4"]
    labels = data["optimiser"].values
    data = data.sel(optimiser=[taken if name == shown else name for name in labels])
    assert word("C8", X2_l4=data.assign_coords(optimiser=labels)) == "not reproduced"
