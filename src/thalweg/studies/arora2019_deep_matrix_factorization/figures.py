"""The figures of the study of deep matrix factorisation."""

from __future__ import annotations

from thalweg.lab.curves import curves, series
from thalweg.report.spec import Figure, Level, Panel

METHODS = ("gradient descent", "group RMSprop", "gradient flow", "stabilised descent")
LEAST = "least nuclear norm"
REFERENCE = series("X6", "reference", over="place", label="gradient descent", style="dash")


def _growth(N: int) -> Panel:
    at = {"depth": N, "draw": 0}
    return curves(
        "X2", "values", over="step", each="mode", only=(1, 2, 3, 4, 5), at=at, title=f"Depth {N}"
    )


def _spectra(data: str, title: str) -> Panel:
    at = {"draw": 0, "alpha": 1e-4}
    found = series(data, "spectrum", over="mode", each="depth", only=(2, 3), at=at, style="points")
    least = series(
        data, "nuclear_spectrum", over="mode", at={"draw": 0}, label=LEAST, style="points"
    )
    return curves(
        data,
        "truth_spectrum",
        over="mode",
        at={"draw": 0},
        labels={"truth_spectrum": "truth"},
        style="steps",
        more=[*least, *found],
        title=title,
        y_label="singular value (entry)",
        log="y",
    )


def _errors(data: str, alpha: float, title: str) -> Panel:
    return curves(
        data,
        "test",
        over="draw",
        each="depth",
        only=(2, 3, 4),
        at={"alpha": alpha},
        style="points",
        more=series(data, "nuclear_test", over="draw", label=LEAST, style="points"),
        title=title,
        log="y",
    )


def _method(y: str, title: str) -> Panel:
    return curves(
        "X5", y, over="depth", each="method", only=METHODS, style="points", title=title, log="y"
    )


FIGURES = (
    Figure(
        "growth",
        "Deeper factorisations learn one singular value after another",
        "Five largest singular values of the product under gradient descent from a small multiple "
        "of the identity, 30 % of a 40x40 matrix of rank 3 seen; deeper ones are followed longer. "
        "Without depth all grow at once and many are left over; with depth the large ones run "
        "ahead and the superfluous ones stay near zero, so that the result has low rank.",
        (_growth(1), _growth(2), _growth(3)),
    ),
    Figure(
        "alignment",
        "What keeps the singular vectors in motion dies out",
        "U^T G V for the leading ten modes at depth 2: its diagonal moves singular values, what "
        "is beside it turns singular vectors. Vectors stand still only where the rest vanishes.",
        (
            curves(
                "X2",
                ("diagonal", "rest"),
                over="step",
                at={"depth": 2, "draw": 0},
                labels={"diagonal": "diagonal", "rest": "beside it"},
                y_label="rms of U^T G V (entry)",
                log="y",
            ),
        ),
    ),
    Figure(
        "recovery",
        "Depth recovers what the least nuclear norm does not",
        "(a), (b) Mean square error over all entries, draw by draw; training ends at a mean square "
        "of 1e-6 on the entries seen, or after 20000 steps. (c) Singular values of one draw. The "
        "least-norm completion has the smaller norm but a long tail; depth 3 has the three values "
        "of the truth and little else. A run far above the least nuclear norm did not reach 1e-6.",
        (
            _errors("X1", 1e-4, "25 % seen, start 1e-4"),
            _errors("X1-480", 1e-3, "30 % seen, start 1e-3"),
            _spectra("X1", "singular values, 25 % seen, start 1e-4"),
        ),
    ),
    Figure(
        "two-modes",
        "Why: a little more pull becomes a large gap, the larger the deeper",
        "Two modes from one start under constant pulls of ratio 0.6, second against first, flow "
        "and closed form (dashed, hidden behind). The gap is linear at depth 1, a power at depth "
        "2; from depth 3 on the second mode stays below a ceiling, at depth 3 the level drawn.",
        (
            curves(
                "closed",
                "follower",
                over="leader",
                each="depth",
                only=(1, 2, 3, 4),
                theory=True,
                levels=(Level(0.78125, "ceiling of depth 3"),),
                log="xy",
            ),
        ),
    ),
    Figure(
        "commuting",
        "With commuting measurements all depths agree on the least nuclear norm",
        "Nuclear norm of the flow's limit above the least one by linear programming, against the "
        "size of the start. From depth 3 on it falls in proportion to the start (dashed). A norm "
        "that changes with depth can therefore not be what depth minimises in general.",
        (
            curves(
                "X3",
                "gap",
                over="alpha",
                each="depth",
                only=(2, 3, 4, 6),
                style="points",
                more=series("X3", "proportional", over="alpha", style="dash"),
                log="xy",
            ),
        ),
    ),
    Figure(
        "methods",
        "One curve, several speeds",
        "(a) Second singular value against the first at depth 2, for descent (dashed) and for "
        "descent with one adaptive scale for all parameters, at three step sizes: the same curve "
        "as steps shrink. (b) Gradients to a mean square of 1e-6 from one start, and (c) the error "
        "there. Gradient flow by a stiff solver ends where descent in small steps does, for a "
        "fraction of the gradients; stabilised descent needs fewer still, but leaves the curve, "
        "and with it the implicit preference for low rank.",
        (
            curves(
                "X6",
                "second",
                over="place",
                each="rate",
                only=(1.2e-2, 6e-3, 3e-3),
                labels={"second": "group RMSprop"},
                more=REFERENCE,
            ),
            _method("gradients", "gradients to a mean square of 1e-6"),
            _method("test", "error where they end"),
        ),
    ),
    Figure(
        "scaled",
        "The same at another size",
        "Singular values of one completion; at full scale the paper's own size, 100x100 of rank 5 "
        "with 2000 entries, at quick scale 24x24 of rank 2 with 190.",
        (_spectra("X1-scaled", "start 1e-4"),),
    ),
)
