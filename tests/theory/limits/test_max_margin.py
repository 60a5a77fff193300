"""The hard-margin machine against scikit-learn, SciPy's SLSQP, geometry and its own conditions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.svm import SVC

from thalweg.core.errors import InputError
from thalweg.theory.limits.max_margin import absorb, hard_margin_svm, separability, stack_classes

ASYMMETRIC = [(0.5, 1.5), (2, 0.25), (2.5, 1.5), (1, 2.5), (3, 0.5), (-0.5, 3.5), (2, 2)]


def separable_data(seed, n=30, d=5):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X * np.sign(X @ rng.normal(size=d))[:, None]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 8))
def test_optimality_conditions(seed, n, d):
    X = separable_data(seed, n, d)
    svm = hard_margin_svm(X)
    scale = np.linalg.norm(X, axis=1) * np.linalg.norm(svm.w)
    assert np.all((X @ svm.w - 1) / scale >= -1e-12)
    np.testing.assert_allclose(X.T @ svm.alpha, svm.w, atol=1e-11 * np.linalg.norm(svm.w))
    assert svm.alpha.min() >= -1e-12 * svm.alpha.max()
    assert np.all(svm.alpha[~svm.support] == 0)
    np.testing.assert_allclose(svm.alpha.sum(), svm.w @ svm.w, rtol=1e-9)
    np.testing.assert_allclose(svm.margin, np.min(X @ svm.w) / np.linalg.norm(svm.w), rtol=1e-9)
    assert svm.error < 1e-11


def test_against_a_general_solver():
    X = separable_data(3)
    svm = hard_margin_svm(X)
    found = minimize(
        lambda w: w @ w / 2,
        svm.w + 0.1,
        jac=lambda w: w,
        constraints={"type": "ineq", "fun": lambda w: X @ w - 1, "jac": lambda w: X},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    np.testing.assert_allclose(svm.w, found.x, rtol=1e-6)


def test_against_libsvm_without_bias():
    """LIBSVM fits a bias; data and their mirror images under the other label leave it at zero."""
    X = separable_data(5)
    both = np.vstack([X, -X])
    model = SVC(kernel="linear", C=1e10, tol=1e-10).fit(both, np.repeat([1, -1], len(X)))
    assert abs(model.intercept_[0]) < 1e-6
    w = hard_margin_svm(X).w  # LIBSVM stops at a gradient of 1e-10, with cost 1e10
    np.testing.assert_allclose(w, model.coef_[0], atol=1e-5 * np.linalg.norm(w))


def test_asymmetric_data_by_hand():
    """Both equations x . w = 1 on (1/2, 3/2), (2, 1/4) give w = (10, 12)/23."""
    svm = hard_margin_svm(ASYMMETRIC)
    np.testing.assert_allclose(svm.w, np.array([10, 12]) / 23, rtol=1e-14)
    assert list(svm.support) == [True, True] + 5 * [False]
    alpha = np.linalg.solve(np.array(ASYMMETRIC[:2]).T, svm.w)
    np.testing.assert_allclose(svm.alpha[:2], alpha, rtol=1e-13)


def test_degenerate_and_repeated_support_vectors():
    svm = hard_margin_svm([(1, 0), (1, 1)])
    np.testing.assert_allclose(svm.w, [1, 0], atol=1e-15)
    assert list(svm.support) == [True, True]
    np.testing.assert_allclose(svm.alpha, [1, 0], atol=1e-15)
    twice = hard_margin_svm([(1, 0), (1, 0), (3, 1)])
    np.testing.assert_allclose(twice.alpha.sum(), 1)
    assert list(twice.support) == [True, True, False]


def test_scale_and_rotation():
    X = separable_data(7)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    plain, other = hard_margin_svm(X), hard_margin_svm(1e6 * X @ turn)
    np.testing.assert_allclose(other.w, plain.w @ turn / 1e6, rtol=1e-9, atol=1e-16)
    np.testing.assert_allclose(other.margin, 1e6 * plain.margin)


def test_absorbed_labels_and_bias():
    X, y = np.array([[1.0, 2.0], [3.0, 4.0]]), [1, -1]
    np.testing.assert_array_equal(absorb(X, y), [[1, 2], [-3, -4]])
    np.testing.assert_array_equal(absorb(X, y, bias=True), [[1, 2, 1], [-3, -4, -1]])


def test_classes_are_stacked():
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], 8)
    X = rng.normal(size=(24, 2)) * 0.3 + np.array([(3, 0), (-2, 2), (-2, -2)])[labels]
    rows = stack_classes(X, labels)
    W = rng.normal(size=(3, 2))
    differences = [
        (W[c] - W[k]) @ x for x, c in zip(X, labels, strict=True) for k in range(3) if k != c
    ]
    np.testing.assert_allclose(rows @ W.ravel(), differences, rtol=1e-13)
    w = hard_margin_svm(rows).w.reshape(3, 2)
    np.testing.assert_allclose(w.sum(axis=0), 0, atol=1e-14)  # each row of differences has sum 0


def test_two_classes_are_the_binary_problem():
    X = separable_data(9, 12, 3)
    binary = hard_margin_svm(X).w
    # w_0 = -w_1 = w/2 meets (w_0 - w_1) . x = w . x at the least norm.
    stacked = hard_margin_svm(stack_classes(np.vstack([X, -X]), np.repeat([0, 1], 12))).w
    np.testing.assert_allclose(stacked, np.concatenate([binary, -binary]) / 2, rtol=1e-10)


def test_separability_is_the_largest_margin_of_the_box():
    found = separability(ASYMMETRIC)
    angles = np.linspace(0, 2 * np.pi, 20001)
    around = np.stack([np.cos(angles), np.sin(angles)])
    around /= np.abs(around).max(axis=0)
    best = np.max(np.min(np.array(ASYMMETRIC) @ around, axis=0))
    assert found.separable
    np.testing.assert_allclose(found.margin, best, rtol=1e-3)
    assert not separability([(1, 0), (-1, 0)]).separable
    assert not separability([(1, 0), (0, 1), (-1, -1)]).separable
    assert separability([(1, 0), (-1, 1e-6)]).separable


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: hard_margin_svm([(1, 0), (-1, 0)]), "no plane"),
        (lambda: hard_margin_svm([1.0, 2.0]), "finite numbers"),
        (lambda: hard_margin_svm([(np.nan, 0.0)]), "finite numbers"),
        (lambda: absorb([(1, 0)], [0]), "one \\+1 or -1"),
        (lambda: stack_classes([(1, 0), (0, 1)], [0, 0]), "from 0 to K - 1"),
        (lambda: stack_classes([(1, 0), (0, 1)], [0.0, 1.0]), "from 0 to K - 1"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises(InputError, match=word):
        call()
