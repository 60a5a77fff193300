"""Each dynamics beside its own limit; beside another flow only points of equal loss compare."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import thalweg as tw
from thalweg.comparison.equal_loss import distance_at_equal_loss
from thalweg.dynamics import preconditioned_flow
from thalweg.problems import Function
from thalweg.trajectory import Trajectory

BOWL = Function(lambda x: 0.5 * jnp.sum(jnp.array([2.4, 0.1]) * x**2), jnp.ones(2))
OPTIONS = {"until": 0.5, "records": 10, "progress": False}


def trained(transform, step_size, name, problem=BOWL, **more) -> Trajectory:
    return tw.run(problem, tw.optax_dynamics(transform, step_size, name), **(OPTIONS | more))


def followed(flow, problem=BOWL, **more) -> Trajectory:
    return tw.run(problem, flow, **(OPTIONS | more))


@pytest.fixture(scope="module")
def adam() -> Trajectory:
    return trained(optax.adam(2e-3, b2=0.99), 2e-3, "Adam")


@pytest.fixture(scope="module")
def its_own() -> Trajectory:
    return followed(preconditioned_flow(2e-3, b2=0.99, error=1e-5))


@pytest.fixture(scope="module")
def plain() -> Trajectory:
    return followed(tw.gradient_flow(error=1e-5))


def test_adam_follows_the_preconditioned_flow(adam, its_own):
    verdict = tw.compare(adam, its_own)
    assert verdict.apart == ""
    assert verdict.regime == "on the flow"
    assert verdict.flow == "the preconditioned flow"
    assert verdict.sentence == "Adam follows the preconditioned flow at step size 0.002."
    assert float(verdict.dataset["share_of_way"].max()) < 0.02
    assert "gradient flow" not in str(verdict)
    assert not verdict.certificates  # the theorem is about gradient descent and gradient flow
    assert any("for the preconditioned flow with its error" in r for r in verdict.reasons)


def test_beside_gradient_flow_adam_is_judged_at_equal_loss(adam, plain):
    verdict = tw.compare(adam, plain)
    assert verdict.regime == "off the flow"
    assert verdict.sentence == "Adam goes another way than gradient flow at step size 0.002."
    assert "is the preconditioned flow" in verdict.apart
    told = verdict.reasons[0]
    assert told.startswith("At equal time Adam and gradient flow do not compare: the flow that it")
    table = verdict.dataset
    assert set(table["equal_loss_distance"].dims) == {"seed", "level"}
    share = float(table["equal_loss_share_of_way"].max())
    assert f"which is {100 * share:.3g} % of the way" in told
    assert share > 0.3  # signs lead across the valley, not down its wall


def test_momentum_on_its_clock_is_judged_at_equal_time(plain):
    heavy = trained(optax.sgd(1e-3, momentum=0.9), 1e-2, "momentum")
    assert heavy.limit["flow"]["name"] == "gradient flow"
    assert tw.compare(heavy, plain).apart == ""


def test_other_numbers_are_another_flow(adam):
    other = followed(preconditioned_flow(2e-3, b2=0.98, error=1e-4))
    verdict = tw.compare(adam, other)
    assert "of other numbers as its steps go to 0 (other second)" in verdict.apart
    descent = tw.run(BOWL, tw.gradient_descent(2e-3), **OPTIONS)
    assert "is gradient flow" in tw.compare(descent, other).apart


@pytest.mark.thorough
def test_what_has_no_limit_is_judged_at_equal_loss(plain):
    verdict = tw.compare(trained(optax.lion(2e-3), 2e-3, "Lion"), plain)
    assert verdict.sentence == "Lion goes another way than gradient flow at step size 0.002."
    assert "no continuous limit of it is known (its update" in verdict.apart
    assert not any("Distance from gradient flow at equal time" in r for r in verdict.reasons)
    assert "it need not come nearer gradient flow at any step size" in verdict.reasons[-1]


@pytest.mark.thorough
def test_where_there_is_one_way_only_lion_goes_it():
    """In one dimension all methods pass the same points; only their times differ."""
    line = Function(lambda x: 0.5 * jnp.sum(x**2), jnp.ones(1))
    lion = trained(optax.lion(2e-3), 2e-3, "Lion", line)
    verdict = tw.compare(lion, followed(tw.gradient_flow(error=1e-5), line))
    assert verdict.regime == "on the flow"
    assert verdict.sentence == "Lion goes the way of gradient flow at step size 0.002."
    assert float(verdict.dataset["share_of_way"].max()) > 0.1  # at equal time they are apart


@pytest.mark.thorough
def test_without_a_loss_in_common_nothing_is_said_of_a_distance():
    below = Function(lambda x: 0.5 * jnp.sum(x**2) - 10.0, jnp.ones(1))
    lion = trained(optax.lion(2e-3), 2e-3, "Lion", below)
    verdict = tw.compare(lion, followed(tw.gradient_flow(error=1e-5), below))
    assert verdict.sentence == "Lion shares no loss with gradient flow at step size 0.002."
    assert any("share no range of positive losses" in reason for reason in verdict.reasons)
    assert "nan" not in str(verdict)
    assert "different places" not in str(verdict)


def test_an_uncorrected_start_is_told():
    rms = trained(optax.rmsprop(2e-3, 0.99), 2e-3, "RMSProp")
    flow = followed(
        preconditioned_flow(
            2e-3, 0.0, 0.99, epsilon=0.0, epsilon_root=1e-8, corrected=False, error=1e-4
        )
    )
    verdict = tw.compare(rms, flow)
    assert verdict.apart == ""
    assert any("only as the root of the step size" in note for note in verdict.warnings)


@pytest.mark.thorough
def test_the_probe_of_the_dynamics_is_no_diagonal_of_the_users():
    probe = tw.probes.preconditioned_sharpness()
    run = trained(optax.adam(2e-3), 2e-3, "Adam", probes=probe)
    verdict = tw.compare(run, followed(preconditioned_flow(2e-3, error=1e-4), probes=probe))
    assert verdict.rule.eigenvalue == "preconditioned_sharpness"
    assert "diagonal given" not in str(verdict)
    assert "flow_stability" in verdict.dataset


def path(angle, count: int) -> Trajectory:
    """From radius 1 down to 0.1, the loss r^2/2, at an angle that depends on the radius."""
    radius = np.linspace(1.0, 0.1, count)
    theta = radius[:, None] * np.stack([np.cos(angle(radius)), np.sin(angle(radius))], 1)
    ones = np.zeros((1, count))
    return Trajectory(
        xr.Dataset(
            {
                "parameters": (("seed", "time", "parameter"), theta[None]),
                "loss": (("seed", "time"), radius[None] ** 2 / 2),
                "result": (("seed", "time"), ones.astype(int)),
                "evaluations": (("seed", "time"), ones.astype(int)),
            },
            {"seed": [0], "time": 1 - radius},
            {"provenance": json.dumps({})},
        )
    )


def test_the_distance_at_equal_loss_is_that_of_the_closed_form():
    """2 r sin(angle/2) at radius r = sqrt(2 loss), whatever the records; r also tells the time."""
    straight, bent = path(lambda r: 0 * r, 31), path(lambda r: 1 - r, 17)
    found = distance_at_equal_loss(straight, bent).isel(seed=0)
    radius = np.sqrt(2 * found["equal_loss"].values)
    truth = 2 * radius * np.sin((1 - radius) / 2)
    missed = np.abs(found["equal_loss_distance"].values - truth)
    assert np.all(missed <= found["equal_loss_distance_error"].values + 1e-12)
    assert missed.max() < 0.01 * truth.max()
    for side in ("left", "right"):
        np.testing.assert_allclose(found[f"equal_loss_{side}_time"], 1 - radius, atol=0.01)
    way = np.linalg.norm(bent.parameters[0].values - [1.0, 0.0], axis=1).max()
    share = found["equal_loss_share_of_way"].values
    np.testing.assert_allclose(share, found["equal_loss_distance"] / way, rtol=0.02)


@pytest.mark.thorough
def test_the_noise_of_batches_is_said_to_be_left_out_of_the_flow():
    data = np.random.default_rng(0).normal(size=(6, 2)), np.arange(6.0)[:, None] / 3
    problem = tw.problem(data, model="linear:2")
    runs = [
        tw.run(problem, tw.dynamics.optimiser("sgd", 0.02, batch=batch), **OPTIONS)
        for batch in (2, None)
    ]
    flow = followed(tw.gradient_flow(error=1e-4), problem)
    told = [" ".join(tw.compare(run, flow, problem=problem).warnings) for run in runs]
    assert "gradient flow is that of the whole gradient: the noise of batches of 2 is" in told[0]
    assert "noise of batches" not in told[1]
