"""The members of a sweep: which dynamics, and what tells one from another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

from thalweg.core.arguments import told
from thalweg.core.errors import InputError, require
from thalweg.core.memory import require_memory
from thalweg.dynamics import optax_dynamics
from thalweg.dynamics.dynamics import Dynamics
from thalweg.trajectory.provenance import fingerprint

MEMBER = "member"


@dataclass(frozen=True)
class Members:
    """The dynamics of a sweep.

    Attributes:
        dynamics: One for each member.
        labels: What differs between them, by name, a value for each member.
        prints: A digest of each member's description; no two are equal.
    """

    dynamics: tuple[Dynamics, ...]
    labels: Mapping[str, np.ndarray]
    prints: tuple[str, ...]

    @property
    def dim(self) -> str:
        """The dimension of the members: what differs if that is one number, else "member"."""
        return next(iter(self.labels)) if len(self.labels) == 1 else MEMBER

    @property
    def coords(self) -> dict[str, Any]:
        """The labels as coordinates."""
        return {name: (self.dim, values) for name, values in self.labels.items()}

    def told(self, index: int) -> str:
        """A member in words, as "step size 0.1"."""
        parts = [f"{n.replace('_', ' ')} {v[index]:.4g}" for n, v in self.labels.items()]
        return ", ".join(parts) or f"member {index}"


def members_of(dynamics: Any, grid: Mapping[str, Any]) -> Members:
    """Members from a list of dynamics, or from a family and the values of its arguments.

    Args:
        dynamics: A list of dynamics or Optax transformations, or a function that makes one.
        grid: For a function, lists of values by argument; several make their product.

    Raises:
        InputError: If it is none of these, or two members are the same.
    """
    if isinstance(dynamics, Dynamics | optax.GradientTransformation):
        dynamics = [dynamics]
    labels: dict[str, np.ndarray] = {}
    if callable(dynamics):
        made, labels = _from_grid(dynamics, grid)
    else:
        require(
            not grid,
            f"{' and '.join(f'{name}=' for name in grid)} came beside a list of dynamics; give a "
            "function that makes a dynamics, as tw.gradient_descent, and lists of its arguments",
        )
        require(
            isinstance(dynamics, Iterable) and not isinstance(dynamics, str | bytes),
            f"dynamics came as {told(dynamics)}; give a list, as [tw.gradient_descent(0.1), "
            "tw.gradient_descent(0.2)], or a function and lists of its arguments",
        )
        made = list(dynamics)
    require(len(made) > 0, "there are no dynamics to sweep over; give one at least")
    members = tuple(_as_dynamics(one) for one in made)
    described = [member.describe() for member in members]
    prints = tuple(fingerprint(one) for one in described)
    labels = labels or _differing(described)
    found = Members(members, labels, prints)
    for index, mark in enumerate(prints):
        require(
            mark not in prints[:index],
            f"two members of the sweep are the same ({found.told(index)}, at positions "
            f"{prints.index(mark)} and {index}); give each once",
        )
    return found


def _from_grid(
    family: Callable[..., Any], grid: Mapping[str, Any]
) -> tuple[list[Any], dict[str, np.ndarray]]:
    name = getattr(family, "__name__", "the function")
    require(
        bool(grid),
        f"the function {name} came without values; give lists of its arguments, as "
        "step_size=[0.1, 0.2]",
    )
    values = {key: _numbers(key, value) for key, value in grid.items()}
    count = int(np.prod([len(each) for each in values.values()], dtype=np.float64))
    require_memory(1000.0 * count, f"a sweep of {count} members", "give fewer values")
    rows = list(itertools.product(*values.values()))
    made = [family(**dict(zip(values, row, strict=True))) for row in rows]
    columns = np.asarray(rows, float).T
    return made, dict(zip(values, columns, strict=True))


def _numbers(name: str, values: Any) -> list[float]:
    try:
        array = np.atleast_1d(np.asarray(values, np.float64))
        fits = array.ndim == 1 and array.size > 0
    except (TypeError, ValueError):
        fits = False
    require(fits, f"{name} came as {told(values)}; give a list of numbers, as [0.1, 0.2]")
    return array.tolist()


def _as_dynamics(given: Any) -> Dynamics:
    if isinstance(given, optax.GradientTransformation):
        return optax_dynamics(given)
    if isinstance(given, Dynamics):
        return given
    raise InputError(
        f"a member of the sweep came as {told(given)}; give a dynamics, as gradient_descent(0.1), "
        "or an Optax transformation"
    )


def _differing(described: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The numbers in the descriptions of members that are not the same for all."""
    names = [key for key in described[0] if all(key in one for one in described)]
    columns = {name: [one[name] for one in described] for name in names}
    numbers = {
        name: np.asarray(column, float)
        for name, column in columns.items()
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in column)
    }
    if len(described) == 1:
        return {name: column for name, column in numbers.items() if name == "step_size"}
    found = {name: column for name, column in numbers.items() if np.ptp(column) > 0}
    distinct = len(set(zip(*(c.tolist() for c in found.values()), strict=True)))
    # One that does not tell all members apart is no index of theirs.
    return found if distinct == len(described) else {MEMBER: np.arange(len(described))} | found
