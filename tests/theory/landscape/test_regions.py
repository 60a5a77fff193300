"""Walls of regions by brute force, and training inside one region."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.curvature import layer_hessian
from thalweg.models import piecewise_affine as pieces
from thalweg.models.residual import ResidualMLP
from thalweg.problems import supervised, trained_part
from thalweg.theory.landscape import regions

NETS = {
    "residual": ResidualMLP((4, 4, 4), "leaky-relu:0.1", readout=False),
    "dense": ResidualMLP((3, 2), "abs", branch=0.5, join="concatenate"),
    "relu": ResidualMLP((5, 4), "relu", skip=0.0),
}


def drawn(name, seed=0):
    net = NETS[name]
    outputs = 2 if net.readout else 4
    params = [
        layer | {"bias": 0.2 * jax.random.normal(jax.random.key(j), layer["bias"].shape)}
        for j, layer in enumerate(net.init(jax.random.key(seed), (4,), outputs))
    ]
    return net, params, jax.random.normal(jax.random.key(seed + 50), (3, 4))


def moved(params, layer, change):
    changed = [*params]
    changed[layer] = params[layer] | {"weight": params[layer]["weight"] + change}
    return changed


def same(net, params, other, x):
    pattern = regions.activation_pattern(net, params, x)
    return np.array(pattern == regions.activation_pattern(net, other, x))


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", NETS)
def test_next_boundary_is_where_the_pattern_changes(name, layer):
    for seed in range(3):
        net, params, x = drawn(name, seed)
        V = jax.random.normal(jax.random.key(7 + seed), params[layer]["weight"].shape)
        wall = regions.next_boundary(net, params, x, layer, V)
        before = moved(params, layer, wall.distance * (1 - 1e-9) * V)
        after = moved(params, layer, wall.distance * (1 + 1e-9) * V)
        assert same(net, params, before, x).all()
        changed = np.argwhere(~same(net, params, after, x))
        unit = sum(net.hidden[: wall.layer]) + wall.unit
        np.testing.assert_array_equal(changed, [[wall.example, unit]])


def test_the_loss_is_a_parabola_up_to_the_wall():
    net, params, x = drawn("residual")
    problem = supervised(net, (np.asarray(x), np.ones((3, 4))))
    V = jax.random.normal(jax.random.key(8), (4, 4))
    wall = regions.next_boundary(net, params, x, 0, V)
    t = wall.distance * np.linspace(0, 1, 6)
    loss = [float(problem.objective(moved(params, 0, s * V))) for s in t]
    beyond = float(problem.objective(moved(params, 0, 1.5 * wall.distance * V)))
    curve = np.polyfit(t, loss, 2)
    np.testing.assert_allclose(np.polyval(curve, t), loss, rtol=1e-12)
    assert abs(np.polyval(curve, 1.5 * wall.distance) - beyond) > 1e-9
    H = layer_hessian(net, params, x, 0)
    np.testing.assert_allclose(2 * curve[0], jnp.sum(V * H.apply(V)), rtol=1e-9)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("name", NETS)
def test_the_nearest_wall_is_the_nearest(name, layer):
    net, params, x = drawn(name)
    wall = regions.boundary_distance(net, params, x, layer)

    def height(W):
        whole = moved(params, layer, W - params[layer]["weight"])
        return pieces.passage(net, whole, x[wall.example]).preactivations[wall.layer][wall.unit]

    W = params[layer]["weight"]
    slope = jax.grad(height)(W)
    normal = -jnp.sign(height(W)) * slope / jnp.linalg.norm(slope)
    np.testing.assert_allclose(abs(height(W)) / jnp.linalg.norm(slope), wall.distance, rtol=1e-12)
    along = regions.next_boundary(net, params, x, layer, normal)
    np.testing.assert_allclose(along.distance, wall.distance, rtol=1e-9)
    for seed in range(10):
        V = jax.random.normal(jax.random.key(seed), W.shape)
        V = V / jnp.linalg.norm(V)
        assert regions.next_boundary(net, params, x, layer, V).distance >= wall.distance
        assert same(net, params, moved(params, layer, 0.999 * wall.distance * V), x).all()


@pytest.mark.parametrize("name", NETS)
def test_across_a_wall_q_is_that_of_the_other_side(name):
    net, params, x = drawn(name)
    V = jax.random.normal(jax.random.key(3), params[0]["weight"].shape)
    wall = regions.next_boundary(net, params, x, 0, V)
    crossing = regions.across(net, params, x, 0, wall)
    for values, factor in ((crossing.before, 1 - 1e-9), (crossing.after, 1 + 1e-9)):
        at = moved(params, 0, factor * wall.distance * V)
        Q = pieces.downstream_matrix(net, at, x[wall.example], 0)
        np.testing.assert_allclose(values, np.linalg.svd(Q, compute_uv=False), atol=1e-12)
    assert np.max(np.abs(crossing.after - crossing.before)) <= crossing.bound * (1 + 1e-12)
    assert crossing.bound > 0


def test_the_readout_has_no_walls():
    net, params, x = drawn("relu")
    wall = regions.boundary_distance(net, params, x, 2)
    assert wall == regions.Boundary(np.inf, -1, -1, -1)
    with pytest.raises(InputError, match="no wall"):
        regions.across(net, params, x, 2, wall)
    with pytest.raises(InputError, match="shape"):
        regions.next_boundary(net, params, x, 0, jnp.ones((2, 2)))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_training_inside_a_region_loses_as_predicted(reduction):
    net, params, x = drawn("residual", 2)
    radius = regions.boundary_distance(net, params, x, 1).distance
    outputs = np.asarray(net.apply(params, x))
    rng = np.random.default_rng(0)
    y = outputs + 0.01 * radius * rng.normal(size=outputs.shape)
    step = 1.5 / float(layer_hessian(net, params, x, 1, reduction=reduction).spectrum()[0])
    predicted = regions.region_loss(net, params, x, y, 1, step, reduction)
    assert (predicted.name, predicted.kind) == ("loss", "exact")
    whole = supervised(net, (np.asarray(x), y), reduction=reduction)
    problem = trained_part(whole, params, lambda path: path == "1.weight")
    found = tw.run(problem, tw.gradient_descent(step), times=step * np.arange(0, 30, 3))
    loss = found.dataset["loss"].values[0]
    np.testing.assert_allclose(predicted.at(found.dataset["time"].values), loss, rtol=1e-9)
    assert loss[-1] < 0.9 * loss[0]
