"""The rule for a standard normal number against its moments and integrals by SciPy."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from thalweg import InputError
from thalweg.core.gaussian import normal_rule


def test_moments():
    z, weights = normal_rule()
    for order, moment in enumerate([1, 0, 1, 0, 3, 0, 15]):
        assert np.isclose(weights @ z**order, moment, atol=1e-13)


def test_analytic_functions_converge_exponentially():
    """tanh has its nearest pole at i pi/2."""
    density = 1 / math.sqrt(2 * math.pi)
    truth = quad(lambda z: math.tanh(z) ** 2 * density * math.exp(-(z**2) / 2), -12, 12)[0]
    errors, exponents = [], []
    for nodes in (16, 24, 32, 48, 96):
        z, weights = normal_rule(nodes)
        errors.append(abs(float(weights @ jnp.tanh(z) ** 2) - truth))
        exponents.append(-2 * math.pi * (math.pi / 2) / float(z[1] - z[0]))
    slopes = np.diff(np.log(errors[:4])) / np.diff(exponents[:4])
    assert np.all(np.abs(slopes - 1) < 0.15)
    assert errors[4] < 1e-14


def test_kinks_converge_as_the_square():
    """Half a spacing beside a kink of height 2 the rule is off by spacing^2/12 of the density."""
    z, weights = normal_rule(96)
    error = float(weights @ jnp.abs(z)) - math.sqrt(2 / math.pi)
    expected = float(z[1] - z[0]) ** 2 / (12 * math.sqrt(2 * math.pi))
    assert np.isclose(error, expected, rtol=0.01)


def test_one_node_is_refused():
    with pytest.raises(InputError, match="at least 2"):
        normal_rule(1)
