"""The examples inside a problem, and the same problem with others in their place."""

from __future__ import annotations

import dataclasses

from thalweg.core.errors import InputError
from thalweg.problems.penalties import Regularised
from thalweg.problems.problem import Problem, Supervised


def supervised_in(problem: Problem, what: str, instead: str) -> Supervised:
    """The problem with examples, be it inside of one with weight decay or a penalty.

    Args:
        problem: What is trained.
        what: Why examples are needed, as "to draw batches from".
        instead: What to do without them.

    Raises:
        InputError: If there are none.
    """
    if isinstance(problem, Supervised):
        return problem
    if isinstance(problem, Regularised):
        return supervised_in(problem.problem, what, instead)
    raise InputError(f"a {type(problem).__name__} has no examples {what}; {instead}")


def with_supervised(problem: Problem, part: Supervised) -> Problem:
    """The problem with another one in place of its examples; penalties stay about it."""
    if isinstance(problem, Regularised):
        return dataclasses.replace(problem, problem=with_supervised(problem.problem, part))
    return part
