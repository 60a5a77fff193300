"""Criterion times against closed forms and against matrices that are trained."""

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.theory.descent.criterion_time import criterion_time
from thalweg.theory.linear_nets import linear_modes


@pytest.mark.parametrize("L", [1, 2, 3, 20])
@pytest.mark.parametrize("tau", [1.0, 7.0])
def test_one_mode_is_the_mode_time(L, tau):
    value, error = criterion_time(L, 0.01, [1.7], 0.04, tau)
    expected = linear_modes.deep_mode_time(L, 0.01, 0.8 * 1.7, 1.7, tau)[0]
    assert value == pytest.approx(expected, rel=1e-8)
    assert abs(value - expected) <= max(error, 1e-9 * value)


def test_many_modes_follow_the_sigmoid():
    """At the time found, the closed form of one hidden layer has just that loss."""
    s = np.array([3.0, 1.2, 0.4])
    value, _ = criterion_time(2, 0.001, s, 0.03)
    u = linear_modes.mode_trajectory(s, 0.001, value)
    assert np.sum((s - u) ** 2) == pytest.approx(0.03 * np.sum(s**2), rel=1e-7)


def test_small_steps_of_descent_take_that_long():
    s, size, steps = np.array([2.0, 1.0]), 1e-4, 0
    layers = [np.full(2, 0.1 ** (1 / 3)) for _ in range(3)]
    while np.sum((s - np.prod(layers, axis=0)) ** 2) > 0.01 * np.sum(s**2):
        u = np.prod(layers, axis=0)
        layers = [w + size * (s - u) * u / w for w in layers]
        steps += 1
    assert steps * size == pytest.approx(criterion_time(3, 0.1, s, 0.01)[0], rel=1e-3)


def test_a_good_start_needs_no_time():
    assert criterion_time(3, 0.95, [1.0], 0.1) == (0.0, 0.0)


@pytest.mark.parametrize(("u0", "fraction"), [(0.0, 0.1), (2.0, 0.1), (0.1, 0.0), (0.1, 1.0)])
def test_impossible_criteria_are_refused(u0, fraction):
    with pytest.raises(InputError, match="give"):
        criterion_time(2, u0, [1.0], fraction)
