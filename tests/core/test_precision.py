"""Float64 is on wherever JAX is used, in whichever order things are imported; names come late."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import thalweg as tw

PRECISE = "import jax.numpy as jnp; assert jnp.ones(2).dtype == 'float64'; "


def python(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_thalweg_before_jax() -> None:
    """Nothing of ours needs to be touched; no other process is told; the watch has left."""
    program = "import os, sys; before = dict(os.environ); import thalweg; "
    program += "assert 'jax' not in sys.modules; finders = len(sys.meta_path); import thalweg; "
    program += "assert len(sys.meta_path) == finders; " + PRECISE
    program += "assert len(sys.meta_path) == finders - 1; "
    program += "import importlib.resources, jax; importlib.resources.files('jax'); "
    program += "assert dict(os.environ) == before"
    python(program)


def test_jax_before_thalweg() -> None:
    python(
        "import jax.numpy as jnp; assert jnp.ones(2).dtype == 'float32'; import thalweg; " + PRECISE
    )


def test_jax_looked_for_before_it_is_imported() -> None:
    """Packages ask whether JAX is there, and do not import it for that."""
    python(
        "import importlib.util, thalweg; importlib.util.find_spec('jax'); import sys; "
        "assert importlib.util.find_spec('jax') and 'jax' not in sys.modules; " + PRECISE
    )


def test_a_module_deep_inside_before_all_else() -> None:
    python("from thalweg.core import tree; " + PRECISE)


def test_imports_take_hold_of_no_device() -> None:
    """Who imports us may still choose the device, or join other processes."""
    program = "import importlib, os, pkgutil; os.environ['JAX_PLATFORMS'] = 'nowhere'; "
    program += "import thalweg\nfor room in pkgutil.iter_modules(thalweg.__path__, 'thalweg.'):\n"
    program += "    if not room.name.endswith('__main__'): importlib.import_module(room.name)\n"
    python(program + "from thalweg.probes import examples")


def test_public_names_are_imported_when_they_are_used() -> None:
    """The table of homes, the names that type checkers see and `__all__` say the same."""
    source = ast.parse(Path(tw.__file__).read_text(encoding="utf-8"))
    (seen,) = (node for node in source.body if isinstance(node, ast.If))
    told = {
        alias.name: (node.module or "").removeprefix("thalweg").removeprefix(".")
        for node in seen.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(told) == set(tw.__all__)
    assert {name: home for name, home in told.items() if home} == tw._HOMES
    assert set(tw.__all__) < set(dir(tw))
    for name in tw.__all__:
        assert getattr(tw, name) is getattr(tw, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tw.nothing  # noqa: B018
    with pytest.raises(ImportError):
        from thalweg import nothing  # noqa: F401


def test_late_names_check_their_arguments_and_can_be_pickled() -> None:
    with pytest.raises(tw.InputError, match="problem came as 3"):
        tw.run(3, 3, 1.0)  # type: ignore[arg-type]
    for name in ("Reading", "Trajectory", "Interrupted"):
        assert pickle.loads(pickle.dumps(getattr(tw, name))) is getattr(tw, name)


def test_a_fault_inside_a_room_is_not_taken_for_a_missing_name(tmp_path: Path) -> None:
    """What a room cannot import is told by its own name, not as a name that thalweg lacks."""
    broken = tmp_path / "broken_room"
    broken.mkdir()
    (broken / "__init__.py").write_text("import no_such_package_at_all")
    program = f"import thalweg; thalweg.__path__.append({os.fspath(tmp_path)!r})\n"
    program += "try: thalweg.broken_room\nexcept ModuleNotFoundError as error: print(error.name)"
    assert python(program).strip() == "no_such_package_at_all"
