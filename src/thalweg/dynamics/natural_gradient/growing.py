"""Batches that grow, as K-FAC was run with: noise that is harmless at first costs little then."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import require


def growing_batches(
    first: int, examples: int, whole_at: int, steps: int, sizes: int = 8
) -> Int[np.ndarray, " steps"]:
    """Sizes of the batches of steps 1 to N, which grow exponentially until they are all examples.

        m_k = min(m_1 (n/m_1)^((k - 1)/(K - 1)), n),    m_K = n,

    rounded up to a few sizes, as each compiles a program of its own: `optax_kfac` takes a batch of
    any size at each update, and its state goes on. The paper has m_1 = 1000, K = 500.

    Args:
        first: m_1.
        examples: n, of all.
        whole_at: K, the first step that sees all, from 2 on.
        steps: N.
        sizes: How many sizes there are at most, from 2 on.

    Raises:
        InputError: If a count is no whole number from 1 on, or `first` is above `examples`.

    Source: Martens and Grosse (2015), section 13.

    Examples:
        >>> tw.dynamics.growing_batches(1, 16, whole_at=5, steps=7, sizes=5).tolist()
        [1, 2, 4, 8, 16, 16, 16]
    """
    for name, value, least in (
        ("first", first, 1), ("examples", examples, 1), ("whole_at", whole_at, 2),
        ("steps", steps, 1), ("sizes", sizes, 2),
    ):  # fmt: skip
        require(
            not misfit(value, int) and value >= least,
            f"{name} came as {told(value)}; give a whole number from {least} on",
        )
    require(
        first <= examples,
        f"first came as {first}, more than all {examples} examples; give at most as many",
    )
    share = np.minimum(np.arange(steps) / (whole_at - 1), 1)
    wanted = first * (examples / first) ** share
    allowed = np.ceil(np.geomspace(first, examples, sizes) * (1 - 1e-12)).astype(int)
    allowed[-1] = examples
    return allowed[np.searchsorted(allowed, wanted * (1 - 1e-9))]
