"""What is exact about Kronecker factors: identities on small nets, in double precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.curvature import (
    fisher,
    kronecker_difference,
    kronecker_fisher,
    whole_matrices,
)
from thalweg.curvature.kronecker.block_diagonal import balance
from thalweg.dynamics import kfac
from thalweg.dynamics.natural_gradient.quadratic_model import QuadraticModel
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import Applied, mlp
from thalweg.problems import Supervised, likelihood, supervised

WIDTHS = (6, 5, 4)  # inputs, and hidden layers of the nets below
CLASSES = 3


@dataclass(frozen=True)
class Draws:
    """How many nets are drawn, and the examples of each."""

    draws: int = 5
    examples: int = 200


def drawn(seed: int, examples: int, activation: str = "tanh", labels: bool = True) -> tuple:
    """A net of 6-5-4-3 with biases on Gaussian inputs, and its start."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(examples, WIDTHS[0]))
    Y: Any = rng.integers(0, CLASSES, examples) if labels else rng.normal(size=(examples, CLASSES))
    if labels:
        Y[:CLASSES] = range(CLASSES)
    problem = supervised(mlp(WIDTHS[1:], activation=activation, bias=True), (X, Y))
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)) / np.sqrt(leaf.shape[-1]),
        problem.init(jax.random.key(seed)),
    )
    return problem, params, rng


def largest(values: Any) -> float:
    """The largest magnitude."""
    return float(np.max(np.abs(np.asarray(values))))


@experiment("X1", Draws(), smoke={"draws": 1, "examples": 100}, full={"draws": 20})
def identities(lab: Lab, size: Draws) -> xr.Dataset:
    """Identities C1 to C3, C5 to C7, their errors over random nets."""

    def one(draw: int) -> xr.Dataset:
        found = {**kronecker(draw, size.examples), **chain(draw, size.examples)}
        found |= {**solver(draw), **model(draw, size.examples), **damping(draw, size.examples)}
        found |= single_layers(draw, size.examples)
        return table({"": found})

    return over(one, draw=range(size.draws))


def kronecker(draw: int, examples: int) -> dict[str, Any]:
    """C1: F against A (x) G on all blocks, of a linear net and of one with tanh."""
    linear, at, _ = drawn(draw, examples, "linear", labels=False)
    both = whole_matrices(linear, at)
    scale = largest(both.exact)
    bent, at, _ = drawn(draw, examples)
    tanh = whole_matrices(bent, at)
    apart = []
    for i in range(3):
        for j in range(3):
            rows, columns = tanh.block(i, j)
            F, K = tanh.exact[rows, columns], tanh.approximate[rows, columns]
            apart.append(float(jnp.linalg.norm(F - K) / jnp.linalg.norm(F)))
    return {
        "linear": (largest(both.exact - both.approximate) / scale, "1", "linear net, E2 off F"),
        "tanh": (max(apart), "1", "tanh net, worst block of E2 off F"),
    }


def chain(draw: int, examples: int) -> dict[str, Any]:
    """C2: the block-tridiagonal inverse, densely."""
    problem, at, _ = drawn(draw, examples)
    found = kronecker_fisher(problem, at, structure="tridiagonal", damping=1e-4)
    order = np.concatenate(
        [
            np.asarray(w).T.ravel()
            for w in found.layers.split(found._leaves(jnp.arange(found.shape[0])))
        ]
    ).astype(int)
    inverse = np.asarray(found.solve(jnp.eye(found.shape[0])))[np.ix_(order, order)]
    dense = np.linalg.inv(inverse)
    both = whole_matrices(problem, at)
    near = np.array(both.approximate)
    f = found.diagonal.factors  # type: ignore[attr-defined]
    for i, (A, G) in enumerate(zip(f.inputs, f.outputs, strict=True)):
        near[both.block(i, i)] = np.kron(A, G)
    agree = [largest((dense - near)[both.block(i, j)]) for i in range(3) for j in range(3) if abs(i - j) < 2]  # fmt: skip # noqa: E501
    rows, columns = both.block(0, 2)
    corner = np.linalg.norm((dense - near)[rows, columns]) / np.linalg.norm(near[rows, columns])
    return {
        "agrees": (max(agree) / largest(near), "1", "E6 off E2 on the tridiagonal"),
        "zero": (largest(inverse[rows, columns]) / largest(inverse), "1", "inverse in block (1,3)"),
        "corner": (corner, "1", "E6 off E2 in block (1,3)"),
    }


