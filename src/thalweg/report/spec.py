"""What a page says, as plain data: the studies write it, the renderer reads it, JSON lies between.

Every record is a frozen dataclass. `to_json` gives a dictionary of JSON values only (a non-finite
number becomes `{"$float": "nan"}`, "inf" or "-inf", since JSON has no word for it) and `from_json`
takes it back: `type(r).from_json(r.to_json()) == r`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from thalweg.core.errors import require
from thalweg.report.record import Record, check_name

Scalar = float | int | str | bool
Quantity = float | int | str | None

STYLES = ("line", "points", "dash", "steps")
VERDICTS = ("reproduced", "reproduced at reduced scale", "not reproduced", "not run")
CLAIM_KINDS = ("exact", "asymptotic", "statistical", "empirical")
PAGE_KINDS = ("study", "comparison")
TONES = ("good", "warn", "bad", "neutral")
AXES = ("x", "y")

_PLACE = "[Ll]eft|[Mm]iddle|[Rr]ight"
_PLACES = re.compile(rf"\b({_PLACE})(?: and ({_PLACE}))?(?=:)")


@dataclass(frozen=True)
class Series(Record):
    """Lines or points drawn from one variable of one stored dataset.

    Attributes:
        data: Name of the dataset in the run folder: `<data>.zarr`.
        y: Variable (or coordinate) on the vertical axis; a NaN leaves a gap.
        x: Variable or coordinate on the horizontal axis.
        label: Legend text; with `each`, the coordinate's value is put behind it.
        select: `{dim: value}`: the nearest label of a real-valued coordinate, the same label of
            any other, the position along a dimension without coordinate.
        each: A dimension fanned out into one trace per value ("seed", "mode", "model"). Each
            value has its colour, except seeds: they are replicates and share one.
        error: Variable drawn around y: a band for "line" and "dash", bars for the others.
        style: "line", "points", "dash" or "steps".
        group: Series of one group share one colour (theory beside measurement), value by value
            of `each`; without it, series of one label do.
    """

    data: str
    y: str
    x: str = "time"
    label: str = ""
    select: Mapping[str, Scalar] = field(default_factory=dict)
    each: str = ""
    error: str = ""
    style: str = "line"
    group: str = ""

    _choices: ClassVar = {"style": STYLES}
    _names: ClassVar = ("data",)


@dataclass(frozen=True)
class Level(Record):
    """A straight reference line, as 2/eta in a plot of the sharpness.

    It is left out where its axis has no such place: at NaN, infinity, or zero on a logarithm.

    Attributes:
        value: A number, or `(dataset, variable)` of a stored variable with one value.
        label: Text at the line.
        axis: "y" for a horizontal line at y = value, "x" for a vertical line at x = value.
    """

    value: float | tuple[str, str]
    label: str = ""
    axis: str = "y"

    _choices: ClassVar = {"axis": AXES}


@dataclass(frozen=True)
class Panel(Record):
    """One pair of axes; the unit belongs in the axis label.

    Attributes:
        series: What is drawn, in the order of the legend.
        title: What this panel shows, in a few words; its letter is put before it.
        x_label: Horizontal quantity and unit; panels of a figure that share it share the range.
        y_label: Vertical quantity and unit.
        x_log: Whether the horizontal axis is logarithmic.
        y_log: Whether the vertical axis is logarithmic.
        levels: Reference lines.
        caption: What to see in this panel, in one sentence; the figure's caption puts it behind the
            panel's letter.
        residual: Whether a thin panel beneath shows measured minus theory where the two coincide
            (their ratio minus one if y is logarithmic).
    """

    series: tuple[Series, ...] = field(metadata={"of": Series})
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    x_log: bool = False
    y_log: bool = False
    levels: tuple[Level, ...] = field(default=(), metadata={"of": Level})
    caption: str = ""
    residual: bool = True


@dataclass(frozen=True)
class Figure(Record):
    """One to four panels under one caption; `name` becomes the export's file name.

    On a phone panels stand below one another, so that a caption names them by letter: "(a)".
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...] = field(metadata={"of": Panel})

    _names: ClassVar = ("name",)

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.panels)
        require(1 <= count <= 4, f"figure {self.name!r} has {count} panels; give one to four.")

    def letter(self, index: int) -> str:
        """What a caption calls a panel: "(a)", "(b)", ...; "" if there is but one."""
        return f"({'abcd'[index]})" if len(self.panels) > 1 else ""

    def whole_caption(self) -> str:
        """The caption with each panel's own sentence behind its letter.

        A place word of an older page, as in "Left and middle: ...", becomes letters too.
        """
        lettered = [
            f"{self.letter(index)} {panel.caption}".strip()
            for index, panel in enumerate(self.panels)
            if panel.caption
        ]
        return " ".join([_PLACES.sub(self._letters, self.caption), *lettered]).strip()

    def _letters(self, found: re.Match[str]) -> str:
        last = len(self.panels) - 1
        at = {"left": 0, "right": last} | ({"middle": 1} if last == 2 else {})
        words = [word.lower() for word in found.groups() if word]
        if last not in (1, 2) or any(word not in at for word in words):
            return found.group()
        return ", ".join(self.letter(at[word]) for word in words)

    def data_names(self) -> tuple[str, ...]:
        """The datasets that the figure draws, once each."""
        series = [series.data for panel in self.panels for series in panel.series]
        levels = [level.value for panel in self.panels for level in panel.levels]
        stored = [value[0] for value in levels if isinstance(value, tuple)]
        return tuple(dict.fromkeys((*series, *stored)))


