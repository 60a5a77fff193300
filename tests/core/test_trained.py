"""What of foreign trees is trained and what is held fixed, and that both come together again."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core import tree
from thalweg.core.behaviour import mixes, varies
from thalweg.core.errors import InputError
from thalweg.core.trained import divide, held_names, join

pytestmark = pytest.mark.implicit  # models as users write them

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.array_equal(a, b) if eqx.is_array(a) else a == b


class Module(eqx.Module):
    weight: jax.Array
    waves: jax.Array
    count: jax.Array
    rate: float
    activation: object


@pytest.mark.parametrize(
    ("given", "trained"),
    [
        ({"w": np.ones(3), "step": np.asarray(3), "key": KEY, "old": jax.random.PRNGKey(0)}, 3),
        ({"w": jnp.ones((2, 3)), "mask": np.array([True]), "n": 4, "rate": 0.5}, 7),
        ([np.ones(2) * 1j, (np.float32(2.0), jnp.ones((), jnp.complex64))], 7),
        (Module(jnp.ones(2), 1j * jnp.ones(3), jnp.asarray(1), 0.5, jnp.tanh), 8),
        ({"net": Module(jnp.ones(2), jnp.ones(3), jnp.asarray(1), 0.5, jax.nn.relu), "a": 1.0}, 6),
        ({"params": {"w": np.ones(4)}, "batch_stats": {"mean": np.ones(9)}}, 4),
        ({"layers": [{"w": np.ones(4), "batch_stats": np.ones(2)}], "count": 3}, 4),
        (eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, "batch", mode="batch"), 6),
    ],
    ids=["keys", "scalars", "complex", "module", "inside", "flax", "nested", "equinox-state"],
)  # fmt: skip
def test_what_is_trained_and_that_nothing_is_lost(given, trained):
    free, held = divide(given, "start")
    assert tree.size(free) == trained
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(free))
    same(join(free, held), given)


def test_half_precision_is_cast_up_and_nothing_else():
    given = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2, jnp.float16), "c": jnp.ones(2)}
    free, held = divide(given | {"d": jnp.ones(2, jnp.float32)}, "start")
    assert {n: str(v.dtype) for n, v in free.items()} == {
        "a": "float32", "b": "float32", "c": "float64", "d": "float32",
    }  # fmt: skip
    assert held_names(held) == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"w": np.ones(3, int)}, r"start came without a floating-point leaf.*w \(int64\)"),
        ({}, "it has no leaves"),
        (jnp.tanh, "without a floating-point leaf"),
        ({"params": {"w": np.ones(2)}, "opt_state": np.ones(2)}, r"start=variables\['params'\]"),
    ],
)
def test_what_cannot_be_divided_is_said(given, sentence):
    with pytest.raises(InputError, match=sentence):
        divide(given, "start")


def test_arrays_of_another_framework_are_named():
    tensor = type("Tensor", (), {"__module__": "torch"})()
    with pytest.raises(InputError, match=r"holds a PyTorch Tensor at layer.0"):
        divide({"layer": [tensor], "w": np.ones(2)}, "start")


def test_complex_numbers_reach_no_inner_product():
    given = {"w": jnp.asarray([3.0, 4.0j])}
    for of in (lambda t: tree.dot(t, t), tree.flatten):
        with pytest.raises(InputError, match="came as complex128; give real and imaginary"):
            of(given)
    assert float(tree.norm(given)) == 5.0  # a norm is right for them too


W = RNG.normal(size=(4, 3))
X = jnp.asarray(RNG.normal(size=(8, 4)))
MASK = jax.random.bernoulli(KEY, 0.5, (8, 3))
COUPLED = {
    "mean of the batch": lambda x: jnp.tanh(x @ W - (x @ W).mean(0)),
    "a weight that is zero": lambda x: x @ W + 0.0 * x.max(),
    "one way": lambda x: jnp.cumsum(x @ W, 0),
    "the other way": lambda x: jnp.cumsum((x @ W)[::-1], 0)[::-1],
    "their number": lambda x: x @ W / len(x),
    "its place": lambda x: x @ W * jax.random.bernoulli(KEY, 0.5, (len(x), 3)),
    "only if large": lambda x: jnp.where(jnp.abs(x).max() > 1e6, 1.0, 0.0) + x @ W,
    "order": lambda x: jnp.sort(x @ W, 0),
    "eight examples": lambda x: (x @ W) * MASK,
}
ALONE = {
    "affine": lambda x: x @ W + 1.0,
    "cancelling": lambda x: (x @ W + 1e9) - 1e9,
    "attention": lambda x: jax.vmap(lambda one: jax.nn.softmax(jnp.outer(one, one)) @ one)(x),
    "a loop": lambda x: jax.lax.map(lambda one: jnp.sin(one @ W), x),
    "normalised": lambda x: (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True),
    "infinite": lambda x: x @ W / 0.0,
}


@pytest.mark.parametrize("name", COUPLED)
def test_a_coupling_of_examples_is_found(name):
    assert mixes(COUPLED[name], X)


@pytest.mark.parametrize("name", ALONE)
def test_rounding_is_no_coupling(name):
    for x in (X, 1e12 * X[:1].astype(jnp.float32)):
        assert not mixes(ALONE[name], x)


def test_functions_that_vary_from_call_to_call():
    rng, calls = np.random.default_rng(0), []
    assert varies(lambda x: x * rng.normal(), X)
    assert varies(lambda x: (calls.append(1), x * len(calls))[1], X)
    assert not varies(lambda x: x * jax.random.normal(KEY, x.shape), X)
    assert not varies(lambda x: x / 0.0 * 0.0, X)
