"""What holds exactly: the prior, the neuron, the two gradients, and strengths on a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array

from thalweg.core.tree import Params
from thalweg.driver.path import path
from thalweg.dynamics import grad_r, laplace_centre, optax_dynamics
from thalweg.dynamics.dynamics import State
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import table
from thalweg.models import LIF, lif_rollout, spiking_mlp
from thalweg.probes import measure, rewiring_cosine
from thalweg.problems import Function, Problem, supervised
from thalweg.theory.optimisers.hidden_strengths import laplace_mass_below, strength_without_loss

SHARES, SCALES = (0.5, 0.7, 0.9, 0.95, 0.999), (1e-4, 0.01, 0.3, 10.0)
CURRENTS = (0.3, 0.9, 2.0, 3.5)  # two below threshold, two that fire at every step
RATES = {"sgd": 1.0, "adam": 1e-2}
SLOW = 1e-3  # learning rate of the prior alone
WEAK, STRONG = 3e-3, 0.3  # alpha of descent, and of Adam


@dataclass(frozen=True)
class Small:
    """Steps of the paths, and of a strength without a loss."""

    steps: int = 400
    still: int = 2000


def net() -> Any:
    """A spiking net of 6-12-3 neurons, eight steps, on 40 random examples of three classes."""
    rng = np.random.default_rng(0)
    x = 2 * rng.normal(size=(40, 6))
    labels = np.argmax(x @ rng.normal(size=(6, 3)), axis=1)
    return supervised(spiking_mlp([12], steps=8, gain=2.0), (x, labels), "squared")


def strengths_of(state: State) -> tuple[Params, Params]:
    """Theta and s."""
    found = [optax.tree_utils.tree_get(state.memory, name) for name in ("strength", "sign")]
    return found[0], found[1]


def flat(tensors: Params) -> jax.Array:
    """All arrays as one vector."""
    return jnp.concatenate([a.ravel() for a in jax.tree.leaves(tensors)])


@eqx.filter_jit
def walked(
    problem: Problem, rule: str, accurate: bool, alpha: Any, share: Any, steps: int
) -> tuple[dict[str, Array], State]:
    """Weights, strengths and signs at the start and after every step, and the last state."""

    def observed(problem: Problem, state: State) -> dict[str, Array]:
        theta, s = strengths_of(state)
        return {"weight": flat(state.params), "strength": flat(theta), "sign": flat(s)}

    rate = RATES[rule]
    transform = grad_r(rate, alpha, share, rule=rule, accurate=accurate)
    start = problem.init(jax.random.key(1))
    found = path(optax_dynamics(transform, rate), problem, start, 1, steps, observed)
    return found.seen, found.last


def back(found: dict[str, np.ndarray], after: int = 0) -> int:
    """How many times a connection grew again, counted at every step later than `after`."""
    there = found["weight"][after:] != 0
    return int(np.sum(~there[:-1] & there[1:]))


@experiment("X0", Small(), smoke={"steps": 150, "still": 600})
def exact(lab: Lab, size: Small) -> xr.Dataset:
    """Identities of the prior, the neuron, the gradients and the strengths."""
    p, alpha = np.meshgrid(SHARES, SCALES, indexing="ij")
    centres = np.vectorize(lambda q, a: float(laplace_centre(q, a)))(p, alpha)
    problem, steps = net(), size.steps

    def walk(rule: str, accurate: bool, alpha: float, share: float = 0.95) -> Any:
        return walked(problem, rule, accurate, jnp.asarray(alpha), jnp.asarray(share), steps)

    found = {
        "accurate": walk("sgd", True, WEAK),
        "redefined": walk("sgd", False, WEAK),
        "Adam": walk("adam", False, STRONG),
        "Adam, accurate": walk("adam", True, STRONG),
    }
    walks = {name: jax.tree.map(np.asarray, seen) for name, (seen, _) in found.items()}
    loose, tight = (
        [np.asarray(walk("adam", False, a, q)[0]["strength"]) for q in (0.9, 0.99)]
        for a in (0.1, 30.0)
    )
    unequal, cosine, told = gradients(problem, found["redefined"][1])
    free = free_strengths(size.still)
    groups: dict[str, Any] = {
        "share scale": {
            "mass": (laplace_mass_below(0.0, centres, alpha), "1", "mass of the prior below 0"),
            "mass_theory": (p, "1", "the share asked for"),
            "centre": (centres, "parameter", "centre of the prior"),
        },
        "current step": neuron_table(),
        "": {
            "refused": (refused(0.49) and refused(1.0), "1", "whether shares beyond are refused"),
            "slope": (slope_at_threshold(), "1", "derivative of a spike at the threshold"),
            "unequal": (unequal, "1", "entries where autodiff is not the masked gradient"),
            "cosine": (told, "1", "cosine told by the probe"),
            "cosine_theory": (cosine, "1", "cosine of the two gradients by autodiff"),
            "first_return": (early()[0], "parameter", "strength after one step, Adam remembers"),
            "second_return": (early()[1], "parameter", "strength after two steps, Adam remembers"),
            "inert": (np.abs(loose[0] - loose[1]).max(), "parameter", "p .9 less .99, alpha 0.1"),
            "acting": (np.abs(tight[0] - tight[1]).max(), "parameter", "p .9 less .99, alpha 30"),
        },
        "walk": {
            "wrong_signs": (
                [_wrong(w) for w in walks.values()], "1", "weights with another sign than theirs"
            ),
            "deepest": (
                [w["strength"].min() for w in walks.values()], "parameter", "least strength"
            ),
            "above": (
                [w["strength"].min() - float(laplace_centre(0.95, a))
                 for w, a in zip(walks.values(), (WEAK, WEAK, STRONG, STRONG), strict=True)],
                "parameter", "least strength over the centre",
            ),
            "grown": ([back(w) for w in walks.values()], "1", "connections that grew again"),
            "grown_late": (
                [back(w, 4) for w in walks.values()], "1", "those that grew from step 5 on"
            ),
        },
    }  # fmt: skip
    everything = table(
        groups,
        share=(SHARES, "1", "share asked for"),
        scale=(SCALES, "1/parameter", "alpha"),
        current=(CURRENTS, "1", "input current"),
        step=np.arange(1, 101),
        walk=list(walks),
    )
    return everything.merge(free)


def _wrong(found: dict[str, np.ndarray]) -> int:
    w, theta, s = (found[k] for k in ("weight", "strength", "sign"))
    return int(np.sum(w != s * np.maximum(theta, 0)))


def refused(share: float) -> bool:
    """Whether a share of mass is refused as the prior's."""
    try:
        laplace_centre(share, 1.0)
    except ValueError:
        return True
    return False


