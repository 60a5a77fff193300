"""Stabilised methods against their stability polynomials, closed forms and SciPy."""

from __future__ import annotations

from functools import cache

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp
from scipy.special import eval_legendre

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.dynamics import FLOW_SOLVERS
from thalweg.dynamics.flow.stabilised import (
    RKC2,
    RKC2_SCHEME,
    RKL2_SCHEME,
    RKL2x,
    extrapolation_weight,
    power_step,
    recurrence,
)
from thalweg.problems import Function
from thalweg.problems.closed_form import Quadratic

ONE, ZERO = jnp.ones(()), jnp.zeros(())


def amplification(scheme, stages: int, z: np.ndarray) -> np.ndarray:
    """R(-z) of one step on y' = -z y."""
    z = jnp.asarray(z)
    y0 = jnp.ones_like(z)
    step = recurrence(scheme, lambda t, y: -z * y, ZERO, ONE, y0, -z * y0, jnp.asarray(stages))
    return np.asarray(step)


def chebyshev(s: int, x: np.ndarray) -> np.ndarray:
    inside = np.cos(s * np.arccos(np.clip(x, -1, 1)))
    return np.where(np.abs(x) <= 1, inside, np.cosh(s * np.arccosh(np.maximum(x, 1))))


@pytest.mark.parametrize("s", [2, 3, 10, 101, 1000])
def test_rkc2_follows_its_stability_polynomial_to_the_end_of_its_interval(s):
    """R(z) = 1 - b T_s(w0) + b T_s(w0 - w1 z), at 1,000 stages too: rounding does not grow."""
    z = np.linspace(0, 0.65 * (s**2 - 1), 4001)
    w0 = 1 + 2 / 13 / s**2
    chain = np.polynomial.chebyshev.Chebyshev.basis(s)
    if s <= 101:
        first, second = chain.deriv(1)(w0), chain.deriv(2)(w0)
    else:
        a = np.arccosh(w0)
        first = s * np.sinh(s * a) / np.sinh(a)
        second = (s**2 * np.cosh(s * a) - w0 * first) / np.sinh(a) ** 2
    b, w1 = second / first**2, first / second
    truth = 1 - b * chebyshev(s, np.asarray(w0)) + b * chebyshev(s, w0 - w1 * z)
    found = amplification(RKC2_SCHEME, s, z)
    np.testing.assert_allclose(found, truth, atol=1e-13 * s**2)
    assert np.all(np.abs(found) <= 1)
    assert np.all(np.abs(found[z > 4]) <= 0.96)


@pytest.mark.parametrize("s", [3, 11, 101, 1001])
def test_rkl2_follows_its_stability_polynomial_to_the_end_of_its_interval(s):
    """R(z) = 1 - b + b P_s(1 - w1 z)."""
    z = np.linspace(0, (s**2 + s - 2) / 2, 4001)
    b, w1 = (s**2 + s - 2) / (2 * s * (s + 1)), 4 / (s**2 + s - 2)
    truth = 1 - b + b * eval_legendre(s, 1 - w1 * z)
    found = amplification(RKL2_SCHEME, s, z)
    np.testing.assert_allclose(found, truth, atol=1e-13 * s**2)
    assert np.all(np.abs(found) <= 1)
    assert np.all(np.abs(found[z > 4]) <= 0.78)


def extrapolated(x: float, z: np.ndarray) -> np.ndarray:
    """R(-z) of RKL2x when h rho is held to be x."""
    whole, half = (int(RKL2_SCHEME.stages(jnp.asarray(y))) for y in (x, x / 2))
    weight = float(extrapolation_weight(jnp.asarray(whole), jnp.asarray(half)))
    coarse, fine = (
        amplification(RKL2_SCHEME, whole, z),
        amplification(RKL2_SCHEME, half, z / 2) ** 2,
    )
    return fine + weight * (fine - coarse)


def test_rkl2x_is_stable_over_the_whole_interval_whatever_the_numbers_of_stages():
    for x in (0.1, 1.0, 2.0, 3.0, 4.5, 5.5, 7.0, 9.5, 13.0, 19.0, 40.0, 1e3):
        z = np.linspace(0, x, 500)
        size = np.abs(extrapolated(x, z))
        assert np.all(size <= 1)
        assert np.all(size[z > 2] <= 0.66)


