"""Objectives by their formulas, and what does not fit together."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

import thalweg as tw
from thalweg.core import tree
from thalweg.core.hessian_product import hessian_product
from thalweg.models import Applied, linear, mlp
from thalweg.problems import LOSSES, Data, Function, Loss, supervised
from thalweg.problems.problem import unraveller

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(9, 3))
Y = np.random.default_rng(1).normal(size=(9, 2))
LABELS = np.arange(9) % 3


def test_squared_error_is_half_the_square_in_the_mean_or_sum():
    for reduction, total in (("mean", np.mean), ("sum", np.sum)):
        problem = supervised(linear([]), (X, Y), reduction=reduction)
        params = problem.init(KEY)
        each = 0.5 * np.sum((X @ np.asarray(params[0]["weight"]).T - Y) ** 2, axis=1)
        assert problem.objective(params) == pytest.approx(total(each), rel=1e-14)
        assert problem.loss.name == "squared-error"
        assert not problem.classification


def test_digits_take_a_model_as_any_problem_does():
    assert tw.problems.digits("mlp:4-3", samples=10).model.hidden == (4, 3)
    with pytest.raises(tw.InputError, match="text such as 'mlp:16'"):
        tw.problems.digits(3, samples=10)


def test_cross_entropy_of_labels():
    problem = supervised(mlp([4]), (X, LABELS))
    params = problem.init(KEY)
    logits = np.asarray(problem.outputs(params))
    expected = -np.mean(log_softmax(logits, axis=1)[np.arange(9), LABELS])
    assert problem.objective(params) == pytest.approx(expected, rel=1e-14)
    assert problem.loss.name == "cross-entropy"
    assert np.array_equal(problem.targets, np.eye(3)[LABELS])
    other = np.asarray(problem.outputs(params, jnp.asarray(X[:2])))
    assert np.allclose(other, logits[:2], atol=1e-14)


def test_losses_survive_large_outputs():
    huge = jnp.asarray([1e5, -1e5, 0.0])
    target = jnp.asarray([0.0, 1.0, 0.0])
    for loss in LOSSES.values():
        value, slope = jax.value_and_grad(loss.one)(huge, target)
        assert np.isfinite(value)
        assert np.all(np.isfinite(slope))
    assert LOSSES["cross-entropy"].one(huge, target) == pytest.approx(2e5)


def test_labels_can_be_fitted_by_squared_error():
    problem = supervised(linear([]), (X, LABELS), "squared-error")
    assert problem.classification
    assert problem.targets.shape == (9, 3)


def test_a_loss_of_ones_own():
    absolute = Loss("smooth-absolute", lambda o, y: jnp.sum(jnp.sqrt(1 + (o - y) ** 2)), "either")
    problem = supervised(linear([]), (X, Y), absolute)
    params = problem.init(KEY)
    expected = np.mean(np.sum(np.sqrt(1 + (np.asarray(problem.outputs(params)) - Y) ** 2), axis=1))
    assert problem.objective(params) == pytest.approx(expected)


def test_a_loss_of_ones_own_has_a_name_of_its_own():
    """Closed forms go by the name: a factor of 2 in another's place would be lost in them."""
    with pytest.raises(tw.InputError, match="'squared-error', which is the bundled loss's"):
        Loss("squared-error", lambda o, y: jnp.sum((o - y) ** 2), "regression")


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_precision_is_that_of_everything(precision):
    problem = supervised(mlp([4]), (X, LABELS), precision=precision)
    params = problem.init(KEY)
    leaves = [*jax.tree.leaves(params), problem.inputs, problem.targets]
    leaves += [problem.objective(params), *jax.tree.leaves(jax.grad(problem.objective)(params))]
    assert {str(leaf.dtype) for leaf in leaves} == {precision}
    assert problem.describe()["precision"] == precision


