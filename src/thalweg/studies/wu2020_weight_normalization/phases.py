"""The two phases of weight normalisation with orthonormal rows, where both are known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import xarray as xr

from thalweg.dynamics.reparametrised_projected import ReparametrisedDescent, TwoPhaseProjected
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import table
from thalweg.studies.wu2020_weight_normalization import steps
from thalweg.studies.wu2020_weight_normalization.flow import Draw, system
from thalweg.theory.linear_nets import weight_normalisation as theory

PHASE_SCALES = (0.3, 0.9, 1.5)


@dataclass(frozen=True)
class Phases:
    """Draws, and steps of phase I alone and of both phases."""

    draws: int = 5
    steps: int = 25
    both: int = 200


def orthonormal(at: Draw) -> Draw:
    """A draw of X2 whose rows are made orthonormal, A A^T = I; x stays."""
    basis = np.linalg.qr(at.A.T)[0].T
    return system(basis, basis @ at.target.solution, at.w0)


@experiment("X3", Phases(), smoke={"draws": 4}, full={"draws": 20})
def orthonormal_rows(lab: Lab, size: Phases) -> xr.Dataset:
    """Phase I with eta = 1/g0^2 beside its closed form, and both phases from g0 = g*/2."""
    draws = [orthonormal(at) for at in steps.Sweep(draws=size.draws).systems]
    norms = np.array([at.target.norm for at in draws])
    g0 = norms[:, None] * PHASE_SCALES
    lanes = steps.lanes_of(draws, g0)
    held = ReparametrisedDescent(1 / lanes.g0**2, jnp.zeros_like(lanes.g0), projected=True)
    w = steps.follow(held, lanes, 1, size.steps).w.reshape(*g0.shape, size.steps + 1, -1)
    beside = [at.target.split(rows).null for at, rows in zip(draws, w, strict=True)]
    perp, count = steps.norm(np.array(beside)), np.arange(size.steps + 1)
    closed = [[theory.phase1_closed_form(at.perp, r, count) for r in PHASE_SCALES] for at in draws]
    gap, gap_theory, final = both_phases(draws, norms, size.both)
    phase_one = {
        "perp": (perp, "1", "||w_perp||"),
        "perp_theory": (closed, "1", "||w_perp||, E10"),
    }
    phase_two = {
        "gap": (gap, "parameter", "g* - g"),
        "gap_theory": (gap_theory, "parameter", "g* - g, E11"),
    }
    ends = {
        "final": (final, "parameter", "||x - x*|| after both phases"),
        "norm": (norms, "parameter", "g* = ||x*||"),
    }
    return table(
        {"draw relative_scale step": phase_one, "draw later": phase_two, "draw": ends},
        draw=range(size.draws),
        relative_scale=(PHASE_SCALES, "1", "g0/g*"),
        step=count,
        later=(np.arange(gap.shape[1]), "1", "steps of phase II"),
    )


def both_phases(draws: Sequence[Draw], norms: np.ndarray, both: int) -> tuple[np.ndarray, ...]:
    """From g*/2, the gap g* - g in phase II, in closed form, and the last ||x - x*||."""
    rate, switch, g0 = 0.2, both // 3, norms / 2
    lanes, same = steps.lanes_of(draws, g0[:, None]), jnp.full(len(draws), rate)
    dynamics = TwoPhaseProjected(1 / lanes.g0**2, jnp.full(len(draws), switch), same, same)
    run = steps.follow(dynamics, lanes, 1, both)
    later = np.arange(both + 1 - switch)
    closed = [
        full - theory.phase2_closed_form(half, full, rate, later)
        for half, full in zip(g0, norms, strict=True)
    ]
    final = steps.distances(draws, steps.unit_product(run.g, run.w)[:, None, -1])[:, 0]
    return norms[:, None] - run.g[:, switch:], np.array(closed), final
