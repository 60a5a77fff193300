"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax
import numpy as np

from planting import Fault, fault_table
from thalweg.problems.data.planes import random_plane
from thalweg.studies.he2022_low_dimensional_data import flow, linear, relu
from thalweg.theory.linear_nets import low_dimensional as theory

BRIEF = {"steps": 200, "redraws": 20}
MANY = {"points": 4_000_000}


def off_by_a_hair(right, plane, n, target, noise=0.0, **options):
    return right(plane, n, target, noise + 1e-9, **options)


def turned(right, dimension, codimension):
    return random_plane(dimension, codimension)


def no_step_size(right, start, decay, step_size, steps):
    return right(start, decay, 1.0, steps)


def no_decay(right, start, decay, step_size, steps):
    return right(start, 0.0, step_size, steps)


def no_rank_one_term(right, w, gradient, L):
    return -(np.linalg.norm(w) ** (2 - 2 / L)) * gradient


def depth_for_depth_less_one(right, w, gradient, L):
    square = w @ w
    return -(square ** (1 - 1 / L)) * (gradient + L * w * (w @ gradient) / square)


def no_speed(right, w, gradient, L):
    return right(w, gradient, L) / np.linalg.norm(w) ** (2 - 2 / L)


def other_speed(right, w, gradient, L):
    return right(w, gradient, L) * np.linalg.norm(w) ** (1 / L)


def depth_blind(right, w, gradient, L):
    return right(w, gradient, 2)


def noisy(right, a, codimension, noise=0.0, **options):
    return right(a, codimension, 0.3, **options)


def silent(right, a, codimension, noise=0.0, **options):
    return right(a, codimension, 0.0, **options)


def power_one_over_depth(right, w_norm, normal_norm, L):
    return normal_norm / w_norm ** (1 / L)


def power_depth(right, w_norm, normal_norm, L):
    return normal_norm**L / w_norm**L * 0.9


def powers_exchanged(right, w_norm, normal_norm, L):
    return normal_norm ** (L - 1) / w_norm ** (L - 2)


def no_power_of_a(right, a_norm, noise, L):
    return right(1.0, noise, L)


def unsquared_noise(right, a_norm, noise, L):
    return right(a_norm, noise, L) / noise


def power_two(right, a_norm, noise, L):
    return right(a_norm, noise, L) * a_norm ** (2 / L)


def depth_blind_prediction(right, w_norm, normal_norm, fitted_norm, L):
    return normal_norm


def deeper(right, w_norm, normal_norm, fitted_norm, L):
    return right(w_norm, normal_norm, fitted_norm, L + 1)


def tangent_norm(right, w_norm, normal_norm, fitted_norm, L):
    return normal_norm * (fitted_norm / np.sqrt(w_norm**2 - normal_norm**2)) ** (1 - 1 / L)


def target_for_end(right, w_norm, normal_norm, fitted_norm, L):
    return normal_norm * (fitted_norm / w_norm) ** (1 - 1 / L)


def unbalanced(right, L, inputs, seed):
    first, *rest = right(L, inputs, seed)
    return [{"weight": 1.1 * first["weight"]}, *rest]


def one_step_size(right, step_size):
    return right(linear.STEP)


def without_root(right, residual, noise, n):
    return residual / (noise * n)


def leading_order(right, residual, noise, n):
    return residual / (noise * np.sqrt(n))


def one_coordinate_more(right, residual, noise, n):
    return right(residual, noise, n, codimension=2)


def without_noise(right, residual, noise, n):
    return right(residual, noise**0, n)


def squared_noise(right, residual, noise, n):
    return right(residual, noise**2, n)


def whole_target(right):
    return np.sqrt(0.5 - np.sin(6) / 12)


def squares(right, n, noise, repeats):
    return right(n, noise, repeats) ** 2


def other_variance(right, variance, g):
    return right(variance / 2, g)


def deviation(right, variance, g):
    return right(variance**0.5, g)


def unsquared(right, variance, g):
    return variance * np.abs(g).sum(-1)


def untrained(right, model, params, points):
    return right(model, relu.start_of("one hidden", 0), points)


def scaled(right, f, points, normal):
    found = right(f, points, normal)
    return found._replace(value=1.1 * found.value)


