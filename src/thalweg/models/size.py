"""How many parameters a network has."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from thalweg.core import tree
from thalweg.core.arguments import told
from thalweg.core.errors import require
from thalweg.models.model import Model


def parameter_count(model: Model, inputs: int | Sequence[int], outputs: int) -> int:
    """Number of trainable parameters d of a model; nothing is drawn or allocated.

    Args:
        model: Any model.
        inputs: Shape of one example, or its number of features.
        outputs: Numbers out.

    Examples:
        >>> from thalweg.models import parameter_count
        >>> parameter_count(tw.models.mlp([4]), 3, 2)  # (3 + 1) 4 + (4 + 1) 2
        26
    """
    shape = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    require(
        all(isinstance(n, int | np.integer) and n >= 0 for n in shape),
        f"inputs came as {told(inputs)}; give the number of features, or the shape of an example",
    )
    like = jax.eval_shape(
        lambda key: model.init(key, shape, outputs, jnp.float64), jax.random.key(0)
    )
    return tree.size(like)
