"""The user's own data: `.npz`, `.csv` and `.parquet` files, and data sources by name or path."""

from __future__ import annotations

import difflib
import inspect
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.core.errors import InputError, require, unknown
from thalweg.problems.data import Data, from_arrays
from thalweg.problems.images import digits, mnist

if TYPE_CHECKING:
    import pandas as pd

KEY_PAIRS = (("x", "y"), ("X", "y"), ("inputs", "targets"))
NUMBER_OBJECTS = ("integer", "floating", "mixed-integer-float", "decimal")


class Raw(NamedTuple):
    """What a file holds, before it is checked as data; the fields are those of `from_arrays`."""

    inputs: NDArray[Any]
    targets: NDArray[Any]
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    target_columns: tuple[str, ...] | None = None


def from_file(
    path: str | os.PathLike[str],
    target: str | Sequence[str] | None = None,
    inputs: str | Sequence[str] | None = None,
    task: str = "auto",
    standardize: str = "none",
    scale_target: bool = False,
    samples: int | None = None,
    every: int | None = None,
) -> Data:
    """Read examples from a `.npz`, `.csv` or `.parquet` file.

    A table's features are the columns `inputs`, by default all but the target, numbers or
    true/false. An archive's arrays are x and y, X and y, or inputs and targets, unless named.
    Text and categories are labels; how other tasks are told, rows taken and inputs standardised is
    said at `from_arrays`. Nothing is unpickled.

    Args:
        path: The file.
        target: Column of the target, or several (a sequence, or separated by commas) for
            regression; for `.npz` the key of the targets.
        inputs: Columns of the features (likewise); for `.npz` the key of the inputs.
        task: "auto", "classification" or "regression".
        standardize: "none", "global" or "feature".
        scale_target: Shift and scale every target column of a regression to mean 0 and deviation 1.
        samples: Number of examples kept; all by default.
        every: Keep every so-manyth row; all by default.

    Raises:
        InputError: If the file is missing, damaged, or holds anything but at least two complete
            examples; the sentence says what and where.
    """
    place = Path(os.path.expanduser(path))  # leaves an unknown ~name as it is
    read = READERS.get(place.suffix.lower())
    if read is None:
        raise InputError(f"{str(path)!r}: unknown ending; give a file ending in {_endings()}.")
    require(not os.path.isdir(place), f"{str(path)!r} is a folder; give a file in it.")
    require(os.path.isfile(place), f"{str(path)!r}: there is no such file; check the path.")
    try:
        content = place.read_bytes()
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    require(bool(content), f"{str(path)!r} is empty; give a file with examples.")
    return from_arrays(
        **read(content, place.name, target, inputs)._asdict(),
        name=place.name,
        task=task,
        standardize=standardize,
        scale_target=scale_target,
        samples=samples,
        every=every,
        description={"source": str(place)},
    )


def load(name_or_path: str | os.PathLike[str], **options: Any) -> Data:
    """Data by the name of a source, or by the path of a file.

    Args:
        name_or_path: A name in `SOURCES`, or a path ending in .npz, .csv or .parquet.
        options: Those of the source's function, or of `from_file`.

    Raises:
        InputError: If the name or an option is unknown, or the data are refused.
    """
    text = os.fspath(name_or_path)
    source: Callable[..., Data]
    if text in SOURCES:
        source, options = SOURCES[text], dict(options)
    elif Path(text).suffix.lower() in READERS:
        source, options = from_file, {"path": text, **options}
    else:
        raise InputError(
            f"{unknown(text, SOURCES, 'data source')} A file's path must end in {_endings()}."
        )
    allowed = inspect.signature(source).parameters
    for option in options:
        require(option in allowed, unknown(option, allowed, f"option for {text!r}:"))
    return source(**options)


def _read_npz(
    content: bytes,
    name: str,
    target: str | Sequence[str] | None,
    inputs: str | Sequence[str] | None,
) -> Raw:
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # NumPy and zipfile raise many kinds on damaged files
        raise InputError(
            f"{name}: not a NumPy archive ({_one_line(error)}); save it with np.savez."
        ) from None
    require(
        isinstance(archive, np.lib.npyio.NpzFile),
        f"{name}: one bare array; save inputs and targets by np.savez(path, x=, y=).",
    )
    keys = archive.files
    listed = f"it holds {_listed(keys)}"
    pairs = [pair for pair in KEY_PAIRS if set(pair) <= set(keys)]
    found = pairs[0] if len(pairs) == 1 else (None, None)
    x_key = _key(inputs, keys, name) or found[0] or _only(keys, [x for x, _ in KEY_PAIRS])
    y_key = _key(target, keys, name) or found[1] or _only(keys, [y for _, y in KEY_PAIRS])
    if x_key is None or y_key is None:
        raise InputError(
            f"{name}: {listed}; name one pair x and y, X and y, or inputs and targets, "
            "or give inputs= and target=."
        )
    require(x_key != y_key, f"{name}: inputs and target are both {x_key!r}; {listed}.")
    return Raw(_member(archive, x_key, name), _member(archive, y_key, name))


