"""Losses of a margin and the linear classifier, against NumPy and high precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.problems import supervised
from thalweg.problems.linear_classification import linear_classifier, log_objective
from thalweg.problems.margin_losses import MARGIN_LOSSES, power_tail, stretched_exponential

ALL = [*MARGIN_LOSSES.values(), power_tail(2.0), stretched_exponential(0.5)]
U = np.array([-50.0, -3.0, 0.0, 0.5, 1.0, 1.5, 10.0, 29.0, 30.0, 31.0, 40.0, 300.0])

FORMULAS = {
    "logistic": lambda u: np.logaddexp(0, -u),
    "exponential": lambda u: np.exp(-u),
    "power tail 2": lambda u: np.where(u > 1, np.maximum(u, 1) ** -2.0, 1 - 2 * (u - 1)),
    "exp(-u^0.5)": lambda u: np.where(
        u > 1, np.exp(-np.sqrt(np.maximum(u, 1))), (1 - (u - 1) / 2) / np.e
    ),
}


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: loss.name)
class TestLosses:
    def test_values(self, loss):
        np.testing.assert_allclose(loss.value(U), FORMULAS[loss.name](U), rtol=1e-14)

    def test_logarithm(self, loss):
        np.testing.assert_allclose(
            loss.log(U), np.log(FORMULAS[loss.name](U)), rtol=1e-12, atol=1e-13
        )
        far = float(loss.log(jnp.asarray(1e6)))
        assert np.isfinite(far)
        assert far < -10

    def test_slopes_agree_and_are_finite(self, loss):
        slope = jax.vmap(jax.grad(loss.value))(U)
        by_log = jax.vmap(jax.grad(loss.log))(U) * loss.value(U)
        np.testing.assert_allclose(slope, by_log, rtol=1e-9)
        assert np.all(np.asarray(slope) < 0)
        assert np.isfinite(float(jax.grad(loss.log)(1e6)))

    def test_convex_with_a_continuous_slope(self, loss):
        u = np.linspace(-5, 20, 2001)
        slope = np.asarray(jax.vmap(jax.grad(loss.value))(u))
        assert np.all(np.diff(slope) >= -1e-15)
        bends = np.diff(slope[u >= -1]) / np.diff(u[u >= -1])
        assert bends.max() < 7  # no jump: p (p + 1) = 6 for the power, e for the exponential

    def test_tail(self, loss):
        if loss.tail is None:
            return
        for u in (50.0, 700.0):
            expected = loss.tail.scale * np.exp(-loss.tail.rate * u)
            assert -jax.grad(loss.value)(u) == pytest.approx(expected, rel=1e-12)


def test_exponent_one_has_an_exponential_tail():
    loss = stretched_exponential(1.0)
    assert loss.tail == MARGIN_LOSSES["exponential"].tail
    np.testing.assert_allclose(loss.value(U[U >= 1]), np.exp(-U[U >= 1]), rtol=1e-15)


def test_one_object_per_number():
    assert power_tail(3.0) is power_tail(3.0)
    assert stretched_exponential(0.3) is stretched_exponential(0.3)


def test_classifier_is_the_sum():
    X, w = np.array([(1.0, 2), (-1, 0.5), (3, 1)]), jnp.array([0.3, -0.2])
    problem = linear_classifier(X)
    expected = np.log1p(np.exp(-X @ w))
    np.testing.assert_allclose(problem.objective(w), expected.sum(), rtol=1e-14)
    np.testing.assert_allclose(problem.log_objective(w), np.log(expected.sum()), rtol=1e-14)
    np.testing.assert_allclose(
        jax.grad(problem.objective)(w), -(1 / (1 + np.exp(X @ w))) @ X, rtol=1e-13
    )
    np.testing.assert_array_equal(problem.init(jax.random.key(0)), np.zeros(2))


def test_logarithm_goes_on_where_the_loss_underflows():
    problem = linear_classifier([(1.0, 0.0), (2.0, 1.0)], "exponential", [1000.0, 0.0])
    assert float(problem.objective(problem.start)) == 0
    assert float(problem.log_objective(problem.start)) == -1000
    np.testing.assert_allclose(jax.grad(problem.log_objective)(problem.start), [-1, 0])


def test_binary_cross_entropy_is_the_logistic_loss():
    """Two classes with w_0 - w_1 = w: cross-entropy is log(1 + exp(-u))."""
    from thalweg.models import Applied

    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(6, 2)), np.array([0, 1, 0, 1, 1, 0])
    W = rng.normal(size=(2, 2))
    model = Applied(lambda W, x: x @ W.T, start=jnp.asarray(W))
    by_classes = supervised(model, (x, labels), reduction="sum").objective(jnp.asarray(W))
    margins = linear_classifier(x * np.where(labels == 0, 1, -1)[:, None])
    np.testing.assert_allclose(by_classes, margins.objective(jnp.asarray(W[0] - W[1])), rtol=1e-13)


def test_logarithm_of_any_objective():
    from thalweg.problems import Function

    f = log_objective(Function(lambda x: 1 + jnp.sum(x**2), jnp.ones(2)))
    np.testing.assert_allclose(f(jnp.ones(2)), np.log(3))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: linear_classifier([1.0, 2.0]), "examples, features"),
        (lambda: linear_classifier([(1.0, 2.0)], start=[1.0]), "2 features"),
        (lambda: linear_classifier([(1.0, 2.0)], "logistics"), "Did you mean 'logistic'"),
        (lambda: power_tail(0.0), "positive"),
        (lambda: stretched_exponential(-1.0), "positive"),
    ],
)
def test_bad_input(call, word):
    with pytest.raises(InputError, match=word):
        call()
