"""Entropy-SGD and Replicated-SGD against hand-written loops and what quadratics tell of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.errors import InputError
from thalweg.dynamics.scoping import Dropping, Scoping, number
from thalweg.theory.landscape.entropic_quadratics import (
    averaged_step,
    inner_variance,
    quadratic_entropy_gradient,
)

H = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 0.5]])
BOWL = tw.problems.Function(lambda w: w @ jnp.asarray(H) @ w / 2, start=jnp.array([1.0, -1.0, 0.5]))


def steps(dynamics: Any, problem: Any, count: int) -> list[Any]:
    states = [dynamics.init(problem, problem.init(jax.random.key(0)))]
    step = jax.jit(lambda s, k: dynamics.step(problem, s, k)[0])
    for key in jax.random.split(jax.random.key(1), count):
        states.append(step(states[-1], key))
    return states


class TestSchedules:
    def test_a_coupling_grows_by_its_factor(self) -> None:
        scoping = Scoping(number(1e4), number(60.0), number(5.0), number(3.0))
        at = [float(scoping.at(jnp.asarray(k), number(2.0))) for k in range(70)]
        assert at[:3] == [0.0, 0.0, 0.0]
        assert at[3:8] == [2.0] * 5
        assert at[8] == pytest.approx(2 * 1e4 ** (5 / 60), rel=1e-12)
        assert at[63] == pytest.approx(2e4, rel=1e-12)

    def test_a_rate_drops_and_its_sum_is_that_of_the_rates(self) -> None:
        rate = Dropping(number(0.3), number([4.0, 7.0]), number(0.5))
        at = [float(rate.at(jnp.asarray(k))) for k in range(10)]
        np.testing.assert_allclose(at, [0.3] * 4 + [0.15] * 3 + [0.075] * 3)
        sums = np.asarray(rate.sum(np.arange(11)))
        np.testing.assert_allclose(sums, np.concatenate([[0], np.cumsum(at)]), rtol=1e-14)
        assert [rate.steps_until(float(t)) for t in sums] == list(range(11))


class TestEntropySGD:
    def test_a_step_on_a_quadratic(self) -> None:
        """E8 in every eigendirection, and the gradient of the local entropy for many steps."""
        for count, rtol in ((5, 1e-12), (400, 1e-9)):
            d = tw.dynamics.entropy_sgd(
                1.0, inner_steps=count, noise=0.0, momentum=0.0, coupling=0.7, factor=1.0
            )
            after = np.asarray(steps(d, BOWL, 1)[1].params)
            values, vectors = np.linalg.eigh(H)
            kept = [1 - averaged_step(h, 0.7, count, 0.75, 0.1) for h in values]
            exact = vectors @ (kept * (vectors.T @ np.asarray(BOWL.start)))
            np.testing.assert_allclose(after, exact, rtol=rtol)
        whole = quadratic_entropy_gradient(H, np.asarray(BOWL.start), 0.7) / 0.7
        np.testing.assert_allclose(np.asarray(BOWL.start) - after, whole, rtol=1e-6)

    @pytest.mark.parametrize("convention", ["paper", "code"])
    def test_the_noise_has_its_variance(self, convention: str) -> None:
        """With alpha = 0 a step of eta = 1 is the end of the inner chain, a draw of its law."""
        bowl = tw.problems.Function(lambda w: 0.45 * jnp.sum(w**2), start=jnp.zeros(40_000))
        d = tw.dynamics.entropy_sgd(
            1.0, inner_steps=100, averaging=0.0, noise=0.3, momentum=0.0, coupling=0.7,
            factor=1.0, convention=convention,
        )  # fmt: skip
        found = float(jnp.var(steps(d, bowl, 1)[1].params))
        exact = inner_variance(0.9, 0.7, 0.1, 0.3, convention)
        assert found == pytest.approx(exact, rel=4 * np.sqrt(2 / 40_000))

    def test_the_coupling_is_found_and_held_within_bounds(self) -> None:
        d = tw.dynamics.entropy_sgd(0.5, coupling_steps=10, free_steps=2, most_coupling=1e9)
        states = steps(d, BOWL, 30)
        told = [float(d.statistics(BOWL, s)["coupling"]) for s in states]
        assert told[:2] == [0.0, 0.0]
        memory = states[2].memory
        first = 2 * float(memory.loss) / float(memory.away)
        assert told[2] == pytest.approx(min(first, 5.0))
        assert told[-1] == 5.0  # 1/(2 eta')
        low = tw.dynamics.entropy_sgd(0.5, coupling_steps=10, free_steps=2, most_coupling=1e-3)
        told = [float(low.statistics(BOWL, s)["coupling"]) for s in steps(low, BOWL, 12)]
        assert told[2] == pytest.approx(1e-3)
        assert told[12] == pytest.approx(5.0)  # 10 would be above 1/(2 eta')

    def test_each_inner_step_sees_a_batch_of_its_own(self) -> None:
        """Five steps over a whole pass: with alpha = 0 and no coupling, plain SGD's epoch."""
        x = np.arange(10.0)[:, None]
        problem = tw.problems.supervised(tw.models.linear([]), (x, 2 * x))
        d = tw.dynamics.entropy_sgd(
            1.0, inner_rate=1e-3, averaging=0.0, noise=0.0, momentum=0.0, coupling=0.0,
            oracle=tw.oracles.minibatch(2),
        )  # fmt: skip
        state = d.init(problem, problem.init(jax.random.key(0)))
        drawn = d.draws(problem, state.params, jax.random.key(4), 3)
        assert drawn.shape == (3, 5, 2)
        for one in np.asarray(drawn).reshape(3, 10):
            assert sorted(one) == list(range(10))
        w = float(state.params[0]["weight"][0, 0])
        for batch in np.asarray(drawn[0]):
            w -= 1e-3 * np.mean((w - 2) * x[batch, 0] ** 2)
        after, _ = d.drawn_step(problem, state, drawn[0], jax.random.key(0))
        assert float(after.params[0]["weight"][0, 0]) == pytest.approx(w, rel=1e-12)
        assert int(after.evaluations) == 5


