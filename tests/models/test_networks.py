"""Networks against NumPy and SciPy, and models that users bring along."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d
from scipy.special import erf, expit

import thalweg as tw
from thalweg.models import (
    ACTIVATIONS,
    INITIALISERS,
    Applied,
    ConvNet,
    Convolution,
    from_equinox,
    layer_weights,
    linear,
    mlp,
)

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(7, 3))

FORMULAS = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky-relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "abs": np.abs,
    "gelu-erf": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
    "erf": erf,
    "gelu": lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
    "softplus": lambda z: np.logaddexp(z, 0),
    "silu": lambda z: z * expit(z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "sigmoid": expit,
    "sin": np.sin,
    "linear": lambda z: z,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_by_formula(name):
    z = np.linspace(-4, 4, 101)
    # JAX's gelu is the approximation by tanh.
    assert np.allclose(ACTIVATIONS[name].function(z), FORMULAS[name](z), atol=5e-4)
    if name != "gelu":
        assert np.allclose(ACTIVATIONS[name].function(z), FORMULAS[name](z), atol=1e-14)
    for dtype in (jnp.float32, jnp.float64):
        assert ACTIVATIONS[name].function(jnp.asarray(z, dtype)).dtype == dtype


@pytest.mark.parametrize("bias", [True, False])
def test_a_dense_net_is_its_formula(bias):
    model = mlp([5, 4], "tanh", bias=bias)
    params = jax.tree.map(lambda p: p + 0.1, model.init(KEY, (3,), 2))
    h = X
    for j, layer in enumerate(params):
        assert set(layer) == ({"weight", "bias"} if bias else {"weight"})
        h = h @ np.asarray(layer["weight"]).T + np.asarray(layer.get("bias", 0.0))
        h = np.tanh(h) if j < 2 else h
    assert np.allclose(model.apply(params, X), h, atol=1e-14)
    assert [w.shape for w in layer_weights(params)] == [(5, 3), (4, 5), (2, 4)]


def test_special_cases_of_dense_nets():
    deep = linear([6, 5])
    params = deep.init(KEY, (3,), 2)
    product = np.linalg.multi_dot([np.asarray(w) for w in layer_weights(params)[::-1]])
    assert np.allclose(deep.apply(params, X), X @ product.T, atol=1e-14)
    none = mlp([])
    params = none.init(KEY, (3,), 2)
    assert len(params) == 1
    assert np.allclose(none.apply(params, X), X @ params[0]["weight"].T)
    assert np.all(params[0]["bias"] == 0)
    images = np.random.default_rng(1).normal(size=(4, 2, 3, 3))
    params = mlp([5]).init(KEY, (2, 3, 3), 2)
    flat = mlp([5]).apply(params, images.reshape(4, -1))
    assert np.array_equal(mlp([5]).apply(params, images), flat)
    once, twice = (mlp([5], gain=g).init(KEY, (3,), 2) for g in (1.0, 2.0))
    assert np.array_equal(2 * once[0]["weight"], twice[0]["weight"])
    keys = [mlp([5]).init(jax.random.key(s), (3,), 2)[0]["weight"] for s in (0, 0, 1)]
    assert np.array_equal(keys[0], keys[1])
    assert not np.any(keys[0] == keys[2])


@pytest.mark.parametrize("name", INITIALISERS)
@pytest.mark.parametrize("model", [mlp([4]), ConvNet((Convolution(3, 2),), (4,), bias=True)])
def test_initialisers_and_models_fit_and_keep_their_type(name, model):
    model = eqx.tree_at(lambda m: (), model, ())  # a copy
    model = type(model)(
        **{f: getattr(model, f) for f in model.__dataclass_fields__} | {"initialiser": name}
    )
    shape = (3,) if isinstance(model, tw.models.MLP) else (1, 5, 4)
    for dtype in (jnp.float32, jnp.float64):
        params = model.init(KEY, shape, 2, dtype)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
        out = model.apply(params, jnp.ones((6, *shape), dtype))
        assert (out.shape, out.dtype) == ((6, 2), dtype)


@pytest.mark.parametrize(
    "layer",
    [
        Convolution(3, 2),
        Convolution(2, 3, 2, 1),
        Convolution(2, 2, 1, 0, 2),
        Convolution(1, 3, 2, 2, 3),
    ],
)
def test_a_convolutional_net_is_its_formula(layer):
    x = np.random.default_rng(2).normal(size=(3, 2, 8, 7))
    model = ConvNet((layer,), (4,), "tanh", bias=True)
    params = jax.tree.map(lambda p: p + 0.05, model.init(KEY, (2, 8, 7), 5))
    kernel, shift = (np.asarray(params[0][n]) for n in ("weight", "bias"))
    padded = np.pad(x, [(0, 0), (0, 0), *[(layer.padding, layer.padding)] * 2])
    h = np.stack(
        [
            np.stack(
                [
                    sum(correlate2d(padded[n, c], kernel[f, c], "valid") for c in range(2))
                    + shift[f]
                    for f in range(layer.filters)
                ]
            )
            for n in range(3)
        ]
    )
    h = np.tanh(h[:, :, :: layer.stride, :: layer.stride])
    rows, columns = (side // layer.pool for side in h.shape[2:])
    h = np.stack(
        [
            h[
                :, :, r * layer.pool : (r + 1) * layer.pool, c * layer.pool : (c + 1) * layer.pool
            ].max((2, 3))
            for r in range(rows)
            for c in range(columns)
        ],
        -1,
    ).reshape(3, -1)
    h = np.tanh(h @ np.asarray(params[1]["weight"]).T + np.asarray(params[1]["bias"]))
    h = h @ np.asarray(params[2]["weight"]).T + np.asarray(params[2]["bias"])
    assert np.allclose(model.apply(params, x), h, atol=1e-13)


def test_smoothness_and_slopes_are_told():
    assert mlp([3], "tanh").smooth
    assert not mlp([3], "relu").smooth
    assert ConvNet((Convolution(2, 2),), (), "tanh").smooth
    assert not ConvNet((Convolution(2, 2, pool=2),), (), "tanh").smooth
    assert linear([3]).slopes == (1.0, 1.0)
    assert mlp([3], "relu", bias=False).slopes == (1.0, 0.0)
    assert mlp([3], "relu").slopes is None
    assert mlp([3], "tanh", bias=False).slopes is None


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: mlp([0]), "hidden .*came as"),
        (lambda: mlp([4.0]), "hidden .*came as"),
        (lambda: mlp([4], "tahn"), "Did you mean 'tanh'"),
        (lambda: mlp([4], initialiser="he-norml"), "Did you mean 'he-normal'"),
        (lambda: ConvNet((Convolution(2, 5),), ()).init(KEY, (1, 4, 4), 2), "too small"),
        (lambda: ConvNet((Convolution(2, 2, pool=9),), ()).init(KEY, (1, 4, 4), 2), "too small"),
        (lambda: ConvNet((Convolution(2, 2),), ()).init(KEY, (16,), 2), "takes images"),
        (lambda: Applied(lambda p, x: x), "either init_function or start"),
        (lambda: Applied(lambda p, x: x, lambda k: 1.0, 2.0), "either init_function or start"),
    ],
)
def test_misfits_are_sentences(make, sentence):
    with pytest.raises(tw.InputError, match=sentence):
        make()


@pytest.mark.implicit
def test_an_equinox_module_gives_its_own_outputs():
    class Net(eqx.Module):
        first: eqx.nn.Linear
        norm: eqx.nn.LayerNorm
        depth: int
        fixed: np.ndarray

        def __call__(self, x):
            return jnp.tanh(self.norm(self.first(x))) * self.depth + self.fixed[0]

    net = Net(eqx.nn.Linear(3, 4, key=KEY), eqx.nn.LayerNorm(4), 2, np.array([7]))
    model = from_equinox(net)
    params = model.init(KEY, (3,), 4, jnp.float64)
    assert np.allclose(model.apply(params, X), jax.vmap(net)(X), atol=1e-15)
    # 7 is a whole number, held fixed; the others are trained.
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 12 + 4 + 4 + 4
    assert {p.dtype for p in jax.tree.leaves(model.init(KEY, (3,), 4, jnp.float32))} == {
        jnp.dtype(jnp.float32)
    }
    assert not from_equinox(net, smooth=False).smooth


def test_init_and_apply_in_the_style_of_flax():
    class Dense:
        """What `flax.linen.Dense` does, as a pair of methods."""

        def init(self, key, x):
            return {"params": {"kernel": jax.random.normal(key, (x.shape[-1], 2))}}

        def apply(self, variables, x):
            return x @ variables["params"]["kernel"]

    net = Dense()
    model = Applied(net.apply, lambda key: net.init(key, jnp.ones((1, 3))))
    problem = tw.problems.supervised(model, (X, X[:, :2]))
    run = tw.run(problem, tw.gradient_descent(0.3), until=300.0, records=2, seeds=2)
    assert np.allclose(run.parameters[:, -1], np.eye(3, 2).ravel(), atol=1e-2)
    assert not np.allclose(run.parameters[0, 0], run.parameters[1, 0])
    start = Applied(net.apply, start=net.init(KEY, X))
    assert np.array_equal(
        start.init(jax.random.key(5), (3,), 2, jnp.float64)["params"]["kernel"],
        net.init(KEY, X)["params"]["kernel"],
    )
