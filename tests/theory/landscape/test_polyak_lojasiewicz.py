"""The inequality on quadratics, where it is sharp, and on nets, where the last layer gives it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.models import mlp
from thalweg.models.starts import zero_last_start
from thalweg.probes import gradient_norm
from thalweg.problems import Function, supervised
from thalweg.problems.data.random_labels import random_data
from thalweg.theory.landscape import polyak_lojasiewicz as pl


def test_on_a_quadratic_the_constant_lies_between_the_eigenvalues():
    """L = sum l_i x_i^2 / 2 + 3: mu = sum l_i^2 x_i^2 / sum l_i x_i^2, l_min on its eigenvector."""
    lam = np.array([5.0, 2.0, 0.5])
    x = np.random.default_rng(0).standard_normal((20, 3))
    slope, loss = np.linalg.norm(lam * x, axis=1), (lam * x**2).sum(1) / 2 + 3
    mu = pl.pl_constant(slope, loss, 3.0)
    np.testing.assert_allclose(mu, (lam**2 * x**2).sum(1) / (lam * x**2).sum(1))
    assert np.all((mu >= 0.5) & (mu <= 5))
    assert float(pl.pl_constant(0.5 * 2, 0.5 * 2**2 / 2)) == pytest.approx(0.5)
    assert np.isnan(pl.pl_constant([1.0], [3.0], 3.0)).all()


def test_descent_on_a_quadratic_keeps_the_rate():
    lam = jnp.asarray([4.0, 1.0, 0.3])
    problem = Function(lambda x: jnp.sum(lam * x**2) / 2, start=jnp.ones(3))
    run = tw.run(problem, tw.gradient_descent(0.25), until=25.0, records=50)
    loss, time = run.dataset["loss"].values[0], run.dataset["time"].values
    bound = pl.geometric_descent(0.25, 0.3, float(loss[0]))
    assert bound.kind == "upper"
    assert np.all(loss <= bound.at(time) * (1 + 1e-12))
    assert bound.at(0.25) == pytest.approx((1 - 0.075) * loss[0])
    # Along the flattest direction alone 1 - eta mu is beaten by one factor of the same: (..)^2k.
    alone = 0.15 * (1 - 0.25 * 0.3) ** (2 * time / 0.25)
    assert loss[-1] == pytest.approx(alone[-1], rel=1e-3)
    with pytest.raises(InputError, match="\\[0, 1\\]"):
        pl.geometric_descent(1.0, 2.0, 1.0)


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
    found = pl.gradient_domination(problem, params)
    assert float(found.last_layer) == pytest.approx(last / (2 * loss), rel=1e-12)
    assert float(found.whole) == pytest.approx((last + hidden) / (2 * loss), rel=1e-12)
    assert float(found.bound) == pytest.approx(np.linalg.svd(A)[1][5] ** 2 / 6, rel=1e-10)
    assert found.whole >= found.last_layer >= found.bound
    slope = tw.measure(problem, params, gradient_norm()).value
    assert float(pl.pl_constant(slope, loss)) == pytest.approx(float(found.whole), rel=1e-12)
    assert float(pl.last_layer_constant(np.linalg.svd(A)[1][5], 6)) == pytest.approx(
        float(found.bound), rel=1e-10
    )


def test_too_few_features_guarantee_nothing():
    problem = supervised(mlp((3,), "tanh"), random_data(8, 3, "signs"))
    assert float(pl.gradient_domination(problem, problem.init(jax.random.key(0))).bound) == 0


def test_other_losses_are_refused():
    data = random_data(30, 3, 2)
    for problem in (
        supervised(mlp((3,)), data, "cross-entropy"),
        supervised(mlp((3,)), data, "squared-error", reduction="sum"),
    ):
        with pytest.raises(InputError, match="mean of squared-error"):
            pl.gradient_domination(problem, problem.init(jax.random.key(0)))


def test_the_step_is_one_over_the_sharpness_of_the_last_layer():
    """At a last layer of zero the Hessian of the whole loss has the block A^T A / n."""
    net = mlp((9,), "tanh")
    problem = supervised(zero_last_start(net), random_data(6, 3, "signs"))
    params = problem.init(jax.random.key(0))
    block = jax.hessian(lambda w: problem.objective([params[0], params[1] | {"weight": w}]))(
        params[1]["weight"]
    )[0, :, 0]
    h = np.asarray(net.features(params, problem.inputs))
    assert pl.last_layer_step(h) == pytest.approx(1 / np.linalg.eigvalsh(block)[-1], rel=1e-10)


def test_convexity_bounds_the_gap_of_both_losses():
    rng = np.random.default_rng(3)
    A, V = rng.standard_normal((6, 8)), rng.standard_normal((8, 1))
    Y = rng.standard_normal((6, 1))
    best = np.linalg.pinv(A) @ Y
    slope = A.T @ (A @ V - Y) / 6
    loss = np.sum((A @ V - Y) ** 2) / 12
    inner, product = pl.convex_gap(slope, V, best)
    assert loss <= inner <= product
    assert inner == pytest.approx(2 * loss)  # the quadratic's own value
