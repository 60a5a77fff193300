"""Optimisers by the names that people type, each over Optax, with its parameters and their meaning.

The clock of each, the training time of a step, is how far a lasting gradient moves the parameters
over its size, where that is defined: the learning rate of plain descent, and 1/(1 - momentum) times
that of heavy ball and Nesterov. At equal time these are then where gradient flow is. An adaptive
method moves by its learning rate, whatever the gradient: its clock counts that, by convention for
those without a flow of their own (AdaDelta, Lion, sign descent, Muon). AdaGrad counts the square of
its learning rate, on which clock its flow does not know the learning rate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optax
from optax import contrib

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import InputError, require, unknown
from thalweg.dynamics.descent import gradient_descent
from thalweg.dynamics.dynamics import Discrete, step_size_array
from thalweg.dynamics.noisy_steps import Noisy
from thalweg.dynamics.optax_descent import OptaxDescent, optax_dynamics
from thalweg.dynamics.optax_update import Family
from thalweg.oracles.batches import minibatch
from thalweg.oracles.oracle import Oracle

# What a parameter means, for every optimiser that has it.
PARAMETERS = {
    "momentum": "Share of the last step that the next one keeps, from 0 to below 1.",
    "b1": "Decay of the average of gradients, from 0 to below 1.",
    "b2": "Decay of the average of squared gradients, from 0 to below 1.",
    "decay": "Decay of the average of squared gradients, from 0 to below 1.",
    "rho": "Decay of the averages of squared gradients and squared steps, from 0 to below 1.",
    "epsilon": "Added to the root of the second moment, so that small gradients are not blown up.",
    "weight_decay": "Decoupled decay of the weights, per step and unit of the learning rate.",
    "initial": "What the sum of squared gradients begins with.",
    "memory": "How many past steps the curvature is estimated from.",
    "newton_schulz": "Newton-Schulz iterations that make a matrix of momentum orthogonal.",
    "warmup": "Steps over which the learning rate rises from 0.",
}
# What people type, and what it is called here.
ALIASES = {
    "gd": "sgd", "gradient-descent": "sgd", "descent": "sgd", "sgd+momentum": "momentum",
    "sgdm": "momentum", "heavy-ball": "momentum", "polyak": "momentum", "nag": "nesterov",
    "sgd+nesterov": "nesterov", "adam-w": "adamw", "rms-prop": "rmsprop", "ada-grad": "adagrad",
    "ada-delta": "adadelta", "signsgd": "sign", "sign-sgd": "sign", "l-bfgs": "lbfgs",
    "bfgs": "lbfgs", "schedule-free-sgd": "schedule-free",
}  # fmt: skip
PARAMETER_ALIASES = {
    "beta": "momentum", "beta1": "b1", "beta2": "b2", "eps": "epsilon", "wd": "weight_decay",
    "alpha": "decay", "ns_steps": "newton_schulz", "memory_size": "memory",
    "warmup_steps": "warmup", "initial_accumulator_value": "initial",
}  # fmt: skip
SHARES = ("momentum", "b1", "b2", "decay", "rho")  # from 0 to below 1
COUNTS = ("memory", "newton_schulz", "warmup")


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
        alone: Whether what is made hangs on the learning rate in more than a number.
    """

    about: str
    make: Callable[..., Any]
    parameters: Mapping[str, float | int | None] = field(default_factory=dict)
    label: str = ""
    clock: Callable[..., float] | None = None
    rate: float | None = None
    alone: bool = False


def _heavy_ball(rate: float, momentum: float, **_: Any) -> float:
    return rate / (1 - momentum)


def _squared(rate: float, **_: Any) -> float:
    return rate**2


_MOMENTS = {"b1": 0.9, "b2": 0.999, "epsilon": 1e-8}

