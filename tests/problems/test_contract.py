"""What holds for every problem: the table is walked, so that a newcomer is met on arrival."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from newcomers import classes_in, makers_in
from thalweg import problems as room
from thalweg.core.digest import identity
from thalweg.core.tree import Params
from thalweg.models.spiking.surrogates import takes_surrogates
from thalweg.problems import PROBLEMS, Problem, Supervised, examples

KEYS = jax.random.split(jax.random.key(1), 3)


@cache
def example(name: str) -> Problem:
    return PROBLEMS[name]()


@eqx.filter_jit
def value_and_gradient(problem: Problem, params: Params) -> tuple[jax.Array, Params]:
    return jax.value_and_grad(problem.objective)(params)


def floating(leaf: Any) -> bool:
    return eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)


def single(tree: Any) -> Any:
    return jax.tree.map(lambda a: a.astype(jnp.float32) if floating(a) else a, tree)


def moved(params: Params, direction: Params, by: float) -> Params:
    return jax.tree.map(lambda p, d: np.asarray(p) + by * d, params, direction)


@pytest.mark.parametrize("name", PROBLEMS)
class TestProblems:
    def test_the_gradient_is_that_of_finite_differences(self, name: str) -> None:
        """Central differences by two steps: their own disagreement bounds their error."""
        problem = example(name)
        params = problem.init(KEYS[0])
        value, gradient = value_and_gradient(problem, params)
        assert (value.shape, value.dtype) == ((), jnp.float64)
        leaves, structure = jax.tree.flatten(params)
        drawn = np.random.default_rng(3)
        direction = jax.tree.unflatten(structure, [drawn.normal(size=w.shape) for w in leaves])
        slopes = []
        for h in (1e-4, 2e-4):
            ahead, behind = (
                float(value_and_gradient(problem, moved(params, direction, s * h))[0])
                for s in (1, -1)
            )
            slopes.append((ahead - behind) / (2 * h))
        along = sum(
            float(jnp.sum(g * d))
            for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
        )
        if takes_surrogates(problem.objective, params):  # the loss itself has slope 0
            assert slopes == [0.0, 0.0]
            assert abs(along) > 1e-3
            return
        allowed = abs(slopes[0] - slopes[1]) + 1e-9 * (1 + abs(along))
        assert abs(slopes[0] - along) <= allowed

    def test_compiled_or_not_together_or_alone(self, name: str) -> None:
        problem = example(name)
        starts = [problem.init(key) for key in KEYS]
        together = jax.jit(jax.vmap(problem.objective))(
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
        )
        for value, start in zip(together, starts, strict=True):
            alone = value_and_gradient(problem, start)[0]
            np.testing.assert_allclose(value, alone, rtol=1e-12)
            np.testing.assert_allclose(problem.objective(start), alone, rtol=1e-12)

    def test_a_start_is_that_of_its_key(self, name: str) -> None:
        problem = example(name)
        once, again = problem.init(KEYS[0]), problem.init(KEYS[0])
        assert identity(once) == identity(again)
        assert all(w.dtype == jnp.float64 for w in jax.tree.leaves(once))
        kinds = jax.eval_shape(problem.init, KEYS[0])
        assert jax.tree.map(jnp.shape, once) == jax.tree.map(lambda k: k.shape, kinds)

    def test_float32_stays_float32(self, name: str) -> None:
        """Without implicit conversions, and near the value in float64."""
        problem = example(name)
        params = problem.init(KEYS[0])
        with jax.numpy_dtype_promotion("strict"):
            value, gradient = value_and_gradient(single(problem), single(params))
        assert value.dtype == jnp.float32
        assert {w.dtype for w in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}
        np.testing.assert_allclose(value, problem.objective(params), rtol=2e-5)

    def test_its_digest_is_stable_and_tells_data_apart(self, name: str) -> None:
        problem = example(name)
        assert identity(problem) == identity(PROBLEMS[name]())
        leaves, structure = jax.tree.flatten(problem)
        for at, leaf in enumerate(leaves):
            if not floating(leaf) or leaf.size == 0:
                continue
            other = [*leaves[:at], leaf.at[(0,) * leaf.ndim].add(1e-13), *leaves[at + 1 :]]
            assert identity(jax.tree.unflatten(structure, other)) != identity(problem)

    def test_describes_itself_in_plain_data(self, name: str) -> None:
        told = example(name).describe()
        assert json.loads(json.dumps(told)) == json.loads(json.dumps(PROBLEMS[name]().describe()))
        assert told["kind"].strip()

    def test_a_lost_point_is_data(self, name: str) -> None:
        problem = example(name)
        lost = jax.tree.map(lambda w: w * jnp.nan, problem.init(KEYS[0]))
        assert np.isnan(value_and_gradient(problem, lost)[0])

    @pytest.mark.thorough
    def test_a_smooth_one_has_no_kinks(self, name: str) -> None:
        """Along a line no change of the slope stands out against those two places beside it."""
        problem = example(name)
        params = problem.init(KEYS[0])
        if not problem.smooth:
            return
        direction = jax.tree.map(lambda w: jnp.ones_like(w), params)

        def along(t: jax.Array) -> jax.Array:
            return problem.objective(moved(params, direction, t))

        t = jnp.linspace(-1.0, 1.0, 2001)
        slopes = jax.jit(jax.vmap(jax.grad(along)))(t)
        jumps = np.abs(np.diff(slopes))
        around = np.maximum(np.roll(jumps, 2), np.roll(jumps, -2))[2:-2]
        assert np.all(jumps[2:-2] <= 2 * around + 1e-4 * np.max(np.abs(slopes)))


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_objective_is_the_mean_or_the_sum_over_examples(name: str) -> None:
    """Example by example, through the model and the loss of one; some have no examples."""
    problem = example(name)
    if not isinstance(problem, Supervised):
        return
    params = problem.init(KEYS[0])
    each = [
        float(problem.loss.one(problem.outputs(params, x[None])[0], y))
        for x, y in zip(problem.inputs, problem.targets, strict=True)
    ]
    expected = np.mean(each) if problem.reduction == "mean" else np.sum(each)
    if problem.plain:
        assert float(problem.objective(params)) == pytest.approx(expected, rel=1e-13)
    else:
        assert float(problem.objective(params)) != pytest.approx(expected, rel=1e-6)


def test_every_problem_is_in_the_table() -> None:
    made = {type(example(name)) for name in PROBLEMS}
    assert len(made) > 8
    assert {kind.__name__ for kind in classes_in(room, Problem) - made} == set()


def test_every_maker_is_in_the_table() -> None:
    """The room's functions that make a problem; two are `supervised` on larger data."""
    makers = makers_in(room, Problem)
    assert len(makers) > 5
    assert {name for name in makers if not hasattr(examples, name)} == {"digits", "mnist5k"}
