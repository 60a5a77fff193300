"""What is particular to the study: its quadratics, its Krylov spaces, its noise."""

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.studies.numerical_optimisers import convex, noise, quadratics


def test_noise_of_the_schedules_is_of_variance_one():
    assert np.isclose(noise.VARIANCE, 1.0)
    assert np.isclose(noise.SIZES[0], 2 / (noise.LAM[0] + noise.LAM[-1]))


def test_krylov_minimisers_are_best_in_their_spaces():
    rng = np.random.default_rng(5)
    root = rng.normal(size=(4, 4))
    H, b = jnp.asarray(root @ root.T + np.eye(4)), jnp.asarray(rng.normal(size=4))
    found = convex._krylov_minimisers(H, b)
    np.testing.assert_allclose(found[0], b * (b @ b) / (b @ H @ b), rtol=1e-12)
    np.testing.assert_allclose(found[-1], jnp.linalg.solve(H, b), rtol=1e-10)
    residual = np.asarray(b) - np.asarray(H) @ found[1]  # orthogonal to b and H b
    np.testing.assert_allclose([residual @ b, residual @ (H @ b)], 0, atol=1e-10)


def test_bowls_have_their_eigenvalues():
    problem = quadratics.bowl([0.5, 3.0], [1.0, 2.0])
    np.testing.assert_array_equal(
        jax.hessian(problem.objective)(problem.start), np.diag([0.5, 3.0])
    )
    assert float(problem.objective(problem.start)) == 6.25
