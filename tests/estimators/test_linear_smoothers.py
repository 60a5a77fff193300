"""Linear smoothers: against dense solves, their exact risk against draws and brute force."""

import numpy as np
import pytest

import thalweg as tw

RNG = np.random.default_rng(4)
tf = tw.estimators


def test_smoothing_is_the_dense_solve():
    y, laplacian = RNG.normal(size=(4, 6)), tf.lattice_laplacian((4, 6))
    dense = laplacian.dense().T @ laplacian.dense()
    solved = np.linalg.solve(np.eye(24) + 0.7 * dense @ dense, y.ravel()).reshape(4, 6)
    np.testing.assert_allclose(
        tf.smooth(y, laplacian, tf.laplacian_filter(0.7, 2)), solved, atol=1e-12
    )


def test_risk_is_the_mean_over_draws_and_that_of_the_dense_matrix():
    truth, sigma = RNG.normal(size=(5, 4)), 0.7
    operator, shrink = tf.difference_operator((5, 4), 1), tf.laplacian_filter(0.3)
    dense = operator.dense().T @ operator.dense()
    matrix = np.linalg.inv(np.eye(20) + 0.3 * dense)
    bias = truth.ravel() - matrix @ truth.ravel()
    exact = (bias @ bias + sigma**2 * (matrix**2).sum()) / 20
    risk = tf.linear_risk(truth, sigma, operator, shrink)
    assert risk == pytest.approx(exact, rel=1e-11)
    y = truth + sigma * RNG.normal(size=(4000, 5, 4))
    losses = ((tf.smooth(y, operator, shrink) - truth) ** 2).mean((1, 2))
    assert abs(losses.mean() - risk) < 4 * losses.std() / np.sqrt(4000)


def test_the_best_eigenmap_is_the_best_of_all_cuts():
    truth, sigma = np.add.outer(np.arange(4.0), np.arange(5.0) > 2), 0.6
    laplacian = tf.lattice_laplacian((4, 5))
    cuts = [-1.0, *np.unique(laplacian.eigenvalues.round(10)) + 1e-9]
    risks = [tf.linear_risk(truth, sigma, laplacian, tf.eigenmap_filter(c)) for c in cuts]
    best = tf.best_eigenmap(truth, sigma)
    assert best.risk == pytest.approx(min(risks), rel=1e-12)
    assert best.parameter == pytest.approx(cuts[int(np.argmin(risks))], abs=1e-8)


def test_the_best_laplacian_has_the_least_risk_of_its_grid():
    truth = np.linspace(0, 2, 24).reshape(4, 6)
    best = tf.best_laplacian(truth, 0.5, 2, [0.1, 1.0, 10.0])
    risks = [
        tf.linear_risk(truth, 0.5, tf.lattice_laplacian((4, 6)), tf.laplacian_filter(p, 2))
        for p in (0.1, 1.0, 10.0)
    ]
    assert best == (min(risks), [0.1, 1.0, 10.0][int(np.argmin(risks))])


def test_bad_arguments_are_told():
    with pytest.raises(tw.InputError, match="sigma=-1"):
        tf.best_eigenmap(np.ones(4), -1.0)
    with pytest.raises(tw.InputError, match="lattice"):
        tf.linear_risk(np.ones(4), 1.0, tf.lattice_laplacian((5,)), tf.laplacian_filter(1.0))
