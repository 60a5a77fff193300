"""The estimator: scikit-learn's own checks, lattices found in coordinates, prediction."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

import thalweg as tw

RNG = np.random.default_rng(6)
Filter = tw.estimators.KroneckerTrendFilter


@pytest.mark.thorough
def test_the_checks_of_scikit_learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(Filter(max_iter=300), on_skip=None)
    assert len(results) > 40
    assert {r["status"] for r in results} <= {"passed", "skipped"}


def lattice(*designs):
    return np.stack(np.meshgrid(*designs, indexing="ij"), axis=-1).reshape(-1, len(designs))


def test_a_lattice_in_any_order_is_that_lattice():
    designs = np.array([0.0, 1.0, 1.5, 4.0]), np.arange(5.0)
    X, y = lattice(*designs), RNG.normal(size=20)
    shuffled = RNG.permutation(20)
    model = Filter(order=1, penalty=0.3).fit(X[shuffled], y[shuffled])
    direct = tw.estimators.trend_filter(y.reshape(4, 5), 0.3, 1, designs=[designs[0], None])
    assert model.orders_ == (1, 1)
    assert (model.counts_ == 1).all()
    np.testing.assert_allclose(model.values_, direct.values, atol=1e-10)
    assert 0 <= model.gap_ <= 1e-6
    np.testing.assert_allclose(model.predict(X), direct.values.ravel(), atol=1e-10)


def test_weights_and_repeated_data_are_one():
    X, y = lattice(np.arange(4.0), np.arange(3.0)), RNG.normal(size=12)
    mass = RNG.integers(0, 3, size=12)
    mass[:3] = 1
    weighted = Filter(order=0).fit(X, y, sample_weight=mass)
    repeated = Filter(order=0).fit(np.repeat(X, mass, axis=0), np.repeat(y, mass))
    np.testing.assert_allclose(weighted.values_, repeated.values_, atol=1e-8)
    np.testing.assert_array_equal(weighted.counts_, repeated.counts_)


def test_scattered_points_are_binned_and_the_certificate_is_given_up_where_cells_are_empty():
    X = RNG.uniform(size=(400, 2))
    truth = np.where(X[:, 0] > 0.5, 2.0, 0.0)
    model = Filter(order=0, penalty=0.5, tol=1e-4).fit(X, truth + 0.3 * RNG.normal(size=400))
    assert (model.counts_ == 0).any()
    assert np.isnan(model.gap_)
    assert model.residual_ <= 1e-4
    assert model.counts_.sum() == 400
    new = RNG.uniform(size=(500, 2))
    far = np.abs(new[:, 0] - 0.5) > 0.06  # a cell is a twentieth
    assert np.abs(model.predict(new) - 2.0 * (new[:, 0] > 0.5))[far].max() < 0.7
    coarse = Filter(order=0, penalty=0.5, cells=5).fit(X, truth)
    assert coarse.values_.shape == (5, 5)
    assert coarse.gap_ <= 1e-6


def test_bins_of_constant_pieces_hold_their_own_data():
    X = np.array([[0.0], [0.1], [0.9], [1.0], [1.9], [2.0]])
    y = np.array([0.0, 0.0, 5.0, 5.0, -3.0, -3.0])
    model = Filter(order=0, penalty=1e-6, cells=4).fit(X, y)
    np.testing.assert_allclose(model.predict(X), [0, 0, 5, 5, -3, -3], atol=1e-4)


def test_axes_too_short_for_the_order_take_the_one_they_can():
    X = lattice(np.arange(8.0), np.arange(2.0), [3.0])
    model = Filter(order=2, penalty=1e3).fit(X, X[:, 0] ** 2 + X[:, 1])
    assert model.orders_ == (2, 0, 0)
    np.testing.assert_allclose(model.predict([[9.0, 0.0, 3.0]]), [81.5], atol=1e-3)


def test_a_grid_search_finds_a_penalty():
    x = np.linspace(0, 1, 120)[:, None]
    y = np.abs(x[:, 0] - 0.4) + 0.05 * RNG.normal(size=120)
    search = GridSearchCV(Filter(order=1), {"penalty": [1e-3, 0.3, 300.0]}, cv=3, n_jobs=1)
    shuffled = RNG.permutation(120)
    assert search.fit(x[shuffled], y[shuffled]).best_params_ == {"penalty": 0.3}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"order": -1}, "order=-1"),
        ({"order": 1.5}, "order=1.5"),
        ({"penalty": 0.0}, "penalty"),
        ({"cells": 0}, "cells=0"),
        ({"tol": -1.0}, "tolerance"),
    ],
)
def test_bad_parameters_are_told_when_fitted(how, words):
    with pytest.raises(ValueError, match=words):
        Filter(**how).fit(RNG.uniform(size=(30, 2)), RNG.normal(size=30))


def test_giving_up_warns():
    from sklearn.exceptions import ConvergenceWarning

    X = lattice(np.arange(12.0), np.arange(12.0))
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        model = Filter(order=2, max_iter=2).fit(X, RNG.normal(size=144))
    assert model.gap_ > 1e-6
