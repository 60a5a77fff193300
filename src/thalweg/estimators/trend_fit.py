"""What a trend filtering fit holds: values, the dual point that certifies them, the active set."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Int8

from thalweg.estimators.differences import DifferenceOperator

Values = Float[np.ndarray, "..."]


@dataclass(frozen=True)
class TrendFit:
    """A trend filtering fit with its certificate; with `draws`, arrays have these first.

    Attributes:
        values: x on the lattice.
        penalty: lambda.
        operator: D.
        dual: v, an array for each axis of the shape of D_j x; |v| <= lambda.
        signs: The active set: signs of the entries of D x that are not zero, for each axis, as
            the exact denoising has them, not from a threshold on D x.
        objective: Its value at x; infinite where no float holds it (data above 1e154).
        gap: A bound on (objective - minimum) / objective; NaN if cells without data leave none. If
            the objective is below 1e-5 of that of the mean of y, the bound is relative to this.
        residual: The same number where it is no bound: optimality conditions in cells without data
            are measured at the mean weight.
        iterations: Of the splitting.
        rho: The penalty of the split at the end, without unit.
        weights: c; None if all are one.
    """

    values: Values
    penalty: Values
    operator: DifferenceOperator
    dual: tuple[Values, ...]
    signs: tuple[Int8[np.ndarray, "..."], ...]
    objective: Values
    gap: Values
    residual: Values
    iterations: Int[np.ndarray, "..."]
    rho: Values
    weights: Values | None = None

    def at(self, index: int) -> TrendFit:
        """One of the draws."""
        return replace(
            self,
            values=self.values[index],
            penalty=self.penalty[index],
            dual=tuple(v[index] for v in self.dual),
            signs=tuple(s[index] for s in self.signs),
            objective=self.objective[index],
            gap=self.gap[index],
            residual=self.residual[index],
            iterations=self.iterations[index],
            rho=self.rho[index],
        )

    def scaled(self, power: Int[np.ndarray, "..."]) -> TrendFit:
        """The fit of data and penalties times two to a power, one for each draw: to the bit."""
        power = np.asarray(power)
        lattice = power[(...,) + (None,) * len(self.operator.shape)]
        with np.errstate(over="ignore", under="ignore"):
            return replace(
                self,
                values=np.ldexp(self.values, lattice),
                penalty=np.ldexp(self.penalty, power),
                dual=tuple(np.ldexp(v, lattice) for v in self.dual),
                objective=np.ldexp(self.objective, 2 * power),
            )
