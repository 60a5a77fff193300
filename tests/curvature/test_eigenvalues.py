"""Extreme eigenvalues against dense ones, on spectra chosen to be awkward."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, eigsh

import thalweg as tw
from thalweg.core.result import Result
from thalweg.curvature.eigenvalues import above, smallest, top_k
from thalweg.curvature.operator import Matrix
from thalweg.curvature.operators import gauss_newton, hessian, jacobian
from thalweg.problems import Function, supervised

KEY = jax.random.key(5)
P = 120


def symmetric(spectrum, seed=0):
    spectrum = np.asarray(spectrum, float)
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(spectrum),) * 2))[0]
    A = Q @ np.diag(spectrum) @ Q.T
    return (A + A.T) / 2


def bulk(*outliers):
    """A bulk in [-1, 0.1] with outliers."""
    return np.concatenate([np.linspace(-1, 0.1, P - len(outliers)), outliers])


SPECTRA = {
    "even": np.linspace(0, 1, P),
    "outliers": bulk(5, 4, 3, 2, 1.5),
    "tenfold": bulk(*[2.0] * 10),
    "cluster": bulk(*(2 + 1e-7 * np.arange(5))),
    "identity": np.ones(P),
    "zero": np.zeros(P),
    "rank one": np.r_[np.zeros(P - 1), 7.0],
    "negative": -np.linspace(1, 2, P),
    "huge": 1e150 * bulk(2, 2, 3),
    "tiny": 1e-150 * bulk(2, 2, 3),
    "two values": np.r_[np.ones(P - 30), -np.ones(30)],
}


def consistent(found, truth, eps=None):
    """All that `Eigenpairs` promises, for the largest eigenvalues; `truth` descending."""
    rounding = 100 * (eps or np.finfo(np.float64).eps) * np.abs(truth).max()
    values, residuals = np.asarray(found.values), np.asarray(found.residuals)
    k = len(values)
    assert np.all(values <= truth[:k] + rounding)
    near = np.abs(truth[None, :] - values[:, None]).min(axis=1, initial=np.inf)
    assert np.all(near <= residuals + rounding)
    assert np.all(truth[:k] <= values + np.asarray(found.missed) + rounding)
    if k < len(truth):
        assert truth[k] <= float(found.beyond) + rounding


def turned(found):
    """Smallest eigenvalues as the largest of the negative matrix."""
    return found._replace(values=-found.values, beyond=-found.beyond)


@pytest.mark.parametrize("name", SPECTRA)
def test_extremes_of_awkward_spectra(name):
    A = Matrix(jnp.asarray(symmetric(SPECTRA[name])))
    truth = np.sort(SPECTRA[name])[::-1]
    scale = np.abs(truth).max()
    high, low = top_k(A, 3, KEY), smallest(A, 3, KEY)
    consistent(high, truth)
    consistent(turned(low), -truth[::-1])
    for found, spectrum in ((high, truth), (low, truth[::-1])):
        assert np.all(found.results == Result.OK)
        np.testing.assert_allclose(found.values, spectrum[:3], atol=1e-9 * scale)
        V = np.asarray(found.vectors)
        np.testing.assert_allclose(V.T @ V, np.eye(3), atol=1e-12)
        off = np.asarray(A.values @ V - V * np.asarray(found.values))
        residuals = scale * np.linalg.norm(off / (scale or 1), axis=0)
        np.testing.assert_allclose(found.residuals, residuals, atol=1e-13 * scale)
        assert np.all(residuals <= 1e-6 * scale)


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize(
    "name", ["tenfold", pytest.param("outliers", marks=pytest.mark.slow), "negative"]
)
def test_all_eigenvalues_above_a_threshold(name):
    A, truth = Matrix(jnp.asarray(symmetric(SPECTRA[name]))), np.sort(SPECTRA[name])[::-1]
    # Thresholds in gaps: none, 1, 4, 5, 10 above, where there is a gap; then all.
    middle = (truth[1:] + truth[:-1]) / 2
    wide = [i for i in (0, 3, 4, 9) if truth[i] - truth[i + 1] > 1e-3]
    for threshold, count in [(truth[0] + 0.5, 0), *((middle[i], i + 1) for i in wide)]:
        found = above(A, threshold, KEY, capacity=3)
        assert len(found.values) == count
        assert np.all(found.results == Result.OK)
        np.testing.assert_allclose(found.values, truth[:count], atol=1e-9)
        consistent(found, truth)
    everything = above(A, truth[-1] - 0.5, KEY, capacity=P)
    np.testing.assert_allclose(everything.values, truth, atol=1e-9)


def test_a_count_that_products_do_not_reach_is_told():
    A = Matrix(jnp.asarray(symmetric(SPECTRA["even"])))
    found = above(A, 0.5, KEY, capacity=3, most_products=100)
    assert 0 < len(found.values) < np.sum(SPECTRA["even"] > 0.5)
    assert np.all(found.results == Result.NOT_CONVERGED)
    assert found.products <= 100


def test_200_random_matrices_never_lie_outside_what_is_reported():
    """Too few products on purpose: residuals and bounds must hold all the same."""
    rng = np.random.default_rng(1)
    codes, finite = [], 0
    Q = [np.linalg.qr(rng.normal(size=(P, P)))[0] for _ in range(5)]
    for trial in range(200):
        spectrum = (
            rng.normal(size=P),
            np.exp(rng.normal(size=P) * 3),
            np.r_[rng.normal(size=P - 6) * 0.1, np.repeat(rng.normal(size=2), 3)],
            np.r_[np.zeros(P // 2), rng.exponential(size=P - P // 2)],
        )[trial % 4]
        V = Q[trial % 5]
        truth = np.sort(spectrum)[::-1]
        # Half of the trials start from nonsense: an eigenvector, most likely one not wanted.
        start = V[:, :1] if trial // 4 % 2 else rng.normal(size=(P, 1))
        most = 70 + trial % 90
        found = top_k(
            Matrix(jnp.asarray(V * spectrum @ V.T)), 2, jax.random.key(trial),
            start=start, width=30, most_products=most,
        )  # fmt: skip
        assert found.products <= most
        consistent(found, truth)
        wrong = np.abs(truth[:2] - found.values) > 1e-3 * np.abs(truth).max()
        assert not np.any(wrong & (np.asarray(found.results) == Result.OK))
        codes.append(np.asarray(found.results))
        finite += np.all(np.isfinite(found.missed))
    assert finite == 200
    assert set(np.ravel(codes)) == {Result.OK, Result.NOT_CONVERGED}


def net(precision="float64", microbatch=None):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 6)), rng.integers(0, 4, 30)
    problem = supervised(
        tw.models.mlp([10], "tanh"), (x, labels), precision=precision, microbatch=microbatch
    )
    return problem, jax.tree.map(lambda p: p + 0.05, problem.init(KEY))


@pytest.mark.thorough
@pytest.mark.parametrize("make", [hessian, pytest.param(gauss_newton, marks=pytest.mark.slow)])
def test_a_net_against_numpy_and_scipy(make):
    problem, params = net()
    operator = make(problem, params)
    dense = np.asarray(operator.dense())
    truth = np.sort(np.linalg.eigvalsh(dense))[::-1]
    high, low = top_k(operator, 3, KEY), smallest(operator, 3, KEY)
    consistent(high, truth)
    consistent(turned(low), -truth[::-1])
    np.testing.assert_allclose(high.values, truth[:3], atol=1e-10)
    # The null space of a Gauss-Newton matrix has tiny eigenvalues right above it, which a check
    # may take for it; `missed`, tested above, allows for that.
    atol = 1e-10 if make is hessian else 1e-5 * truth[0]
    np.testing.assert_allclose(low.values, truth[::-1][:3], atol=atol)
    witness = LinearOperator(dense.shape, matvec=lambda v: operator @ v, dtype=float)
    np.testing.assert_allclose(
        high.values, np.sort(eigsh(witness, 3, which="LA")[0])[::-1], atol=1e-9
    )
    if make is gauss_newton:
        return
    # The width of the whole space makes it a dense problem, with the same answer.
    exact = top_k(operator, 3, KEY, width=len(truth))
    np.testing.assert_allclose(exact.values, truth[:3], atol=1e-12)
    assert np.all(exact.missed <= 1e-11)
    assert exact.products == len(truth) + 3


@pytest.mark.slow
def test_a_layer_has_its_own_extremes():
    problem, params = net()
    part = hessian(problem, params, lambda path: path == "0.weight")
    truth = np.linalg.eigvalsh(part.dense())
    np.testing.assert_allclose(top_k(part, 3, KEY).values, truth[::-1][:3], atol=1e-10)


@pytest.mark.slow
def test_microbatches_change_rounding_only():
    (whole, params), (parts, _) = net(), net(microbatch=7)
    a, b = (top_k(hessian(problem, params), 3, KEY) for problem in (whole, parts))
    np.testing.assert_allclose(a.values, b.values, rtol=1e-10)


@pytest.mark.thorough
def test_float32_has_honest_residuals():
    problem, params = net()
    truth = np.sort(np.linalg.eigvalsh(hessian(problem, params).dense()))[::-1]
    low, _ = net("float32")
    single = jax.tree.map(lambda p: p.astype(jnp.float32), params)
    with jax.numpy_dtype_promotion("strict"):
        found = top_k(hessian(low, single), 3, KEY)
        strict = top_k(hessian(low, single), 3, KEY, tolerance=1e-9)
    assert {found.values.dtype, found.vectors.dtype, found.residuals.dtype} == {np.dtype("float32")}
    assert np.all(found.results == Result.OK)
    consistent(found, truth, np.finfo(np.float32).eps)
    V = np.asarray(found.vectors)
    assert np.abs(V.T @ V - np.eye(3)).max() < 1e-5
    # Asked for more than single precision holds, it says so.
    assert np.all(strict.results == Result.NOT_CONVERGED)
    consistent(strict, truth, np.finfo(np.float32).eps)


def test_warm_starts_are_cheap():
    A = symmetric(SPECTRA["outliers"])
    cold = top_k(Matrix(jnp.asarray(A)), 3, KEY)
    moved = A + 1e-9 * symmetric(SPECTRA["even"], seed=3)
    warm = top_k(Matrix(jnp.asarray(moved)), 3, KEY, start=cold.vectors)
    truth = np.linalg.eigvalsh(moved)[::-1]
    np.testing.assert_allclose(warm.values, truth[:3], atol=1e-12)
    assert warm.products == 3 + (40 - 3) + 3 < cold.products
    unchecked = top_k(Matrix(jnp.asarray(moved)), 3, KEY, start=cold.vectors, check=False)
    assert unchecked.products == 6
    assert np.all(np.isinf(unchecked.missed))
    assert np.isinf(unchecked.beyond)
    assert np.all(unchecked.results == Result.OK)


def test_a_start_at_the_wrong_end_does_not_deceive():
    """Exact eigenvectors that are not the largest have no residual; the check sees through it."""
    A = symmetric(SPECTRA["outliers"])
    wrong = np.linalg.eigh(A)[1][:, 10:13]
    found = top_k(Matrix(jnp.asarray(A)), 3, KEY, start=wrong)
    np.testing.assert_allclose(found.values, [5, 4, 3], atol=1e-10)
    for nonsense in (np.zeros((P, 3)), np.full((P, 3), np.nan), np.ones((P, 3))):
        found = top_k(Matrix(jnp.asarray(A)), 3, KEY, start=nonsense)
        np.testing.assert_allclose(found.values, [5, 4, 3], atol=1e-10)


@pytest.mark.slow
def test_the_bound_shrinks_with_the_width():
    A = Matrix(jnp.asarray(symmetric(SPECTRA["even"])))
    missed = [top_k(A, 3, KEY, width=w).missed[0] for w in (6, 40, P)]
    assert np.isinf(missed[0])
    assert np.all(np.diff(missed) < 0)
    assert missed[-1] < 1e-12


def test_bad_matrices_are_coded():
    A = symmetric(SPECTRA["outliers"])
    A[3, 3] = np.nan
    for found in (
        top_k(Matrix(jnp.asarray(A)), 3, KEY),
        above(Matrix(jnp.asarray(A)), 1.0, KEY, capacity=3),
    ):
        assert len(found.results) > 0
        assert np.all(found.results == Result.NONFINITE)
        assert found.products < 100


@pytest.mark.slow
def test_memory_does_not_grow_with_products():
    problem = Function(lambda x: jnp.sum(jnp.cos(x) * jnp.arange(5000.0)), np.ones(5000))
    operator = hessian(problem, problem.start)

    def bytes_of(most):
        run = jax.jit(lambda o: top_k(o, 2, KEY, width=20, most_products=most))
        return run.lower(operator).compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(5000) < 6 * 20 * 5000 * 8


@pytest.mark.slow
def test_a_search_compiles_once_per_shape():
    traced = []

    def f(x):
        traced.append(0)
        return jnp.sum(x**4)

    problem = Function(f, np.ones(60))
    top_k(hessian(problem, jnp.ones(60)), 2, KEY)
    count = len(traced)
    for step in range(3):
        top_k(hessian(problem, jnp.ones(60) * step), 2, KEY, tolerance=1e-3, most_products=200)
    assert len(traced) == count


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda A: top_k(A, 0, KEY), "k came as 0"),
        (lambda A: top_k(A, P + 1, KEY), "k came as"),
        (lambda A: top_k(A, 4, KEY, width=5), "width"),
        (lambda A: top_k(A, 4, KEY, most_products=10), "most_products"),
        (lambda A: top_k(A, 4, KEY, failure=0.7), "failure"),
        (lambda A: top_k(A, 4, KEY, start=np.ones(P)), "columns"),
        (lambda A: above(A, 1.0, KEY, capacity=0), "capacity"),
        (lambda A: top_k(jacobian(*net()), 1, KEY), "not symmetric"),
    ],
)
def test_misfits_are_sentences(act, sentence):
    with pytest.raises(tw.InputError, match=sentence):
        act(Matrix(jnp.eye(P)))
