"""The exact flow against the layer-wise flow, and the claims that rest on it."""

import math
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import simpson, solve_ivp
from scipy.special import expit, logit

from thalweg.core.errors import InputError
from thalweg.theory.descent.euler import euler_certificate
from thalweg.theory.linear_nets.homogeneous import linear_tube_bounds
from thalweg.theory.linear_nets.scalar_linear import (
    balanced_init,
    bound_integral,
    flow_time_bound,
    scalar_linear_flow,
    scalar_linear_weights,
    time_to_loss,
)


def start(r0, nu, n, key=None, width=3):
    """Balanced weights whose product has norm r0 and cosine nu to the target e_1."""
    product = r0 * np.array([[nu, math.sqrt(1 - nu**2), 0.0]])
    weights = balanced_init(jnp.asarray(product), n, [width] * (n - 1), key)
    return [np.asarray(w) for w in weights], np.eye(1, 3)


def gradients(weights, target):
    """Layer by layer, by hand: (W_n...W_{j+1})^T (W_n...W_1 - L) (W_{j-1}...W_1)^T."""
    below = [np.eye(weights[0].shape[1])]
    for w in weights:
        below.append(w @ below[-1])
    above = below[-1] - target
    out = []
    for w, b in zip(weights[::-1], below[-2::-1], strict=True):
        out.append(above @ b.T)
        above = w.T @ above
    return out[::-1]


def split(flat, like):
    ends = np.cumsum([w.size for w in like])
    return [p.reshape(w.shape) for p, w in zip(np.split(flat, ends[:-1]), like, strict=True)]


def flatten(weights):
    return np.concatenate([np.ravel(w) for w in weights])


def test_gradients_of_this_file_are_gradients():
    weights, target = start(0.3, 0.5, 4, jax.random.key(0))

    def f(ws):
        W = ws[0]
        for V in ws[1:]:
            W = V @ W
        return 0.5 * jnp.sum((W - target) ** 2)

    automatic = jax.grad(f)([jnp.asarray(w) for w in weights])
    for a, b in zip(automatic, gradients(weights, target), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-15)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.parametrize("nu", [1.0, 0.5, -0.9])
def test_claim_c4_closed_form_is_the_layerwise_flow(n, nu):
    weights, target = start(0.3, nu, n, jax.random.key(n))
    times = np.linspace(0, 12, 7)

    def field(t, v):
        return -flatten(gradients(split(v, weights), target))

    path = [flatten(weights)]
    for a, b in pairwise(times):
        leg = solve_ivp(field, (a, b), path[-1], method="DOP853", rtol=1e-12, atol=1e-14)
        path.append(leg.y[:, -1])
    flow = scalar_linear_flow(0.3, nu, n, times)
    exact = scalar_linear_weights(flow, weights, target)
    for i, flat in enumerate(path):
        np.testing.assert_allclose(flatten([w[i] for w in exact]), flat, atol=1e-11)
        product = np.linalg.multi_dot(split(flat, weights)[::-1])
        assert flow.norm[i] == pytest.approx(np.linalg.norm(product), abs=1e-11)
        assert flow.alignment[i] * flow.norm[i] == pytest.approx(product[0, 0], abs=1e-11)
        assert flow.loss[i] == pytest.approx(0.5 * np.sum((product - target) ** 2), abs=1e-11)


