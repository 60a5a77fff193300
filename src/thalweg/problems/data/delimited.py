"""Text files of values between separators: read where there is one way to read them.

What is not plain (separator, decimal commas, comments, encoding, no row of names) is told; what can
be read in two ways is refused.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from thalweg.core.errors import InputError, require
from thalweg.problems.data.tables import no_twins
from thalweg.problems.data.text_labels import PLAIN, one_line, shortlist

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {",": "','", ";": "';'", "\t": "tab", "|": "'|'"}
COMMENT = re.compile(r"(#|%|//)")
BYTE_ORDER_MARKS = {  # the longer ones first: that of UTF-32 begins like that of UTF-16
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\xef\xbb\xbf": "UTF-8-SIG",
}
LOOKED_AT = 1000  # records by which a separator is told; pandas checks the rest
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_EITHER = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # a decimal comma, or one between thousands


def read_delimited(
    content: bytes, name: str, header: bool | None, missing: Sequence[str] | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A table from the bytes of a text file, and how it was read where that is not plain.

    Values stand between commas, semicolons, tabs or bars, whichever gives every row as many. The
    decimal mark is a point; a comma is one where a column can mean nothing else.

    Args:
        content: The bytes; UTF-8, or UTF-16 and UTF-32 with a byte order mark.
        name: The file's name, the beginning of every error sentence.
        header: Whether the first row holds the names; None if that is to be found out.
        missing: Words for a missing value beside the empty cell; None for those of pandas.

    Raises:
        InputError: If it is no table, or can be read in more than one way.
    """
    told: list[str] = []
    text = _decoded(content, name, told)
    text, given = _separator_line(text, told)
    separator, text = _separated(text, given, name, told)
    first = _first_row(text, separator, name)
    names = [f"column{i + 1}" for i in range(len(first))] if header is False else None
    frame = _parsed(text, separator, names, missing, name)
    if names is not None:
        told.append(f"no row of names, so columns are called {shortlist(names, 2)}")
    frame = _without_empty_last(frame, told)
    _mend_numbers(frame, name, told)
    if header is None:
        _names_not_values(first, frame, name)
    if names is None:
        no_twins(first, name)
    return frame, {"format": told} if told else {}


