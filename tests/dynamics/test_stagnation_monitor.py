"""Tubes watched at every step: against the distances of a recorded run, and runs that diverge."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError

BOWL = tw.problems.Function(lambda x: 0.5 * jnp.sum(jnp.array([1.0, 0.3, 0.0]) * x**2), jnp.ones(3))
FLOOR = tw.curvature.affine_set(jnp.zeros(3), jnp.eye(3)[:, :2])
RADII = [0.2, 0.6, 9.0]


def test_steps_are_those_of_the_recorded_path() -> None:
    """Starting outside of two tubes; the run itself is that without a watch, to the bit."""
    noisy = tw.gradient_descent(0.1, oracle=tw.oracles.isotropic(0.5))
    options = {"until": 12.0, "records": 120, "seeds": 6}
    plain = tw.run(BOWL, noisy, **options)
    seen = tw.run(BOWL, tw.dynamics.monitored(noisy, FLOOR, RADII), **options).dataset
    assert plain.parameters.values.tobytes() == seen["parameters"].values.tobytes()
    far = np.linalg.norm(plain.parameters.values[..., :2], axis=-1)
    for i, radius in enumerate(RADII):
        for seed in range(6):
            inside = far[seed] <= radius
            entry = np.argmax(inside) if inside.any() else np.nan
            after = ~inside & (np.arange(121) > entry)
            exit_ = np.argmax(after) if after.any() else np.nan
            assert np.array_equal(seen["entry_step"][seed, -1, i], entry, equal_nan=True)
            assert np.array_equal(seen["exit_step"][seed, -1, i], exit_, equal_nan=True)
    assert seen["exit_step"][:, -1, 0].notnull().any()
    assert seen["entry_step"][:, 0, 2].values.tolist() == [0] * 6


@pytest.mark.thorough
def test_a_run_that_diverges_has_left() -> None:
    seen = tw.dynamics.monitored(tw.gradient_descent(30.0), FLOOR, [5.0])
    path = tw.run(BOWL, seen, until=30000.0, records=4).dataset
    assert float(path["exit_step"][0, 1, 0]) == 1


@pytest.mark.thorough
def test_overlap_along_a_run_is_that_of_the_dense_hessian() -> None:
    problem = tw.problems.digits(tw.models.mlp([4]), samples=30)
    path = tw.run(
        problem, tw.gradient_descent(0.2), 4.0, records=4, probes=tw.probes.gradient_overlap(3)
    ).dataset
    import jax
    from jax.flatten_util import ravel_pytree

    unravel = ravel_pytree(problem.init(jax.random.key(0)))[1]
    for t in range(5):
        theta = jnp.asarray(path["parameters"].values[0, t])
        f = lambda x: problem.objective(unravel(x))  # noqa: E731
        g, V = np.asarray(jax.grad(f)(theta)), np.linalg.eigh(jax.hessian(f)(theta))[1][:, -3:]
        truth = float(tw.curvature.subspace_overlap(V, g).fraction)
        read, error = (float(path[f"gradient_overlap{end}"][0, t]) for end in ("", "_error"))
        assert abs(read - truth) <= error + 1e-9
        assert error < 0.2


def test_radii_are_refused_in_a_sentence() -> None:
    for wrong in ([], [0.0], [2.0, 1.0], [np.nan]):
        with pytest.raises(InputError, match="radii came as"):
            tw.dynamics.monitored(tw.gradient_descent(0.1), FLOOR, wrong)
