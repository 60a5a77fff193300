"""Verdicts: each optimiser by its own rule, the whole run, and what cannot be judged."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr

import thalweg as tw
from thalweg.comparison.regime import Course, catapult, headline, regime_of
from thalweg.comparison.targets import constant_loss, own_units, stopped_at_constant, wants_scaling
from thalweg.dynamics import StabilityRule, levenberg_marquardt
from thalweg.problems import Function
from thalweg.problems.data.data import from_arrays
from thalweg.trajectory import Trajectory

CURVATURES = jnp.array([2.4, 0.1])
OPTIONS = {"until": 90.0, "records": 20, "progress": False}


def bowl(scale: float = 1.0, start: float = 1.0) -> Function:
    return Function(
        lambda x: 0.5 * scale * jnp.sum(CURVATURES.astype(x.dtype) * x**2), start * jnp.ones(2)
    )


@pytest.fixture(scope="module")
def flow() -> Trajectory:
    return tw.run(bowl(), tw.gradient_flow(error=1e-4), probes=[tw.probes.sharpness()], **OPTIONS)


def trained(transform, name, probes=(), step_size=0.9, problem=None, **more) -> Trajectory:
    dynamics = tw.optax_dynamics(transform, step_size, name, **more)
    probes = [tw.probes.sharpness(), *probes]
    return tw.run(problem or bowl(), dynamics, probes=probes, **OPTIONS)


def test_heavy_ball_is_judged_by_its_own_threshold(flow):
    """2.4 is above 2/eta = 2.22 and below 2 (1 + beta)/eta = 4.22: it converges."""
    heavy = trained(optax.sgd(0.9, momentum=0.9), "momentum")
    assert float(heavy.dataset["loss"][0, -1]) < 1e-4
    verdict = tw.compare(heavy, flow)
    assert verdict.regime == "off the flow"
    assert verdict.sentence.startswith("Momentum is stable, but has left gradient flow")
    assert verdict.rule.threshold == pytest.approx(3.8 / 0.9)
    assert "gradient descent" not in str(verdict)
    assert any("4.222 = 2 (1 + beta)/eta, beta = 0.9" in reason for reason in verdict.reasons)
    assert any("lasting gradient moves momentum by 9 times" in note for note in verdict.warnings)
    ratio = verdict.dataset["descent_stability"].values
    np.testing.assert_allclose(ratio, 2.4 * 0.9 / 3.8, rtol=1e-6)
    assert not verdict.certificates  # the theorem is about gradient descent


@pytest.mark.thorough
def test_what_a_flow_did_not_see_the_end_of_is_not_judged_by_it():
    """Near it while it lasts is not near it; what is thrown or at the edge needs no flow."""
    never, short = (
        tw.run(bowl(), tw.gradient_flow(1e-4, most_gradients=most), **OPTIONS) for most in (4, 600)
    )
    verdict = tw.compare(trained(optax.sgd(0.05), "descent", step_size=0.05), short)
    assert verdict.regime == "undecided"
    assert "is not judged, as gradient flow ended before it, at" in verdict.sentence
    assert "up to which both are known" in str(verdict)
    assert "left the flow" not in str(verdict)
    at_once = tw.compare(trained(optax.sgd(0.05), "descent", step_size=0.05), never)
    assert at_once.regime == "undecided"
    assert "Of gradient flow the start alone is known." in at_once.reasons
    assert str(at_once).count("let the flow go on to the end of the run") == 1
    cut = tw.run(bowl(), tw.gradient_flow(1e-4), until=45.0, records=10, progress=False)
    early = tw.compare(trained(optax.sgd(0.05), "descent", step_size=0.05), cut)
    assert early.regime == "undecided"  # nothing stopped that flow: it was asked for no more
    assert "end the run at training time 45, up to which both are known" in str(early)
    assert "did not move" not in str(at_once)
    beyond = tw.compare(trained(optax.sgd(0.82), "descent", step_size=0.82), short)
    assert beyond.regime == "edge of stability"  # 2.4 of 2/0.82
    whole = tw.run(bowl(), tw.gradient_flow(1e-4), **OPTIONS)
    lost = trained(optax.sgd(2.0), "descent", step_size=2.0)
    assert tw.compare(lost, whole).regime == tw.compare(lost, short).regime == "divergent"


def test_what_falls_without_end_is_not_called_stable():
    """Of f = -|x|^2 the curvature is -2 everywhere, below any threshold, and nothing settles."""
    hill = tw.problems.Function(lambda x: -jnp.sum(x**2), start=jnp.array([1.0, 0.5]))
    verdict = compared(hill, 0.1, 20.0, records=8)
    assert verdict.regime == "off the flow"
    assert verdict.sentence == "Gradient descent has left gradient flow at step size 0.1."
    assert "its loss falls, and no minimum is in sight" in advised(verdict)


@pytest.mark.thorough
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_beyond_its_threshold_is_not_stable(flow, nesterov):
    """The same curvature, a step size just beyond each one's own threshold."""
    threshold = 2 * 1.9 / (2.8 if nesterov else 1.0)
    step_size = 1.02 * threshold / 2.4
    transform = optax.sgd(step_size, momentum=0.9, nesterov=nesterov)
    dynamics = tw.optax_dynamics(transform, step_size, "ball")
    times = step_size * np.arange(0, 401, 20)
    measured = [tw.probes.sharpness()]
    run = tw.run(bowl(), dynamics, times=times, probes=measured)
    path = tw.run(bowl(), tw.gradient_flow(error=1e-3), times=times, probes=measured)
    verdict = tw.compare(run, path)
    assert verdict.regime == "divergent"
    assert verdict.sentence.startswith("Ball diverges")
    assert float(verdict.dataset["descent_stability"].max()) == pytest.approx(1.02)


