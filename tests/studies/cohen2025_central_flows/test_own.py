"""What is particular to the study of central flows: its data and its midpoints."""

import numpy as np

from thalweg.studies.cohen2025_central_flows import digits


def test_the_net_and_its_data_are_those_of_the_specification():
    net = digits.Net()
    weights = net.drawn(0)
    assert sum(w.size for layer in weights for w in layer.values()) == 2350
    first = 0.577 * np.random.default_rng(0).standard_normal((64, 20)) / 8
    np.testing.assert_allclose(weights[0]["weight"].T, first, rtol=1e-14)
    images = np.asarray(net.problem.inputs)
    assert images.shape == (100, 64)
    np.testing.assert_allclose(images.mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(images.std(), 1, rtol=1e-13)


def test_midpoints_leave_no_oscillation_of_period_two():
    a, b, c = np.random.default_rng(1).standard_normal((3, 4))
    k = np.arange(7)[:, None]
    found = digits.midpoints((-1.0) ** k * a + b + c * k)
    np.testing.assert_allclose(found[1:-1], (b + c * k)[1:-1], atol=1e-14)
    assert np.isnan(found[[0, -1]]).all()


def test_an_oscillation_that_grows_leaves_only_its_growth():
    """The midpoint of (-g)^k is (-g)^k (2 - g - 1/g)/4: of second order in g - 1."""
    g, k = 1.01, np.arange(9)[:, None]
    steps = (-g) ** k
    found = digits.midpoints(steps)[1:-1]
    np.testing.assert_allclose(found, steps[1:-1] * (2 - g - 1 / g) / 4, atol=1e-15)
