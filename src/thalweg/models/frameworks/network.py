"""A network of another framework as a model: its weights at the door, there and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from thalweg.core.arguments import told
from thalweg.core.errors import InputError, reason, require
from thalweg.core.trained import divide, held_names, is_real, join
from thalweg.core.tree import Params
from thalweg.models.frameworks.agreement import Agreement
from thalweg.models.model import Applied, Shape

EXAMPLES = 4  # of a batch, on which a network is held against its framework


class Network(Applied):
    """A network of another framework, as `from_flax` and its siblings make it.

    It starts from the framework's own weights, cast to the precision of the problem. What is no
    weight (running averages, buffers, counters) is held fixed.

    Attributes:
        apply_function: Of the weights, what is held beside them, and a batch.
        beside: What is held fixed beside the weights.
        title: What it came as, for records and sentences.
        returned: Makes of weights, in their own types, what the framework takes.
        agreement: What the network's outputs, gradient and Hessian product differ by from the
            framework's own, or None as long as no example batch was seen.
        named: Tells the framework's own weights by name, in its order; None where none is known.
        verified: Of an example batch, the same network after it was held against its framework.
    """

    beside: Params = None
    title: str = eqx.field(static=True, default="network")
    returned: Callable[[Params], Any] | None = eqx.field(static=True, default=None)
    agreement: Agreement | None = eqx.field(static=True, default=None)
    verified: Callable[[Any], Network] | None = eqx.field(static=True, default=None)
    named: Callable[[], list[tuple[str, Any]]] | None = eqx.field(static=True, default=None)

    def to_framework(self, params: Params) -> Any:
        """What the framework takes, with these weights in place of those that came.

        PyTorch and Keras get a copy of the network, Flax NNX a module, Linen a dictionary of
        variables, Haiku parameters, or a pair of parameters and state.

        Args:
            params: Weights as `init` gives them, or flat (p,), as a run records them.

        Raises:
            InputError: If there are more or fewer of them.
        """
        like, held = divide(self.own_weights(), "weights")
        size = sum(leaf.size for leaf in jax.tree.leaves(like))
        if _is_vector(params) and not _is_vector(like):
            require(
                len(params) == size,
                f"params came with {len(params)} numbers; the network has {size} weights",
            )
            whole = jax.tree.map(lambda leaf: leaf.astype(float), like)
            params = ravel_pytree(whole)[1](jnp.asarray(params, float))
        require(
            jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, like),
            f"params came as {told(params)}; give weights of this network, as problem.init gives "
            "them, or flat ones, as trajectory.parameters holds",
        )
        cast = jax.tree.map(lambda new, old: jnp.asarray(new).astype(old.dtype), params, like)
        assert self.returned is not None
        return self.returned(join(cast, held))

    def own_weights(self) -> Params:
        """The framework's tree of weights, in its own types; of those drawn, one draw."""
        if self.init_function is None:
            return self.start
        return self.init_function(jax.random.key(0))

    def init(self, key: Array, inputs: Shape, outputs: int, dtype: Any) -> Params:
        with freely():
            return super().init(key, inputs, outputs, dtype)

    def _called(self, whole: Params, x: Array) -> Any:
        with freely():
            return self.apply_function(whole, self._cast(whole), x)

    def _cast(self, whole: Params) -> Params:
        """What is held beside the weights, its floating-point numbers in their precision."""
        weights = [w for w in jax.tree.leaves(whole) if jnp.issubdtype(w.dtype, jnp.inexact)]
        kind = jnp.finfo(weights[0].dtype).dtype
        return jax.tree.map(lambda a: a.astype(kind) if is_real(a) else a, self.beside)

    @property
    def held(self) -> list[str]:
        return super().held + held_names(self.beside)

    def __repr__(self) -> str:
        return self.title


def _is_vector(params: Params) -> bool:
    return getattr(params, "ndim", 0) == 1


@contextmanager
def freely() -> Iterator[None]:
    """Within it arrays broadcast and change types as frameworks rely on, whatever JAX is told."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Within it a framework is imported.

    Args:
        extra: The extra of the package that brings it.

    Raises:
        InputError: If it is not installed; the sentence says how to.
    """
    try:
        yield
    except ImportError as error:
        raise InputError(
            f"this needs {extra}, which cannot be imported ({reason(error)}); "
            f"pip install 'thalweg[{extra}]'"
        ) from error


def as_examples(example: Any) -> np.ndarray:
    """The first rows of a batch, real numbers in double precision or whole numbers.

    Raises:
        InputError: If they are neither.
    """
    try:
        rows = np.asarray(example)
    except Exception as error:  # arrays of other frameworks raise what they like
        raise InputError(f"example cannot be read as an array: {reason(error)}") from error
    require(
        rows.ndim > 0 and rows.dtype.kind in "biuf" and len(rows) > 0,
        f"example came as {told(example)}; give a batch of inputs, examples first",
    )
    rows = rows[:EXAMPLES]
    return rows if rows.dtype.kind in "iu" else rows.astype(np.float64)


def taken(
    call: Callable[[np.ndarray], Any], rows: np.ndarray, title: str, otherwise: str = ""
) -> np.ndarray:
    """The rows in the type that a network takes: real numbers, or whole ones, as of tokens.

    Args:
        call: The network; what it returns does not count.
        rows: Examples.
        title: What the network is called.
        otherwise: What to do if it takes neither.

    Raises:
        InputError: If it takes neither.
    """
    try:
        call(rows)
        return rows
    except InputError:
        raise
    except Exception as error:  # a user's network may raise anything
        if rows.dtype.kind == "f" and np.array_equal(rows, np.rint(rows)):
            try:
                call(np.rint(rows).astype(np.int64))
                return np.rint(rows).astype(np.int64)
            except InputError:
                raise
            except Exception:  # then the first trouble is the one to tell
                pass
        raise InputError(
            f"{title} does not accept inputs of shape {rows.shape}: {reason(error)}{otherwise}"
        ) from error