def neuron_table() -> dict[str, Any]:
    """A neuron from rest under constant currents, for a hundred steps."""
    run = lif_rollout(LIF(), jnp.asarray(CURRENTS), 100)
    t, current = np.arange(1, 101), np.asarray(CURRENTS)[:, None]
    return {
        "potential": (np.asarray(run.potentials).T, "1", "potential before firing"),
        "potential_theory": (current * (1 - 0.5**t), "1", "I (1 - (1 - 1/tau)^t)"),
        "spikes": (np.asarray(run.spikes).T, "1", "spikes"),
    }


def slope_at_threshold() -> float:
    """The surrogate derivative of a spike where the potential is the threshold."""
    neuron = LIF()
    return float(jax.grad(lambda m: neuron.fired(m))(neuron.threshold))


def gradients(problem: Any, state: State) -> tuple[int, float, float]:
    """Autodiff through s max(theta, 0) against the redefined gradient: unequal entries, cosine."""
    theta, s = strengths_of(state)

    def through(theta: Params) -> jax.Array:
        return problem.objective(jax.tree.map(lambda t, s: s * jax.nn.relu(t), theta, s))

    true = flat(jax.grad(through)(theta))
    slopes = jax.grad(problem.objective)(state.params)
    redefined = flat(jax.tree.map(jnp.multiply, s, slopes))
    masked = jnp.where(flat(theta) > 0, redefined, 0)
    cosine = true @ redefined / jnp.linalg.norm(true) / jnp.linalg.norm(redefined)
    told = measure(problem, state.params, rewiring_cosine()).value
    return int(jnp.sum(true != masked)), float(cosine), float(told)


def alone(slope: float, start: Array, transform: Any, steps: int) -> np.ndarray:
    """Strengths after every step under a loss of constant slope."""
    problem = Function(lambda w: slope * jnp.sum(w), start=start)
    dynamics = optax_dynamics(transform, SLOW)

    def observed(problem: Problem, state: State) -> Array:
        return flat(strengths_of(state)[0])

    return np.asarray(path(dynamics, problem, start, 1, steps, observed).seen)[1:]


def early() -> np.ndarray:
    """Theta from 5e-5 after one and two steps of Adam; dL/dw is -1, fed while connected."""
    return alone(-1.0, jnp.array([[5e-5]]), grad_r(SLOW, 0.11, accurate=True), 2)[:, 0]


def free_strengths(steps: int) -> xr.Dataset:
    """Strengths without a loss under a prior of alpha 10 and share 0.95, Adam's form."""
    start = jnp.linspace(0.05, 1.0, 8).reshape(2, 4)
    theta = alone(0.0, start, grad_r(SLOW, 10.0), steps)
    # Training time of the prior: the sum of eta_t = eta/(1 - b1^t).
    time = SLOW * np.cumsum(1 / (1 - 0.9 ** np.arange(1, steps + 1)))
    truth = strength_without_loss(np.asarray(start).ravel(), np.log(0.1) / 10, 10.0, time)
    every = slice(None, None, max(1, steps // 400))
    words = "strength without a loss"
    return table(
        {"late entry": {"free": (theta[every], "parameter", words),
                        "free_theory": (truth[every], "parameter", f"{words}, on the line")}},
        late=(np.arange(1, steps + 1)[every], "1", "steps taken"),
        entry=range(8),
    )  # fmt: skip
