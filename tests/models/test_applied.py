"""Foreign models at the door: what is trained is right, and what cannot be is one sentence."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg import curvature, kernels
from thalweg.core import tree
from thalweg.models import Applied, Model, from_equinox
from thalweg.problems import supervised

pytestmark = pytest.mark.implicit  # models as users write them

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, LABELS, Y = RNG.normal(size=(8, 4)), RNG.integers(0, 3, 8), RNG.normal(size=(8, 3))
W = RNG.normal(size=(4, 3))
WAVES = RNG.normal(size=3) + 1j * RNG.normal(size=3)


def spectral(p, x):
    return jnp.fft.irfft(jnp.fft.rfft(x, axis=1)[:, :3] * p["w"], n=4, axis=1)[:, :3]


def normalised(p, x):
    z = x @ p["w"]
    return jnp.tanh((z - z.mean(0)) / jnp.sqrt(z.var(0) + 1e-5))


def flax_net(v, x):
    s = v["batch_stats"]
    return (x - s["mean"]) / jnp.sqrt(s["var"] + 1e-5) @ v["params"]["w"]


VARIABLES = {
    "params": {"w": W},
    "batch_stats": {"mean": X.mean(0), "var": X.var(0)},
}


def test_complex_weights_are_trained_as_pairs_of_real_ones():
    problem = supervised(Applied(spectral, start={"w": WAVES}), (X, Y))
    params = problem.init(KEY)
    assert tree.size(params) == 6
    np.testing.assert_array_equal(problem.outputs(params), spectral({"w": WAVES}, jnp.asarray(X)))

    def by_hand(theta):
        out = spectral({"w": theta[:3] + 1j * theta[3:]}, jnp.asarray(X))
        return 0.5 * jnp.mean(jnp.sum((out - Y) ** 2, 1))

    theta = jnp.concatenate([WAVES.real, WAVES.imag])
    dense = jax.hessian(by_hand)(theta)
    np.testing.assert_allclose(curvature.hessian(problem, params).dense(), dense, atol=1e-12)
    flow = tw.run(problem, tw.gradient_flow(error=1e-7), until=2.0, records=2)
    rate, basis = np.linalg.eigh(dense)
    shift = basis.T @ np.asarray(jax.grad(by_hand)(theta))
    phi = np.where(rate > 1e-12, np.expm1(-2 * rate) / np.maximum(rate, 1e-12), -2.0)
    moved = basis @ (phi * shift)
    np.testing.assert_allclose(flow.parameters.values[0, -1], theta + moved, atol=1e-6)


def test_counters_and_keys_are_held_fixed():
    start = {"w": W, "step": jnp.asarray(3), "key": KEY, "old": jax.random.PRNGKey(1)}
    seen = []

    def apply(p, x):
        seen.append(str(p["step"].dtype))
        return jnp.tanh(x @ p["w"]) * (p["step"] == 3)

    problem = supervised(Applied(apply, start=start), (X, LABELS))
    params = problem.init(KEY)
    assert tree.size(params) == 12
    assert curvature.hessian(problem, params).shape == (12, 12)
    assert set(seen) == {"int64"}
    decayed = tw.optax_dynamics(optax.adamw(0.1, weight_decay=0.5), 0.1)
    run = tw.run(problem, decayed, until=0.5, records=1)
    assert run.parameters.shape[-1] == 12
    assert float(run.dataset["loss"][0, -1]) < np.log(3) * 2
    assert problem.describe()["held fixed"] == ["key", "old", "step"]


def test_only_flax_params_are_parameters():
    z = (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-5)
    for model in (
        Applied(flax_net, start=VARIABLES),
        Applied(flax_net, lambda key: VARIABLES | {"params": {"w": jnp.asarray(W) + key.ndim}}),
        Applied(lambda v, x: (flax_net(v, x), {"batch_stats": {}}), start=VARIABLES),
    ):
        problem = supervised(model, (X, LABELS))
        params = problem.init(KEY)
        assert tree.size(params) == 12
        trace = jnp.trace(kernels.tangent_kernel(problem, params, outputs="trace"))
        assert float(trace) == pytest.approx(3 * (z**2).sum(), rel=1e-12)
    single = supervised(Applied(flax_net, start=VARIABLES), (X, LABELS), precision="float32")
    assert single.outputs(single.init(KEY)).dtype == jnp.float32


def test_what_is_held_may_not_differ_between_seeds():
    with pytest.raises(tw.InputError, match="draws rng anew for every seed"):
        Applied(lambda p, x: x @ p["w"], lambda key: {"w": jnp.ones((4, 3)), "rng": key})


def test_half_precision_weights_are_cast_up():
    half = jnp.asarray(W, jnp.bfloat16)
    problem = supervised(Applied(lambda p, x: x @ p, start=half), (X, Y))
    params = problem.init(KEY)
    assert params.dtype == jnp.float64
    np.testing.assert_allclose(problem.outputs(params), X @ np.asarray(half, float), rtol=1e-14)
    low = Applied(lambda p, x: (x @ p).astype(jnp.float16), start=half)
    with pytest.raises(tw.InputError, match="outputs came as float16; give real"):
        supervised(low, (X, Y))


def test_one_output_needs_no_second_axis():
    problem = supervised(Applied(lambda p, x: x @ p, start=W[:, 0]), (X, Y[:, 0]))
    assert problem.outputs(problem.init(KEY)).shape == (8, 1)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_batch_statistics_refuse_microbatches(size):
    model = Applied(normalised, start={"w": W})
    whole = supervised(model, (X, LABELS))
    z = X @ W
    out = np.tanh((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5))
    truth = np.mean(np.log(np.exp(out).sum(1)) - out[np.arange(8), LABELS])
    assert float(whole.objective(whole.init(KEY))) == pytest.approx(truth, rel=1e-12)
    assert not whole.model.separable
    for made in (model, tw.models.given_start(model, {"w": W})):
        with pytest.raises(tw.InputError, match=f"cannot be worked on {size} at a time"):
            supervised(made, (X, LABELS), microbatch=size)
    parts = supervised(Applied(lambda p, x: x @ p["w"], start={"w": W}), (X, Y), microbatch=size)
    assert float(parts.objective({"w": W})) == pytest.approx(
        0.5 * np.mean(((X @ W - Y) ** 2).sum(1)), rel=1e-12
    )


class SaysNo(Model):
    """A user's model with batch statistics, which inherits `separable`."""

    def init(self, key, inputs, outputs, dtype):
        return {"w": jnp.asarray(W, dtype)}

    def apply(self, params, x):
        return normalised(params, x)


