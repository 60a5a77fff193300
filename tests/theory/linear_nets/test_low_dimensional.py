"""The reduced flow against the full one of the layers, and every formula against its truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from thalweg.core.errors import InputError
from thalweg.models.initialisers import decoupled_init
from thalweg.problems.linear_targets import DeepLinear, deep_linear_params
from thalweg.theory.linear_nets import low_dimensional as ld
from thalweg.theory.linear_nets.scalar_linear import balanced_init

CORRELATION = np.array([[1.0, 0.3], [0.3, 0.5]])
TARGET = np.array([1.0, -0.5])


def layerwise(loss, weights, times):
    """Effective vectors along gradient flow of all layers."""
    problem = DeepLinear(loss.minimiser[None], jnp.asarray(loss.hessian))
    flat, unravel = ravel_pytree(deep_linear_params(weights))
    slope = jax.jit(lambda theta: -jax.grad(lambda t: problem.objective(unravel(t)))(theta))
    found = solve_ivp(
        lambda t, theta: np.asarray(slope(theta)),
        (0, times[-1]),
        np.asarray(flat),
        "DOP853",
        t_eval=times,
        rtol=1e-11,
        atol=1e-13,
    )

    def product(theta):
        W = [layer["weight"] for layer in unravel(theta)]
        out = W[-1]
        for lower in W[-2::-1]:
            out = out @ lower
        return out[0]

    return np.array([product(theta) for theta in found.y.T])


@pytest.mark.parametrize("L", [1, 2, 4])
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_the_reduced_flow_is_that_of_balanced_layers(L, noise):
    loss = ld.plane_loss(TARGET, 2, noise, CORRELATION)
    start, times = np.array([-0.4, 0.3, 0.5, 0.2]), np.linspace(0, 4, 9)
    size = np.linalg.norm(start)
    rank_one = decoupled_init(
        jnp.ones((1, 1)), (start / size)[:, None], size, L, 3, jax.random.key(0)
    )
    general = balanced_init(jnp.asarray(start)[None], L, [3] * (L - 1), jax.random.key(1))
    flow = ld.reduced_flow(loss, start, L, times)
    for weights in (rank_one, general):
        np.testing.assert_allclose(flow.w, layerwise(loss, weights, times), atol=1e-10)
    assert np.max(flow.error) < 1e-7


def test_the_loss_is_that_of_its_moments():
    loss = ld.plane_loss(TARGET, 1, 0.3, CORRELATION)
    w = np.array([0.2, 0.1, -0.7])
    gap = w[:2] - TARGET
    value = 0.5 * gap @ CORRELATION @ gap + 0.5 * 0.09 * 0.49
    gradient = jax.grad(
        lambda w: 0.5 * (w - loss.minimiser) @ jnp.asarray(loss.hessian) @ (w - loss.minimiser)
    )
    np.testing.assert_allclose(loss.gradient(w), gradient(jnp.asarray(w)), atol=1e-15)
    h = 0.5 * (w - loss.minimiser) @ loss.hessian @ (w - loss.minimiser)
    assert h == pytest.approx(value, rel=1e-14)
    assert ld.plane_loss(1.0, 0).hessian.shape == (1, 1)


def test_depth_one_is_gradient_descent_of_the_vector():
    """w_y decays as exp(-noise^2 t), w_x - a as exp(-t)."""
    times = np.linspace(0, 5, 6)
    flow = ld.reduced_flow(ld.plane_loss(2.0, 1, 0.5), (-1.0, 3.0), 1, times)
    exact = np.stack([2 - 3 * np.exp(-times), 3 * np.exp(-0.25 * times)], axis=1)
    np.testing.assert_allclose(flow.w, exact, atol=1e-10)


def test_a_stop_stays_where_it_is():
    """Depth one falls through w_x = 1 at ln 3."""
    flow = ld.reduced_flow(
        ld.plane_loss(2.0, 1), (-1.0, 0.5), 1, [0.5, 1.0, 5.0, 9.0], until=lambda w: 1 - w[0]
    )
    assert flow.stopped == pytest.approx(np.log(3), abs=1e-9)
    assert abs(flow.stopped - np.log(3)) <= flow.stopped_error + 1e-12
    np.testing.assert_allclose(flow.w[2:], [[1.0, 0.5]] * 2, atol=1e-9)
    assert flow.closest == pytest.approx(0.5, abs=1e-10)
    running = ld.reduced_flow(ld.plane_loss(2.0, 1), (-1.0, 0.5), 1, [0.2])
    assert np.isnan(running.stopped)
    assert running.closest == pytest.approx(np.linalg.norm(running.w[0]))


@pytest.mark.parametrize("L", [1, 2, 3, 5])
def test_the_invariant_decides_where_clean_flow_ends(L):
    loss, start = ld.plane_loss(TARGET, 3, correlation=CORRELATION), np.array([1, 1, 0.4, -0.2, 1])
    w = ld.reduced_flow(loss, start, L, np.linspace(0, 200, 21)).w
    whole, normal = np.linalg.norm(w, axis=1), np.linalg.norm(w[:, 2:], axis=1)
    kept = ld.frozen_invariant(whole, normal, L)
    np.testing.assert_allclose(kept, kept[0], rtol=1e-9)
    end = ld.settled_normal_norm(whole[0], normal[0], float(np.linalg.norm(TARGET)), L)
    assert normal[-1] == pytest.approx(end, rel=1e-8)
    again = np.hypot(end, np.linalg.norm(TARGET))
    assert end == pytest.approx(normal[0] * (again / whole[0]) ** (1 - 1 / L), rel=1e-12)


def test_settled_norms_at_the_ends():
    assert ld.settled_normal_norm(2.0, 0.7, 1.0, 1) == pytest.approx(0.7, rel=1e-14)
    assert ld.settled_normal_norm(2.0, 0.0, 1.0, 3) == 0.0
    small = [ld.settled_normal_norm(e, 0.8 * e, 1.0, 4) for e in (1e-14, 1e-10)]
    assert np.log(small[1] / small[0]) / np.log(1e4) == pytest.approx(1 / 4, abs=1e-3)
    # L = 2: r^2 - c^2 r - a^2 = 0.
    c = 3.0 / 5.0**0.5
    r = (c**2 + np.sqrt(c**4 + 4 * 49)) / 2
    assert ld.settled_normal_norm(5.0, 3.0, 7.0, 2) == pytest.approx(c * r**0.5, rel=1e-13)


@pytest.mark.parametrize("L", [2, 3])
def test_closest_approach(L):
    flow = ld.reduced_flow(ld.plane_loss(1.0, 1), (-0.8, 0.4), L, [1e3])
    expected = 0.4**L / np.hypot(0.8, 0.4) ** (L - 1)
    assert flow.closest == pytest.approx(expected, abs=1e-9)
    assert float(ld.closest_norm(np.hypot(0.8, 0.4), 0.4, L)) == pytest.approx(expected, rel=1e-14)


def test_the_rate_is_an_eigenvalue_of_the_linearised_flow():
    for L in (1, 2, 3, 4):
        loss = ld.plane_loss(TARGET, 1, 0.2, CORRELATION)
        h = 1e-6
        moved = [
            ld.reduced_velocity(w, loss.gradient(w), L)
            for w in (loss.minimiser + s * h * np.array([0, 0, 1.0]) for s in (1, -1))
        ]
        slope = (moved[0] - moved[1]) / (2 * h)
        rate = float(ld.normal_decay_rate(np.linalg.norm(TARGET), 0.2, L))
        np.testing.assert_allclose(slope, [0, 0, -rate], atol=1e-9)
    prediction = ld.normal_decay(0.3, 2.0, 0.5, 2)
    np.testing.assert_allclose(prediction.at([0.0, 4.0]), [0.3, 0.3 * np.exp(-2.0)])
    assert prediction.kind == "asymptotic"


def test_decay_of_columns_is_that_of_repeated_steps():
    B, b = np.ones((2, 3)), np.ones((2, 3))
    for _ in range(50):
        b = b - 0.1 * 1e-2 * b
    found = ld.decayed_columns(B, 1e-2, 0.1, [0, 50])
    np.testing.assert_allclose(found, [B, b], rtol=1e-13)
    np.testing.assert_array_equal(ld.decayed_columns(B, 0.0, 0.1, 7), B)


def test_variance_over_redraws():
    g = np.array([[1.0, -2.0, 0.0], [0.5, 0.5, 3.0]])
    draws = 0.7 * np.random.default_rng(0).standard_normal((200_000, 3)) @ g.T
    np.testing.assert_allclose(ld.redrawn_variance(0.49, g), draws.var(0), rtol=0.02)


def test_noise_fits_what_is_left_over():
    """By least squares on data whose residual is an independent normal variable."""
    n, noise, residual, rng = 400, 0.2, 0.5, np.random.default_rng(0)
    found = []
    for _ in range(3000):
        z = np.stack([rng.normal(size=n), noise * rng.normal(size=n)], axis=1)
        t = 2 * z[:, 0] + residual * rng.normal(size=n)
        found.append(np.linalg.solve(z.T @ z, z.T @ t)[1])
    rms = np.sqrt(np.mean(np.square(found)))
    assert rms == pytest.approx(float(ld.least_squares_normal(residual, noise, n)), rel=0.05)
    assert float(ld.samples_needed(residual, noise, rms)) == pytest.approx(n, rel=0.1)
    assert ld.samples_needed(0.4, 0.1, ld.least_squares_normal(0.4, 0.1, 77)) == pytest.approx(77)


@pytest.mark.parametrize(
    ("n", "dimension", "codimension"), [(8, 1, 1), (12, 3, 1), (12, 1, 4), (20, 2, 5)]
)
def test_few_samples_leave_more(n, dimension, codimension):
    """Against least squares on few points: to leading order it would be 16 to 41 % less."""
    noise, residual, repeats, rng = 0.3, 0.5, 60_000, np.random.default_rng(n)
    x = rng.uniform(-1, 2, (repeats, n, dimension))
    y = noise * rng.standard_normal((repeats, n, codimension))
    t = x.sum(-1) + residual * rng.standard_normal((repeats, n))
    z = np.concatenate([x, y], axis=-1)
    w = np.linalg.solve(np.swapaxes(z, 1, 2) @ z, (np.swapaxes(z, 1, 2) @ t[..., None]))[..., 0]
    squares = w[:, dimension:] ** 2
    theory = ld.least_squares_normal(residual, noise, n, dimension, codimension)
    assert np.sqrt(squares.mean()) == pytest.approx(float(theory), rel=0.03)
    needed = ld.samples_needed(residual, noise, theory, dimension, codimension)
    assert needed == pytest.approx(n)


def test_too_few_samples_leave_no_mean_square():
    assert ld.least_squares_normal(0.5, 0.1, [3, 2, 4]).tolist() == [np.inf, np.inf, 5.0]


@pytest.mark.parametrize(
    "bad",
    [
        lambda: ld.plane_loss(1.0, 1, -0.1),
        lambda: ld.plane_loss([1.0, 2.0], 1, correlation=np.eye(3)),
        lambda: ld.reduced_flow(ld.plane_loss(1.0, 1), (0.0, 0.0), 2, [1.0]),
        lambda: ld.reduced_flow(ld.plane_loss(1.0, 1), (1.0, 0.0, 0.0), 2, [1.0]),
        lambda: ld.reduced_flow(ld.plane_loss(1.0, 1), (1.0, 0.0), 0, [1.0]),
        lambda: ld.reduced_flow(ld.plane_loss(1.0, 1), (1.0, 0.0), 2, [2.0, 1.0]),
        lambda: ld.settled_normal_norm(1.0, 2.0, 1.0, 2),
        lambda: ld.settled_normal_norm(1.0, 0.5, 0.0, 2),
    ],
)
def test_bad_input_is_refused(bad):
    with pytest.raises(InputError):
        bad()
