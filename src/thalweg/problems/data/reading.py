"""What was read, in a sentence for the first line of an output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thalweg.problems.data.data import Data
from thalweg.problems.data.text_labels import shortlist

SHOWN = 10  # class names and columns listed at most


def what_was_read(data: Data, loss: str) -> str:
    """Rows, features, classes or range of the target, task and loss; then all that was not plain.

    Numbers are those of the examples taken, the target in its own units.

    Args:
        data: The examples.
        loss: The name of the loss.
    """
    told = data.description
    n, *shape = data.inputs.shape
    features = _count(shape[0], "feature") if len(shape) == 1 else f"inputs of shape {_by(shape)}"
    rows, taken = _count(n, "row"), told.get("rows", f"all {n}")
    rows += "" if taken == f"all {n}" else f" ({taken})"
    first = f"Read {data.name}: {rows}, {features}, {_target(data)}, {loss.replace('-', ' ')}"
    return ". ".join([first, *_remarks(told)]) + "."


def _target(data: Data) -> str:
    columns = data.description.get("target", [])
    if data.classes:
        names = (
            shortlist(data.classes, SHOWN) if len(data.classes) <= SHOWN else _ends(data.classes)
        )
        of = f"target {columns[0]}, " if columns else ""
        return f"{of}{_count(len(data.classes), 'class', 'es')} ({names}; classification)"
    ranges = data.description.get("target_range")
    if ranges is None:
        least, most = data.targets.min(axis=0), data.targets.max(axis=0)
        ranges = list(zip(least.tolist(), most.tolist(), strict=True))
    scaled = ", scaled to mean 0 and deviation 1" if "scale_target" in data.description else ""
    if len(ranges) > 3:
        least, most = min(low for low, _ in ranges), max(high for _, high in ranges)
        return f"{len(ranges)} targets from {least:.4g} to {most:.4g}{scaled} (regression)"
    each = [
        f"target {name} from {low:.4g} to {high:.4g}".replace("  ", " ")
        for name, (low, high) in zip(columns or [""] * len(ranges), ranges, strict=True)
    ]
    return f"{', '.join(each)}{scaled} (regression)"


def _remarks(told: dict[str, Any]) -> list[str]:
    """A sentence for each thing that was not plain."""
    remarks = [f"It was read thus: {'; '.join(told['format'])}"] if told.get("format") else []
    if "dropped_rows" in told:
        gone = told["dropped_rows"]
        remarks.append(
            f"{gone['count']} of {gone['of']} rows were left out for missing values in "
            f"{shortlist(list(gone['missing_in']), SHOWN)}"
        )
    if told.get("left_out"):
        remarks.append(f"Left out: {shortlist(told['left_out'], SHOWN)}")
    if "one_hot" in told:
        each = [f"{column} ({len(values)} values)" for column, values in told["one_hot"].items()]
        remarks.append(f"Encoded one-hot: {shortlist(each, SHOWN)}")
    if "constant_targets" in told:
        remarks.append(f"The same in every row: {shortlist(told['constant_targets'], SHOWN)}")
    if "labels_without_example" in told:
        absent = shortlist(told["labels_without_example"], SHOWN)
        remarks.append(f"No example has the label {absent}, which is no class")
    for where, count in told.get("rounded", {}).items():
        place = where if where.startswith("the ") else f"column {where}"
        remarks.append(
            f"{_count(count, 'whole number')} beyond 2^53 in {place} lost digits as float64"
        )
    return remarks


def _ends(names: Sequence[str]) -> str:
    return f"{shortlist(names[:3])}, ..., {shortlist(names[-1:])}"


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number} {what}{'' if number == 1 else plural}"


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
