"""How tests have JAX compile, which is most of what they cost.

Without most of XLA's optimisations, by its older emitters and on one thread a large program takes
a fifth of the time. The numbers are those of users' programs to rounding (`test_tiers.py`); some
programs run slower, which few tests notice. `thalweg verify` and the benchmarks compile as users
do.
"""

from __future__ import annotations

import os
from importlib.metadata import version

CHEAP = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")
KNOWN = "0.10."  # XLA ends a process that names an option it lacks
UNOPTIMISED = "JAX_DISABLE_MOST_OPTIMIZATIONS"


def compile_cheaply() -> None:
    """From JAX's first program on, and in commands that tests start; what is given has its way."""
    os.environ.setdefault(UNOPTIMISED, "1")
    given = os.environ.get("XLA_FLAGS", "").split()
    if version("jaxlib").startswith(KNOWN):  # the last of two wins, and a word without -- ends all
        own = [flag for flag in CHEAP if flag not in given]
        os.environ["XLA_FLAGS"] = " ".join([*own, *given])
