"""Stability rules against companion matrices, against runs on either side, and against dense D."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg.dynamics import (
    end_to_end_descent,
    group_rmsprop,
    levenberg_marquardt,
    normalised_descent,
    projected_descent,
    two_phase,
    weight_normalised_descent,
)
from thalweg.dynamics.linear_response import transformation_rule
from thalweg.dynamics.stability import StabilityRule
from thalweg.problems import Function

ETA = 0.3
TREE = {"w": jnp.ones((3, 2)), "b": jnp.ones(3)}
LINEAR = {
    "sgd": (optax.sgd(ETA), 2 / ETA),
    "heavy ball": (optax.sgd(ETA, momentum=0.9), 2 * 1.9 / ETA),
    "Nesterov": (optax.sgd(ETA, momentum=0.8, nesterov=True), 2 * 1.8 / (2.6 * ETA)),
    "average": (
        optax.chain(optax.ema(0.9, debias=False), optax.scale(-ETA)),
        2 / ETA * 1.9 / 0.1,
    ),
    "penalty": (optax.chain(optax.add_decayed_weights(0.4), optax.sgd(ETA)), 2 / ETA - 0.4),
    "decay": (
        optax.chain(optax.trace(0.5), optax.add_decayed_weights(0.4), optax.scale(-ETA)),
        (2 - 0.4 * ETA) * 1.5 / ETA,
    ),
    "two momenta": (optax.chain(optax.trace(0.5), optax.trace(0.7), optax.scale(-ETA)), None),
}


def growth(transform: optax.GradientTransformation, curvature: float) -> float:
    """Spectral radius of one step on curvature x^2/2, of all that it carries, by brute force."""
    state, unravel = ravel_pytree((jnp.ones(1), transform.init(jnp.ones(1))))

    def step(packed: jax.Array) -> jax.Array:
        x, memory = unravel(packed)
        moved, memory = transform.update(curvature * x, memory, x)
        return ravel_pytree((x + moved, memory))[0]

    matrix = np.asarray(jax.jacobian(step)(jnp.zeros_like(state)))
    return float(np.abs(np.linalg.eigvals(matrix)).max())


@pytest.mark.parametrize("name", LINEAR)
def test_linear_methods_have_the_threshold_of_their_companion_matrix(name):
    transform, formula = LINEAR[name]
    rule = transformation_rule(transform, TREE, ETA)
    assert rule.eigenvalue == "sharpness"
    assert rule.kind == "exact"
    assert growth(transform, rule.threshold * (1 - 1e-4)) < 1
    assert growth(transform, rule.threshold * (1 + 1e-4)) > 1
    for share in (0.01, 0.2, 0.5, 0.9):  # stable all the way up, not only just below
        assert growth(transform, share * rule.threshold) < 1
    if formula is not None:
        assert rule.threshold == pytest.approx(formula, rel=1e-9)


def costly(names, *quick: str):
    """The names, those not in `quick` to be run with the slow tests."""
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.mark.parametrize("name", costly(LINEAR, "heavy ball", "Nesterov"))
@pytest.mark.parametrize("side", [0.98, 1.02])
def test_runs_on_either_side_of_the_threshold(name, side):
    """Below it a quadratic is descended, above it left."""
    transform, _ = LINEAR[name]
    curvature = side * transformation_rule(transform, jnp.ones(1), ETA).threshold
    x, memory = jnp.ones(1), transform.init(jnp.ones(1))

    @jax.jit
    def step(carry, _):
        x, memory = carry
        moved, memory = transform.update(curvature * x, memory, x)
        return (x + moved, memory), x[0]

    _, path = jax.lax.scan(step, (x, memory), None, length=1500)
    early, late = np.abs(path[:100]).max(), np.abs(path[-100:]).max()
    assert (late < 0.1 * early) if side < 1 else (late > 10 * early)


def test_formulas_are_told_where_they_are_known():
    told = {name: transformation_rule(t, TREE, ETA).formula for name, (t, _) in LINEAR.items()}
    assert told["sgd"] == "2/eta"
    assert told["heavy ball"] == "2 (1 + beta)/eta, beta = 0.9"
    assert told["Nesterov"] == "2 (1 + beta)/((1 + 2 beta) eta), beta = 0.8"
    assert told["average"] == "(2/eta) (1 + beta)/(1 - beta), beta = 0.9"
    assert "weight decay included" in told["penalty"]
    assert told["two momenta"] == "from the linear recursion of its update"
    # Where the clock counts other steps than the transformation takes, 2/eta would be false.
    other = transformation_rule(optax.sgd(ETA), TREE, 1.0)
    assert other.threshold == pytest.approx(2 / ETA)
    assert other.formula != "2/eta"
    assert other.reach == pytest.approx(ETA)


ADAPTIVE = {
    "adam": (optax.adam(ETA), 2 / ETA * 1.9 / 0.1),
    "adam, b1 = 0.5": (optax.adam(ETA, b1=0.5), 2 / ETA * 1.5 / 0.5),
    "nadam": (optax.nadam(ETA), 2 / ETA * 1.9 / (2.8 * 0.1)),
    "amsgrad": (optax.amsgrad(ETA), 2 / ETA * 1.9 / 0.1),
    "adamw": (optax.adamw(ETA, weight_decay=0.2), (2 - 0.2 * ETA) / ETA * 1.9 / 0.1),
    "rmsprop": (optax.rmsprop(ETA), 2 / ETA),
    "rmsprop with momentum": (optax.rmsprop(ETA, momentum=0.5), 2 / ETA * 1.5 / 0.5),
    "adagrad": (optax.adagrad(ETA), 2 / ETA),
    "group": (group_rmsprop(ETA), 2 / ETA),
    "one scale for all": (optax.sgd(optax.cosine_decay_schedule(ETA, 50)), 2 / ETA),
}


@pytest.mark.parametrize("name", costly(ADAPTIVE, "adam", "nadam", "adagrad"))
def test_adaptive_methods_have_a_threshold_for_the_preconditioned_sharpness(name):
    transform, threshold = ADAPTIVE[name]
    rule = transformation_rule(transform, TREE, ETA)
    assert rule.eigenvalue == "preconditioned_sharpness"
    assert rule.kind == "frozen"
    assert rule.threshold == pytest.approx(threshold, rel=1e-6)


UNKNOWN = {
    "lion": (optax.lion(ETA), "does not answer small gradients"),
    "sign": (optax.sign_sgd(ETA), "not proportional to small gradients"),
    "lars": (optax.lars(ETA), "not proportional to small gradients"),
    "lbfgs": (optax.lbfgs(), "cannot be examined alone"),
    # Warnings are errors in tests: that of NumPy would be told as the reason.
    "no number": (
        optax.stateless(lambda g, _: jax.tree.map(lambda v: -jnp.log(v), g)),
        "not proportional to small gradients",
    ),
    "SAM": (
        optax.contrib.sam(optax.sgd(ETA), optax.sgd(0.05), opaque_mode=True),
        "gradients of its own",
    ),
    "several": (
        optax.MultiSteps(optax.sgd(ETA), 3).gradient_transformation(),
        "at every step",
    ),
    "sums": (optax.chain(optax.apply_every(3), optax.sgd(ETA)), "at every step"),
    "ascent": (optax.sgd(-ETA), "up the gradient"),
    "schedule-free": (optax.contrib.schedule_free_sgd(ETA), "from step to step"),
    "decay": (
        optax.chain(optax.add_decayed_weights(0.1), optax.rmsprop(ETA)),
        "by more than a preconditioner",
    ),
    "decay by leaf": (
        optax.chain(
            optax.add_decayed_weights(0.1),
            optax.multi_transform(
                {"a": optax.sgd(ETA), "b": optax.sgd(ETA / 10)}, {"w": "a", "b": "b"}
            ),
        ),
        "through its preconditioner",
    ),
}


@pytest.mark.parametrize("name", costly(UNKNOWN, "lion", "several", "sums", "ascent", "SAM"))
def test_no_rule_is_made_up(name):
    transform, why = UNKNOWN[name]
    rule = transformation_rule(transform, TREE, ETA)
    assert not rule.known
    assert not rule.eigenvalue
    assert np.isnan(rule.threshold)
    assert why in rule.because


@pytest.mark.parametrize(
    "given",
    [
        tw.kfac(),
        tw.kfac(learning_rate=0.1),
        tw.dynamics.optimiser("entropy-sgd"),
        tw.dynamics.optimiser("replicated-sgd"),
    ],
)
def test_what_is_no_transformation_says_why_there_is_no_rule(given):
    """A reason of its own, and one beside a limit that it has not got."""
    bowl = tw.problems.Quadratic([1.0], slope=[0.0], start=[1.0])
    params = bowl.init(jax.random.key(0))
    reasons = given.stability(bowl, params).because, given.without_limit(bowl, params)
    assert all(reason and reason != "it states none" for reason in reasons)


def test_what_is_only_indicative_says_why():
    clipped = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(ETA))
    rule = transformation_rule(clipped, TREE, ETA)
    assert (rule.kind, rule.threshold) == ("indicative", pytest.approx(2 / ETA))
    assert "clips" in rule.because
    noisy = transformation_rule(optax.noisy_sgd(ETA, key=jax.random.key(0)), TREE, ETA)
    assert noisy.kind == "indicative"
    assert "noise" in noisy.because
    by_leaf = optax.multi_transform(
        {"a": optax.sgd(ETA), "b": optax.sgd(ETA / 10)}, {"w": "a", "b": "b"}
    )
    assert transformation_rule(by_leaf, TREE, ETA).eigenvalue == "preconditioned_sharpness"


PROBLEM = Function(
    lambda p: jnp.sum(jnp.cosh(p["a"])) + 0.5 * p["a"] @ p["b"] + jnp.sum(p["b"] ** 2),
    {"a": jnp.asarray([1.0, -0.4, 2.0]), "b": jnp.asarray([0.3, 0.0, -1.0])},
)
SECOND = {
    "adam": (optax.adam(0.01, b1=0.8, b2=0.9, eps=1e-3), 0.8, True, lambda v: np.sqrt(v) + 1e-3),
    "rmsprop": (
        optax.rmsprop(0.01, decay=0.9, eps=1e-2),
        0.0,
        False,
        lambda v: np.sqrt(v + 1e-2),  # eps within the root, as is its default
    ),
    "rmsprop outside": (
        optax.rmsprop(0.01, decay=0.9, eps=1e-2, eps_in_sqrt=False),
        0.0,
        False,
        lambda v: np.sqrt(v) + 1e-2,
    ),
    "adagrad": (optax.adagrad(0.01, 0.2), None, False, lambda v: np.sqrt(v + 1e-7)),
}


@pytest.mark.parametrize("name", costly(SECOND, "adam", "rmsprop"))
def test_the_preconditioner_is_that_of_the_next_step(name):
    """Against D written out in NumPy, and dense eigenvalues."""
    transform, b1, corrected, diagonal = SECOND[name]
    probe = tw.probes.preconditioned_sharpness()
    run = tw.run(
        PROBLEM, tw.optax_dynamics(transform, 0.01), until=0.12, records=12, probes=[probe]
    )
    _, unravel = ravel_pytree(PROBLEM.start)
    objective = jax.jit(lambda t: PROBLEM.objective(unravel(t)))
    gradient, hessian = jax.jit(jax.grad(objective)), jax.jit(jax.hessian(objective))
    v = 0.2 if b1 is None else 0.0
    for k, theta in enumerate(run.parameters.values[0]):
        g = np.asarray(gradient(theta))
        v = v + g**2 if b1 is None else 0.9 * v + 0.1 * g**2
        d = diagonal(v / (1 - 0.9 ** (k + 1)) if corrected else v)
        d = d * (1 - (b1 or 0.0) ** (k + 1))  # Adam's gradient is corrected for the start as well
        root = np.sqrt(np.outer(d, d))
        truth = np.linalg.eigvalsh(np.asarray(hessian(theta)) / root)[-1]
        value = float(run.dataset["preconditioned_sharpness"][0, k])
        error = float(run.dataset["preconditioned_sharpness_error"][0, k])
        assert abs(value - truth) <= error + 1e-9 * truth


@pytest.mark.thorough
def test_momentum_scales_the_preconditioner():
    """D of RMSProp with heavy ball is 1 - beta times that without; the threshold says the same."""
    values = []
    for momentum in (None, 0.75):
        transform = optax.rmsprop(0.01, eps=1e-2, momentum=momentum)
        dynamics = tw.optax_dynamics(transform, 0.01)
        probe = tw.probes.preconditioned_sharpness()
        run = tw.run(PROBLEM, dynamics, times=[0.0, 0.01], probes=[probe])
        values.append(float(run.dataset["preconditioned_sharpness"][0, 0]))
    assert values[1] == pytest.approx(4 * values[0], rel=1e-2)


def test_adam_comes_to_rest_at_its_own_threshold():
    """D shrinks with the gradient until the preconditioned sharpness is at its threshold.

    The adaptive edge of stability (Cohen et al. 2022): on a bowl Adam ends there, not at 2/eta.
    """
    bowl = Function(lambda x: 0.5 * jnp.sum(jnp.asarray([1.0, 0.3]) * x**2), jnp.ones(2))
    dynamics = tw.optax_dynamics(optax.adam(0.01, b2=0.99), 0.01, "Adam")
    run = tw.run(
        bowl, dynamics, until=60.0, records=60, probes=[tw.probes.preconditioned_sharpness()]
    )
    ratio = run.dataset["preconditioned_sharpness"].values[0] / run.stability.threshold
    assert 0.7 < np.median(ratio[30:]) < 1.3
    assert np.max(ratio[:6]) < 0.1


def test_the_rule_travels_with_the_run(run_folder):
    dynamics = tw.optax_dynamics(optax.sgd(0.1, momentum=0.5), 0.1, "momentum")
    out = run_folder.with_suffix(".zarr")
    run = tw.run(PROBLEM, dynamics, until=0.3, records=3, out=out)
    assert run.stability.threshold == pytest.approx(30)
    assert tw.load(out).stability == run.stability
    lion = tw.run(PROBLEM, tw.optax_dynamics(optax.lion(0.1), 0.1), until=0.3, records=3)
    assert not lion.stability.known
    assert np.isnan(lion.stability.threshold)
    assert tw.run(PROBLEM, tw.gradient_flow(1e-3), until=0.3, records=3).stability is None


def test_each_dynamics_states_its_own_rule():
    matrix = jnp.ones((2, 3))
    none = Function(lambda w: jnp.sum(w**2), matrix)

    def rule(dynamics) -> StabilityRule:
        return dynamics.stability(none, matrix)

    assert rule(tw.gradient_descent(0.25))[:4] == ("sharpness", 8.0, "2/eta", "exact")
    assert rule(end_to_end_descent(0.25, 1)).threshold == 8.0
    assert rule(end_to_end_descent(0.25, 1, 0.5)).threshold == 7.5
    assert rule(weight_normalised_descent(0.25)).threshold == 8.0
    batch = rule(tw.optax_dynamics(optax.sgd(0.25), 0.25, batch=1))
    assert (batch.kind, batch.threshold) == ("indicative", pytest.approx(8.0))
    assert "mini-batches" in batch.because
    phases = two_phase(optax.sgd(0.25), 0.25, 10, 0.1)
    assert rule(phases).kind == "indicative"
    for dynamics, why in (
        (end_to_end_descent(0.25, 3), "deep net"),
        (weight_normalised_descent(0.25, 0.1), "step sizes of their own"),
        (projected_descent(0.25), "sphere"),
        (levenberg_marquardt(), "lowers the loss"),
        (normalised_descent(0.25), "do not shrink"),
        (two_phase(optax.sgd(0.25), 0.25, 10, 0.1, last_step_size="1/L_H"), "phases"),
    ):
        assert not rule(dynamics).known
        assert why in rule(dynamics).because


def test_a_method_without_a_response_has_no_preconditioner():
    with pytest.raises(tw.InputError, match=r"has no known preconditioner: .*give the diagonal"):
        tw.run(
            PROBLEM,
            tw.optax_dynamics(optax.lion(0.1), 0.1),
            until=0.3,
            probes=[tw.probes.preconditioned_sharpness()],
        )
