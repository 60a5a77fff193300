"""Experiments of deep matrix factorisation that are exact: velocities, closed forms, the limit."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from thalweg.core.spectra import layer_product
from thalweg.lab.study import Lab, variable
from thalweg.models import layer_weights
from thalweg.problems.matrix_sensing import MatrixFactorisation, Measurements
from thalweg.theory.linear_nets import commuting_sensing, singular_value_flow
from thalweg.theory.linear_nets.end_to_end import end_to_end_field

DRAWS = 4
NEAREST = 0.2  # draws whose singular values come nearer than this are passed over
STEP = 1e-5  # of the central differences
DEPTHS = (2, 3, 4)

CLOSED_DEPTHS = (1, 2, 3, 4, 6)
START, TIME = 0.05, 1.0
MATRIX_SIZE, MATRIX_DEPTHS = 4, (2, 3)

PULL, TOP = 0.6, 6.25  # p_2/p_1, and where the first mode ends
RELATION_DEPTHS = (1, 2, 3, 4)
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


def velocities(lab: Lab) -> xr.Dataset:
    """X4: velocities of singular values and vectors beside central differences."""
    draws = [draw for draw in map(_draw, range(10 * DRAWS)) if draw is not None][:DRAWS]
    found = [[_velocity_gaps(W, G, N) for N in DEPTHS] for W, G in draws]
    values, left, right = np.moveaxis(np.array(found), -1, 0)
    by = ("draw", "depth")
    gap = "largest difference from central differences"
    return xr.Dataset(
        {
            "value_gap": variable(by, values, "1/time", f"singular values: {gap}"),
            "left_gap": variable(by, left, "1/time", f"left vectors: {gap}"),
            "right_gap": variable(by, right, "1/time", f"right vectors: {gap}"),
        },
        {"depth": list(DEPTHS)},
    )


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


def closed_forms(lab: Lab) -> xr.Dataset:
    """The closed form of commuting sensing and the relation of two modes, beside their flows."""
    eigen = [_eigenvalue_gap(N) for N in CLOSED_DEPTHS]
    matrix = [_matrix_gap(N) for N in MATRIX_DEPTHS]
    paths = np.array([_two_modes(N) for N in RELATION_DEPTHS])
    theory = [
        singular_value_flow.mode_relation(path[0], PULL, N, START)
        for N, path in zip(RELATION_DEPTHS, paths, strict=True)
    ]
    deep = [N for N in RELATION_DEPTHS if N >= 3]
    ceiling = [singular_value_flow.mode_ceiling(PULL, N, START) for N in deep]
    by = ("depth", "place")
    return xr.Dataset(
        {
            "eigenvalue_gap": variable("closed", eigen, "1", "eigenvalues: flow less closed form"),
            "matrix_gap": variable(
                "matrix", matrix, "1", "flow of the matrices less closed form, largest entry"
            ),
            "leader": variable(by, paths[:, 0], "1", "first singular value"),
            "follower": variable(by, paths[:, 1], "1", "second singular value"),
            "follower_theory": variable(by, theory, "1", "second singular value, closed form"),
            "ceiling": variable("deep", ceiling, "1", "limit of the second singular value"),
        },
        {
            "closed": list(CLOSED_DEPTHS),
            "matrix": list(MATRIX_DEPTHS),
            "depth": list(RELATION_DEPTHS),
            "deep": deep,
        },
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


def commuting(lab: Lab) -> xr.Dataset:
    """X3: the nuclear norm of the limit above the least one, by depth and size of the start."""
    A, b, truth = sensing()
    least = commuting_sensing.least_sum(A, b)
    limits = [
        [commuting_sensing.commuting_limit(A, b, N, alpha) for alpha in ALPHAS]
        for N in LIMIT_DEPTHS
    ]
    w = np.array([[limit.w for limit in row] for row in limits])
    gap = w.sum(axis=-1) - least.value
    slope = np.polyfit(np.log(ALPHAS), np.log(np.abs(gap)).T, 1)[0]
    by = ("depth", "alpha")
    return xr.Dataset(
        {
            "gap": variable(by, gap, "1", "nuclear norm of the limit less the least one"),
            "residual": variable(
                by, [[limit.error for limit in row] for row in limits], "1", "||A w - b||"
            ),
            "w": variable((*by, "entry"), w, "1", "eigenvalues of the limit"),
            "truth": variable("entry", truth, "1", "eigenvalues that were measured"),
            "slope": variable("depth", slope, "1", "slope of log gap in log alpha"),
            "least": variable((), least.value, "1", "least nuclear norm"),
            "least_error": variable((), least.error, "1", "error of it"),
            "least_w": variable("entry", least.w, "1", "eigenvalues of least sum"),
            "proportional": variable(
                "alpha", gap[-1, 0] * ALPHAS / ALPHAS[0], "1", "in proportion to alpha"
            ),
        },
        {
            "depth": list(LIMIT_DEPTHS),
            "alpha": variable("alpha", ALPHAS, "1", "start of every eigenvalue"),
            "entry": np.arange(1, 11),
        },
    )