@pytest.mark.parametrize("r0", [1e-4, 0.3, 5.0, 100.0])
def test_stated_error_against_elementary_solutions(r0):
    t = np.linspace(0, 20, 41)
    # n = 2, aligned: the logistic r' = 2 r (1 - r).
    flow = scalar_linear_flow(r0, 1.0, 2, t)
    logistic = 1 / (1 + (1 / r0 - 1) * np.exp(-2 * t))
    assert np.all(np.abs(flow.norm - logistic) <= flow.error)
    # n = 1: the product itself decays linearly to the target.
    for nu in (0.4, -0.9):
        flow = scalar_linear_flow(r0, nu, 1, t)
        e = np.exp(-t)
        along, across = r0 * nu * e - np.expm1(-t), r0 * math.sqrt(1 - nu**2) * e
        r = np.hypot(along, across)
        assert np.all(np.abs(flow.norm - r) <= flow.error)
        assert np.all(np.abs(flow.alignment - along / r) <= flow.error)
        np.testing.assert_allclose(flow.misalignment, across / r, rtol=1e-11)
        loss = 0.5 * (((r0 * nu - 1) * e) ** 2 + across**2)
        # Loss is half a squared distance, whose error is that of r plus r times that of c.
        allowed = np.sqrt(2 * loss) * (1 + r) * flow.error
        assert np.all(np.abs(flow.loss - loss) <= allowed + flow.error**2)
    assert np.max(scalar_linear_flow(0.1, -0.5, 4, t).error) < 1e-11


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_limits_meet(n):
    t = np.linspace(0, 30, 16)
    aligned = scalar_linear_flow(0.05, 1.0, n, t)
    nearly = scalar_linear_flow(0.05, 1 - 1e-13, n, t)
    np.testing.assert_allclose(nearly.norm, aligned.norm, atol=1e-10)
    late = scalar_linear_flow(0.05, -0.9, n, [1e5])
    assert late.norm[0] == pytest.approx(1, abs=1e-14)
    assert late.loss[0] < 1e-28


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 2.0), st.floats(-0.95, 1.0), st.integers(1, 6), st.floats(0.1, 8.0))
def test_flow_is_a_semigroup(r0, nu, n, t):
    half = scalar_linear_flow(r0, nu, n, [t, 2 * t])
    nu_half = float(np.clip(half.alignment[0], -1, 1))
    again = scalar_linear_flow(float(half.norm[0]), nu_half, n, [t])
    assert again.norm[0] == pytest.approx(half.norm[1], abs=1e-9)
    assert again.alignment[0] == pytest.approx(half.alignment[1], abs=1e-7)


@pytest.mark.parametrize(("r0", "nu", "n"), [(0.1, 1.0, 3), (0.1, -0.8, 3), (0.3, 0.4, 2)])
def test_time_to_loss(r0, nu, n):
    for loss in (0.3, 1e-2, 1e-6, 1e-16):
        T = time_to_loss(r0, nu, n, loss)
        assert scalar_linear_flow(r0, nu, n, [T]).loss[0] == pytest.approx(loss, rel=1e-9)
    assert time_to_loss(r0, nu, n, 5.0) == 0
    # The logistic again: loss (1 - r)^2 / 2.
    T = time_to_loss(0.1, 1.0, 2, 1e-8)
    assert expit(logit(0.1) + 2 * T) == pytest.approx(1 - math.sqrt(2e-8), abs=1e-13)


@pytest.mark.parametrize(
    ("n", "r0", "observed"), [(3, 0.3, 2.231), (2, 0.1, 3.162), (4, 0.3, 2.467)]
)
def test_claim_c3_bound_integral_is_logarithmic(n, r0, observed):
    times = np.linspace(0, 40, 20001)
    r = scalar_linear_flow(r0, 1.0, n, times).norm
    m = (n - 1) * (1 - r) * r ** (1 - 2 / n)
    one = np.ones_like(r)
    growth = euler_certificate(times, m, one, one, 1.0).growth
    np.testing.assert_allclose(growth, bound_integral(r, r0, n), atol=1e-6)
    assert simpson(m, x=times) == pytest.approx(bound_integral(r[-1], r0, n), abs=1e-9)
    assert math.exp(bound_integral(1.0, r0, n)) == pytest.approx(observed, abs=5e-4)


