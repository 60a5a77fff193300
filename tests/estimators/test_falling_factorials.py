"""Discrete splines in exact arithmetic, and interpolation against the basis."""

from fractions import Fraction
from math import factorial, prod

import numpy as np
import pytest
from scipy.interpolate import interpn

import thalweg as tw

RNG = np.random.default_rng(3)
tf = tw.estimators


def uneven(n, rng=RNG):
    """Coordinates at least a fifth of a mean spacing apart."""
    return np.cumsum(0.2 + 0.8 * rng.uniform(size=n)) / n


def exact_basis(x, k):
    """H in fractions, from E7."""
    n = len(x)
    rows = []
    for at in x:
        ahead = [prod((at - z for z in x[max(j - k, 0) : j]), start=Fraction(1)) for j in range(n)]
        row = [ahead[j] / factorial(j) for j in range(k + 1)]
        row += [ahead[j] / factorial(k) if at > x[j - 1] else 0 for j in range(k + 1, n)]
        rows.append(row[:n])
    return rows


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("even", [True, False])
def test_coefficients_invert_the_basis(order, even):
    n = 9
    x = [Fraction(i, n) if even else Fraction(i * i + i, 100) for i in range(1, n + 1)]
    alpha = [Fraction(int(v), 7) for v in RNG.integers(-20, 20, n)]
    rows = exact_basis(x, order)
    design = np.array([float(v) for v in x])
    np.testing.assert_allclose(
        tf.falling_factorial_basis(design, order),
        [[float(entry) for entry in row] for row in rows],
        rtol=1e-12,
        atol=1e-15,
    )
    values = np.array([float(sum(a * h for a, h in zip(alpha, row, strict=True))) for row in rows])
    found = tf.falling_factorial_coefficients(design, values, order)
    # Divided differences of order k + 1 divide rounding by spacings to that power.
    size = np.abs(values).max() * (n / 0.5) ** (order + 1)
    np.testing.assert_allclose(found, [float(a) for a in alpha], atol=1e-13 * size)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_differences_on_even_designs_are_coefficients_and_total_variation(order):
    n = 12
    x, f = np.arange(1, n + 1) / n, RNG.normal(size=n)
    (bends,) = tf.difference_operator((n,), order).apply(f)
    alpha = tf.falling_factorial_coefficients(x, f, order)
    np.testing.assert_allclose(alpha[order + 1 :], n**order * bends, rtol=1e-9)
    variation = tf.spline_total_variation(x, f, order)
    assert variation == pytest.approx(n**order * np.abs(bends).sum(), rel=1e-11)
    # The k-th derivative is constant between neighbouring points: from differences of the function.
    step = 1 / n / 5
    inside = np.append(x[0] - 1 / n, x[:-1])[:, None] + step * np.arange(1, order + 2)
    pieces = tf.interpolate(inside.ravel(), f, order, [x]).reshape(inside.shape)
    slopes = np.diff(pieces, n=order, axis=1)[:, 0] / step**order
    assert np.abs(np.diff(slopes)).sum() == pytest.approx(float(variation), rel=1e-9)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("even", [True, False])
def test_interpolation_is_the_expansion_in_the_basis(order, even):
    n = 11
    x = np.arange(1, n + 1) / n if even else uneven(n)
    f = RNG.normal(size=n)
    at = np.concatenate([RNG.uniform(x[0], x[-1] + 0.2, size=60), [x[0] - 0.1], x])
    alpha = tf.falling_factorial_coefficients(x, f, order)
    expanded = tf.falling_factorial_basis(x, order, at) @ alpha
    np.testing.assert_allclose(tf.interpolate(at, f, order, [x]), expanded, atol=1e-8)
    np.testing.assert_allclose(tf.interpolate(x, f, order, [x]), f, atol=1e-12)
    polynomial = np.polynomial.Polynomial(RNG.normal(size=order + 1))
    np.testing.assert_allclose(
        tf.interpolate(at, polynomial(x), order, [x]), polynomial(at), atol=1e-10
    )


def test_interpolation_in_two_dimensions_is_that_of_tensor_products():
    designs, orders = [uneven(6), uneven(7)], (1, 2)
    f = RNG.normal(size=(6, 7))
    at = RNG.uniform(0.1, 0.9, size=(50, 2))
    alpha = tf.falling_factorial_coefficients(designs[1], f, 2)
    alpha = tf.falling_factorial_coefficients(designs[0], alpha.T, 1).T
    left, right = (
        tf.falling_factorial_basis(x, k, column)
        for x, k, column in zip(designs, orders, at.T, strict=True)
    )
    expanded = np.einsum("pi,ij,pj->p", left, alpha, right)
    np.testing.assert_allclose(tf.interpolate(at, f, orders, designs), expanded, atol=1e-8)


def test_it_is_not_bilinear_and_agrees_with_it_for_order_one_on_a_line():
    x, f = np.arange(6.0), RNG.normal(size=6)
    at = np.linspace(0.05, 4.95, 30)
    linear = interpn([x], f, at[:, None])
    np.testing.assert_allclose(tf.interpolate(at, f, 1, [x]), linear, atol=1e-12)
    for order in (0, 2):
        assert np.abs(tf.interpolate(at, f, order, [x]) - linear).max() > 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tf.falling_factorial_basis([0.0, 0.0], 0), "increase"),
        (lambda: tf.falling_factorial_basis([0.0, 1.0], 2), "at least 3"),
        (lambda: tf.divided_differences([0.0, 1.0], [0.0, 1.0, 2.0], 1), "last dims"),
        (lambda: tf.interpolate([[0.0]], np.zeros((2, 2)), 0, [[0.0, 1.0]] * 2), "points have"),
        (lambda: tf.interpolate([0.0], np.zeros(3), 0, [[0.0, 1.0]]), "2 points for 3"),
    ],
)
def test_bad_arguments_are_told(call, words):
    with pytest.raises(tw.InputError, match=words):
        call()
