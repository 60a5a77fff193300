"""What a long flow is told to cost, against costs that are known."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.driver import chunks, expense
from thalweg.driver.expense import Expense

END, WHOLE = 40.0, 3e6


def fed(cost, times, *, expected=np.nan, seconds=5.0, most=np.inf):
    """What is said along a path whose gradients up to a time are given by a function."""
    said: list[str] = []
    told = Expense("gradient flow", said.append)
    for time in times:
        told.tell([time], [cost(time)], [expected], seconds, END, most)
    return said


def between(sentence):
    """The range of gradients that a sentence foretells."""
    words = re.search(r"it needs (.+?) gradients", sentence)[1]
    ends = [float(n.replace(",", "")) for n in re.findall(r"[\d,.e+]*\d", words)]
    return ends[0], ends[-1]


LAWS = {
    "steady": lambda t: WHOLE * t / END,
    "growing": lambda t: WHOLE * (t / END) ** 3,
    "falling": lambda t: WHOLE * (t / END) ** 0.2,
    "logarithmic": lambda t: WHOLE * np.log1p(1e3 * t) / np.log1p(1e3 * END),
}
CHUNKS = {
    "even": np.linspace(0.01, 0.8 * END, 60),
    "growing": np.geomspace(1e-3, 0.8 * END, 40),
    "few": np.geomspace(1e-3, 0.9 * END, 14),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("chunked", CHUNKS)
def test_the_whole_cost_lies_in_the_range_that_is_told(law, chunked):
    """Two digits are told, so that the ends are off by 5 % at most."""
    said = [s for s in fed(LAWS[law], CHUNKS[chunked]) if "it needs" in s]
    assert said
    for sentence in said:
        low, high = between(sentence)
        assert 0.95 * low <= WHOLE <= 1.05 * high, sentence
    if law == "steady":
        assert high <= 1.1 * low


def test_nothing_is_foretold_from_the_first_tenth():
    """All of the cost is in the first hundredth: what it is at the end it never says too high."""
    said = fed(lambda t: 4e5 * min(t, 0.3), np.geomspace(1e-4, 3.9, 50), expected=9e9)
    assert said == [s for s in said if "cannot be told before training time 4." in s]
    assert "gradients took it to training time" in said[0]
    over = fed(lambda t: 4e5 * min(t, 0.3) + t, np.geomspace(1e-4, 30, 60))
    assert not any("it needs" in s for s in over)


def test_what_is_said_of_a_cost():
    times = [*np.linspace(1, 20, 20)]
    start, sentence = fed(LAWS["steady"], times, expected=WHOLE, most=1e6)
    assert "220,000 gradients took it to training time 3 of 40" in start
    assert "3,000,000 gradients to training time 40, and ends before, at 1,000,000" in sentence
    assert "about 47 s more" in sentence  # 700,000 at 75,000 in 5 s

    def doubled(t):
        return LAWS["steady"](t) if t < 10 else 7.5e5 * (1 + 40 * (t - 10) / 30)

    _, first, *later = fed(doubled, np.linspace(1, 39, 77))
    assert between(first)[1] < between(later[-1])[0]  # told again when it proved too little
    said: list[str] = []
    two = Expense("gradient flow", said.append)
    for time in times:
        two.tell([time, 40.0], [WHOLE * time / END, 50], [np.nan, np.nan], 5.0, END, np.inf)
    assert "gradients a seed to training time 40" in said[-1]


@pytest.mark.thorough
@pytest.mark.parametrize("law", ["stiff", "quartic", "sharpening"])
def test_what_a_flow_is_told_to_cost_is_what_it_costs(law, capsys, monkeypatch):
    """Explicit steps within their limit of stability: of constant, falling, rising sharpness."""
    monkeypatch.setattr(chunks, "CHUNK_SECONDS", 0.002)  # a fast machine is through before
    monkeypatch.setattr(expense, "WAITED", 0.0)
    monkeypatch.setattr(expense, "COSTLY", 300)
    problems = {
        "stiff": (lambda x: 0.5 * x[0] ** 2 + 2e4 * x[1] ** 2, jnp.ones(2), 1.0),
        "quartic": (lambda x: 0.25 * jnp.sum(x**4), jnp.full(2, 1e3), 1.0),
        # x falls at speed 1 while the curvature of y rises as t^2
        "sharpening": (
            lambda x: x[0] + 50 * (1 - x[0]) ** 2 * x[1] ** 2,
            jnp.zeros(2).at[1].set(1e-3),
            10.0,
        ),
    }
    function, start, until = problems[law]
    problem = tw.problems.Function(function, start)
    path = tw.run(problem, tw.gradient_flow(error=1e-6, solver="tsit5"), until=until, records=2)
    whole = int(path.dataset["evaluations"][0, -1])
    said = [line for line in capsys.readouterr().err.splitlines() if "it needs" in line]
    if law != "quartic":  # which is over before it costs anything
        assert said
    assert len(said) <= 6
    for sentence in said:  # what a pace that rises faster than before makes too little is mended
        low, high = between(sentence)
        assert 0.9 * low <= whole
        if law != "sharpening" or sentence is said[-1]:
            assert whole <= 1.3 * high, (sentence, whole)
