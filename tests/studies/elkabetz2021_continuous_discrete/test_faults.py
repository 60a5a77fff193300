"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import dataclasses
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from planting import Fault, fault_table
from thalweg.dynamics import GradientDescent
from thalweg.studies.elkabetz2021_continuous_discrete import points, training
from thalweg.theory.descent import certified_descent, euler
from thalweg.theory.linear_nets import homogeneous, scalar_linear


def scaled(claim, place, name, factor, about, sizes=None, reruns=None):
    """The function's result is multiplied by a factor that may depend on its arguments."""

    def wrong(right, *a, **k):
        return right(*a, **k) * (factor(*a) if callable(factor) else factor)

    return Fault(claim, place, name, wrong, about, sizes or {}, reruns=reruns)


def largest_dropped(right, norms):
    return jnp.prod(jnp.sort(norms, -1)[..., 1:], -1)


def exchanged(right, r, n):
    return right(r, n)[::-1]


def transposed(right, gradient, *a):
    return right(gradient.T, *a)


def twice_as_fast(right, r0, nu, n, times):
    return right(r0, nu, n, 2 * np.asarray(times))


def not_homogeneous(right, ws, x, slopes):
    if x.shape[-1] != 4:  # no random net
        return right(ws, x, slopes)
    return jnp.tanh(x @ ws[0].T) @ (ws[2] @ ws[1]).T


def sign_of_m(right, weights, target, eps):
    tube = right(weights, target, eps)
    return tube._replace(m=-tube.m)


def half_the_steps(right, *a):
    promise = right(*a)
    return dataclasses.replace(promise, steps=promise.steps // 2)


def without_m_and_r0(r0, nu, n, excess):
    return r0 / max(1.0, 1.5 * (1 - nu) / (1 + nu)) ** n


class IterationClock(GradientDescent):
    """Counts iterations of the base step size as training time, whatever the step size."""

    def clock(self, steps):
        return np.asarray(steps) * training.SHORT["step_size"]

    def steps_until(self, time):
        return round(time / training.SHORT["step_size"])


class TwiceAsFar(GradientDescent):
    """Its steps are twice as long as its clock says."""

    def step(self, problem, state, key):
        longer = eqx.tree_at(
            lambda d: d.step_size, GradientDescent(self.step_size), 2 * self.step_size
        )
        after, info = longer.step(problem, state, key)
        return after._replace(time=after.time / 2), info


def darker(right, image, samples):
    data = right(image, samples)
    return dataclasses.replace(data, inputs=0.3081 * data.inputs)


LINEAR = {"models": ("linear",), "step_size": 0.05, "until": 10.0, "samples": 1000}  # C14
BRIEF = {"steps": 40, "records": 10}  # X3
BOUND = "homogeneous_min_eig_bound"


@fault_table(
    scaled("C1", homogeneous, BOUND, lambda w, *_: 1 / (len(w) - 1), "without n-1"),
    Fault("C1", homogeneous, "_product_of_largest", largest_dropped, "n-1 layers"),
    scaled("C1", homogeneous, BOUND, lambda w, s, *_: max(map(abs, s)), "slope to the n"),
    scaled(
        "C1",
        homogeneous,
        "linear_min_eig_bound",
        lambda w, *_: 1 / (len(w) - 1),
        "linear bound without n-1",
    ),
    scaled("C2", homogeneous, "aligned_min_eig", 2.0, "factor n"),
    Fault("C2", homogeneous, "chain_eigenvalues", exchanged, "eigenvalues exchanged"),
    Fault("C2", homogeneous, "negative_curvature_min_eig", transposed, "transpose"),
    scaled("C3", scalar_linear, "bound_integral", lambda r, r0, n: n / (n - 1), "n for n-1"),
    scaled("C3", homogeneous, "chain_negative_curvature_integral", 1.01, "chain factor"),
    Fault("C4", scalar_linear, "scalar_linear_flow", twice_as_fast, "clock", reruns=("X6",)),
    Fault(
        "C4",
        points,
        "homogeneous_outputs",
        not_homogeneous,
        "activation not homogeneous",
        {"nets": 7},  # other shapes, so that compiled functions are traced with the fault
        reruns=("X5",),
    ),
    Fault("C5", homogeneous, "linear_tube_bounds", sign_of_m, "sign of m"),
    Fault("C6", homogeneous, "linear_tube_bounds", sign_of_m, "sign of m"),
    scaled("C7", euler, "largest_step_quadratic", 2.0, "factor 2"),
    scaled("C7", euler, "largest_step_quadratic_asymptotic", lambda m, T, *_: T, "without T"),
    scaled("C7", euler, "convex_quadratic_peak_error", math.e, "convex factor"),
    scaled("C8", euler, "leading_euler_error", 2.0, "factor 2"),
    Fault("C9", training, "gradient_descent", IterationClock, "equal iterations", BRIEF, True),
    Fault("C10", training, "gradient_descent", IterationClock, "equal iterations", value=True),
    scaled("C11", points, "_hessians", -1.0, "sign of the Hessian"),
    Fault("C14", training, "paper_images", darker, "images not standardised", LINEAR),
    Fault("C14", training, "gradient_descent", TwiceAsFar, "steps twice as long", LINEAR, True),
    scaled("C11", homogeneous, BOUND, 0.001, "bound too small"),
    scaled("C12", scalar_linear, "flow_time_bound", without_m_and_r0, "without M and r0"),
    Fault("C13", certified_descent, "descent_guarantee", half_the_steps, "half the steps"),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
