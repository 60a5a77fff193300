"""Sweeps: each lane is the run it stands for, on its own clock, whatever its neighbours do."""

from __future__ import annotations

import itertools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.core.result import Result
from thalweg.driver import block, layout
from thalweg.dynamics import Statistic
from thalweg.problems import Function
from thalweg.sweeps import plan
from thalweg.sweeps.members import members_of

CURVATURE = jnp.asarray([4.0, 1.0, 0.25])
SIZES = [0.05, 0.1, 0.3]


def bowl() -> Function:
    return Function(
        lambda x: 0.5 * jnp.sum(CURVATURE * x**2), draw=lambda key: jax.random.normal(key, (3,))
    )


def quartic() -> Function:
    return Function(
        lambda x: 0.25 * jnp.sum(x**4), draw=lambda key: 1.0 + 0.1 * jax.random.normal(key, (2,))
    )


def same(found: Any, alone: Any, name: str, rtol: float) -> None:
    a, b = found[name].values, alone[name].values
    if rtol == 0:
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes(), name
    else:
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12 * np.nanmax(np.abs(b)), err_msg=name)


def test_every_member_keeps_its_own_clock() -> None:
    """x_k = (1 - eta lambda)^k x_0 at time k eta, the records nearest to the times asked for."""
    found = tw.sweep(
        bowl(), tw.gradient_descent, step_size=SIZES, until=1.5, records=6, seeds=[4, 2], probes=()
    )
    data = found.dataset
    assert dict(data["loss"].sizes) == {"step_size": 3, "seed": 2, "record": 7}
    assert data["time"].dims == ("step_size", "record")
    for i, eta in enumerate(SIZES):
        steps = np.unique(np.round(np.linspace(0, 1.5, 7) / eta)).astype(int)
        run = found.member(i)
        np.testing.assert_array_equal(run.dataset["step"], np.stack([steps] * 2))
        np.testing.assert_array_equal(data["time"][i, : len(steps)], steps * eta)
        assert np.isnan(data["time"][i, len(steps) :]).all()
        x = run.parameters.values
        expected = (1 - eta * np.asarray(CURVATURE)) ** steps[:, None] * x[:, :1]
        np.testing.assert_allclose(x, expected, rtol=1e-12, atol=1e-300)
        np.testing.assert_allclose(
            data["loss"][i, :, : len(steps)],
            0.5 * np.sum(np.asarray(CURVATURE) * x**2, axis=-1),
            rtol=1e-12,
        )
    starts = found.member(0).parameters[:, 0], found.member(2).parameters[:, 0]
    np.testing.assert_array_equal(*starts)


def test_steps_are_the_same_for_all_where_they_are_asked_for() -> None:
    found = tw.sweep(
        bowl(), tw.gradient_descent, step_size=SIZES, steps=7, records=3, probes=()
    ).dataset
    np.testing.assert_array_equal(found["step"][:, 0], [[0, 2, 5, 7]] * 3)
    np.testing.assert_allclose(found["time"], np.outer(SIZES, [0, 2, 5, 7]), rtol=1e-15)


