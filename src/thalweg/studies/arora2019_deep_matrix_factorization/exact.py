"""Experiments of deep matrix factorisation that are exact: velocities, closed forms, the limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from thalweg.core.spectra import layer_product
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.models import layer_weights
from thalweg.problems.matrix_sensing import MatrixFactorisation, Measurements
from thalweg.theory.linear_nets import commuting_sensing, singular_value_flow
from thalweg.theory.linear_nets.end_to_end import end_to_end_field

NEAREST = 0.2  # draws whose singular values come nearer than this are passed over
STEP = 1e-5  # of the central differences
START, TIME = 0.05, 1.0
MATRIX_SIZE = 4
PULL, TOP = 0.6, 6.25  # p_2/p_1, and where the first mode ends
PLACES = 60
LIMIT_DEPTHS = (2, 3, 4, 6)
ALPHAS = 10.0 ** -np.arange(1, 5)


class Sensing(NamedTuple):
    """Diagonal sensing: eigenvalues of the matrices in rows, what was measured, the truth."""

    A: np.ndarray
    b: np.ndarray
    truth: np.ndarray


def sensing() -> Sensing:
    """X3's measurements: A_ij = sin(i j^2), i = 1..4, j = 1..10, of w* = (0,1,0,0,0,2,0,...)."""
    A = np.sin(np.arange(1, 5)[:, None] * np.arange(1, 11) ** 2.0)
    truth = np.zeros(10)
    truth[[1, 5]] = 1, 2
    return Sensing(A, A @ truth, truth)


@dataclass(frozen=True)
class Points:
    """Draws of W and G, and depths."""

    draws: int = 4
    depths: tuple[int, ...] = (2, 3, 4)


@experiment("X4", Points())
def velocities(lab: Lab, size: Points) -> xr.Dataset:
    """Velocities of singular values and vectors beside central differences."""
    found = (_draw(seed) for seed in range(10 * size.draws))
    draws = [draw for draw in found if draw is not None][: size.draws]

    def one(draw: int, depth: int) -> xr.Dataset:
        gaps, gap = (
            _velocity_gaps(*draws[draw], depth),
            "largest difference from central differences",
        )
        names = {"value": "singular values", "left": "left vectors", "right": "right vectors"}
        rows = zip(names.items(), gaps, strict=True)
        return table({"": {f"{k}_gap": (g, "1/time", f"{w}: {gap}") for (k, w), g in rows}})

    return over(one, draw=range(len(draws)), depth=size.depths)


