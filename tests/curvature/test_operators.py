"""Curvature operators against matrices formed by brute force, in float64."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import thalweg as tw
from thalweg.core import tree
from thalweg.curvature.operator import Matrix, preconditioned
from thalweg.curvature.operators import (
    empirical_fisher,
    fisher,
    fisher_sampled,
    gauss_newton,
    hessian,
    jacobian,
)
from thalweg.problems import Function, supervised
from thalweg.problems.losses import Loss

KEY = jax.random.key(11)
RNG = np.random.default_rng(0)
X, Y, LABELS = RNG.normal(size=(9, 4)), RNG.normal(size=(9, 3)), np.arange(9) % 3


def pseudo_huber(outputs, target):
    r = outputs - target
    return jnp.sum(jnp.sqrt(1 + r**2)) + 0.1 * jnp.sum(r) ** 2


LOSSES = {
    "squared-error": "squared-error",
    "cross-entropy": "cross-entropy",
    "own": Loss("pseudo-huber", pseudo_huber, "either"),
}


def net(loss="squared-error", precision="float64", microbatch=None, reduction="mean"):
    problem = supervised(
        tw.models.mlp([5], "tanh"),
        (X, LABELS if loss == "cross-entropy" else Y),
        LOSSES[loss],
        precision=precision,
        microbatch=microbatch,
        reduction=reduction,
    )
    return problem, jax.tree.map(lambda p: p + 0.1, problem.init(KEY))


def flattened(problem, params):
    """Outputs (n, k) and single losses (n,) as functions of the flat parameters."""
    theta, unravel = ravel_pytree(params)

    def outputs(t):
        return problem.model.apply(unravel(t), problem.inputs)

    def losses(t):
        return jax.vmap(problem.loss.one)(outputs(t), problem.targets)

    return theta, outputs, losses


def brute_gauss_newton(problem, params):
    """sum_i J_i^T H_i J_i / n with every J_i and H_i a matrix."""
    theta, outputs, _ = flattened(problem, params)
    J = jax.jacobian(outputs)(theta)
    H = jax.vmap(jax.hessian(problem.loss.one))(outputs(theta), problem.targets)
    return jnp.einsum("nap,nab,nbq->pq", J, H, J) / len(problem.inputs)


def brute_empirical(problem, params):
    theta, _, losses = flattened(problem, params)
    G = jax.jacobian(losses)(theta)
    return G.T @ G / len(G)


def brute_hessian(problem, params):
    theta, _, losses = flattened(problem, params)
    return jax.hessian(lambda t: jnp.mean(losses(t)))(theta)


MAKERS = {
    "hessian": (hessian, brute_hessian),
    "gauss_newton": (gauss_newton, brute_gauss_newton),
    "empirical_fisher": (empirical_fisher, brute_empirical),
}
SAMPLED = {
    **{name: make for name, (make, _) in MAKERS.items()},
    "fisher": fisher,
    "fisher_sampled": lambda p, w, where=None: fisher_sampled(p, w, KEY, 3, where),
    "jacobian": jacobian,
    "transpose": lambda p, w, where=None: jacobian(p, w, where).T,
}


CASES = [
    ("hessian", "cross-entropy"),
    *(("gauss_newton", loss) for loss in LOSSES),
    ("empirical_fisher", "cross-entropy"),
    pytest.param("hessian", "own", marks=pytest.mark.slow),
    pytest.param("empirical_fisher", "own", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "loss"), CASES)
def test_operators_are_their_matrices(name, loss):
    make, brute = MAKERS[name]
    problem, params = net(loss)
    operator = make(problem, params)
    truth = np.asarray(jax.jit(brute)(problem, params))
    p = len(truth)
    assert operator.shape == (p, p)
    assert operator.dtype == np.float64
    np.testing.assert_allclose(operator.dense(), truth, atol=1e-13)
    block = RNG.normal(size=(p, p))
    np.testing.assert_allclose(operator @ block, truth @ block, atol=1e-12)
    of_tree = operator.T @ operator.part.tree(jnp.asarray(block[:, 1]))
    assert jax.tree.structure(of_tree) == jax.tree.structure(params)
    np.testing.assert_allclose(tree.flatten(of_tree), truth @ block[:, 1], atol=1e-12)
    if name != "hessian":
        assert np.linalg.eigvalsh(truth)[0] >= -1e-12


def test_gauss_newton_is_the_hessian_of_the_linearised_net():
    problem, params = net("cross-entropy")
    theta, outputs, _ = flattened(problem, params)
    _, push = jax.linearize(outputs, theta)

    def linearised(t):
        out = outputs(theta) + push(t - theta)
        return jnp.mean(jax.vmap(problem.loss.one)(out, problem.targets))

    truth = jax.hessian(linearised)(theta)
    np.testing.assert_allclose(gauss_newton(problem, params).dense(), truth, atol=1e-13)


def test_fisher_is_the_expectation_over_the_models_labels():
    problem, params = net("cross-entropy")
    theta, outputs, _ = flattened(problem, params)
    p = jax.nn.softmax(outputs(theta))
    total = 0
    for c in range(3):
        one = jax.nn.one_hot(c, 3)
        scores = jax.jacobian(lambda t, one=one: jax.nn.log_softmax(outputs(t)) @ one)(theta)
        total = total + (scores * p[:, c : c + 1]).T @ scores / len(X)
    np.testing.assert_allclose(fisher(problem, params).dense(), total, atol=1e-13)


def test_fisher_of_squared_error_is_that_of_a_unit_gaussian():
    """E[r r^T] = 1 for r of unit variance, so that F = J^T J / n."""
    problem, params = net("squared-error")
    J = jacobian(problem, params).dense()
    np.testing.assert_allclose(fisher(problem, params).dense(), J.T @ J / len(X), atol=1e-13)


@pytest.mark.parametrize(
    "loss", [pytest.param("squared-error", marks=pytest.mark.slow), "cross-entropy"]
)
def test_sampled_fisher_is_unbiased(loss):
    """The mean over 400 keys is the exact matrix within 5 standard errors at every entry."""
    problem, params = net(loss)
    exact = np.asarray(fisher(problem, params).dense())
    draw = jax.jit(jax.vmap(lambda key: fisher_sampled(problem, params, key, 2).dense()))
    drawn = np.asarray(draw(jax.random.split(KEY, 400)))
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    assert np.all(np.abs(drawn.mean(axis=0) - exact) <= 5 * error + 1e-14)
    many = fisher_sampled(problem, params, KEY, 20_000).dense()
    assert np.linalg.norm(many - exact) <= 0.02 * np.linalg.norm(exact)


def test_jacobian_and_its_transpose():
    problem, params = net()
    theta, outputs, _ = flattened(problem, params)
    truth = np.asarray(jax.jacobian(outputs)(theta)).reshape(27, -1)
    J = jacobian(problem, params)
    assert (J.shape, J.T.shape) == (truth.shape, truth.T.shape)
    np.testing.assert_allclose(J.dense(), truth, atol=1e-14)
    np.testing.assert_allclose(J.T.dense(), truth.T, atol=1e-14)
    assert J.T.T.shape == J.shape
    of_tree = J @ params
    assert of_tree.shape == (9, 3)
    np.testing.assert_allclose(of_tree.ravel(), truth @ tree.flatten(params), atol=1e-13)
    back = J.T @ of_tree
    assert jax.tree.structure(back) == jax.tree.structure(params)
    np.testing.assert_allclose(tree.flatten(back), truth.T @ of_tree.ravel(), atol=1e-13)


PARTS = {
    "layer": lambda path: path.startswith("1"),
    "weights": lambda path: path.endswith("weight"),
    "prefix": [True, {"weight": False, "bias": True}],
    "entries": [
        {"weight": np.arange(20).reshape(5, 4) % 3 == 0, "bias": np.arange(5) == 2},
        {"weight": False, "bias": False},
    ],
    "nothing left out": True,
}


@pytest.mark.parametrize(
    "where",
    [w if w == "entries" else pytest.param(w, marks=pytest.mark.slow) for w in PARTS],
)
def test_a_part_is_a_principal_submatrix(where):
    problem, params = net("cross-entropy", microbatch=4 if where == "entries" else None)
    choice = PARTS[where]
    if callable(choice):
        marks = [choice(f"{layer}.{name}") for layer in (0, 1) for name in ("bias", "weight")]
        choice = jax.tree.unflatten(jax.tree.structure(params), marks)
    full = jax.tree.map(
        lambda w, p: np.broadcast_to(w, p.shape), jax.tree.broadcast(choice, params), params
    )
    inside = np.concatenate([m.ravel() for m in jax.tree.leaves(full)])
    whole, J = whole_matrix("hessian"), whole_matrix("jacobian")
    part = hessian(problem, params, PARTS[where])
    np.testing.assert_allclose(part.dense(), whole[np.ix_(inside, inside)], atol=1e-13)
    np.testing.assert_allclose(part.part.theta, tree.flatten(params)[inside])
    some = jacobian(problem, params, PARTS[where])
    np.testing.assert_allclose(some.dense(), J[:, inside], atol=1e-13)
    np.testing.assert_allclose(some.T.dense(), J[:, inside].T, atol=1e-13)
    v = jax.random.normal(KEY, (len(inside),))
    expected = np.where(inside, whole @ np.where(inside, v, 0), 0)
    of_tree = part @ ravel_pytree(params)[1](v)
    np.testing.assert_allclose(tree.flatten(of_tree), expected, atol=1e-13)


def test_preconditioning_keeps_the_spectrum_of_the_inverse_times_the_hessian():
    problem, params = net()
    H = hessian(problem, params)
    d = RNG.uniform(0.1, 3.0, H.shape[0])
    P = preconditioned(H, d)
    H_dense = np.asarray(H.dense())
    np.testing.assert_allclose(P.dense(), H_dense / np.sqrt(np.outer(d, d)), atol=1e-13)
    truth = np.sort(np.linalg.eigvals(H_dense / d[:, None]).real)
    np.testing.assert_allclose(np.linalg.eigvalsh(P.dense()), truth, atol=1e-11)
    of_tree = preconditioned(H, H.part.tree(jnp.asarray(d)))
    np.testing.assert_allclose(of_tree.dense(), P.dense(), atol=1e-14)


@functools.cache
def whole_matrix(name):
    return np.asarray(SAMPLED[name](*net("cross-entropy")).dense())


@pytest.mark.parametrize(
    ("size", "reduction"), [pytest.param(1, "mean", marks=pytest.mark.slow), (4, "sum")]
)
@pytest.mark.parametrize("name", SAMPLED)
def test_microbatches_change_rounding_only(name, size, reduction):
    """And a sum is n times a mean, but for the Jacobian, which knows no loss."""
    parts = SAMPLED[name](*net("cross-entropy", microbatch=size, reduction=reduction)).dense()
    times = 9 if reduction == "sum" and name not in ("jacobian", "transpose") else 1
    np.testing.assert_allclose(parts, times * whole_matrix(name), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    "name", ["hessian", "gauss_newton", pytest.param("transpose", marks=pytest.mark.slow)]
)
def test_microbatches_bound_the_memory(name):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(2000, 20)), rng.integers(0, 3, 2000)

    def bytes_of(size):
        problem = supervised(tw.models.mlp([64, 64], "tanh"), (x, labels), microbatch=size)
        params = problem.init(KEY)

        def repeated(params):
            operator = SAMPLED[name](problem, params)
            product = operator.prepared()
            return jax.lax.map(product, jnp.ones((3, operator.shape[1])))

        compiled = jax.jit(repeated).lower(params).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_of(100) < bytes_of(None) / 4


@pytest.mark.parametrize("size", [None, 4])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", SAMPLED)
def test_no_implicit_conversion_in_any_precision(name, loss, size):
    if "fisher" in name and loss == "own" and "empirical" not in name:
        pytest.skip("no likelihood")
    with jax.numpy_dtype_promotion("strict"):
        for precision in ("float32", "float64"):
            problem, params = net(loss, precision, size)
            operator = SAMPLED[name](problem, params, lambda path: "weight" in path)
            v = jnp.ones((operator.shape[1], 2), precision)
            assert jax.eval_shape(lambda o, v: o @ v, operator, v).dtype == precision
            assert operator.dtype == precision


@pytest.mark.slow
def test_float32_products_are_near_the_float64_ones():
    (high, params), (low, _) = net("cross-entropy"), net("cross-entropy", "float32")
    single = jax.tree.map(lambda p: p.astype(jnp.float32), params)
    for make in (hessian, gauss_newton):
        truth = make(high, params).dense()
        found = make(low, single).dense()
        assert found.dtype == np.float32
        assert np.abs(found - truth).max() <= 100 * np.finfo(np.float32).eps * np.abs(truth).max()


def test_a_bare_function_has_a_hessian():
    problem = Function(lambda p: p["a"] ** 2 * p["b"] + jnp.sum(p["c"] ** 3), {
        "a": 2.0, "b": -1.0, "c": np.array([0.5, 1.0])})  # fmt: skip
    operator = hessian(problem, problem.init(KEY))
    expected = np.diag([0, 0, 3.0, 6.0])
    expected[:2, :2] = [[-2, 4], [4, 0]]
    np.testing.assert_allclose(operator.dense(), expected, atol=1e-14)
    assert operator.cost == 2.0


def test_many_classes_cost_no_matrix_of_classes():
    """With 3000 classes a k x k matrix for each of 8 examples would take 576 MB."""
    k = 3000
    x, labels = RNG.normal(size=(8, 3)), np.arange(k) % k
    targets = np.eye(k)[RNG.integers(0, k, 8)]
    del labels
    problem = supervised(
        tw.models.mlp([2]),
        (x, targets),
        Loss("own", lambda o, y: -y @ jax.nn.log_softmax(o), "either"),
    )
    params = problem.init(KEY)
    v = jnp.ones(tree.size(params))
    lowered = jax.jit(lambda p: gauss_newton(problem, p) @ v).lower(params)
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 40 * 8 * k * 8


def test_a_product_compiles_once_per_shape():
    problem, params = net()
    traced = []

    def apply(p, x):
        traced.append(0)
        return jnp.tanh(x @ p)

    problem = supervised(tw.models.Applied(apply, start=RNG.normal(size=(4, 3))), (X, Y))
    params = problem.init(KEY)
    v = jnp.ones(12)
    hessian(problem, params) @ v
    count = len(traced)
    for step in range(3):
        hessian(problem, params + step) @ v
    assert len(traced) == count


def test_a_name_is_a_leaf_or_all_leaves_below_it():
    bowl = Function(lambda w: sum(jnp.sum(x**2) * k for k, x in enumerate(jax.tree.leaves(w))), {})
    params = {"1": {"b": jnp.ones(2), "w": jnp.ones(3)}, "10": jnp.ones(4), "1.w": jnp.ones(5)}
    sizes = {"1": 10, "1.b": 2, "1.w": 8, "10": 4}  # a flat name with a dot, as in PyTorch, too
    assert {name: hessian(bowl, params, name).shape[0] for name in sizes} == sizes
    assert hessian(bowl, params, "1.b").dense().tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert hessian(bowl, params, "10").dense().tolist() == (2.0 * 3 * np.eye(4)).tolist()


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda p, w: hessian(p, w) @ np.ones(3), "flat vector"),
        (lambda p, w: hessian(p, w) @ [np.ones(3)], "shaped as the parameters"),
        (lambda p, w: jacobian(p, w).T @ np.ones(3), "outputs of shape"),
        (lambda p, w: hessian(p, w, lambda path: "wieght" in path), "chooses no parameter"),
        (lambda p, w: hessian(p, w, "9"), "where='9' chooses no parameter; the leaves are 0."),
        (lambda p, w: hessian(p, w, [True]), "not a prefix"),
        (lambda p, w: hessian(p, w, [1, 2]), "booleans"),
        (lambda p, w: fisher_sampled(p, w, KEY, 0), "samples"),
        (lambda p, w: fisher(net("own")[0], w), "likelihood"),
        (lambda p, w: gauss_newton(Function(jnp.sum, np.ones(3)), w), "needs a model"),
        (lambda p, w: preconditioned(hessian(p, w), np.zeros(tree.size(w))), "not positive"),
        (lambda p, w: preconditioned(jacobian(p, w), np.ones(9)), "not symmetric"),
        (lambda p, w: Matrix(jnp.ones((2, 3))), "square"),
        (lambda p, w: Matrix(jnp.eye(3)) @ np.ones(4), "vector of 3"),
    ],
)
def test_misfits_are_sentences(act, sentence):
    problem, params = net()
    with pytest.raises(tw.InputError, match=sentence):
        act(problem, params)
