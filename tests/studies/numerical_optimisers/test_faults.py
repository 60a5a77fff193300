"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import numpy as np

from planting import Fault, fault_table
from thalweg.studies.numerical_optimisers import convex, noise, quadratics
from thalweg.theory.optimisers import noisy_descent


def a_little_more(right, step_size, **options):
    return right(1.01 * step_size, **options)


def less_momentum(right, name, scaled, momentum=0.0):
    return right(name, scaled, 0.98 * np.asarray(momentum))


def other_sign(right, method, eigenvalues, step=0):
    R = right(method, eigenvalues, step)
    R[..., 1, 0] *= -1
    return R


def too_much_momentum(right, name, *constants):
    t = right(name, *constants)
    return t._replace(momentum=min(1.1 * t.momentum, 0.99))


def a_tenth_less(right, *arguments, **options):
    return 0.9 * right(*arguments, **options)


def a_hundredth(right, *arguments, **options):
    return right(*arguments, **options) / 100


def looks_ahead(right, name, **constants):
    return right("nesterov-constant" if name == "heavy-ball" else name, **constants)


def plain(right, name, **constants):
    return right("gradient-descent" if name == "nesterov" else name, **constants)


def half_as_convex(right, name, **constants):
    return right(name, **constants | {"convexity": constants["convexity"] / 2})


def twice_the_noise(right, E, h, L, mu, variance):
    return right(E, h, L, mu, 2 * variance)


def a_third(right, step_size):
    return right(0.3 * np.asarray(step_size))


def noisier(right, method, eigenvalues, start, std, steps):
    return right(method, eigenvalues, start, 1.1 * std, steps)


def never_rotated(right, many, eigenvalues, Q):
    return right(many, eigenvalues, np.eye(10))


def blunt(right, kind, rate, **options):
    return right(kind, rate, **options | ({"epsilon": 1e-2} if kind == "adagrad" else {}))


def exchanged(right, name, **constants):
    names = {"newton": "saddle-free", "saddle-free": "newton"}
    return right(names.get(name, name), **constants)


@fault_table(
    Fault("C1", quadratics, "gradient_descent", a_little_more, "steps 1 % too long"),
    Fault("C2", quadratics, "is_stable", less_momentum, "a rule of stability with less momentum"),
    Fault("C2", quadratics, "transition", other_sign, "the sign of what heavy ball remembers"),
    Fault("C3", quadratics, "tuned", too_much_momentum, "a tenth more momentum"),
    Fault("C4", quadratics, "transient_bound", a_tenth_less, "a bound a tenth too low"),
    Fault("C5", convex, "method", looks_ahead, "the gradient is taken ahead"),
    Fault("C6", convex, "theorem_bound", a_hundredth, "a hundredth of the bound", reruns=("X4",)),
    Fault("C6", convex, "schema_bound", a_tenth_less, "a schema's bound a tenth too low",
          reruns=("X8",)),
    Fault("C6", convex, "best_in_span", a_tenth_less, "another best value", reruns=("X4-span",)),
    Fault("C7", noise, "isotropic", lambda right, std: right(1.2 * std), "a fifth more noise",
          reruns=("X6",)),
    Fault("C7", noise, "descent", a_third, "steps 0.3/(n + 1)", reruns=("X6-mean",)),
    Fault("C8", noisy_descent, "_next", twice_the_noise, "twice the noise in the recursion"),
    Fault("C9", noise, "descent", a_third, "a third of the steps"),
    Fault("C10", noise, "error_moments", noisier, "a tenth more noise"),
    Fault("C11", convex, "trust_region_step", lambda right, e, g, r: right(e, g, 1.01 * r),
          "a region 1 % too wide"),
    Fault("C11", convex, "cubic_step", lambda right, e, g, M: right(e, g, 2 * M),
          "twice the cubic term"),
    Fault("C11", convex, "_krylov_minimisers", lambda right, H, b: right(H, b[::-1]),
          "Krylov spaces of another vector"),
    Fault("C12", quadratics, "optimiser", blunt, "an epsilon that is seen", {"rates": 3}),
    Fault("C13", quadratics, "method", half_as_convex, "half the least curvature"),
    Fault("C14", quadratics, "_tuned_steps", never_rotated, "nothing is rotated"),
    Fault("C15", quadratics, "gradient_descent", a_little_more, "steps 1 % too long",
          reruns=("X2",)),
    Fault("C15", convex, "method", plain, "no momentum on the chain", reruns=("X4",)),
    Fault("C15", noise, "isotropic", lambda right, std: right(3 * std), "three times the noise",
          reruns=("X6-averages",)),
    Fault("C16", quadratics, "method", exchanged, "Newton and saddle-free exchanged"),
)  # fmt: skip
def test_a_planted_fault_is_noticed(fault, noticed):
    assert noticed(fault) == "not reproduced"
