"""The preconditioned flow against closed forms, SciPy, tighter runs and Optax's own steps."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array, Float
from scipy.integrate import quad, solve_ivp

import thalweg as tw
from thalweg.core.result import Result
from thalweg.dynamics import preconditioned_flow
from thalweg.problems import Function, Problem

TIMES = np.array([0.0, 1e-9, 0.01, 0.3, 1.0])
FORGETS = {"first": 8.0, "second": 2.0}  # rates of the averages


def decay(rate: float, step_size: float) -> float:
    return float(np.exp(-rate * step_size))


def run(problem, flow, times=TIMES):
    return tw.run(problem, flow, times=times, progress=False)


def gaps(path, truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(path.parameters.values[0] - truth, axis=-1)


def slope(g: list[float]) -> Function:
    """A constant gradient: what all averages are of is known."""
    return Function(lambda x: jnp.sum(jnp.asarray(g) * x), np.zeros(len(g)))


def test_a_constant_gradient_is_corrected_exactly():
    """m^ = g and v^ = g^2 at all times: theta = -t g/(|g| + epsilon), at any size of g."""
    g = np.array([3.0, -0.02, 1e-6, 0.0])
    path = run(slope(g.tolist()), preconditioned_flow(0.01, 0.9, 0.99, epsilon=1e-3, error=1e-9))
    truth = -TIMES[:, None] * g / (np.abs(g) + 1e-3)
    np.testing.assert_allclose(path.parameters.values[0], truth, rtol=1e-9, atol=1e-15)
    np.testing.assert_array_equal(path.dataset["time"], TIMES)


@pytest.mark.thorough
def test_weight_decay_acts_beside_the_gradient():
    """theta' = -sign(g) - omega theta, from 0."""
    flow = preconditioned_flow(0.01, 0.9, 0.99, epsilon=0.0, weight_decay=0.7, error=1e-8)
    truth = -np.sign([3.0, -0.02]) * (1 - np.exp(-0.7 * TIMES[:, None])) / 0.7
    path = run(slope([3.0, -0.02]), flow)
    assert np.all(gaps(path, truth) <= 3 * path.dataset["path_error"].values[0] + 1e-14)
    assert np.all(gaps(path, truth) < 1e-7)


