"""The shelf of methods: against the quadratic laboratory, brute force, and their theorems."""

from __future__ import annotations

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize

import thalweg as tw
from thalweg.core.counting import counted, marked
from thalweg.core.errors import InputError
from thalweg.core.result import Result
from thalweg.core.subproblems import cubic_step, trust_region_step
from thalweg.driver.path import paths
from thalweg.dynamics import METHODS, method
from thalweg.problems import Function
from thalweg.theory.optimisers.rates import RATES, momentum_schedule, theorem_bound
from thalweg.theory.quadratics.linear_methods import linear_method, modal_trajectory, tuned

LAMBDA = np.array([0.1, 0.4, 1.3, 3.0])
DRAWN = np.random.default_rng(7)
U = np.linalg.qr(DRAWN.normal(size=(4, 4)))[0]
H = U * LAMBDA @ U.T
START = DRAWN.normal(size=4)
CONSTANTS = {
    "smoothness": 3.0, "convexity": 0.1, "hessian_lipschitz": 1.0, "dimensions": 4, "least": 0.0,
    "damping": 0.5,
}  # fmt: skip


@cache
def bowl() -> Function:
    return Function(lambda w: 0.5 * w @ jnp.asarray(H) @ w, start=jnp.asarray(START))


@cache
def wavy() -> Function:
    """(1/2) x^T A x + sum phi(x_i), phi'' = sqrt(1 + t^2) - 1: a saddle at 0, L_2 = 1."""
    V = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    A = jnp.asarray(V * np.linspace(-0.5, 1, 8) @ V.T)

    def objective(x: jax.Array) -> jax.Array:
        # phi, twice integrated
        phi = (x**2 / 6 - 1 / 3) * jnp.sqrt(1 + x**2) + x / 2 * jnp.arcsinh(x) - x**2 / 2 + 1 / 3
        return 0.5 * x @ A @ x + jnp.sum(phi)

    return Function(objective, start=jnp.asarray(np.random.default_rng(1).normal(size=8)))


def made(name: str):
    row = METHODS[name]
    own = {k: v for k, v in CONSTANTS.items() if k in row.needs}
    return method(name, **own)


def went(dynamics, problem, steps, start=None):
    return paths(dynamics, problem, problem.start if start is None else start, 1, steps, over=())


@pytest.mark.parametrize("name", [n for n, row in METHODS.items() if row.linear])
def test_linear_methods_go_as_the_laboratory_says(name):
    L, mu, steps = 3.0, 0.1, 25
    if name == "heavy-ball":
        numbers = tuned(name, mu, L)[:2]
    elif name == "nesterov-constant":
        numbers = tuned("nesterov", mu, L)[:2]
    elif name == "nesterov":  # made without mu: the momentum of t_n
        numbers = (1 / L, np.concatenate([[0.0], momentum_schedule(0.0, steps)[1]]))
    else:
        numbers = (1 / L if name == "gradient-descent" else 2 / (L + mu), 0.0)
    exact = modal_trajectory(linear_method(METHODS[name].linear, *numbers), LAMBDA, U.T @ START, 25)
    found = np.asarray(went(made(name), bowl(), steps).seen) @ U
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.thorough
@pytest.mark.parametrize("name", METHODS)
def test_every_method_descends_tells_itself_and_keeps_to_data_when_it_diverges(name):
    dynamics, row = made(name), METHODS[name]
    assert row.about
    assert row.assumption
    assert set(row.rates) <= set(RATES)
    json.dumps(dynamics.describe())
    path = went(dynamics, bowl(), 40)
    losses = [float(bowl().objective(w)) for w in path.seen]
    assert losses[-1] < 0.1 * losses[0]
    assert int(path.result[-1]) == Result.OK
    lost = went(dynamics, bowl(), 2, bowl().start * jnp.nan)
    assert int(lost.result[-1]) == Result.NONFINITE


