"""How much memory there is, and how much a computation must have, told before it is taken."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import psutil

from thalweg.core.errors import InputError

# Arrays that compiled code must hold as a whole: what loops carry, what products of matrices give.
_WHOLE = ("while", "scan", "dot_general", "conv_general_dilated", "eigh", "svd", "sort")
# (limit, in use) of a container, by version of the kernel's control groups.
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def available_memory() -> int:
    """Bytes that this process can still take: of the machine, or of the container it runs in."""
    found = [int(psutil.virtual_memory().available)]
    for limit, used in _GROUPS:
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(min(found), 0)


def require_memory(needed: float, what: str, lower: str) -> None:
    """Refuse what cannot fit.

    Args:
        needed: Bytes that it takes at least.
        what: What takes them.
        lower: What to do.

    Raises:
        InputError: If the memory that is available is less.
    """
    available = available_memory()
    if needed > available:
        raise InputError(
            f"{what} needs at least {_size(needed)} of memory, and {_size(available)} are "
            f"available; {lower}"
        )


@contextlib.contextmanager
def short_of_memory(lower: str) -> Iterator[None]:
    """Turn a failed allocation into a sentence.

    Args:
        lower: What to do.

    Raises:
        InputError: If NumPy, XLA or Python itself runs out of memory.
    """
    try:
        yield
    except MemoryError as error:
        raise InputError(f"the memory did not suffice; {lower}") from error
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "Out of memory" not in str(error):
            raise
        raise InputError(f"the memory of the device did not suffice; {lower}") from error


def bytes_of(shapes: Any) -> int:
    """Bytes of all arrays of a pytree, or of their shapes."""
    leaves = [leaf for leaf in jax.tree.leaves(shapes) if hasattr(leaf, "shape")]
    return sum(math.prod(leaf.shape) * _item(leaf.dtype) for leaf in leaves)


def working_memory(function: Callable[..., Any], *arguments: Any) -> int:
    """Bytes that one operation of a function must have for its results, at least.

    Args:
        function: Pure; it is traced, not run.
        arguments: Arrays, or their shapes.
    """
    return _most(jax.make_jaxpr(function)(*arguments).jaxpr)


def _most(jaxpr: Any) -> int:
    most = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name in _WHOLE:
            most = max(most, bytes_of([v.aval for v in equation.outvars]))
        for inner in _inner(equation.params.values()):
            most = max(most, _most(inner))
    return most


def _inner(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _inner(value)
        elif hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr


def _item(dtype: Any) -> int:
    return getattr(dtype, "itemsize", 8)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if count < 1000 or unit == "PB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"
