"""thalweg: the dynamics of training, integrated, measured, compared with theory and explained.

Its names are imported when they are first used, so that what needs no JAX does not wait for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from thalweg.core.precision import float64_with_jax

if TYPE_CHECKING:  # what type checkers and editors see; `_HOMES` says the same
    from thalweg import (
        curvature,
        dynamics,
        estimators,
        kernels,
        models,
        oracles,
        probes,
        problems,
        style,
        theory,
    )
    from thalweg.comparison.comparison import Comparison, compare
    from thalweg.comparison.equal_time import distance
    from thalweg.core.errors import InputError
    from thalweg.core.result import Reading, Result
    from thalweg.diagnosis.diagnosis import Diagnosis, diagnose
    from thalweg.diagnosis.rates import Rates, rates
    from thalweg.driver.recorded import Interrupted, run
    from thalweg.dynamics import (
        Limit,
        flow_limit,
        gradient_descent,
        gradient_flow,
        kfac,
        noisy,
        optax_dynamics,
        preconditioned_flow,
        stabilised_descent,
    )
    from thalweg.probes import Tracker, every, measure
    from thalweg.probes.flatness.table import flatness
    from thalweg.problems.in_words import problem
    from thalweg.studies.rerun import study
    from thalweg.sweeps.race_page import Race
    from thalweg.sweeps.raced import race
    from thalweg.sweeps.swept import Sweep, sweep
    from thalweg.trajectory import Trajectory, load

__version__ = "0.1.0.dev0"

__all__ = [
    "Comparison",
    "Diagnosis",
    "InputError",
    "Interrupted",
    "Limit",
    "Race",
    "Rates",
    "Reading",
    "Result",
    "Sweep",
    "Tracker",
    "Trajectory",
    "compare",
    "curvature",
    "diagnose",
    "distance",
    "dynamics",
    "estimators",
    "every",
    "flatness",
    "flow_limit",
    "gradient_descent",
    "gradient_flow",
    "kernels",
    "kfac",
    "load",
    "measure",
    "models",
    "noisy",
    "optax_dynamics",
    "oracles",
    "preconditioned_flow",
    "probes",
    "problem",
    "problems",
    "race",
    "rates",
    "run",
    "stabilised_descent",
    "study",
    "style",
    "sweep",
    "theory",
]

_HOMES = {
    name: home
    for home, names in {
        "comparison.comparison": ("Comparison", "compare"),
        "comparison.equal_time": ("distance",),
        "core.errors": ("InputError",),
        "core.result": ("Reading", "Result"),
        "diagnosis.diagnosis": ("Diagnosis", "diagnose"),
        "diagnosis.rates": ("Rates", "rates"),
        "driver.recorded": ("Interrupted", "run"),
        "dynamics": (
            "Limit",
            "flow_limit",
            "gradient_descent",
            "gradient_flow",
            "kfac",
            "noisy",
            "optax_dynamics",
            "preconditioned_flow",
            "stabilised_descent",
        ),
        "probes": ("Tracker", "every", "measure"),
        "probes.flatness.table": ("flatness",),
        "problems.in_words": ("problem",),
        "studies.rerun": ("study",),
        "sweeps.race_page": ("Race",),
        "sweeps.raced": ("race",),
        "sweeps.swept": ("Sweep", "sweep"),
        "trajectory": ("Trajectory", "load"),
    }.items()
    for name in names
}

float64_with_jax()


def __getattr__(name: str) -> Any:
    """A public name, or a room of the house, imported when it is first asked for."""
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        if not isinstance(value, type):
            from thalweg.core.doors import checked

            value = checked(value)
        return globals().setdefault(name, value)
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is here already and what can be asked for."""
    return sorted({*globals(), *__all__})
