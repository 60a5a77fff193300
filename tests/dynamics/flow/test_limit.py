"""The limit of gradient flow against closed forms, conserved quantities and brute force."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.core.result import Result
from thalweg.dynamics.flow.landing import land
from thalweg.problems import Function, Problem
from thalweg.problems.closed_form import Factorisation, Quadratic


def flat(params) -> np.ndarray:
    return np.asarray(ravel_pytree(params)[0])


def away(limit: tw.Limit, truth) -> float:
    return float(np.linalg.norm(flat(limit.params) - flat(truth)))


def followed(problem: Problem, params, until: float, method: str = "DOP853") -> np.ndarray:
    """The flow by SciPy, which knows nothing of ours; Radau where it is stiff."""
    theta, unravel = ravel_pytree(params)
    gradient = jax.grad(lambda v: problem.objective(unravel(v)))
    slope, bend = jax.jit(gradient), jax.jit(jax.jacobian(gradient))
    options = {"jac": lambda _, y: -np.asarray(bend(y))} if method == "Radau" else {}
    path = solve_ivp(
        lambda _, y: -np.asarray(slope(y)), (0, until), np.asarray(theta), method,
        rtol=1e-10 if method == "Radau" else 1e-12, atol=1e-14, t_eval=[until], **options,
    )  # fmt: skip
    assert path.success
    return path.y[:, -1]


TRACES: list[str] = []


class Polynomial(Problem):
    """f = sum_i sum_k c_ik x_i^k, whose coefficients are data: compiled once."""

    coefficients: Float[Array, "2 8"] = eqx.field(converter=jnp.asarray)

    def init(self, key):
        return jnp.zeros(2)

    def objective(self, params):
        powers = jnp.cumprod(jnp.broadcast_to(params[:, None], (2, 8)), axis=1)
        return jnp.sum(self.coefficients * powers)


def polynomial(first: dict[int, float], second: dict[int, float]) -> Polynomial:
    coefficients = np.zeros((2, 8))
    for row, terms in zip(coefficients, (first, second), strict=True):
        for power, value in terms.items():
            row[power - 1] = value
    return Polynomial(coefficients)


class Product(Problem):
    """f = (u . v - 1)^2 / 2, whose flow turns (u, v) hyperbolically: u_i^2 - v_i^2 stays."""

    start: Float[Array, "2 d"]

    def init(self, key):
        return self.start

    def objective(self, params):
        TRACES.append("objective")
        return 0.5 * (jnp.dot(params[0], params[1]) - 1) ** 2

    def limit(self) -> np.ndarray:
        """u(s) = u cosh s + v sinh s, v(s) = v cosh s + u sinh s up to u . v = 1."""
        u, v = np.asarray(self.start)

        def turned(s):
            return u * np.cosh(s) + v * np.sinh(s), v * np.cosh(s) + u * np.sinh(s)

        # Monotone in s: its derivative is |u|^2 + |v|^2 > 0.
        return np.stack(turned(brentq(lambda s: np.dot(*turned(s)) - 1, -30, 30, xtol=1e-15)))


@pytest.fixture(scope="module")
def net():
    """Eight points and a tanh net with room for them: the loss ends at zero."""
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(8, 2)), 0.7 * rng.normal(size=(8, 1))
    problem = tw.problems.supervised(tw.models.mlp([5, 5], "tanh"), (x, y), "squared-error")
    return problem, problem.init(jax.random.key(2))


@pytest.fixture(scope="module")
def net_limit(net):
    return followed(*net, until=600.0)


@pytest.fixture(scope="module")
def near(net, net_limit):
    """Starts near the minima, with their limits."""
    problem, params = net
    rng, unravel = np.random.default_rng(3), ravel_pytree(params)[1]
    starts = [unravel(jnp.asarray(net_limit + 0.03 * rng.normal(size=51))) for _ in range(2)]
    return [(start, followed(problem, start, 450.0, method="Radau")) for start in starts]


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("error", [1e-3, 1e-9])
def test_of_a_quadratic_is_a_projection(error):
    """Null directions stay, the others go to -b/h, over five orders of curvature."""
    rng = np.random.default_rng(0)
    curvature = np.concatenate([np.zeros(5), np.logspace(-4, 1, 20)])
    start, slope = rng.normal(size=25), curvature * rng.normal(size=25)
    truth = np.where(curvature > 0, -slope / np.where(curvature > 0, curvature, 1), start)
    limit = tw.flow_limit(Quadratic(curvature, slope, start), jnp.asarray(start), error=error)
    assert limit.result == Result.OK
    assert limit.error <= error * max(np.linalg.norm(start), np.linalg.norm(truth))
    # What rounding does to -b/h is not counted.
    assert away(limit, truth) <= 5 * limit.error + 1e-16 / curvature[5]
    assert limit.finished == "polish"
    assert limit.time < 0.1 * np.log(1 / error) / curvature[5]


def test_of_least_squares_is_the_nearest_solution():
    """Rank 3 of 6, data off the range: theta - A^+ (A theta - b), at a loss above zero."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(6, 3)) @ rng.normal(size=(3, 10))
    data = inputs, rng.normal(size=(6, 1))
    problem = tw.problems.supervised(tw.models.mlp([], "tanh"), data, "squared-error")
    start, unravel = ravel_pytree(problem.init(jax.random.key(0)))
    outputs = lambda v: problem.outputs(unravel(v))[:, 0]  # noqa: E731
    matrix = np.asarray(jax.jacobian(outputs)(start))
    residual = np.asarray(outputs(start) - problem.targets[:, 0])
    truth = np.asarray(start) - np.linalg.pinv(matrix, rcond=1e-12) @ residual
    limit = tw.flow_limit(problem, unravel(start))
    assert limit.result == Result.OK
    assert away(limit, truth) <= max(5 * limit.error, 1e-13)
    assert limit.loss == pytest.approx(float(problem.objective(unravel(jnp.asarray(truth)))))
    assert limit.loss > 0.01


