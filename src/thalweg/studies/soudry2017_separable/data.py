"""The data of the study of separable classification, labels absorbed, and runs on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from thalweg.dynamics.dynamics import Discrete
from thalweg.lab.experiment import Lab
from thalweg.lab.table import table
from thalweg.probes import Probe, angle_gap, normalised_margin, parameter_norm
from thalweg.problems import Problem
from thalweg.problems.data.images import digit_images
from thalweg.theory.limits.max_margin import MaxMargin, absorb

SYMMETRIC = np.array([(0.5, 1.5), (1.5, 0.5)])
ASYMMETRIC = np.array(
    [(0.5, 1.5), (2, 0.25), (2.5, 1.5), (1, 2.5), (3, 0.5), (-0.5, 3.5), (2, 2)], float
)
DEGENERATE = np.array([(1, 0), (1, 1)], float)
THREE = np.array([(0.5, 1.5), (2, 0.25), (2.5, 1)])
TRAINING = 60  # digits trained on
CLASSES, PER_CLASS = 3, 8


@dataclass(frozen=True)
class Runs:
    """How many draws of the data are descended, and for how many steps."""

    last: int
    draws: int = 1


def symmetric(draw: int) -> Float[np.ndarray, "16 2"]:
    """X1: two support points and their negatives of the other class; 12 points beyond the margin.

    The latter are N((2, 2), I), as far as they have w_svm . x > 1.1 with w_svm = (1/2, 1/2).
    """
    drawn = np.random.default_rng(draw).normal(size=(100, 2)) + 2
    beyond = drawn[drawn.sum(axis=1) / 2 > 1.1][:12]
    return np.vstack([SYMMETRIC, SYMMETRIC, beyond])


def even_or_odd() -> tuple[np.ndarray, np.ndarray]:
    """X4: training (60, 65) and validation (1737, 65) rows, even digits against odd ones."""
    data = digit_images(standardize="none")
    order = np.random.default_rng(0).permutation(len(data.inputs))
    rows = absorb(data.inputs, 1.0 - 2.0 * (data.targets % 2), bias=True)[order]
    return rows[:TRAINING], rows[TRAINING:]


def gaussian_classes(draw: int) -> tuple[np.ndarray, np.ndarray]:
    """C11: 24 points of three classes around centres at radius 3, std 0.6, and their labels."""
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    angle = np.pi / 2 + 2 * np.pi * labels / CLASSES
    centres = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return centres + 0.6 * np.random.default_rng(draw).normal(size=centres.shape), labels


def inverse_square(X: np.ndarray) -> float:
    """1/sigma_max(X)^2, the step size of most runs."""
    return 1 / float(np.linalg.norm(X, 2)) ** 2


def steps_to(last: int, per_decade: int = 8) -> np.ndarray:
    """Numbers of steps from 1 to `last`, evenly spaced in log t, with 1, 2, 3 times 10^k."""
    decades = int(np.ceil(np.log10(last))) + 1
    spaced = np.round(10 ** (np.arange(decades * per_decade) / per_decade))
    whole = np.outer([1, 2, 3], 10.0 ** np.arange(decades)).ravel()
    steps = np.unique(np.concatenate([spaced, whole, [last]]).astype(int))
    return steps[steps <= last]


def follow(
    lab: Lab,
    name: str,
    problem: Problem,
    dynamics: Discrete,
    last: int,
    svm: MaxMargin,
    *,
    constant: float,
    probes: Sequence[Probe] = (),
) -> xr.Dataset:
    """One run at log-spaced steps beside its hard-margin machine, dims (step,).

    Args:
        lab: Where it is run.
        name: Of the run.
        problem: What is trained.
        dynamics: What moves the weights.
        last: Steps taken.
        svm: The hard-margin machine of the data.
        constant: What t L is expected to tend to.
        probes: What else is measured.
    """
    steps = steps_to(last)
    options: dict[str, Any] = {"times": dynamics.clock(steps)}
    options["probes"] = (parameter_norm(), normalised_margin(), angle_gap(svm.w), *probes)
    found = lab.run(name, problem, dynamics, **options).dataset.isel(seed=0)
    assert np.array_equal(found["step"], steps), name
    t, margin = steps.astype(float), found["normalised_margin"]
    along = {
        "norm": (found["parameter_norm"], "weight", "|w|"),
        "loss": (found["loss"], "nat", "summed training loss"),
        "loss_ratio": (found["loss"] * t / constant, "1", "t L / its predicted limit"),
        "margin_ratio": (margin / svm.margin, "1", "margin / hard margin"),
        "margin_gap": (svm.margin - margin, "x", "hard margin - margin"),
        "angle_gap": (found["angle_gap"], "1", "1 - cos(w, w_svm)"),
        **{p.name: (found[p.name], p.unit, p.name.replace("_", " ")) for p in probes},
    }
    weights = {"w": (found["parameters"], "weight", "w")}
    groups = {"step": along, "step weight": weights}
    return table(groups, step=(steps, "1", "steps taken t"))
