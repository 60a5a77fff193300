"""The figures of the study of piecewise linear solutions."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel, Series

SHOWN = (1e2, 1e3, 1e4, 1e6)
COLD = Series("X2", "cold", "x", label="zero temperature", style="dash", group="500 neurons")


def _case(case: str, on: str) -> Panel:
    at = {"case": case}
    targets = series("X6", "targets", over="inputs", at=at, label="data", style="points")
    return curves(
        "X6",
        "prediction",
        over="x",
        at=at,
        labels={"prediction": "zero temperature"},
        more=targets,
        x_label=f"x of the {on} (input)",  # ranges of their own
        title=case.replace(", ", ", weight decay "),
    )


FIGURES = (
    Figure(
        "temperature",
        "As the temperature falls the net becomes piecewise linear",
        "The infinitely wide net on twelve points in three plateaus, weight decay 0.003, at "
        "inverse temperatures beta. (a) The prediction rounds its corners less and less; dashed "
        "the limit, a tent with knots at 2.1 and 2.150, which misses the data. (b) The absolute "
        "second derivative: peaks at the two knots, and what is left elsewhere.",
        (
            curves(
                "X1",
                "prediction",
                over="x",
                each="beta",
                only=SHOWN,
                more=series("X1", "cold", over="x", label="zero temperature", style="dash"),
            ),
            curves("X1", "curvature", over="x", each="beta", only=SHOWN, log="y"),
        ),
    ),
    Figure(
        "curvature",
        "Curvature vanishes off the knots and diverges at them",
        "Largest absolute second derivative on [0.9, 3.4] against the inverse temperature, farther "
        "than 0.08 from both knots and anywhere. Far from the knots it falls as 1/beta once the "
        "peaks have become narrow.",
        (
            curves(
                "X1",
                ("far", "near"),
                over="beta",
                labels={"far": "far from the knots", "near": "anywhere"},
                style="points",
                y_label="largest |y''| (output/input²)",
                log="xy",
            ),
        ),
    ),
    Figure(
        "particles",
        "Five hundred neurons are already wide",
        "(a) Descent without noise from standard normal neurons, after 200,000 steps at quick "
        "scale, and dashed the zero-temperature net. (b) Its objective over the infimum, less one. "
        "(c) The average over time of noisy neurons at beta = 100, and dashed the Gibbs net.",
        (
            curves(
                "X2",
                "outputs",
                over="x",
                at={"seed": 0},
                labels={"outputs": "500 neurons"},
                more=(COLD,),
            ),
            curves("X2", "excess", each="seed", log="xy", x_label="time (sum of step sizes)"),
            curves(
                "X3",
                "outputs",
                over="x",
                each="width",
                at={"seed": 0},
                more=series("X3", "gibbs", over="x", label="Gibbs law", style="dash"),
            ),
        ),
    ),
    Figure(
        "noise",
        "The printed noise samples twice the inverse temperature",
        "Mean square of the neurons along noisy descent on two points, beta = 20, from a tenth of "
        "the run on. With variance 4 s/beta (gibbs) it fluctuates about the Gibbs law, with the "
        "printed 2 s/beta (paper) about that at 40.",
        (
            curves(
                "X3-noise",
                "along",
                each="convention",
                only=("gibbs", "paper"),
                at={"seed": 0},
                levels=(Level(0.82385, "law at 20"), Level(0.76996, "law at 40")),
            ),
        ),
    ),
    Figure(
        "knots-of-gaps",
        "At most three knots in a gap",
        "How many gaps between neighbouring inputs of random data sets have so many knots, and so "
        "many of them inside. Other counts do not occur: with three knots two lie at the inputs.",
        (curves("X4", "count", over="pattern", style="points", x_label="knots of a gap"),),
    ),
    Figure(
        "data-of-the-paper",
        "Knots beside the data",
        "Zero-temperature nets on the paper's data at two weight decays. The bends between the "
        "inputs, as at 4.99 and 6.33 in (b), are no artefact of training.",
        (
            _case("plateaus, 0.0001", "plateaus"),
            _case("seven points, 0.0001", "seven points"),
            _case("seven points, 0.003", "seven points"),
        ),
    ),
)
