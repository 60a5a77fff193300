"""Oracles with a memory: runs against NumPy, costs, branches, bits, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import thalweg as tw
from thalweg.core import tree
from thalweg.core.counting import counted, marked
from thalweg.core.errors import InputError
from thalweg.driver import chunks as driver
from thalweg.driver.steps import BLOCKS, steps_on
from thalweg.oracles import Anchored, Oracle
from thalweg.problems.losses import Loss, squared_error

RNG = np.random.default_rng(2)
X, Y = RNG.normal(size=(9, 3)), RNG.normal(size=(9, 2))
KEY = jax.random.key(1)
STEPS, ETA = 11, 0.05
MADE: dict[str, Oracle] = {
    "svrg": tw.oracles.svrg(2, period=4),
    "svrg-by-passes": tw.oracles.svrg(4, period=3, replace=False),
    "sarah": tw.oracles.sarah(2, period=4),
    "spider": tw.oracles.spider(1, 5, 6),
    "saga": tw.oracles.saga(1),
    "saga-in-batches": tw.oracles.saga(4),
}


def problem(reduction: str = "sum") -> tw.problems.Supervised:
    return tw.problems.supervised(tw.models.linear([]), (X, Y), reduction=reduction)


def by_hand(name: str, draws: Any, W: np.ndarray) -> np.ndarray:
    """The same steps in NumPy on sum_i |W x_i - y_i|^2/2, from the same draws."""
    n = len(X)

    def gradient(W: np.ndarray, rows: Any) -> np.ndarray:
        rows = np.asarray(rows)
        return n / len(rows) * (X[rows] @ W.T - Y[rows]).T @ X[rows]

    anchor = v = None
    table = np.stack([gradient(W, [i]) for i in range(n)])
    for k in range(STEPS):
        if name.startswith("saga"):
            rows = np.asarray(draws[k])
            new = np.stack([gradient(W, [i]) for i in rows])
            g = (new - table[rows]).mean(0) + table.mean(0)
            table[rows] = new
        else:
            anew, word, rows = (np.asarray(leaf)[k] if len(leaf) else () for leaf in draws)
            if anew and name == "spider":
                some = np.asarray(jax.random.randint(jax.random.key(word), (1, 6), 0, n, jnp.int32))
                g = gradient(W, some[0])
            elif anew:
                g = gradient(W, np.arange(n))
            else:
                g = gradient(W, rows) - gradient(anchor, rows) + v
            if anew or name in ("sarah", "spider"):
                anchor, v = W, g
        W = W - ETA / n * g
    return W


@pytest.mark.parametrize(
    "name",
    [n if n in ("svrg", "saga-in-batches") else pytest.param(n, marks=pytest.mark.thorough)
     for n in MADE],
)  # fmt: skip
def test_steps_are_those_of_the_papers(name: str) -> None:
    """Sum-reduced, over several blocks of draws, against NumPy to rounding."""
    whole, oracle = problem(), MADE[name]
    descent = tw.gradient_descent(ETA / len(X), oracle=oracle)
    params = whole.init(KEY)
    size = descent.block(whole, params)
    blocks = jax.random.fold_in(KEY, BLOCKS)
    parts = [
        descent.draws(whole, params, jax.random.fold_in(blocks, b), size)
        for b in range(-(-STEPS // size))
    ]
    draws = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    state = jax.jit(lambda s: steps_on(whole, descent, s, KEY, 0, STEPS))(
        descent.init(whole, params)
    )
    expected = by_hand(name, draws, np.asarray(params[0]["weight"]))
    np.testing.assert_allclose(state.params[0]["weight"], expected, rtol=1e-11)
    if name == "saga-in-batches":
        mean = jax.tree.map(lambda rows: rows.mean(0), state.memory.oracle.rows)
        np.testing.assert_allclose(
            tree.flatten(mean), tree.flatten(state.memory.oracle.mean), rtol=1e-10
        )


@pytest.mark.thorough
def test_the_look_after_next_is_biased_as_told() -> None:
    """Over all examples: E v = grad f(x) - grad f(x before) + v before, not grad f(x)."""
    whole, oracle = problem(), tw.oracles.sarah(1, period=9)
    assert not oracle.unbiased
    a, b, c = (whole.init(jax.random.key(i)) for i in range(3))
    full = [jax.grad(whole.objective)(p)[0]["weight"] for p in (a, b, c)]

    def draw(i: int) -> Any:
        return jnp.asarray(False), (), jnp.asarray([i])

    first = (jnp.asarray(True), (), jnp.asarray([0]))
    _, oracle = oracle.begin(whole, a).look(whole, a, first)
    _, oracle = oracle.look(whole, b, draw(4))
    v = oracle.memory.gradient[0]["weight"]
    shown = [jax.grad(oracle.see(whole, c, draw(i)).objective)(c)[0]["weight"] for i in range(9)]
    expected = full[2] - full[1] + v
    np.testing.assert_allclose(np.mean(shown, axis=0), expected, rtol=1e-11)
    assert np.abs(expected - full[2]).max() > 0.1


def seen_losses() -> tw.problems.Supervised:
    """Every evaluation of the loss of an example is counted."""
    loss = Loss("squared", lambda out, y: marked(lambda o: squared_error(o, y))(out), "either")
    return tw.problems.supervised(tw.models.linear([]), (X, Y), loss)


@pytest.mark.parametrize(
    "name", ["svrg", pytest.param("spider", marks=pytest.mark.thorough), "saga"]
)
def test_counts_are_the_calls(name: str) -> None:
    """Gradients of examples in two periods; those that the compiler shares are taken off."""
    whole, oracle = seen_losses(), MADE[name]
    descent = tw.gradient_descent(ETA, oracle=oracle)
    steps = 2 * (oracle.every(whole) if isinstance(oracle, Anchored) else 4)
    start = whole.init(KEY)
    begun, first, _ = counted(lambda p: descent.init(whole, p))(start)
    _, spent, sight = counted(lambda s: steps_on(whole, descent, s, KEY, 0, steps))(begun)
    assert sight.whole
    assert int(spent.values) == 0
    shared = 0 if name == "svrg" else steps  # of one example a step
    table = int(first.gradients) if name == "saga" else 0
    assert table in (0, len(X))
    assert int(first.gradients) == table  # of an anchor the first look takes it, once
    told = oracle.spent(whole, np.array([0, steps]))
    assert (told[0], told[1]) == (table, table + int(spent.gradients) - shared)
    each = oracle.counts(whole).component_gradients
    assert each * steps == pytest.approx(float(told[1] - told[0]))


@pytest.mark.thorough
def test_the_gradient_that_is_remembered_is_computed_once() -> None:
    """The compiler shares it with that of the step: SAGA takes one forward pass, SARAH two."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    whole = tw.problems.supervised(tw.models.mlp([5], "tanh"), data)

    def passes(oracle: Oracle) -> int:
        descent = tw.gradient_descent(ETA, oracle=oracle)
        state = descent.init(whole, whole.init(KEY))
        draw = tree.lane(descent.draws(whole, state.params, KEY, 2), 1)

        def step(state: Any) -> Any:
            return descent.drawn_step(whole, state, draw, KEY)[0]

        return jax.jit(step).lower(state).compile().as_text().count(" tanh(")

    one = passes(tw.oracles.minibatch(1, replace=True))
    found = {name: passes(getattr(tw.oracles, name)(1)) / one for name in ("svrg", "sarah", "saga")}
    assert found["sarah"] <= found["svrg"]
    assert found["saga"] == 1