def _decoded(content: bytes, name: str, told: list[str]) -> str:
    mark = next((m for m in BYTE_ORDER_MARKS if content.startswith(m)), None)
    encoding = "UTF-8" if mark is None else BYTE_ORDER_MARKS[mark]
    if encoding.startswith("UTF-8"):
        require(
            b"\0" not in content,
            f"{name}: not text in UTF-8 (it has zero bytes; UTF-16 without a byte order mark?); "
            "save it as UTF-8.",
        )
    else:
        told.append(encoding)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{name}: not text in {encoding[:6].rstrip('-')}: line {line} has the byte "
            f"{content[error.start] if content else 0:#04x} (saved in an older encoding, as "
            "Windows-1252?); save it as UTF-8."
        ) from None
    require("\0" not in text, f"{name}: the text has zero characters; save it without.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _separator_line(text: str, told: list[str]) -> tuple[str, str | None]:
    """Excel's first line `sep=;`, emptied, and what it says."""
    found = re.match(r'"?sep=(.)"?[ \t]*\n', text)
    if found is None:
        return text, None
    told.append(f"line 1 names the separator {SEPARATORS.get(found[1], repr(found[1]))}")
    return text[found.end() - 1 :], found[1]


def _separated(text: str, given: str | None, name: str, told: list[str]) -> tuple[str, str]:
    """The separator, and the text with its comment lines emptied."""
    marked = dict(_marked_lines(text))
    lines = text.split("\n")
    table = "\n".join("" if i in marked else line for i, line in enumerate(lines))
    if not table.strip():
        marked, table = {}, text
    separator = given or _separator(table, name)
    if separator != "," and given is None:
        told.append(f"separated by {SEPARATORS[separator]}")
    if not marked:
        return separator, text
    width = _commonest_width(table, separator)
    first = next(i for i, line in enumerate(lines) if line.strip())
    comments = []
    for i, mark in marked.items():
        if len(next(csv.reader([lines[i]], delimiter=separator))) != width:
            comments.append(i + 1)
            lines[i] = ""
        elif i == first or all(j + 1 in comments for j in range(i) if lines[j].strip()):
            told.append(f"{mark!r} before the names left out")
            lines[i] = lines[i].lstrip()[len(mark) :].lstrip()
    if comments:
        where = f"line{'s' if len(comments) > 1 else ''} {shortlist(comments, 3)}"
        told.append(f"{where} skipped as comment")
    return separator, "\n".join(lines)


def _marked_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines outside quotes that begin with the mark of a comment."""
    if not re.search(rf"^\s*{COMMENT.pattern}", text, re.MULTILINE):
        return
    quotes = 0
    for i, line in enumerate(text.split("\n")):
        found = COMMENT.match(line.lstrip())
        if found and quotes % 2 == 0:
            yield i, found[1]
        else:
            quotes += line.count('"')


def _records(text: str, separator: str) -> Iterator[list[str]]:
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    return (record for record in reader if any(value.strip() for value in record))


def _widths(text: str, separator: str) -> list[int]:
    """How many values the first records have; none if it cannot be told."""
    try:
        return [len(record) for record in islice(_records(text, separator), LOOKED_AT)]
    except csv.Error:
        return []


def _commonest_width(text: str, separator: str) -> int:
    counts = Counter(_widths(text, separator)).most_common(1)
    return counts[0][0] if counts else 0


def _separator(text: str, name: str) -> str:
    """The separator that gives every record the same number of values, at least 2."""
    widths = {s: found for s in SEPARATORS if (found := _widths(text, s))}
    fitting = [s for s, found in widths.items() if len(set(found)) == 1 and found[0] > 1]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        either = " or ".join(SEPARATORS[s] for s in fitting)
        raise InputError(
            f"{name}: its values may be separated by {either}; say which in a line before the "
            "names, as in sep=;"
        )
    # None fits: the one that splits the names, and most rows like them, names the fault later.
    split = {s: found for s, found in widths.items() if found[0] > 1}
    if split:
        return max(split, key=lambda s: split[s].count(split[s][0]))
    first = next((line for line in text.split("\n") if line.strip()), "")
    blanks = len(first.split())
    spaced = blanks > 1 and all(
        len(line.split()) == blanks for line in text.split("\n")[:LOOKED_AT] if line.strip()
    )
    require(
        not spaced,
        f"{name}: its values seem to be separated by spaces; save it with commas between them.",
    )
    return ","


def _first_row(text: str, separator: str, name: str) -> list[str]:
    try:
        first = next(_records(text, separator), None)
    except csv.Error as error:
        raise InputError(f"{name}: not a table with a row of column names ({error}).") from None
    require(first is not None, f"{name}: not a table with a row of column names; it is blank.")
    assert first is not None
    return [value.strip() for value in first]


def _parsed(
    text: str,
    separator: str,
    names: list[str] | None,
    missing: Sequence[str] | None,
    name: str,
) -> pd.DataFrame:
    import pandas as pd  # slow to import, needed by tables only

    words: dict[str, Any] = (
        {} if missing is None else {"na_values": ["", *missing], "keep_default_na": False}
    )
    try:
        with warnings.catch_warnings():
            # pandas only warns where it drops the surplus fields of a row
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(text),
                sep=separator,
                header=0 if names is None else None,
                names=names,
                index_col=False,
                skipinitialspace=True,
                low_memory=False,
                dtype_backend="numpy_nullable",  # whole numbers stay exact beside gaps
                **words,
            )
    except Exception as error:  # pandas raises many kinds on damaged files
        raise InputError(
            f"{name}: not a table with a row of column names "
            f"({_ragged(text, separator) or one_line(error)}); give each row as many values, "
            f"separated by {SEPARATORS.get(separator, repr(separator))}, as there are names."
        ) from None
    frame.columns = [str(column).strip() for column in frame.columns]
    return frame


def _ragged(text: str, separator: str) -> str | None:
    """The first row with more values than there are names."""
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    names = None
    try:
        for record in reader:
            if names is None and any(value.strip() for value in record):
                names = len(record)
            if names is not None and len(record) > names:
                whole = all(_WHOLE.fullmatch(v.strip()) for v in record)
                comma = separator == "," and len(record) == 2 * names and whole
                hint = " (decimal commas?)" if comma else ""
                return f"line {reader.line_num} has {len(record)} values{hint}, not {names}"
    except csv.Error as error:
        return one_line(error)
    return None


def _names_not_values(first: list[str], frame: pd.DataFrame, name: str) -> None:
    """Refuse a first row that looks like one of the rows below it.

    It does where every column of numbers has a number for a name. Years and other names that count
    up by one are names all the same if the columns hold fractions.
    """
    from pandas.api.types import is_float_dtype, is_numeric_dtype

    places = [
        i
        for i, column in enumerate(frame)
        if i < len(first) and first[i] and is_numeric_dtype(frame.iloc[:, i].dtype)
    ]
    valued = [first[i] for i in places if first[i].lower() not in ("na", "nan", "n/a", "null", "?")]
    if not valued or not all(PLAIN.fullmatch(v) or _COMMA.fullmatch(v) for v in valued):
        return
    names = [first[i] for i in places]
    if len(names) > 2 and all(_WHOLE.fullmatch(n) for n in names):
        counted = [int(n) for n in names]
        in_turn = counted == list(range(counted[0], counted[0] + len(counted)))
        if in_turn and all(is_float_dtype(frame.iloc[:, i].dtype) for i in places):
            return
    raise InputError(
        f"{name}: the first row looks like values, not names ({shortlist(first, 4)}); add a row of "
        "names, or give header=False if it is an example, header=True if these are the names."
    )


def _without_empty_last(frame: pd.DataFrame, told: list[str]) -> pd.DataFrame:
    """Without the nameless, empty column that a separator at the end of every line makes."""
    last = frame.columns[-1] if len(frame.columns) else ""
    if len(frame) and last.startswith("Unnamed: ") and frame[last].isna().all():
        told.append("an empty last column left out")
        return frame.iloc[:, :-1]
    return frame


def _mend_numbers(frame: pd.DataFrame, name: str, told: list[str]) -> None:
    """Columns of text that are numbers beyond 64 bits, or with decimal commas, become numbers."""
    from pandas.api.types import is_float_dtype, is_string_dtype

    commas, certain = [], False
    for column in frame:
        if not is_string_dtype(frame[column].dtype) or is_float_dtype(frame[column].dtype):
            continue
        values = frame[column].dropna().str.strip()
        distinct = set(values.unique())
        if distinct and all(PLAIN.fullmatch(v) for v in distinct):
            frame[column] = frame[column].map(_number, na_action="ignore").astype(object)
        elif any("," in v for v in distinct) and all(
            _COMMA.fullmatch(v) or _WHOLE.fullmatch(v) for v in distinct
        ):
            commas.append(column)
            certain |= any("," in v and not _EITHER.fullmatch(v) for v in distinct)
    if not certain:
        return
    points = [c for c in frame if is_float_dtype(frame[c].dtype) and frame[c].notna().any()]
    if points:
        raise InputError(
            f"{name}: column {commas[0]!r} has decimal commas and column {points[0]!r} decimal "
            "points; write all numbers with points."
        )
    for column in commas:
        plain = frame[column].str.replace(".", "").str.replace(",", ".")
        frame[column] = plain.map(float, na_action="ignore").astype("Float64")
    told.append(f"decimal commas in column{'s' if len(commas) > 1 else ''} {shortlist(commas, 5)}")


def _number(text: str) -> int | float:
    return int(text) if _WHOLE.fullmatch(text.strip()) and len(text) < 4000 else float(text)