OPTIMISERS: dict[str, Optimiser] = {
    "sgd": Optimiser(
        "plain descent along the gradient, of all examples or of a mini-batch",
        lambda rate: optax.sgd(rate),
        label="gradient descent",
    ),
    "momentum": Optimiser(
        "heavy ball: a share of the last step is kept",
        lambda rate, momentum: optax.sgd(rate, momentum=momentum),
        {"momentum": 0.9},
        "momentum",
        _heavy_ball,
    ),
    "nesterov": Optimiser(
        "momentum with the gradient taken ahead",
        lambda rate, momentum: optax.sgd(rate, momentum=momentum, nesterov=True),
        {"momentum": 0.9},
        "Nesterov momentum",
        _heavy_ball,
    ),
    "adam": Optimiser(
        "averaged gradient over the root of the averaged square",
        lambda rate, b1, b2, epsilon: optax.adam(rate, b1, b2, epsilon),
        _MOMENTS,
        "Adam",
    ),
    "adamw": Optimiser(
        "Adam with decoupled weight decay",
        lambda rate, b1, b2, epsilon, weight_decay: optax.adamw(
            rate, b1, b2, epsilon, weight_decay=weight_decay
        ),
        _MOMENTS | {"weight_decay": 1e-4},
        "AdamW",
    ),
    "nadam": Optimiser(
        "Adam with Nesterov's momentum",
        lambda rate, b1, b2, epsilon: optax.nadam(rate, b1, b2, epsilon),
        _MOMENTS,
        "NAdam",
    ),
    "amsgrad": Optimiser(
        "Adam whose second moment never falls",
        lambda rate, b1, b2, epsilon: optax.amsgrad(rate, b1, b2, epsilon),
        _MOMENTS,
        "AMSGrad",
    ),
    "rmsprop": Optimiser(
        "gradient over the root of its averaged square; heavy-ball momentum if asked for",
        lambda rate, decay, epsilon, momentum: optax.rmsprop(
            rate, decay, epsilon, eps_in_sqrt=False, momentum=momentum or None
        ),
        {"decay": 0.99, "epsilon": 1e-8, "momentum": 0.0},
        "RMSProp",
        _heavy_ball,
    ),
    "adagrad": Optimiser(
        "gradient over the root of the sum of its squares",
        lambda rate, initial, epsilon: optax.adagrad(rate, initial, epsilon),
        {"initial": 0.1, "epsilon": 1e-7},
        "AdaGrad",
        _squared,
    ),
    "adadelta": Optimiser(
        "gradient over its averaged size, times that of past steps",
        lambda rate, rho, epsilon: optax.adadelta(rate, rho, epsilon),
        {"rho": 0.9, "epsilon": 1e-6},
        "AdaDelta",
        rate=1.0,
    ),
    "lion": Optimiser(
        "the sign of an averaged gradient, with decoupled weight decay",
        lambda rate, b1, b2, weight_decay: optax.lion(rate, b1, b2, weight_decay=weight_decay),
        {"b1": 0.9, "b2": 0.99, "weight_decay": 1e-3},
        "Lion",
    ),
    "sign": Optimiser(
        "the sign of the gradient in every coordinate",
        lambda rate: optax.sign_sgd(rate),
        label="sign descent",
    ),
    "muon": Optimiser(
        "momentum of each matrix made orthogonal; Adam for all that is no matrix",
        lambda rate, momentum, newton_schulz, b1, b2, epsilon, weight_decay: contrib.muon(
            rate, ns_steps=newton_schulz, beta=momentum, eps=epsilon, weight_decay=weight_decay,
            adam_b1=b1, adam_b2=b2,
        ),
        {"momentum": 0.95, "newton_schulz": 5, **_MOMENTS, "weight_decay": 0.0},
        "Muon",
    ),
    "lbfgs": Optimiser(
        "quasi-Newton steps with a line search; a step counts its learning rate, 1 as a rule",
        lambda rate, memory: optax.lbfgs(None if rate == 1 else rate, memory),
        {"memory": 10},
        "L-BFGS",
        rate=1.0,
        alone=True,
    ),
    "schedule-free": Optimiser(
        "descent at an interpolation of its iterate and the average of all, in place of a schedule",
        lambda rate, b1, warmup: contrib.schedule_free_sgd(rate, warmup or None, b1),
        {"b1": 0.9, "warmup": 0},
        "schedule-free descent",
        alone=True,
    ),
}  # fmt: skip


