"""The page of a diagnosis, as data: verdict, numbers, figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from thalweg.comparison.comparison import Comparison
from thalweg.problems import Supervised
from thalweg.report import Figure, Level, Number, Page, Panel, Series
from thalweg.trajectory import Trajectory

TONES = {
    "gradient flow": "good",
    "off the flow": "neutral",
    "catapult": "warn",
    "edge of stability": "warn",
    "divergent": "bad",
}
TABLE, SOLVER = "comparison", "solver"
# What a tile shows, for who meets it for the first time; by the beginning of its label.
HELP = {
    "step size": "How far one step moves the parameters along the negative gradient (the learning "
    "rate). One step takes this much training time.",
    "largest distance": "The norm of the difference between the parameters of both at the same "
    "training time, where it is largest. A parameter has no natural size: read it beside the way "
    "that the flow travels.",
    "relative to the way": "The largest distance divided by the farthest that the flow gets from "
    "its start, its way. A few per cent look like one curve in a picture.",
    "largest sharpness": "The sharpness is the largest eigenvalue of the Hessian: how strongly the "
    "loss curves in its steepest direction. Where it lies above the threshold, steps overshoot "
    "along that direction.",
    "threshold": "The largest curvature at which steps of this size are stable on a quadratic. "
    "Training often drives the sharpness up to it: the edge of stability.",
    "step size the theorem": "A step size for which a theorem keeps the iterates near the flow, "
    "computed from curvature on the path. It holds for every loss of such curvature, so that for "
    "one run it is far too careful as a rule: no advice to train with it.",
    "stiffness budget": "The sharpness added up over training time. A solver of gradient flow "
    "needs about twice as many gradients, so it tells what following the flow costs.",
    "gradient evaluations": "How many gradients of the whole training set the path took. What was "
    "measured along it is not counted.",
}
TIME = "training time (sum of step sizes)"


def diagnosis_page(
    verdict: Comparison,
    table: xr.Dataset,
    descent: Trajectory,
    flow: Trajectory,
    problem: Supervised,
    data: str,
    command: str,
) -> Page:
    """Everything the report of a diagnosis says besides the stored data."""
    about = problem.describe()
    question = (
        f"Does gradient descent with step size {verdict.step_size:g} follow gradient flow when "
        f"{about['model']} is trained on {about['examples']} examples of {data} "
        f"with {about['loss']}?"
    )
    notes = [f"Note: {text}." for text in verdict.warnings]
    if not problem.smooth:
        notes.append("Note: Hessians are those of the linear piece between kinks.")
    return Page(
        title=f"Gradient descent against gradient flow: {data}",
        kind="comparison",
        question=question,
        verdict=verdict.sentence,
        verdict_tone=TONES[verdict.regime],
        numbers=tuple(_numbers(verdict, table, flow.dataset)),
        paragraphs=(*verdict.reasons, *notes),
        figures=(*_figures(verdict, table), _solver(flow.dataset)),
        provenance=_provenance(descent, flow, about),
        command=command,
        datasets=(TABLE,),
        source=(
            "O. Elkabetz and N. Cohen, Continuous vs. Discrete Optimization of Deep Neural "
            "Networks, NeurIPS 2021; J. Cohen et al., Gradient Descent on Neural Networks "
            "Typically Occurs at the Edge of Stability, ICLR 2021"
        ),
        minutes=round(_seconds(descent, flow) / 60, 2),
    )


def _numbers(verdict: Comparison, table: xr.Dataset, flow: xr.Dataset) -> list[Number]:
    gap = table["distance"]
    seeds = table.sizes["seed"]
    spread = f"worst of {seeds} seeds" if seeds > 1 else "one seed"
    shown = [Number("step size eta", verdict.step_size, unit="")]
    if bool(np.isfinite(gap).any()):
        way = table["displacement"].max("time")
        at = gap.max("time") / way.where(way > 0)
        worst = int(np.nanargmax(at.values)) if bool(np.isfinite(at).any()) else 0
        error = float(table["distance_error"].isel(seed=worst).max())
        shown += [
            Number("largest distance at equal time", float(gap.max()), error, "parameter", spread),
            Number(
                "relative to the way of the flow",
                100 * float(at.max()),
                100 * error / max(float(way[worst]), 1e-300),
                "%",
                f"{verdict.eps:.0%} counts as following it",
            ),
        ]
    if "descent_sharpness" in table:
        sharpness = table["descent_sharpness"]
        flat = int(np.nanargmax(sharpness.values))
        error = float(table["descent_sharpness_error"].values.ravel()[flat])
        shown += [
            Number("largest sharpness of descent", float(sharpness.max()), error, "loss/param²"),
            Number(f"threshold {verdict.rule.formula}", verdict.rule.threshold, unit="loss/param²"),
        ]
    if verdict.certificates:
        least = min(verdict.certificates, key=lambda c: c.certificate.step_size).certificate
        note = f"for a distance of {least.eps:.3g}; from curvature on the path, no guarantee"
        shown.append(Number("step size the theorem indicates", least.step_size, note=note))
    if bool(np.isfinite(flow["stiffness_budget"]).any()):
        budget = float(flow["stiffness_budget"].max())
        note = "integral of the sharpness over training time, within a few per cent"
        shown.append(Number("stiffness budget of the flow", budget, note=note))
    for prefix, name in (("descent", "gradient descent"), ("flow", "gradient flow")):
        cost = int(np.max(table[f"{prefix}_evaluations"].isel(time=-1)))
        shown.append(Number(f"gradient evaluations, {name}", cost, note="measuring not counted"))
    return [replace(number, help=_help(number.label)) for number in shown]


def _help(label: str) -> str:
    """The words for a tile; of two beginnings that fit, the longer one's."""
    fitting = [start for start in HELP if label.startswith(start)]
    return HELP[max(fitting, key=len)] if fitting else ""


