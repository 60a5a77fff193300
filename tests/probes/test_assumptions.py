"""Constants of theorems against closed forms and brute force."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.probes import measured_assumptions

RNG = np.random.default_rng(4)
X, Y = RNG.normal(size=(12, 3)), RNG.normal(size=(12, 2))


def named(found):
    return {a.name: a for a in found}


def test_a_quadratic_has_the_constants_of_its_matrix():
    lam = np.array([0.5, 2.0, 7.0])
    f = tw.problems.Quadratic(lam, np.zeros(3), np.ones(3))
    points = jnp.asarray(RNG.normal(size=(40, 3)))
    found = named(measured_assumptions(f, points, jnp.zeros(3), 0.0))
    assert found["smoothness"].value == pytest.approx(7.0)
    assert found["convexity"].value == pytest.approx(0.5)
    assert found["hessian_lipschitz"].value == pytest.approx(0.0, abs=1e-12)
    # <grad f, x> = 2 f exactly, and ||grad f||^2/(2 f) is between 0.5 and 7.
    assert found["quasi_convexity"].value == pytest.approx(2.0)
    assert 0.5 <= found["domination"].value <= 2.0
    assert {found[n].bound for n in ("smoothness", "hessian_lipschitz")} == {"lower bound"}
    assert {found[n].bound for n in ("domination", "quasi_convexity")} == {"upper bound"}


def test_functions_of_one_variable_have_their_known_constants():
    """x^2 + 3 sin^2 x: mu = 0.17553, L = 8; t^2/(1 + t^2) up to 3: alpha = 0.2, L = 2."""
    t = jnp.linspace(-4, 4, 801)[:, None]
    f = tw.problems.Function(lambda x: jnp.sum(x**2 + 3 * jnp.sin(x) ** 2), start=jnp.ones(1))
    found = named(measured_assumptions(f, t, jnp.zeros(1), 0.0))
    assert found["domination"].value == pytest.approx(0.17553, rel=1e-2)
    assert found["smoothness"].value == pytest.approx(8.0)
    assert found["hessian_lipschitz"].value == pytest.approx(12.0, rel=1e-2)  # of 6 cos 2x
    g = tw.problems.Function(lambda x: jnp.sum(x**2 / (1 + x**2)), start=jnp.ones(1))
    bent = named(measured_assumptions(g, jnp.linspace(-3, 3, 601)[:, None], jnp.zeros(1), 0.0))
    assert bent["quasi_convexity"].value == pytest.approx(0.2, rel=1e-9)
    assert bent["smoothness"].value == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_examples_have_the_constants_of_their_own_losses(reduction):
    problem = tw.problems.supervised(tw.models.linear([]), (X, Y), reduction=reduction)
    keys = jax.random.split(jax.random.key(0), 5)
    points = jax.vmap(problem.init)(keys)
    found = named(measured_assumptions(problem, points))
    times = 12 if reduction == "sum" else 1
    each = times * np.sum(X**2, axis=1)  # of |W x - y|^2/2
    assert found["example_smoothness"].value == pytest.approx(each.max())
    assert found["mean_smoothness"].value == pytest.approx(np.sqrt(np.mean(each**2)))
    L = np.linalg.eigvalsh(X.T @ X)[-1] * times / 12
    assert found["smoothness"].value == pytest.approx(L)
    W = np.asarray(points[0]["weight"])
    spreads, squares = [], []
    for w in W:
        g = times * np.einsum("nk,nd->nkd", X @ w.T - Y, X).reshape(12, -1)
        spreads.append(np.mean(np.sum((g - g.mean(0)) ** 2, 1)))
        squares.append((np.mean(np.sum(g**2, 1)), np.sum(g.mean(0) ** 2)))
    assert found["example_variance"].value == pytest.approx(max(spreads))
    A, B, C = (found[f"growth_{c}"].value for c in "abc")
    least = min(float(problem.objective([{"weight": jnp.asarray(w)}])) for w in W)
    for w, (square, norm) in zip(W, squares, strict=True):
        gap = float(problem.objective([{"weight": jnp.asarray(w)}])) - least
        assert square <= (2 * A * gap + B * norm + C) * (1 + 1e-9)
    assert min(A, B, C) >= 0


def test_large_problems_are_measured_by_ritz_values_with_their_residual():
    lam = np.concatenate([np.linspace(0.1, 1, 99), [5.0]])
    f = tw.problems.Quadratic(lam, np.zeros(100), np.ones(100))
    found = named(measured_assumptions(f, jnp.asarray(RNG.normal(size=(3, 100)))))
    L = found["smoothness"]
    assert L.value <= 5.0 + 1e-9
    assert 5.0 - L.value <= L.error + 1e-9
    assert found["convexity"].value >= 0.1 - 1e-9


def test_few_points_are_refused():
    f = tw.problems.Function(lambda x: jnp.sum(x**2), start=jnp.ones(1))
    with pytest.raises(InputError, match="2 points came"):
        measured_assumptions(f, jnp.ones((2, 1)))