def test_what_was_not_measured_is_not_judged(flow):
    """Adam's threshold concerns the preconditioned sharpness; 2/eta says nothing of it."""
    verdict = tw.compare(trained(optax.adam(0.9), "adam"), flow)
    assert verdict.regime == "off the flow"
    assert "stable" not in verdict.sentence
    assert "descent_stability" not in verdict.dataset
    (told,) = [r for r in verdict.reasons if "is not judged" in r]
    assert "tw.probes.preconditioned_sharpness()" in told
    assert "42.22 = (2/eta) (1 + beta)/(1 - beta), beta = 0.9" in told


@pytest.mark.thorough
def test_adam_is_judged_by_its_preconditioned_sharpness():
    """On a bowl it ends at its own edge: D shrinks with the gradient. 2/eta is 19 times lower."""
    adam = tw.optax_dynamics(optax.adam(0.01, b2=0.99), 0.01, "Adam")
    measured = [tw.probes.sharpness(), tw.probes.preconditioned_sharpness()]
    options = {"until": 60.0, "records": 20}
    run = tw.run(bowl(), adam, probes=measured, **options)
    verdict = tw.compare(run, tw.run(bowl(), tw.gradient_flow(1e-3), **options))
    assert verdict.regime == "edge of stability"
    assert verdict.sentence.startswith("Adam is at the edge of stability")
    assert any("preconditioner is taken as it stands" in reason for reason in verdict.reasons)
    assert not any("with the diagonal given" in reason for reason in verdict.reasons)
    assert 0.9 < float(verdict.dataset["descent_stability"].max()) < 1.1


@pytest.mark.thorough
def test_a_diagonal_of_the_users_is_told(flow):
    given = tw.probes.preconditioned_sharpness(tw.probes.second_moment(b2=0.9))
    run = trained(optax.adam(0.09, b2=0.9), "Adam", [given], step_size=0.09)
    assert any("with the diagonal given" in reason for reason in tw.compare(run, flow).reasons)


