"""Boundary control: identities to rounding, a speed reconstructed, iterations, noise, grids."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
import xarray as xr

from thalweg.dynamics import gradient_descent
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import mean_and_error, over, predicted, table
from thalweg.problems import causal_toeplitz, driven_wave, travel_time_grid, wave_media
from thalweg.theory.inverse_problems import boundary_control as bc
from thalweg.theory.inverse_problems import time_reversal as tr

STEPS, HORIZON = 40, 1.0
SIZES = (7, 20, 40)
VOLUME, SPEED = "time^2/length", "length/time"
NOISE, PENALTY, WINDOW = 0.03, 1e-4, 7  # of the noisy reconstruction; the penalty over |K|
HEARD = 20  # how often in noise
NOISES = (0.0, 0.01, 0.1)
PENALTIES = tuple(float(f"{p:.3g}") for p in np.logspace(-8, -1, 15))


def smooth_and_jump(travel_time: np.ndarray) -> np.ndarray:
    """The slowness 1/(1 + 0.3 sin 5y + 0.2 [y > 0.4])."""
    return np.asarray(1 / (1 + 0.3 * np.sin(5 * travel_time) + 0.2 * (travel_time > 0.4)))


def heard(zeta: np.ndarray, dt: float, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is heard of a source, and the wave then."""
    wave = driven_wave(travel_time_grid(zeta, dt), dt, source)
    return np.asarray(wave.heard), np.asarray(wave.state)


def _impulse(steps: int) -> np.ndarray:
    return np.eye(1, 2 * steps)[0]


@experiment("A0", Draws(20), smoke={"draws": 2}, full={"draws": 200})
def identities(lab: Lab, size: Draws) -> xr.Dataset:
    """What holds to rounding, in media whose cells have independent speeds."""
    words = {
        "toeplitz": "largest |difference| of what is heard and the Toeplitz matrix, relative",
        "symmetry": "largest |K - K^T| over |K|",
        "least": "smallest eigenvalue of K over |K|",
        "waves": "|f . K h - <u^f, u^h>| over the norms of the waves",
        "ones": "|b . f - <u^f, 1>| over the norms of the wave and of 1",
        "volumes": "largest relative error of a volume",
        "slowness": "largest relative error of a slowness",
    }

    def of(steps: int, draw: int) -> xr.Dataset:
        found = _identities(steps, np.random.default_rng(draw))
        return table({"": {name: (found[name], "1", said) for name, said in words.items()}})

    return over(of, steps=(SIZES, "1", "N, time steps to the horizon"), draw=range(size.draws))


def _identities(N: int, rng: np.random.Generator) -> dict[str, float]:
    dt, zeta = HORIZON / N, 1 / rng.uniform(0.5, 1.5, size=2 * N + 2)
    masses = np.asarray(travel_time_grid(zeta, dt).masses)
    response, _ = heard(zeta, dt, _impulse(N))
    source = rng.normal(size=2 * N)
    sound, _ = heard(zeta, dt, source)
    operators = bc.control_operators(response, dt)
    K, b, _ = operators
    f, h = rng.normal(size=(2, N))
    u, v = heard(zeta, dt, f)[1], heard(zeta, dt, h)[1]

    def inner(left: np.ndarray, right: np.ndarray) -> float:
        return float((masses * left * right).sum())

    one = np.where(u != 0, 1.0, 0.0)
    eigenvalues = np.linalg.eigvalsh((K + K.T) / 2)
    curve = bc.volume_curve(operators)
    exact = np.cumsum(masses)[:N]
    return {
        "toeplitz": np.abs(causal_toeplitz(response) @ source - sound).max() / np.abs(sound).max(),
        "symmetry": np.abs(K - K.T).max() / np.abs(eigenvalues).max(),
        "least": eigenvalues[0] / np.abs(eigenvalues).max(),
        "waves": abs(f @ K @ h - inner(u, v)) / np.sqrt(inner(u, u) * inner(v, v)),
        "ones": abs(f @ b - inner(u, one)) / np.sqrt(inner(u, u) * inner(one, one)),
        "volumes": np.abs(curve.volume / exact - 1).max(),
        "slowness": np.abs(zeta[:N] * bc.wave_speed(curve).speed - 1).max(),
    }


def _medium() -> tuple[np.ndarray, np.ndarray, bc.ControlOperators]:
    """Slowness, response and operators of the medium that is smooth with a jump."""
    dt = HORIZON / STEPS
    zeta = smooth_and_jump((np.arange(2 * STEPS + 2) + 0.5) * dt)
    response, _ = heard(zeta, dt, _impulse(STEPS))
    return zeta, response, bc.control_operators(response, dt)


