"""The zero-temperature net against closed forms, a general solver and the limit of Gibbs laws."""

from collections import Counter

import numpy as np
import pytest
from scipy.optimize import minimize

from thalweg.core.errors import InputError
from thalweg.models import knots_of_gaps
from thalweg.theory.mean_field.cluster_set import cluster_polynomials
from thalweg.theory.mean_field.cold import cold_net
from thalweg.theory.mean_field.gibbs import gibbs_net

PLATEAUS = (
    np.add.outer([1.0, 2.0, 3.0], [0.0, 0.1, 0.2, 0.3]).ravel(),
    np.repeat([0.0, 1.0, 0.0], 4),
)
SEVEN = (np.arange(2.0, 9.0), np.array([-1.0, -2, -1, -1, -2, -1, 1]))


def random_data(rng):
    M = int(rng.integers(3, 9))
    return np.sort(rng.uniform(-3, 3, M)), rng.normal(size=M), 10 ** rng.uniform(-3, -1)


@pytest.mark.parametrize("lam", [0.1, 1.0, 9.0])
def test_two_points_in_closed_form(lam):
    net = cold_net([-10.0, 10.0], [2.0, 2.0], lam)
    root = np.sqrt(101)
    np.testing.assert_allclose(net.knots, [-0.1, 0.1], rtol=1e-9)
    np.testing.assert_allclose(net.R, -lam / root, rtol=1e-12)
    np.testing.assert_allclose(net.coefficients, (2 - 2 * lam / root) / root, rtol=1e-9)
    np.testing.assert_allclose(net.objective, 4 * lam / root - 2 * lam**2 / 101, rtol=1e-12)
    polynomials = cluster_polynomials(net.arcs.x, net.R, lam)
    at = np.linspace(-9, 9, 7)
    np.testing.assert_allclose(polynomials.at(at)[0], (10 * at + 1) ** 2 / 101, rtol=1e-9)


def test_so_much_decay_leaves_nothing():
    net = cold_net([-10.0, 10.0], [2.0, 2.0], 10.1)  # lambda above sqrt(101)
    assert len(net.coefficients) == len(net.knots) == 0
    np.testing.assert_allclose(net.objective, 2.0)
    assert cold_net([0.0, 1.0], [0.0, 0.0], 0.1).objective == 0.0


@pytest.mark.parametrize(
    ("data", "lam", "knots"),
    [
        (PLATEAUS, 0.003, [-0.476, 2.1, 2.15024]),
        (PLATEAUS, 1e-4, [1.3, 2.004, 2.29217, 3.0]),
        (SEVEN, 1e-4, [-0.249, 3, 4, 4.987, 6.333]),
        (SEVEN, 0.003, [-0.2496, 3, 4, 4.533, 6.324]),
    ],
)
def test_knots_that_were_derived_elsewhere(data, lam, knots):
    np.testing.assert_allclose(cold_net(*data, lam).knots, knots, atol=1e-3)


def test_optimality_and_the_count_of_knots():
    """Primal equals dual, no direction is violated, at most three knots a gap, one inside then."""
    rng, seen, inside = np.random.default_rng(3), Counter(), 0
    for _ in range(60):
        x, y, lam = random_data(rng)
        net = cold_net(x, y, lam)
        assert abs(net.gap) < 1e-12
        assert net.violation < 1e-11
        np.testing.assert_allclose(net.predictor(x), y + len(x) * net.R, atol=1e-9)
        own = np.concatenate(
            [net.touching_knots[(x[0] < net.touching_knots) & (net.touching_knots < x[-1])], x]
        )
        assert cluster_polynomials(x, net.R, lam).at(own).min() > -1e-11 * (1 + 9)
        gaps = knots_of_gaps(net.touching_knots, x, 1e-6 / np.ptp(x))
        seen.update(zip(gaps.total.tolist(), gaps.interior.tolist(), strict=True))
    assert set(seen) <= {(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 1)}
    inside = sum(count for (_, interior), count in seen.items() if interior)
    assert inside > 20


