"""Flax networks at the door: weights, held parts, refusals by the layer's name, and back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.models import from_flax
from thalweg.problems import supervised

pytest.importorskip("flax", reason="Flax is not installed: pip install 'thalweg[flax]'")

from flax import linen, nnx

pytestmark = pytest.mark.implicit  # networks are as their frameworks have them

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, Y, LABELS = RNG.normal(size=(8, 4)), RNG.normal(size=(8, 3)), RNG.integers(0, 3, 8)
MEAN, VARIANCE = (np.linspace(*ends, 6).astype(np.float32) for ends in ((-1, 1), (0.5, 2)))
TOKENS = RNG.integers(0, 9, (8, 5))


class Net(nnx.Module):
    def __init__(self, **how):
        rngs = nnx.Rngs(0)
        self.first = nnx.Linear(4, 6, rngs=rngs, **how)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(6, 6, rngs=rngs)])
        self.last = nnx.Linear(6, 3, rngs=rngs)
        self.norm.mean[...] = jnp.asarray(MEAN)
        self.norm.var[...] = jnp.asarray(VARIANCE)

    def __call__(self, x):
        x = self.dropout(jnp.tanh(self.norm(self.first(x))))
        return self.last(x + self.blocks[0](x))


def still():
    net = Net()
    net.eval()
    return net


def by_hand(p, x):
    """The same net in plain NumPy or JAX."""
    z = x @ p["first"]["kernel"] + p["first"]["bias"]
    z = (z - np.float64(MEAN)) / (np.float64(VARIANCE) + 1e-5) ** 0.5 * p["norm"]["scale"] + p[
        "norm"
    ]["bias"]
    z = jnp.tanh(z)
    z = z + z @ p["blocks"][0]["kernel"] + p["blocks"][0]["bias"]
    return z @ p["last"]["kernel"] + p["last"]["bias"]


def test_a_module_of_nnx_in_one_line():
    net = still()
    problem = supervised(net, (X, Y))
    params = problem.init(KEY)
    np.testing.assert_allclose(problem.outputs(params), by_hand(params, X), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(params["first"]["kernel"], np.float64(net.first.kernel[...]))
    assert tw.core.tree.size(params) == 4 * 6 + 6 + 6 + 6 + 6 * 6 + 6 + 6 * 3 + 3
    assert problem.describe()["model"] == "from_flax(Net)"
    assert "norm.mean.value" in problem.describe()["held fixed"]
    assert problem.model.agreement.worst < 1e-13
    assert problem.model.separable
    assert problem.model.smooth

    def objective(p):
        return jnp.mean(jnp.sum((by_hand(p, X) - Y) ** 2, 1)) / 2

    dense = tw.core.hessian_product.dense_hessian(objective, params)
    value, error, code = tw.measure(problem, params, "sharpness")
    top = np.linalg.eigvalsh(dense)[-1]
    assert int(code) == tw.Result.OK
    assert value - 1e-9 <= top <= value + error + 1e-9


def test_weights_return_to_a_module():
    net = still()
    problem = supervised(net, (X, Y))
    run = tw.run(problem, tw.gradient_descent(0.05), until=0.5, records=2)
    after = problem.model.to_framework(run.parameters.values[0, -1])
    assert isinstance(after, Net)
    assert after is not net
    assert after.first.kernel[...].dtype == jnp.float32
    params = tw.problems.problem.unraveller(problem)(jnp.asarray(run.parameters.values[0, -1]))
    np.testing.assert_allclose(after(X.astype(np.float32)), by_hand(params, X), atol=1e-5)
    assert not np.allclose(after.first.kernel[...], net.first.kernel[...], atol=1e-4)
    for wrong in ({"w": jnp.ones(3)}, jnp.ones(3)):
        with pytest.raises(tw.InputError, match="params came"):
            problem.model.to_framework(wrong)


def test_training_mode_is_refused_by_the_layers_name():
    for make in (lambda: supervised(Net(), (X, Y)), lambda: from_flax(Net())):
        with pytest.raises(tw.InputError, match=r"(norm is batch|dropout is dropout)"):
            make()
    net = Net()
    net.norm.use_running_average = True
    with pytest.raises(tw.InputError, match="dropout is dropout, whose outputs are random"):
        supervised(net, (X, Y))
    net.dropout.deterministic = True
    assert supervised(net, (X, Y)).model.agreement.worst < 1e-13

    class Counting(nnx.Module):
        def __init__(self):
            self.calls = nnx.Variable(jnp.zeros((), int))
            self.w = nnx.Param(jnp.ones((4, 3)))

        def __call__(self, x):
            self.calls[...] += 1
            return x @ self.w[...]

    with pytest.raises(tw.InputError, match="calls is written"):
        supervised(Counting(), (X, Y))


def test_a_layer_that_rounds_is_named():
    net = Net(dtype=jnp.float32)
    net.eval()
    with pytest.raises(tw.InputError, match=r"computes in float32 .* at first; construct"):
        supervised(net, (X, Y))
    with pytest.raises(
        tw.InputError, match=r"computes in bfloat16 .* at Linen/.*Dense_0; construct"
    ):
        supervised(Linen(dtype=jnp.bfloat16), (X, Y))


class Linen(linen.Module):
    dtype: object = None

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Dense(6, dtype=self.dtype)(x)
        x = linen.BatchNorm(use_running_average=not train)(x)
        x = linen.Dropout(0.5, deterministic=not train)(jnp.tanh(x))
        return linen.Dense(3)(x)


def test_linen_collections_are_split():
    net = Linen()
    variables = net.init(KEY, X[:1])
    variables["batch_stats"]["BatchNorm_0"]["mean"] = jnp.arange(6.0)
    problem = supervised(from_flax(net, variables), (X, LABELS))
    params = problem.init(KEY)
    assert set(params) == {"Dense_0", "Dense_1", "BatchNorm_0"}
    assert problem.describe()["held fixed"] == [
        "batch_stats.BatchNorm_0.mean",
        "batch_stats.BatchNorm_0.var",
    ]
    z = X @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"] - np.arange(6.0)
    z = z / np.sqrt(1 + 1e-5) * params["BatchNorm_0"]["scale"] + params["BatchNorm_0"]["bias"]
    truth = np.tanh(z) @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    np.testing.assert_allclose(problem.outputs(params), truth, rtol=0, atol=1e-12)
    back = problem.model.to_framework(params)
    assert jax.tree.map(jnp.shape, back) == jax.tree.map(jnp.shape, variables)
    np.testing.assert_array_equal(back["batch_stats"]["BatchNorm_0"]["mean"], np.arange(6))
    with pytest.raises(tw.InputError, match="BatchNorm_0 is batch normalisation"):
        supervised(from_flax(net, variables, train=True), (X, Y))


def test_a_linen_module_alone_draws_its_weights_anew_for_every_seed():
    problem = supervised(Linen(), (X, LABELS))
    one, other = (problem.init(jax.random.key(k)) for k in (0, 1))
    assert not np.allclose(one["Dense_0"]["kernel"], other["Dense_0"]["kernel"])
    np.testing.assert_array_equal(
        one["Dense_0"]["kernel"],
        np.float64(Linen().init(KEY, X[:1])["params"]["Dense_0"]["kernel"]),
    )
    with pytest.raises(tw.InputError, match="came without variables"):
        from_flax(Linen())


def test_linen_dropout_is_named():
    class Dropping(linen.Module):
        @linen.compact
        def __call__(self, x, quiet=True):
            return linen.Dropout(0.5, name="drop")(linen.Dense(3)(x), deterministic=quiet)

    variables = Dropping().init(KEY, X)
    with pytest.raises(tw.InputError, match="drop is dropout"):
        from_flax(Dropping(), variables, X, quiet=False)
    assert from_flax(Dropping(), variables, X).agreement.worst < 1e-13


def test_tokens_are_whole_numbers():
    class Words(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(3)(jnp.tanh(linen.Embed(9, 6)(x).mean(1)))

    for given in (TOKENS, TOKENS.astype(float)):
        problem = supervised(Words(), (given, LABELS))
        params = problem.init(KEY)
        z = np.tanh(np.asarray(params["Embed_0"]["embedding"])[TOKENS].mean(1))
        truth = z @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
        np.testing.assert_allclose(problem.outputs(params), truth, rtol=0, atol=1e-12)


def test_what_is_no_network_of_flax():
    with pytest.raises(tw.InputError, match="give a module of flax"):
        from_flax(3)
    with pytest.raises(tw.InputError, match="leave them out"):
        from_flax(still(), {"params": {}})
    with pytest.raises(tw.InputError, match="does not accept inputs of shape"):
        from_flax(still(), example=np.ones((3, 7)))
    with pytest.raises(tw.InputError, match="example came as the text"):
        from_flax(still(), example="inputs")