@experiment("A1")
def reconstruction(lab: Lab) -> xr.Dataset:
    """The speed of a medium that is smooth with a jump, from its sound with noise and without."""
    zeta, response, operators = _medium()
    dt, K = operators.time_step, operators.K
    exact = np.cumsum(travel_time_grid(zeta, dt).masses)[:STEPS]
    curve = bc.volume_curve(operators)
    found = bc.wave_speed(curve)
    xi = np.random.default_rng(0).normal(size=(HEARD, len(response)))
    noisy = bc.control_operators(response + NOISE * np.abs(response).max() * xi, dt)
    rough = bc.volume_curve(noisy, PENALTY * np.linalg.norm(noisy.K, 2, (1, 2)))
    smoothed, raw = bc.wave_speed(rough, WINDOW), bc.wave_speed(rough)

    def off(speed: np.ndarray) -> np.ndarray:
        wrong = np.nan_to_num(np.abs(speed * zeta[:STEPS] - 1), nan=np.inf)
        return np.asarray(np.median(wrong, axis=-1))

    ends = np.cumsum(dt / zeta[:STEPS])
    eigenvalues, words = np.linalg.eigvalsh(K), "median relative error over cells in noise"
    return table(
        {
            "cell": {
                "travel_time": (curve.travel_time, "time", "travel time"),
                "volume": (curve.volume, VOLUME, "volume V, found"),
                "volume_theory": (exact, VOLUME, "volume V of the medium"),
                "speed_theory": (1 / zeta[:STEPS], SPEED, "speed c of the medium"),
                "position_theory": (ends - dt / zeta[:STEPS] / 2, "length", "position x"),
                "speed": (found.speed, SPEED, "speed c, found"),
                "position": (found.position, "length", "position x, found"),
                "speed_noisy": (smoothed.speed[0], SPEED, "speed c, found in noise"),
                "position_noisy": (smoothed.position[0], "length", "position x, found in noise"),
            },
            "draw": {
                "off": (off(smoothed.speed), "1", f"{words}, smoothed"),
                "off_raw": (off(raw.speed), "1", f"{words}, by recursion"),
            },
            "": {
                "reach": (found.reach, "length", "x at T, found"),
                "reach_theory": (ends[-1], "length", "x at T of the medium"),
                "smallest": (eigenvalues[0], "time^2 length", "smallest eigenvalue of K"),
                "largest": (eigenvalues[-1], "time^2 length", "largest eigenvalue of K"),
            },
        },
        cell=range(STEPS),
        draw=range(HEARD),
    )


@experiment("A2")
def iteration(lab: Lab) -> xr.Dataset:
    """Landweber's iteration on the same medium, as gradient descent, against its spectrum."""
    zeta, _, operators = _medium()
    norm = float(np.linalg.norm(operators.K, 2))
    penalty = 1e-4 * norm
    counts = np.unique(np.round(np.append(0, np.logspace(0, 4, 41))).astype(int))
    times, problem = counts / norm, tr.control_problem(operators, penalty)
    run = lab.run("time-reversal", problem, gradient_descent(1 / norm), times=times)
    f = np.asarray(run.parameters.values[0])
    limit = bc.control(operators, penalty)
    volume = float(np.sum(travel_time_grid(zeta, operators.time_step).masses[:STEPS]))
    by_hand = tr.landweber(operators, 100, penalty)
    away = np.linalg.norm(f - limit, axis=1) / np.linalg.norm(limit)
    bound = tr.landweber_bound(operators, penalty).at(times)
    off = np.abs(f[counts == 100][0] - by_hand).max() / np.abs(by_hand).max()
    words = "relative difference of 100 steps from the iteration as the paper has it"
    found = table(
        {
            "time": {
                "distance": (away, "1", "distance |f - f_r| / |f_r|"),
                "bound": (bound, "1", "bound by the smallest eigenvalue"),
                "volume_error": (
                    np.abs(f @ operators.b / volume - 1), "1", "relative error of the volume",
                ),
                "count": (counts, "1", "iterations"),
            },
            "": {"by_hand": (off, "1", words)},
        },
        time=times,
    )  # fmt: skip
    return predicted(found, tr.landweber_distance(operators, penalty))


@dataclass(frozen=True)
class Media:
    """How many random media, and the sizes of the grids."""

    draws: int = 100
    sizes: tuple[int, ...] = (20, 40, 80, 160)


def _error(values: np.ndarray, unit: str, words: str) -> dict[str, tuple[float, str, str]]:
    median = (float(np.median(values)), unit, f"median {words}")
    return {**mean_and_error("error", values, unit, f"mean {words}"), "median": median}


@experiment("A3", Media(), smoke={"draws": 10}, full={"draws": 1000})
def penalties(lab: Lab, size: Media) -> xr.Dataset:
    """The error of V(1/2) by penalty and noise, over random media of five layers."""
    media = wave_media(jax.random.key(0), size.draws, STEPS)
    dt = media.time_step
    exact = np.asarray(travel_time_grid(media.slowness, dt).masses)[:, :STEPS].sum(-1)

    def of(noise: float, penalty: float) -> xr.Dataset:
        told = media.noisy(jax.random.key(1), noise)
        operators = bc.control_operators(told.responses, dt)
        scaled = penalty * np.linalg.norm(operators.K, 2, (1, 2))
        curve = bc.volume_curve(operators, scaled)
        indefinite = float(np.mean(np.any(curve.pivots <= 0, axis=-1)))
        found = _error(np.abs(curve.volume[:, -1] - exact), VOLUME, "|error| of V(1/2)")
        words = "share of media for which noise has made K + alpha indefinite"
        return table({"": {**found, "indefinite": (indefinite, "1", words)}})

    return over(
        of,
        noise=(NOISES, "1", "noise over the largest response"),
        penalty=(PENALTIES, "1", "penalty over |K|"),
    )


@experiment("A4", Media(40), smoke={"draws": 20, "sizes": (20, 40, 80)}, full={"draws": 400})
def grids(lab: Lab, size: Media) -> xr.Dataset:
    """The relative error of V(1/2) heard on a physical grid, at a penalty of 1e-6 |K|."""

    def of(steps: int) -> xr.Dataset:
        media = wave_media(jax.random.key(0), size.draws, steps, grid="physical")
        operators = bc.control_operators(media.responses, media.time_step)
        scaled = 1e-6 * np.linalg.norm(operators.K, 2, (1, 2))
        volume = bc.volume_curve(operators, scaled).volume[:, -1]
        values = np.abs(volume / media.volumes - 1)
        return table({"": _error(values, "1", "relative error of V(1/2)")})

    return over(of, steps=(size.sizes, "1", "N, time steps to the horizon"))
