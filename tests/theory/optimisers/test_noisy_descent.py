"""SGD's second moment against the exact one on quadratics, and schedules against brute force."""

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.theory.optimisers.noisy_descent import (
    halving_schedule,
    optimal_schedule,
    second_moment_bound,
)
from thalweg.theory.quadratics.linear_methods import error_moments, linear_method

L, MU, VARIANCE = 3.0, 0.2, 0.7


@pytest.mark.parametrize("share", [1.0, 0.3, 0.05])
def test_no_quadratic_exceeds_the_bound(share):
    h, lam = share * 2 / (L + MU), np.array([MU, 0.9, L])
    std = np.sqrt(VARIANCE * MU * L / 3)
    descent = linear_method("gradient-descent", h)
    exact = error_moments(descent, lam, [2.0, -1.0, 0.5], std, 400).sum(axis=1)
    bound = second_moment_bound(h, L, MU, VARIANCE, 5.25, np.arange(401))
    assert bound[0] == exact[0]
    assert np.all(exact <= bound * (1 + 1e-12))


def test_a_start_far_below_the_floor_keeps_its_digits():
    bound = second_moment_bound(0.3, L, MU, 1e8, 1e-9, [0, 1])
    assert bound[0] == 1e-9
    assert bound[1] == pytest.approx(0.3**2 * 1e8 * MU * L, rel=1e-9)


def test_the_bound_is_attained_at_both_ends_of_the_longest_step():
    h = 2 / (L + MU)
    descent = linear_method("gradient-descent", h)
    exact = error_moments(descent, [MU, L], [1.0, 2.0], np.sqrt(VARIANCE * MU * L / 2), 50)
    bound = second_moment_bound(h, L, MU, VARIANCE, 5.0, np.arange(51))
    np.testing.assert_allclose(exact.sum(axis=1), bound, rtol=1e-12)


def test_no_other_step_size_lowers_the_recursion_more():
    h, E = optimal_schedule(L, MU, VARIANCE, 20.0, 60)
    tried = np.linspace(0, 2 / (L + MU), 2001)[1:, None]
    after = (1 - 2 * tried * L * MU / (L + MU)) * E[:-1] + tried**2 * VARIANCE * MU * L
    assert np.all(E[1:] <= after.min(axis=0) + 1e-12)
    assert np.all(np.diff(h) <= 0)
    assert h[0] == 2 / (L + MU)
    assert h[-1] < h[0]
    # Without noise steps stay as long as they can be.
    np.testing.assert_array_equal(optimal_schedule(L, MU, 0.0, 1.0, 5)[0], 2 / (L + MU))


def test_steps_are_halved_where_the_error_allows_it():
    h, E, at = halving_schedule(L, MU, VARIANCE, 2 * VARIANCE, 3000)
    assert len(at) > 4
    for r, n in enumerate(at[1:], start=1):
        assert E[n] <= 2.0 ** (1 - r) * VARIANCE < E[n - 1]
        assert h[n] == h[n - 1] / 2 == 2.0**-r / (L + MU)
    c = 1 + 2 * np.log(2) * (1 + L / MU) * (1 + MU / L)
    assert np.all(E[at[1:]] * at[1:] <= c * VARIANCE)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: second_moment_bound(1.0, L, MU, 1.0, 1.0, 1), "step_size"),
        (lambda: second_moment_bound(0.1, L, 0.0, 1.0, 1.0, 1), "convexity"),
        (lambda: optimal_schedule(L, MU, -1.0, 1.0, 1), "variance"),
        (lambda: optimal_schedule(L, 2 * L, 1.0, 1.0, 1), "convexity"),
        (lambda: halving_schedule(L, MU, 1.0, 2.1, 1), "first"),
        (lambda: halving_schedule(L, MU, 0.0, 0.0, 1), "variance"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(call, told):
    with pytest.raises(InputError, match=told):
        call()
