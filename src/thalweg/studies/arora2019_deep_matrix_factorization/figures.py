"""The figures of the study of deep matrix factorisation."""

from __future__ import annotations

from thalweg.report.spec import Figure, Level, Panel, Scalar, Series

STEP = "step"
METHODS = ("gradient descent", "group RMSprop", "gradient flow", "stabilised descent")


def _growth(N: int) -> Panel:
    select: dict[str, Scalar] = {"depth": N, "draw": 0}
    return Panel(
        series=(Series("X2", "values", "step", "mode", select, "mode"),),
        title=f"Depth {N}",
        x_label=STEP,
        y_label="singular values of the product",
    )


def _spectra(data: str, title: str) -> Panel:
    at: dict[str, Scalar] = {"draw": 0}
    return Panel(
        series=(
            Series(data, "truth_spectrum", "mode", "truth", at, style="dash"),
            Series(data, "nuclear_spectrum", "mode", "least nuclear norm", at, style="points"),
            *(
                Series(
                    data,
                    "spectrum",
                    "mode",
                    f"depth {N}",
                    {**at, "alpha": 1e-4, "depth": N},
                    style="points",
                )
                for N in (2, 3)
            ),
        ),
        title=title,
        x_label="rank of the singular value",
        y_label="singular value (entry)",
        y_log=True,
    )


def _errors(data: str, alpha: float, title: str) -> Panel:
    return Panel(
        series=(
            *(
                Series(
                    data,
                    "test",
                    "draw",
                    f"depth {N}",
                    {"alpha": alpha, "depth": N},
                    style="points",
                )
                for N in (2, 3, 4)
            ),
            Series(data, "nuclear_test", "draw", "least nuclear norm", style="dash"),
        ),
        title=title,
        x_label="draw",
        y_label="mean square over all entries",
        y_log=True,
    )


FIGURES = (
    Figure(
        "growth",
        "Deeper factorisations learn one singular value after another",
        "Ten largest singular values of the product under gradient descent from a small multiple "
        "of the identity, 30% of a 40x40 matrix of rank 3 seen. Without depth all grow at once and "
        "many are left over; with depth the large ones run ahead and the superfluous ones stay "
        "near zero, so that the result has low rank.",
        (_growth(1), _growth(2), _growth(3)),
    ),
    Figure(
        "alignment",
        "What keeps the singular vectors in motion dies out",
        "U^T G V for the leading ten modes at depth 2: its diagonal moves singular values, what "
        "is beside it turns singular vectors. Vectors stand still only where the rest vanishes.",
        (
            Panel(
                series=tuple(
                    Series("X2", name, "step", words, {"depth": 2, "draw": 0})
                    for name, words in (("diagonal", "diagonal"), ("rest", "beside it"))
                ),
                title="Depth 2",
                x_label=STEP,
                y_label="rms of UᵀGV",
                y_log=True,
            ),
        ),
    ),
    Figure(
        "recovery",
        "Depth recovers what the least nuclear norm does not",
        "Left and middle: mean square error over all entries, draw by draw; training ends at a "
        "mean square of 1e-6 on the entries seen, or after 20000 steps. Right: singular values of "
        "one draw. The least-norm completion has the smaller norm but a long tail; depth 3 has the "
        "three values of the truth and little else. A run far above the dashed line did not reach "
        "1e-6.",
        (
            _errors("X1", 1e-4, "25% seen, start 1e-4"),
            _errors("X1-480", 1e-3, "30% seen, start 1e-3"),
            _spectra("X1", "25% seen, start 1e-4"),
        ),
    ),
    Figure(
        "two-modes",
        "Why: a little more pull becomes a large gap, the larger the deeper",
        "Two modes from one start under constant pulls of ratio 0.6, second against first, flow "
        "and closed form (dashed, hidden behind). The gap is linear at depth 1, a power at depth "
        "2; from depth 3 on the second mode stays below a ceiling, at depth 3 the level drawn.",
        (
            Panel(
                series=tuple(
                    Series(
                        "closed",
                        y,
                        "leader",
                        f"depth {N}{words}",
                        {"depth": N},
                        style=style,
                        group=f"depth {N}",
                    )
                    for N in (1, 2, 3, 4)
                    for y, words, style in (
                        ("follower", "", "line"),
                        ("follower_theory", ", closed form", "dash"),
                    )
                ),
                title="Constant pulls",
                x_label="first singular value",
                y_label="second singular value",
                x_log=True,
                y_log=True,
                levels=(Level(0.78125, "ceiling of depth 3"),),
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
            Panel(
                series=(
                    *(
                        Series("X3", "gap", "alpha", f"depth {N}", {"depth": N}, style="points")
                        for N in (2, 3, 4, 6)
                    ),
                    Series("X3", "proportional", "alpha", "in proportion", style="dash"),
                ),
                title="Diagonal sensing, 4 measurements of 10 eigenvalues",
                x_label="start α",
                y_label="nuclear norm above the least",
                x_log=True,
                y_log=True,
            ),
        ),
    ),
    Figure(
        "methods",
        "One curve, several speeds",
        "Left: second singular value against the first at depth 2, for descent (dashed) and for "
        "descent with one adaptive scale for all parameters, at three step sizes: the same curve "
        "as steps shrink. Middle and right: gradients to a mean square of 1e-6 from one start, and "
        "the error there. Gradient flow by a stiff solver ends where descent in small steps does, "
        "for a fraction of the gradients; stabilised descent needs fewer still, but leaves the "
        "curve, and with it the implicit preference for low rank.",
        (
            Panel(
                series=(
                    Series("X6", "second", "place", "step size", {}, "rate"),
                    Series("X6", "reference", "place", "gradient descent", style="dash"),
                ),
                title="Two modes",
                x_label="first singular value",
                y_label="second singular value",
            ),
            *(
                Panel(
                    series=tuple(
                        Series("X5", y, "depth", name, {"method": name}, style="points")
                        for name in METHODS
                    ),
                    title=title,
                    x_label="depth",
                    y_label=label,
                    y_log=True,
                )
                for y, title, label in (
                    ("gradients", "Gradients to a mean square of 1e-6", "gradients"),
                    ("test", "Error where they end", "mean square over all entries"),
                )
            ),
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
