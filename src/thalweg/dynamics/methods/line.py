"""Exact searches along a line, by slopes: what AGMsDR asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Maps a position on the line to value and slope there; one gradient each.
Along = Callable[[Float[Array, ""]], tuple[Float[Array, ""], Float[Array, ""]]]
MOST, DOUBLINGS, FLAT = 40, 40, 1e-9


class Stationary(NamedTuple):
    """A point of a line at which the function is stationary, and not above where it began.

    Attributes:
        at: Its position.
        looks: Values with slopes that were taken.
    """

    at: Float[Array, ""]
    looks: Int[Array, ""]


class _Bracket(NamedTuple):
    """The good end has a slope towards the other and is the lowest; each with its slope."""

    good: Array
    value: Array
    good_slope: Array
    bad: Array
    bad_slope: Array
    looks: Array


def lowest_from(along: Along, good: Array, bad: Array, scale: Array) -> Stationary:
    """A stationary point between two positions, by secants of the slope and halving in turn.

    Args:
        along: Value and slope.
        good: Where the function falls towards the other position.
        bad: Where it rises again, or is higher.
        scale: Slopes below a 1e-9 of it are flat.
    """
    value, slope = along(good)
    begin = _Bracket(good, value, slope, bad, along(bad)[1], jnp.full((), 2, jnp.int64))

    def wide(now: _Bracket) -> Array:
        flat = jnp.abs(now.good_slope) <= FLAT * scale
        same = jnp.abs(now.bad - now.good) <= 1e-15 * (jnp.abs(now.bad) + jnp.abs(now.good))
        return ~flat & ~same & (now.looks < MOST)

    def narrower(now: _Bracket) -> _Bracket:
        middle = (now.good + now.bad) / 2
        secant = now.good - now.good_slope * (now.bad - now.good) / (now.bad_slope - now.good_slope)
        inside = (secant - now.good) * (secant - now.bad) < 0
        at = jnp.where(inside & (now.looks % 2 == 0), secant, middle)
        value, slope = along(at)
        way = jnp.sign(now.bad - now.good)
        # Flat is taken, whichever side it is on, if it is no higher.
        falls = (slope * way < 0) | (jnp.abs(slope) <= FLAT * scale)
        keep = falls & (value <= now.value)
        return _Bracket(
            jnp.where(keep, at, now.good),
            jnp.where(keep, value, now.value),
            jnp.where(keep, slope, now.good_slope),
            jnp.where(keep, now.bad, at),
            jnp.where(keep, now.bad_slope, slope),
            now.looks + 1,
        )

    last = jax.lax.while_loop(wide, narrower, begin)
    return Stationary(last.good, last.looks)


def lowest_ahead(along: Along, first: Array) -> Stationary:
    """The first minimum ahead of 0, from a guess of how far it is.

    Doubles the guess while the function falls, then narrows down.
    """

    class _Ahead(NamedTuple):
        good: Array
        value: Array
        far: Array
        goes_on: Array
        looks: Array

    value, slope = along(jnp.zeros_like(first))
    begin = _Ahead(jnp.zeros_like(first), value, first, slope < 0, jnp.full((), 1, jnp.int64))

    def further(now: _Ahead) -> _Ahead:
        value, slope = along(now.far)
        falls = (slope < 0) & (value <= now.value)
        return _Ahead(
            jnp.where(falls, now.far, now.good),
            jnp.where(falls, value, now.value),
            jnp.where(falls, 2 * now.far, now.far),
            falls & (now.looks < DOUBLINGS),
            now.looks + 1,
        )

    end = jax.lax.while_loop(lambda now: now.goes_on, further, begin)
    found = lowest_from(along, end.good, end.far, jnp.abs(slope))
    return Stationary(found.at, found.looks + end.looks)
