"""Bounds of staying and of the gap: values of the specification, moments, adversarial cases."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.theory.landscape import spectral_bounds as bounds
from thalweg.theory.landscape import stagnation

ETA, SIGMA = 0.1, 0.5


@pytest.mark.parametrize(
    ("k", "radius", "exit_bound"),
    [(2, 0.7, 0.064805), (2, 0.8, 0.001579), (5, 0.8, 0.066204), (10, 0.9, 0.105927),
     (10, 1.0, 0.002777)],
)  # fmt: skip
def test_exit_bounds_of_the_specification(k: int, radius: float, exit_bound: float) -> None:
    found = stagnation.staying_probability(500, radius, 0.2, k, ETA, SIGMA, 1.0, 2.0)
    assert 1 - found.probability == pytest.approx(exit_bound, abs=1e-6)


def test_the_step_of_the_proof() -> None:
    """E exp(L |v + eta sigma g|^2) = q^(-k/2) exp(L |v|^2/q), by quadrature in two dimensions."""
    s, r2, k = 0.4, 0.84, 2
    q, rate = 1 - s * (1 - r2), s * (1 - r2) / (2 * (ETA * SIGMA) ** 2)
    x, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    v = np.array([0.1, -0.05])
    u = v + ETA * SIGMA * np.stack(np.meshgrid(x, x, indexing="ij"), -1)
    mean = np.einsum("i,j,ij->", w, w, np.exp(rate * (u**2).sum(-1)))
    assert mean == pytest.approx(q ** (-k / 2) * np.exp(rate * v @ v / q), rel=1e-8)


def test_one_exact_step_to_the_set_is_bounded_too() -> None:
    """eta c = 1 = eta M: r^2 = 0, each step ends at eta sigma |xi|, whatever came before."""
    bound = stagnation.staying_probability(100, 0.25, 0.0, 1, 1.0, 0.05, 1.0, 1.0)
    assert -math.inf < bound.log_exit < math.inf
    assert 0.9 < bound.probability < math.erf(5 / math.sqrt(2)) ** 100


def test_an_error_of_the_gradient_widens_the_bound_continuously() -> None:
    plain = stagnation.staying_probability(500, 1.0, 0.2, 2, ETA, SIGMA, 1.0, 1.5)
    some = [
        stagnation.staying_probability(500, 1.0, 0.2, 2, ETA, SIGMA, 1.0, 1.5, e).log_exit
        for e in (1e-6, 0.01, 0.1, 0.3)
    ]
    assert plain.log_exit < some[0] < plain.log_exit + 0.05
    assert some == sorted(some)
    assert stagnation.staying_probability(500, 1.0, 0.2, 2, 1.0, SIGMA, 1.0, 2.0).probability == 0


def test_the_bound_holds_with_a_biased_gradient() -> None:
    """Descent on h u^2/2 + e u in NumPy: the sample's gradient is off by e."""
    rng, e, radius, steps = np.random.default_rng(0), 0.1, 0.8, 200
    u, out = np.zeros((4000, 1)), np.zeros(4000, bool)
    for _ in range(steps):
        u = u - ETA * (u + e + SIGMA * rng.normal(size=u.shape))
        out |= np.abs(u[:, 0]) > radius
    bound = stagnation.staying_probability(steps, radius, 0.0, 1, ETA, SIGMA, 1.0, 1.0, e)
    assert 0.5 < bound.probability < 1
    assert 1 - out.mean() > bound.probability


def test_variances_are_those_of_the_recursion() -> None:
    h, variance = np.array([0.0, 1.0, 2.0, 19.0]), np.zeros(4)
    for _ in range(30):
        variance = (1 - ETA * h) ** 2 * variance + (ETA * SIGMA) ** 2
    np.testing.assert_allclose(stagnation.noisy_variance(h, ETA, SIGMA, 30), variance, rtol=1e-12)
    assert np.isinf(stagnation.noisy_variance([0.0, 20.0, 21.0], ETA, SIGMA)).all()
    nearly_flat = stagnation.noisy_variance([1e-15, 1e-12], ETA, SIGMA)
    np.testing.assert_allclose(nearly_flat, ETA * SIGMA**2 / 2 / np.array([1e-15, 1e-12]), 1e-12)
    few = stagnation.noisy_variance([1e-15, 10.0], ETA, SIGMA, 3)  # a = 1, and 0: no memory
    np.testing.assert_allclose(few, (ETA * SIGMA) ** 2 * np.array([3, 1]), 1e-12)


