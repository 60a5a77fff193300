"""Weight normalisation: gradients by autodiff, the flow by its laws, limits by integration."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.theory.limits.minimum_norm import minimum_norm
from thalweg.theory.linear_nets import weight_normalisation as theory


def system(seed=0, m=3, d=7):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=d)
    return rng.normal(size=(m, d)), rng.normal(size=m), w / np.linalg.norm(w)


def perp(A, y, w):
    return float(np.linalg.norm(minimum_norm(A, y).split(w).null))


LOSSES = {
    "squares": (theory.squared_slope, lambda r: jnp.sum(r**2) / 2),
    "pseudo-Huber": (theory.pseudo_huber_slope, lambda r: jnp.sum(jnp.sqrt(1 + r**2) - 1)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_autodiff(name):
    slope, loss = LOSSES[name]
    A, y, _ = system()
    w, g = np.random.default_rng(1).normal(size=(4, 7)), np.array([0.3, -2.0, 1.0, 5.0])

    def h(w, g):
        return loss(g * jnp.asarray(A) @ w / jnp.linalg.norm(w) - y)

    exact_w, exact_g = jax.vmap(jax.grad(h, (0, 1)))(jnp.asarray(w), jnp.asarray(g))
    found = theory.wn_gradients(A, y, w, g, slope)
    np.testing.assert_allclose(found.scale, exact_g, rtol=1e-12)
    np.testing.assert_allclose(found.direction, exact_w, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(np.sum(w * found.direction, axis=1), 0, atol=1e-13)


def test_the_flow_is_the_limit_of_small_steps():
    """Euler's method at two step sizes, extrapolated to zero."""
    A, y, w0 = system(2)
    c, g0, end = 0.5, 0.7, 0.5

    def euler(steps):
        w, g, eta = w0.copy(), g0, end / steps
        for _ in range(steps):
            slopes = theory.wn_gradients(A, y, w, g)
            w, g = w - eta * slopes.direction, g - c * eta * slopes.scale
        return np.append(g * w / np.linalg.norm(w), g)

    once, twice = euler(4000), euler(8000)
    path = theory.wn_flow(A, y, w0, g0, c, [0.0, end])
    np.testing.assert_allclose(np.append(path.x[-1], path.g[-1]), 2 * twice - once, atol=2e-7)


@pytest.mark.parametrize("slope", [theory.squared_slope, theory.pseudo_huber_slope])
@pytest.mark.parametrize(("length", "c"), [(1.0, 1.0), (2.0, 0.7), (0.5, 3.0)])
def test_the_invariant_and_the_norm_stay(slope, length, c):
    A, y, u0 = system(3)
    times = np.linspace(0, 20, 30)
    path = theory.wn_flow(A, y, length * u0, 1.3, c, times, slope=slope)
    np.testing.assert_allclose(np.linalg.norm(path.w, axis=1), length, rtol=1e-9)
    projector = minimum_norm(A, y).null_projector
    ratio = theory.effective_ratio(c, length * u0)
    assert ratio == pytest.approx(c * length**2)
    kept = theory.wn_invariant(path.w, path.g, projector, ratio, g0=1.3)
    np.testing.assert_allclose(kept, np.tile(length * u0 @ projector, (30, 1)), atol=1e-9)
    plain = theory.wn_invariant(path.w, path.g, projector, ratio)
    np.testing.assert_allclose(plain, kept * math.exp(1.3**2 / (2 * ratio)), rtol=1e-12)


