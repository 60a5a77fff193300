"""Schedules by name against Optax's, and what they are refused for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.dynamics.schedules import as_schedule
from thalweg.problems import Function

BOWL = Function(lambda x: 0.5 * jnp.sum(jnp.array([2.4, 0.1]) * x**2), np.ones(2))
COUNTS = jnp.arange(60)


@pytest.mark.parametrize(
    ("words", "truth"),
    [
        ("cosine(40)", optax.cosine_decay_schedule(1.0, 40)),
        ("cosine(40, end=0.1)", optax.cosine_decay_schedule(1.0, 40, 0.1)),
        ("linear(40, end=0.25)", optax.linear_schedule(1.0, 0.25, 40)),
        ("exponential(40)", optax.exponential_decay(1.0, 40, 0.5)),
        ("inverse_root(40)", lambda k: (1 + k / 40) ** -0.5),
        ("staircase(20)", optax.piecewise_constant_schedule(1.0, {20: 0.1, 40: 0.1})),
        (
            "cosine(40, warmup=5)",
            optax.join_schedules(
                [lambda k: (k + 1) / 5, optax.cosine_decay_schedule(1.0, 40)], [5]
            ),
        ),
        ("constant(warmup=8)", lambda k: jnp.minimum((k + 1) / 8, 1)),
    ],
)
def test_a_name_is_the_schedule_of_optax(words, truth):
    told, counts = jax.vmap(as_schedule(words))(COUNTS), COUNTS.astype(float)
    np.testing.assert_allclose(told, jax.vmap(truth)(counts), rtol=1e-12, atol=1e-15)
    assert str(as_schedule(words)).startswith(words.partition("(")[0].replace("_", "-"))
    again = as_schedule(str(as_schedule(words)))
    assert again == as_schedule(words)


@pytest.mark.parametrize("words", ["linear(30, warmup=4)", None])
def test_an_optimiser_by_name_takes_the_steps_of_optax(words):
    """Its clock sums the learning rates; a function of the count serves as well."""
    schedule = as_schedule("linear(30, warmup=4)")
    named = tw.dynamics.optimiser("adam", 0.02, schedule=words or schedule)
    plain = optax.adam(lambda k: 0.02 * schedule(k))
    params, state = jnp.ones(2), plain.init(jnp.ones(2))
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(20):
            moved, state = plain.update(jnp.array([2.4, 0.1]) * params, state, params)
            params = optax.apply_updates(params, moved)
    total = float(sum(0.02 * schedule(k) for k in range(20)))
    path = tw.run(BOWL, named, times=[0.0, total], progress=False)
    np.testing.assert_allclose(path.parameters.values[0, -1], params, rtol=1e-12)
    assert float(path.dataset["time"][-1]) == pytest.approx(total, rel=1e-12)
    assert named.describe()["schedule"] == "linear(30, warmup=4)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("cosin(10)", "Did you mean"),
        ("cosine", "names no number of steps"),
        ("cosine(0)", "steps of cosine came as 0"),
        ("cosine(2.5)", "steps of cosine came as 2.5"),
        ("cosine(10, end=2)", "end of cosine came as 2"),
        ("cosine(10, warmup=-1)", "warmup of cosine came as -1"),
        ("exponential(10, end=0.1)", "exponential has no 'end'; it takes steps, warmup"),
        ("constant", "without warmup"),
        ("cosine(10, steps=4)", "twice"),
        ("cosine(open('x'))", "cannot be read"),
        (3.0, "schedule came as 3"),
    ],
)
def test_what_is_no_schedule_is_refused_in_a_sentence(words, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        as_schedule(words)


@pytest.mark.parametrize("name", ["armijo", "kfac", "schedule-free"])
def test_what_sets_its_own_steps_takes_none(name):
    rate = {} if name == "armijo" else {"learning_rate": 0.1}
    with pytest.raises(InputError, match="takes no schedule"):
        tw.dynamics.optimiser(name, schedule="cosine(10)", **rate)


@pytest.mark.parametrize(
    ("words", "weight_decay"), [("cosine(4000)", 0.1), ("exponential(3000, warmup=400)", 0.5)]
)
def test_the_threshold_of_adamw_on_a_schedule_is_where_its_update_grows(words, weight_decay):
    """Spectral radii of Optax's own update of a quadratic, at steps along the schedule."""
    epsilon, schedule = 1e3, as_schedule(words)  # beside which second moments are nothing
    tiny = jnp.asarray(1e-12)
    plain = optax.adamw(lambda k: 0.02 * schedule(k), eps=epsilon, weight_decay=weight_decay)
    named = tw.dynamics.optimiser("adamw", 0.02, epsilon=epsilon, schedule=words,
                                  weight_decay=weight_decay)  # fmt: skip
    rule = named.stability(BOWL, jax.ShapeDtypeStruct((2,), float))

    @jax.jit
    def columns(curvature, count):
        def after(x, m):
            state = optax.tree_utils.tree_set(plain.init(x), mu=m, count=count)
            with jax.numpy_dtype_promotion("standard"):
                moved, state = plain.update(curvature * x, state, x)
            return jnp.stack([x + moved, optax.tree_utils.tree_get(state, "mu")])

        parts = [after(tiny, 0 * tiny), after(0 * tiny, tiny)]  # linear beside epsilon
        return jnp.stack(parts, axis=1) / tiny

    found = []
    for count in (300, 450, 1500, 2900):  # where what the start is corrected by has died out
        rate = 0.02 * float(schedule(count))
        low, high = 1.0, 100.0  # of the curvature that the step sees
        for _ in range(30):
            middle = (low + high) / 2
            update = columns(middle * epsilon / rate, jnp.asarray(count, jnp.int32))
            grows = np.abs(np.linalg.eigvals(update)).max() > 1
            low, high = (low, middle) if grows else (middle, high)
        found.append(low)
    assert rule.kind == "frozen"
    assert np.ptp(found) > 0  # the decay of a step moves it
    assert 0.99 * max(found) <= rule.threshold <= min(found) * (1 + 1e-9)
    assert rule.threshold == pytest.approx(38 * (1 - 0.02 * weight_decay / 2), rel=1e-6)


def test_what_a_schedule_leaves_unknown_says_why():
    decayed = tw.dynamics.optimiser("adamw", 0.1, schedule="cosine(1000)", weight_decay=1.0)
    rule = decayed.stability(BOWL, jax.ShapeDtypeStruct((2,), float))
    assert not rule.known
    assert "its threshold lies between 36.1 and 38" in rule.because
    ball = tw.dynamics.optimiser("rmsprop", 0.01, schedule="cosine(1000)", momentum=0.9)
    told = ball.without_limit(BOWL, jax.ShapeDtypeStruct((2,), float))
    assert "keeps steps of the sizes that the schedule had before" in told
    alone = tw.dynamics.optimiser("rmsprop", 0.01, schedule="cosine(1000)")
    assert alone.without_limit(BOWL, jax.ShapeDtypeStruct((2,), float)) == ""
