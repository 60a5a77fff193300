"""What a tracker of a PyTorch loop tells at one moment."""

from __future__ import annotations

import dataclasses

from thalweg.core.result import Reading, Result

PRECONDITIONED = "preconditioned_sharpness"  # the reading that the threshold belongs to


@dataclasses.dataclass(frozen=True)
class Record:
    """What was measured at one moment, with its cost.

    Attributes:
        readings: By name; a value, its error in the same unit, and a result code each, as the
            probes of these names say.
        threshold: What the preconditioned sharpness may not exceed if the optimiser is to be stable
            with its present preconditioner and learning rate; None without an optimiser.
        gradients: How many were computed.
        products: How many Hessian products were; each costs about as much as two gradients.
        seconds: Wall time, the copy of the weights and at a first record the check included.
        by: What computed the products: "PyTorch's double backward", or differences of gradients,
            and why.
        unbounded: Names of the eigenvalues whose error is that of what was followed since the last
            recheck: one that was not may have overtaken.
    """

    readings: dict[str, Reading]
    threshold: float | None
    gradients: int
    products: int
    seconds: float
    by: str
    unbounded: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Reading:
        return self.readings[name]

    def __str__(self) -> str:
        told = []
        for name, (value, error, code) in self.readings.items():
            good = code == Result.OK
            of = " of what is followed" if name in self.unbounded else ""
            said = f"{value:.6g} (error {error:.1g}{of})" if good else Result(int(code)).sentence
            if name == PRECONDITIONED and good and self.threshold is not None:
                said += f" of {self.threshold:.6g} that are stable"
            told.append(f"{name.replace('_', ' ')} {said}")
        cost = f"{self.gradients} gradients and {self.products} Hessian products"
        return f"{', '.join(told)}; {cost} by {self.by} in {self.seconds:.2g} s"

    __repr__ = __str__