@pytest.mark.parametrize("x", [2.0, 4.0, 8.0, 30.0, 1e3])
def test_rkl2x_is_of_order_three_though_the_numbers_of_stages_differ(x):
    """R(-z) - e^-z vanishes as z^4; the weight 1/3 leaves a part in z^3."""
    z = np.asarray([0.02, 0.01])
    gap = np.abs(extrapolated(x, z) - np.exp(-z))
    assert np.log2(gap[0] / gap[1]) == pytest.approx(4, abs=0.1)


def test_stages_asked_for_are_stable_and_one_less_is_not_much_too_many():
    for x in (0.0, 1.0, 10.0, 1e3, 1e6):
        s = int(RKC2_SCHEME.stages(jnp.asarray(x)))
        assert s == 2 or 0.65 * ((s - 1) ** 2 - 1) <= x <= 0.65 * (s**2 - 1)
        s = int(RKL2_SCHEME.stages(jnp.asarray(x)))
        assert s % 2 == 1
        assert (s**2 + s - 2) / 2 >= x > ((s - 2) ** 2 + (s - 2) - 2) / 2 - 1e-9 or s == 3


@pytest.mark.parametrize("scheme", [RKC2_SCHEME, RKL2_SCHEME])
def test_a_field_linear_in_time_is_exact(scheme):
    """Consistent of second order: y' = a + b t is exact up to rounding, which grows as s^2."""
    y0, a, b, h = jnp.asarray([1.0, -2.0]), jnp.asarray([3.0, 0.5]), jnp.asarray([-1.0, 4.0]), 0.7
    for s in (3, 9, 201):
        end = recurrence(scheme, lambda t, y: a + b * t, ZERO, h, y0, a, jnp.asarray(s))
        np.testing.assert_allclose(end, y0 + a * h + b * h**2 / 2, rtol=1e-14 + 2e-16 * s**2)
        end = recurrence(scheme, lambda t, y: a, ZERO, h, y0, a, jnp.asarray(s))
        np.testing.assert_allclose(end, y0 + a * h, rtol=1e-14 + 2e-16 * s**2)


def fixed(solver, field, y0, end: float, steps: int, dtype=jnp.float64):
    solved = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        solver,
        0.0,
        end,
        end / steps,
        jnp.asarray(y0, dtype),
        stepsize_controller=diffrax.ConstantStepSize(),
        max_steps=None,
        saveat=diffrax.SaveAt(t1=True, solver_state=True),
    )
    return np.asarray(solved.ys[0]), solved.solver_state