def test_a_longer_direction_is_another_ratio_on_another_clock():
    A, y, u0 = system(4)
    times = np.linspace(0, 3, 7)
    long = theory.wn_flow(A, y, 2 * u0, 0.8, 0.5, 4 * times)
    unit = theory.wn_flow(A, y, u0, 0.8, 2.0, times)
    np.testing.assert_allclose(long.x, unit.x, atol=1e-9)
    np.testing.assert_allclose(long.contraction, unit.contraction, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("g0", [-1.5, 0.2, 1.0, 3.0])
@pytest.mark.parametrize(("c", "length"), [(0.4, 1.0), (1.0, 1.5), (3.0, 1.0)])
def test_the_limit_is_where_the_flow_ends(g0, c, length):
    A, y, u0 = system(5)
    path = theory.wn_flow(A, y, length * u0, g0, c, [0.0, 400.0])
    found = theory.wn_limit(A, y, length * u0, g0, c)
    target = minimum_norm(A, y)
    assert np.linalg.norm(A @ path.x[-1] - y) < 1e-9
    assert path.g[-1] ** 2 == pytest.approx(found.scale_squared, rel=1e-9)
    away = np.linalg.norm(path.x[-1] - target.solution)
    assert away == pytest.approx(found.distance, rel=1e-6, abs=1e-12)
    assert found.distance == pytest.approx(
        math.sqrt(found.scale_squared - target.norm**2), rel=1e-6
    )
    plain = target.descent_limit(g0 * u0) - target.solution
    assert found.descent_distance == pytest.approx(np.linalg.norm(plain))
    ratio = theory.effective_ratio(c, length * u0)

    def k(s):
        return s * math.exp(-(s**2) / (2 * ratio))

    wins = k(math.sqrt(found.scale_squared)) < k(abs(g0))
    assert wins == (found.distance < found.descent_distance)


def test_the_root_where_it_is_known():
    """Nothing outside the row space gives g*; and G is made first, g* from it."""
    assert theory.limit_scale_squared(2.0, 0.0, 5.0) == 4.0
    for G, b, g0, c in ((5.0, 0.7, 1.0, 1.0), (9.0, 1.0, 2.9, 4.0), (8.0, 0.1, 4.0, 2.0)):
        norm = math.sqrt(G * (1 - b**2 * math.exp((g0**2 - G) / c)))
        assert theory.limit_scale_squared(norm, b, g0, c) == pytest.approx(G, rel=1e-13)


def test_bounds_along_the_flow():
    A, y, w0 = system(6)
    times = np.linspace(0, 6, 61)
    g0, c = 0.9, 0.5
    path = theory.wn_flow(A, y, w0, g0, c, times)
    loss = 0.5 * np.sum((path.x @ A.T - y) ** 2, axis=1)
    floor = theory.least_scale_squared(perp(A, y, w0), g0, c)
    assert floor == pytest.approx(g0**2 + c * math.log(perp(A, y, w0) ** 2))
    assert np.all(path.g**2 >= floor)
    prediction = theory.rate_bound(path, A, y)
    assert prediction.kind == "upper"
    assert np.all(loss[1:] < prediction.at(times)[1:])
    assert prediction.at(0.0) == pytest.approx(loss[0])
    np.testing.assert_array_equal(prediction.at(times + 0.05), prediction.at(times))
    integral = np.trapezoid(np.minimum(c, path.g**2), times)
    assert path.contraction[-1] == pytest.approx(integral, rel=1e-3)
    least = np.linalg.eigvalsh(A @ A.T)[0]
    assert prediction.at(6.0) == pytest.approx(
        loss[0] * math.exp(-2 * least * path.contraction[-1]), rel=1e-10
    )


@pytest.mark.parametrize("length", [1.0, 3.0])
def test_the_rate_is_exact_for_one_equation_along_the_direction(length):
    """w0 in the row space of one row: r' = -c lambda r, and c < g^2/||w||^2 all along."""
    a, c = np.array([[1.5, 0.0]]), 0.1
    w0 = np.array([length, 0.0])
    times = np.linspace(0, 4, 9)
    path = theory.wn_flow(a, [3.0], w0, 4.0, c, times)
    residual = (path.x @ a.T)[:, 0] - 3.0
    np.testing.assert_allclose(residual, 3.0 * np.exp(-c * 2.25 * times), rtol=1e-9)
    np.testing.assert_allclose(
        theory.rate_bound(path, a, [3.0]).at(times), residual**2 / 2, rtol=1e-8
    )


@pytest.mark.parametrize("ratio", [0.4, 1.0, 1.0 + 1e-9, 1.7])
def test_phase_one_by_the_algorithm_itself(ratio):
    rng = np.random.default_rng(7)
    A = np.linalg.qr(rng.normal(size=(8, 3)))[0].T
    y, w = rng.normal(size=3), rng.normal(size=8)
    target = minimum_norm(A, y)
    g = ratio * target.norm
    w /= np.linalg.norm(w)
    sizes = [perp(A, y, w)]
    for _ in range(12):
        v = w - A.T @ (g * A @ w - y) / g
        w = v / np.linalg.norm(v)
        sizes.append(perp(A, y, w))
    found = theory.phase1_closed_form(sizes[0], ratio, np.arange(13))
    np.testing.assert_allclose(found, sizes, rtol=1e-8)


def test_the_ends_of_phase_one():
    far = theory.phase1_closed_form(0.8, 1.5, 400)
    assert far == pytest.approx(math.sqrt(1 - 1 / 1.5**2), rel=1e-13)
    late = theory.phase1_closed_form(0.8, 0.5, np.array([40, 41, 5000]))
    assert late[1] / late[0] == pytest.approx(0.5)
    assert late[2] == 0
    assert theory.phase1_closed_form(0.8, 1.0, 3) == pytest.approx((0.8**-2 + 3) ** -0.5)


def test_phase_two_is_geometric():
    g = 0.7
    for _ in range(5):
        g -= 0.3 * (g - 2.0)
    assert theory.phase2_closed_form(0.7, 2.0, 0.3, 5) == pytest.approx(g)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: theory.wn_flow(*system()[:2], np.zeros(7), 1.0, 1.0, [0.0, 1.0]), "direction"),
        (lambda: theory.wn_flow(*system(), 1.0, 0.0, [0.0, 1.0]), "positive ratio"),
        (lambda: theory.limit_scale_squared(0.0, 0.5, 1.0), "g\\*"),
        (lambda: theory.limit_scale_squared(1.0, 1.5, 1.0), "part in"),
        (lambda: theory.phase1_closed_form(0.0, 1.0, 3), "part in"),
        (lambda: theory.phase1_closed_form(0.5, -1.0, 3), "positive"),
    ],
)
def test_bad_arguments_are_told(call, says):
    with pytest.raises(InputError, match=says):
        call()
