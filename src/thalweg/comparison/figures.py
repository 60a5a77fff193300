"""The pictures of a comparison, as data: loss, distance, curvature, layers, the solver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from thalweg.comparison.regime import capital
from thalweg.dynamics.stability import StabilityRule
from thalweg.report import Figure, Level, Panel, Series

TABLE, SOLVER = "comparison", "solver"
TIME = "training time (sum of step sizes)"
# What a flow tells of its solver, and how each is drawn: title, axis, style.
OF_THE_SOLVER = {
    "solver_evaluations": ("Gradients spent", "gradient evaluations", "steps"),
    "stiffness_budget": ("Stiffness budget", "integral of the sharpness", "line"),
    "step_length": ("Length of the solver's last step", "training time", "points"),
    "stages": ("Stages of the solver's last step", "gradient evaluations", "points"),
}
UNITS = {"loss/parameter^2": "loss/parameter²"}


@dataclass(frozen=True)
class Drawing:
    """What the pictures of a comparison are drawn from.

    Attributes:
        table: Both at the common times, dims (seed, time).
        rule: The stability rule that was judged by.
        step_size: Training time of a step, None for a schedule.
        eps: The relative distance that still counts as following the flow.
        name: Of the dynamics, within a sentence.
        flow: Of the flow beside it, within a sentence.
        apart: Whether the two are judged at equal loss, not at equal time.
    """

    table: xr.Dataset
    rule: StabilityRule
    step_size: float | None
    eps: float
    name: str
    flow: str
    apart: bool = False

    @property
    def each(self) -> dict[str, Any]:
        """One line a seed; of a single seed no legend of seeds."""
        if self.table.sizes["seed"] == 1:
            return {"select": {"seed": int(self.table["seed"][0])}}
        return {"each": "seed"}

    @property
    def threshold(self) -> str:
        """The threshold in a few letters, as a line in a narrow panel has room for."""
        formula = self.rule.formula
        return formula if formula[:1] in ("2", "(") and len(formula) < 16 else "threshold"

    def both(self, variable: str, **options: Any) -> tuple[Series, ...]:
        """A variable of the dynamics and of the flow, where measured, in the page's two colours."""
        kinds: tuple[tuple[str, str, dict[str, Any]], ...]
        kinds = (
            ("descent", self.name, {}),
            ("flow", self.flow, {"style": "dash"}),
            ("central", "the central flow", {"style": "dash"}),
            ("central_predicted", "mean loss it predicts", {"style": "line"}),
        )
        return tuple(
            Series(
                TABLE, f"{prefix}_{variable}", label=short(name), group=prefix,
                **(style | options),
            )
            for prefix, name, style in kinds
            if f"{prefix}_{variable}" in self.table
        )  # fmt: skip

    def figures(self) -> list[Figure]:
        """All that there is to draw, in reading order; without the solver, see `solver`."""
        drawn = [self._losses(), self._at_equal_loss() if self.apart else self._distances()]
        if "descent_sharpness" in self.table or "flow_sharpness" in self.table:
            drawn.append(self._curvature())
        if "flow_singular_values" in self.table:
            drawn.append(self._layers())
        return drawn

    def _losses(self) -> Figure:
        log = all(
            bool((known.where(np.isfinite(known), 1.0) > 0).all())
            for known in (self.table[f"{p}_loss"] for p in ("descent", "flow"))
        )
        panels = [Panel(self.both("loss", **self.each), "Loss", TIME, "loss", y_log=log)]
        if "descent_accuracy" in self.table:
            both = self.both("accuracy", **self.each)
            panels.append(Panel(both, "Training accuracy", TIME, "fraction"))
        size = self.step_size
        clock = "the sum of its first k step sizes" if size is None else f"{size:.4g} k"
        return Figure(
            "loss",
            "Both dynamics on one clock",
            f"{capital(self.name)} and {self.flow} from the same initial parameters; step k of "
            f"{self.name} is drawn at training time {clock}."
            + self._central("the central flow, and the mean loss that it predicts of the steps"),
            tuple(panels),
        )

    def _central(self, shown: str) -> str:
        """What a caption adds where the central flow was followed."""
        return f" At the edge of stability: {shown}." if "central_loss" in self.table else ""

    def _distances(self) -> Figure:
        gaps = [
            Series(TABLE, "distance", label="distance", error="distance_error", **self.each),
            Series(TABLE, "displacement", label="way of the flow", style="dash", **self.each),
        ]
        if "central_distance" in self.table:
            gaps += [
                Series(
                    TABLE, variable, label=f"{label}, smoothed steps", style=style,
                    **self.each,
                )
                for variable, label, style in (
                    ("central_distance", "from the central flow", "line"),
                    ("flow_smoothed_distance", f"from {short(self.flow)}", "line"),
                )
            ]  # fmt: skip
        if bool(np.isfinite(self.table["distance_bound"]).any()):
            gaps.append(
                Series(
                    TABLE, "distance_bound", label="bound (indicative)", style="points", **self.each
                )
            )
        share = Series(TABLE, "share_of_way", label="share of the whole way", **self.each)
        return Figure(
            "distance",
            f"How far {self.name} is from {self.flow}",
            "Left: distance between the parameters at equal training time, with the flow's own "
            "error, beside the distance that the flow has travelled from its start. "
            f"Right: the distance as a share of the whole way; below the line {self.name} counts "
            "as following the flow."
            + self._central(
                "on the left the distance of the steps, freed from their oscillation, from the "
                "central flow and from the other"
            ),
            (
                Panel(tuple(gaps), "Distance", TIME, "parameter", y_log=True),
                Panel(
                    (share,), "Distance over the whole way", TIME, "fraction", y_log=True,
                    levels=(Level(self.eps, f"eps = {self.eps:g}"),),
                ),
            ),
        )  # fmt: skip

    def _at_equal_loss(self) -> Figure:
        """The distance where both have the same loss, which falls to the left."""
        along: dict[str, Any] = {"x": "equal_loss", **self.each}
        gap = Series(
            TABLE, "equal_loss_distance", label="distance", error="equal_loss_distance_error",
            **along,
        )  # fmt: skip
        share = Series(TABLE, "equal_loss_share_of_way", label="share of the way", **along)
        return Figure(
            "distance",
            f"How far {self.name} is from {self.flow} where their losses are equal",
            "Left: distance between the parameters where both have the same loss, with its error; "
            "training goes from right to left. Right: the distance as a share of the way that the "
            f"flow travels to the lowest loss that both reach; below the line {self.name} counts "
            "as going the same way.",
            (
                Panel((gap,), "Distance", "loss", "parameter", x_log=True, y_log=True),
                Panel(
                    (share,), "Distance over the way", "loss", "fraction", x_log=True, y_log=True,
                    levels=(Level(self.eps, f"eps = {self.eps:g}"),),
                ),
            ),
        )  # fmt: skip

    def _curvature(self) -> Figure:
        """What the rule judges by against its threshold, the sharpness, the smallest eigenvalue."""
        told, panels = [], []
        judged = self.rule.eigenvalue if self.rule.known else ""
        for name in dict.fromkeys(("sharpness", judged)):
            if not name or f"descent_{name}" not in self.table:
                continue
            levels: tuple[Level, ...] = ()
            lost = False
            word = name.replace("_", " ")
            if name == judged:
                value = self.rule.threshold
                top = float(self.table[f"descent_{name}"].max())
                # A threshold far above the data would press the curves flat.
                levels = (Level(value, self.threshold),) if value < 5 * top else ()
                # A divergent run leaps by decades: linearly, all but one record lies on zero.
                lost = 0 < 30 * value < top
                far = "" if levels else f" (at {value:.4g}, above the picture)"
                told.append(f"{word} against the threshold of stability, {self.rule.formula}{far}")
            else:
                told.append(word)
            unit = str(self.table[f"descent_{name}"].attrs.get("units", ""))
            both = self.both(name, **self.each)
            axis = UNITS.get(unit, unit)
            panels.append(Panel(both, capital(word), TIME, axis, y_log=lost, levels=levels))
        lower = list(self.both("smallest_eigenvalue", **self.each))
        ends = {"least": "not below, 99 %", "bound": "theory: not below"}
        for end, label in ends.items() if lower else ():
            variable = f"flow_smallest_eigenvalue_{end}"
            if variable in self.table:
                style = "points" if end == "least" else "line"
                label = f"flow: {label}" if end == "least" else label
                lower.append(Series(TABLE, variable, label=label, style=style, **self.each))
        if lower:
            panels.append(Panel(tuple(lower), "Smallest eigenvalue", TIME, "loss/parameter²"))
            told.append(
                "smallest Hessian eigenvalue (lines) and how low it can be with probability at "
                "least 99 % (points); its negative part is what lets steps leave the flow"
            )
        places = {1: [""], 2: ["Left: ", "Right: "], 3: ["Left: ", "Middle: ", "Right: "]}
        caption = " ".join(
            f"{place}{words}." for place, words in zip(places[len(panels)], told, strict=True)
        )
        if len(panels) == 1:
            caption = capital(caption)
        caption += " Bands are residuals."
        return Figure("curvature", "Curvature along both", caption, tuple(panels))

    def _layers(self) -> Figure:
        """Singular values and balancedness of one seed's layers."""
        seed = int(self.table["seed"][0])
        first = {"seed": seed, "layer": 0}
        values = Series(TABLE, "flow_singular_values", label="flow", select=first, each="rank")
        panels = [Panel((values,), "Singular values of the first layer", TIME, "parameter")]
        told = f"Seed {seed}. Left: singular values of the first weight matrix along the flow."
        if "descent_balancedness" in self.table:
            pairs = (
                Series(
                    TABLE, f"{prefix}_balancedness", label=short(name), select={"seed": seed},
                    each="pair", group="imbalance", style=style,
                )
                for prefix, name, style in (
                    ("descent", self.name, "line"), ("flow", self.flow, "dash"),
                )
            )  # fmt: skip
            panels.append(Panel(tuple(pairs), "Imbalance of adjacent layers", TIME, "parameter²"))
            told += (
                " Right: Frobenius norm of W'ᵀW' - WWᵀ for each pair of adjacent layers W, W'; "
                "gradient flow conserves the matrix itself on deep linear nets, steps only roughly."
            )
        else:
            told = told.replace(" Left: singular", " Singular")
        return Figure("layers", "What happens in the layers", told, tuple(panels))