def test_against_a_general_solver():
    """The same measure on a fine circle, by a bounded quasi-Newton method: never below it."""
    x, y, lam = random_data(np.random.default_rng(5))
    net = cold_net(x, y, lam)
    alpha = np.concatenate([np.linspace(0, 2 * np.pi, 400), net.directions])
    features = np.maximum(np.outer(np.cos(alpha), x) + np.sin(alpha)[:, None], 0)
    both = np.concatenate([features, -features])

    def objective(c):
        misfit = c @ both - y
        return misfit @ misfit / (2 * len(x)) + lam * c.sum(), both @ misfit / len(x) + lam

    found = minimize(
        objective,
        np.zeros(len(both)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * len(both),
        options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-9},
    )
    assert net.objective - 1e-9 <= found.fun < net.objective * (1 + 1e-4)


def test_it_is_the_limit_of_low_temperature():
    """The excess of risk and penalty falls as 1/beta; the net follows, as their root or faster."""
    at = np.linspace(0.5, 3.8, 50)
    cold = cold_net(*PLATEAUS, 0.003)
    nets = [gibbs_net(*PLATEAUS, 0.003, beta) for beta in (1e3, 1e4, 1e5, 1e6)]
    excess = np.array([net.risk + net.penalty - cold.objective for net in nets])
    far = np.array([np.abs(net.predictor(at) - cold.predictor(at)).max() for net in nets])
    assert np.all(excess[:-1] / excess[1:] > 10)
    assert excess[-1] > 0
    assert np.all(far[:-1] / far[1:] > 1.8)
    assert far[-1] < 1e-3


def test_cluster_set_is_where_a_quadratic_is_negative():
    rng = np.random.default_rng(0)
    x, R = np.sort(rng.uniform(-3, 3, 5)), rng.normal(size=5)
    polynomials = cluster_polynomials(x, R, 2.0)
    pieces = polynomials.cluster_set(-6.0, 6.0)
    assert len(pieces) == 6
    fine = np.linspace(-6, 6, 20_001)
    inside = np.zeros(len(fine), bool)
    for gap in pieces:
        assert len(gap) <= 3
        for low, high in gap:
            inside |= (fine >= low) & (fine <= high)
    np.testing.assert_array_equal(inside, polynomials.at(fine).min(axis=0) <= 0)
    assert 0 < inside.mean() < 1


def test_polynomials_are_one_less_the_potential_squared():
    rng = np.random.default_rng(1)
    x, R, lam = np.sort(rng.uniform(-3, 3, 4)), rng.normal(size=4), 0.8
    at = rng.uniform(-4, 4, 30)
    right = np.maximum(x - at[:, None], 0) @ R / lam / np.sqrt(1 + at**2)
    left = np.maximum(at[:, None] - x, 0) @ R / lam / np.sqrt(1 + at**2)
    expected = (1 - np.stack([right, left]) ** 2) * (1 + at**2)
    np.testing.assert_allclose(
        cluster_polynomials(x, R, lam).at(at), expected, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: cold_net([0.0, 0.0], [1.0, 2.0], 1.0), "distinct"),
        (lambda: cold_net([0.0, 1.0], [1.0, np.nan], 1.0), "finite number"),
        (lambda: cold_net([0.0, 1.0], [1.0, 2.0], -1.0), "weight_decay came as"),
        (lambda: cluster_polynomials([0.0, 1.0], [1.0], 1.0), "R came with shape"),
        (lambda: cluster_polynomials([0.0, 1.0], [1.0, 2.0], 0.0), "weight_decay came as"),
        (lambda: cluster_polynomials([0.0, 1.0], [1, 2], 1.0).cluster_set(0.5), "low and high"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises(InputError, match=word):
        call()


def test_an_input_where_the_net_almost_bends_is_no_knot():
    # |h| is 1 - 6e-9 at the fourth input, and 1 at a knot 1e-4 beside it.
    rng = np.random.default_rng(0)
    x, y, lam = [random_data(rng) for _ in range(1711)][-1]
    net = cold_net(x, y, lam)
    least = np.min(cluster_polynomials(x, net.R, lam).at(x[3:4], 4))
    assert least > 1e-8
    beside = np.abs(net.touching_knots - x[3])
    assert np.min(beside) > 1e-5
    assert np.sum(beside < 1e-3) == 1