@pytest.mark.thorough
def test_strict_promotion_of_types():
    """Nothing rests on implicit conversions, in float32 or in float64."""
    with jax.numpy_dtype_promotion("strict"):
        for precision in ("float32", "float64"):
            for loss in LOSSES:
                problem = supervised(mlp([4], "gelu"), (X, LABELS), loss, precision=precision)
                params = problem.init(KEY)
                jax.jit(jax.value_and_grad(problem.objective))(params)
                dynamics = tw.gradient_descent(0.1)
                state, _ = dynamics.step(problem, dynamics.init(problem, params), KEY)
                assert state.step == 1
                for probe in (tw.probes.loss(), tw.probes.gradient_norm(), tw.probes.accuracy()):
                    tw.measure(problem, params, probe)


@pytest.mark.implicit
def test_a_bare_function_takes_any_tree():
    start = {"a": 1.0, "b": [np.ones(2), np.float32(3.0)]}
    problem = Function(lambda p: p["a"] ** 2 + jnp.sum(p["b"][0]) + p["b"][1], start)
    params = problem.init(KEY)
    assert jax.tree.structure(params) == jax.tree.structure(start)
    assert problem.objective(params) == pytest.approx(6.0)
    assert problem.smooth
    assert not Function(lambda x: jnp.abs(x), 1.0, is_smooth=False).smooth
    drawn = Function(jnp.sum, draw=lambda key: jax.random.normal(key, (4,)))
    assert np.array_equal(drawn.init(KEY), jax.random.normal(KEY, (4,)))


def test_records_tell_problems_apart():
    def bowl(power):
        return Function(lambda x: jnp.sum(x**power), np.ones(2))

    assert bowl(2).describe() == bowl(2).describe() != bowl(4).describe()
    nets = [Applied(lambda p, x, c=c: c * x @ p, start=np.ones((3, 2))) for c in (1.0, 1.0, 2.0)]
    one, same, other = (supervised(net, (X, Y)).describe() for net in nets)
    assert one == same != other
    text = str(one) + str(supervised(mlp([3]), (X, Y)).describe())
    assert " at 0x" not in text


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: supervised(mlp([4]), (X, Y), reduction="mena"), "Did you mean 'mean'"),
        (lambda: supervised(mlp([4]), (X, Y), precision="float16"), "unknown precision"),
        (lambda: supervised(mlp([4]), (X, Y), "sqared-error"), "Did you mean 'squared-error'"),
        (lambda: supervised(mlp([4]), (X, Y), "cross-entropy"), "needs labels"),
        (lambda: supervised(Applied(lambda p, x: x @ p, start=np.ones((5, 2))), (X, Y)),
         "does not accept inputs"),
        (lambda: supervised(Applied(lambda p, x: x @ p, start=np.ones((3, 1))), (X, Y)),
         "outputs have shape"),
        (lambda: Function(jnp.sum), "either start"),
        (lambda: Function(jnp.sum, np.ones(2), lambda key: key), "either start"),
        (lambda: Function(jnp.sum, np.ones(2, int)).init(KEY), "floating"),
        (lambda: Function(jnp.sum, {"a": 1, "b": 1.0}).init(KEY), "floating"),
    ],
)  # fmt: skip
def test_misfits_are_sentences(make, sentence):
    with pytest.raises(tw.InputError, match=sentence):
        make()


def test_a_problem_is_a_pytree_of_its_data():
    problem = supervised(mlp([4]), Data.of(X, LABELS))
    leaves = jax.tree.leaves(problem)
    assert {leaf.shape for leaf in leaves} == {(9, 3), (9, 3)}
    assert len(leaves) == 2
    again = jax.tree.unflatten(jax.tree.structure(problem), leaves)
    params = problem.init(KEY)
    assert again.objective(params) == problem.objective(params)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("size", [1, 7, 20, 60, 100])
def test_microbatches_change_no_result_beyond_rounding(size: int, reduction: str) -> None:
    rng = np.random.default_rng(0)
    data = Data.of(rng.normal(size=(60, 5)), rng.integers(0, 3, 60))
    whole, parts = (
        supervised(mlp([8], "tanh"), data, reduction=reduction, microbatch=m) for m in (None, size)
    )
    params = whole.init(jax.random.key(0))
    direction = jax.random.normal(jax.random.key(1), (tree.size(params),))
    np.testing.assert_allclose(parts.outputs(params), whole.outputs(params), rtol=1e-12)
    for of in (
        lambda p: p.objective(params),
        lambda p: tree.flatten(jax.grad(p.objective)(params)),
        lambda p: hessian_product(p.objective, params)(direction),
    ):
        np.testing.assert_allclose(of(parts), of(whole), rtol=1e-10, atol=1e-14)
    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(jax.grad(parts.objective), params)