@pytest.mark.parametrize(("solver", "order"), [(RKC2(), 2), (RKL2x(), 3)])
def test_order_on_a_smooth_nonlinear_problem(solver, order):
    def field(t, y, args):
        return jnp.stack([-jnp.sin(y[0]) + 0.3 * y[1] ** 2, -2 * y[1] + 0.5 * jnp.cos(t) * y[0]])

    y0, end = [1.5, 1.0], 2.0
    truth = solve_ivp(
        lambda t, y: np.asarray(
            [-np.sin(y[0]) + 0.3 * y[1] ** 2, -2 * y[1] + 0.5 * np.cos(t) * y[0]]
        ),
        (0, end), y0, "DOP853", rtol=1e-13, atol=1e-14,
    ).y[:, -1]  # fmt: skip
    steps = np.asarray([64, 128, 256])
    errors = [np.linalg.norm(fixed(solver, field, y0, end, n)[0] - truth) for n in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("solver", [RKC2(), RKL2x()])
def test_prothero_robinson(solver):
    """Slaved stiff modes are not amplified: the order 4 method ROCK4 errs by hundreds here."""

    def field(t, y, args):
        return -1e3 * (y - jnp.sin(t)) + jnp.cos(t)

    end, _ = fixed(solver, field, [0.0], 2.0, 10)
    assert abs(end[0] - np.sin(2.0)) < 1e-4


@pytest.mark.parametrize("solver", [RKC2(), RKL2x()])
def test_stiff_curved_valley_in_forty_steps(solver):
    """f = (l/2)(y - x^2/2)^2 + (x - 3)^2/2, l = 1e4; the truth is SciPy's implicit Radau."""

    def slope(z):
        x, y = z[0], z[1]
        gap = y - x**2 / 2
        return [1e4 * gap * x - (x - 3), -1e4 * gap]

    truth = solve_ivp(
        lambda t, z: slope(z), (0, 2.0), [0.0, 0.0], "Radau", rtol=1e-11, atol=1e-12
    ).y[:, -1]
    end, _ = fixed(solver, lambda t, z, args: jnp.stack(slope(z)), [0.0, 0.0], 2.0, 40)
    assert np.linalg.norm(end - truth) / np.linalg.norm(truth) < 2e-4


def test_diffrax_drives_the_solvers_to_a_tolerance_and_counts_evaluations():
    h = np.geomspace(1e-2, 1e4, 50)
    for solver in (RKC2(), RKL2x()):
        solved = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: {"w": -jnp.asarray(h) * y["w"]}),
            solver, 0.0, 3.0, None, {"w": jnp.ones(50)},
            stepsize_controller=diffrax.PIDController(rtol=0, atol=1e-5),
            saveat=diffrax.SaveAt(t1=True, solver_state=True), max_steps=None,
        )  # fmt: skip
        assert np.max(np.abs(solved.ys["w"][0] - np.exp(-3 * h))) < 1e-3
        # The bound of the curvature was found, and the price is far below that of Tsit5.
        assert solved.solver_state.radius == pytest.approx(1e4, rel=0.1)
        assert int(solved.solver_state.evaluations) < 0.1 * 1.7 * 3e4


def test_power_steps_find_the_spectral_radius():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    matrix = jnp.asarray(basis @ np.diag(np.r_[-3.0, 7.0, np.linspace(0, 2, 28)]) @ basis.T)
    y, v = jnp.ones(30), jnp.ones(30) / np.sqrt(30)
    for _ in range(60):
        radius, v = power_step(lambda y: -matrix @ y, y, -matrix @ y, v)
        assert radius <= 7 * (1 + 1e-6)
    assert radius == pytest.approx(7.0, rel=1e-6)


# The flow by these methods.


def spectra() -> dict[str, np.ndarray]:
    return {
        "wide": np.geomspace(1e-3, 1e3, 60),
        "even": np.linspace(0.01, 40, 60),
        "outliers": np.r_[np.geomspace(1e-3, 1, 57), 300.0, 150.0, 100.0],
        "saddle": np.r_[-np.geomspace(1e-3, 2e-2, 5), np.geomspace(1e-2, 30, 55)],
    }


@eqx.filter_jit
def begin(flow, problem, params):
    return flow.init(problem, params)


@eqx.filter_jit
def go_on(flow, problem, state, until, most_steps):
    return flow.advance(problem, state, until, most_steps)


def followed(problem, flow, times):
    """Parameters, path errors and the last state."""
    params = problem.init(jax.random.key(0))
    state, points, errors = begin(flow, problem, params), [], []
    for t in times:
        state = go_on(flow, problem, state, jnp.asarray(t), jnp.asarray(10**6))
        points.append(np.asarray(tw.core.tree.flatten(state.params)))
        errors.append(float(flow.path_error(problem, state)))
    return np.stack(points), np.asarray(errors), state


@cache
def quadratic_ratios(solver: str) -> tuple[np.ndarray, np.ndarray]:
    """True error by the error asked, and estimated by true error, over spectra and times."""
    kept, ratios = [], []
    for h in spectra().values():
        z0 = np.random.default_rng(1).normal(size=h.size)
        times = np.geomspace(0.2, 20, 8)
        truth = z0 * np.exp(-h * times[:, None])
        for error in (1e-2, 1e-3):
            flow = tw.gradient_flow(error=error, solver=solver)
            points, estimates, _ = followed(Quadratic(h, 0 * h, z0), flow, times)
            true = np.linalg.norm(points - truth, axis=1)
            kept += list(true / (error * np.linalg.norm(truth, axis=1)))
            ratios += list(estimates / true)
    return np.asarray(kept), np.asarray(ratios)


