"""The expressivity condition against matrices of known rank and nets that are known to pass."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.models import ResidualMLP, activation, mlp
from thalweg.models import feature_rank as ex
from thalweg.models.last_layer import last_layer_inputs

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(20, 3))
SHARP = "softplus:100"


def test_the_feature_matrix_is_what_the_last_layer_sees():
    net = mlp([4, 6], "tanh")
    params = net.init(KEY, (3,), 2)
    by_hand = X
    for layer in params[:-1]:
        by_hand = np.tanh(by_hand @ np.asarray(layer["weight"]).T + np.asarray(layer["bias"]))
    A = ex.feature_matrix(net, params, X)
    assert np.allclose(A[:, :-1], by_hand, rtol=1e-13)
    assert np.array_equal(A[:, -1], np.ones(20))
    assert np.array_equal(A, last_layer_inputs(net, params, jnp.asarray(X)))
    assert np.array_equal(ex.feature_matrix(net, params, X, ones=False), A[:, :-1])
    V = np.vstack([np.asarray(params[-1]["weight"]).T, np.asarray(params[-1]["bias"])])
    assert np.allclose(A @ V, net.apply(params, jnp.asarray(X)), rtol=1e-12)


@pytest.mark.parametrize(("n", "m"), [(7, 7), (7, 12)])
def test_verdicts_on_a_matrix_of_known_singular_values(n, m):
    rng = np.random.default_rng(n + m)
    U = np.linalg.qr(rng.normal(size=(n, n)))[0]
    V = np.linalg.qr(rng.normal(size=(m, n)))[0]
    s = np.array([5.0, 3.0, 1.0, 0.5, 1e-3, 1e-6, 1e-9])
    verdict = ex.rank_of(U @ np.diag(s) @ V.T)
    assert verdict.rank == verdict.examples == n
    assert verdict.holds
    assert verdict.margin == pytest.approx(2e-10, rel=1e-4)
    assert verdict.log_det == pytest.approx(2 * np.log(s).sum(), abs=1e-4)
    assert np.allclose(verdict.singular_values, s, atol=1e-14)
    assert verdict.tolerance == pytest.approx(m * 2.0**-52 * 5, rel=1e-12)
    s[5:] = 0
    lost = ex.rank_of(U @ np.diag(s) @ V.T)
    assert lost.rank == 5
    assert not lost.holds


def test_rounding_of_the_entries_stays_below_the_tolerance():
    """Weyl: storing a rank-one matrix of reals in float64 moves singular values less."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        A = np.outer(rng.normal(size=60), rng.normal(size=80))  # products are rounded
        verdict = ex.rank_of(A)
        assert verdict.rank == 1
        assert verdict.singular_values[1] < verdict.tolerance / 10


def test_the_determinant_is_never_formed():
    tiny = ex.rank_of(1e-4 * np.eye(200))
    assert tiny.log_det == pytest.approx(400 * np.log(1e-4), rel=1e-12)
    small = np.random.default_rng(1).normal(size=(5, 8))
    assert ex.rank_of(small).log_det == pytest.approx(np.linalg.slogdet(small @ small.T)[1])
    short = ex.rank_of(small.T)
    assert short.rank == 5
    assert (short.margin, short.log_det, short.holds) == (0.0, -np.inf, False)


def test_ones_are_worth_one_unit():
    """m = n - 1 units are enough, with the column of ones."""
    net = mlp([40, 19], SHARP, initialiser="he-normal")
    params = net.init(KEY, (3,), 1)
    params[1]["bias"] = params[1]["bias"] + 2.0  # no unit is dead
    assert ex.expressivity(net, params, X).rank == 20
    assert ex.expressivity(net, params, X, ones=False).rank == 19


