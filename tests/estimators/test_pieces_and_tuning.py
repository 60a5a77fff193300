"""Degrees of freedom against ranks and covariances; the penalty by Stein, folds and the truth."""

import numpy as np
import pytest

import thalweg as tw
from thalweg.estimators import pieces

RNG = np.random.default_rng(5)
tf = tw.estimators


@pytest.mark.parametrize(
    ("shape", "order"),
    [((12,), 0), ((15,), 2), ((6, 7), 0), ((6, 7), 1), ((7, 6), 2), ((3, 4, 4), 0)],
)
def test_degrees_of_freedom_are_the_nullity(shape, order):
    fit = tf.trend_filter(RNG.normal(size=shape), 0.6, order, tolerance=1e-11)
    still = np.concatenate([s.ravel() == 0 for s in fit.signs])
    rows = fit.operator.dense()[still]
    nullity = rows.shape[1] - np.linalg.matrix_rank(rows)
    assert tf.degrees_of_freedom(fit) == nullity > fit.operator.nullity


def test_counts_by_inertia_are_those_of_singular_values(monkeypatch):
    y = RNG.normal(size=(12, 10)) + np.abs(np.arange(10.0) - 4)
    fit = tf.trend_filter(y, 1.0, 1, tolerance=1e-10)
    dense = tf.degrees_of_freedom(fit)
    monkeypatch.setattr(pieces, "MOST_DENSE", 0)
    assert tf.degrees_of_freedom(fit) == dense > 4


def test_draws_are_asked_for_one_by_one():
    fits = tf.trend_filter(RNG.normal(size=(2, 5)), 0.6, 0, draws=True)
    with pytest.raises(tw.InputError, match=r"fit\.at\(0\)"):
        tf.degrees_of_freedom(fits)


def test_constant_pieces_are_exactly_constant():
    fit = tf.trend_filter(RNG.normal(size=(9, 9)), 0.5, 0)
    labels = tf.piece_labels((9, 9), fit.signs)
    assert len(np.unique(fit.values)) == labels.max() + 1 == tf.degrees_of_freedom(fit)


def test_stein_is_unbiased():
    truth, sigma = np.repeat([0.0, 2.0], 15), 0.7
    y = truth + sigma * RNG.normal(size=(300, 30))
    fits = tf.trend_filter(y, 1.0, 0, draws=True)
    estimates = np.array([tf.stein_risk(fits.at(i), y[i], sigma) for i in range(300)])
    off = estimates - ((fits.values - truth) ** 2).mean(1)
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(300)
    assert off.std() / np.sqrt(300) < 0.02  # a factor of 1 for 2 in the correction is 0.1 off


def test_penalties_chosen_three_ways_are_near_each_other():
    i, j = np.indices((14, 14))
    truth, sigma = 3.0 * ((i > 6) ^ (j > 8)), 0.5
    y = truth + sigma * RNG.normal(size=truth.shape)
    lams = np.geomspace(0.03, 10, 7)
    by_truth = tf.tune_by_truth(y, lams, truth, 0)
    by_stein = tf.tune_by_stein(y, lams, sigma, 0)
    by_folds = tf.tune_by_cross_validation(y, lams, 0, folds=4, tolerance=1e-3)
    best = by_truth.scores.min()
    assert best < 0.3 * sigma**2
    for tuned in (by_stein, by_folds):
        error = ((tuned.fit.values - truth) ** 2).mean()
        assert error <= 2 * best
        assert tuned.scores.argmin() not in (0, 6)
    assert (by_folds.scores > sigma**2 * 0.7).all()  # the noise of what was left out is in them


def test_a_path_holds_the_fits_in_the_order_asked_for():
    y = RNG.normal(size=(7, 6))
    lams = [0.1, 2.0, 0.4]
    for lam, fit in zip(lams, tf.trend_filter_path(y, lams, 1, tolerance=1e-9), strict=True):
        alone = tf.trend_filter(y, lam, 1, tolerance=1e-9)
        assert (fit.penalty, fit.gap <= 1e-9) == (lam, True)
        np.testing.assert_allclose(fit.values, alone.values, atol=1e-3)


@pytest.mark.parametrize(("size", "sigma"), [(1.0, 1e160), (1e160, 1.0)])
def test_squares_beyond_the_numbers_are_a_sentence(size, sigma):
    y = size * np.array([1.0, 2.0, 4.0, 3.0])
    fit = tf.trend_filter(y / size, 0.1, order=0)
    with pytest.raises(tw.InputError, match="beyond the largest number; scale both down"):
        tf.stein_risk(fit, y, sigma)
