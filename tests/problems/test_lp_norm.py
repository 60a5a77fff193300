"""The l_p objective and its optimum, against NumPy, SciPy and optimality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import thalweg as tw
from thalweg.problems.linear_targets import deep_linear_params
from thalweg.problems.lp_norm import lp_optimum, lp_regression


def sample(seed=0, n=30, d=4, noise=0.3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, X @ rng.normal(size=d) + noise * rng.normal(size=n), rng.normal(size=d)


@pytest.mark.parametrize("p", [2, 3, 2.5, 4])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_objective(p, reduction):
    X, y, w = sample()
    problem = lp_regression(X, y, p, reduction=reduction)
    total = np.sum(np.abs(X @ w - y) ** p) / p
    expected = total / len(y) if reduction == "mean" else total
    params = deep_linear_params([w[None]])
    assert float(problem.objective(params)) == pytest.approx(expected, rel=1e-13)
    gap = X @ w - y
    slope = X.T @ (np.abs(gap) ** (p - 1) * np.sign(gap)) / (len(y) if reduction == "mean" else 1)
    found = jax.grad(problem.objective)(params)[0]["weight"][0]
    np.testing.assert_allclose(found, slope, rtol=1e-12)


def test_depth_changes_the_parameters_only():
    X, y, w = sample()
    deep = lp_regression(X, y, 4, (1, 1))
    params = deep_linear_params([w[None] / 6, [[2.0]], [[3.0]]])
    assert jax.tree.structure(deep.init(jax.random.key(0))) == jax.tree.structure(params)
    alone = lp_regression(X, y, 4).objective(deep_linear_params([w[None]]))
    assert float(deep.objective(params)) == pytest.approx(float(alone), rel=1e-13)


@pytest.mark.parametrize("p", [2, 3, 4, 6])
def test_optimum(p):
    X, y, w = sample(1)
    found = lp_optimum(X, y, p)
    gap = X @ found.w - y
    gradient = X.T @ (np.abs(gap) ** (p - 2) * gap) / len(y)
    assert np.max(np.abs(gradient)) < 1e-8
    assert found.error < 1e-14

    def loss(v):
        return np.mean(np.abs(X @ v - y) ** p) / p

    scipy = optimize.minimize(loss, w, method="BFGS", options={"gtol": 1e-9})
    assert found.loss == pytest.approx(loss(found.w), rel=1e-14)
    assert found.loss <= scipy.fun * (1 + 1e-13)
    assert found.loss == pytest.approx(scipy.fun, rel=1e-7)


def test_the_error_is_that_of_the_loss():
    X, y, _ = sample(2)
    rough, fine = lp_optimum(X, y, 6, tolerance=1e-3), lp_optimum(X, y, 6)
    assert rough.loss > fine.loss
    assert rough.error == pytest.approx(rough.loss - fine.loss, rel=0.5)


def test_data_that_fit_exactly():
    X, y, _ = sample(3, noise=0.0)
    found = lp_optimum(X, y, 4)
    assert found.loss < 1e-50
    few = lp_optimum(X[:3], y[:3], 4)  # fewer examples than weights
    assert few.loss < 1e-50


def test_bad_input_is_told():
    X, y, _ = sample()
    with pytest.raises(tw.InputError, match="at least 2"):
        lp_regression(X, y, 1.5)
    with pytest.raises(tw.InputError, match="at least 2"):
        lp_optimum(X, y, 1.5)
    with pytest.raises(tw.InputError, match=r"give \(n, d\) and \(n,\)"):
        lp_optimum(X, y[:, None], 4)
    with pytest.raises(tw.InputError, match="tolerance above"):
        lp_optimum(X, y, 4, tolerance=-1.0)
    assert jnp.isfinite(lp_optimum(X, y, 4).loss)