@pytest.mark.parametrize("hidden", [(20,), (25,), (1, 20), (1, 1, 23), (4, 3, 2, 30)])
@pytest.mark.parametrize("scale", [None, 1e5])
def test_the_witness_has_full_rank(hidden, scale):
    net = mlp(hidden, SHARP)
    params = ex.constructed_witness(net, X, KEY, 2, scale)
    verdict = ex.expressivity(net, params, X)
    assert verdict.rank == 20
    assert verdict.margin > 1e-10
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, net.init(KEY, (3,), 2))
    assert not np.asarray(params[-1]["weight"]).any()


def test_the_witness_is_nearly_triangular():
    """With inputs in order of t, unit r is scale (t - kappa_r)_+: zero above the diagonal."""
    net = mlp((1, 1, 20), SHARP)
    params = ex.constructed_witness(net, X, KEY, scale=1e6)
    h = np.asarray(net.features(params, jnp.asarray(X)))
    order = np.argsort(h[:, 0])
    block = h[order]
    assert np.all(np.diag(block) > 0)
    assert np.abs(np.triu(block, 1)).max() < 1e-9 * block.max()
    t = X
    for layer in params[:-2]:
        pre = t @ np.asarray(layer["weight"]).T + np.asarray(layer["bias"])
        assert pre.min() > 0.1  # the shift that keeps inputs apart
        t = np.asarray(activation(SHARP).function(jnp.asarray(pre)))
    kinks = -np.asarray(params[-2]["bias"]) / 1e6
    expected = np.maximum(t - kinks, 0)
    assert np.allclose(h / 1e6, expected, atol=1e-8)


def test_the_search_stops_at_the_first_success():
    found = ex.expressivity_search(mlp([30, 60], SHARP, initialiser="he-normal"), X, KEY)
    assert (found.how, found.draws, found.found.rank) == ("initialiser", 1, 20)
    narrow = ex.expressivity_search(mlp([1, 24], SHARP), X, KEY, draws=2)
    assert (narrow.how, narrow.draws, narrow.found.rank) == ("witness", 4, 20)
    net = mlp([40], "tanh", gain=0.0)  # all features are equal until biases are random
    lost = ex.expressivity_search(net, X, KEY, draws=1)
    assert (lost.draws, lost.found.rank) == (2, 1)
    for search, model in ((found, mlp([30, 60], SHARP)), (narrow, mlp([1, 24], SHARP))):
        again = ex.expressivity(model, search.params, X)
        assert again.margin == pytest.approx(search.found.margin, rel=1e-6)


def test_random_biases_find_what_zero_biases_do_not():
    """On a ray from the origin ReLU units without biases are all proportional to it."""
    ray = np.linspace(0.5, 3, 8)[:, None]
    net = mlp([400], "relu")
    assert ex.expressivity(net, net.init(KEY, (1,), 1), ray).rank == 2
    found = ex.expressivity_search(net, ray, KEY)
    assert (found.how, found.found.rank) == ("random biases", 8)


def test_normalised_nets_are_taken_at_the_moments_of_the_examples():
    net = ResidualMLP((30,), "softplus", normalised=True)
    params = net.init(KEY, (3,), 1)
    x = jnp.asarray(X)
    fixed = net.at_moments_of(params, x)
    assert np.allclose(ex.feature_matrix(net, params, x), ex.feature_matrix(fixed, params, x))
    assert ex.expressivity_search(net, X, KEY).found.holds


def test_what_does_not_fit_is_refused():
    for net in (mlp([20], "tanh"), mlp([20], SHARP, bias=False), mlp([19], SHARP), mlp([], SHARP)):
        with pytest.raises(InputError, match="has no witness for 20 examples"):
            ex.constructed_witness(net, X, KEY)
    twice = np.vstack([X[:5], X[:1]])
    with pytest.raises(InputError, match="two of the inputs are equal"):
        ex.constructed_witness(mlp([9], SHARP), twice, KEY)
    with pytest.raises(InputError, match="a feature matrix of shape"):
        ex.rank_of(np.full((2, 2), np.nan))
