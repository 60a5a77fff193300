"""What an optimiser of PyTorch does to a gradient, read from its own state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from thalweg.core.arguments import told
from thalweg.core.errors import require


class Preconditioner(NamedTuple):
    """Of each weight, how far a gradient that lasts moves it in a step, and what pulls it to zero.

    Attributes:
        gains: 1/D by name, in units of the first group's learning rate; where that is 0, of the
            first which is not, and of all alike where a schedule has set all to 0.
        decays: What is added to the gradient, times the weight (L2 penalty).
        shrinks: What is taken off the weight beside the gradient, in the same units (AdamW).
        threshold: The largest stable eigenvalue of D^{-1/2} (H + decays) D^{-1/2} + shrinks;
            infinite where all learning rates are 0.
    """

    gains: dict[str, np.ndarray]
    decays: dict[str, float]
    shrinks: dict[str, float]
    threshold: float


class _Group(NamedTuple):
    """What a group's rule gives for one weight: 1/D, or None where nothing is known yet."""

    gain: Any
    decay: float
    shrink: float


def _sgd(p: Any, state: Any, group: Any) -> _Group:
    momentum, dampening = group["momentum"], group["dampening"]
    lasting = 1.0 if momentum == 0 else (1 - dampening) / (1 - momentum)
    if group["nesterov"]:  # g + momentum (g + ...): the same in the end
        lasting = 1 / (1 - momentum)
    return _Group(np.full(tuple(p.shape), lasting), group["weight_decay"], 0.0)


def _adam(decoupled: bool) -> Callable[..., _Group]:
    def rule(p: Any, state: Any, group: Any) -> _Group:
        decay = group["weight_decay"]
        apart = decoupled or group.get("decoupled_weight_decay", False)
        decays = (0.0, decay) if apart else (decay, 0.0)
        if "exp_avg_sq" not in state or float(state["step"]) == 0:
            return _Group(None, *decays)
        name = "max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"
        first, second = (1 - beta ** float(state["step"]) for beta in group["betas"])
        root = np.sqrt(_array(state[name]) / second) + group["eps"]
        return _Group(1 / (first * root), *decays)

    return rule


def _rmsprop(p: Any, state: Any, group: Any) -> _Group:
    decay = group["weight_decay"]
    if "square_avg" not in state or float(state["step"]) == 0:
        return _Group(None, decay, 0.0)
    moment = _array(state["square_avg"])
    if group["centered"]:
        moment = moment - _array(state["grad_avg"]) ** 2
    root = np.sqrt(np.maximum(moment, 0)) + group["eps"]
    return _Group(1 / (root * (1 - group["momentum"])), decay, 0.0)


def _adagrad(p: Any, state: Any, group: Any) -> _Group:
    steps = float(state["step"]) if "step" in state else 0
    if steps == 0:
        return _Group(None, group["weight_decay"], 0.0)
    slowed = 1 + (steps - 1) * group["lr_decay"]
    root = np.sqrt(_array(state["sum"])) + group["eps"]
    return _Group(1 / (root * slowed), group["weight_decay"], 0.0)


RULES: dict[str, Callable[..., _Group]] = {
    "SGD": _sgd,
    "Adam": _adam(decoupled=False),
    "AdamW": _adam(decoupled=True),
    "RMSprop": _rmsprop,
    "Adagrad": _adagrad,
}


def check_optimiser(optimiser: Any, names: dict[int, str]) -> None:
    """Refuse what is no optimiser of these weights, or one that is not known.

    Args:
        optimiser: Of `torch.optim`.
        names: Of the weights, by `id`.

    Raises:
        InputError: If it is another one.
    """
    import torch

    require(
        isinstance(optimiser, torch.optim.Optimizer),
        f"optimizer came as {told(optimiser)}; give one of torch.optim, as torch.optim.Adam(...)",
    )
    kind = type(optimiser).__name__
    require(
        kind in RULES,
        f"the preconditioner of {kind} is not known; known are {', '.join(RULES)}: leave optimizer "
        "out to measure the rest",
    )
    groups = optimiser.param_groups
    require(
        any(id(p) in names for group in groups for p in group["params"]),
        f"the {kind} moves none of the module's weights; give the optimizer of this module",
    )
    require(
        not any(group.get("maximize") for group in groups),
        f"the {kind} maximises; give one that descends",
    )


def preconditioner(optimiser: Any, names: dict[int, str]) -> Preconditioner | None:
    """The preconditioner of an optimiser's last step, corrections for the start included.

    A gradient g that lasts moves the weights by -learning rate g / D: D is
    (1 - beta_1^t) (sqrt(v / (1 - beta_2^t)) + epsilon) of Adam and AdamW (Cohen et al. 2022),
    (sqrt(v) + epsilon) (1 - momentum) of RMSprop, sqrt(sum) + epsilon of Adagrad, 1 - momentum
    of SGD.

    Args:
        optimiser: Of `torch.optim`, one of `RULES`.
        names: Of the weights, by `id`.

    Returns:
        None before its first step.
    """
    rule = RULES[type(optimiser).__name__]
    groups = optimiser.param_groups
    unit = next((group for group in groups if _rate(group) > 0), groups[0])
    rate = _rate(unit)
    gains: dict[str, np.ndarray] = {}
    decays: dict[str, float] = {}
    shrinks: dict[str, float] = {}
    for group in groups:
        share = _rate(group) / rate if rate > 0 else 1.0
        for p in group["params"]:
            if id(p) not in names:
                continue
            found = rule(p, optimiser.state.get(p, {}), group)
            if found.gain is None:
                return None
            name = names[id(p)]
            gains[name] = share * found.gain
            decays[name], shrinks[name] = float(found.decay), share * float(found.shrink)
    threshold = _threshold(unit) / rate if rate > 0 else np.inf
    return Preconditioner(gains, decays, shrinks, threshold)


def _threshold(group: Any) -> float:
    """The threshold times the learning rate, of an eigenvalue that a lasting gradient sees.

    Heavy ball, x' = x - eta lambda x + beta (x - x_before), is stable below 2 (1 + beta) / eta;
    a lasting gradient moves 1/(1 - beta) times as far. An averaged gradient (Adam) is the same with
    eta (1 - beta) for eta. Nesterov's is stable below 2 (1 + beta) / (1 + 2 beta) / eta.
    """
    beta = group["betas"][0] if "betas" in group else group.get("momentum", 0.0)
    heavy = 2 * (1 + beta) / (1 - beta)
    return heavy / (1 + 2 * beta) if group.get("nesterov") else heavy


def _rate(group: Any) -> float:
    return float(group["lr"])


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
