"""Gradient descent and Optax transformations against closed forms and against Optax itself."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.core.result import Result
from thalweg.dynamics import Discrete, Info, State
from thalweg.dynamics.dynamics import fresh
from thalweg.problems import Function

CURVATURE = np.array([4.0, 1.0, -7.0])
START = np.array([1.0, -2.0, 1e-3])


def saddle(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum(jnp.asarray(CURVATURE, x.dtype) * x**2)


def tree_saddle(params: dict) -> jax.Array:
    return saddle(jnp.concatenate([params["a"], params["b"]]))


SADDLE = Function(saddle, START)
TREE = Function(tree_saddle, {"a": START[:1], "b": START[1:]})


def after(dynamics: Discrete, problem: Function, steps: int) -> State:
    state = dynamics.init(problem, problem.init(jax.random.key(0)))
    step = eqx.filter_jit(lambda s, k: dynamics.step(problem, s, k)[0])
    for k in range(steps):
        state = step(state, jax.random.fold_in(jax.random.key(0), k))
    return state


@pytest.mark.parametrize("problem", [SADDLE, TREE])
@pytest.mark.parametrize("eta", [0.01, 0.25, 0.6])
def test_descent_on_a_quadratic_is_geometric(problem, eta):
    """x_k = (1 - eta lambda)^k x_0, below the threshold 2/lambda and above it."""
    state = after(tw.gradient_descent(eta), problem, 12)
    x = jax.flatten_util.ravel_pytree(state.params)[0]
    assert np.allclose(x, (1 - eta * CURVATURE) ** 12 * START, rtol=1e-13, atol=0)
    assert state.time == pytest.approx(12 * eta, rel=1e-15)
    assert state.step == state.evaluations == 12
    assert state.result == Result.OK


def test_descent_in_float32_stays_in_float32():
    problem = Function(saddle, jnp.asarray(START, jnp.float32))
    state = after(tw.gradient_descent(0.1), problem, 3)
    assert state.params.dtype == jnp.float32
    assert state.time.dtype == jnp.float64
    assert np.allclose(state.params, (1 - 0.1 * CURVATURE) ** 3 * START, rtol=1e-5)


def test_a_loss_beyond_the_numbers_is_coded_for_good():
    state = after(tw.gradient_descent(5.0), Function(saddle, np.full(3, 1e153)), 5)
    assert state.result == Result.NONFINITE
    assert after(tw.gradient_descent(5.0), Function(saddle, np.full(3, 1e100)), 5).result == 0


@pytest.mark.implicit  # Optax alone converts
@pytest.mark.parametrize(
    "transform",
    [
        optax.sgd(0.1, momentum=0.9),
        optax.adam(0.05),
        optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.2)),
        optax.adamw(optax.cosine_decay_schedule(0.1, 20), weight_decay=0.1),
    ],
)
@pytest.mark.parametrize("problem", [SADDLE, TREE])
def test_optax_takes_the_steps_that_optax_takes(transform, problem):
    params = problem.init(jax.random.key(0))
    memory = transform.init(params)
    for _ in range(7):
        updates, memory = transform.update(jax.grad(problem.objective)(params), memory, params)
        params = optax.apply_updates(params, updates)
    state = after(tw.optax_dynamics(transform, 0.1), problem, 7)
    for ours, theirs in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        assert np.allclose(ours, theirs, rtol=1e-13, atol=1e-16)
    assert state.time == pytest.approx(0.7)


def test_transformations_that_want_the_objective_get_it():
    """L-BFGS with a line search asks for value, grad and value_fn."""
    bowl = Function(lambda x: 0.5 * jnp.sum(jnp.asarray([4.0, 1.0, 0.1]) * x**2), np.ones(3))
    state = after(tw.optax_dynamics(optax.lbfgs(), 1.0), bowl, 12)
    assert bowl.objective(state.params) < 1e-10


def test_plain_sgd_is_gradient_descent_to_rounding():
    ours = after(tw.gradient_descent(0.07), SADDLE, 30)
    theirs = after(tw.optax_dynamics(optax.sgd(0.07), 0.07), SADDLE, 30)
    assert np.allclose(ours.params, theirs.params, rtol=1e-14, atol=0)


SCHEDULE = optax.linear_schedule(0.2, 0.02, 30)


def test_a_schedule_sets_the_clock():
    dynamics = tw.optax_dynamics(optax.sgd(SCHEDULE), SCHEDULE)
    sizes = np.array([float(SCHEDULE(k)) for k in range(60)])
    total = np.concatenate([[0.0], np.cumsum(sizes)])
    assert np.allclose(dynamics.clock(np.arange(61)), total, rtol=1e-6)
    assert after(dynamics, SADDLE, 9).time == pytest.approx(total[9], rel=1e-6)
    for k in (0, 1, 17, 60):
        assert dynamics.steps_until(total[k] + 0.004) == k
        assert dynamics.steps_until(max(total[k] - 0.004, 0)) == k
    assert dynamics.clock(np.array([0])) == [0.0]


def test_a_constant_schedule_is_a_number():
    schedule = optax.constant_schedule(0.1)
    dynamics = tw.optax_dynamics(optax.sgd(schedule), schedule)
    assert np.allclose(dynamics.clock(np.arange(5)), 0.1 * np.arange(5))
    assert dynamics.steps_until(0.5) == 5


@pytest.mark.parametrize("eta", [0.1, 1 / 3, 1e-7, 7.0])
@pytest.mark.parametrize("k", [0, 1, 3, 999_999])
def test_the_clock_and_the_count_of_steps_agree(eta, k):
    dynamics = tw.gradient_descent(eta)
    (time,) = dynamics.clock(np.array([k]))
    assert time == pytest.approx(k * eta, rel=1e-15)
    assert dynamics.steps_until(time) == k
    assert dynamics.steps_until(time + 0.4 * eta) == k


class Diffusion(Discrete):
    """x <- x + noise from the step's own key."""

    name = "diffusion"

    def init(self, problem, params):
        return fresh(params, ())

    def step(self, problem, state, key):
        params = state.params + jax.random.normal(key, state.params.shape)
        count = state.step + 1
        time = count.astype(jnp.float64)
        return state._replace(params=params, step=count, time=time), Info(jnp.zeros(()))

    def clock(self, steps):
        return np.asarray(steps, float)

    def steps_until(self, time):
        return round(time)


