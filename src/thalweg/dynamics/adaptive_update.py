"""The updates of adaptive methods as formulas in their numbers, to hold others against."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from thalweg.dynamics.flow.accumulated import AdaGradFlow, adagrad_flow
from thalweg.dynamics.flow.preconditioned import PreconditionedFlow, preconditioned_flow


class Memory(NamedTuple):
    """What an update carries from step to step, (p,) each.

    Attributes:
        first: The average of gradients.
        second: The average, or the sum, of squared gradients.
        highest: The largest corrected second moment so far.
        kept: What a momentum behind the preconditioner keeps of past updates.
    """

    first: np.ndarray
    second: np.ndarray
    highest: np.ndarray
    kept: np.ndarray


class Averaged(NamedTuple):
    """The numbers of an update of Adam's family.

    Attributes:
        rate: Learning rate.
        b1: Decay of the average of gradients; 0 for none.
        b2: Decay of the average of squared gradients.
        epsilon: Added to the root.
        epsilon_root: Added within it.
        decay: Decay of the weights in a step.
        initial: What the average of squared gradients begins with.
        corrected: Whether both averages are corrected for their start.
        ahead: Whether the gradient is taken ahead, in NAdam or by the momentum.
        largest: Whether the largest second moment so far divides.
        momentum: Share of the last update that is kept, behind the preconditioner.
        centred: Whether the variance divides the gradient itself; b1 is b2.
    """

    rate: float
    b1: float
    b2: float
    epsilon: float
    epsilon_root: float
    decay: float
    initial: float
    corrected: bool
    ahead: bool = False
    largest: bool = False
    momentum: float = 0.0
    centred: bool = False

    @property
    def reach(self) -> float:
        """Training time of a step: how far a lasting update moves, over the update."""
        return self.rate / (1 - self.momentum)

    def begin(self, p: int) -> Memory:
        """The memory before the first step."""
        none = np.zeros(p)
        return Memory(none, np.full(p, self.initial), none, none)

    def update(self, g: np.ndarray, memory: Memory, count: int) -> tuple[np.ndarray, Memory]:
        """The update but for the decay of weights; `count` steps were taken before."""

        def share(b: float, steps: int) -> float:
            return 1 - b**steps if self.corrected else 1.0

        m = self.b1 * memory.first + (1 - self.b1) * g
        v = self.b2 * memory.second + (1 - self.b2) * g**2
        first, second = m / share(self.b1, count + 1), v / share(self.b2, count + 1)
        if self.ahead and not self.momentum:
            ahead = m / share(self.b1, count + 2)
            first = self.b1 * ahead + (1 - self.b1) * g / share(self.b1, count + 1)
        highest = np.maximum(memory.highest, second)
        divided = highest if self.largest else second
        if self.centred:
            first, divided = g, divided - m**2
        divisor = np.sqrt(divided + self.epsilon_root) + self.epsilon
        moved = -self.rate * first / divisor
        kept = moved + self.momentum * memory.kept
        moved = moved + self.momentum * kept if self.ahead and self.momentum else kept
        return moved, Memory(m, v, highest, kept)

    def flow(self, step_size: float, error: float) -> PreconditionedFlow:
        """What it follows as its steps go to 0."""
        return preconditioned_flow(
            step_size,
            0.0 if self.centred else self.b1,
            self.b2,
            epsilon=self.epsilon,
            epsilon_root=self.epsilon_root,
            weight_decay=self.decay / step_size,
            initial=self.initial,
            corrected=self.corrected,
            largest=self.largest,
            centred=self.centred,
            error=error,
        )


class Accumulated(NamedTuple):
    """The numbers of AdaGrad's update.

    Attributes:
        rate: Learning rate.
        epsilon: Added to the root.
        epsilon_root: Added within it.
        initial: What the sum of squared gradients begins with.
        decay: Decay of the weights in a step.
    """

    rate: float
    epsilon: float
    epsilon_root: float
    initial: float
    decay: float = 0.0

    def begin(self, p: int) -> Memory:
        """The memory before the first step."""
        none = np.zeros(p)
        return Memory(none, np.full(p, self.initial), none, none)

    def update(self, g: np.ndarray, memory: Memory, count: int) -> tuple[np.ndarray, Memory]:
        """The update; `count` steps were taken before."""
        total = memory.second + g**2
        divisor = np.sqrt(total + self.epsilon_root) + self.epsilon
        return -self.rate * g / divisor, memory._replace(second=total)

    def flow(self, step_size: float, error: float) -> AdaGradFlow:
        """What it follows as its steps go to 0."""
        return adagrad_flow(
            self.rate,
            step_size,
            initial=self.initial,
            epsilon=self.epsilon,
            epsilon_root=self.epsilon_root,
            error=error,
        )


Numbers = Averaged | Accumulated
