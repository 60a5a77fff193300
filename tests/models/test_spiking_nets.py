"""Spiking nets as models: read-outs, convolutions, second derivatives, many nets at once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.models import (
    LIF,
    Convolution,
    lif_rollout,
    rate_coded,
    spiking_convolutional,
    spiking_mlp,
)
from thalweg.models.normalisation import EPSILON

KEY = jax.random.key(5)
Generator = np.random.Generator


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_the_start_is_uniform_within_a_root_of_the_fan_in() -> None:
    params = spiking_mlp([300]).init(KEY, (20, 5), 7, jnp.float32)
    assert [w["weight"].shape for w in params] == [(300, 100), (7, 300)]
    assert all(set(layer) == {"weight"} for layer in params)
    for layer, fan_in in zip(params, (100, 300), strict=True):
        scaled = np.asarray(layer["weight"]) * np.sqrt(fan_in)
        assert 0.99 < np.max(np.abs(scaled)) <= 1
        assert np.std(scaled) == pytest.approx(1 / np.sqrt(3), rel=0.05)


def test_outputs_are_counts_over_steps_averaged_over_voters(rng: Generator) -> None:
    net = spiking_mlp([12], steps=5, voters=3, gain=6.0)
    params = net.init(KEY, (4,), 2)
    x = jnp.asarray(rng.normal(size=(6, 4)))
    spikes = np.asarray(net.layer_runs(params, x)[-1].spikes)  # (5, 6, 6)
    counts = spikes.sum(axis=0).reshape(6, 2, 3).sum(axis=-1)
    assert 0 < counts.sum() < counts.size * 15
    np.testing.assert_allclose(net.apply(params, x), counts / 15, rtol=1e-15)


def test_a_change_by_step_reaches_the_first_layer_alone(rng: Generator) -> None:
    """Each example's own train; the same image at every step is a constant current."""
    once = spiking_mlp([9], steps=6, gain=5.0)
    each = spiking_mlp([9], steps=6, gain=5.0, presentation="by-step")
    params = once.init(KEY, (2, 3), 2)
    x = jnp.asarray(rng.normal(size=(4, 2, 3)))
    shown = jnp.repeat(x[:, None], 6, axis=1)
    assert jax.tree.map(jnp.shape, each.init(KEY, (6, 2, 3), 2)) == jax.tree.map(jnp.shape, params)
    np.testing.assert_allclose(each.apply(params, shown), once.apply(params, x), rtol=1e-14)
    late = each.apply(params, shown.at[1, 3:].set(5.0))
    same = np.all(np.asarray(late) == np.asarray(once.apply(params, x)), axis=1)
    assert same.tolist() == [True, False, True, True]


def test_rate_coding_is_unbiased_and_its_own_draw() -> None:
    x = jnp.asarray([[0.0, 0.2, 0.7, 1.0, 1.5]])
    trains = rate_coded(x, 4000, KEY)
    assert trains.shape == (1, 4000, 5)
    mean = np.asarray(trains.mean(axis=1))[0]
    spread = np.sqrt([0.0, 0.16, 0.21, 0.0, 0.0]) / np.sqrt(4000)
    assert np.all(np.abs(mean - [0.0, 0.2, 0.7, 1.0, 1.0]) <= 4 * spread)
    assert not np.array_equal(trains, rate_coded(x, 4000, jax.random.key(6)))


def test_a_membrane_readout_is_a_leaky_sum_of_spikes(rng: Generator) -> None:
    """The potential of a neuron whose threshold is out of reach; affine in its features."""
    neuron = LIF(tau=3.0, rest=-0.2, threshold=0.8)
    net = spiking_mlp([10], steps=7, neuron=neuron, gain=5.0, bias=True, readout="membrane")
    params = net.init(KEY, (4,), 2)
    params[-1]["bias"] = jnp.asarray([0.3, -0.4])
    x = jnp.asarray(rng.normal(size=(5, 4)))
    hidden = net.layer_runs(params, x)
    assert len(hidden) == 1
    current = hidden[0].spikes @ params[-1]["weight"].T
    assert float(hidden[0].spikes.mean()) > 0.1
    deaf = LIF(tau=3.0, rest=-0.2, threshold=1e9)
    potential = lif_rollout(deaf, current).potentials[-1] - neuron.rest
    np.testing.assert_allclose(
        net.apply(params, x), potential + params[-1]["bias"][None], rtol=1e-13
    )