@pytest.mark.parametrize("centred", [False, True])
def test_an_uncorrected_start_has_infinite_speed(centred):
    """theta' = -sign(g)/sqrt(s + epsilon_root/g^2), s = 1 - exp(-alpha t), or s(1 - s) centred."""
    g, rate = np.array([3.0, -0.02]), -np.log(0.9) / 0.01
    flow = preconditioned_flow(
        0.01, 0.0, 0.9, epsilon=0.0, epsilon_root=1e-6, corrected=False, centred=centred, error=1e-6
    )

    def way(until: float, size: float) -> float:
        def speed(u: float) -> float:
            share = -np.expm1(-rate * u**2)
            return 2 * u / np.sqrt(share * (1 - share * centred) + 1e-6 / size**2)

        return quad(speed, 0, np.sqrt(until), epsabs=1e-13, epsrel=1e-12, limit=200)[0]

    truth = np.array([[-np.sign(x) * way(t, abs(x)) for x in g] for t in TIMES])
    path = run(slope(g.tolist()), flow)
    assert np.all(gaps(path, truth) <= 3 * path.dataset["path_error"].values[0] + 1e-12)
    assert np.all(gaps(path, truth) < 1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("momentum", [False, True])
def test_a_frozen_second_moment_gives_the_linear_closed_form(momentum):
    """theta' = -lambda theta/D, or with an average of gradients an oscillator with damping."""
    curvature, start, rate = np.array([2.4, 0.1]), np.array([1.0, -2.0]), 5.0
    divisor = np.sqrt(4.0) + 0.5
    problem = Function(lambda x: 0.5 * jnp.sum(curvature * x**2), start)
    flow = preconditioned_flow(
        1.0, decay(rate, 1.0) if momentum else 0.0, 1 - 1e-15, epsilon=0.5, initial=4.0,
        corrected=False, error=1e-8,
    )  # fmt: skip
    t, pull = TIMES[:, None], curvature / divisor
    truth = start * np.exp(-pull * t)
    if momentum:  # from rest, as m starts at 0
        roots = (-rate + np.array([[1.0], [-1.0]]) * np.sqrt(rate**2 - 4 * rate * pull)) / 2
        truth = (
            start
            * (roots[1] * np.exp(roots[0] * t) - roots[0] * np.exp(roots[1] * t))
            / (roots[1] - roots[0])
        )
    path = run(problem, flow)
    assert np.all(gaps(path, truth) <= 3 * path.dataset["path_error"].values[0] + 1e-12)
    assert np.all(gaps(path, truth) < 1e-7)


KINDS = {
    "Adam": {"b1": 0.9, "b2": 0.98},
    "AdamW": {"b1": 0.9, "b2": 0.98, "weight_decay": 0.4},
    "RMSProp": {"b1": 0.0, "b2": 0.98, "epsilon": 0.0, "epsilon_root": 1e-4, "corrected": False},
    "RMSProp from 1": {
        "b1": 0.0,
        "b2": 0.9,
        "epsilon": 0.0,
        "epsilon_root": 1e-8,
        "corrected": False,
        "initial": 1.0,
    },
    "RMSProp, corrected": {"b1": 0.0, "b2": 0.98},
    "RMSProp from 1, centred": {
        "b1": 0.0,
        "b2": 0.98,
        "epsilon": 0.0,
        "epsilon_root": 1e-3,
        "corrected": False,
        "initial": 1.0,
        "centred": True,
    },
}


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_equation_that_scipy_solves(kind):
    """The equations as they stand in the module, from just after time zero, in training time."""
    numbers = {"epsilon": 1e-8, "epsilon_root": 0.0, "weight_decay": 0.0, "initial": 0.0}
    numbers |= {"corrected": True} | KINDS[kind]
    curvature, start = np.array([2.4, 0.1, 0.6]), np.array([1.0, -1.0, 2.0])
    a1 = -np.log(numbers["b1"]) / 0.01 if numbers["b1"] else None
    a2 = -np.log(numbers["b2"]) / 0.01
    centred = numbers.get("centred", False)
    a1 = a2 if centred else a1

    def gradient(x):
        return curvature * x + 0.4 * np.sum(x) ** 3

    problem = Function(lambda x: 0.5 * jnp.sum(curvature * x**2) + 0.1 * jnp.sum(x) ** 4, start)

    def rates(t, y):
        x, m, v = y[:3], y[3:6], y[6:]
        g = gradient(x)
        if numbers["corrected"]:
            m_hat = g if a1 is None else m / -np.expm1(-a1 * t)
            v_hat = v / -np.expm1(-a2 * t)
        else:
            m_hat, v_hat = (g if a1 is None or centred else m), v - centred * m**2
        d = np.sqrt(v_hat + numbers["epsilon_root"]) + numbers["epsilon"]
        moved = -m_hat / d - numbers["weight_decay"] * x
        return np.concatenate([moved, (a1 or 0) * (g - m), a2 * (g**2 - v)])

    begin, g = 1e-10, gradient(start)
    m = g * -np.expm1(-(a1 or 0) * begin)
    v = numbers["initial"] + (g**2 - numbers["initial"]) * -np.expm1(-a2 * begin)
    y = np.concatenate([start, m, v])
    times = np.array([0.0, 0.003, 0.05, 0.4])
    solved = solve_ivp(
        rates, (begin, 0.4), y, method="DOP853", t_eval=times[1:], rtol=1e-11, atol=1e-13
    )
    path = run(problem, preconditioned_flow(0.01, **KINDS[kind], error=1e-6), times)
    assert np.all(path.dataset["result"] == 0)
    missed = gaps(path, np.vstack([start, solved.y[:3].T]))
    # What happened before SciPy began is left out there.
    left_out = 1e-9 if numbers["corrected"] or numbers["initial"] else 1e-6
    assert np.all(missed <= 3 * path.dataset["path_error"].values[0] + left_out)
    assert np.all(missed < 1e-5)


def optax_of(kind: str, step_size: float) -> optax.GradientTransformation:
    b1, b2 = (decay(FORGETS[name], step_size) for name in ("first", "second"))
    return {
        "Adam": optax.adam(step_size, b1, b2),
        "AdamW": optax.adamw(step_size, b1, b2, weight_decay=0.5),
        "RMSProp": optax.rmsprop(step_size, b2),
        "RMSProp from 1": optax.rmsprop(step_size, b2, initial_scale=1.0),
        "RMSProp, corrected": optax.rmsprop(step_size, b2, bias_correction=True, eps_in_sqrt=False),
        "RMSProp from 1, centred": optax.rmsprop(
            step_size, b2, eps=1e-3, initial_scale=1.0, centered=True
        ),
    }[kind]


def limit_of(kind: str, step_size: float, error: float) -> tw.dynamics.PreconditionedFlow:
    b1, b2 = (decay(FORGETS[name], step_size) for name in ("first", "second"))
    given = {k: v for k, v in KINDS[kind].items() if k not in ("b1", "b2", "weight_decay")}
    if kind.startswith("RMSProp"):
        b1 = 0.0
        if "corrected" in given and "centred" not in given:
            given["epsilon_root"] = 1e-8
    if kind == "AdamW":
        given["weight_decay"] = 0.5
    return preconditioned_flow(step_size, b1, b2, **given, error=error)


def distances(problem: Problem, kind: str, step_sizes: list[float], until: float) -> np.ndarray:
    """Largest distance of Optax's steps from the flow at four times, for each step size."""
    found = []
    for step_size in step_sizes:
        steps = tw.optax_dynamics(optax_of(kind, step_size), step_size)
        a = tw.run(problem, steps, until=until, records=4, progress=False)
        b = run(problem, limit_of(kind, step_size, 1e-6), a.dataset["time"].values)
        table = tw.distance(a, b)
        assert float(table["distance_error"].max()) < 1e-3 * float(table["distance"].max())
        found.append(float(table["distance"].max()))
    return np.array(found)


BENT = Function(
    lambda x: 0.5 * jnp.sum(jnp.array([2.4, 0.1, 0.5]) * x**2) + 0.1 * jnp.sum(x) ** 4,
    jnp.array([1.0, -1.0, 2.0]),
)


@pytest.mark.thorough(after=1)
@pytest.mark.parametrize("kind", KINDS)
def test_optax_steps_keep_a_distance_in_proportion_to_the_step(kind):
    """As the step is halved at fixed rates of forgetting; as its root from an uncorrected v = 0."""
    found = distances(BENT, kind, [0.04, 0.02, 0.01, 0.005, 0.0025], 0.64)
    order = np.log2(found[:-1] / found[1:])
    if kind == "RMSProp":
        assert np.all(np.diff(order) > 0)
        assert 0.40 < order[-1] < 0.52
    else:
        assert 0.97 < order[-1] < 1.03


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["Adam", "RMSProp from 1"])
def test_so_they_do_on_a_net(kind):
    net = tw.problems.digits(tw.models.mlp([8], "tanh"), "squared-error", samples=50)
    found = distances(net, kind, [0.01, 0.005, 0.0025, 0.00125], 0.32)
    order = np.log2(found[:-1] / found[1:])
    assert np.all(np.abs(order - 1) < 0.12), order


