"""Problems with known flows: objectives by hand, gradients, independence along leading axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.models.homogeneous import homogeneous_outputs
from thalweg.problems.closed_form import Factorisation, Quadratic
from thalweg.problems.data.images import digit_images


def test_quadratic_by_hand():
    problem = Quadratic(jnp.array([2.0, -1.0]), jnp.array([0.0, 3.0]), jnp.array([1.0, 2.0]))
    z = problem.init(jax.random.key(0))
    assert float(problem.objective(z)) == 1.0 - 2.0 + 6.0
    np.testing.assert_array_equal(jax.grad(problem.objective)(z), [2.0, 1.0])
    np.testing.assert_array_equal(jax.hessian(problem.objective)(z), np.diag([2.0, -1.0]))


def test_factorisation_by_hand():
    weights = [jnp.array([[1.0, 2.0], [0.0, 1.0]]), jnp.array([[3.0, 1.0]])]
    problem = Factorisation(jnp.array([[1.0, 1.0]]), weights)
    # (3, 1) [[1, 2], [0, 1]] = (3, 7)
    assert float(problem.objective(problem.init(jax.random.key(0)))) == 0.5 * (4 + 36)


def test_leading_axes_are_independent_problems():
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.standard_normal((3, *shape))) for shape in ((4, 2), (5, 4), (1, 5))]
    target = jnp.asarray(rng.standard_normal((3, 1, 2)))
    together = jax.grad(Factorisation(target, weights).objective)(weights)
    for i in range(3):
        alone = Factorisation(target[i], [w[i] for w in weights])
        for a, b in zip(jax.grad(alone.objective)(list(alone.start)), together, strict=True):
            np.testing.assert_allclose(a, b[i], rtol=1e-13)


@pytest.mark.parametrize("slopes", [(1.0, 1.0), (1.0, 0.0), (-0.7, 1.4)])
def test_homogeneous_outputs_by_the_formula(slopes):
    rng = np.random.default_rng(1)
    weights = [rng.standard_normal(shape) for shape in ((4, 2), (3, 4))]
    x = rng.standard_normal((5, 2))
    z = x @ weights[0].T
    hidden = slopes[0] * np.maximum(z, 0) - slopes[1] * np.maximum(-z, 0)
    out = homogeneous_outputs([jnp.asarray(w) for w in weights], jnp.asarray(x), slopes)
    np.testing.assert_allclose(out, hidden @ weights[1].T, rtol=1e-13)
    doubled = homogeneous_outputs([2 * jnp.asarray(w) for w in weights], jnp.asarray(x), slopes)
    np.testing.assert_allclose(doubled, 4 * out, rtol=1e-13)


def test_digits_resampled():
    small, large = (
        digit_images(standardize="none"),
        digit_images(standardize="none", size=15, image=True),
    )
    assert large.inputs.shape == (1797, 1, 15, 15)
    # Linear interpolation to 15 points keeps every pixel and puts the mean of two between them.
    pixels = small.inputs.reshape(-1, 8, 8)
    np.testing.assert_allclose(large.inputs[:, 0, ::2, ::2], pixels, atol=1e-12)
    between = (pixels[:, :, 1:] + pixels[:, :, :-1]) / 2
    np.testing.assert_allclose(large.inputs[:, 0, ::2, 1::2], between, atol=1e-12)
    assert "resampled linearly to 15x15" in large.description["source"]


def test_bad_input():
    with pytest.raises(InputError, match="one length"):
        Quadratic(jnp.ones(2), jnp.ones(3), jnp.ones(2))
    with pytest.raises(InputError, match="must agree"):
        Factorisation(jnp.ones((2, 2)), [jnp.ones((3, 2)), jnp.ones((1, 3))])
    with pytest.raises(InputError, match="size"):
        digit_images(size=1)
