"""In this room's tests neither ranks nor types are made to fit unasked."""

import jax.numpy as jnp
import pytest


def test_a_broadcast_over_ranks_is_an_error():
    assert (jnp.ones((2, 3)) + jnp.ones(3)[None]).shape == (2, 3)
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 3)) + jnp.ones(3)


def test_an_implicit_conversion_is_an_error():
    assert (jnp.ones(3, jnp.float32) * 2.0).dtype == jnp.float32
    with pytest.raises(ValueError, match="no available implicit dtype promotion"):
        jnp.ones(3, jnp.float32) + jnp.ones(3, jnp.float64)