def test_every_step_and_seed_has_a_key_of_its_own():
    problem = Function(lambda x: jnp.sum(x**2), np.zeros(2))
    path = tw.run(problem, Diffusion(), until=400.0, records=400, seeds=[3, 8])
    jumps = np.diff(path.parameters.values, axis=1)
    assert len(np.unique(jumps)) == jumps.size
    assert abs(jumps.mean()) < 4 / np.sqrt(jumps.size)
    assert jumps.std() == pytest.approx(1, abs=0.1)
    assert abs(np.corrcoef(jumps[0].ravel(), jumps[1].ravel())[0, 1]) < 0.15
    # Keys are functions of (seed, step): neither records nor other seeds change them.
    alone = tw.run(problem, Diffusion(), until=400.0, records=7, seeds=[8])
    assert np.array_equal(alone.parameters.values[0, -1], path.parameters.values[1, -1])


def test_what_decides_the_steps_is_in_the_record():
    """Equal configurations have equal records, in this process or another; others have others."""

    def record(rate: float, decay: float) -> dict:
        return tw.optax_dynamics(optax.adamw(rate, weight_decay=decay), 0.1).describe()

    assert record(0.1, 0.01) == record(0.1, 0.01)
    assert record(0.1, 0.01) != record(0.2, 0.01)
    assert record(0.1, 0.01) != record(0.1, 0.02)
    assert " at 0x" not in str(record(0.1, 0.01))
    assert tw.gradient_descent(0.1).describe() == {"name": "gradient descent", "step_size": 0.1}
    schedules = [optax.linear_schedule(a, 0.0, 9) for a in (0.1, 0.1, 0.2)]
    one, same, other = (tw.optax_dynamics(optax.sgd(s), s).describe() for s in schedules)
    assert one == same != other


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf, np.float64(-0.1)])
def test_bad_step_sizes_are_refused(step):
    with pytest.raises(tw.InputError, match="step size came as"):
        tw.gradient_descent(step)
    with pytest.raises(tw.InputError, match="step size came as"):
        tw.optax_dynamics(optax.sgd(0.1), step)


def test_times_that_cannot_be_reached_are_refused():
    schedule = optax.polynomial_schedule(0.1, 0.0, 1, 10)
    with pytest.raises(tw.InputError, match="out of reach; ask for no more"):
        tw.optax_dynamics(optax.sgd(schedule), schedule).steps_until(5.0)


@pytest.mark.parametrize("make", [tw.kfac, tw.dynamics.levenberg_marquardt])
def test_steps_without_a_size_are_counted_as_far_as_numbers_go(make):
    steps = make()
    assert steps.steps_until(6.4) == 6
    assert steps.clock(np.arange(3)).tolist() == [0.0, 1.0, 2.0]
    for time in (1e17, 1e301, float("inf")):
        with pytest.raises(tw.InputError, match="ask for a shorter time"):
            steps.steps_until(time)
