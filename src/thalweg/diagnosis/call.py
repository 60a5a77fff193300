"""The Python that makes a page again."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optax

from thalweg.comparison.verdict import subject
from thalweg.core.arguments import told
from thalweg.core.digest import identity
from thalweg.dynamics.dynamics import Dynamics
from thalweg.oracles.oracle import Oracle
from thalweg.problems import Problem

BEGUN_AT = {
    "start": "the parameters to begin at",
    "state": "what the optimiser remembers there",
}


def call_of(
    function: Callable[..., Any], problem: Any, dynamics: Any, options: dict[str, Any]
) -> str:
    """The Python that makes a page again, as far as it can be written down."""
    made, words = [], []
    if isinstance(problem, str):
        words.append(repr(problem))
    else:
        words.append("problem")
        made.append(f"problem = ...  # {_in_short(problem)}")
    if isinstance(dynamics, Dynamics):
        words.append("dynamics")
        made.append(f"dynamics = ...  # {dynamics.name}, {identity(dynamics)[:8]}")
    elif isinstance(dynamics, optax.GradientTransformation):
        words.append("dynamics")
        made.append(f"dynamics = ...  # {told(dynamics)}")
    elif options["optimizer"] is None:
        words.append(f"{dynamics!r}")
    oracle = options["oracle"]
    if isinstance(oracle, Oracle):
        made.append(f"oracle = ...  # {oracle.source}, {identity(oracle)[:8]}")
    objects = {
        name: about
        for name, about in BEGUN_AT.items()
        if options[name] is not None and not isinstance(options[name], str | Path)
    }
    made += [f"{name} = ...  # {about}" for name, about in objects.items()]
    for name, parameter in inspect.signature(function).parameters.items():
        value = options.get(name)
        if name in objects or isinstance(value, Oracle):
            words.append(f"{name}={name}")
        elif name in options and name not in ("fresh", "progress"):
            plain = str(value) if isinstance(value, Path) else value
            words += [f"{name}={plain!r}"] if value != parameter.default else []
    gap = [""] if made else []
    return "\n".join(
        ["import thalweg as tw", "", *made, *gap, f"tw.{function.__name__}({', '.join(words)})"]
    )


def _in_short(problem: Any) -> str:
    """A problem in a comment of one line."""
    if not isinstance(problem, Problem):
        return f"data: {told(problem)}"
    about = problem.describe()
    if "model" not in about:
        return subject(about)
    words = f"{about['model']} on {about['examples']} examples of {subject(about)}"
    return " ".join(words.split())
