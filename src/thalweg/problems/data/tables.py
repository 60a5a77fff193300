"""Examples from tables: data frames of pandas, polars or Arrow, and what files become."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.core.errors import InputError, require
from thalweg.problems.data import columns as column_of
from thalweg.problems.data.data import Data, from_arrays
from thalweg.problems.data.text_labels import PLAIN, one_line, shortened, shortlist, stray_text

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw

Names = str | Sequence[str]
EVERY = "all"  # of one_hot: every text column
_DIGIT = re.compile(r"\d")


def from_table(
    table: Any,
    target: Names | None = None,
    inputs: Names | None = None,
    drop: Names | None = None,
    one_hot: Names | None = None,
    drop_gaps: bool = False,
    *,
    name: str = "table",
    task: str = "auto",
    description: dict[str, Any] | None = None,
    **options: Any,
) -> Data:
    """Examples from a data frame: pandas, polars, an Arrow table, or any that narwhals reads.

    Args:
        table: The data frame; a row is an example.
        target: Column of the target, or several (a sequence, or separated by commas) for
            regression.
        inputs: Columns of the features (likewise); by default all but the target.
        drop: Columns to leave out of the features (likewise).
        one_hot: Columns to encode (likewise), each as one feature of 0 and 1 per value that occurs;
            "all" for every column of text or categories.
        drop_gaps: Leave out rows with a missing value in a column that is used, and count them.
        name: Name of the data, also the beginning of every error sentence.
        task: "auto", "classification" or "regression".
        description: Further provenance.
        options: `standardize`, `scale_target`, `samples`, `every`, `classes` of `from_arrays`.

    Raises:
        InputError: If it is no data frame, or holds anything but at least two complete examples.
    """
    frame = _frame(table, name)
    found = list(frame.columns)
    no_twins(found, name)
    require(len(frame) > 0, f"{name}: column names but no rows; give at least 2 examples.")
    if target is None:
        raise InputError(
            f"{name}: which column is the target? Give target=; the columns are {shortlist(found)}."
        )
    goals = _named(target, found, name)
    require(bool(goals), f"{name}: target= names no column; the columns are {shortlist(found)}.")
    features = _features(found, goals, inputs, drop, name)
    told: dict[str, Any] = {"source": name, "target": goals} | dict(description or {})
    if drop is not None:
        told["left_out"] = _named(drop, found, name)
    frame = _without_gaps(frame.select(features + goals), drop_gaps, told, name)
    kinds = {column: column_of.kind_of(frame[column]) for column in features + goals}
    encoded = _encoded(one_hot, features, kinds, goals, name)

    lost: dict[str, int] = {}

    def as_numbers(column: str) -> np.ndarray:
        values, digits = column_of.numbers(frame[column], f"{name}: column {column!r}")
        if digits:
            lost[column] = digits
        return values

    _all_numeric(frame, [c for c in features if c not in encoded], kinds, "features", name)
    blocks, names = [], []
    for column in features:
        if column in encoded:
            block, values = column_of.one_hot(frame[column], kinds[column], name)
            told.setdefault("one_hot", {})[column] = list(values)
            names += [f"{column}={value}" for value in values]
        else:
            block = as_numbers(column)[:, None]
            names.append(column)
        blocks.append(block)
    classes: tuple[str, ...] = ()
    (goal, *others) = goals
    if others:
        _all_numeric(frame, goals, kinds, "several targets", name)
        y = np.column_stack([as_numbers(column) for column in goals])
    elif kinds[goal] == "boolean":
        y = np.array(frame[goal].to_list(), dtype=bool)
    elif kinds[goal] == "number":
        exact = column_of.whole_numbers(frame[goal])
        small = exact is not None and exact.dtype.kind in "iu"
        y = np.asarray(exact) if small else as_numbers(goal)
    else:
        y, classes = column_of.labels(frame[goal], kinds[goal], task, name)
    if lost:
        told["rounded"] = lost
    return from_arrays(
        np.hstack(blocks),
        y,
        name=name,
        task=task,
        class_names=classes,
        columns=names,
        target_columns=goals,
        description=told,
        **options,
    )


def _frame(table: Any, name: str) -> nw.DataFrame[Any]:
    """The table behind narwhals, its columns named by strings."""
    import narwhals.stable.v2 as nw  # tables only

    if hasattr(table, "set_axis"):  # pandas allows any object as a name, and twins
        no_twins([str(c) for c in table.columns], name)
        table = table.set_axis([str(c) for c in table.columns], axis=1)
    try:
        return nw.from_native(table, eager_only=True)
    except TypeError:
        lazy = ", collected" if hasattr(table, "collect") else ""
        raise InputError(
            f"{name}: {type(table).__name__} came; give a data frame (pandas, polars, Arrow){lazy}."
        ) from None
    except Exception as error:  # twins, in a class of its own in every library
        raise InputError(f"{name}: the table cannot be read ({one_line(error)}).") from None


def _features(
    found: list[str], goals: list[str], inputs: Names | None, drop: Names | None, name: str
) -> list[str]:
    require(
        inputs is None or drop is None,
        f"{name}: inputs= says which columns to take and drop= which to leave out; give one.",
    )
    out = [] if drop is None else _named(drop, found, name)
    features = (
        [c for c in found if c not in goals + out]
        if inputs is None
        else _named(inputs, found, name)
    )
    for column in out:
        require(column not in goals, f"{name}: column {column!r} is the target; drop= others.")
    require(bool(features), f"{name}: no feature columns are left beside the target; add some.")
    for column in features:
        require(column not in goals, f"{name}: column {column!r} is both input and target.")
        require(
            inputs is not None or (bool(column) and not column.startswith("Unnamed: ")),
            f"{name}: a column has no name (saved row numbers?); save without the index, or "
            f"leave it out with drop={column!r}.",
        )
    return features


def _without_gaps(
    frame: nw.DataFrame[Any], drop_gaps: bool, told: dict[str, Any], name: str
) -> nw.DataFrame[Any]:
    """The rows without a missing value; refused if there are others, unless they may be dropped."""
    gone = {column: column_of.missing_in(frame[column]) for column in frame.columns}
    gaps = {column: int(where.sum()) for column, where in gone.items() if where.any()}
    if not gaps:
        return frame
    n = len(frame)
    if not drop_gaps:
        where = [f"{c!r} ({k} of {n} rows)" for c, k in list(gaps.items())[:5]]
        more = len(gaps) - len(where)
        raise InputError(
            f"{name}: missing or NaN values (empty, NA, None, nan ...) in column "
            f"{', '.join(where)}{f' and {more} more' if more else ''}; fill them, leave these "
            "rows out with drop_gaps=True, or say with missing= which words of a text file mean it."
        )
    whole = ~np.any(list(gone.values()), axis=0)
    kept = int(whole.sum())
    require(
        kept >= 2,
        f"{name}: only {kept} of {n} rows have no missing value; drop= the columns with gaps: "
        f"{shortlist([f'{c!r} ({k})' for c, k in gaps.items()])}.",
    )
    told["dropped_rows"] = {"count": n - kept, "of": n, "missing_in": gaps}
    return frame.filter(whole.tolist())


def _encoded(
    one_hot: Names | None,
    features: list[str],
    kinds: dict[str, str],
    goals: list[str],
    name: str,
) -> list[str]:
    """The columns to be encoded one-hot."""
    if one_hot is None:
        return []
    if one_hot == EVERY and EVERY not in features:
        return [c for c in features if kinds[c] in ("text", "category")]
    wanted = _named(one_hot, features + goals, name)
    for column in wanted:
        require(
            column not in goals,
            f"{name}: column {column!r} is the target, whose classes are told anyway; leave it out "
            "of one_hot=.",
        )
    return wanted


def _all_numeric(
    frame: nw.DataFrame[Any], wanted: list[str], kinds: dict[str, str], what: str, name: str
) -> None:
    bad = [c for c in wanted if kinds[c] not in ("number", "boolean")]
    if not bad:
        return
    for column in bad:
        if kinds[column] == "text":
            counts = Counter(value.strip() for value in frame[column].to_list())
            fault = stray_text(counts)
            if fault is not None:
                raise InputError(
                    f"{name}: column {column!r} {fault}; mend these entries, or name them with "
                    "missing= if they stand for missing values."
                )
    where = [f"{c!r} (such as {_culprit(frame[c], kinds[c])})" for c in bad[:5]]
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    mend = (
        f"{_as_numbers(frame, bad, kinds)}encode them with one_hot={bad[0]!r} or leave them out "
        f"with drop={bad[0]!r}"
        if what == "features"
        else "name numeric columns only in target="
    )
    raise InputError(
        f"{name}: {what} must be numbers or true/false, but {', '.join(where)}{more} hold text or "
        f"other things; {mend}."
    )


def _as_numbers(frame: nw.DataFrame[Any], bad: Sequence[str], kinds: Mapping[str, str]) -> str:
    """A hint, where all that is written holds digits, as '1,100', '5%' and '$3' do."""
    text = [str(v) for c in bad if kinds[c] == "text" for v in frame[c].to_list()]
    return "write numbers as numbers, " if text and all(map(_DIGIT.search, text)) else ""


def _culprit(series: nw.Series[Any], kind: str) -> str:
    values = series.to_list()
    return shortened(next((v for v in values if not PLAIN.fullmatch(str(v).strip())), values[0]))


def _named(wanted: Names, columns: list[str], name: str) -> list[str]:
    """The columns asked for; a comma separates them unless it belongs to a column's name."""
    if isinstance(wanted, str):
        wanted = [wanted] if wanted in columns else [part.strip() for part in wanted.split(",")]
    for column in wanted:
        require(column in columns, f"{name}: {no_such(column, columns, 'column')}")
        require(list(wanted).count(column) == 1, f"{name}: column {column!r} is named twice.")
    return list(wanted)


def no_twins(columns: Sequence[str], name: str) -> None:
    """Refuse a table in which two columns have one name."""
    twice = sorted(c for c, count in Counter(columns).items() if c and count > 1)
    require(not twice, f"{name}: more than one column is named {shortlist(twice)}; rename them.")


def no_such(wanted: str, present: list[str], what: str) -> str:
    """The sentence that there is no such column or array, with the nearest name."""
    near = difflib.get_close_matches(str(wanted), present, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"there is no {what} {wanted!r}.{hint} There are: {shortlist(present)}."