class Pulled(tw.problems.Supervised):
    """Twice a squared error and a term beside it, of which J^T J tells nothing."""

    def objective(self, params):
        return 2 * super().objective(params) + 0.05 * jnp.sum((ravel_pytree(params)[0] - 1) ** 2)


@pytest.mark.thorough
def test_a_squared_error_with_more_is_not_polished_as_one():
    x = np.random.default_rng(0).normal(size=(4, 2))
    y = np.random.default_rng(1).normal(size=(4, 1))
    plain = tw.problems.supervised(tw.models.mlp([3]), (x, y))
    pulled = Pulled(**{name: getattr(plain, name) for name in plain.__dataclass_fields__})
    end = tw.flow_limit(pulled, pulled.init(jax.random.key(0)))
    assert (int(end.result), end.finished) == (Result.OK, "polish")
    slope = jax.grad(pulled.objective)(end.params)
    assert float(jnp.linalg.norm(ravel_pytree(slope)[0])) < 1e-9


@pytest.mark.parametrize("start", [(2.0, 0.1), (0.3, 0.2), (0.01, 0.001), (-1.0, 0.1), (1.5, 1.4)])
@pytest.mark.parametrize("error", [1e-3, 1e-6, 1e-9])
def test_of_a_product_of_two_numbers(start, error):
    """u^2 - v^2 = c stays and uv = 1: u^2 = (c + sqrt(c^2 + 4)) / 2."""
    u, v = start
    c = u**2 - v**2
    end = np.sign(u + v) * np.sqrt((c + np.sqrt(c**2 + 4)) / 2)
    truth = np.asarray([[end], [1 / end]])
    problem = Product(jnp.asarray([[u], [v]]))
    np.testing.assert_allclose(problem.limit(), truth, rtol=1e-12)
    limit = tw.flow_limit(problem, problem.start, error=error)
    assert limit.result == Result.OK
    assert away(limit, truth) <= 5 * limit.error
    assert limit.error <= error * max(np.linalg.norm(start), np.linalg.norm(truth))
    assert limit.gradient_norm < 1e-8


@pytest.mark.slow
def test_of_a_deep_linear_net_keeps_its_balancedness():
    """W_{j+1}^T W_{j+1} - W_j W_j^T is conserved and the product ends at the target."""
    rng = np.random.default_rng(2)
    weights = [jnp.asarray(0.4 * rng.normal(size=s)) for s in ((4, 5), (4, 4), (3, 4))]
    problem = Factorisation(rng.normal(size=(3, 5)), weights)

    def balancedness(w):
        return np.concatenate([(b.T @ b - a @ a.T).ravel() for a, b in itertools.pairwise(w)])

    truth = followed(problem, weights, until=100.0)
    for error in (1e-3, 1e-8):
        limit = tw.flow_limit(problem, weights, error=error)
        assert limit.result == Result.OK
        assert away(limit, truth) <= 5 * limit.error + 1e-11
        product = limit.params[2] @ limit.params[1] @ limit.params[0]
        assert np.linalg.norm(product - problem.target) < 1e-1 * error
        drift = np.linalg.norm(balancedness(limit.params) - balancedness(weights))
        norm = np.linalg.norm(flat(limit.params))
        assert drift <= 5 * limit.error * 4 * norm  # |d(W^T W)| <= 2 |W| |dW|, twice