def test_microbatches_bound_the_memory_of_gradients_and_products() -> None:
    rng = np.random.default_rng(0)
    data = Data.of(rng.normal(size=(2000, 20)), rng.integers(0, 3, 2000))

    def bytes_of(size: int | None) -> list[int]:
        problem = supervised(mlp([64, 64], "tanh"), data, microbatch=size)
        params = problem.init(jax.random.key(0))
        flat = tree.flatten(params)
        compiled = (
            jax.jit(jax.grad(problem.objective)).lower(params).compile(),
            jax.jit(lambda p, v: hessian_product(problem.objective, p)(v))
            .lower(params, flat)
            .compile(),
        )
        return [c.memory_analysis().temp_size_in_bytes for c in compiled]

    for whole, parts in zip(bytes_of(None), bytes_of(100), strict=True):
        assert parts < whole / 5


def test_a_senseless_microbatch_is_a_sentence() -> None:
    with pytest.raises(tw.InputError, match="microbatch came as 0"):
        supervised(mlp([3]), (np.zeros((4, 2)), np.zeros((4, 1))), microbatch=0)


def test_a_function_as_start_is_a_sentence() -> None:
    problem = supervised(mlp([4]), (X, Y))
    for start in (problem.init, lambda key: jnp.ones(2)):
        with pytest.raises(
            tw.InputError, match="start came as a function; give parameters, or draw="
        ):
            Function(lambda params: problem.objective(params), start=start)


def test_flat_parameters_become_those_of_the_problem_again():
    problem = supervised(mlp([4], bias=True), (X, Y))
    params = problem.init(KEY)
    again = unraveller(problem)(tree.flatten(params))
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, params))
    assert [leaf.dtype for leaf in jax.tree.leaves(again)] == [
        leaf.dtype for leaf in jax.tree.leaves(params)
    ]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x**2, r"float64 array of shape \(3,\); give one real floating-point number"),
        (lambda x: jnp.sum(x)[None], r"array of shape \(1,\)"),
        (lambda x: jnp.sum(x > 0), "int64 array"),
        (lambda x: jax.lax.complex(jnp.sum(x), x[0]), "complex128 array"),
        (lambda x: None, "None"),
        (lambda x: (jnp.sum(x), x), "tuple"),
    ],
)
def test_an_objective_that_is_no_number_is_a_sentence(function, words):
    bowl = tw.problems.Function(function, start=jnp.ones(3))
    with pytest.raises(tw.InputError, match=f"the objective came as .*{words}"):
        tw.run(bowl, tw.gradient_descent(0.1), until=0.5, records=4)


def test_an_objective_of_a_number_of_python_is_a_constant():
    flat = tw.problems.Function(lambda x: 3.0, start=jnp.ones(3))
    found = tw.run(flat, tw.gradient_descent(0.1), until=0.5, records=4)
    assert np.all(found.dataset["loss"] == 3)


@pytest.mark.parametrize("start", [jnp.zeros(0), {}, [None]])
def test_parameters_without_a_number_are_a_sentence(start):
    with pytest.raises(tw.InputError, match="parameters came without a single number"):
        tw.run(
            tw.problems.Function(lambda x: jnp.ones(()), start=start), tw.gradient_descent(0.1),
            until=0.5, records=4,
        )  # fmt: skip


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("probe", ["sharpness", "smallest_eigenvalue"])
def test_curvature_in_too_few_digits_is_a_sentence(kind, probe):
    bowl = tw.problems.Function(lambda x: jnp.sum(x**2), start=jnp.ones(3, kind))
    with pytest.raises(
        tw.InputError, match=f"the Hessian came in {kind}; give parameters in float32"
    ):
        tw.run(bowl, tw.gradient_descent(0.1), until=0.5, records=4, probes=[probe])
