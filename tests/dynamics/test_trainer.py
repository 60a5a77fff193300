"""Stabilised descent: its steps against Chebyshev polynomials, its promises on what is hard."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import chebyshev as poly

import thalweg as tw
from thalweg.core.result import Result
from thalweg.driver import chunks as driver
from thalweg.dynamics.trainer import (
    DAMPING,
    FIRST_LOOKS,
    REACH,
    SUFFICIENT,
    chebyshev,
    chebyshev_stage,
)
from thalweg.problems import Function, Problem
from thalweg.problems.closed_form import Factorisation

KEY = jax.random.key(0)
FAR = jnp.asarray(1e12)


def quadratic(eigenvalues, start=None, centre=0.0, floor=0.0) -> Function:
    h = jnp.asarray(eigenvalues)
    start = np.ones(len(h)) if start is None else start
    return Function(lambda x: floor + 0.5 * jnp.sum(h * (x - centre) ** 2), start)


def net(activation: str = "tanh", precision: str = "float64") -> Problem:
    model = tw.models.mlp([8, 6], activation)
    return tw.problems.digits(model, samples=40, precision=precision)


def at_start(problem: Problem, dynamics: tw.dynamics.StabilisedDescent):
    return dynamics.init(problem, problem.init(KEY))


def go(problem: Problem, dynamics, state, attempts: int, until=FAR):
    return eqx.filter_jit(dynamics.advance)(problem, state, until, jnp.asarray(attempts))


def stepper(problem: Problem):
    dynamics = tw.stabilised_descent()
    return eqx.filter_jit(lambda s: dynamics.advance(problem, s, FAR, jnp.asarray(1)))


def heights(step, state, attempts: int) -> tuple[np.ndarray, object]:
    """The objective before every attempt and after the last; the last state."""
    seen = [float(state.memory.height)]
    for _ in range(attempts):
        state = step(state)
        seen.append(float(state.memory.height))
    return np.asarray(seen), state


# ---- one step -----------------------------------------------------------------------------------


def factor(stages: int, z):
    """T_s(w_0 - w_1 z)/T_s(w_0) with NumPy's polynomials."""
    t = poly.Chebyshev.basis(stages)
    w0 = 1 + DAMPING / stages**2
    w1 = t(w0) / t.deriv()(w0)
    return t(w0 - w1 * np.asarray(z)) / t(w0), (w0 + 1) / w1


@pytest.mark.parametrize("stages", [1, 2, 3, 7, 30])
def test_a_step_is_a_chebyshev_polynomial(stages):
    z = np.concatenate([np.linspace(-1.0, 1.0, 9) / stages, np.linspace(0, REACH, 40) * stages**2])
    first, carry = chebyshev(jnp.asarray(stages))
    far = jnp.ones_like(jnp.asarray(z))
    near = far - first * z
    for _ in range(1, stages):
        point, carry = chebyshev_stage(carry, jnp.asarray(1.0), near, far, -z * near)
        near, far = point, near
    expected, longest = factor(stages, z)
    np.testing.assert_allclose(near, expected, rtol=1e-9, atol=1e-12)
    w0 = float(carry[0])
    assert longest == pytest.approx((w0 + 1) / float(carry[1]))
    assert longest >= REACH * stages**2
    assert np.all(np.abs(expected[9:]) <= 1 + 1e-12)
    # Away from 0 a curvature is damped; near 0 the step is that of the flow to first order.
    high = np.linspace(0.4, 1, 500) * REACH * stages**2
    assert np.all(np.abs(factor(stages, high)[0]) <= 0.505)
    assert factor(stages, 1e-4)[0] == pytest.approx(1 - 1e-4, abs=1e-8)


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 9, 40])
def test_every_stable_step_on_a_quadratic_falls_enough(stages):
    """z (1 + R)/(2 (1 - R)) >= 0.04, for curvatures of both signs: see the class."""
    _, longest = factor(stages, 0.0)
    z = np.concatenate([-np.geomspace(1e-4, longest, 500), np.geomspace(1e-4, longest, 20_000)])
    r, _ = factor(stages, z)
    with np.errstate(over="ignore"):
        share = z * (1 + r) / (2 * (1 - r))
    assert np.min(share[np.isfinite(share)]) >= SUFFICIENT


