"""What every test stands on: float64, explicit dtypes, repeatable random examples."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import pytest

import thalweg  # noqa: F401  (switches float64 on)

# Compilation makes the first example slow, which is no failure; a failing one can be replayed.
hypothesis.settings.register_profile("thalweg", deadline=None, print_blob=True)
hypothesis.settings.load_profile("thalweg")


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    """The truth that tests compare with is float64; a test that switches it off switches it on."""
    assert jax.config.jax_enable_x64
    yield
    assert jax.config.jax_enable_x64


@pytest.fixture(autouse=True, scope="module")
def compiled() -> Iterator[None]:
    """Programs are dropped after each file: thousands of them exhaust a process's memory maps."""
    yield
    jax.clear_caches()


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Where a test's run is stored; it does not exist yet, as for a new run."""
    return tmp_path / "runs" / "test"
