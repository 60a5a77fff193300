"""Certificates of deep linear nets: kept by descent done by hand, and what they are made of."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.theory.descent.certified_descent import descent_guarantee, scalar_linear_certificate
from thalweg.theory.descent.euler import euler_certificate
from thalweg.theory.linear_nets.homogeneous import linear_tube_bounds
from thalweg.theory.linear_nets.scalar_linear import (
    balanced_init,
    scalar_linear_flow,
    scalar_linear_weights,
)


def descend(weights, target, eta, steps):
    """Gradient descent on (1/2)|W_n...W_1 - target|^2, layer by layer."""
    for _ in range(steps):
        below = [np.eye(target.shape[1])]
        for w in weights:
            below.append(w @ below[-1])
        above, gradients = below[-1] - target, []
        for w, b in zip(weights[::-1], below[-2::-1], strict=True):
            gradients.append(above @ b.T)
            above = w.T @ above
        weights = [w - eta * g for w, g in zip(weights, gradients[::-1], strict=True)]
    product = np.linalg.multi_dot(weights[::-1])
    return 0.5 * float(np.sum((product - target) ** 2))


@pytest.mark.parametrize(("r0", "nu", "n"), [(0.3, 1.0, 3), (0.3, 0.5, 2)])
def test_guarantee_is_kept(r0, nu, n):
    loss = 0.05
    promise = descent_guarantee(r0, nu, n, loss)
    product = r0 * jnp.array([[nu, math.sqrt(1 - nu**2), 0.0]])
    weights = [np.asarray(w) for w in balanced_init(product, n, [3] * (n - 1))]
    reached = descend(weights, np.eye(1, 3), promise.step_size, promise.steps)
    assert reached <= loss
    # The flow has half the loss then, and descent is nearly there.
    assert reached == pytest.approx(loss / 2, rel=0.05)


def worst_loss(weights, target, eps, key, steps=60):
    """The largest loss found within `eps` of weights, by ascent projected on the ball."""
    flat = np.concatenate([w.ravel() for w in weights])
    cuts = np.cumsum([w.size for w in weights])[:-1]
    shapes = [w.shape for w in weights]

    @jax.jit
    def loss(move):
        parts = jnp.split(jnp.asarray(flat) + move, cuts)
        product = jnp.linalg.multi_dot(
            [p.reshape(s) for p, s in zip(parts[::-1], shapes[::-1], strict=True)]
        )
        return 0.5 * jnp.sum((product - target) ** 2)

    slope, worst = jax.jit(jax.grad(loss)), 0.0
    shrunk = -flat / np.linalg.norm(flat)
    for first in (shrunk, *np.asarray(jax.random.normal(key, (3, flat.size)))):
        move = eps * first / np.linalg.norm(first)
        for _ in range(steps):
            along = np.asarray(slope(move))
            move = move + eps * along / max(np.linalg.norm(along), 1e-300)
            move = eps * move / np.linalg.norm(move)
            worst = max(worst, float(loss(move)))
    return worst


@pytest.mark.parametrize(
    ("r0", "nu", "n", "width", "loss"),
    [
        (0.3, 1.0, 2, 1, 0.05),
        (0.3, 1.0, 3, 3, 0.05),
        (0.3, 0.5, 3, 2, 0.01),
        (0.4, 0.6, 5, 4, 0.01),
    ],
)
def test_the_whole_ball_around_the_flow_has_the_loss(r0, nu, n, width, loss):
    """What makes the guarantee one: whatever is within eps of the flow at T has the loss."""
    promise = descent_guarantee(r0, nu, n, loss)
    until = promise.step_size * promise.steps
    product = r0 * jnp.array([[nu, math.sqrt(1 - nu**2), 0.0, 0.0]])
    start = balanced_init(product, n, [width] * (n - 1), jax.random.key(1))
    target = np.eye(1, 4)
    end = scalar_linear_weights(scalar_linear_flow(r0, nu, n, [until]), start, target)
    weights = [w[0] for w in end]
    worst = worst_loss(weights, target, promise.certificate.eps, jax.random.key(2))
    assert worst <= loss * (1 + 1e-9)
    # The ball is not smaller than it need be either: its edge comes near the loss.
    assert worst > 0.65 * loss


def test_width_one_stands_for_all_widths():
    """The bounds along wide, rotated weights give the same certificate."""
    n, r0, eps, times = 3, 0.2, 0.02, np.linspace(0, 5, 401)
    r = scalar_linear_flow(r0, 1.0, n, times).norm
    start = balanced_init(jnp.eye(1, 4), n, [4, 3])
    weights = [jnp.asarray(r ** (1 / n))[:, None, None] * w[None] for w in start]
    tube = linear_tube_bounds(weights, jnp.eye(1, 4), eps)
    wide = euler_certificate(times, tube.m, tube.beta, tube.gamma, eps)
    narrow = scalar_linear_certificate(r0, 1.0, n, 5.0, eps, grid=401)
    assert narrow.step_size == pytest.approx(wide.step_size, rel=1e-9)


def test_knowing_less_certifies_less():
    known = scalar_linear_certificate(0.1, 1.0, 3, 6.0, 0.01)
    blind = scalar_linear_certificate(0.1, 1.0, 3, 6.0, 0.01, constant=True)
    assert blind.step_size < 0.05 * known.step_size
    thinner = scalar_linear_certificate(0.1, 1.0, 3, 6.0, 0.005)
    assert thinner.step_size < known.step_size


def test_bad_input():
    with pytest.raises(InputError, match="until"):
        scalar_linear_certificate(0.1, 1.0, 3, 0.0, 0.01)
    with pytest.raises(InputError, match="smaller"):
        descent_guarantee(0.1, 1.0, 3, 0.9)
