"""Constants of theorems against closed forms and brute force."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.probes import measured_assumptions
from thalweg.probes.finite_sum import no_finite_sum, single_gradients

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


AT = (0, 1, 2, 5, 10, 50, 300, 1000, 1999, 2000, 2001)  # the last a rounding error apart


class WithTerm(tw.problems.Supervised):
    """A loss with a term of its own, |theta|^2/4."""

    def objective(self, params):
        return super().objective(params) + jnp.sum(params[0]["weight"] ** 2) / 4


@jax.jit
def descended(problem, start, smoothness):
    """Points of plain descent after `AT` steps."""

    def step(params, _):
        slope = jax.grad(problem.objective)(params)
        moved = jax.tree.map(lambda w, g: (w - g / smoothness).astype(w.dtype), params, slope)
        return moved, params

    path = jax.lax.scan(step, start, None, length=max(AT) + 1)[1]
    return jax.tree.map(lambda leaf: leaf[jnp.asarray(AT)], path)


def keeps_its_words(found, true):
    """No lower bound is above the constant by more than its error, no upper bound below it."""
    for a in found:
        assert a.error >= 0 or np.isnan(a.value), a
        if a.name not in true:
            continue
        off = a.value - true[a.name]
        assert np.isfinite(a.value), a
        if a.bound == "lower bound":
            assert off <= a.error, (a, true[a.name])
        elif a.bound == "upper bound":
            assert off >= -a.error, (a, true[a.name])
        else:
            assert abs(off) <= 2 * a.error, (a, true[a.name])


@pytest.mark.thorough
@pytest.mark.parametrize("size", [4, pytest.param(70, marks=pytest.mark.slow)])
@pytest.mark.parametrize("known", [False, True])
def test_quadratics_keep_their_words_down_to_rounding(size, known):
    """Of condition up to 1e6 and in any unit; without x* the lowest point stands for it."""
    rng = np.random.default_rng(size)
    for draw in range(10):
        unit, condition = 10 ** rng.uniform(-4, 4), 10 ** rng.uniform(0, 6)
        lam = unit * condition ** -rng.uniform(0, 1, size)
        slope = rng.normal(size=size) * unit * (draw % 2)
        f = tw.problems.Quadratic(lam, slope, np.ones(size))
        points = descended(f, jnp.asarray(rng.normal(size=size)), lam.max())
        at = -slope / lam
        given = (jnp.asarray(at), float(f.objective(jnp.asarray(at)))) if known else ()
        true = {
            "smoothness": lam.max(), "convexity": lam.min(), "hessian_lipschitz": 0.0,
            "domination": lam.min(), "quasi_convexity": 2.0,
        }  # fmt: skip
        keeps_its_words(measured_assumptions(f, points, *given), true)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("term", ["none", "decay", "own"])
@pytest.mark.parametrize("labels", [False, True])
def test_least_squares_and_logistic_regression_keep_their_words(labels, term, reduction, precision):
    """More weights than examples, and fewer: known L, L_i, mu, and a bound of L_2."""
    rng = np.random.default_rng(7)
    n, d = (20, 3) if labels else (8, 12)
    for _ in range(2):
        X = rng.normal(size=(n, d)) * 10 ** rng.uniform(-1, 1, d)
        Y = np.resize([0, 1], n) if labels else rng.normal(size=(n, 1))
        plain = tw.problems.supervised(
            tw.models.linear([]), (X, Y), reduction=reduction, precision=precision
        )
        own = [getattr(plain, name) for name in ("model", "loss", "inputs", "targets", "reduction")]
        decay = {"none": 0.0, "decay": 0.2, "own": 0.5}[term]
        f = {
            "none": plain, "decay": tw.problems.Decayed(plain, decay),
            "own": WithTerm(*own, plain.classification),
        }[term]  # fmt: skip
        c, each = (1.0, n) if reduction == "sum" else (1 / n, 1)
        # Of two classes the Hessian is that of one logit, times (1, -1) (1, -1)^T, 1/4 at most.
        top = 0.5 if labels else 1.0
        e = np.linalg.eigvalsh(c * top * X.T @ X)
        L, square = e[-1] + decay, each * top * np.sum(X**2, axis=1) + decay
        flat = 0.0 if labels or n < d else e[0]
        least = e[e > 1e-9 * e[-1]][0]
        true = {
            "smoothness": L, "convexity": flat + decay,
            "example_smoothness": square.max(), "mean_smoothness": np.sqrt(np.mean(square**2)),
            "hessian_lipschitz": 0.0, "domination": decay or least, "quasi_convexity": 2.0,
        }  # fmt: skip
        if labels:
            third = 2 * 2**0.5 * c * np.sum(np.linalg.norm(X, axis=1) ** 3) / (6 * 3**0.5)
            true |= {"hessian_lipschitz": third, "domination": decay}
            del true["quasi_convexity"]
        points = descended(f, jax.tree.map(jnp.zeros_like, plain.init(jax.random.key(0))), L)
        found = measured_assumptions(f, points)
        keeps_its_words(found, true)
        at_zero = named(found)["smoothness"]  # where the logit's curvature is largest
        assert abs(at_zero.value - L) <= at_zero.error


class OfALogarithm(tw.problems.Supervised):
    """log(1 + f): no mean over examples."""

    def objective(self, params):
        return jnp.log1p(super().objective(params))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_term_of_the_parameters_is_a_part_of_every_example(reduction):
    plain = tw.problems.supervised(tw.models.linear([]), (X, Y), reduction=reduction)
    own = [getattr(plain, name) for name in ("model", "loss", "inputs", "targets", "reduction")]
    points = jax.vmap(plain.init)(jax.random.split(jax.random.key(0), 3))
    W = np.asarray(points[0]["weight"])
    each = [(12 if reduction == "sum" else 1) * np.einsum("nk,nd->nkd", X @ w.T - Y, X) + w / 2
            for w in W]  # fmt: skip
    squares = [np.mean(np.sum(g**2, (1, 2))) for g in each]
    spreads = [np.mean(np.sum((g - g.mean(0)) ** 2, (1, 2))) for g in each]
    for problem in (WithTerm(*own), tw.problems.Decayed(plain, 0.5)):
        assert no_finite_sum(problem, points) == ""
        found = single_gradients(problem, points)
        np.testing.assert_allclose(found.square, squares, rtol=1e-12)
        np.testing.assert_allclose(found.spread, spreads, rtol=1e-12)
    why = no_finite_sum(OfALogarithm(*own), points)
    assert "OfALogarithm is no mean over its examples" in why


def test_what_has_no_examples_or_compares_them_is_no_finite_sum():
    half = [[[True, False, False], [False, True, True]]]
    plain = tw.problems.supervised(tw.models.linear([]), (X, Y[:, :1]))
    compared = tw.problems.long_range(plain, half, 0.5)
    points = jax.vmap(plain.init)(jax.random.split(jax.random.key(0), 3))
    assert "no example has an objective of its own" in no_finite_sum(compared, points)
    decayed = tw.problems.Decayed(tw.problems.Quadratic([1.0], [0.0], [1.0]), 0.1)
    assert no_finite_sum(decayed, jnp.ones((3, 1))) == "a Quadratic has no examples"


@pytest.mark.thorough
def test_a_mean_over_some_examples_is_an_estimate_with_the_error_of_a_sample():
    x = np.random.default_rng(3).exponential(size=(400, 1))
    problem = tw.problems.supervised(tw.models.linear([]), (x, x))
    points = [{"weight": jnp.asarray([[[0.0]], [[0.5]], [[2.0]]])}]
    found = named(measured_assumptions(problem, points))
    true = np.sqrt(np.mean(x**4))
    assert found["mean_smoothness"].bound == "estimate"
    assert abs(found["mean_smoothness"].value - true) <= 3 * found["mean_smoothness"].error
    assert found["example_smoothness"].bound == "lower bound"


def test_few_points_are_refused():
    f = tw.problems.Function(lambda x: jnp.sum(x**2), start=jnp.ones(1))
    with pytest.raises(InputError, match="2 points came"):
        measured_assumptions(f, jnp.ones((2, 1)))