@pytest.mark.parametrize("solver", ["auto", "rkc2"])
def test_the_error_asked_is_kept_and_its_estimate_is_never_far_below_the_truth(solver):
    kept, ratios = quadratic_ratios(solver)
    assert max(kept) <= 3
    assert min(ratios) > 1 / 5


@pytest.mark.xfail(
    strict=True,
    reason="94 % of the times: early in stiff flows it is too large, as the companion's longer "
    "steps leave stiff components that the path has damped already",
)
@pytest.mark.parametrize("solver", ["auto", "rkc2"])
def test_the_estimate_is_within_five_times_the_truth_at_95_of_100_times(solver):
    _, ratios = quadratic_ratios(solver)
    assert np.mean((ratios > 1 / 5) & (ratios < 5)) >= 0.95


def bent(z):
    return 0.5 * (z[1] - z[0] ** 2 / 2) ** 2 * 100 + 0.5 * (z[0] - 3) ** 2


def test_evaluations_are_counted_to_the_last_gradient():
    seen = []

    def objective(z):
        jax.debug.callback(lambda: seen.append(1))
        return bent(z)

    for options in ({"error": 1e-2}, {"rtol": 1e-4, "solver": "rkc2"}):
        seen.clear()
        flow = tw.gradient_flow(**options)
        _, _, state = followed(Function(objective, start=jnp.zeros(2)), flow, [0.3, 1.0])
        jax.effects_barrier()
        assert int(state.evaluations) == len(seen)


def test_stopping_on_the_way_changes_no_bit():
    problem, flow = Function(bent, start=jnp.zeros(2)), tw.gradient_flow(error=1e-3)
    _, _, whole = followed(problem, flow, [2.0])
    state = begin(flow, problem, jnp.zeros(2))
    while float(state.time) < 2.0:
        state = go_on(flow, problem, state, jnp.asarray(2.0), jnp.asarray(3))
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_lanes_do_not_see_each_other():
    problem, flow = (
        Function(bent, draw=lambda key: jax.random.normal(key, 2)),
        tw.gradient_flow(error=1e-3),
    )
    starts = jax.random.normal(jax.random.key(3), (3, 2))

    def one(params):
        return flow.advance(problem, flow.init(problem, params), ONE, jnp.asarray(10**6))

    together = jax.jit(jax.vmap(one))(starts)
    single = jax.jit(one)
    for i in range(3):
        alone = single(starts[i])
        np.testing.assert_allclose(together.params[i], alone.params, rtol=1e-9)
        assert int(together.evaluations[i]) == int(alone.evaluations)


def test_statistics_know_the_sharpness_and_its_integral():
    h = spectra()["wide"]
    flow = tw.gradient_flow(error=1e-3)
    problem = Quadratic(h, 0 * h, np.ones(60))
    _, _, state = followed(problem, flow, [5.0])
    found = flow.statistics(problem, state)
    assert float(found["solver_sharpness"]) == pytest.approx(1e3, rel=0.1)
    assert float(found["solver_sharpness"]) <= 1e3 * (1 + 1e-5)
    assert float(found["stiffness_budget"]) == pytest.approx(5e3, rel=0.1)
    assert int(found["solver_evaluations"].sum()) == int(state.evaluations)
    assert 0 <= int(found["rejections"]) < int(state.step) / 4
    assert {s.name for s in flow.recorded(problem)} == set(found)


def test_auto_is_explicit_where_mild_and_stabilised_where_stiff():
    names = [type(m).__name__ for m in FLOW_SOLVERS["auto"].methods]
    for largest, error, winner in ((1.0, 1e-6, "Explicit"), (1e4, 1e-3, "Chebyshev"),
                                   (1e4, 1e-5, "Extrapolated")):  # fmt: skip
        h = np.geomspace(1e-2, largest, 40)
        flow = tw.gradient_flow(error=error)
        problem = Quadratic(h, 0 * h, np.ones(40))
        _, _, state = followed(problem, flow, [5.0])
        spent = np.asarray(flow.statistics(problem, state)["solver_evaluations"])[:3]
        assert names[int(np.argmax(spent))] == winner