def certify(n, r0, nu, T, eps, size=4001):
    """Certificate from tube bounds along the exact flow; and the same knowing only max beta."""
    times = np.linspace(0, T, size)
    flow = scalar_linear_flow(r0, nu, n, times)
    if nu == 1:
        weights, target = [flow.norm[:, None, None] ** (1 / n)] * n, np.ones((1, 1))
    else:
        initial, target = start(r0, nu, n)
        weights = scalar_linear_weights(flow, initial, target)
    b = linear_tube_bounds([jnp.asarray(w) for w in weights], jnp.asarray(target), eps)
    blind = np.full(size, np.max(b.beta))
    return [euler_certificate(times, m, b.beta, b.gamma, eps) for m in (b.m, blind)]


@pytest.mark.parametrize(
    ("n", "r0", "nu", "T", "eta", "error"),
    [
        (3, 0.3, 1.0, 6.0, 1.17e-3, 1.17e-4),
        (3, 0.1, 1.0, 8.0, 6.5e-4, 9.6e-5),
        (3, 0.3, 0.5, 8.0, 3.4e-4, 3.6e-5),
        (2, 0.1, 1.0, 6.0, 2.0e-3, 1.65e-4),
        (4, 0.3, 1.0, 8.0, 4.0e-4, 4.2e-5),
    ],
)
def test_claim_c5_certified_descent_stays_in_the_tube(n, r0, nu, T, eta, error):
    eps = 0.02
    certificate = certify(n, r0, nu, T, eps)[0]
    step = certificate.step_size
    assert step == pytest.approx(eta, rel=0.02)
    assert step > 1e-4
    initial, target = start(r0, nu, n, jax.random.key(n))
    steps = int(T / step)
    times = step * np.arange(steps + 1)
    flow = scalar_linear_flow(r0, nu, n, times)
    exact = scalar_linear_weights(flow, initial, target)
    weights, distance = [w.copy() for w in initial], np.zeros(steps + 1)
    for k in range(1, steps + 1):
        weights = [w - step * g for w, g in zip(weights, gradients(weights, target), strict=True)]
        squares = [np.sum((w - e[k]) ** 2) for w, e in zip(weights, exact, strict=True)]
        distance[k] = math.sqrt(sum(squares))
    assert distance.max() < eps
    assert np.all(distance <= certificate.prediction(step).at(times) + 1e-15)
    assert distance.max() == pytest.approx(error, rel=0.02)
    loss = 0.5 * np.sum((np.linalg.multi_dot(weights[::-1]) - target) ** 2)
    assert loss == pytest.approx(flow.loss[-1], abs=1e-8)


@pytest.mark.parametrize(
    ("r0", "eta", "blind"),
    [
        (0.3, 2.14e-3, 4.5e-5), (0.1, 1.01e-3, 3.6e-6), (0.03, 3.8e-4, 1.1e-7),
        (0.01, 1.37e-4, 1.2e-9), (0.003, 4.2e-5, 8.5e-13), (0.001, 1.35e-5, 5.7e-17),
    ],
)  # fmt: skip
def test_claim_c6_certified_step_is_polynomial_not_exponential(r0, eta, blind):
    # The expected numbers carry two to three digits.
    with_path, without = certify(3, r0, 1.0, time_to_loss(r0, 1.0, 3, 1e-4), 0.01)
    assert with_path.step_size == pytest.approx(eta, rel=0.01)
    assert without.step_size == pytest.approx(blind, rel=0.05)


@pytest.mark.parametrize(
    ("n", "slope", "theory", "fixed"),
    [(2, 0.484, 0.5, 0.47), (3, 0.997, 1.0, 1.03), (4, 1.249, 1.25, 1.31)],
)
def test_claim_c6_scaling_exponent(n, slope, theory, fixed):
    def exponent(eps, r_large, r_small):
        steps = [
            certify(n, r, 1.0, time_to_loss(r, 1.0, n, 1e-4), eps, 20001)[0].step_size
            for r in (r_large, r_small)
        ]
        return math.log(steps[0] / steps[1]) / math.log(r_large / r_small)

    measured = exponent(1e-4, 1e-3, 1e-4)
    assert measured == pytest.approx(slope, abs=2e-3)
    assert measured == pytest.approx((n - 1) / n + max(0, 1 - 2 / n), abs=0.03)
    assert theory == (n - 1) / n + max(0, 1 - 2 / n)
    assert exponent(1e-2, 3e-3, 1e-3) == pytest.approx(fixed, abs=0.1)