class TestReplicatedSGD:
    STARTS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))

    @pytest.mark.parametrize("every", [1, 3])
    def test_the_barycentre_descends_and_the_copies_close_in(self, every: int) -> None:
        """E12; with K = 3 the coupling acts thrice as hard at every third step."""
        eta, gamma, count = 0.05, 0.8, 30
        d = tw.dynamics.replicated_sgd(
            eta, replicas=4, momentum=0.0, every=every, coupling=gamma, factor=1.0,
            starts=self.STARTS,
        )  # fmt: skip
        states = steps(d, BOWL, count)
        mean = np.asarray(self.STARTS).mean(axis=0)
        apart = np.asarray(self.STARTS) - mean
        for k in range(count):
            mean = mean - eta * H @ mean
            pull = every * gamma if (k + 1) % every == 0 else 0.0
            apart = apart - eta * (apart @ H + pull * apart)
            np.testing.assert_allclose(states[k + 1].params, mean, atol=1e-13)
            held = np.asarray(states[k + 1].memory.replicas) - mean
            np.testing.assert_allclose(held, apart, atol=1e-13)

    def test_momentum_is_nesterovs(self) -> None:
        d = tw.dynamics.replicated_sgd(
            0.05, replicas=4, momentum=0.8, coupling=0.3, factor=1.0, starts=self.STARTS
        )
        w, v = np.asarray(self.STARTS), np.zeros((4, 3))
        for state in steps(d, BOWL, 6)[1:]:
            g = w @ H + 0.3 * (w - w.mean(axis=0))
            v = 0.8 * v + g
            w = w - 0.05 * (g + 0.8 * v)
            np.testing.assert_allclose(state.memory.replicas, w, atol=1e-13)

    def test_the_coupling_balances_the_loss_and_stays_stable(self) -> None:
        d = tw.dynamics.replicated_sgd(0.05, replicas=4, coupling_steps=4, starts=self.STARTS)
        states = steps(d, BOWL, 8)
        w = np.asarray(self.STARTS)
        loss = np.mean([one @ H @ one / 2 for one in w])
        apart = np.mean(np.sum((w - w.mean(axis=0)) ** 2, axis=1))
        told = [float(d.statistics(BOWL, s)["coupling"]) for s in states]
        assert told[0] == pytest.approx(min(2 * loss / apart, 1.0), rel=1e-12)
        assert told[-1] == pytest.approx(0.5 * 0.1 / 0.05)

    def test_copies_begin_apart_and_see_batches_of_their_own(self) -> None:
        problem = tw.problems.digits(tw.models.mlp([3]), samples=20)
        d = tw.dynamics.replicated_sgd(0.05, oracle=tw.oracles.minibatch(5))
        state = d.init(problem, problem.init(jax.random.key(0)))
        other = d.init(problem, problem.init(jax.random.key(1)))
        w = np.asarray(state.memory.replicas[0]["weight"])
        assert np.abs(w[0] - w[1]).max() > 0.1
        assert np.abs(w[1] - w[2]).max() > 0.1
        assert np.abs(w[1] - np.asarray(other.memory.replicas[0]["weight"])[1]).max() > 0.1
        drawn = np.asarray(d.draws(problem, state.params, jax.random.key(0), 4))
        assert drawn.shape == (4, 3, 5)
        assert all(sorted(drawn[:, a].ravel()) == list(range(20)) for a in range(3))
        assert not np.array_equal(drawn[:, 0], drawn[:, 1])


def test_sam_is_a_step_from_where_ascent_leads() -> None:
    d = tw.dynamics.optimiser("sam", 0.1, radius=0.2, momentum=0.5)
    w, v = np.asarray(BOWL.start), np.zeros(3)
    for state in steps(d, BOWL, 4)[1:]:
        g = H @ w
        v = 0.5 * v + H @ (w + 0.2 * g / np.linalg.norm(g))
        w = w - 0.1 * v
        np.testing.assert_allclose(state.params, w, rtol=1e-12)
    assert int(state.evaluations) == 8


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: tw.dynamics.entropy_sgd(0.1, averaging=1.0), "averaging came as 1.0"),
        (lambda: tw.dynamics.entropy_sgd(0.1, convention="book"), "unknown convention 'book'"),
        (lambda: tw.dynamics.entropy_sgd(0.1, free_steps=0), "automatic coupling needs 1 step"),
        (lambda: tw.dynamics.replicated_sgd(0.1, replicas=1), "replicas came as 1"),
        (lambda: tw.dynamics.replicated_sgd(0.1, starts=jnp.ones((2, 3))), "first axis is 3"),
    ],
)
def test_bad_numbers_are_told(call: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        call()


def test_starts_of_another_shape_than_the_parameters_are_told() -> None:
    d = tw.dynamics.replicated_sgd(0.1, starts=jnp.ones((3, 5)))
    with pytest.raises(InputError, match=r"shapes \(3, 5\); give those of the parameters"):
        d.init(BOWL, BOWL.start)
