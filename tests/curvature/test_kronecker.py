"""Kronecker factors against the dense Fisher matrix, brute-force expectations and closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.core.trace import trace_of
from thalweg.models import Applied
from thalweg.problems.likelihoods import LIKELIHOODS

RNG = np.random.default_rng(3)
KEY = jax.random.key(0)
X = RNG.normal(size=(12, 3))
kronecker_fisher = tw.curvature.kronecker_fisher


def net(widths, targets, **options):
    problem = tw.problems.supervised(tw.models.mlp(widths, bias=True), (X, targets), **options)
    return problem, problem.init(KEY)


def on_blocks(params):
    """Which entries of a matrix on flat parameters lie in a block of one layer."""
    names = [p[0].idx for p, leaf in jax.tree_util.tree_leaves_with_path(params) for _ in range(leaf.size)]  # fmt: skip # noqa: E501
    return np.equal.outer(names, names)


# ---- likelihoods -------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["squared-error", "cross-entropy", "binary-cross-entropy"])
def test_fisher_matrix_of_the_outputs(name):
    """The Hessian of the loss, B B^T, and the second moment of gradients at drawn targets."""
    loss = tw.problems.LOSSES[name]
    model, z = tw.problems.likelihood(loss), jnp.asarray(RNG.normal(size=(4, 3)))
    targets = jnp.eye(3)[jnp.array([0, 2, 1, 1])]
    hessian = jax.vmap(jax.hessian(loss.one))(z, targets)
    units = jnp.eye(3)
    for i, e in enumerate(units):
        u = jnp.broadcast_to(e, z.shape)
        np.testing.assert_allclose(model.product(z, u), hessian[:, i], atol=1e-15)
    roots = model.roots(z)
    np.testing.assert_allclose(jnp.einsum("cni,cnj->nij", roots, roots), hessian, atol=1e-15)
    gradient = jax.vmap(jax.grad(loss.one))(z, targets)
    np.testing.assert_allclose(gradient, model.mean(z) - targets, atol=1e-15)
    many = jnp.broadcast_to(z[0], (40_000, 3))
    r = model.mean(many) - model.sample(KEY, many)
    np.testing.assert_allclose(r.T @ r / len(r), hessian[0], atol=0.03)
    assert abs(jnp.mean(r, axis=0)).max() < 0.02


def test_root_of_coins_is_sound_where_probabilities_round_to_one():
    z = jnp.array([[40.0, -40.0]])
    found = tw.problems.likelihood(tw.problems.LOSSES["binary-cross-entropy"]).root(z, 1 + 0 * z)
    np.testing.assert_allclose(found, np.exp(-20.0) * np.ones((1, 2)), rtol=1e-12)


# ---- factors against the dense Fisher matrix ---------------------------------------------------


@pytest.mark.parametrize("reduction", ["sum", pytest.param("mean", marks=pytest.mark.thorough)])
def test_deep_linear_nets_are_exact_on_all_neighbours(reduction):
    """C1: layers of 3-5-4-2, biases too; the cross blocks are those of the tridiagonal factors."""
    model = tw.models.mlp([5, 4], activation="linear", bias=True)
    problem = tw.problems.supervised(model, (X, RNG.normal(size=(12, 2))), reduction=reduction)
    params = problem.init(KEY)
    F = np.asarray(tw.curvature.fisher(problem, params).dense())
    found = kronecker_fisher(problem, params)
    inside = on_blocks(params)
    scale = abs(F).max()
    np.testing.assert_allclose(np.asarray(found.dense())[inside], F[inside], atol=1e-13 * scale)
    assert not np.asarray(found.dense())[~inside].any()
    chain = kronecker_fisher(problem, params, structure="tridiagonal")
    f, layers = chain.diagonal.factors, found.layers
    where = layers.split(found._leaves(jnp.arange(F.shape[0])))  # positions, matrix by matrix
    for i, (A, G) in enumerate(zip(f.input_pairs, f.output_pairs, strict=True)):
        rows, columns = (np.asarray(where[j]).T.ravel().astype(int) for j in (i, i + 1))
        block = F[np.ix_(rows, columns)]  # vec stacks columns
        np.testing.assert_allclose(block, np.kron(A, G), atol=1e-13 * scale)


@pytest.mark.thorough
def test_a_tanh_net_is_not_exact_and_blocks_are_the_products_of_moments():
    """Against per-example derivatives taken one by one, targets enumerated."""
    problem, params = net([4], np.arange(12) % 3)
    found = kronecker_fisher(problem, params)
    F = np.asarray(tw.curvature.fisher(problem, params).dense())
    inside = on_blocks(params)
    apart = np.linalg.norm((found.dense() - F)[inside]) / np.linalg.norm(F[inside])
    assert 0.05 < apart < 1
    A = G = 0.0
    (W1, b1), (W2, b2) = ((np.asarray(p["weight"]), np.asarray(p["bias"])) for p in params)
    for x in X:
        h = np.tanh(W1 @ x + b1)
        p = np.asarray(jax.nn.softmax(W2 @ h + b2))
        W = W2 * (1 - h**2)
        A += np.outer([*x, 1], [*x, 1]) / 12
        G += sum(p[c] * np.outer(r := (p - np.eye(3)[c]) @ W, r) for c in range(3)) / 12
    np.testing.assert_allclose(found.factors.inputs[0], A, atol=1e-14)
    np.testing.assert_allclose(found.factors.outputs[0], G, atol=1e-14)


@pytest.mark.thorough
def test_sampled_and_empirical_targets():
    problem, params = net([4], np.arange(12) % 3)
    exact = kronecker_fisher(problem, params).dense()
    drawn = kronecker_fisher(problem, params, targets="sampled", key=KEY, samples=4000).dense()
    assert 0 < np.linalg.norm(drawn - exact) / np.linalg.norm(exact) < 0.03
    own = kronecker_fisher(problem, params, targets="empirical")
    slopes = jax.vmap(jax.grad(lambda z, y: problem.loss.one(z, y)))(
        problem.outputs(params), problem.targets
    )
    np.testing.assert_allclose(own.factors.outputs[1], slopes.T @ slopes / 12, atol=1e-15)


# ---- layers of other kinds ---------------------------------------------------------------------


def convolution(spatial, stride, padding):
    kind = eqx.nn.Conv1d if spatial == 1 else eqx.nn.Conv2d
    module = kind(2, 3, 3 if spatial == 1 else (3, 2), stride, padding, key=KEY)
    return module, lambda module, x: jax.vmap(module)(x).reshape(len(x), -1)


@pytest.mark.thorough
@pytest.mark.parametrize(("spatial", "stride", "padding"), [(1, 2, 1), (2, 1, 0), (2, 2, 1)])
def test_one_convolution_with_white_noise_is_exact(spatial, stride, padding):
    """E13: Omega (x) Gamma is the Fisher matrix itself, patches and all."""
    module, apply = convolution(spatial, stride, padding)
    x = RNG.normal(size=(5, 2, *(7, 6)[:spatial]))
    model = Applied(apply, start=module)
    k = apply(module, jnp.asarray(x)).shape[1]
    problem = tw.problems.supervised(model, (x, np.zeros((5, k))))
    params = problem.init(KEY)
    found = kronecker_fisher(problem, params)
    assert [layer.kind for layer in found.layers.blocks] == ["convolution"]
    F = tw.curvature.fisher(problem, params).dense()
    np.testing.assert_allclose(found.dense(), F, atol=1e-13 * float(abs(F).max()))


@pytest.mark.thorough
def test_an_embedding_is_a_dense_layer_of_unit_vectors():
    words = RNG.integers(0, 4, size=(20, 1)).astype(float)

    def apply(p, x):
        return p["table"][x[:, 0].astype(int)] @ p["out"].T

    start = {"table": RNG.normal(size=(4, 3)), "out": RNG.normal(size=(2, 3))}
    start = jax.tree.map(jnp.asarray, start)
    problem = tw.problems.supervised(Applied(apply, start=start), (words, np.zeros((20, 2))))
    found = kronecker_fisher(problem, start)
    assert [layer.kind for layer in found.layers.blocks] == ["embedding", "dense"]
    F, at = np.asarray(tw.curvature.fisher(problem, start).dense()), slice(6, None)
    np.testing.assert_allclose(np.asarray(found.dense())[at, at], F[at, at], atol=1e-14)
    assert abs(F[at, at]).max() > 0.1


@pytest.mark.thorough
def test_scale_and_shift_and_what_is_unknown_have_the_diagonal():
    """LayerNorm's parameters, and a weight under an exponential, of which the report tells."""

    def apply(p, x):
        h = x @ p["W"].T
        h = (h - h.mean(1, keepdims=True)) * p["scale"][None] + p["shift"][None]
        return jnp.tanh(h) @ jnp.exp(p["strange"])

    shapes = {"W": (4, 3), "scale": (4,), "shift": (4,), "strange": (4, 2)}
    start = {name: jnp.asarray(RNG.normal(size=s)) for name, s in shapes.items()}
    problem = tw.problems.supervised(Applied(apply, start=start), (X, np.zeros((12, 2))))
    found = kronecker_fisher(problem, start)
    kinds = {layer.name: layer.kind for layer in found.layers.blocks}
    assert kinds == {"W": "dense", "scale": "scale-and-shift", "shift": "scale-and-shift", "strange": "other"}  # fmt: skip # noqa: E501
    assert "strange: other: met in a way that gives no Kronecker product" in found.layers.report()
    F, K = (np.asarray(m) for m in (tw.curvature.fisher(problem, start).dense(), found.dense()))
    at = slice(12, None)  # leaves in the order of their names, the weight first
    np.testing.assert_allclose(K[at, at], np.diag(np.diag(F)[at]), atol=1e-14)