def test_claim_c6_at_depth_four():
    T = time_to_loss(0.001, 1.0, 4, 1e-4)
    with_path, without = certify(4, 0.001, 1.0, T, 0.01)
    assert with_path.step_size == pytest.approx(2.4e-6, rel=0.03)
    assert without.step_size == pytest.approx(2e-33, rel=0.1)


def test_claim_c12_flow_time_bound():
    smallest = np.inf
    for n in (2, 3, 4, 5):
        for r0 in (0.002, 0.02, 0.1, 0.2):
            for nu in (-0.8, -0.3, 0.0, 0.5, 1.0):
                for excess in (1e-4, 1e-2, 1.0):
                    actual = time_to_loss(r0, nu, n, excess)
                    if actual > 0:
                        ratio = flow_time_bound(r0, nu, n, excess) / actual
                        smallest = min(smallest, ratio)
    assert smallest > 1
    assert smallest == pytest.approx(64, abs=6)
    # The formula, worked by hand: M = 1.5 * 1.5/0.5 = 4.5.
    by_hand = 2 * 3 * 4.5**3 / 0.1 * math.log(15 * 3 * 4.5 / (0.1 * 0.01))
    assert flow_time_bound(0.1, -0.5, 3, 0.01) == pytest.approx(by_hand, rel=1e-14)


@pytest.mark.parametrize("shape", [(1, 4), (3, 3), (2, 5)])
@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("seed", [None, 0])
def test_balanced_init(shape, n, seed):
    A = jax.random.normal(jax.random.key(1), shape)
    key = None if seed is None else jax.random.key(seed)
    W = balanced_init(A, n, [4, 3, 6][: n - 1], key)
    product = W[0]
    for w in W[1:]:
        product = w @ product
    np.testing.assert_allclose(product, A, atol=1e-13)
    for w, after in pairwise(W):
        np.testing.assert_allclose(after.T @ after, w @ w.T, atol=1e-13)
    plain = balanced_init(A, n, [4, 3, 6][: n - 1])
    if n > 1 and key is not None:
        assert float(jnp.linalg.norm(W[0] - plain[0])) > 0.1


def test_bad_input():
    for r0, nu, n in ((0.0, 0.5, 3), (0.1, -1.0, 3), (0.1, 1.1, 3), (0.1, 0.5, 0)):
        with pytest.raises(InputError):
            scalar_linear_flow(r0, nu, n, [1.0])
    with pytest.raises(InputError):
        scalar_linear_flow(0.1, 0.5, 3, [-1.0])
    with pytest.raises(InputError):
        time_to_loss(0.1, 0.5, 3, 0.0)
    with pytest.raises(InputError):
        flow_time_bound(0.3, 0.5, 3, 0.1)
    with pytest.raises(InputError, match="rank"):
        balanced_init(jnp.eye(3), 2, [2])
    with pytest.raises(InputError):
        balanced_init(jnp.eye(3), 3, [3])
    with pytest.raises(InputError):
        bound_integral(0.0, 0.1, 3)
    weights, target = start(0.3, 0.5, 3)
    flow = scalar_linear_flow(0.3, 0.5, 3, [0.0, 1.0])
    with pytest.raises(InputError, match="not balanced"):
        scalar_linear_weights(flow, [2 * weights[0], *weights[1:]], target)
    with pytest.raises(InputError, match="norm"):
        scalar_linear_weights(flow, weights, 2 * target)
