"""Every benchmark runs to its table; the numbers themselves are for people to read."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
TORCH = ("curvature_accuracy", "curvature_time", "steps_per_second")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "curvature_accuracy",
        "curvature_size",
        "curvature_time",
        "flow_cost",
        "flow_table",
        "matrix_factorisation",
        "measuring_overhead",
        "steps_per_second",
        "trainer",
    ],
)
def test_smoke(name):
    if name in TORCH and importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "thread" in done.stdout