def tangent_direction(right, f, points, normal):
    return right(f, points, np.eye(3)[:, :2])


def no_noise(right, plane, n, target, noise=0.0, **options):
    return right(plane, n, target, 0.0, **options)


def first_tangent(right, f, points, normal):
    return right(f, points, np.eye(3)[:, :1])


def start_kept(right, *a, **k):
    found = right(*a, **k)
    first = jax.tree.map(lambda p: p[:, :1].repeat(p.shape[1], 1), found.seen)
    return found._replace(seen=first)


@fault_table(
    Fault("C1", linear, "near_plane", off_by_a_hair, "noise, linear", BRIEF, reruns=("X2",)),
    Fault("C1", relu, "near_plane", off_by_a_hair, "noise, ReLU", BRIEF, reruns=("X4",)),
    Fault("C1", relu, "coordinate_plane", turned, "a rotated plane", BRIEF, reruns=("X4",)),
    Fault("C1", relu, "decayed_columns", no_step_size, reruns=("X4-decay",)),
    Fault("C1", relu, "decayed_columns", no_decay, reruns=("X4-decay",)),
    Fault("C2", theory, "reduced_velocity", no_rank_one_term),
    Fault("C2", theory, "reduced_velocity", depth_for_depth_less_one, "L for L - 1"),
    Fault("C2", flow, "plane_loss", noisy),
    Fault("C2", flow, "frozen_invariant", power_one_over_depth, "power 1/L"),
    Fault("C3", linear, "settled_normal_norm", depth_blind_prediction),
    Fault("C3", linear, "settled_normal_norm", deeper, "one layer more"),
    Fault("C3", linear, "settled_normal_norm", tangent_norm, "norm of w_x"),
    Fault("C3", linear, "settled_normal_norm", target_for_end, "||a|| for ||w||"),
    Fault("C3", linear, "balanced_start", unbalanced),
    Fault("C3", linear, "gradient_descent", one_step_size),
    Fault("C4", theory, "reduced_velocity", no_rank_one_term),
    Fault("C4", theory, "reduced_velocity", depth_blind),
    Fault("C5", theory, "reduced_velocity", no_rank_one_term),
    Fault("C5", theory, "reduced_velocity", depth_blind),
    Fault("C5", flow, "closest_norm", power_depth, "power of ||w||"),
    Fault("C5", flow, "closest_norm", powers_exchanged),
    Fault("C5", flow, "plane_loss", silent, "noise without effect"),
    Fault("C6", theory, "reduced_velocity", no_speed, "no power of ||w||"),
    Fault("C6", theory, "reduced_velocity", other_speed, "2 - 1/L"),
    Fault("C6", theory, "reduced_velocity", no_rank_one_term),
    Fault("C7", flow, "normal_decay_rate", no_power_of_a, "||a|| left out"),
    Fault("C7", flow, "normal_decay_rate", unsquared_noise),
    Fault("C7", flow, "normal_decay_rate", power_two, "||a||^2"),
    Fault("C7", theory, "reduced_velocity", other_speed),
    Fault("C8", linear, "least_squares_normal", without_root),
    Fault("C8", linear, "least_squares_normal", leading_order, "N for N - 3"),
    Fault("C8", linear, "least_squares_normal", one_coordinate_more, "N - 4 for N - 3", MANY),
    Fault("C8", linear, "least_squares_normal", without_noise),
    Fault("C8", linear, "least_squares_normal", squared_noise),
    Fault("C8", linear, "sine_residual", whole_target, "the target for its residual"),
    Fault("C8", linear, "fitted", squares, "the square"),
    Fault("C9", relu, "redrawn_variance", other_variance, "half of the variance"),
    Fault("C9", relu, "redrawn_variance", deviation, "s for s^2"),
    Fault("C9", relu, "redrawn_variance", unsquared, "entries not squared"),
    Fault("C9", relu, "first_layer_gradient", untrained, "g_1 of the start"),
    Fault("C9", relu, "normal_derivatives", scaled, compiled=True),
    Fault("C9", relu, "normal_derivatives", tangent_direction, compiled=True),
    Fault("C10", relu, "near_plane", no_noise),
    Fault("C10", relu, "normal_derivatives", first_tangent, "along the line", compiled=True),
    Fault("C10", relu, "paths", start_kept),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
