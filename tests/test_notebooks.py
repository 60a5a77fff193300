"""The notebooks of docs are what their scripts say, ended without an error, and run in a kernel."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))
NEEDS_TORCH = "import torch"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_is_shown_is_of_the_script_that_stands_there(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    page = script.with_suffix(".md").read_text(encoding="utf-8")
    cells = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    written = [part.strip() for part in re.split(r"^# %%.*\n", text, flags=re.MULTILINE)][1:]
    kept = ["".join(cell["source"]) for cell in cells]
    for cell, source, part in zip(cells, kept, written, strict=True):
        if cell["cell_type"] == "code":
            assert source == part
            assert cell["execution_count"]
            assert "error" not in [output["output_type"] for output in cell["outputs"]]
        else:
            assert source == re.sub(r"^# ?", "", part, flags=re.MULTILINE)
        assert source in page
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    shown = {kind for output in outputs for kind in output.get("data", ())}
    assert {"text/html", "image/png"} <= shown  # cards and pictures, from a run


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_runs_in_a_kernel(script: Path) -> None:
    for name in ("nbclient", "nbconvert", "ipykernel", "matplotlib"):
        pytest.importorskip(name)
    if NEEDS_TORCH in script.read_text(encoding="utf-8"):
        pytest.importorskip("torch")
    path = ROOT / "tools" / "notebooks.py"
    spec = importlib.util.spec_from_file_location("notebooks", path)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    sys.modules.pop("notebooks", None)
    spec.loader.exec_module(tool)
    made = tool.executed(script)
    assert all(cell.execution_count for cell in made.cells if cell.cell_type == "code")
