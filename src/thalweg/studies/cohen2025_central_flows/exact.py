"""What has an exact answer: the complementarity problem, valleys, scalar RMSProp."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.core.hessian_product import third_product
from thalweg.core.sdcp import sdcp, smat, svec
from thalweg.driver.path import paths
from thalweg.dynamics import gradient_descent, group_rmsprop, optax_dynamics
from thalweg.dynamics.flow.edge import Scaling, edge
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import table
from thalweg.problems import Function

Scalar = Array | float
ETA = 0.1
solved = eqx.filter_jit(sdcp)  # compiled once for every number of vectors
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
        found = solved(jnp.asarray(A), jnp.asarray(G.T @ G))
        X, Y = np.asarray(found.X), np.asarray(found.Y)
        low = [-np.linalg.eigvalsh(M)[0] for M in (X, Y)]
        b = 0.5 + rng.random()
        plain = np.asarray(solved(jnp.asarray(A), b * jnp.eye(m)).X)
        off = np.linalg.norm(plain - positive_part(-A) / b)
        rows.append([abs(np.sum(X * Y)), *low, off, int(found.iterations)])
    product, x, y, off, count = np.array(rows).T
    return table(
        {
            "draw": {
                "product": (product, "1", "|<X, Y>|"),
                "below_x": (x, "1", "minus the least eigenvalue of X"),
                "below_y": (y, "1", "minus the least eigenvalue of Y"),
                "multiple": (off, "1", "X from the positive part of -A/b, B = b"),
                "iterations": (count, "1", "iterations"),
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
    problem, k = matrix_valley(C), len(C)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((k, k)))[0]
    rows = jnp.zeros((k, problem.start.size)).at[:, :k].set(turn) * np.sqrt(ETA)
    gradient = jax.grad(problem.objective)(problem.start)
    found = edge(
        scaling(), third_product(problem.objective, problem.start), gradient, gradient[:0], rows,
        jnp.full(k, 2.0), jnp.asarray(k), jnp.ones(()),
    )  # fmt: skip
    return np.asarray(rows.T @ found.solved().X @ rows)[:k, :k]


@experiment("X1-matrices")
def matrices(lab: Lab) -> xr.Dataset:
    """Sigma of valleys whose sides are a matrix, by the equations and in closed form."""
    off, theirs = [], []
    for entries in MATRICES.values():
        C = 1e-3 * np.array(entries)
        found, closed = covariance(C), 2 * positive_part(C)
        off.append(np.linalg.norm(found - closed) / np.linalg.norm(closed))
        theirs.append(np.linalg.norm(closed))
    return table(
        {
            "matrix": {
                "off": (off, "1", "Sigma against 2 C_+, relative"),
                "size": (theirs, "parameter^2", "||2 C_+||"),
            }
        },
        matrix=list(MATRICES),
    )


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
    cs = (1e-2, 1e-3, 1e-4)
    how, ratios, sides, ranges = gradient_descent(ETA), [], [], []
    for c in cs:
        start = jnp.asarray([np.sqrt(2 * c) / 2, 2 / ETA])
        z = np.asarray(paths(how, valley(c), start, 1, size.valley, over=()).seen)
        late = z[size.valley_from :]
        ratios.append(np.mean(late[:, 0] ** 2) / (2 * c))
        sides.append(np.mean(ETA * late[:, 1]))
        ranges.append([ETA * late[:, 1].min(), ETA * late[:, 1].max()])
    C = 1e-3 * np.array(MATRICES["definite"])
    problem = matrix_valley(C)
    start = problem.start.at[:2].set(jnp.asarray([1e-2, -0.7e-2]))
    late = np.asarray(paths(how, problem, start, 1, size.matrix, over=()).seen)[size.matrix_from :]
    square = late[:, :2].T @ late[:, :2] / len(late)
    Y = ETA * np.asarray(smat(jnp.asarray(late[:, 2:].mean(axis=0))))
    off = np.linalg.norm(square - 2 * C) / np.linalg.norm(2 * C)
    low, high = np.array(ranges).T
    return table(
        {
            "c": {
                "ratio": (ratios, "1", "mean x^2 over 2 c"),
                "side": (sides, "1", "mean eta y"),
                "lowest": (low, "1", "least eta y"),
                "highest": (high, "1", "largest eta y"),
            },
            "": {"matrix_off": (off, "1", "mean x x^T against 2 C, relative")},
            "eigenvalue": {
                "matrix_side": (np.linalg.eigvalsh(Y), "1", "eigenvalues of mean eta Y")
            },
        },
        c=(cs, "1", "c"),
    )


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
        for which, told in zip(("", "_theory"), found[name], strict=True):
            words_of = f"tr Sigma, {words}{', closed form' if which else ''}"
            variables[f"{name}{which}"] = (told, "parameter^2", words_of)
    nus, c, b = (1.0, 0.3), 1e-3, 0.9
    squares, closed, sides = [], [], []
    for nu in nus:
        y = 2 * np.sqrt(nu) / ETA
        square = float(closed_square(c, 1.0, y, c**2, b))
        start = jnp.asarray([np.sqrt(square), y])
        how = optax_dynamics(group_rmsprop(ETA, b, 0.0, initial=nu), ETA)
        problem = replace(valley(c), start=start)
        z = np.asarray(paths(how, problem, start, 1, 200, over=()).seen)
        g = np.stack([z[:, 0] * z[:, 1], z[:, 0] ** 2 / 2 - c], axis=1)
        mean, means = nu, []
        for new in np.sum(g**2, axis=1):
            mean = b * mean + (1 - b) * new
            means.append(mean)
        squares.append(np.mean(z[:, 0] ** 2))
        closed.append(square)
        sides.append(np.abs(ETA * z[:, 1] / np.sqrt(means) - 2))
    toy = {
        "square": (squares, "parameter^2", "mean x^2 over 200 steps"),
        "square_theory": (closed, "parameter^2", "mean x^2, closed form"),
    }
    return table(
        {
            "draw": variables,
            "nu": toy,
            "nu step": {"side_off": (sides, "1", "effective sharpness from 2")},
        },
        draw=range(size.draws),
        nu=(nus, "loss^2/parameter^2", "average of squared gradients"),
        step=np.arange(201),
    )