def test_no_rule_is_said_to_be_known_where_none_is(flow):
    verdict = tw.compare(trained(optax.lion(0.01), "optax", step_size=0.01), flow)
    assert "The Optax transformation" in verdict.sentence
    assert any(
        r.startswith("No stability rule is known for the Optax transformation: ")
        for r in verdict.reasons
    )
    steps = tw.run(bowl(), tw.optax_dynamics(optax.sgd(0.09), 0.09), **OPTIONS)
    own = StabilityRule("sharpness", 100.0, "100, as I measured", "indicative", "it is mine")
    judged = tw.compare(dataclasses.replace(steps), flow, rule=own)
    assert judged.rule is own
    assert any("is not judged" in r and "100, as I measured" in r for r in judged.reasons)


@pytest.mark.thorough
def test_a_schedule_is_judged_by_the_step_at_each_record(flow):
    """2/eta holds for every eta; the preconditioned sharpness is then eta times the sharpness."""
    schedule = optax.linear_schedule(1.2, 0.1, 60)
    run = trained(optax.sgd(schedule), "cooled", [tw.probes.preconditioned_sharpness()], schedule)
    verdict = tw.compare(run, tw.run(
        bowl(), tw.gradient_flow(1e-3), times=run.dataset["time"].values,
    ))  # fmt: skip
    assert verdict.step_size is None
    assert "with its schedule of step sizes" in verdict.sentence
    steps = run.dataset["step"].values[0]
    eta = np.array([float(schedule(int(k))) for k in steps])
    np.testing.assert_allclose(verdict.dataset["descent_stability"][0], 2.4 * eta / 2, rtol=1e-5)
    assert not np.isfinite(verdict.dataset["distance_bound"]).any()


def test_what_is_no_flow_is_refused_as_the_second(flow, run_folder):
    heavy = tw.run(
        bowl(), tw.optax_dynamics(optax.sgd(0.9, momentum=0.9), 0.9, "momentum"),
        out=run_folder.with_suffix(".zarr"), **OPTIONS,
    )  # fmt: skip
    descent = tw.run(bowl(), tw.gradient_descent(0.09), **OPTIONS)
    for second in (heavy, tw.load(run_folder.with_suffix(".zarr")), descent):
        words = rf"second trajectory \({second.name}\) is not a flow.*tw.distance"
        with pytest.raises(tw.InputError, match=words):
            tw.compare(descent, second)
    with pytest.raises(tw.InputError, match="has no step size of its own"):
        tw.compare(flow, flow)


def test_other_problems_and_starts_are_refused(flow):
    options = {"until": 9.0, "records": 4}
    with pytest.raises(tw.InputError, match=r"different problems \(other function\)"):
        tw.compare(tw.run(bowl(2.0), tw.gradient_descent(0.09), **options), flow)
    moved = tw.run(bowl(start=1.1), tw.gradient_descent(0.09), **options)
    with pytest.raises(tw.InputError, match=r"other data or start\)"):
        tw.compare(moved, flow)
    bare = moved.dataset.copy()
    bare.attrs["provenance"] = "{}"
    with pytest.raises(tw.InputError, match="start at different parameters"):
        tw.compare(Trajectory(bare), flow)
    small = Function(bowl().function, jnp.ones(2, jnp.float32))
    late = tw.run(small, tw.gradient_descent(0.09), times=np.linspace(9.0, 90.0, 4))
    told = tw.compare(late, flow).warnings
    assert any("float32 and float64" in note for note in told)
    assert any("records begin at training time 9" in note for note in told)


@pytest.mark.thorough
def test_least_squares_without_a_step_size_is_told_apart(flow):
    """Levenberg-Marquardt has neither a step size nor a threshold."""
    data = (np.linspace(-1, 1, 8)[:, None], np.linspace(0, 1, 8)[:, None])
    problem = tw.problems.supervised(tw.models.mlp([2], "tanh"), data)
    options = {"times": [0.0, 1.0, 2.0], "probes": [tw.probes.sharpness()]}
    run = tw.run(problem, levenberg_marquardt(), **options)
    verdict = tw.compare(run, tw.run(problem, tw.gradient_flow(1e-3), **options))
    assert verdict.step_size is None
    assert any("No stability rule is known for Levenberg-Marquardt" in r for r in verdict.reasons)


