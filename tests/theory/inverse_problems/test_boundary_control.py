"""Boundary control against the waves themselves, single solves and closed forms."""

import jax
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.theory.inverse_problems import boundary_control as bc

N, DT = 7, 0.15
RNG = np.random.default_rng(2)
ZETA = RNG.uniform(0.5, 2.0, size=(3, 2 * N + 2))  # independent in every cell
GRID = tw.problems.travel_time_grid(ZETA, DT)
RESPONSES = np.asarray(tw.problems.driven_wave(GRID, DT, np.eye(1, 2 * N)[0]).heard)
MASSES = np.asarray(GRID.masses)
OPERATORS = bc.control_operators(RESPONSES, DT)


def waves_at_horizon(source):
    return np.asarray(tw.problems.driven_wave(GRID, DT, source).state)


def test_inner_products_of_waves_are_known_at_the_end():
    """Blagovestchenskii's identity, and that with 1, for random sources."""
    f, h = RNG.normal(size=(2, N))
    u, v = waves_at_horizon(f), waves_at_horizon(h)
    np.testing.assert_allclose(f @ OPERATORS.K @ h, (MASSES * u * v).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(f @ OPERATORS.b, (MASSES * u).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(OPERATORS.K, np.swapaxes(OPERATORS.K, 1, 2), atol=1e-14)
    assert np.linalg.eigvalsh(OPERATORS.K).min() > 0


def test_the_time_average_is_the_integral():
    """dt^2 S f for f = 1 is 1/2 int_t^{2T-t} dt = T - t, half a step early."""
    S = bc.time_average(N)
    assert S.shape == (2 * N, 2 * N)
    np.testing.assert_array_equal(S.sum(1), [*range(N, 0, -1), *[0] * N])
    for n, m in ((0, 1), (0, 13), (2, 3), (6, 7)):
        assert S[n, m] == 1
    for n, m in ((0, 2), (0, 0), (2, 2), (6, 6), (7, 7)):
        assert S[n, m] == 0
    reverse = np.eye(2 * N)[::-1]
    maps = tw.problems.causal_toeplitz(RESPONSES[0])
    np.testing.assert_array_equal(reverse @ maps @ reverse, maps.T)


def test_volumes_are_the_masses_within_reach():
    curve = bc.volume_curve(OPERATORS)
    np.testing.assert_allclose(curve.masses, MASSES[:, :N], rtol=1e-11)
    np.testing.assert_allclose(curve.volume, np.cumsum(MASSES, -1)[:, :N], rtol=1e-11)
    np.testing.assert_allclose(curve.travel_time, (np.arange(N) + 0.5) * DT)
    assert np.all(curve.pivots > 0)


def test_one_factorisation_solves_for_every_reach():
    """Against single solves, with a penalty for each, and where noise has made K indefinite."""
    noisy = bc.control_operators(RESPONSES + 0.3 * RNG.normal(size=RESPONSES.shape), DT)
    assert np.linalg.eigvalsh(noisy.K).min() < 0
    for operators in (OPERATORS, noisy):
        penalty = np.array([1e-3, 1e-2, 3e-2])
        curve = bc.volume_curve(operators, penalty)
        for i in range(3):
            for k in range(1, N + 1):
                right = operators.b[N - k :]
                matrix = operators.K[i, N - k :, N - k :] + penalty[i] * np.eye(k)
                alone = right @ np.linalg.solve(matrix, right)
                assert curve.volume[i, k - 1] == pytest.approx(alone, rel=1e-9)
                positive = np.linalg.eigvalsh(matrix).min() > 0
                assert np.all(curve.pivots[i, :k] > 0) == positive


def test_silence_has_no_volume_and_a_penalty_gives_it_one():
    silent = bc.control_operators(np.zeros(6), DT)
    curve = bc.volume_curve(silent)
    assert not np.isfinite(curve.volume).any()
    assert np.all(curve.pivots[:1] == 0)
    np.testing.assert_allclose(bc.volume_curve(silent, 2.0).masses, silent.b[::-1] ** 2 / 2)


def test_the_wave_of_a_control_is_one_as_far_as_it_reaches():
    for reach in (2, N):
        sources = bc.control(OPERATORS, reach=reach)
        assert np.all(sources[:, : N - reach] == 0)
        for i, source in enumerate(sources):
            state = waves_at_horizon(source)[i]
            np.testing.assert_allclose(state[:reach], 1, atol=1e-11)
            np.testing.assert_allclose(state[reach:], 0, atol=1e-11)
    penalised = bc.control(OPERATORS, 1e-2)
    gradient = np.einsum("mij,mj->mi", OPERATORS.K, penalised) + 1e-2 * penalised - OPERATORS.b
    np.testing.assert_allclose(gradient, 0, atol=1e-13)


def test_the_speed_of_every_cell_is_recovered():
    found = bc.wave_speed(bc.volume_curve(OPERATORS))
    np.testing.assert_allclose(found.speed, 1 / ZETA[:, :N], rtol=1e-9)
    ends = np.cumsum(DT / ZETA[:, :N], -1)
    np.testing.assert_allclose(found.reach, ends[:, -1], rtol=1e-9)
    np.testing.assert_allclose(found.position, ends - DT / ZETA[:, :N] / 2, rtol=1e-9)


def test_smoothing_is_exact_for_parabolas_and_bears_noise():
    times = (np.arange(40) + 0.5) * 0.05
    curve = bc.VolumeCurve(times, 2 * times + times**2, np.full(40, np.nan), np.ones(40))
    np.testing.assert_allclose(bc.wave_speed(curve, 5).speed, 1 / (2 + 2 * times), rtol=1e-10)
    media = tw.problems.wave_media(jax.random.key(0), 6, steps=40)
    noisy = media.noisy(jax.random.key(1), 0.03)
    operators = bc.control_operators(noisy.responses, noisy.time_step)
    curve = bc.volume_curve(operators, 1e-3 * np.linalg.norm(operators.K, 2, (1, 2)))
    truth = 1 / media.slowness[:, :40]

    def error(window):
        found = bc.wave_speed(curve, window)
        return np.nanmean(np.abs(found.speed / truth - 1))

    assert error(7) < error(None) / 2


def test_a_volume_that_falls_gives_no_speed():
    times = (np.arange(3) + 0.5) * 0.1
    masses = np.array([0.05, 0.02, 0.1])
    found = bc.wave_speed(bc.VolumeCurve(times, np.cumsum(masses), masses, np.ones(3)))
    np.testing.assert_allclose(found.speed, [1, np.nan, 1 / 2.6])
    assert np.isnan(found.position[1:]).all()
    assert np.isnan(found.reach)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: bc.control_operators([1.0, 2.0, 3.0], 0.1), "give an even number of times"),
        (lambda: bc.control_operators([1.0, 2.0], 0.0), "time_step came as 0.0"),
        (lambda: bc.volume_curve(OPERATORS, -1.0), "penalty came as -1.0; give at least 0"),
        (lambda: bc.volume_curve(OPERATORS, [1.0, 1.0]), "give one for each"),
        (lambda: bc.control(OPERATORS, 0.0, 8), "reach came as 8; give 1 to 7"),
        (lambda: bc.control(bc.control_operators(np.zeros(4), 0.1)), "give a penalty above 0"),
        (lambda: bc.time_average(0), "steps came as 0"),
        (lambda: bc.wave_speed(bc.volume_curve(OPERATORS), 4), "an odd number from 3 to 7"),
    ],
)
def test_bad_input_is_told_in_a_sentence(call, said):
    with pytest.raises(InputError, match=said):
        call()
