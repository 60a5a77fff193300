"""Motion along valleys: expectations of diffusions against closed forms."""

import numpy as np
import pytest

import thalweg as tw
from thalweg.theory.limits.valleys import diffusion_expectation, valley_drift


@pytest.mark.parametrize("power", [1, 2])
def test_moments_of_an_ornstein_uhlenbeck_process(power):
    rate, start, time = 0.7, 1.5, 1.3
    decay = np.exp(-rate * time)
    truth = {1: start * decay, 2: start**2 * decay**2 + (1 - decay**2) / (2 * rate)}[power]
    found = diffusion_expectation(lambda x: -rate * x, lambda x: x**power, start, time)
    assert abs(found.value - truth) < max(found.error, 1e-9) < 2e-3


def test_the_motor_turns_at_one_half_everywhere():
    angle = np.linspace(0, 6, 7)
    s, c = np.sin(angle), np.cos(angle)
    slopes = np.stack([c, -c, -s, s], axis=-1)
    variances = np.stack([1 - c, 1 + c, 1 + s, 1 - s], axis=-1)
    np.testing.assert_allclose(valley_drift(slopes, variances), 0.5, atol=1e-15)


@pytest.mark.parametrize(("time", "points"), [(0.0, 801), (1.0, 800)])
def test_what_is_out_of_range_is_said(time, points):
    with pytest.raises(tw.InputError, match="came as"):
        diffusion_expectation(np.negative, np.negative, 0.0, time, points)
