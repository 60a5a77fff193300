"""Every entry of every registry keeps the contract of its kind: a newcomer is tested on arrival."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.result import Result
from thalweg.dynamics import FLOW_SOLVERS
from thalweg.models import ACTIVATIONS
from thalweg.probes import PROBES
from thalweg.probes.probe import Moment
from thalweg.problems import LOSSES, Function

# Each compiles a search for eigenvalues a test; tests/probes holds them against the dense Hessian.
DEAR = {"sharpness", "smallest-eigenvalue", "top-eigenvalues"}
EVERY_PROBE = [pytest.param(n, marks=pytest.mark.thorough) if n in DEAR else n for n in PROBES]

MOMENT = Moment(jnp.asarray(0), jax.random.key(7))


def small(precision: str = "float64", activation: str = "tanh") -> tw.problems.Supervised:
    model = tw.models.mlp([5, 4], activation)
    return tw.problems.digits(model, samples=20, precision=precision)


@pytest.mark.parametrize("name", EVERY_PROBE)
class TestProbes:
    def test_states_its_shape_and_unit(self, name: str) -> None:
        problem, probe = small(), PROBES[name]()
        params = problem.init(jax.random.key(0))
        reading, _ = probe.measure(problem, params, probe.start(problem, params), MOMENT)
        assert probe.unit
        assert reading.value.ndim == len(probe.dims)
        assert reading.error.shape == reading.value.shape
        assert reading.result.shape == ()
        assert bool(jnp.all(reading.error >= 0))
        assert int(reading.result) == Result.OK

    def test_under_jit_and_vmap(self, name: str) -> None:
        problem, probe = small(), PROBES[name]()
        keys = jax.random.split(jax.random.key(1), 2)
        starts = jax.vmap(problem.init)(keys)

        def one(params, key):
            memory = probe.start(problem, params)
            return probe.measure(problem, params, memory, Moment(MOMENT.record, key))[0]

        together = jax.jit(jax.vmap(one))(starts, keys)
        for i in range(2):
            alone = one(jax.tree.map(lambda leaf, i=i: leaf[i], starts), keys[i])
            np.testing.assert_allclose(together.value[i], alone.value, rtol=1e-6, atol=1e-9)
            assert int(together.result[i]) == int(alone.result)

    def test_keeps_float32(self, name: str) -> None:
        problem, probe = small("float32"), PROBES[name]()
        params = problem.init(jax.random.key(0))
        reading, memory = probe.measure(problem, params, probe.start(problem, params), MOMENT)
        assert reading.value.dtype == jnp.float32
        assert reading.error.dtype == jnp.float32
        for leaf in jax.tree.leaves(memory):
            assert leaf.dtype == jnp.float32
        exact = tw.measure(small(), jax.tree.map(lambda p: p.astype(jnp.float64), params), probe)
        gap = np.max(np.abs(np.asarray(reading.value - exact.value)))
        scale = np.max(np.abs(np.asarray(exact.value))) + np.max(np.asarray(reading.error))
        assert gap <= 2e-2 * scale

    def test_a_diverged_point_is_data(self, name: str) -> None:
        problem, probe = small(), PROBES[name]()
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
        problem = small()
        options = {"until": 1.0, "records": 4, "seeds": 2}
        plain = tw.run(problem, tw.gradient_descent(0.1), **options)
        if name == "loss":
            return
        watched = tw.run(problem, tw.gradient_descent(0.1), probes=[PROBES[name]()], **options)
        np.testing.assert_array_equal(plain.parameters.values, watched.parameters.values)
        table = watched.dataset[PROBES[name]().name]
        assert table.dims == ("seed", "time", *PROBES[name]().dims)
        assert table.attrs["units"] == PROBES[name]().unit


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_say_whether_they_are_smooth_and_homogeneous(name: str) -> None:
    activation = ACTIVATIONS[name]
    z = jnp.linspace(-2.0, 2.0, 41)
    if activation.slopes is not None:
        a, b = activation.slopes
        expected = a * jnp.maximum(z, 0) - b * jnp.maximum(-z, 0)
        np.testing.assert_allclose(activation.function(z), expected, atol=1e-15)
    # A kink at 0 is where the one-sided first or second derivatives differ.
    h = 1e-3
    left, right = (activation.function(jnp.asarray([0.0, s * h, 2 * s * h])) for s in (-1, 1))
    slopes = [(-3 * v[0] + 4 * v[1] - v[2]) / (2 * s * h) for v, s in ((left, -1), (right, 1))]
    bends = [(v[0] - 2 * v[1] + v[2]) / h**2 for v in (left, right)]
    kink = abs(slopes[0] - slopes[1]) > 1e-3 or abs(bends[0] - bends[1]) > 0.1
    assert bool(kink) == (not activation.smooth)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_convex_with_a_zero_of_their_own(name: str) -> None:
    loss = LOSSES[name]
    target = jnp.asarray([0.0, 1.0, 0.0])
    for seed in range(5):
        outputs = 3 * jax.random.normal(jax.random.key(seed), (3,))
        hessian = jax.hessian(loss.one)(outputs, target)
        assert float(jnp.linalg.eigvalsh(hessian)[0]) >= -1e-14
        assert float(loss.one(outputs, target)) >= 0
    assert float(loss.one(jnp.asarray([-60.0, 60.0, -60.0]), target)) < 1e-9 or name != (
        "cross-entropy"
    )


def test_losses_by_hand() -> None:
    o, y = jnp.asarray([1.0, -2.0]), jnp.asarray([0.0, 1.0])
    assert float(LOSSES["squared-error"].one(o, y)) == pytest.approx(0.5 * (1 + 9))
    assert float(LOSSES["cross-entropy"].one(o, y)) == pytest.approx(
        -np.log(np.exp(-2) / (np.exp(1) + np.exp(-2)))
    )


@pytest.mark.parametrize("solver", FLOW_SOLVERS)
def test_flow_solvers_follow_a_stiff_quadratic(solver: str) -> None:
    """x' = -Lambda x has x(t) = e^{-Lambda t} x(0)."""
    eigenvalues = jnp.asarray([50.0, 3.0, 0.2, -0.1])
    problem = Function(lambda x: 0.5 * jnp.sum(eigenvalues * x**2), start=jnp.ones(4))
    times = [0.0, 0.3, 2.0, 7.0]
    flow = tw.run(problem, tw.gradient_flow(1e-8, solver), times=times)
    exact = np.exp(-np.asarray(times)[:, None] * np.asarray(eigenvalues))
    error = np.linalg.norm(flow.parameters[0].values - exact, axis=1)
    reported = flow.dataset["path_error"][0].values
    np.testing.assert_array_equal(flow.dataset["time"].values, times)
    assert np.all(error < 1e-4)
    assert np.all(error[1:] <= 5 * reported[1:] + 1e-13)


