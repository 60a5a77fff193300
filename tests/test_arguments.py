"""Whatever is put in place of an argument of a public function ends in one sentence, or works."""

from __future__ import annotations

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hostile
import hostile_classes
import thalweg as tw
from thalweg.core.arguments import misfit, told
from thalweg.core.errors import reason
from thalweg.problems import supervised

X, Y = hostile.X, hostile.Y
NET = tw.models.mlp([3])
ROOMS = (
    "curvature", "dynamics", "estimators", "kernels", "models", "oracles", "probes", "problems",
)  # fmt: skip


def hostile_calls(room):
    """Right calls to be made wrong: of a room, or of what stands at the door."""
    return {n: a for n, a in hostile.calls().items() if (n.partition(".")[0] in ROOMS) is bool(room)
            and n.startswith(room)}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("room", ROOMS)
def test_hostile_arguments_of_a_room(room, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count, failures = hostile.failures(hostile_calls(room))
    assert count > 300
    assert failures == []


@pytest.mark.slow
def test_hostile_arguments_at_the_door(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count, failures = hostile.failures(hostile_calls(""))
    assert count > 1000
    assert failures == []


@pytest.mark.slow
def test_hostile_arguments_of_classes():
    count, failures = hostile.failures(hostile_classes.calls())
    assert count > 2500
    assert failures == []


@pytest.mark.slow
def test_hostile_arguments_of_methods(tmp_path, monkeypatch):
    pytest.importorskip("h5netcdf")
    matplotlib = pytest.importorskip("matplotlib")
    pytest.importorskip("matplotlib.pyplot")
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    results = hostile_classes.results(tmp_path)

    def of(name):
        kind, _, method = name.partition(".")
        return getattr(results[kind], method)

    with matplotlib.rc_context({"figure.max_open_warning": 0}):
        for name, arguments in hostile_classes.METHODS.items():
            of(name)(**arguments)
        count, failures = hostile.failures(hostile_classes.METHODS, of)
    matplotlib.pyplot.close("all")
    assert count > 500
    assert failures == []


def test_methods_of_results_name_what_came():
    bowl = tw.problems.Quadratic([1.0], [0.0], [1.0])
    run = tw.run(bowl, tw.gradient_descent(0.5), 0.5, records=1)
    with pytest.raises(tw.InputError, match="path came as None; give"):
        run.to_netcdf(None)
    with pytest.raises(tw.InputError, match="name came as 3; give"):
        run.reading(3)


def test_whole_numbers_are_numbers():
    bowl = tw.problems.Quadratic([2, 1], slope=[0, 1], start=[1, 1])
    end = tw.run(bowl, tw.gradient_descent(0.5), 0.5, records=1).parameters[0, -1]
    assert np.array_equal(end, [0.0, 0.0])  # 1 - (2 1 + 0)/2, 1 - (1 + 1)/2
    product = tw.problems.Factorisation([[2, 0], [0, 1]], [np.eye(2, dtype=int)] * 2)
    assert float(product.objective(product.init(hostile.KEY))) == 0.5
    x, y = [[1, 0], [0, 1], [-1, 0]], [1, 0, -1]
    assert (
        abs(float(tw.problems.NormalisedRegression(x, y).objective(jnp.array([5.0, 0.0])))) < 1e-24
    )


def test_arrays_of_classes_that_are_none_are_named():
    with pytest.raises(tw.InputError, match=r"curvature came as the text '0.1'; give"):
        tw.problems.Quadratic("0.1", [1.0], [1.0])
    with pytest.raises(tw.InputError, match="start came as 3; give"):
        tw.problems.Factorisation(np.eye(2), 3)
    with pytest.raises(tw.InputError, match=r"start came as .* can be formed"):
        tw.problems.Factorisation(np.eye(2), [np.ones((3, 2)), np.ones((2, 2))])
    with pytest.raises(tw.InputError, match=r"correlation came as .*; give one of shape \(2, 2\)"):
        tw.problems.DeepLinear(np.ones((3, 2)), np.eye(3))
    with pytest.raises(tw.InputError, match="the matrix came as the text 'a'; give a square"):
        tw.curvature.Matrix("a")
    with pytest.raises(tw.InputError, match=r"stages came as 3; give \(filters, blocks\) pairs"):
        tw.models.ConvResNet(3)


@pytest.mark.thorough
def test_what_is_called_right_before_it_is_made_wrong_is_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, arguments in hostile.calls().items():
        hostile.function_of(name)(**arguments)


def test_axes_of_one_letter_have_one_length():
    weights, x = np.ones((5, 3)), np.ones((4, 2))
    with pytest.raises(tw.InputError) as told_of:
        tw.kernels.two_layer_gram(weights, x)
    assert str(told_of.value) == (
        "x came as an array of float64 of shape (4, 2); give an array of shape (n, d), where d is "
        "3 as in weights"
    )
    with pytest.raises(tw.InputError, match="give an array of shape \\(m, d\\)"):
        tw.kernels.two_layer_gram(weights[0], x)


def test_fields_of_a_module_may_be_stacked_for_vmap():
    assert tw.gradient_descent(jnp.array([0.1, 0.2])).step_size.shape == (2,)
    with pytest.raises(tw.InputError, match="give an array of shape"):
        tw.problems.Quadratic(1.0, jnp.ones(2), jnp.ones(2))


def test_lists_stand_for_arrays():
    weights, x = [[1.0, -2.0], [0.5, 3.0]], [[1.0, 0.0], [2.0, 1.0], [0.0, 1.0]]
    found = tw.kernels.two_layer_gram(weights, x)
    wanted = tw.kernels.two_layer_gram(np.asarray(weights), np.asarray(x))
    assert np.array_equal(found, wanted)


def test_every_public_function_has_a_right_call_listed():
    assert hostile.missing() == []


def framework_object(package, kind):
    return type(kind, (), {"__module__": package, "__call__": lambda self, x: x})()


PLAIN = {
    "a model by its name": lambda: supervised("mlp:3", (X, Y)),
    "an Equinox module": lambda: supervised(
        eqx.nn.MLP(3, 2, 4, 1, key=hostile.KEY, dtype=float), (X, Y)
    ),
    "lists": lambda: supervised(NET, [X.tolist(), Y.tolist()]),
    "data by their name": lambda: supervised(NET, "digits"),
    "a function as loss": lambda: supervised(NET, (X, Y), lambda o, t: jnp.sum((o - t) ** 4)),
    "a loss of ours": lambda: supervised(NET, (X, Y), tw.problems.LOSSES["squared-error"].one),
    "a function of JAX as activation": lambda: tw.models.mlp([3], jax.nn.silu),
    "an activation of one's own": lambda: supervised(
        tw.models.mlp([3], tw.models.Activation(jnp.cos)), (X, Y)
    ),
    "numbers of NumPy": lambda: tw.models.mlp([np.int64(3)]),
    "a step size as an array": lambda: tw.gradient_descent(jnp.asarray(0.1)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_plain_works(name):
    PLAIN[name]()


def test_what_is_plain_is_taken_at_its_word():
    net = supervised(tw.models.mlp([3], jax.nn.silu), (X, Y))
    params = net.init(hostile.KEY)
    assert net.model == tw.models.mlp([3], "silu")
    cosine = supervised(tw.models.mlp([3], tw.models.Activation(jnp.cos, smooth=False)), (X, Y))
    w, v = params
    hidden = np.cos(X @ np.asarray(w["weight"]).T + w["bias"])
    np.testing.assert_allclose(cosine.outputs(params), hidden @ v["weight"].T + v["bias"])
    assert not cosine.smooth
    fourth = supervised(NET, (X, Y), lambda o, t: jnp.sum((o - t) ** 4))
    gap = np.asarray(fourth.outputs(params)) - Y
    assert float(fourth.objective(params)) == pytest.approx(np.mean(np.sum(gap**4, 1)))
    assert supervised(NET, (X, Y), PLAIN_SQUARE).loss is tw.problems.LOSSES["squared-error"]


PLAIN_SQUARE = tw.problems.LOSSES["squared-error"].one


def test_probes_by_name_and_by_maker_are_the_probes():
    problem = supervised(NET, (X, Y))
    how = {"until": 0.2, "records": 1}
    one = tw.run(problem, tw.gradient_descent(0.1), **how, probes="gradient_norm").dataset
    makers = [tw.probes.gradient_norm, "loss"]
    other = tw.run(problem, tw.gradient_descent(0.1), **how, probes=makers).dataset
    assert "gradient_norm" in one
    assert np.array_equal(one["gradient_norm"], other["gradient_norm"])
    reading = tw.measure(problem, problem.init(hostile.KEY), "gradient-norm")
    assert float(reading.value) > 0
    assert tw.every(2, "loss").probe == tw.probes.loss()


def test_a_probe_that_asks_the_dynamics_goes_by_its_name():
    """Heavy ball moves by eta g/(1 - beta) a step in the long run: its D is 1 - beta."""
    bowl = tw.problems.Function(lambda x: x[0] ** 2 / 2 + 1.5 * x[1] ** 2, start=jnp.ones(2))
    ball = tw.optax_dynamics(optax.sgd(0.01, momentum=0.75), 0.01)
    for name in ("preconditioned_sharpness", "preconditioned-sharpness"):
        path = tw.run(bowl, ball, until=0.02, records=1, probes=["sharpness", name]).dataset
        np.testing.assert_allclose(path["sharpness"], 3.0, rtol=1e-9)
        np.testing.assert_allclose(path["preconditioned_sharpness"], 12.0, rtol=1e-9)
    with pytest.raises(tw.InputError, match="needs a method that keeps a second moment"):
        tw.measure(bowl, bowl.start, "preconditioned_sharpness")


def test_an_optimiser_as_it_is():
    problem = supervised(NET, (X, Y))
    known = optax.inject_hyperparams(optax.sgd)(0.1)
    run = tw.run(problem, known, 0.2, records=1)
    same = tw.run(problem, tw.gradient_descent(0.1), 0.2, records=1)
    np.testing.assert_allclose(run.parameters, same.parameters, rtol=1e-12)
    with pytest.raises(tw.InputError, match=r"optax_dynamics\(optax.adam\(1e-3\), 1e-3\)"):
        tw.run(problem, optax.adam(1e-3), 1.0)


DESCENT = tw.gradient_descent(0.1)
MISTAKES = {
    "a number as dynamics": (lambda p: tw.run(p, 0.1, 1.0), r"gradient_descent\(0.1\)"),
    "a class as dynamics": (lambda p: tw.run(p, tw.dynamics.GradientDescent, 1.0), "the class"),
    "a maker as dynamics": (lambda p: tw.run(p, tw.gradient_descent, 1.0), "what it makes"),
    "swapped": (lambda p: tw.run(DESCENT, p, 1.0), "came as an instance of GradientDescent"),
    "text as time": (lambda p: tw.run(p, DESCENT, "5"), "until came as the text '5'"),
    "half a record": (lambda p: tw.run(p, DESCENT, 1.0, records=10.5), "records came as 10.5"),
    "text as seeds": (lambda p: tw.run(p, DESCENT, 1.0, seeds="3"), "seeds came as the text '3'"),
    "true as seeds": (lambda p: tw.run(p, DESCENT, 1.0, seeds=True), "seeds came as True"),
    "no times": (lambda p: tw.run(p, DESCENT, times=["a"]), "times came as"),
    "a probe misspelt": (lambda p: tw.run(p, DESCENT, 1.0, probes=["sharpnes"]), "Did you mean"),
    "a number as probe": (lambda p: tw.run(p, DESCENT, 1.0, probes=[3]), "a probe came as 3"),
    "text as step size": (lambda p: tw.gradient_descent("0.1"), "step_size came as the text '0.1'"),
    "a class as model": (lambda p: supervised(tw.models.MLP, (X, Y)), "the class MLP"),
    "a maker as model": (lambda p: supervised(tw.models.mlp, (X, Y)), "models.Applied"),
    "a number as model": (lambda p: supervised(3, (X, Y)), "model came as 3"),
    "PyTorch": (
        lambda p: supervised(framework_object("torch.nn", "Linear"), (X, Y)),
        r"net came as a PyTorch Linear|this needs torch, .*pip install 'thalweg\[torch\]'",
    ),
    "Flax": (
        lambda p: supervised(framework_object("flax.linen", "Dense"), (X, Y)),
        r"net came as a Flax Dense|this needs flax, .*pip install 'thalweg\[flax\]'",
    ),
    "Haiku": (
        lambda p: supervised(framework_object("haiku._src", "Transformed"), (X, Y)),
        r"came as a Haiku Transformed|this needs haiku, .*pip install 'thalweg\[haiku\]'",
    ),
    "Keras": (
        lambda p: supervised(framework_object("keras.src", "Sequential"), (X, Y)),
        r"net came as a Keras Sequential|this needs keras, .*pip install 'thalweg\[keras\]'",
    ),
    "an estimator as data": (lambda p: supervised(NET, 3), "data came as 3; give"),
    "an unknown activation": (lambda p: tw.models.mlp([3], lambda z: z), "models.Activation"),
    "PyTorch's activation": (
        lambda p: tw.models.mlp([3], framework_object("torch.nn", "Tanh")),
        "activation came as a PyTorch Tanh",
    ),
    "a vector as loss": (lambda p: supervised(NET, (X, Y), optax.l2_loss), r"has shape \(2,\)"),
    "a loss of one": (lambda p: supervised(NET, (X, Y), lambda o: o), "takes 1 positional"),
    "a width alone": (lambda p: tw.models.mlp(16), "hidden came as 16"),
    "None as data": (lambda p: supervised(NET, None), "data came as None"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_natural_mistakes_are_one_sentence(name):
    mistake, sentence = MISTAKES[name]
    problem = supervised(NET, (X, Y))
    with pytest.raises(tw.InputError, match=sentence) as caught:
        mistake(problem)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None"),
        ("0.1", "the text '0.1'"),
        ("x" * 60, f"the text '{'x' * 37}'..."),
        (NET, "an instance of MLP"),
        (tw.models.MLP, "the class MLP"),
        (np.ones((2, 3)), r"an array of float64 of shape (2, 3)"),
        ([], "an empty list"),
        (framework_object("torch.nn", "Linear"), "a PyTorch Linear"),
    ],
)
def test_what_came_in_words(value, words):
    assert told(value) == words


def test_kinds_that_annotations_ask_for():
    good = [
        (1, float), (np.float32(1), float), (jnp.asarray(2), int), (np.int8(2), int), (True, bool),
        (None, int | None), ([1, 2], "Sequence[int]"), (np.ones(2), "Sequence[float]"),
        ((1, "a"), tuple[int, str]), (jnp.sum, "Callable[..., float]"), ([[1.0]], "ArrayLike"),
        (hostile.KEY, jax.Array), (X, "ArrayLike | None"), (None, "ArrayLike | None"),
    ]  # fmt: skip
    bad = [
        ("1", float), (True, float), (1j, float), (1.0, int), (True, int), (1, bool), (None, int),
        ("ab", "Sequence[str]"), ([1.5], "Sequence[int]"), ((1, 2), tuple[int, str]),
        (3, "Callable[..., float]"), ("a", "ArrayLike"), ([[1.0], [1.0, 2.0]], "ArrayLike"),
        (1j * X, "ArrayLike | None"), (None, "ArrayLike"),
    ]  # fmt: skip
    names = {name: getattr(np.typing, name) for name in ("ArrayLike",)}
    import collections.abc as abc

    names |= {"Sequence": abc.Sequence, "Callable": abc.Callable}
    for pairs, fits in ((good, True), (bad, False)):
        for value, hint in pairs:
            kind = eval(hint, names) if isinstance(hint, str) else hint
            assert (misfit(value, kind) == "") is fits, (value, hint)


def test_unknown_names_name_the_nearest() -> None:
    with pytest.raises(tw.InputError, match="Did you mean 'tanh'"):
        tw.models.mlp([4], "tahn")
    with pytest.raises(tw.InputError, match="Did you mean 'cross-entropy'"):
        tw.problems.digits(tw.models.mlp([4]), "cros-entropy", samples=20)
    with pytest.raises(tw.InputError, match="Did you mean 'tsit5'"):
        tw.gradient_flow(1e-6, "tsit")


def test_an_unknown_argument_is_told_with_those_there_are() -> None:
    with pytest.raises(TypeError, match=r"diagnose\(\).*'step_size'.*Allowed: problem, dynamics"):
        tw.diagnose("digits", step_size=0.1)
    with pytest.raises(TypeError, match="Did you mean 'optimisers'"):
        tw.race("digits", optimizers="gd")
    with pytest.raises(TypeError, match="missing"):
        tw.models.mlp()


def test_of_anothers_error_what_its_first_line_announces_is_told():
    """As of a Flax cell whose carry is of another type than its weights."""

    def scanned(x):
        return jax.lax.scan(lambda c, row: (c + row, None), jnp.zeros((), jnp.float32), x)

    with pytest.raises(TypeError) as raised:
        scanned(jnp.ones(3))
    assert re.search(r"differ: The input carry .*float32.*float64", reason(raised.value))
    assert reason(ValueError()) == "ValueError"
    assert reason(ValueError("\n one\ntwo")) == "one"
