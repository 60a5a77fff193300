"""Gaussian starts: their law, and that nothing else of the model changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from thalweg.core.errors import InputError
from thalweg.models import mlp
from thalweg.models.starts import gaussian_start


def test_every_parameter_is_drawn_alike():
    model = gaussian_start(mlp([40, 30], "tanh"), 1e-3)
    params = model.init(jax.random.key(0), (50,), 10)
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(params)]
    assert sum(leaf.size for leaf in leaves) == 50 * 40 + 40 + 40 * 30 + 30 + 30 * 10 + 10
    assert stats.kstest(np.concatenate(leaves), stats.norm(0, 1e-3).cdf).pvalue > 1e-3
    assert len(np.unique(np.concatenate(leaves))) == sum(leaf.size for leaf in leaves)


def test_outputs_and_smoothness_are_the_models():
    for name in ("tanh", "relu"):
        net = mlp([4], name)
        model = gaussian_start(net, 0.5)
        params = model.init(jax.random.key(1), (3,), 2, jnp.float32)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        x = jnp.ones((5, 3), jnp.float32)
        np.testing.assert_array_equal(model.apply(params, x), net.apply(params, x))
        assert model.smooth == net.smooth


def test_a_negative_width_is_refused():
    with pytest.raises(InputError, match="standard deviation"):
        gaussian_start(mlp([4]), -1.0)
