"""The law of component norms: against differentiation, integration, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from thalweg.core.errors import InputError
from thalweg.core.tensors import perfect_tree
from thalweg.models.tensor_factorisation import CPFactorisation, HierarchicalFactorisation
from thalweg.theory.linear_nets import local_components as theory

CP = CPFactorisation((2, 3, 4), 3)
HTF = HierarchicalFactorisation((2, 3, 2, 3), perfect_tree(4), (2, 3))


@pytest.mark.parametrize("factorisation", [CP, HTF])
def test_rates_are_central_differences_along_the_gradient(factorisation):
    params = factorisation.init(jax.random.key(0))

    def loss(W):
        return jnp.sum(jnp.cos(W))

    gradient = jax.grad(loss)(factorisation.tensor(params))
    rates = theory.norm_rates(factorisation, params, gradient)
    slope = jax.grad(lambda p: loss(factorisation.tensor(p)))(params)
    h = 1e-6

    def norms_at(t):
        moved = jax.tree.map(lambda p, g: p - t * g, params, slope)
        return factorisation.component_norms(moved)

    ahead, back = norms_at(h), norms_at(-h)
    for name, rate in rates.items():
        np.testing.assert_allclose(rate, (ahead[name] - back[name]) / (2 * h), rtol=2e-7)


def test_directions_are_unit_outer_products_and_zero_for_zero_vectors():
    params = CP.init(jax.random.key(1))
    params["1"] = params["1"].at[:, 2].set(0.0)
    (C,) = theory.component_directions(CP, params).values()
    u, v, w = (np.asarray(f[:, 0] / np.linalg.norm(f[:, 0])) for f in CP.factors(params))
    np.testing.assert_allclose(C[0], np.einsum("a,b,c->abc", u, v, w), atol=1e-14)
    assert not np.any(C[2])
    (rate,) = theory.norm_rates(CP, params, jnp.ones((2, 3, 4))).values()
    assert float(rate[2]) == 0


def test_a_cp_factorisation_is_a_tree_of_one_node():
    """With root weights 1 the directions agree; the rate has one vector more."""
    shallow = HierarchicalFactorisation((2, 3, 4), perfect_tree(3, 3), (3,))
    params = CP.init(jax.random.key(2))
    deep = {**params, "0-1-2": jnp.ones((3, 1))}
    G = jax.random.normal(jax.random.key(3), (2, 3, 4))
    (gamma,), (other,) = (
        theory.alignments(f, p, G).values() for f, p in ((CP, params), (shallow, deep))
    )
    np.testing.assert_allclose(gamma, other, rtol=1e-13)
    (rate,), (more,) = (
        theory.norm_rates(f, p, G).values() for f, p in ((CP, params), (shallow, deep))
    )
    (sigma,) = CP.component_norms(params).values()
    np.testing.assert_allclose(more, rate + gamma * sigma**2, rtol=1e-12)


def test_balanced_vectors_obey_the_power_law_and_close_the_bounds():
    sigma, gamma = jnp.array([0.5, 2.0]), jnp.array([0.7, -0.3])
    for L in (2, 3, 5):
        law = theory.balanced_rate(sigma, gamma, L)
        norms = jnp.tile(sigma ** (1 / L), (L, 1))
        np.testing.assert_allclose(theory.component_rate(norms, gamma), law, rtol=1e-13)
        for bound in theory.rate_bounds(sigma, gamma, L, 0.0):
            np.testing.assert_allclose(bound, law, rtol=1e-13)


def test_bounds_hold_for_any_norms_and_are_their_formula():
    rng = np.random.default_rng(0)
    for _ in range(200):
        L = int(rng.integers(2, 6))
        norms, gamma = jnp.asarray(rng.exponential(size=(L, 1))), jnp.asarray(rng.normal(size=1))
        sigma, epsilon = norms.prod(0), float(np.ptp(norms**2))
        low, high = theory.rate_bounds(sigma, gamma, L, epsilon)
        rate = theory.component_rate(norms, gamma)
        slack = 1e-12 * abs(float(rate[0]))
        assert float(low[0]) - slack <= float(rate[0]) <= float(high[0]) + slack
        ends = sorted(
            [
                float(L * gamma[0] * sigma[0] ** 2 / (sigma[0] ** (2 / L) + epsilon)),
                float(L * gamma[0] * (sigma[0] ** (2 / L) + epsilon) ** (L - 1)),
            ]
        )
        np.testing.assert_allclose([low[0], high[0]], ends, rtol=1e-12)


@pytest.mark.parametrize("L", [2, 3, 4])
def test_the_closed_form_solves_the_law(L):
    found = solve_ivp(
        lambda t, s: theory.balanced_rate(s, 0.7, L), (0, 1), [0.01], rtol=1e-12, atol=1e-15
    )
    value = theory.constant_alignment_norm([1.0], 0.01, 0.7, L)
    np.testing.assert_allclose(value, found.y[0, -1], rtol=1e-9)
    prediction = theory.norm_prediction([0.01, 0.02], [0.7, 0.6], L)
    assert prediction.at([0.0, 1.0]).shape == (2, 2)
    np.testing.assert_allclose(prediction.at([1.0])[0, 0], value[0])


def test_the_escape_time_is_where_the_norm_is_infinite():
    for L in (3, 4):
        t = float(theory.escape_time(0.01, 0.7, L))
        assert np.isinf(theory.constant_alignment_norm(t * (1 + 1e-12), 0.01, 0.7, L))
        assert theory.constant_alignment_norm(t * (1 - 1e-6), 0.01, 0.7, L) > 1e5
    assert np.isinf(theory.escape_time(0.01, 0.7, 2))
    for wrong in ((0.0, 1.0, 3), (1.0, -1.0, 3), (1.0, 1.0, 1)):
        with pytest.raises(InputError):
            theory.escape_time(*wrong)


def test_truncation_is_bounded_and_lowers_the_rank():
    params = HTF.init(jax.random.key(5))
    parts = np.asarray(HTF.component_tensors(params)["0-1"])
    sigma = np.asarray(HTF.component_norms(params)["0-1"])
    small = np.argsort(-sigma)[1:]
    distance, bound = theory.truncation_bound(HTF, params, "0-1", 1)
    assert distance == pytest.approx(np.linalg.norm(parts[small].sum(0)))
    assert distance <= bound == pytest.approx(sum(np.linalg.norm(parts[r]) for r in small))
    kept = np.asarray(HTF.tensor(params)) - parts[small].sum(0)
    assert np.linalg.matrix_rank(kept.reshape(2, -1), tol=1e-10) == 1


def test_the_mean_cosine_is_an_integral():
    """In the plane the angle is uniform: 2/pi; in space the cosine is: 1/2."""
    np.testing.assert_allclose(theory.mean_absolute_cosine([1, 2, 3]), [1, 2 / np.pi, 0.5])
    g = np.random.default_rng(0).normal(size=(2, 200_000, 6))
    u, v = g / np.linalg.norm(g, axis=2, keepdims=True)
    mean = np.abs(np.sum(u * v, 1)).mean()
    assert float(theory.mean_absolute_cosine(6)) == pytest.approx(mean, abs=3e-3)
