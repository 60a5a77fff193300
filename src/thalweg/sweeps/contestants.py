"""Who takes part in a race: optimisers by name, each with the settings that it is tried at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from thalweg.core import tree
from thalweg.core.arguments import told
from thalweg.core.errors import InputError, require
from thalweg.dynamics import OPTIMISERS, optimiser
from thalweg.dynamics.dynamics import Discrete
from thalweg.dynamics.methods.newton_type import NewtonType
from thalweg.dynamics.optimisers import optimiser_named
from thalweg.dynamics.optimisers_in_words import named_in, split
from thalweg.oracles.batches import FOR, MiniBatch
from thalweg.oracles.examples_shown import supervised_in
from thalweg.oracles.in_words import as_oracle
from thalweg.oracles.oracle import Oracle
from thalweg.problems.problem import Problem

USUAL = ("gd", "momentum", "nesterov", "adam", "rmsprop", "lbfgs", "kfac")
ALL = "all"
# What is tuned where it is not the learning rate; the others have nothing that must be.
TUNED = {
    "damped-newton": "damping", "cubic-newton": "hessian_lipschitz", "trust-region": "radius",
    "lbfgs": "",
}  # fmt: skip


@dataclass(frozen=True)
class Contestant:
    """An optimiser in a race.

    Attributes:
        name: What it is called in tables, as it was asked for.
        tuned: The number that is tried at several values; empty where there is none.
        settings: Its values, ascending; one NaN where nothing is tuned.
        members: The dynamics at each.
        refused: Why it does not take part; empty if it does.
    """

    name: str
    tuned: str
    settings: tuple[float, ...]
    members: tuple[Discrete, ...]
    refused: str = ""


def contestants(
    optimisers: Any,
    problem: Problem,
    grid: np.ndarray,
    oracle: Oracle | str | None,
    budget: float,
) -> list[Contestant]:
    """Those that a user asked for.

    Args:
        optimisers: Names with commas or as a list, dynamics in it as they are, "all", or None for
            the usual ones.
        problem: What is trained.
        grid: Values of what is tuned.
        oracle: What their steps see of the problem.
        budget: Gradients that each has.

    Raises:
        InputError: If a name is unknown or comes twice, or none can take part.
    """
    seen = None if oracle is None else as_oracle(oracle)
    wanted = _wanted(optimisers)
    found: list[Contestant] = []
    for each in wanted:
        made = _named(each, grid, seen) if isinstance(each, str) else _given(each, seen)
        require(
            made.name not in [other.name for other in found],
            f"{made.name} comes twice in optimisers; give each once, with other numbers if you "
            "want to see both, as momentum(momentum=0.99)",
        )
        found.append(made if made.refused else _suited(made, problem, budget))
    if optimisers is None:  # of the usual ones those that can
        found = [each for each in found if not each.refused]
    taking = [each for each in found if not each.refused]
    require(
        bool(taking),
        "none of the optimisers can take part: "
        + "; ".join(f"{each.name}: {each.refused}" for each in found),
    )
    return found


def _wanted(optimisers: Any) -> list[Any]:
    if optimisers is None:
        return list(USUAL)
    if isinstance(optimisers, str):
        optimisers = split(optimisers)
    elif isinstance(optimisers, Discrete):
        optimisers = [optimisers]
    fits = isinstance(optimisers, Iterable) and not isinstance(optimisers, dict | np.ndarray)
    wanted = list(optimisers) if fits else []
    require(
        bool(wanted) and all(isinstance(each, str | Discrete) for each in wanted),
        f'optimisers came as {told(optimisers)}; give names, as "gd, adam, kfac", "all", or a list '
        "of names and dynamics",
    )
    if ALL in wanted:
        require(len(wanted) == 1, '"all" came beside other optimisers; give it alone')
        return list(OPTIMISERS)
    return wanted


def _named(text: str, grid: np.ndarray, oracle: Oracle | None) -> Contestant:
    words = named_in(text)
    name = optimiser_named(words.name)
    entry = OPTIMISERS[name]
    tuned = TUNED.get(name, "learning_rate" if entry.rated and not entry.finds else "")
    if words.learning_rate is not None or tuned in words.parameters:
        tuned = ""
    oracle = None if name == "coordinate" else oracle
    given: dict[str, Any] = dict(words.parameters)
    if words.learning_rate is not None:
        given["learning_rate"] = words.learning_rate
    label = " ".join(text.split())
    if entry.corrects and oracle is not None and not isinstance(oracle, MiniBatch):
        return Contestant(
            label, "", (float("nan"),), (), f"{name} draws batches of its own and corrects them; "
            "race it without an oracle, or with minibatch(8)",
        )  # fmt: skip
    if not tuned:
        return Contestant(label, "", (float("nan"),), (optimiser(name, oracle=oracle, **given),))
    settings = tuple(float(value) for value in grid)
    members = tuple(optimiser(name, oracle=oracle, **(given | {tuned: v})) for v in settings)
    return Contestant(label, tuned, settings, members)


def _given(dynamics: Discrete, oracle: Oracle | None) -> Contestant:
    from thalweg.dynamics.noisy_steps import Noisy

    made = dynamics if oracle is None else Noisy(dynamics, oracle)
    return Contestant(made.name, "", (float("nan"),), (made,))


def _suited(made: Contestant, problem: Problem, budget: float) -> Contestant:
    """The same, with the reason if the problem does not suit it."""
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    member = made.members[0]
    try:
        require_affordable(member, shapes, budget)
        state = jax.eval_shape(lambda params: member.init(problem, params), shapes)
        jax.eval_shape(lambda s: member.step(problem, s, jax.random.key(0)), state)
    except InputError as error:
        return Contestant(made.name, made.tuned, made.settings, (), str(error))
    return made


def require_affordable(member: Discrete, shapes: Any, budget: float) -> None:
    """Refuse a method of which a single step costs more than the budget."""
    base = getattr(member, "base", member)
    if isinstance(base, NewtonType):
        p = tree.size(shapes)
        products = base.krylov if 0 < base.krylov < p else p
        price = 1 + 2 * products
        require(
            price <= budget,
            f"a step takes {products:,} Hessian products, {price:,} gradients in all, more than "
            f"the budget of {budget:g}; give a larger budget, or krylov=10 in its brackets",
        )


def price_of(member: Discrete, problem: Problem) -> float:
    """What one look at the gradient costs, in gradients of the whole objective.

    Of b of n examples b/n; of an oracle without examples its gradients, a third of its values, and
    two for each Hessian product. Where looks differ, as those of SVRG, it is their average.
    """
    oracle = getattr(member, "oracle", None)
    if oracle is None:
        return 1.0
    counts = oracle.counts(problem)
    if counts.component_gradients:
        n = len(supervised_in(problem, *FOR).inputs)
        return float(counts.component_gradients) / n
    return float(counts.gradients + counts.values / 3 + 2 * counts.hessian_products) or 1.0


def settings_told(settings: Sequence[float]) -> str:
    """The grid in words, as "1e-04 to 10, 11 values"."""
    return f"{min(settings):.3g} to {max(settings):.3g}, {len(settings)} values"