def _draw(seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    W, G = np.random.default_rng(seed).normal(size=(2, 4, 6))
    s = np.linalg.svd(W, compute_uv=False)
    return (W, G) if np.min(-np.diff(s)) >= NEAREST else None


def _velocity_gaps(W: np.ndarray, G: np.ndarray, N: int) -> tuple[float, ...]:
    """Largest differences for values, left and right vectors."""
    D = -np.asarray(end_to_end_field(jnp.asarray(W), jnp.asarray(G), N))
    track = singular_value_flow.signed_svd_track(np.stack([W - STEP * D, W, W + STEP * D]))
    U, s, V = ((a[2] - a[0]) / (2 * STEP) for a in track)
    at = (track.U[1], track.s[1], track.V[1])
    value = singular_value_flow.singular_value_velocity(at[0], at[1], at[2], G, N)
    vectors = singular_value_flow.singular_vector_velocity(at[0], at[1], at[2], G, N)
    pairs = ((s, value), (U, vectors.U), (V, vectors.V))
    return tuple(float(np.max(np.abs(a - b))) for a, b in pairs)


@dataclass(frozen=True)
class Depths:
    """Depths of the eigenvalues' flow, of the flow of full matrices, of two modes."""

    closed: tuple[int, ...] = (1, 2, 3, 4, 6)
    matrix: tuple[int, ...] = (2, 3)
    modes: tuple[int, ...] = (1, 2, 3, 4)


@experiment("closed", Depths())
def closed_forms(lab: Lab, size: Depths) -> xr.Dataset:
    """The closed form of commuting sensing and the relation of two modes, beside their flows."""
    paths = np.array([_two_modes(N) for N in size.modes])
    theory = [
        singular_value_flow.mode_relation(path[0], PULL, N, START)
        for N, path in zip(size.modes, paths, strict=True)
    ]
    deep = [N for N in size.modes if N >= 3]
    eigen, matrix = map(_eigenvalue_gap, size.closed), map(_matrix_gap, size.matrix)
    ceiling = [singular_value_flow.mode_ceiling(PULL, N, START) for N in deep]
    words = "flow less closed form"
    modes = {
        "leader": (paths[:, 0], "1", "first singular value"),
        "follower": (paths[:, 1], "1", "second singular value"),
        "follower_theory": (theory, "1", "second singular value, closed form"),
    }
    return table(
        {
            "closed": {"eigenvalue_gap": (list(eigen), "1", f"eigenvalues: {words}")},
            "matrix": {"matrix_gap": (list(matrix), "1", f"full matrices, largest entry: {words}")},
            "depth place": modes,
            "deep": {"ceiling": (ceiling, "1", "limit of the second singular value")},
        },
        closed=size.closed,
        matrix=size.matrix,
        depth=size.modes,
        deep=deep,
    )


def _eigenvalue_gap(N: int) -> float:
    """Eigenvalues and s followed together to TIME, less the closed form at that s."""
    A, b, _ = sensing()
    d = A.shape[1]

    def velocity(t: float, y: np.ndarray) -> np.ndarray:
        w = y[:d]
        pulled = -A.T @ (A @ w - b)
        return np.concatenate([commuting_sensing.commuting_velocity(w, A, b, N), pulled])

    start = np.concatenate([np.full(d, START), np.zeros(d)])
    y = solve_ivp(velocity, (0, TIME), start, "DOP853", rtol=1e-13, atol=1e-15).y[:, -1]
    return float(np.max(np.abs(y[:d] - commuting_sensing.commuting_eigenvalues(y[d:], START, N))))


def _matrix_gap(N: int) -> float:
    """Flow of all matrices in a random common eigenbasis, less the closed form."""
    d = MATRIX_SIZE
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(d, d)))[0]
    A = rng.normal(size=(3, d))
    b = A @ rng.uniform(0, 1, d)
    full = Measurements(jnp.einsum("ik,mk,jk->mij", Q, A, Q), jnp.asarray(b))
    problem = MatrixFactorisation(full, N, START, "identity", reduction="sum")
    theta, unravel = ravel_pytree(problem.init(jax.random.key(0)))
    force = jax.jit(lambda v: -ravel_pytree(jax.grad(problem.objective)(unravel(v)))[0])

    def velocity(t: float, y: np.ndarray) -> np.ndarray:
        W = np.asarray(layer_product(layer_weights(unravel(jnp.asarray(y[:-d])))))
        pulled = -A.T @ (A @ np.diag(Q.T @ W @ Q) - b)
        return np.concatenate([np.asarray(force(y[:-d])), pulled])

    begin = np.concatenate([theta, np.zeros(d)])
    y = solve_ivp(velocity, (0, TIME), begin, "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    W = np.asarray(layer_product(layer_weights(unravel(jnp.asarray(y[:-d])))))
    w = commuting_sensing.commuting_eigenvalues(y[-d:], START, N)
    return float(np.max(np.abs(W - (Q * w) @ Q.T)))


def _two_modes(N: int) -> np.ndarray:
    """Two modes under constant pulls 1 and PULL, until the first is at TOP: (2, place)."""
    eye, G = np.eye(2), -np.diag([1.0, PULL])
    k = (N - 2) / N
    end = np.log(TOP / START) / 2 if N == 2 else (START**-k - TOP**-k) / (N - 2)
    found = solve_ivp(
        lambda t, s: singular_value_flow.singular_value_velocity(eye, s, eye, G, N),
        (0, end),
        np.full(2, START),
        "DOP853",
        end * (1 - np.linspace(1, 0, PLACES) ** 3),
        rtol=1e-13,
        atol=1e-15,
    )
    return found.y


@experiment("X3")
def commuting(lab: Lab) -> xr.Dataset:
    """The nuclear norm of the limit above the least one, by depth and size of the start."""
    A, b, truth = sensing()
    least = commuting_sensing.least_sum(A, b)

    def one(depth: int, alpha: float) -> xr.Dataset:
        limit = commuting_sensing.commuting_limit(A, b, depth, alpha)
        gap = limit.w.sum() - least.value
        ends = {
            "gap": (gap, "1", "nuclear norm of the limit above the least one"),
            "residual": (limit.error, "1", "||A w - b||"),
        }
        return table({"": ends, "entry": {"w": (limit.w, "1", "eigenvalues of the limit")}})

    found = over(one, depth=LIMIT_DEPTHS, alpha=(ALPHAS, "1", "start of every eigenvalue, alpha"))
    gap = found["gap"].values
    slope = np.polyfit(np.log(ALPHAS), np.log(np.abs(gap)).T, 1)[0]
    entries = {
        "truth": (truth, "1", "eigenvalues that were measured"),
        "least_w": (least.w, "1", "eigenvalues of least sum"),
    }
    numbers = {
        "least": (least.value, "1", "least nuclear norm"),
        "least_error": (least.error, "1", "error of it"),
    }
    line = gap[-1, 0] * ALPHAS / ALPHAS[0]
    rest = table(
        {
            "entry": entries,
            "": numbers,
            "alpha": {"proportional": (line, "1", "in proportion to alpha")},
            "depth": {"slope": (slope, "1", "slope of log gap in log alpha")},
        }
    )
    return found.merge(rest).assign_coords(entry=np.arange(1, 11))