class Bent(Problem):
    """Quadratics with a quartic, whose numbers are data, so that many are solved at once."""

    curvature: Float[Array, " p"]
    start: Float[Array, " p"]

    def init(self, key):
        return self.start

    def objective(self, params):
        return 0.5 * jnp.sum(self.curvature * params**2) + 0.05 * jnp.sum(params) ** 4


@eqx.filter_jit
def followed(problems: Bent, flow: tw.dynamics.PreconditionedFlow, times):
    """Parameters, path errors and codes (problem, time) of many problems at once."""

    def one(problem):
        def on(state, until):
            state = flow.advance(problem, state, until, jnp.asarray(100_000))
            return state, (state.params, flow.path_error(problem, state), state.result)

        return jax.lax.scan(on, flow.init(problem, problem.start), times)[1]

    return eqx.filter_vmap(one)(problems)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["tsit5", "bosh3"])
def test_the_reported_error_covers_the_true_one(kind, solver):
    """At all times on 9 of 10 problems, against another solver at a far tighter tolerance."""
    rng = np.random.default_rng(3)
    curvature = 10.0 ** rng.uniform(-2, 1.5, (24, 4))
    problems = Bent(jnp.asarray(curvature), jnp.asarray(rng.normal(size=(24, 4))))
    numbers = {k: v for k, v in KINDS[kind].items() if k not in ("b1", "b2")}
    b1 = 0.9 if KINDS[kind]["b1"] else 0.0
    times = jnp.asarray([0.01, 0.1, 0.4])
    truth = followed(
        problems, preconditioned_flow(0.02, b1, 0.98, **numbers, rtol=1e-10, solver="dopri8"), times
    )
    for asked in (1e-2, 1e-4):
        flow = preconditioned_flow(0.02, b1, 0.98, **numbers, error=asked, solver=solver)
        params, reported, result = map(np.asarray, followed(problems, flow, times))
        assert np.all(result == Result.OK)
        error = np.linalg.norm(params - np.asarray(truth[0]), axis=-1)
        scale = np.linalg.norm(np.asarray(problems.start), axis=-1)[:, None]
        assert np.mean(np.all(error <= reported + 1e-9 * scale, axis=1)) >= 0.9
        assert np.mean(error <= asked * scale) >= 0.95
        assert np.mean(reported <= asked * scale) >= 0.95