@pytest.mark.thorough
def test_tied_weights_join_their_places():
    """W twice in a row has A = sum of A's and G the mean of G's; W and W^T are balanced first."""

    def twice(p, x):
        return jnp.tanh(x @ p.T) @ p.T

    def there_and_back(p, x):
        return jnp.tanh(x @ p.T) @ p

    W = RNG.normal(size=(3, 3))
    problem = tw.problems.supervised(Applied(twice, start=jnp.asarray(W)), (X, np.zeros((12, 3))))
    found = kronecker_fisher(problem, jnp.asarray(W))
    (layer,) = found.layers.blocks
    assert [place.turned for place in layer.places] == [False, False]
    h = np.tanh(X @ W.T)
    A = (X.T @ X + h.T @ h) / 12
    inner = [np.diag(1 - row**2) @ W.T @ W @ np.diag(1 - row**2) for row in h]
    G = (np.mean(inner, axis=0) + np.eye(3)) / 2
    np.testing.assert_allclose(found.factors.inputs[0], A, atol=1e-14)
    np.testing.assert_allclose(found.factors.outputs[0], G, atol=1e-14)

    W = RNG.normal(size=(5, 3))
    problem = tw.problems.supervised(
        Applied(there_and_back, start=jnp.asarray(W)), (X, np.zeros((12, 3)))
    )
    found = kronecker_fisher(problem, jnp.asarray(W))
    (layer,) = found.layers.blocks
    assert [place.turned for place in layer.places] == [False, True]
    parts = [jnp.trace(jnp.kron(A, G)) for A, G in _two_places(W)]
    balanced = [(A * np.sqrt(_mean(G) / _mean(A)), G * np.sqrt(_mean(A) / _mean(G))) for A, G in _two_places(W)]  # fmt: skip # noqa: E501
    np.testing.assert_allclose(found.factors.inputs[0], sum(A for A, _ in balanced), atol=1e-13)
    assert min(parts) > 0