# ---- the whole run ------------------------------------------------------------------------------


def seen(ratio, loss=None, lost=False) -> Course:
    ratio = np.asarray(ratio, float)
    loss = np.linspace(1.0, 0.1, len(ratio)) if loss is None else np.asarray(loss, float)
    return Course(np.arange(len(ratio), dtype=float), loss, ratio, np.zeros(len(ratio)), lost)


@pytest.mark.parametrize(
    ("ratio", "loss", "regime"),
    [
        ([40, 2, 0.3, 0.3, 0.2, 0.2], None, "catapult"),  # thrown between two records
        ([1.05, 1.2, 0.3, 0.3, 0.2, 0.2], [1, 9, 1, 0.5, 0.4, 0.3], "catapult"),
        ([1.003, 0.9, 0.8, 0.7, 0.6, 0.5], None, "off the flow"),  # a hair above, nothing thrown
        ([0.5, 1.1, 0.5, 0.4, 0.4, 0.4], None, "off the flow"),  # one record, the loss falls on
        ([0.5, 1.1, 0.5, 0.4, 0.4, 0.4], [1, 2, 3, 1, 0.5, 0.4], "catapult"),
        ([40, 30, 20, 10, 10, 9], None, "edge of stability"),  # it never returns
        ([np.nan, 40, 0.3, 0.3, 0.2, 0.2], None, "catapult"),  # the first is unresolved
        ([np.nan] * 6, None, "off the flow"),
        ([40, np.nan, np.nan, np.nan, np.nan, np.nan], None, "off the flow"),  # the end is not seen
        ([40, 2, 0.3, 0.3, 0.2, 0.2], [1, 90, 80, 20, 8, 3], "catapult"),  # still coming down
        ([40, 2, 0.3, 0.3, 0.2, 0.2], [1, 2, 3, 3, 3, 3], "divergent"),
        ([40, 50, 60, 70, 80, 90], [1, 5, 9, 20, 50, 90], "divergent"),
        ([0.3, 0.3, 0.3, 0.97, 0.3, 1.2], None, "edge of stability"),
    ],
)
def test_the_verdict_looks_at_the_whole_run(ratio, loss, regime):
    assert regime_of(seen(ratio, loss), near=False) == regime
    unknown = "undecided" if regime == "off the flow" else regime
    assert regime_of(seen(ratio, loss), near=None) == unknown


def test_far_beyond_at_the_start_throws_no_method_whose_preconditioner_moves_on():
    """Adam's first is that of one gradient; where the loss does rise, it was thrown after all."""
    ratio = [40, 2, 0.3, 0.3, 0.2, 0.2]
    frozen = seen(ratio)._replace(frozen=True)
    assert (catapult(seen(ratio)), catapult(frozen)) == (0, None)
    assert regime_of(frozen, near=False) == "off the flow"
    assert catapult(seen(ratio, [1, 9, 1, 0.5, 0.4, 0.3])._replace(frozen=True)) == 0


def test_near_the_flow_a_start_beyond_the_threshold_is_told_and_no_catapult():
    assert regime_of(seen([1.2, 0.3, 0.3, 0.3]), near=True) == "on the flow"
    assert regime_of(seen([0.3] * 4, lost=True), near=True) == "divergent"
    assert catapult(seen([0.3] * 4)) is None


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (
            [5, 4, 3, 3, 3, 2],
            "stays beyond the edge of stability, without diverging at",
        ),
        ([5, 4, 3, 3, 3, 0.8], "was beyond the edge of stability for long, and ended below it, at"),
        ([5, 4, 1, 1, 1, 0.8], "is at the edge of stability at step size 3"),
    ],
)
def test_what_ended_below_its_threshold_does_not_stay_beyond_it(ratio, said):
    at = "at step size 3"
    told = headline("it", "edge of stability", seen(ratio), at, True, "the flow", False, True)
    assert told.startswith(f"It {said}")


