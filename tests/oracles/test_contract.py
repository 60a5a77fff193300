"""What holds for every oracle: the table is walked, so that a newcomer is met on arrival."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from newcomers import classes_in, makers_in
from thalweg import oracles as room
from thalweg.core import tree
from thalweg.core.counting import counted, marked
from thalweg.oracles import ORACLES, Directions, Oracle, examples
from thalweg.oracles.oracle import Normal
from thalweg.oracles.variance_reduced import Anchor, Anchored
from thalweg.problems import Problem
from thalweg.problems.weight_decay import Decayed

KEY = jax.random.key(5)
SEEDS = 20_000
# Mean loss, non-square; a sum with units that are far from 1; one with weight decay about it.
X, Y = np.random.default_rng(0).normal(size=(7, 3)), np.random.default_rng(1).normal(size=(7, 2))


@cache
def problem(kind: str) -> Problem:
    scale = 3.0 if kind == "sum" else 1.0
    plain = tw.problems.supervised(
        tw.models.mlp([2], "tanh"), (X, scale * Y), reduction="sum" if kind == "sum" else "mean"
    )
    return Decayed(plain, 0.5) if kind == "decayed" else plain


@cache
def begun(name: str, kind: str) -> Oracle:
    """The oracle; one with a memory knows of other parameters, an anchor the gradient there."""
    whole = problem(kind)
    oracle, params = ORACLES[name]().begin(whole, whole.init(KEY)), whole.init(KEY)
    if not isinstance(oracle, Anchored):
        return oracle
    return oracle.holding(Anchor(params, jax.grad(whole.objective)(params)))


@cache
def drawn(name: str, kind: str) -> tuple[Any, Any, Any]:
    """Parameters, the full gradient, and what the oracle showed at them in many second steps."""
    oracle, whole = begun(name, kind), problem(kind)
    params = jax.tree.map(lambda a: a + 0.3, whole.init(KEY))

    @jax.jit
    def gradient(key: jax.Array) -> jax.Array:
        draw = tree.lane(oracle.draws(whole, params, key, 2), 1)
        return tree.flatten(jax.grad(oracle.see(whole, params, draw).objective)(params))

    seen = jax.lax.map(gradient, jax.random.split(KEY, SEEDS), batch_size=1000)
    full = tree.flatten(jax.grad(whole.objective)(params))
    return params, np.asarray(full), np.asarray(seen)


FURTHER = {
    "sarah",
    "spider",
    "page",
    "saga",
    "saga-in-batches",
    "two-point-on-a-sphere",
    "coordinates",
}
EACH = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.thorough) if n in FURTHER else n for n in ORACLES]
)
KINDS = pytest.mark.parametrize(
    "kind", ["mean", *(pytest.param(k, marks=pytest.mark.thorough) for k in ("sum", "decayed"))]
)


@EACH
class TestOracle:
    @KINDS
    def test_what_it_shows_is_unbiased(self, name: str, kind: str) -> None:
        _, full, seen = drawn(name, kind)
        error = seen.std(0) / np.sqrt(SEEDS)
        assert np.all(np.abs(seen.mean(0) - full) <= 4.5 * error + 1e-12 * np.abs(full))

    @KINDS
    def test_the_covariance_is_that_of_what_it_shows(self, name: str, kind: str) -> None:
        """In every direction of an eigenbasis, and off the diagonal, to 5 standard errors."""
        params, full, seen = drawn(name, kind)
        sigma = begun(name, kind).covariance(problem(kind), params)
        matrix = np.asarray(sigma.dense())
        np.testing.assert_allclose(sigma.trace(), np.trace(matrix), rtol=1e-11)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12 * np.abs(matrix).max())
        values, basis = np.linalg.eigh(matrix)
        turned = (seen - full) @ basis
        products = turned[:, :, None] * turned[:, None, :]
        error = (
            products.std(0) / np.sqrt(SEEDS) + 1e-11 * np.abs(matrix).max() + 1e-25 * full @ full
        )
        assert np.all(np.abs(products.mean(0) - np.diag(values)) <= 5 * error)
        assert not ORACLES[name]().random or values.max() > 1e-6

    def test_the_factor_and_its_transpose_are_adjoint(self, name: str) -> None:
        params, full, _ = drawn(name, "mean")
        factor = begun(name, "mean").factor(problem("mean"), params)
        xi = np.random.default_rng(0).normal(size=factor.shape[1])
        np.testing.assert_allclose(full @ (factor @ xi), (factor.T @ full) @ xi, rtol=1e-10)

    def test_one_key_gives_the_same_bits_and_another_others(self, name: str) -> None:
        oracle, whole = ORACLES[name](), problem("mean")
        params = whole.init(KEY)
        count = oracle.block(whole, params)
        ours, again, other = (
            oracle.draws(whole, params, key, count) for key in (KEY, KEY, jax.random.key(6))
        )
        for a, b, c in zip(*map(jax.tree.leaves, (ours, again, other)), strict=True):
            assert len(a) == count
            assert np.array_equal(a, b)
            assert a.dtype == bool or not np.array_equal(a, c)  # places in a period are no draws
        alone = jax.vmap(lambda key: oracle.draws(whole, params, key, count))(
            jnp.stack([jax.random.key(6), KEY])
        )
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(alone), strict=True):
            assert np.array_equal(a, b[1])

    def test_counts_are_the_calls(self, name: str) -> None:
        """A look costs as many gradients of the objective, or of examples, as it says."""
        oracle, whole = begun(name, "mean"), problem("mean")
        params = whole.init(KEY)
        told = oracle.counts(whole)
        if oracle.remembers:
            return  # below, over a period
        if isinstance(oracle, Normal | Directions):
            seen = tw.problems.Function(marked(whole.objective), params)
            if name != "surrogate":
                draw = tree.lane(oracle.draws(seen, params, KEY, 1), 0)
                _, spent, sight = counted(
                    lambda p: jax.grad(oracle.see(seen, p, draw).objective)(p)
                )(params)
                assert sight.whole
                assert (int(spent.values), int(spent.gradients)) == (told.values, told.gradients)
        elif oracle.random:
            draw = tree.lane(oracle.draws(whole, params, KEY, 1), 0)
            shown = oracle.see(whole, params, draw)
            assert told.gradients == 1
            assert told.component_gradients in (0, len(shown.inputs))
            assert (told.component_gradients == 0) == (len(shown.inputs) == len(X))

    def test_another_number_compiles_nothing(self, name: str) -> None:
        for field in ORACLES[name]().__dataclass_fields__.values():
            if field.metadata.get("static"):
                assert not isinstance(getattr(ORACLES[name](), field.name), float), field.name

    def test_says_what_it_is(self, name: str) -> None:
        oracle = ORACLES[name]()
        json.dumps(oracle.describe())
        assert oracle.source.strip()
        assert oracle.name.strip() or not oracle.random

    def test_float32_stays_float32(self, name: str) -> None:
        single = tw.problems.supervised(tw.models.mlp([2]), (X, Y), precision="float32")
        params = single.init(KEY)

        def gradient(key: jax.Array) -> Any:
            oracle = ORACLES[name]().begin(single, params)
            draw = tree.lane(oracle.draws(single, params, key, 1), 0)
            seen, after = oracle.look(single, params, draw)
            return jax.grad(seen.objective)(params), getattr(after, "memory", ())

        with jax.numpy_dtype_promotion("strict"):
            kinds = jax.tree.leaves(jax.eval_shape(gradient, KEY))
        assert {str(kind.dtype) for kind in kinds} == {"float32"}


def test_every_oracle_is_in_the_table() -> None:
    made = {type(maker()) for maker in ORACLES.values()}
    assert {kind.__name__ for kind in classes_in(tw, Oracle) - made} == set()


def test_every_maker_is_in_the_table() -> None:
    makers = makers_in(room, Oracle)
    assert len(makers) > 6
    assert {name for name in makers if not hasattr(examples, name)} == set()


def test_a_pass_sees_every_example_once() -> None:
    oracle, whole = tw.oracles.minibatch(2), problem("mean")
    block = oracle.block(whole, None)
    rows = np.asarray(oracle.draws(whole, None, KEY, block)).reshape(-1, 6)
    assert len(rows) > 1
    assert all(len(set(row)) == 6 for row in rows.tolist())
    assert len({tuple(row) for row in rows.tolist()}) == len(rows)
    assert len({frozenset(row) for row in rows.tolist()}) == 7  # each is left out at times
