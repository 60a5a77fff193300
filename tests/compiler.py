"""How tests have JAX compile, which is most of what they cost.

XLA's older emitters on one thread take 0.6 of the time, and half of that where they optimise
nothing: so it is in all files but those of which a test runs long (`RUN_LONG`). The numbers are
those of users to rounding (`test_tiers.py`). `thalweg verify` and the benchmarks compile as users
do.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

CHEAP = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_backend_optimization_level=1",
)
HERE = Path(__file__).parent
# Folders and files whose programs run longer than they take to compile: a clock on
# a schedule looks at millions of steps.
RUN_LONG = {
    "dynamics/flow/test_pace.py",
    "dynamics/rewiring/test_hidden_strengths.py",
    "dynamics/test_diffusion.py",
}
KNOWN = "0.10."  # XLA ends a process that names an option it lacks


def compile_cheaply() -> None:
    """From JAX's first program on, and in commands that tests start; what is given has its way."""
    given = os.environ.get("XLA_FLAGS", "").split()
    if version("jaxlib").startswith(KNOWN):  # the last of two wins, and a word without -- ends all
        own = [flag for flag in CHEAP if flag not in given]
        os.environ["XLA_FLAGS"] = " ".join([*own, *given])


def optimise(path: Path) -> None:
    """Whether programs of a file of tests are optimised from now on, and of commands it starts."""
    import jax  # it reads the environment above when it is imported

    names = {str(part.relative_to(HERE)) for part in (path, *path.parents) if HERE in part.parents}
    idle = not names & RUN_LONG
    jax.config.update("jax_disable_most_optimizations", idle)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(idle))