def solver(flow: xr.Dataset) -> list[Figure]:
    """What following the flow took, as far as its solver tells."""
    seed = int(flow["seed"][0])
    here: dict[str, Any] = {"select": {"seed": seed}}
    panels = []
    for name, (title, axis, style) in OF_THE_SOLVER.items():
        if name not in flow or not bool(np.isfinite(flow[name].values.astype(float)).any()):
            continue
        fan: dict[str, Any] = {"each": "spent_on"} if name == "solver_evaluations" else {}
        label = {"solver_evaluations": "", "stiffness_budget": "Z"}.get(name, name)
        series = Series(SOLVER, name, label=label.replace("_", " "), style=style, **here, **fan)
        panels.append(Panel((series,), title, TIME, axis, y_log=name == "step_length"))
    if not panels:
        return []
    budget = ""
    if any(panel.title == OF_THE_SOLVER["stiffness_budget"][0] for panel in panels):
        budget = (
            "The stiffness budget Z predicts the cost: explicit solvers need about 2 Z gradients. "
        )
    return [
        Figure(
            "solver",
            "What following the flow took",
            f"Seed {seed}. Gradients by the method that spent them (the cheapest is chosen at each "
            f"step), for the bound of the curvature, and for the error estimate. {budget}Where "
            "curvature falls or the path straightens, the steps grow.",
            tuple(panels),
        )
    ]


def short(name: str) -> str:
    """The name of a dynamics in a legend."""
    return name.removeprefix("the ")