def test_float32_keeps_its_type_and_one_per_mille():
    h = np.geomspace(1e-2, 1e2, 40)
    single = Quadratic(*(jnp.asarray(a, jnp.float32) for a in (h, 0 * h, np.ones(40))))
    points, _, state = followed(single, tw.gradient_flow(error=1e-3), [10.0])
    assert state.params.dtype == jnp.float32
    truth = np.exp(-10 * h)
    assert np.linalg.norm(points[0] - truth) < 3e-3 * np.linalg.norm(truth)


def test_kinks_are_told_of():
    kinked = Function(lambda z: jnp.sum(jnp.abs(z)), start=jnp.ones(2), is_smooth=False)
    smooth = Function(bent, start=jnp.zeros(2))
    assert tw.gradient_flow(error=1e-3).doubts(smooth) == ()
    assert tw.gradient_flow(error=1e-2).doubts(kinked) == ()
    (sentence,) = tw.gradient_flow(error=1e-3).doubts(kinked)
    assert "kinks" in sentence
    assert tw.gradient_flow(1e-8).doubts(kinked)
    run = tw.run(kinked, tw.gradient_flow(error=1e-3), until=0.5, records=2)
    assert run.doubts == (sentence,)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_over_kinks_the_error_asked_is_kept_and_told(seed):
    """Against many short steps of Heun's method, whose own error is told by halving them."""
    problem = tw.problems.digits(tw.models.mlp([12, 12], "relu"), "cross-entropy", samples=60)
    params = problem.init(jax.random.fold_in(jax.random.key(seed), 0))
    theta, unravel = ravel_pytree(params)

    def force(v):
        return -ravel_pytree(jax.grad(problem.objective)(unravel(v)))[0]

    def step(h, v):
        here = force(v)
        return v + h / 2 * (here + force(v + h * here))

    def heun(steps):
        return jax.lax.fori_loop(0, steps, lambda _, v: step(10.0 / steps, v), theta)

    fine, coarse = (np.asarray(jax.jit(heun)(n)) for n in (16_000, 8_000))
    size = np.linalg.norm(fine)
    doubt = np.linalg.norm(fine - coarse)
    assert doubt < 2e-4 * size
    for error in (1e-2, 1e-3):
        flow = tw.gradient_flow(error=error)
        run = tw.run(problem, flow, until=10.0, records=5, seeds=[seed])
        gap = np.linalg.norm(run.parameters.values[0, -1] - fine)
        assert gap <= error * size
        assert gap <= 5 * float(run.dataset["path_error"][0, -1]) + doubt


@pytest.mark.slow
def test_rounding_in_float32_is_part_of_the_error():
    """Paths in float32 and float64 from the same start differ by a few noise floors at most."""
    h, start = np.geomspace(1e-2, 1e2, 40), np.ones(40)
    times = np.asarray([1.0, 10.0])
    for error in (1e-4, 1e-6):
        ends, floors = [], []
        for kind in (jnp.float32, jnp.float64):
            problem = Quadratic(
                *(jnp.asarray(jnp.asarray(a, jnp.float32), kind) for a in (h, 0 * h, start))
            )
            run = tw.run(problem, tw.gradient_flow(error=error), times=times)
            ends.append(run.parameters.values[0])
            floors.append(run.dataset["noise_floor"].values[0])
            assert np.all(run.dataset["path_error"].values[0] >= floors[-1])
        gap = np.linalg.norm(ends[0] - ends[1], axis=1)
        size = np.linalg.norm(ends[1], axis=1)
        assert np.all(gap <= 5 * floors[0] + 3 * error * size)
        assert np.all(floors[0] < 2e-4 * size)
    # Asked for less than rounding allows, it does not fight the noise for ever.
    assert int(run.dataset["evaluations"][0, -1]) < 20_000
    assert np.all(gap <= 5 * floors[0])


def test_bad_input_is_told():
    with pytest.raises(InputError, match="give one"):
        tw.gradient_flow(1e-6, error=1e-3)
    for value in (0.0, -1.0, 0.5, float("nan")):
        with pytest.raises(InputError, match=r"\(0, 0.1\]"):
            tw.gradient_flow(error=value)
    with pytest.raises(InputError, match="rkc2"):
        tw.gradient_flow(error=1e-3, solver="rkc")