@pytest.mark.slow
def test_of_a_net_against_brute_force(net, net_limit):
    """Curvatures from 0.04 to 17: the flow takes 500 units of time for eight digits."""
    problem, params = net
    unravel = ravel_pytree(params)[1]
    hessian = jax.jit(jax.hessian(lambda v: problem.objective(unravel(v))))
    spectrum = np.linalg.eigvalsh(hessian(jnp.asarray(net_limit)))
    positive = spectrum[spectrum > 1e-9 * spectrum[-1]]
    assert positive.size == 8
    assert positive[-1] > 300 * positive[0]
    for error in (1e-3, 1e-5, 1e-7):
        limit = tw.flow_limit(problem, params, error=error)
        assert limit.result == Result.OK
        assert away(limit, net_limit) <= 5 * limit.error
        assert limit.time < 300
        assert limit.evaluations < 20_000


def test_costs_less_than_waiting(net, near):
    """Than the best flow that stops as soon as it is near enough, which it cannot know."""
    problem, _ = net
    start, truth = near[0]
    limit = tw.flow_limit(problem, start, error=1e-7)
    flow = tw.gradient_flow(error=3e-8)
    advance = eqx.filter_jit(flow.advance)
    state, time = eqx.filter_jit(flow.init)(problem, start), limit.time
    while np.linalg.norm(flat(state.params) - truth) > 1e-7 * np.linalg.norm(truth):
        time *= 1.25
        state = advance(problem, state, jnp.asarray(time), jnp.asarray(10**5))
    assert int(state.evaluations) > 1.3 * limit.evaluations
    assert float(state.time) > 2 * limit.time


def test_the_error_returned_is_the_error_made(net, near):
    """The truth is within 5 times the error in 95 per cent of the cases at least."""
    rng = np.random.default_rng(4)
    ratios = []
    for case in range(30):
        start = rng.normal(size=(2, 3)) * 10.0 ** rng.uniform(-2, 0.5)
        problem = Product(jnp.asarray(start))
        truth = problem.limit()
        for error in (1e-2, 1e-4, 1e-6, 1e-8)[case % 2 :: 2]:
            limit = tw.flow_limit(problem, problem.start, error=error)
            assert limit.result == Result.OK
            ratios.append(away(limit, truth) / limit.error)
    problem, _ = net
    for start, truth in near:
        for error in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
            limit = tw.flow_limit(problem, start, error=error)
            assert limit.result == Result.OK
            ratios.append(away(limit, truth) / limit.error)
    assert len(ratios) == 72
    assert np.mean(np.asarray(ratios) <= 5) >= 0.95
    assert np.median(ratios) > 0.2  # nor is it idle


def test_is_idempotent_and_constant_along_the_flow(net):
    problem, params = net
    limit = tw.flow_limit(problem, params, error=1e-7)
    again = tw.flow_limit(problem, limit.params, error=1e-7)
    assert again.result == Result.OK
    assert again.finished == "flow"
    assert away(again, limit.params) <= limit.error
    assert again.evaluations < 0.1 * limit.evaluations
    unravel = ravel_pytree(params)[1]
    for time in (1.0, 20.0, 150.0):
        later = unravel(jnp.asarray(followed(problem, params, time)))
        there = tw.flow_limit(problem, later, error=1e-7)
        assert there.result == Result.OK
        assert away(there, limit.params) <= 5 * (there.error + limit.error)