def product(start) -> Function:
    """f = (u v - 1)^2/2: minima u v = 1 of sharpness u^2 + v^2; large steps end where it is low."""
    return Function(lambda p: 0.5 * (p[0] * p[1] - 1.0) ** 2, jnp.asarray(start))


def compared(problem, step_size, until, records=40):
    measured = [tw.probes.sharpness()]
    run = tw.run(
        problem, tw.gradient_descent(step_size), until=until, records=records, probes=measured
    )
    times = run.dataset["time"].values
    return tw.compare(run, tw.run(problem, tw.gradient_flow(1e-3), times=times, probes=measured))


@pytest.mark.thorough
def test_a_catapult_is_named():
    """From (6, 0.2) the sharpness is 36; at eta = 0.07 (2/eta = 28.6) descent is thrown."""
    verdict = compared(product([6.0, 0.2]), 0.07, 20.0)
    assert verdict.regime == "catapult"
    assert verdict.sentence.startswith("Gradient descent started beyond its threshold of stability")
    assert "catapult" in verdict.sentence
    assert any(reason.startswith("A catapult: above its threshold") for reason in verdict.reasons)
    start = 0.07 * 36.04 / 2
    assert float(verdict.dataset["descent_stability"][0, 0]) == pytest.approx(start, rel=2e-2)
    assert float(verdict.dataset["descent_loss"][0, -1]) < 1e-6
    (advice,) = [r for r in verdict.reasons if r.startswith("What to do: ")]
    assert verdict.reasons[-1] == advice


# ---- targets ------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(40, 3))
PRICES = 2e5 + 8e4 * RNG.normal(size=40)


def net(targets, reduction="mean", inputs=INPUTS, **options):
    data = from_arrays(inputs, targets, **options)
    return tw.problems.supervised(tw.models.mlp([4], "tanh"), data, reduction=reduction)


def test_the_loss_of_a_constant_prediction():
    """var/2 per column under squared error; the entropy of the classes under cross-entropy."""
    two = np.stack([PRICES, 3.0 * PRICES], 1)
    assert constant_loss(net(PRICES)) == pytest.approx(np.var(PRICES) / 2)
    assert constant_loss(net(two)) == pytest.approx(5 * np.var(PRICES))
    assert constant_loss(net(two, "sum")) == pytest.approx(40 * 5 * np.var(PRICES))
    labels = np.array([0] * 10 + [1] * 30)
    entropy = -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    assert constant_loss(net(labels, task="classification")) == pytest.approx(entropy)
    assert constant_loss(bowl()) is None


def test_training_that_stopped_at_a_constant_is_told():
    problem, constant = net(PRICES), np.var(PRICES) / 2
    rest = np.full(8, constant * (1 + 1e-5))
    assert "stopped at the loss of a constant" in stopped_at_constant(problem, rest)
    passing = np.linspace(1.01, 0.99, 8) * constant
    for loss in (passing, 0.9 * rest, np.append(rest[:-1], np.nan)):
        assert not stopped_at_constant(problem, loss)


