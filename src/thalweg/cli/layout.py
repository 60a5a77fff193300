"""Text that fits the terminal: words stay whole at any width."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

READABLE = 40  # characters of a text beside its name; below, it stands under it
WIDEST = 100  # characters of a line of running text
_ITEM = re.compile(r"\*{0,2}\w+: |[-*] |\w+:$|\w+  +\S")  # an argument, a heading, a field


def paragraph(
    console: Console, text: str, indent: int = 0, style: str = "", hanging: int = 0
) -> None:
    """Running text, wrapped between words; all lines but the first are `hanging` further in."""
    for j, line in enumerate(_wrapped(text, _width(console) - indent - hanging)):
        console.print(Text(" " * (indent + hanging * (j > 0)) + line, style))


def named(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Names with their texts beside them, or below them where the terminal is narrow."""
    rows = list(rows)
    widest = max((len(name) for name, _ in rows), default=0) + 2
    if _width(console) - widest < READABLE:
        for name, text in rows:
            console.print(Text(name, "bold"))
            paragraph(console, text, indent=4)
        return
    for name, text in rows:
        item(console, name.ljust(widest), text)


def columns(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str]
) -> None:
    """A table where its cells fit side by side whole, else each row in words.

    Args:
        console: Where it goes.
        headings: Of the columns; the first is what a row is about.
        rows: Their cells, in Rich's markup.
        left: Headings of what is no number.
    """
    plain = [[Text.from_markup(cell).plain for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *plain, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) > console.width:
        named(console, ((first, _in_words(headings[1:], rest)) for first, *rest in plain))
        return
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _in_words(headings: Sequence[str], cells: Sequence[str]) -> str:
    return "; ".join(f"{head} {cell}" for head, cell in zip(headings, cells, strict=True))


def item(console: Console, head: str, text: str, style: str = "bold", body: str = "") -> None:
    """A head, and running text to the right of it."""
    for line in _wrapped(text, _width(console) - len(head)):
        console.print(Text.assemble((head, style), (line, body)))
        head = " " * len(head)


def docstring(console: Console, text: str) -> None:
    """A docstring: its paragraphs and arguments wrapped, its examples as they stand."""
    for indent, block in blocks(text):
        if indent is None:
            console.print(Text(block))
        else:
            paragraph(console, block, indent, hanging=4 if _ITEM.match(block) else 0)


def blocks(text: str) -> Iterator[tuple[int | None, str]]:
    """Paragraphs and arguments, with their indentation; None for lines that stand as they are."""
    indent, example = 0, False
    words: list[str] = []
    for line in [*text.splitlines(), ""]:
        bare, deep = line.strip(), len(line) - len(line.lstrip())
        example = bare.startswith(">>>") or (example and bool(bare))
        new = not bare or example or deep < indent or _ITEM.match(bare)
        if words and new:
            yield indent, " ".join(words)
            words = []
        if example or not bare:
            yield None, line.rstrip()
        elif words:
            words.append(bare)
        else:
            indent, words = deep, [bare]


def _width(console: Console) -> int:
    return max(min(console.width, WIDEST), 20)


def _wrapped(text: str, width: int) -> list[str]:
    whole = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, max(width, 10), **whole) or [""]  # type: ignore[arg-type]