def solver(draw: int) -> dict[str, Any]:
    """C3: E7 against a dense solution, and what makes it definite."""
    problem, at, rng = drawn(draw, 200)
    f = kronecker_fisher(problem, at, structure="tridiagonal", damping=1e-4).diagonal.factors  # type: ignore[attr-defined]
    apart, s, least = [], [], []
    for i in range(2):
        A, G, AA, GG = f.inputs[i], f.outputs[i], f.input_pairs[i], f.output_pairs[i]
        psi_a = jnp.linalg.solve(f.inputs[i + 1], AA.T).T
        psi_g = jnp.linalg.solve(f.outputs[i + 1], GG.T).T
        C, D = psi_a @ AA.T, psi_g @ GG.T
        pair = kronecker_difference(A, G, C, D)
        V = rng.normal(size=(len(G), len(A)))
        dense = np.kron(A, G) - np.kron(C, D)
        exact = np.linalg.solve(dense, V.T.ravel()).reshape(V.T.shape).T
        apart.append(largest(pair.solve(jnp.asarray(V)) - exact) / largest(exact))
        s += [largest(pair.s1), largest(pair.s2)]
        least.append(float(np.linalg.eigvalsh(dense)[0] / np.linalg.eigvalsh(dense)[-1]))
    return {
        "solved": (max(apart), "1", "E7 off a dense solution"),
        "s": (max(s), "1", "largest s of E7"),
        "definite": (min(least), "1", "least over largest eigenvalue of Sigma"),
    }


def model(draw: int, examples: int) -> dict[str, Any]:
    """C5: d^T F d by two passes forward against all classes, and the least of M."""
    problem, at, rng = drawn(draw, examples)
    ways = [jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), at) for _ in range(2)]
    push = [jax.jvp(problem.outputs, (at,), (way,))[1] for way in ways]
    z = problem.outputs(at)
    head = likelihood(problem.loss)
    quick = np.array([[float(jnp.vdot(u, head.product(z, v))) / examples for v in push] for u in push])  # fmt: skip # noqa: E501
    p = jax.nn.softmax(z)
    slow = np.zeros((2, 2))
    for c in range(CLASSES):
        r = p - jax.nn.one_hot(c, CLASSES)[None]
        along = np.stack([np.sum(np.asarray(r * u), axis=1) for u in push])
        slow += (along * np.asarray(p[:, c])) @ along.T / examples
    g = jax.grad(problem.objective)(at)
    slope = jnp.array([sum(map(jnp.vdot, jax.tree.leaves(g), jax.tree.leaves(w))) for w in ways])
    m = QuadraticModel(slope, jnp.asarray(quick), jnp.zeros((2, 2)))
    by = m.lowest()
    return {
        "enumerated": (largest(quick / slow - 1), "1", "d^T F d off the sum over classes"),
        "flat": (largest(jax.grad(m.change)(by)) / largest(slope), "1", "gradient of M at E11"),
        "fall": (abs(float(m.change(by) / (slope @ by / 2)) - 1), "1", "M(d) - M(0) off half"),
    }


