"""How tests have JAX compile, which is most of what they cost.

XLA's older emitters on one thread take 0.6 of the time. They optimise as much and give the numbers
of the newer ones to rounding (`test_tiers.py`); some programs run slower, which few tests notice.
`thalweg verify` and the benchmarks compile as users do.
"""

from __future__ import annotations

import os
from importlib.metadata import version

CHEAP = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")
KNOWN = "0.10."  # XLA ends a process that names an option it lacks


def compile_cheaply() -> None:
    """From JAX's first program on, and in commands that tests start; what is given has its way."""
    given = os.environ.get("XLA_FLAGS", "").split()
    if version("jaxlib").startswith(KNOWN):  # the last of two wins, and a word without -- ends all
        own = [flag for flag in CHEAP if flag not in given]
        os.environ["XLA_FLAGS"] = " ".join([*own, *given])