def _both(variable: str, **options: Any) -> tuple[Series, ...]:
    """A variable of descent and of flow, in the two colours of the page."""
    return (
        Series(TABLE, f"descent_{variable}", label="gradient descent", group="descent", **options),
        Series(
            TABLE,
            f"flow_{variable}",
            label="gradient flow",
            group="flow",
            **({"style": "dash"} | options),
        ),
    )


def _figures(verdict: Comparison, table: xr.Dataset) -> list[Figure]:
    each: dict[str, Any] = {"each": "seed"}
    if table.sizes["seed"] == 1:
        each = {"select": {"seed": int(table["seed"][0])}}
    panels = [Panel(_both("loss", **each), "Loss", TIME, "loss", y_log=_positive(table, "loss"))]
    if "descent_accuracy" in table:
        panels.append(Panel(_both("accuracy", **each), "Training accuracy", TIME, "fraction"))
    figures = [
        Figure(
            "loss",
            "Both dynamics on one clock",
            "Gradient descent and gradient flow from the same initial parameters; step k of "
            "descent is drawn at training time k·eta.",
            tuple(panels),
        )
    ]
    bound = bool(np.isfinite(table["distance_bound"]).any())
    gaps = [
        Series(TABLE, "distance", label="distance", error="distance_error", **each),
        Series(TABLE, "displacement", label="way of the flow", style="dash", **each),
    ]
    if bound:
        gaps.append(
            Series(TABLE, "distance_bound", label="bound (indicative)", style="points", **each)
        )
    figures.append(
        Figure(
            "distance",
            "How far descent is from the flow",
            "Left: distance between the parameters at equal training time, with the flow's own "
            "error, beside the distance that the flow has travelled from its start. "
            "Right: the distance as a share of the whole way; below the line descent counts as "
            "following the flow.",
            (
                Panel(tuple(gaps), "Distance", TIME, "parameter", y_log=True),
                Panel(
                    (Series(TABLE, "share_of_way", label="share of the whole way", **each),),
                    "Distance over the whole way",
                    TIME,
                    "fraction",
                    y_log=True,
                    levels=(Level(verdict.eps, f"eps = {verdict.eps:g}"),),
                ),
            ),
        )
    )
    if "descent_sharpness" in table:
        threshold = verdict.rule.threshold
        top = float(table["descent_sharpness"].max())
        # A threshold far above the data would press the curves flat.
        levels = (Level(threshold, "2/eta"),) if threshold < 5 * top else ()
        lower = list(_both("smallest_eigenvalue", **each))
        lower.append(
            Series(
                TABLE, "flow_smallest_eigenvalue_least", label="flow: not below, 99 %",
                style="points", **each,
            )
        )  # fmt: skip
        if "flow_smallest_eigenvalue_bound" in table:
            lower.append(
                Series(TABLE, "flow_smallest_eigenvalue_bound", label="theory: not below", **each)
            )
        far = f" (2/eta = {threshold:.4g} lies above the picture)" if not levels else ""
        figures.append(
            Figure(
                "curvature",
                "Curvature along both",
                f"Left: sharpness against the threshold of stability 2/eta{far}; bands are "
                "residuals. Right: smallest Hessian eigenvalue (lines) and how low it can be with "
                "probability at least 99 % (points). Its negative part is what lets descent leave "
                "the flow.",
                (
                    Panel(
                        _both("sharpness", **each), "Sharpness", TIME, "loss/parameter²",
                        levels=levels,
                    ),
                    Panel(tuple(lower), "Smallest eigenvalue", TIME, "loss/parameter²"),
                ),
            )
        )  # fmt: skip
    if "descent_singular_values" in table:
        figures.append(_layers(table))
    return figures


