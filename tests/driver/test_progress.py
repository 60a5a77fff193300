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


def test_without_a_terminal_a_long_run_tells_how_far_it_is_in_a_few_lines(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.clock, "monotonic", lambda: now[0])
    with progress.watched("sweep", None) as meter:
        for half_second in range(7200):  # an hour
            now[0] = 100.0 + half_second / 2
            meter.update(half_second / 7200, f"block 3 of 8, training time {half_second} of 7200")
        meter.update(1.0, "record 40 of 40")
    told, lines = capsys.readouterr()
    lines = lines.splitlines()
    assert told == ""
    assert 15 < len(lines) < 25
    assert all(len(line) < 80 for line in lines)
    assert lines[0] == "sweep: 0 %, block 3 of 8, training time 10 of 7200, 5 s"  # nothing foretold
    assert lines[-1].endswith(" left")
    with progress.watched("a" * 90, False) as meter:
        meter.update(0.5, "a")
        meter.note("It is costly.")
    assert capsys.readouterr() == ("", "")
    now[0] = 0.0
    with progress.watched("a name of an optimiser long, with numbers 0.1", None) as meter:
        now[0] = 50.0
        meter.update(0.5, "training time 1.234e+01 of 7200")
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < 80
    assert line.endswith(
        "0.1: 50 %, 50 s, about 50 s left"
    )  # parts that do not fit are left out, none is broken


def test_a_short_run_without_a_terminal_says_nothing(capsys):
    bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
    tw.run(bowl, tw.gradient_descent(0.5), until=1.0, records=2)
    assert capsys.readouterr().err == ""
