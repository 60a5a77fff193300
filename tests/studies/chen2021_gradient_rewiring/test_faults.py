"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax
import jax.numpy as jnp
import optax

from planting import Fault, fault_table
from thalweg.dynamics.rewiring import gradient_rewiring, hidden_strengths
from thalweg.models import LIF
from thalweg.probes import connections
from thalweg.studies.chen2021_gradient_rewiring import exact, training

# A third of the steps at three times the rate, one seed: where the claims hold.
ONE = {
    "samples": None, "hidden": 200, "steps": 8, "batch": 64, "rate": 3e-3, "passes": 50,
    "tuning": 25, "alphas": (0.1, 0.3), "compared": (0.1,),
}  # fmt: skip


def without_the_two(right, share, alpha):
    return right(share, alpha) - jnp.log(2.0) / alpha


def other_sign(right, share, alpha):
    return -right(share, alpha)


def near_zero(right, share, alpha):
    return right(share, alpha) / 1000


def whatever_the_share(right, share, alpha):
    return right(0.95, alpha)


def all_there(right, w):
    return jnp.ones_like(w, bool)


def not_divided(right, neuron, u, current):
    return u + current - (u - neuron.rest) / neuron.tau


def leak_left_out(right, neuron, u, current):
    return u + current / neuron.tau


def early_threshold(right, neuron, m):
    return right(neuron, m + 0.15)


def crossing_zero(right, weights, before, after, change, signs):
    return jax.tree.map(lambda s, moved: jnp.where(s > 0, moved, -moved), signs, change)


def unmasked(right, chosen, values):
    return values


def fed_by_the_true_gradient(right, rate, alpha, *share, accurate=False, **options):
    return right(rate, alpha, *share, accurate=True, **options)


def half_the_pull(right, rate, alpha, *share, **options):
    return right(rate, alpha / 2, *share, **options)


def prior_inside_adam(right, rate, alpha, share=0.95, **options):
    """The pull of the prior goes through the moments, which make it a step of the learning rate."""
    centre = gradient_rewiring.laplace_centre(share, alpha)
    plain = right(rate, 1e-12, centre=centre, **options)

    def update(gradient, state, params):
        theta, s = (optax.tree_utils.tree_get(state, k) for k in ("strength", "sign"))

        def pulled(g, theta, s):
            pull = jnp.sign(theta - jnp.asarray(centre, theta.dtype))
            return g + jnp.asarray(alpha, g.dtype) * pull * s

        return plain.update(jax.tree.map(pulled, gradient, theta, s), state, params)

    return optax.GradientTransformation(plain.init, update)


def nothing_cut(right, params, sparsity, *mask):
    return params


def no_tuning(right, inner, sparsity, **options):
    return right(optax.sgd(0.0), sparsity, **options)


def one_strength(right, rate, alpha, *share, **options):
    return right(rate, 0.1, *share, **options)


@fault_table(
    Fault("C1", exact, "laplace_centre", without_the_two, "ln(1 - p)/alpha"),
    Fault("C1", exact, "laplace_centre", other_sign, "centre above zero"),
    Fault("C2", connections, "present", all_there, "absent ones counted", compiled=True),
    Fault("C3", LIF, "charged", not_divided, "current not divided by tau"),
    Fault("C3", LIF, "charged", leak_left_out, "no leak"),
    Fault("C3", LIF, "fired", early_threshold, "a threshold of 0.85"),
    Fault("C4", hidden_strengths, "realised", crossing_zero, "weights cross zero", compiled=True),
    Fault("C5", hidden_strengths, "only", unmasked, "no mask in the ablation", compiled=True),
    Fault("C5", exact, "grad_r", fed_by_the_true_gradient, "moments of the true gradient",
          compiled=True),
    Fault("C6", gradient_rewiring, "laplace_centre", near_zero, "centre too near", compiled=True),
    Fault("C6", gradient_rewiring, "laplace_centre", whatever_the_share, "share not heard",
          compiled=True),
    Fault("C7", exact, "grad_r", prior_inside_adam, "prior inside Adam's moments", compiled=True),
    Fault("C7", exact, "grad_r", half_the_pull, "half the pull", compiled=True),
    Fault("C7", gradient_rewiring, "laplace_centre", other_sign, "centre above zero",
          compiled=True),
    Fault("C8", training, "grad_r", prior_inside_adam, "prior inside Adam's moments", sizes=ONE,
          compiled=True),
    Fault("C8", training, "magnitude_pruned", nothing_cut, "nothing is cut", sizes=ONE),
    Fault("C9", training, "grad_r", one_strength, "alpha not heard", sizes=ONE, compiled=True),
    Fault("C10", training, "magnitude_pruning", no_tuning, "no training after the cut", sizes=ONE,
          compiled=True),
)  # fmt: skip
def test_a_planted_fault_is_noticed(fault, noticed):
    assert noticed(fault) == "not reproduced"
