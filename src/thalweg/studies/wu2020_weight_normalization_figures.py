"""The figures of the study of weight normalisation."""

from __future__ import annotations

from thalweg.report.spec import Figure, Level, Panel, Series

STARTS = ((0.1, "g0 = 0.1"), (1.0, "g0 = 1"), (2.0, "g0 = 2"), (4.0, "g0 = 4"))
SCALE = "initial scale g0"
DISTANCE = "||x - x*|| (parameter)"
TIME = "training time (step size)"


def _flows(y: str, title: str, y_label: str, y_log: bool = True) -> Panel:
    return Panel(
        series=tuple(Series("X1", y, "time", label, {"g0": g0, "c": 1.0}) for g0, label in STARTS),
        title=title,
        x_label=TIME,
        y_label=y_label,
        x_log=True,
        y_log=y_log,
    )


def _sweep(draw: int) -> Panel:
    fine = {"draw": draw, "eta": 0.005}
    return Panel(
        series=(
            Series("X2", "descent", "g0", "gradient descent", {"draw": draw}, style="points"),
            *(
                Series("X2", "distance", "g0", name, {**fine, "algorithm": name}, style="points")
                for name in ("rPGD", "WN")
            ),
            Series("X2", "limit", "g0", "flow (theory)", {"draw": draw}, style="dash"),
        ),
        title=f"draw {draw}",
        x_label=SCALE,
        y_label=DISTANCE,
        x_log=True,
        y_log=True,
    )


def _drift(y: str, algorithm: str, title: str, y_label: str) -> Panel:
    return Panel(
        series=tuple(
            Series(
                "X2", y, "time", f"eta = {eta}", {"algorithm": algorithm, "eta": eta, "g0": 2.0,
                "draw": 0}
            )
            for eta in (0.02, 0.005)
        ),
        title=title,
        x_label=TIME,
        y_label=y_label,
    )  # fmt: skip


def _conditioned(condition: float) -> Panel:
    at = {"condition": condition}
    return Panel(
        series=(
            Series("X2-condition", "descent", "relative_scale", "gradient descent", at),
            *(
                Series(
                    "X2-condition",
                    "distance",
                    "relative_scale",
                    name,
                    {**at, "algorithm": name},
                    style="points",
                )
                for name in ("rPGD", "WN")
            ),
            Series("X2-condition", "limit", "relative_scale", "flow (theory)", at, style="dash"),
        ),
        title=f"condition number {condition:g}",
        x_label="initial scale g0 / g*",
        y_label="||x - x*|| / g*",
        x_log=True,
        y_log=True,
    )