class TestConvolutional:
    def test_a_kernel_as_large_as_the_image_is_a_full_connection(self, rng: Generator) -> None:
        """Outputs and surrogate gradients; both presentations."""
        for presentation in ("constant", "by-step"):
            how: dict[str, Any] = {"presentation": presentation, "steps": 5}
            dense = spiking_mlp([6, 5], **how)
            conv = spiking_convolutional([Convolution(6, 4)], [5], normalised=False, **how)
            shape = (2, 4, 4) if presentation == "constant" else (5, 2, 4, 4)
            params = spiking_mlp([6, 5], gain=6.0, **how).init(KEY, shape, 3)
            kernels = [
                {"weight": params[0]["weight"].reshape(6, 2, 4, 4)},
                *params[1:],
            ]
            drawn = conv.init(KEY, shape, 3)
            assert jax.tree.map(jnp.shape, drawn) == jax.tree.map(jnp.shape, kernels)
            x = jnp.asarray(rng.normal(size=(3, *shape)))

            def loss(net: Any, p: Any, x: jax.Array = x) -> jax.Array:
                return jnp.sum((net.apply(p, x) - 0.3) ** 2)

            value, slope = jax.value_and_grad(lambda p: loss(dense, p))(params)  # noqa: B023
            other, kernel_slope = jax.value_and_grad(lambda p: loss(conv, p))(kernels)  # noqa: B023
            assert float(value) == pytest.approx(float(other), rel=1e-13)
            assert float(jnp.max(jnp.abs(slope[0]["weight"]))) > 1e-3
            for one, two in zip(jax.tree.leaves(slope), jax.tree.leaves(kernel_slope), strict=True):
                np.testing.assert_allclose(two.reshape(one.shape), one, rtol=1e-9, atol=1e-13)

    def test_is_normalised_step_by_step_pooled_and_voted(self, rng: Generator) -> None:
        """Two layers by hand in NumPy, one 1x1, so that a convolution is a product of channels."""
        net = spiking_convolutional(
            [Convolution(4, 1, pool=2), Convolution(3, 1)], [], 6, gain=12.0, voters=2
        )
        params = net.init(KEY, (2, 4, 4), 2)
        off = [p + 0.2 * rng.normal(size=p.shape) for p in jax.tree.leaves(params)]
        params = jax.tree.unflatten(jax.tree.structure(params), [jnp.asarray(w) for w in off])
        params[2]["weight"] = jnp.abs(params[2]["weight"])  # so that its neurons fire
        x = rng.normal(size=(3, 2, 4, 4))

        def norm(z: np.ndarray, layer: Any) -> np.ndarray:  # of one step: (n, c, h, w)
            mean, var = z.mean(axis=(0, 2, 3)), z.var(axis=(0, 2, 3))
            z = (z - mean[:, None, None]) / np.sqrt(var + EPSILON)[:, None, None]
            scale, shift = (np.asarray(layer[k])[:, None, None] for k in ("scale", "shift"))
            return z * scale + shift

        def mixed(layer: Any, z: np.ndarray) -> np.ndarray:
            return np.einsum("oi,nihw->nohw", np.asarray(layer["weight"])[..., 0, 0], z)

        potentials: list[Any] = [0.0, 0.0, 0.0]

        def fire(j: int, current: np.ndarray) -> np.ndarray:
            m = potentials[j] + (current - potentials[j]) / 2
            spikes = (m >= 1) * 1.0
            potentials[j] = (1 - spikes) * m
            return spikes

        first, count = norm(mixed(params[0], x), params[0]), 0.0
        for _ in range(6):
            s = fire(0, first)
            pooled = s.reshape(3, 4, 2, 2, 2, 2).max(axis=(3, 5))
            s = fire(1, norm(mixed(params[1], pooled), params[1]))
            s = fire(2, s.reshape(3, -1) @ np.asarray(params[2]["weight"]).T)
            count = count + s
        assert 0 < np.mean(count) < 6
        expected = np.asarray(count).reshape(3, 2, 2).mean(axis=-1) / 6
        np.testing.assert_allclose(net.apply(params, jnp.asarray(x)), expected, rtol=1e-13)

    def test_fixed_moments_are_those_of_the_batch(self, rng: Generator) -> None:
        net = spiking_convolutional([Convolution(3, 3, padding=1, pool=2)], [5], 4, gain=12.0)
        params = net.init(KEY, (2, 4, 4), 1)
        x = jnp.asarray(rng.normal(size=(4, 2, 4, 4)))
        fixed = net.at_moments_of(params, x)
        assert fixed.separable
        assert not net.separable
        whole = fixed.apply(params, x)
        np.testing.assert_array_equal(whole, net.apply(params, x))
        assert float(jnp.max(whole)) > 0
        np.testing.assert_allclose(fixed.apply(params, x[1:2]), whole[1:2], rtol=1e-12)

    def test_the_net_of_the_paper_has_its_size(self) -> None:
        layer = Convolution(256, 3, padding=1)
        layers = 2 * [layer, layer, layer._replace(pool=2)]
        net = spiking_convolutional(layers, [2048], voters=10)
        params = jax.eval_shape(lambda key: net.init(key, (3, 32, 32), 10, jnp.float32), KEY)
        weights = sum(layer["weight"].size for layer in params)
        assert weights == 3 * 256 * 9 + 5 * 256**2 * 9 + 16384 * 2048 + 2048 * 100
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == weights + 2 * 6 * 256
        x = jax.ShapeDtypeStruct((2, 3, 32, 32), jnp.float32)
        assert jax.eval_shape(net.apply, params, x).shape == (2, 10)


