"""What a user's function turns out to do: found out by calling it, not taken on trust."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

KEPT = 3  # examples looked at, beside a random one


def traced(*values: Any) -> bool:
    """Whether a JAX transformation is under way, so that nothing can be found out."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def varies(function: Callable[..., Any], *arguments: Any) -> bool:
    """Whether two calls with the same arguments differ: random masks, state between calls.

    Cost: two calls.
    """
    first, second = (jax.tree.leaves(function(*arguments)) for _ in range(2))
    pairs = zip(first, second, strict=True)
    return not all(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True) for a, b in pairs)


def mixes(
    outputs: Callable[[Float[Array, "n ..."]], Float[Array, "n k"]],
    x: Float[Array, "n ..."],
    poison: bool = True,
) -> bool:
    """Whether the outputs of an example depend on the other examples, their number or its place.

    Some of the examples and a random one are put in one batch. In it all but one are exchanged for
    others, then for infinity and for NaN, which also pass a coupling whose weight is zero at these
    parameters; and examples of the batch are taken in fewer and in another order. In a batch of the
    same shape the program is the same, so that rounding cannot look like a coupling.

    Args:
        outputs: Of a batch.
        x: Examples.
        poison: Whether infinity and NaN in other examples are among what is tried.

    Cost: eight calls on batches of at most four examples.
    """
    rows = x[np.unique(np.linspace(0, len(x) - 1, KEPT).astype(int))]
    draw = jax.random.normal(jax.random.key(0), (len(rows) + 2, *rows.shape[1:]), x.dtype)
    others = jnp.mean(rows) + (jnp.std(rows) + 1) * draw
    batch = jnp.concatenate([rows, others[:1]])
    last, call = len(batch) - 1, jax.jit(outputs)
    try:
        jax.eval_shape(outputs, batch)
    except Exception:  # a user's function, which wants a certain number of examples
        return True
    with jax.debug_nans(False):
        whole = np.asarray(call(batch))
        precision = float(jnp.finfo(whole.dtype).eps)
        scale = float(np.max(np.abs(whole[np.isfinite(whole)]), initial=0.0))

        def differ(some: Array, kept: np.ndarray, relative: float) -> bool:
            gap = relative * scale
            return not np.allclose(np.asarray(some), kept, rtol=0, atol=gap, equal_nan=True)

        strangers = [others[1:]]
        strangers += [jnp.full_like(batch, bad) for bad in (jnp.inf, jnp.nan) if poison]
        for row in (0, last):
            for strange in strangers:
                exchanged = strange.at[row].set(batch[row])
                if differ(call(exchanged)[row], whole[row], 1e3 * precision):
                    return True
        some = np.array([last, 0])
        return differ(call(batch[some]), whole[some], precision**0.5)
