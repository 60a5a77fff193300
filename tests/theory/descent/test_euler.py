"""The certificate against closed forms, against ODE solvers, and against descent itself."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from thalweg.core.errors import InputError
from thalweg.theory.descent.euler import (
    constant_m_integral,
    convex_quadratic_peak_error,
    euler_certificate,
    largest_step_quadratic,
    largest_step_quadratic_asymptotic,
    leading_euler_error,
    log_constant_m_integral,
)
from thalweg.theory.linear_nets.scalar_linear import scalar_linear_flow
from thalweg.theory.prediction import KINDS, make_prediction

ONE = np.ones(101)


def descend(gradient, z0, eta, steps):
    path = [np.asarray(z0, dtype=float)]
    for _ in range(steps):
        path.append(path[-1] - eta * gradient(path[-1]))
    return np.array(path)


@pytest.mark.parametrize("m", [-3.0, -1e-9, 0.0, 1e-9, 0.7, 5.0])
def test_constant_m_integral_is_the_integral(m):
    s = np.polynomial.legendre.leggauss(40)
    t = 2.5
    brute = np.sum(s[1] * np.exp(m * (t - (1 + s[0]) * t / 2))) * t / 2
    assert constant_m_integral(m, t) == pytest.approx(brute, rel=1e-13)
    assert log_constant_m_integral(m, t) == pytest.approx(math.log(brute), abs=1e-13)


def test_constant_m_integral_limits():
    assert constant_m_integral(-2.0, 1e9) == pytest.approx(0.5, rel=1e-15)
    assert log_constant_m_integral(3.0, 1e4) == pytest.approx(3e4 - math.log(3), rel=1e-15)
    assert constant_m_integral(1.0, 0.0) == 0
    assert constant_m_integral(1.0, 1e4) == np.inf


@pytest.mark.parametrize("m", [-4.0, 0.0, 0.5, 3.0, 200.0])
@pytest.mark.parametrize("rho", [0.0, 1e-90])
def test_constant_m_certificate(m, rho):
    t, eps, beta, gamma = np.linspace(0, 3, 101), 1e-2, 5.0, 7.0
    c = euler_certificate(t, m * ONE, beta * ONE, gamma * ONE, eps, rho)
    if rho and m == 200:
        assert c.step_size == 0  # e^{600} rho exceeds eps
        return
    expected = (eps - math.exp(m * 3) * rho) / (beta * gamma * constant_m_integral(m, 3.0))
    assert c.step_size == pytest.approx(float(expected), rel=1e-11)
    assert c.binding_time == 3
    assert c.log_error[-1] < 1e-11


def test_start_error_enters_through_the_growth():
    t = np.linspace(0, 2, 101)
    c = euler_certificate(t, 0.8 * ONE, ONE, 2 * ONE, 0.1, rho=0.01)
    expected = (0.1 - math.exp(1.6) * 0.01) * 0.8 / (2 * math.expm1(1.6))
    assert c.step_size == pytest.approx(expected, rel=1e-11)
    eta = 1e-3
    bound = 0.01 * np.exp(0.8 * t) + eta * 2 * np.expm1(0.8 * t) / 0.8
    np.testing.assert_allclose(c.error_bound(eta), bound, rtol=1e-12)
    # Contracting flow: the start binds, and eps must exceed rho there.
    assert euler_certificate(t, -ONE, ONE, ONE, 0.1, rho=0.2).step_size == 0


def test_quadrature_error_is_estimated_and_taken_on_the_safe_side():
    def m(t):
        return 2 * np.sin(3 * t) - 0.4 * t

    ode = solve_ivp(
        lambda t, y: [m(t), 1 + m(t) * y[1]], (0, 5), [0, 0], method="DOP853",
        rtol=1e-12, atol=1e-14, dense_output=True,
    )  # fmt: skip
    for size in (60, 601):
        t = np.linspace(0, 5, size)
        c = euler_certificate(t, m(t), np.ones(size), np.ones(size), 0.1)
        mu, integral = ode.sol(t)
        excess = c.log_discrepancy[1:] - np.log(integral[1:])
        assert np.all(excess >= -1e-9)
        assert np.all(excess <= 2 * c.log_error[1:] + 1e-9)
        assert np.all(np.abs(c.growth - mu) <= c.log_error + 1e-9)
    assert c.log_error[-1] < 1e-3


def test_infimum_is_over_all_times_and_the_norms_are_running_maxima():
    t = np.linspace(0, 6, 6001)
    m = np.where(t < 2, 1.5, -3.0)  # the discrepancy peaks at t = 2
    beta, gamma = np.where(t < 1, 4.0, 1.0), 2 - 0.2 * t  # both fall
    c = euler_certificate(t, m, beta, gamma, 0.05)
    peak = math.expm1(3) / 1.5
    assert c.binding_time == pytest.approx(2, abs=2e-3)
    assert c.step_size == pytest.approx(0.05 / (4 * 2 * peak), rel=5e-3)
    # At the end alone, or without running maxima, the answer would be far larger.
    assert c.step_size < 0.2 * 0.05 / (4 * 2 * c.discrepancy[-1])


def test_bound_is_silent_after_it_has_left_the_tube():
    t = np.linspace(0, 6, 601)
    m = np.where(t < 2, 1.5, -3.0)
    c = euler_certificate(t, m, np.ones(601), np.ones(601), 0.05)
    bound = c.error_bound(2 * c.step_size)
    assert np.isinf(bound[-1])  # though the formula is below eps again there
    assert np.all(np.diff(np.isinf(bound).astype(int)) >= 0)
    assert np.max(c.error_bound(c.step_size)) <= 0.05
    assert np.max(c.error_bound(c.step_size)) == pytest.approx(0.05, rel=1e-11)


@pytest.mark.parametrize("m", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("T", [2.0, 4.0, 8.0])
def test_certified_descent_on_a_concave_quadratic(m, T):
    eps, z0 = 1e-2, 1.0
    t = np.linspace(0, T, 2001)
    gamma = m * (z0 * np.exp(m * t) + eps)
    c = euler_certificate(t, m * np.ones_like(t), m * np.ones_like(t), gamma, eps)
    largest = largest_step_quadratic(m, T, z0, eps)
    assert 0 < c.step_size < largest
    # The certificate pays e^{mT} twice: in gamma and in the discrepancy.
    assert c.step_size == pytest.approx(eps / (gamma[-1] * math.expm1(m * T)), rel=1e-9)
    eta = T / math.ceil(T / largest)
    k = round(T / eta)
    assert z0 * (math.exp(m * T) - math.exp(k * math.log1p(eta * m))) <= eps


def test_certified_step_of_a_strongly_convex_flow_serves_all_time():
    h, eps = 2.0, 1e-3
    t = np.linspace(0, 50, 20001)
    gamma = h * (np.exp(-h * t) + eps)
    c = euler_certificate(t, -h * np.ones_like(t), h * np.ones_like(t), gamma, eps)
    assert c.step_size == pytest.approx(eps * h / (h * gamma[0]), rel=1e-6)
    eta = c.step_size
    steps = int(50 / eta)
    k = np.arange(steps + 1)
    error = np.abs((1 - eta * h) ** k - np.exp(-h * eta * k))
    assert error.max() < eps
    assert np.all(error <= c.prediction(eta).at(k * eta) + 1e-15)


def test_certified_descent_on_a_double_well():
    # f = (z^2 - 1)^2 / 4 from near the top: the flow is known in closed form.
    z0, T, eps = 0.05, 6.0, 0.02
    t = np.linspace(0, T, 3001)
    z = z0 * np.exp(t) / np.sqrt(1 + z0**2 * np.expm1(2 * t))
    low, high = z - eps, z + eps
    m = 1 - 3 * low**2
    beta = np.maximum(np.abs(3 * high**2 - 1), np.abs(3 * low**2 - 1))
    inner = np.array([np.abs(q - q**3) for q in np.linspace(low, high, 41)])
    gamma = inner.max(axis=0) + eps / 20 * beta
    c = euler_certificate(t, m, beta, gamma, eps)
    eta = c.step_size
    steps = int(T / eta)
    path = descend(lambda q: q**3 - q, z0, eta, steps)
    k = eta * np.arange(steps + 1)
    error = np.abs(path - z0 * np.exp(k) / np.sqrt(1 + z0**2 * np.expm1(2 * k)))
    assert np.all(error <= c.prediction(eta).at(k))
    assert 1e-3 * eps < error.max() < eps


def test_flow_without_curvature_allows_every_step_size():
    t = np.linspace(0, 1, 11)
    c = euler_certificate(t, 0 * t, 0 * t, np.ones_like(t), 0.1)
    assert c.step_size == math.inf
    assert np.all(c.error_bound(5.0) == 0)


curves = st.lists(st.floats(-3, 3), min_size=3, max_size=12)


@settings(max_examples=40, deadline=None)
@given(curves, st.floats(1e-4, 1.0), st.floats(1.1, 10.0))
def test_step_size_grows_in_proportion_to_eps(m, eps, factor):
    t = np.linspace(0, 2, len(m))
    one = np.ones(len(m))
    small = euler_certificate(t, m, one, 2 * one, eps)
    large = euler_certificate(t, m, one, 2 * one, factor * eps)
    assert large.step_size == pytest.approx(factor * small.step_size, rel=1e-11)
    away = euler_certificate(t, m, one, 2 * one, eps, rho=eps / 2)
    assert away.step_size < small.step_size


@settings(max_examples=40, deadline=None)
@given(curves, st.floats(0.01, 100.0))
def test_step_size_scales_with_time_when_the_loss_is_rescaled(m, a):
    # f -> f/a slows the flow by a; descent compensates with a times the step size.
    t, one = np.linspace(0, 2, len(m)), np.ones(len(m))
    base = euler_certificate(t, m, one, 2 * one, 0.1)
    slow = euler_certificate(a * t, np.array(m) / a, one / a, 2 * one / a, 0.1)
    assert slow.step_size == pytest.approx(a * base.step_size, rel=1e-11)


@settings(max_examples=40, deadline=None)
@given(curves, st.integers(0, 11), st.floats(0.0, 2.0))
def test_a_larger_m_or_norm_never_helps(m, where, by):
    t, one = np.linspace(0, 2, len(m)), np.ones(len(m))
    base = euler_certificate(t, m, one, one, 0.1)
    bump = one.copy()
    bump[where % len(m)] += by
    assert euler_certificate(t, m, bump, one, 0.1).step_size <= base.step_size
    raised = euler_certificate(t, np.array(m) + by, one, one, 0.1)
    # Compared without the error estimate, which may move either way.
    slack = base.log_error[-1] + raised.log_error[-1]
    assert np.log(raised.step_size) <= np.log(base.step_size) + slack + 1e-12


def test_kind_and_sentences():
    t = np.linspace(0, 1, 101)
    certified = euler_certificate(t, ONE, ONE, ONE, 0.1)
    indicative = euler_certificate(t, ONE, ONE, ONE, 0.1, kind="indicative")
    assert certified.step_size == indicative.step_size
    assert certified.prediction(1e-3).kind == "upper"
    assert indicative.prediction(1e-3).kind == "indicative"
    assert "guarantees none" in " ".join(indicative.assumed)
    at = certified.prediction(1e-3).at
    # Between grid times the prediction is the bound at the later one; past the end it is silent.
    later = certified.error_bound(1e-3)[math.ceil(50.3)]
    assert at([0.503])[0] == pytest.approx(later, rel=1e-14)
    assert np.isinf(at([1.1])[0])


@pytest.mark.parametrize(
    "change",
    [
        {"time": np.zeros(101)},
        {"time": np.linspace(0, 1, 100)},
        {"m": np.full(101, np.nan)},
        {"beta": -ONE},
        {"gamma": -ONE},
        {"eps": 0.0},
        {"rho": -1.0},
        {"kind": "proved"},
    ],
)
def test_bad_input(change):
    good = {"time": np.linspace(0, 1, 101), "m": ONE, "beta": ONE, "gamma": ONE, "eps": 0.1}
    with pytest.raises(InputError):
        euler_certificate(**{**good, **change})


def test_too_few_times_and_bad_step():
    with pytest.raises(InputError, match="at least 3"):
        euler_certificate([0, 1], [0, 0], [1, 1], [1, 1], 0.1)
    c = euler_certificate([0, 1, 2], [0, 0, 0], [1, 1, 1], [1, 1, 1], 0.1)
    with pytest.raises(InputError):
        c.error_bound(0.0)


def test_prediction_is_validated():
    with pytest.raises(InputError, match="upper"):
        make_prediction("loss", "1", "uper", "always", np.asarray, "a paper")
    with pytest.raises(InputError):
        make_prediction("loss", "1", "upper", " ", np.asarray, "a paper")
    with pytest.raises(InputError):
        make_prediction("loss", "1", "upper", "always", np.asarray, "")
    for kind in KINDS:
        assert make_prediction("loss", "1", kind, "always", np.asarray, "a paper").kind == kind


@pytest.mark.parametrize("m", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("T", [2.0, 4.0, 8.0])
def test_largest_step_on_a_quadratic(m, T):
    eta = largest_step_quadratic(m, T, -1.5, 1e-2)
    with np.errstate(all="raise"):
        error = 1.5 * (np.exp(m * T) - np.exp(T / eta * np.log1p(eta * m)))
    # Rounding of the plain formula: e^{mT} times the number of steps.
    assert error == pytest.approx(1e-2, rel=1e-9 + 1e-14 * np.exp(m * T) / eta)
    ratio = eta / largest_step_quadratic_asymptotic(m, T, -1.5, 1e-2)
    assert 0.99 <= ratio <= 1.02


def test_claim_c7_exponential_dependence_is_unavoidable():
    for m, T, observed in ((0.5, 2.0, 1.0068), (1.0, 2.0, 1.0016), (1.0, 8.0, 1.0)):
        limit = 2 * 1e-2 / (m**2 * T) * math.exp(-m * T)
        ratio = largest_step_quadratic(m, T, 1.0, 1e-2) / limit
        assert ratio == pytest.approx(observed, abs=6e-5)
    # A long way out, where e^{mT} no longer fits: the limit itself.
    assert largest_step_quadratic(1.0, 700.0, 1.0, 1e-2) == largest_step_quadratic_asymptotic(
        1.0, 700.0, 1.0, 1e-2
    )


def test_largest_step_may_be_infinite():
    assert largest_step_quadratic(1.0, 1.0, 1.0, 2.0) == math.inf  # e - 1 < 2
    huge = largest_step_quadratic(1.0, 1.0, 1.0, 1.7)
    assert math.e - (1 + huge) ** (1 / huge) == pytest.approx(1.7, rel=1e-12)
    for bad in ((-1, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0)):
        with pytest.raises(InputError):
            largest_step_quadratic(*bad)


def test_convex_quadratic_peak_error():
    eta, h = 0.01, 1.0
    k = np.arange(2000)
    error = np.abs((1 - eta * h) ** k - np.exp(-h * eta * k)) * 3.0
    ratio = error.max() / convex_quadratic_peak_error(h, 3.0, eta)
    assert ratio == pytest.approx(1.0042, abs=1e-4)
    assert eta * k[error.argmax()] == pytest.approx(1 / h, abs=2 * eta)


@pytest.mark.parametrize(
    ("n", "r0", "observed"),
    [
        (3, 0.1, 0.1463), (3, 0.01, 0.5525), (3, 0.001, 0.9829),
        (4, 0.1, 0.1929), (4, 0.01, 0.6867), (4, 0.001, 1.2067),
    ],
)  # fmt: skip
def test_claim_c8_leading_euler_error_of_the_chain(n, r0, observed):
    eta, steps = 1e-3, 32000

    def velocity(y):
        return y ** (n - 1) * (1 - y**n)

    y = [r0 ** (1 / n)]
    for _ in range(steps):
        y.append(y[-1] + eta * velocity(y[-1]))
    flow = scalar_linear_flow(r0, 1.0, n, eta * np.arange(steps + 1)).norm ** (1 / n)
    measured = math.sqrt(n) * np.max(np.abs(y - flow)) / eta
    assert measured == pytest.approx(observed, rel=2e-3)
    moving = flow[velocity(flow) > 1e-12]
    leading = leading_euler_error(velocity(moving), velocity(flow[0]), eta)
    np.testing.assert_allclose(
        (y - flow)[: moving.size], leading, atol=2e-3 * np.max(np.abs(leading))
    )
    assert math.sqrt(n) * np.max(np.abs(leading)) / eta == pytest.approx(observed, rel=2e-3)


def test_leading_error_of_a_linear_flow_and_bad_velocity():
    # y' = -y: error -(eta/2) t e^{-t} y0
    t = np.linspace(0, 3, 7)
    np.testing.assert_allclose(
        leading_euler_error(-2 * np.exp(-t), -2.0, 0.01), -0.005 * 2 * t * np.exp(-t), atol=1e-17
    )
    with pytest.raises(InputError):
        leading_euler_error([1.0, -1.0], 1.0, 0.1)
