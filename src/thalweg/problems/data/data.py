"""Examples to learn from: checked, numbered, standardised, and told where they come from."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.core.errors import InputError, require, unknown
from thalweg.problems.data.rows import Classes, chosen_rows, of_classes, row_rule
from thalweg.problems.data.text_labels import MOST_CLASSES, plausible, printable

TASKS = ("auto", "classification", "regression")
STANDARDIZE = ("none", "global", "feature")


@dataclass(frozen=True, eq=False)
class Data:
    """Examples with their targets, as read-only NumPy arrays.

    Attributes:
        name: Short name ("digits", or the file's name without its ending).
        inputs: float64, (n, ...).
        targets: float64 (n, k) for regression; int64 (n,), values 0..k-1, for classification.
        task: "classification" or "regression".
        classes: Names of the labels 0..k-1 in order; empty for regression.
        description: Provenance, ready for JSON: `source`; `sha256` of the bytes of `inputs`
            followed by those of `targets` (little-endian, row by row); `rows`, which rows were
            taken; `standardize`, what was done with which constants; `scale_target`, if asked for,
            likewise (`mean` and `std`, one per target column, lead back to the target's units);
            `task_rule`, whether the task was given or told from the targets; `target_range`, least
            and largest target per column, in its own units; `classes`; and, where it is so,
            `labels_without_example`, `rounded` (how many whole numbers beyond 2^53 lost digits),
            `constant_targets`, and what reading tables adds.
    """

    name: str
    inputs: NDArray[np.float64]
    targets: NDArray[Any]
    task: str
    classes: tuple[str, ...] = ()
    description: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: ArrayLike, targets: ArrayLike, name: str = "arrays") -> Data:
        """Data of two arrays as they stand; what they are is told by their types alone.

        Labels are numbered 0..k-1 in sorted order, as in `from_arrays`: 1, 2, 3 or -1, 1 are as
        good as 0, 1, 2 or 0, 1, and a number that no example has is no class.

        Args:
            inputs: Real numbers or booleans, (n, ...); (n,) is read as one feature.
            targets: Integers, text or true/false (n,) for classification; floats (n, k) or (n,)
                for regression.
            name: Name of the data, also the beginning of every error sentence.

        Raises:
            InputError: If lengths differ, a value is not finite, or there are more than 20
                different whole numbers, and more than half as many as examples.
        """
        x, y = _pair(inputs, targets, name)
        told: dict[str, Any] = {"source": name}
        classes: tuple[str, ...] = ()
        if y.ndim == 1 and y.dtype.kind in "iubUS":
            y, classes = _labels(y, name)
            require(
                len(classes) <= max(MOST_CLASSES, len(y) / 2),
                f"{name}: {len(classes)} different labels in {len(y)} examples are too many to be "
                "classes; give floats if they are quantities.",
            )
            told |= _told_classes(classes)
        else:
            y = _real(y, f"{name}: the targets").reshape(len(x), -1)
        task = "classification" if classes else "regression"
        told["sha256"] = _sha256(x, y)
        return cls(name, _frozen(x), _frozen(y), task, classes, told)


def from_arrays(
    inputs: ArrayLike,
    targets: ArrayLike,
    *,
    name: str = "arrays",
    task: str = "auto",
    standardize: str = "none",
    scale_target: bool = False,
    samples: int | None = None,
    every: int | None = None,
    classes: Classes | None = None,
    class_names: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    target_columns: Sequence[str] | None = None,
    description: Mapping[str, Any] | None = None,
) -> Data:
    """Check two arrays and make `Data` of them.

    Under `task="auto"` one target per example is a label if it is text, true/false, or a whole
    number (integral floats included) with at most 20 distinct values and fewer than n/2 of them;
    everything else is regression. Labels are numbered 0..k-1 in sorted order over all rows, before
    any are left out. Rows are taken by `chosen_rows`, then inputs are standardised by the rows
    taken: "global" gives (x - mean(x)) / std(x) with one mean and one standard deviation,
    "feature" one of each per feature (a constant feature is only centred). With `scale_target` the
    targets of a regression are treated likewise, column by column; what is then learnt is
    (y - mean)/std, and a squared loss in the target's own units is std^2 times as large.

    Args:
        inputs: Real numbers or booleans, (n, ...); (n,) is read as one feature.
        targets: (n,) or (n, k).
        name: Name of the data, also the beginning of every error sentence.
        task: "auto", "classification" or "regression".
        standardize: "none", "global" or "feature".
        scale_target: Shift and scale every target column of a regression to mean 0 and deviation 1.
        samples: Number of examples kept; all by default.
        every: Keep every so-manyth row; all by default.
        classes: Names of the classes kept (a sequence, or separated by commas), before `every` and
            `samples`; all by default.
        class_names: If given, `targets` are already numbers 0..k-1 with these names.
        columns: Names of the features for messages.
        target_columns: Names of the targets for messages.
        description: Further provenance; its entries win over those made here.

    Raises:
        InputError: For anything that is not at least two examples of finite real numbers with
            targets that vary.
    """
    require(standardize in STANDARDIZE, unknown(standardize, STANDARDIZE, "standardize"))
    require(task in TASKS, unknown(task, TASKS, "task"))
    x, y = _pair(inputs, targets, name, columns, target_columns)
    n = len(x)
    lost = {"the inputs": rounded(np.asarray(inputs))}
    require(n >= 2, f"{name}: 1 example; at least 2 are needed.")
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    chosen_task = task if task != "auto" else ("classification" if class_names else _told(y))
    if chosen_task == "classification":
        text = y.dtype.kind in "US"
        y, names = (y.astype(np.int64), tuple(class_names)) if class_names else _labels(y, name)
        if text and task == "auto":
            counts = Counter(dict(zip(names, np.bincount(y).tolist(), strict=True)))
            plausible(counts, f"{name}: the target", task)
    else:
        require(
            not class_names,
            f"{name}: the target is text or categories, which fits classification "
            "only; give a numeric target or task='classification'.",
        )
        lost["the target"] = rounded(y)
        y, names = _real(y, f"{name}: the regression target").reshape(n, -1), ()
        _finite(y, target_columns, "target", name)

    rule = ""
    if classes is not None:
        require(
            bool(names),
            f"{name}: the target holds quantities, not classes; leave classes= out, or give "
            "task='classification'.",
        )
        rows, y, names, rule = of_classes(y, names, classes, name)
        x, n = x[rows], len(rows)
    rows = chosen_rows(n, y if names else None, every=every, samples=samples)
    x, y = x[rows], y[rows]
    constant = _constant(y)
    require(len(rows) >= 2, f"{name}: {len(rows)} example is left; take at least 2.")
    require(
        not constant.all(),
        f"{name}: the target has the same value in all {len(rows)} "
        f"examples taken, so there is nothing to learn; choose another.",
    )
    x, done = _standardized(x, standardize, columns, "feature", name)
    told: dict[str, Any] = {
        "source": name,
        "rows": row_rule(n, every, samples, bool(names), rule),
        "standardize": done,
        "task_rule": "told from the targets" if task == "auto" else "given",
    }
    if names:
        told |= _told_classes(names)
        if rule:  # what was left out was left out by name
            told.pop("labels_without_example", None)
    else:
        told["target_range"] = np.stack([y.min(axis=0), y.max(axis=0)], axis=1).tolist()
    if any(lost.values()):
        told["rounded"] = {where: count for where, count in lost.items() if count}
    if constant.any():
        told["constant_targets"] = [
            _column(j, y.shape[1:], target_columns, "target")
            for j in np.flatnonzero(constant).tolist()
        ]
    if scale_target:
        require(
            not names,
            f"{name}: the target holds labels, which have no scale; leave scale_target out, or "
            "give task='regression' if they are quantities.",
        )
        y, told["scale_target"] = _standardized(y, "feature", target_columns, "target", name)
    told |= dict(description or {})
    told["sha256"] = _sha256(x, y)
    return Data(name, _frozen(x), _frozen(y), chosen_task, names, told)


def _rectangular(values: ArrayLike, what: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError:
        raise InputError(f"{what} are lists of different lengths; give an array") from None


def _pair(
    inputs: ArrayLike,
    targets: ArrayLike,
    name: str,
    columns: Sequence[str] | None = None,
    target_columns: Sequence[str] | None = None,
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Inputs (n, ...) as float64 and targets (n,) or (n, k) as they come: n > 0, all finite."""
    x = _real(_rectangular(inputs, f"{name}: the inputs"), f"{name}: the inputs")
    require(x.ndim > 0, f"{name}: the inputs are a single number; give an array (examples, ...).")
    x = x[:, None] if x.ndim == 1 else x
    y = _rectangular(targets, f"{name}: the targets")
    require(
        y.dtype.kind in "biufUS",
        f"{name}: the targets have type {y.dtype}; give real numbers, true/false or text.",
    )
    require(y.ndim in (1, 2), f"{name}: targets of shape {y.shape}; give (examples,) or (n, k).")
    n = len(x)
    require(len(y) == n, f"{name}: {n} inputs but {len(y)} targets; give one target per input.")
    require(n > 0, f"{name}: 0 examples; at least 2 are needed.")
    require(x.size > 0, f"{name}: the inputs have shape {x.shape}, so no features; give some.")
    require(y.size > 0, f"{name}: the targets have shape {y.shape}, so no values; give some.")
    _finite(x, columns, "feature", name)
    if y.dtype.kind == "f":
        _finite(y, target_columns, "target", name)
    return x, y


def _real(values: NDArray[Any], what: str) -> NDArray[np.float64]:
    """Booleans, integers and floats as a new float64 array; anything else is refused."""
    require(
        values.dtype.kind in "biuf",
        f"{what} have type {values.dtype}; give real numbers or true/false.",
    )
    with np.errstate(over="ignore"):  # what overflows is found by _finite
        return np.array(values, dtype=np.float64)


def _column(j: int, shape: tuple[int, ...], columns: Sequence[str] | None, kind: str) -> str:
    """What to call flat column `j` of arrays of shape (n, *shape)."""
    if columns is not None:
        return f"column {columns[j]!r}"
    place = tuple(int(i) for i in np.unravel_index(j, shape)) if shape else ()
    return kind if not place else f"{kind} {place[0] if len(place) == 1 else place}"


def _finite(
    values: NDArray[np.float64], columns: Sequence[str] | None, kind: str, name: str
) -> None:
    bad = (~np.isfinite(values)).reshape(len(values), -1).sum(axis=0)
    if bad.any():
        where = [
            f"{_column(j, values.shape[1:], columns, kind)} ({bad[j]} of {len(values)} rows)"
            for j in np.flatnonzero(bad)[:5].tolist()
        ]
        more = int((bad > 0).sum()) - len(where)
        raise InputError(
            f"{name}: missing, NaN or infinite values in {', '.join(where)}"
            f"{f' and {more} more columns' if more else ''}; remove or fill these."
        )


def _told(targets: NDArray[Any]) -> str:
    """The task that the targets themselves suggest (the rule is in `from_arrays`)."""
    if targets.ndim == 2:
        return "regression"
    if targets.dtype.kind in "USb":
        return "classification"
    distinct = np.unique(targets)
    few = len(distinct) <= MOST_CLASSES and 2 * len(distinct) < len(targets)
    whole = targets.dtype.kind in "iu" or (
        targets.dtype.kind == "f" and bool((distinct == np.rint(distinct)).all())
    )
    return "classification" if few and whole else "regression"


def _labels(targets: NDArray[Any], name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels 0..k-1 in sorted order and their names."""
    require(
        targets.ndim == 1,
        f"{name}: targets of shape {targets.shape} for classification; "
        "give one label per example, or task='regression'.",
    )
    values, codes = np.unique(targets, return_inverse=True)
    try:
        return codes.astype(np.int64), tuple(_class_name(v) for v in values.tolist())
    except (ValueError, SystemError) as error:  # NumPy text can hold what no string can
        raise InputError(f"{name}: the labels are not valid text ({error}); mend them.") from None


def _told_classes(names: Sequence[str]) -> dict[str, Any]:
    """The names of the classes, and the whole numbers between them that no example has."""
    told: dict[str, Any] = {"classes": list(names)}
    if all(re.fullmatch(r"-?\d{1,9}", name) for name in names):
        present = set(map(int, names))
        between = max(present) - min(present) + 1 - len(present)
        if 0 < between <= MOST_CLASSES and min(present) >= 0:
            told["labels_without_example"] = sorted(
                set(range(min(present), max(present))) - present
            )
    return told


def rounded(values: NDArray[Any]) -> int:
    """How many whole numbers beyond 2^53 differ from their nearest float64."""
    if values.dtype.kind not in "iuO" or not values.size:
        return 0
    far = values[(values > 2**53) | (values < -(2**53))].tolist()
    return sum(int(float(v)) != v for v in far)


def _class_name(value: bool | int | float | str | bytes) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return printable(value)


def _constant(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which columns hold one value only; shape () or (k,) flattened to 1-d."""
    return np.atleast_1d((values == values[:1]).all(axis=0)).ravel()


def _standardized(
    x: NDArray[Any], kind: str, columns: Sequence[str] | None, what: str, name: str
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Features or targets standardised by their own constants, and what was done."""
    if kind == "none":
        return x, {"kind": kind}
    axis = 0 if kind == "feature" else None
    same = x.max(axis=axis) == x.min(axis=axis)
    require(
        kind == "feature" or not same,
        f"{name}: all inputs are equal, so they cannot be "
        "divided by their standard deviation; use standardize='none'.",
    )
    with np.errstate(all="ignore"):  # squares that overflow or vanish are found below
        # The mean of equal numbers can be off by rounding; the number itself is not.
        mean = np.where(same, x.min(axis=axis), x.mean(axis=axis))
        std = np.where(same, 1.0, x.std(axis=axis))
        scaled = (x - mean) / std
        wrong = ~(same | (np.abs(scaled.std(axis=axis) - 1.0) < 1e-6))
    if wrong.any():
        where = _column(int(wrong.argmax()), x.shape[1:], columns, what)
        raise InputError(
            f"{name}: the size or spread of {where if kind == 'feature' else 'the inputs'} is "
            "beyond float64, so they cannot be standardised; rescale or shift them."
        )
    done: dict[str, Any] = {"kind": kind, "mean": mean.tolist(), "std": std.tolist()}
    if same.any():
        places = np.flatnonzero(same)
        done["only_centred"] = [_column(int(j), x.shape[1:], columns, what) for j in places]
    return scaled, done


def _sha256(x: NDArray[np.float64], y: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in (x, y):
        digest.update(array.astype(array.dtype.newbyteorder("<"), order="C", copy=False).tobytes())
    return digest.hexdigest()


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array