def damping(draw: int, examples: int) -> dict[str, Any]:
    """C6: pi is the best on a grid, and E9 is the form of kfac-jax."""
    problem, at, _ = drawn(draw, examples)
    plain, gamma = kronecker_fisher(problem, at), 0.3
    damped = plain.damped(gamma)  # type: ignore[attr-defined]
    off, better = [], []
    for A, G, Ad, Gd in zip(
        plain.factors.inputs, plain.factors.outputs,  # type: ignore[attr-defined]
        damped.factors.inputs, damped.factors.outputs, strict=True,
    ):  # fmt: skip
        pi = float(balance(A, G))
        grid = pi * np.geomspace(0.1, 10, 201)
        bound = grid * len(A) * np.trace(G) + len(G) * np.trace(A) / grid
        better.append(abs(np.log(grid[np.argmin(bound)] / pi)))
        a, g = np.trace(A) / len(A), np.trace(G) / len(G)
        other = np.kron(
            np.sqrt(g / a) * A + gamma * np.eye(len(A)), np.sqrt(a / g) * G + gamma * np.eye(len(G))
        )
        off.append(largest(np.kron(Ad, Gd) - other) / largest(other))
    return {
        "pi": (max(better), "1", "log of the best pi on a grid over that of E10"),
        "forms": (max(off), "1", "E9 off the form of kfac-jax"),
    }


def single_layers(draw: int, examples: int) -> dict[str, Any]:
    """C7: one undamped step on one linear layer, and one convolution."""
    rng = np.random.default_rng(draw)
    X, Y = rng.normal(size=(examples, 6)), rng.normal(size=(examples, 3))
    problem = supervised(mlp([], bias=True), (X, Y))
    settings: dict[str, Any] = {"learning_rate": 1.0, "momentum": 0.0, "damping_decay": None}
    dynamics = kfac(1e-20, targets="exact", reject=False, **settings)
    state = dynamics.init(problem, problem.init(jax.random.key(draw)))
    at = dynamics.step(problem, state, jax.random.key(0))[0].params[0]
    best = np.linalg.lstsq(np.c_[X, np.ones(examples)], Y, rcond=None)[0].T
    reached = np.c_[np.asarray(at["weight"]), np.asarray(at["bias"])]
    images = jnp.asarray(rng.normal(size=(8, 2, 5, 6)))

    def convolve(kernel: Array, x: Array) -> Array:
        numbers = ("NCHW", "OIHW", "NCHW")
        out = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
        return out.reshape(len(x), -1)

    kernel = jnp.asarray(rng.normal(size=(3, 2, 3, 2)))
    conv = supervised(Applied(convolve, start=kernel), (images, np.zeros((8, 90))))
    F = fisher(conv, kernel).dense()
    apart = largest(kronecker_fisher(conv, kernel).dense() - F) / largest(F)
    return {
        "least_squares": (largest(reached - best) / largest(best), "1", "off least squares"),
        "convolution": (apart, "1", "E13 off F of one convolution"),
    }


# ---- invariance --------------------------------------------------------------------------------


def rewritten(
    phi: Sequence[np.ndarray], omega: Sequence[np.ndarray], problem: Supervised
) -> Supervised:
    """The same function in weights W' with W = Phi W' Omega: other pre-activations, activations."""
    last = len(phi) - 1

    def apply(weights: list[Array], x: Array) -> Array:
        h = jnp.concatenate([x, jnp.ones((len(x), 1))], axis=1) @ omega[0].T
        for i, W in enumerate(weights):
            s = (h @ W.T) @ phi[i].T
            if i == last:
                return s
            h = jnp.concatenate([jnp.tanh(s), jnp.ones((len(x), 1))], axis=1) @ omega[i + 1].T
        return h

    start = [jnp.zeros((len(p), len(o))) for p, o in zip(phi, omega, strict=True)]
    model = Applied(apply, start=start, is_smooth=True, is_separable=True)
    return supervised(model, (np.asarray(problem.inputs), np.argmax(problem.targets, axis=1)))


def update(problem: Supervised, weights: list[Array], structure: str) -> list[np.ndarray]:
    """The undamped direction."""
    g = jax.grad(problem.objective)(weights)
    return [np.asarray(d) for d in kronecker_fisher(problem, weights, structure=structure).solve(g)]


