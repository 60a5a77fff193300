"""Oracles that carry something from look to look: what they show depends on where they looked."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, Self

import equinox as eqx
import jax
from jaxtyping import Array

from thalweg.core.errors import InputError
from thalweg.core.tree import Params
from thalweg.oracles.oracle import Oracle
from thalweg.problems.problem import Problem


class Remembering(Oracle):
    """An oracle with a memory, as of an anchor and the full gradient there.

    `begin` gives it one, `look` shows a problem and gives the oracle as it is afterwards. A run
    keeps the memory in the state of the dynamics, so that it goes on to the same bits. Draws of a
    block begin where a period does.

    Attributes:
        memory: None before it has begun.
    """

    memory: Any = eqx.field(default=None, kw_only=True)

    @property
    def remembers(self) -> bool:
        return True

    @abc.abstractmethod
    def start(self, problem: Problem, params: Params) -> Any:
        """The memory before the first look."""

    def begin(self, problem: Problem, params: Params) -> Self:
        self.suit(problem)
        return self.holding(self.start(problem, params))

    def holding(self, memory: Any) -> Self:
        """The oracle with another memory."""
        return dataclasses.replace(self, memory=memory)

    def held(self) -> Any:
        """The memory.

        Raises:
            InputError: If it has not begun.
        """
        if self.memory is None:
            raise InputError(
                f"what a {type(self).__name__} shows depends on what it remembers; give it a "
                "memory first: oracle.begin(problem, params)"
            )
        return self.memory

    @abc.abstractmethod
    def look(self, problem: Problem, params: Params, draw: Any) -> tuple[Problem, Self]:
        """The problem that a step at these parameters sees, and the oracle after it."""

    def draw_alone(self, problem: Problem, params: Params, key: Array, step: Array) -> Any:
        size = self.block(problem, params)
        return jax.tree.map(lambda leaf: leaf[step % size], self.draws(problem, params, key, size))

    def see(self, problem: Problem, params: Params, draw: Any) -> Problem:
        return self.look(problem, params, draw)[0]
