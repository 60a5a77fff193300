"""Problems on which solvers of gradient flow are compared, from mild to very stiff.

Digits nets: inputs centred pixel by pixel, or not at all (S2, SB2), and divided by one standard
deviation. Half mean squared error on one-hot targets unless said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import thalweg as tw
from thalweg.models import Applied, ConvNet, Convolution
from thalweg.problems import Data, Function, Problem, supervised
from thalweg.problems.closed_form import Factorisation, Quadratic
from thalweg.problems.data import images

MARKS = 12  # times at which errors are taken


@dataclass(frozen=True)
class Case:
    """A flow to follow: `horizon` is its end, `short` an end for a quick look."""

    name: str
    make: Callable[[], Problem]
    horizon: float
    short: float

    def times(self, horizon: float) -> np.ndarray:
        return horizon * np.geomspace(1 / 512, 1, MARKS)


def pixels(samples: int, centred: bool) -> tuple[np.ndarray, np.ndarray]:
    bundled = load_digits()
    x, y = bundled.data[:samples] / 16.0, bundled.target[:samples]
    centre = x.mean(axis=0) if centred else 0.0
    return (x - centre) / np.std(x - centre), y


def net(
    hidden: tuple[int, ...],
    samples: int,
    *,
    centred: bool = True,
    shuffled: bool = False,
    loss: str = "squared-error",
    activation: str = "tanh",
) -> Callable[[], Problem]:
    def make() -> Problem:
        x, y = pixels(samples, centred)
        if shuffled:
            y = np.random.default_rng(0).integers(0, 10, samples)
        return supervised(tw.models.mlp(list(hidden), activation), Data.of(x, y), loss)

    return make


def convolutional() -> Problem:
    """Two strided convolutions and a dense layer, tanh, 200 digits as images."""
    data = images.digit_images(samples=200, image=True)
    layers = (Convolution(4, 3, stride=2, padding=1), Convolution(8, 3, stride=2, padding=1))
    return supervised(ConvNet(layers, (20,), "tanh"), data, "squared-error")


def batch_normalised() -> Problem:
    """MLP 32-32 tanh, batch-normalised over all 200 digits before each activation."""
    x, y = pixels(200, True)

    def start(key: jax.Array) -> list[dict[str, jax.Array]]:
        sizes = [64, 32, 32, 10]
        keys = jax.random.split(key, 3)
        return [
            {
                "weight": jax.random.normal(k, (m, n)) / np.sqrt(n),
                "scale": jnp.ones(m),
                "shift": jnp.zeros(m),
            }
            for k, n, m in zip(keys, sizes[:-1], sizes[1:], strict=True)
        ]

    def apply(layers: list[dict[str, jax.Array]], h: jax.Array) -> jax.Array:
        for layer in layers[:-1]:
            z = h @ layer["weight"].T
            z = (z - z.mean(0)) / jnp.sqrt(z.var(0) + 1e-5)
            h = jnp.tanh(layer["scale"] * z + layer["shift"])
        return h @ layers[-1]["weight"].T + layers[-1]["shift"]

    return supervised(Applied(apply, start), Data.of(x, y), "squared-error")


def deep_linear() -> Problem:
    """Depth 4, 10x10, balanced start of product 1e-2 V U^T, teacher with a plateau of the loss."""
    rng = np.random.default_rng(0)
    u, _ = np.linalg.qr(rng.normal(size=(10, 10)))
    v, _ = np.linalg.qr(rng.normal(size=(10, 10)))
    target = u @ np.diag(np.linspace(0.2, 2.15, 10)) @ v.T
    q = [np.linalg.qr(rng.normal(size=(10, 10)))[0] for _ in range(5)]
    scale = 1e-2**0.25
    return Factorisation(target, [scale * q[j + 1] @ q[j].T for j in range(4)])


def quadratic() -> Problem:
    """2000 curvatures log-spaced from 1e-3 to 1e3, from all ones."""
    h = np.geomspace(1e-3, 1e3, 2000)
    return Quadratic(h, np.zeros(2000), np.ones(2000))


def curved_valley() -> Problem:
    """f = (lambda/2)(y - x^2/2)^2 + (x - 3)^2/2, lambda = 1e4: a stiff valley that bends."""

    def height(z: jax.Array) -> jax.Array:
        x, y = z
        return 0.5e4 * (y - x**2 / 2) ** 2 + 0.5 * (x - 3) ** 2

    return Function(height, start=jnp.zeros(2))


CASES = {
    case.name: case
    for case in (
        Case("S1", net((32, 32), 200), 600.0, 60.0),
        Case("S2", net((32, 32), 200, centred=False), 300.0, 30.0),
        Case("S3", net((32, 32, 32), 200, shuffled=True), 400.0, 40.0),
        Case("A1", net((64, 64), 500), 600.0, 60.0),
        Case("A3", net((64, 64, 64), 300, shuffled=True), 250.0, 25.0),
        Case("SB2", net((32, 32), 200, centred=False, loss="cross-entropy"), 1000.0, 100.0),
        Case("C", deep_linear, 60.0, 60.0),
        Case("conv", convolutional, 300.0, 30.0),
        Case("normalised", batch_normalised, 300.0, 30.0),
        Case("gelu", net((32, 32), 200, activation="gelu"), 300.0, 30.0),
        Case("softplus", net((32, 32), 200, activation="softplus"), 300.0, 30.0),
        Case("E", quadratic, 1000.0, 10.0),
        Case("valley", curved_valley, 2.0, 2.0),
    )
}


def prothero_robinson(stiffness: float = 1e3) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """y' = -stiffness (y - sin t) + cos t, solved by sin t from y(0) = 0."""

    def field(t: jax.Array, y: jax.Array) -> jax.Array:
        return -stiffness * (y - jnp.sin(t)) + jnp.cos(t)

    return field