def _mean(M):
    return np.trace(M) / len(M)


def _two_places(W):
    """(A, G) of z = W x and, its sides changed, of y = W^T h; both counts are in G."""
    h = np.tanh(X @ W.T)
    sent = [np.diag(1 - row**2) @ W @ W.T @ np.diag(1 - row**2) for row in h]
    return (X.T @ X / 12, np.mean(sent, axis=0) / 2), (np.eye(3) / 2, h.T @ h / 12)


def test_weights_that_meet_each_other_both_have_their_signals():
    """y = A B x of white x and white noise: the Fisher blocks are B B^T (x) I and I (x) A^T A."""
    white = np.linalg.qr(RNG.normal(size=(8, 3)))[0] * np.sqrt(8)

    def apply(p, x):
        return x @ (p["A"] @ p["B"]).T

    start = {"A": jnp.asarray(RNG.normal(size=(4, 2))), "B": jnp.asarray(RNG.normal(size=(2, 3)))}
    problem = tw.problems.supervised(Applied(apply, start=start), (white, np.zeros((8, 4))))
    A, B = (np.asarray(start[name]) for name in "AB")
    f = kronecker_fisher(problem, start).factors
    known = B @ B.T, A.T @ A, np.eye(4), np.eye(3)
    for found, expected in zip((*f.inputs, *f.outputs), known, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-13)


