"""What tests draw is what users draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from draws import LENGTHS, beginning

SHAPES = [(), (1,), (3, 5), (64,), (7, 11, 3), (41, 57), (3, 5461)]


def alone(draw, key, shape, *how):
    """The shape drawn by a program of its own."""
    return jax.jit(lambda key: draw(key, shape, *how))(key)


@pytest.mark.parametrize(
    ("draw", "how"),
    [
        (jax.random.normal, (jnp.float32,)),
        (jax.random.normal, (jnp.float64,)),
        (jax.random.uniform, (jnp.float32, -0.3, 2.7)),
        (jax.random.uniform, (jnp.float64,)),
    ],
)
def test_the_bits_are_those_of_the_shape_drawn_alone(draw, how):
    for i, shape in enumerate(SHAPES):
        found = draw(jax.random.key(i), shape, *how)
        assert (found.shape, found.dtype, found.weak_type) == (shape, how[0], False)
        np.testing.assert_array_equal(found, alone(draw, jax.random.key(i), shape, *how))


def test_shapes_share_a_program():
    asked = []
    draw = beginning(lambda key, shape, dtype: asked.append(shape) or jnp.zeros(shape, dtype))
    for shape in SHAPES:
        draw(jax.random.key(0), shape, jnp.float64)
    assert set(asked) == {(length,) for length in LENGTHS}
    asked.clear()
    jax.jit(lambda key: draw(key, (3, 5), jnp.float64))(jax.random.key(0))
    assert asked == [(3, 5)]  # within a program nothing is shared