def optimiser(
    name: str,
    learning_rate: float | None = None,
    *,
    batch: int | None = None,
    oracle: Oracle | None = None,
    **parameters: Any,
) -> Discrete:
    """An optimiser by name, as a dynamics whose clock is comparable with gradient flow.

    Args:
        name: A key of `OPTIMISERS` (sgd, momentum, nesterov, adam, adamw, nadam, amsgrad, rmsprop,
            adagrad, adadelta, lion, sign, muon, lbfgs, schedule-free), or what people type for it.
        learning_rate: As Optax takes it. `lbfgs` and `adadelta` have 1 by default, others none.
        batch: Examples in a mini-batch, short for `oracle=tw.oracles.minibatch(batch)`; all of them
            by default.
        oracle: What its steps see of the problem, as `tw.oracles.label_noise(0.1)`.
        **parameters: Those of the optimiser, as momentum=0.9, or as b1=, b2= and epsilon= of Adam;
            the others have their defaults.

    Returns:
        A dynamics. Plain sgd is `gradient_descent`.

    Raises:
        InputError: If the name is unknown, the optimiser has no such parameter, or a value is out
            of its range; the sentence says what the optimiser has.

    Examples:
        >>> tw.dynamics.optimiser("sgd", 0.1) == tw.gradient_descent(0.1)
        Array(True, dtype=bool)
        >>> ball = tw.dynamics.optimiser("momentum", 0.01, momentum=0.9)
        >>> round(float(ball.clock(np.array([10]))[0]), 9)  # ten steps of 0.01/(1 - 0.9)
        1.0
    """
    chosen = _named(name)
    entry = OPTIMISERS[chosen]
    if "lr" in parameters:
        require(learning_rate is None, "learning_rate came twice, as lr as well; give it once")
        learning_rate = parameters.pop("lr")
    if learning_rate is None:
        if entry.rate is None:
            raise InputError(f"{chosen} needs a learning rate: give learning_rate=")
        learning_rate = entry.rate
    _positive("learning_rate", learning_rate)
    values = dict(entry.parameters)
    for given, value in parameters.items():
        meant = given if given in values else PARAMETER_ALIASES.get(given, given)
        if meant not in values:
            raise InputError(_no_such_parameter(chosen, given))
        _within(chosen, meant, value)
        values[meant] = value
    require(batch is None or oracle is None, "both batch and oracle came; give one of them")
    seen = oracle if batch is None else minibatch(batch)
    if chosen == "sgd":
        return gradient_descent(learning_rate, seen)
    descent = _made(entry, learning_rate, values)
    return descent if seen is None else Noisy(descent, seen)


def _made(entry: Optimiser, learning_rate: float, values: dict[str, Any]) -> OptaxDescent:
    """The optimiser with its parameters, on all examples."""
    step = learning_rate if entry.clock is None else entry.clock(learning_rate, **values)
    numbers = {name: _plain(value) for name, value in values.items()}
    if entry.alone:
        made = optax_dynamics(entry.make(learning_rate, **values), step, entry.label)
        settings = ("learning_rate", _plain(learning_rate)), *numbers.items()
        return dataclasses.replace(made, settings=settings)
    family = Family(entry.make, tuple(numbers.items()))
    rate = step_size_array(float(learning_rate))
    return OptaxDescent(
        None, step_size_array(float(step)), entry.label, settings=tuple(numbers.items()),
        family=family, learning_rate=rate,
    )  # fmt: skip


def _plain(value: Any) -> float:
    return int(value) if not misfit(value, int) else float(value)


def _named(name: str) -> str:
    """The key of a name, however it is written."""
    plain = name.strip().lower().replace("_", "-").replace(" ", "-")
    plain = ALIASES.get(plain, plain)
    if plain not in OPTIMISERS:
        raise InputError(unknown(name, OPTIMISERS, "optimiser"))
    return plain


def _no_such_parameter(name: str, given: str) -> str:
    own = OPTIMISERS[name].parameters
    has = ", ".join(f"{known}={value:g}" for known, value in own.items() if value is not None)
    return (
        f"{name} has no parameter {given!r}; it has a learning rate and "
        f"{has or 'no others'}{' (defaults)' if has else ''}"
    )


def _positive(name: str, value: Any) -> None:
    wanted = misfit(value, float)
    require(
        not wanted and 0 < value < float("inf"),
        f"{name} came as {told(value)}; give a positive number, as in 0.1",
    )


def _within(optimiser: str, name: str, value: Any) -> None:
    """Refuse a value that a parameter cannot have."""
    if name in COUNTS:
        allowed, least = misfit(value, int), 0 if name == "warmup" else 1
        fits, words = not allowed and value >= least, f"a whole number from {least} on"
    elif name in SHARES:
        allowed = misfit(value, float)
        fits, words = not allowed and 0 <= value < 1, "a number from 0 to below 1"
    else:
        allowed = misfit(value, float)
        fits, words = not allowed and 0 <= value < float("inf"), "a number from 0 on"
    require(fits, f"{name} of {optimiser} came as {told(value)}; give {words}")
