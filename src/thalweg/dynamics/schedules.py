"""Schedules of a learning rate by name: what it is multiplied by at each step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thalweg.core.arguments import misfit, told
from thalweg.core.doors import takes_one
from thalweg.core.errors import InputError, require, unknown
from thalweg.core.tracebacks import told_function
from thalweg.dynamics.optax_update import optax_converts
from thalweg.dynamics.optimisers_in_words import named_in

FORM = "write a name with its numbers, as cosine(1000) or linear(1000, warmup=100, end=0.1)"


@dataclass(frozen=True)
class Shape:
    """A schedule that a name stands for.

    Attributes:
        about: What it does, in a line.
        factor: From steps after the warm-up, over those of its first number, to the factor.
        ends: Whether it has an end that is not 0, where one is given.
        numbered: Whether it takes a number of steps.
    """

    about: str
    factor: Callable[[Array], Array]
    ends: bool = False
    numbered: bool = True


def _left(x: Array) -> Array:
    return jnp.maximum(1 - x, 0)


SCHEDULES: dict[str, Shape] = {
    "constant": Shape("as it is, after a warm-up", jnp.ones_like, numbered=False),
    "cosine": Shape(
        "falls by half a cosine over so many steps",
        lambda x: (1 + jnp.cos(jnp.pi * jnp.minimum(x, 1))) / 2,
        ends=True,
    ),
    "linear": Shape("falls on a line over so many steps", _left, ends=True),
    "exponential": Shape("is halved over so many steps, again and again", lambda x: 0.5**x),
    "inverse-root": Shape("falls as 1/sqrt(1 + k/steps)", lambda x: (1 + x) ** -0.5),
    "staircase": Shape("falls to a tenth at every so-manyth step", lambda x: 0.1 ** jnp.floor(x)),
}


@dataclass(frozen=True)
class Schedule:
    """A factor of the learning rate by the number of steps taken, rising from 1/w in a warm-up.

    Attributes:
        name: A key of `SCHEDULES`.
        steps: Its number.
        warmup: w, steps over which the factor rises to 1: (k + 1)/w at step k.
        end: The factor at the end, of what has one.
    """

    name: str
    steps: float = 1.0
    warmup: int = 0
    end: float = 0.0

    def __str__(self) -> str:
        numbers = [f"{self.steps:g}"] if SCHEDULES[self.name].numbered else []
        numbers += [f"warmup={self.warmup}"] if self.warmup else []
        numbers += [f"end={self.end:g}"] if self.end else []
        return f"{self.name}({', '.join(numbers)})"

    def __call__(self, count: Any) -> Array:
        k = jnp.asarray(count, jnp.float64)
        after = jnp.maximum(k - self.warmup, 0) / self.steps
        factor = self.end + (1 - self.end) * SCHEDULES[self.name].factor(after)
        return jnp.where(k < self.warmup, (k + 1) / max(self.warmup, 1), factor)


class Paced(eqx.Module):
    """What follows from a learning rate times a schedule at each step, as the training time.

    Attributes:
        rate: The learning rate.
        schedule: Its factor by the number of steps taken.
        clock: From the learning rate to what follows; None for itself.
        numbers: Further arguments of that, by name.
    """

    rate: Array
    schedule: Callable[[Any], Any] = eqx.field(static=True)
    clock: Callable[..., Any] | None = eqx.field(static=True, default=None)
    numbers: tuple[tuple[str, Any], ...] = eqx.field(static=True, default=())

    def __call__(self, count: Any) -> Any:
        rate = self.rate * self.schedule(count)
        return rate if self.clock is None else self.clock(rate, **dict(self.numbers))

    def in_numbers(self, rate: float | None = None) -> Callable[[Any], Any]:
        """The same as a function, one object for equal ones; of another rate where it is traced."""
        rate = float(self.rate) if rate is None else rate
        return _counted(rate, self.schedule, self.clock, self.numbers)


def in_counts(step_size: Callable[[Any], Any], rate: float | None = None) -> Callable[[Any], Any]:
    """A schedule as a function that is known by itself, where it can be of another rate."""
    return step_size.in_numbers(rate) if isinstance(step_size, Paced) else step_size


@functools.lru_cache(maxsize=256)
def _counted(rate: float, *rest: Any) -> Callable[[Any], Any]:
    return lambda count: Paced(rate, *rest)(count)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Following:
    """What makes an optimiser from its learning rate, that rate on a schedule.

    Attributes:
        make: The same for one that Optax takes: a number or a function of steps taken.
        schedule: The factor by the number of steps taken.
    """

    make: Callable[..., Any]
    schedule: Callable[[Any], Any]

    def __call__(self, rate: Any, **numbers: Any) -> Any:
        return self.make(lambda count: rate * self.schedule(count), **numbers)


def as_schedule(given: Callable[[Any], Any] | str) -> Callable[[Any], Any]:
    """A schedule as it is, or the one that a text names, as "cosine(1000, warmup=100)".

    Raises:
        InputError: If the text is not of that form, or a number is out of its range.
    """
    if not isinstance(given, str):
        require(
            callable(given),
            f"schedule came as {told(given)}; give a function of the number of steps taken, or "
            f"words: {FORM}",
        )
        return require_schedule(given)
    return _named(given)


def require_schedule(given: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of the number of steps, where it gives one real number.

    Raises:
        InputError: What it gives or takes instead, with its name and line.
    """
    what = f"the schedule {told_function(given)}"
    takes_one(given, what, "the number of steps taken")
    found: list[Any] = []
    with optax_converts():
        jax.eval_shape(lambda count: found.append(given(count)), jnp.zeros((), int))
    shape, kind = np.shape(found[0]), getattr(found[0], "dtype", type(found[0]))
    require(
        not isinstance(found[0], str) and shape == () and _is_real(kind),
        f"{what} gave {told(found[0])}; let it return one real number",
    )
    return given


