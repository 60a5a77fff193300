"""What nets of the study learn from: responses without their rounding, inverses of matrices."""

import numpy as np

from thalweg.studies.dehoop2019_operator_recurrent.learning import spd_inverses, standardised


def test_columns_of_rounding_stay_near_zero():
    rng = np.random.default_rng(0)
    train, test = rng.normal(3.0, 2.0, (50, 3)), rng.normal(3.0, 2.0, (20, 3))
    train[:, 1], test[:, 1] = 1e-16 * train[:, 1], 1e-16 * test[:, 1]
    g, h = standardised(train, test)
    np.testing.assert_allclose(g.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(g.std(0)[[0, 2]], 1, rtol=1e-12)
    assert np.abs(np.concatenate([g, h])[:, 1]).max() < 1e-14
    np.testing.assert_allclose(h[:, 0], (test[:, 0] - train[:, 0].mean()) / train[:, 0].std())
    assert standardised(train, test, rounding=0.0)[0][:, 1].std() > 0.99


def test_inverses_are_of_symmetric_matrices_with_eigenvalues_in_range():
    X, y = spd_inverses(200, 3)
    np.testing.assert_allclose(X, X.transpose(0, 2, 1), atol=1e-15)
    eigenvalues = np.linalg.eigvalsh(X)
    assert 0.5 <= eigenvalues.min() < 0.55
    assert 1.45 < eigenvalues.max() <= 1.5
    np.testing.assert_allclose(np.einsum("nij,nj->ni", X, y), 1.0, rtol=1e-12)
    assert 0.2 < y.var(0).sum() < 0.3  # 0.124 for each entry