def test_unknown_names_name_the_nearest() -> None:
    with pytest.raises(tw.InputError, match="Did you mean 'tanh'"):
        tw.models.mlp([4], "tahn")
    with pytest.raises(tw.InputError, match="Did you mean 'cross-entropy'"):
        tw.problems.digits(tw.models.mlp([4]), "crossentropy", samples=20)
    with pytest.raises(tw.InputError, match="Did you mean 'tsit5'"):
        tw.gradient_flow(1e-6, "tsit")


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_probes_rest_on_no_implicit_conversion(name: str, precision: str) -> None:
    problem, probe = small(precision), PROBES[name]()
    params = problem.init(jax.random.key(0))
    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(lambda p: probe.measure(problem, p, probe.start(problem, p), MOMENT), params)


@pytest.mark.parametrize("name", FLOW_SOLVERS)
def test_flow_solvers_rest_on_no_implicit_conversion(name: str) -> None:
    problem, flow = small("float32"), tw.gradient_flow(1e-4, name)
    params = problem.init(jax.random.key(0))
    with jax.numpy_dtype_promotion("strict"):
        state = jax.eval_shape(lambda p: flow.init(problem, p), params)
        jax.eval_shape(lambda s: flow.advance(problem, s, jnp.asarray(1.0), jnp.asarray(9)), state)
