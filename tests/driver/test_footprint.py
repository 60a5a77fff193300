"""The memory that a run must have: a lower bound that is near, told before anything is taken."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core import memory
from thalweg.core.memory import bytes_of, require_memory, short_of_memory, working_memory
from thalweg.driver.footprint import require_room
from thalweg.driver.lanes import start_states, take_steps

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


def test_seeds_beyond_a_group_share_its_working_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of seeds are worked on in groups: a probe's basis is held for one group."""
    found: list[float] = []
    monkeypatch.setattr("thalweg.driver.footprint.available_memory", lambda: 0)
    monkeypatch.setattr(
        "thalweg.driver.footprint.require_memory", lambda needed, *_: found.append(needed)
    )
    schedule = [tw.probes.Every(tw.probes.smallest_eigenvalue(30), 1)]
    for seeds in (256, 4096):
        require_room(
            problem(), tw.gradient_descent(0.1), schedule, seeds, 2,
            lanes="vmap", kept=0, parameters=False,
        )  # fmt: skip
    state = 8 * SIZE * (2 + 1) + 100  # before and after a step, and what the probe carries
    assert found[1] - found[0] < 1.1 * (4096 - 256) * state
    assert found[0] > 256 * 30 * 8 * SIZE


def test_thousands_of_noisy_runs_take_the_memory_that_is_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two states for each run; what is drawn and worked on ahead, for one group of 256 alone."""
    valley = tw.problems.Function(lambda p: 0.5 * (1 + p[0] ** 2) * p[1] ** 2, start=jnp.ones(2))
    noisy = tw.gradient_descent(0.05, oracle=tw.oracles.isotropic(1.0))
    stated: list[float] = []
    monkeypatch.setattr("thalweg.driver.footprint.available_memory", lambda: 0)
    monkeypatch.setattr(
        "thalweg.driver.footprint.require_memory", lambda needed, *_: stated.append(needed)
    )
    taken = []
    for seeds in (256, 4096):
        require_room(valley, noisy, [], seeds, 2, lanes="vmap", kept=0, parameters=False)
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(seeds))
        states = start_states(valley, noisy, keys, "vmap", None)
        program = take_steps.lower(valley, noisy, states, keys, np.asarray(100), "vmap").compile()
        found = program.compiled.memory_analysis()
        taken.append(found.temp_size_in_bytes + found.output_size_in_bytes + bytes_of(states))
    block = 256 * 8 * 2 * 256  # of 256 steps, two numbers, 256 runs
    state = bytes_of(states) / 4096
    assert stated[0] > block + 2 * 256 * state
    assert stated[1] - stated[0] == pytest.approx(2 * (4096 - 256) * state, rel=0.01)
    for told, measured in zip(stated, taken, strict=True):
        assert told <= measured <= 2 * told  # a lower bound that is near
    assert taken[1] < 2 * block + 4 * 4096 * state  # not the sixteen blocks of all at once


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
