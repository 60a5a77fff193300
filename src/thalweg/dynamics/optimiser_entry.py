"""What a name of an optimiser stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Optimiser:
    """An optimiser that a name stands for.

    Attributes:
        about: What it does, in a line.
        make: From the learning rate and the parameters to the Optax transformation.
        parameters: Its parameters with their defaults; `PARAMETERS` says what they mean.
        label: Its name in sentences and legends.
        clock: Training time of a step, from the learning rate and the parameters; None for the
            learning rate.
        rate: The learning rate where none is given; None if one must be.
        draws: Whether it draws random numbers, which are mixed with the seed of a run.
        alone: Whether what is made hangs on the learning rate in more than a number.
        whole: Whether what is made is a dynamics itself.
        finds: Whether it finds a learning rate where none is given.
        rated: Whether it has a learning rate; what searches its steps has none, and is made from
            the parameters alone.
        corrects: Whether it draws batches of its own, which it corrects: it is made from the
            learning rate, their size and the parameters.
    """

    about: str
    make: Callable[..., Any]
    parameters: Mapping[str, float | int | None] = field(default_factory=dict)
    label: str = ""
    clock: Callable[..., float] | None = None
    rate: float | None = None
    draws: bool = False
    alone: bool = False
    whole: bool = False
    finds: bool = False
    rated: bool = True
    corrects: bool = False
