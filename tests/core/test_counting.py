"""Evaluations inside loops and branches, against a list that the uncompiled program keeps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from thalweg.core.counting import counted, marked

X = jnp.asarray([0.3, -1.2, 0.8])


def function(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sin(x) ** 2)


def halving(f):
    """As many values as it takes, then a gradient: a loop whose length only the run knows."""

    def program(x):
        def body(carry):
            x, _ = carry
            x = x / 2
            return x, f(x)

        x, _ = jax.lax.while_loop(lambda carry: carry[1] > 0.1, body, (x, f(x)))
        return jax.grad(f)(x)

    return program


def branching(f):
    return lambda x: jax.lax.cond(x[0] > 0, lambda y: jax.grad(f)(y), lambda y: f(y) * y, x)


def scanning(f):
    def program(x):
        def body(x, scale):
            value, slope = jax.value_and_grad(f)(x)
            return x - scale * slope, value

        return jax.lax.scan(body, x, jnp.asarray([0.1, 0.2, 0.3]), reverse=True)

    return program


def nested(f):
    inner = jax.jit(scanning(f))
    return lambda x: jax.lax.fori_loop(0, 2, lambda _, y: inner(y)[0], x)


@pytest.mark.parametrize(
    ("program", "values", "gradients"),
    [(halving, None, 1), (branching, 0, 1), (scanning, 0, 3), (nested, 0, 6)],
)
def test_programs_keep_their_results_and_tell_their_evaluations(program, values, gradients):
    if values is None:
        x, values = X, 1
        while function(x) > 0.1:
            x, values = x / 2, values + 1
    run = counted(program(marked(function)))
    results, spent, sight = run(X)
    assert (int(spent.values), int(spent.gradients)) == (values, gradients)
    assert sight == (values > 0 or program is branching, True)
    for ours, plain in zip(
        jax.tree.leaves(results), jax.tree.leaves(program(function)(X)), strict=True
    ):
        assert jnp.allclose(ours, plain, rtol=1e-14, atol=0)


def test_the_other_branch_counts_what_it_evaluates():
    _, spent, _ = counted(branching(marked(function)))(-X)
    assert (int(spent.values), int(spent.gradients)) == (1, 0)


def test_each_lane_counts_what_it_needs_alone():
    """Under vmap all lanes go round as long as the slowest; the counts stay their own."""
    run = counted(halving(marked(function)))
    starts = jnp.stack([X, 8 * X, X / 50])
    together = jax.vmap(lambda x: run(x)[1].values)(starts)
    assert together.tolist() == [int(run(x)[1].values) for x in starts]
    assert len(set(together.tolist())) > 1


@pytest.mark.parametrize(
    ("product", "gradients"),
    [
        (lambda f: lambda x: jax.jvp(jax.grad(f), (x,), (x,))[1], 2),
        (lambda f: lambda x: jax.grad(lambda y: jax.grad(f)(y) @ x)(x), 2),
        (lambda f: lambda x: jax.linearize(f, x)[1](x), 1),
        (lambda f: lambda x: jax.vmap(jax.grad(f))(jnp.stack([x, 2 * x, 3 * x])), 3),
    ],
)
def test_derivatives_count_by_their_order(product, gradients):
    _, spent, _ = counted(product(marked(function)))(X)
    assert (int(spent.values), int(spent.gradients)) == (0, gradients)


def test_what_is_out_of_sight_is_said():
    """The condition of a loop has no room for a counter."""

    def program(x):
        f = marked(function)
        return jax.lax.while_loop(lambda y: f(y) > 0.1, lambda y: y / 2, x)

    results, spent, sight = counted(program)(X)
    assert not sight.whole
    assert int(spent.values) == 0
    assert function(results) <= 0.1