def test_the_drift_along_the_minima():
    """The formulas of the module, on minima r = 0 along the c-axis: order 2, errors of order 3."""
    sigma = np.asarray([1.0, 2.0])
    bend = np.asarray([[0.7, -0.4], [0.3, 0.5]])

    def residual(theta):
        normal, c = theta[:2], theta[2]
        return sigma * (normal + c * (bend @ normal) + 0.2 * normal**2)

    def f(theta):
        return 0.5 * jnp.sum(residual(theta) ** 2)

    third = np.asarray(jax.jit(jax.jacfwd(jax.hessian(f)))(jnp.zeros(3)))
    second = np.asarray(jax.jit(jax.hessian(residual))(jnp.zeros(3)))
    # J = diag(sigma) on the normals, so that u_i and the eigenvectors of H are unit vectors.
    mixed = sigma[:, None] * second[:, 2, :2]
    np.testing.assert_allclose(third[2, :2, :2], mixed + mixed.T, atol=1e-14)

    problem = Function(f, jnp.zeros(3))
    rates = sigma**2
    normal = np.asarray([1.0, -0.8])
    pairs = np.outer(normal, normal) / (2 * (rates[:, None] + rates[None, :]))
    predicted = -np.sum(third[2, :2, :2] * pairs)
    assert abs(predicted) > 0.05
    drifts, errors, jumps = [], [], []
    for size in (0.04, 0.02):
        start = jnp.asarray([*(size * normal), 0.0])
        end = followed(problem, start, until=40.0)
        drifts.append(end[2])
        errors.append(abs(end[2] - predicted * size**2))
        jacobian = np.asarray(jax.jit(jax.jacobian(residual))(start))
        jump = np.asarray(start) - np.linalg.pinv(jacobian) @ np.asarray(residual(start))
        jumps.append(np.linalg.norm(jump - end))
    assert drifts[0] / drifts[1] == pytest.approx(4, rel=0.05)
    assert errors[0] / errors[1] == pytest.approx(8, rel=0.15)
    assert jumps[0] / jumps[1] == pytest.approx(4, rel=0.1)
    assert jumps[1] < 3 * np.max(np.abs(second)) / sigma[0] * (0.02 * np.linalg.norm(normal)) ** 2


def test_a_jump_is_the_end_of_the_linearised_flow():
    """On a quadratic, one landing at theta - H^+ grad f, without moving in the null space."""
    rng = np.random.default_rng(5)
    curvature = np.asarray([0.0, 0.0, 0.01, 0.1, 1.0, 3.0])
    start, slope = rng.normal(size=6), curvature * rng.normal(size=6)
    problem = Quadratic(curvature, slope, start)
    landing = land(
        problem, jnp.asarray(start), jnp.asarray(start), False, *map(jnp.asarray, (1e-9, 1.0, 1000))
    )
    gradient = curvature * start + slope
    truth = start - np.linalg.pinv(np.diag(curvature)) @ gradient
    assert bool(landing.sound)
    np.testing.assert_allclose(landing.theta, truth, atol=1e-9)
    np.testing.assert_array_equal(landing.theta[:2], start[:2])
    # Negative curvature that the force sees is refused.
    upset = Quadratic(curvature - 0.05, slope, start)
    landing = land(
        upset, jnp.asarray(start), jnp.asarray(start), False, *map(jnp.asarray, (1e-9, 1.0, 1000))
    )
    assert not bool(landing.sound)


SADDLE = polynomial({2: 0.5}, {2: -0.5, 4: 0.25})
NONE = {
    "slope": (polynomial({1: -1.0}, {1: 0.5}), [1.0, 1.0]),
    "runaway": (polynomial({4: -1.0}, {2: 1.0}), [1.0, 1.0]),
    "flat of order 8": (polynomial({8: 1.0}, {2: 1.0}), [1.0, 1.0]),
    "at a saddle": (SADDLE, [0.0, 0.0]),
    "onto a saddle": (SADDLE, [2.0, 0.0]),
}


@pytest.mark.parametrize("name", NONE)
def test_says_where_there_is_none_or_none_can_be_told(name):
    problem, start = NONE[name]
    limit = tw.flow_limit(problem, jnp.asarray(start), most_evaluations=5000)
    assert limit.result != Result.OK
    assert limit.error == np.inf
    assert limit.evaluations < 6000
    assert limit.finished == "flow"


def test_passes_a_saddle_by():
    """From 1e-6 beside the ridge the flow stays near the saddle for a time of 14, then leaves."""
    limit = tw.flow_limit(SADDLE, jnp.asarray([1.0, 1e-6]))
    assert limit.result == Result.OK
    assert away(limit, [0.0, 1.0]) <= max(5 * limit.error, 1e-14)
    assert limit.loss == pytest.approx(-0.25, rel=1e-12)


def test_kinks_are_not_believed():
    """Unless no more is asked than solvers reach on them."""
    bowl = Function(lambda t: jnp.sum(t**2), jnp.ones(1), is_smooth=False)
    limit = tw.flow_limit(bowl, jnp.ones(1))
    assert limit.error == np.inf
    assert limit.result == Result.NOT_CONVERGED
    assert tw.flow_limit(bowl, jnp.ones(1), error=0.02).result == Result.OK


