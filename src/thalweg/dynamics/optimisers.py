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
from collections.abc import Callable
from typing import Any

import optax
from optax import contrib

from thalweg.core.arguments import misfit
from thalweg.core.errors import InputError, require, unknown
from thalweg.core.ranges import require_positive
from thalweg.dynamics.descent import gradient_descent
from thalweg.dynamics.dynamics import Discrete, step_size_array
from thalweg.dynamics.entropy_descent import entropy_sgd
from thalweg.dynamics.methods.by_name import BY_NAME
from thalweg.dynamics.natural_gradient.entry import kfac
from thalweg.dynamics.noisy_steps import Noisy
from thalweg.dynamics.optax_descent import OptaxDescent, optax_dynamics
from thalweg.dynamics.optax_update import Family
from thalweg.dynamics.optimiser_entry import Optimiser
from thalweg.dynamics.optimiser_parameters import (
    PARAMETER_ALIASES,
    require_within,
)
from thalweg.dynamics.optimisers_in_words import named_in
from thalweg.dynamics.replicated import replicated_sgd
from thalweg.dynamics.rewiring.by_name import REWIRING
from thalweg.dynamics.schedules import Following, Paced, Schedule, as_schedule
from thalweg.dynamics.scoping import Scoped
from thalweg.oracles.batches import MiniBatch, minibatch
from thalweg.oracles.in_words import as_oracle
from thalweg.oracles.oracle import Oracle

# What people type, and what it is called here.
ALIASES = {
    "gd": "sgd", "gradient-descent": "sgd", "descent": "sgd", "sgd+momentum": "momentum",
    "sgdm": "momentum", "heavy-ball": "momentum", "polyak": "momentum", "nag": "nesterov",
    "sgd+nesterov": "nesterov", "adam-w": "adamw", "rms-prop": "rmsprop", "ada-grad": "adagrad",
    "ada-delta": "adadelta", "signsgd": "sign", "sign-sgd": "sign", "l-bfgs": "lbfgs",
    "k-fac": "kfac", "kronecker": "kfac",
    "tuned-descent": "sgd", "cg": "conjugate-gradients", "cubic": "cubic-newton",
    "lm": "levenberg-marquardt", "schedule-free-sgd": "schedule-free", "sharpness-aware": "sam",
    "entropysgd": "entropy-sgd", "esgd": "entropy-sgd", "replicatedsgd": "replicated-sgd",
    "rsgd": "replicated-sgd", "gradr": "grad-r", "gradient-rewiring": "grad-r",
    "deep-rewiring": "deep-r", "deepr": "deep-r", "soft-deep-rewiring": "soft-deep-r",
    "pruning": "magnitude-pruning", "magnitude": "magnitude-pruning",
}  # fmt: skip


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
        lambda rate, decay, epsilon, momentum, initial: optax.rmsprop(
            rate, decay, epsilon, initial, eps_in_sqrt=False, momentum=momentum or None
        ),
        {"decay": 0.99, "epsilon": 1e-8, "momentum": 0.0, "initial": 0.0},
        "RMSProp",
        _heavy_ball,
    ),
    "adagrad": Optimiser(
        "gradient over the root of the sum of its squares and epsilon",
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
        "momentum of each matrix made orthogonal; NAdam for all that is no matrix",
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
    "kfac": Optimiser(
        "natural gradient with Kronecker factors; finds its own damping, step and momentum",
        lambda rate, damping, momentum: kfac(damping, learning_rate=rate, momentum=momentum),
        {"damping": None, "momentum": None},
        "K-FAC",
        whole=True,
        finds=True,
    ),
    "sam": Optimiser(
        "momentum with the gradient taken where a step of ascent leads: two gradients a step",
        lambda rate, radius, momentum: contrib.sam(
            optax.sgd(rate, momentum=momentum),
            optax.chain(contrib.normalize(), optax.sgd(radius)),
            opaque_mode=True,
        ),
        {"radius": 0.05, "momentum": 0.0},
        "SAM",
        _heavy_ball,
    ),
    "entropy-sgd": Optimiser(
        "descent towards the mean of an inner loop held near: on the local entropy",
        entropy_sgd,
        {
            "inner_steps": 5, "inner_rate": 0.1, "averaging": 0.75, "noise": 1e-4,
            "momentum": 0.9, "coupling": None, "coupling_steps": 1000,
        },
        "Entropy-SGD",
        rate=0.15,
        whole=True,
    ),
    "replicated-sgd": Optimiser(
        "copies drawn to each other ever more; their mean is told",
        replicated_sgd,
        {"replicas": 3, "momentum": 0.9, "coupling": None, "coupling_steps": 1000},
        "Replicated-SGD",
        rate=0.1,
        whole=True,
    ),
    **BY_NAME,
    **REWIRING,
}  # fmt: skip