@dataclass(frozen=True)
class Number(Record):
    """One key number with its error in the same unit (None: exact or not a number).

    `help` is one or two sentences for a reader who meets the quantity for the first time: what it
    is, and what a large or a small one means. The page shows them on request.
    """

    label: str
    value: Quantity
    error: Quantity = None
    unit: str = ""
    note: str = ""
    help: str = ""


@dataclass(frozen=True)
class ClaimPart(Record):
    """One check of a claim that bundles several.

    Attributes:
        what: What is compared.
        holds: Whether it holds.
        expected_to_hold: Whether it was expected to.
        measured: The number that decides.
        expected: What it is held against.
        tolerance: How far apart the two may be.
    """

    what: str
    holds: bool
    expected_to_hold: bool = True
    measured: Quantity = None
    expected: Quantity = None
    tolerance: Quantity = None


@dataclass(frozen=True)
class ClaimRow(Record):
    """One claim of a paper and what became of it.

    Attributes:
        id: "C1", "C2", ...
        statement: The claim in one sentence.
        kind: "exact" (a theorem or a formula), "asymptotic" (a law in a limit), "statistical" (a
            statement about a distribution) or "empirical".
        verdict: "reproduced", "reproduced at reduced scale" (smaller than the paper's own run),
            "not reproduced" or "not run".
        measured: What was measured (None if not run).
        expected: What the paper says.
        tolerance: How far apart the two may be.
        reason: Why it is not reproduced or not run.
        source: Theorem, equation, figure or section.
        error: Error of the measured value, in its unit.
        parts: Its checks, if it bundles several.
        falsified_by: What would have to be measured for the claim to be wrong, set beforehand.
    """

    id: str
    statement: str
    kind: str
    verdict: str
    measured: Quantity = None
    expected: Quantity = None
    tolerance: Quantity = None
    reason: str = ""
    source: str = ""
    error: Quantity = None
    parts: tuple[ClaimPart, ...] = field(default=(), metadata={"of": ClaimPart})
    falsified_by: str = ""

    _choices: ClassVar = {"kind": CLAIM_KINDS, "verdict": VERDICTS}


@dataclass(frozen=True)
class TextTable(Record):
    """Rows of text under headings; the first column names its row.

    Attributes:
        title: What it shows.
        columns: Their headings, with units.
        rows: As many texts each as there are columns.
        caption: How to read it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for row in self.rows:
            require(
                len(row) == len(self.columns),
                f"a row of the table {self.title!r} has {len(row)} texts under "
                f"{len(self.columns)} headings; give as many.",
            )


@dataclass(frozen=True)
class Page(Record):
    """Everything that one page says, besides the data that it draws.

    Attributes:
        title: Title of the study or comparison.
        kind: "study" or "comparison".
        question: What was asked, in one sentence.
        verdict: The headline: the answer in one sentence.
        verdict_tone: "good", "warn", "bad" or "neutral".
        numbers: Key numbers with their errors.
        paragraphs: Plain text under the numbers; `code` between backticks is set as code.
        figures: In reading order.
        tables: In reading order, below the figures.
        claims: In reading order.
        deviates: Where this run departs from the source, one sentence each.
        provenance: Versions, seeds, machine, start, commit: a flat table.
        command: The one command that makes this page again.
        datasets: Names of the datasets to export; those of the figures are added by themselves.
        source: Citation of the paper, one line.
        minutes: Wall time of the run, in minutes (None: not known).
    """

    title: str
    kind: str
    question: str
    verdict: str
    verdict_tone: str = "neutral"
    numbers: tuple[Number, ...] = field(default=(), metadata={"of": Number})
    paragraphs: tuple[str, ...] = field(default=(), metadata={"of": str})
    figures: tuple[Figure, ...] = field(default=(), metadata={"of": Figure})
    claims: tuple[ClaimRow, ...] = field(default=(), metadata={"of": ClaimRow})
    deviates: tuple[str, ...] = field(default=(), metadata={"of": str})
    provenance: Mapping[str, Scalar | None] = field(default_factory=dict)
    command: str = ""
    datasets: tuple[str, ...] = field(default=(), metadata={"of": str})
    source: str = ""
    minutes: float | None = None
    tables: tuple[TextTable, ...] = field(default=(), metadata={"of": TextTable})

    _choices: ClassVar = {"kind": PAGE_KINDS, "verdict_tone": TONES}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.datasets:
            check_name(name, "Page.datasets")
        names = [figure.name for figure in self.figures]
        twice = sorted({name for name in names if names.count(name) > 1})
        require(not twice, f"figures share the name {', '.join(twice)}; give each its own.")

    def data_names(self) -> tuple[str, ...]:
        """All datasets of the page, once each: those listed, then those the figures draw."""
        drawn = [name for figure in self.figures for name in figure.data_names()]
        return tuple(dict.fromkeys((*self.datasets, *drawn)))