@pytest.mark.parametrize("separable", [True, False])
def test_of_cross_entropy(separable):
    """No limit for separable data; else one, and a null direction of the softmax that stays."""
    rng = np.random.default_rng(7)
    inputs, labels = rng.normal(size=(20, 2)), rng.integers(0, 2, 20)
    if separable:
        labels = (inputs[:, 0] > 0).astype(int)
    problem = tw.problems.supervised(tw.models.mlp([], "tanh"), (inputs, labels))
    params = problem.init(jax.random.key(0))
    limit = tw.flow_limit(problem, params, error=1e-7, most_evaluations=20_000)
    if separable:
        assert limit.error == np.inf
        assert limit.result in (Result.STEP_LIMIT, Result.NOT_CONVERGED)
        assert limit.loss < 1e-3
        assert np.linalg.norm(flat(limit.params)) > 3 * np.linalg.norm(flat(params))
    else:
        assert limit.result == Result.OK
        assert away(limit, followed(problem, params, until=400.0)) <= 5 * limit.error + 1e-12


def test_a_gradient_norm_may_be_asked(net):
    problem, params = net
    loose = tw.flow_limit(problem, params, error=1e-3)
    tight = tw.flow_limit(problem, params, error=1e-3, gradient_norm=1e-12)
    assert tight.result == Result.OK
    assert tight.gradient_norm <= 1e-12 < loose.gradient_norm
    never = tw.flow_limit(problem, params, error=1e-3, gradient_norm=1e-30)
    assert never.result == Result.NOT_CONVERGED
    assert never.error < np.inf
    gradient = jax.grad(problem.objective)(tight.params)
    assert np.linalg.norm(flat(gradient)) == pytest.approx(tight.gradient_norm, rel=1e-3)
    assert float(problem.objective(tight.params)) == pytest.approx(tight.loss, rel=1e-3, abs=1e-30)


def test_work_is_bounded(net):
    problem, params = net
    for most in (100, 1000, 3000):
        limit = tw.flow_limit(problem, params, error=1e-9, most_evaluations=most)
        assert limit.evaluations <= 1.2 * most + 100
        assert limit.result == Result.STEP_LIMIT
        assert limit.error == np.inf


def test_other_starts_and_tolerances_compile_nothing():
    problem = Product(jnp.asarray([[2.0], [0.1]]))
    tw.flow_limit(problem, problem.start, error=1e-4)
    before = len(TRACES)
    other = Product(jnp.asarray([[0.5], [0.3]]))
    tw.flow_limit(other, other.start, error=1e-7, gradient_norm=1e-9)
    assert len(TRACES) == before


def test_keeps_float32():
    start = jnp.asarray([[2.0, 0.3], [0.1, -0.4]])
    problem = Product(start.astype(jnp.float32))
    limit = tw.flow_limit(problem, problem.start, error=1e-3)
    assert limit.result == Result.OK
    assert limit.params.dtype == jnp.float32
    assert away(limit, Product(start).limit()) <= 5 * limit.error


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"error": 0.0}, "error came as 0.0"),
        ({"error": 0.5}, "in \\[1e-12, 0.1\\]"),
        ({"error": np.nan}, "error came as nan"),
        ({"gradient_norm": -1.0}, "gradient_norm came as -1.0"),
        ({"most_evaluations": 10}, "at least 100"),
        ({"params": jnp.asarray([1.0, np.inf])}, "not finite"),
        ({"params": jnp.asarray([1, 2])}, "floating-point"),
    ],
)
def test_bad_arguments_are_told_in_a_sentence(change, sentence):
    problem = Function(lambda t: jnp.sum(t**2), jnp.ones(2))
    arguments = {"problem": problem, "params": jnp.ones(2)} | change
    with pytest.raises(InputError, match=sentence):
        tw.flow_limit(**arguments)


@pytest.mark.parametrize("off", [1e-30, 1e-8, -1e-3])
def test_a_flow_near_the_stable_line_of_a_saddle_goes_on_to_the_minimum(off):
    """f = x^2 - y^2 + y^4: from (1, y) to (0, +-1/sqrt 2), past the saddle at 0."""
    problem = Function(lambda z: z[0] ** 2 - z[1] ** 2 + z[1] ** 4, jnp.asarray([1.0, off]))
    found = tw.flow_limit(problem, jnp.asarray([1.0, off]))
    gap = np.linalg.norm(np.asarray(found.params) - [0.0, np.sign(off) / np.sqrt(2)])
    assert found.result == Result.OK
    assert gap <= 1e-6
    assert found.evaluations < 10_000


def test_the_saddle_itself_is_not_passed_off_as_a_limit():
    """On its stable line every landing is the saddle: no limit is claimed."""
    problem = Function(lambda z: z[0] ** 2 - z[1] ** 2 + z[1] ** 4, jnp.asarray([1.0, 0.0]))
    found = tw.flow_limit(problem, jnp.asarray([1.0, 0.0]), most_evaluations=3000)
    assert found.result == Result.STEP_LIMIT
    assert np.isinf(found.error)