def forward(sizes: np.ndarray, schedule: Callable[[Any], Any], time: float) -> np.ndarray:
    """Step sizes as a schedule gives them, (n,), up to the first that leads nowhere or back.

    Raises:
        InputError: If that one comes before a time is reached: which step and size.
    """
    wrong = ~np.isfinite(sizes) | (sizes < 0)
    if not np.any(wrong):
        return sizes
    at = int(np.argmax(wrong))
    source = schedule.schedule if isinstance(schedule, Paced) else schedule
    require(
        at > 0 and bool(np.sum(sizes[:at]) >= time),
        f"the schedule {told_function(source)} makes a step size of {sizes[at]:g} at step {at}; "
        "let it return numbers from 0 on",
    )
    return sizes[:at]


def _is_real(kind: Any) -> bool:
    try:
        return any(jnp.issubdtype(kind, each) for each in (np.floating, np.integer, np.bool_))
    except TypeError:
        return False


@functools.cache
def _named(text: str) -> Schedule:
    try:
        words = named_in(text)
    except InputError:
        raise InputError(f"schedule={text!r} cannot be read; {FORM}") from None
    name = words.name.lower().replace("_", "-").replace(" ", "-")
    require(name in SCHEDULES, unknown(words.name, SCHEDULES, "schedule"))
    shape = SCHEDULES[name]
    numbers = {**words.parameters}
    if words.learning_rate is not None:
        require("steps" not in numbers, f"schedule={text!r} has steps twice; {FORM}")
        numbers["steps"] = words.learning_rate
    takes = {"steps": 1} if shape.numbered else {}
    takes |= {"warmup": 0} | ({"end": 0} if shape.ends else {})
    for given, value in numbers.items():
        require(given in takes, f"{name} has no {given!r}; it takes {', '.join(takes)}")
        whole = not misfit(value, int)
        fits = not misfit(value, float) and 0 <= value < 1 if given == "end" else (
            whole and value >= takes[given]
        )  # fmt: skip
        allowed = "a number from 0 to below 1" if given == "end" else "a whole number of steps"
        require(fits, f"{given} of {name} came as {told(value)}; give {allowed}")
    require(
        "steps" in numbers or not shape.numbered,
        f"schedule={text!r} names no number of steps; give it, as {name}(1000)",
    )
    require(shape.numbered or "warmup" in numbers, "constant is no schedule without warmup=100")
    return Schedule(name, **numbers)
