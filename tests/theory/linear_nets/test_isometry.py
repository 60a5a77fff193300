"""Mean-field predictions against brute quadrature, simulation and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from thalweg.core.errors import InputError
from thalweg.core.spectra import activity, jacobian_spectrum
from thalweg.models.initialisers import INITIALISERS
from thalweg.theory.linear_nets import isometry


def brute_mean(function):
    density = lambda z: np.exp(-z * z / 2) / np.sqrt(2 * np.pi)  # noqa: E731
    return quad(lambda z: function(z) * density(z), -12, 12, epsabs=0, epsrel=1e-12, limit=400)[0]


def net(weights, gain, x):
    for W in weights:
        x = jnp.tanh(gain * (W @ x))
    return x


def random_net(name, width, depth, seed):
    keys = jax.random.split(jax.random.key(seed), depth + 1)
    weights = [INITIALISERS[name](key, (width, width)) for key in keys[1:]]
    return weights, jax.random.normal(keys[0], (width,), jnp.float64)


def test_gaussian_mean_is_right_on_polynomials():
    mean = isometry.gaussian_expectation(lambda z: z**6 - z**2)
    assert mean.value == pytest.approx(14.0, rel=1e-13)
    assert mean.error < 1e-11


@pytest.mark.parametrize("q0", [0.3, 2.0])
def test_a_profile_starts_at_its_input_and_takes_any_activation(q0):
    """Homogeneous of degree 1, a ReLU halves the mean square: q_l = q_0 (g^2/2)^l exactly."""
    gain, layers = 1.7, np.arange(1, 5)
    found = isometry.activity_profile(gain, 4, q0, lambda z: np.maximum(z, 0))
    np.testing.assert_allclose(found, q0 * (gain**2 / 2) ** layers, rtol=1e-12)
    sines = isometry.activity_profile(gain, 2, q0, np.sin)
    q1 = (1 - np.exp(-2 * gain**2 * q0)) / 2  # E sin^2(c z) in closed form
    np.testing.assert_allclose(sines, [q1, (1 - np.exp(-2 * gain**2 * q1)) / 2], rtol=1e-10)


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5, 3.0])
def test_activity_map_against_brute_quadrature(gain):
    truth = brute_mean(lambda z: np.tanh(gain * np.sqrt(0.7) * z) ** 2)
    q = isometry.mean_square_activity(gain, 0.7)
    assert abs(q.value - truth) <= q.error + 1e-12
    slope = brute_mean(lambda z: (gain / np.cosh(gain * np.sqrt(0.7) * z) ** 2) ** 2)
    chi = isometry.mean_square_singular_value(gain, 0.7)
    assert abs(chi.value - slope) <= chi.error + 1e-12


@pytest.mark.parametrize(
    ("gain", "expected"), [(1.05, 0.0483), (1.1, 0.0932), (1.2, 0.1733), (1.5, 0.3526)]
)
def test_fixed_point_numbers_and_equation(gain, expected):  # C10
    q = isometry.activity_fixed_point(gain)
    assert q.value == pytest.approx(expected, abs=5e-5)
    truth = brute_mean(lambda z: np.tanh(gain * np.sqrt(q.value) * z) ** 2)
    assert q.value == pytest.approx(truth, abs=1e-11 + q.error)
    assert q.error < 1e-6
    assert isometry.mean_square_singular_value(gain, q.value).value > 1  # chaos


def test_fixed_point_below_and_just_above_the_critical_gain():
    assert isometry.activity_fixed_point(0.9) == (0.0, 0.0)
    assert isometry.activity_fixed_point(1.0) == (0.0, 0.0)
    for gain in (0.9, 1.0):
        chi = isometry.mean_square_singular_value(gain, 0.0)
        assert chi.value == pytest.approx(gain**2, rel=1e-13)
    small = 1e-5  # the map is g^2 q - 2 g^4 q^2 + ..., so that q ~ (g^2 - 1)/2 ~ g - 1
    assert isometry.activity_fixed_point(1 + small).value == pytest.approx(small, rel=1e-3)


def test_fixed_point_is_where_the_iteration_ends():
    profile = isometry.activity_profile(1.5, 60)
    assert profile.shape == (60,)
    assert profile[-1] == pytest.approx(isometry.activity_fixed_point(1.5).value, rel=1e-12)


def test_decay_at_and_below_the_critical_gain():
    at = isometry.activity_profile(1.0, 4000)
    assert at[-1] * 2 * 4000 == pytest.approx(1.0, rel=0.01)
    assert at[99] == pytest.approx(5e-3, rel=0.1)  # C10
    below = isometry.activity_profile(0.9, 100)
    assert below[-1] / below[-2] == pytest.approx(0.81, rel=1e-8)
    assert below[-1] == pytest.approx(8e-11, rel=0.15)


@pytest.mark.parametrize(("name", "within"), [("orthogonal", 0.25), ("gaussian", 0.5)])
def test_simulated_activity_reaches_the_fixed_point(name, within):  # C10
    for gain in (1.1, 1.2, 1.5):
        weights, x = random_net(name, 200, 100, seed=round(10 * gain))
        last = float(activity(weights, gain, x)[-1])
        assert last == pytest.approx(isometry.activity_fixed_point(gain).value, rel=within)


def test_isometry_of_deep_tanh_nets():  # C10
    for gain in (1.0, 1.05, 1.1):
        weights, x = random_net("orthogonal", 200, 100, seed=3)
        spectrum = jacobian_spectrum(lambda w, z, g=gain: net(w, g, z), weights, x)
        assert jnp.median(spectrum) > 0.03
        weights, x = random_net("gaussian", 200, 100, seed=3)
        spectrum = jacobian_spectrum(lambda w, z, g=gain: net(w, g, z), weights, x)
        assert jnp.median(spectrum) < 1e-10


@pytest.mark.parametrize("name", ["orthogonal", "gaussian"])
def test_mean_square_singular_value_of_a_shallow_net(name):
    gain, depth, width = 1.5, 5, 300
    measured = []
    for seed in range(4):
        weights, x = random_net(name, width, depth, seed)
        x = x * jnp.sqrt(width / jnp.sum(x**2))
        spectrum = jacobian_spectrum(lambda w, z: net(w, gain, z), weights, x)
        measured.append(float(jnp.mean(spectrum**2)))
    qs = [1.0, *isometry.activity_profile(gain, depth)[:-1]]
    expected = np.prod([isometry.mean_square_singular_value(gain, q).value for q in qs])
    assert np.mean(measured) == pytest.approx(expected, rel=0.1)


def test_exponents_of_gaussian_products():
    width, depth, rng = 6, 4000, np.random.default_rng(0)
    frame, growth = np.eye(width), np.zeros((depth, width))
    for layer in range(depth):  # repeated QR keeps what a product in float64 would lose
        frame, R = np.linalg.qr(rng.normal(size=(width, width)) / np.sqrt(width) @ frame)
        growth[layer] = np.log(np.abs(np.diag(R)))
    standard = growth.std(axis=0) / np.sqrt(depth)
    assert np.all(np.abs(growth.mean(axis=0) - isometry.gaussian_exponents(width)) < 4 * standard)
    assert isometry.gaussian_exponents(20000).mean() == pytest.approx(-0.5, abs=1e-3)


def test_median_of_gaussian_products_is_the_middle_exponent():
    depth = np.array([1, 5, 20])
    middle = np.median(isometry.gaussian_exponents(2000))
    np.testing.assert_allclose(
        isometry.gaussian_product_median(depth), np.exp(depth * middle), rtol=0.02
    )
    assert isometry.gaussian_product_median(20) == pytest.approx(9.8e-4, rel=0.01)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="gain"):
        isometry.activity_fixed_point(-1.0)
    with pytest.raises(InputError, match="activity"):
        isometry.mean_square_activity(1.0, -1.0)
    with pytest.raises(InputError, match="activity"):
        isometry.mean_square_singular_value(1.0, -1.0)
    with pytest.raises(InputError, match="nodes"):
        isometry.activity_fixed_point(1.1, nodes=2)
    with pytest.raises(InputError, match="width"):
        isometry.gaussian_exponents(0)


@pytest.mark.parametrize(("depth", "width"), [(1, 3), (3, 5), (10, 20)])
def test_spread_of_the_mean_square_by_sampling(depth, width):
    rng, product = (
        np.random.default_rng(depth),
        np.broadcast_to(np.eye(width), (20000, width, width)),
    )
    for _ in range(depth):
        product = rng.normal(size=product.shape) / np.sqrt(width) @ product
    square = (product**2).sum((1, 2)) / width
    spread = isometry.gaussian_mean_square_spread(depth, width)
    assert square.mean() == pytest.approx(1, abs=4 * spread / np.sqrt(20000))
    assert square.std() == pytest.approx(spread, rel=0.06)


def test_spread_is_depth_over_width_while_small():
    assert isometry.gaussian_mean_square_spread(0, 7) == 0
    assert isometry.gaussian_mean_square_spread(1, 7) == pytest.approx(np.sqrt(2) / 7, rel=1e-14)
    assert isometry.gaussian_mean_square_spread(20, 20000) == pytest.approx(1e-3, rel=0.03)
