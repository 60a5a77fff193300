"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import optax

from planting import Fault, fault_table
from thalweg.dynamics.methods import agmsdr
from thalweg.studies.danilova2020_nonconvex import bounds, saddles, sums


def twice(right, *arguments, **options):
    return 2 * right(*arguments, **options)


def a_hundredth(right, *arguments, **options):
    return right(*arguments, **options) / 100


def longer(right, step_size, **options):
    return right(2.5 * step_size, **options)


def slack_less(right, name, **constants):
    return right(name, **{k: v / 8 for k, v in constants.items()})


def other_way(right, problem, params, step, central):
    return right(problem, params, step, not central)


def exchanged(right, problem, x, law, samples):
    return right(problem, x, "sphere" if law == "normal" else "normal", samples)


def short(right, along, first):
    found = right(along, first)
    return found._replace(at=0.2 * found.at)


def plain(right, name, smoothness, **options):
    return right("gradient-descent", smoothness=smoothness)


def uncorrected(right, name, m):
    plan = right(name, m)
    return plan._replace(step_size=plan.step_size / (2 if name == "SVRG" else 1))


def refreshed_always(right, name, m):
    plan = right(name, m)
    return plan._replace(oracle=sums.sarah(plan.batch, 1)) if name == "SPIDER" else plan


def small_steps(right, **options):
    return right(**options | {"scaling": 0.1})


MANY = {"examples": (64, 256, 1024)}


@fault_table(
    Fault("C1", bounds, "gradient_descent", longer, "steps of 2.5/L", compiled=True),
    Fault("C1", bounds, "theorem_bound", a_hundredth, "a hundredth of the bound"),
    Fault("C2", bounds, "_dominated", twice, "twice the constant"),
    Fault("C2", bounds, "_steepest", twice, "twice the curvature"),
    Fault("C3", bounds, "_alpha", twice, "twice alpha"),
    Fault("C4", agmsdr, "lowest_ahead", short, "a fifth of the best step", compiled=True),
    Fault("C4", bounds, "theorem_bound", a_hundredth, "a hundredth of the bound"),
    Fault("C5", bounds, "method", slack_less, "M an eighth of L_2", compiled=True),
    Fault("C6", bounds, "difference_gradient", other_way, "forward for central"),
    Fault("C6", bounds, "_growth", exchanged, "the laws of directions exchanged"),
    Fault("C7", saddles, "method", plain, "no moves", compiled=True),
    Fault("C8", sums, "planned", uncorrected, "half the step of SVRG", MANY, compiled=True),
    Fault("C8", sums, "planned", refreshed_always, "full gradients throughout", MANY,
          compiled=True),
    Fault("C9", sums, "theorem_bound", a_hundredth, "a hundredth of the bound"),
    Fault("C9", sums, "planned", lambda right, name, m: right(name, m)._replace(batch=20),
          "another batch in the formula"),
    Fault("C10", optax, "polyak_sgd", small_steps, "a twentieth of Polyak's step", compiled=True),
    Fault("C11", saddles, "method", plain, "no clipping", compiled=True),
)  # fmt: skip
def test_a_planted_fault_is_noticed(fault, noticed):
    assert noticed(fault) == "not reproduced"
