"""The page of a table of rates: rows as claims, paths as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalweg.probes import Assumption
from thalweg.report import Figure, Number, Page, Panel, Series
from thalweg.report.number import show
from thalweg.report.spec import ClaimRow

SOURCE = (
    "M. Danilova et al., Recent Theoretical Advances in Non-Convex Optimization, 2022, "
    "arXiv:2012.06188; F. Benning, High-Dimensional Optimization through the Lens of Machine "
    "Learning, 2021, arXiv:2112.15392"
)


def rates_page(
    rows: Sequence[dict[str, Any]],
    assumptions: Sequence[Assumption],
    about: dict[str, Any],
    command: str,
    seconds: float,
) -> Page:
    """What the page says besides the stored data."""
    held = [row for row in rows if row["ratio"] == row["ratio"]]
    broken = [row for row in held if not row["holds"]]
    worst = max((row["ratio"] for row in held), default=float("nan"))
    verdict = (
        f"All {len(held)} bounds that could be held against a run hold; the nearest is used to "
        f"{100 * worst:.3g} %."
        if not broken
        else f"{len(broken)} of {len(held)} bounds fail, though their assumptions seemed to hold: "
        "a constant is larger than was measured."
    )
    return Page(
        title=f"The table of rates: {_named(about)}",
        kind="comparison",
        question="How far is each method, at its theorem's step size, from what is guaranteed?",
        verdict=verdict,
        verdict_tone="warn" if broken else "good",
        numbers=tuple(
            Number(a.name.replace("_", " "), a.value, a.error, _unit(a.unit), a.bound, a.about)
            for a in assumptions
        ),
        figures=(_figure(),),
        claims=tuple(_claim(row, i) for i, row in enumerate(rows)),
        provenance={k: v for k, v in about.items() if isinstance(v, str | int | float | bool)},
        command=command,
        datasets=("rates", "paths"),
        source=SOURCE,
        minutes=round(seconds / 60, 2),
    )


def _named(about: dict[str, Any]) -> str:
    """A problem in a few words: its data, where they have a name, and its loss."""
    known = about.get("data", {}).get("name", "")
    words = [known, about.get("loss", "")] if known != "arrays" else [about.get("loss", "")]
    return ", ".join(word for word in words if word) or str(about.get("kind", "a problem"))


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


def _claim(row: dict[str, Any], place: int) -> ClaimRow:
    """A row of the table: its bound is the claim, that the ratio is at most 1 its check."""
    ran = row["ratio"] == row["ratio"]
    exponent = row["exponent"]
    cost = f"complexity {row['complexity']}" if row["complexity"] else ""
    told = f"; on this run eps^-({show(exponent, row['exponent_error'])})"
    told = told if exponent == exponent else ""
    at = f"{row['bounded']} over its bound, largest at step {row['at']}" if ran else ""
    return ClaimRow(
        id=f"R{place + 1}",
        statement=f"{row['method']}; {row['assumption']}; step {row['step']}; {cost}{told}.",
        kind="exact",
        verdict=("reproduced" if row["holds"] else "not reproduced") if ran else "not run",
        measured=row["ratio"] if ran else None,
        expected="at most 1" if ran else None,
        reason=at if row["said"] == "holds" else "; ".join(filter(None, (at, row["said"]))),
        source=row["source"],
    )


def _figure() -> Figure:
    def panel(y: str, label: str) -> Panel:
        return Panel(
            (Series("paths", y, "passes", each="run"),),
            x_label="gradients of the whole",
            y_label=label,
            x_log=True,
            y_log=True,
        )

    return Figure(
        "paths",
        "What each method reaches for its cost",
        "Gradient norm and loss, the median over seeds, against the gradients of the whole that "
        "were spent; gradients of single examples count as their share.",
        (panel("gradient_norm", "gradient norm"), panel("loss", "loss")),
    )
