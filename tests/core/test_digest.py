"""Digests of configurations: equal for equal ones in any process, others for others."""

from __future__ import annotations

import functools
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from thalweg.core.digest import identity

SLOPE = 2.0


def named(x):
    return SLOPE * x


def calls(x):
    return named(x) + 1


def closing_over(value):
    return lambda x: value * x


def recursive(n):
    return n * recursive(n - 1) if n else 1


def test_data_count_by_value():
    values = [
        None, True, 1, 1.0, -0.0, 0.0, "1", b"1", (1,), [1], {"a": 1}, {"a": 2}, {1}, np.arange(3),
        np.arange(3.0), np.arange(3.0) + 1, np.arange(3.0)[None], jnp.arange(3.0), len, dict,
    ]  # fmt: skip
    assert len({identity(v) for v in values}) == len(values)
    assert identity(jax.random.key(1)) != identity(jax.random.key(2))
    assert identity({"a": 1, "b": (2, np.ones(2))}) == identity({"b": (2, np.ones(2)), "a": 1})


def test_functions_count_by_what_they_compute(monkeypatch):
    assert identity(lambda x: 2 * x) != identity(lambda x: 3 * x)
    assert identity(lambda x: 2 * x) != identity(lambda x: 2 + x)
    assert identity(closing_over(1.0)) == identity(closing_over(1.0)) != identity(closing_over(2.0))
    assert identity(closing_over(np.ones(2))) != identity(closing_over(np.zeros(2)))
    partials = [functools.partial(named, x=v) for v in (1, 1, 2)]
    assert identity(partials[0]) == identity(partials[1]) != identity(partials[2])
    assert identity(recursive) == identity(recursive)
    assert identity(jax.jit(closing_over(1.0))) != identity(jax.jit(closing_over(2.0)))
    before = identity(named), identity(calls)
    monkeypatch.setitem(globals(), "SLOPE", 3.0)
    assert identity(named) != before[0]
    assert identity(calls) != before[1]


def test_transformations_and_modules():
    def adam(rate, decay):
        return optax.chain(optax.adamw(optax.linear_schedule(rate, 0.0, 9), weight_decay=decay))

    assert identity(adam(0.1, 0.2)) == identity(adam(0.1, 0.2))
    assert len({identity(adam(r, d)) for r in (0.1, 0.3) for d in (0.1, 0.2)}) == 4
    nets = [eqx.nn.MLP(2, 1, 3, 1, act, key=jax.random.key(k)) for act, k in (
        (jnp.tanh, 0), (jnp.tanh, 0), (jnp.sin, 0), (jnp.tanh, 1)
    )]  # fmt: skip
    one, same, *others = map(identity, nets)
    assert one == same
    assert len({one, *others}) == 3


def test_another_process_agrees():
    program = (
        "import optax; from thalweg.core.digest import identity;"
        "print(identity((optax.adam(0.1), lambda x: {'b', 'a', 'c'} and x + 1)))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
