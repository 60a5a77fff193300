"""The rate on a quadratic, where it is sharp, and what the last layer gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.models import mlp
from thalweg.models.starts import zero_last_start
from thalweg.problems import Function, supervised
from thalweg.problems.data.random_labels import random_data
from thalweg.theory.landscape import polyak_lojasiewicz as pl


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
