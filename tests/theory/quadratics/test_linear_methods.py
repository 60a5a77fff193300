"""Linear methods on quadratics against loops, NumPy's eigenvalues and simulated noise."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.theory.quadratics import linear_methods as lab
from thalweg.theory.quadratics import lower_bounds as floor

LAMBDA = np.array([0.2, 0.7, 1.5, -0.3])
NUMBERS = {"gradient-descent": (0.9, 0.0), "heavy-ball": (0.8, 0.6), "nesterov": (0.7, 0.5)}


def looped(name, alphas, betas, H, w, steps, noise=None):
    """The method as it is written, on a whole matrix."""
    before, path = w, [w]
    for k in range(steps):
        way = betas[k] * (w - before)
        at = w + way if name == "nesterov" else w
        g = H @ at + (0 if noise is None else noise[k])
        w, before = w + way - alphas[k] * g, w
        path.append(w)
    return np.array(path)


@pytest.mark.parametrize("name", lab.LINEAR_METHODS)
def test_trajectories_are_those_of_the_loop_in_any_basis_with_any_schedule(name):
    rng = np.random.default_rng(3)
    U = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    alphas = rng.uniform(0.1, 0.9, 12)
    betas = np.zeros(12) if name == "gradient-descent" else rng.uniform(0, 0.9, 12)
    start = rng.normal(size=4)
    path = looped(name, alphas, betas, U * LAMBDA @ U.T, U @ start, 12)
    exact = lab.modal_trajectory(lab.linear_method(name, alphas, betas), LAMBDA, start, 12)
    np.testing.assert_allclose(path @ U, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["heavy-ball", "nesterov"])
def test_stability_radius_and_phase_are_those_of_the_eigenvalues(name):
    rng = np.random.default_rng(0)
    x, beta = rng.uniform(-1, 6, 4000), rng.uniform(-1.5, 1.5, 4000)
    R = np.array(
        [
            lab.transition(lab.linear_method(name, 1.0, b), [a])[0]
            for a, b in zip(x, beta, strict=True)
        ]
    )
    r = np.linalg.eigvals(R)
    radius = np.abs(r).max(1)
    np.testing.assert_allclose(lab.spectral_radius(name, x, beta), radius, rtol=1e-6)
    clear = np.abs(radius - 1) > 1e-9
    np.testing.assert_array_equal(lab.is_stable(name, x, beta)[clear], (radius < 1)[clear])
    phases = lab.phase(name, x, beta)
    complex_ones = (np.abs(r.imag).max(1) > 1e-7) & (radius < 1)
    ripples = phases == lab.PHASES.index("ripples")
    assert np.mean(ripples != complex_ones) < 1e-3
    biggest = r[np.arange(len(r)), np.abs(r).argmax(1)].real
    for word, sign in (("monotone", 1), ("alternating", -1)):
        chosen = (phases == lab.PHASES.index(word)) & ~complex_ones
        assert chosen.any() or name == "nesterov"
        assert np.all(sign * biggest[chosen] >= 0)
    if name == "heavy-ball":
        np.testing.assert_allclose(radius[ripples], np.sqrt(beta[ripples]), rtol=1e-9)


def test_tuned_numbers_reach_their_rate_and_nothing_on_a_grid_is_better():
    lam = np.geomspace(0.5, 50, 30)
    for name in lab.LINEAR_METHODS:
        best = lab.tuned(name, 0.5, 50.0)
        radii = lab.spectral_radius(name, best.step_size * lam, best.momentum)
        assert radii.max() == pytest.approx(best.rate, rel=1e-6)
    alphas, betas = np.meshgrid(np.linspace(0.01, 0.16, 40), np.linspace(0, 0.95, 40))
    grid = lab.spectral_radius(
        "heavy-ball", alphas[..., None] * lam[[0, -1]], betas[..., None]
    ).max(-1)
    best = lab.tuned("heavy-ball", 0.5, 50.0)
    assert grid.min() >= best.rate
    assert lab.best_momentum(best.step_size, 0.5, 50.0) == pytest.approx(best.momentum)


def test_the_transient_stays_below_its_bound_and_comes_near():
    n = np.arange(1, 200)
    best = lab.tuned("heavy-ball", 0.01, 1.0)
    R = lab.transition(lab.linear_method("heavy-ball", best.step_size, best.momentum), [0.01, 0.5])
    norms = np.array([np.linalg.norm(np.linalg.matrix_power(R, k), 2, axis=(1, 2)) for k in n])
    share = norms / lab.transient_bound(best.momentum, n)[:, None]
    assert share.max() <= 1 + 1e-9
    assert share[:, 0].max() > 0.9


@pytest.mark.parametrize("name", lab.LINEAR_METHODS)
def test_second_moments_are_those_of_simulated_noise(name):
    rng = np.random.default_rng(1)
    alpha, beta = NUMBERS[name]
    lam, s, steps, copies = np.array([0.3, 1.2]), np.array([0.5, 0.2]), 30, 20_000
    method = lab.linear_method(name, alpha, beta)
    exact = lab.error_moments(method, lam, [1.0, -2.0], s, steps)
    w = before = np.tile([1.0, -2.0], (copies, 1))
    for _ in range(steps):
        way = beta * (w - before)
        at = w + way if name == "nesterov" else w
        noise = s * rng.normal(size=w.shape)
        w, before = w + way - alpha * (lam * at + noise), w
    np.testing.assert_allclose((w**2).mean(0), exact[-1], rtol=0.05)
    long = lab.error_moments(method, lam, [1.0, -2.0], s, 2000)[-1]
    np.testing.assert_allclose(lab.stationary_second_moment(method, lam, s), long, rtol=1e-9)
    assert np.isinf(lab.stationary_second_moment(method, [-1.0, 20.0], 1.0)).all()


@pytest.mark.parametrize("name", lab.LINEAR_METHODS)
@pytest.mark.parametrize("steps", [0, 1, 2, 40])
def test_second_moments_are_the_recursion_of_their_matrix(name, steps):
    """With other numbers at each step, one step that grows and a saddle among the eigenvalues."""
    rng = np.random.default_rng(2)
    alpha, beta = rng.uniform(0, 0.8, 40), rng.uniform(0, 0.95, 40) * (name != "gradient-descent")
    alpha[3] = 7.0
    lam, start, s = np.array([-0.1, 0.3, 1.2]), np.array([1.0, -2.0, 0.0]), 0.3
    method = lab.linear_method(name, alpha, beta)
    S = start[:, None, None] ** 2 * np.ones((2, 2))
    expected = [S[:, 1, 1]]
    for k in range(steps):
        R = lab.transition(method, lam, k)
        S = R @ S @ np.swapaxes(R, 1, 2) + alpha[k] ** 2 * s**2 * np.diag([0, 1])
        expected.append(S[:, 1, 1])
    found = lab.error_moments(method, lam, start, s, steps)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_chain_is_as_hard_as_is_said():
    """Its best value in the span of n gradients, by least squares on its first n coordinates."""
    for n in (1, 5, 20):
        d = 2 * n + 1
        D = np.eye(d) - np.eye(d, k=-1)  # w_1, w_2 - w_1, ...
        target = np.eye(d)[0]
        w = np.linalg.lstsq(D[:, :n], target, rcond=None)[0]
        value = np.sum((D[:, :n] @ w - target) ** 2) / 8
        np.testing.assert_allclose(w, 1 - np.arange(1, n + 1) / (n + 1), atol=1e-12)
        assert value == pytest.approx(float(floor.best_in_span(1.0, n)))
        assert value >= floor.convex_floor(1.0, np.sqrt(d), n)
        assert np.sum((1 - w) ** 2) + (d - n) >= d / 2


def test_heavy_ball_runs_through_its_cycle_in_exact_fractions():
    from fractions import Fraction

    def slope(x):
        return 25 * x if x < 1 else x + 24 if x < 2 else 25 * x - 24

    a, b, c = floor.HEAVY_BALL_CYCLE
    for before, at, after in ((a, b, c), (b, c, a), (c, a, b)):
        assert at + Fraction(4, 9) * (at - before) - slope(at) / 9 == after
        assert float(floor.trap_slope(float(at))) == pytest.approx(float(slope(at)))
    assert float(floor.strongly_convex_floor(25.0, 1.0, 1)) == pytest.approx(2 / 3)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="keeps no momentum"):
        lab.linear_method("gradient-descent", 0.1, 0.9)
    with pytest.raises(InputError, match="0 < mu <= L"):
        lab.tuned("heavy-ball", 2.0, 1.0)
    with pytest.raises(InputError, match="came for 2 steps"):
        lab.modal_trajectory(lab.linear_method("heavy-ball", [0.1, 0.1], 0.9), [1.0], [1.0], 3)
