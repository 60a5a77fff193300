"""What a user's function turns out to do: found out by calling it, not taken on trust."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from thalweg.core.compiling import QuickToCompile

KEPT = 3  # examples looked at, beside a random one
MANY, FEW = (8, 16), (1, 4)  # lines and their strips, through small and large sets of parameters
LARGE = 20_000  # parameters
HALVINGS = {8: (20, 32), 4: (8, 16)}  # of a strip, before and after: by the bytes of a number


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
    # By NumPy, as single operations of JAX would each compile a program.
    rows = np.asarray(x[np.unique(np.linspace(0, len(x) - 1, KEPT).astype(int))])
    draw = np.random.default_rng(0).normal(size=(len(rows) + 2, *rows.shape[1:]))
    others = (np.mean(rows) + (np.std(rows) + 1) * draw).astype(rows.dtype)
    batch = np.concatenate([rows, others[:1]])
    last, call = len(batch) - 1, jax.jit(outputs)
    try:
        jax.eval_shape(outputs, batch)
    except Exception:  # a user's function, which wants a certain number of examples
        return True
    with jax.debug_nans(False):
        whole = np.asarray(call(batch))
        precision = float(jnp.finfo(whole.dtype).eps)
        scale = float(np.max(np.abs(whole[np.isfinite(whole)]), initial=0.0))

        def differ(some: np.ndarray, kept: np.ndarray, relative: float) -> bool:
            gap = relative * scale
            return not np.allclose(some, kept, rtol=0, atol=gap, equal_nan=True)

        strangers = [others[1:]]
        strangers += [np.full_like(batch, bad) for bad in (np.inf, np.nan) if poison]
        for row in (0, last):
            for strange in strangers:
                exchanged = strange.copy()
                exchanged[row] = batch[row]
                if differ(np.asarray(call(exchanged))[row], whole[row], 1e3 * precision):
                    return True
        some = np.array([last, 0])
        return differ(np.asarray(call(batch[some])), whole[some], precision**0.5)


def kinked(function: Callable[[Any], Array], params: Any) -> bool:
    """Whether a function of parameters has kinks: jumps of its first or second derivative.

    It is followed along random lines through the parameters, as long as these are. Each line is cut
    into strips, and of each strip the half in which the derivatives change more is kept, again and
    again: over it the derivatives of a smooth function change less each time, across a kink they
    jump by the same. A kink that no line crosses is not seen.

    Args:
        function: Of parameters to outputs of any shape.
        params: Where the lines go through: real floating-point arrays.

    Cost: second derivatives along a direction, about 4,000 for small sets of parameters, 150 above
    20,000.
    """
    flat, unravel = ravel_pytree(params)
    count, strips = FEW if flat.size > LARGE else MANY
    along = np.random.default_rng(1).normal(size=(count, flat.size))
    size = np.linalg.norm(np.asarray(flat, np.float64)) + 1
    unit = along / np.linalg.norm(along, axis=1, keepdims=True)
    lines = jnp.asarray(size * unit, flat.dtype)

    @QuickToCompile
    def bends(t: Array) -> Array:
        """First and second derivative at points (line, place) of the lines, (line, place, 2, k)."""

        def at(pair: tuple[Array, Array]) -> Array:
            line, t = pair

            def on(t: Array) -> Array:
                return jnp.ravel(function(unravel(flat + t * line)))

            def slope(t: Array) -> Array:
                return jax.jvp(on, (t,), (jnp.ones_like(t),))[1]

            return jnp.stack(jax.jvp(slope, (t,), (jnp.ones_like(t),)))

        which = jnp.repeat(jnp.arange(len(t)), t.shape[1])
        found = jax.lax.map(lambda pair: at((lines[pair[0]], pair[1])), (which, t.ravel()))
        return found.reshape(*t.shape, *found.shape[1:])

    def seen(t: np.ndarray) -> np.ndarray:
        return np.nan_to_num(np.asarray(bends(np.asarray(t, flat.dtype)), np.float64))

    marks = np.tile(np.linspace(-1.0, 1.0, strips + 1), (count, 1))
    ends = np.stack([marks[:, :-1], marks[:, 1:]])
    there = np.stack([seen(ends[0]), seen(ends[1])])
    # The largest of each derivative met on a line: what is small beside it is rounding.
    scale = np.maximum(np.abs(there).max(axis=(0, 2, 4)), np.finfo(np.float32).tiny)

    def gap(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """How much each derivative differs, (line, strip, 2)."""
        return np.abs(high - low).max(axis=3)

    before, after = HALVINGS[flat.dtype.itemsize]
    early = gap(*there)
    for k in range(after):
        middle = ends.mean(axis=0)
        here = seen(middle)
        scale = np.maximum(scale, np.abs(here).max(axis=(1, 3)))
        left, right = (gap(a, b) / scale[:, None] for a, b in ((there[0], here), (here, there[1])))
        first = left.max(axis=2) >= right.max(axis=2)
        ends = np.where(first, [ends[0], middle], [middle, ends[1]])
        chosen = first[..., None, None]
        there = np.where(chosen, [there[0], here], [here, there[1]])
        early = gap(*there) if k == before else early
    late = gap(*there)
    told = 1e4 * np.finfo(flat.dtype).eps * scale[:, None]
    return bool(np.any((late > early / 2) & (late > told)))
