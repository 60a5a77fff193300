"""PAGE: what it shows is the recursion, refreshed by chance; what it costs on average."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(16, 3)), RNG.normal(size=(16, 2))
WHOLE = tw.problems.supervised(tw.models.linear([]), (X, Y), reduction="sum")


def gradient(problem, params):
    return np.asarray(jax.grad(problem.objective)(params)[0]["weight"])


def test_it_is_the_full_gradient_where_refreshed_and_the_recursion_elsewhere():
    a, b = (WHOLE.init(jax.random.key(i)) for i in (0, 1))
    oracle = tw.oracles.page(2).begin(WHOLE, a)
    rows = jnp.array([3, 5])
    for anew in (True, False):
        seen, after = oracle.look(WHOLE, b, (jnp.asarray(anew), (), rows))
        shown = gradient(seen, b)
        if anew:
            np.testing.assert_allclose(shown, gradient(WHOLE, b), rtol=1e-12)
            continue
        part = tw.oracles.minibatch(2, replace=True).see(WHOLE, b, rows)
        expected = gradient(part, b) - gradient(part, a) + gradient(WHOLE, a)
        np.testing.assert_allclose(shown, expected, rtol=1e-11)
        assert np.abs(shown - gradient(WHOLE, b)).max() > 1e-3
        np.testing.assert_allclose(after.memory.gradient[0]["weight"], shown, rtol=1e-12)


def test_refreshes_come_as_often_as_is_said():
    oracle = tw.oracles.page(4)
    assert oracle.probability(WHOLE) == pytest.approx(4 / 20)
    anew = np.asarray(
        oracle.draws(WHOLE, WHOLE.init(jax.random.key(0)), jax.random.key(1), 4000)[0]
    )
    assert abs(anew.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 4000)
    spent = anew * 16 + ~anew * 8
    assert abs(spent.mean() - oracle.counts(WHOLE).component_gradients) < 0.3
    np.testing.assert_allclose(oracle.spent(WHOLE, np.array([0, 10])), [16, 16 + 96])


@pytest.mark.parametrize("arguments", [{"batch": 0}, {"batch": 2, "chance": 0.0}])
def test_what_cannot_be_drawn_is_refused(arguments):
    with pytest.raises(InputError, match="give"):
        tw.oracles.page(**arguments)