def factors(problem: Supervised, weights: list[Array]) -> tuple:
    """A and G of all layers."""
    f = kronecker_fisher(problem, weights).factors  # type: ignore[attr-defined]
    return [np.asarray(A) for A in f.inputs], [np.asarray(G) for G in f.outputs]


def mild(rng: np.random.Generator, n: int) -> np.ndarray:
    """A random matrix of condition at most 4."""
    U, V = (np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(2))
    return U @ np.diag(rng.uniform(0.5, 2, n)) @ V


@experiment("X1-invariance", Draws(), smoke={"draws": 1, "examples": 100}, full={"draws": 20})
def invariance(lab: Lab, size: Draws) -> xr.Dataset:
    """C4: updates of a net and of the same net rewritten, and of the whitened net."""

    def one(draw: int) -> xr.Dataset:
        problem, params, rng = drawn(draw, size.examples)
        inputs = (*WIDTHS,)
        outputs = (*WIDTHS[1:], CLASSES)
        eye = [np.eye(n) for n in outputs], [np.eye(n + 1) for n in inputs]
        plain = _coins(rewritten(*eye, problem))
        W = [jnp.c_[p["weight"], p["bias"]] for p in params]
        phi, omega = [mild(rng, n) for n in outputs], [mild(rng, n + 1) for n in inputs]
        other = _coins(rewritten(phi, omega, problem))
        V = [_turned(np.linalg.inv(a), w, np.linalg.inv(b)) for a, w, b in zip(phi, W, omega, strict=True)]  # fmt: skip # noqa: E501
        off = {}
        for structure in ("diagonal", "tridiagonal"):
            here, there = update(plain, W, structure), update(other, V, structure)
            back = [a @ d @ b for a, d, b in zip(phi, there, omega, strict=True)]
            off[structure] = max(largest(x - y) / largest(x) for x, y in zip(here, back, strict=True))  # fmt: skip # noqa: E501
        A, G = factors(plain, W)
        roots = [_root(g) for g in G], [_root(a) for a in A]
        white = _coins(rewritten(*roots, problem))
        U = [_turned(np.linalg.inv(a), w, np.linalg.inv(b)) for a, w, b in zip(roots[0], W, roots[1], strict=True)]  # fmt: skip # noqa: E501
        slope = [np.asarray(g) for g in jax.grad(white.objective)(U)]
        back = [a @ g @ b for a, g, b in zip(roots[0], slope, roots[1], strict=True)]
        steps = update(plain, W, "diagonal")
        whitened = max(largest(x - y) / largest(x) for x, y in zip(steps, back, strict=True))
        condition = max(np.linalg.cond(M) for f in (factors(plain, W), factors(other, V)) for part in f for M in part)  # fmt: skip # noqa: E501
        return table(
            {
                "": {
                    "diagonal": (off["diagonal"], "1", "block-diagonal update, off its transform"),
                    "tridiagonal": (off["tridiagonal"], "1", "tridiagonal update, off its"),
                    "whitened": (whitened, "1", "gradient step of the whitened net, off K-FAC"),
                    "condition": (condition, "1", "largest condition of a factor"),
                }
            }
        )

    return over(one, draw=range(size.draws))


def _turned(left: np.ndarray, middle: Array, right: np.ndarray) -> Array:
    return jnp.asarray(left @ np.asarray(middle) @ right)


def _root(M: np.ndarray) -> np.ndarray:
    """M^-1/2."""
    values, V = np.linalg.eigh(M)
    return (V / np.sqrt(values)) @ V.T


def _coins(problem: Supervised) -> Supervised:
    """With a coin for every output, whose Fisher matrix is not singular as that of classes is."""
    return supervised(
        problem.model,
        (np.asarray(problem.inputs), np.asarray(problem.targets)),
        "binary-cross-entropy",
    )
