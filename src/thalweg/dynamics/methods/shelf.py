"""The shelf: every method with the step size of its theorem, made from constants of the problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optimistix as optx

from thalweg.core.arguments import misfit, told
from thalweg.core.errors import InputError, choose, require
from thalweg.dynamics.descent import gradient_descent
from thalweg.dynamics.dynamics import Discrete
from thalweg.dynamics.methods.accelerated import accelerated_descent
from thalweg.dynamics.methods.agmsdr import agmsdr
from thalweg.dynamics.methods.by_name import armijo, clipped, parabolic, polyak_step
from thalweg.dynamics.methods.newton_type import newton_type
from thalweg.dynamics.methods.perturbed import perturbed_descent
from thalweg.dynamics.optimisers import optimiser
from thalweg.oracles.directions import coordinate

# What theorems take their steps from, and what each method may be told beside.
CONSTANTS = {
    "smoothness": "L, the Lipschitz constant of the gradient.",
    "convexity": "mu, the least curvature of a strongly convex problem.",
    "hessian_lipschitz": "L_2, the Lipschitz constant of the Hessian.",
    "dimensions": "p, the number of parameters.",
    "least": "f_*, the infimum of the objective.",
    "damping": "M that is added to the Hessian.",
    "radius": "Radius of the first trust region, or of the ball that moves are drawn from.",
    "length": "The longest step, over the step size: gradients are clipped to this norm.",
    "krylov": "Dimension of the Krylov space that a step is sought in; 0 for the whole space.",
    "threshold": "Norm up to which a gradient counts as small.",
    "wait": "Steps between moves at least.",
}
COUNTS = ("dimensions", "krylov", "wait")
Given = Mapping[str, Any]


@dataclass(frozen=True)
class MethodEntry:
    """A method of the shelf.

    Attributes:
        about: What it does, in a line.
        assumption: What its theorem asks of the problem.
        step: Its step size in words.
        make: From the constants to the dynamics.
        needs: Constants that must be given.
        parameters: Others that may be, with their defaults.
        rates: Rows of `thalweg.theory.rates.RATES` that speak of it.
        linear: On quadratics it is this method of `thalweg.theory.linear_methods`, if one.
    """

    about: str
    assumption: str
    step: str
    make: Callable[[Given], Discrete]
    needs: tuple[str, ...] = ()
    parameters: Given = field(default_factory=dict)
    rates: tuple[str, ...] = ()
    linear: str = ""


def _heavy_ball(c: Given) -> Discrete:
    big, small = np.sqrt(c["smoothness"]), np.sqrt(c["convexity"])
    step, momentum = (2 / (big + small)) ** 2, ((big - small) / (big + small)) ** 2
    return optimiser("momentum", float(step), momentum=float(momentum))


def _newton(kind: str, number: str) -> Callable[[Given], Discrete]:
    return lambda c: newton_type(kind, float(c.get(number, 1.0)), c["krylov"])


METHODS: dict[str, MethodEntry] = {
    "gradient-descent": MethodEntry(
        "plain descent", "L-smooth", "1/L", lambda c: gradient_descent(1 / c["smoothness"]),
        ("smoothness",), linear="gradient-descent",
        rates=(
            "gradient-descent", "gradient-descent-dominated", "gradient-descent-convex",
            "gradient-descent-quasi-convex",
        ),
    ),
    "tuned-descent": MethodEntry(
        "plain descent, the step best on quadratics", "mu-strongly convex", "2/(L + mu)",
        lambda c: gradient_descent(2 / (c["smoothness"] + c["convexity"])),
        ("smoothness", "convexity"), linear="gradient-descent",
        rates=("gradient-descent-strongly-convex",),
    ),
    "armijo": MethodEntry(
        "steps halved until f falls by half of what its slope foretells", "L-smooth", "searched",
        lambda c: armijo(),
    ),
    "polyak-step": MethodEntry(
        "(f - f_*)/||grad f||^2, from the infimum of f", "convex", "(f - f_*)/||grad f||^2",
        lambda c: polyak_step(c["least"]), ("least",),
    ),
    "clipped": MethodEntry(
        "gradients cut to a length", "(L_0, L_1)-smooth", "1/L",
        lambda c: clipped(1 / c["smoothness"], c["length"]), ("smoothness",), {"length": 1.0},
    ),
    "heavy-ball": MethodEntry(
        "momentum, best on quadratics; elsewhere it may run in cycles", "quadratic, mu to L",
        "(2/(sqrt L + sqrt mu))^2", _heavy_ball, ("smoothness", "convexity"), linear="heavy-ball",
    ),
    "nesterov": MethodEntry(
        "the general schema, optimal start", "convex", "1/L",
        lambda c: accelerated_descent(c["smoothness"], c["convexity"]), ("smoothness",),
        {"convexity": 0.0}, rates=("nesterov",), linear="nesterov",
    ),
    "nesterov-constant": MethodEntry(
        "the general schema, momentum constant", "mu-strongly convex", "1/L",
        lambda c: accelerated_descent(
            c["smoothness"], c["convexity"], c["convexity"] / c["smoothness"]
        ),
        ("smoothness", "convexity"), linear="nesterov",
    ),
    "agmsdr": MethodEntry(
        "accelerated with line searches, no constants", "L-smooth or convex", "searched",
        lambda c: agmsdr(), rates=("agmsdr", "agmsdr-convex"),
    ),
    "coordinate": MethodEntry(
        "one coordinate a step, drawn", "coordinate-wise smooth", "1/L",
        lambda c: gradient_descent(1 / (c["smoothness"] * c["dimensions"]), coordinate()),
        ("smoothness", "dimensions"),
    ),
    "perturbed": MethodEntry(
        "plain descent, moved where its gradient is small", "L, L_2", "1/L and noise",
        lambda c: perturbed_descent(
            1 / c["smoothness"], c["radius"], c["threshold"], c["wait"]
        ),
        ("smoothness",), {"radius": 1e-3, "threshold": 1e-3, "wait": 100},
        rates=("perturbed-descent",),
    ),
    "conjugate-gradients": MethodEntry(
        "nonlinear conjugate gradients, Polak and Ribiere", "smooth", "searched",
        lambda c: parabolic(optx.NonlinearCG, "conjugate gradients"),
    ),
    "bfgs": MethodEntry(
        "quasi-Newton, BFGS updates", "smooth", "searched",
        lambda c: parabolic(optx.BFGS, "BFGS"),
    ),
    "dfp": MethodEntry(
        "quasi-Newton, DFP updates", "smooth", "searched", lambda c: parabolic(optx.DFP, "DFP")
    ),
    "lbfgs": MethodEntry(
        "quasi-Newton of limited memory", "smooth", "searched", lambda c: optimiser("lbfgs")
    ),
    "newton": MethodEntry(
        "to the stationary point of the model, be it a saddle", "near a minimum", "1",
        _newton("newton", ""), parameters={"krylov": 0},
    ),
    "damped-newton": MethodEntry(
        "Levenberg and Marquardt's step with the whole Hessian", "H + M I > 0", "1",
        _newton("damped", "damping"), ("damping",), {"krylov": 0},
    ),
    "saddle-free": MethodEntry(
        "curvatures replaced by their sizes", "smooth", "1", _newton("saddle-free", "damping"),
        parameters={"damping": 1e-6, "krylov": 0},
    ),
    "cubic-newton": MethodEntry(
        "a model with a cubic term, minimised globally", "L_2-Lipschitz Hessian", "M = L_2",
        _newton("cubic", "hessian_lipschitz"), ("hessian_lipschitz",), {"krylov": 0},
        rates=("cubic-newton",),
    ),
    "trust-region": MethodEntry(
        "the quadratic model, minimised over a ball", "smooth", "by success",
        _newton("trust-region", "radius"), parameters={"radius": 1.0, "krylov": 0},
    ),
}  # fmt: skip


def method(name: str, **constants: Any) -> Discrete:
    """A method of the shelf with the step size of its theorem.

    Args:
        name: A key of `METHODS`, as "gradient-descent", "heavy-ball", "nesterov", "agmsdr",
            "cubic-newton", "trust-region", "bfgs" or "perturbed".
        **constants: Those of the problem that its step is made of, by the names in `CONSTANTS`, as
            smoothness=4.0.

    Raises:
        InputError: If the name is unknown, a constant is missing or not positive, or the method
            takes no such constant.

    Examples:
        >>> ball = tw.dynamics.method("heavy-ball", smoothness=100.0, convexity=1.0)
        >>> round(float(ball.learning_rate), 6)  # (2/(10 + 1))^2
        0.033058
    """
    chosen = choose(name, METHODS, "method")
    known = {**chosen.parameters}
    for given, value in constants.items():
        if given not in chosen.needs and given not in chosen.parameters:
            takes = ", ".join((*chosen.needs, *chosen.parameters)) or "none"
            raise InputError(f"{name} takes no constant {given!r}; it takes {takes}")
        known[given] = _within(given, value)
    missing = [need for need in chosen.needs if need not in known]
    require(
        not missing,
        f"{name} takes its step from {' and '.join(chosen.needs)}; give "
        f"{', '.join(f'{need}=' for need in missing)}",
    )
    if {"smoothness", "convexity"} <= set(known):
        mu, L = known["convexity"], known["smoothness"]
        require(
            mu <= L,
            f"convexity came as {mu:g}, above smoothness {L:g}; give the least curvature and the "
            "largest",
        )
    return chosen.make(known)


def _within(name: str, value: Any) -> Any:
    if name in COUNTS:
        least = 0 if name == "krylov" else 1
        fits, words = not misfit(value, int) and value >= least, f"a whole number from {least} on"
    elif name in ("convexity", "least"):
        floor = 0.0 if name == "convexity" else -np.inf
        fits = not misfit(value, float) and floor <= value < np.inf and value > -np.inf
        words = "a number from 0 on" if name == "convexity" else "a finite number"
    else:
        fits = not misfit(value, float) and 0 < value < np.inf
        words = "a positive number"
    require(fits, f"{name} came as {told(value)}; give {words}")
    return int(value) if name in COUNTS else float(value)
