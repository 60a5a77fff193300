"""Optimisers by name: each is the transformation that it says, with the clock that it says."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.dynamics import OPTIMISERS, optimiser
from thalweg.dynamics.optimisers import ALIASES, PARAMETER_ALIASES, PARAMETERS

START = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.3])}


def bent(p: dict[str, jax.Array]) -> jax.Array:
    return jnp.sum(jnp.cosh(0.3 * p["w"])) + 0.5 * jnp.sum((p["b"] - 1) ** 2)


BENT = tw.problems.Function(bent, start=START)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_each_is_made_steps_and_lowers_the_objective(name: str) -> None:
    made = optimiser(name, 0.01)
    state = made.init(BENT, START)
    step = jax.jit(lambda state, key: made.step(BENT, state, key)[0])
    for k in range(3):
        state = step(state, jax.random.key(k))
    assert int(state.step) == 3
    assert float(state.time) == pytest.approx(float(made.clock(np.array([3]))[0]))
    assert float(BENT.objective(state.params)) < float(BENT.objective(START))
    assert jax.tree.map(jnp.shape, state.params) == jax.tree.map(jnp.shape, START)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "given", "transform"),
    [
        ("momentum", {"momentum": 0.8}, optax.sgd(0.05, momentum=0.8)),
        ("nesterov", {}, optax.sgd(0.05, momentum=0.9, nesterov=True)),
        ("adam", {"b1": 0.8, "b2": 0.9, "epsilon": 1e-3}, optax.adam(0.05, 0.8, 0.9, 1e-3)),
        ("adamw", {"weight_decay": 0.1}, optax.adamw(0.05, weight_decay=0.1)),
        ("rmsprop", {}, optax.rmsprop(0.05, 0.99, 1e-8, eps_in_sqrt=False)),
        ("rmsprop", {"momentum": 0.5}, optax.rmsprop(0.05, 0.99, eps_in_sqrt=False, momentum=0.5)),
        ("lion", {"b2": 0.9}, optax.lion(0.05, b2=0.9)),
        ("adagrad", {"initial": 0.0}, optax.adagrad(0.05, 0.0)),
        ("muon", {"b1": 0.5}, optax.contrib.muon(0.05, adam_b1=0.5)),
    ],
)
def test_the_path_is_that_of_the_optax_loop(name: str, given: Any, transform: Any) -> None:
    made, params, held = optimiser(name, 0.05, **given), START, transform.init(START)
    state = made.init(BENT, START)
    for k in range(4):
        state = made.step(BENT, state, jax.random.key(k))[0]
        updates, held = transform.update(jax.grad(bent)(params), held, params)
        params = optax.apply_updates(params, updates)
    for one, two in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "given", "step"),
    [("sgd", {}, 0.05), ("momentum", {}, 0.5), ("nesterov", {"momentum": 0.5}, 0.1),
     ("rmsprop", {"momentum": 0.75}, 0.2), ("adam", {}, 0.05), ("muon", {}, 0.05)],
)  # fmt: skip
def test_the_clock_counts_how_far_a_lasting_gradient_leads(
    name: str, given: Any, step: float
) -> None:
    made = optimiser(name, 0.05, **given)
    assert float(made.clock(np.array([7]))[0]) == pytest.approx(7 * step)
    reach = made.stability(BENT, START).reach
    assert np.isnan(reach) or reach == pytest.approx(1.0)


def test_what_people_type_is_understood() -> None:
    assert set(ALIASES.values()) <= set(OPTIMISERS)
    assert not set(ALIASES) & set(OPTIMISERS)
    assert set(PARAMETER_ALIASES.values()) <= set(PARAMETERS)
    assert {p for entry in OPTIMISERS.values() for p in entry.parameters} == set(PARAMETERS)
    assert optimiser("GD", 0.1).describe() == tw.gradient_descent(0.1).describe()
    same = optimiser("adam", 1e-3, b1=0.8, epsilon=1e-6).describe()
    assert optimiser("Adam", lr=1e-3, beta1=0.8, eps=1e-6).describe() == same
    assert optimiser("SGD+Momentum", 0.1).describe() == optimiser("momentum", 0.1).describe()
    assert optimiser("sgd", 0.1, batch=2).random
    assert not optimiser("adam", 0.1).random


@pytest.mark.parametrize(
    ("arguments", "given", "words"),
    [
        (("adamm", 0.1), {}, "unknown optimiser 'adamm'. Did you mean 'adam'?"),
        (("adam",), {}, "adam needs a learning rate"),
        (("adam", -1.0), {}, "learning_rate came as -1.0"),
        (("adam", float("nan")), {}, "learning_rate came as nan"),
        (("adam", 0.1), {"momentum": 0.9}, "has a learning rate and b1=0.9, b2=0.999"),
        (("sgd", 0.1), {"momentum": 0.9}, "a learning rate and no others"),
        (("adam", 0.1), {"lr": 0.1}, "came twice"),
        (("momentum", 0.1), {"momentum": 1.0}, "from 0 to below 1"),
        (("adam", 0.1), {"epsilon": -1.0}, "a number from 0 on"),
        (("adam", 0.1), {"b1": "0.9"}, "came as the text '0.9'"),
        (("lbfgs",), {"memory": 0}, "a whole number from 1 on"),
        (("lbfgs",), {"memory": 2.5}, "a whole number from 1 on"),
    ],
)
def test_what_it_has_not_is_one_sentence(arguments: Any, given: Any, words: str) -> None:
    with pytest.raises(tw.InputError) as caught:
        optimiser(*arguments, **given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
