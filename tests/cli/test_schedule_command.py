"""`--schedule` from the terminal to the numbers on disk, for one training and for many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from command_line import Said

Says = Callable[..., Said]
BOWL = """
import jax.numpy as jnp
import thalweg as tw

problem = tw.problems.Function(
    lambda x: (x[0] ** 2 + 3 * x[1] ** 2) / 2, start=jnp.array([1.0, 1.0])
)
"""
CURVATURES, STEPS = np.array([1.0, 3.0]), 16
FACTORS = (1 + np.cos(np.pi * np.arange(STEPS) / STEPS)) / 2  # cosine(16)
COSINE = ("--schedule", f"cosine({STEPS})")


@pytest.fixture
def bowl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("my.py").write_text(BOWL)
    return "my.py:problem"


def stored(path: Path) -> xr.Dataset:
    return xr.open_zarr(path, consolidated=False)


def end(rate: float, steps: int) -> np.ndarray:
    """Where so many steps lead on the bowl."""
    return np.prod(1 - rate * FACTORS[:steps, None] * CURVATURES, axis=0)


@pytest.mark.thorough
def test_a_diagnosis_takes_the_steps_of_the_schedule(thalweg_says: Says, bowl: str) -> None:
    """Its clock is the sum of the step sizes, and the flow has run as long."""
    until = 0.2 * FACTORS[:14].sum()
    said = thalweg_says(
        "diagnose", bowl, "--lr", 0.2, *COSINE, "--until", until, "--records", 4, "--out", "run"
    )
    assert said.code == 0, said.err
    descent, flow = (stored(Path(f"run/{name}.zarr")) for name in ("descent", "flow"))
    assert int(descent["step"].values[0, -1]) == 14
    np.testing.assert_allclose(descent["parameters"].values[0, -1], end(0.2, 14), rtol=1e-12)
    np.testing.assert_allclose(descent["time"].values[-1], until, rtol=1e-12)
    np.testing.assert_allclose(
        flow["parameters"].values[0, -1], np.exp(-CURVATURES * until), rtol=1e-3
    )
    assert Path("run/index.html").exists()


def test_a_sweep_takes_the_schedule_at_every_rate(thalweg_says: Says, bowl: str) -> None:
    said = thalweg_says(
        "sweep", bowl, "--step-size", "0.1,0.2", *COSINE, "--steps", 14, "--records", 4,
        "--out", "run",
    )  # fmt: skip
    assert said.code == 0, said.err
    (block,) = map(stored, Path("run").glob("block-*.zarr"))
    for lane, rate in enumerate((0.1, 0.2)):
        ended: Any = block["parameters"].values[lane, -1]
        np.testing.assert_allclose(ended, end(rate, 14), rtol=1e-12)


@pytest.mark.parametrize("command", ["diagnose", "sweep"])
@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("cosine", "names no number of steps; give it, as cosine(1000)"),
        ("cosin(10)", "Did you mean 'cosine'?"),
        ("cosine(0)", "steps of cosine came as 0"),
        ("cosine(10, ends=1)", "cosine has no 'ends'; it takes steps, warmup, end"),
        ("cosine(10", "cannot be read"),
    ],
)
def test_a_schedule_that_cannot_be_read_is_one_sentence(
    thalweg_says: Says, bowl: str, command: str, schedule: str, words: str
) -> None:
    said = thalweg_says(command, bowl, "--schedule", schedule, "--out", "run")
    assert said.code == 2
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not Path("run").exists()