def test_layers_with_another_order_of_biases_are_others():
    """Or a program compiled for the one would serve the other, its biases mixed up."""

    def layers_with(turned):
        def apply(p, x):
            bias = p["b"].T if turned else p["b"]
            return (jnp.einsum("nd,dhk->nhk", x, p["W"]) + bias[None]).reshape(len(x), 4)

        start = {"W": jnp.ones((3, 2, 2)), "b": jnp.ones((2, 2))}
        problem = tw.problems.supervised(Applied(apply, start=start), (X, np.zeros((12, 4))))
        return tw.curvature.kronecker_layers(problem, start)

    straight, turned = layers_with(turned=False), layers_with(turned=True)
    assert straight.blocks[0].shape == turned.blocks[0].shape == (4, 4)
    assert straight != turned
    assert straight == layers_with(turned=False)


def test_what_is_found_in_an_equinox_module_with_calls_inside():
    """Compiled functions inside are walked through; positions of a sequence are locations."""

    class Module(eqx.Module):
        table: eqx.nn.Embedding
        dense: eqx.nn.Linear
        norm: eqx.nn.LayerNorm

        def __call__(self, x):
            h = jax.vmap(self.table)(x.astype(int))
            return jax.jit(lambda h: jax.vmap(self.norm)(jax.vmap(self.dense)(h)))(h).mean(0)

    module = Module(eqx.nn.Embedding(7, 4, key=KEY), eqx.nn.Linear(4, 2, key=KEY), eqx.nn.LayerNorm(2))  # fmt: skip # noqa: E501
    words = RNG.integers(0, 7, size=(6, 5)).astype(float)
    problem = tw.problems.supervised(tw.models.from_equinox(module), (words, np.zeros((6, 2))))
    layers = tw.curvature.kronecker_layers(problem, problem.init(KEY))
    kinds = [layer.kind for layer in layers.blocks]
    assert kinds == ["embedding", "dense", "scale-and-shift", "scale-and-shift"]
    assert layers.blocks[1].shape == (2, 5), "with its bias"


def test_a_trace_with_its_calls_written_out_computes_the_same():
    inner = jax.jit(lambda x: jnp.sin(x) + 1)
    trace = trace_of(lambda x: inner(x) * jax.checkpoint(jax.jit(jnp.cos))(x), jnp.ones(3))
    assert {e.primitive.name for e in trace.jaxpr.eqns} == {"sin", "add", "cos", "mul"}
    x = jnp.array([0.1, 0.2, 0.3])
    (made,) = jax.core.eval_jaxpr(trace.jaxpr, trace.consts, x)
    np.testing.assert_allclose(made, (np.sin(x) + 1) * np.cos(x), rtol=1e-15)


# ---- operators ---------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("structure", ["diagonal", "tridiagonal", "eigenvalues"])
def test_product_inverse_and_determinant_are_of_one_matrix(structure):
    problem, params = net([5, 4], np.arange(12) % 3)
    found = kronecker_fisher(problem, params, structure=structure, damping=0.01)
    dense = np.asarray(found.dense())
    assert np.linalg.eigvalsh(dense)[0] > 0
    v = RNG.normal(size=len(dense))
    np.testing.assert_allclose(found.solve(v), np.linalg.solve(dense, v), atol=1e-10)
    np.testing.assert_allclose(found.solve(np.eye(len(dense))) @ dense, np.eye(len(dense)), atol=1e-10)  # fmt: skip # noqa: E501
    assert float(found.log_determinant()) == pytest.approx(np.linalg.slogdet(dense)[1], abs=1e-9)
    tree = jax.flatten_util.ravel_pytree(params)[1](jnp.asarray(v))
    flat = jax.flatten_util.ravel_pytree(found.solve(tree))[0]
    np.testing.assert_allclose(flat, found.solve(v), rtol=1e-12)
    with pytest.raises(InputError, match="shaped as the parameters"):
        found.solve(params[0])


