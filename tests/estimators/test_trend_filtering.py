"""Trend filtering against bounded least squares on the dual, and its certificate."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear

import thalweg as tw

RNG = np.random.default_rng(2)
filtered = tw.estimators.trend_filter


def by_bounded_least_squares(y, penalty, operator, weights=None):
    """argmin by the dual, min ||W^(-1/2) (D^T v - W y)||^2 over |v| <= lambda."""
    root = np.ones(y.size) if weights is None else np.sqrt(weights.ravel())
    matrix = operator.dense().T / root[:, None]
    found = lsq_linear(matrix, root * y.ravel(), (-penalty, penalty), method="bvls", tol=1e-14)
    return (y.ravel() - matrix @ found.x / root).reshape(y.shape)


CASES = {
    "d=1, k=0": ((20,), 0, 0.7),
    "d=1, k=2": ((20,), 2, 1.5),
    "d=2, k=0": ((5, 6), 0, 0.4),
    "d=2, k=1": ((6, 5), 1, 0.5),
    "d=2, k=2": ((6, 5), 2, 0.7),
    "d=3, k=0": ((4, 3, 3), 0, 0.3),
    "mixed": ((6, 4), (2, 0), 0.5),
}


@pytest.mark.parametrize("name", CASES)
def test_the_fit_is_the_minimiser(name):
    shape, order, penalty = CASES[name]
    y = 3.0 + RNG.normal(size=shape)
    fit = filtered(y, penalty, order, tolerance=1e-10)
    assert 0 <= fit.gap <= 1e-10
    truth = by_bounded_least_squares(y, penalty, fit.operator)
    np.testing.assert_allclose(fit.values, truth, atol=1e-4)
    assert ((fit.values - truth) ** 2).sum() <= 2 * fit.gap * fit.objective + 1e-12
    by_hand = 0.5 * ((y - fit.values) ** 2).sum() + penalty * fit.operator.norm(fit.values)
    assert fit.objective == pytest.approx(by_hand, rel=1e-12)
    for v, s in zip(fit.dual, fit.signs, strict=True):
        assert np.abs(v).max() <= penalty
        np.testing.assert_allclose(v[s != 0], penalty * s[s != 0], atol=1e-9)
    np.testing.assert_allclose(y - fit.operator.adjoint(fit.dual), fit.values, atol=1e-4)


def test_weights_and_uneven_designs():
    y, c = RNG.normal(size=(6, 5)), RNG.uniform(0.5, 3, size=(6, 5))
    designs = (np.cumsum(RNG.uniform(0.5, 2, size=6)), None)
    fit = filtered(y, 0.5, 1, weights=c, designs=designs, tolerance=1e-10)
    assert 0 <= fit.gap <= 1e-10
    truth = by_bounded_least_squares(y, 0.5, fit.operator, c)
    np.testing.assert_allclose(fit.values, truth, atol=1e-4)


def test_weights_are_repeated_data():
    y = RNG.normal(size=(5, 5))
    whole = filtered(y, 0.6, 0, weights=np.full((5, 5), 3.0), tolerance=1e-10)
    np.testing.assert_allclose(whole.values, filtered(y, 0.2, 0, tolerance=1e-10).values, atol=1e-4)


def test_cells_without_data_are_filled_in_and_leave_no_certificate():
    i, j = np.indices((7, 6))
    truth = 2.0 * i - j + 1.0
    weights = np.ones((7, 6))
    weights[2:4, 3] = 0.0
    y = np.where(weights > 0, truth, np.nan)
    fit = filtered(y, 0.5, 1, weights=weights, tolerance=1e-8, most_iterations=5000)
    assert np.isnan(fit.gap)
    assert fit.residual <= 1e-8
    np.testing.assert_allclose(fit.values, truth, atol=1e-3)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_large_penalty_projects_on_polynomials(order):
    """At once where the lattice is small, and however large it is."""
    y = RNG.normal(size=(8, 7)) + 5.0
    x = np.meshgrid(np.arange(8) - 3.5, np.arange(7) - 3.0, indexing="ij")
    powers = np.polynomial.polynomial.polyvander2d(*x, [order, order]).reshape(y.size, -1)
    truth = (powers @ np.linalg.lstsq(powers, y.ravel(), rcond=None)[0]).reshape(y.shape)
    for penalty in (1e2, 1e6):
        fit = filtered(y, penalty, order)
        np.testing.assert_allclose(fit.values, truth, atol=1e-10)
        assert fit.iterations == 10
        assert fit.gap <= 1e-6
        assert not any(s.any() for s in fit.signs)
        assert tw.estimators.degrees_of_freedom(fit) == (order + 1) ** 2


def test_a_large_penalty_beside_a_small_one_and_on_a_line():
    y = RNG.normal(size=(2, 8, 7))
    both = filtered(y, np.array([0.3, 1e4]), 1, draws=True)
    np.testing.assert_allclose(both.at(0).values, filtered(y[0], 0.3, 1).values, atol=1e-10)
    np.testing.assert_allclose(both.at(1).values, both.operator.null_projection(y[1]), atol=1e-10)
    line = RNG.normal(size=40)
    fit = filtered(line, 1e5, 2)
    truth = np.polynomial.Polynomial.fit(np.arange(40), line, 2)(np.arange(40))
    np.testing.assert_allclose(fit.values, truth, atol=1e-10)
    assert fit.gap <= 1e-6


def test_equal_data_are_fitted_without_a_warning():
    fit = filtered(np.full((5, 6), 2.0), 1.0, 1)
    np.testing.assert_array_equal(fit.values, 2.0)
    assert fit.gap == 0


def test_draws_are_fitted_as_if_each_were_alone():
    y = RNG.normal(size=(3, 6, 5))
    lams = np.array([0.1, 0.5, 2.0])
    together = filtered(y, lams, 1, draws=True, tolerance=1e-9)
    for i in range(3):
        alone = filtered(y[i], lams[i], 1, tolerance=1e-9)
        np.testing.assert_allclose(together.at(i).values, alone.values, atol=1e-7)
        assert together.at(i).gap <= 1e-9


def test_a_start_saves_iterations_where_it_is_near_and_never_truth():
    y = RNG.normal(size=(16, 16)) + np.add.outer(np.arange(16) > 7, np.zeros(16))
    cold = filtered(y, 0.5, 1)
    warm = filtered(y, 0.5, 1, start=filtered(y, 0.55, 1))
    assert warm.gap <= 1e-6
    np.testing.assert_allclose(warm.values, cold.values, atol=1e-2)
    assert filtered(y, 0.5, 1, start=cold).iterations <= 20 < cold.iterations


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(scale):
    y = RNG.normal(size=(6, 6))
    one, other = filtered(y, 0.4, 1), filtered(scale * y + 10 * scale, scale * 0.4, 1)
    assert one.iterations == other.iterations
    np.testing.assert_allclose(other.values / scale - 10, one.values, atol=1e-8)


@pytest.mark.parametrize("scale", [-1e300, 1e-308])
def test_neither_do_units_whose_squares_no_float_holds(scale):
    y, c = RNG.normal(size=(2, 6, 5)), RNG.uniform(0.5, 3, size=(6, 5))
    one = filtered(y, 0.4, [2, 0], weights=c, draws=True)
    by = np.array([1.0, scale])[:, None, None]
    lams = 0.4 * np.abs([1.0, scale])
    other = filtered(by * y, lams, [2, 0], weights=c, draws=True)  # warnings are errors here
    np.testing.assert_array_equal(other.iterations, one.iterations)
    np.testing.assert_allclose(other.values / by, one.values, atol=1e-10)
    warm = filtered(y, 0.4, [2, 0], weights=c, draws=True, start=one)
    again = filtered(by * y, lams, [2, 0], weights=c, draws=True, start=other)
    np.testing.assert_array_equal(again.iterations, warm.iterations)
    assert (again.gap <= 1e-6).all()


def test_a_power_of_two_changes_no_bit():
    y = RNG.normal(size=(6, 6))
    one, other = filtered(y, 0.4, 1), filtered(np.ldexp(y, 600), np.ldexp(0.4, 600), 1)
    np.testing.assert_array_equal(np.ldexp(one.values, 600), other.values)
    np.testing.assert_array_equal(np.ldexp(one.dual[0], 600), other.dual[0])
    assert other.gap == one.gap
    assert np.isinf(other.objective)


def test_giving_up_says_the_gap_it_has():
    fit = filtered(RNG.normal(size=(20, 20)), 1.0, 2, most_iterations=3)
    assert fit.iterations == 3
    assert fit.gap > 1e-6


def test_what_is_not_looked_at_may_be_anything_but_data_may_not():
    with pytest.raises(tw.InputError, match="finite"):
        filtered([1.0, np.nan, 2.0], 1.0, 0)
    with pytest.raises(tw.InputError, match="penalties of 1e-200 to 1e-200 came for data of up to"):
        filtered([1.0, 3.0], 1e-200, 0)


@pytest.mark.parametrize(
    ("arguments", "how", "words"),
    [
        (([1.0, 2.0, 3.0], 0.0), {}, "penalty=0.0"),
        (([1.0, 2.0, 3.0], 1.0), {"tolerance": 0.0}, "tolerance"),
        (([1.0, 2.0, 3.0], 1.0), {"weights": [1.0, 1.0]}, "weights have shape"),
        (([1.0, 2.0, 3.0], 1.0), {"weights": [0.0, 0.0, 0.0]}, "one positive"),
        (([1.0, 2.0, 3.0], 1.0, 2), {}, "3 cells"),
        ((3.0, 1.0), {}, "0 dims"),
        (([1.0, 2.0, 3.0], 1.0), {"draws": True}, "draws first"),
    ],
)
def test_bad_arguments_end_in_a_sentence(arguments, how, words):
    with pytest.raises(tw.InputError, match=words):
        filtered(*arguments, **how)


def test_a_start_of_another_order_is_told():
    y = RNG.normal(size=(6, 6))
    with pytest.raises(tw.InputError, match="another lattice"):
        filtered(y, 1.0, 1, start=filtered(y, 1.0, 0))
