"""Kinks along a run against the reduced dynamics, and patterns in several inputs by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.theory.relu_nets.kink_dynamics import kink_dynamics
from thalweg.theory.relu_nets.one_input import one_input_data, one_input_net

X = np.array([[-2.0], [-0.5], [1.0], [2.0], [3.0]])
Y = np.array([[1.0], [-1.0], [1.5], [-2.0], [1.0]])


def test_kinks_along_a_run_are_those_of_the_reduced_dynamics():
    problem = tw.problems.supervised(tw.models.mlp([24], "relu", initialiser="he-normal"), (X, Y))
    params = problem.init(jax.random.key(1))
    data, net = one_input_data(X[:, 0], Y[:, 0]), one_input_net(params)
    runs = kink_dynamics(net, data)
    h = float(runs.step_size)
    held = tw.problems.supervised(tw.models.given_start(problem.model, params), (X, Y))
    run = tw.run(
        held, tw.gradient_descent(h), until=100 * h, records=4, progress=False,
        probes=["kink-positions", "kink-reach", "activation-changes"],
    )  # fmt: skip
    for record, steps in enumerate((0, 25, 50, 75, 100)):
        state = runs.advance(runs.start, steps)
        assert not state.crossed
        now, seen = runs.net_at(state), run.dataset.isel(seed=0, time=record)
        np.testing.assert_allclose(seen["kink_positions"], -now.b / now.a, atol=1e-13)
        np.testing.assert_allclose(seen["kink_reach"], runs.reach(state) / 0.5, atol=1e-13)
        assert float(seen["activation_changes"]) == 0


def test_changes_are_counted_by_example_and_unit_in_all_layers():
    problem = tw.problems.supervised(
        tw.models.mlp([5, 4], "leaky-relu"),
        (np.random.default_rng(0).normal(size=(9, 3)), Y[:1].repeat(9, 0)),
    )
    one, two = (problem.init(jax.random.key(k)) for k in (0, 1))
    probe = tw.probes.activation_changes()
    memory = probe.start(problem, one)
    reading, _ = probe.measure(problem, two, memory, tw.probes.Moment(jnp.asarray(1), None))
    patterns = []
    for params in (one, two):
        h, signs = np.asarray(problem.inputs), []
        for layer in params[:-1]:
            z = h @ np.asarray(layer["weight"]).T + np.asarray(layer["bias"])
            signs.append(z > 0)
            h = np.where(z > 0, z, 0.01 * z)
        patterns.append(np.concatenate(signs, axis=1))
    assert patterns[0].shape == (9, 9)
    assert float(reading.value) == pytest.approx(np.mean(patterns[0] != patterns[1]), abs=1e-15)
    assert 0.1 < float(reading.value) < 0.9


def test_other_nets_are_refused_in_a_sentence():
    two = np.ones((4, 2))
    for model, data, name in (
        (tw.models.mlp([4]), (X, Y), "activation-changes"),
        (tw.models.mlp([4], "relu"), (two, Y[:4]), "kink-positions"),
        (tw.models.mlp([4, 4], "relu"), (X, Y), "kink-reach"),
        (tw.models.mlp([4], "relu", bias=False), (X, Y), "kink-reach"),
    ):
        problem = tw.problems.supervised(model, data)
        with pytest.raises(InputError, match="needs a"):
            tw.measure(problem, problem.init(jax.random.key(0)), name)


def test_a_spread_start_is_looked_through():
    net = tw.models.spread_biases(tw.models.mlp([6], "relu"), "kink-neg-point", X)
    problem = tw.problems.supervised(net, (X, Y))
    params = problem.init(jax.random.key(0))
    kinks = np.asarray(tw.measure(problem, params, "kink-positions").value)
    assert np.min(np.abs(kinks[:, None] - X[:, 0]), axis=1).max() < 1e-12
