"""The papers: a registry from name to module that imports nothing heavy."""

from __future__ import annotations

STUDIES: dict[str, str] = {
    "continuous-vs-discrete": "thalweg.studies.continuous_vs_discrete",
    "exact-linear-dynamics": "thalweg.studies.exact_linear_dynamics",
    "arora2018-implicit-acceleration": "thalweg.studies.arora2018_implicit_acceleration",
    "arora2019-deep-matrix-factorization": ("thalweg.studies.arora2019_deep_matrix_factorization"),
    "du2018-global-minima": "thalweg.studies.du2018_global_minima",
    "he2022-low-dimensional-data": "thalweg.studies.he2022_low_dimensional_data",
    "jiang2022-adaptive-geometry": "thalweg.studies.jiang2022_adaptive_geometry",
    "kawaguchi2019-practical-sizes": "thalweg.studies.kawaguchi2019_practical_sizes",
    "kawaguchi2021-expressivity": "thalweg.studies.kawaguchi2021_expressivity",
    "razin2022-hierarchical-tensor": "thalweg.studies.razin2022_hierarchical_tensor",
    "riedi2022-singular-values": "thalweg.studies.riedi2022_singular_values",
    "soudry2017-separable": "thalweg.studies.soudry2017_separable",
    "wu2020-weight-normalization": "thalweg.studies.wu2020_weight_normalization",
}
