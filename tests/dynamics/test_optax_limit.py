"""The continuous limit of a transformation: what its updates say against what it was made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.dynamics import AdaGradFlow, Discrete, PreconditionedFlow, optax_limit
from thalweg.problems import Function

ETA = 2e-3
START = {"a": jnp.ones((3, 2)), "b": jnp.ones(())}
PROBLEM = Function(lambda p: jnp.sum(p["a"] ** 2) + p["b"] ** 2, START)
FALLING = optax.linear_schedule(0.1, 0.01, 50)


def of(transform, step_size=ETA, **more):
    return tw.optax_dynamics(transform, step_size, **more)


def numbers(flow: PreconditionedFlow) -> dict[str, float]:
    """As arguments of Optax."""
    return {
        "b1": 0.0 if flow.first is None else float(np.exp(-flow.first * ETA)),
        "b2": float(np.exp(-flow.second * ETA)),
        "eps": float(flow.epsilon),
        "eps_root": float(flow.epsilon_root),
        "weight_decay": float(flow.decay),
        "initial_scale": float(flow.initial),
    }


ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "weight_decay": 0.0}
PRECONDITIONED = {
    "Adam": (optax.adam(ETA), {}),
    "Adam with other numbers": (
        optax.adam(ETA, 0.8, 0.97, eps=1e-3, eps_root=1e-6),
        {"b1": 0.8, "b2": 0.97, "eps": 1e-3, "eps_root": 1e-6},
    ),
    "Adam without an average": (optax.adam(ETA, b1=0.0), {"b1": 0.0}),
    "Adam, injected": (optax.inject_hyperparams(optax.adam)(ETA), {}),
    "AdamW": (optax.adamw(ETA, weight_decay=0.3), {"weight_decay": 0.3}),
    "RMSProp": (optax.rmsprop(ETA), {"b1": 0.0, "b2": 0.9, "eps": 0.0, "eps_root": 1e-8}),
    "RMSProp from 1": (
        optax.rmsprop(ETA, 0.99, initial_scale=1.0, eps_in_sqrt=False),
        {"b1": 0.0, "b2": 0.99, "initial_scale": 1.0},
    ),
    "RMSProp, corrected": (
        optax.rmsprop(ETA, 0.99, bias_correction=True, eps_in_sqrt=False),
        {"b1": 0.0, "b2": 0.99},
    ),
    "centred RMSProp": (
        optax.rmsprop(ETA, 0.97, centered=True),
        {"b1": 0.97, "b2": 0.97, "eps": 0.0, "eps_root": 1e-8},
    ),
    "centred RMSProp from 1, momentum behind it": (
        optax.rmsprop(ETA / 10, 0.97, centered=True, initial_scale=1.0, momentum=0.9,
                      eps_in_sqrt=False),
        {"b1": 0.97, "b2": 0.97, "initial_scale": 1.0},
    ),
    "NAdam": (optax.nadam(ETA), {}),
    "AMSGrad": (optax.amsgrad(ETA, b2=0.97, eps_root=1e-6), {"b2": 0.97, "eps_root": 1e-6}),
    "momentum behind the preconditioner": (
        optax.rmsprop(ETA / 10, 0.99, momentum=0.9, initial_scale=1.0, eps_in_sqrt=False),
        {"b1": 0.0, "b2": 0.99, "initial_scale": 1.0},
    ),
    "Nesterov's behind it": (
        optax.rmsprop(ETA / 5, 0.99, momentum=0.8, nesterov=True, bias_correction=True,
                      eps_in_sqrt=False),
        {"b1": 0.0, "b2": 0.99},
    ),
}  # fmt: skip


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("name", PRECONDITIONED)
def test_adams_family_has_a_preconditioned_flow_of_its_own_numbers(name):
    transform, changed = PRECONDITIONED[name]
    flow = of(transform).limit(PROBLEM, START)
    assert isinstance(flow, PreconditionedFlow)
    assert numbers(flow) == pytest.approx(ADAM | {"initial_scale": 0.0} | changed, rel=1e-10)
    uncorrected = ("RMSProp", "RMSProp from 1", "momentum behind the preconditioner")
    centred = name.startswith("centred")
    assert flow.corrected == (name not in uncorrected and not centred)
    assert flow.centred == centred
    assert flow.largest == (name == "AMSGrad")
    assert of(transform).without_limit(PROBLEM, START) == ""


@pytest.mark.parametrize("clock", [ETA**2, 0.5])
def test_adagrad_has_a_flow_of_its_own_on_any_clock(clock):
    flow = of(optax.adagrad(ETA, 0.3, eps=1e-3), clock).limit(PROBLEM, START)
    assert isinstance(flow, AdaGradFlow)
    told = [float(x) for x in (flow.rate, flow.intake, flow.initial, flow.epsilon_root)]
    assert told == pytest.approx([ETA / clock, 1 / clock, 0.3, 1e-3], rel=1e-9)
    assert float(flow.epsilon) == 0.0
    named = tw.dynamics.optimiser("adagrad", ETA)
    assert float(named.clock(np.array([1]))[0]) == pytest.approx(ETA**2)
    assert float(named.limit(PROBLEM, START).rate) == pytest.approx(1 / ETA)


GRADIENT_FLOW = {
    "sgd": (optax.sgd(ETA), ETA),
    "a schedule on its own clock": (optax.sgd(FALLING), FALLING),
    "heavy ball": (optax.sgd(ETA, momentum=0.9), 10 * ETA),
    "heavy ball with a schedule": (optax.sgd(FALLING, momentum=0.9), lambda k: 10 * FALLING(k)),
    "Nesterov": (optax.sgd(ETA, momentum=0.9, nesterov=True), 10 * ETA),
}


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("name", GRADIENT_FLOW)
def test_linear_methods_follow_gradient_flow_on_their_clock(name):
    transform, step_size = GRADIENT_FLOW[name]
    flow = of(transform, step_size).limit(PROBLEM, START)
    assert flow is not None
    assert flow.name == "gradient flow"
    assert tw.gradient_descent(ETA).limit(PROBLEM, START).name == "gradient flow"


WITHOUT = {
    "another clock": (optax.sgd(ETA, momentum=0.9), ETA, "moves it 10 times as far as its clock"),
    "Adam on another clock": (optax.adam(ETA), 2 * ETA, "give step_size=0.002"),
    "Adam with a schedule on another clock": (
        optax.adam(FALLING), lambda k: 2 * FALLING(k), "0.5 times what its clock counts",
    ),
    "Adam with a schedule on a constant clock": (optax.adam(FALLING), ETA, "whose flow is known"),
    "a momentum that keeps steps of other sizes": (
        optax.rmsprop(FALLING, momentum=0.9, initial_scale=1.0),
        lambda k: 10 * FALLING(k),
        "none of",
    ),
    "a schedule that is over at once": (
        optax.adam(optax.linear_schedule(0.1, 0.0, 5)), optax.linear_schedule(0.1, 0.0, 5),
        "ends within",
    ),
    "a schedule on a constant clock": (optax.sgd(FALLING), ETA, "whose flow is known"),
    "momentum behind it on another clock": (
        optax.rmsprop(ETA, momentum=0.9), ETA, "moves it by 0.02 times itself; give step_size=0.02",
    ),
    "centred RMSProp, corrected": (
        optax.rmsprop(ETA, centered=True, bias_correction=True), ETA, "none of those",
    ),
    "AMSGrad, uncorrected": (
        optax.chain(
            optax.scale_by_amsgrad(bias_correction_mu=False, bias_correction_nu=False),
            optax.scale(-ETA),
        ),
        ETA,
        "none of those",
    ),
    "RAdam": (optax.radam(ETA), ETA, "none of those"),
    "AdaGrad from 0": (optax.adagrad(ETA, 0.0), ETA, "sum of squares begins at 0"),
    "AdaDelta": (optax.adadelta(ETA), ETA, "none of those"),
    "AdaBelief": (optax.adabelief(ETA), ETA, "by more than a preconditioner"),
    "clipped Adam": (optax.chain(optax.clip(1.0), optax.adam(ETA)), ETA, "none of those"),
    "clipped": (optax.chain(optax.clip(1.0), optax.sgd(ETA)), ETA, "small gradients only"),
    "two Adams": (
        optax.multi_transform(
            {"x": optax.adam(ETA), "y": optax.adam(ETA, b2=0.99)}, {"a": "x", "b": "y"}
        ),
        ETA,
        "none of those",
    ),
    "decay of some weights": (
        optax.adamw(ETA, weight_decay=0.1, mask={"a": True, "b": False}), ETA, "a way of its own",
    ),
    "decay within the gradient": (
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(ETA)), ETA, "no part of the",
    ),
    "Lion": (optax.lion(ETA), ETA, "does not answer small gradients"),
    "line search": (optax.lbfgs(), 1.0, "cannot be examined alone"),
}  # fmt: skip


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("name", WITHOUT)
def test_where_none_is_known_the_reason_is_said(name):
    transform, step_size, because = WITHOUT[name]
    dynamics = of(transform, step_size)
    assert dynamics.limit(PROBLEM, START) is None
    assert because in dynamics.without_limit(PROBLEM, START)


WARMING = optax.warmup_cosine_decay_schedule(0.0, ETA, 20, 900)
SCHEDULED = {
    "Adam": lambda eta: optax.adam(eta, 0.8, 0.97, eps=1e-3, eps_root=1e-6),
    "AdamW": lambda eta: optax.adamw(eta, weight_decay=0.3),
    "AMSGrad": lambda eta: optax.amsgrad(eta, b2=0.97),
    "NAdam": optax.nadam,
    "RMSProp from 1": lambda eta: optax.rmsprop(eta, initial_scale=1.0),
    "Adam, injected": lambda eta: optax.inject_hyperparams(optax.adam)(eta),
}


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("name", SCHEDULED)
def test_with_a_schedule_the_averages_forget_by_the_step(name):
    """A warm-up from 0 and an end at 0: the numbers are found where it goes on."""
    scheduled, alike = of(SCHEDULED[name](WARMING), WARMING), of(SCHEDULED[name](ETA))
    flow, plain = (dynamics.limit(PROBLEM, START) for dynamics in (scheduled, alike))
    assert isinstance(flow, PreconditionedFlow)
    assert flow.pace is not None
    for rate in ("first", "second"):
        told, by_time = getattr(flow, rate), getattr(plain, rate)
        assert (told is None) == (by_time is None)
        assert told is None or float(told) == pytest.approx(ETA * float(by_time), rel=1e-9)
    told = {k: v for k, v in numbers(flow).items() if k.startswith(("eps", "weight"))}
    assert told == pytest.approx(
        {k: v for k, v in numbers(plain).items() if k in told}, rel=1e-5, abs=1e-15
    )
    rule, other = (dynamics.stability(PROBLEM, START) for dynamics in (scheduled, alike))
    assert rule.known
    assert rule.threshold == pytest.approx(ETA * other.threshold, rel=1e-6)
    assert rule.formula.endswith("eta(k) counted in the eigenvalue")


@pytest.mark.thorough
@pytest.mark.parametrize("power", [1, 2])
def test_adagrad_with_a_schedule_counts_its_rate_or_the_square(power):
    flow = of(optax.adagrad(WARMING, 0.3), lambda k: WARMING(k) ** power).limit(PROBLEM, START)
    assert isinstance(flow, AdaGradFlow)
    assert float(flow.power) == 1 / power
    assert float(flow.intake) == 1.0
    assert float(flow.rate) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.thorough
def test_batches_leave_gradient_flow_and_no_preconditioned_one():
    problem = tw.problems.digits(tw.models.mlp([4], "tanh"), samples=20)
    start = problem.init(jax.random.key(0))
    flow = of(optax.sgd(ETA), batch=5).limit(problem, start)
    assert flow is not None
    adam = of(optax.adam(ETA), batch=5)
    assert adam.limit(problem, start) is None
    assert "noise of mini-batches" in adam.without_limit(problem, start)


def test_one_parameter_tells_adam_from_gradient_descent():
    one = Function(lambda x: jnp.sum(x**2), jnp.ones(1))
    assert isinstance(of(optax.adam(ETA)).limit(one, jnp.ones(1)), PreconditionedFlow)


def test_what_states_no_limit_has_none():
    dynamics = tw.dynamics.levenberg_marquardt(3)
    assert dynamics.limit(PROBLEM, START) is None
    assert "none of its steps goes to 0" in dynamics.without_limit(PROBLEM, START)
    assert Discrete.without_limit(dynamics, PROBLEM, START) == "it states none"


@pytest.mark.thorough
def test_numbers_that_do_not_give_its_updates_are_not_believed(monkeypatch):
    """An average that is right and an epsilon that is not: the check of the updates refuses it."""
    good = optax_limit._identified
    seen = []

    def forged(update, begin, p, decay, momentum, counts):
        found = good(update, begin, p, decay, momentum, counts)
        for wrong in (
            {"epsilon": 1.001e-8},
            {"b1": 0.9 + 1e-8},
            {"corrected": False},
            {"ahead": True},
        ):
            seen.append(optax_limit._verified(update, begin, p, found._replace(**wrong), counts))
        return found

    monkeypatch.setattr(optax_limit, "_identified", forged)
    optax_limit._numbers.cache_clear()
    assert of(optax.adam(ETA)).limit(PROBLEM, START) is not None
    assert seen == [False] * 4
    optax_limit._numbers.cache_clear()
