"""Saddles, left or not, and a function whose gradient has no Lipschitz constant."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.core.result import Result
from thalweg.driver.path import iterates, paths
from thalweg.dynamics import gradient_descent, method
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import table
from thalweg.problems import Function
from thalweg.studies.danilova2020_nonconvex import functions

RADII = (1e-2, 1e-4, 1e-6, 1e-8)
STEP, GONE = 0.1, 0.5
SADDLE = Function(functions.saddle, jnp.array([1.0, 0.0]))


@dataclass(frozen=True)
class Saddles:
    """How many seeds leave the saddle, and for how long they have."""

    seeds: int = 50
    steps: int = 1000


@experiment("X3", Saddles(), smoke={"seeds": 20}, full={"seeds": 500})
def saddles(lab: Lab, size: Saddles) -> xr.Dataset:
    """Descent with and without moves at a strict saddle, and on x^4 with and without clipping."""
    plain = iterates(gradient_descent(STEP), SADDLE, 300)
    kicked = method("perturbed", smoothness=1 / STEP)
    keys = jax.random.split(jax.random.key(0), size.seeds)
    found = paths(kicked, SADDLE, SADDLE.start, 1, size.steps, key=keys, over=("key",)).seen
    starts = jnp.stack([jnp.array([0.0, r]) for r in RADII])
    away = paths(gradient_descent(STEP), SADDLE, starts, 1, 300, over=("params",)).seen
    escape = np.argmax(np.abs(np.asarray(away)[..., 1]) >= GONE, axis=1)
    linear = np.log(GONE / np.array(RADII)) / np.log1p(STEP)
    steep = Function(functions.quartic, jnp.array([10.0]))
    wild = paths(gradient_descent(STEP), steep, steep.start, 1, 10, over=())
    cut = paths(method("clipped", smoothness=1 / STEP, length=1.0), steep, steep.start, 1, 5000,
                over=())  # fmt: skip
    lost = np.asarray(wild.result) >= Result.NONFINITE
    values = np.asarray(jax.vmap(jax.vmap(SADDLE.objective))(found))
    return table(
        {
            "": {
                "plain_end": (float(jnp.abs(plain[-1]).max()), "parameter", "largest |x| of GD"),
                "overflow": (
                    int(np.argmax(lost)) if lost.any() else np.nan, "1",
                    "step at which GD on x^4 has left the numbers",
                ),
                "clipped_end": (
                    float(steep.objective(cut.seen[-1])), "loss", "x^4 where clipped GD ends",
                ),
            },
            "seed": {"end": (values[:, -1], "loss", "the loss where perturbed descent ends")},
            "step": {
                "kicked": (values[0], "loss", "perturbed descent, one seed"),
                "stuck": (
                    np.append(
                        np.asarray(jax.vmap(SADDLE.objective)(plain)),
                        np.full(size.steps - 300, float(SADDLE.objective(plain[-1]))),
                    ),
                    "loss", "gradient descent",
                ),
            },
            "radius": {
                "escape": (escape, "1", "steps until |y| is 1/2"),
                "escape_theory": (linear, "1", "ln(1/(2 r))/ln(1 + h)"),
            },
        },
        seed=range(size.seeds),
        step=np.arange(size.steps + 1),
        radius=(list(RADII), "parameter", "distance from the saddle"),
    )  # fmt: skip
