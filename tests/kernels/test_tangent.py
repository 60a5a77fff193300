"""Tangent kernels against gradients taken one by one, and the methods against each other."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from thalweg import InputError
from thalweg.kernels import as_matrix, kernel_cost, tangent_kernel
from thalweg.kernels.algorithms import METHODS, Plan
from thalweg.models import Applied, ConvNet, Convolution, ResidualMLP, from_equinox, mlp
from thalweg.problems import Function, supervised


def example(model, n=5, inputs=(4,), k=3, precision="float64"):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, *inputs)), rng.normal(size=(n, k))
    problem = supervised(model, (x, y), precision=precision)
    params = problem.init(jax.random.key(1))
    # Biases that start at zero would hide mistakes.
    leaves, shape = jax.tree.flatten(params)
    moved = [
        leaf + 0.1 * jnp.cos(jnp.arange(leaf.size) + i).reshape(leaf.shape).astype(leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return problem, jax.tree.unflatten(shape, moved)


def brute_force(problem, params, x1, x2):
    """K[i, j, a, b], one gradient of one output at a time."""
    flat, unravel = ravel_pytree(params)

    @jax.jit
    def one(example, a):
        return jax.grad(lambda p: problem.model.apply(unravel(p), example[None])[0, a])(flat)

    def gradients(x):
        k = problem.targets.shape[1]
        return np.array([[one(example, a) for a in range(k)] for example in jnp.asarray(x)])

    return np.einsum("iap,jbp->ijab", gradients(x1), gradients(x2))


@pytest.fixture(scope="module")
def dense():
    problem, params = example(mlp([6, 5], "tanh"))
    other = np.random.default_rng(1).normal(size=(3, 4))
    truth = {
        "same": brute_force(problem, params, problem.inputs, problem.inputs),
        "cross": brute_force(problem, params, problem.inputs, other),
    }
    return problem, params, other, truth


def reduced(kernel, outputs):
    rule = {"full": "ijab->ijab", "diagonal": "ijaa->ija", "trace": "ijaa->ij"}[outputs]
    return np.einsum(rule, kernel)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("outputs", ["full", "diagonal", "trace"])
def test_every_method_gives_the_inner_products_of_gradients(dense, method, outputs):
    problem, params, other, truth = dense
    same = tangent_kernel(problem, params, outputs=outputs, method=method)
    cross = tangent_kernel(problem, params, x2=other, outputs=outputs, method=method)
    assert np.allclose(same, reduced(truth["same"], outputs), rtol=1e-12, atol=1e-12)
    assert np.allclose(cross, reduced(truth["cross"], outputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("method", "block"), [("jacobian", 2), ("products", 9), ("layers", 1)])
def test_blocks_change_rounding_only(dense, method, block):
    problem, params, _, truth = dense
    kernel = tangent_kernel(problem, params, method=method, block=block)
    assert np.allclose(kernel, truth["same"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_kernels_of_layers_and_of_chosen_arrays_add_up(dense, method):
    problem, params, _, truth = dense
    layers = tangent_kernel(problem, params, layers=True, method=method)
    assert list(layers) == ["0", "1", "2"]
    assert np.allclose(sum(layers.values()), truth["same"], rtol=1e-12, atol=1e-12)
    biases = tangent_kernel(problem, params, layers=True, where="*/bias", method=method)
    assert list(biases) == ["0", "1", "2"]
    assert np.allclose(biases["2"], np.eye(3), rtol=1e-12, atol=1e-12)
    rest = tangent_kernel(problem, params, where="*/weight", method=method)
    assert np.allclose(sum(biases.values()) + rest, truth["same"], rtol=1e-12, atol=1e-12)


def test_a_linear_model_has_the_gram_matrix_of_its_inputs():
    problem, params = example(mlp([], "linear", bias=False))
    kernel = tangent_kernel(problem, params)
    gram = np.asarray(problem.inputs @ problem.inputs.T)
    assert np.allclose(kernel, gram[:, :, None, None] * np.eye(3), rtol=1e-13, atol=1e-13)


CONVOLUTIONAL = ConvNet((Convolution(2, 3, padding=1, pool=2),), (), "softplus", True)
RAW = Applied(
    lambda p, x: jnp.sin(x @ p["w"]) * p["scale"][None],
    init_function=lambda key: {"w": jax.random.normal(key, (4, 3)), "scale": jnp.ones(3)},
)


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (CONVOLUTIONAL, (2, 4, 4)),
        (ConvNet((Convolution(2, 3, padding=1),), (5,), "gelu", True), (2, 4, 4)),
        (ResidualMLP((4, 4), "tanh"), (4,)),
        (RAW, (4,)),
        (from_equinox(eqx.nn.MLP(4, 3, 5, 1, jnp.tanh, key=jax.random.key(0))), (4,)),
        (mlp([6], "relu", bias=False), (2, 2)),
    ],
)
def test_any_model_is_served(model, inputs):
    problem, params = example(model, inputs=inputs)
    truth = brute_force(problem, params, problem.inputs, problem.inputs)
    for method in kernel_cost(problem, params):
        kernel = tangent_kernel(problem, params, method=method)
        assert np.allclose(kernel, truth, rtol=1e-11, atol=1e-11), method


def test_an_array_that_no_layer_holds_is_its_own_layer():
    problem, params = example(RAW)
    assert list(tangent_kernel(problem, params, layers=True)) == ["scale", "w"]


def test_as_a_matrix_it_is_symmetric_positive_semidefinite(dense):
    problem, params, *_ = dense
    matrix = np.asarray(as_matrix(tangent_kernel(problem, params)))
    assert matrix.shape == (15, 15)
    assert np.allclose(matrix, matrix.T, rtol=1e-13, atol=1e-13)
    assert np.linalg.eigvalsh(matrix)[0] > -1e-12
    kernel = tangent_kernel(problem, params)
    assert matrix[2 * 3 + 1, 4 * 3 + 2] == kernel[2, 4, 1, 2]


def test_it_works_under_jit_and_in_float32():
    problem, params = example(mlp([6], "tanh"), precision="float32")
    kernel = jax.jit(lambda p: tangent_kernel(problem, p))(params)
    assert kernel.dtype == jnp.float32
    truth = brute_force(problem, params, problem.inputs, problem.inputs)
    assert np.allclose(kernel, truth, rtol=1e-5, atol=1e-5)


def test_costs_follow_their_formulas():
    problem, params = example(mlp([6, 5], "linear", bias=False), n=7)
    k, p, n, m, b = 3, 24 + 30 + 15, 7, 4, 2
    forward, made = 2 * p, 6 + 5 + 3  # and what reshaping and transposing makes
    costs = kernel_cost(problem, params, n, m, block=b)
    again, arriving, held = 4, 4 + 6 + 5, 6 + 5 + 3
    jacobians = (n + m * again) * (2 * k + 1) * forward
    assert costs["jacobian"].flops == jacobians + 2 * n * m * k * k * p
    assert costs["products"].flops == (m * again * (2 * k + 1) + n * 2 + 2 * n * m * k) * forward
    assert costs["layers"].flops == jacobians + 2 * n * m * (arriving + k * k * held)
    traffic = costs["products"].memory / (8 * k * b) - p / b - b * k
    assert 4 + made <= traffic <= 4 + 2 * made
    assert costs["layers"].memory == 8 * (
        2 * b * (arriving + k * (held + traffic)) + b**2 * k**2 * 4
    )
    assert costs["jacobian"].memory == 8 * (2 * b * k * (p + traffic) + b**2 * k**2 * 3)


def test_what_is_said_of_memory_is_about_what_the_program_takes():
    net = ConvNet((Convolution(2, 3, padding=1),), (20,), "tanh", True)
    problem, params = example(net, n=40, inputs=(2, 4, 4))
    positions = tuple(range(len(jax.tree.leaves(params))))
    for method, cost in kernel_cost(problem, params, block=40).items():
        plan = Plan(method, "full", (positions,))
        lowered = jax.jit(METHODS[method], static_argnums=(0, 4)).lower(
            net, params, problem.inputs, None, plan
        )
        taken = lowered.compile().memory_analysis().temp_size_in_bytes
        assert 0.2 * cost.memory < taken < 2 * cost.memory, method


def test_dense_layers_behind_convolutions_are_taken_apart():
    model = ConvNet((Convolution(2, 3, padding=1),), (5,), "tanh", True)
    problem, params = example(model, inputs=(2, 4, 4))
    c, kernel = 9, 2 * 2 * 9 + 2  # the convolution and its bias stay as they are
    pairs = 2 * 5 * 5
    costs = kernel_cost(problem, params)
    gap = costs["jacobian"].flops - costs["layers"].flops
    p = kernel + 32 * 5 + 5 + 5 * 3 + 3
    assert gap == pairs * (c * p - (32 + 5 + c * (kernel + 5 + 3)))


def test_blocks_shrink_to_the_memory_that_is_given():
    problem, params = example(mlp([6, 5], "tanh"), n=5)
    whole = kernel_cost(problem, params)["jacobian"]
    half = kernel_cost(problem, params, memory=whole.memory / 2)["jacobian"]
    assert whole.block == 5
    assert half.block < 5
    assert half.memory <= whole.memory / 2
    more = kernel_cost(problem, params, block=half.block + 1)["jacobian"]
    assert more.memory > whole.memory / 2
    assert half.flops > whole.flops


def test_a_net_with_batch_statistics_is_refused():
    def centred(params, x):
        return (x - x.mean(axis=0, keepdims=True)) @ params

    problem, params = example(Applied(centred, start=np.ones((4, 3))))
    with pytest.raises(InputError, match="others of its batch"):
        tangent_kernel(problem, params)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"outputs": "sum"}, "full, diagonal, trace"),
        ({"method": "jacobians"}, "Did you mean 'jacobian'"),
        ({"where": "weight"}, "0/weight"),
        ({"block": 0}, "at least 1"),
        ({"x1": np.ones((3, 5))}, r"\(3, 5\)"),
    ],
)
def test_bad_arguments_are_told(dense, options, says):
    problem, params, *_ = dense
    with pytest.raises(InputError, match=says):
        tangent_kernel(problem, params, **options)


def test_a_kernel_needs_a_model():
    with pytest.raises(InputError, match="model with examples"):
        tangent_kernel(Function(lambda p: p, 1.0), 1.0)