def _key(wanted: str | Sequence[str] | None, keys: list[str], name: str) -> str | None:
    if wanted is None:
        return None
    if not isinstance(wanted, str):
        require(len(wanted) == 1, f"{name}: give one array's key, not {len(wanted)}.")
        wanted = wanted[0]
    require(wanted in keys, f"{name}: {_no_such(wanted, keys, 'array')}")
    return wanted


def _only(keys: list[str], allowed: Iterable[str]) -> str | None:
    present = set(allowed) & set(keys)
    return present.pop() if len(present) == 1 else None


def _member(archive: Any, key: str, name: str) -> NDArray[Any]:
    try:
        array = archive[key]
    except Exception as error:  # pickled objects, damaged members, unknown compression
        raise InputError(
            f"{name}: array {key!r} cannot be read ({_one_line(error)}); save plain arrays."
        ) from None
    require(
        isinstance(array, np.ndarray),
        f"{name}: {key!r} is not an array; save plain arrays with np.savez.",
    )
    return array


def _read_csv(
    content: bytes,
    name: str,
    target: str | Sequence[str] | None,
    inputs: str | Sequence[str] | None,
) -> Raw:
    import pandas as pd  # slow to import, needed by tables only

    require(b"\0" not in content, f"{name}: not text in UTF-8 (it has zero bytes); save it so.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not text in UTF-8 ({error}); save it so.") from None

    def read(**options: Any) -> pd.DataFrame:
        return pd.read_csv(io.StringIO(text), index_col=False, skipinitialspace=True, **options)

    try:
        with warnings.catch_warnings():
            # pandas only warns where it drops the surplus fields of a row
            warnings.simplefilter("error", pd.errors.ParserWarning)
            first = read(header=None, nrows=1, dtype=str, keep_default_na=False)
            frame = read(low_memory=False)
    except Exception as error:  # pandas raises many kinds on damaged files
        raise InputError(
            f"{name}: not a table with a row of column names ({_one_line(error)}); "
            "give each row as many values, separated by commas, as there are names."
        ) from None
    # pandas would rename twins
    _no_duplicates(first.iloc[0].tolist(), name)
    return _table(frame, name, target, inputs)


def _read_parquet(
    content: bytes,
    name: str,
    target: str | Sequence[str] | None,
    inputs: str | Sequence[str] | None,
) -> Raw:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise InputError(
            f"{name}: reading .parquet needs pyarrow; pip install 'thalweg[parquet]'."
        ) from None
    try:
        table = parquet.ParquetFile(io.BytesIO(content)).read()
        table.validate(full=True)  # else text that is not UTF-8 fails only where it is looked at
        frame = table.to_pandas()
    except Exception as error:  # Arrow raises many kinds on damaged files
        raise InputError(
            f"{name}: not a readable Parquet file ({_one_line(error)}); save it again."
        ) from None
    return _table(frame, name, target, inputs)


def _table(
    frame: pd.DataFrame,
    name: str,
    target: str | Sequence[str] | None,
    inputs: str | Sequence[str] | None,
) -> Raw:
    """Features and target of a table."""
    frame.columns = [str(column) for column in frame.columns]
    columns = list(frame.columns)
    _no_duplicates(columns, name)
    require(len(frame) > 0, f"{name}: column names but no rows; give at least 2 examples.")
    if target is None:
        raise InputError(
            f"{name}: which column is the target? Give target=; the columns are {_listed(columns)}."
        )
    goals = _named(target, columns, name)
    require(bool(goals), f"{name}: target= names no column; the columns are {_listed(columns)}.")
    features = (
        [c for c in columns if c not in goals] if inputs is None else _named(inputs, columns, name)
    )
    require(bool(features), f"{name}: no feature columns are left beside the target; add some.")
    for column in features:
        require(column not in goals, f"{name}: column {column!r} is both input and target.")
        require(
            inputs is not None or (bool(column) and not column.startswith("Unnamed: ")),
            f"{name}: a column has no name (saved row numbers?); save without the index, or "
            "name the features with inputs=.",
        )
    used = frame[features + goals]
    missing = used.isna().sum()
    if missing.any():
        where = [f"{c!r} ({k} of {len(frame)} rows)" for c, k in missing[missing > 0][:5].items()]
        more = int((missing > 0).sum()) - len(where)
        raise InputError(
            f"{name}: missing or NaN values (empty, NA, None, nan ...) in column {', '.join(where)}"
            f"{f' and {more} more' if more else ''}; remove or fill these rows."
        )
    x = _numbers(used[features], f"{name}: features", name)
    if len(goals) == 1:
        y, classes = _goal(used[goals[0]], name)
    else:
        y, classes = _numbers(used[goals], f"{name}: several targets", name), ()
    return Raw(x, y, classes, tuple(features), tuple(goals))


