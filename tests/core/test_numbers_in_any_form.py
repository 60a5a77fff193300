"""Numbers within their range, in whatever form they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import thalweg as tw

BOWL = tw.problems.Quadratic([1.0], slope=[0.0], start=[1.0])
TAKE_POSITIVE: list[Callable[[Any], Any]] = [
    tw.gradient_descent,
    lambda value: tw.dynamics.spherical_rmsprop(0.1, averaging=value),
    lambda value: tw.oracles.two_point(value),
    lambda value: tw.oracles.langevin(1.0, value),
    lambda value: tw.oracles.particle_noise(value, step_size=0.1, width=3),
]
TAKE_ZERO: list[Callable[[Any], Any]] = [
    lambda value: tw.dynamics.decayed_descent(0.1, value),
    lambda value: tw.dynamics.end_to_end_descent(0.1, 2, value),
    lambda value: tw.dynamics.weight_normalised_descent(0.1, value),
    lambda value: tw.problems.Decayed(BOWL, value),
    lambda value: tw.oracles.isotropic(value),
    lambda value: tw.oracles.label_noise(value),
]


@pytest.mark.parametrize("make", TAKE_POSITIVE + TAKE_ZERO)
@pytest.mark.parametrize("bad", [-0.1, np.float32(-0.1), jnp.asarray(-0.1), np.nan, jnp.inf])
def test_a_number_out_of_range_is_refused_in_any_form(make: Any, bad: Any) -> None:
    with pytest.raises(tw.InputError, match="give a"):
        make(bad)
    make(abs(bad) if abs(bad) < 1 else 0.1)


def test_zero_and_lanes() -> None:
    for make in TAKE_ZERO:
        make(0.0)
    for make in TAKE_POSITIVE:
        with pytest.raises(tw.InputError, match="positive"):
            make(jnp.zeros(()))
    with pytest.raises(tw.InputError, match="positive"):
        tw.gradient_descent(jnp.array([0.1, -0.1]))
    sizes = jax.vmap(lambda eta: tw.gradient_descent(eta).step_size)(jnp.array([0.1, 0.2]))
    assert sizes.tolist() == [0.1, 0.2]
