"""Waves on a half line: the scheme against a dense recurrence, echoes and media in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.problems import wave_equation

MEDIA = tw.problems.wave_media(jax.random.key(3), 4, steps=6, horizon=0.7)


def by_dense_matrix(masses, springs, dt, source):
    """Every state from the matrix of the scheme, one chain at a time."""
    difference = np.diff(np.eye(len(masses)), axis=0)
    pull = np.diag(1 / masses) @ difference.T @ np.diag(springs) @ difference
    states = [np.zeros(len(masses)), np.zeros(len(masses))]
    for f in source:
        force = np.zeros(len(masses))
        force[0] = f / masses[0]
        states.append(2 * states[-1] - states[-2] + dt**2 * (force - pull @ states[-1]))
    return np.array(states[1:])


@pytest.mark.parametrize("grid", ["travel-time", "physical"])
def test_the_scheme_is_that_of_the_dense_matrix(grid):
    rng = np.random.default_rng(0)
    source, dt = rng.normal(size=9), 0.3
    zeta = rng.uniform(0.5, 1.5, size=(2, 5))
    chain = (
        tw.problems.travel_time_grid(zeta, dt)
        if grid == "travel-time"
        else jax.vmap(lambda c: wave_equation._physical_grid(c, dt, 5))(jnp.asarray(1 / zeta))
    )
    wave = tw.problems.driven_wave(chain, dt, source)
    for i in range(2):
        masses, springs = np.asarray(chain.masses[i]), np.asarray(chain.springs[i])
        states = by_dense_matrix(masses, springs, dt, source)
        np.testing.assert_allclose(wave.heard[i], states[:-1, 0], atol=1e-13)
        np.testing.assert_allclose(wave.state[i], states[-1], atol=1e-13)


def test_masses_are_the_volume():
    """Half a cell at the end: masses before a node are the volume to the middle before it."""
    masses = tw.problems.travel_time_grid([2.0, 4.0, 1.0], 0.5).masses
    np.testing.assert_allclose(np.cumsum(masses), [0.5, 2.0, 3.25, 3.5])
    even = wave_equation._physical_grid(jnp.array([2.0, 2.0]), 0.5, 3)
    np.testing.assert_allclose(even.masses, [0.125, 0.25, 0.25, 0.125])  # dx / c^2, dx = 1
    np.testing.assert_allclose(even.springs, np.ones(3))


@pytest.mark.parametrize("grid", ["travel-time", "physical"])
def test_an_even_medium_is_a_chequerboard(grid):
    """-u_x = f gives u(0, t) = c int_0^t f: twice dt c at odd times, dt c on average."""
    media = tw.problems.layered_media([2.0], steps=5, horizon=1.0, grid=grid)
    np.testing.assert_allclose(media.responses, [np.tile([0.0, 0.8], 5)], atol=1e-13)


def test_echoes_of_two_layers():
    """R = (zeta_1 - zeta_2)/(zeta_1 + zeta_2) at the border, 1 at the end, which is driven."""
    media = tw.problems.layered_media([0.5, 1.25], steps=9, horizon=3.0)  # the border at tau = 1
    reflected = (2.0 - 0.8) / (2.0 + 0.8)
    times = np.arange(18)
    echoes = 1 + 2 * sum(reflected**k * (times > 2 * k * 3) for k in range(1, 4))
    np.testing.assert_allclose(media.responses[0], 2 * 0.5 / 3 * (times % 2) * echoes, atol=1e-13)


def test_what_is_heard_of_any_source_is_the_matrix_times_it():
    source = np.random.default_rng(1).normal(size=12)
    chain = tw.problems.travel_time_grid(MEDIA.slowness, MEDIA.time_step)
    heard = tw.problems.driven_wave(chain, MEDIA.time_step, source).heard
    np.testing.assert_allclose(MEDIA.operators @ source, heard, atol=1e-13)
    assert np.all(np.triu(MEDIA.operators, 1) == 0)
    pulse = np.array([0.5, 1.0, 0.5])  # translates of what is heard of a pulse
    translated = tw.problems.causal_toeplitz(MEDIA.operators[0] @ np.pad(pulse, (0, 9)))
    np.testing.assert_allclose(
        translated @ source, MEDIA.operators[0] @ np.convolve(source, pulse)[:12], atol=1e-13
    )


def test_the_end_hears_as_of_a_half_line():
    """What lies beyond half the time of hearing is not heard, and one cell nearer is."""
    heard = []
    for at in (5, 6):
        zeta = MEDIA.slowness[0].copy()
        zeta[at] *= 2
        chain = tw.problems.travel_time_grid(zeta, MEDIA.time_step)
        impulse = np.eye(1, 12)[0]
        heard.append(tw.problems.driven_wave(chain, MEDIA.time_step, impulse).heard)
    assert np.abs(heard[0] - MEDIA.responses[0]).max() > 1e-3
    np.testing.assert_allclose(heard[1], MEDIA.responses[0], atol=1e-14)


def test_volumes_and_positions_are_integrals_over_travel_time():
    media = MEDIA
    for speeds, volume, position in zip(
        media.speeds, media.volume([0.3, 2.0]), media.position([0.3, 2.0]), strict=True
    ):
        ends = np.cumsum(0.2 / speeds)

        def speed(y, speeds=speeds, ends=ends):
            return speeds[min(np.searchsorted(ends, y), 4)]

        for r, v, x in zip((0.3, 2.0), volume, position, strict=True):
            of = {"limit": 200, "points": [e for e in ends if e < r]}
            assert v == pytest.approx(scipy.integrate.quad(lambda y: 1 / speed(y), 0, r, **of)[0])
            assert x == pytest.approx(scipy.integrate.quad(speed, 0, r, **of)[0])
    assert media.volumes.shape == (4,)
    np.testing.assert_array_equal(media.volumes, media.volume(0.7))


def test_slowness_is_that_of_the_layer_in_the_middle_of_a_cell():
    media = tw.problems.layered_media([[1.0, 2.0], [4.0, 0.5]], steps=2, horizon=0.8)
    # The border lies at 1/2 and 1/8; cells of 0.4 have their middles at 0.2, 0.6, ...
    np.testing.assert_array_equal(media.slowness, [[1, *[0.5] * 5], [2.0] * 6])


def test_a_physical_grid_comes_near_as_it_gets_finer():
    """The sum of the response over an odd and an even time, which does not alternate."""

    def smooth(grid, steps):
        media = tw.problems.layered_media([0.5, 1.0], steps, 1.0, grid=grid)
        return np.cumsum(media.responses[0])[-1] * media.time_step

    exact = smooth("travel-time", 64)
    errors = [abs(smooth("physical", steps) - exact) for steps in (16, 64)]
    assert errors[1] < errors[0] / 2
    assert errors[1] < 0.05 * exact


def test_draws_are_those_of_their_key_and_within_bounds():
    again = tw.problems.wave_media(jax.random.key(3), 4, steps=6, horizon=0.7)
    np.testing.assert_array_equal(again.responses, MEDIA.responses)
    many = tw.problems.wave_media(jax.random.key(0), 400, steps=1, layers=3, slowest=2, fastest=3)
    assert many.speeds.shape == (400, 3)
    assert 2 <= many.speeds.min() < 2.01
    assert 2.99 < many.speeds.max() <= 3


def test_noise_has_the_size_asked_for():
    media = tw.problems.wave_media(jax.random.key(0), 300, steps=6)
    heard = media.noisy(jax.random.key(1), 0.1)
    added = heard.responses - media.responses
    scaled = added / np.abs(media.responses).max(1, keepdims=True)
    assert scaled.std() == pytest.approx(0.1, rel=0.05)
    assert abs(scaled.mean()) < 0.01
    np.testing.assert_array_equal(heard.volumes, media.volumes)
    with pytest.raises(InputError, match="level came as -1; give at least 0"):
        media.noisy(jax.random.key(1), -1)


def test_data_of_volumes_are_scaled_by_the_training_set():
    train = tw.problems.volume_data(MEDIA)
    norms = [np.linalg.svd(a, compute_uv=False)[0] for a in MEDIA.operators]
    assert train.description["scale"] == pytest.approx(np.mean(norms))
    test = tw.problems.volume_data(MEDIA, scale=train.description["scale"] / 2)
    np.testing.assert_allclose(test.inputs, 2 * train.inputs)
    np.testing.assert_array_equal(test.targets[:, 0], MEDIA.volumes)
    assert train.task == "regression"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tw.problems.layered_media([1.0, 0.0]), "give finite positive numbers"),
        (lambda: tw.problems.layered_media([1.0], grid="fine"), "travel-time, physical"),
        (lambda: tw.problems.layered_media([1.0], steps=0), "steps came as 0; give at least 1"),
        (lambda: tw.problems.layered_media([1.0], horizon=0.0), "horizon came as 0.0"),
        (lambda: tw.problems.wave_media(jax.random.key(0), 0), "count came as 0"),
        (
            lambda: tw.problems.wave_media(jax.random.key(0), 1, slowest=2.0),
            "speeds from 2.0 to 1.5 were asked for",
        ),
        (lambda: tw.problems.travel_time_grid([], 0.1), "one for each cell"),
        (lambda: tw.problems.volume_data(MEDIA, 0.0), "scale came as 0.0; give a positive number"),
    ],
)
def test_bad_input_is_told_in_a_sentence(call, said):
    with pytest.raises(InputError, match=said):
        call()
