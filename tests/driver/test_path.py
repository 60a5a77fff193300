"""One path, many at once, until something holds: against steps by hand, `run`, closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.core.result import Result
from thalweg.driver.path import flat_parameters, iterates, path, path_until, paths
from thalweg.problems import Function

CURVATURES = jnp.asarray([1.0, 0.25])


BOWL = Function(lambda x: 0.5 * jnp.sum(CURVATURES * x**2), start=jnp.ones(2))


def loss(problem, state):
    return problem.objective(state.params)


def test_a_path_is_its_steps():
    dynamics, problem = tw.gradient_descent(0.3), BOWL
    found = path(dynamics, problem, jnp.asarray([2.0, -1.0]), every=3, records=4)
    factors = (1 - 0.3 * np.asarray(CURVATURES)) ** np.arange(0, 13, 3)[:, None]
    np.testing.assert_allclose(found.seen, [2.0, -1.0] * factors, rtol=1e-14)
    assert found.step.tolist() == [0, 3, 6, 9, 12]
    np.testing.assert_allclose(found.time, 0.3 * found.step.astype(float))
    assert found.evaluations.tolist() == found.step.tolist()
    np.testing.assert_array_equal(found.last.params, found.seen[-1])


def test_uneven_records_and_going_on():
    dynamics, problem, start = tw.gradient_descent(0.3), BOWL, jnp.ones(2)
    uneven = path(dynamics, problem, start, jnp.asarray([1, 4, 2]), observe=loss)
    even = path(dynamics, problem, start, 1, 7, observe=loss)
    np.testing.assert_allclose(uneven.seen, even.seen[jnp.asarray([0, 1, 5, 7])])


def test_iterates_are_a_path_of_every_step():
    problem = tw.problems.Factorisation(jnp.ones((2, 3)), [jnp.ones((1, 3)), jnp.ones((2, 1))])
    start = [2 * w for w in problem.start]
    found = iterates(tw.gradient_descent(0.1), problem, 3, start, flat_parameters)
    first, second = (np.asarray(w) for w in start)
    for row in found:
        np.testing.assert_allclose(row, [*first.ravel(), *second.ravel()], rtol=1e-14)
        off = second @ first - 1
        first, second = first - 0.1 * second.T @ off, second - 0.1 * off @ first.T
    assert found.shape == (4, 5)
    own = iterates(tw.gradient_descent(0.1), problem, 1)  # from the problem's own start
    assert all(isinstance(w, np.ndarray) for w in own)
    np.testing.assert_array_equal(own[0][0], problem.start[0])


def test_a_path_is_the_run():
    problem = tw.problems.digits(tw.models.mlp([5]), samples=30)
    dynamics = tw.optax_dynamics(optax.sgd(0.1, momentum=0.9), 0.1)
    run = tw.run(problem, dynamics, until=2.0, records=4, progress=False)
    start = problem.init(jax.random.fold_in(jax.random.key(0), 0))
    found = path(dynamics, problem, start, 5, 4, observe=loss)
    np.testing.assert_allclose(found.seen, run.dataset["loss"][0], rtol=1e-12)
    again = tw.run(problem, dynamics, until=2.0, records=4, progress=False, start=start)
    np.testing.assert_array_equal(again.parameters.values, run.parameters.values)


def test_a_flow_ends_at_its_times():
    found = path(tw.gradient_flow(1e-9), BOWL, jnp.ones(2), jnp.asarray([0.5, 1.5]))
    exact = np.exp(-np.asarray([0.0, 0.5, 2.0])[:, None] * np.asarray(CURVATURES))
    np.testing.assert_allclose(found.seen, exact, atol=1e-8)
    np.testing.assert_array_equal(found.time, [0.0, 0.5, 2.0])


def test_many_are_each():
    descents = jax.vmap(tw.gradient_descent)(jnp.asarray([0.1, 0.5, 5.0]))
    starts = jax.random.normal(jax.random.key(1), (3, 2))
    together = paths(descents, BOWL, starts, 2, 400, over=["dynamics", "params"])
    for lane, step_size in enumerate([0.1, 0.5, 5.0]):
        alone = path(tw.gradient_descent(step_size), BOWL, starts[lane], 2, 400)
        np.testing.assert_allclose(together.seen[lane], alone.seen, rtol=1e-12)
        np.testing.assert_array_equal(together.result[lane], alone.result)
    assert int(together.result[2, -1]) == Result.NONFINITE
    assert int(together.result[1, -1]) == Result.OK


def test_a_new_number_compiles_nothing():
    from thalweg.driver import path as module

    before = module._paths._cached._cache_size()
    for step_size, every in ((0.1, 2), (0.2, 3), (0.3, 4)):
        paths(tw.gradient_descent(step_size), BOWL, jnp.ones(2), every, 5, over=())
    assert module._paths._cached._cache_size() - before <= 1


def test_until_stops_where_it_first_holds():
    def low(problem, state):
        return problem.objective(state.params) < 0.1

    state = path_until(tw.gradient_descent(0.3), BOWL, jnp.ones(2), low, 1000)
    every = path(tw.gradient_descent(0.3), BOWL, jnp.ones(2), 1, 50, observe=loss)
    assert int(state.step) == int(np.argmax(np.asarray(every.seen) < 0.1))
    assert int(path_until(tw.gradient_descent(0.3), BOWL, jnp.ones(2), low, 2).step) == 2
    wild = path_until(tw.gradient_descent(1e200), BOWL, jnp.ones(2), low, 1000)
    assert int(wild.result) == Result.NONFINITE


@pytest.mark.parametrize(
    ("every", "records", "words"),
    [(2, None, "give one number and records="), (np.ones((2, 2), int), 3, "2 axes")],
)
def test_unclear_records_are_refused(every, records, words):
    with pytest.raises(tw.InputError, match=words):
        path(tw.gradient_descent(0.1), BOWL, jnp.ones(2), every, records)


def test_unknown_lanes_are_refused():
    with pytest.raises(tw.InputError, match="Did you mean 'dynamics'"):
        paths(tw.gradient_descent(0.1), BOWL, jnp.ones(2), 1, 1, over=["dynamic"])


def test_a_start_of_other_shape_is_refused():
    with pytest.raises(tw.InputError, match="give parameters as problem"):
        tw.run(BOWL, tw.gradient_descent(0.1), until=1.0, start=jnp.ones(3), progress=False)
