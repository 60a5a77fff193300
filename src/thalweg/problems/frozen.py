"""Training of a part of the parameters, the rest held fixed."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.selection import Part, Where, part_of
from thalweg.core.tree import Params
from thalweg.models import Model
from thalweg.problems.problem import Problem, Supervised


class PartModel(Model):
    """A network of which a part is trained; its parameters are that part as one flat vector.

    Attributes:
        model: The whole network.
        part: The part, and what the rest is held at; `part.params(theta)` are all parameters.
    """

    model: Model
    part: Part

    def init(self, key: Array, inputs: tuple[int, ...], outputs: int, dtype: Any) -> Params:
        return self.part.theta.astype(dtype)

    def apply(self, params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        return self.model.apply(self.part.params(params), x)

    @property
    def smooth(self) -> bool:
        return self.model.smooth

    @property
    def separable(self) -> bool:
        return self.model.separable


class PartProblem(Problem):
    """Any objective of a part of its parameters, as one flat vector.

    Attributes:
        problem: The whole problem.
        part: The part, and what the rest is held at; `part.params(theta)` are all parameters.
    """

    problem: Problem
    part: Part

    def init(self, key: Array) -> Params:
        return self.part.theta

    def objective(self, params: Params) -> Float[Array, ""]:
        return self.problem.objective(self.part.params(params))

    @property
    def smooth(self) -> bool:
        return self.problem.smooth

    def describe(self) -> dict[str, Any]:
        trained = int(self.part.theta.size)
        return {"kind": "part", "trained": trained, "of": self.problem.describe()}


def trained_part(problem: Problem, params: Params, where: Where = None) -> Problem:
    """The same problem with only a part of the parameters trained, the rest held fixed.

    Its parameters are the flat vector theta of the part, in the order of `ravel`, so that any
    dynamics and any probe that does not ask for layers works on it; every seed starts from the
    part of `params`. All parameters again: `.model.part.params(theta)` of a `Supervised`,
    `.part.params(theta)` of another problem.

    Args:
        problem: What is trained. A `Supervised` stays one.
        params: All parameters: the start of the part, and what the rest is held at.
        where: Which part: a layer or a leaf by name, as "0" or "0.weight"; a function of a leaf's
            name; or booleans in the structure of the parameters.

    Returns:
        The problem of the part.

    Raises:
        InputError: If `where` does not fit the parameters or chooses nothing, or if the problem
            is one of a part already.

    Examples:
        >>> net = tw.problems.supervised(tw.models.linear([1]), (np.eye(1), np.eye(1)))
        >>> params = [{"weight": jnp.array([[2.0]])}, {"weight": jnp.array([[3.0]])}]
        >>> last = tw.problems.trained_part(net, params, lambda path: path == "1.weight")
        >>> last.init(jax.random.key(0)).tolist(), float(last.objective(jnp.array([0.5])))
        ([3.0], 0.0)
    """
    whole = problem.model if isinstance(problem, Supervised) else problem
    require(
        not isinstance(whole, PartModel | PartProblem),
        "this problem trains a part already; take the part of the whole problem",
    )
    part = part_of(params, where)
    if isinstance(problem, Supervised):
        return dataclasses.replace(problem, model=PartModel(problem.model, part))
    return PartProblem(problem, part)


__all__ = ["PartModel", "PartProblem", "trained_part"]