def test_seeds_side_by_side_take_a_full_gradient_at_anchors_alone() -> None:
    """Where lanes are mapped the branch on the place in the period stays a branch."""
    whole = problem()
    descent = tw.gradient_descent(ETA / 9, oracle=MADE["svrg"])

    def steps(key: jax.Array) -> Any:
        return steps_on(whole, descent, descent.init(whole, whole.init(key)), key, 0, 4)

    text = jax.jit(jax.vmap(steps)).lower(jax.random.split(KEY, 3)).as_text()
    assert "stablehlo.case" in text or "stablehlo.if" in text


def test_a_run_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped within a period, with momentum; and by other chunks."""
    whole = problem()
    descent = tw.noisy(tw.optax_dynamics(optax.sgd(0.001, momentum=0.9), 0.001), MADE["svrg"])
    options: dict[str, Any] = {
        "until": 0.012, "records": 6, "seeds": 2, "probes": "sharpness", "progress": False,
    }  # fmt: skip
    truth = tw.run(whole, descent, **options).dataset
    passes = [(2 * 2 * k + 9 * -(-k // 4)) / 9 for k in range(0, 13, 2)]
    assert np.array_equal(truth["passes"], passes)
    assert not np.array_equal(truth["parameters"][0], truth["parameters"][1])
    record, at = driver.Loop.record, tmp_path / "svrg.zarr"

    def stops(self: driver.Loop, states: Any) -> None:
        record(self, states)
        if self.at.next == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(driver.Loop, "record", stops)
    with pytest.raises(tw.Interrupted):
        tw.run(whole, descent, out=at, **options)
    monkeypatch.undo()
    found = tw.run(whole, descent, out=at, **options).dataset
    assert found["parameters"].values.tobytes() == truth["parameters"].values.tobytes()


def test_converges_where_batches_do_not() -> None:
    """At a constant step size noise of batches stays, and corrected batches reach the optimum."""
    whole = problem("mean")
    best = np.linalg.lstsq(X, Y, rcond=None)[0]
    floor = 0.5 * np.sum((X @ best - Y) ** 2) / len(X)

    def gap(oracle: Oracle) -> float:
        path = tw.run(
            whole, tw.gradient_descent(0.03, oracle=oracle), 300.0, records=1, progress=False
        )
        return float(path.dataset["loss"].values[0, -1]) - floor

    assert abs(gap(MADE["svrg"])) < 1e-12
    assert abs(gap(MADE["saga"])) < 1e-12
    assert gap(tw.oracles.minibatch(2)) > 1e-5


def test_what_cannot_be_is_told() -> None:
    whole = problem()
    with pytest.raises(InputError, match=r"depends on what it remembers.*begin"):
        tw.oracles.svrg(2).covariance(whole, whole.init(KEY)).dense()
    with pytest.raises(InputError, match="remembers the parameters"):
        tw.dynamics.two_phase(optax.sgd(0.1), 0.1, tau=2, noise=0.1, oracle=MADE["svrg"]).init(
            whole, whole.init(KEY)
        )
    with pytest.raises(InputError, match="batch of 10"):
        tw.run(whole, tw.gradient_descent(0.1, oracle=tw.oracles.saga(10)), 1.0)
    with pytest.raises(InputError, match="7 coordinates of 6"):
        tw.run(whole, tw.gradient_descent(0.1, oracle=tw.oracles.coordinate(7)), 1.0)
