"""Float64 is the truth this library measures against; JAX computes in float32 unless told.

JAX takes a second to import, and much of what this package does needs none of it. So it is told
when it comes: at once where it is loaded already, else as soon as anybody imports it, whoever that
is. From there on all is as if it had been imported here; arrays that are float32 stay so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def float64_with_jax() -> None:
    """Switch JAX's float64 on, now or when JAX is imported; no child process inherits it."""
    jax = sys.modules.get("jax")
    if jax is not None:
        jax.config.update("jax_enable_x64", True)
    elif not any(isinstance(finder, _Float64) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Float64())


class _Float64:
    """Waits for the import of JAX, and leaves when it has come."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """JAX as others find it, with float64 on at the end of its import; nothing else."""
        if name != "jax":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            loader = spec.loader  # an object of this module alone
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                module.config.update("jax_enable_x64", True)
                sys.meta_path.remove(self)  # not before: who looks for JAX need not import it

            loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
