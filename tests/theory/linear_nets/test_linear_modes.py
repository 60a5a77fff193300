"""Deep linear modes against integrated matrix equations, Hessians and the paper's own forms."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp

from thalweg.core.errors import InputError
from thalweg.models.initialisers import decoupled_init
from thalweg.theory.linear_nets import linear_modes as lm


def integrate(field, start, times):
    """DOP853 at rtol 1e-12; rows are times."""
    done = solve_ivp(
        lambda _, y: field(y), (0, times[-1]), start, "DOP853", times, rtol=1e-12, atol=1e-14
    )
    assert done.success
    return done.y.T


def deep_velocity(weights, sigma_31, sigma_11):
    """E2, one matrix at a time, tau = 1."""
    velocity = []
    for index, W in enumerate(weights):
        left, right = np.eye(W.shape[0]), np.eye(W.shape[1])
        for later in weights[index + 1 :]:
            left = later @ left
        for earlier in weights[:index][::-1]:
            right = right @ earlier
        velocity.append(left.T @ (sigma_31 - left @ W @ right @ sigma_11) @ right.T)
    return velocity


def matrix_flow(weights, sigma_31, sigma_11, times, tau=1.0):
    shapes = [W.shape for W in weights]
    cuts = np.cumsum([W.size for W in weights])[:-1]

    def split(y):
        return [part.reshape(shape) for part, shape in zip(np.split(y, cuts), shapes, strict=True)]

    def field(y):
        parts = deep_velocity(split(y), sigma_31, sigma_11)
        return np.concatenate([v.ravel() for v in parts]) / tau

    start = np.concatenate([np.ravel(W) for W in weights])
    return [split(y) for y in integrate(field, start, times)]


def svd(rng, out, into):
    U, s, Vt = np.linalg.svd(rng.normal(size=(out, into)), full_matrices=False)
    return U, s, Vt.T


# --- one hidden layer, equal strengths (E5, E7; claim C1) ---


def test_mode_trajectory_is_the_formula_of_the_paper():
    s, u0, tau = np.array([3.0, 1.5, 0.2]), np.array([0.1, 2.0, 1e-3]), 50.0
    t = np.linspace(0, 200, 9)
    u = lm.mode_trajectory(s, u0, t, tau)
    grown = np.exp(2 * s * t[:, None] / tau)
    np.testing.assert_allclose(u, s * grown / (grown - 1 + s / u0), rtol=1e-13)
    assert u.shape == (9, 3)
    np.testing.assert_allclose(u[0], u0, rtol=1e-15)


def test_mode_trajectory_without_a_correlation_decays_as_a_power():
    t = np.array([0.0, 1.0, 1e3])
    np.testing.assert_allclose(
        lm.mode_trajectory(0.0, 0.5, t, 2.0), 0.5 / (1 + 0.5 * t), rtol=1e-14
    )
    near = lm.mode_trajectory(1e-12, 0.5, t, 2.0)  # continuous at s = 0
    np.testing.assert_allclose(near, 0.5 / (1 + 0.5 * t), rtol=1e-8)


def test_mode_trajectory_survives_the_ends_of_float64():
    assert lm.mode_trajectory(3.0, 1e-300, 1e6) == 3.0
    assert lm.mode_trajectory(3.0, 0.0, 10.0) == 0.0
    np.testing.assert_allclose(lm.mode_trajectory(2.0, 1e-9, 1e-3), 1e-9 * np.exp(4e-3), rtol=1e-8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_decoupled_start_follows_the_closed_form_of_the_whole_net(seed):  # C1, X2
    rng = np.random.default_rng(seed)
    U, s, V = svd(rng, 5, 7)
    u0, tau = rng.uniform(0.005, 0.02, 5), 3.0
    weights = [np.asarray(W) for W in decoupled_init(U, V, u0, 2, 6, jax.random.key(seed))]
    times = np.linspace(0, 6, 13) * tau
    sigma_31 = U * s @ V.T
    flow = matrix_flow(weights, sigma_31, np.eye(7), times, tau)
    products = np.array([W2 @ W1 for W1, W2 in flow])
    expected = lm.product_trajectory(U, s, V, u0, times, tau)
    np.testing.assert_allclose(products, expected, atol=1e-10)
    strengths = lm.strengths_along(jnp.asarray(products), U, V)
    np.testing.assert_allclose(strengths, lm.mode_trajectory(s, u0, times, tau), atol=1e-10)
    wrong_rate = lm.mode_trajectory(s, u0, times, 2 * tau)  # "s" in place of "2s"
    assert np.abs(np.asarray(strengths) - wrong_rate).max() > 0.1


@settings(max_examples=50, deadline=None)
@given(
    s=st.floats(0.05, 20),
    start=st.floats(1e-6, 3).filter(lambda x: abs(x - 1) > 1e-3),
    span=st.floats(0, 8),
    tau=st.floats(0.1, 1000),
)
def test_mode_time_inverts_the_trajectory(s, start, span, tau):
    u0, t = start * s, span * tau / (2 * s)
    uf = lm.mode_trajectory(s, u0, t, tau)
    np.testing.assert_allclose(lm.mode_time(u0, uf, s, tau), t, rtol=1e-9, atol=1e-10 * tau / s)


def test_mode_time_formula_and_time_scale():
    t = lm.mode_time(0.1, 1.2, 1.5, 7.0)
    assert t == pytest.approx(7 / 3 * np.log(1.2 * 1.4 / (0.1 * 0.3)), rel=1e-14)
    assert lm.mode_time(0.1, 1.2, 1.5) == pytest.approx(1.34178, abs=5e-6)  # C3
    eps, s = 1e-4, np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(lm.mode_time(eps, s - eps, s, 5.0), 5 / s * np.log((s - eps) / eps))
    np.testing.assert_allclose(
        lm.half_rise_time(eps, s, 5.0), 5 / (2 * s) * np.log((s - eps) / eps)
    )
    assert lm.mode_time(1.2, 0.1, 1.5) == pytest.approx(-lm.mode_time(0.1, 1.2, 1.5))
    assert lm.mode_time(4.0, 2.0, 1.5) > 0


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: lm.mode_time(0.1, 1.5, 1.5), "same side"),
        (lambda: lm.mode_time(0.1, 1.6, 1.5), "same side"),
        (lambda: lm.mode_time(0.0, 1.0, 1.5), "not positive"),
        (lambda: lm.mode_time(0.1, 1.0, 1.5, tau=0.0), "tau"),
        (lambda: lm.mode_trajectory(-1.0, 0.1, 1.0), "negative"),
        (lambda: lm.mode_trajectory(1.0, -0.1, 1.0), "negative"),
        (lambda: lm.mode_trajectory(1.0, 0.1, -1.0), "time is negative"),
        (lambda: lm.hyperbolic_time(1.0, 0.2, 4.0, 3.0), "same side"),
        (lambda: lm.hyperbolic_time(0.1, 0.1, -1.0, 3.0), "sign"),
        (lambda: lm.deep_mode_time(0, 0.1, 1.0, 1.5), "depth"),
        (lambda: lm.mode_energy(jnp.ones((2, 3)), jnp.ones((2, 2)), jnp.ones(3)), "3 singular"),
    ],
)
def test_bad_input_is_refused(call, word):
    with pytest.raises(InputError, match=word):
        call()


# --- unequal layers (E6; claim C2) ---


def scalar_pair(a, b, s, times):
    def field(y):
        gap = s - y[0] * y[1]
        return np.array([y[1] * gap, y[0] * gap])

    return integrate(field, [a, b], times)


CASES = [
    (1.0, 0.2, 3.0),
    (0.6, -0.3, 2.0),  # starts on the far side of the saddle
    (2.5, 2.0, 1.0),  # decreasing
    (0.2, 1.0, 3.0),  # c0 < 0
    (-0.3, 0.6, 2.0),
    (-1.0, -0.2, 3.0),  # a < 0
    (-0.6, 0.3, 2.0),
    (0.4, 0.4, 1.5),  # c0 = 0
    (0.4, -0.4, 1.5),  # on the stable line of the saddle
    (0.7, 0.1, 0.0),  # no correlation
    (1.0, 0.0, 1.0),
]


@pytest.mark.parametrize(("a", "b", "s"), CASES)
def test_hyperbolic_trajectory_against_the_integrated_pair(a, b, s):
    times = np.linspace(0, 2.5, 6)
    expected = scalar_pair(a, b, s, times)
    got = np.stack(lm.hyperbolic_trajectory(s, a, b, times), axis=-1)
    np.testing.assert_allclose(got, expected, atol=2e-11)
    slow = np.stack(lm.hyperbolic_trajectory(s, a, b, 10 * times, tau=10.0), axis=-1)
    np.testing.assert_allclose(slow, got, rtol=1e-13)


@pytest.mark.parametrize(("a", "b", "s"), [case for case in CASES if case[2] > 0])
def test_hyperbolic_time_recovers_the_integration_time(a, b, s):  # C2
    end = scalar_pair(a, b, s, [0.0, 1.3])[-1]
    assert lm.hyperbolic_time(a, b, end.prod(), s) == pytest.approx(1.3, abs=1e-9)
    assert lm.hyperbolic_time(a, b, end.prod(), s, tau=4.0) == pytest.approx(5.2, abs=4e-9)


@pytest.mark.parametrize(("a", "b", "s"), [(1.0, 0.2, 3.0), (0.6, -0.3, 2.0), (2.5, 2.0, 1.0)])
def test_hyperbolic_time_is_the_formula_of_the_paper(a, b, s):
    c0 = a**2 - b**2
    k = np.hypot(c0, 2 * s)

    def primitive(u):
        T = np.tanh(np.arcsinh(2 * u / c0) / 2)
        return np.log(abs((k + c0 + 2 * s * T) / (k - c0 - 2 * s * T)))

    for uf in (0.8 * s, 0.999 * s) if a * b < s else (1.5 * s, 1.01 * s):
        expected = (primitive(uf) - primitive(a * b)) / k
        assert lm.hyperbolic_time(a, b, uf, s) == pytest.approx(expected, rel=1e-11)


def test_hyperbolic_time_continues_the_equal_layers():
    for c in (1e-3, 1e-6, 1e-9, 0.0):
        t = lm.hyperbolic_time(np.sqrt(0.1 + c), np.sqrt(0.1), 1.2, 1.5)
        start = np.sqrt(0.1 * (0.1 + c))
        assert t == pytest.approx(float(lm.mode_time(start, 1.2, 1.5)), rel=1e-12 + 10 * c)


def test_hyperbolic_trajectory_equals_the_equal_layer_form_on_many_modes():
    s, u0 = np.array([3.0, 1.0, 0.0]), np.array([1e-8, 0.5, 2.0])
    t = np.geomspace(1e-3, 1e5, 12)
    a, b = lm.hyperbolic_trajectory(s, np.sqrt(u0), np.sqrt(u0), t)
    assert a.shape == (12, 3)
    np.testing.assert_allclose(a * b, lm.mode_trajectory(s, u0, t), rtol=1e-13)


@settings(max_examples=60, deadline=None)
@given(
    a=st.floats(-3, 3),
    b=st.floats(-3, 3),
    s=st.floats(0, 5),
    t=st.floats(0, 1e4),
)
def test_hyperbolic_trajectory_conserves_the_difference_of_squares(a, b, s, t):
    x, y = lm.hyperbolic_trajectory(s, a, b, t)
    assert np.isfinite(x)
    assert np.isfinite(y)
    assert (x - y) * (x + y) == pytest.approx((a - b) * (a + b), rel=1e-9, abs=1e-12)


def test_stationary_point_of_the_hyperbola():
    a, b = lm.hyperbolic_trajectory(2.0, 1.0, -0.4, 200.0)
    c0 = 1 - 0.16
    assert 2 * a * b == pytest.approx(c0 * np.sinh(np.arcsinh(2 * 2.0 / c0)), rel=1e-13)
    assert a * b == pytest.approx(2.0, rel=1e-14)


# --- depth (E8-E11; claims C3, C4, C5) ---


@pytest.mark.parametrize("L", [1, 2, 3, 5, 10])
def test_deep_mode_rate_is_the_chain_of_scalars(L):  # C3
    s, u0 = 1.5, 0.1
    times = np.linspace(0, 1.5, 7)

    def chain(w):
        product = np.prod(w)
        return product / w * (s - product)

    weights = integrate(chain, np.full(L, u0 ** (1 / L)), times)
    direct = integrate(lambda u: lm.deep_mode_rate(L, u, s), [u0], times)[:, 0]
    np.testing.assert_allclose(weights.prod(axis=1), direct, atol=1e-10)
    value, error = lm.deep_mode_time(L, u0, direct[1:5], s)
    np.testing.assert_allclose(value, times[1:5], atol=1e-9)
    assert np.all(error < 1e-11)


@pytest.mark.parametrize("L", [3, 5])
def test_decoupled_deep_net_follows_the_mode_law(L):
    rng = np.random.default_rng(L)
    U, s, V = svd(rng, 4, 5)
    u0 = np.array([0.1, 0.05, 0.2, 0.1])
    weights = [np.asarray(W) for W in decoupled_init(U, V, u0, L, 6, jax.random.key(L))]
    times = np.linspace(0, 1.0, 5)
    flow = matrix_flow(weights, U * s @ V.T, np.eye(5), times)
    products = jnp.stack([np.linalg.multi_dot(list(state[::-1])) for state in flow])
    strengths = lm.strengths_along(products, U, V)
    modes = integrate(lambda u: lm.deep_mode_rate(L, u, s), u0, times)
    np.testing.assert_allclose(strengths, modes, atol=1e-10)
    for level in lm.conserved_quantities([jnp.stack(layer) for layer in zip(*flow, strict=True)]):
        np.testing.assert_allclose(level[0], 0.0, atol=1e-13)
        np.testing.assert_allclose(level, 0.0, atol=1e-10)


def test_deep_mode_rate_in_both_countings_and_time_scale():
    neurons = 5  # N_l layers of neurons, L = N_l - 1
    expected = (neurons - 1) * 0.3 ** (2 - 2 / (neurons - 1)) * (1.5 - 0.3) / 20
    assert lm.deep_mode_rate(neurons - 1, 0.3, 1.5, tau=20.0) == pytest.approx(expected, rel=1e-15)


def test_deep_mode_time_with_two_layers_is_the_sigmoid():
    u0, uf = np.array([1e-12, 0.1, 2.5]), np.array([1.4, 1.2, 1.6])
    value, error = lm.deep_mode_time(2, u0, uf, 1.5, tau=3.0)
    np.testing.assert_allclose(value, lm.mode_time(u0, uf, 1.5, tau=3.0), rtol=1e-13)
    assert np.all(error <= 1e-12 * value)


@pytest.mark.parametrize("L", [1, 3, 4, 30])
@pytest.mark.parametrize(("u0", "uf"), [(0.1, 1.2), (1e-3, 1.49999), (3.0, 1.6)])
def test_deep_mode_time_is_the_integral(L, u0, uf):
    def integrand(u):
        return 1 / (u ** (2 - 2 / L) * (1.5 - u))

    knots = np.geomspace(u0, uf, 30)
    expected = sum(quad(integrand, *ends, epsrel=1e-13)[0] for ends in pairwise(knots))
    value, error = lm.deep_mode_time(L, u0, uf, 1.5)
    assert value == pytest.approx(expected / L, rel=1e-11)
    assert abs(value - expected / L) <= error + 1e-11 * abs(value)


def test_deep_mode_time_elementary_cases():
    u0, uf, s = 1e-9, 1.2, 1.5  # L = 1 is linear; L = 4 has the primitive below, v = sqrt(u)
    assert lm.deep_mode_time(1, u0, uf, s)[0] == pytest.approx(np.log((s - u0) / (s - uf)))

    def primitive(v):
        return 2 * (np.arctanh(v / np.sqrt(s)) / s**1.5 - 1 / (s * v))

    expected = (primitive(np.sqrt(uf)) - primitive(np.sqrt(u0))) / 4
    assert lm.deep_mode_time(4, u0, uf, s)[0] == pytest.approx(expected, rel=1e-12)
    assert lm.deep_mode_time(7, 0.3, 0.3, s)[0] == 0.0


def test_infinite_depth_limit():  # C4
    L = np.array([10, 50, 200, 1000])
    value, _ = lm.deep_mode_time(L, 0.1, 1.2, 1.5)
    np.testing.assert_allclose(L * value, [6.081, 7.484, 7.794, 7.879], atol=6e-4)
    limit = lm.deep_mode_time_infinite(1, 0.1, 1.2, 1.5)
    slower = lm.deep_mode_time_infinite([1, 4], 0.1, 1.2, 1.5, tau=2.5)
    np.testing.assert_allclose(slower, 2.5 * limit / np.array([1, 4]), rtol=1e-13)
    assert limit == pytest.approx(7.9002, abs=5e-5)
    np.testing.assert_allclose(lm.deep_mode_time_infinite(L, 0.1, 1.2, 1.5) * L, limit)
    gaps = L * (limit - L * value)  # error proportional to 1/L
    assert gaps[3] == pytest.approx(gaps[2], rel=0.02)
    assert abs(L[3] * value[3] / limit - 1) < 3e-3
    exact = quad(lambda u: 1 / (u**2 * (1.5 - u)), 0.1, 1.2, epsrel=1e-13)[0]
    assert limit == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("L", [1, 2, 3, 6])
def test_sharpness_of_the_balanced_minimum(L):  # C5
    s = 1.7
    hessian = jax.hessian(lambda w: 0.5 * (jnp.prod(w) - s) ** 2)(jnp.full(L, s ** (1 / L)))
    top = np.linalg.eigvalsh(hessian)[-1]
    assert lm.deep_mode_sharpness(L, s) == pytest.approx(top, rel=1e-12)


def test_sharpness_numbers():
    np.testing.assert_allclose(
        lm.deep_mode_sharpness([2, 3, 6], 1.7), [3.4, 6.08676, 14.52890], atol=5e-6
    )


# --- conserved quantities and energy (C6, E3) ---


@pytest.mark.parametrize("L", [2, 4])
def test_velocity_conserves_balancedness(L):
    rng = np.random.default_rng(L)
    widths = [4, 6, 5, 7, 3][: L + 1]
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    weights = [rng.normal(size=shape) for shape in shapes]
    sigma_11 = np.cov(rng.normal(size=(widths[0], 20)))  # not white
    velocity = deep_velocity(weights, rng.normal(size=(widths[-1], widths[0])), sigma_11)
    _, rates = jax.jvp(
        lm.conserved_quantities,
        ([jnp.asarray(W) for W in weights],),
        ([jnp.asarray(v) for v in velocity],),
    )
    assert len(rates) == L - 1
    for rate, W, v in zip(rates, weights, velocity, strict=False):
        assert rate.shape == (len(W), len(W))
        assert np.abs(rate).max() < 1e-12 * np.abs(W @ v.T).max()


def test_conserved_quantity_of_scalars_is_the_difference_of_squares():
    (value,) = lm.conserved_quantities([jnp.array([[3.0]]), jnp.array([[2.0]])])
    assert value == 5.0


def test_energy_is_the_sum_over_pairs_and_drives_the_flow():
    rng = np.random.default_rng(0)
    U, s, Vt = np.linalg.svd(rng.normal(size=(3, 4)))  # square bases
    W1, W2 = rng.normal(size=(5, 4)), rng.normal(size=(3, 5))
    A, B = jnp.asarray(W1 @ Vt.T), jnp.asarray(U.T @ W2)
    brute = 0.0
    for alpha in range(4):
        for beta in range(3):
            overlap = A[:, alpha] @ B[beta]
            brute += 0.5 * ((s[alpha] - overlap) ** 2 if alpha == beta else overlap**2)
    assert lm.mode_energy(A, B, s) == pytest.approx(float(brute), rel=1e-13)
    sigma_31 = (U * s) @ Vt[:3]
    v1, v2 = deep_velocity([W1, W2], sigma_31, np.eye(4))
    slope_a, slope_b = jax.grad(lm.mode_energy, argnums=(0, 1))(A, B, s)
    np.testing.assert_allclose(-slope_a, v1 @ Vt.T, atol=1e-12)
    np.testing.assert_allclose(-slope_b, U.T @ v2, atol=1e-12)


def test_field_of_a_mode_has_cooperation_and_competition():
    rng = np.random.default_rng(1)
    A, B, s = jnp.asarray(rng.normal(size=(5, 3))), jnp.asarray(rng.normal(size=(3, 5))), [3, 2, 1]
    slope = jax.grad(lm.mode_energy)(A, B, jnp.asarray(s, float))
    for alpha in range(3):
        a, b = A[:, alpha], B[alpha]
        field = (s[alpha] - a @ b) * b
        field -= sum((a @ B[gamma]) * B[gamma] for gamma in range(3) if gamma != alpha)
        np.testing.assert_allclose(-slope[:, alpha], field, atol=1e-12)


# --- small random start on the hierarchical data (C7, one fast run) ---


def test_modes_of_the_tree_rise_in_the_order_of_their_strength():
    from thalweg.problems.data.hierarchical import hierarchical_dataset

    data = hierarchical_dataset(3)
    rng = np.random.default_rng(0)
    W1, W2 = 1e-3 * rng.normal(size=(16, 8)), 1e-3 * rng.normal(size=(15, 16))
    a, b = W1 @ data.V, data.U.T @ W2
    u0 = 0.25 * np.sum((a + b.T) ** 2, axis=0)
    sigma, rate, products = data.targets.T, 0.01, []
    for _ in range(1200):
        products.append(W2 @ W1)
        residual = sigma - W2 @ W1
        W1, W2 = W1 + rate * W2.T @ residual, W2 + rate * residual @ W1.T
    strengths = np.asarray(lm.strengths_along(jnp.asarray(np.array(products)), data.U, data.V))
    s = data.singular_values
    rise = rate * np.argmax(strengths > s / 2, axis=0)
    scaled = rise * s
    assert np.abs(scaled / scaled.mean() - 1).max() < 0.2
    delay = rise / lm.half_rise_time(u0, s)
    assert delay.min() > 0.99
    assert delay.max() < 1.2
    assert rise[0] < rise[1] < rise[2:4].min()
    assert rise[2:4].max() < rise[4:].min()
