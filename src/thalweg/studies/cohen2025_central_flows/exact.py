"""What has an exact answer: the complementarity problem, valleys, scalar RMSProp."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core.hessian_product import third_product
from thalweg.core.sdcp import sdcp, smat, svec
from thalweg.driver.path import iterates
from thalweg.dynamics import gradient_descent, group_rmsprop, optax_dynamics
from thalweg.dynamics.flow.edge import Scaling, edge
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, table
from thalweg.problems import Function

Scalar = Array | float
ETA = 0.1
MATRICES = {
    "definite": [[2.0, 0.5], [0.5, 1.0]],
    "indefinite": [[2.0, 0.5], [0.5, -1.0]],
    "three": [[1.0, 0.5, -0.3], [0.5, -1.0, 0.7], [-0.3, 0.7, 0.4]],
}
DECAYS = (0.5, 0.9, 0.99)


def positive_part(matrix: np.ndarray) -> np.ndarray:
    """A symmetric matrix without its negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 0)) @ vectors.T


def scaling(average: str = "none", decay: float | Array = 0.0) -> Scaling:
    """P of a method of step size `ETA`."""
    return Scaling(jnp.asarray(ETA), jnp.asarray(decay), jnp.zeros(()), average)


@experiment("X1-instances", Draws(120), smoke={"draws": 24})
def instances(lab: Lab, size: Draws) -> xr.Dataset:
    """Random complementarity problems of one to six vectors."""
    rng, rows = np.random.default_rng(0), []
    for i in range(size.draws):
        k = 1 + i % 6
        m = k * (k + 1) // 2
        A = rng.standard_normal((k, k))
        A, G = A + A.T, rng.standard_normal((3 * m, m))
        found = sdcp(jnp.asarray(A), jnp.asarray(G.T @ G))
        X, Y = np.asarray(found.X), np.asarray(found.Y)
        low = [-np.linalg.eigvalsh(M)[0] for M in (X, Y)]
        b = 0.5 + rng.random()
        plain = np.asarray(sdcp(jnp.asarray(A), b * jnp.eye(m)).X)
        off = np.linalg.norm(plain - positive_part(-A) / b)
        rows.append([abs(np.sum(X * Y)), *low, off])
    product, x, y, off = np.array(rows).T
    return table(
        {
            "draw": {
                "product": (product, "1", "|<X, Y>|"),
                "below_x": (x, "1", "minus the least eigenvalue of X"),
                "below_y": (y, "1", "minus the least eigenvalue of Y"),
                "multiple": (off, "1", "X from the positive part of -A/b, B = b"),
            }
        },
        draw=range(size.draws),
    )


def matrix_valley(C: np.ndarray | Array) -> Function:
    """x^T Y x/2 - <C, Y>, from x = 0 and Y = 2/eta."""
    push, k = jnp.asarray(C), len(C)

    def objective(flat: Array) -> Array:
        x, Y = flat[:k], smat(flat[k:])
        return x @ Y @ x / 2 - jnp.sum(push * Y)

    return Function(objective, start=jnp.concatenate([jnp.zeros(k), svec(2 / ETA * jnp.eye(k))]))


def covariance(C: np.ndarray) -> np.ndarray:
    """Sigma of the valley at the edge, by third-order products of eigenvectors turned at random."""
    k, turn = len(C), np.linalg.qr(np.random.default_rng(1).standard_normal(C.shape))[0]

    @jax.jit  # of its own, so that what is exchanged in here is met
    def sigma(push: Array) -> Array:
        problem = matrix_valley(push)
        rows = jnp.zeros((k, problem.start.size)).at[:, :k].set(turn) * np.sqrt(ETA)
        gradient = jax.grad(problem.objective)(problem.start)
        found = edge(
            scaling(), third_product(problem.objective, problem.start), gradient, gradient[:0],
            rows, jnp.full(k, 2.0), jnp.asarray(k), jnp.ones(()),
        )  # fmt: skip
        return (rows.T @ found.solved().X @ rows)[:k, :k]

    return np.asarray(sigma(jnp.asarray(C)))


@experiment("X1-matrices")
def matrices(lab: Lab) -> xr.Dataset:
    """Sigma of valleys whose sides are a matrix, by the equations and in closed form."""

    def one(matrix: str) -> xr.Dataset:
        C = 1e-3 * np.array(MATRICES[matrix])
        closed = 2 * positive_part(C)
        off = np.linalg.norm(covariance(C) - closed) / np.linalg.norm(closed)
        return table({"": {"off": (off, "1", "Sigma against 2 C_+, relative")}})

    return over(one, matrix=MATRICES)


def valley(c: float | Array) -> Function:
    """The valley y x^2/2 - c y."""
    return Function(lambda z: z[1] * z[0] ** 2 / 2 - c * z[1], start=jnp.zeros(2))


@dataclass(frozen=True)
class Steps:
    """How many steps of descent, and from which on they are averaged."""

    valley: int = 20_000
    valley_from: int = 5000
    matrix: int = 40_000
    matrix_from: int = 10_000


