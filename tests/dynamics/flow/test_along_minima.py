"""The limiting flow and diffusion, against motion along valleys that is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.dynamics import limiting_diffusion, limiting_flow
from thalweg.theory.limits.valleys import diffusion_expectation


def valley(z):
    return 0.5 * (1 + z[0] ** 2) * z[1] ** 2


def across(z):
    return jnp.array([[0.0], [jnp.sqrt(1 + z[0] ** 2)]])


VALLEY = tw.problems.Function(valley, start=jnp.array([1.5, 0.0]))


def test_label_noise_in_a_valley_decays_exponentially():
    flow = limiting_flow(tw.oracles.gaussian(across), error=1e-8)
    run = tw.run(VALLEY, flow, until=2.0, records=4)
    time, path = run.dataset["time"].values, run.parameters.values[0]
    np.testing.assert_allclose(path[:, 0], 1.5 * np.exp(-time / 2), rtol=1e-7)
    assert np.max(np.abs(path[:, 1])) < 1e-12
    told = run.dataset.isel(seed=0, time=-1)
    assert float(told["noise_along"]) < 1e-12
    assert float(told["normal_rank"]) == 1


def test_training_time_of_a_descent_is_slow_time_over_its_step_size():
    noise = tw.oracles.gaussian(across)
    run = tw.run(VALLEY, limiting_flow(noise, 0.1, error=1e-8), until=10.0, records=1)
    assert float(run.parameters[0, -1, 0]) == pytest.approx(1.5 * np.exp(-0.5), rel=1e-7)


def test_noise_along_is_told():
    run = tw.run(VALLEY, limiting_flow(tw.oracles.isotropic(1.0), rtol=1e-5), until=0.1, records=1)
    assert float(run.dataset["noise_along"][0, -1]) == pytest.approx(0.5**0.5)


@pytest.mark.thorough
def test_a_curved_manifold_is_kept_to_rounding():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(4, 7))
    model = tw.problems.over_parametrised_linear(Z, Z @ np.eye(7)[0])
    flow = limiting_flow(tw.oracles.label_noise(1.0, single=True), error=1e-6)
    run = tw.run(model, flow, until=6.0, records=3)
    assert float(run.dataset["loss"][0, -1]) < 1e-20
    trace = [
        float(tw.problems.fitted_trace(model, tw.problems.problem.unraveller(model)(theta)))
        for theta in run.parameters.values[0]
    ]
    assert all(np.diff(trace) < 0)


@pytest.mark.thorough
def test_isotropic_noise_has_the_moments_of_its_diffusion():
    def drift(x):
        return -0.5 * x / (1 + x**2)

    steps, seeds = limiting_diffusion(tw.oracles.isotropic(1.0), 0.05), 4000
    run = tw.run(VALLEY, steps, until=1.0, records=1, seeds=seeds)
    x = run.parameters.values[:, -1, 0]
    for power in (1, 2):
        truth = diffusion_expectation(drift, lambda x, k=power: x**k, 1.5, 1.0)
        gap = abs(np.mean(x**power) - truth.value)
        # Four standard errors, and the first-order error of Euler and Maruyama at h = 0.05.
        assert gap < 4 * np.std(x**power) / seeds**0.5 + 0.01, power
    assert np.max(np.abs(run.parameters.values[:, -1, 1])) < 1e-10


@pytest.mark.thorough
def test_diffusion_stays_on_a_ring_and_turns_as_brownian_motion():
    """On the unit circle E cos(angle) = exp(-T/2): the curving drift is -z/2."""
    ring = tw.problems.Function(lambda z: (z @ z - 1) ** 2 / 8, start=jnp.array([1.0, 0.0]))
    run = tw.run(
        ring, limiting_diffusion(tw.oracles.isotropic(1.0), 0.02), until=1.0, records=1, seeds=3000
    )
    z = run.parameters.values[:, -1]
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-3)
    assert np.mean(z[:, 0]) == pytest.approx(
        np.exp(-0.5), abs=4 * np.std(z[:, 0]) / 3000**0.5 + 0.01
    )
    drift = tw.dynamics.limiting_drift(ring, ring.start, jnp.eye(2))
    np.testing.assert_allclose(drift.curving, [-0.5, 0.0], atol=1e-12)


def test_they_start_on_the_manifold():
    ring = tw.problems.Function(lambda z: (z @ z - 1) ** 2 / 8, start=jnp.array([1.01, 0.0]))
    state = limiting_diffusion(tw.oracles.isotropic(1.0), 0.1).init(ring, ring.start)
    assert float(jnp.linalg.norm(state.params)) == pytest.approx(1, abs=1e-7)
    assert jax.tree.leaves(state.memory) == []


def products_of(jaxpr, widths):
    """Multiplications by the weights of a net in a traced program, loops of known length whole."""
    total = 0
    for equation in jaxpr.eqns:
        name, inner = equation.primitive.name, equation.params
        assert name != "while", "a loop of unknown length"
        if name == "dot_general":
            (left, _), _ = inner["dimension_numbers"]
            a, b = (v.aval.shape for v in equation.invars)
            contracted = int(np.prod([a[i] for i in left]))
            free = {d for d in (*a, *b) if d > 1}
            if free & widths and contracted < 100:
                total += contracted * int(np.prod(equation.outvars[0].aval.shape))
        for part in jax.tree.leaves(list(inner.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(part, "eqns"):
                total += inner.get("length", 1) * products_of(part, widths)
    return total


@pytest.mark.parametrize(
    ("oracle", "method"),
    [
        (tw.oracles.label_noise(1.0), "auto"),
        (tw.oracles.isotropic(1.0), "auto"),
        (tw.oracles.label_noise(1.0), "dense"),
    ],
)
def test_gradients_of_a_speed_are_those_that_its_program_takes(oracle, method):
    """Against the multiplications by weights in the trace of a speed and of a gradient."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(6, 5)), rng.normal(size=(6, 2))
    net = tw.problems.supervised(tw.models.mlp([7], "tanh"), data)
    params = net.init(jax.random.key(0))
    flow = limiting_flow(oracle, method=method)
    system = flow.system(net, params)
    widths = {5, 7}

    def of(function, *arguments):
        return products_of(jax.make_jaxpr(function)(*arguments).jaxpr, widths)

    spent = of(system.force, system.start) / of(jax.grad(net.objective), params)
    told = flow.each(net, params)
    assert 0.5 * told < spent < 1.3 * told
