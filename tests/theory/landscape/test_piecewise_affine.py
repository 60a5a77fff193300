"""Local matrices, Q and layer Hessians, against automatic differentiation and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.models.residual import ResidualMLP
from thalweg.problems import supervised
from thalweg.theory.landscape import piecewise_affine as pieces

NETS = {
    "residual": ResidualMLP((4, 4, 4), "relu", skip=0.7, branch=1.3, readout=False),
    "changing widths": ResidualMLP((5, 5, 3), "leaky-relu:0.1"),
    "dense": ResidualMLP((3, 2), "abs", branch=0.5, join="concatenate"),
    "dense, no readout": ResidualMLP((3, 2), "relu", join="concatenate", readout=False),
    "no bias": ResidualMLP((4, 4), "linear", skip=-0.2, bias=False),
}


def drawn(net, n=3):
    whole = 4 + sum(net.hidden) if net.join == "concatenate" else net.hidden[-1]
    outputs = 2 if net.readout else whole
    params = net.init(jax.random.key(1), (4,), outputs)
    if net.bias:
        params = [
            layer | {"bias": 0.3 * jax.random.normal(jax.random.key(j), layer["bias"].shape)}
            for j, layer in enumerate(params)
        ]
    x = jax.random.normal(jax.random.key(9), (n, 4))
    y = jax.random.normal(jax.random.key(10), (n, outputs))
    return params, x, y


@pytest.mark.parametrize("name", NETS)
def test_a_passage_ends_where_the_net_does(name):
    net = NETS[name]
    params, x, _ = drawn(net)
    way = pieces.passage(net, params, x[0])
    np.testing.assert_allclose(way.output, net.apply(params, x[:1])[0], rtol=1e-14, atol=1e-15)
    assert len(way.inputs) == len(params)
    assert len(way.preactivations) == len(net.hidden)


@pytest.mark.parametrize("name", NETS)
def test_local_matrices_multiply_to_the_jacobian(name):
    net = NETS[name]
    params, x, _ = drawn(net)
    product = jnp.eye(4)
    for layer in range(len(params)):
        product = pieces.local_matrix(net, params, x[0], layer) @ product
    truth = jax.jacobian(lambda x: net.apply(params, x[None])[0])(x[0])
    np.testing.assert_allclose(product, truth, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", NETS)
def test_q_is_the_jacobian_in_the_preactivation(name):
    net = NETS[name]
    params, x, _ = drawn(net)
    for layer in range(len(params)):

        def shifted(shift, layer=layer):
            own = params[layer]
            moved = [*params]
            moved[layer] = own | {"bias": own.get("bias", 0.0) + shift}
            return net.apply(moved, x[:1])[0]

        truth = jax.jacobian(shifted)(jnp.zeros(len(params[layer]["weight"])))
        Q = pieces.downstream_matrix(net, params, x[0], layer)
        np.testing.assert_allclose(Q, truth, rtol=1e-12, atol=1e-14)


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
            ours = pieces.layer_hessian(net, params, x, layer, part, reduction)
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
    ours = pieces.layer_hessian(net, params, x[:1], 1, reduction="sum")
    z = pieces.passage(net, params, x[0]).inputs[1]
    s = jnp.linalg.svd(pieces.downstream_matrix(net, params, x[0], 1), compute_uv=False)
    truth = jnp.sum(z**2) * s**2
    np.testing.assert_allclose(ours.spectrum()[:4], truth, atol=1e-13 * truth[0])
    np.testing.assert_array_equal(ours.spectrum()[4:], 0)
    np.testing.assert_allclose(ours.gram(), jnp.sum(z**2) * ours.maps[0] @ ours.maps[0].T)


def test_affine_pieces_by_hand():
    W, d = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1.0, 0.1])
    np.testing.assert_allclose(pieces.affine_piece(W, d, 2.0), [[3, 2], [0.3, 2.4]])
    np.testing.assert_allclose(pieces.affine_piece(W, d, 2.0, -1.0), [[1, -2], [-0.3, 1.6]])
    stacked = [[1, 2], [0.3, 0.4], [1, 0], [0, 1]]
    np.testing.assert_allclose(pieces.affine_piece(W, d, 2.0, join="concatenate"), stacked)
    np.testing.assert_allclose(pieces.affine_piece(W[:1], d[:1], 2.0), W[:1])
    many = pieces.affine_piece(jnp.stack([W, -W]), jnp.stack([d, d]), 1.0)
    np.testing.assert_allclose(many[1], pieces.affine_piece(-W, d, 1.0))


def test_slopes_by_hand():
    net = ResidualMLP((2,), "leaky-relu:0.1", readout=False, bias=False)
    params = [{"weight": jnp.array([[1.0, -1.0], [0.5, 0.0]])}]
    (d,) = pieces.activation_slopes(net, params, jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(d, [0.1, 1.0])


@pytest.mark.parametrize(
    ("net", "what"),
    [
        (ResidualMLP((2,), "tanh"), "piecewise affine"),
        (ResidualMLP((2,), "relu", normalised=True), "normalised"),
    ],
)
def test_other_nets_are_refused(net, what):
    params = net.init(jax.random.key(0), (2,), 2)
    with pytest.raises(InputError, match=what):
        pieces.activation_slopes(net, params, jnp.ones(2))


def test_bad_input():
    net = NETS["residual"]
    params, x, _ = drawn(net)
    with pytest.raises(InputError, match="layers 0 to 2"):
        pieces.downstream_matrix(net, params, x[0], 3)
    with pytest.raises(InputError, match="weight"):
        pieces.layer_hessian(net, params, x, 0, "weights")
    with pytest.raises(InputError, match="mean"):
        pieces.layer_hessian(net, params, x, 0, reduction="max")
    with pytest.raises(InputError, match="columns"):
        pieces.layer_hessian(net, params, x, 0).dense("C")
    with pytest.raises(InputError, match="concatenate"):
        pieces.affine_piece(jnp.eye(2), jnp.ones(2), join="stack")