@experiment("X1", Steps())
def valleys(lab: Lab, size: Steps) -> xr.Dataset:
    """Gradient descent in valleys, averaged over thousands of steps."""
    how = gradient_descent(ETA)

    def one(c: float) -> xr.Dataset:
        start = jnp.asarray([np.sqrt(2 * c) / 2, 2 / ETA])
        x, y = iterates(how, valley(c), size.valley, start)[size.valley_from :].T
        return table(
            {
                "": {
                    "ratio": (np.mean(x**2) / (2 * c), "1", "mean x^2 over 2 c"),
                    "side": (np.mean(ETA * y), "1", "mean eta y"),
                    "lowest": (ETA * y.min(), "1", "least eta y"),
                    "highest": (ETA * y.max(), "1", "largest eta y"),
                }
            }
        )

    C = 1e-3 * np.array(MATRICES["definite"])
    problem = matrix_valley(C)
    start = problem.start.at[:2].set(jnp.asarray([1e-2, -0.7e-2]))
    late = iterates(how, problem, size.matrix, start)[size.matrix_from :]
    square = late[:, :2].T @ late[:, :2] / len(late)
    Y = ETA * np.asarray(smat(jnp.asarray(late[:, 2:].mean(axis=0))))
    off = np.linalg.norm(square - 2 * C) / np.linalg.norm(2 * C)
    sides = (np.linalg.eigvalsh(Y), "1", "eigenvalues of mean eta Y")
    words = "mean x x^T against 2 C, relative"
    found = table({"": {"matrix_off": (off, "1", words)}, "eigenvalue": {"matrix_side": sides}})
    return over(one, c=((1e-2, 1e-3, 1e-4), "1", "c")).merge(found)


@eqx.filter_jit
def both(average: str, g: Array, H: Array, T: Array, decay: Array) -> tuple[Array, Array]:
    """Tr Sigma of one eigenvalue at the edge, as assembled, and by the closed form."""

    def one(g: Array, H: Array, T: Array, b: Array) -> tuple[Array, Array]:
        def objective(x: Array) -> Array:
            return g @ x + x @ H @ x / 2 + jnp.einsum("ijk,i,j,k->", T, x, x, x) / 6

        n = len(g)
        values, vectors = jnp.linalg.eigh(H)
        S, u = values[-1], vectors[:, -1]
        root = ETA * S / 2
        how = Scaling(jnp.asarray(ETA), b, jnp.zeros(()), average)
        nu = root**2 if average == "shared" else jnp.full(n, 1.0) * root**2
        third = third_product(objective, jnp.zeros(n))
        rows = u[None] * jnp.sqrt(ETA / root)
        found = edge(how, third, g, nu, rows, jnp.full(1, 2.0), jnp.asarray(1), jnp.ones(()))
        rise = jnp.einsum("ijk,i,j->k", T, u, u)
        closed = closed_square(-rise @ g, rise @ rise, S, g @ g, b)
        return jnp.sum(found.variances(found.solved().X)), closed

    return jax.vmap(one)(g, H, T, decay)


def closed_square(alpha: Scalar, beta: Scalar, S: Scalar, square: Scalar, b: Scalar) -> Array:
    """The variance that keeps eta S/sqrt(nu) = 2 of scalar RMSProp.

    Args:
        alpha: -<grad S, grad f>.
        beta: ||grad S||^2.
        S: The eigenvalue.
        square: ||grad f||^2.
        b: Decay of the average.
    """
    above = b * alpha + (1 - b) * (S**2 / 4 - square / ETA**2)
    return jnp.maximum(above, 0) / (b * beta / 2 + (1 - b) * S**2 / ETA**2)


@experiment("X4-exact", Draws(200), smoke={"draws": 60})
def scalar_rmsprop(lab: Lab, size: Draws) -> xr.Dataset:
    """Sigma of scalar RMSProp at the edge on random cubics, and the method in a valley."""
    found = {}
    for name, average, n in (("scalar", "shared", 5), ("one", "each", 1)):
        rng, draws = np.random.default_rng(n), []
        for i in range(size.draws):
            factor, drawn = rng.standard_normal((n, n)), rng.standard_normal((n,) * 3)
            turned = [np.transpose(drawn, p) for p in itertools.permutations(range(3))]
            T = np.mean(turned, axis=0)
            g = 0.02 * rng.standard_normal(n)
            draws.append((g, factor @ factor.T + np.eye(n), T, DECAYS[i % len(DECAYS)]))
        found[name] = both(average, *(jnp.asarray(np.stack(a)) for a in zip(*draws, strict=True)))
    variables = {}
    for name, words in (("scalar", "scalar RMSProp"), ("one", "RMSProp of one parameter")):
        assembled, closed = found[name]
        variables[name] = (assembled, "parameter^2", f"tr Sigma, {words}")
        variables[f"{name}_theory"] = (closed, "parameter^2", f"tr Sigma, {words}, closed form")
    nu = ((1.0, 0.3), "loss^2/parameter^2", "average of squared gradients")
    cubics = table({"draw": variables}, draw=range(size.draws))
    return cubics.merge(over(in_a_valley, nu=nu))


def in_a_valley(nu: float) -> xr.Dataset:
    """Scalar RMSProp in a valley, from an average and the variance that keeps it at the edge."""
    c, b, y = 1e-3, 0.9, 2 * np.sqrt(nu) / ETA
    square = float(closed_square(c, 1.0, y, c**2, b))
    how = optax_dynamics(group_rmsprop(ETA, b, 0.0, initial=nu), ETA)
    x, y = iterates(how, valley(c), 200, jnp.asarray([np.sqrt(square), y])).T
    mean, means = nu, []
    for new in (x * y) ** 2 + (x**2 / 2 - c) ** 2:
        mean = b * mean + (1 - b) * new
        means.append(mean)
    return table(
        {
            "": {
                "square": (np.mean(x**2), "parameter^2", "mean x^2 over 200 steps"),
                "square_theory": (square, "parameter^2", "mean x^2, closed form"),
            },
            "step": {
                "side_off": (
                    np.abs(ETA * y / np.sqrt(means) - 2), "1", "effective sharpness from 2",
                ),
            },
        },
        step=np.arange(201),
    )  # fmt: skip
