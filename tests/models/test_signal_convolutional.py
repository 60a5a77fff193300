"""The net for signals beside XLA's convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.models.signal_convolutional import SignalConvNet


@pytest.mark.parametrize("length", [16, 11])
def test_it_is_a_strided_convolution(length):
    net = SignalConvNet((4, 3), "tanh")
    params = net.init(jax.random.key(0), (2, 1, length), 2)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    x = jax.random.normal(jax.random.key(1), (5, 2, 1, length))
    h = x[:, :, 0]
    for layer in params[:-1]:
        h = jax.lax.conv_general_dilated(h, layer["weight"], (2,), [(1, 1)])
        h = jnp.tanh(h + layer["bias"][None, :, None])
    expected = h.mean(2) @ params[-1]["weight"].T + params[-1]["bias"][None]
    np.testing.assert_allclose(net.apply(params, x), expected, atol=1e-13)


def test_the_start_has_the_stated_scales():
    net = SignalConvNet((64, 64))
    first, second, last = net.init(jax.random.key(0), (32, 1, 16), 64)
    assert float(jnp.std(first["weight"])) == pytest.approx((2 / 96) ** 0.5, rel=0.05)
    assert float(jnp.std(second["weight"])) == pytest.approx((2 / 192) ** 0.5, rel=0.05)
    assert float(jnp.std(last["weight"])) == pytest.approx(1 / 8, rel=0.05)
    assert not np.any(first["bias"])
    with pytest.raises(InputError, match="signals"):
        net.init(jax.random.key(0), (1, 4, 4), 1)
