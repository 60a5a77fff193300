"""One column of a table: what kind of values it holds, as numbers, as labels, as 0 and 1."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import InputError, require
from thalweg.problems.data.data import rounded
from thalweg.problems.data.text_labels import plausible, printable

if TYPE_CHECKING:
    import narwhals.stable.v2 as nw

NUMBER_OBJECTS = ("integer", "floating", "mixed-integer-float", "decimal")


def kind_of(series: nw.Series[Any]) -> str:
    """What a column holds: "number", "boolean", "text", "category", or else its name."""
    import narwhals.stable.v2 as nw
    from pandas.api.types import infer_dtype

    dtype = series.dtype
    if dtype == nw.Boolean:
        return "boolean"
    if dtype.is_numeric():
        return "number"
    if dtype == nw.String:
        return "text"
    if isinstance(dtype, nw.Categorical | nw.Enum) or dtype in (nw.Categorical, nw.Enum):
        return "category"
    if dtype != nw.Object:
        native = getattr(series.to_native(), "dtype", dtype)
        return str(native if dtype == nw.Unknown else dtype).lower()
    found = infer_dtype(series.drop_nulls().to_list())
    if found in NUMBER_OBJECTS:
        return "number"
    return {"string": "text", "empty": "number"}.get(found, found)


def missing_in(series: nw.Series[Any]) -> NDArray[np.bool_]:
    """Where a column has no value, or NaN."""
    import narwhals.stable.v2 as nw

    gone = np.asarray(series.is_null().to_numpy(), dtype=bool)
    if series.dtype in (nw.Float64, nw.Float32):
        gone = gone | np.asarray(series.is_nan().fill_null(True).to_numpy(), dtype=bool)
    return gone


def numbers(series: nw.Series[Any], where: str) -> tuple[NDArray[np.float64], int]:
    """A column of numbers or true/false as float64, and how many whole numbers lost digits.

    Raises:
        InputError: If a number is beyond float64; `where` begins the sentence.
    """
    exact = whole_numbers(series)
    try:
        if exact is not None:
            return np.array(exact, dtype=np.float64), rounded(exact)
        import narwhals.stable.v2 as nw

        plain = series if series.dtype == nw.Object else series.cast(nw.Float64)
        return np.array(plain.to_numpy(), dtype=np.float64), 0
    except OverflowError:
        raise InputError(f"{where} holds numbers beyond float64; rescale them.") from None


def whole_numbers(series: nw.Series[Any]) -> NDArray[Any] | None:
    """A column of whole numbers, exact whatever their size; None if it holds others."""
    import narwhals.stable.v2 as nw

    if series.dtype.is_integer():
        return np.asarray(series.to_numpy())
    if series.dtype == nw.Object:
        values = series.to_list()
        if all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            return np.array(values, dtype=object)
    return None


def labels(
    series: nw.Series[Any], kind: str, task: str, name: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """A column of text or categories as 0..k-1 with the names of the classes.

    Categories keep their order, text is sorted. Unless `task` says that they are classes, text
    that is mostly numbers, or nearly different in every row, is refused.
    """
    if kind == "category":
        present = set(series.unique().to_list())
        names = [c for c in series.cat.get_categories().to_list() if c in present]
        order = {value: code for code, value in enumerate(names)}
        codes = [order[value] for value in series.to_list()]
        return np.array(codes, dtype=np.int64), tuple(printable(value) for value in names)
    require(
        kind == "text",
        f"{name}: target column {series.name!r} holds {kind} values; it must hold numbers, "
        "true/false or text.",
    )
    values = [value.strip() for value in series.to_list()]
    if task != "classification":
        plausible(Counter(values), f"{name}: target column {series.name!r}", task)
    found, at = np.unique(np.array(values, dtype=object), return_inverse=True)
    return at.astype(np.int64), tuple(printable(value) for value in found)


def one_hot(
    series: nw.Series[Any], kind: str, name: str
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """A column as one column of 0 and 1 per value that occurs, (n, values), and the values.

    Raises:
        InputError: If it holds fractions or other things, or a value in no two rows is the same.
    """
    whole = whole_numbers(series)
    require(
        kind in ("text", "category", "boolean") or whole is not None,
        f"{name}: column {series.name!r} holds {'fractions' if kind == 'number' else kind}, which "
        "are no categories; leave it out of one_hot=.",
    )
    if kind in ("text", "category"):
        codes, names = labels(series, kind, "classification", name)
    else:
        values = np.array(series.to_list(), dtype=object) if whole is None else whole
        found, at = np.unique(values, return_inverse=True)
        codes, names = at, tuple(str(value) for value in found.tolist())
    require(
        len(names) < len(codes),
        f"{name}: column {series.name!r} has another value in each of {len(codes)} rows, so they "
        f"are no categories; leave it out with drop={str(series.name)!r}.",
    )
    return np.eye(len(names))[codes], names
