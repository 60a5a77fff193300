"""Experiments of how singular values grow on the way to a completion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.spectra import layer_product, product_spectrum
from thalweg.core.tree import Params
from thalweg.driver.many import Family
from thalweg.driver.path import path
from thalweg.dynamics import gradient_descent
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, padded, table
from thalweg.models import layer_weights
from thalweg.probes import end_to_end_singular_values, reconstruction_error
from thalweg.problems import Problem
from thalweg.problems.matrix_sensing import MatrixFactorisation
from thalweg.studies.arora2019_deep_matrix_factorization.completion import (
    DENSER,
    Matrix,
    instance,
    normalised,
)
from thalweg.theory.linear_nets import singular_value_flow

EVERY = 100  # steps between two records
MODES = 10
ALPHA = 1e-3
CURVE_ALPHA, CURVE_RATE = 1e-2, 0.025
RATES = (1.2e-2, 6e-3, 3e-3)
APART = 8  # steps between two points of a curve
PLACES = 200


class Descent(NamedTuple):
    """Depth, step size and steps of plain gradient descent from the identity."""

    depth: int
    rate: float
    steps: int


@dataclass(frozen=True)
class Growth:
    """What is completed, in how many draws, by which descents."""

    of: Matrix = DENSER
    draws: int = 1
    descents: tuple[Descent, ...] = (
        Descent(1, 2.0, 4000),
        Descent(2, 0.3, 20_000),
        Descent(3, 0.15, 30_000),
    )

    @property
    def records(self) -> int:
        """Of the longest descent; shorter ones are padded."""
        return max(plan.steps for plan in self.descents) // EVERY + 1


BRIEF = (Descent(1, 0.5, 2000), Descent(2, 0.1, 4000), Descent(3, 0.05, 8000))


@experiment("X2", Growth(), smoke={"of": Matrix(12, 3, 100), "descents": BRIEF}, full={"draws": 4})
def growth(lab: Lab, size: Growth) -> xr.Dataset:
    """Singular values under gradient descent from a small multiple of the identity."""
    plans = {plan.depth: plan for plan in size.descents}
    found = over(
        lambda draw, depth: _grown(lab, draw, plans[depth], size),
        draw=range(size.draws),
        depth=list(plans),
    )
    steps = EVERY * np.arange(size.records)
    return found.merge(table({"record": {"step": (steps, "1", "steps taken")}}))


def _grown(lab: Lab, draw: int, plan: Descent, size: Growth) -> xr.Dataset:
    """Records of one descent, from the run and from its recorded parameters."""
    drawn = instance(size.of, draw)
    problem = MatrixFactorisation(drawn.observed, plan.depth, ALPHA, "identity")
    run = lab.run(
        f"depth-{plan.depth}-draw-{draw}",
        problem,
        gradient_descent(plan.rate),
        until=plan.rate * plan.steps,
        records=plan.steps // EVERY,
        probes=[end_to_end_singular_values(), reconstruction_error(drawn.truth)],
    )
    values = run.dataset["end_to_end_singular_values"].values[0]
    test = run.dataset["reconstruction_error"].values[0]
    factors = run.parameters.values[0].reshape(-1, plan.depth, *drawn.observed.shape)
    products = layer_product(list(np.moveaxis(factors, 1, 0)))
    aligned = [_aligned(problem, W) for W in products]
    diagonal, rest = (
        np.array([getattr(a, part) for a in aligned]) for part in ("diagonal", "rest")
    )
    rise = EVERY * np.argmax(values[:, :3] >= values[-1, :3] / 2, axis=0)

    kept = partial(padded, length=size.records)
    sign, leading = np.linalg.slogdet(products)[0], "U^T G V, leading modes"
    along = {
        "least": (
            kept(values[:, -1]),
            "entry",
            "least singular value of the product",
        ),
        "sign": (kept(sign), "1", "sign of the determinant of the product"),
        "test": (kept(test), "entry^2", "mean square over all entries"),
        "diagonal": (kept(diagonal), "entry", f"rms of the diagonal of {leading}"),
        "rest": (kept(rest), "entry", f"rms beside the diagonal of {leading}"),
    }
    every = kept(values[:, :MODES]), "entry", "singular values of the product"
    ends = {
        "final_test": (test[-1], "entry^2", "final error"),
        "fourth": (values[-1, 3], "entry", "fourth singular value at the end; the truth has three"),
    }
    return table(
        {
            "record": along,
            "record mode": {"values": every},
            "leading": {"half_rise": (rise, "1", "steps to half of the final value")},
            "": ends,
        },
        mode=range(1, MODES + 1),
        leading=[1, 2, 3],
    )


def _aligned(problem: MatrixFactorisation, W: np.ndarray) -> singular_value_flow.Alignment:
    """Alignment of the gradient with the leading modes of the product."""
    U, _, Vt = np.linalg.svd(W)
    G = np.asarray(problem.gradient_of_product(jnp.asarray(W)))
    return singular_value_flow.singular_alignment(U[:, :MODES], Vt[:MODES].T, G)


@dataclass(frozen=True)
class Curves:
    """Steps of gradient descent, and step size times steps of the normalised method."""

    of: Matrix = DENSER
    steps: int = 12_000
    length: float = 12.0


@experiment("X6", Curves())
def two_mode_curves(lab: Lab, size: Curves) -> xr.Dataset:
    """Group RMSprop at three step sizes beside gradient descent, as curves of two modes."""
    drawn = instance(size.of, 0)
    problem = MatrixFactorisation(drawn.observed, 2, CURVE_ALPHA)
    start = problem.init(drawn.key)
    count = round(size.length / min(RATES)) // APART

    def followed(family: Family, rate: float, points: int) -> np.ndarray:
        return np.asarray(two_modes(family, jnp.asarray(rate), problem, start, points))

    reference = followed(gradient_descent, CURVE_RATE, size.steps // APART)
    found = [followed(normalised, rate, count) for rate in RATES]
    # Beyond the shortest curve there is nothing to compare with.
    end = min(np.max(curve[:, 0]) for curve in [reference, *found])
    place = np.linspace(reference[0, 0], end, PLACES)
    second = np.array([np.interp(place, *_rising(curve)) for curve in [reference, *found]])
    apart = [_apart(curve, reference, end) for curve in found]
    slope = np.polyfit(np.log(RATES), np.log(apart), 1)[0]
    about = "second singular value"
    return table(
        {
            "rate place": {"second": (second[1:], "entry", about)},
            "place": {"reference": (second[0], "entry", f"{about}, gradient descent")},
            "rate": {"apart": (apart, "entry", "largest difference of the curves")},
            "": {"slope": (slope, "1", "slope of log difference in log step size")},
        },
        rate=(RATES, "step size", "step size of group RMSprop"),
        place=(place, "entry", "first singular value"),
    )


def leading_pair(problem: Problem, state: State) -> Float[Array, "2"]:
    """The two largest singular values of the product."""
    return product_spectrum(layer_weights(state.params))[:2]


@eqx.filter_jit
def two_modes(
    family: Family, setting: Array, problem: Problem, params: Params, points: int
) -> Float[Array, "points 2"]:
    """The two largest singular values every APART steps."""
    return path(family(setting), problem, params, APART, points - 1, leading_pair).seen


def _rising(curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a curve on which the first value is above all before: (first, second)."""
    first = curve[:, 0]
    new = first > np.concatenate([[-np.inf], np.maximum.accumulate(first)[:-1]])
    return first[new], curve[new, 1]


def _apart(curve: np.ndarray, reference: np.ndarray, end: float) -> float:
    """Largest difference of the second value from the reference's, for first values up to end."""
    first, second = _rising(curve)
    gap = np.abs(second - np.interp(first, *_rising(reference)))
    return float(np.max(gap[first <= end]))
