"""States of Optax transformations: random keys, small types, resumption, divergence, refusals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import thalweg as tw
from thalweg.driver import chunks
from thalweg.problems import Function

pytestmark = pytest.mark.implicit  # Optax alone is beside it, which converts

START = jnp.asarray([1.0, -2.0, 3.0])


def bowl(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum(jnp.asarray([1.0, 4.0, 0.25], x.dtype) * x**2)


BOWL = Function(bowl, start=START)
KEYS = {
    "integer": 3,
    "typed": jax.random.key(3),
    "rbg": jax.random.key(3, impl="rbg"),
}


def interrupted(monkeypatch, problem, dynamics, out, **options) -> None:
    """A run stopped by Ctrl-C after its third record."""
    record, taken = chunks.Loop.record, []

    def stopped(self, states):
        record(self, states)
        taken.append(1)
        if len(taken) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(chunks.Loop, "record", stopped)
    with pytest.raises(tw.Interrupted):
        tw.run(problem, dynamics, out=out, **options)
    monkeypatch.undo()


@pytest.mark.parametrize("kind", KEYS)
def test_noise_is_that_of_optax(kind):
    """Keys of any kind; the run is the plain loop with that key."""
    transform = optax.noisy_sgd(0.1, key=KEYS[kind])
    params, state = START, transform.init(START)
    for _ in range(6):
        updates, state = transform.update(jax.grad(bowl)(params), state, params)
        params = optax.apply_updates(params, updates)
    run = tw.run(BOWL, tw.optax_dynamics(transform, 0.1), until=0.6, records=2, progress=False)
    assert np.allclose(run.parameters[0, -1], params, rtol=1e-12)
    assert run.dataset.result.values.max() == 0


@pytest.mark.parametrize(
    ("transform", "problem"),
    [
        (optax.noisy_sgd(0.1, key=jax.random.key(3)), BOWL),
        (optax.noisy_sgd(0.1, key=jax.random.key(3, impl="rbg")), BOWL),
        (optax.lookahead(optax.adam(0.1), 3, 0.5), BOWL),
        (optax.contrib.schedule_free_adamw(0.1), BOWL),
        (optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(9)), BOWL),
        (optax.adam(0.1, mu_dtype=jnp.bfloat16), BOWL),
        (optax.MultiSteps(optax.adam(0.1), 3), BOWL),
    ],
    ids=["typed", "rbg", "lookahead", "schedule-free", "search", "bfloat16", "multi"],
)
def test_a_resumed_run_has_the_same_bits(transform, problem, tmp_path, monkeypatch):
    options = {"until": 0.8, "records": 4, "seeds": 2, "progress": False}
    dynamics = tw.optax_dynamics(transform, 0.1)
    whole = tw.run(problem, dynamics, **options)
    interrupted(monkeypatch, problem, dynamics, tmp_path / "a.zarr", **options)
    resumed = tw.run(problem, dynamics, out=tmp_path / "a.zarr", **options)
    assert set(resumed.dataset) == set(whole.dataset)
    for name in whole.dataset:
        assert np.array_equal(resumed.dataset[name], whole.dataset[name], equal_nan=True), name


def legacy() -> optax.GradientTransformation:
    """Noise from a key of the old kind, two numbers."""

    def update(updates, state, params=None):
        now, ahead = jax.random.split(state)
        return -0.1 * updates + 0.1 * jax.random.normal(now, updates.shape), ahead

    return optax.GradientTransformation(lambda _: jax.random.PRNGKey(3), update)


@pytest.mark.parametrize("transform", [optax.noisy_sgd(0.1, key=3), legacy()])
def test_seeds_share_the_noise_of_optax_unless_asked(transform):
    options = {"until": 0.5, "records": 5, "seeds": 3, "progress": False}
    shared = tw.run(BOWL, tw.optax_dynamics(transform, 0.1), **options)
    assert np.array_equal(shared.parameters[0], shared.parameters[1])
    assert "come from its own key, not from the seed" in shared.doubts[0]
    anew = tw.optax_dynamics(transform, 0.1, reseed=True)
    own = tw.run(BOWL, anew, **options)
    assert own.doubts == ()
    before, after = own.parameters.values[:, :-1], own.parameters.values[:, 1:]
    noise = after - before * (1 - 0.1 * np.asarray([1.0, 4.0, 0.25]))
    assert len(np.unique(np.round(noise, 12))) == noise.size  # none comes twice
    alone = tw.run(BOWL, anew, **options | {"seeds": [2]})
    assert np.allclose(alone.parameters[0], own.parameters[2], rtol=1e-12)


def kinked(x: jax.Array) -> jax.Array:
    """Finite at the origin, its gradient there is not."""
    return jnp.sqrt(jnp.sum(x**2)) + jnp.sum(x)


@pytest.mark.parametrize(
    ("transform", "codes"),
    [
        (optax.sgd(0.1), [0, 4]),
        (optax.adam(0.1), [0, 4]),
        (optax.apply_if_finite(optax.sgd(0.1), 2), [0, 0, 0, 4]),
        (optax.chain(optax.zero_nans(), optax.sgd(0.1)), [0, 0, 0, 0]),
    ],
    ids=["sgd", "adam", "apply if finite", "zero nans"],
)
def test_updates_that_are_not_finite_are_coded_at_once(transform, codes):
    """`apply_if_finite` leaves such a step out twice in succession, then takes it."""
    problem = Function(kinked, start=jnp.zeros(2))
    run = tw.run(problem, tw.optax_dynamics(transform, 1.0), until=3.0, records=3, progress=False)
    assert run.dataset.result.values[0].tolist() == codes
    assert np.isfinite(run.parameters.values[0, : codes.count(0)]).all()


def test_parameters_of_small_types_keep_them():
    """float32 beside a line search whose state holds float64, as a compiled loop must carry it."""
    small = Function(bowl, start=START.astype(jnp.float32))
    search = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(9))
    for transform in (search, optax.adam(0.1, mu_dtype=jnp.bfloat16)):
        run = tw.run(small, tw.optax_dynamics(transform, 1.0), until=3.0, records=1, progress=False)
        assert run.parameters.dtype == np.float32
        assert run.dataset.loss[0, -1] < run.dataset.loss[0, 0]


def test_parameters_in_bfloat16_are_recorded_as_they_are(tmp_path):
    """float32 holds every bfloat16; the path is that of Optax's own loop."""
    start = START.astype(jnp.bfloat16)
    transform = optax.sgd(0.1)
    run = tw.run(
        Function(bowl, start=start),
        tw.optax_dynamics(transform, 0.1),
        until=0.3,
        records=1,
        progress=False,
        out=tmp_path / "a.zarr",
    )
    params, state = start, transform.init(start)
    for _ in range(3):
        updates, state = transform.update(jax.grad(bowl)(params), state, params)
        params = optax.apply_updates(params, updates)
    assert run.parameters.dtype == np.float32
    assert np.array_equal(run.parameters[0, -1], params.astype(jnp.float32))


