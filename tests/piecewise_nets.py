"""Nets with piecewise-affine activations of every shape, for tests of models and of curvature."""

import jax

from thalweg.models.residual import ResidualMLP

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