def _named(wanted: str | Sequence[str], columns: list[str], name: str) -> list[str]:
    """The columns asked for; a comma separates them unless it belongs to a column's name."""
    if isinstance(wanted, str):
        wanted = [wanted] if wanted in columns else [part.strip() for part in wanted.split(",")]
    for column in wanted:
        require(column in columns, f"{name}: {_no_such(column, columns, 'column')}")
        require(list(wanted).count(column) == 1, f"{name}: column {column!r} is named twice.")
    return list(wanted)


def _numbers(frame: pd.DataFrame, what: str, name: str) -> NDArray[np.float64]:
    """Columns as float64, (n, columns)."""
    bad = [column for column in frame if not _numeric(frame[column])]
    if bad:
        where = [f"{c!r} (such as {_culprit(frame[c])[:30]!r})" for c in bad[:5]]
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise InputError(
            f"{what} must be numbers or true/false, but {', '.join(where)}{more} hold text or "
            "other things; encode them as numbers, or leave them out with inputs=."
        )
    values = np.empty(frame.shape)
    for j, column in enumerate(frame):
        try:
            values[:, j] = frame[column].to_numpy(dtype=np.float64)
        except OverflowError:
            raise InputError(
                f"{name}: column {column!r} holds numbers beyond float64; rescale them."
            ) from None
    return values


def _numeric(series: pd.Series) -> bool:
    """Whether a column without missing values holds real numbers or true/false."""
    from pandas.api import types

    if isinstance(series.dtype, types.CategoricalDtype):
        return False
    if series.dtype == object:
        return types.infer_dtype(series) in NUMBER_OBJECTS
    return types.is_bool_dtype(series) or (
        types.is_numeric_dtype(series) and not types.is_complex_dtype(series)
    )


def _culprit(series: pd.Series) -> str:
    """The first value of a column that is no number, or the first of all."""
    import pandas as pd

    text = series.astype(str)
    failed = pd.to_numeric(text, errors="coerce").isna().to_numpy()
    return str(text.iloc[int(failed.argmax())])


def _goal(series: pd.Series, name: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """One target column: numbers or true/false as they are, text and categories as 0..k-1."""
    import pandas as pd

    if isinstance(series.dtype, pd.CategoricalDtype):
        kept = series.cat.remove_unused_categories().cat
        return kept.codes.to_numpy(dtype=np.int64), tuple(str(c) for c in kept.categories)
    if _numeric(series):
        if pd.api.types.is_bool_dtype(series):
            return series.to_numpy(dtype=bool), ()
        if pd.api.types.is_integer_dtype(series):  # exact beyond 2**53
            return series.to_numpy(dtype=np.uint64 if series.min() >= 0 else np.int64), ()
        return _numbers(series.to_frame(), f"{name}: target", name)[:, 0], ()
    kind = pd.api.types.infer_dtype(series)
    require(
        kind == "string",
        f"{name}: target column {series.name!r} holds {kind} values; it must "
        "hold numbers, true/false or text.",
    )
    codes, names = pd.factorize(series, sort=True)
    return codes.astype(np.int64), tuple(str(n) for n in names)


def _no_duplicates(columns: list[str], name: str) -> None:
    twice = sorted(c for c, count in Counter(columns).items() if c and count > 1)
    require(not twice, f"{name}: more than one column is named {_listed(twice)}; rename them.")


def _no_such(wanted: str, present: list[str], what: str) -> str:
    near = difflib.get_close_matches(str(wanted), present, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"there is no {what} {wanted!r}.{hint} There are: {_listed(present)}."


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(_one_line(n) for n in names[:most]) or "nothing"
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} in all)"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _endings() -> str:
    *others, last = READERS
    return f"{', '.join(others)} or {last}"


READERS: dict[str, Callable[..., Raw]] = {
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}

SOURCES: dict[str, Callable[..., Data]] = {"digits": digits, "mnist": mnist}
