"""Whether an objective changes with the scale of its parameters."""

from __future__ import annotations

import jax

from thalweg.core import tree
from thalweg.core.behaviour import traced
from thalweg.core.errors import InputError, require
from thalweg.problems.problem import Problem

INVARIANT = 1e-6  # relative change of the objective with the scale: what an epsilon leaves


def require_scale_invariant(problem: Problem) -> None:
    """Refuse an objective that changes with the scale of its parameters.

    Nothing is asked where a JAX transformation is under way over the problem itself.

    Raises:
        InputError: If f(2 w) is not f(w) at a start of the problem, to 1e-6.
    """
    if traced(problem):
        return
    with jax.ensure_compile_time_eval():
        params = problem.init(jax.random.key(0))
        length = float(tree.norm(params))
        once = float(problem.objective(params))
        twice = float(problem.objective(jax.tree.map(lambda w: w + w, params)))
    require(length != 0, "the start is zero, which has no direction; give another start")
    if abs(twice - once) > INVARIANT * max(abs(once), abs(twice)):
        raise InputError(
            f"the objective is {once:.6g} at a start w and {twice:.6g} at 2 w; the "
            "sharpness-reduction flow needs one that does not change with the scale of w"
        )
