"""The stability rule of adaptive methods, measured: where they diverge, and where they hover."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg.dynamics.linear_response import transformation_rule

ETA = 0.01
HELD = 1 - 1e-15  # the decay of a second moment that stands still
COUNT = 2_000_000_000  # steps taken: corrections for the start stand still as well

MAKERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "Adam": lambda b2: optax.adam(ETA, b2=b2, eps=0.0),
    "Adam, b1 = 0.5": lambda b2: optax.adam(ETA, b1=0.5, b2=b2, eps=0.0),
    "RMSProp": lambda b2: optax.rmsprop(ETA, decay=b2, eps=0.0),
    "NAdam": lambda b2: optax.nadam(ETA, b2=b2, eps=0.0),
    "AMSGrad": lambda b2: optax.amsgrad(ETA, b2=b2, eps=0.0),
    "RMSProp with momentum": lambda b2: optax.rmsprop(ETA, decay=b2, eps=0.0, momentum=0.9),
    "RMSProp, centred": lambda b2: optax.rmsprop(ETA, decay=b2, eps=0.0, centered=True),
    "AdaGrad": lambda b2: optax.adagrad(ETA, eps=0.0),
}
KEPT = ("nu", "nu_max", "sum_of_squares")  # where a second moment stands


def moments(state: Any) -> Any:
    """The part of an Optax state that holds a second moment."""
    parts = jax.tree.leaves(state, is_leaf=lambda part: hasattr(part, "nu"))
    return next(part for part in parts if hasattr(part, "nu"))


def held(name: str, divisor: jax.Array) -> tuple[optax.GradientTransformation, Any]:
    """A transformation whose D is held at a value, and its state."""
    transform = MAKERS[name](HELD)

    def holds(part: Any) -> bool:
        return any(hasattr(part, name) for name in KEPT)

    def fixed(part: Any) -> Any:
        if not holds(part):
            return part
        counts = "count" in part._fields
        share = -np.expm1((COUNT + 1) * np.log(HELD)) if counts else 1.0
        sizes = {"nu": share, "nu_max": 1.0, "sum_of_squares": 1.0}
        put = {name: divisor**2 * sizes[name] for name in KEPT if hasattr(part, name)}
        return part._replace(**put, **({"count": jnp.asarray(COUNT, jnp.int32)} if counts else {}))

    state = transform.init(jnp.zeros_like(divisor))
    return transform, jax.tree.map(fixed, state, is_leaf=holds)


def growth(
    name: str,
    divisor: jax.Array,
    gradient: Callable[[jax.Array], jax.Array],
    start: jax.Array,
    along: jax.Array,
    steps: int,
) -> Callable[[float], float]:
    """The logarithmic growth of |along . x| from the first half of a run to the second.

    Of a learning rate that is so many times ETA.
    """
    transform, state = held(name, divisor)

    @jax.jit
    def grown(times: float) -> jax.Array:
        def step(now: Any, _: None) -> Any:
            x, state = now
            moved, state = transform.update(gradient(x), state, x)
            x = x + times * moved
            return (x, state), jnp.abs(along @ x)

        seen = jax.lax.scan(step, (start, state), None, length=steps)[1]
        return jnp.log(seen[steps // 2 :].max() / seen[: steps // 2].max())

    return lambda times: float(grown(times))


def boundary(grown: Callable[[float], float], about: float, within: float) -> float:
    """Where growth begins, by bisection between so much below and above."""
    low, high = about / (1 + within), about * (1 + within)
    assert grown(low) < 0 < grown(high)
    for _ in range(20):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if grown(middle) < 0 else (low, middle)
    return low


@pytest.mark.thorough
@pytest.mark.parametrize("name", MAKERS)
def test_on_a_quadratic_it_diverges_from_its_threshold_on(name):
    """Curvatures 300 D and 100 D, within a thousandth: 100 steps still remember their start."""
    divisor = jnp.array([0.5, 2.0])
    curvature = jnp.array([300.0, 100.0]) * divisor
    # On the clock of a momentum behind the preconditioner what is preconditioned by is 1/D.
    clock = 10 * ETA if "momentum" in name else ETA
    rule = transformation_rule(MAKERS[name](0.999), jnp.ones(2), clock)
    assert rule.eigenvalue == "preconditioned_sharpness"
    grown = growth(
        name, divisor, lambda x: curvature * x, 1e-9 * jnp.ones(2), jnp.array([1.0, 0.3]), 100
    )
    expected = rule.threshold / 300
    assert boundary(grown, expected, 0.003) == pytest.approx(expected, rel=1e-3)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["Adam", "Adam, b1 = 0.5", "RMSProp"])
def test_on_a_net_it_diverges_from_its_threshold_on(name):
    """About a point of training, with D as training left it: within half a per cent.

    The loss less its tangent there is at rest at the point and has its Hessian.
    """
    problem = tw.problems.digits(tw.models.mlp([8], "tanh"), "squared-error", samples=50)
    point, unravel = ravel_pytree(problem.init(jax.random.key(0)))
    gradient = jax.grad(lambda x: problem.objective(unravel(x)))
    transform = MAKERS[name](0.99)

    def step(now: Any, _: None) -> Any:
        x, state = now
        moved, state = transform.update(gradient(x), state, x)
        return (x + moved, state), None

    (point, state), _ = jax.lax.scan(step, (point, transform.init(point)), None, length=60)
    second = moments(state).nu / (1.0 if name == "RMSProp" else 1 - 0.99**60)
    divisor = jnp.sqrt(second) + 0.01 * jnp.sqrt(second.max())  # pixels that are never lit
    hessian = jax.jacfwd(gradient)(point)
    root = jnp.sqrt(divisor)
    values, vectors = jnp.linalg.eigh(hessian / root[:, None] / root[None, :])
    rest, top = gradient(point), vectors[:, -1]
    rule = transformation_rule(MAKERS[name](0.999), point, ETA)
    grown = growth(
        name, divisor, lambda d: gradient(point + d) - rest, 1e-7 * top / root, top * root, 80
    )
    expected = rule.threshold / float(values[-1])
    assert boundary(grown, expected, 0.01) == pytest.approx(expected, rel=0.005)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["Adam", "RMSProp"])
def test_in_training_the_preconditioned_sharpness_hovers_at_it(name):
    """1200 steps on digits: it comes up to the threshold and stays, median within 10 %."""
    transform, step_size = {
        "Adam": (optax.adam(1e-2, b1=0.5, b2=0.99), 1e-2),
        "RMSProp": (
            optax.rmsprop(1e-3, decay=0.99, bias_correction=True, eps_in_sqrt=False), 1e-3,
        ),
    }[name]  # fmt: skip
    net = tw.problems.digits(tw.models.mlp([16], "tanh"), "squared-error", samples=100)
    run = tw.run(
        net, tw.optax_dynamics(transform, step_size, name), until=1200 * step_size, records=24,
        probes=tw.probes.preconditioned_sharpness(), progress=False,
    )  # fmt: skip
    assert run.stability is not None
    ratio = run.dataset["preconditioned_sharpness"].values[0] / run.stability.threshold
    late = ratio[len(ratio) // 2 :]
    assert 1.0 < np.median(late) < 1.1
    assert late.min() > 0.95
    assert float(run.dataset["loss"][0, -1]) < 0.01 * float(run.dataset["loss"][0, 0])
