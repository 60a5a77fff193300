"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from planting import Fault, fault_table
from thalweg.core.tensors import perfect_tree
from thalweg.models import tensor_factorisation as models
from thalweg.models.tensor_factorisation import CPFactorisation, HierarchicalFactorisation
from thalweg.problems.tensor_entries import TensorCompletion, TensorRecovery
from thalweg.studies.razin2022_hierarchical_tensor import exact, locality
from thalweg.theory.linear_nets import local_components as theory

# Square matrices, so that rows and columns can be confused.
SQUARE = HierarchicalFactorisation((3,) * 4, perfect_tree(4), (3, 3))
SMALL = {"cp": CPFactorisation((2, 3, 2, 2), 3), "htf": SQUARE}
MANY = {"draws": 16, "steps": 20_000}
DOZEN = {"draws": 12, "steps": 30_000}
FIVE = {"draws": 5, "steps": 30_000}
NET = {"seeds": 3, "epochs": 100, "test": 2000, "channels": (16,) * 6}


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    """Small experiments run operation by operation, so that a fault compiles nothing."""
    for name in ("identities_at", "on_halves"):
        monkeypatch.setattr(exact, name, getattr(exact, name).__wrapped__)


def negative(right, *a):
    return -right(*a)


def twice(right, *a):
    return 2 * right(*a)


def one_vector_missing(right, norms, gamma):
    return right(norms[1:], gamma)


def balance_assumed(right, norms, gamma):
    return theory.balanced_rate(jnp.prod(norms, 0), gamma, len(norms))


def unsorted_bounds(right, sigma, gamma, L, epsilon):
    reach = sigma ** (2 / L) + epsilon
    return L * gamma * sigma**2 / reach, L * gamma * reach ** (L - 1)


def balanced_bounds(right, sigma, gamma, L, epsilon):
    return right(sigma, gamma, L, 0.0)


def columns_for_rows(right, weights, tree):
    """The column of W^(v) in place of its row, the vector of another component."""
    norms = right(weights, tree)
    for node in tree.interior():
        if node is not tree:
            column = jnp.linalg.norm(weights[node.name], axis=0)
            norms[node.name] = norms[node.name].at[0].set(column)
    return norms


def masked_columns(right, self, params):
    """Components by the columns of W^(v), which meet at the parent."""
    found = right(self, params)
    for node in self.tree.interior()[1:]:
        W = params[node.name]
        kept = [{**params, node.name: W * (jnp.arange(W.shape[1]) == r)} for r in range(len(W))]
        found[node.name] = jnp.stack([self.tensor(p) for p in kept])
    return found


def scaled_parts(right, self, params):
    return {name: parts * (1 + 1e-9) for name, parts in right(self, params).items()}


def other_sign(right, t, s, g, L):
    return right(t, s, -g, L)


def without_order(right, t, s, g, L):
    return right(t, s, g / L, L)


def wrong_power(right, s, g, L):
    return L * g * s ** (1 - 2 / L)


def law_without_order(right, s, g, L):
    return right(s, g, L) / L


def axes_not_moved(right, T, modes):
    return T.reshape(int(np.prod([T.shape[m] for m in modes])), -1)


def noise_counted(right, T, tree):
    return right(T, tree, tolerance=0.0)


def root_left_out(right, w, tree):
    return right({**w, tree.name: w[tree.name].at[1:].set(0)}, tree)


def nothing_exchanged(right, f, x, p, q, e):
    return right(f, x, p, jnp.zeros_like(q), e)


def gradient_in_both(right, f, x, p, q, e):
    return right(f, x, p | q, q, e)


def patches_confused(right, f, x, p, q, e):
    return right(f, x, q, q, e)


def signed(right, f, x, p, q, epsilon):
    gradient = jax.grad(lambda v: f(v).sum())
    a, b = (jnp.where(p, gradient(v), 0) for v in (x, jnp.where(q, jnp.roll(x, 1, 0), x)))
    return jnp.mean(jnp.sum(a * b, 1) / jnp.linalg.norm(a, axis=1) / jnp.linalg.norm(b, axis=1))


def dimension_off_by_one(right, m):
    return right(np.asarray(m) + 1)