@pytest.mark.thorough
def test_in_float32_rounding_is_in_the_error():
    net = tw.problems.digits(tw.models.mlp([8], "tanh"), "squared-error", samples=50)
    single = tw.problems.digits(
        tw.models.mlp([8], "tanh"), "squared-error", samples=50, precision="float32"
    )
    flow = preconditioned_flow(0.01, 0.9, 0.98, error=1e-3)
    times = [0.0, 0.1, 0.3]
    start = net.init(jax.random.key(0))
    low = jax.tree.map(lambda a: a.astype(jnp.float32), start)
    start = jax.tree.map(lambda a: a.astype(jnp.float64), low)
    options = {"times": times, "progress": False}
    exact = tw.run(net, flow.asked(1e-6), start=start, **options)
    path = tw.run(single, flow, start=low, **options)
    assert str(path.parameters.dtype) == "float32"
    missed = np.linalg.norm(path.parameters.values[0] - exact.parameters.values[0], axis=-1)
    assert np.all(missed <= 5 * path.dataset["path_error"].values[0])


def test_it_ends_at_most_gradients_and_says_so():
    flow = preconditioned_flow(0.01, error=1e-4, most_gradients=200)
    path = tw.run(BENT, flow, until=50.0, records=4, progress=False)
    assert int(path.dataset["result"].max()) == Result.STEP_LIMIT
    assert 200 <= int(path.dataset["evaluations"].max()) < 230
    assert any("used up its steps" in doubt for doubt in path.doubts)


@pytest.mark.thorough
def test_its_preconditioner_is_measured_along_it():
    """D = |g| + epsilon for a constant gradient, so 1/D scales the curvature of a quadratic."""
    weak = Function(
        lambda x: jnp.sum(jnp.array([3.0, 0.5]) * x) + 5e-7 * jnp.sum(x**2), np.zeros(2)
    )
    path = tw.run(
        weak, preconditioned_flow(0.01, epsilon=0.1, error=1e-6), until=0.1, records=1,
        probes=tw.probes.preconditioned_sharpness(),
    )  # fmt: skip
    assert float(path.dataset["preconditioned_sharpness"][0, -1]) == pytest.approx(1e-6 / 0.6, 1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"b1": 1.0}, "b1 came as 1.0"),
        ({"b2": 0.0}, "b2 came as 0.0"),
        ({"epsilon": -1e-8}, "epsilon came as -1e-08"),
        ({"initial": 1.0}, "give corrected=False"),
        ({"centred": True}, "give b1=0, corrected=False"),
        ({"solver": "rkc2"}, "the flow solver rkc2 is for symmetric curvature"),
        ({"solver": "euler"}, "flow solver"),
        ({"error": 1.0}, "error came as 1.0"),
        ({"error": 1e-3, "rtol": 1e-3}, "give one"),
        ({"most_gradients": 0}, "most_gradients came as 0"),
        ({"step_size": 0.0}, "step size came as 0.0"),
    ],
)
def test_bad_numbers_get_a_sentence(words, said):
    with pytest.raises(tw.InputError, match=said):
        preconditioned_flow(**({"step_size": 0.01} | words))