@pytest.mark.parametrize("lowest", [1e-3, -0.5])
def test_no_step_is_refused_on_a_quadratic_whose_sharpness_is_known(lowest):
    h = np.concatenate([[lowest], np.geomspace(1e-2, 50, 30)])
    problem = quadratic(h)
    state = at_start(problem, tw.stabilised_descent())
    sharpest = jnp.zeros(len(h)).at[-1].set(1.0)
    state = state._replace(memory=state.memory._replace(direction=sharpest))
    seen, state = heights(stepper(problem), state, 15)
    assert int(state.memory.sharpness) == 50 or float(state.memory.sharpness) == pytest.approx(50)
    assert int(state.step) == int(state.memory.attempts) == 15
    assert np.all(np.diff(seen) < 0)


# ---- where it goes ------------------------------------------------------------------------------


def valley(z):
    x, y = z
    return 0.5e3 * (y - x**2 / 2) ** 2 + 0.5 * (x - 3) ** 2


def factors() -> Factorisation:
    rng = np.random.default_rng(3)
    return Factorisation(np.diag([2.0, 1.0, 0.3]), [0.4 * rng.normal(size=(3, 3)) for _ in "abc"])


SMOOTH = {
    "valley": lambda: Function(valley, np.zeros(2)),
    "factors": factors,
    "net": net,
    "quartic": lambda: Function(lambda x: jnp.sum(x**4) - jnp.sum(x**2), np.array([1e-3, 3.0])),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_objective_never_rises_between_records(name):
    times = np.concatenate([[0.0], np.geomspace(1e-3, 300.0, 40)])
    path = tw.run(SMOOTH[name](), tw.stabilised_descent(), times=times, seeds=2)
    loss = path.dataset["loss"].values
    assert np.array_equal(path.dataset["time"], times)
    assert np.all(np.diff(loss) <= 1e-14 * np.abs(loss[:, 1:]))
    assert np.all(loss[:, -1] < 0.05 * loss[:, 0])
    assert np.all(path.dataset["result"] == Result.OK)
    assert np.all(np.isinf(path.dataset["path_error"]))


@pytest.mark.parametrize("floor", [0.0, 1.0])
def test_it_reaches_the_minimiser_of_a_quadratic(floor):
    """Also where the last digits of the objective no longer tell a rise from a fall."""
    centre = np.linspace(-1.0, 2.0, 20)
    problem = quadratic(np.geomspace(0.1, 100, 20), centre=centre, floor=floor)
    path = tw.run(problem, tw.stabilised_descent(), times=[0.0, 10.0, 1000.0])
    assert np.allclose(path.parameters[0, -1], centre, rtol=0, atol=1e-10)
    assert int(path.dataset["evaluations"][0, -1]) < 2500


def test_it_takes_a_quarter_of_the_gradients_of_gradient_descent():
    """Curvatures from 1e-3 to 1e3, against closed-form descent at 1/sharpness and at 1.9 of it."""
    h = np.geomspace(1e-3, 1e3, 400)
    problem = quadratic(h)
    seen, state = heights(stepper(problem), at_start(problem, tw.stabilised_descent()), 18)
    level = seen[-1]
    assert level < 1e-3 * seen[0]
    for size in (1.0, 1.9):
        rates = 1 - size * h / 1e3
        k = 4 * int(state.evaluations)
        assert np.sum(0.5 * h * rates ** (2 * k)) > level


def test_every_evaluation_is_counted():
    calls = [0]
    plain = net()

    def watched(params):
        jax.debug.callback(lambda: calls.__setitem__(0, calls[0] + 1))
        return plain.objective(params)

    problem = Function(watched, plain.init(KEY))
    state = at_start(problem, tw.stabilised_descent())
    assert int(state.evaluations) == 1
    for until, attempts in ((0.7, 100), (1.5, 2), (400.0, 12)):
        state = go(problem, tw.stabilised_descent(), state, attempts, jnp.asarray(until))
        jax.effects_barrier()
        assert int(state.evaluations) == calls[0]
    assert int(state.step) < calls[0]


def test_a_step_has_at_most_so_many_gradients():
    problem = quadratic(np.geomspace(1e-2, 1e3, 50))
    for most in (1, 7):
        dynamics = tw.stabilised_descent(most)
        state = at_start(problem, dynamics)
        spent = int(state.evaluations) + FIRST_LOOKS - 1  # one look before every later attempt
        for _ in range(12):
            state = go(problem, dynamics, state, 1)
            assert 2 <= int(state.evaluations) - spent <= most + 1
            spent = int(state.evaluations)
        assert int(state.memory.attempts) == 12


@pytest.mark.parametrize("name", ["valley", "net"])
def test_no_start_step_is_fatal(name):
    problem = SMOOTH[name]()
    step = stepper(problem)
    begun = step(at_start(problem, tw.stabilised_descent()))
    for off in (1e-6, 1e-3, 1e3, 1e6):
        proposal = off * begun.memory.proposal
        state = begun._replace(memory=begun.memory._replace(proposal=proposal))
        seen, state = heights(step, state, 40)
        assert np.all(np.diff(seen) <= 1e-14 * seen[1:])
        assert seen[-1] < 0.3 * seen[0]
        assert int(state.memory.attempts - state.step) <= 20


def test_a_sharpness_overlooked_is_found_by_the_step_that_it_spoils():
    """The power iteration starts, to the last bit, on the lesser of two curvatures."""
    problem = quadratic([1.0, 1e3])
    state = at_start(problem, tw.stabilised_descent())
    blind = jnp.asarray([1.0, 0.0])
    state = state._replace(memory=state.memory._replace(direction=blind))
    seen, state = heights(stepper(problem), state, 25)
    assert float(state.memory.sharpness) == pytest.approx(1e3, rel=1e-3)
    assert int(state.memory.attempts - state.step) <= 6
    assert seen[-1] < 1e-3 * seen[0]


# ---- how it ends --------------------------------------------------------------------------------


def test_kinks_do_not_hang_it():
    crossing = Function(lambda x: jnp.abs(x[0]) + 10 * jnp.abs(x[1]), np.array([1.0, 0.3]))
    path = tw.run(crossing, tw.stabilised_descent(), times=[0.0, 0.5, 2.0, 1e6])
    assert np.array_equal(path.dataset["time"], [0.0, 0.5, 2.0, 1e6])
    assert int(path.dataset["result"][0, -1]) == Result.NOT_CONVERGED
    assert int(path.dataset["evaluations"][0, -1]) < 3000
    seen = path.dataset["loss"].values[0]
    assert np.all(np.diff(seen) <= 1e-15)
    relu = net("relu")
    seen, _ = heights(stepper(relu), at_start(relu, tw.stabilised_descent()), 40)
    assert np.all(np.diff(seen) <= 1e-14 * seen[1:])
    assert seen[-1] < 0.1 * seen[0]


def test_a_point_at_rest_stays_for_any_time():
    for objective in (lambda x: 0.5 * jnp.sum(x**2), lambda x: 0.0 * jnp.sum(x)):
        problem, dynamics = Function(objective, np.zeros(3)), tw.stabilised_descent()
        state = go(problem, dynamics, at_start(problem, dynamics), 200, jnp.asarray(1e9))
        assert float(state.time) == 1e9
        assert np.all(state.params == 0)
        assert int(state.result) == Result.OK


def test_a_run_without_a_bottom_ends_with_a_code():
    problem = Function(lambda x: -jnp.sum(x**4) / 4, np.ones(1))
    path = tw.run(problem, tw.stabilised_descent(), times=np.linspace(0, 20, 5))
    assert path.diverged.all()
    assert int(path.dataset["evaluations"][0, -1]) < 20_000
    edge, dynamics = Function(lambda x: jnp.sum(jnp.log(x)), np.ones(1)), tw.stabilised_descent()
    state = go(edge, dynamics, at_start(edge, dynamics), 2000)
    assert int(state.result) == Result.NONFINITE
    lost = Function(lambda x: jnp.sum(jnp.sqrt(x)), -np.ones(1))
    state = at_start(lost, tw.stabilised_descent())
    assert int(state.result) == Result.NONFINITE
    assert int(go(lost, tw.stabilised_descent(), state, 10).evaluations) == 1


# ---- as a dynamics ------------------------------------------------------------------------------


def test_it_goes_on_to_the_same_bits(monkeypatch, tmp_path):
    problem = net()
    whole = go(problem, tw.stabilised_descent(), at_start(problem, tw.stabilised_descent()), 30)
    pieces = at_start(problem, tw.stabilised_descent())
    for attempts in (1, 2, 7, 20):
        pieces = go(problem, tw.stabilised_descent(), pieces, attempts)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(pieces), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()

    times, out = [0.0, 0.5, 3.0, 40.0], tmp_path / "run.zarr"
    never = tw.run(problem, tw.stabilised_descent(), times=times, seeds=2, progress=False)
    advance, left = driver.Loop.advance, [2]

    def stopped(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return advance(*arguments)

    monkeypatch.setattr(driver.Loop, "advance", stopped)
    with pytest.raises(tw.Interrupted):
        tw.run(problem, tw.stabilised_descent(), times=times, seeds=2, out=out, progress=False)
    monkeypatch.undo()
    again = tw.run(problem, tw.stabilised_descent(), times=times, seeds=2, out=out, progress=False)
    for name in ("parameters", "loss", "evaluations", "step"):
        assert never.dataset[name].values.tobytes() == again.dataset[name].values.tobytes()


def test_seeds_go_together_as_alone():
    weights = jnp.asarray([1.0, 30.0])
    problem = Function(
        lambda x: jnp.sum(weights * jnp.cosh(x)), draw=lambda key: jax.random.normal(key, (2,))
    )
    dynamics = tw.stabilised_descent()

    def one(key):
        state = dynamics.init(problem, problem.init(key))
        return dynamics.advance(problem, state, jnp.asarray(2.0), jnp.asarray(500))

    keys = jax.random.split(KEY, 4)
    together = jax.jit(jax.vmap(one))(keys)
    for i, key in enumerate(keys):
        alone = jax.jit(one)(key)
        assert float(alone.time) == 2.0
        np.testing.assert_allclose(together.params[i], alone.params, rtol=1e-6, atol=1e-9)
    assert len(set(np.asarray(together.evaluations).tolist())) > 1


def test_float32_stays_float32():
    problem, dynamics = net(precision="float32"), tw.stabilised_descent()
    state = at_start(problem, dynamics)
    after = go(problem, dynamics, state, 25)
    like = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)]
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(after)] == like
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(after.params))
    assert after.memory.force.dtype == after.memory.direction.dtype == jnp.float32
    assert float(after.memory.height) < 0.05 * float(state.memory.height)
    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(lambda p: dynamics.init(problem, p), state.params)
        jax.eval_shape(
            lambda s: dynamics.advance(problem, s, jnp.asarray(1.0), jnp.asarray(9)), state
        )


def test_its_distance_from_the_flow_is_not_vouched_for():
    problem, times = Function(valley, np.zeros(2)), [0.0, 1e-4, 0.1]
    path = tw.run(problem, tw.stabilised_descent(), times=times)
    flow = tw.run(problem, tw.gradient_flow(1e-6, "bosh3"), times=times)
    table = tw.distance(path, flow)
    assert np.all(np.isinf(table["distance_error"]))
    assert np.all(table["relative_distance"] < 0.5)
    assert any("not estimated" in doubt for doubt in path.doubts)
    with pytest.raises(tw.InputError, match="no step size of its own"):
        tw.compare(path, flow)


@pytest.mark.parametrize("value", [0, -3, 2.5, True, "many", 10**6])
def test_bad_arguments_are_refused(value):
    with pytest.raises(tw.InputError, match="most_stages came as"):
        tw.stabilised_descent(value)


def test_it_describes_itself():
    assert tw.stabilised_descent(40).describe() == {"name": "stabilised descent", "most_stages": 40}