@pytest.mark.thorough
def test_tridiagonal_agrees_with_neighbours_and_its_inverse_with_nothing_else():
    """C2."""
    problem, params = net([5, 4], np.arange(12) % 3)
    found = kronecker_fisher(problem, params, structure="tridiagonal", damping=0.01)
    f, layers = found.diagonal.factors, found.layers
    where = layers.split(found._leaves(jnp.arange(found.shape[0])))
    places = [np.asarray(w).T.ravel().astype(int) for w in where]
    dense = np.asarray(found.dense())
    inverse = np.linalg.inv(dense)
    for i, (A, G) in enumerate(zip(f.input_pairs, f.output_pairs, strict=True)):
        np.testing.assert_allclose(dense[np.ix_(places[i], places[i + 1])], np.kron(A, G), atol=1e-12)  # fmt: skip # noqa: E501
    for i, (A, G) in enumerate(zip(f.inputs, f.outputs, strict=True)):
        np.testing.assert_allclose(dense[np.ix_(places[i], places[i])], np.kron(A, G), atol=1e-12)
    corner = np.ix_(places[0], places[2])
    assert abs(inverse[corner]).max() < 1e-11 * abs(inverse).max()
    assert abs(dense[corner]).max() > 1e-4 * abs(dense).max()


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_kronecker_differences_are_solved(sign):
    """C3."""
    A, B, C, D = (M @ M.T for M in (RNG.normal(size=(k, k + 1)) for k in (4, 3, 4, 3)))
    A, B = A + 20 * np.eye(4), B + 20 * np.eye(3)
    pair = tw.curvature.kronecker_difference(A, B, C, D, sign)
    dense, V = np.kron(A, B) + sign * np.kron(C, D), RNG.normal(size=(3, 4))
    expected = np.linalg.solve(dense, V.T.ravel()).reshape(4, 3).T
    np.testing.assert_allclose(pair.solve(V), expected, rtol=1e-11)
    assert float(pair.log_determinant()) == pytest.approx(np.linalg.slogdet(dense)[1], rel=1e-12)


@pytest.mark.thorough
def test_damping_inside_and_outside():
    """E9 with E10 inside the factors; the eigenbasis adds damping I itself; other blocks too."""
    problem, params = net([4], np.arange(12) % 3)
    plain = kronecker_fisher(problem, params)
    inside = kronecker_fisher(problem, params, damping=0.09)
    for A, G, Ad, Gd in zip(plain.factors.inputs, plain.factors.outputs, inside.factors.inputs, inside.factors.outputs, strict=True):  # fmt: skip # noqa: E501
        a, g = _mean(A), _mean(G)
        np.testing.assert_allclose(Ad, A + np.sqrt(a / g) * 0.3 * np.eye(len(A)), rtol=1e-13)
        np.testing.assert_allclose(Gd, G + np.sqrt(g / a) * 0.3 * np.eye(len(G)), rtol=1e-13)
        # kfac-jax's form is the same product
        other = np.kron(np.sqrt(g / a) * A + 0.3 * np.eye(len(A)), np.sqrt(a / g) * G + 0.3 * np.eye(len(G)))  # fmt: skip # noqa: E501
        np.testing.assert_allclose(np.kron(Ad, Gd), other, rtol=1e-12)
    outside = plain.shifted(0.09).dense()
    np.testing.assert_allclose(outside, plain.dense() + 0.09 * np.eye(len(outside)), atol=1e-13)


