"""The papers: a registry from name to module that imports nothing heavy."""

from __future__ import annotations

STUDIES: dict[str, str] = {
    "continuous-vs-discrete": "thalweg.studies.continuous_vs_discrete",
    "exact-linear-dynamics": "thalweg.studies.exact_linear_dynamics",
}