def test_a_target_that_wants_scaling_is_told():
    assert "scale_target=True" in wants_scaling(net(PRICES))
    assert "standard deviation" in wants_scaling(net(1e-4 * RNG.normal(size=40)))
    assert "mean 1000 and" in wants_scaling(net(1000.0 + np.resize([1.5, -1.5], 40)))
    many = np.stack([RNG.normal(size=40), PRICES], 1)
    assert f"{np.std(PRICES):.4g}" in wants_scaling(net(many))
    for fine in (net(PRICES, scale_target=True), net(RNG.normal(size=40)), bowl()):
        assert not wants_scaling(fine)
    labels = np.array([0, 1] * 20)
    assert not wants_scaling(net(labels, task="classification"))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_are_told_in_the_units_of_the_target(reduction):
    """Against the residuals themselves, in dollars."""
    scaled, plain = net(PRICES, reduction, scale_target=True), net(PRICES, reduction)
    params = scaled.init(jax.random.key(0))
    guess = np.mean(PRICES) + np.std(PRICES) * np.asarray(scaled.outputs(params))[:, 0]
    wrong = np.sqrt(np.mean((guess - PRICES) ** 2))
    told = own_units(scaled, float(scaled.objective(params)))
    assert f"squared error of {wrong:.4g} in" in told
    dollars = 0.5 * (1 if reduction == "mean" else 40) * wrong**2
    assert f"is {dollars:.4g} in units of the target squared" in told
    error = np.sqrt(np.mean((np.asarray(plain.outputs(params))[:, 0] - PRICES) ** 2))
    assert f"error of {error:.4g}." in own_units(plain, float(plain.objective(params)))
    two = net(np.stack([PRICES, 2 * PRICES], 1), reduction, scale_target=True)
    assert not own_units(two, 1.0)  # columns of two scales have no single error


@pytest.mark.thorough
def test_dollars_throw_a_net_into_saturation():
    """The first step makes every hidden unit +-1; what is left is the mean, and this is said."""
    problem = net(PRICES, inputs=3.0 + 0.3 * INPUTS)  # every unit to the same side for all rows
    options = {"until": 5.0, "records": 5, "probes": [tw.probes.sharpness()]}
    run = tw.run(problem, tw.gradient_descent(0.1), **options)
    assert float(run.dataset["loss"][0, -1]) == pytest.approx(np.var(PRICES) / 2, rel=1e-3)
    short = tw.run(problem, tw.gradient_flow(1e-3), times=[0.0, 5e-9, 1e-8])
    path = Trajectory(short.dataset.assign_coords(time=run.dataset["time"].values[[0, 1, 5]]))
    verdict = tw.compare(run, path, problem=problem)
    assert verdict.regime == "catapult"
    assert "stable" not in verdict.sentence
    assert any("stopped at the loss of a constant prediction" in r for r in verdict.reasons)
    assert any("scale_target=True" in note for note in verdict.warnings)
    assert any("root mean squared error" in reason for reason in verdict.reasons)


# ---- what to do ---------------------------------------------------------------------------------


def advised(verdict) -> str:
    assert verdict.reasons[-1].startswith("What to do: ")
    assert str(verdict).count("What to do: ") == 1
    return verdict.reasons[-1]


@pytest.mark.thorough
def test_a_small_step_is_kept_and_the_guarantee_is_put_in_its_place():
    """The theorem's step is far smaller; the one that is advised does follow the flow."""
    problem = product([1.5, 0.2])
    measured = [tw.probes.sharpness(), tw.probes.smallest_eigenvalue(), tw.probes.gradient_norm()]
    options = {"until": 4.0, "records": 40, "probes": measured}
    flow = tw.run(problem, tw.gradient_flow(1e-6), **options)
    verdict = tw.compare(tw.run(problem, tw.gradient_descent(0.02), **options), flow)
    assert verdict.regime == "on the flow"
    (certificate,) = verdict.certificates
    step = certificate.certificate.step_size
    assert step < 0.02
    (worth,) = [r for r in verdict.reasons if "too pessimistic" in r]
    factor = float(worth.split("by a factor of ")[1].split(" ")[0].replace(",", ""))
    assert factor == pytest.approx(0.02 / step, rel=0.05)
    assert "no sign that yours is too large" in worth
    told = advised(verdict)
    assert "keep the step size; larger ones can do as well" in told
    largest = float(told.split("about ")[1].split(" ")[0])
    assert largest > 0.024
    times = largest * np.arange(int(4.0 / largest) + 1)
    again = tw.run(problem, tw.gradient_descent(largest), times=times, probes=measured)
    follow = tw.run(problem, tw.gradient_flow(1e-6), times=again.dataset["time"].values)
    # In proportion to first order only: it may use up what is allowed, not much more.
    share = float(tw.compare(again, follow).dataset["share_of_way"].max())
    assert 0.02 < share < 0.08


