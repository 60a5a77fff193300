"""Descent that ends at a level: the first step that is there, on a problem done by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.driver.until import advance_until, descend_until
from thalweg.problems import Function


def bowl(x):
    return jnp.sum(x**2) / 2


START = jnp.array([3.0, 4.0])


@pytest.mark.parametrize("level", [1.0, 1e-6, 20.0])
def test_the_first_step_below_the_level(level):
    problem = Function(bowl, START)
    found = descend_until(tw.gradient_descent, jnp.asarray(0.1), problem, START, level, 1000)
    losses = 12.5 * 0.81 ** np.arange(200)
    steps = int(np.argmax(losses <= level))
    assert int(found.steps) == steps
    assert int(found.evaluations) == steps + 1
    assert bool(found.reached)
    assert found.loss == pytest.approx(losses[steps])
    np.testing.assert_allclose(found.params, START * 0.9**steps, rtol=1e-12)


def test_gives_up_after_so_many_steps():
    problem = Function(bowl, START)
    found = descend_until(tw.gradient_descent, jnp.asarray(0.1), problem, START, 1e-6, 7)
    assert (int(found.steps), bool(found.reached)) == (7, False)
    assert found.loss == pytest.approx(12.5 * 0.81**7)


def test_a_divergence_ends():
    problem = Function(lambda x: jnp.sum(x**4), START)
    found = descend_until(tw.gradient_descent, jnp.asarray(1.0), problem, START, 1e-6, 10_000)
    assert int(found.steps) < 20
    assert not bool(found.reached)


@pytest.mark.parametrize("dynamics", [tw.stabilised_descent(), tw.gradient_flow(error=1e-3)])
def test_processes_in_continuous_time(dynamics):
    problem = Function(bowl, START)
    found = advance_until(dynamics, problem, START, 1e-6, 10_000)
    assert bool(found.reached)
    assert found.loss == pytest.approx(float(bowl(found.params)))
    assert found.loss <= 1e-6
    np.testing.assert_allclose(found.params[0] * 4, found.params[1] * 3, atol=1e-9)
    few = advance_until(dynamics, problem, START, 1e-300, 20)
    assert not bool(few.reached)


def test_a_flow_that_has_spent_its_gradients_ends_the_search():
    problem = Function(lambda x: bowl(x) + 1, START)
    flow = tw.gradient_flow(error=1e-3, most_gradients=50)
    found = advance_until(flow, problem, START, 0.5, 5000)
    assert not bool(found.reached)
    assert int(found.evaluations) < 200


def test_a_level_out_of_reach_does_not_hang():
    problem = Function(lambda x: bowl(x) + 1, START)
    found = advance_until(tw.stabilised_descent(), problem, START, 0.5, 5000)
    assert not bool(found.reached)
