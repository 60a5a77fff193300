"""Ensembles of noisy descents in valleys: noise of labels, isotropic noise, and a motor."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.driver.path import path, paths
from thalweg.dynamics import gradient_descent, limiting_diffusion, limiting_flow
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import mean_and_error, over, table
from thalweg.oracles import Oracle, gaussian, isotropic
from thalweg.problems import Function
from thalweg.theory.limits.valleys import Expectation, diffusion_expectation, valley_drift

START = 1.5
SLOW = "slow time eta^2 k"


def valley(z: Float[Array, " 2"]) -> Float[Array, ""]:
    """(1/2)(1 + x^2) y^2."""
    return 0.5 * (1 + z[0] ** 2) * z[1] ** 2


def across(z: Float[Array, " 2"]) -> Float[Array, "2 1"]:
    """The factor of noise H on y alone, as that of labels."""
    return jnp.stack([jnp.zeros(1), jnp.sqrt(1 + z[0] ** 2)[None]])


def log_slope(x: np.ndarray) -> np.ndarray:
    """(ln(1 + x^2))'."""
    return 2 * x / (1 + x**2)


VALLEY = Function(valley, start=jnp.array([START, 0.0]))


def copies(
    problem: Function, oracle: Oracle, eta: float, steps: list[int], count: int, key: int
) -> np.ndarray:
    """The first parameter of many descents at counts of steps (copy, record)."""
    keys = jax.random.split(jax.random.key(key), count)
    gaps = np.diff([0, *steps])
    found = paths(
        gradient_descent(eta, oracle=oracle), problem, problem.start, gaps,
        observe=lambda problem, state: state.params[0], key=keys, over=("key",),
    )  # fmt: skip
    return np.asarray(found.seen)


@dataclass(frozen=True)
class Label:
    """Copies at each step size, and where they are recorded."""

    copies: int = 4000
    step_sizes: tuple[float, ...] = (0.2, 0.1, 0.05, 0.025)
    times: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)


@experiment("X2-label", Label(), smoke={"step_sizes": (0.2, 0.1, 0.05)}, full={"copies": 16_000})
def label_noise_in_a_valley(lab: Lab, size: Label) -> xr.Dataset:
    """Noise of labels in a valley: the mean of many descents beside the limiting flow."""
    times = np.array(size.times)

    def one(eta: float) -> xr.Dataset:
        steps = [round(t / eta**2) for t in times]
        x = copies(VALLEY, gaussian(across), eta, steps, size.copies, 1)[:, 1:]
        found = mean_and_error("mean", x, "1", "mean of x over descents")
        return table({"slow": found}, slow=(times, "1", SLOW))

    found = over(one, eta=(list(size.step_sizes), "1", "step size"))
    gaps = np.diff(times, prepend=0.0)
    flow = path(
        limiting_flow(gaussian(across), error=1e-9), VALLEY, VALLEY.start, jnp.asarray(gaps)
    )
    expected = START * np.exp(-times / 2)
    return found.merge(
        table(
            {
                "slow": {
                    "flow": (np.asarray(flow.seen)[1:, 0], "1", "x of the limiting flow"),
                    "mean_theory": (expected, "1", "1.5 exp(-T/2)"),
                }
            },
            slow=(times, "1", SLOW),
        )
    )


@dataclass(frozen=True)
class Isotropic:
    """Copies of the descent and of the limiting diffusion."""

    copies: int = 20_000
    diffusions: int = 4000
    step_size: float = 0.05


@experiment(
    "X2-isotropic", Isotropic(), smoke={"copies": 6000, "diffusions": 1000}, full={"copies": 80_000}
)
def isotropic_noise_in_a_valley(lab: Lab, size: Isotropic) -> xr.Dataset:
    """Isotropic noise in a valley: moments of many descents, and of the limiting diffusion."""
    eta, noise = size.step_size, isotropic(1.0)
    steps = [round(1 / eta**2)]
    descents = copies(VALLEY, noise, eta, steps, size.copies, 2)[:, -1]
    keys = jax.random.split(jax.random.key(3), size.diffusions)
    diffusion = paths(
        limiting_diffusion(noise, 0.05), VALLEY, VALLEY.start, 20, 1,
        observe=lambda problem, state: state.params[0], key=keys, over=("key",),
    )  # fmt: skip
    ends = np.asarray(diffusion.seen)[:, -1]

    def drift(x: np.ndarray) -> np.ndarray:
        return valley_drift(log_slope(x)[:, None], np.ones((1, 1)))

    groups: dict[str, tuple[object, str, str]] = {}
    powers = (1, 2)

    def moment(k: int) -> Expectation:
        return diffusion_expectation(drift, lambda x: x**k, START, 1.0)

    truth = [moment(k) for k in powers]
    groups["theory"] = ([t.value for t in truth], "1", "of the limiting diffusion, by its equation")
    groups["theory_error"] = ([t.error for t in truth], "1", "its error")
    for name, x, words in (("descent", descents, "SGD"), ("diffusion", ends, "limiting diffusion")):
        moments = np.stack([x**k for k in powers])
        groups |= mean_and_error(name, moments, "1", f"mean of x^k, {words}", axis=1)
    return table({"power": groups}, power=([1, 2], "1", "power k"))


def motor(z: Float[Array, " 5"]) -> Float[Array, ""]:
    """(1/2) sum_j f_j(angle) y_j^2, f = exp(sin, -sin, cos, -cos)."""
    s, c = jnp.sin(z[0]), jnp.cos(z[0])
    return 0.5 * jnp.sum(jnp.exp(jnp.stack([s, -s, c, -c])) * z[1:] ** 2)


def motor_noise(z: Float[Array, " 5"]) -> Float[Array, "5 4"]:
    """The factor of noise on y alone, of variances 1 - cos, 1 + cos, 1 + sin, 1 - sin."""
    s, c = jnp.sin(z[0]), jnp.cos(z[0])
    variances = jnp.maximum(jnp.stack([1 - c, 1 + c, 1 + s, 1 - s]), 0)
    return jnp.concatenate([jnp.zeros((1, 4)), jnp.diag(jnp.sqrt(variances))])


MOTOR = Function(motor, start=jnp.zeros(5))


@dataclass(frozen=True)
class Turning:
    """Copies of the motor at each step size."""

    copies: int = 200
    step_sizes: tuple[float, ...] = (0.2, 0.1, 0.05)
    records: int = 8


@experiment("X3", Turning(), smoke={"records": 4}, full={"copies": 800})
def motor_turns(lab: Lab, size: Turning) -> xr.Dataset:
    """A valley and a noise of which the drift is no gradient: the angle against slow time."""
    times = np.arange(1, size.records + 1) * 8 / size.records

    def one(eta: float) -> xr.Dataset:
        steps = [round(t / eta**2) for t in times]
        angle = copies(MOTOR, gaussian(motor_noise), eta, steps, size.copies, 4)[:, 1:]
        found = mean_and_error("angle", angle, "rad", "mean angle of the motor")
        return table({"slow": found}, slow=(times, "1", SLOW))

    found = over(one, eta=(list(size.step_sizes), "1", "step size"))
    flow = limiting_flow(gaussian(motor_noise), error=1e-7)
    start = MOTOR.start.at[0].set(0.0)
    gaps = jnp.asarray(np.diff(times, prepend=0.0))
    turned = np.asarray(path(flow, MOTOR, start, gaps).seen)[1:, 0]
    return found.assign(
        flow=xr.Variable(
            "slow", turned, {"units": "rad", "long_name": "angle of the limiting flow"}
        )
    )
