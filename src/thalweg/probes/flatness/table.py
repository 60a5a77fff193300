"""All measures of flatness at one point, as a table to print."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from thalweg.core.arguments import told
from thalweg.core.errors import InputError, choose, require
from thalweg.core.result import Result
from thalweg.core.tree import Params
from thalweg.probes.curvature import sharpness
from thalweg.probes.flatness.ascent import adaptive_sharpness, sam_sharpness
from thalweg.probes.flatness.coefficient import learning_coefficient
from thalweg.probes.flatness.determinant import hessian_trace, log_pseudo_determinant
from thalweg.probes.flatness.entropy import local_entropy
from thalweg.probes.flatness.measure import Costed, FlatnessMeasure
from thalweg.probes.flatness.perturbed import LocalEnergy, local_energy
from thalweg.probes.probe import as_key
from thalweg.problems.problem import Problem
from thalweg.report.number import show

CHAINS = {"chains": 8, "draws": 200}  # of a table: what a look may cost


MEASURES: dict[str, Callable[[], FlatnessMeasure]] = {
    "hessian-trace": hessian_trace,
    "sharpness": sharpness,
    "log-pseudo-determinant": log_pseudo_determinant,
    "sam-sharpness": sam_sharpness,
    "adaptive-sharpness": adaptive_sharpness,
    "local-energy": lambda: local_energy((0.2, 0.4)),
    "local-entropy": lambda: local_entropy(**CHAINS),
    "learning-coefficient": lambda: learning_coefficient(**CHAINS),
}


@dataclass(frozen=True)
class Row:
    """One measure at a point.

    Attributes:
        name: Of the measure.
        label: What the table calls it.
        value: NaN where nothing could be measured.
        error: In the same unit, of the kind that the measure's own page says.
        unit: Of both.
        gradients: What the measure cost; 0 where it did not begin.
        says: Empty, or why there is no number or how far to trust it.
        unchanged_by: Which of `REPARAMETRISATIONS` leave it the same.
    """

    name: str
    label: str
    value: float
    error: float
    unit: str
    gradients: float
    says: str
    unchanged_by: tuple[str, ...]

    @property
    def number(self) -> str:
        """Value, error and unit as text."""
        if math.isnan(self.value):
            return "no number"
        return show(self.value, self.error, "" if self.unit == "1" else self.unit)


@dataclass(frozen=True)
class FlatnessTable:
    """How flat the objective is about a point, by all measures; it prints itself.

    Attributes:
        rows: A row a measure, or one a size of the noise.
    """

    rows: tuple[Row, ...]

    def __getitem__(self, label: str) -> Row:
        """The row of a label or name, as "hessian-trace" or "local energy, sigma 0.4".

        Raises:
            InputError: If there is none.
        """
        table = {row.name.replace("_", "-"): row for row in reversed(self.rows)}
        table |= {row.label: row for row in self.rows}
        return choose(label, table, "row")

    def __str__(self) -> str:
        """The table as text."""
        lines = [("measure", "value ± error", "gradients", "unchanged by")]
        lines += [
            (row.label, row.number, show(round(row.gradients)), ", ".join(row.unchanged_by))
            for row in self.rows
        ]
        wide = [max(len(line[i]) for line in lines) for i in range(3)]
        text = [
            f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c:>{wide[2]}}  {d}".rstrip() for a, b, c, d in lines
        ]
        return "\n".join([*text, *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows: the same table."""
        from markupsafe import Markup

        cell = Markup('<td style="text-align:left;padding:.15em .8em">{}</td>')
        titles = ("measure", "value ± error", "gradients", "unchanged by")
        rows = [titles] + [
            (row.label, row.number, show(round(row.gradients)), ", ".join(row.unchanged_by))
            for row in self.rows
        ]
        body = Markup("").join(
            Markup("<tr>{}</tr>").format(Markup("").join(cell.format(text) for text in row))
            for row in rows
        )
        notes = Markup("").join(Markup("<div>{}</div>").format(note) for note in self._notes())
        return str(Markup("<table>{}</table>{}").format(body, notes))

    def _notes(self) -> list[str]:
        return [f"{row.label}: {row.says}" for row in self.rows if row.says]


def flatness(
    problem: Problem,
    params: Params,
    key: Array | int = 0,
    measures: str | FlatnessMeasure | Sequence[str | FlatnessMeasure] | None = None,
) -> FlatnessTable:
    """How flat the objective is about a point: all measures side by side, with errors and costs.

    Args:
        problem: What is measured; without examples the temperatures of local entropy and learning
            coefficient must be given, as `measures=[tw.probes.learning_coefficient(100.0)]`.
        params: Where; a minimum, if the numbers are to speak of one.
        key: Draws all there is to draw.
        measures: Names or probes; None for "hessian-trace", "sharpness",
            "log-pseudo-determinant", "sam-sharpness", "adaptive-sharpness", "local-energy",
            "local-entropy" and "learning-coefficient".

    Returns:
        A table that prints itself. A measure that could not be taken, or whose chains did not come
        to rest, has no number and says why.

    Raises:
        InputError: If a measure is unknown, or none is asked for.

    Cost: The table tells; some 10^4 gradients for chains of a small net, 10^5 for stiff ones.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: jnp.sum(x**2), start=jnp.zeros(3))
        >>> table = tw.flatness(bowl, bowl.start, measures=["hessian-trace", "sam-sharpness"])
        >>> round(table["hessian-trace"].value, 6), round(table["sam-sharpness"].value, 6)
        (6.0, 0.0025)
    """
    asked = list(MEASURES) if measures is None else measures
    asked = [asked] if isinstance(asked, str | FlatnessMeasure) else asked
    require(len(asked) > 0, "measures came as an empty list; give names, or None for all")
    chosen = [_measure(given) for given in asked]
    keys = jax.random.split(as_key(key), len(chosen))
    rows = [row for m, k in zip(chosen, keys, strict=False) for row in _rows(m, problem, params, k)]
    return FlatnessTable(tuple(rows))


def _measure(given: Any) -> FlatnessMeasure:
    if isinstance(given, str):
        return choose(given.replace("_", "-"), MEASURES, "measure of flatness")()
    if isinstance(given, FlatnessMeasure):
        return given
    raise InputError(
        f"a measure of flatness came as {told(given)}; give a name, as 'hessian-trace', or a "
        "probe, as tw.probes.local_energy()"
    )


@eqx.filter_jit
def _taken(measure: FlatnessMeasure, problem: Problem, params: Params, key: Array) -> Costed:
    return measure.taken(problem, params, key)


def _rows(measure: FlatnessMeasure, problem: Problem, params: Params, key: Array) -> list[Row]:
    unit = measure.told_unit(problem) if isinstance(measure, LocalEnergy) else measure.unit
    try:
        (value, error, result), gradients = _taken(measure, problem, params, key)
    except InputError as refused:
        says = f"not measured: {refused}"
        none = (math.nan, math.inf, unit, 0.0, says, measure.unchanged_by)
        return [Row(measure.name, measure.title, *none)]
    says = measure.says(Result(int(result)))
    labels = [measure.title]
    if isinstance(measure, LocalEnergy):
        labels = [f"{measure.title}, sigma {sigma:g}" for sigma in measure.sigmas]
    numbers = zip(labels, np.atleast_1d(value), np.atleast_1d(error), strict=True)
    spent = float(gradients) / len(labels)
    return [
        Row(measure.name, label, float(v), float(e), unit, spent, says, measure.unchanged_by)
        for label, v, e in numbers
    ]
