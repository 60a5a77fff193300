"""A run of the table of rates, held against the bounds of its theorems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from thalweg.dynamics import Discrete
from thalweg.oracles import Oracle
from thalweg.probes import Assumption
from thalweg.theory.optimisers.rates import MEASURES, RATES, theorem_bound

ROUNDING = 1e-12  # of a bound that is attained, and of values below it
DIGITS = 1e-15  # of a loss, that its distance from the least has not got
SPAN = 4.0  # by which gradients must fall for an exponent
# Constants that bound from above: taken larger than measured, and measured again.
ABOVE = ("smoothness", "mean_smoothness", "example_smoothness", "hessian_lipschitz")


class Run(NamedTuple):
    """A method with what it is held against.

    Attributes:
        label: Its name.
        dynamics: With its theorem's step size.
        rows: Rows of `RATES`, with the constants that they need beside the measured ones.
        oracle: What its steps see, if not the whole.
        seeds: How many paths.
    """

    label: str
    dynamics: Discrete
    rows: Mapping[str, Mapping[str, float]]
    oracle: Oracle | None = None
    seeds: int = 1


class Walked(NamedTuple):
    """What a run showed, each of shape (seeds, steps + 1)."""

    loss: np.ndarray
    gradient: np.ndarray  # (seeds, steps + 1, p)
    points: np.ndarray  # (seeds, steps + 1, p)
    least: np.ndarray  # what the method tells of the least ||grad f||^2, NaN if nothing
    passes: np.ndarray  # (steps + 1,)

    @property
    def norm(self) -> np.ndarray:
        """||grad f|| at every step."""
        return np.linalg.norm(self.gradient, axis=-1)


def rows_held(
    run: Run,
    w: Walked,
    taken: Mapping[str, float],
    found: tuple[Assumption, ...],
    least: float,
    minimum: np.ndarray,
) -> list[dict[str, Any]]:
    """The rows of a run, each with its worst ratio of observed to bound."""
    exponent, error = _exponent(w)
    common = {"exponent": exponent, "exponent_error": error, "run": run.label}
    rows = [
        held_row(name, extra, w, taken, least, minimum) | common for name, extra in run.rows.items()
    ]
    low = [a.name for a in found if a.name in ABOVE and a.name in taken and a.value > taken[a.name]]
    for row in rows:
        if low:
            row["said"] += f"; {' and '.join(low)} came out larger than was taken"
    return rows


def held_row(
    name: str,
    extra: Mapping[str, float],
    w: Walked,
    taken: Mapping[str, float],
    least: float,
    minimum: np.ndarray,
) -> dict[str, Any]:
    """A row, its run held against its bound."""
    rate, gap = RATES[name], w.loss - least
    constants = _constants(w, taken, gap, minimum) | dict(extra)
    if "batch" in constants:
        constants["variance"] = taken["example_variance"] / constants.pop("batch")
    row, why = _row(name), _ruled_out(name, constants, taken)
    if why or rate.quoted:
        return row | {"said": f"not held against it: {why}" if why else "quoted; run beside"}
    own = {n: v for n, v in constants.items() if n in (*rate.needs, "step_size")}
    observed = _observed(rate.measure, w, gap, minimum)
    bound = theorem_bound(name, np.arange(len(observed)), **own)
    # What has fallen to rounding of its start has no digits left to be held, and the minimum is
    # the lowest point that was seen.
    begun = {"gap": gap[0, 0], "distance": constants["distance"]}.get(rate.measure, 0.0)
    spent = ROUNDING * max(begun, float(np.nanmax(observed[1:], initial=0.0)))
    level = DIGITS * float(np.nanmin(np.abs(w.loss)))
    if rate.measure == "gap":
        spent += level
    elif rate.measure == "distance" and constants["convexity"] > 0:
        spent += (2 * level / constants["convexity"]) ** 0.5
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = np.where(observed > spent, (observed - spent) / bound, 0.0)[1:]
    at = int(np.nanargmax(ratio))
    worst = float(ratio[at])
    held = worst <= 1 + ROUNDING
    said = "holds" if held else "fails: a constant is larger between the points measured"
    return row | {"ratio": worst, "at": at + 1, "holds": held, "said": said}


def _constants(
    w: Walked, taken: Mapping[str, float], gap: np.ndarray, minimum: np.ndarray
) -> dict[str, float]:
    """What the bounds are made of; those of classes along the run's own path, at every step."""
    sound = gap[0] > ROUNDING * max(float(np.max(np.abs(w.loss[0]))), 1e-300)
    ways = w.points[0] - minimum
    inner = np.sum(w.gradient[0] * ways, axis=-1)
    some = bool(np.any(sound))
    return {
        "smoothness": taken["smoothness"],
        "convexity": max(taken["convexity"], 0.0),
        "gap": float(gap[0, 0]),
        "domination": float(np.min((w.norm[0] ** 2)[sound] / (2 * gap[0][sound]))) if some else 0.0,
        "quasi_convexity": min(float(np.min(inner[sound] / gap[0][sound])), 1.0) if some else 0.0,
        "distance": float(np.linalg.norm(ways[0])),
    }