class SaysYes(SaysNo):
    @property
    def separable(self):
        return False


def test_a_models_word_on_its_batch_is_checked():
    with pytest.raises(tw.InputError, match="SaysNo says that it is separable"):
        supervised(SaysNo(), (X, LABELS))
    assert not supervised(SaysYes(), (X, LABELS)).model.separable
    with pytest.raises(tw.InputError, match="Applied says that it is separable"):
        supervised(Applied(normalised, start={"w": W}, is_separable=True), (X, LABELS))
    fit = supervised(Applied(normalised, start={"w": W}), (X, Y))
    with pytest.raises(tw.InputError, match="no Jacobian of their own"):
        tw.run(fit, tw.dynamics.levenberg_marquardt(), until=1.0, records=1)


def test_random_outputs_are_refused():
    rng = np.random.default_rng(0)
    model = Applied(lambda p, x: x @ p * rng.normal(), start=W)
    with pytest.raises(tw.InputError, match="outputs differ between two calls"):
        supervised(model, (X, Y))


@pytest.mark.parametrize(
    ("apply", "sentence"),
    [
        (lambda p, x: (x @ p, x @ p), "apply function returns a tuple"),
        (lambda p, x: None, "apply function returns a NoneType"),
        (lambda p, x: x @ p * 1j, "outputs came as complex128"),
        (lambda p, x, key: x @ p, "missing 1 required positional argument: 'key'"),
        (lambda p, x: p["w"] @ x, "does not accept inputs of shape"),
        (lambda p, x: 1 / 0, "division by zero"),
    ],
)
def test_apply_functions_that_do_not_fit(apply, sentence):
    with pytest.raises(tw.InputError, match=sentence):
        supervised(Applied(apply, start=W), (X, Y))


class Net(eqx.Module):
    layer: eqx.nn.Linear
    norm: eqx.nn.BatchNorm

    def __init__(self, key):
        self.layer = eqx.nn.Linear(4, 3, key=key)
        self.norm = eqx.nn.BatchNorm(3, "examples", mode="batch")

    def __call__(self, x, state):
        return self.norm(self.layer(x), state)


def test_equinox_modules_with_a_state():
    net, state = eqx.nn.make_with_state(Net)(KEY)
    with pytest.raises(tw.InputError, match=r"module.norm.* keeps running averages"):
        from_equinox(net)
    problem = supervised(from_equinox(net, state=state), (X, Y))
    params = problem.init(KEY)
    assert tree.size(params) == 4 * 3 + 3 + 3 + 3
    z = X @ np.asarray(net.layer.weight, float).T + np.asarray(net.layer.bias, float)
    truth = (z - z.mean(0)) / np.sqrt(z.var(0) + net.norm.eps)
    np.testing.assert_allclose(problem.outputs(params), truth, atol=1e-5)
    assert not problem.model.separable
    still = supervised(from_equinox(eqx.nn.inference_mode(net), state=state), (X, Y))
    assert still.model.separable
    np.testing.assert_allclose(
        still.outputs(params), z / np.sqrt(1 + net.norm.eps), atol=1e-6
    )  # means 0, variances 1


def test_equinox_dropout_is_refused_in_training():
    layers = [eqx.nn.Linear(4, 3, key=KEY), eqx.nn.Dropout(0.5)]
    net = eqx.nn.Sequential(layers)
    with pytest.raises(tw.InputError, match=r"module.layers\[1\] is dropout in training mode"):
        from_equinox(net)
    problem = supervised(eqx.nn.inference_mode(net), (X, Y))  # modules are taken as they are
    assert tree.size(problem.init(KEY)) == 15
    for given in (eqx.nn.MLP, 3, jnp.tanh):
        with pytest.raises(tw.InputError, match=r"a Module, as eqx\.nn\.MLP"):
            from_equinox(given)


