"""The data sets of the paper."""

from __future__ import annotations

import numpy as np

from thalweg.theory.relu_nets.one_input import OneInputData, one_input_data

X = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
Y = np.array([-1.0, 2.0, -1.0, 1.0, -2.0, 1.0])
RAYS = 11


def six_points(offset: float = 0.0, counts: np.ndarray | None = None) -> OneInputData:
    """Three points on either side whose best lines are zero, all raised by an offset."""
    return one_input_data(X, Y + offset, counts)


def drawn_counts(rng: np.random.Generator, samples: int, draws: int) -> np.ndarray:
    """How often each of the six points is among so many samples, (draws, 6)."""
    return rng.multinomial(samples, np.ones(len(X)) / len(X), size=draws)


def star() -> tuple[np.ndarray, np.ndarray]:
    """Inputs (33, 2) and targets (33,): 1, -2, 1 at radii 0.9, 1 and 1.1 of eleven rays."""
    angles = 2 * np.pi * np.arange(RAYS) / RAYS
    units = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    x = (np.array([0.9, 1.0, 1.1])[:, None, None] * units).reshape(-1, 2)
    return x, np.repeat([1.0, -2.0, 1.0], RAYS)


def wave(rng: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """The paper's example distribution, standardised: x (N,) and y (N,), noise 0.138 before."""
    x = rng.choice([-1, 1], samples) * rng.beta(5, 2, samples) / np.sqrt(105 / 196)
    y = np.cos(7 * np.pi * (x - x / np.sqrt(1 + x**2))) + 0.2 * x**2 + 0.074
    y = (y + 0.1 * rng.normal(size=samples)) / 0.727
    return (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
