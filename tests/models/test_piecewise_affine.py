"""Local matrices and Q, against automatic differentiation and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piecewise_nets import NETS, drawn
from thalweg.core.errors import InputError
from thalweg.models import piecewise_affine as pieces
from thalweg.models.residual import ResidualMLP


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
