"""Make notebooks from scripts: run each in a kernel, keep what it showed, and write its page.

    python tools/notebooks.py docs/notebooks/*.py     # needs the extra notebooks

A script is in cells ("# %%", and "# %% [markdown]" for text), which editors run as they stand.
Beside it are written the notebook with its outputs, to download, and the Markdown page of the site.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

MARK = re.compile(r"^# %%(?P<text> \[markdown\])?\n", re.MULTILINE)
PAGE = """<!-- page not executed: made from {name}.py by tools/notebooks.py, which executes it -->

{body}
[The notebook]({name}.ipynb) to download, [its script]({name}.py).
"""


def notebook(script: Path) -> Any:
    """The cells of a script as a notebook that was not run."""
    _, *parts = MARK.split(script.read_text(encoding="utf-8"))
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    for at, (kind, text) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        if kind:
            text = re.sub(r"^# ?", "", text, flags=re.MULTILINE)
        new = nbformat.v4.new_markdown_cell if kind else nbformat.v4.new_code_cell
        made.cells.append(new(text.strip(), id=f"cell-{at}"))
    return made


def executed(script: Path) -> Any:
    """The notebook of a script after its cells ran, in a folder of its own."""
    made = notebook(script)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(made, timeout=600, resources={"metadata": {"path": folder}}).execute()
    for cell in made.cells:
        cell.metadata.pop("execution", None)  # when it ran
    return made


def write(script: Path, made: Any) -> None:
    """The notebook and its page with its pictures, beside the script."""
    nbformat.write(made, script.with_suffix(".ipynb"))
    body, found = MarkdownExporter().from_notebook_node(
        made, {"unique_key": script.stem, "output_files_dir": "../pictures/notebooks"}
    )
    for name, data in found["outputs"].items():
        path = script.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    body = re.sub(r"\n{4,}", "\n\n", body)  # where a bar of progress stood
    page = PAGE.format(name=script.stem, body=body)
    script.with_suffix(".md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        write(path, executed(path))
        print(path.with_suffix(".md"), flush=True)
