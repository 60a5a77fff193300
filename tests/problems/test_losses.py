"""Every loss of the table: convex, with a zero of its own, and by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.problems import LOSSES


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_convex_with_a_zero_of_their_own(name: str) -> None:
    loss = LOSSES[name]
    target = jnp.asarray([0.0, 1.0, 0.0])
    for seed in range(5):
        outputs = 3 * jax.random.normal(jax.random.key(seed), (3,))
        hessian = jax.hessian(loss.one)(outputs, target)
        assert float(jnp.linalg.eigvalsh(hessian)[0]) >= -1e-14
        assert float(loss.one(outputs, target)) >= 0
    assert float(loss.one(jnp.asarray([-60.0, 60.0, -60.0]), target)) < 1e-9 or name != (
        "cross-entropy"
    )


def test_losses_by_hand() -> None:
    o, y = jnp.asarray([1.0, -2.0]), jnp.asarray([0.0, 1.0])
    assert float(LOSSES["squared-error"].one(o, y)) == pytest.approx(0.5 * (1 + 9))
    assert float(LOSSES["cross-entropy"].one(o, y)) == pytest.approx(
        -np.log(np.exp(-2) / (np.exp(1) + np.exp(-2)))
    )
