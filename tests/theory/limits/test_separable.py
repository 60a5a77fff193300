"""Limits and rates on separable data against long plain descents and brute force."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from thalweg.core.errors import InputError
from thalweg.theory.limits import separable
from thalweg.theory.limits.log_time_flow import log_time_flow, power_tail_flow
from thalweg.theory.limits.max_margin import hard_margin_svm

ASYMMETRIC = np.array([(0.5, 1.5), (2, 0.25), (2.5, 1.5), (1, 2.5), (3, 0.5), (-0.5, 3.5), (2, 2)])
DEGENERATE = np.array([(1.0, 0), (1, 1)])


def descent(X, eta, steps, slope, mu=0.0, start=None):
    """Plain loop: w and the velocity of heavy-ball momentum."""
    w, v = np.zeros(X.shape[1]) if start is None else np.array(start, float), 0.0
    for _ in range(steps):
        v = mu * v - slope(X @ w) @ X
        w = w + eta * v
    return w


def exponential(u):
    return -np.exp(-u)


def test_residual_solves_its_equations():
    svm = hard_margin_svm(ASYMMETRIC)
    X = np.hstack([ASYMMETRIC, np.zeros((7, 1))])
    start = (1.0, 2.0, 3.0)
    limit = separable.residual_limit(X, hard_margin_svm(X), 0.03, start)
    alpha = svm.alpha[svm.support]
    np.testing.assert_allclose(0.03 * np.exp(-X[:2] @ limit), alpha, rtol=1e-12)
    assert limit[2] == pytest.approx(3.0, abs=1e-14)  # off the span of the data it stays


def test_residual_of_a_tail_and_of_momentum():
    svm = hard_margin_svm(ASYMMETRIC)
    alpha = svm.alpha[svm.support]
    a, c, eta, mu = 2.0, 3.0, 0.1, 0.9
    limit = separable.residual_limit(ASYMMETRIC, svm, eta, rate=a, scale=c, momentum=mu)
    left = eta / (1 - mu) * a * c * np.exp(-a * ASYMMETRIC[:2] @ limit)
    np.testing.assert_allclose(left, alpha, rtol=1e-12)


def test_repeated_support_vectors_share_alpha():
    twice = np.vstack([ASYMMETRIC[:2], ASYMMETRIC])
    svm = hard_margin_svm(twice)
    alpha = hard_margin_svm(ASYMMETRIC).alpha[:2]
    limit = separable.residual_limit(twice, svm, 0.5)
    np.testing.assert_allclose(2 * 0.5 * np.exp(-ASYMMETRIC[:2] @ limit), alpha, rtol=1e-12)
    shared = separable.positive_duals(twice, svm)
    np.testing.assert_allclose(shared @ twice, svm.w, rtol=1e-9)
    assert shared[svm.support].min() > 0.06
    single = hard_margin_svm(ASYMMETRIC)
    np.testing.assert_allclose(
        separable.positive_duals(ASYMMETRIC, single), single.alpha, atol=1e-12
    )


@pytest.mark.parametrize(("rate", "mu"), [(1.0, 0.0), (2.0, 0.0), (1.0, 0.5)])
def test_descent_ends_at_the_residual(rate, mu):
    """Two support vectors at equal strength: the rest of rho falls as 1/t."""
    X = np.array([(1.0, 0.2), (0.2, 1.0)])
    eta, t = 0.2, 20_000
    svm = hard_margin_svm(X)
    w = descent(X, eta, t, lambda u: -rate * np.exp(-rate * u), mu)
    limit = separable.residual_limit(X, svm, eta, rate=rate, scale=rate, momentum=mu)
    path = separable.asymptotic_path(svm, limit, [t], rate)[0]
    np.testing.assert_allclose(w, path, atol=2e-3)
    loss = np.sum(np.exp(-rate * X @ w))
    constant = separable.loss_constant(svm, eta, rate=rate, momentum=mu)
    assert t * loss == pytest.approx(constant, rel=2e-3)


@pytest.mark.parametrize(
    ("rate", "scale", "mu"), [(1.0, 1.0, 0.0), (2.5, 1.0, 0.0), (0.4, 3.0, 0.0), (1.7, 0.2, 0.6)]
)
def test_constants_against_the_path_itself(rate, scale, mu):
    """The rates of w = (w_svm/a) s + limit at huge s = log t."""
    svm = hard_margin_svm(ASYMMETRIC)
    s, start = 1e6, None if mu else (0.3, -0.2)
    tail = {"rate": rate, "scale": scale, "momentum": mu}
    limit = separable.residual_limit(ASYMMETRIC, svm, 0.03, start, **tail)
    constants = separable.predicted_constants(ASYMMETRIC, svm, 0.03, start, **tail)
    w = svm.w * s / rate + limit
    np.testing.assert_allclose(
        separable.asymptotic_path(svm, limit, [np.e, np.e**3], rate),
        [svm.w / rate + limit, 3 * svm.w / rate + limit],
        rtol=1e-12,
    )
    u, v = w / np.linalg.norm(w), svm.w * svm.margin
    distance = np.linalg.norm(u - v)
    assert s * (svm.margin - np.min(ASYMMETRIC @ u)) == pytest.approx(constants.margin, rel=1e-4)
    assert s * distance == pytest.approx(constants.distance, rel=1e-4)
    assert s**2 * distance**2 / 2 == pytest.approx(constants.angle, rel=1e-4)
    # -l' = c exp(-a u), so the summed loss is (c/a) exp(-a u); t = e^s falls out of t L.
    left = scale / rate * np.sum(np.exp(-rate * ASYMMETRIC[:2] @ limit))
    assert constants.loss == pytest.approx(left, rel=1e-12)


def test_margin_constant_by_the_duals_alone():
    svm = hard_margin_svm(ASYMMETRIC)
    alpha = svm.alpha[svm.support]
    p = alpha / alpha.sum()
    expected = (np.log(alpha.max()) - p @ np.log(alpha)) / np.linalg.norm(svm.w)
    for eta in (0.01, 1.0):
        found = separable.predicted_constants(ASYMMETRIC, svm, eta)
        assert found.margin == pytest.approx(expected, rel=1e-12)


def test_equal_duals_have_no_slow_rate():
    X = np.array([(0.5, 1.5), (1.5, 0.5), (3.0, 2.0)])
    found = separable.predicted_constants(X, hard_margin_svm(X), 0.1)
    assert abs(found.margin) < 1e-14
    assert abs(found.distance) < 1e-14


def test_predictions_are_the_constants_over_powers_of_log():
    constants = separable.RateConstants(2.0, 3.0, 4.0, 8.0)
    svm = hard_margin_svm(ASYMMETRIC)
    rates = separable.predicted_rates(svm, constants, 0.1)
    assert set(rates) == {"loss", "normalised_margin", "direction_distance", "angle_gap"}
    time, L = 0.1 * np.exp(5.0), 5.0
    assert rates["loss"].at([time])[0] == pytest.approx(2 / np.exp(5.0))
    assert rates["normalised_margin"].at([time])[0] == pytest.approx(svm.margin - 3 / L)
    assert rates["direction_distance"].at([time])[0] == pytest.approx(4 / L)
    assert rates["angle_gap"].at([time])[0] == pytest.approx(8 / L**2)


def test_the_flow_nears_its_limit_at_the_slowest_power():
    """1/t to the power of the smallest of three: here an eigenvalue, 0.366, of sum alpha x x^T."""
    svm = hard_margin_svm(ASYMMETRIC)
    limit = separable.residual_limit(ASYMMETRIC, svm, 1.0)
    found = log_time_flow(ASYMMETRIC, [30.0, 40.0])
    off = np.linalg.norm(found.rho - limit, axis=1)
    slowest = np.linalg.eigvalsh((ASYMMETRIC.T * svm.alpha) @ ASYMMETRIC)[0]
    others = np.min(ASYMMETRIC[2:] @ svm.w) - 1
    assert slowest < others
    assert np.log(off[0] / off[1]) / 10 == pytest.approx(slowest, rel=2e-2)


def test_largest_step():
    """Against the sharpest point of each loss: l'' <= 1/4 (logistic), or of a probit as 1."""
    steeper = separable.largest_step(ASYMMETRIC, smoothness=1.0)
    assert steeper == pytest.approx(separable.largest_step(ASYMMETRIC) / 4)
    assert separable.largest_step(ASYMMETRIC) == pytest.approx(
        8 / np.linalg.eigvalsh(ASYMMETRIC.T @ ASYMMETRIC)[-1]
    )


def test_log_time_flow_is_the_flow():
    """Against the flow in plain time, up to t = 1000."""
    s = np.log([1.0001, 10, 1000])

    def slope(t, w):
        return 0.3 * np.exp(-ASYMMETRIC @ w) @ ASYMMETRIC

    start = (0.2, 0.1)
    plain = solve_ivp(slope, (1, 1000), start, t_eval=np.exp(s), rtol=1e-11, atol=1e-12)
    found = log_time_flow(ASYMMETRIC, s, 0.3, start)
    np.testing.assert_allclose(found.w, plain.y.T, atol=1e-8)
    loss = np.exp(s) * np.sum(np.exp(-ASYMMETRIC @ plain.y), axis=0)
    np.testing.assert_allclose(found.scaled_loss, loss, rtol=1e-8)


def test_log_time_flow_ends_at_the_residual():
    found = log_time_flow(ASYMMETRIC, [100.0, 1e5], 0.7)
    svm = hard_margin_svm(ASYMMETRIC)
    limit = separable.residual_limit(ASYMMETRIC, svm, 0.7)
    np.testing.assert_allclose(found.rho, np.tile(limit, (2, 1)), atol=1e-12)
    assert np.all(found.error < 1e-10)


def test_degenerate_data_grow_as_log_log():
    found = log_time_flow(DEGENERATE, [1e4, 1e5])
    np.testing.assert_allclose(found.rho[:, 1], np.log(found.s), atol=1e-3)
    with pytest.raises(InputError, match="alpha = 0"):
        separable.residual_limit(DEGENERATE, hard_margin_svm(DEGENERATE), 0.1)


def test_support_vectors_must_span_the_data():
    X = np.array([(1.0, 0), (2, 1), (2, -1)])
    with pytest.raises(InputError, match="span"):
        separable.residual_limit(X, hard_margin_svm(X), 0.1)


@pytest.mark.parametrize("power", [1.0, 2.0, 5.0])
def test_power_tail_direction_is_the_minimum_on_the_circle(power):
    X = ASYMMETRIC[:3]
    angles = np.linspace(0, np.pi / 2, 200_001)
    around = np.stack([np.cos(angles), np.sin(angles)])
    u = X @ around
    value = np.where(np.all(u > 0, axis=0), np.sum(np.maximum(u, 1e-12) ** -power, axis=0), np.inf)
    best = around[:, np.argmin(value)]
    found = separable.power_tail_direction(X, power)
    np.testing.assert_allclose(found, best, atol=1e-5)
    flow = power_tail_flow(X, power, [0.0, 1.0, 100.0])
    np.testing.assert_allclose(flow.direction[-1], found, atol=1e-9)


@pytest.mark.parametrize("unit", [1e-100, 1e-8, 1e8, 1e100])
def test_power_tail_direction_does_not_know_the_unit(unit):
    X = ASYMMETRIC[:3]
    for power in (1.0, 30.0):
        plain = separable.power_tail_direction(X, power)
        scaled = separable.power_tail_direction(unit * X, power)
        np.testing.assert_allclose(scaled, plain, rtol=1e-10)


def test_support_vectors_that_nearly_repeat():
    """Their limit either solves the equations to 1e-5 or is refused; neither was so at 1e-10."""
    rng, refused = np.random.default_rng(0), 0
    for apart in (1e-4, 1e-7, 1e-10, 1e-12):
        for _ in range(4):
            X = np.abs(rng.normal(size=(3, 2)))
            X = np.vstack([X, X + apart * rng.normal(size=X.shape)])
            svm = hard_margin_svm(X)
            try:
                limit = separable.residual_limit(X, svm, 0.1)
            except InputError:
                refused += 1
                continue
            S = X[svm.support]
            left = S.T @ (0.1 * np.exp(-S @ limit)) - svm.w
            assert np.linalg.norm(left) <= 1e-5 * np.linalg.norm(svm.w)
    assert refused < 16


def test_power_tail_flow_is_the_flow():
    X, p = ASYMMETRIC[:3], 2.0

    def slope(t, w):
        return p * (X @ w) ** (-p - 1) @ X

    s = np.log([10.0, 1000.0])
    start = hard_margin_svm(X).w
    plain = solve_ivp(slope, (1, 1000), start, t_eval=np.exp(s), rtol=1e-11, atol=1e-12)
    found = power_tail_flow(X, p, s)
    w = found.scaled * np.exp(s)[:, None] ** (1 / (p + 2))
    np.testing.assert_allclose(w, plain.y.T, rtol=1e-8)


def test_a_large_power_tends_to_the_hard_margin():
    X = ASYMMETRIC[:3]
    svm = hard_margin_svm(X)
    near = separable.power_tail_direction(X, 300.0)
    assert np.linalg.norm(near - svm.w * svm.margin) < 1e-2


@pytest.mark.parametrize("s", [[1.0, 0.5], [-1.0, 1.0], [[1.0]]])
def test_times_must_increase(s):
    with pytest.raises(InputError, match="increasing"):
        log_time_flow(ASYMMETRIC, s)
