"""The figures of the study of weight normalisation."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel

STARTS = (0.1, 1.0, 2.0, 4.0)
DISTANCE = "||x - x*|| (parameter)"


def _sweep(draw: int) -> Panel:
    at, fine = {"draw": draw}, {"draw": draw, "eta": 0.005}
    theory = [
        *series("X2", "limit_curve", over="scale", at=at, label="flow, theory", style="dash"),
        *series("X2", "descent_curve", over="scale", at=at, label="descent, theory", style="dash"),
    ]
    both = series(
        "X2", "distance", over="g0", each="algorithm", only=("rPGD", "WN"), at=fine, style="points"
    )
    return curves(
        "X2",
        "descent",
        over="g0",
        at=at,
        labels={"descent": "gradient descent"},
        style="points",
        more=[*both, *theory],
        title=f"draw {draw}",
        y_label=DISTANCE,
        log="xy",
    )


def _drift(y: str, algorithm: str, title: str) -> Panel:
    at: dict[str, str | float] = {"algorithm": algorithm, "time": 400.0, "draw": 0}
    return curves("X2", y, over="g0", each="eta", only=(0.02, 0.005), at=at, title=title, log="x")


def _conditioned(condition: float) -> Panel:
    at = {"condition": condition}
    limit = series(
        "X2-condition", "limit", over="relative_scale", at=at, label="flow, theory", style="dash"
    )
    both = series(
        "X2-condition",
        "distance",
        over="relative_scale",
        each="algorithm",
        only=("rPGD", "WN"),
        at=at,
        style="points",
    )
    return curves(
        "X2-condition",
        "descent",
        over="relative_scale",
        at=at,
        labels={"descent": "gradient descent"},
        more=[*both, *limit],
        title=f"condition number {condition:g}",
        y_label="||x - x*||/g*",
        log="xy",
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
        "The flow at c = 1 from four scales (m = 10, d = 30, solution of norm 3.12). (a) Distance "
        "from the least-norm solution: it ends where one equation says. (b) The scale g has its "
        "value by then. (c) Relative drift of w_perp exp(g^2/(2c)) from g0 = 1: it is constant to "
        "the solver's error, at c = 0.25 to the digits that the tiny w_perp has left.",
        (
            curves("X1", "distance", each="g0", only=STARTS, at={"c": 1.0}, log="xy"),
            curves("X1", "g", each="g0", only=STARTS, at={"c": 1.0}, log="x"),
            curves(
                "X1",
                "drift",
                each="c",
                at={"g0": 1.0},
                levels=(Level(1e-8, "allowed at c = 1"),),
                log="xy",
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
            curves(
                "X1",
                "loss",
                each="g0",
                only=(0.1, 4.0),
                at={"c": 1.0},
                theory="loss_bound",
                log="xy",
            ),
        ),
    ),
    Figure(
        "phases",
        "First the direction at a small scale, then the scale: the least-norm solution exactly",
        "(a) Phase I with orthonormal rows and step 1/g0^2, dashed the closed form: below g* the "
        "part outside the row space shrinks at each step by the ratio g0/g*, above it stays. (b) "
        "Phase II brings the scale to g* by the factor 1 - gamma = 0.8 a step. (c) General rows: "
        "the two phases end at the least-norm solution if phase I holds at most g*/2, and fail if "
        "it holds a g0 above g* (1.83 here).",
        (
            curves(
                "X3",
                "perp",
                over="step",
                each="relative_scale",
                only=(0.3, 0.9, 1.5),
                named="g0/g*",
                at={"draw": 0},
                theory=True,
                style="points",
                log="y",
            ),
            curves("X3", "gap", over="later", at={"draw": 0}, theory=True, style="points", log="y"),
            curves(
                "X2",
                ("two_phase", "held_large"),
                over="g0",
                at={"draw": 0},
                style="points",
                y_label=DISTANCE,
                log="xy",
            ),
        ),
    ),
    Figure(
        "step-size",
        "In steps the invariant drifts in proportion to the step size",
        "(a) The invariant of rPGD over its start, less one, at the end of the run (c = 1), "
        "against g0. (b) The norm of w under weight normalisation, which only grows, from one. "
        "A fourth of the step leaves a fourth of either.",
        (
            _drift("invariant", "rPGD", "invariant of rPGD"),
            _drift("length", "WN", "norm under WN"),
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
