"""The bar: what it says while JAX compiles."""

import sys
from types import ModuleType, SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

import thalweg as tw
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


class Page:
    """What a notebook's output shows, as `IPython.display` is asked to."""

    def __init__(self):
        self.shown = []

    def display(self, bundle, raw, display_id):
        assert raw
        assert display_id
        self.shown.append(bundle)
        return self

    def update(self, bundle, raw):
        self.shown.append(bundle)


@pytest.fixture
def page(monkeypatch):
    """A notebook: IPython with a kernel is there, and no terminal."""
    display = Page()
    ipython = ModuleType("IPython")
    ipython.display, ipython.get_ipython = display, lambda: SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return display


def test_a_notebook_has_a_bar_that_goes_when_it_is_done(page, monkeypatch, capsys):
    monkeypatch.setattr(progress, "REDRAWN", -1.0)
    with progress.watched("<b>", None) as bar:
        bar.update(0.25, "record 3 of 12")
        bar.note("It is costly.")
    first, second, last = page.shown
    assert first["text/plain"] == "<b>: 0 %, 0 s"
    assert second["text/plain"].startswith("<b>: 25 % record 3 of 12, 0 s, about ")
    assert 'value="0.250"' in second["text/html"]
    assert "<b>" not in second["text/html"]
    assert last == {"text/plain": "", "text/html": ""}
    assert capsys.readouterr().err == "It is costly.\n"
    assert progress._shown == []


def test_silence_and_a_shell_without_a_kernel_show_no_bar_in_a_notebook(page, monkeypatch):
    with progress.watched("a", False) as bar:
        bar.update(0.5, "")
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: object())
    with progress.watched("a", None) as bar:
        bar.update(0.5, "")
    assert page.shown == []


def test_a_run_shows_its_bar_in_a_notebook(page):
    bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
    tw.run(bowl, tw.gradient_descent(0.5), until=1.0, records=2)
    assert page.shown[0]["text/plain"].startswith("gradient descent: 0 %")
    assert page.shown[-1]["text/plain"] == ""
