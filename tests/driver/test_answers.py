"""What users' own probes, dynamics and schedules give back: a sentence with function and line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw
from thalweg.core.result import Reading, exact
from thalweg.dynamics.dynamics import Discrete, Info, fresh
from thalweg.probes.probe import Probe

BOWL = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=np.ones(2))
OK = np.int32(0)


def given(*parts: Any) -> Reading:
    """A reading of anything, which its annotations, checked as the tests run, would refuse."""
    return Reading._make(parts)


def run(dynamics: Any = None, probes: Any = ()) -> Any:
    dynamics = tw.gradient_descent(0.5) if dynamics is None else dynamics
    return tw.run(BOWL, dynamics, until=1.0, records=2, probes=probes).dataset


def probe(
    of: Callable[[Any, Any], Any], called: Any = "mine", along: Any = (), first: Any = ()
) -> Probe:
    class Mine(Probe):
        name: ClassVar[Any] = called
        unit: ClassVar[str] = "1"
        dims: ClassVar[Any] = along

        def start(self, problem: Any, params: Any) -> Any:
            return first

        def measure(self, problem: Any, params: Any, memory: Any, moment: Any) -> Any:
            return of(params, memory)

    return Mine()


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (lambda x, m: None, "gave None; let it return a Reading and the memory"),
        (lambda x, m: exact(x[0]), "gave an instance of Reading; let it return a Reading and"),
        (lambda x, m: (x[0], m), "let it return a Reading and the memory"),
        (lambda x, m: (given("x", x[0], OK), m), "gave as the value the text 'x'"),
        (lambda x, m: (exact(x), m), r"a value of shape \(2,\), and its dims are \(\)"),
        (
            lambda x, m: (given(jax.lax.complex(x[0], x[1]), x[0], OK), m),
            "gave as the value an array of one number of type c",
        ),
        (lambda x, m: (given(x[0], x, OK), m), r"an error of shape \(2,\) beside a value of"),
        (lambda x, m: (given(x[0], x[0], x[0]), m), "as result an array of one number of type f"),
        (lambda x, m: (exact(x[0]), x), "gave a memory of another structure or shape"),
    ],
)
def test_what_a_probe_gives_is_held_against_what_it_says(of: Any, words: str) -> None:
    mine = probe(of)
    line = type(mine).measure.__code__.co_firstlineno
    for call in (lambda: run(probes=mine), lambda: tw.measure(BOWL, jnp.ones(2), mine)):
        with pytest.raises(tw.InputError, match=words) as refused:
            call()
        assert f"test_answers.py, line {line})" in str(refused.value)


@pytest.mark.parametrize("name", ["step", "parameters", "time", "loss_error", "../x", "", 3])
def test_no_probe_takes_the_name_of_what_a_run_records_itself(name: Any) -> None:
    with pytest.raises(tw.InputError, match=r"would name two things|the name of a probe came"):
        run(probes=probe(lambda x, m: (exact(x[0]), m), called=name))


@pytest.mark.parametrize("dims", [("a", "a"), ("a/b", "c"), "ab", ("time", "a")])
def test_dims_are_different_words_of_their_own(dims: Any) -> None:
    with pytest.raises(tw.InputError, match=r"the dims of the probe mine|has the dimension 'time'"):
        run(probes=probe(lambda x, m: (exact(jnp.outer(x, x)), m), along=dims))


def test_a_dimension_has_one_length() -> None:
    one = probe(lambda x, m: (exact(x), m), "one", ("a",))
    two = probe(lambda x, m: (exact(x[:1]), m), "two", ("a",))
    with pytest.raises(tw.InputError, match="two has the dimension 'a' of length 1"):
        run(probes=[one, two])


def test_nan_is_not_ok_and_an_error_keeps_its_fraction() -> None:
    nan = probe(lambda x, m: (given(x[0] * jnp.nan, x[0] * 0, OK), m), "nan")
    count = probe(lambda x, m: (given(jnp.sum(x > 0), 0.25 + 0 * x[0], OK), m), "count")
    data = run(probes=[nan, count])
    assert (data["nan_result"] == int(tw.Result.NONFINITE)).all()
    assert data["count"].values.tolist() == [[2, 2, 2]]
    assert data["count_error"].values.tolist() == [[0.25] * 3]


class Half(Discrete):
    """x <- x/2, time 0.5 a step, with one method replaced."""

    replaced: str = ""
    answer: Callable[[Any], Any] = lambda given: given

    @property
    def name(self) -> str:
        return "half"

    def _through(self, method: str, given: Any) -> Any:
        return self.answer(given) if self.replaced == method else given

    def init(self, problem: Any, params: Any) -> Any:
        return self._through("init", fresh(params, ()))

    def step(self, problem: Any, state: Any, key: Any) -> Any:
        after = state._replace(
            params=jax.tree.map(lambda x: x / 2, state.params), step=state.step + 1
        )
        return self._through("step", (after, Info(problem.objective(state.params))))

    def clock(self, steps: Any) -> Any:
        return self._through("clock", 0.5 * np.asarray(steps))

    def steps_until(self, time: float) -> Any:
        return self._through("steps_until", round(2 * time))


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        ("init", lambda s: s.params, "let it return a State, as fresh"),
        ("init", lambda s: s._replace(memory="x"), "holds the text 'x'; give arrays"),
        ("step", lambda s: s[0], "let it return the state after the step and an Info"),
        (
            "step",
            lambda s: (s[0]._replace(params=s[0].params.astype(jnp.float32)), s[1]),
            "gave as params of the state an array of float32",
        ),
        (
            "step",
            lambda s: (s[0]._replace(memory=s[0].params), s[1]),
            "a state of another structure than came",
        ),
        (
            "step",
            lambda s: (s[0]._replace(step=s[0].step + 1), s[1]),
            "counts 2 steps where 1 were taken",
        ),
        ("clock", lambda t: -t, "with entries that fall or are not finite"),
        ("clock", lambda t: 1.0, "gave 1.0 for an array"),
        ("steps_until", lambda n: n + 0.5, "let it return a whole number of steps"),
    ],
)
def test_what_a_dynamics_gives_is_held_against_what_came(
    method: str, answer: Any, words: str
) -> None:
    with pytest.raises(tw.InputError, match=words) as refused:
        run(Half(method, answer))
    line = getattr(Half, method).__code__.co_firstlineno
    assert f"Half.{method} (" in str(refused.value)
    assert f"test_answers.py, line {line})" in str(refused.value)
    if method == "clock":
        assert run(Half())["loss"].values.tolist() == [[1.0, 0.25, 0.0625]]


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (lambda k: None, "gave None; let it return one real number"),
        (lambda k: "x", "gave the text 'x'"),
        (lambda k: jnp.ones(3), "gave an array of float64 of shape"),
        (lambda k: 1j, "gave 1j"),
        (lambda k, rate: 1.0, "the number of steps taken alone"),
        (lambda k: -1.0, "makes a step size of -0.5 at step 0"),
        (lambda k: jnp.where(k < 1, 1.0, jnp.nan), "makes a step size of nan at step 1"),
        (lambda k: 1 - jnp.asarray(k, float), "makes a step size of -0.5 at step 2"),
    ],
)
def test_a_schedule_gives_a_number_from_0_on(schedule: Any, words: str) -> None:
    with pytest.raises(tw.InputError, match=words) as refused:
        run(tw.dynamics.optimiser("sgd", 0.5, schedule=schedule))
    assert f"test_answers.py, line {schedule.__code__.co_firstlineno})" in str(refused.value)


def test_what_a_schedule_says_of_later_steps_is_no_matter() -> None:
    """1 - k/4 falls below 0 behind the run, which ends after steps of 0.5 and 0.375."""
    falling = tw.dynamics.optimiser("sgd", 0.5, schedule=lambda k: 1 - jnp.asarray(k, float) / 4)
    data = tw.run(BOWL, falling, until=0.875, records=2).dataset
    assert data["step"].values[0, -1] == 2
    np.testing.assert_allclose(data["loss"].values[0, -1], (0.5 * 0.625) ** 2, rtol=1e-12)


@pytest.mark.parametrize("start", ["x", np.array([1.0, None])])
def test_a_start_that_is_no_number_is_one_sentence(start: Any) -> None:
    with pytest.raises(tw.InputError, match="parameters came as"):
        tw.run(tw.problems.Function(jnp.sum, start=start), tw.gradient_descent(0.1), until=1.0)
