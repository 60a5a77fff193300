"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import numpy as np

from planting import Fault, fault_table
from thalweg.dynamics import entropy_descent
from thalweg.dynamics.scoping import Scoping
from thalweg.studies.pittorino2020_entropic import claims, exact, training
from thalweg.theory.landscape import entropic_quadratics as theory

WHOLE = {"seeds": 2, "epochs": 60, "width": 100, "draws": 50}  # X5 and X6


def half_the_coupling(right, H, w, gamma):
    return right(H, w, gamma / 2)


def without_the_determinant(right, H, w, beta, gamma):
    return right(H, w, beta, gamma) + 0.5 * np.sum(np.log1p(np.linalg.eigvalsh(H) / gamma))


def one_step_less(right, curvature, coupling, steps, averaging, inner_step):
    return right(curvature, coupling, steps - 1, averaging, inner_step)


def no_coupling(right, curvature, coupling, *rest):
    return right(curvature, 0.0, *rest)


def flow_limit(right, curvature, coupling, inner_step, noise, convention="paper"):
    return right(curvature, coupling, 1e-9, noise, convention)


def whole_trace(right, H, w, sigma):
    return right(H, np.ones(len(w)), sigma)


def twice(right, *arguments):
    return 2 * right(*arguments)


def smooth(right, hidden, activation):
    return right(hidden, "tanh")


def half_as_stiff(right, *arguments, **options):
    options["coupling"] = options["coupling"] / 2
    return right(*arguments, **options)


def copies_alike(right, *arguments, **options):
    options["starts"] = options["starts"][:1] + 0 * options["starts"]
    return right(*arguments, **options)


def slower(right, self, step, first):
    return right(self, step // 2, first)


def nothing_left(right, *arguments):
    return 0 * right(*arguments)


def squared(right, copies):
    return right(copies) ** 2


def plain(right, epochs, names):
    made = right(epochs, (training.SGD,))
    return dict.fromkeys(names, made[training.SGD])


def planted(claim, name, wrong, about, sizes=None, place=theory, **more):
    return Fault(claim, place, name, wrong, about, sizes or {}, **more)


@fault_table(
    planted("C1", "quadratic_entropy_gradient", half_the_coupling, "gamma/2 for gamma"),
    planted("C1", "quadratic_local_entropy", without_the_determinant, "no determinant"),
    planted("C2", "averaged_step", one_step_less, "L - 1 steps"),
    planted("C2", "averaged_step", no_coupling, "no coupling"),
    planted("C3", "inner_variance", flow_limit, "the limit of small steps"),
    planted("C3", "CONVENTIONS", {"paper": 1.0, "code": 1.0}, "one convention for both", None,
            entropy_descent, value=True, compiled=True),
    planted("C4", "quadratic_local_energy", whole_trace, "trace for weighted trace"),
    planted("C4", "quadratic_local_energy", twice, "half left out"),
    planted("C5", "mlp", smooth, "units that are not positively homogeneous", None, exact),
    planted("C6", "replicated_sgd", half_as_stiff, "half the coupling", None, exact),
    planted("C6", "replicated_sgd", copies_alike, "one start for all", None, exact),
    planted("C7", "at", slower, "raised half as often", WHOLE, Scoping,
            parts=("growth",)),
    planted("C7", "spread", squared, "spread squared", WHOLE, training,
            parts=("spread at the start",)),
    planted("C8", "optimisers", plain, "SGD in all places", WHOLE, training),
    planted("C9", "mean_ratio", nothing_left, "a minimum without any rise", WHOLE, claims),
    planted("C10", "optimisers", plain, "SGD in all places", WHOLE, training),
)  # fmt: skip
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
