"""The user's own data: files, data frames, bunches of scikit-learn, and sources by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.core.arguments import framework, told
from thalweg.core.errors import InputError, reason, require, unknown
from thalweg.problems.data.archives import read_archive
from thalweg.problems.data.bunches import from_bunch, is_bunch, openml
from thalweg.problems.data.cifar import cifar10_images
from thalweg.problems.data.data import Data, from_arrays
from thalweg.problems.data.delimited import read_delimited
from thalweg.problems.data.images import digit_images, mnist5k_images, mnist_images
from thalweg.problems.data.kinds_of_files import require_as_named
from thalweg.problems.data.rows import Classes
from thalweg.problems.data.tables import Names, from_table
from thalweg.problems.data.text_labels import one_line
from thalweg.problems.data.unfolded import require_unfolded

TEXT, PARQUET, ARCHIVE = (".csv", ".tsv"), (".parquet",), (".npz",)
OPENML = "openml:"


def from_file(
    path: str | os.PathLike[str],
    target: Names | None = None,
    inputs: Names | None = None,
    drop: Names | None = None,
    one_hot: Names | None = None,
    drop_gaps: bool = False,
    missing: Names | None = None,
    header: bool | None = None,
    task: str = "auto",
    standardize: str = "none",
    scale_target: bool = False,
    samples: int | None = None,
    every: int | None = None,
    classes: Classes | None = None,
) -> Data:
    """Read examples from a `.csv`, `.tsv`, `.parquet` or `.npz` file.

    A table's features are the columns `inputs`, by default all but the target, numbers or
    true/false. An archive's arrays are x and y, X and y, or inputs and targets, unless named.
    Text and categories are labels; how other tasks are told, rows taken and inputs standardised is
    said at `from_arrays`. Text is read where there is one way to read it (separator, decimal
    commas, comments, byte order mark), and `description["format"]` says what was not plain.
    Nothing is unpickled.

    Args:
        path: The file.
        target: Column of the target, or several (a sequence, or separated by commas) for
            regression; for `.npz` the key of the targets.
        inputs: Columns of the features (likewise); for `.npz` the key of the inputs.
        drop: Columns to leave out of the features (likewise).
        one_hot: Columns to encode (likewise), each as one feature of 0 and 1 per value that occurs;
            "all" for every column of text or categories.
        drop_gaps: Leave out rows with a missing value in a column that is used, and count them.
        missing: Words that stand for a missing value in a text file, beside the empty cell (a
            sequence, or separated by commas); by default those of pandas, as NA, None and nan. ""
            leaves the empty cell only.
        header: Whether the first row of a text file holds the names of the columns; by default it
            must, and is refused if it looks like values.
        task: "auto", "classification" or "regression".
        standardize: "none", "global" or "feature".
        scale_target: Shift and scale every target column of a regression to mean 0 and deviation 1.
        samples: Number of examples kept; all by default.
        every: Keep every so-manyth row; all by default.
        classes: Names of the classes kept (a sequence, or separated by commas), before `every` and
            `samples`; all by default.

    Raises:
        InputError: If the file is missing, damaged, or holds anything but at least two complete
            examples; the sentence says what and where.
    """
    place = Path(os.path.expanduser(path))  # leaves an unknown ~name as it is
    ending = place.suffix.lower()
    if ending not in TEXT + PARQUET + ARCHIVE:
        raise InputError(f"{str(path)!r}: unknown ending; give a file ending in {_endings()}.")
    name = place.name
    content = _content(place, path)
    require_as_named(content, name, ending)
    rows: dict[str, Any] = {
        "name": name,
        "task": task,
        "standardize": standardize,
        "scale_target": scale_target,
        "samples": samples,
        "every": every,
        "classes": classes,
    }
    of_text = {"missing": missing, "header": header}
    of_tables = {"drop": drop, "one_hot": one_hot, "drop_gaps": drop_gaps or None}
    told: dict[str, Any] = {"source": str(place)}
    if ending not in TEXT:
        _only_for(of_text, name, "text files (.csv, .tsv)")
    if ending in ARCHIVE:
        _only_for(of_tables, name, "tables")
        x, y = read_archive(content, name, target, inputs)
        return from_arrays(x, y, description=told, **rows)
    if ending in PARQUET:
        frame = _parquet(content, name)
    else:
        words = missing if missing is None or not isinstance(missing, str) else missing.split(",")
        words = None if words is None else [word.strip() for word in words]
        frame, how = read_delimited(content, name, header, words)
        told |= how
    return from_table(frame, target, inputs, drop, one_hot, drop_gaps, description=told, **rows)


def read_data(source: Any, **options: Any) -> Data:
    """Data from a source: a name, a path, a data frame, a bunch of scikit-learn, or arrays.

    Args:
        source: A name in `SOURCES` ("digits", "mnist5k", "mnist", "cifar10"); "openml:NAME",
            "openml:NAME@VERSION" or "openml:NUMBER", fetched by scikit-learn; a path ending in
            .csv, .tsv, .parquet or .npz; a data frame (pandas, polars, Arrow); a bunch of
            `sklearn.datasets`; or a pair (inputs, targets).
        options: Those of the source's function: `from_file`, `from_table`, `from_bunch`,
            `from_arrays`.

    Raises:
        InputError: If the name or an option is unknown, or the data are refused.

    Examples:
        >>> labels = ["cat", "dog", "cat", "dog"]
        >>> data = tw.problems.read_data((np.eye(4), labels), task="classification")
        >>> data.task, data.classes, data.targets.tolist()
        ('classification', ('cat', 'dog'), [0, 1, 0, 1])
    """
    read, given, called = _reader(source)
    allowed = set(inspect.signature(read).parameters)
    if "options" in allowed:  # they go on to from_table and from_arrays
        allowed |= {
            *inspect.signature(from_table).parameters,
            *inspect.signature(from_arrays).parameters,
        }
    allowed -= {"options", "description", "class_names", *given}
    for option in options:
        require(option in allowed, unknown(option, sorted(allowed), f"option for {called}:"))
    return read(**given, **options)


def _reader(source: Any) -> tuple[Callable[..., Data], dict[str, Any], str]:
    """The function that reads a source, what to give it, and what to call the source."""
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        if text in SOURCES:
            return SOURCES[text], {}, repr(text)
        if text.startswith(OPENML):
            return openml, {"name": text.removeprefix(OPENML)}, repr(text)
        if Path(text).suffix.lower() in TEXT + PARQUET + ARCHIVE:
            return from_file, {"path": text}, repr(text)
        raise InputError(
            f"{unknown(text, [*SOURCES, OPENML + 'NAME'], 'data source')} A file's path must end "
            f"in {_endings()}."
        )
    if is_bunch(source):
        return from_bunch, {"bunch": source}, "a bunch"
    if isinstance(source, tuple) and len(source) == 2:
        return from_arrays, dict(zip(("inputs", "targets"), source, strict=True)), "arrays"
    return from_table, {"table": source}, "a data frame"


def _content(place: Path, path: str | os.PathLike[str]) -> bytes:
    require(not os.path.isdir(place), f"{str(path)!r} is a folder; give a file in it.")
    require(os.path.isfile(place), f"{str(path)!r}: there is no such file; check the path.")
    try:
        require_unfolded(place)
        content = place.read_bytes()
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}.") from None
    require(bool(content), f"{str(path)!r} is empty; give a file with examples.")
    return content


def _only_for(options: dict[str, Any], name: str, what: str) -> None:
    for option, value in options.items():
        require(value is None, f"{name}: {option}= is for {what}; leave it out.")


def _parquet(content: bytes, name: str) -> Any:
    import io

    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise InputError(
            f"{name}: reading .parquet needs pyarrow; pip install 'thalweg[parquet]'."
        ) from None
    try:
        table = parquet.ParquetFile(io.BytesIO(content)).read()
        table.validate(full=True)  # else text that is not UTF-8 fails only where it is looked at
        return table.to_pandas()
    except Exception as error:  # Arrow raises many kinds on damaged files
        raise InputError(
            f"{name}: not a readable Parquet file ({one_line(error)}); save it again."
        ) from None


def _endings() -> str:
    *others, last = ARCHIVE + TEXT + PARQUET
    return f"{', '.join(others)} or {last}"


SOURCES: dict[str, Callable[..., Data]] = {
    "digits": digit_images,
    "mnist5k": mnist5k_images,
    "mnist": mnist_images,
    "cifar10": cifar10_images,
}


def _one_array(inputs: Any, targets: Any) -> None:
    """Refuse the inputs of a network that takes several, which would be read as few examples."""
    if isinstance(inputs, list | tuple):
        lengths = {len(part) if getattr(part, "shape", ()) else None for part in inputs}
        size = len(targets) if hasattr(targets, "__len__") else None
        if len(inputs) == size or lengths != {size}:
            return
    elif not isinstance(inputs, Mapping):
        return
    raise InputError(
        f"the inputs came as {len(inputs)} arrays; give one (examples, ...), all side by side, and "
        "a model that takes it apart again, as one that calls net(x[:, :3], x[:, 3:])"
    )


def as_data(given: Any) -> Data:
    """Examples from what a user has: `Data`, two arrays, or what `read_data` takes alone."""
    if isinstance(given, Data):
        return given
    if isinstance(given, tuple | list) and len(given) == 2:
        _one_array(*given)
        try:
            inputs, targets = (np.asarray(part) for part in given)
        except Exception as error:  # arrays of other frameworks raise what they like
            raise InputError(f"data cannot be read as two arrays: {reason(error)}") from error
        return Data.of(inputs, targets)
    table = framework(given) in ("pandas", "polars", "pyarrow", "sklearn")
    require(
        table or isinstance(given, str | os.PathLike | Mapping),
        f"data came as {told(given)}; give (inputs, targets), or what problems.read_data takes: a "
        "name, a file, a table",
    )
    return read_data(given)
