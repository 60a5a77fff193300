"""The constant on quadratics, where it is known, and the chain on nets, by hand."""

import jax
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.curvature import gradient_domination, pl_constant
from thalweg.kernels import linearised_flow
from thalweg.models import mlp
from thalweg.probes import gradient_norm
from thalweg.problems import Supervised, supervised
from thalweg.problems.data.random_labels import random_data
from thalweg.theory.landscape import polyak_lojasiewicz as pl


def test_on_a_quadratic_the_constant_lies_between_the_eigenvalues():
    """L = sum l_i x_i^2 / 2 + 3: mu = sum l_i^2 x_i^2 / sum l_i x_i^2, l_min on its eigenvector."""
    lam = np.array([5.0, 2.0, 0.5])
    x = np.random.default_rng(0).standard_normal((20, 3))
    slope, loss = np.linalg.norm(lam * x, axis=1), (lam * x**2).sum(1) / 2 + 3
    mu = pl_constant(slope, loss, 3.0)
    np.testing.assert_allclose(mu, (lam**2 * x**2).sum(1) / (lam * x**2).sum(1))
    assert np.all((mu >= 0.5) & (mu <= 5))
    assert float(pl_constant(0.5 * 2, 0.5 * 2**2 / 2)) == pytest.approx(0.5)
    assert np.isnan(pl_constant([1.0], [3.0], 3.0)).all()


def test_the_chain_by_hand():
    """One hidden layer, gradients written out with NumPy."""
    data = random_data(6, 3, "gaussian", seed=2)
    problem = supervised(mlp((9,), "tanh"), data)
    params = problem.init(jax.random.key(4))
    (W, b), (v, c) = ((np.asarray(p["weight"]), np.asarray(p["bias"])) for p in params)
    h = np.tanh(data.inputs @ W.T + b)
    A = np.c_[h, np.ones(6)]
    r = h @ v.T + c - data.targets
    loss = np.sum(r**2) / 12
    last = np.sum((A.T @ r / 6) ** 2)
    back = (r @ v) * (1 - h**2) / 6
    hidden = np.sum((back.T @ data.inputs) ** 2) + np.sum(back.sum(0) ** 2)
    found = gradient_domination(problem, params)
    assert float(found.last_layer) == pytest.approx(last / (2 * loss), rel=1e-12)
    assert float(found.whole) == pytest.approx((last + hidden) / (2 * loss), rel=1e-12)
    assert float(found.bound) == pytest.approx(np.linalg.svd(A)[1][5] ** 2 / 6, rel=1e-10)
    assert found.whole >= found.last_layer >= found.bound
    slope = tw.measure(problem, params, gradient_norm()).value
    assert float(pl_constant(slope, loss)) == pytest.approx(float(found.whole), rel=1e-12)
    assert float(pl.last_layer_constant(np.linalg.svd(A)[1][5], 6)) == pytest.approx(
        float(found.bound), rel=1e-10
    )


def test_too_few_features_guarantee_nothing():
    problem = supervised(mlp((3,), "tanh"), random_data(8, 3, "signs"))
    assert float(gradient_domination(problem, problem.init(jax.random.key(0))).bound) == 0


def test_other_losses_are_refused():
    data = random_data(30, 3, 2)
    for problem in (
        supervised(mlp((3,)), data, "cross-entropy"),
        supervised(mlp((3,)), data, "squared-error", reduction="sum"),
    ):
        with pytest.raises(InputError, match="mean of squared-error"):
            gradient_domination(problem, problem.init(jax.random.key(0)))


class Doubled(Supervised):
    def objective(self, params):
        return 2 * super().objective(params)


def test_an_objective_of_ones_own_is_refused():
    plain = supervised(mlp((3,)), (np.ones((4, 2)), np.ones((4, 1))))
    own = Doubled(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})
    with pytest.raises(InputError, match="with a term or factor of its own, came"):
        gradient_domination(own, own.init(jax.random.key(0)))
    with pytest.raises(InputError, match="has a term or factor of its own"):
        linearised_flow(own, own.init(jax.random.key(0)), [0.0, 1.0])
