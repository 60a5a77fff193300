"""One MLIR context for many programs.

JAX makes one for each program that it lowers, and loads all dialects into it: 8 of the 28 ms that a
program of one operation costs, and 2.4 MB that stay as long as JAX remembers the program. What is
lowered is the same, as `test_lowering.py` asks. A context keeps every constant that it has met, so
it is changed now and then; threads share none, nor does what is lowered while another program is:
in the same context it would be put into that one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from jax._src.interpreters import mlir  # they have no public door
from jax._src.lib.mlir import ir

PROGRAMS = 100  # of a context
ALONE = mlir.make_ir_context


def shared_by(programs: int, make: Callable[[], Any]) -> Callable[[], Any]:
    """A maker of contexts of which so many calls after each other get the same one."""
    own = threading.local()

    def context() -> Any:
        if ir.Context.current is not None:
            return make()
        asked: int = getattr(own, "asked", 0)
        if asked % programs == 0:
            own.held = make()
        own.asked = asked + 1
        return own.held

    return context


def share_contexts() -> None:
    """From now on in this process."""
    mlir.make_ir_context = shared_by(PROGRAMS, ALONE)
