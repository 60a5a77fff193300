"""Every benchmark runs to its table; the numbers themselves are for people to read."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
NEEDS = {"steps_per_second": "torch"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "curvature_accuracy",
        "flow_cost",
        "flow_table",
        "measuring_overhead",
        "steps_per_second",
        "trainer",
    ],
)
def test_smoke(name):
    package = NEEDS.get(name)
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "thread" in done.stdout