@pytest.mark.thorough
@pytest.mark.parametrize(
    "dynamics",
    [
        tw.dynamics.agmsdr(),
        method("bfgs"),
        method("conjugate-gradients"),
        tw.dynamics.perturbed_descent(0.1),
    ],
    ids=lambda d: d.name,
)
def test_gradients_are_counted_as_they_are_taken(dynamics):
    seen = Function(marked(wavy().objective), wavy().start)

    def go(params):
        state = dynamics.init(seen, params)
        for key in jax.random.split(jax.random.key(0), 3):
            state = dynamics.step(seen, state, key)[0]
        return state

    state, spent, sight = jax.jit(counted(go))(wavy().start)
    assert sight.whole
    assert int(state.evaluations) == int(spent.gradients)


def cubic_model(e, g, M):
    return lambda s: g @ s + 0.5 * e @ s**2 + M / 6 * np.linalg.norm(s) ** 3


@pytest.mark.parametrize("hard", [False, True])
def test_cubic_steps_are_global_minimisers_of_their_model(hard):
    rng = np.random.default_rng(5)
    for _ in range(20):
        e, g, M = np.sort(rng.normal(size=4)), rng.normal(size=4), rng.uniform(0.2, 3)
        e[0] -= 1.0
        if hard:
            g = np.where(np.arange(4) == 0, 0.0, 0.05 * g)
        s = np.asarray(cubic_step(jnp.asarray(e), jnp.asarray(g), jnp.asarray(M)))
        r = np.linalg.norm(s)
        # The conditions that are necessary and sufficient (Nesterov and Polyak 2006).
        np.testing.assert_allclose((e + M * r / 2) * s, -g, atol=1e-10)
        assert M * r / 2 >= -e[0] - 1e-10
        if hard:
            assert abs(s[0]) > 0.1
        model = cubic_model(e, g, M)
        others = [
            scipy.optimize.minimize(model, rng.normal(size=4) * 3, tol=1e-10).fun for _ in range(5)
        ]
        assert model(s) <= min(others) + 1e-8


def test_trust_region_steps_are_global_minimisers_over_the_ball():
    rng = np.random.default_rng(6)
    for case in range(30):
        e, g, radius = np.sort(rng.normal(size=3)), rng.normal(size=3), rng.uniform(0.1, 2)
        if case % 3 == 0:
            e = np.abs(e) + 1
        if case % 3 == 1:
            e[0], g[0] = -1.0, 0.0
        s = np.asarray(trust_region_step(*map(jnp.asarray, (e, g, radius))))
        r = np.linalg.norm(s)
        assert r <= radius * (1 + 1e-12)
        v = rng.normal(size=(20_000, 3))
        ball = radius * rng.uniform(size=(20_000, 1)) ** (1 / 3) * v
        ball /= np.linalg.norm(v, axis=1, keepdims=True)
        model = ball @ g + 0.5 * ball**2 @ e
        assert g @ s + 0.5 * e @ s**2 <= model.min() + 1e-9
        if r < radius * (1 - 1e-9):
            np.testing.assert_allclose(e * s, -g, atol=1e-9)


def test_a_damped_step_is_the_trust_region_step_of_its_own_length():
    e, g, M = np.array([-0.5, 0.3, 2.0]), np.array([0.4, -1.0, 0.7]), 0.8
    s = -g / (e + M)
    same = trust_region_step(jnp.asarray(e), jnp.asarray(g), jnp.asarray(np.linalg.norm(s)))
    np.testing.assert_allclose(same, s, rtol=1e-9)


