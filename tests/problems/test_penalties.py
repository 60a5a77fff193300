"""Penalties about any problem: the formula, what oracles see, and what must not pass them by."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.models import OperatorRecurrent, factor_regulariser
from thalweg.oracles.examples_shown import supervised_in

DRAWN = np.random.default_rng(2)
X, Y = DRAWN.normal(size=(6, 3)), DRAWN.normal(size=(6, 2))
KEY = jax.random.key(1)


def bends(params):
    return jnp.sum(jnp.cos(params[0]["weight"]))


def test_the_objective_and_what_it_tells():
    plain = tw.problems.supervised(tw.models.mlp([4]), (X, Y))
    problem = tw.problems.penalised(plain, bends, 0.3)
    params = problem.init(KEY)
    expected = float(plain.objective(params)) + 0.3 * float(np.cos(params[0]["weight"]).sum())
    assert float(problem.objective(params)) == pytest.approx(expected, rel=1e-14)
    assert problem.describe()["strength"] == 0.3
    assert problem.describe()["penalty"] == "bends"
    assert problem.smooth
    assert not tw.problems.penalised(plain, bends, 0.3, is_smooth=False).smooth


def test_half_the_squares_are_weight_decay():
    plain = tw.problems.supervised(tw.models.mlp([4]), (X, Y))

    def squares(params):
        return sum(jnp.sum(w**2) for w in jax.tree.leaves(params)) / 2

    one = tw.problems.penalised(plain, squares, 0.2)
    other = tw.problems.Decayed(plain, 0.2)
    params = plain.init(KEY)
    slopes = [jax.grad(problem.objective)(params) for problem in (one, other)]
    for a, b in zip(*map(jax.tree.leaves, slopes), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_batch_sees_the_whole_penalty_also_within_weight_decay():
    plain = tw.problems.supervised(tw.models.mlp([4]), (X, Y))
    problem = tw.problems.Decayed(tw.problems.penalised(plain, bends, 0.3), 0.5)
    assert supervised_in(problem, "", "") is plain
    params = problem.init(KEY)
    draw = jnp.array([4, 1])
    seen = tw.oracles.minibatch(2).see(problem, params, draw)
    gap = problem.objective(params) - plain.objective(params)
    expected = plain.on(draw).objective(params) + gap
    assert float(seen.objective(params)) == pytest.approx(float(expected), rel=1e-13)


def test_kfac_does_not_pass_a_penalty_by():
    """It knows weight decay and no other term: of another it must say so, not leave it out."""
    plain = tw.problems.supervised(tw.models.mlp([4]), (X, Y))
    for problem in (
        tw.problems.penalised(plain, bends, 0.3),
        tw.problems.Decayed(tw.problems.penalised(plain, bends, 0.3), 0.1),
    ):
        with pytest.raises(tw.InputError, match="term beside its loss"):
            tw.run(problem, tw.dynamics.kfac(), 2.0)


@pytest.mark.thorough
def test_enough_of_it_switches_factors_off():
    """R_(1/2) under Adam: a matrix of rank one is fitted with few factors; without it with all."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(30, 3, 3)) / 2
    targets = (inputs @ np.ones(3))[:, :1]
    net = OperatorRecurrent(1, rank=6, activation=None, first=np.ones(3))
    plain = tw.problems.supervised(net, (inputs, targets))
    adam = tw.optax_dynamics(optax.adam(0.01), 0.01)
    found = {}
    for strength in (0.0, 0.03):
        problem = tw.problems.penalised(plain, factor_regulariser, strength, is_smooth=False)
        path = tw.run(problem, adam, 8.0, probes=["factor_norm_sum"], parameters=True)
        found[strength] = float(path.dataset["factor_norm_sum"][0, -1])
    assert found[0.03] < found[0.0] / 4


def test_bad_input_is_told():
    plain = tw.problems.supervised(tw.models.mlp([4]), (X, Y))
    for bad in (-1.0, np.float32(-1), jnp.array([0.1, -0.1]), np.nan, np.inf):
        with pytest.raises(tw.InputError, match="from 0 on"):
            tw.problems.penalised(plain, bends, bad)
    with pytest.raises(tw.InputError, match="one real number"):
        tw.problems.penalised(plain, lambda params: params[0]["weight"], 0.1)
    with pytest.raises(tw.InputError, match="does not take"):
        tw.problems.penalised(plain, lambda params: params["w"], 0.1)
    with pytest.raises(tw.InputError, match="factored"):
        tw.problems.penalised(plain, factor_regulariser, 0.1)
