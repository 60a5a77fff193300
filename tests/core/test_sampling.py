"""Errors from few draws: three of them hold the truth as often as they say."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.sampling import form_factor, form_mean, sample_mean, student_factor

COUNT = 40_000


@pytest.mark.parametrize("m", [3, 12, 60])
def test_means_of_normal_draws(m):
    draws = np.random.default_rng(m).normal(2, 5, (m, COUNT))
    mean, error = sample_mean(jnp.asarray(draws))
    outside = np.sum(np.abs(np.asarray(mean) - 2) > 3 * np.asarray(error))
    assert outside == pytest.approx(0.0027 * COUNT, abs=4 * np.sqrt(0.0027 * COUNT))


@pytest.mark.parametrize("m", [3, 12, 60])
def test_means_of_the_most_skewed_form(m):
    """Rank one: z^T A z = 2 z^2, whose estimated deviation is sqrt(2) 2 |z|."""
    z = np.random.default_rng(m).normal(size=(m, COUNT))
    mean, error = form_mean(jnp.asarray(2 * z**2), jnp.asarray(np.sqrt(2) * 2 * np.abs(z)))
    short = np.asarray(mean) - 2 < -3 * np.asarray(error)
    assert short.sum() == pytest.approx(0.00135 * COUNT, abs=4 * np.sqrt(0.00135 * COUNT))
    assert np.mean(np.asarray(mean) - 2 > 3 * np.asarray(error)) <= 0.00135


def test_many_draws_need_no_widening():
    for factor in (student_factor, form_factor):
        assert factor(20) > factor(60) > factor(2000) > 1
        assert factor(200_000) == pytest.approx(1, abs=0.01)


def test_errors_scale_where_squares_leave_the_format():
    draws = np.random.default_rng(0).normal(size=(20, 3))
    for scale in (1e-200, 1e200):
        for measure in (sample_mean, lambda d: form_mean(d, jnp.abs(d))):
            near, far = measure(jnp.asarray(draws)), measure(jnp.asarray(scale * draws))
            np.testing.assert_allclose(np.asarray(far) / scale, near, rtol=1e-12)
    assert np.all(sample_mean(jnp.zeros((4, 2)))[1] == 0)