@pytest.mark.thorough
def test_ekfac_is_the_diagonal_of_the_fisher_matrix_in_the_basis():
    problem, params = net([4], np.arange(12) % 3)
    found = kronecker_fisher(problem, params, structure="eigenvalues")
    F = np.asarray(tw.curvature.fisher(problem, params).dense())
    where = found.layers.split(found._leaves(jnp.arange(len(F))))
    for place, (U, V), s in zip(where, found.bases, found.values, strict=True):
        at = np.asarray(place).T.ravel().astype(int)
        Q = np.kron(U, V)
        np.testing.assert_allclose(np.diag(Q.T @ F[np.ix_(at, at)] @ Q), s.T.ravel(), atol=1e-14)
    apart = [np.linalg.norm((found.dense() - F)[on_blocks(params)])]
    apart.append(np.linalg.norm((kronecker_fisher(problem, params).dense() - F)[on_blocks(params)]))
    assert apart[0] < apart[1]


@pytest.mark.thorough
def test_ekfac_of_a_convolution_sums_over_locations_first():
    module, apply = convolution(1, 1, 0)
    x = RNG.normal(size=(5, 2, 6))
    problem = tw.problems.supervised(Applied(apply, start=module), (x, np.zeros((5, 12))))
    params = problem.init(KEY)
    found = kronecker_fisher(problem, params, structure="eigenvalues")
    F = np.asarray(tw.curvature.fisher(problem, params).dense())
    (place,) = found.layers.split(found._leaves(jnp.arange(len(F))))
    at, (U, V) = np.asarray(place).T.ravel().astype(int), found.bases[0]
    Q = np.kron(U, V)
    np.testing.assert_allclose(np.diag(Q.T @ F[np.ix_(at, at)] @ Q), found.values[0].T.ravel(), atol=1e-13)  # fmt: skip # noqa: E501


def test_bad_input_is_one_sentence():
    problem, params = net([4], np.arange(12) % 3)
    with pytest.raises(InputError, match="Did you mean 'diagonal'"):
        kronecker_fisher(problem, params, structure="diagnal")
    with pytest.raises(InputError, match="give key="):
        kronecker_fisher(problem, params, targets="sampled")
    with pytest.raises(InputError, match="give 0 or more"):
        kronecker_fisher(problem, params, damping=-1.0)
    with pytest.raises(InputError, match="need a model"):
        kronecker_fisher(tw.problems.Function(lambda p: p @ p, start=jnp.ones(2)), jnp.ones(2))
    own = tw.problems.supervised(tw.models.mlp([2]), (X, X[:, :1]), lambda z, y: jnp.sum((z - y) ** 4))  # fmt: skip # noqa: E501
    with pytest.raises(InputError, match="no likelihood that is known"):
        kronecker_fisher(own, own.init(KEY))
    module, apply = convolution(1, 1, 0)
    data = RNG.normal(size=(5, 2, 6)), np.zeros((5, 12))
    images = tw.problems.supervised(Applied(apply, start=module), data)
    with pytest.raises(InputError, match="no moments with"):
        kronecker_fisher(images, images.init(KEY), structure="tridiagonal")
    assert set(LIKELIHOODS) == {loss.one for loss in tw.problems.LOSSES.values()}


@pytest.mark.thorough
def test_whole_matrices_are_those_of_the_operators():
    """F is `fisher` in the order of layers; the diagonal blocks are those of `kronecker_fisher`."""
    problem, params = net([4], np.arange(12) % 3)
    both = tw.curvature.whole_matrices(problem, params)
    found = kronecker_fisher(problem, params)
    where = found.layers.split(found._leaves(jnp.arange(found.shape[0])))
    order = np.concatenate([np.asarray(w).T.ravel() for w in where]).astype(int)
    at = np.ix_(order, order)
    F = np.asarray(tw.curvature.fisher(problem, params).dense())[at]
    np.testing.assert_allclose(both.exact, F, atol=1e-14)
    K = np.asarray(found.dense())[at]
    for i in range(2):
        np.testing.assert_allclose(both.approximate[both.block(i, i)], K[both.block(i, i)], atol=1e-14)  # fmt: skip # noqa: E501
    assert tw.curvature.whole_matrices(problem, params, 1).sizes == both.sizes[1:]
