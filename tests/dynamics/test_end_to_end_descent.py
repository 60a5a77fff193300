"""End-to-end descent beside its formula and beside descent on the factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.dynamics.end_to_end_rule import depth_preconditioned, end_to_end_descent
from thalweg.models.overparametrisation import balanced_factors
from thalweg.problems import Function
from thalweg.problems.linear_targets import DeepLinear, deep_linear_params
from thalweg.problems.weight_decay import Decayed
from thalweg.theory.linear_nets.end_to_end import end_to_end_field

TARGET = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3)))
START = 0.5 * jnp.asarray(np.random.default_rng(1).normal(size=(2, 3)))
DECAY = 0.1


def stepped(dynamics, problem, params, steps):
    def step(_, state):
        return dynamics.step(problem, state, jax.random.key(0))[0]

    return jax.lax.fori_loop(0, steps, step, dynamics.init(problem, params))


def test_a_step_by_the_formula():
    problem = DeepLinear(TARGET)
    state = stepped(end_to_end_descent(0.01, 3, DECAY), problem, deep_linear_params([START]), 1)
    field = end_to_end_field(START, START - TARGET, 3)
    expected = (1 - 0.01 * DECAY * 3) * START - 0.01 * field
    np.testing.assert_allclose(state.params[0]["weight"], expected, rtol=1e-13)
    assert float(state.time) == 0.01
    assert int(state.evaluations) == 1


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(4, 2), (1, 5), (3, 3)])
def test_its_own_formula_is_that_of_theory(shape, depth):
    draw = np.random.default_rng(depth)
    W, G = (jnp.asarray(draw.normal(size=shape)) for _ in range(2))
    W = W.at[:, 0].set(0)  # a null space, which only the ends of the sum reach
    np.testing.assert_allclose(
        depth_preconditioned(W, G, depth), end_to_end_field(W, G, depth), rtol=1e-12, atol=1e-13
    )


def test_depth_one_is_gradient_descent():
    problem = DeepLinear(TARGET)
    both = [
        stepped(dynamics, problem, deep_linear_params([START]), 5).params[0]["weight"]
        for dynamics in (end_to_end_descent(0.1, 1), tw.gradient_descent(0.1))
    ]
    np.testing.assert_allclose(*both, rtol=1e-13)


def test_it_tends_to_descent_on_the_factors():
    """Halving the step size halves the distance at time 0.5."""
    weights = balanced_factors(START, 3, 4, jax.random.key(0))
    gaps = []
    for eta in (0.02, 0.01, 0.005):
        steps = round(0.5 / eta)
        deep = stepped(
            tw.gradient_descent(eta),
            Decayed(DeepLinear(TARGET), DECAY),
            deep_linear_params(weights),
            steps,
        )
        W1, W2, W3 = (layer["weight"] for layer in deep.params)
        alone = stepped(end_to_end_descent(eta, 3, DECAY), DeepLinear(TARGET), START_TREE, steps)
        gaps.append(np.linalg.norm(W3 @ W2 @ W1 - alone.params[0]["weight"]))
    ratios = np.divide(gaps[:-1], gaps[1:])
    np.testing.assert_allclose(ratios, 2, atol=0.15)


START_TREE = deep_linear_params([START])


def test_the_flow_of_the_factors_is_its_limit():
    """The library's own gradient flow on the factors, and end-to-end descent by small steps."""
    weights = balanced_factors(START, 2, 3, jax.random.key(0))
    problem = Decayed(DeepLinear(TARGET, draw=lambda key: weights), DECAY)
    flow = tw.run(problem, tw.gradient_flow(1e-8), times=[0.0, 0.25, 0.5])
    params = flow.parameters[0].values[-1]
    W1, W2 = params[:9].reshape(3, 3), params[9:].reshape(2, 3)
    ends = [
        stepped(
            end_to_end_descent(h, 2, DECAY), DeepLinear(TARGET), START_TREE, round(0.5 / h)
        ).params[0]["weight"]
        for h in (0.01, 0.005)
    ]
    limit = 2 * ends[1] - ends[0]  # the error of first order removed
    assert np.linalg.norm(W2 @ W1 - ends[1]) > 1e-4
    np.testing.assert_allclose(W2 @ W1, limit, atol=1e-4)


def test_through_the_front_door():
    problem = Function(lambda W: jnp.sum((W - TARGET) ** 2), start=START)
    done = tw.run(problem, end_to_end_descent(0.02, 2), until=1.0, records=3)
    loss = done.dataset["loss"][0].values
    assert loss[-1] < loss[0]
    assert done.dataset["time"].values[-1] == pytest.approx(1.0)


def test_bad_input_is_told():
    with pytest.raises(tw.InputError, match="at least 1"):
        end_to_end_descent(0.1, 0)
    with pytest.raises(tw.InputError, match="from 0 on"):
        end_to_end_descent(0.1, 2, -1.0)
    dynamics = end_to_end_descent(0.1, 2)
    with pytest.raises(tw.InputError, match="one matrix"):
        dynamics.init(DeepLinear(TARGET), deep_linear_params([START, START]))
