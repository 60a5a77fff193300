"""Steps that are sooner run than compiled take another compiler, and the same path."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.driver import chunks
from thalweg.driver.lanes import start_states, take_large_steps, take_steps

X = np.random.default_rng(2).normal(size=(7, 3))
PROBLEM = tw.problems.supervised(tw.models.linear([]), (X, np.sin(X[:, :2])))


def test_kfac_is_compiled_in_a_hurry_with_any_oracle_and_others_are_not():
    kfac = tw.kfac()
    batches = tw.oracles.minibatch(3)
    assert kfac.long_to_compile
    assert tw.dynamics.noisy(kfac, batches).long_to_compile
    assert not tw.gradient_descent(0.1, oracle=batches).long_to_compile


@pytest.mark.slow
def test_both_compilers_lead_the_same_way_and_runs_take_the_one_they_say(monkeypatch):
    steps, keys = tw.kfac(), jax.vmap(jax.random.key)(jnp.array([0]))
    states = start_states(PROBLEM, steps, keys, "single", None)
    given = PROBLEM, steps, states, keys, np.asarray(6), "single"
    slow, quick = take_steps(*given), take_large_steps(*given)
    for a, b in zip(*map(jax.tree.leaves, (slow.params, quick.params)), strict=True):
        assert jnp.max(jnp.abs(a - b)) <= 1e-9 * jnp.max(jnp.abs(a))
    monkeypatch.setattr(chunks, "take_steps", None)
    path = tw.run(PROBLEM, steps, until=6, records=1)
    found = path.dataset["parameters"].values[0, -1]
    np.testing.assert_allclose(found, np.ravel(jax.tree.leaves(quick.params)[0]), rtol=1e-9)


OPTIONS: dict[str, Any] = {
    "until": 8, "records": 4, "seeds": [0, 3], "probes": ["loss"], "progress": False,
}  # fmt: skip
DAMPINGS = (0.1, 1.0)


@pytest.mark.slow
def test_a_sweep_of_kfac_is_its_single_runs_and_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    """Stopped in the middle, between two looks at the damping, with the compiler of large steps."""
    monkeypatch.setattr(chunks, "take_steps", None)
    given = {"damping": DAMPINGS, **OPTIONS}
    whole = tw.sweep(PROBLEM, tw.kfac, **given)
    for i, damping in enumerate(DAMPINGS):
        alone = tw.run(PROBLEM, tw.kfac(damping), **OPTIONS).dataset
        for name in ("loss", "damping", "gamma", "evaluations"):
            found = whole.member(i).dataset[name]
            np.testing.assert_allclose(found, alone[name], rtol=1e-9, err_msg=name)
    record, taken = chunks.Loop.record, []

    def watched(self, states):
        record(self, states)
        taken.append(states)
        if len(taken) == 3:
            raise KeyboardInterrupt  # of five records

    monkeypatch.setattr(chunks.Loop, "record", watched)
    with pytest.raises(KeyboardInterrupt):
        tw.sweep(PROBLEM, tw.kfac, out=tmp_path / "sweep", **given)
    on = tw.sweep(PROBLEM, tw.kfac, out=tmp_path / "sweep", **given).dataset
    assert len(taken) < 3 + 5  # it went on, and did not begin again
    for name in whole.dataset.variables:
        a, b = on[name].values, whole.dataset[name].values
        assert a.tobytes() == b.tobytes(), name
    assert "damping_recorded" in on
