"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax
import jax.numpy as jnp

from planting import Fault, fault_table
from thalweg.dynamics import crossprop_rule, gradient_descent
from thalweg.studies.veeriah2017_crossprop import streams, traces
from thalweg.theory.descent import meta_gradients as theory

LONG = {"samples": 1797, "width": 256, "window": 599}  # X2, one run
SHORT = LONG | {"window": 179}


def sign_of_the_memory(right, seen, first, last, trace, by):
    hidden, after = right(seen, first, last, trace, by)
    return hidden, jax.tree.map(jnp.negative, after)


def half_of_the_memory(right, seen, first, last, trace, by):
    hidden, after = right(seen, first, last, trace, by)
    return hidden, jax.tree.map(lambda old, new: old + (new - old) / 2, trace, after)


def classes_apart(right, seen, first, last, trace, by):
    own = seen.curvature * jnp.eye(seen.curvature.shape[-1])
    return right(seen._replace(curvature=own), first, last, trace, by)


def weights_of_the_next_step(right, seen, first, last, trace, by):
    moved = last | {"weight": last["weight"] + by.step_size * seen.error.T @ seen.features}
    return right(seen, first, moved, trace, by)


def never_forgets(right, seen, first, last, trace, by):
    return right(seen._replace(curvature=0 * seen.curvature), first, last, trace, by)


def root_for_the_feature(right, seen, first, last, trace, by):
    return right(seen._replace(features=jnp.sqrt(jnp.abs(seen.features))), first, last, trace, by)


def past_doubled(right, seen, first, last, trace, by):
    return right(seen, first, last, trace, by._replace(history=2 * by.history))


def twice_the_step(right, problem, params, step_size, shown):
    return right(problem, params, 2 * step_size, shown)


def a_step_left_out(right, problem, params, step_size, shown):
    return right(problem, params, step_size, shown[1:])


def always_mixed(right, step_size, mix=0.0, **options):
    return right(step_size, 0.5 if mix == 0 else mix, **options)


def never_mixed(right, step_size, mix=0.0, **options):
    return right(step_size, 0.0 if isinstance(mix, float) else mix, **options)


def no_task_again(right, *arguments, **options):
    return right(*arguments, **(options | {"stages": list("ABCDEF")}))


def one_pass(right, *arguments, **options):
    return right(*arguments, **(options | {"passes": 1}))


def plain_descent(right, step_size, **options):
    return gradient_descent(step_size)


def a_twentieth_of_the_step(right, step_size, *arguments, **options):
    return right(step_size / 20, *arguments, **options)


def planted(claim, place, name, wrong, about, sizes=None, **more):
    return Fault(claim, place, name, wrong, about, sizes or {}, **more)


def rule(claim, name, wrong, about):
    return planted(claim, crossprop_rule.RULES, name, wrong, about, compiled=True)


def autodiff(claim, name, wrong, about):
    return planted(claim, theory, name, wrong, about, compiled=True)


def learners(claim, about, **places):
    """Other learners under the names of some."""
    changed = {name.replace("_", " "): streams.RULES[other] for name, other in places.items()}
    return planted(claim, streams, "RULES", streams.RULES | changed, about, value=True)


@fault_table(
    rule("C1", "exact", half_of_the_memory, "half of the trace"),
    autodiff("C1", "learned_output_layer", twice_the_step, "twice the step size"),
    rule("C1", "exact", weights_of_the_next_step, "weights after the step"),
    rule("C2", "diagonal", weights_of_the_next_step, "weights after the step"),
    autodiff("C2", "meta_gradient", a_step_left_out, "a step left out"),
    rule("C2", "diagonal", sign_of_the_memory, "sign of the trace"),
    rule("C3", "exact", classes_apart, "classes not coupled"),
    rule("C3", "exact", half_of_the_memory, "half of the trace"),
    planted("C4", traces, "crossprop", never_mixed, "lambda left out"),
    planted("C4", traces, "crossprop", always_mixed, "backpropagation mixed in"),
    rule("C5", "diagonal", never_forgets, "no decay"),
    rule("C5", "diagonal", root_for_the_feature, "phi for its square"),
    rule("C5", "diagonal", past_doubled, "twice the decay"),
    learners("C6", "no crossprop", crossprop="backpropagation"),
    learners("C6", "factored twice", crossprop="factored"),
    learners("C6", "crossprop twice", factored="crossprop"),
    planted("C7", streams, "geoff_stream", no_task_again, "no task comes again"),
    planted("C7", streams, "crossprop", a_twentieth_of_the_step, "a twentieth of the step"),
    learners("C8", "factored for half", half_of_each="factored"),
    learners("C8", "exchanged", half_of_each="backpropagation", backpropagation="half of each"),
    planted("C9", streams, "shifted_labels_stream", one_pass, "one pass", SHORT),
    planted("C9", streams, "crossprop", plain_descent, "no crossprop", LONG),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"
