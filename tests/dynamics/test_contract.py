"""What holds for every dynamics: the table is walked, so that a newcomer is met on arrival."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from newcomers import classes_in, makers_in
from thalweg import dynamics as room
from thalweg.core.counting import counted, marked
from thalweg.core.errors import InputError
from thalweg.core.result import Result
from thalweg.driver import chunks
from thalweg.dynamics import DYNAMICS, Continuous, Discrete, Dynamics, State, examples
from thalweg.problems import PROBLEMS, Function, Problem

UNTIL, MOST, STEPS = 0.2, 1000, 4
# They ask for examples, look at the model itself, or count within: calls do not tell from outside.
# So are several products with one Hessian.
CENTRAL = {"central-flow", "central-flow-of-rmsprop"}
REDUCTION = "sharpness-reduction-flow"
SECOND_ORDER = {"cubic-newton", "trust-region-in-krylov-space"}
SEARCHING = {"agmsdr", "bfgs"}
WHOLE_STEPS = (
    SECOND_ORDER
    | SEARCHING
    | {
        "entropy-sgd",
        "k-fac",
        "levenberg-marquardt",
        "line-search",
    }
)
LIMITING = {"limiting-flow", "limiting-diffusion"}
UNCOUNTED = {
    "k-fac",
    "levenberg-marquardt",
    "natural-gradient",
    "natural-gradient-flow",
    REDUCTION,
    "adam-in-batches",
    "variance-reduced",
    "crossprop",
    "exact-crossprop",
    "online",
    "two-phase",
    "line-search",
    *SECOND_ORDER,
    *CENTRAL,
    *LIMITING,
}
# What Optax converts within a transformation of its own is not ours to forbid.
OPTAX_CONVERTS = {"line-search", "adam-in-batches"}


def accepts(dynamics: Dynamics, problem: Problem) -> bool:
    """Whether a problem is taken at all."""
    params = problem.init(jax.random.key(0))
    try:
        jax.eval_shape(lambda p: begun(dynamics, problem, p), params)
    except InputError:
        return False
    return True


def begun(dynamics: Dynamics, problem: Problem, params: Any) -> State:
    state = dynamics.init(problem, params)
    if isinstance(dynamics, Discrete):
        return dynamics.step(problem, state, jax.random.key(0))[0]
    return state


@cache
def case(name: str) -> tuple[Dynamics, Problem]:
    """The example, on the first problem of the table that it takes."""
    dynamics = DYNAMICS[name]()
    makers = (maker() for maker in PROBLEMS.values())
    return dynamics, next(problem for problem in makers if accepts(dynamics, problem))


# Each compiles whole solvers or line searches a test.
DEAR = {"gradient-flow-of-an-error", "line-search", "two-phase", REDUCTION, *CENTRAL, *LIMITING}
DEAR |= SECOND_ORDER | SEARCHING | {"variance-reduced", "monitored", "k-fac"}
DEAR |= {"natural-gradient", "natural-gradient-flow"}
DEAR |= {"adagrad-flow", "preconditioned-flow-of-rmsprop"}  # as the preconditioned flow
DEAR |= {"grad-r", "deep-r", "soft-deep-r", "magnitude-pruning"}  # as any Optax transformation
EACH = [pytest.param(n, marks=pytest.mark.thorough) if n in DEAR else n for n in DYNAMICS]

TRACED: list[str] = []


@eqx.filter_jit
def onward(dynamics: Dynamics, problem: Problem, state: State, key: jax.Array) -> State:
    """One step, or the way to the next time; every compilation is put down."""
    TRACED.append(dynamics.name)
    return plainly_onward(dynamics, problem, state, key)


def plainly_onward(dynamics: Dynamics, problem: Problem, state: State, key: jax.Array) -> State:
    if isinstance(dynamics, Discrete):
        return dynamics.step(problem, state, key)[0]
    assert isinstance(dynamics, Continuous)
    return dynamics.advance(problem, state, state.time + UNTIL, jnp.asarray(MOST))


def start(name: str, seed: int = 0) -> State:
    dynamics, problem = case(name)
    return eqx.filter_jit(dynamics.init)(problem, problem.init(jax.random.key(seed)))


@cache
def path(name: str, seed: int = 0) -> tuple[State, ...]:
    """The states of a path, each from the one before."""
    dynamics, problem = case(name)
    keys = jax.random.split(jax.random.key(100 + seed), STEPS)
    states = [start(name, seed)]
    for key in keys:
        states.append(onward(dynamics, problem, states[-1], key))
    return tuple(states)


def same(left: Any, right: Any, rtol: float = 0.0, atol: float = 0.0) -> None:
    a, b = jax.tree.leaves(left), jax.tree.leaves(right)
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        if jnp.issubdtype(jnp.asarray(x).dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


def single(tree: Any) -> Any:
    """Floating-point arrays in float32; training time and hyper-parameters stay as they are."""

    def cast(leaf: Any) -> Any:
        floating = eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(jnp.float32) if floating else leaf

    return jax.tree.map(cast, tree)


@pytest.mark.parametrize("name", EACH)
class TestDynamics:
    def test_moves_and_keeps_time(self, name: str) -> None:
        (dynamics, _), states = case(name), path(name)
        assert float(states[0].time) == int(states[0].step) == 0
        assert int(states[-1].result) == Result.OK
        spent = [int(state.evaluations) for state in states]
        assert spent == sorted(spent)
        assert spent[-1] > spent[0]
        moved = [np.ravel(a - b) for a, b in zip(*map(jax.tree.leaves, ends(states)), strict=True)]
        assert np.linalg.norm(np.concatenate(moved)) > 0
        times = [float(state.time) for state in states]
        if isinstance(dynamics, Discrete):
            counts = np.arange(STEPS + 1)
            np.testing.assert_allclose(times, dynamics.clock(counts), rtol=1e-15)
            assert [dynamics.steps_until(t) for t in times] == counts.tolist()
        else:
            np.testing.assert_allclose(times, UNTIL * np.arange(STEPS + 1), rtol=1e-14)

    def test_is_pure(self, name: str) -> None:
        (dynamics, problem), states = case(name), path(name)
        key = jax.random.split(jax.random.key(100), STEPS)[0]
        before = [np.array(leaf) for leaf in jax.tree.leaves(states[0].params)]
        same(onward(dynamics, problem, states[0], key), states[1])
        same(jax.tree.leaves(states[0].params), before)

    def test_a_stored_state_goes_on_to_the_same_bits(self, name: str) -> None:
        (dynamics, problem), states = case(name), path(name)
        leaves, structure = jax.tree.flatten(states[2])
        kept = [
            (str(jax.random.key_impl(a)), np.asarray(jax.random.key_data(a)))
            if jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
            else np.asarray(a)
            for a in leaves
        ]
        read = [
            jax.random.wrap_key_data(a[1], impl=a[0]) if isinstance(a, tuple) else jnp.asarray(a)
            for a in kept
        ]
        state = jax.tree.unflatten(structure, read)
        for key in jax.random.split(jax.random.key(100), STEPS)[2:]:
            state = onward(dynamics, problem, state, key)
        same(state, states[-1])

    def test_seeds_together_are_seeds_one_by_one(self, name: str) -> None:
        dynamics, problem = case(name)
        keys = jnp.stack([jax.random.split(jax.random.key(100 + s), STEPS)[0] for s in (0, 1)])
        starts = jax.tree.map(lambda *a: jnp.stack(a), start(name), start(name, 1))

        @eqx.filter_jit
        def together(states: State) -> State:
            return jax.vmap(lambda s, k: plainly_onward(dynamics, problem, s, k))(states, keys)

        after = together(starts)
        for seed in (0, 1):
            own = jax.tree.map(lambda a, seed=seed: a[seed], after)
            alone = onward(dynamics, problem, start(name, seed), keys[seed])
            same(own.params, alone.params, rtol=1e-7, atol=1e-9)
            same((own.time, own.result), (alone.time, alone.result), rtol=1e-12)

    def test_a_new_number_compiles_nothing(self, name: str) -> None:
        (dynamics, problem), states = case(name), path(name)
        for field in dynamics.__dataclass_fields__.values():
            if field.metadata.get("static"):
                assert not isinstance(getattr(dynamics, field.name), float), field.name

        def changed(leaf: Any) -> Any:
            floating = eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
            return 0.9 * leaf if floating else leaf

        before = len(TRACED)
        onward(jax.tree.map(changed, dynamics), problem, states[0], jax.random.key(3))
        assert len(TRACED) == before

    def test_a_diverged_point_is_data(self, name: str) -> None:
        (dynamics, problem), states = case(name), path(name)
        params = jax.tree.map(lambda p: p * jnp.nan, states[0].params)
        lost, key = eqx.filter_jit(dynamics.init)(problem, params), jax.random.key(0)
        after = onward(dynamics, problem, onward(dynamics, problem, lost, key), key)
        assert int(after.result) == Result.NONFINITE

    @pytest.mark.parametrize("precision", ["float32", "float64"])
    def test_rests_on_no_implicit_conversion(self, name: str, precision: str) -> None:
        dynamics, problem = case(name)
        params = problem.init(jax.random.key(0))
        if precision == "float32":
            problem, params = single(problem), single(params)
        with jax.numpy_dtype_promotion("standard" if name in OPTAX_CONVERTS else "strict"):
            state = jax.eval_shape(lambda p: dynamics.init(problem, p), params)
            after = jax.eval_shape(
                lambda s, k: plainly_onward(dynamics, problem, s, k), state, jax.random.key(0)
            )
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(after.params)} == {precision}
        kinds = [jax.tree.map(lambda a: (a.shape, a.dtype), s) for s in (state, after)]
        assert kinds[0] == kinds[1]

    def test_states_what_it_records(self, name: str) -> None:
        (dynamics, problem), states = case(name), path(name)
        assert dynamics.name.strip()
        json.dumps(dynamics.describe())
        told = dynamics.statistics(problem, states[-1])
        assert set(told) == {statistic.name for statistic in dynamics.recorded(problem)}
        for statistic in dynamics.recorded(problem):
            assert statistic.unit.strip()
            assert statistic.about.strip()
            shape = (len(statistic.labels),) if statistic.dim else ()
            assert told[statistic.name].shape == shape
        rule = dynamics.stability(problem, states[0].params) if discrete(dynamics) else None
        assert rule is None or rule.formula or rule.because

    @pytest.mark.thorough
    def test_evaluations_are_the_calls(self, name: str) -> None:
        if name in UNCOUNTED:
            return
        dynamics, problem = case(name)
        params = problem.init(jax.random.key(0))
        seen = Function(marked(problem.objective), params)

        def go(params: Any) -> State:
            state = dynamics.init(seen, params)
            for key in jax.random.split(jax.random.key(100), 2):
                state = plainly_onward(dynamics, seen, state, key)
            return state

        state, spent, sight = jax.jit(counted(go))(params)
        assert sight.whole
        assert int(state.evaluations) == int(spent.gradients)

    @pytest.mark.thorough
    def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
        self, name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dynamics, problem = case(name)
        until = 6.0 if name in WHOLE_STEPS else 0.3
        options: dict[str, Any] = {"until": until, "records": 3, "seeds": 2, "progress": False}
        whole = tw.run(problem, dynamics, **options)
        record, taken = chunks.Loop.record, []

        def stopped(self: Any, states: Any) -> None:
            record(self, states)
            taken.append(1)
            if len(taken) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(chunks.Loop, "record", stopped)
        with pytest.raises(tw.Interrupted):
            tw.run(problem, dynamics, out=tmp_path / "run.zarr", **options)
        monkeypatch.undo()
        resumed = tw.run(problem, dynamics, out=tmp_path / "run.zarr", **options)
        np.testing.assert_array_equal(whole.parameters.values, resumed.parameters.values)
        codes = [name for name in whole.dataset if name.endswith("result")]
        for name_of, variable in whole.dataset.drop_vars(codes).items():
            assert variable.attrs["units"].strip(), name_of


def ends(states: tuple[State, ...]) -> tuple[Any, Any]:
    return states[0].params, states[-1].params


def discrete(dynamics: Dynamics) -> bool:
    return isinstance(dynamics, Discrete)


def test_every_dynamics_is_in_the_table() -> None:
    made = {type(maker()) for maker in DYNAMICS.values()}
    assert {kind.__name__ for kind in classes_in(tw, Dynamics) - made} == set()


def test_every_maker_is_in_the_table() -> None:
    """The room's functions that make a dynamics, or a transformation for one.

    `optimiser` and `method` make those of tables of their own, which test_optimisers.py and
    test_methods.py walk; `optax_kfac` is one of a problem, which test_kfac.py walks; `continued`
    takes one, which diagnosis/test_continued.py walks.
    """
    makers = makers_in(room, Dynamics | optax.GradientTransformation)
    assert len(makers) > 8
    assert {name for name in makers if not hasattr(examples, name)} == {
        "continued",
        "method",
        "optax_kfac",
        "optimiser",
    }
