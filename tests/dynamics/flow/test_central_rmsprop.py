"""RMSProp's central flow with two eigenvalues at the edge, against one that knows no edge problem.

The reference replaces the complementarity problem by a penalty, Sigma = beta (S - 2)_+ in the axes
of S = P^-1/2 H P^-1/2, with dense derivatives and SciPy's Radau: its limit for large beta is the
central flow, its error is of order 1/beta and is taken off by two of them.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import thalweg as tw
from thalweg.core.result import Result

ETA, DECAY, EPSILON, NU = 0.1, 0.9, 0.02, 0.04
START = np.array([0.0, 0.0, 1.0, 1.2])
TIMES = np.linspace(0, 16, 5)


def two_valleys(z):
    """Both sides get steeper, each number moving both; the two meet the edge at different times."""
    x, y = z[:2], z[2:]
    sides = jnp.stack([y[0] + 0.2 * y[1], 0.1 * y[0] + y[1]])
    return jnp.sum(sides * x**2) / 2 - y @ jnp.array([0.2, 0.3])


def penalised(beta):
    """Parameters, tr Sigma and the two largest eigenvalues of P^-1 H at the times."""
    kappa = (1 - DECAY) / DECAY

    @jax.jit
    def speed(state):
        z, nu = state[:4], state[4:]
        root = jnp.sqrt((jnp.sqrt(nu) + EPSILON) / ETA)
        hessian, g = jax.hessian(two_valleys), jax.grad(two_valleys)(z)
        H = hessian(z)
        s, V = jnp.linalg.eigh(H / root[:, None] / root[None])
        X = (V * (beta * jnp.maximum(s - 2, 0))[None]) @ V.T
        sigma = X / root[:, None] / root[None]
        force = g + jax.grad(lambda q: jnp.sum(hessian(q) * sigma) / 2)(z)
        squares = g**2 + jnp.diag(H @ sigma @ H)
        moved = jnp.concatenate([-force / root**2, kappa * (squares - nu)]) / ETA
        return moved, jnp.trace(sigma), s[-2:]

    start = np.concatenate([START, np.full(4, NU)])
    path = solve_ivp(
        lambda _, state: np.asarray(speed(jnp.asarray(state))[0]),
        (0, TIMES[-1]), start, "Radau", TIMES, rtol=1e-7, atol=1e-10,
    ).y.T  # fmt: skip
    told = [speed(jnp.asarray(state)) for state in path]
    return path[:, :4], np.array([float(t[1]) for t in told]), np.array([t[2] for t in told])


@pytest.mark.slow
def test_two_eigenvalues_of_rmsprop_stay_at_the_edge_as_a_penalty_holds_them():
    (soft, spread, _), (hard, less, s) = (penalised(beta) for beta in (100.0, 200.0))
    exact, oscillation = 2 * hard - soft, 2 * less - spread
    np.testing.assert_allclose(s[-2:], 2, atol=0.02)  # both at the edge at the end
    problem = tw.problems.Function(two_valleys, start=jnp.asarray(START))
    off = []
    for substeps in (4, 16):
        flow = tw.dynamics.central_flow(
            ETA, substeps, average="each", decay=DECAY, epsilon=EPSILON, initial=NU
        )
        run = tw.run(problem, flow, until=TIMES[-1], records=len(TIMES) - 1, progress=False)
        told = run.dataset.isel(seed=0)
        assert (told["result"] == Result.OK).all()
        assert (told["critical"].values[-2:] == 2).all()
        off.append(np.linalg.norm(run.parameters.values[0] - exact, axis=1))
        assert (off[-1][1:] < told["path_error"].values[1:] + np.abs(hard - soft).max()).all()
        np.testing.assert_allclose(told["oscillation"].values[-2:], oscillation[-2:], rtol=0.02)
    assert 3 < np.max(off[0]) / np.max(off[1]) < 5  # of order 1