def test_a_state_of_growing_type_is_carried_in_its_last():
    """Begun in float32 by its author, in float64 after the first step."""

    def init(params):
        return jnp.zeros(params.shape, jnp.float32)

    def update(updates, state, params=None):
        state = 0.9 * state.astype(jnp.float64) + updates
        return -0.1 * state, state

    transform, params = optax.GradientTransformation(init, update), START
    state = init(params)
    for _ in range(5):
        updates, state = update(jax.grad(bowl)(params), state)
        params = params + updates
    run = tw.run(BOWL, tw.optax_dynamics(transform, 0.1), until=0.5, records=1, progress=False)
    assert np.allclose(run.parameters[0, -1], params, rtol=1e-14)


def test_the_step_size_is_read_where_optax_keeps_it():
    made = optax.inject_hyperparams(optax.adam)(learning_rate=0.03)
    assert float(tw.optax_dynamics(made).step_size) == pytest.approx(0.03, rel=1e-6)
    scheduled = optax.inject_hyperparams(optax.sgd)(
        learning_rate=optax.linear_schedule(0.1, 0.0, 9)
    )
    for transform in (optax.adam(0.03), optax.lbfgs(), scheduled, optax.contrib.muon(0.1)):
        with pytest.raises(tw.InputError, match="give it as step_size, usually the learning rate"):
            tw.optax_dynamics(transform)


@pytest.mark.parametrize("thing", [optax.adam, 0.1, "adam", None, lambda x: x])
def test_what_is_no_transformation_is_refused(thing):
    with pytest.raises(tw.InputError, match="give an Optax transformation with its learning rate"):
        tw.optax_dynamics(thing, 0.1)


def wanting(updates, state, params, *, temperature):
    return updates, state


def shrinking(updates, state, params=None):
    return updates, state[:-1]


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        (optax.GradientTransformationExtraArgs(lambda _: (), wanting), "temperature.*value_fn"),
        (
            optax.GradientTransformation(lambda _: jnp.ones(9), shrinking),
            "another structure, shape",
        ),
        (optax.masked(optax.sgd(0.1), {"a": True}), "refused this problem"),
        (optax.stateless(lambda g, _: jnp.ones(2)), r"have shapes \[\(2,\)\], the parameters"),
        (optax.contrib.differentially_private_aggregate(1.0, 0.1, key=0), "not one per example"),
    ],
    ids=["argument", "shrinking", "mask", "shape", "per example"],
)
def test_refusals_are_one_sentence(transform, sentence):
    """Parameters in one vector, whose entries dpsgd would take for examples."""
    with pytest.raises(tw.InputError, match=sentence) as caught:
        tw.run(BOWL, tw.optax_dynamics(transform, 0.1), until=0.2, progress=False)
    assert "\n" not in caught.value.args[0]
