"""Planted faults: every claim of the study fails when what it rests on is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.tensors import perfect_tree
from thalweg.lab.claims import judge
from thalweg.lab.study import Lab
from thalweg.models import tensor_factorisation as models
from thalweg.models.tensor_factorisation import CPFactorisation, HierarchicalFactorisation
from thalweg.problems.tensor_entries import TensorCompletion, TensorRecovery
from thalweg.studies.razin2022_hierarchical_tensor import STUDY, exact, locality, training
from thalweg.theory.linear_nets import local_components as theory

LAB = Lab(progress=False)


@pytest.fixture
def fault(monkeypatch):
    """A function that replaces `place.name` by wrong(right, *arguments)."""

    def plant(place, name, wrong):
        right = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, **k: wrong(right, *a, **k))

    return plant


@pytest.fixture
def compiled_anew():
    """What was compiled with the right function must not be met again, nor the wrong one after."""
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.fixture
def uncompiled(monkeypatch):
    """Small experiments run operation by operation, so that a fault compiles nothing."""
    for name in ("_identities", "_on_halves"):
        monkeypatch.setattr(exact, name, getattr(exact, name).__wrapped__)
    monkeypatch.setattr(exact, "CP", CPFactorisation((2, 3, 2, 2), 3))
    # Square matrices, so that rows and columns can be confused.
    square = HierarchicalFactorisation((3,) * 4, perfect_tree(4), (3, 3))
    monkeypatch.setattr(exact, "HTF", square)


def word(claim, **found):
    (verdict,) = judge([c for c in STUDY.claims if c.id == claim], found)
    return verdict.word


def unsorted_bounds(right, sigma, gamma, L, epsilon):
    reach = sigma ** (2 / L) + epsilon
    return L * gamma * sigma**2 / reach, L * gamma * reach ** (L - 1)


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled")
def test_without_faults_the_same_small_experiments_hold():
    found = {"X3": exact.identities_of(draws=4), "regulariser": exact.regulariser_of(draws=1)}
    for claim in ("C1", "C2", "C5"):
        assert word(claim, **found) == "reproduced"


RATE = {
    "sign": (theory, "component_rate", lambda right, n, g: -right(n, g)),
    "factor 2": (theory, "component_rate", lambda right, n, g: 2 * right(n, g)),
    "balance assumed": (
        theory,
        "component_rate",
        lambda right, n, g: theory.balanced_rate(jnp.prod(n, 0), g, len(n)),
    ),
    "one vector missing": (theory, "component_rate", lambda right, n, g: right(n[1:], g)),
    "bounds not reversed": (theory, "rate_bounds", unsorted_bounds),
    "balance assumed in the bounds": (
        theory,
        "rate_bounds",
        lambda right, s, g, L, epsilon: right(s, g, L, 0.0),
    ),
}


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("name", RATE)
def test_c1_fails(fault, name):
    fault(*RATE[name])
    assert word("C1", X3=exact.identities_of(draws=4)) == "not reproduced"


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


C2 = {
    "sign": RATE["sign"],
    "factor 2": RATE["factor 2"],
    "one vector missing": RATE["one vector missing"],
    "column of the wrong node": (models, "local_vector_norms", columns_for_rows),
    "columns masked": (HierarchicalFactorisation, "component_tensors", masked_columns),
    "parts that do not sum": (HierarchicalFactorisation, "component_tensors", scaled_parts),
}


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("name", C2)
def test_c2_fails(fault, name):
    fault(*C2[name])
    assert word("C2", X3=exact.identities_of(draws=4)) == "not reproduced"


C3 = {
    "sign": (theory, "constant_alignment_norm", lambda right, t, s, g, L: right(t, s, -g, L)),
    "factor L left out": (
        theory,
        "constant_alignment_norm",
        lambda right, t, s, g, L: right(t, s, g / L, L),
    ),
    "power 1 - 2/L": (
        theory,
        "balanced_rate",
        lambda right, s, g, L: L * g * s ** (1 - 2 / L),
    ),
    "both without the factor": (theory, "balanced_rate", lambda right, s, g, L: right(s, g, L) / L),
}


@pytest.mark.parametrize("name", C3)
def test_c3_fails(fault, name):
    fault(*C3[name])
    assert word("C3", growth=exact.growth(LAB)) == "not reproduced"


C4 = {
    "axes not moved": (
        exact,
        "matricise",
        lambda right, T, modes: T.reshape(int(np.prod([T.shape[m] for m in modes])), -1),
    ),
    "noise counted": (
        exact,
        "hierarchical_rank",
        lambda right, T, tree: right(T, tree, tolerance=0.0),
    ),
    "root left out": (
        models,
        "htf_tensor",
        lambda right, w, tree: right({**w, tree.name: w[tree.name].at[1:].set(0)}, tree),
    ),
}


@pytest.mark.parametrize("name", C4)
def test_c4_fails(fault, name):
    fault(*C4[name])
    assert word("C4", ranks=exact.ranks(LAB)) == "not reproduced"


def signed(right, f, x, p, q, epsilon):
    gradient = jax.grad(lambda v: f(v).sum())
    a, b = (jnp.where(p, gradient(v), 0) for v in (x, jnp.where(q, jnp.roll(x, 1, 0), x)))
    return jnp.mean(jnp.sum(a * b, 1) / jnp.linalg.norm(a, axis=1) / jnp.linalg.norm(b, axis=1))


C5 = {
    "nothing exchanged": (
        exact,
        "interaction_regulariser",
        lambda right, f, x, p, q, e: right(f, x, p, jnp.zeros_like(q), e),
    ),
    "gradient in both patches": (
        exact,
        "interaction_regulariser",
        lambda right, f, x, p, q, e: right(f, x, p | q, q, e),
    ),
    "patches confused": (
        exact,
        "interaction_regulariser",
        lambda right, f, x, p, q, e: right(f, x, q, q, e),
    ),
    "no modulus": (exact, "interaction_regulariser", signed),
    "dimension off by one": (theory, "mean_absolute_cosine", lambda r, m: r(np.asarray(m) + 1)),
}


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("name", C5)
def test_c5_fails(fault, name):
    fault(*C5[name])
    assert word("C5", regulariser=exact.regulariser_of(draws=1)) == "not reproduced"


def scale_ignored(right, self, key):
    return self.factorisation.init(key, 0.1)


def other_entries(right, self, tensor):
    return jnp.swapaxes(tensor, 0, 1).ravel()[self.index]


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_anew")
@pytest.mark.parametrize(
    "planted",
    [
        (TensorRecovery, "init", scale_ignored),
        (TensorCompletion, "measured", other_entries),
    ],
    ids=["scale ignored", "entries confused"],
)
def test_c6_fails(fault, planted):
    fault(*planted)
    short = training.CP._replace(steps=4000)
    found = training.cp_completion_of(short, training.CP_STDS, draws=1)
    assert word("C6", X1=found) == "not reproduced"


@pytest.mark.usefixtures("compiled_anew")
def test_c7_fails_from_starts_of_one_scale(fault):
    fault(TensorRecovery, "init", scale_ignored)
    found = training.rank_one_of(training.CP, training.FIRST_STDS, draws=1)
    assert word("C7", X4=found) == "not reproduced"


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_anew")
@pytest.mark.parametrize(
    "planted",
    [(TensorRecovery, "init", scale_ignored), (TensorCompletion, "measured", other_entries)],
    ids=["scale ignored", "entries confused"],
)
def test_c8_fails(fault, planted):
    """Over as many draws as show it without fault (see the study's own test)."""
    fault(*planted)
    found = training.htf_completion(LAB)
    assert word("C8", X2=found) == "not reproduced"


def larger_start(right, self, key):
    """Starts of C6b and C8b three times as large."""
    return jax.tree.map(lambda w: 3 * w, right(self, key))


def components_alike(right, self, params):
    """Norms of components taken from the first vectors alone: all alike."""
    norms = right(self, params)
    return {name: jnp.ones_like(v) * jnp.max(v) for name, v in norms.items()}


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_anew")
@pytest.mark.parametrize(
    ("planted", "what"),
    [
        ((TensorRecovery, "init", scale_ignored), "singular value"),
        ((CPFactorisation, "component_norms", components_alike), "component at most"),
        ((TensorCompletion, "measured", other_entries), "singular value"),
    ],
    ids=["scale ignored", "components alike", "entries confused"],
)
def test_c6b_fails(fault, planted, what):
    fault(*planted)
    (verdict,) = judge(
        [c for c in STUDY.claims if c.id == "C6b"], {"X1-draws": training.cp_draws(LAB)}
    )
    assert verdict.word == "not reproduced"
    assert any(what in told for told in verdict.surprises)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_anew")
@pytest.mark.parametrize(
    "planted",
    [
        (TensorRecovery, "init", larger_start),
        (HierarchicalFactorisation, "component_norms", components_alike),
    ],
    ids=["a larger start", "components alike"],
)
def test_c8b_fails(fault, planted):
    fault(*planted)
    assert word("C8b", **{"X2-draws": training.htf_draws(LAB)}) == "not reproduced"


def other_labels(right, *a):
    train, test = right(*a)
    return train, test._replace(targets=-test.targets)


C9 = {
    "labels of the test turned": (locality, "data", other_labels),
    "hardly trained": (locality, "locality_of", lambda right, seeds, epochs: right(seeds, 10)),
}


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_anew")
@pytest.mark.parametrize("name", C9)
def test_c9_fails(fault, name):
    fault(*C9[name])
    assert word("C9", X5=locality.locality_of(range(2), epochs=50)) == "not reproduced"