FIGURES = (
    Figure(
        "scale-sweep",
        "Weight normalisation forgives a large start, and loses to plain descent from a tiny one",
        "Distance from the least-norm solution at which gradient descent, projected descent (rPGD) "
        "and weight normalisation (WN) end, all three from the same point g0 w0, against g0 (step "
        "0.005, m = 20, d = 50). Plain descent keeps the part that the data do not see, so that "
        "its error is proportional to g0. The other two end where their common flow does (dashed): "
        "nearly independent of g0 up to g*, better in between, worse at both ends.",
        (_sweep(0), _sweep(1)),
    ),
    Figure(
        "flow",
        "As the scale grows, the part outside the row space dies",
        "The flow at c = 1 from four scales (m = 10, d = 30, ||x*|| = 3.12). Left: distance from "
        "the least-norm solution, which ends at the root of one equation. Middle: the scale g "
        "finds its value long before. Right: relative drift of w_perp exp(g^2/(2c)) from g0 = 1: "
        "it is constant to the solver's error, at c = 0.25 to the digits that the tiny w_perp has "
        "left.",
        (
            _flows("distance", "distance", DISTANCE),
            _flows("g", "scale", "g (parameter)", y_log=False),
            Panel(
                series=tuple(
                    Series("X1", "drift", "time", f"c = {c:g}", {"g0": 1.0, "c": c})
                    for c in (0.25, 1.0, 4.0)
                ),
                title="invariant",
                x_label=TIME,
                y_label="relative drift",
                x_log=True,
                y_log=True,
                levels=(Level(1e-8, "allowed at c = 1"),),
            ),
        ),
    ),
    Figure(
        "rate",
        "The loss falls at least at the rate 2 lambda_min min(c, g^2)",
        "Loss along the flow at c = 1, and dashed, in the same colour, the bound that the scale "
        "alone gives. From a small scale it is idle until g has grown to sqrt(c); then it has the "
        "right slope. Below 1e-20 of the first loss the solver's error rules.",
        (
            Panel(
                series=tuple(
                    Series(
                        "X1",
                        y,
                        "time",
                        label + words,
                        {"g0": g0, "c": 1.0},
                        style=style,
                        group=label,
                    )
                    for g0, label in (STARTS[0], STARTS[3])
                    for y, words, style in (("loss", "", "line"), ("loss_bound", " bound", "dash"))
                ),
                x_label=TIME,
                y_label="loss",
                x_log=True,
                y_log=True,
            ),
        ),
    ),
    Figure(
        "phases",
        "First the direction at a small scale, then the scale: the least-norm solution exactly",
        "Left: phase I with orthonormal rows and step 1/g0^2; dashed the closed form. Below g* "
        "the part outside the row space vanishes by the factor g0/g* a step, above g* it stays. "
        "Middle: phase II brings the scale to g* by the factor 1 - gamma = 0.8 a step. Right: "
        "general rows; the two phases end at the least-norm solution if phase I holds at most "
        "g*/2, and fail if it holds g0 above g* (a line for each of five draws).",
        (
            Panel(
                series=tuple(
                    Series(
                        "X3",
                        y,
                        "step",
                        f"g0 = {r} g*{words}",
                        {"draw": 0, "relative_scale": r},
                        style=style,
                        group=f"{r}",
                    )
                    for r in (0.3, 0.9, 1.5)
                    for y, words, style in (
                        ("perp", "", "points"),
                        ("perp_theory", " theory", "dash"),
                    )
                ),
                title="phase I",
                x_label="step",
                y_label="||w_perp||",
                y_log=True,
            ),
            Panel(
                series=(
                    Series("X3", "gap", "later", "measured", {"draw": 0}, style="points"),
                    Series("X3", "gap_theory", "later", "theory", {"draw": 0}, style="dash"),
                ),
                title="phase II",
                x_label="step of phase II",
                y_label="g* - g (parameter)",
                y_log=True,
            ),
            Panel(
                series=(
                    Series(
                        "X2",
                        "two_phase",
                        "g0",
                        "phase I at min(g0, g*/2)",
                        each="draw",
                        style="points",
                        group="small",
                    ),
                    Series("X2", "held_large", "g0", "phase I at g0", each="draw", group="same"),
                ),
                title="general rows",
                x_label=SCALE,
                y_label=DISTANCE,
                x_log=True,
                y_log=True,
            ),
        ),
    ),
    Figure(
        "step-size",
        "In steps the invariant drifts in proportion to the step size",
        "Left: the invariant of rPGD over its start, less one, from g0 = 2 at c = 1. Right: the "
        "norm of w under weight normalisation, which only grows. A fourth of the step leaves a "
        "fourth of either; all of it happens while the loss is large.",
        (
            _drift("invariant", "rPGD", "invariant of rPGD", "invariant / start - 1"),
            _drift("length", "WN", "norm under WN", "||w||"),
        ),
    ),
    Figure(
        "condition",
        "The condition number changes the time, not the end",
        "Larger systems whose A A^T has condition number 1, 10 and 100, step 0.05: distance from "
        "the least-norm solution relative to its norm g*. Both methods end within a few percent "
        "of the flow's limit (dashed), which knows nothing of the condition number.",
        tuple(_conditioned(condition) for condition in (1.0, 10.0, 100.0)),
    ),
)
