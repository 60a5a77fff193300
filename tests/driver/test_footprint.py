"""The memory that a run must have: a lower bound that is near, told before anything is taken."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core import memory
from thalweg.core.memory import require_memory, short_of_memory, working_memory

SIZE = 1000


def problem(size: int = SIZE) -> tw.problems.Function:
    return tw.problems.Function(lambda p: 0.5 * jnp.sum(p**2), start=jnp.ones(size))


def asked(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[float, str]:
    """What a run says that it needs, on a machine that has next to nothing."""
    found: list[Any] = []

    def watched(needed: float, what: str, lower: str) -> None:
        found.append((needed, what))

    monkeypatch.setattr("thalweg.driver.footprint.available_memory", lambda: 0)
    monkeypatch.setattr("thalweg.driver.footprint.require_memory", watched)
    chosen: dict[str, Any] = {"until": 1.0, "records": 4, "progress": False} | options
    tw.run(problem(), tw.gradient_descent(0.1), **chosen)
    return found[0]


def test_records_are_counted_where_they_stay(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    few, _ = asked(monkeypatch)
    many, what = asked(monkeypatch, records=9, times=None)
    assert many - few == pytest.approx(5 * SIZE * 8, rel=0.05)
    assert what == "a run of 1,000 parameters, 1 seed and 10 records"
    without, _ = asked(monkeypatch, parameters=False)
    assert few - without == 5 * SIZE * 8
    stored, _ = asked(monkeypatch, out=tmp_path / "a.zarr")
    assert stored < few - 5 * SIZE * 8


def test_seeds_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = asked(monkeypatch)
    three, _ = asked(monkeypatch, seeds=3)
    assert three == pytest.approx(3 * one, rel=0.01)


def test_the_basis_of_a_probe_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = asked(monkeypatch)
    for products in (10, 30):
        with_basis, _ = asked(monkeypatch, probes=[tw.probes.smallest_eigenvalue(products)])
        vectors = (with_basis - plain) / (8 * SIZE)
        assert products <= vectors <= products + 5


@pytest.mark.parametrize("size", [40, 300])
def test_working_memory_of_what_is_known(size: int) -> None:
    def loop(x: Any) -> Any:
        return jax.lax.fori_loop(0, 3, lambda _, basis: basis + x[None], jnp.zeros((7, size)))

    x = jax.ShapeDtypeStruct((size,), np.float64)
    assert working_memory(loop, x) == 8 * 7 * size + 8
    assert working_memory(lambda x: jnp.outer(x, x) @ x, x) == 8 * size
    assert working_memory(jax.jit(lambda x: jnp.outer(x, x) @ jnp.outer(x, x)), x) == 8 * size**2
    assert working_memory(lambda x: jnp.sum(x[:, None] * x[None]), x) == 0  # fused, never an array


@pytest.mark.parametrize(
    "options", [{"seeds": 10**9}, {"records": 10**10}, {"seeds": 10**24}, {"seeds": 10**6}]
)
def test_what_cannot_fit_is_one_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(tw.InputError, match=r"needs at least .*B of memory") as caught:
        tw.run(problem(10**6), tw.gradient_descent(0.1), **({"until": 1e12} | options))
    assert "\n" not in str(caught.value)


def test_a_wide_model_is_one_sentence() -> None:
    with pytest.raises(tw.InputError, match=r"10,00\d,\d{3},\d{3} parameters, 1 seed"):
        tw.diagnose(tw.problem("digits", model="mlp:100000-100000"), progress=False)


def test_failed_allocations_are_one_sentence() -> None:
    with (
        pytest.raises(tw.InputError, match="did not suffice; lower this"),
        short_of_memory("lower this"),
    ):
        np.empty(2**60, np.int8)
    with (
        pytest.raises(tw.InputError, match="did not suffice; lower this"),
        short_of_memory("lower this"),
    ):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")
    with pytest.raises(jax.errors.JaxRuntimeError), short_of_memory("lower this"):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")


def test_a_container_counts(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "max").write_text("5000000\n")
    (tmp_path / "current").write_text("2000000\n")
    (tmp_path / "none").write_text("max\n")
    groups = ((str(tmp_path / "max"), str(tmp_path / "current")),)
    monkeypatch.setattr(memory, "_GROUPS", groups)
    assert memory.available_memory() == 3_000_000
    with pytest.raises(tw.InputError, match=r"it needs at least 4 MB of memory, and 3 MB are"):
        require_memory(4e6, "it", "take less")
    monkeypatch.setattr(memory, "_GROUPS", ((str(tmp_path / "none"), str(tmp_path / "current")),))
    assert memory.available_memory() > 3_000_000
