"""Errors of estimates from few random draws, of which three hold the truth.

A standard error is itself estimated, from as few draws as there are products to spend. The errors
here are a third of the half-width of the interval that holds the truth in 99.7 % of cases: they
tend to the standard error with many draws, and are larger with few.
"""

from __future__ import annotations

import functools
import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.tree import binade

OUTSIDE = 0.0027  # what a normal estimate has beyond three standard errors


@functools.cache
def student_factor(draws: int) -> float:
    """By how much the error of a mean of normal draws exceeds std / sqrt(draws) (Student 1908)."""
    from scipy.stats import t

    return float(t.isf(OUTSIDE / 2, draws - 1)) / 3


@functools.cache
def form_factor(draws: int) -> float:
    """By how much the error of a random quadratic form exceeds its estimated standard error.

    Of all forms z^T A z in normal z the most skewed is that of rank one: a mean over m draws is
    x lambda with m x ~ chi^2_m, its standard error is estimated as lambda sqrt(2 x / m), and with
    x at its quantile of 0.135 % the truth is (1 - x) lambda away: that is three errors.
    """
    from scipy.stats import chi2

    x = float(chi2.ppf(OUTSIDE / 2, draws)) / draws
    return (1 - x) / (3 * math.sqrt(2 * x / draws))


def sample_mean(draws: Float[Array, "m ..."]) -> tuple[Array, Array]:
    """Mean over m independent draws and its error, std / sqrt(m) widened by `student_factor`."""
    m, scale = len(draws), binade(draws)
    spread = scale * jnp.std(draws / scale, axis=0, ddof=1)
    return jnp.mean(draws, axis=0), spread * (student_factor(m) / math.sqrt(m))


def form_mean(
    draws: Float[Array, " m *rest"], deviations: Float[Array, " m *rest"]
) -> tuple[Array, Array]:
    """Mean over m draws of a quadratic form, with an error that few draws do not belie.

    Args:
        draws: z^T A z for independent z.
        deviations: sqrt of an estimate of the form's variance, from each draw. For z uniform on
            the sphere of squared radius p it is sqrt(2) ||A z - rho z||, rho = z^T A z / p: the
            variance is 2 (||A||_F^2 - tr(A)^2 / p) p / (p + 2), and all p entries of A z tell of
            it, where a draw of the form is one number.

    Returns:
        The mean and its error, sqrt(mean of deviations^2 / m) widened by `form_factor`.
    """
    m, scale = len(draws), binade(deviations)
    typical = scale * jnp.sqrt(jnp.mean((deviations / scale) ** 2, axis=0))
    return jnp.mean(draws, axis=0), typical * (form_factor(m) / math.sqrt(m))
