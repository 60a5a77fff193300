"""Experiments of how singular values grow on the way to a completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.spectra import product_spectrum
from thalweg.core.tree import Params
from thalweg.driver.many import Family
from thalweg.dynamics import gradient_descent
from thalweg.dynamics.dynamics import State
from thalweg.lab.study import Lab, variable
from thalweg.models import layer_weights
from thalweg.probes import end_to_end_singular_values, reconstruction_error
from thalweg.problems import Problem
from thalweg.problems.matrix_sensing import MatrixFactorisation
from thalweg.studies.arora2019_deep_matrix_factorization.completion import (
    DENSER,
    Instance,
    instance,
    normalised,
)
from thalweg.theory.linear_nets import singular_value_flow

EVERY = 100  # steps between two records
MODES = 10
ALPHA = 1e-3


class Descent(NamedTuple):
    """Depth, step size and steps of plain gradient descent from the identity."""

    depth: int
    rate: float
    steps: int


DESCENTS = (Descent(1, 2.0, 4000), Descent(2, 0.3, 20_000), Descent(3, 0.15, 30_000))

CURVE_ALPHA, CURVE_RATE, CURVE_STEPS = 1e-2, 0.025, 12_000
RATES = (1.2e-2, 6e-3, 3e-3)
CURVE_LENGTH = 12.0  # step size times steps of the normalised method
APART = 8  # steps between two points of a curve
PLACES = 200


def growth(lab: Lab) -> xr.Dataset:
    """X2: singular values under gradient descent from a small multiple of the identity."""
    return growth_of(lab, range(4 if lab.full else 1), DESCENTS)


def growth_of(lab: Lab, draws: Sequence[int], descents: Sequence[Descent]) -> xr.Dataset:
    """X2 for some draws and descents."""
    found = [[_grown(lab, draw, plan) for plan in descents] for draw in draws]
    longest = max(plan.steps for plan in descents) // EVERY + 1
    along = ("draw", "depth", "record")
    unit = "entry"
    variables = {
        "values": (unit, "singular values of the product"),
        "least": (unit, "least singular value of the product"),
        "sign": ("1", "sign of the determinant of the product"),
        "test": ("entry^2", "mean square over all entries"),
        "diagonal": ("entry", "rms of the diagonal of U^T G V, leading modes"),
        "rest": ("entry", "rms of U^T G V beside the diagonal, leading modes"),
    }
    data = {}
    for name, (units, about) in variables.items():
        padded = np.stack(
            [np.stack([_padded(cell[name], longest) for cell in row]) for row in found]
        )
        data[name] = variable((*along, "mode") if padded.ndim == 4 else along, padded, units, about)
    rise = [[_half_rise(cell["values"]) for cell in row] for row in found]
    data["half_rise"] = variable(
        ("draw", "depth", "leading"), rise, "1", "steps to half of the final value"
    )
    data["final_test"] = variable(
        ("draw", "depth"), [[c["test"][-1] for c in row] for row in found], "entry^2", "final error"
    )
    data["fourth"] = variable(
        ("draw", "depth"), [[c["values"][-1, 3] for c in r] for r in found], unit,
        "fourth singular value at the end; the truth has three",
    )  # fmt: skip
    data["step"] = variable("record", EVERY * np.arange(longest), "1", "steps taken")
    return xr.Dataset(
        data,
        {
            "draw": list(draws),
            "depth": [plan.depth for plan in descents],
            "mode": np.arange(1, MODES + 1),
            "leading": [1, 2, 3],
        },
    )


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    missing = [(0, length - len(values))] + [(0, 0)] * (values.ndim - 1)
    return np.pad(np.asarray(values, float), missing, constant_values=np.nan)


def _grown(lab: Lab, draw: int, plan: Descent) -> dict[str, np.ndarray]:
    """Records of one descent, from the run and from its recorded parameters."""
    drawn = instance(DENSER, draw)
    problem = MatrixFactorisation(drawn.observed, plan.depth, ALPHA, "identity")
    run = lab.run(
        f"X2-depth-{plan.depth}-draw-{draw}",
        problem,
        gradient_descent(plan.rate),
        until=plan.rate * plan.steps,
        records=plan.steps // EVERY,
        probes=[end_to_end_singular_values(), reconstruction_error(drawn.truth)],
    )
    values = run.dataset["end_to_end_singular_values"].values[0]
    products = _products(run.parameters.values[0], plan.depth, drawn)
    aligned = [_aligned(problem, W) for W in products]
    return {
        "values": values[:, :MODES],
        "least": values[:, -1],
        "sign": np.linalg.slogdet(products)[0],
        "test": run.dataset["reconstruction_error"].values[0],
        "diagonal": np.array([a.diagonal for a in aligned]),
        "rest": np.array([a.rest for a in aligned]),
    }


def _products(theta: np.ndarray, depth: int, drawn: Instance) -> np.ndarray:
    """Products of the recorded factors, shape (record, size, size)."""
    factors = theta.reshape(len(theta), depth, *drawn.observed.shape)
    whole = factors[:, 0]
    for j in range(1, depth):
        whole = factors[:, j] @ whole
    return whole


def _aligned(problem: MatrixFactorisation, W: np.ndarray) -> singular_value_flow.Alignment:
    """Alignment of the gradient with the leading modes of the product."""
    U, _, Vt = np.linalg.svd(W)
    G = np.asarray(problem.gradient_of_product(jnp.asarray(W)))
    return singular_value_flow.singular_alignment(U[:, :MODES], Vt[:MODES].T, G)


def _half_rise(values: np.ndarray) -> np.ndarray:
    """Steps at which the three leading values first have half of their final value."""
    return EVERY * np.argmax(values[:, :3] >= values[-1, :3] / 2, axis=0)


def curves(lab: Lab) -> xr.Dataset:
    """C9: group RMSprop at three step sizes beside gradient descent, as curves of two modes."""
    drawn = instance(DENSER, 0)
    problem = MatrixFactorisation(drawn.observed, 2, CURVE_ALPHA)
    start = problem.init(drawn.key)
    length = round(CURVE_LENGTH / min(RATES)) // APART
    reference = np.asarray(
        two_modes(gradient_descent, jnp.asarray(CURVE_RATE), problem, start, CURVE_STEPS // APART)
    )
    found = [
        np.asarray(two_modes(normalised, jnp.asarray(rate), problem, start, length))
        for rate in RATES
    ]
    # Beyond the shortest curve there is nothing to compare with.
    end = min(np.max(path[:, 0]) for path in [reference, *found])
    place = np.linspace(reference[0, 0], end, PLACES)
    second = np.array([np.interp(place, *_rising(path)) for path in [reference, *found]])
    apart = [_apart(path, reference, end) for path in found]
    slope = np.polyfit(np.log(RATES), np.log(apart), 1)[0]
    about = "second singular value"
    return xr.Dataset(
        {
            "second": variable(("rate", "place"), second[1:], "entry", about),
            "reference": variable("place", second[0], "entry", f"{about}, gradient descent"),
            "apart": variable("rate", apart, "entry", "largest difference of the curves"),
            "slope": variable((), slope, "1", "slope of log difference in log step size"),
        },
        {
            "rate": variable("rate", list(RATES), "step size", "step size of group RMSprop"),
            "place": variable("place", place, "entry", "first singular value"),
        },
    )


@eqx.filter_jit
def two_modes(
    family: Family, setting: Array, problem: Problem, params: Params, records: int
) -> Float[Array, "records 2"]:
    """The two largest singular values of the product every APART steps."""
    dynamics, key = family(setting), jax.random.key(0)

    def record(state: State, _: None) -> tuple[State, Array]:
        values = product_spectrum(layer_weights(state.params))[:2]
        after = jax.lax.fori_loop(0, APART, lambda _, s: dynamics.step(problem, s, key)[0], state)
        return after, values

    return jax.lax.scan(record, dynamics.init(problem, params), None, length=records)[1]


def _rising(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a curve on which the first value is above all before: (first, second)."""
    first = path[:, 0]
    new = first > np.concatenate([[-np.inf], np.maximum.accumulate(first)[:-1]])
    return first[new], path[new, 1]


def _apart(path: np.ndarray, reference: np.ndarray, end: float) -> float:
    """Largest difference of the second value from the reference's, for first values up to end."""
    first, second = _rising(path)
    gap = np.abs(second - np.interp(first, *_rising(reference)))
    return float(np.max(gap[first <= end]))
