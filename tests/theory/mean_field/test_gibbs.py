"""The Gibbs law of neurons against brute quadrature in three dimensions and its own equations."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from thalweg.core.errors import InputError
from thalweg.theory.mean_field.gibbs import gibbs_net
from thalweg.theory.mean_field.neuron_circle import circle_rule, neuron_arcs

TWO = ([-10.0, 10.0], [2.0, 2.0])
PLATEAUS = (
    np.add.outer([1.0, 2.0, 3.0], [0.0, 0.1, 0.2, 0.3]).ravel(),
    np.repeat([0.0, 1.0, 0.0], 4),
)


def random_data(seed):
    rng = np.random.default_rng(seed)
    M = int(rng.integers(1, 8))
    return np.sort(rng.uniform(-3, 3, M)), rng.normal(size=M)


def brute(net, side=3.0, points=81):
    """Z, the predictor and the second moments by the trapezoidal rule in (a, w, b)."""
    grid = np.linspace(-side, side, points)
    a, w, b = np.meshgrid(grid, grid, grid, indexing="ij")
    x, lam, beta = net.arcs.x, net.weight_decay, net.inverse_temperature
    neurons = [a * np.maximum(w * t + b, 0) for t in x]
    psi = sum(r * s for r, s in zip(net.R, neurons, strict=True))
    rho = np.exp(-beta * (psi + lam / 2 * (a**2 + w**2 + b**2)))
    mean = [np.sum(s * rho) / np.sum(rho) for s in (*neurons, a**2, w**2 + b**2)]
    return np.sum(rho) * (grid[1] - grid[0]) ** 3, mean[: len(x)], mean[len(x) :]


def test_against_quadrature_in_three_dimensions():
    """Smooth in a, kinks in (w, b): the trapezoid is good to its step squared."""
    net = gibbs_net(*TWO, 1.0, 20.0)
    Z, outputs, moments = brute(net)
    np.testing.assert_allclose(np.exp(net.log_partition), Z, rtol=1e-3)
    np.testing.assert_allclose(net.predictor(TWO[0]), outputs, rtol=1e-3)
    np.testing.assert_allclose(net.second_moments, moments, rtol=1e-3)


def test_against_quadrature_where_nothing_is_symmetric():
    net = gibbs_net([-0.5, 0.3, 1.2], [2.0, -3.0, 1.5], 0.5, 6.0)
    Z, outputs, moments = brute(net, side=8.0, points=121)
    np.testing.assert_allclose(np.exp(net.log_partition), Z, rtol=2e-3)
    np.testing.assert_allclose(net.predictor(net.arcs.x), outputs, rtol=5e-3)
    np.testing.assert_allclose(net.second_moments, moments, rtol=2e-3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("beta", "rounding"), [(3.0, 1e-12), (1e3, 1e-11), (1e5, 1e-8)])
def test_the_law_is_that_of_its_own_prediction(seed, beta, rounding):
    """Peaks of the law magnify the last digit of R."""
    x, y = random_data(seed)
    net = gibbs_net(x, y, 0.03, beta)
    np.testing.assert_allclose(net.predictor(x), y + len(x) * net.R, atol=rounding)
    assert net.error < rounding
    assert net.arcs.largest(net.R, 0.03) < 1


def test_no_other_law_has_less_free_energy():
    """The dual at any R with |h| < 1 is a lower bound on the minimum, reached at the optimum."""
    x, y = PLATEAUS
    net = gibbs_net(x, y, 0.003, 100.0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = net._replace(R=net.R + 1e-5 * rng.normal(size=len(x)))
        gap = 1 - circle_rule(net.arcs, other.R, 0.003).h ** 2
        weight = circle_rule(net.arcs, other.R, 0.003).weight
        log_z = 0.5 * np.log(2 * np.pi / 0.3) + np.log(np.sum(weight / gap) / 0.3)
        assert other._replace(log_partition=log_z).free_energy < net.free_energy


def test_entropy_is_minus_the_mean_log_density():
    net = gibbs_net([-0.5, 0.3, 1.2], [0.8, -1.1, 0.4], 0.7, 6.0)
    grid = np.linspace(-5, 5, 101)
    a, w, b = np.meshgrid(grid, grid, grid, indexing="ij")
    psi = sum(r * a * np.maximum(w * t + b, 0) for r, t in zip(net.R, net.arcs.x, strict=True))
    log_rho = -6.0 * (psi + 0.35 * (a**2 + w**2 + b**2)) - net.log_partition
    entropy = -np.sum(np.exp(log_rho) * log_rho) * 0.1**3
    np.testing.assert_allclose(net.entropy, entropy, rtol=2e-3)
    parts = net.risk + net.penalty - net.entropy / 6.0
    np.testing.assert_allclose(net.free_energy, parts, rtol=1e-12)


@pytest.mark.parametrize("beta", [100.0, 1e4])
def test_curvature_is_the_second_derivative(beta):
    x, y = PLATEAUS
    net = gibbs_net(x, y, 0.003, beta)
    at, step = np.array([-0.7, 1.15, 1.72, 2.15, 2.6, 3.31]), 1e-4
    found = net.predictor(np.concatenate([at - step, at, at + step])).reshape(3, -1)
    second = (found[0] - 2 * found[1] + found[2]) / step**2
    np.testing.assert_allclose(net.curvature(at), second, rtol=1e-3, atol=2e-5)


def test_predictor_by_adaptive_quadrature():
    """Between, beyond and at inputs, where the integrand has a kink of its own."""
    net = gibbs_net(*PLATEAUS, 0.003, 300.0)
    R, lam, arcs = net.R, 0.003, net.arcs
    rule = net.rule
    xi = np.sum(rule.weight / (1 - rule.h**2))
    for at in (-40.0, 0.2, 1.05, 2.1, 2.6, 30.0):

        def integrand(alpha, at=at):
            h = (arcs.features(alpha) @ R)[0] / lam
            return h / (1 - h**2) ** 2 * max(at * np.cos(alpha) + np.sin(alpha), 0.0)

        own = -np.arctan(at) + np.array([0, np.pi])
        ends = np.sort(
            np.concatenate([arcs.edges, np.where(own < arcs.edges[0], own + np.pi, own)])
        )
        parts = [quad(integrand, p, q, epsabs=1e-11)[0] for p, q in pairwise(ends)]
        expected = -2 / (300.0 * lam * xi) * np.sum(parts)
        np.testing.assert_allclose(net.predictor(at)[0], expected, rtol=1e-8, atol=1e-10)


def test_the_rule_resolves_peaks():
    """int d alpha/(1 - C^2 cos^2 alpha) = 2 pi/sqrt(1 - C^2): one input at 0, h = C sin alpha."""
    arcs = neuron_arcs([0.0])
    for C in (0.3, 0.999, 1 - 1e-8):
        rule = circle_rule(arcs, [C], 1.0)
        half = np.pi + np.pi / np.sqrt((1 - C) * (1 + C))  # where the input is not seen, h = 0
        found = np.sum(rule.weight / ((1 - rule.h) * (1 + rule.h)))
        np.testing.assert_allclose(found, half, rtol=1e-9)


def test_a_start_changes_nothing_but_the_way():
    x, y = PLATEAUS
    hot, cold = gibbs_net(x, y, 0.003, 1e3), gibbs_net(x, y, 0.003, 1e4)
    np.testing.assert_allclose(gibbs_net(x, y, 0.003, 1e4, start=hot.R).R, cold.R, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: gibbs_net([1.0, 0.0], [0.0, 1.0], 1.0, 1.0), "ascending"),
        (lambda: gibbs_net([0.0, 1.0], [0.0], 1.0, 1.0), "one finite number"),
        (lambda: gibbs_net([0.0, 1.0], [0.0, 1.0], 0.0, 1.0), "weight_decay came as"),
        (lambda: gibbs_net([0.0, 1.0], [0.0, 1.0], 1.0, np.inf), "inverse_temperature came as"),
        (lambda: gibbs_net([0.0, 1.0], [0.0, 1.0], 1.0, 1.0, start=[9.0, 9.0]), "start is no R"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises(InputError, match=word):
        call()