def _layers(table: xr.Dataset) -> Figure:
    """Singular values and balancedness of one seed's layers."""
    seed = int(table["seed"][0])
    first = {"seed": seed, "layer": 0}
    values = Series(TABLE, "flow_singular_values", label="flow", select=first, each="rank")
    panels = [Panel((values,), "Singular values of the first layer", TIME, "parameter")]
    if "descent_balancedness" in table:
        pairs = (
            Series(
                TABLE, f"{prefix}_balancedness", label=name, select={"seed": seed}, each="pair",
                group="imbalance", style=style,
            )
            for prefix, name, style in (("descent", "descent", "line"), ("flow", "flow", "dash"))
        )  # fmt: skip
        panels.append(Panel(tuple(pairs), "Imbalance of adjacent layers", TIME, "parameter²"))
    return Figure(
        "layers",
        "What happens in the layers",
        f"Seed {seed}. Left: singular values of the first weight matrix along the flow. Right: "
        "Frobenius norm of W'ᵀW' - WWᵀ for each pair of adjacent layers W, W'; gradient flow "
        "conserves the matrix itself on deep linear nets, gradient descent only roughly.",
        tuple(panels),
    )


def _solver(flow: xr.Dataset) -> Figure:
    """What following the flow took."""
    seed = int(flow["seed"][0])
    here: dict[str, Any] = {"select": {"seed": seed}}
    spent = Series(SOLVER, "solver_evaluations", each="spent_on", style="steps", **here)
    panels = [Panel((spent,), "Gradients spent", TIME, "gradient evaluations")]
    if bool(np.isfinite(flow["stiffness_budget"]).any()):
        budget = Series(SOLVER, "stiffness_budget", label="Z", **here)
        panels.append(Panel((budget,), "Stiffness budget", TIME, "integral of the sharpness"))
    for name, title, label in (
        ("step_length", "Length of the solver's last step", "training time"),
        ("stages", "Stages of the solver's last step", "gradient evaluations"),
    ):
        last = Series(SOLVER, name, label=name.replace("_", " "), style="points", **here)
        panels.append(Panel((last,), title, TIME, label, y_log=name == "step_length"))
    return Figure(
        "solver",
        "What following the flow took",
        f"Seed {seed}. Gradients by the method that spent them (the cheapest is chosen at each "
        "step), for the bound of the curvature, and for the error estimate. The stiffness budget Z "
        "predicts the cost: explicit solvers need about 2 Z gradients. Where curvature falls or "
        "the path straightens, the steps grow.",
        tuple(panels),
    )


def _positive(table: xr.Dataset, name: str) -> bool:
    return all(
        bool((table[f"{p}_{name}"].where(np.isfinite(table[f"{p}_{name}"]), 1.0) > 0).all())
        for p in ("descent", "flow")
    )


def _seconds(*runs: Trajectory) -> float:
    return sum(float(r.dataset.attrs.get("seconds", 0.0)) for r in runs)


def _provenance(descent: Trajectory, flow: Trajectory, about: dict[str, Any]) -> dict[str, Any]:
    record = descent.provenance
    return {
        "started": record["started"],
        "seconds of gradient descent with measurements": round(_seconds(descent), 2),
        "seconds of gradient flow with measurements": round(_seconds(flow), 2),
        "precision": about["precision"],
        "seeds": ", ".join(str(s) for s in descent.dataset["seed"].values),
        **{
            f"dynamics: {k}": str(v)
            for k, v in flow.provenance["configuration"]["dynamics"].items()
        },
        **{f"problem: {k}": str(v) for k, v in about.items() if k != "data"},
        **{f"data: {k}": str(v) for k, v in about["data"].items()},
        **{f"version of {k}": v for k, v in record["versions"].items()},
        **{k: str(v) for k, v in record["platform"].items()},
    }