@pytest.mark.thorough
def test_cubic_newton_keeps_its_three_inequalities_and_its_bound():
    f, M = wavy(), 1.0
    x = np.asarray(went(tw.dynamics.newton_type("cubic", M), f, 14).seen)
    value, slope, curve = (
        jax.vmap(t(f.objective))(x) for t in (lambda f: f, jax.grad, jax.hessian)
    )
    r = np.linalg.norm(np.diff(x, axis=0), axis=1)
    assert float(jnp.linalg.eigvalsh(curve[0])[0]) < 0
    assert np.all(-np.diff(value) >= M / 12 * r**3 - 1e-12)
    assert np.all(np.linalg.norm(slope[1:], axis=1) <= (1 + M) / 2 * r**2 + 1e-12)
    assert np.all(-jnp.linalg.eigvalsh(curve[1:])[:, 0] <= (1 + M / 2) * r + 1e-12)
    N = np.arange(1, len(r) + 1)
    bound = theorem_bound("cubic-newton", N, hessian_lipschitz=M, gap=float(value[0] - value[-1]))
    assert np.all(np.minimum.accumulate(r) <= bound)
    assert np.linalg.norm(slope[-1]) < 1e-10
    assert float(jnp.linalg.eigvalsh(curve[-1])[0]) > 0


@pytest.mark.thorough
def test_a_krylov_space_as_large_as_the_whole_gives_the_same_step():
    f = wavy()
    whole = went(tw.dynamics.newton_type("cubic", 1.0), f, 3).seen
    krylov = went(tw.dynamics.newton_type("cubic", 1.0, krylov=7), f, 3).seen
    np.testing.assert_allclose(krylov[1], whole[1], atol=0.05)
    state = paths(tw.dynamics.newton_type("cubic", 1.0, krylov=7), f, f.start, 1, 3, over=()).last
    assert int(state.evaluations) == 3 * (1 + 2 * 7)
    assert int(state.memory[2]) == 3 * 7
    full = tw.dynamics.newton_type("cubic", 1.0, krylov=8)
    np.testing.assert_allclose(went(full, f, 3).seen, whole, rtol=1e-12)


@cache
def krylov_minimisers() -> np.ndarray:
    found, space, g = [START], [], H @ START
    for _ in range(4):
        space.append(g)
        K = np.stack(space, 1)
        w = START - K @ np.linalg.solve(K.T @ H @ K, K.T @ H @ START)
        found.append(w)
        g = H @ w
    return np.array(found)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["conjugate-gradients", "bfgs", "dfp"])
def test_with_an_exact_search_they_are_conjugate_gradients(name):
    """On a quadratic each iterate is the minimiser over the Krylov space, the fourth exact."""
    path = went(made(name), bowl(), 4)
    np.testing.assert_allclose(path.seen, krylov_minimisers(), atol=2e-7)


@pytest.mark.thorough
def test_agmsdr_keeps_both_of_its_bounds_and_never_rises():
    lam = np.geomspace(1e-4, 1, 50)
    start = jnp.asarray(np.random.default_rng(0).normal(size=50))
    problem = tw.problems.Quadratic(lam, np.zeros(50), start)
    told = lambda problem, state: (problem.objective(state.params), state.memory)  # noqa: E731
    found = paths(tw.dynamics.agmsdr(), problem, start, 1, 80, observe=told, over=())
    loss, memory = found.seen
    N = np.arange(1, 81)
    R = float(jnp.linalg.norm(start))
    share = loss[1:] / theorem_bound("agmsdr-convex", N, smoothness=1.0, distance=R)
    assert np.max(share) < 0.2
    assert np.all(np.diff(loss) <= 0)
    assert np.all(memory.weight[1:] >= N**2 / 4)
    f, L = wavy(), 5.0
    loss, memory = paths(tw.dynamics.agmsdr(), f, f.start, 1, 40, observe=told, over=()).seen
    assert np.all(np.diff(loss) <= 1e-15)
    bound = theorem_bound("agmsdr", N[:40], smoothness=L, gap=float(loss[0] - loss[-1]))
    assert np.all(memory.squared_gradient[1:] <= bound)