LOSS = {
    "complex": lambda p, b: jnp.mean(jnp.abs(b[0] @ p["w"] - b[1]) ** 2),
    "module": lambda p, b: jnp.mean((jax.vmap(p)(b[0])[:, 0] - b[1]) ** 2),
    "flax": lambda p, b: jnp.mean((flax_net(p, b[0])[:, 0] - b[1]) ** 2),
    "counted": lambda p, b: jnp.mean((b[0] @ p["w"][:, 0] - b[1]) ** 2) * p["step"],
}
PARAMS = {
    "complex": {"w": np.array([1 + 2j, 0.5 - 1j, 1j, 2.0])},
    "module": eqx.nn.MLP(4, 1, 5, 1, activation=jnp.tanh, key=KEY, dtype=jnp.float64),
    "flax": VARIABLES,
    "counted": {"w": W, "step": np.asarray(3)},
}
MEASURED = [
    tw.probes.sharpness(),
    tw.probes.gradient_norm(),
    tw.probes.distance_from_start(),
]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["module", "flax", "counted"])
def test_a_tracker_measures_what_is_trained(name):
    function, start, batch = LOSS[name], PARAMS[name], (jnp.asarray(X), jnp.sin(X[:, 0]))
    spec = eqx.is_inexact_array_like if name == "module" else eqx.is_inexact_array
    free, rest = eqx.partition(start, spec)
    if name == "flax":
        free, rest = {"params": VARIABLES["params"]}, {"batch_stats": VARIABLES["batch_stats"]}
    whole = (lambda p: p | rest) if name == "flax" else (lambda p: eqx.combine(p, rest))
    moved = jax.tree.map(lambda leaf: leaf + 0.1, free)
    theta, back = ravel_pytree(moved)

    def by_hand(t):
        return function(whole(back(t)), batch)

    track = tw.Tracker(function, MEASURED if name == "module" else MEASURED[1:])
    readings, _ = track.measure(whole(moved), batch, track.start(start, batch))
    values = np.linalg.eigvalsh(jax.hessian(by_hand)(theta))
    wanted = {
        "sharpness": values[-1],
        "gradient_norm": np.linalg.norm(jax.grad(by_hand)(theta)),
        "distance_from_start": np.linalg.norm(theta - ravel_pytree(free)[0]),
    }
    for key, (value, error, code) in readings.items():
        assert int(code) == tw.Result.OK
        assert np.all(np.abs(value - wanted[key]) <= np.asarray(error) + 1e-8)


def test_the_complex_case_by_its_closed_form():
    x = np.random.default_rng(2).normal(size=(32, 4))
    y, w0 = np.sin(x[:, 0]), PARAMS["complex"]["w"]
    w1 = w0 + np.array([3j, 0, 0, 0])
    track = tw.Tracker(LOSS["complex"], MEASURED)
    readings, _ = track.measure({"w": w1}, (x, y), track.start({"w": w0}, (x, y)))
    assert float(readings["gradient_norm"].value) == pytest.approx(11.82664469, rel=1e-9)
    assert float(readings["distance_from_start"].value) == 3.0
    top = 2 * np.linalg.eigvalsh(x.T @ x / 32)[-1]
    value, error, _ = readings["sharpness"]
    assert abs(float(value) - top) <= float(error) + 1e-9


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16])
def test_a_tracker_measures_half_precision_in_single(kind):
    half = {"w": jnp.asarray(W[:, 0], kind)}
    batch = (jnp.asarray(X, jnp.float32), jnp.asarray(np.sin(X[:, 0]), jnp.float32))
    track = tw.Tracker(LOSS["complex"], [tw.probes.sharpness()])
    value, error, _ = track.measure(half, batch, track.start(half, batch))[0]["sharpness"]
    assert value.dtype == jnp.float32
    top = 2 * np.linalg.eigvalsh(X.T @ X / 8)[-1]
    assert abs(float(value) - top) <= float(error) + 1e-5 * top
    low = tw.Tracker(lambda p, b: jnp.sum(p["w"]).astype(kind), [tw.probes.sharpness()])
    with pytest.raises(tw.InputError, match="although its parameters are in float32"):
        low.start(half, batch)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda p, b: (jnp.sum(p["w"]), {}), "value is a tuple; give one real"),
        (lambda p, b: jnp.sum(p["w"]) * 1j, r"has shape \(\) and type complex128"),
        (lambda p, b: jnp.sum(p["w"]) * np.random.normal(), "differs between two calls"),
        (lambda p: jnp.sum(p["w"]), "does not accept these params and batch"),
    ],
)
def test_what_a_tracker_is_not_given(function, sentence):
    track = tw.Tracker(function, MEASURED[:1])
    with pytest.raises(tw.InputError, match=sentence):
        track.start({"w": np.ones(3)}, np.ones(3))
