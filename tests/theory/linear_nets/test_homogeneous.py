"""Curvature of homogeneous networks against Hessians by automatic differentiation."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import quad, solve_ivp

from thalweg.core.errors import InputError
from thalweg.theory.linear_nets.homogeneous import (
    aligned_min_eig,
    balanced_min_eig_bound,
    chain_eigenvalues,
    chain_negative_curvature_integral,
    conserved_product_bound,
    homogeneous_min_eig_bound,
    linear_min_eig_bound,
    linear_tube_bounds,
    negative_curvature_min_eig,
    negative_curvature_weights,
)
from thalweg.theory.linear_nets.scalar_linear import balanced_init

SLOPES = {"linear": (1.0, 1.0), "relu": (1.0, 0.0), "leaky": (1.0, 0.3), "odd": (-0.7, 1.4)}


def outputs(weights, slopes, x):
    for W in weights[:-1]:
        z = W @ x
        x = jnp.where(z > 0, slopes[0] * z, slopes[1] * z)
    return weights[-1] @ x


def square(out, y):
    return 0.5 * jnp.sum((out - y) ** 2)


def softmax(out, y):
    return -jnp.sum(y * jax.nn.log_softmax(out))


def mean_loss(weights, slopes, X, Y, loss):
    return jnp.mean(jax.vmap(lambda x, y: loss(outputs(weights, slopes, x), y))(X, Y))


def matrix_loss(weights, target):
    W = weights[0]
    for V in weights[1:]:
        W = V @ W
    return 0.5 * jnp.sum((W - target) ** 2)


@jax.jit
def matrix_hessian(weights, target):
    flat, back = ravel_pytree(weights)
    return jax.hessian(lambda v: matrix_loss(back(v), target))(flat)


def eigenvalues(weights, target):
    return np.linalg.eigvalsh(matrix_hessian(weights, target))


def draw(key, widths, scale=1.0):
    keys = jax.random.split(key, len(widths) - 1)
    return [
        scale * jax.random.normal(k, (o, i)) / np.sqrt(i)
        for k, i, o in zip(keys, widths[:-1], widths[1:], strict=True)
    ]


@pytest.mark.parametrize("loss", [square, softmax])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_claim_c1_bound_holds_on_random_networks(loss, n):
    widths = [3] + [4] * (n - 1) + [2]
    back = ravel_pytree(draw(jax.random.key(0), widths))[1]

    @jax.jit
    def measure(v, slopes, X, Y):
        hessian = jax.hessian(lambda v: mean_loss(back(v), slopes, X, Y, loss))(v)
        weights = back(v)
        grads = jax.vmap(lambda x, y: jax.grad(loss)(outputs(weights, slopes, x), y))(X, Y)
        return jnp.linalg.eigvalsh(hessian)[0], grads

    worst = np.inf
    for number, slopes in enumerate(list(SLOPES.values()) * 4):
        k1, k2, k3 = jax.random.split(jax.random.key(100 * n + number), 3)
        weights = draw(k1, widths, scale=[0.3, 1.0, 2.0][number % 3])
        X, Y = jax.random.normal(k2, (5, 3)), jax.nn.softmax(jax.random.normal(k3, (5, 2)))
        lowest, grads = measure(ravel_pytree(weights)[0], jnp.array(slopes), X, Y)
        bound = homogeneous_min_eig_bound(weights, slopes, grads, X)
        worst = min(worst, float(lowest - bound))
        if slopes == SLOPES["linear"]:
            # phi(W) = mean l(W x): its gradient is the mean of outer products.
            G = jnp.mean(grads[:, :, None] * X[:, None, :], axis=0)
            tighter = linear_min_eig_bound(weights, G)
            assert lowest >= tighter - 1e-12
            assert tighter >= bound - 1e-12
    assert worst >= -1e-12


def test_claim_c1_near_tight_aligned():
    n, r = 3, 0.01
    target = jnp.array([[1.0, 0.0, 0.0]])
    weights = balanced_init(r * target, n, [3, 3], jax.random.key(1))
    lowest = eigenvalues(weights, target)[0]
    G = (r - 1) * target
    # The same loss from samples: x_i = sqrt(3) e_i, one half square, mean over samples.
    X = np.sqrt(3) * jnp.eye(3)
    grads = X @ G.T
    for bound in (
        linear_min_eig_bound(weights, G),
        homogeneous_min_eig_bound(weights, (1, 1), grads, X),
        balanced_min_eig_bound(r, 1 - r, n),
    ):
        assert lowest / float(bound) == pytest.approx(0.98485, abs=5e-6)


def test_claim_c1_near_tight_slope():
    r, n, alpha = 0.001, 3, 2.0
    chain = [jnp.full((1, 1), r ** (1 / n))] * n
    X = Y = jnp.ones((1, 1))
    slopes = (alpha, 0.1)
    flat, back = ravel_pytree(chain)
    hessian = jax.hessian(lambda v: mean_loss(back(v), slopes, X, Y, square))(flat)
    lowest = np.linalg.eigvalsh(hessian)[0]
    grads = alpha ** (n - 1) * r * jnp.ones((1, 1)) - 1
    bound = float(homogeneous_min_eig_bound(chain, slopes, grads, X))
    p = alpha ** (n - 1)
    assert 1 - n * p * r / ((n - 1) * (1 - p * r)) == pytest.approx(0.993976, abs=5e-7)
    assert lowest / bound == pytest.approx(0.993976, abs=5e-7)


def test_bounds_at_depth_one_and_two():
    W = [jnp.array([[1.0, 2.0]])]
    assert linear_min_eig_bound(W, jnp.ones((1, 2))) == 0
    assert balanced_min_eig_bound(0.5, 3.0, 1) == 0
    # n = 2 at 0: the empty product is 1 and the bound is the eigenvalue.
    zero = [jnp.zeros((3, 2)), jnp.zeros((2, 3))]
    target = jnp.array([[1.0, 2.0], [-0.5, 3.0]])
    lowest = eigenvalues(zero, target)[0]
    assert linear_min_eig_bound(zero, -target) == pytest.approx(lowest, rel=1e-13)


def test_balanced_bound_is_the_linear_bound_at_balanced_weights():
    A = jax.random.normal(jax.random.key(3), (3, 4))
    G = jax.random.normal(jax.random.key(4), (3, 4))
    for n in (2, 3, 5):
        weights = balanced_init(A, n, [5] * (n - 1), jax.random.key(5))
        bound = balanced_min_eig_bound(jnp.linalg.norm(A, 2), jnp.linalg.norm(G, 2), n)
        assert float(linear_min_eig_bound(weights, G)) == pytest.approx(float(bound), rel=1e-12)


def test_time_axis_is_carried_through():
    keys = jax.random.split(jax.random.key(0), 6)
    paths = [draw(k, [3, 4, 4, 2]) for k in keys]
    stacked = [jnp.stack(layer) for layer in zip(*paths, strict=True)]
    target, X = jnp.ones((2, 3)), jnp.ones((5, 3))
    grads = jax.random.normal(keys[0], (6, 5, 2))
    together = linear_tube_bounds(stacked, target, 0.1)
    for i, w in enumerate(paths):
        for a, b in zip(together, linear_tube_bounds(w, target, 0.1), strict=True):
            assert a[i] == pytest.approx(float(b), rel=1e-13)
    bounds = homogeneous_min_eig_bound(stacked, (1, 0), grads, X)
    single = [homogeneous_min_eig_bound(w, (1, 0), g, X) for w, g in zip(paths, grads, strict=True)]
    np.testing.assert_allclose(bounds, single, rtol=1e-13)
    assert conserved_product_bound(stacked, paths[0]).shape == (6,)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_tube_bounds_hold_in_the_ball(n):
    widths, eps = [3] + [3] * (n - 1) + [2], 0.3
    target = jax.random.normal(jax.random.key(9), (2, 3))
    flat_like, back = ravel_pytree(draw(jax.random.key(0), widths))

    @jax.jit
    def measure(v):
        def f(v):
            return matrix_loss(back(v), target)

        return jnp.linalg.eigvalsh(jax.hessian(f)(v)), jax.grad(f)(v)

    rng = np.random.default_rng(0)
    for scale in (0.1, 1.0):
        centre = scale * rng.normal(size=flat_like.size)
        b = linear_tube_bounds(back(jnp.asarray(centre)), target, eps)
        for _ in range(40):
            step = rng.normal(size=centre.size)
            step *= eps / np.linalg.norm(step)
            eig, grad = measure(centre + step)
            assert b.m >= -eig[0] - 1e-12
            assert b.beta >= np.max(np.abs(eig)) - 1e-12
            assert b.gamma >= np.linalg.norm(grad) - 1e-12


def test_tube_bounds_are_the_formula():
    # Unequal layers of width 1, where every norm is an absolute value.
    w, eps, target = [0.3, -1.2, 0.7, 2.0], 0.05, 0.4
    b = linear_tube_bounds([jnp.full((1, 1), x) for x in w], jnp.full((1, 1), target), eps)
    s = [abs(x) + eps for x in w]
    P = [np.prod([s[i] for i in range(4) if i != j]) for j in range(4)]
    root = np.sqrt(np.sum(np.square(P)))
    G = abs(np.prod(w) - target) + eps * root
    pair = max(s[i] * s[j] for i, j in combinations(range(4), 2))
    assert b.gamma == pytest.approx(G * root, rel=1e-14)
    assert b.m == pytest.approx(3 * G * pair, rel=1e-14)
    assert b.beta == pytest.approx(root**2 + 3 * G * pair, rel=1e-14)
    # Radius 0: gamma is the gradient's norm, m the point bound.
    weights = [jnp.full((1, 1), x) for x in w]
    point = linear_tube_bounds(weights, jnp.full((1, 1), target), 0.0)
    grad = ravel_pytree(jax.grad(lambda v: matrix_loss(v, target))(weights))[0]
    assert point.gamma == pytest.approx(float(jnp.linalg.norm(grad)), rel=1e-13)
    bound = linear_min_eig_bound(weights, jnp.full((1, 1), np.prod(w) - target))
    assert point.m == pytest.approx(-float(bound), rel=1e-14)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_claim_c2_smallest_eigenvalue_at_aligned_weights(n):
    target = jnp.array([[0.6, 0.8]])
    for r in (0.01, 0.1, 0.3, 0.6, 0.95):
        weights = balanced_init(r * target, n, [2] * (n - 1), jax.random.key(n))
        lowest = eigenvalues(weights, target)[0]
        assert aligned_min_eig(r, n) == pytest.approx(lowest, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_claim_c2_chain_eigenvalues(n):
    for r in (0.01, 0.3, 0.7, 0.95):
        chain = [jnp.full((1, 1), r ** (1 / n))] * n
        brute = eigenvalues(chain, jnp.ones((1, 1)))
        simple, repeated = chain_eigenvalues(r, n)
        expected = np.sort([float(simple)] + [float(repeated)] * (n - 1))
        np.testing.assert_allclose(brute, expected, atol=1e-12)


@pytest.mark.parametrize("zero", list(combinations(range(1, 5), 2)))
def test_claim_c2_arbitrarily_negative_elsewhere(zero):
    widths = [3, 2, 4, 2, 3]
    target = jax.random.normal(jax.random.key(7), (3, 3))
    for c in (1.0, 10.0, 100.0):
        weights = negative_curvature_weights(widths, c, zero)
        lowest = eigenvalues(weights, target)[0]
        exact = float(negative_curvature_min_eig(-target, 4, c, zero))
        assert exact == pytest.approx(lowest, rel=1e-12)
        if zero == (1, 3):
            assert lowest / c**2 == pytest.approx(-float(jnp.linalg.norm(target[0])), rel=1e-12)


@pytest.mark.parametrize(("n", "observed"), [(2, 0.594388), (3, 0.926762), (4, 1.103003)])
def test_claim_c3_total_negative_curvature_of_the_chain(n, observed):
    def integrand(r):
        lowest = min(float(x) for x in chain_eigenvalues(r, n))
        return max(-lowest, 0.0) / (n * r ** (2 - 2 / n) * (1 - r))  # dt = dr/r'

    turn = (n - 1) / (2 * n - 1)
    brute = quad(integrand, 0.05, turn, epsabs=1e-11)[0]
    brute += quad(integrand, turn + 1e-9, 0.999, epsabs=1e-11)[0]
    formula = float(chain_negative_curvature_integral(0.05, n))
    assert formula == pytest.approx(brute, abs=1e-8)
    assert formula == pytest.approx(observed, abs=1e-6)
    assert chain_negative_curvature_integral(turn + 0.01, n) == 0
    assert chain_negative_curvature_integral(0.3, 1) == 0


@pytest.mark.parametrize("name", list(SLOPES))
def test_claim_c4_layer_norm_differences_are_conserved(name):
    key = jax.random.split(jax.random.key(2), 3)
    weights = draw(key[0], [4, 5, 3, 3])
    X = jax.random.normal(key[1], (7, 4))
    Y = jax.nn.one_hot(jax.random.randint(key[2], (7,), 0, 3), 3)
    grads = jax.grad(lambda w: mean_loss(w, SLOPES[name], X, Y, softmax))(weights)
    rates = [-2 * float(jnp.sum(w * g)) for w, g in zip(weights, grads, strict=True)]
    size = sum(
        float(jnp.linalg.norm(w) * jnp.linalg.norm(g)) for w, g in zip(weights, grads, strict=True)
    )
    assert np.ptp(rates) <= 1e-12 * max(1.0, size)


def test_conserved_product_bound_along_a_flow():
    target = 3 * jax.random.normal(jax.random.key(5), (2, 3))
    initial = draw(jax.random.key(6), [3, 4, 4, 4, 2], scale=0.6)
    flat, back = ravel_pytree(initial)
    field = jax.jit(jax.grad(lambda v: -matrix_loss(back(v), target)))
    path = solve_ivp(lambda t, v: np.asarray(field(v)), (0, 4), flat, rtol=1e-9, atol=1e-10)
    weights = jax.vmap(back)(jnp.asarray(path.y.T))
    norms = np.sort([np.linalg.norm(w, 2, axis=(1, 2)) for w in weights], axis=0)
    bound = conserved_product_bound(weights, initial)
    assert np.all(norms[-1] * norms[-2] <= bound * (1 + 1e-8))
    # Rank one and balanced: spectral and Frobenius norm agree, nothing is lost.
    balanced = balanced_init(0.3 * target[:1] / jnp.linalg.norm(target[0]), 4, [3, 3, 3])
    assert conserved_product_bound(balanced, balanced) == pytest.approx(0.3**0.5, rel=1e-12)
    # Unbalanced: the difference of the start is added to the smallest layer.
    start = [jnp.eye(2), 2 * jnp.eye(2), 3 * jnp.eye(2)]
    now = [4 * jnp.eye(2), 5 * jnp.eye(2), 6 * jnp.eye(2)]
    assert conserved_product_bound(now, start) == pytest.approx((32 + 16) ** 0.5, rel=1e-14)


def test_bad_input():
    w = draw(jax.random.key(0), [3, 4, 2])
    with pytest.raises(InputError, match="W_1"):
        linear_min_eig_bound(w[::-1], jnp.ones((2, 3)))
    with pytest.raises(InputError):
        homogeneous_min_eig_bound(w, (1, 0), jnp.ones((4, 2)), jnp.ones((5, 3)))
    with pytest.raises(InputError):
        linear_tube_bounds(w, jnp.ones((3, 3)), 0.1)
    with pytest.raises(InputError):
        linear_tube_bounds(w, jnp.ones((2, 3)), -0.1)
    with pytest.raises(InputError):
        linear_min_eig_bound([], jnp.ones((2, 3)))
    with pytest.raises(InputError):
        conserved_product_bound(w, w[:1])
    with pytest.raises(InputError):
        aligned_min_eig(1.0, 3)
    with pytest.raises(InputError):
        aligned_min_eig(0.5, 1)
    with pytest.raises(InputError):
        negative_curvature_weights([2, 2, 2], 1.0, (1, 2))
    with pytest.raises(InputError):
        negative_curvature_min_eig(jnp.ones((2, 2)), 3, 1.0, (2, 2))
