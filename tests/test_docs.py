"""README and docs are true: their Python runs, page by page, and their commands parse.

A page's Python blocks run in order in one namespace. What is not run says why, in a comment
before the block or, for the whole page, anywhere on it; a page that takes long says so:

    <!-- not executed: the reason -->
    <!-- page not executed: the reason -->
    <!-- slow: the reason -->
"""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import typer.main

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
}
FENCE = re.compile(
    r"^(?P<before>[^\n]*\n)?\n?^(?P<indent> *)```(?P<language>\w+)[^\n]*\n"
    r"(?P<body>.*?)^(?P=indent)```",
    re.MULTILINE | re.DOTALL,
)
SHELL = {"console", "bash", "sh"}
COMMAND = re.compile(r"^\s*(?:[$@] )?(?:\S*/)?thalweg (?!\()(.*)$", re.MULTILINE)
BLOCK_MARK = re.compile(r"<!-- not executed: \S.{9,} -->")
PAGE_MARK = re.compile(r"<!-- page not executed: (\S.{9,}) -->")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
NAMED_FILE = re.compile(r"`((?:src|tests|docs|benchmarks)/[^`\s]+)`")
SLOW_MARK = re.compile(r"<!-- slow: \S.{9,} -->")


class Block(NamedTuple):
    """A fenced block: its language, text, first line, and whether a comment opts it out."""

    language: str
    text: str
    line: int
    marked: bool


def blocks(page: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(page):
        indent = len(match["indent"])
        text = "".join(line[indent:] or "\n" for line in match["body"].splitlines(keepends=True))
        line = page.count("\n", 0, match.start("body")) + 1
        marked = bool(BLOCK_MARK.search(match["before"] or ""))
        found.append(Block(match["language"], text, line, marked))
    return found


def python(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language in {"python", "py"}]


def commands(text: str) -> list[str]:
    return [match.group(1) for match in COMMAND.finditer(text)]


def pages_with_python() -> list:
    return [
        pytest.param(page, id=name, marks=[pytest.mark.slow] if SLOW_MARK.search(page) else [])
        for name, page in PAGES.items()
        if python(page)
    ]


def parse(arguments: list[str]) -> None:
    """Let the command line's parser read arguments; nothing runs."""
    cli = importlib.import_module("thalweg.cli")
    if not hasattr(cli, "main"):
        pytest.skip("there is no command line yet: thalweg.cli has no main")
    command, name = typer.main.get_command(cli.app), "thalweg"
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        assert name in command.commands, f"no command {name!r}"
        command = command.commands[name]
    try:
        command.make_context(name, list(arguments))
    except Exception as stop:  # --help and --version leave by an exception with exit code 0
        if getattr(stop, "exit_code", 1) != 0:
            raise


@pytest.mark.thorough
@pytest.mark.parametrize("page", pages_with_python())
def test_python_on_the_page_runs(request, page, tmp_path, monkeypatch):
    if reason := PAGE_MARK.search(page):
        pytest.skip(f"the page says: {reason.group(1)}")
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where classes look up their annotations
    for block in python(page):
        if not block.marked:
            text = "\n" * (block.line - 1) + block.text  # so that a traceback names the page's line
            exec(compile(text, request.node.name, "exec", dont_inherit=True), vars(module))


@pytest.mark.slow
def test_what_is_to_be_copied_passes_the_type_checker(tmp_path):
    """The Python of docs/extend, page by page: it becomes a file of the library, which is typed."""
    api = pytest.importorskip("mypy.api")
    for name, page in PAGES.items():
        if name.startswith("docs/extend/"):
            lines: list[str] = []
            for block in python(page):
                if not block.marked:
                    lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
            (tmp_path / f"{Path(name).stem.replace('-', '_')}.py").write_text(
                "\n".join(lines) + "\n"
            )
    settings = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "c")]
    told, trouble, _ = api.run([*settings, *map(str, sorted(tmp_path.glob("*.py")))])
    assert "Success" in told, told + trouble


@pytest.mark.parametrize(
    "line",
    sorted(
        {
            line
            for page in PAGES.values()
            for block in blocks(page)
            if block.language in SHELL
            for line in commands(block.text)
        }
        | set(commands((ROOT / "Makefile").read_text(encoding="utf-8")))
    ),
)
def test_the_command_line_takes(line):
    parse(shlex.split(line, comments=True))


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_points_to_exists(name):
    page, folder = PAGES[name], (ROOT / name).parent
    linked = [folder / target for target in LINK.findall(page)]
    named = [ROOT / target for target in NAMED_FILE.findall(page)]
    assert [str(path) for path in linked + named if not path.exists()] == []


def test_the_reader_of_pages():
    page = (
        "# Title\n\n```python\nx = 1\n```\n\n<!-- not executed: needs a file of yours -->\n"
        "```python\nx = 2\n```\n\n- item\n\n    ```py\n    if x:\n        y = 3\n    ```\n"
        "```console\n$ thalweg run a --seeds 2  # why\n.venv/bin/thalweg studies\nmake demo\n```\n"
    )
    assert [(b.text, b.line, b.marked) for b in python(page)] == [
        ("x = 1\n", 4, False),
        ("x = 2\n", 9, True),
        ("if x:\n    y = 3\n", 15, False),
    ]
    assert commands(blocks(page)[-1].text) == ["run a --seeds 2  # why", "studies"]
    assert commands("\t$(BIN)/thalweg verify --json runs/verify.json\n") == [
        "verify --json runs/verify.json"
    ]
    assert not BLOCK_MARK.search("<!-- not executed: -->")
