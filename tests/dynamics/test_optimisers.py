"""Optimisers by name: each is the transformation that it says, with the clock that it says."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.dynamics import METHODS, OPTIMISERS, method, optimiser
from thalweg.dynamics.optimiser_parameters import PARAMETER_ALIASES, PARAMETERS
from thalweg.dynamics.optimisers import ALIASES, optimiser_named
from thalweg.dynamics.optimisers_in_words import named_in, split

START = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.3])}


def bent(p: dict[str, jax.Array]) -> jax.Array:
    return jnp.sum(jnp.cosh(0.3 * p["w"])) + 0.5 * jnp.sum((p["b"] - 1) ** 2)


BENT = tw.problems.Function(bent, start=START)
LINE = tw.problems.supervised(tw.models.linear([]), (np.eye(3), np.ones((3, 1))))
LINE_START = [{"weight": jnp.zeros((1, 3))}]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_each_is_made_steps_and_lowers_the_objective(name: str) -> None:
    made = optimiser(name, 0.01) if OPTIMISERS[name].rated else optimiser(name)
    on_data = OPTIMISERS[name].whole or OPTIMISERS[name].corrects
    on_data |= name in ("levenberg-marquardt", "polyak-step")
    problem, start = (LINE, LINE_START) if on_data else (BENT, START)
    state = made.init(problem, start)
    begun = state.params  # of replicas their barycentre, which is not where the first begins
    step = jax.jit(lambda state, key: made.step(problem, state, key)[0])
    for k in range(3):
        state = step(state, jax.random.key(k))
    assert int(state.step) == 3
    assert float(state.time) == pytest.approx(float(made.clock(np.array([3]))[0]))
    assert float(problem.objective(state.params)) < float(problem.objective(begun))
    assert jax.tree.map(jnp.shape, state.params) == jax.tree.map(jnp.shape, start)


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
        (("kfac",), {"damping": -1.0}, "damping of kfac came as -1.0"),
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
        (("newton", 0.1), {}, "newton has no learning rate"),
        (("newton",), {"krylov": -1}, "a whole number from 0 on"),
        (("newton",), {"momentum": 0.9}, "it has no learning rate and krylov=0"),
        (("polyak-step",), {"least": float("inf")}, "least of polyak-step came as inf"),
        (("trust-region",), {"radius": 0.0}, "number came as 0.0"),
        (("coordinate", 0.1), {"batch": 2}, "sees one coordinate"),
        (("svrg", 0.1), {"oracle": "label_noise(0.1)"}, "svrg draws batches of its own"),
        (("saga", 0.1), {"period": 3}, "saga has no parameter 'period'"),
        (("spider", 0.1), {"reference": 0}, "a whole number from 1 on"),
        (("adam(0.1, 0.2)",), {}, "has more than one learning rate"),
        (("adam(x)",), {}, "cannot be read; write a name with its numbers"),
        (("adam(0.1",), {}, "cannot be read"),
        (("adam(0.1, b1=0.2, b1=0.3)",), {}, "cannot be read"),
        (("adam(0.1)", 0.1), {}, "learning_rate came twice"),
        (("adam(0.1, b1=0.5)",), {"b1": 0.5}, "b1 came twice"),
    ],
)
def test_what_it_has_not_is_one_sentence(arguments: Any, given: Any, words: str) -> None:
    with pytest.raises(tw.InputError) as caught:
        optimiser(*arguments, **given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rmsprop_that_begins_with_an_average_has_a_central_flow():
    problem = tw.problems.supervised(tw.models.linear([]), (np.eye(2), np.ones((2, 1))))
    params = problem.init(jax.random.key(0))
    begun = tw.dynamics.optimiser("rmsprop", 0.01, initial=0.5, epsilon=1e-3)
    found = begun.central(problem, params)
    assert float(found.initial) == pytest.approx(0.5)
    assert float(found.scaling.epsilon) == pytest.approx(1e-3)
    assert tw.dynamics.optimiser("rmsprop", 0.01).central(problem, params) is None


def test_every_method_of_the_shelf_has_a_name_and_is_the_same() -> None:
    assert {optimiser_named(name) for name in METHODS} <= set(OPTIMISERS)
    for name, numbers in {
        "armijo": {}, "agmsdr": {}, "conjugate-gradients": {}, "bfgs": {}, "dfp": {}, "lbfgs": {},
        "newton": {"krylov": 3}, "damped-newton": {"damping": 0.3}, "polyak-step": {"least": -1.0},
        "saddle-free": {"damping": 0.2}, "cubic-newton": {"hessian_lipschitz": 2.0},
        "trust-region": {"radius": 0.5, "krylov": 2},
    }.items():  # fmt: skip
        one, two = optimiser(name, **numbers).describe(), method(name, **numbers).describe()
        assert {**one, "transform": ""} == {**two, "transform": ""}, name
    L, mu = 4.0, 0.5
    for name, rate, numbers in (
        ("perturbed", 1 / L, {}), ("clipped", 1 / L, {}), ("accelerated", 1 / L, {"convexity": mu}),
    ):  # fmt: skip
        shelf = "nesterov" if name == "accelerated" else name
        one = optimiser(name, rate, **numbers).describe()
        two = method(shelf, smoothness=L, **numbers).describe()
        assert {**one, "transform": ""} == {**two, "transform": ""}, name
    constant = method("nesterov-constant", smoothness=L, convexity=mu).describe()
    assert optimiser("nesterov-constant", 1 / L, convexity=mu).describe() == constant


@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1.0, 1e12])
def test_polyaks_step_halves_a_parabola_in_any_unit(scale: float) -> None:
    bowl = tw.problems.Function(lambda x: scale * (0.5 * x**2) + 3 * scale, start=jnp.ones(()))
    descent = optimiser("polyak-step", least=3 * scale)
    state = descent.init(bowl, jnp.ones(()))
    for _ in range(3):
        state = descent.step(bowl, state, jax.random.key(0))[0]
    assert float(state.params) == pytest.approx(0.125, rel=1e-12)
    at_rest = descent.step(bowl, state._replace(params=jnp.zeros(())), jax.random.key(0))[0]
    assert float(at_rest.params) == 0.0


def test_a_name_may_bring_its_numbers() -> None:
    assert named_in("gd") == ("gd", None, {})
    assert named_in(" momentum ( 0.1, momentum=0.5 ) ") == ("momentum", 0.1, {"momentum": 0.5})
    assert split("gd, adam(0.1, b1=0.5) ,newton") == ["gd", "adam(0.1, b1=0.5)", "newton"]
    same = optimiser("adam", 0.1, b1=0.5).describe()
    assert optimiser("adam(0.1, b1=0.5)").describe() == same
    assert optimiser("Adam(learning_rate=0.1)", b1=0.5).describe() == same