def _ruled_out(name: str, constants: Mapping[str, float], taken: Mapping[str, float]) -> str:
    """Which assumption of a row does not hold here; empty if all do."""
    needs_convex = RATES[name].assumption in ("convex", "mu-strongly convex")
    if needs_convex and taken["convexity"] < -1e-9 * taken["smoothness"]:
        return f"not convex, the Hessian has an eigenvalue of {taken['convexity']:.3g} on the way"
    if "quasi_convexity" in RATES[name].needs and constants["quasi_convexity"] <= 0:
        return f"not weakly quasi-convex, alpha is {constants['quasi_convexity']:.3g} on the way"
    return ""


def _observed(measure: str, w: Walked, gap: np.ndarray, minimum: np.ndarray) -> np.ndarray:
    """What a bound is on after 0, 1, ... steps, the mean over seeds."""
    square = w.norm**2
    count = np.arange(1, square.shape[1])
    first = np.full((len(square), 1), np.nan)
    if measure == "least_squared_gradient":
        told_of = np.isfinite(w.least[:, 1:])
        ran = np.minimum.accumulate(square, axis=1)[:, :-1]
        found = np.where(told_of, w.least[:, 1:], ran)
    elif measure == "mean_squared_gradient":
        found = np.cumsum(square[:, :-1], axis=1) / count
    elif measure == "gap":
        found = gap[:, 1:]
    elif measure == "distance":
        found = np.linalg.norm(w.points - minimum, axis=-1)[:, 1:]
    else:
        assert measure == "least_step"
        found = np.minimum.accumulate(np.linalg.norm(np.diff(w.points, axis=1), axis=-1), axis=1)
    return np.mean(np.concatenate([first, found], axis=1), axis=0)


def _exponent(w: Walked) -> tuple[float, float]:
    """Slope of ln(passes) against ln(1/eps), eps the least gradient norm so far, later half.

    NaN where eps has not fallen by `SPAN` there: a short stretch has no slope to speak of. What is
    below rounding is left out.
    """
    eps = np.minimum.accumulate(np.median(w.norm, axis=0))
    seen = (w.passes > 0) & (eps > ROUNDING * eps[0])
    new = np.flatnonzero((np.diff(eps, prepend=np.inf) < 0) & seen)
    new = new[len(new) // 2 :]
    if len(new) < 4:
        return float("nan"), float("nan")
    x, y = np.log(1 / eps[new]), np.log(w.passes[new])
    if np.ptp(x) < np.log(SPAN):
        return float("nan"), float("nan")
    (slope, _), cov = np.polyfit(x, y, 1, cov=True)
    return float(slope), float(np.sqrt(cov[0, 0]))


def _row(name: str) -> dict[str, Any]:
    rate = RATES[name]
    return {
        "row": name, "method": rate.method, "assumption": rate.assumption, "step": rate.step,
        "complexity": rate.complexity, "bounded": MEASURES.get(rate.measure, ("", ""))[1],
        "exponent": float("nan"), "exponent_error": float("nan"), "ratio": float("nan"), "at": 0,
        "holds": False, "said": "", "source": rate.source, "run": "",
    }  # fmt: skip


def row_without_run(name: str, why: str) -> dict[str, Any]:
    """A row of a method that was not run, with the reason where it could have been."""
    said = ["quoted"] if RATES[name].quoted else []
    return _row(name) | {"said": "; ".join(said + [f"not run: {why}"] * bool(why))}
