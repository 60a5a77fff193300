"""Layer Hessians, against automatic differentiation and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piecewise_nets import NETS, drawn
from thalweg.core.errors import InputError
from thalweg.curvature import layer_hessian
from thalweg.models import piecewise_affine as pieces
from thalweg.problems import supervised


@pytest.mark.parametrize("name", NETS)
def test_layer_hessian_is_the_hessian(name):
    reduction = "sum" if name == "dense" else "mean"
    net = NETS[name]
    params, x, y = drawn(net)
    problem = supervised(net, (np.asarray(x), np.asarray(y)), reduction=reduction)
    truth = jax.jit(jax.hessian(problem.objective))(params)
    for layer in range(len(params)):
        for part in params[layer]:
            block = truth[layer][part][layer][part]
            size = params[layer][part].size
            ours = layer_hessian(net, params, x, layer, part, reduction)
            scale = float(jnp.max(jnp.abs(block)))
            dense = block.reshape(size, size)
            np.testing.assert_allclose(ours.dense("rows"), dense, atol=1e-13 * scale)
            values = np.linalg.eigvalsh(dense)[::-1]
            np.testing.assert_allclose(ours.spectrum(), values, atol=1e-12 * values[0])
            if part == "weight":
                columns = block.transpose(1, 0, 3, 2).reshape(size, size)
                np.testing.assert_allclose(ours.dense(), columns, atol=1e-13 * scale)
                V = jax.random.normal(jax.random.key(3), params[layer][part].shape)
                told = jnp.einsum("aibj,bj->ai", block, V)
                np.testing.assert_allclose(ours.apply(V), told, atol=1e-12 * scale)


def test_one_example_has_the_squared_singular_values_of_q():
    net = NETS["residual"]
    params, x, _ = drawn(net)
    ours = layer_hessian(net, params, x[:1], 1, reduction="sum")
    z = pieces.passage(net, params, x[0]).inputs[1]
    s = jnp.linalg.svd(pieces.downstream_matrix(net, params, x[0], 1), compute_uv=False)
    truth = jnp.sum(z**2) * s**2
    np.testing.assert_allclose(ours.spectrum()[:4], truth, atol=1e-13 * truth[0])
    np.testing.assert_array_equal(ours.spectrum()[4:], 0)
    np.testing.assert_allclose(ours.gram(), jnp.sum(z**2) * ours.maps[0] @ ours.maps[0].T)


def test_bad_input():
    net = NETS["residual"]
    params, x, _ = drawn(net)
    with pytest.raises(InputError, match="layers 0 to 2"):
        layer_hessian(net, params, x, 3)
    with pytest.raises(InputError, match="weight"):
        layer_hessian(net, params, x, 0, "weights")
    with pytest.raises(InputError, match="mean"):
        layer_hessian(net, params, x, 0, reduction="max")
    with pytest.raises(InputError, match="columns"):
        layer_hessian(net, params, x, 0).dense("C")
    with pytest.raises(InputError, match="concatenate"):
        pieces.affine_piece(jnp.eye(2), jnp.ones(2), join="stack")
