"""The driver: clocks, seeds, divergence, schedules, users' own models, no needless compilation."""

from __future__ import annotations

import importlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.core.result import Result, exact
from thalweg.driver.chunks import Loop
from thalweg.driver.layout import lanes_for
from thalweg.models import Applied, from_equinox
from thalweg.probes.probe import Probe
from thalweg.problems import Function, supervised

CURVATURE = jnp.asarray([4.0, 1.0, 0.25])


def quadratic(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.sum(CURVATURE * x**2)


def normal_start(key: jax.Array) -> jax.Array:
    return jax.random.normal(key, (3,))


def bowl() -> Function:
    return Function(quadratic, draw=normal_start)


def test_gradient_descent_on_a_quadratic() -> None:
    """x_k = (1 - eta lambda)^k x_0 at time k eta."""
    run = tw.run(bowl(), tw.gradient_descent(0.1), until=2.0, records=5, seeds=3)
    x = run.parameters.values
    steps = run.dataset["step"].values
    np.testing.assert_array_equal(steps[0], [0, 4, 8, 12, 16, 20])
    np.testing.assert_allclose(run.dataset["time"], steps[0] * 0.1, rtol=1e-15)
    expected = (1 - 0.1 * np.asarray(CURVATURE)) ** steps[..., None] * x[:, :1]
    np.testing.assert_allclose(x, expected, rtol=1e-13)
    np.testing.assert_allclose(
        run.dataset["loss"], 0.5 * np.sum(np.asarray(CURVATURE) * x**2, axis=-1), rtol=1e-13
    )
    np.testing.assert_array_equal(run.dataset["evaluations"], steps)


def test_descent_is_first_order_in_the_step_size() -> None:
    start = Function(lambda x: 0.5 * jnp.sum(CURVATURE * x**2), start=jnp.ones(3))
    exact = np.exp(-np.asarray(CURVATURE))
    errors = []
    for step in (0.01, 0.005, 0.0025):
        run = tw.run(start, tw.gradient_descent(step), times=[1.0])
        errors.append(np.linalg.norm(run.parameters[0, -1].values - exact))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    np.testing.assert_allclose(orders, 1.0, atol=0.1)


@pytest.mark.thorough
def test_seeds_together_are_seeds_alone() -> None:
    problem = tw.problems.digits(tw.models.mlp([5]), samples=20)
    options = {"until": 2.0, "records": 4, "probes": [tw.probes.sharpness()]}
    together = tw.run(problem, tw.gradient_descent(0.1), seeds=[0, 3, 5], **options)
    for i, seed in enumerate((0, 3, 5)):
        alone = tw.run(problem, tw.gradient_descent(0.1), seeds=[seed], **options)
        np.testing.assert_allclose(
            together.parameters[i].values, alone.parameters[0].values, rtol=1e-12, atol=1e-14
        )
        np.testing.assert_allclose(
            together.dataset["sharpness"][i], alone.dataset["sharpness"][0], rtol=1e-9
        )
    starts = together.parameters[:, 0].values
    assert not np.allclose(starts[0], starts[1])


@pytest.mark.thorough
def test_lanes_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds in one batch or one after another: the same paths."""
    problem = tw.problems.digits(tw.models.mlp([5]), samples=20)
    assert lanes_for(problem, 1) == "single"
    module = importlib.import_module("thalweg.driver.recorded")
    paths = []
    for lanes in ("vmap", "map"):
        monkeypatch.setattr(module, "lanes_for", lambda problem, count, lanes=lanes: lanes)
        for dynamics in (tw.gradient_descent(0.1), tw.gradient_flow(1e-6)):
            paths.append(tw.run(problem, dynamics, until=1.0, records=2, seeds=2).parameters.values)
    np.testing.assert_allclose(paths[0], paths[2], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(paths[1], paths[3], rtol=1e-7, atol=1e-9)


def test_a_new_step_size_compiles_nothing(caplog: pytest.LogCaptureFixture) -> None:
    problem = bowl()

    def compiled(dynamics: tw.dynamics.Dynamics) -> int:
        caplog.clear()
        with jax.log_compiles():
            tw.run(problem, dynamics, until=3.0, records=3, seeds=2)
        return sum("Finished XLA compilation" in record.getMessage() for record in caplog.records)

    assert compiled(tw.gradient_descent(0.11)) > 0
    assert compiled(tw.gradient_descent(0.23)) == 0
    assert compiled(tw.gradient_flow(1.1e-4)) > 0
    assert compiled(tw.gradient_flow(3.7e-5)) == 0


def test_divergence_is_data() -> None:
    """eta > 2/lambda blows up: the codes say so, other seeds are not disturbed."""
    problem = Function(
        lambda x: 0.25 * jnp.sum(x**4), draw=lambda key: jax.random.normal(key, (1,)) * 2.0
    )
    probes = [tw.probes.sharpness(), tw.probes.gradient_norm()]
    run = tw.run(problem, tw.gradient_descent(0.5), until=20.0, records=20, seeds=8, probes=probes)
    lost = run.diverged
    assert lost.any()
    assert not lost.all()
    assert run.dataset.sizes["time"] == 21
    assert np.isfinite(run.dataset["loss"].values[~lost]).all()
    ended = run.dataset["loss_result"].values[lost, -1]
    np.testing.assert_array_equal(ended, int(Result.NONFINITE))


def test_a_run_ends_when_every_seed_has_diverged() -> None:
    problem = Function(lambda x: 0.25 * jnp.sum(x**4), start=jnp.asarray([5.0]))
    run = tw.run(problem, tw.gradient_descent(0.5), until=50.0, records=50)
    assert run.diverged.all()
    assert run.dataset.sizes["time"] < 51
    assert np.isfinite(run.dataset["loss"].values[0, 0])


def test_schedules_leave_gaps_with_a_code() -> None:
    run = tw.run(
        bowl(),
        tw.gradient_descent(0.1),
        until=1.0,
        records=10,
        probes=[tw.every(4, tw.probes.smallest_eigenvalue())],
    )
    codes = run.dataset["smallest_eigenvalue_result"].values[0]
    measured = np.arange(11) % 4 == 0
    np.testing.assert_array_equal(codes == int(Result.NOT_MEASURED), ~measured)
    values = run.dataset["smallest_eigenvalue"].values[0]
    np.testing.assert_allclose(values[measured], 0.25, rtol=1e-9)
    assert np.isnan(values[~measured]).all()


class TestOptax:
    def test_sgd_is_gradient_descent(self) -> None:
        ours = tw.run(bowl(), tw.gradient_descent(0.1), until=2.0, records=4)
        theirs = tw.run(bowl(), tw.optax_dynamics(optax.sgd(0.1), 0.1), until=2.0, records=4)
        np.testing.assert_allclose(ours.parameters, theirs.parameters, rtol=1e-14)
        np.testing.assert_array_equal(ours.dataset["time"], theirs.dataset["time"])

    def test_a_schedule_is_summed(self) -> None:
        schedule = optax.linear_schedule(0.1, 0.02, 10)
        dynamics = tw.optax_dynamics(optax.sgd(schedule), schedule)
        run = tw.run(bowl(), dynamics, until=1.5, records=3)
        sizes = np.asarray([float(schedule(k)) for k in range(200)])
        clock = np.concatenate([[0.0], np.cumsum(sizes)])
        steps = run.dataset["step"].values[0]
        np.testing.assert_allclose(run.dataset["time"], clock[steps], rtol=1e-6)
        assert abs(float(run.dataset["time"][-1]) - 1.5) <= 0.05

    def test_adam_takes_its_own_path(self) -> None:
        run = tw.run(bowl(), tw.optax_dynamics(optax.adam(0.05), 0.05, "adam"), until=5.0)
        assert float(run.dataset["loss"][0, -1]) < 1e-2 * float(run.dataset["loss"][0, 0])
        assert run.name == "adam"


class TestUsersModels:
    x = np.random.default_rng(0).normal(size=(12, 3))
    y = np.sin(x[:, :1])

    def check(self, model: tw.models.Model) -> None:
        problem = supervised(model, (self.x, self.y))
        run = tw.run(problem, tw.gradient_descent(0.1), until=3.0, records=3,
                     probes=[tw.probes.sharpness()])  # fmt: skip
        loss = run.dataset["loss"].values[0]
        assert loss[-1] < loss[0]
        assert (run.dataset["sharpness_result"] == 0).all()

    def test_equinox(self) -> None:
        self.check(from_equinox(eqx.nn.MLP(3, 1, 4, 1, jnp.tanh, key=jax.random.key(0))))

    def test_init_and_apply(self) -> None:
        def init(key: jax.Array) -> dict[str, jax.Array]:
            return {"w": jax.random.normal(key, (3, 1)), "b": jnp.zeros(1)}

        self.check(Applied(lambda p, x: x @ p["w"] + p["b"][None], init))

    def test_a_bare_function(self) -> None:
        problem = Function(lambda p: (p["a"] - 1.0) ** 2 + p["b"] ** 2, {"a": 0.0, "b": 2.0})
        run = tw.run(problem, tw.gradient_flow(1e-8), times=[0.0, 1.0])
        decay = np.exp(-2.0)
        np.testing.assert_allclose(run.parameters[0, -1], [1 - decay, 2 * decay], rtol=1e-6)

    def test_a_wrong_shape_is_a_sentence(self) -> None:
        model = Applied(lambda p, x: x @ p, lambda key: jnp.ones((5, 1)))
        with pytest.raises(tw.InputError, match=r"does not accept inputs of shape \(12, 3\)"):
            supervised(model, (self.x, self.y))
        wide = Applied(lambda p, x: x @ p, lambda key: jnp.ones((3, 2)))
        with pytest.raises(tw.InputError, match=r"outputs have shape \(12, 2\)"):
            supervised(wide, (self.x, self.y))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "either until or times"),
        ({"until": -1.0}, "positive"),
        ({"until": float("nan")}, "positive"),
        ({"until": 1.0, "records": 0}, "records"),
        ({"until": 1.0, "seeds": 0}, "seeds"),
        ({"until": 1.0, "seeds": [1, 1]}, "seeds"),
        ({"until": 0.01}, "shorter than one step"),
        ({"times": [1.0, 0.5]}, "increase"),
        ({"times": []}, "times"),
        ({"until": 1.0, "out": "somewhere.txt"}, r"\.zarr"),
        ({"until": 1.0, "probes": [tw.probes.accuracy()]}, "needs a problem with data"),
        ({"until": 1.0, "probes": [tw.probes.balancedness()]}, "dense net"),
        ({"until": 1.0, "probes": [tw.probes.sharpness()] * 2}, "one name"),
    ],
)
def test_bad_arguments_are_sentences(options: dict, sentence: str) -> None:
    with pytest.raises(tw.InputError, match=sentence):
        tw.run(bowl(), tw.gradient_descent(0.1), **options)


@pytest.mark.parametrize("step", [0.0, -0.1, float("nan"), float("inf")])
def test_bad_step_sizes_are_sentences(step: float) -> None:
    with pytest.raises(tw.InputError, match="step size came as"):
        tw.gradient_descent(step)


def test_a_start_that_is_not_finite_is_refused() -> None:
    problem = Function(lambda x: jnp.log(x).sum(), start=jnp.asarray([-1.0]))
    with pytest.raises(tw.InputError, match="not finite at the start of seed"):
        tw.run(problem, tw.gradient_descent(0.1), until=1.0)


@pytest.mark.thorough
@pytest.mark.parametrize("dynamics", [tw.gradient_descent(0.1), tw.gradient_flow(1e-5)])
def test_an_interrupted_run_goes_on_to_the_same_bits(dynamics, tmp_path, monkeypatch) -> None:
    options = {
        "until": 3.0,
        "records": 12,
        "seeds": 2,
        "probes": [tw.probes.sharpness(), tw.every(3, tw.probes.smallest_eigenvalue(2))],
    }
    whole = tw.run(bowl(), dynamics, **options)
    record, calls = Loop.record, []

    def interrupted(self, states):
        calls.append(1)
        if len(calls) in (1, 4, 5, 11):
            raise KeyboardInterrupt
        record(self, states)

    monkeypatch.setattr(Loop, "record", interrupted)
    out = tmp_path / "run.zarr"
    for _ in range(4):
        with pytest.raises(tw.Interrupted, match="the same command"):
            tw.run(bowl(), dynamics, out=out, **options)
    parts = tw.run(bowl(), dynamics, out=out, **options)
    assert set(parts.dataset) == set(whole.dataset)
    for name in whole.dataset:
        np.testing.assert_array_equal(parts.dataset[name].values, whole.dataset[name].values)
    np.testing.assert_array_equal(tw.load(out).parameters, whole.parameters)


def power(p: float) -> Function:
    return Function(lambda x: jnp.sum(jnp.abs(x) ** p), start=np.ones(2))


def test_a_store_holds_one_configuration(tmp_path) -> None:
    """An edited objective is another run, though its name and its start are the same."""
    out = tmp_path / "run.zarr"
    options = {"until": 1.0, "records": 2, "out": out}
    first = tw.run(power(2.0), tw.gradient_descent(0.1), **options)
    again = tw.run(power(2.0), tw.gradient_descent(0.1), **options)
    np.testing.assert_array_equal(first.parameters, again.parameters)
    others = [
        (power(4.0), tw.gradient_descent(0.1), {}),
        (power(2.0), tw.gradient_descent(0.2), {}),
        (power(2.0), tw.gradient_flow(1e-6), {}),
        (power(2.0), tw.gradient_descent(0.1), {"probes": [tw.probes.sharpness()]}),
        (power(2.0), tw.gradient_descent(0.1), {"seeds": [1]}),
    ]
    for problem, dynamics, more in others:
        with pytest.raises(tw.InputError, match="holds another run"):
            tw.run(problem, dynamics, **options, **more)
    fresh = tw.run(power(4.0), tw.gradient_descent(0.1), fresh=True, **options)
    assert not np.allclose(fresh.parameters[0, -1], first.parameters[0, -1])


def test_an_optax_run_is_known_again(tmp_path) -> None:
    """The transformation is built anew each time a command is given."""
    out = tmp_path / "run.zarr"

    def adam(rate: float) -> tw.dynamics.OptaxDescent:
        return tw.optax_dynamics(optax.adam(rate), 0.1)

    for _ in range(2):
        tw.run(power(2.0), adam(0.1), until=1.0, records=2, out=out)
    with pytest.raises(tw.InputError, match="holds another run"):
        tw.run(power(2.0), adam(0.2), until=1.0, records=2, out=out)


def test_a_number_of_seeds_may_come_from_numpy() -> None:
    run = tw.run(bowl(), tw.gradient_descent(0.1), until=1.0, records=1, seeds=np.int64(3))
    assert run.dataset["seed"].values.tolist() == [0, 1, 2]


def test_a_diverging_seed_disturbs_no_other() -> None:
    problem = Function(
        lambda x: 0.25 * jnp.sum(x**4), draw=lambda key: 2.0 * jax.random.normal(key, (1,))
    )
    options = {"until": 10.0, "records": 5}
    many = tw.run(problem, tw.gradient_descent(0.5), seeds=8, **options)
    kept = np.flatnonzero(~many.diverged)
    alone = tw.run(problem, tw.gradient_descent(0.5), seeds=kept.tolist(), **options)
    np.testing.assert_allclose(alone.parameters, many.parameters[kept], rtol=1e-12)


class Traced(Probe):
    """The sum of the parameters, and a note of each time that it is traced."""

    name: str = eqx.field(static=True, default="traced")
    dims: tuple[str, ...] = eqx.field(static=True, default=())
    unit: str = eqx.field(static=True, default="1")
    traces: list[str] = eqx.field(static=True, default_factory=list)

    def measure(self, problem, params, memory, moment):
        self.traces.append("again")
        return exact(jnp.sum(params)), ()


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_probe_is_traced_once_a_run(seeds: int) -> None:
    """Its shapes are read off the program of the first record, which is needed anyway."""
    for dynamics in (tw.gradient_descent(0.1), tw.gradient_flow()):
        probe = Traced()
        run = tw.run(bowl(), dynamics, 1.0, records=4, probes=[probe], seeds=seeds)
        assert run.dataset["traced"].shape == (seeds, 5)
        assert len(probe.traces) == 1
