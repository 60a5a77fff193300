"""Every benchmark runs to its table; the numbers themselves are for people to read."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
TORCH = (
    "curvature_accuracy",
    "curvature_time",
    "frameworks",
    "hierarchical_tensors",
    "steps_per_second",
    "tangent_kernel",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [path.stem for path in sorted(FOLDER.glob("*.py")) if path.stem != "flow_problems"],
)
def test_smoke(name):
    if name in TORCH and importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "thread" in done.stdout