@pytest.mark.thorough
@pytest.mark.parametrize("detached", [True, False])
def test_second_derivatives_are_those_of_parabolas_at_the_point(
    detached: bool, rng: Generator
) -> None:
    """Of the function with 1{z0 >= 0} + s(z0) (z - z0) + s'(z0) (z - z0)^2 / 2 for each spike."""
    neuron = LIF(tau=1.8, detached=detached, surrogate="arctan:0.9")
    net = spiking_mlp([3], steps=4, neuron=neuron, gain=8.0)
    params = net.init(KEY, (2,), 2)
    theta, unravel = ravel_pytree(params)
    x, y = jnp.asarray(rng.normal(size=(3, 2))), jnp.asarray(rng.uniform(size=(3, 2)))

    def loss(flat: jax.Array) -> jax.Array:
        return jnp.mean((net.apply(unravel(flat), x) - y) ** 2)

    at = [run.potentials - neuron.threshold for run in net.layer_runs(params, x)]
    s = neuron.derivative
    bend = jax.vmap(jax.vmap(jax.vmap(jax.grad(s))))

    def replaced(flat: jax.Array) -> jax.Array:
        p = unravel(flat)
        h: Any = [x] * 4
        for layer, z0 in zip(p, at, strict=True):
            u, out = jnp.zeros(()), []
            slopes, bends = s(z0), bend(z0)
            for t in range(4):
                m = u + (h[t] @ layer["weight"].T - u) / neuron.tau
                off = m - neuron.threshold - z0[t]
                spike = (z0[t] >= 0) + slopes[t] * off + bends[t] * off**2 / 2
                out.append(spike)
                u = (1 - ((z0[t] >= 0) * 1.0 if detached else spike)) * m
            h = out
        return jnp.mean((sum(h) / 4 - y) ** 2)

    np.testing.assert_allclose(jax.grad(loss)(theta), jax.grad(replaced)(theta), 1e-10, 1e-16)
    found, expected = jax.hessian(loss)(theta), jax.hessian(replaced)(theta)
    size = float(jnp.max(jnp.abs(expected)))
    assert size > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11 * size)
    np.testing.assert_allclose(found, found.T, rtol=1e-9, atol=1e-11 * size)
    product = tw.core.hessian_product.hessian_product(loss, theta)(jnp.ones_like(theta))
    np.testing.assert_allclose(product, expected.sum(axis=1), rtol=1e-9, atol=1e-11 * size)


def test_seeds_side_by_side_are_nets_one_by_one(rng: Generator) -> None:
    """Under vmap, of outputs and of gradients, in either precision."""
    net = spiking_mlp([8], steps=5, gain=5.0)
    x, y = jnp.asarray(rng.normal(size=(6, 3))), jnp.zeros((6, 2))
    keys = jax.random.split(KEY, 3)
    starts = jax.vmap(lambda key: net.init(key, (3,), 2))(keys)

    def slope(params: Any, x: jax.Array, y: jax.Array) -> Any:
        return jax.grad(lambda p: jnp.sum((net.apply(p, x) - y) ** 2))(params)

    both = jax.jit(jax.vmap(slope, (0, None, None)))
    together = both(starts, x, y)
    half = both(jax.tree.map(lambda w: w.astype(jnp.float32), starts), *map(jnp.float32, (x, y)))
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype(jnp.float32)}
    alone = [slope(jax.tree.map(lambda w, i=i: w[i], starts), x, y) for i in range(3)]
    for j in range(2):
        stacked = np.stack([g[j]["weight"] for g in alone])
        np.testing.assert_allclose(together[j]["weight"], stacked, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(half[j]["weight"], stacked, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: spiking_mlp([0]), "hidden widths"),
        (lambda: spiking_mlp([3], steps=0), "steps came as 0"),
        (lambda: spiking_mlp([3], voters=0), "voters came as 0"),
        (lambda: spiking_mlp([3], voters=2, readout="membrane"), "readout='rate'"),
        (lambda: spiking_mlp([3], presentation="rate"), "'constant' or 'by-step'"),
        (lambda: spiking_mlp([3], initialiser="uniform"), "unknown initialiser"),
        (lambda: spiking_mlp([3], 4, presentation="by-step").init(KEY, (3, 5), 1), "by-step"),
        (lambda: spiking_mlp([3]).features([], jnp.ones((1, 2))), "readout='membrane'"),
        (lambda: spiking_convolutional([]), "convolutions came as"),
        (lambda: spiking_convolutional([Convolution(2, 3)]).init(KEY, (5,), 1), "images"),
        (lambda: spiking_convolutional([Convolution(2, 9)]).init(KEY, (1, 4, 4), 1), "too small"),
        (lambda: lif_rollout(LIF(), jnp.ones(3), 0), "steps came as 0"),
        (lambda: lif_rollout(LIF(), jnp.ones(())), "constant current"),
        (lambda: rate_coded(jnp.ones((1, 2)), 0, KEY), "steps came as 0"),
    ],
)
def test_says_what_it_takes(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)
