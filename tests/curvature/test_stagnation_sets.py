"""Sets of minima, convexity towards them, subspaces, norms: against closed forms and NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import thalweg as tw
from thalweg.core import tree
from thalweg.core.errors import InputError
from thalweg.curvature import stagnation_sets
from thalweg.problems import Function

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
H = np.array([4.0, 1.5, 0.5, 0.01, 0.0])
BASIS = np.linalg.qr(RNG.normal(size=(5, 5)))[0]


def valley() -> Function:
    """A rotated quadratic with two flat directions, parameters in two leaves."""
    A = jnp.asarray(BASIS * H @ BASIS.T)

    def f(p: dict) -> jax.Array:
        x = tree.flatten(p)
        return 0.5 * x @ A @ x

    return Function(f, {"a": jnp.zeros(2), "b": jnp.zeros((1, 3))})


def point(x: np.ndarray) -> dict:
    return {"a": jnp.asarray(x[:2]), "b": jnp.asarray(x[None, 2:])}


@pytest.mark.parametrize("most", [1500, pytest.param(2, marks=pytest.mark.thorough)])
def test_the_stiff_set_is_that_of_the_eigenvectors(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dense and by Lanczos: distance and nearest point are those of the eigenbasis."""
    monkeypatch.setattr(stagnation_sets, "MOST_DENSE", most)
    problem = valley()
    floor = tw.curvature.stiff_set(problem, problem.start, share=0.1)
    assert floor.codimension == 3
    x = RNG.normal(size=5)
    along = BASIS[:, :3]
    assert float(floor.distance(point(x))) == pytest.approx(np.linalg.norm(along.T @ x), rel=1e-6)
    nearest = np.asarray(tree.flatten(floor.nearest(point(x))))
    np.testing.assert_allclose(nearest, x - along @ along.T @ x, atol=1e-6)
    assert tw.curvature.stiff_set(problem, problem.start, share=0.2).codimension == 2


def test_essential_convexity_of_a_quadratic_is_its_stiff_spectrum() -> None:
    """c and M over the tube lie within the stiff eigenvalues and reach their ends."""
    problem = valley()
    floor = tw.curvature.stiff_set(problem, problem.start, share=0.1)
    points = floor.draws(2.0, 4000, KEY)
    found = tw.curvature.essential_convexity(problem, floor, points)
    assert 0.5 - 1e-9 <= found.convexity < 0.52
    assert 3.95 < found.smoothness <= 4.0 + 1e-9
    assert found.violations == 0
    assert 0 < found.violations_error < 1e-3
    # Uniform in a ball of three dimensions: (|u|/delta)^3 is uniform.
    assert scipy.stats.kstest((found.distance / 2) ** 3, "uniform").pvalue > 1e-3


def test_a_curved_set_that_is_not_convex_is_essentially_so() -> None:
    """About a circle f = (|x| - 1)^2/2 has c = M = 1, while its Hessian is indefinite inside."""
    problem = Function(lambda x: 0.5 * (jnp.linalg.norm(x) - 1) ** 2, jnp.array([0.5, 0.0]))
    circle = tw.curvature.nearest_points(lambda x: x / jnp.linalg.norm(x))
    points = jnp.asarray(RNG.normal(size=(200, 2)))
    found = tw.curvature.essential_convexity(problem, circle, points)
    np.testing.assert_allclose([found.convexity, found.smoothness], 1.0, rtol=1e-9)
    assert np.linalg.eigvalsh(jax.hessian(problem.objective)(problem.start)).min() < 0
    saddle = Function(lambda x: 0.5 * x[0] ** 2 - 0.1 * x[1] ** 2, jnp.ones(2))
    off = tw.curvature.essential_convexity(saddle, tw.curvature.affine_set(jnp.zeros(2)), points)
    assert -0.2 - 1e-9 <= off.convexity < -0.19
    share = np.mean(points[:, 0] ** 2 < 0.2 * points[:, 1] ** 2)
    assert off.violations == pytest.approx(share)


def test_overlap_beside_random_directions() -> None:
    """A projection by hand; the null's mean and spread are those of drawn directions."""
    V, x = BASIS[:, :2], RNG.normal(size=(4000, 5))
    found = tw.curvature.subspace_overlap(V, x)
    P = V @ V.T
    np.testing.assert_allclose(
        found.fraction, np.einsum("ni,ij,nj->n", x, P, x) / (x**2).sum(1), rtol=1e-12
    )
    assert found.null == 0.4
    assert found.fraction.mean() == pytest.approx(0.4, abs=5 * found.null_deviation / 4000**0.5)
    assert found.fraction.std() == pytest.approx(found.null_deviation, rel=0.05)


def test_participation_of_walks() -> None:
    """By singular values; the closed form of many dimensions is that of drawn walks."""
    x = RNG.normal(size=(9, 4))
    sizes = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    assert tw.curvature.participation_ratio(x) == pytest.approx(sizes.sum() ** 2 / (sizes**2).sum())
    assert tw.curvature.participation_ratio(x.T) == pytest.approx(
        (s := np.linalg.svd(x.T - x.T.mean(0), compute_uv=False) ** 2).sum() ** 2 / (s**2).sum()
    )
    exact = tw.curvature.walk_participation(50)
    drawn = tw.curvature.walk_participation(50, 4000, walks=20)
    assert abs(drawn.mean - exact.mean) < 4 * drawn.error + 0.01
    assert tw.curvature.walk_participation(10**5).mean == pytest.approx(2.5, abs=1e-4)
    gram = np.tril(np.ones((50, 50)), -1)
    centred = gram - gram.mean(0)
    sizes = np.linalg.svd(centred, compute_uv=False) ** 2
    assert exact.mean == pytest.approx(sizes.sum() ** 2 / (sizes**2).sum(), rel=1e-10)


@pytest.mark.thorough
def test_the_norm_of_a_convolution_is_that_of_its_map() -> None:
    """Against the dense matrix; the kernel as a matrix has another norm."""
    kernel = jnp.asarray(RNG.normal(size=(3, 2, 3, 3)))

    def layer(x: jax.Array) -> jax.Array:
        return jax.lax.conv(x[None], kernel, (1, 1), "SAME")[0]

    like = jnp.zeros((2, 5, 4))
    dense = np.asarray(jax.jacfwd(layer)(like)).reshape(60, 40)
    truth = np.linalg.norm(dense, 2)
    found = tw.curvature.spectral_norm(layer, like)
    assert float(found.value) <= truth * (1 + 1e-9)
    assert truth <= float(found.value + found.error) * (1 + 1e-9)
    assert float(found.error) < 1e-3 * truth
    assert abs(np.linalg.norm(np.asarray(kernel).reshape(3, -1), 2) / truth - 1) > 0.1


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(InputError, match="off orthonormal"):
        tw.curvature.affine_set(jnp.zeros(3), 2 * jnp.eye(3)[:, :1])
    wrong = tw.curvature.nearest_points(lambda x: x[:1])
    with pytest.raises(InputError, match="nearest point of the set gave shapes"):
        tw.curvature.essential_convexity(Function(jnp.sum, jnp.ones(2)), wrong, jnp.ones((3, 2)))
    centre, lost = tw.curvature.affine_set(jnp.zeros(2)), jnp.array([[1.0, 1.0], [jnp.nan, 1.0]])
    with pytest.raises(InputError, match="1 of 2 points have no finite offset and gradient"):
        tw.curvature.essential_convexity(Function(jnp.sum, jnp.ones(2)), centre, lost)
    with pytest.raises(InputError, match="not linear"):
        tw.curvature.spectral_norm(jnp.tanh, jnp.zeros(3))