@pytest.mark.parametrize(
    ("lanes", "rtol", "probes"),
    [
        ("map", 0.0, ["gradient_norm"]),
        ("vmap", 1e-10, ["gradient_norm"]),
        pytest.param("map", 0.0, ["sharpness", "gradient_norm"], marks=pytest.mark.thorough),
        pytest.param("vmap", 1e-10, ["sharpness", "gradient_norm"], marks=pytest.mark.thorough),
    ],
)
def test_a_lane_is_the_run_it_stands_for(
    lanes: str, rtol: float, probes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit where lanes go one after the other, to rounding side by side."""
    kind = {"map": 0, "vmap": 10**9}[lanes]
    monkeypatch.setattr(layout, "BUSY", kind)
    problem = tw.problems.digits(tw.models.mlp([3], "tanh"), samples=20)
    options: dict[str, Any] = {"seeds": [0, 3], "probes": probes}
    found = tw.sweep(problem, tw.gradient_descent, step_size=SIZES, steps=30, records=4, **options)
    for i, member in enumerate(found.members.dynamics):
        run, times = found.member(i), found.horizon.marks(member).times
        alone = tw.run(problem, member, times=times, **options)
        assert set(run.dataset.variables) == set(alone.dataset.variables)
        for name in alone.dataset.variables:
            exact = rtol == 0 or name in ("seed", "time", "step", "result")
            if name != "sharpness_error":
                same(run.dataset, alone.dataset, str(name), 0.0 if exact else rtol)
        assert run.stability == alone.stability
        told = [json.loads(t.dataset.attrs["provenance"])["configuration"] for t in (run, alone)]
        told[1]["problem"].pop("start")
        assert told[0] == told[1]


@pytest.mark.thorough
def test_what_diverges_stops_alone() -> None:
    """Beyond the threshold of a quartic the loss overflows; the others do not notice."""
    options: dict[str, Any] = {"steps": 40, "records": 20, "seeds": 3}
    sizes = [0.1, 0.2, 5.0]
    found = tw.sweep(quartic(), tw.gradient_descent, step_size=sizes, **options)
    data = found.dataset
    np.testing.assert_array_equal(found.diverged, [[False] * 3] * 2 + [[True] * 3])
    assert "3 of 9 runs diverged: of step size 5" in str(found)
    lost = data.isel(step_size=2)
    assert (lost["result"].values[:, -1] == Result.NONFINITE).all()
    assert (lost["sharpness_result"].values[:, -1] == Result.NONFINITE).all()
    assert np.isnan(lost["loss"].values[:, -1]).all()
    assert (lost["step"].values[:, -1] < 40).all()  # it took no step after that
    alone = tw.sweep(quartic(), tw.gradient_descent, step_size=sizes[:2], **options).dataset
    for name in ("loss", "sharpness", "step", "loss_result"):
        same(data.isel(step_size=slice(0, 2)), alone, name, 1e-12)
    # As `run` tells it: the records up to the one at which every seed has diverged.
    times = found.horizon.marks(found.members.dynamics[2]).times
    run = tw.run(quartic(), tw.gradient_descent(5.0), times=times, seeds=3, probes="sharpness")
    member = found.member(2).dataset
    assert member.sizes["time"] == run.dataset.sizes["time"] < 21
    np.testing.assert_array_equal(member["loss_result"], run.dataset["loss_result"])


def test_a_further_step_size_compiles_nothing(caplog: pytest.LogCaptureFixture) -> None:
    problem = bowl()

    def compiled(sizes: list[float]) -> int:
        caplog.clear()
        with jax.log_compiles():
            tw.sweep(
                problem,
                tw.gradient_descent,
                step_size=sizes,
                until=2.0,
                records=4,
                seeds=2,
                probes=(),
            )
        return sum("Finished XLA compilation" in record.getMessage() for record in caplog.records)

    assert compiled([0.011, 0.1]) > 0
    assert compiled([0.03, 0.7]) == 0


def test_dynamics_of_several_kinds_go_into_blocks_of_their_own() -> None:
    """Heavy ball from Optax is a program of its own for each number that it closes over."""
    given = [
        tw.gradient_descent(0.1),
        tw.optax_dynamics(optax.sgd(0.1, momentum=0.5), 0.1, "heavy ball"),
        tw.gradient_descent(0.2),
    ]
    found = tw.sweep(bowl(), given, steps=6, records=2, probes=())
    assert len(found.blocks) == 2
    assert found.dataset["loss"].dims == ("member", "seed", "record")
    x = np.asarray(bowl().init(jax.random.fold_in(jax.random.key(0), 0)))
    velocity = np.zeros(3)
    for _ in range(6):
        velocity = 0.5 * velocity + np.asarray(CURVATURE) * x
        x = x - 0.1 * velocity
    np.testing.assert_allclose(found.member(1).parameters[0, -1], x, rtol=1e-12)
    assert found.member(1).name == "heavy ball"
    assert found.member(1).stability.formula.startswith("2 (1 + beta)")
    np.testing.assert_allclose(found.dataset["step_size"], [0.1, 0.1, 0.2])


def test_several_arguments_make_their_product() -> None:
    def heavy(rate: float, beta: float) -> tw.dynamics.Dynamics:
        return tw.optax_dynamics(optax.sgd(rate, momentum=beta), rate)

    members = members_of(heavy, {"rate": [0.1, 0.2], "beta": [0.0, 0.5, 0.9]})
    assert members.dim == "member"
    np.testing.assert_array_equal(members.labels["rate"], [0.1, 0.1, 0.1, 0.2, 0.2, 0.2])
    np.testing.assert_array_equal(members.labels["beta"], [0.0, 0.5, 0.9] * 2)


def test_blocks_have_one_shape_and_hold_every_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MOST_LANES", 6)
    members = members_of(tw.gradient_descent, {"step_size": np.geomspace(0.01, 1, 8)})
    horizon = block.Horizon(2.0, None, 5)
    places = [plan.Place(mark, seed) for mark in members.prints for seed in (0, 1)]
    blocks = plan.planned(bowl(), members, places, horizon, ())
    assert [len(lanes) for lanes in blocks] == [6, 6, 6]
    assert set().union(*blocks) == set(places)
    cost = {
        mark: 2.0 / d.step_size for mark, d in zip(members.prints, members.dynamics, strict=True)
    }
    spans = [(min(cost[p.member] for p in b), max(cost[p.member] for p in b)) for b in blocks]
    ordered = sorted(spans)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ordered))
    assert plan.planned(bowl(), members, places, horizon, ()) == blocks


@pytest.mark.parametrize(
    ("dynamics", "options", "words"),
    [
        (tw.gradient_descent, {}, "step_size=\\[0.1, 0.2\\]"),
        ([tw.gradient_descent(0.1)] * 2, {}, "two members .* the same .*at positions 0 and 1"),
        ([], {}, "no dynamics"),
        (["adam"], {}, "the text 'adam'"),
        ([tw.gradient_flow(1e-4)], {}, "has no steps"),
        ([tw.gradient_descent(0.1)], {"step_size": [1.0]}, "step_size= came beside a list"),
        (tw.gradient_descent, {"step_size": "many"}, "step_size came as the text 'many'"),
        (tw.gradient_descent, {"step_size": [0.1, -1.0]}, "step size came as -1"),
        ([tw.gradient_descent(0.1)], {"until": 1.0}, "either until or steps"),
        ([tw.gradient_descent(0.1)], {"steps": 0}, "steps came as 0"),
        ([tw.gradient_descent(0.1)], {"records": 0}, "records came as 0"),
        ([tw.gradient_descent(0.1)], {"seeds": 0}, "seeds came as 0"),
        ([tw.gradient_descent(0.1)], {"records": 10**9, "steps": 10**9}, "memory"),
        ([tw.gradient_descent(0.1)], {"client": 3, "workers": 2}, "came both"),
    ],
)
def test_what_does_not_fit_is_told(dynamics: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(tw.InputError, match=words):
        tw.sweep(bowl(), dynamics, **({"steps": 5, "records": 2} | options))


def test_a_start_that_is_not_finite_is_told() -> None:
    problem = Function(lambda x: jnp.sum(jnp.log(x)), start=-jnp.ones(2))
    with pytest.raises(tw.InputError, match=r"not finite at the start of seed \[0\]"):
        tw.sweep(problem, [tw.gradient_descent(0.1)], steps=5, probes=())


def test_seeds_of_a_network_that_brings_its_weights_are_refused() -> None:
    """All would be one path, as in `run`; where batches are drawn they are not."""
    given = {"w": jnp.ones((2, 1))}
    model = tw.models.Network(lambda p, held, x: x @ p["w"], start=given)
    problem = tw.problems.supervised(model, (np.eye(2), np.array([[1.0], [2.0]])))
    with pytest.raises(tw.InputError, match="begins each of them at its own weights"):
        tw.sweep(problem, tw.gradient_descent, step_size=[0.1, 0.2], steps=2, seeds=2)
    in_batches = [tw.dynamics.optimiser("sgd", 0.1, batch=1)]
    options = {"steps": 2, "records": 1, "probes": ()}
    assert tw.sweep(problem, in_batches, seeds=2, **options).dataset.sizes["seed"] == 2
    assert tw.sweep(problem, tw.gradient_descent, step_size=[0.1], **options).seeds == (0,)


@pytest.mark.implicit  # the plain loop is Optax's own
@pytest.mark.parametrize(("name", "exact"), [("adam", optax.adam), ("momentum", None)])
def test_rates_of_one_optimiser_share_a_program(
    name: str, exact: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A further learning rate compiles no step, and each path is that of a plain Optax loop."""
    exact = exact or (lambda rate: optax.sgd(rate, momentum=0.9))
    problem, options = bowl(), {"steps": 9, "records": 1, "probes": ()}

    def family(learning_rate: float) -> Any:
        return tw.dynamics.optimiser(name, learning_rate)

    first = members_of(family, {"learning_rate": [0.01, 0.02]}).dynamics
    assert len({block.program_key(member) for member in first}) == 1
    tw.sweep(problem, family, learning_rate=[0.01, 0.02], **options)
    caplog.clear()
    with jax.log_compiles():
        found = tw.sweep(problem, family, learning_rate=[0.03, 0.3], **options)
    said = [r.getMessage() for r in caplog.records if "take_steps" in r.getMessage()]
    assert not [words for words in said if "XLA compilation" in words]
    for i, rate in enumerate((0.03, 0.3)):
        transform, x = exact(rate), jnp.asarray(found.member(i).parameters.values[0, 0])
        state = transform.init(x)
        for _ in range(9):
            updates, state = transform.update(CURVATURE * x, state, x)
            x = optax.apply_updates(x, updates)
        np.testing.assert_allclose(found.member(i).parameters.values[0, -1], x, rtol=1e-12)
        about = found.members.dynamics[i].describe()
        assert about["learning_rate"] == rate


def test_what_decides_stability_is_measured_unless_something_else_is_asked() -> None:
    """By the rules of all members; where these differ, the sharpness."""
    adam, options = tw.dynamics.optimiser("adam", 0.1), {"steps": 2, "records": 1}
    one = tw.sweep(bowl(), [adam], **options).dataset
    assert "sharpness" not in one
    alone = tw.run(bowl(), adam, until=0.2, records=1, probes="preconditioned_sharpness").dataset
    np.testing.assert_array_equal(
        one["preconditioned_sharpness"].values[0], alone["preconditioned_sharpness"].values
    )
    both = tw.sweep(bowl(), [tw.gradient_descent(0.1), adam], **options).dataset
    assert "sharpness" in both
    assert "preconditioned_sharpness" not in both


def test_what_a_measurement_takes_is_traced_along_the_members_own_method() -> None:
    """With parameters enough to be looked at: eta(k) lambda/(1 - beta) of scheduled momentum."""
    weights = jnp.linspace(1.0, 4.0, 3000)
    wide = Function(lambda x: 0.5 * jnp.sum(weights * x**2), start=jnp.ones(3000))

    def family(learning_rate: float) -> Any:
        return tw.dynamics.optimiser("momentum", learning_rate, schedule="cosine(60)")

    found = tw.sweep(wide, family, learning_rate=[0.01, 0.02], steps=30, records=1).dataset
    measured, error = (found[f"preconditioned_sharpness{end}"].values for end in ("", "_error"))
    for i, rate in enumerate((0.01, 0.02)):
        expected = rate * 4 / (1 - 0.9) * np.array([1.0, 0.5])  # half of it after half the steps
        assert (abs(measured[i, 0] - expected) <= error[i, 0] + 1e-9).all()
        assert (error[i, 0] < 0.02 * expected).all()


class TellsItsStep(tw.dynamics.GradientDescent):
    """Descent that records a statistic of the name of what is swept: half its step size."""

    def recorded(self, problem: Any) -> tuple[Statistic, ...]:
        return (Statistic("step_size", "1", "half of it"),)

    def statistics(self, problem: Any, state: Any) -> dict[str, jax.Array]:
        return {"step_size": self.step_size / 2 + 0 * state.time}


def test_a_recorded_variable_of_the_name_of_what_differs_stands_beside_it() -> None:
    found = tw.sweep(bowl(), TellsItsStep, step_size=SIZES, until=1.0, records=2, probes=())
    assert found.dataset["step_size"].values.tolist() == SIZES
    told = found.dataset["step_size_recorded"]
    for i, eta in enumerate(SIZES):
        np.testing.assert_allclose(told.isel(step_size=i).values, eta / 2)
        np.testing.assert_allclose(found.member(i).dataset["step_size"].values, eta / 2)
    assert "3 members (step size 0.05 to 0.3)" in str(found)
