"""Up to which curvature a dynamics is stable: its own rule, or the reason why none is known."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from thalweg.models.spiking.surrogates import takes_surrogates

GRADIENT_DESCENT = "Cohen et al. (2021), section 2"
SURROGATE = (
    "its gradients are surrogates, as spikes have no slope, and no Hessian of the loss bounds steps"
)


class StabilityRule(NamedTuple):
    """When a small disturbance grows: an eigenvalue of the curvature above a threshold.

    Attributes:
        eigenvalue: The probe that measures it, "sharpness" (largest Hessian eigenvalue) or
            "preconditioned_sharpness"; empty if no rule is known.
        threshold: The eigenvalue from which on disturbances grow, in the unit of that probe; NaN
            if no rule is known.
        formula: The threshold in words, as "2/eta".
        kind: "exact" on a quadratic; "frozen", exact while the preconditioner stands as it is at
            the record; "indicative"; or "unknown".
        because: Why the rule is not exact, or why none is known.
        reach: How far a lasting gradient g moves the parameters in a unit of training time, over
            |g|: 1 for gradient descent, 1/(1 - beta) for heavy ball; NaN if it varies.
        source: Where the rule comes from.
    """

    eigenvalue: str = ""
    threshold: float = math.nan
    formula: str = ""
    kind: str = "unknown"
    because: str = ""
    reach: float = math.nan
    source: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a threshold to judge by."""
        return self.kind != "unknown"

    def plain(self) -> dict[str, Any]:
        """The rule as plain data, None for NaN, as the record of a run keeps it."""
        return {k: None if v != v else v for k, v in self._asdict().items()}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> StabilityRule:
        """The rule from what `plain` gave."""
        known = {k: plain[k] for k in cls._fields if plain.get(k) is not None}
        return cls(**known)


def no_rule(because: str) -> StabilityRule:
    """No rule is known, and why."""
    return StabilityRule(because=because)


def stated_rule(dynamics: Any, problem: Any, params: Any) -> StabilityRule:
    """The rule of a dynamics in steps on a problem; none where the gradients are surrogates."""
    rule: StabilityRule = dynamics.stability(problem, params)
    if takes_surrogates(problem.objective, params):
        return StabilityRule(because=SURROGATE, reach=rule.reach)
    return rule


def descent_rule(step_size: float) -> StabilityRule:
    """The rule of gradient descent: an error along curvature c is multiplied by 1 - eta c.

    Args:
        step_size: eta.
    """
    return StabilityRule(
        "sharpness", 2 / step_size, "2/eta", "exact", reach=1.0, source=GRADIENT_DESCENT
    )
