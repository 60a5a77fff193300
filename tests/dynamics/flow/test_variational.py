"""The limit map and its derivatives: identities of the manifold, closed forms against the flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.curvature import normal_space
from thalweg.dynamics import limit_map, limiting_drift

RNG = np.random.default_rng(0)
LINEAR, BENT = RNG.normal(size=(2, 4)), 0.3 * RNG.normal(size=(2, 4, 4))
SLOPES = 0.1 * RNG.normal(size=(4, 2, 2))
START = jnp.asarray(0.2 * RNG.normal(size=4))


def curved(x):
    """(1/2) h(x)^T B(x) h(x), h linear and quadratic from R^4 to R^2, B affine."""
    h = LINEAR @ x + jnp.einsum("ijk,j,k->i", BENT, x, x)
    change = jnp.einsum("kij,k->ij", SLOPES, x)
    B = jnp.array([[2.0, 0.3], [0.3, 1.5]]) + change + change.T
    return 0.5 * h @ B @ h


PROBLEM = tw.problems.Function(curved, start=START)
UNIT = jnp.eye(4)


@pytest.fixture(scope="module")
def point():
    return limit_map(PROBLEM, START, UNIT, UNIT)


@pytest.fixture(scope="module")
def hessian(point):
    return jax.hessian(curved)(point.params)


def trace_slope(of):
    return lambda x: jax.grad(lambda y: of(jax.hessian(curved)(y)))(x)


@pytest.mark.thorough
class TestLimitMap:
    def test_ends_where_the_flow_does(self, point):
        limit = tw.dynamics.flow_limit(PROBLEM, START, error=1e-9)
        np.testing.assert_allclose(point.params, limit.params, atol=1e-8)
        assert int(point.result) == tw.Result.OK
        assert float(point.rest) < 1e-14

    def test_does_not_change_down_the_gradient(self, point):
        assert jnp.max(jnp.abs(point.first @ jax.grad(curved)(START))) < 1e-10

    def test_the_jacobian_on_the_manifold_is_the_tangent_projector(self, point):
        on = limit_map(PROBLEM, point.params, UNIT, UNIT)
        space = normal_space(PROBLEM, point.params)
        assert jnp.max(jnp.abs(on.first - space.to_tangent(UNIT))) < 1e-10
        np.testing.assert_allclose(on.params, point.params, atol=1e-13)

    def test_derivatives_are_differences(self, point):
        a, h = jnp.array([0.3, -0.5, 0.2, 0.7]), 1e-3
        ends = [limit_map(PROBLEM, START + s * h * a).params for s in (-1, 0, 1)]
        np.testing.assert_allclose((ends[2] - ends[0]) / (2 * h), point.first @ a, atol=3e-6)
        second = limit_map(PROBLEM, START, a[:, None], a[:, None]).second
        np.testing.assert_allclose((ends[2] - 2 * ends[1] + ends[0]) / h**2, second, atol=3e-5)

    @pytest.mark.parametrize("part", ["whole", "along", "across"])
    def test_the_drift_is_half_its_second_derivative(self, point, part):
        space = normal_space(PROBLEM, point.params)
        F = jnp.asarray(np.random.default_rng(1).normal(size=(4, 4)))
        F = {"whole": F, "along": space.to_tangent(F), "across": space.to_normal(F)}[part]
        drift = limiting_drift(PROBLEM, point.params, F)
        numerical = limit_map(PROBLEM, point.params, F, F).second / 2
        np.testing.assert_allclose(drift.total, numerical, atol=1e-9)
        if part == "whole":  # the mixed term alone is of order one, so a factor of it is seen
            assert jnp.max(jnp.abs(drift.mixed)) > 0.1

    def test_label_noise_descends_the_trace(self, point, hessian):
        values, V = jnp.linalg.eigh(hessian)
        root = V * jnp.sqrt(jnp.where(values > 1e-9, values, 0))[None]
        drift = limiting_drift(PROBLEM, point.params, root)
        slope = trace_slope(jnp.trace)(point.params)
        np.testing.assert_allclose(drift.total, -drift.space.to_tangent(slope) / 4, atol=1e-10)

    def test_isotropic_noise_descends_a_quarter_of_the_log_determinant(self, point):
        drift = limiting_drift(PROBLEM, point.params, UNIT)
        across = drift.space.across

        def log_determinant(H):
            return jnp.sum(jnp.log(jnp.sort(jnp.linalg.eigvalsh(H))[-2:]))

        slope = trace_slope(log_determinant)(point.params)
        along = drift.space.to_tangent(drift.total)
        np.testing.assert_allclose(along, -drift.space.to_tangent(slope) / 4, atol=1e-10)
        assert jnp.max(jnp.abs(slope)) > 0.1
        assert across.shape == (4, 4)


def test_a_ring_is_its_radial_projection():
    """Phi(z) = z/||z||; d^2 Phi[1] = -(p - 1) z/||z||^3."""
    ring = tw.problems.Function(lambda z: (z @ z - 1) ** 2 / 8, start=jnp.array([0.6, 0.0, 0.8]))
    found = limit_map(ring, 1.5 * ring.start, jnp.eye(3), jnp.eye(3))
    np.testing.assert_allclose(found.params, ring.start, atol=1e-11)
    np.testing.assert_allclose(found.second, -2 * ring.start / 1.5**2, atol=1e-10)


def test_too_few_steps_are_told():
    found = limit_map(PROBLEM, START, most_steps=5)
    assert int(found.result) == tw.Result.NOT_CONVERGED


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rtol": 0.0}, "rtol came as 0.0"),
        ({"along": jnp.ones(4)}, r"shape \(p, r\)"),
        ({"beside": UNIT}, "give both"),
        ({"most_steps": 0}, "most_steps came as 0"),
    ],
)
def test_what_does_not_fit_is_said(given, said):
    with pytest.raises(tw.InputError, match=said):
        limit_map(PROBLEM, START, **given)


def test_a_factor_of_the_wrong_size_is_said():
    with pytest.raises(tw.InputError, match=r"factor of its covariance, \(4, q\)"):
        limiting_drift(PROBLEM, START, jnp.ones((3, 1)))


@pytest.mark.slow
def test_of_a_turned_product_it_is_at_rest_and_its_second_derivative_is_that_of_differences():
    """An ellipse and x y z = 2 side by side, turned: rounding keeps speeds above any tolerance."""
    draw = np.random.default_rng(11)
    turn = np.linalg.qr(draw.normal(size=(5, 5)))[0]

    def both(z):
        w = jnp.asarray(turn).T @ z
        return (w[0] ** 2 + 3 * w[1] ** 2 - 1) ** 2 / 8 + (w[2] * w[3] * w[4] - 2) ** 2 / 2

    start = turn @ np.array([0.9, 0.5, 1.3, 0.7, 1.1])
    problem = tw.problems.Function(both, start=start)
    found = limit_map(problem, jnp.asarray(start), jnp.eye(5), jnp.eye(5))
    assert found.result == tw.Result.OK
    assert found.steps < 1000

    def differences(h):
        there = [limit_map(problem, jnp.asarray(start + h * e)).params for e in np.eye(5)]
        back = [limit_map(problem, jnp.asarray(start - h * e)).params for e in np.eye(5)]
        here = limit_map(problem, jnp.asarray(start)).params
        return (sum(there) + sum(back) - 10 * here) / h**2

    laplacian = (4 * differences(1e-3) - differences(2e-3)) / 3
    np.testing.assert_allclose(found.second, laplacian, rtol=1e-6, atol=1e-7)