def test_heavy_ball_is_caught_in_its_cycle_and_nesterov_is_not():
    trap = tw.problems.heavy_ball_trap(3.3)
    cycle = sorted(np.array([792, -2208, 2592]) / 1225)
    ball = method("heavy-ball", smoothness=25.0, convexity=1.0)
    ends = went(ball, trap, 300).seen[-3:, 0]
    np.testing.assert_allclose(sorted(ends), cycle, atol=1e-9)
    other = method("nesterov-constant", smoothness=25.0, convexity=1.0)
    assert abs(float(went(other, trap, 300).seen[-1, 0])) < 1e-10


@pytest.mark.thorough
def test_the_chain_obeys_the_floor_and_the_bound():
    chain = tw.problems.hard_chain(41)
    path = went(method("nesterov", smoothness=1.0), chain, 20)
    gap = np.array([float(chain.objective(w)) for w in path.seen[1:]])
    N = np.arange(1, 21)
    lower = tw.theory.lower_bounds.best_in_span(1.0, N)
    assert np.all(gap >= lower)
    bound = theorem_bound("nesterov", N, smoothness=1.0, convexity=0.0, distance=np.sqrt(41))
    assert np.all(gap <= bound)
    assert np.all(np.count_nonzero(path.seen, axis=1) == np.arange(21))


SADDLE = Function(
    lambda x: 0.5 * x[0] ** 2 + 0.25 * x[1] ** 4 - 0.5 * x[1] ** 2, start=jnp.array([1.0, 0.0])
)


@pytest.mark.thorough
def test_a_perturbed_descent_leaves_a_saddle_from_every_seed_and_is_else_plain():
    keys = jax.random.split(jax.random.key(0), 50)
    kicked = tw.dynamics.perturbed_descent(0.1)
    ends = paths(kicked, SADDLE, SADDLE.start, 600, 1, key=keys, over=("key",)).seen[:, -1]
    np.testing.assert_allclose(jax.vmap(SADDLE.objective)(ends), -0.25, atol=1e-6)
    quiet = tw.dynamics.perturbed_descent(0.1, threshold=1e-30)
    plain = tw.gradient_descent(0.1)
    np.testing.assert_array_equal(went(quiet, SADDLE, 30).seen, went(plain, SADDLE, 30).seen)
    assert float(jnp.abs(went(plain, SADDLE, 600).seen[-1]).max()) < 1e-12


@pytest.mark.thorough
def test_moves_fill_the_ball_evenly():
    from thalweg.dynamics.methods.perturbed import _in_ball

    keys = jax.random.split(jax.random.key(1), 4000)
    points = jax.vmap(lambda k: _in_ball({"a": jnp.zeros(2), "b": jnp.zeros(())}, k))(keys)
    r = np.sqrt(np.sum(np.asarray(points["a"]) ** 2, 1) + np.asarray(points["b"]) ** 2)
    assert r.max() <= 1
    np.testing.assert_allclose(np.mean(r**3), 0.5, atol=4 * 0.29 / np.sqrt(4000))
    assert abs(float(np.mean(np.asarray(points["b"])))) < 4 / np.sqrt(5 * 4000)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "newtno"}, "Did you mean 'newton'"),
        ({"name": "heavy-ball", "smoothness": 2.0}, "give convexity="),
        ({"name": "heavy-ball", "smoothness": 1.0, "convexity": 2.0}, "above smoothness"),
        ({"name": "agmsdr", "smoothness": 1.0}, "takes no constant 'smoothness'; it takes none"),
        ({"name": "gradient-descent", "smoothness": -1.0}, "give a positive number"),
        ({"name": "newton", "krylov": 1.5}, "whole number from 0"),
    ],
)
def test_bad_input_is_one_sentence(arguments, told):
    with pytest.raises(InputError, match=told):
        method(**arguments)


def test_what_optimistix_keeps_programs_in_is_refused():
    with pytest.raises(InputError, match="carries programs"):
        went(tw.dynamics.optimistix_dynamics(optx.LBFGS(1e-8, 1e-8)), bowl(), 1)
    with pytest.raises(InputError, match=r"give optimistix\.BFGS"):
        tw.dynamics.optimistix_dynamics(optx.NelderMead(1e-8, 1e-8))
