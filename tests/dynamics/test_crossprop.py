"""Crossprop against autodiff of the learning that its traces follow, and against closed forms."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.driver.steps import steps_on
from thalweg.dynamics import State, crossprop, online, optax_dynamics
from thalweg.problems import Problem
from thalweg.theory.descent import meta_gradients as theory

ETA = 0.04
DRAWN = np.random.default_rng(7)
X = DRAWN.normal(size=(6, 3))
NUMBERS, LABELS = DRAWN.normal(size=(6, 2)), np.array([0, 1, 2, 2, 0, 1])


def net(width: int = 4, activation: str = "tanh", bias: bool = True) -> Any:
    return tw.models.gaussian_start(tw.models.mlp([width], activation, bias=bias), 1.0)


CASES = {
    "mean": lambda: tw.problems.supervised(net(), (X, NUMBERS)),
    "sum": lambda: tw.problems.supervised(net(5, "sigmoid"), (X, NUMBERS), reduction="sum"),
    "softmax": lambda: tw.problems.supervised(net(), (X, LABELS)),
    "unbiased": lambda: tw.problems.supervised(net(bias=False), (X, NUMBERS[:, :1])),
}


@eqx.filter_jit
def step(dynamics: Any, problem: Problem, state: State) -> State:
    return dynamics.step(problem, state, jax.random.key(0))[0]


def held(dynamics: Any, problem: Any, params: Any, shown: np.ndarray) -> State:
    """Steps on the examples shown, after each of which the hidden layer is put back."""
    state = dynamics.init(problem, params)
    for rows in shown:
        state = step(dynamics, problem.on(jnp.asarray(rows)), state)
        state = state._replace(params=[params[0], state.params[1]])
    return state


@cache
def learned(case: str, size: int) -> tuple[Any, Any, np.ndarray, Any]:
    problem = CASES[case]()
    params = problem.init(jax.random.key(3))
    shown = np.random.default_rng(1).integers(0, 6, size=(8, size))
    return problem, params, shown, theory.learning_jacobian(problem, params, ETA, shown)


def rows_of(jacobian: Any, name: str) -> np.ndarray:
    """H[k, l, ...] from the tree of autodiff: output weights, then the output bias."""
    parts = [np.asarray(jacobian["weight"][name])]
    if "bias" in jacobian:
        parts.append(np.asarray(jacobian["bias"][name])[:, None])
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [1, 3])
def test_the_exact_trace_is_the_derivative_of_the_learning(case: str, size: int) -> None:
    problem, params, shown, jacobian = learned(case, size)
    state = held(crossprop(ETA, "sum", trace="exact"), problem, params, shown)
    for name, trace in state.memory.items():
        np.testing.assert_allclose(trace, rows_of(jacobian, name), rtol=0, atol=1e-13)
    expected = theory.learned_output_layer(problem, params, ETA, shown)
    for name, leaf in expected.items():
        np.testing.assert_allclose(state.params[1][name], leaf, rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_with_it_the_hidden_layer_follows_the_meta_gradient(case: str) -> None:
    problem, params, shown, _ = learned(case, 3)
    exact = crossprop(ETA, "sum", trace="exact")
    before = held(exact, problem, params, shown[:-1])
    after = step(exact, problem.on(jnp.asarray(shown[-1])), before)
    slope = theory.meta_gradient(problem, params, ETA, shown)
    for name, leaf in params[0].items():
        np.testing.assert_allclose(
            after.params[0][name] - leaf, -ETA * slope[name], rtol=0, atol=1e-13
        )


def test_the_diagonal_trace_is_exact_for_one_unit_without_an_output_bias() -> None:
    single = tw.models.gaussian_start(tw.models.mlp([1], bias=False), 1.0)
    problem = tw.problems.supervised(single, (X, NUMBERS[:, :1]))
    params = problem.init(jax.random.key(3))
    shown = np.random.default_rng(1).integers(0, 6, size=(30, 1))
    state = held(crossprop(ETA, "sum"), problem, params, shown)
    jacobian = theory.learning_jacobian(problem, params, ETA, shown)
    trace = np.asarray(state.memory["weight"])[0, :, 0]
    np.testing.assert_allclose(trace, np.asarray(jacobian["weight"]["weight"])[0, 0, 0], rtol=1e-13)


def test_for_several_units_it_is_not() -> None:
    problem, params, shown, jacobian = learned("mean", 1)
    state = held(crossprop(ETA, "sum"), problem, params, shown)
    exact = np.asarray(jacobian["weight"]["weight"])  # (k, l, j, i)
    own = np.einsum("kjji->kij", exact)
    assert np.max(np.abs(np.asarray(state.memory["weight"]) - own)) > 1e-3


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("trace", ["diagonal", "factored", "exact"])
def test_mix_one_is_gradient_descent(case: str, trace: str) -> None:
    problem = CASES[case]()
    params = problem.init(jax.random.key(3))
    ours, plain = crossprop(ETA, 1.0, trace=trace), tw.gradient_descent(ETA)
    left, right = ours.init(problem, params), plain.init(problem, params)
    for _ in range(5):
        left, right = step(ours, problem, left), step(plain, problem, right)
    for a, b in zip(jax.tree.leaves(left.params), jax.tree.leaves(right.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def plain_step(U: Any, W: Any, H: Any, x: Any, y: float, eta: float, lam: float) -> Any:
    """One step of E7 as the specification writes it: U, H (inputs + 1, width), W (width + 1,)."""
    x = np.append(x, 1.0)
    phi = np.tanh(x @ U)
    d = y - np.append(phi, 1.0) @ W
    g, w = np.outer(x, 1 - phi**2), W[:-1]
    dU = d * ((1 - lam) * phi * H + lam * w * g)
    H = H * (1 - eta * (1 - lam) * phi**2) + eta * (d - lam * phi * w) * g
    return U + eta * dU, W + eta * d * np.append(phi, 1.0), H


@pytest.mark.parametrize("trace", ["diagonal", "factored", "exact"])
def test_a_row_of_steps_is_carried_in_another_layout_and_comes_out_as_single_steps(
    trace: str,
) -> None:
    problem = CASES["sum"]()
    learner = online(crossprop(ETA, 0.3, trace=trace))
    begin = learner.init(problem, problem.init(jax.random.key(3)))
    # Square, so that a layout that is not turned back would not show in a shape.
    square = tw.problems.supervised(net(3), (X, NUMBERS))
    plain = crossprop(ETA, trace=trace)
    state = plain.init(square, square.init(jax.random.key(3)))
    back = plain.released(plain.carried(state))
    jax.tree.map(np.testing.assert_array_equal, back, state)
    turned = plain.carried(state).params[0]["weight"]
    np.testing.assert_array_equal(turned, state.params[0]["weight"].T)
    row = eqx.filter_jit(steps_on)(problem, learner, begin, jax.random.key(0), begin.step, 7)
    for _ in range(7):
        begin = step(learner, problem, begin)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), row, begin)


@pytest.mark.parametrize("mix", [0.0, 0.3])
def test_a_stream_is_walked_as_a_plain_loop_walks_it(mix: float) -> None:
    problem = tw.problems.stream(net(), (X, NUMBERS[:, :1]))
    params = problem.init(jax.random.key(3))
    learner = online(crossprop(ETA, mix))
    state = learner.init(problem, params)
    first, last = params
    U = np.vstack([np.asarray(first["weight"]).T, np.asarray(first["bias"])])
    W, H = np.append(np.asarray(last["weight"])[0], float(last["bias"][0])), np.zeros_like(U)
    lost = 0.0
    for k in range(9):  # longer than the stream
        x, y = X[k % 6], NUMBERS[k % 6, 0]
        lost += 0.5 * (y - np.append(np.tanh(np.append(x, 1.0) @ U), 1.0) @ W) ** 2
        U, W, H = plain_step(U, W, H, x, y, ETA, mix)
        state = step(learner, problem, state)
        if k == 0 and mix == 0:  # the trace began at zero
            np.testing.assert_array_equal(state.params[0]["weight"], first["weight"])
    np.testing.assert_allclose(state.params[0]["weight"], U[:-1].T, rtol=1e-12)
    np.testing.assert_allclose(state.params[0]["bias"], U[-1], rtol=1e-12)
    np.testing.assert_allclose(state.params[1]["weight"][0], W[:-1], rtol=1e-12)
    assert float(state.memory.loss) == pytest.approx(lost, rel=1e-12)


def test_the_factored_form_is_that_of_the_paper() -> None:
    """E8, three classes, with the decay of squared error."""
    problem = tw.problems.stream(net(), (X, LABELS))
    params = problem.init(jax.random.key(3))
    learner = online(crossprop(ETA, trace="factored", decay="lms", feature_step_size=0.1))
    state = learner.init(problem, params)
    U = np.vstack([np.asarray(params[0]["weight"]).T, np.asarray(params[0]["bias"])])
    W, b = np.asarray(params[1]["weight"]).T, np.asarray(params[1]["bias"])
    h, wrong = np.zeros_like(W), 0
    for x, label in zip(X, LABELS, strict=True):
        x = np.append(x, 1.0)
        phi = np.tanh(x @ U)
        z = phi @ W + b
        wrong += int(np.argmax(z) != label)
        e = np.eye(3)[label] - np.exp(z) / np.sum(np.exp(z))
        U = U + 0.1 * np.outer(x, (1 - phi**2) * phi * (h @ e))
        W, b = W + ETA * np.outer(phi, e), b + ETA * e
        h = (1 - ETA * phi**2)[:, None] * h + ETA * e
        state = step(learner, problem, state)
    np.testing.assert_allclose(state.params[0]["weight"], U[:-1].T, rtol=1e-12)
    np.testing.assert_allclose(state.memory.memory, h, rtol=1e-11)
    assert int(state.memory.mistakes) == wrong


def test_the_decay_of_the_loss_is_p_times_one_minus_p() -> None:
    problem = tw.problems.supervised(net(), (X[:1], LABELS[:1] * 0 + np.array([0])))
    problem = dataclasses.replace(problem, targets=jnp.eye(3)[:1], classification=True)
    params = net().init(jax.random.key(3), (3,), 3)
    by_loss, by_lms = (crossprop(ETA, trace="factored", decay=decay) for decay in ("loss", "lms"))
    one = jnp.ones((4, 3))
    states = [d.init(problem, params)._replace(memory=one) for d in (by_loss, by_lms)]
    after = [step(d, problem, s).memory for d, s in zip((by_loss, by_lms), states, strict=True)]
    first, last = params
    phi = np.tanh(np.asarray(first["weight"]) @ X[0] + np.asarray(first["bias"]))
    p = np.asarray(jax.nn.softmax(jnp.asarray(np.asarray(last["weight"]) @ phi + last["bias"])))
    lost = ETA * np.outer(phi**2, np.ones(3))
    np.testing.assert_allclose(after[0] - after[1], lost * (1 - p * (1 - p)), rtol=1e-10)


def test_any_optimiser_walks_a_stream() -> None:
    problem = tw.problems.stream(tw.models.linear([]), (X, NUMBERS))
    adam = optax_dynamics(optax.adam(0.01), 0.01, "Adam")
    begin = problem.init(jax.random.key(0))
    run = tw.run(problem, online(adam), until=0.06, records=2, start=begin)
    params, state = begin, optax.adam(0.01).init(begin)
    for k in range(6):
        slope = jax.grad(problem.on(jnp.asarray([k])).objective)(params)
        with jax.numpy_dtype_promotion("standard"):
            move, state = optax.adam(0.01).update(slope, state)
            params = optax.apply_updates(params, move)
    got = run.parameters.values[0, -1]
    np.testing.assert_allclose(got, np.ravel(params[0]["weight"]), rtol=1e-12)
    assert run.dataset["passes"].values.tolist() == [0.0, 0.5, 1.0]
    assert "online_loss" in run.dataset
    assert "online_mistakes" not in run.dataset


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mix": 1.5}, "mix came as 1.5"),
        ({"mix": "half"}, "mix came as 'half'"),
        ({"trace": "full"}, "full"),
        ({"decay": "none"}, "none"),
    ],
)
def test_bad_arguments_are_told(arguments: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        crossprop(0.1, **arguments)


@pytest.mark.parametrize("hidden", [[], [3, 3]])
def test_other_nets_are_refused(hidden: list[int]) -> None:
    problem = tw.problems.supervised(tw.models.mlp(hidden), (X, NUMBERS))
    with pytest.raises(InputError, match="one hidden layer"):
        tw.run(problem, crossprop(0.1), until=0.2, records=2)


def test_a_stream_needs_examples() -> None:
    bowl = tw.problems.Function(lambda x: jnp.sum(x**2), start=jnp.ones(2))
    with pytest.raises(InputError, match="no examples"):
        tw.run(bowl, online(tw.gradient_descent(0.1)), until=0.2, records=2)
