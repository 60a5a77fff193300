"""Keras models at the door: variables, precision, refusals, and back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.models import from_keras
from thalweg.problems import supervised

keras = pytest.importorskip("keras", reason="Keras is not installed: pip install 'thalweg[keras]'")
if keras.backend.backend() != "jax":
    pytest.skip(f"Keras runs on {keras.backend.backend()} here", allow_module_level=True)
layers = keras.layers

pytestmark = pytest.mark.implicit  # networks are as their frameworks have them

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, Y, LABELS = RNG.normal(size=(8, 4)), RNG.normal(size=(8, 3)), RNG.integers(0, 3, 8)
IMAGES, WORDS = RNG.normal(size=(5, 8, 8, 2)), RNG.normal(size=(5, 6, 8))
TOKENS = RNG.integers(0, 9, (8, 5))


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = layers.Dense(5, activation="tanh"), layers.Dense(3)

    def call(self, x):
        return self.outer(self.inner(x))


def own():
    net = Own()
    net(X)
    return net


def attention():
    given = keras.Input((6, 8))
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(given, given) + given)
    return keras.Model(given, layers.Dense(3)(layers.LSTM(5)(x)))


def convolution():
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)), layers.Conv2D(4, 3, activation="gelu"),
            layers.BatchNormalization(), layers.MaxPooling2D(), layers.Flatten(),
            layers.Dropout(0.5), layers.Dense(3),
        ]
    )  # fmt: skip


NETS = {
    "own": (own, X),
    "convolution": (convolution, IMAGES),
    "attention and LSTM": (attention, WORDS),
    "embedding": (
        lambda: keras.Sequential(
            [
                keras.Input((5,)), layers.Embedding(9, 6), layers.GlobalAveragePooling1D(),
                layers.Dense(3, activation="tanh"),
            ]
        ), TOKENS),
    "half precision": (
        lambda: keras.Sequential([keras.Input((4,)), layers.Dense(3, dtype="mixed_bfloat16")]), X),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_outputs_and_derivatives_are_those_of_keras(name):
    make, inputs = NETS[name]
    keras.utils.set_random_seed(0)
    net = make()
    problem = supervised(net, (inputs, RNG.normal(size=(len(inputs), 3))))
    assert problem.model.agreement.worst < 1e-12
    params = problem.init(KEY)
    mine = problem.outputs(params)
    assert mine.dtype == jnp.float64
    np.testing.assert_allclose(
        mine, np.asarray(net(inputs, training=False), float), atol=0.02 if "half" in name else 1e-5
    )
    assert {str(v.dtype) for v in net.trainable_variables} == {"float32"}  # as they were
    assert net.layers[-1].compute_dtype == ("bfloat16" if "half" in name else "float32")


def test_a_model_in_one_line_and_back():
    net = own()
    problem = supervised(net, (X, LABELS))
    params = problem.init(KEY)
    kernel, bias, outer, last = (params[v.path] for v in net.trainable_variables)
    truth = np.tanh(X @ kernel + bias) @ outer + last
    np.testing.assert_allclose(problem.outputs(params), truth, rtol=0, atol=1e-13)
    run = tw.run(problem, tw.gradient_descent(0.1), until=1.0, records=1)
    net.set_weights(problem.model.to_framework(run.parameters.values[0, -1]))
    end = tw.problems.problem.unraveller(problem)(jnp.asarray(run.parameters.values[0, -1]))
    np.testing.assert_allclose(net(X), problem.outputs(end), atol=1e-5)


def test_running_averages_are_held_and_training_is_refused():
    net = convolution()
    net.layers[1].moving_mean.assign(np.linspace(-1, 1, 4))
    model = from_keras(net, IMAGES)
    assert sum("moving" in name for name in model.held) == 2
    assert model.agreement.worst < 1e-12
    weights = model.to_framework(model.init(KEY, (8, 8, 2), 3, jnp.float64))
    for mine, theirs in zip(weights, [v.value for v in net.weights], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(
        tw.InputError, match=r"its call writes .*(moving_mean|seed_generator_state)"
    ):
        from_keras(net, IMAGES, training=True)


def test_what_is_no_model_of_keras():
    for given, sentence in (
        (3, "give a Keras model"),
        (Own(), "is not built"),
        (layers.Flatten(), "is not built|no trainable"),
    ):
        with pytest.raises(tw.InputError, match=sentence):
            from_keras(given, X)


def test_another_backend_is_one_sentence(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(tw.InputError, match="set KERAS_BACKEND=jax in the environment before"):
        from_keras(own(), X)
