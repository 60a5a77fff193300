"""RMSProp's central flow with two eigenvalues at the edge, against one that knows no edge problem.

The reference replaces the complementarity problem by a penalty, Sigma = beta (S - 2)_+ in the axes
of S = P^-1/2 H P^-1/2, with dense derivatives and SciPy's Radau: its limit for large beta is the
central flow, its error is of order 1/beta and is taken off by two of them.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import thalweg as tw
from thalweg.core.result import Result


class Case(NamedTuple):
    """A method on two valleys that get steeper; both meet the edge, at different times."""

    average: str
    step_size: float
    epsilon: float
    start: tuple[float, ...]
    turned: tuple[tuple[float, float], tuple[float, float]]  # how each number moves both
    push: tuple[float, float]
    end: float

    decay, initial = 0.9, 0.04

    def loss(self, z):
        sides = jnp.array(self.turned) @ z[2:]
        return jnp.sum(sides * z[:2] ** 2) / 2 - z[2:] @ jnp.array(self.push)

    @property
    def times(self):
        return np.linspace(0, self.end, 5)


CASES = [
    Case("each", 0.1, 0.02, (0.0, 0.0, 1.0, 1.2), ((1, 0.2), (0.1, 1)), (0.2, 0.3), 16.0),
    # A large epsilon: else P grows with the oscillation, and only one stays at the edge.
    Case("shared", 1.0, 1.0, (0.0, 0.0, 2.2, 2.0), ((1, -0.1), (-0.1, 1)), (0.03, 0.04), 64.0),
]


def penalised(case, beta):
    """Parameters, tr Sigma and the two largest eigenvalues of P^-1 H at the times."""
    kappa = (1 - case.decay) / case.decay

    @jax.jit
    def speed(state):
        z, nu = state[:4], state[4:]
        root = jnp.broadcast_to(jnp.sqrt((jnp.sqrt(nu) + case.epsilon) / case.step_size), (4,))
        hessian, g = jax.hessian(case.loss), jax.grad(case.loss)(z)
        H = hessian(z)
        s, V = jnp.linalg.eigh(H / root[:, None] / root[None])
        X = (V * (beta * jnp.maximum(s - 2, 0))[None]) @ V.T
        sigma = X / root[:, None] / root[None]
        force = g + jax.grad(lambda q: jnp.sum(hessian(q) * sigma) / 2)(z)
        squares = g**2 + jnp.diag(H @ sigma @ H)
        squares = jnp.sum(squares, keepdims=True) if case.average == "shared" else squares
        moved = jnp.concatenate([-force / root**2, kappa * (squares - nu)]) / case.step_size
        return moved, jnp.trace(sigma), s[-2:]

    averages = 1 if case.average == "shared" else 4
    start = np.concatenate([case.start, np.full(averages, case.initial)])
    path = solve_ivp(
        lambda _, state: np.asarray(speed(jnp.asarray(state))[0]),
        (0, case.end), start, "Radau", case.times, rtol=1e-7, atol=1e-10,
    ).y.T  # fmt: skip
    told = [speed(jnp.asarray(state)) for state in path]
    return path[:, :4], np.array([float(t[1]) for t in told]), np.array([t[2] for t in told])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case.average for case in CASES])
def test_two_eigenvalues_of_rmsprop_stay_at_the_edge_as_a_penalty_holds_them(case):
    (soft, spread, _), (hard, less, s) = (penalised(case, beta) for beta in (100.0, 200.0))
    exact, oscillation = 2 * hard - soft, 2 * less - spread
    np.testing.assert_allclose(s[-2:], 2, atol=0.02)  # both at the edge at the end
    problem = tw.problems.Function(case.loss, start=jnp.asarray(case.start))
    off = []
    for substeps in (4, 16):
        flow = tw.dynamics.central_flow(
            case.step_size, substeps, average=case.average, decay=case.decay,
            epsilon=case.epsilon, initial=case.initial,
        )  # fmt: skip
        run = tw.run(problem, flow, until=case.end, records=len(case.times) - 1, progress=False)
        told = run.dataset.isel(seed=0)
        assert (told["result"] == Result.OK).all()
        assert (told["critical"].values[-2:] == 2).all()
        off.append(np.linalg.norm(run.parameters.values[0] - exact, axis=1))
        assert (off[-1][1:] < told["path_error"].values[1:] + np.abs(hard - soft).max()).all()
        np.testing.assert_allclose(told["oscillation"].values[-2:], oscillation[-2:], rtol=0.02)
    assert 3 < np.max(off[0]) / np.max(off[1]) < 5  # of order 1