def scale_ignored(right, self, key):
    return self.factorisation.init(key, 0.1)


def other_entries(right, self, tensor):
    return jnp.swapaxes(tensor, 0, 1).ravel()[self.index]


def larger_start(right, self, key):
    """Starts of C8b three times as large."""
    return jax.tree.map(lambda w: 3 * w, right(self, key))


def components_alike(right, self, params):
    """Norms of components taken from the first vectors alone: all alike."""
    norms = right(self, params)
    return {name: jnp.ones_like(v) * jnp.max(v) for name, v in norms.items()}


def other_labels(right, *a):
    train, test = right(*a)
    return train, test._replace(targets=-test.targets)


@fault_table(
    Fault("C1", theory, "component_rate", negative, "sign", SMALL),
    Fault("C1", theory, "component_rate", twice, "factor 2", SMALL),
    Fault("C1", theory, "component_rate", balance_assumed, "", SMALL),
    Fault("C1", theory, "component_rate", one_vector_missing, "", SMALL),
    Fault("C1", theory, "rate_bounds", unsorted_bounds, "bounds not reversed", SMALL),
    Fault("C1", theory, "rate_bounds", balanced_bounds, "balance assumed in the bounds", SMALL),
    Fault("C2", theory, "component_rate", negative, "sign", SMALL),
    Fault("C2", theory, "component_rate", twice, "factor 2", SMALL),
    Fault("C2", theory, "component_rate", one_vector_missing, "", SMALL),
    Fault("C2", models, "local_vector_norms", columns_for_rows, "column of the wrong node", SMALL),
    Fault("C2", HierarchicalFactorisation, "component_tensors", masked_columns, "", SMALL),
    Fault("C2", HierarchicalFactorisation, "component_tensors", scaled_parts, "no sum", SMALL),
    Fault("C3", theory, "constant_alignment_norm", other_sign),
    Fault("C3", theory, "constant_alignment_norm", without_order, "factor L left out"),
    Fault("C3", theory, "balanced_rate", wrong_power, "power 1 - 2/L"),
    Fault("C3", theory, "balanced_rate", law_without_order, "the law without the factor"),
    Fault("C4", exact, "matricise", axes_not_moved),
    Fault("C4", exact, "hierarchical_rank", noise_counted),
    Fault("C4", models, "htf_tensor", root_left_out),
    Fault("C5", exact, "interaction_regulariser", nothing_exchanged),
    Fault("C5", exact, "interaction_regulariser", gradient_in_both, "gradient in both patches"),
    Fault("C5", exact, "interaction_regulariser", patches_confused),
    Fault("C5", exact, "interaction_regulariser", signed, "no modulus"),
    Fault("C5", theory, "mean_absolute_cosine", dimension_off_by_one),
    Fault("C6", TensorRecovery, "init", scale_ignored),
    Fault("C6", TensorCompletion, "measured", other_entries),
    Fault("C7", TensorRecovery, "init", scale_ignored),
)
def test_faults(fault, noticed):
    assert noticed(fault) == "not reproduced"


@pytest.mark.slow
@fault_table(
    Fault("C6b", TensorRecovery, "init", scale_ignored, "", MANY, parts=("fourth singular",)),
    Fault(
        "C6b",
        CPFactorisation,
        "component_norms",
        components_alike,
        "",
        MANY,
        parts=("fourth component",),
    ),
    Fault("C6b", TensorCompletion, "measured", other_entries, "", MANY, parts=("fourth singular",)),
    Fault("C8", TensorRecovery, "init", scale_ignored, "", FIVE),
    Fault("C8", TensorCompletion, "measured", other_entries, "", FIVE),
    Fault("C8b", TensorRecovery, "init", larger_start, "", DOZEN),
    Fault("C8b", HierarchicalFactorisation, "component_norms", components_alike, "", DOZEN),
    Fault("C9", locality, "data", other_labels, "labels of the test turned", NET),
    Fault("C9", locality, "RATE", 0.0002, "hardly trained", NET, value=True),
)
def test_faults_that_take_long(fault, noticed):
    assert noticed(fault) == "not reproduced"