def optimiser(
    name: str,
    learning_rate: float | None = None,
    *,
    schedule: Callable[[Any], Any] | str | None = None,
    batch: int | None = None,
    oracle: Oracle | str | None = None,
    **parameters: Any,
) -> Discrete:
    """An optimiser by name, as a dynamics whose clock is comparable with gradient flow.

    Args:
        name: A key of `OPTIMISERS` (sgd, momentum, nesterov, adam, adamw, nadam, amsgrad, rmsprop,
            adagrad, adadelta, lion, sign, muon, lbfgs, schedule-free, kfac, sam, entropy-sgd,
            replicated-sgd, armijo, polyak-step, clipped, accelerated, nesterov-constant, agmsdr,
            coordinate, svrg, saga, sarah, spider, perturbed, conjugate-gradients, bfgs, dfp,
            natural-gradient, gauss-newton, constant-kfac, relaxed-newton, newton, damped-newton,
            saddle-free, cubic-newton, trust-region, levenberg-marquardt, grad-r, deep-r,
            soft-deep-r, magnitude-pruning), or what people type for it; with numbers behind it, as
            "adam(0.001, b1=0.8)", if one likes.
        learning_rate: As Optax takes it. `lbfgs` and `adadelta` have 1 by default,
            `replicated-sgd` 0.1, `entropy-sgd` 0.15, `kfac` finds its own; what searches its steps
            (armijo, polyak-step, agmsdr, conjugate-gradients, bfgs, dfp, newton and what follows
            it) takes none.
        schedule: What the learning rate is multiplied by at each step: cosine(1000), linear(1000),
            exponential(1000), inverse-root(1000), staircase(1000) or constant, the first two with
            end=0.1, all with warmup=100 steps. In Python a function of the number of steps taken,
            too: `optax.cosine_decay_schedule(1.0, 1000)`.
        batch: Examples in a mini-batch, short for an oracle minibatch(batch); all of them by
            default. Of svrg, saga, sarah and spider the batch that they correct, 1 by default.
        oracle: What its steps see of the problem, as "label_noise(0.1)"; `thalweg list oracles` has
            the names. In Python the oracle itself, too: `tw.oracles.label_noise(0.1)`.
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
    if "(" in name:
        words = named_in(name)
        twice = [n for n in words.parameters if n in parameters]
        both = words.learning_rate is not None and learning_rate is not None
        require(
            not twice and not both,
            f"{'learning_rate' if both else ''.join(twice[:1])} came twice, in {name!r} as well; "
            "give it once",
        )
        name, parameters = words.name, {**words.parameters, **parameters}
        learning_rate = words.learning_rate if learning_rate is None else learning_rate
    chosen = optimiser_named(name)
    entry = OPTIMISERS[chosen]
    if "lr" in parameters:
        require(learning_rate is None, "learning_rate came twice, as lr as well; give it once")
        learning_rate = parameters.pop("lr")
    if not entry.rated:
        require(
            learning_rate is None,
            f"{chosen} has no learning rate, for it finds the size of its steps itself; leave "
            "learning_rate= out",
        )
    elif learning_rate is None:
        if entry.rate is None and not entry.finds:
            raise InputError(f"{chosen} needs a learning rate: give learning_rate=")
        learning_rate = entry.rate
    if learning_rate is not None:
        require_positive(learning_rate=learning_rate)
    values = dict(entry.parameters)
    for given, value in parameters.items():
        meant = given if given in values else PARAMETER_ALIASES.get(given, given)
        if meant not in values:
            raise InputError(_no_such_parameter(chosen, given))
        require_within(chosen, meant, value)
        values[meant] = value
    require(batch is None or oracle is None, "both batch and oracle came; give one of them")
    factor = None if schedule is None else as_schedule(schedule)
    require(
        factor is None or (entry.rated and not (entry.whole or entry.alone or entry.corrects)),
        f"{chosen} takes no schedule, for it {'sets' if entry.rated else 'finds'} the size of its "
        "steps in its own way; leave schedule= out",
    )
    seen = None if oracle is None else as_oracle(oracle)
    seen = seen if batch is None else minibatch(batch)
    descent: Discrete
    if entry.corrects:
        require(
            seen is None or isinstance(seen, MiniBatch),
            f"{chosen} draws batches of its own and corrects them; leave oracle out, or give their "
            "size as batch",
        )
        size = 1 if seen is None else seen.batch  # type: ignore[attr-defined]
        return entry.make(learning_rate, size, **values)
    if not entry.rated:
        descent = entry.make(**values)
    elif entry.whole:
        descent = entry.make(learning_rate, **values)
    else:
        assert learning_rate is not None
        if chosen == "sgd" and factor is None:
            return gradient_descent(learning_rate, seen)
        descent = _made(entry, learning_rate, values, factor)
    if seen is None:
        return descent
    require(
        not isinstance(descent, Noisy),
        f"{chosen} sees one coordinate of all examples; leave batch and oracle out",
    )
    if isinstance(descent, Scoped):  # each inner step, or copy, sees its own
        return dataclasses.replace(descent, oracle=seen)
    return Noisy(descent, seen)


def _made(
    entry: Optimiser,
    learning_rate: float,
    values: dict[str, Any],
    factor: Callable[[Any], Any] | None,
) -> OptaxDescent:
    """The optimiser with its parameters, on all examples."""
    numbers = {name: _plain(value) for name, value in values.items()}
    settings: tuple[tuple[str, Any], ...] = tuple(numbers.items())
    rate = step_size_array(float(learning_rate))
    make, step = (
        entry.make,
        learning_rate if entry.clock is None else entry.clock(learning_rate, **values),
    )
    if entry.alone:
        made = optax_dynamics(make(learning_rate, **values), step, entry.label)
        return dataclasses.replace(
            made, settings=(("learning_rate", _plain(learning_rate)), *settings)
        )
    clock: Any = step_size_array(float(step))
    if factor is not None:
        clock = Paced(rate, factor, entry.clock, settings)
        make = Following(make, factor)
        settings += (("schedule", str(factor)),) if isinstance(factor, Schedule) else ()
    return OptaxDescent(
        None, clock, entry.label, settings=settings, reseed=entry.draws,
        family=Family(make, tuple(numbers.items())), learning_rate=rate,
    )  # fmt: skip


def _plain(value: Any) -> float:
    return int(value) if not misfit(value, int) else float(value)


def optimiser_named(name: str) -> str:
    """The key of `OPTIMISERS` that a name means, however it is written."""
    plain = name.strip().lower().replace("_", "-").replace(" ", "-")
    plain = ALIASES.get(plain, plain)
    if plain not in OPTIMISERS:
        raise InputError(unknown(name, OPTIMISERS, "optimiser"))
    return plain


def _no_such_parameter(name: str, given: str) -> str:
    entry = OPTIMISERS[name]
    own = entry.parameters
    has = ", ".join(f"{known}={value:g}" for known, value in own.items() if value is not None)
    return (
        f"{name} has no parameter {given!r}; it has {'a' if entry.rated else 'no'} learning rate "
        f"and {has or 'no others'}{' (defaults)' if has else ''}"
    )
