"""Bounds of operator recurrent nets against random nets, and the form of the gap bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.tree import size
from thalweg.models import OperatorRecurrent, factor_norms, factor_regulariser
from thalweg.theory.operator_nets.operator_bounds import layer_bounds, parameter_sensitivity
from thalweg.theory.operator_nets.operator_capacity import gap_bound, kept_factors, truncation

n, M = 4, 1.3
NETS = {
    "relu": OperatorRecurrent(3, gain=2.0, first=np.ones(n)),
    "blocks": OperatorRecurrent(2, 2, activation="leaky-relu:-1.5", gain=2.0),
    "factored": OperatorRecurrent(
        3, rank=2, activation="tanh", gain=4.0, fixed={"A0": np.diag([1.0, 0, 0, 2])}
    ),
    "tied": OperatorRecurrent(3, activation=None, tied=True, gain=3.0, first=np.ones(n)),
    "state": OperatorRecurrent(2, readout=False, gain=3.0),
}


def operators(rng, count):
    """Matrices of spectral norm M, some of rank one, for which norms are attained."""
    drawn = rng.normal(size=(count, n, n))
    drawn[::2] = drawn[::2, :, :1] * drawn[::2, :1]
    return jnp.asarray(M * drawn / np.linalg.norm(drawn, 2, (1, 2))[:, None, None])


@pytest.mark.parametrize("name", NETS)
def test_random_nets_stay_below(name):
    """Norms, slopes in X (small and large moves) and moves of the parameters, layer by layer."""
    net = NETS[name]
    outputs = n if not net.readout else 2
    rng = np.random.default_rng(7)
    tightest = np.zeros(3)
    for seed in range(4):
        params = net.init(jax.random.key(seed), (n, n), outputs, jnp.float64)
        other = jax.tree.map(lambda w: w + jnp.asarray(0.3 * rng.normal(size=w.shape)), params)
        bounds = layer_bounds(net, params, M, other)
        assert bounds.norms.shape == (net.layers + 1,)
        X = operators(rng, 12)
        Y = X + jnp.asarray(rng.normal(size=X.shape)) * jnp.asarray([1e-4, 1.0])[
            :, None, None
        ].repeat(6, 0)
        Y = Y * jnp.minimum(1, M / jnp.linalg.norm(Y, 2, (1, 2)))[:, None, None]
        h, moved, changed = (net.states(p, x) for p, x in ((params, X), (params, Y), (other, X)))
        gap = jnp.linalg.norm(X - Y, 2, (1, 2))

        def largest(states):
            return np.asarray(jnp.max(jnp.linalg.norm(states, axis=-1), axis=1))

        steep = largest((h - moved) / gap[None, :, None])
        found = np.stack([largest(h), steep, largest(h - changed)])
        allowed = np.stack([bounds.norms, bounds.lipschitz, bounds.changes])
        assert np.all(found <= allowed * (1 + 1e-12) + 1e-12)
        tightest = np.maximum(tightest, found[:, -1] / allowed[:, -1])
        outs = [net.apply(params, X), (net.apply(params, X) - net.apply(params, Y)) / gap[:, None]]
        outs.append(net.apply(params, X) - net.apply(other, X))
        for out, most in zip(outs, bounds.outputs, strict=True):
            assert float(jnp.max(jnp.linalg.norm(out, axis=1))) <= float(most) * (1 + 1e-12)
    assert np.all(tightest > 0.003)  # loose, but of what is measured


def test_one_number_attains_them():
    """Positive scalars add up, nothing is lost: h' = b + (a + x) h, on X = M = x."""
    net = OperatorRecurrent(3, activation="relu", tied=True, readout=False, first=np.ones(1))
    one = jnp.ones((1, 1))
    layer = {"A0": 0.5 * one, "B0": 1.0 * one, "b0": 0.3 * jnp.ones(1)}
    layer |= {"A1": 0.2 * one, "B1": 2.0 * one, "b1": 0.1 * jnp.ones(1)}
    bounds = layer_bounds(net, [layer], 0.7)
    X = jnp.full((1, 1, 1), 0.7)
    np.testing.assert_allclose(bounds.norms, net.states([layer], X)[:, 0, 0], rtol=1e-13)
    slopes = jax.jacfwd(lambda x: net.states([layer], x)[:, 0, 0])(X)[:, 0, 0, 0]
    np.testing.assert_allclose(bounds.lipschitz, slopes, rtol=1e-13)

    def moved(t):
        far = jax.tree.map(lambda w: w + t, layer)
        return net.states([far], X)[-1, 0, 0]

    # Each of a and b is moved in both branches by t, so by 2 t; beta too.
    assert float(jax.grad(moved)(0.0)) == pytest.approx(
        2 * float(parameter_sensitivity(net, [layer], 0.7)), rel=1e-12
    )
    far = jax.tree.map(lambda w: w + 0.1, layer)
    change = layer_bounds(net, [layer], 0.7, [far]).changes
    gap = net.states([far], X) - net.states([layer], X)
    np.testing.assert_allclose(change, gap[:, 0, 0], rtol=1e-12)


def test_an_activation_that_does_not_vanish_is_refused():
    net = OperatorRecurrent(2, activation="softplus")
    params = net.init(jax.random.key(0), (n, n), 1, jnp.float64)
    with pytest.raises(tw.InputError, match="Lipschitz"):
        layer_bounds(net, params, M)


def test_truncation_counts_and_its_change_are_bounded():
    net = OperatorRecurrent(3, rank=5, gain=2.0)
    params = net.init(jax.random.key(2), (n, n), 1, jnp.float64)
    fade = jnp.exp(-jnp.arange(5.0))[None]
    params = [
        {k: {s: w * fade for s, w in v.items()} if isinstance(v, dict) else v for k, v in p.items()}
        for p in params
    ]
    R = float(factor_regulariser(params))
    for epsilon in (0.05, 0.3, 1.0):
        small = truncation(params, epsilon)
        sizes = np.asarray(factor_norms(params)).sum(1)
        assert small.kept == kept_factors(params, epsilon) == int((sizes > epsilon).sum())
        assert small.kept <= R / epsilon
        assert small.dimension == size(params) - (60 - small.kept) * 2 * n
        left = np.asarray(factor_norms(small.params)).sum(1)
        np.testing.assert_array_equal(left, np.where(sizes > epsilon, sizes, 0))
        moved = [
            float(jnp.linalg.norm(a[k] - b[k], 2))
            for a, b in zip(net.matrices(params), net.matrices(small.params), strict=True)
            for k in a
        ]
        assert 0.1 * small.change < sum(moved) <= small.change <= epsilon * R / 4
    with pytest.raises(tw.InputError, match="positive"):
        truncation(params, 0.0)


def test_the_gap_bound_by_hand():
    found = gap_bound(30.0, 0.2, 4.0, 5.0, 1000, loss_range=2.0, failure=0.1)
    expected = 2 * 4 * 0.2 + 2 * np.sqrt((30 * np.log(75) + np.log(20)) / 2000)
    assert found == pytest.approx(expected, rel=1e-14)
    for wrong in ({"epsilon": 16.0}, {"samples": 0}, {"failure": 1.0}, {"dimension": -1}):
        with pytest.raises(tw.InputError):
            gap_bound(**{"dimension": 30, "epsilon": 0.2, "sensitivity": 4.0, "regulariser": 5.0,
                         "samples": 10, **wrong})  # fmt: skip
