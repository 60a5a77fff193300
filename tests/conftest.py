"""What every test stands on: float64, explicit dtypes, repeatable random examples."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from compiler import compile_cheaply, optimise

# JAX reads these once, when it is first imported; commands that tests start inherit them.
COMPILED = Path(__file__).parents[1] / ".pytest_cache" / "compiled"
COMPILED_BYTES = 1 << 30
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ["THALWEG_CACHE"] = str(COMPILED.parent / "thalweg")  # nothing in the user's folder
compile_cheaply()

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

from draws import share_programs  # noqa: E402
from lowering import share_contexts  # noqa: E402
from shapes import check_shapes  # noqa: E402

check_shapes("thalweg")
share_programs()
share_contexts()

import thalweg  # noqa: E402, F401  (switches float64 on)

EXPLICIT_ROOMS = {
    "cli",
    "comparison",
    "core",
    "curvature",
    "diagnosis",
    "driver",
    "dynamics",
    "estimators",
    "kernels",
    "lab",
    "models",
    "oracles",
    "probes",
    "problems",
    "report",
    "storage",
    "studies",
    "sweeps",
    "theory",
    "trajectory",
}
THOROUGH_ROOMS = {"curvature", "storage", "sweeps", "theory"}  # in their dear tests, too
FOREIGN_ROOMS = {"frameworks"}  # models of other packages

pytest_plugins = ["tiers", "pytester"]


def pytest_configure(config: pytest.Config) -> None:
    """Compiled programs are kept between runs, up to a size: a folder past it is emptied."""
    if hasattr(config, "workerinput") or not COMPILED.is_dir():
        return
    if sum(entry.stat().st_size for entry in os.scandir(COMPILED)) > COMPILED_BYTES:
        shutil.rmtree(COMPILED, ignore_errors=True)


def pytest_collection_finish() -> None:
    """What was imported stays: the collector of cycles, which tracing calls often, skips it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


# Compilation makes the first example slow, which is no failure; a failing one can be replayed.
hypothesis.settings.register_profile("thalweg", deadline=None, print_blob=True)
hypothesis.settings.load_profile("thalweg")


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    """The truth that tests compare with is float64; a test that switches it off switches it on."""
    assert jax.config.jax_enable_x64
    yield
    assert jax.config.jax_enable_x64


@pytest.fixture(autouse=True)
def explicit(request: pytest.FixtureRequest) -> Iterator[None]:
    """No array grows a dimension and no number changes its type unless the source says so.

    So in the fast tests of the rooms, in all tests of some, and where a study runs at smoke scale
    (`studies/conftest.py`); the others run the same lines.
    """
    parts = set(request.path.parts)
    free = {"implicit"} if THOROUGH_ROOMS & parts else {"implicit", "thorough", "slow"}
    meant = EXPLICIT_ROOMS & parts and not FOREIGN_ROOMS & parts
    if not meant or any(request.node.get_closest_marker(mark) for mark in free):
        yield
        return
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture(autouse=True, scope="module")
def compiled(request: pytest.FixtureRequest) -> Iterator[None]:
    """Programs are dropped after each file: thousands of them exhaust a process's memory maps.

    So each file may have them compiled in its own way.
    """
    optimise(request.path)
    yield
    jax.clear_caches()


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Where a test's run is stored; it does not exist yet, as for a new run."""
    return tmp_path / "runs" / "test"
