"""Thresholds of stability in the field's letters."""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-9


def by_step(formula: str) -> str:
    """The threshold of an eigenvalue that holds the step size of each step, as of a schedule."""
    plain = formula.replace("(2/eta) ", "2 ").replace("2/eta", "2").replace(" eta)", ")")
    return f"{plain}, eta(k) counted in the eigenvalue"


def formula_of(shape: np.ndarray, gain: float | None, rest: float, decay: float) -> str:
    """The threshold in the field's letters, where it is one of the known ones.

    Args:
        shape: h_k/h_0.
        gain: h_0/eta, or None if the eigenvalue is that of the preconditioned Hessian.
        rest: h_0 over the sum of all h_k.
        decay: What decays of the weights in a step; such thresholds have no short name.
    """
    beta = shape[2] / shape[1] if abs(shape[1]) > ROUNDING else 0.0
    geometric = abs(shape[1] - beta) < 1e-6
    nesterov = abs(shape[1] - beta**2 / (1 + beta)) < 1e-6
    told = f", beta = {beta:.3g}"
    if decay:
        return "from the linear recursion of its update, weight decay included"
    if beta == 0.0 and (gain is None or abs(gain - 1) < 1e-6):
        return "2/eta"
    if geometric and (gain is None or abs(gain - rest) < 1e-6):
        return "(2/eta) (1 + beta)/(1 - beta)" + told
    if geometric and gain is not None and abs(gain - 1) < 1e-6:
        return "2 (1 + beta)/eta" + told
    if nesterov and gain is not None and abs(gain - 1 - beta) < 1e-6:
        return "2 (1 + beta)/((1 + 2 beta) eta)" + told
    if nesterov and gain is None:
        return "2 (1 + beta)/((1 + 2 beta) (1 - beta) eta)" + told
    return "from the linear recursion of its update"
