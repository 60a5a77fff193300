"""Probes of connections, against brute force on a run and autodiff through the max."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.dynamics.optax_update import optax_converts
from thalweg.probes.connections import strengths

RNG = np.random.default_rng(1)
X, Y = RNG.normal(size=(8, 4)), RNG.normal(size=(8, 2))
START = [
    {"weight": jnp.asarray(0.5 * RNG.normal(size=(4, 3))), "bias": jnp.zeros(3)},
    {"weight": jnp.asarray(0.5 * RNG.normal(size=(3, 2))), "bias": jnp.zeros(2)},
]


def net(p):
    return jnp.mean((jnp.tanh(X @ p[0]["weight"] + p[0]["bias"][None]) @ p[1]["weight"] - Y) ** 2)


@pytest.fixture(autouse=True)
def _as_users_have_it() -> Iterator[None]:
    """Optax mixes types and ranks."""
    with optax_converts():
        yield


PROBLEM = tw.problems.Function(net, start=START)


@pytest.fixture(scope="module")
def run():
    rewiring = tw.optax_dynamics(tw.dynamics.grad_r(0.02, 1.0, centre=-0.05), 0.02)
    probes = ["connectivity", "tensor_connectivity", "pruned_connections", "regrown_connections"]
    probes += ["rewiring_cosine", tw.probes.strength_histogram([-1, -0.05, 0, 0.2, 2])]
    probes += [tw.probes.weight_histogram([-2, -0.1, 0.1, 2])]
    return tw.run(PROBLEM, rewiring, until=1.6, records=16, probes=probes, start=START)


@pytest.mark.thorough
def test_counts_are_those_of_brute_force(run) -> None:
    flat = run.parameters.values[0]
    table = {k: run.dataset[k].values[0] for k in run.dataset}
    # Leaves in order: bias (3), weight (12), bias (2), weight (6).
    present = [flat[:, 3:15] != 0, flat[:, 17:] != 0]
    both = np.concatenate(present, axis=1)
    np.testing.assert_allclose(table["connectivity"], both.mean(1))
    np.testing.assert_allclose(
        table["tensor_connectivity"], np.stack([p.mean(1) for p in present], 1)
    )
    went, came = (both[:-1] & ~both[1:]).sum(1), (~both[:-1] & both[1:]).sum(1)
    np.testing.assert_array_equal(table["pruned_connections"], [0, *went])
    np.testing.assert_array_equal(table["regrown_connections"], [0, *came])
    assert went.sum() > 0
    assert came.sum() > 0
    # Shares below 0 are what is absent; all are within the edges.
    np.testing.assert_allclose(table["strength_histogram"][:, :2].sum(1), 1 - both.mean(1))
    np.testing.assert_allclose(table["strength_histogram"].sum(1), 1)
    weights = np.concatenate([flat[:, 3:15], flat[:, 17:]], axis=1)
    np.testing.assert_allclose(table["weight_histogram"][:, 1], (np.abs(weights) < 0.1).mean(1))


@pytest.mark.thorough
def test_the_cosine_is_the_angle_of_the_two_gradients(run) -> None:
    """By autodiff through s max(theta, 0), which knows nothing of the probe's formula."""
    rewiring = tw.dynamics.grad_r(0.02, 1.0, centre=-0.05)
    params, state = START, rewiring.init(START)
    for _ in range(80):
        updates, state = rewiring.update(jax.grad(net)(params), state, params)
        params = optax.apply_updates(params, updates)
    first, second = (s for s in strengths(state) if hasattr(s, "dtype"))
    signs = [jnp.sign(layer["weight"]) for layer in START]

    def through(theta):
        weights = [s * jax.nn.relu(t) for s, t in zip(signs, theta, strict=True)]
        return net([layer | {"weight": w} for layer, w in zip(params, weights, strict=True)])

    true = jnp.concatenate([g.ravel() for g in jax.grad(through)([first, second])])
    slopes = [layer["weight"] for layer in jax.grad(net)(params)]
    redefined = jnp.concatenate([(s * g).ravel() for s, g in zip(signs, slopes, strict=True)])
    cosine = float(true @ redefined / jnp.linalg.norm(true) / jnp.linalg.norm(redefined))
    there = jnp.concatenate([first.ravel(), second.ravel()]) > 0
    np.testing.assert_array_equal(true, jnp.where(there, redefined, 0))
    assert 0.05 < cosine < 0.999
    told = tw.measure(PROBLEM, params, "rewiring_cosine")
    assert float(told.value) == pytest.approx(cosine, rel=1e-12)
    assert float(run.dataset["rewiring_cosine"].values[0, 16]) == pytest.approx(cosine, rel=1e-6)


def test_no_gradient_has_no_angle_and_vectors_no_connections() -> None:
    flat = tw.problems.Function(lambda w: 0 * jnp.sum(w), start=jnp.ones((2, 2)))
    reading = tw.measure(flat, jnp.ones((2, 2)), "rewiring_cosine")
    assert np.isnan(float(reading.value))
    assert int(reading.result) == tw.Result.NOT_MEASURED
    line = tw.problems.Function(lambda w: jnp.sum(w**2), start=jnp.ones(2))
    with pytest.raises(tw.InputError, match="connectivity needs connections"):
        tw.measure(line, jnp.ones(2), "connectivity")
    for edges in ([0.0], [1.0, 0.0], [0.0, np.inf]):
        with pytest.raises(tw.InputError, match="edges came as"):
            tw.probes.weight_histogram(edges)
