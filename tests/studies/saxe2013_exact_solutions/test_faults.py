"""Planted faults: every claim of the study fails when what it rests on is wrong."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np

from planting import Fault, fault_table
from thalweg.dynamics import GradientDescent
from thalweg.models import initialisers
from thalweg.problems.linear_targets import DeepLinear
from thalweg.studies.saxe2013_exact_solutions import depth as deep
from thalweg.studies.saxe2013_exact_solutions import modes
from thalweg.theory.linear_nets import isometry, linear_modes

NAMED = initialisers.INITIALISERS
LINEAR, TANH = {"nets": ("linear",)}, {"nets": ("tanh",)}


def without_half(right, problem, params):
    return 2 * right(problem, params)


def transposed(right, problem, params):
    flipped = DeepLinear(problem.target[::-1], problem.correlation, problem.draw)
    return right(flipped, params)


def decayed(right, problem, params):
    return right(problem, params) + jnp.sum(params[0]["weight"] ** 2)


def single_rate(right, s, u0, t, tau=1.0):
    return right(s, u0, t, 2 * tau)


def sign_of_u(right, U, *a):
    return right(-U, *a)


def layers_equal(right, a, b, u, s):
    return linear_modes.mode_time(np.abs(a * b), np.abs(u), s)


def twice(right, *a):
    return 2 * right(*a)


def sign_of_b(right, s, a, b, t):
    return right(s, a, -b, t)


def wrong_clock(right, s, a, b, t):
    return right(s, a, b, t / 2)


def wrong_exponent(right, L, u, s):
    return L * u ** (2 - 1 / L) * (s - u)


def neurons(right, L, *a):
    return right(np.asarray(L) + 1, *a)


def only_the_logarithm(right, L, u0, uf, s):
    return 2 * linear_modes.mode_time(u0, uf, s) / (L * s)


def wrong_sharpness(right, L, s):
    return L * s ** (2 - 1 / L)


def without_depth(right, L, s):
    return right(L, s) / L


def plus(right, weights):
    return [W @ W.T + above.T @ above for W, above in pairwise(weights)]


def doubled(right, self, problem, state, key):
    return right(GradientDescent(2 * self.step_size), problem, state, key)


def slow_clock(right, self, problem, state, key):
    after, info = doubled(right, self, problem, state, key)
    return after._replace(time=after.time / 2), info


def large_start(right, net, std):
    return right(net, 0.1)


def other_signs(right, U, V):
    return right(U, -V)


def other_order(right, U, V):
    return right(U[:, ::-1], V[:, ::-1])


def strength_per_layer(right, U, V, strength, L, widths, key):
    return right(U, V, strength**L, L, widths, key)


def gaussian_instead(right, *a, **k):
    return NAMED["gaussian"](*a, **k)


def scaled_up(right, *a, **k):
    return 1.1 * right(*a, **k)


def twice_the_depth(right, depths):
    return right(2 * np.asarray(depths))


def gain_left_out(right, weights, gains, x):
    return right(weights, jnp.ones_like(gains), x)


def without_root(right, gain):
    return right(gain**2)


@fault_table(
    Fault("C1", linear_modes, "mode_trajectory", single_rate, "rate s, not 2s"),
    Fault("C1", linear_modes, "product_trajectory", sign_of_u, "sign of U"),
    Fault("C1", DeepLinear, "objective", without_half, "no factor 1/2 in the loss"),
    Fault("C1", DeepLinear, "objective", transposed, "another target"),
    Fault("C2", linear_modes, "hyperbolic_time", layers_equal, "c_0 left out"),
    Fault("C2", linear_modes, "hyperbolic_time", twice, "factor 2"),
    Fault("C2", linear_modes, "hyperbolic_trajectory", sign_of_b, "sign of b"),
    Fault("C2", linear_modes, "hyperbolic_trajectory", wrong_clock, "wrong clock"),
    Fault("C3", linear_modes, "deep_mode_rate", wrong_exponent, "exponent of the rate"),
    Fault("C3", linear_modes, "deep_mode_rate", neurons, "neurons for matrices"),
    Fault("C3", linear_modes, "deep_mode_time", neurons, "neurons for matrices in time"),
    Fault("C4", linear_modes, "deep_mode_time_infinite", only_the_logarithm, "E10, no poles"),
    Fault("C4", linear_modes, "deep_mode_time", neurons, "neurons for matrices in E9"),
    Fault("C5", linear_modes, "deep_mode_sharpness", wrong_sharpness, "exponent of the sharpness"),
    Fault("C5", linear_modes, "deep_mode_sharpness", without_depth, "sharpness without L"),
    Fault("C6", linear_modes, "conserved_quantities", plus, "sum, not difference"),
    Fault("C6", DeepLinear, "objective", decayed, "weight decay on one layer"),
    Fault("C7", linear_modes, "half_rise_time", twice, "rate s, not 2s", LINEAR),
    Fault("C7", GradientDescent, "step", slow_clock, "gradient twice", LINEAR),
    Fault("C7", modes, "gaussian_start", large_start, "large start", LINEAR),
    Fault("C11", modes, "mode_strengths", other_signs, "signs of another decomposition", TANH),
    Fault("C11", modes, "mode_strengths", other_order, "order of another decomposition", TANH),
    Fault("C8", NAMED, "orthogonal", gaussian_instead),
    Fault("C8", NAMED, "orthogonal", scaled_up),
    Fault("C8", initialisers, "decoupled_init", strength_per_layer, "strength of each layer"),
    Fault("C8", GradientDescent, "step", doubled, "gradient twice"),
    Fault("C9", NAMED, "orthogonal", gaussian_instead),
    Fault("C9", NAMED, "orthogonal", scaled_up),
    Fault("C9", NAMED, "gaussian", scaled_up, "scaled up Gaussian"),
    Fault("C9", isometry, "gaussian_product_median", twice_the_depth, "median 2^-depth"),
    Fault("C10", deep, "tanh_nets", gain_left_out),
    Fault("C10", isometry, "activity_fixed_point", without_root, "fixed point without root"),
    Fault("C12", linear_modes, "deep_mode_sharpness", without_depth, "sharpness without L"),
    Fault("C12", linear_modes, "deep_mode_rate", neurons, "neurons for matrices"),
    Fault("C12", GradientDescent, "step", doubled, "gradient twice"),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
