"""What holds for every probe: the tables are walked, so that a newcomer is met on arrival."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from newcomers import classes_in, makers_in
from thalweg import probes as room
from thalweg.core.errors import InputError
from thalweg.core.result import Reading, Result
from thalweg.probes import PROBES, Probe, examples
from thalweg.probes.examples import WITH_ARGUMENTS
from thalweg.probes.probe import Moment
from thalweg.problems import PROBLEMS, Problem

# Each compiles a search for eigenvalues a test; tests/probes holds them against the dense Hessian.
DEAR = {
    "sharpness",
    "spherical-sharpness",
    "smallest-eigenvalue",
    "top-eigenvalues",
    "preconditioned-sharpness",
    "sam-sharpness",
    "adaptive-sharpness",
    "local-entropy",
    "learning-coefficient",
    "hessian-trace",
    "log-pseudo-determinant",
    "gradient-overlap",
}
# Chains of draws, which rounding sends other ways: equal within their errors alone.
CHAINS = {"local-entropy", "learning-coefficient"}
DRAWN = CHAINS | {"hessian-trace", "local-energy"}  # from other numbers in another precision
EVERY = PROBES | WITH_ARGUMENTS
EVERY_PROBE = [pytest.param(n, marks=pytest.mark.thorough) if n in DEAR else n for n in EVERY]

MOMENT = Moment(jnp.asarray(0), jax.random.key(7))


def digits() -> tw.problems.Supervised:
    return tw.problems.digits(tw.models.mlp([5, 4]), samples=20)


def floating(leaf: Any) -> bool:
    return eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)


def single(tree: Any) -> Any:
    return jax.tree.map(lambda a: a.astype(jnp.float32) if floating(a) else a, tree)


@cache
def example(name: str) -> tuple[Probe, Problem]:
    """A probe and the first problem that it takes; others are refused in a sentence."""
    probe = EVERY[name]()
    for maker in (digits, *PROBLEMS.values()):
        problem = maker()
        params = problem.init(jax.random.key(0))
        try:
            jax.eval_shape(lambda p, q=problem: reading_of(probe, q, p), params)
        except InputError:
            continue
        return probe, problem
    raise AssertionError(f"no problem of the table is taken by {name}; add one that is")


def reading_of(probe: Probe, problem: Problem, params: Any) -> Reading:
    return probe.measure(problem, params, probe.start(problem, params), MOMENT)[0]


@pytest.mark.parametrize("name", EVERY_PROBE)
class TestProbes:
    def test_states_its_shape_and_unit(self, name: str) -> None:
        probe, problem = example(name)
        params = problem.init(jax.random.key(0))
        reading, _ = probe.measure(problem, params, probe.start(problem, params), MOMENT)
        assert probe.unit
        assert reading.value.ndim == len(probe.dims)
        assert reading.error.shape == reading.value.shape
        assert reading.result.shape == ()
        assert bool(jnp.all(reading.error >= 0))
        assert int(reading.result) == Result.OK

    def test_under_jit_and_vmap(self, name: str) -> None:
        probe, problem = example(name)
        keys = jax.random.split(jax.random.key(1), 2)
        starts = jax.vmap(problem.init)(keys)

        def one(params, key):
            memory = probe.start(problem, params)
            return probe.measure(problem, params, memory, Moment(MOMENT.record, key))[0]

        together = jax.jit(jax.vmap(one))(starts, keys)
        for i in range(2):
            alone = one(jax.tree.map(lambda leaf, i=i: leaf[i], starts), keys[i])
            drawn = 4 * (alone.error + together.error[i]) if name in CHAINS else 0.0
            gap = np.abs(together.value[i] - alone.value)
            assert np.all(gap <= 1e-6 * np.abs(alone.value) + 1e-9 + drawn)
            assert int(together.result[i]) == int(alone.result)

    def test_keeps_float32(self, name: str) -> None:
        probe, exactly = example(name)
        problem, probe = single(exactly), single(probe)
        params = single(exactly.init(jax.random.key(0)))
        reading, memory = probe.measure(problem, params, probe.start(problem, params), MOMENT)
        assert reading.value.dtype == jnp.float32
        assert reading.error.dtype == jnp.float32
        for leaf in jax.tree.leaves(memory):
            assert leaf.dtype == jnp.float32
        doubled = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        exact = tw.measure(exactly, doubled, example(name)[0])
        gap = np.max(np.abs(np.asarray(reading.value - exact.value)))
        scale = np.max(np.abs(np.asarray(exact.value))) + np.max(np.asarray(reading.error))
        drawn = 4 * np.max(np.asarray(reading.error + exact.error)) if name in DRAWN else 0.0
        assert gap <= 2e-2 * scale + drawn

    def test_a_diverged_point_is_data(self, name: str) -> None:
        probe, problem = example(name)
        params = problem.init(jax.random.key(0))
        memory = probe.start(problem, params)
        lost = jax.tree.map(lambda p: p * jnp.nan, params)
        reading, memory = probe.measure(problem, lost, memory, MOMENT)
        assert int(reading.result) == Result.NONFINITE
        # What a lost point leaves in memory must not spoil the next reading.
        again, _ = probe.measure(problem, params, memory, Moment(jnp.asarray(3), jax.random.key(2)))
        if name != "distance-from-start":
            assert bool(jnp.all(jnp.isfinite(again.value)))

    def test_measuring_changes_no_path(self, name: str) -> None:
        probe, problem = example(name)
        options = {"until": 1.0, "records": 4, "seeds": 2}
        plain = tw.run(problem, tw.gradient_descent(0.1), **options)
        if name == "loss":
            return
        watched = tw.run(problem, tw.gradient_descent(0.1), probes=[probe], **options)
        np.testing.assert_array_equal(plain.parameters.values, watched.parameters.values)
        table = watched.dataset[probe.name]
        assert table.dims == ("seed", "time", *probe.dims)
        assert table.attrs["units"] == probe.unit


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_probes_rest_on_no_implicit_conversion(name: str, precision: str) -> None:
    probe, problem = example(name)
    params = problem.init(jax.random.key(0))
    if precision == "float32":
        probe, problem, params = single(probe), single(problem), single(params)
    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(lambda p: probe.measure(problem, p, probe.start(problem, p), MOMENT), params)


def test_every_probe_is_in_a_table() -> None:
    made = {type(maker()) for maker in EVERY.values()}
    assert len(made) > 30
    assert {kind.__name__ for kind in classes_in(room, Probe) - made} == set()


def test_every_maker_is_in_a_table_and_exported() -> None:
    """A maker that needs no argument goes by its name; what is exported beside is no function."""
    makers = makers_in(room, Probe)
    assert len(makers) == len(EVERY)
    assert {name.replace("-", "_") for name in EVERY} == set(makers)
    for name, maker in PROBES.items():
        assert inspect.unwrap(maker) is makers[name.replace("-", "_")]
    for name in WITH_ARGUMENTS:
        assert hasattr(examples, name.replace("-", "_"))
