"""What differs between a folder and a run asked for is said in words, never in digests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.driver.changes import changes_between

X = np.linspace(-1, 1, 12).reshape(6, 2)


def problem(width: int = 2, scale: float = 1.0) -> Any:
    data = (X, scale * X[:, :1])
    return tw.problems.supervised(tw.models.mlp([width], "tanh"), data)


def first() -> dict[str, Any]:
    return {"until": 0.2, "records": 1, "probes": ["gradient_norm"]}


ADAM = tw.dynamics.optimiser("adam", 0.1)
OTHERS: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "step": (problem(), tw.gradient_descent(0.05), {}, "step_size 0.1, now 0.05"),
    "dynamics": (problem(), ADAM, {}, "dynamics gradient descent, now Adam"),
    "model": (problem(3), tw.gradient_descent(0.1), {}, r"model MLP\(hidden=\(2,.*, now MLP"),
    "data": (problem(scale=2.0), tw.gradient_descent(0.1), {}, "other data"),
    "times": (problem(), tw.gradient_descent(0.1), {"records": 2}, "other times of the records"),
    "seeds": (problem(), tw.gradient_descent(0.1), {"seeds": 2}, "seeds 0, now 0 and 1"),
    "probes": (problem(), tw.gradient_descent(0.1), {"probes": ["gradient_norm", "parameter_norm"]},
               "now also measured: parameter norm"),
    "fewer": (problem(), tw.gradient_descent(0.1), {"probes": []},
              "no longer measured: gradient norm"),
}  # fmt: skip


def test_each_difference_is_told_by_itself(tmp_path: Path) -> None:
    out = tmp_path / "run.zarr"
    tw.run(problem(), tw.gradient_descent(0.1), **first(), out=out)
    for name, (on, dynamics, more, words) in OTHERS.items():
        with pytest.raises(tw.InputError, match=rf"holds another run \({words}") as refused:
            tw.run(on, dynamics, **first() | more, out=out)
        assert not re.search(r"[0-9a-f]{16}", str(refused.value)), name
        if name not in ("model",):  # whose start is another, too
            assert ";" not in str(refused.value).split(")")[0], name


def test_a_start_of_ones_own_is_told(tmp_path: Path) -> None:
    bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
    out = tmp_path / "run.zarr"
    tw.run(bowl, tw.gradient_descent(0.1), 0.2, records=1, out=out)
    with pytest.raises(tw.InputError, match="other initial parameters"):
        tw.run(bowl, tw.gradient_descent(0.1), 0.2, records=1, out=out, start=jnp.zeros(2))


def test_numbers_of_an_optimiser_hide_what_follows_from_them() -> None:
    old = {"dynamics": {"name": "Adam", "learning_rate": 0.1, "step_size": 16 * "a"}}
    new = {"dynamics": {"name": "Adam", "learning_rate": 0.2, "step_size": 16 * "b"}}
    assert changes_between(old, new) == ["learning_rate 0.1, now 0.2"]
    hidden = {"dynamics": old["dynamics"] | {"step_size": 16 * "b"}}
    assert changes_between(old, hidden) == ["other step_size"]
    assert changes_between(old, old) == []
