"""How programs that run a few times and take long to compile are compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

# Of XLA's two ways to emit loops on CPUs the older compiles a search for eigenvalues in 2/3 of the
# time; it runs as long, and gives the same bits (docs/benchmarks.md).
QUICK: dict[str, bool | int] = {"xla_cpu_use_fusion_emitters": False}
# Optimised less as well, a step of K-FAC compiles in 0.6 of the time and takes 4 % longer, as its
# products are no loops of XLA's; rounding differs.
QUICKEST = QUICK | {"xla_backend_optimization_level": 1}
KNOWN = (0, 10)  # versions of JAX that have the options; others refuse their names


class QuickToCompile:
    """A function of pytrees, compiled for a short wait: what measures, or takes few large steps.

    As of `equinox.filter_jit` arrays are traced and all else is static. What it returns is arrays.

    Args:
        function: What is compiled; takes arguments by position.
        options: Of XLA, for CPUs.
    """

    def __init__(
        self, function: Callable[..., Any], options: dict[str, bool | int] = QUICK
    ) -> None:
        """See the class; nothing is compiled, and no device asked for."""
        functools.update_wrapper(self, function)
        self.function, self.options = function, options

    def __call__(self, *given: Any) -> Any:
        """Its value."""
        return self._compiled(*_apart(given))

    def shapes(self, *given: Any) -> Any:
        """Shapes and types of its value, by the trace that a call takes as well."""
        return self._compiled.eval_shape(*_apart(given))

    @functools.cached_property
    def _compiled(self) -> Any:
        quick = jax.default_backend() == "cpu" and jax.__version_info__[:2] == KNOWN

        def together(static: Any, arrays: list[Any]) -> Any:
            structure, rest = static
            return self.function(*eqx.combine(jax.tree.unflatten(structure, rest), arrays))

        together.__name__ = getattr(self.function, "__name__", "measured").strip("_")
        return jax.jit(together, static_argnums=0, compiler_options=self.options if quick else None)


def _apart(given: tuple[Any, ...]) -> tuple[Any, Any]:
    """What is static, so that it can be hashed, and the arrays."""
    arrays, rest = eqx.partition(given, eqx.is_array)
    leaves, structure = jax.tree.flatten(rest)
    return (structure, tuple(leaves)), arrays
