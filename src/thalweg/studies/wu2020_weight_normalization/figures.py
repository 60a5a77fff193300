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
            Series(
                "X2",
                "descent_curve",
                "scale",
                "descent (theory)",
                {"draw": draw},
                style="dash",
                group="gradient descent",
            ),
            *(
                Series("X2", "distance", "g0", name, {**fine, "algorithm": name}, style="points")
                for name in ("rPGD", "WN")
            ),
            Series(
                "X2",
                "limit_curve",
                "scale",
                "flow (theory)",
                {"draw": draw},
                style="dash",
                group="WN",
            ),
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
                "X2",
                y,
                "g0",
                f"eta = {eta}",
                {"algorithm": algorithm, "eta": eta, "time": 400.0, "draw": 0},
            )
            for eta in (0.02, 0.005)
        ),
        title=title,
        x_label=SCALE,
        y_label=y_label,
        x_log=True,
    )


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
        "its error is proportional to g0. The other two lie on each other, where their common flow "
        "ends (dashed): nearly independent of g0 up to one, better than descent in between, worse "
        "at both ends; where the curves cross differs from draw to draw.",
        (_sweep(0), _sweep(1)),
    ),
    Figure(
        "flow",
        "As the scale grows, the part outside the row space dies",
        "The flow at c = 1 from four scales (m = 10, d = 30, ||x*|| = 3.12). Distance from the "
        "least-norm solution: it ends where one equation says. Scale: g has its value by then. "
        "Invariant: relative drift of w_perp exp(g^2/(2c)) from g0 = 1: "
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
        "alone gives. From a small scale both are idle until g has grown. The bound takes the "
        "slowest direction and the smaller of c and g^2, so that it holds and is far from tight. "
        "Below 1e-20 of the first loss the solver's error rules.",
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
        "Phase I with orthonormal rows and step 1/g0^2, dashed the closed form: below g* the part "
        "outside the row space vanishes by the factor g0/g* a step, above g* it stays. Phase II "
        "brings the scale to g* by the factor 1 - gamma = 0.8 a step. General rows: the two phases "
        "end at the least-norm solution if phase I holds at most g*/2, and fail if it holds a g0 "
        "above g* (1.83 here).",
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
                        {"draw": 0},
                        style="points",
                    ),
                    Series("X2", "held_large", "g0", "phase I at g0", {"draw": 0}),
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
        "Left: the invariant of rPGD over its start, less one, at the end of the run (c = 1), "
        "against g0. Right: the norm of w under weight normalisation, which only grows, from one. "
        "A fourth of the step leaves a fourth of either.",
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