def test_the_perturbation_bound_is_never_broken_and_nearly_attained() -> None:
    rng = np.random.default_rng(1)

    def net(weights: list[np.ndarray], x: np.ndarray) -> np.ndarray:
        for A in weights[:-1]:
            x = np.maximum(A @ x, 0)
        return weights[-1] @ x

    for _ in range(300):
        widths = rng.integers(1, 7, size=rng.integers(2, 6))
        left = [rng.normal(size=(b, a)) for a, b in itertools.pairwise(widths)]
        right = [A + 10 ** rng.uniform(-3, 0) * rng.normal(size=A.shape) for A in left]
        x = rng.normal(size=widths[0])
        apart = np.linalg.norm(net(left, x) - net(right, x))
        bound = bounds.perturbation_bound(left, right) * np.linalg.norm(x)
        assert apart <= bound * (1 + 1e-10)
    u, d = np.full(4, 0.5), 1e-6
    tight = [2 * np.outer(u, u)] * 3, [(2 - d) * np.outer(u, u)] * 3
    ratio = np.linalg.norm(net(tight[0], u) - net(tight[1], u)) / bounds.perturbation_bound(*tight)
    assert ratio == pytest.approx(1 - d / 2, abs=1e-9)


def test_gap_bounds() -> None:
    """More examples help; zero norms are no division; the entropy bound's minimum is one."""
    s, b = np.array([1.5, 2.0]), np.array([3.0, 1.0])
    grid = np.geomspace(1e-9, 100, 200_000)
    n, width = 1e4, 16
    R = n * np.log(2 * width**2) * np.prod(s) ** 2 * np.sum((b / s) ** (2 / 3)) ** 3
    brute = np.min(4 * grid / n**0.5 + 12 / n * R**0.5 * np.log(n**0.5 / grid))
    expected = 2 * brute + 3 * np.sqrt(np.log(4 / 0.05) / (2 * n))
    assert bounds.entropy_gap_bound(s, b, n, width) == pytest.approx(expected, rel=1e-6)
    gaps = [bounds.tube_gap_bound(s, [0.1, 0.0], n) for n in (10, 100, 1000)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[2] - gaps[1] == pytest.approx(
        np.sqrt(np.log(40) / 2000) - np.sqrt(np.log(40) / 200)
    )
    assert bounds.tube_gap_bound([0.0, 2.0], [0.0, 0.0], 10) > 0
    by_hand = 2 * 1.6 * 2.0 * (0.1 / 1.6)
    assert gaps[0] - np.sqrt(np.log(40) / 20) == pytest.approx(by_hand)


def test_what_is_out_of_range_is_told() -> None:
    with pytest.raises(InputError, match="give a distance below"):
        stagnation.staying_probability(10, 0.5, 0.6, 1, ETA, SIGMA, 1.0, 1.0)
    with pytest.raises(InputError, match="below the convexity"):
        stagnation.staying_prediction(1.0, 0.0, 1, ETA, SIGMA, 2.0, 1.0)
    with pytest.raises(InputError, match="curvatures came with NaN"):
        stagnation.noisy_variance([1.0, np.nan], ETA, SIGMA)
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(InputError, match="give numbers from 0 on"):
            bounds.tube_gap_bound([1.0, bad], [0.1, 0.1], 100)
        with pytest.raises(InputError, match="give norms above 0"):
            bounds.entropy_gap_bound([1.0, bad], [0.1, 0.1], 100, 8)
    with pytest.raises(InputError, match="give a list of arrays of real numbers"):
        bounds.spectral_norms([["a"]])
    with pytest.raises(InputError, match="of one shape"):
        bounds.perturbation_bound([np.eye(2)], [np.eye(3)])
