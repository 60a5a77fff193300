"""Programs of tests share MLIR contexts and are lowered to what they are alone."""

import threading

import jax
import jax.numpy as jnp
from jax._src.interpreters import mlir

from lowering import ALONE, shared_by


def programs():
    """A loop, a call, a factorisation and a constant, each lowered anew."""

    def loop(x):
        return jax.lax.while_loop(lambda v: v[0] < 3, lambda v: v + jnp.linalg.norm(v), x)

    def call(x):
        return jax.grad(lambda y: jnp.sum(jnp.tanh(y) ** 3))(x)

    def factors(x):
        return jnp.linalg.eigh(jnp.outer(x, x) + jnp.arange(25.0).reshape(5, 5))

    jax.clear_caches()
    return [jax.jit(f).lower(jnp.ones(5)).as_text() for f in (loop, call, factors)]


def test_programs_are_the_same_alone_and_with_others(monkeypatch):
    made = []

    def counted():
        made.append(ALONE())
        return made[-1]

    found = {}
    for together in (1, 100):
        monkeypatch.setattr(mlir, "make_ir_context", shared_by(together, counted))
        before = len(made)
        found[together] = programs() + programs()
        found[together].append(len(made) - before)
    *alone, many = found[1]
    *shared, one = found[100]
    assert shared == alone
    assert many > one == 1


def test_a_context_is_changed_after_so_many():
    maker = shared_by(2, iter("abc").__next__)
    assert [maker() for _ in range(5)] == list("aabbc")


def test_a_thread_has_its_own():
    maker, found = shared_by(10, iter("ab").__next__), []
    ask = lambda: found.append(maker())  # noqa: E731
    ask()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    ask()
    assert found == list("aba")


def test_what_is_lowered_within_another_program_has_its_own():
    context = shared_by(10, ALONE)
    outer = context()
    with outer:
        assert context() is not outer
    assert context() is outer