@pytest.mark.slow
def test_a_step_off_the_flow_is_told_which_one_follows_it():
    verdict = compared(bowl(), 0.3, 6.0, records=20)
    assert verdict.regime == "off the flow"
    told = advised(verdict)
    assert "it is stable" in told
    smaller = float(told.split("lower the step size to about ")[1].split(" ")[0])
    assert compared(bowl(), smaller, 6.0, records=20).regime == "on the flow"


@pytest.mark.slow
def test_divergence_is_told_a_step_that_does_not_diverge():
    verdict = compared(bowl(), 1.0, 40.0)
    assert verdict.regime == "divergent"
    told = advised(verdict)
    lower = float(told.split("to about ")[1].split(" ")[0])
    assert lower < 2 / 2.4
    assert compared(bowl(), lower, 40.0).regime != "divergent"


@pytest.mark.slow
def test_at_the_edge_a_step_below_it_is_told():
    verdict = compared(product([4.0, 0.3]), 0.128, 100.0)
    assert verdict.regime == "edge of stability"
    lower = float(advised(verdict).split("below about ")[1].split(" ")[0])
    assert lower < 2 / 16
    assert compared(product([4.0, 0.3]), lower, 100.0).regime in ("on the flow", "off the flow")


def test_a_step_too_small_to_move_anything_is_no_percentage():
    steps = 1e-300 * np.arange(0, 13, 3)
    run = tw.run(bowl(), tw.gradient_descent(1e-300), times=steps)
    path = tw.run(bowl(), tw.gradient_flow(1e-3), times=run.dataset["time"].values)
    verdict = tw.compare(run, path)
    assert "nan" not in str(verdict)
    assert "moved beyond rounding at step size 1e-300" in verdict.sentence
    assert "longer training time" in advised(verdict)


@pytest.mark.parametrize("rate", [2.5, 4.0])
def test_a_start_at_a_minimum_is_at_no_edge(rate):
    """Beyond 2/eta nothing is thrown where the gradient is zero."""
    still = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.zeros(2))
    verdict = compared(still, rate, 10 * rate)
    assert verdict.regime == "on the flow"
    assert verdict.sentence.startswith("Neither gradient descent nor gradient flow moved")
    assert "start elsewhere" in advised(verdict)


@pytest.mark.thorough
def test_stores_from_before_the_rules_are_judged_as_gradient_descent_only():
    """Their record says the dynamics; a momentum run of that time has no rule."""
    measured = [tw.probes.sharpness()]
    run = tw.run(bowl(), tw.gradient_descent(0.3), until=3.0, records=5, probes=measured)
    path = tw.run(bowl(), tw.gradient_flow(1e-3), times=run.dataset["time"].values)
    old = run.dataset.copy()
    del old.attrs["stability"]
    assert tw.compare(Trajectory(old), path).rule.threshold == pytest.approx(2 / 0.3)
    heavy = tw.run(
        bowl(), tw.optax_dynamics(optax.sgd(0.3, 0.9), 0.3, "gradient descent"), until=3.0,
        records=5, probes=measured,
    )  # fmt: skip
    aged = heavy.dataset.copy()
    del aged.attrs["stability"]
    verdict = tw.compare(Trajectory(aged), path)
    assert not verdict.rule.known
    assert any("its record says none" in reason for reason in verdict.reasons)


def test_an_odd_store_is_data_that_compares(flow):
    """A trajectory made by hand, without rule, problem or precision."""
    times = flow.dataset["time"].values
    table = xr.Dataset(
        {name: flow.dataset[name] for name in ("parameters", "loss", "result", "evaluations")},
        attrs={"dynamics": "mine", "provenance": json.dumps({})},
    )
    verdict = tw.compare(Trajectory(table), flow)
    assert verdict.regime == "on the flow"
    assert verdict.sentence.startswith("Mine follows gradient flow")
    assert len(times) == verdict.dataset.sizes["time"]
