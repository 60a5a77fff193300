"""Step counts against quadratics, where they are known, and against a plain loop."""

import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.driver.best_step_size import steps_to_criterion
from thalweg.problems import Function

BOWL = Function(lambda x: jnp.sum(x**2) / 2, start=jnp.array([1.0]))
START = jnp.array([1.0])  # f = 1/2; after k steps f = (1 - eta)^(2k) / 2


@pytest.mark.parametrize(
    ("sizes", "steps", "size"),
    [
        ([0.1], 22, 0.1),  # 0.9^44 = 0.0097 is the first below 0.01
        ([0.1, 0.5, 0.3], 4, 0.5),  # 0.5^8 = 0.0039
        ([1.5, 0.5], 4, 0.5),  # both contract by half: the smaller is reported
        ([1.0, 0.1], 1, 1.0),
        ([2.5, 0.3], 7, 0.3),  # the first diverges
    ],
)
@pytest.mark.parametrize("at_once", [None, 1, 2])
def test_a_bowl_is_descended_in_known_steps(sizes, steps, size, at_once):
    found = steps_to_criterion(BOWL, START, sizes, 0.005, 100, at_once)
    assert found == (steps, size)


def test_a_start_that_meets_the_criterion_takes_no_step():
    assert steps_to_criterion(BOWL, START, [0.1], 0.5, 10).steps == 0


@pytest.mark.parametrize(("most", "reached"), [(21, False), (22, True)])
def test_the_limit_is_the_last_count_that_is_tried(most, reached):
    found = steps_to_criterion(BOWL, START, [0.1], 0.005, most)
    assert np.isfinite(found.steps) == reached


def test_divergence_ends_the_search():
    found = steps_to_criterion(BOWL, START, [1e3], 0.005, 10**9)
    assert np.isnan(found.steps)
    assert np.isnan(found.step_size)


def test_a_valley_as_a_plain_loop_counts_it():
    scales, level = np.array([1.0, 7.0]), 0.01
    valley = Function(lambda x: jnp.sum(jnp.array([1.0, 7.0]) * x**2) / 2, start=jnp.ones(2))
    sizes = np.geomspace(0.01, 0.3, 9)
    counts = []
    for size in sizes:
        x, count = np.ones(2), 0
        while scales @ x**2 / 2 > level and count < 500:
            x, count = x - size * scales * x, count + 1
        counts.append(count)
    found = steps_to_criterion(valley, jnp.ones(2), sizes, level, 500)
    assert found == (min(counts), sizes[int(np.argmin(counts))])


@pytest.mark.parametrize("sizes", [[], [0.0], [-1.0, 1.0], [np.inf]])
def test_step_sizes_must_be_positive(sizes):
    with pytest.raises(InputError, match="positive"):
        steps_to_criterion(BOWL, START, sizes, 0.1, 10)
