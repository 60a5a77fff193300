"""The bar: what it says while JAX compiles."""

import jax
import jax.numpy as jnp
import pytest

from thalweg.driver import progress
from thalweg.driver.progress import Bar


@pytest.fixture
def said(monkeypatch):
    """The texts that a bar shows, in order."""
    texts = []
    monkeypatch.setattr(
        "rich.progress.Progress.update", lambda self, task, **new: texts.append(new["text"])
    )
    return texts


def fresh(shift):
    return jax.jit(lambda x: jnp.sin(x + shift) ** 2)


@pytest.mark.parametrize(
    ("folder", "words"), [("there", "compiling (kept for next time)"), (None, "compiling")]
)
def test_it_says_so_while_a_program_is_compiled(said, monkeypatch, folder, words):
    monkeypatch.setattr(progress, "_folder", lambda: folder)
    bar = Bar("gradient descent")
    try:
        bar.update(0.25, "record 3 of 12")
        said.clear()
        program = fresh(len(words) + 0.125)
        program(jnp.ones(3)).block_until_ready()
        assert said[-2:] == [words, "record 3 of 12"]
        assert set(said) == {words, "record 3 of 12"}
        said.clear()
        program(jnp.zeros(3)).block_until_ready()  # nothing to compile
        assert said == []
    finally:
        bar.close()
    fresh(7.5)(jnp.ones(3))
    assert said == []  # a bar that is gone hears nothing


def test_a_bar_that_hears_nothing_is_not_kept():
    bars = [Bar("one"), Bar("two")]
    assert progress._shown == bars
    for bar in bars:
        bar.close()
    assert progress._shown == []
