"""Traces and diagonals against dense ones, and their standard errors against what they are of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matfree import stochtrace

import thalweg as tw
from thalweg.core.result import Result
from thalweg.core.sampling import form_factor
from thalweg.curvature import Matrix, diagonal, gauss_newton, hessian, jacobian, trace
from thalweg.curvature.stochastic import DIAGONALS, SHARED, TRACES, _left_out, _xdiagonals, _xtraces
from thalweg.problems import supervised

KEY = jax.random.key(4)
P = 100
Q = np.linalg.qr(np.random.default_rng(0).normal(size=(P, P)))[0]
SPECTRA = {
    "fast": 2.0 ** -np.arange(P),
    "slow": 1 / (1.0 + np.arange(P)),
    "indefinite": np.random.default_rng(1).normal(size=P),
    "flat": np.ones(P),
    "nearly flat": 1 + 1e-3 * np.random.default_rng(3).normal(size=P),
    "rank one": np.r_[np.zeros(P - 1), 1.0],
    "an outlier": np.r_[np.ones(P - 1), 100.0],
}


BREADTH = [s if s in ("slow", "flat") else pytest.param(s, marks=pytest.mark.slow) for s in SPECTRA]


def matrix(spectrum):
    return Q * spectrum @ Q.T


def repeated(A, measure, method, products, count=300):
    """Values and errors of independent runs, in one compilation."""
    run = jax.jit(
        lambda A, keys: jax.lax.map(
            lambda key: measure(Matrix(A), key, method=method, products=products)[:2], keys
        )
    )
    return (np.asarray(a) for a in run(jnp.asarray(A), jax.random.split(KEY, count)))


@pytest.mark.thorough(after=3)
@pytest.mark.parametrize("spectrum", BREADTH)
@pytest.mark.parametrize("method", [m for m in TRACES if m != "exact"])
def test_traces_are_unbiased_and_their_errors_honest(method, spectrum):
    A = matrix(SPECTRA[spectrum])
    values, errors = repeated(A, trace, method, 30)
    off, rounding = values - np.trace(A), 1e-12 * np.abs(A).sum()
    rms = np.sqrt(np.mean(off**2))
    assert abs(off.mean()) <= 4 * rms / np.sqrt(len(off)) + rounding
    # Beyond three errors in at most 0.27 % of draws: 5 of 300 would be by chance in 1 of 700 tests.
    assert np.sum(np.abs(off) > 3 * errors + rounding) <= 4
    draws = {"hutchinson": 30, "hutch++": 10, "xtrace": 15}[method]
    said = np.sqrt(np.mean(errors**2))
    widened = form_factor(draws) * (SHARED if method == "xtrace" else 1)
    assert said <= 1.2 * widened * rms + rounding


@pytest.mark.thorough(after=2)
@pytest.mark.parametrize("spectrum", ["slow", "flat"])
@pytest.mark.parametrize("method", [m for m in DIAGONALS if m != "exact"])
def test_diagonals_are_unbiased_and_their_errors_honest(method, spectrum):
    A = matrix(SPECTRA[spectrum])
    values, errors = repeated(A, diagonal, method, 30)
    off, rounding = values - np.diag(A), 1e-12 * np.abs(A).max()
    rms = np.sqrt(np.mean(off**2, axis=0))
    assert np.all(np.abs(off.mean(axis=0)) <= 5 * rms / np.sqrt(len(off)) + rounding)
    # Entries of a run are not independent: a little more than 0.27 % of 30,000 is allowed.
    assert np.mean(np.abs(off) > 3 * errors + rounding) <= 0.006
    said = np.sqrt(np.mean(errors**2, axis=0))
    assert np.median(said) <= 1.7 * np.median(rms) + rounding


@pytest.mark.implicit  # matfree makes shapes fit
@pytest.mark.parametrize("spectrum", BREADTH)
def test_leave_one_out_values_are_those_of_matfree(spectrum):
    A = jnp.asarray(matrix(SPECTRA[spectrum]))
    normal, signs = jax.random.normal(KEY, (15, P)), jax.random.rademacher(KEY, (15, P), float)
    # Where a spectrum falls to rounding, so do digits of the leave-one-out values.
    close = {"rtol": 1e-9, "atol": 1e-10}
    witness = stochtrace.leave_one_out_xtrace()(lambda v: A @ v, normal)
    ours = _left_out(lambda v: A @ v, normal)
    np.testing.assert_allclose(ours.scale * _xtraces(ours)[0], witness, **close)
    witness = stochtrace.leave_one_out_xdiag()(lambda v: A @ v, signs)
    ours = _left_out(lambda v: A @ v, signs)
    np.testing.assert_allclose(ours.scale * _xdiagonals(ours), witness, **close)


def test_the_error_of_hutchinson_is_the_formula():
    """sqrt(2 (||A||_F^2 - sum_i A_ii^2) / m) for the trace, sqrt(sum_{j != i} A_ij^2 / m) for i."""
    A = matrix(SPECTRA["indefinite"])
    off = np.sum(A**2, axis=1) - np.diag(A) ** 2
    values, _ = repeated(A, trace, "hutchinson", 30, 2000)
    assert np.std(values) == pytest.approx(np.sqrt(2 * off.sum() / 30), rel=0.07)
    values, _ = repeated(A, diagonal, "hutchinson", 30, 500)
    assert np.median(np.std(values, axis=0) / np.sqrt(off / 30)) == pytest.approx(1, rel=0.03)


def test_better_methods_are_better():
    A, spread = matrix(SPECTRA["fast"]), {}
    for method in ("hutchinson", "hutch++", "xtrace"):
        spread[method] = np.std(next(iter(repeated(A, trace, method, 30, 100))))
    assert spread["xtrace"] < spread["hutch++"] / 10 < spread["hutchinson"] / 100


@pytest.mark.parametrize("scale", [1e-100, 1e12])
def test_a_matrix_of_low_rank_is_captured(scale):
    """What a third or half of the products span entirely leaves rounding only."""
    A = scale * matrix(np.r_[100, 50, 20, 10, 5.0, np.zeros(P - 5)])
    for method in ("hutch++", "xtrace"):
        found = trace(Matrix(jnp.asarray(A)), KEY, method=method, products=30)
        assert found.value == pytest.approx(np.trace(A), rel=1e-12)
        assert found.error <= 1e-11 * scale
    found = diagonal(Matrix(jnp.asarray(A)), KEY, products=30)
    np.testing.assert_allclose(found.value, np.diag(A), atol=1e-11 * scale)


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize(
    ("dtype", "scale"), [("float64", 1e-165), ("float64", 1e200), ("float32", 1e-22)]
)
def test_estimates_have_the_same_digits_at_every_scale(dtype, scale):
    """Squares of the entries leave the format, the estimates do not."""
    A = jnp.asarray(matrix(SPECTRA["slow"]), dtype)
    for measure, table in ((trace, TRACES), (diagonal, DIAGONALS)):
        for method in table:
            near, far = (measure(Matrix(A * s), KEY, method=method) for s in (1.0, scale))
            assert far.result == Result.OK
            np.testing.assert_allclose(far.value / scale, near.value, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(far.error / scale, near.error, rtol=1e-2, atol=1e-5)


def net(precision="float64", microbatch=None):
    rng = np.random.default_rng(0)
    problem = supervised(
        tw.models.mlp([10], "tanh"),
        (rng.normal(size=(30, 6)), rng.integers(0, 4, 30)),
        precision=precision,
        microbatch=microbatch,
    )
    return problem, problem.init(KEY)


@pytest.mark.thorough
@pytest.mark.parametrize("microbatch", [7, pytest.param(None, marks=pytest.mark.slow)])
def test_a_net_by_layer(microbatch):
    problem, params = net(microbatch=microbatch)
    total = 0
    for layer in ("0", "1"):
        part = hessian(problem, params, lambda path, layer=layer: path.startswith(layer))
        exact = trace(part, KEY, method="exact")
        assert exact.error == 0
        total = total + exact.value
    whole = hessian(problem, params)
    dense = np.asarray(whole.dense())
    assert total == pytest.approx(np.trace(dense), rel=1e-12)
    np.testing.assert_allclose(diagonal(whole, KEY, method="exact").value, np.diag(dense))
    # As many products as parameters are spent on the exact value.
    assert trace(whole, KEY, products=len(dense)).error == 0
    for method in ("hutchinson", "hutch++", "xtrace"):
        found = trace(whole, KEY, method=method)
        assert abs(found.value - np.trace(dense)) <= 5 * found.error
        assert found.error > 0


@pytest.mark.parametrize("microbatch", [None, 7])
def test_no_implicit_conversion(microbatch):
    problem, params = net("float32", microbatch)
    operator = gauss_newton(problem, params)
    with jax.numpy_dtype_promotion("strict"):
        for measure, table in ((trace, TRACES), (diagonal, DIAGONALS)):
            for method in table:
                found = jax.eval_shape(
                    lambda o, m=measure, method=method: m(o, KEY, method=method), operator
                )
                assert {found.value.dtype, found.error.dtype} == {np.dtype("float32")}


def test_misfits_are_sentences_and_bad_matrices_are_coded():
    A = Matrix(jnp.eye(P))
    with pytest.raises(tw.InputError, match="Did you mean 'xtrace'"):
        trace(A, KEY, method="xtrase")
    with pytest.raises(tw.InputError, match="products came as 9; give at least 10"):
        trace(A, KEY, products=9)
    with pytest.raises(tw.InputError, match="products came as 19; give at least 20"):
        diagonal(A, KEY, products=19)
    with pytest.raises(tw.InputError, match="not symmetric"):
        trace(jacobian(*net()), KEY)
    broken = Matrix(A.values.at[0, 0].set(jnp.nan))
    for method in TRACES:
        assert trace(broken, KEY, method=method, products=30).result == Result.NONFINITE
