"""Haiku functions at the door, and what holds any network against its own framework."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.models import from_haiku
from thalweg.models.frameworks import haiku_functions, network
from thalweg.problems import supervised

pytest.importorskip("haiku", reason="Haiku is not installed: pip install 'thalweg[haiku]'")

import haiku as hk

pytestmark = pytest.mark.implicit  # networks are as their frameworks have them

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, Y, LABELS = RNG.normal(size=(8, 4)), RNG.normal(size=(8, 3)), RNG.integers(0, 3, 8)


def dense(x):
    hidden = jnp.tanh(hk.Linear(5)(x))
    return hk.Linear(3)(hidden)


def normalised(x, is_training=False):
    x = hk.BatchNorm(True, True, 0.9)(hk.Linear(5)(x), is_training)
    return hk.Linear(3)(jnp.tanh(x))


def dropping(x):
    hidden = hk.Linear(4)(x)
    return hk.Linear(3)(hk.dropout(hk.next_rng_key(), 0.5, hidden))


@pytest.mark.parametrize("bare", [True, False])
def test_a_transformed_function_in_one_line(bare):
    net = hk.transform(dense)
    net = hk.without_apply_rng(net) if bare else net
    problem = supervised(net, (X, Y))
    params = problem.init(KEY)
    z = np.tanh(X @ params["linear"]["w"] + params["linear"]["b"])
    truth = z @ params["linear_1"]["w"] + params["linear_1"]["b"]
    np.testing.assert_allclose(problem.outputs(params), truth, rtol=0, atol=1e-13)
    assert problem.model.agreement.worst < 1e-13
    assert not np.allclose(problem.init(jax.random.key(1))["linear"]["w"], params["linear"]["w"])
    in_words = tw.problem((X, Y), model=net)
    np.testing.assert_array_equal(in_words.outputs(params), problem.outputs(params))
    mine = net.init(jax.random.key(7), X)  # a checkpoint
    fixed = supervised(from_haiku(net, mine), (X, Y))
    for seed in (0, 1):
        start = fixed.init(jax.random.key(seed))
        np.testing.assert_array_equal(start["linear"]["w"], mine["linear"]["w"])
    assert jax.tree.structure(fixed.model.to_framework(start)) == jax.tree.structure(mine)


def test_a_state_is_held_fixed():
    net = hk.transform_with_state(normalised)
    params, state = net.init(KEY, X, is_training=True)
    _, state = net.apply(params, state, None, X, is_training=True)
    problem = supervised(from_haiku(net, params, state), (X, Y))
    start = problem.init(KEY)
    mean, var = (np.float64(state[f"batch_norm/~/{n}_ema"]["average"]) for n in ("mean", "var"))
    z = X @ start["linear"]["w"] + start["linear"]["b"]
    z = (z - mean) / np.sqrt(var + 1e-5) * start["batch_norm"]["scale"]
    truth = np.tanh(z + start["batch_norm"]["offset"]) @ start["linear_1"]["w"]
    np.testing.assert_allclose(problem.outputs(start), truth + start["linear_1"]["b"], atol=1e-12)
    assert len(problem.describe()["held fixed"]) == 6
    weights, kept = problem.model.to_framework(start)
    np.testing.assert_array_equal(weights["linear"]["w"], params["linear"]["w"])
    assert kept is state
    with pytest.raises(tw.InputError, match="batch_norm is batch normalisation"):
        supervised(from_haiku(net, params, state, is_training=True), (X, Y))
    with pytest.raises(tw.InputError, match="keeps a state; give it beside params"):
        from_haiku(net, params)


@pytest.mark.thorough
def test_a_convolution_trained_in_single_precision_is_a_start():
    """Its layers take no mixture of types; the inputs here are in double precision."""
    images = RNG.normal(size=(3, 5, 2))
    net = hk.transform(convolution)
    params = net.init(KEY, jnp.asarray(images, jnp.float32))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    model = from_haiku(net, params, example=images)
    start = model.init(KEY, (5, 2), 3, jnp.float64)
    w, b = (np.float64(params["conv1_d"][name]) for name in "wb")
    truth = [np.einsum("nij,ijk->nk", images[:, i : i + 2], w) + b for i in range(4)]
    np.testing.assert_allclose(model.apply(start, images), np.stack(truth, 1), rtol=0, atol=1e-13)
    jax.tree.map(np.testing.assert_array_equal, model.to_framework(start), params)


def convolution(x):
    return hk.Conv1D(3, 2, padding="VALID")(x)


def counting(x, counts=True):
    seen = hk.get_state("calls", (), init=jnp.zeros)
    average = hk.ExponentialMovingAverage(0.9, name="mean_input")(jnp.mean(x), update_stats=counts)
    if counts:
        hk.set_state("calls", seen + 1)
    return hk.Linear(3)(x) + average


def test_a_state_that_a_call_writes_is_named():
    """Of whatever module; a call that only reads it is the net at that state."""
    net = hk.without_apply_rng(hk.transform_with_state(counting))
    params, state = net.init(KEY, X)
    _, state = net.apply(params, state, X)
    with pytest.raises(tw.InputError, match=r"writes a state when it is called .*calls of ~"):
        supervised(from_haiku(net, params, state), (X, Y))
    with pytest.raises(tw.InputError, match=r"of mean_input.*give the function as for evaluation"):
        supervised(from_haiku(net, params, state), (X, Y))
    problem = supervised(from_haiku(net, params, state, counts=False), (X, Y))
    found = problem.outputs(problem.init(KEY))
    np.testing.assert_allclose(found, net.apply(params, state, X, counts=False)[0], rtol=1e-6)


def test_dropout_is_refused():
    for start in (None, hk.transform(dropping).init(KEY, X)):
        with pytest.raises(tw.InputError, match=r"draws random numbers .* after the module linear"):
            supervised(from_haiku(hk.transform(dropping), start, example=X), (X, Y))


def test_a_rounding_is_refused():
    rounds = hk.transform(lambda x: dense(jnp.tanh(hk.Linear(4)(x)).astype(jnp.float32)))
    with pytest.raises(tw.InputError, match="computes in float32"):
        supervised(rounds, (X, Y))


def test_what_differs_from_its_framework_is_refused(monkeypatch):
    """An approximate GELU in place of the exact one, as a wrong translation would give."""
    net = hk.transform(lambda x: hk.Linear(3)(jax.nn.gelu(hk.Linear(5)(x), approximate=False)))
    params = net.init(KEY, X)
    assert from_haiku(net, params, example=X).agreement.worst < 1e-13
    exact = jax.nn.gelu
    called = network.Network.apply

    def wrong(self, params, x):
        monkeypatch.setattr(jax.nn, "gelu", lambda z, approximate: exact(z))
        try:
            return called(self, params, x)
        finally:
            monkeypatch.setattr(jax.nn, "gelu", exact)

    monkeypatch.setattr(network.Network, "apply", wrong)
    with pytest.raises(tw.InputError, match=r"does not agree .* outputs differ by \d\.\de-0\d, a "):
        from_haiku(net, params, example=X)


def test_running_averages_that_stay_in_single_precision_are_seen(monkeypatch):
    """What is held must be cast up with the weights: here the check compares with what is not."""
    net = hk.transform_with_state(normalised)
    params, state = net.init(KEY, X, is_training=True)
    _, state = net.apply(params, state, None, X, is_training=True)
    monkeypatch.setattr(
        haiku_functions,
        "double",
        lambda tree: jax.tree.map(lambda a: a.astype(float) * (1 + 1e-8), tree),
    )
    with pytest.raises(tw.InputError, match="does not agree with its framework"):
        from_haiku(net, params, state, example=X)


def test_complex_weights_are_trained_as_pairs():
    def waves(x):
        w = hk.get_parameter("w", (3,), jnp.complex128, hk.initializers.Constant(1 + 2j))
        return jnp.fft.irfft(jnp.fft.rfft(x, axis=1)[:, :3] * w, n=4, axis=1)[:, :3]

    problem = supervised(hk.transform(waves), (X, Y))
    assert tw.core.tree.size(problem.init(KEY)) == 6
    assert problem.model.agreement.worst < 1e-13


def test_seeds_of_a_network_that_brings_its_weights():
    net = hk.transform(dense)
    given = supervised(from_haiku(net, net.init(KEY, X)), (X, Y))
    descent = tw.gradient_descent(0.1)
    with pytest.raises(
        tw.InputError, match=r"seeds came as 2, and from_haiku\(\.\.\.\) begins each"
    ):
        tw.run(given, descent, 0.1, records=1, seeds=2)
    batches = tw.optax_dynamics(optax.sgd(0.1), 0.1, batch=2)
    for problem, dynamics in ((given, batches), (supervised(net, (X, Y)), descent)):
        losses = tw.run(problem, dynamics, 0.1, records=1, seeds=2).dataset["loss"].values
        assert losses[0, -1] != losses[1, -1]


def test_what_is_no_function_of_haiku():
    with pytest.raises(tw.InputError, match=r"give what hk\.transform"):
        from_haiku(dense)
    with pytest.raises(tw.InputError, match="came without params"):
        from_haiku(hk.transform(dense))


def test_a_framework_that_is_missing_is_one_sentence():
    wanted = r"needs haiku, which .* pip install 'thalweg\[haiku\]'"
    with pytest.raises(tw.InputError, match=wanted), network.needing("haiku"):
        raise ImportError("No module named 'haiku'")
