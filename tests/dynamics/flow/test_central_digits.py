"""The central flow of a net on digits against descent, with two to four eigenvalues at the edge.

Each number here was found by two implementations that share no code with this one; the bands are 5
per cent of it.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from sklearn.datasets import load_digits

import thalweg as tw
from thalweg.core.result import Result
from thalweg.dynamics import central_flow, gradient_flow
from thalweg.problems import Function

ETA, STEPS = 2 / 3, 200
ANCHORS = {0: (120, 0.152, 0.986, 0.988, 0.990)}  # start, distances, loss, variance, gradient


def net(seed):
    """64-20-20-20-10 with tanh on a hundred digits."""
    images = load_digits()
    X = images.data[::17][:100] / 16
    X = X - X.mean(axis=0)
    X, y = jnp.asarray(X / X.std()), jnp.eye(10)[images.target[::17][:100]]
    rng, sizes = np.random.default_rng(seed), [64, 20, 20, 20, 10]
    weights = [
        (jnp.asarray(0.577 * rng.standard_normal((a, b)) / np.sqrt(a)), jnp.zeros(b))
        for a, b in itertools.pairwise(sizes)
    ]
    flat, unravel = ravel_pytree(weights)

    def objective(flat):
        h = X
        *hidden, last = unravel(flat)
        for W, b in hidden:
            h = jnp.tanh(h @ W + b)
        return jnp.mean(jnp.sum((h @ last[0] + last[1] - y) ** 2, axis=1)) / 2

    return objective, np.asarray(flat)


@pytest.mark.slow
@pytest.mark.parametrize("seed", ANCHORS)
def test_the_mean_path_loss_variance_and_gradient_of_descent(seed):
    begin, distances, loss, variance, squared = ANCHORS[seed]
    objective, start = net(seed)
    steps = begin + STEPS + 1
    options = {"until": ETA * STEPS, "records": STEPS, "progress": False}
    descent = tw.run(
        Function(objective, start), tw.gradient_descent(ETA), until=ETA * steps, records=steps,
        progress=False,
    )  # fmt: skip
    W = descent.parameters.values[0]
    middle = (W[:-2] + 2 * W[1:-1] + W[2:]) / 4  # of steps 1, 2, ...
    there = Function(objective, middle[begin - 1])
    central = tw.run(there, central_flow(ETA), **options)
    flow = tw.run(there, gradient_flow(error=1e-5), **options)
    k = np.arange(STEPS // 2, STEPS + 1)
    steps_there, mean = W[begin + k], middle[begin - 1 + k]
    told = central.dataset.isel(seed=0)
    assert told["result"].max() == Result.OK
    # Pinned, up to the residual asked of eigenpairs.
    assert told["effective_sharpness"][10:].min() > 1.999
    assert told["effective_sharpness"][10:].max() < 2.0002
    assert told["critical"][-1] >= 2
    gaps = [np.linalg.norm(mean - t.parameters.values[0, k], axis=1) for t in (central, flow)]
    assert np.mean(gaps[0] / gaps[1]) == pytest.approx(distances, rel=0.05)
    late = told.isel(time=k)
    own = late["loss"].mean()
    measured = descent.dataset["loss"].values[0, begin + k].mean()
    predicted = late["predicted_loss"].mean()
    assert float((measured - own) / (predicted - own)) == pytest.approx(loss, rel=0.05)
    energy = np.mean(np.sum((steps_there - mean) ** 2, axis=1))
    assert energy / float(late["oscillation"].mean()) == pytest.approx(variance, rel=0.05)
    gradients = jax.lax.map(jax.grad(objective), jnp.asarray(steps_there))
    found = float(jnp.mean(jnp.sum(gradients**2, axis=1)))
    told_of = float(late["predicted_squared_gradient"].mean())
    assert found / told_of == pytest.approx(squared, rel=0.05)
