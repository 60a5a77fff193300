"""The generator of normal numbers, by all the values that it can give."""

import jax.numpy as jnp
import numpy as np

from thalweg.oracles.random_numbers import of_cells


def test_all_values_have_the_moments_that_are_stated():
    moments, largest = np.zeros(4), 0.0
    for part in range(16):
        cells = jnp.arange(part << 20, (part + 1) << 20, dtype=jnp.uint32)
        values = np.asarray(of_cells(cells), float)
        moments += [np.mean(values**k) / 16 for k in range(1, 5)]
        largest = max(largest, float(np.abs(values).max()))
    assert abs(moments[0]) < 1e-12
    assert abs(moments[2]) < 1e-12
    assert abs(moments[1] - 1) < 2e-7
    assert abs(moments[3] - 3) < 6e-6
    assert 5.41 < largest < 5.42
