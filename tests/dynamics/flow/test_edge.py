"""The oscillation at the edge against closed forms and against differences of the Hessian."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from thalweg.core.hessian_product import dense_hessian, third_product
from thalweg.core.sdcp import sdcp, smat, svec
from thalweg.dynamics.flow.edge import Edge, Scaling, edge, thirds, turned

RNG = np.random.default_rng(3)
MIXED = {
    "indefinite": [[2.0, 0.5], [0.5, -1.0]],
    "positive": [[2.0, 0.5], [0.5, 1.0]],
    "three": [[1.0, 0.5, -0.3], [0.5, -1.0, 0.7], [-0.3, 0.7, 0.4]],
}


def scaling(step_size, average="none", decay=0.0, epsilon=0.0):
    return Scaling(*map(jnp.asarray, (float(step_size), float(decay), float(epsilon))), average)


def at(objective, theta, how, nu=None, count=None, instant=True, turn=None):
    """The problem at a point, of its `count` leading eigenvectors, by the library's own products.

    Args:
        instant: Without the slack, as if all eigenvalues were at the edge.
        turn: A rotation among the eigenvectors.
    """
    gradient = jax.grad(objective)(theta)
    nu = how.begun(gradient) if nu is None else jnp.asarray(nu)
    P = how.diagonal(nu, gradient)
    H = dense_hessian(objective, theta)
    values, vectors = jnp.linalg.eigh(H / jnp.sqrt(P)[:, None] / jnp.sqrt(P)[None])
    values, rows = values[::-1][:count], vectors.T[::-1][:count]
    rows = rows if turn is None else turn @ rows
    told = jnp.full_like(values, 2.0) if instant else values
    third = third_product(objective, theta)
    one = jnp.asarray(len(values))
    found = edge(how, third, gradient, nu, rows / jnp.sqrt(P)[None], told, one, jnp.asarray(1.0))
    return found, rows / jnp.sqrt(P)[None], gradient, nu, values


def positive(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 0)) @ vectors.T


def matrix_toy(C):
    """f = x^T Y x/2 - <C, Y>, Y in isometric coordinates."""
    k = len(C)
    C = jnp.asarray(C) * 1e-3

    def objective(flat):
        x, Y = flat[:k], smat(flat[k:])
        return 0.5 * x @ Y @ x - jnp.sum(C * Y)

    eta = 0.1
    return objective, jnp.concatenate([jnp.zeros(k), svec(2 / eta * jnp.eye(k))]), eta, C


class TestMatrixToy:
    """Its covariance is 2 C_+ in closed form."""

    @pytest.mark.thorough(after=1)
    @pytest.mark.parametrize("name", MIXED)
    def test_the_covariance_is_twice_the_positive_part(self, name):
        objective, theta, eta, C = matrix_toy(MIXED[name])
        turn = jnp.linalg.qr(jnp.asarray(RNG.normal(size=(len(C), len(C)))))[0]
        found, U, *_ = at(objective, theta, scaling(eta), count=len(C), turn=turn)
        sigma = U.T @ found.solved().X @ U
        np.testing.assert_allclose(
            sigma[: len(C), : len(C)], 2 * positive(np.asarray(C)), atol=1e-12
        )

    @pytest.mark.thorough
    @pytest.mark.parametrize("fault", ["off-diagonals once", "diagonal only", "half dropped"])
    def test_a_wrong_assembly_is_seen(self, fault):
        objective, theta, eta, _ = matrix_toy(MIXED["three"])
        found, U, *_ = at(objective, theta, scaling(eta), count=3)
        right = np.asarray(U.T @ found.solved().X @ U)
        share = {"off-diagonals once": np.sqrt(0.5), "diagonal only": 0.0, "half dropped": 1.0}
        W = jnp.diag(svec(jnp.eye(3)) + share[fault] * (1 - svec(jnp.eye(3))))
        growth = W @ found.growth @ W * (2 if fault == "half dropped" else 1)
        wrong = found._replace(slack=smat(W @ svec(found.slack)), growth=growth).solved()
        off = np.linalg.norm(U.T @ wrong.X @ U - right) / np.linalg.norm(right)
        assert off > 0.09


def net(copies=1, seed=0):
    """A small tanh net, or the sum of copies of it, so that eigenvalues are multiple."""
    rng = np.random.default_rng(seed)
    X, y = jnp.asarray(rng.normal(size=(6, 3))), jnp.asarray(rng.normal(size=(6, 2)))
    shapes = [(3, 4), (4, 3), (3, 2)]
    weights = [jnp.asarray(rng.normal(size=s) / np.sqrt(s[0])) for s in shapes]
    theta, unravel = ravel_pytree(weights)

    def one(flat):
        h = X
        for i, W in enumerate(unravel(flat)):
            h = h @ W if i == 2 else jnp.tanh(h @ W)
        return jnp.mean(jnp.sum((h - y) ** 2, axis=1)) / 2

    def objective(flat):
        return sum(one(part) for part in jnp.split(flat, copies))

    return objective, jnp.concatenate([theta] * copies)


def change(objective, theta, how, nu, U, force, taken, h=1e-4):
    """d/dt U^T (2 P - H) U along the flow, by central differences of dense Hessians."""
    P = how.diagonal(nu, theta)
    way, turn = -force / P, how.speed(nu, taken) if how.average != "none" else nu

    def form(sign):
        H = dense_hessian(objective, theta + sign * h * way)
        return U @ (2 * jnp.diag(how.diagonal(nu + sign * h * turn, theta)) - H) @ U.T

    return (form(1) - form(-1)) / (2 * h), way


@pytest.mark.thorough
class TestEquations:
    """What the answer does to the Hessian, told by differences of it."""

    @pytest.mark.parametrize(("seed", "copies"), [(1, 1), (1, 2), (2, 2), (3, 2)])
    def test_no_eigenvalue_rises_and_the_energy_falls(self, seed, copies):
        objective, theta = net(copies, seed)
        how, count = scaling(0.3), 2 * copies
        turn = jnp.linalg.qr(jnp.asarray(RNG.normal(size=(count, count))))[0]
        found, U, gradient, nu, _ = at(objective, theta, how, count=count, turn=turn)
        X = found.solved().X
        assert np.linalg.matrix_rank(X, 1e-6 * np.linalg.norm(X)) >= copies
        moved, way = change(objective, theta, how, nu, U, found.force(gradient, X), None)
        rate = -moved
        assert np.linalg.eigvalsh(rate)[-1] <= 1e-8 * np.linalg.norm(found.slack)
        assert abs(np.sum(X * rate)) <= 1e-8 * np.linalg.norm(found.slack) * np.linalg.norm(X)
        speed = way @ way / 0.3
        assert abs(gradient @ way + speed) <= 1e-9 * speed

    def test_half_of_the_drift_dropped_is_seen_by_the_energy(self):
        seen = []
        for seed in range(3):
            objective, theta = net(seed=seed)
            found, _, gradient, *_ = at(objective, theta, scaling(0.3), count=3)
            X = found.solved().X
            way = -0.3 * (gradient + svec(X) @ found.thirds)
            seen.append(abs(gradient @ way + way @ way / 0.3) / (way @ way / 0.3))
        assert max(seen) > 0.01

    @pytest.mark.parametrize("average", ["shared", "each"])
    def test_with_an_average_the_slack_moves_as_assembled(self, average):
        objective, theta = net(copies=2)
        gradient = jax.grad(objective)(theta)
        shape = () if average == "shared" else gradient.shape
        half = RNG.uniform(0.5, 1.5, gradient.size // 2)
        nu = jnp.asarray(1.3) if not shape else jnp.asarray(np.concatenate([half, half]))
        how = scaling(1.0, average, 0.9, 0.0 if not shape else 1e-3)
        top = at(objective, theta, how, nu, 1)[-1][0]
        how = scaling(2 / float(top), average, 0.9, float(how.epsilon))
        turn = jnp.linalg.qr(jnp.asarray([[1.0, 0.4], [0.2, 1.0]]))[0]
        found, U, gradient, nu, values = at(objective, theta, how, nu, 2, turn=turn)
        np.testing.assert_allclose(values, 2, rtol=1e-10)
        B = found.growth
        np.testing.assert_allclose(B, B.T, atol=1e-14 * float(jnp.abs(B).max()))
        assert jnp.linalg.eigvalsh(B)[0] > -1e-12 * jnp.linalg.eigvalsh(B)[-1]
        # Whatever X, not only the answer, is what Y is told of.
        for X in (found.solved().X, jnp.asarray([[0.3, 0.1], [0.1, 0.2]]) * 0.1):
            taken = gradient**2 + found.excess(X)
            force = found.force(gradient, X)
            moved, _ = change(objective, theta, how, nu, U, force, taken)
            told = found.slack + smat(B @ svec(X))
            np.testing.assert_allclose(moved, told, atol=1e-6 * float(jnp.abs(told).max() + 1e-3))


@functools.partial(jax.jit, static_argnames=("average", "n"))
def assembled(g, H, T, b, average, n):
    """tr Sigma of the library at S = 2 sqrt(nu)/eta, and of the closed form."""

    def objective(x):
        return g @ x + x @ H @ x / 2 + jnp.einsum("ijk,i,j,k->", T, x, x, x) / 6

    eta = 0.1
    values, vectors = jnp.linalg.eigh(H)
    S, u = values[-1], vectors[:, -1]
    root = eta * S / 2
    nu = root**2 if average == "shared" else jnp.full(n, 1.0) * root**2
    how = Scaling(jnp.asarray(eta), b, jnp.zeros(()), average)
    third = third_product(objective, jnp.zeros(n))
    rows = u[None] * jnp.sqrt(eta / root)
    found = edge(how, third, g, nu, rows, jnp.full(1, 2.0), jnp.asarray(1), jnp.asarray(1.0))
    alpha = -jnp.einsum("ijk,i,j,k->", T, u, u, g)
    beta = jnp.sum(jnp.einsum("ijk,i,j->k", T, u, u) ** 2)
    above = b * alpha + (1 - b) * (S**2 / 4 - g @ g / eta**2)
    closed = jnp.maximum(above, 0) / (b * beta / 2 + (1 - b) * S**2 / eta**2)
    return jnp.sum(found.variances(sdcp(found.slack, found.growth).X)), closed


@pytest.mark.parametrize(("average", "n"), [("shared", 5), ("shared", 1), ("each", 1)])
def test_one_eigenvalue_of_rmsprop_is_the_closed_form(average, n):
    """Of one parameter, RMSProp is scalar RMSProp: nothing else tells kappa of the former."""
    rng, some = np.random.default_rng(n), 0
    for b in (0.5, 0.9, 0.99):
        for _ in range(67):
            factor = rng.normal(size=(n, n))
            g, H = 0.02 * rng.normal(size=n), factor @ factor.T + np.eye(n)
            T = rng.normal(size=(n,) * 3)
            T = sum(np.transpose(T, p) for p in itertools.permutations(range(3))) / 6
            found, closed = assembled(g, H, T, jnp.asarray(b), average, n)
            np.testing.assert_allclose(found, closed, rtol=1e-10, atol=1e-15)
            some += float(closed) > 0
    assert some > 100


def test_the_answer_keeps_its_kind():
    """Rows that are not at the edge take no part, however many there is room for."""
    objective, theta, eta, C = matrix_toy(MIXED["indefinite"])
    gradient, P = jax.grad(objective)(theta), 1 / eta
    rows = jnp.zeros((4, theta.size)).at[:2, :2].set(jnp.eye(2) / np.sqrt(P))
    found = edge(
        scaling(eta), third_product(objective, theta), gradient, gradient[:0], rows,
        jnp.asarray([2.0, 2.0, 1.0, -jnp.inf]), jnp.asarray(2), jnp.asarray(1.0),
    )  # fmt: skip
    assert isinstance(found, Edge)
    X = found.solved().X
    np.testing.assert_allclose(X[2:], 0, atol=1e-15)
    np.testing.assert_allclose(X[:2, :2] / P, 2 * positive(np.asarray(C)), atol=1e-12)


def test_third_products_turn_with_their_vectors():
    """T[R u, R u] from T[u, u] is what products with R u give, of fewer vectors as well."""
    objective, theta = net()
    third = third_product(objective, theta)
    rows = jnp.asarray(RNG.normal(size=(3, theta.size)))
    turn = jnp.asarray(RNG.normal(size=(3, 3))).at[2].set(0)
    known = thirds(third, rows, jnp.asarray(3))
    expected = thirds(third, turn @ rows, jnp.asarray(2))
    np.testing.assert_allclose(turned(known, turn), expected, atol=1e-11 * np.abs(expected).max())
