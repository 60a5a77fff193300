"""The table of rates: method, assumption, step, complexity, and the bound of each theorem.

Danilova et al. (2022) tabulate what can be proved of methods for non-convex minimisation; Benning
(2021) does so for convex ones. Delta = f(x_0) - f_*, R = ||x_0 - x*||, N steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.core.errors import choose, require
from thalweg.theory.prediction import Prediction, make_prediction

SURVEY = "Danilova et al. (2022)"
THESIS = "Benning (2021)"
# What the bounds are made of, in the words of `thalweg.probes`' assumptions.
CONSTANTS = {
    "smoothness": "L: ||grad f(x) - grad f(y)|| <= L ||x - y||",
    "convexity": "mu of strong convexity, or 0",
    "domination": "mu of Polyak-Lojasiewicz: ||grad f||^2 >= 2 mu (f - f_*)",
    "quasi_convexity": "alpha: <grad f(x), x - x*> >= alpha (f(x) - f_*)",
    "hessian_lipschitz": "L_2: ||H(x) - H(y)|| <= L_2 ||x - y||",
    "variance": "sigma^2/r, of the gradient that is shown",
    "gap": "Delta = f(x_0) - f_*",
    "distance": "R = ||x_0 - x*||",
    "step_size": "h; the theorem's where none is given",
    "dimensions": "n",
    "error": "relative error of the gradient, ||g - grad f||/||grad f||",
}
MEASURES = {
    "least_squared_gradient": ("loss^2/parameter^2", "least ||grad f||^2 up to step N"),
    "mean_squared_gradient": ("loss^2/parameter^2", "mean ||grad f||^2 over steps before N"),
    "gap": ("loss", "f(x_N) - f_*"),
    "distance": ("parameter", "||x_N - x*||"),
    "least_step": ("parameter", "shortest step up to N"),
}


@dataclass(frozen=True)
class Rate:
    """A row of the table: what a theorem says of a method.

    Attributes:
        method: The method, in words.
        assumption: What the problem must satisfy.
        step: The step size, or what stands for it.
        complexity: What it costs to ||grad f|| <= eps, or f - f_* <= eps_f where that is said.
        measure: What is bounded: a key of `MEASURES`.
        exponent: Of N in the bound, as N grows; NaN for geometric decay.
        bound: From N and the constants to the bound.
        needs: The constants that it needs: keys of `CONSTANTS`.
        step_size: The theorem's step size, from the constants.
        source: Where it is from.
        quoted: Whether the row is only quoted: nothing here is held against it.
    """

    method: str
    assumption: str
    step: str
    complexity: str
    measure: str = ""
    exponent: float = float("nan")
    bound: Callable[..., Any] | None = None
    needs: tuple[str, ...] = ()
    step_size: Callable[[Mapping[str, float]], float] | None = None
    source: str = SURVEY
    quoted: bool = field(default=False)


def _inverse(c: Mapping[str, float]) -> float:
    return 1 / c["smoothness"]


def _descent(N: Any, c: Mapping[str, float]) -> Any:
    h, L = c["step_size"], c["smoothness"]
    return c["gap"] / (N * h * (1 - L * h / 2))


def _dominated(N: Any, c: Mapping[str, float]) -> Any:
    a, rate = c["error"], c["domination"] / c["smoothness"]
    return (1 - rate * ((1 - a) / (1 + a)) ** 2) ** N * c["gap"]


def _convex(N: Any, c: Mapping[str, float]) -> Any:
    h, L = c["step_size"], c["smoothness"]
    return 2 * L * c["distance"] ** 2 / (4 + N * L * h * (2 - L * h))


def _strongly_convex(N: Any, c: Mapping[str, float]) -> Any:
    h, L, mu = c["step_size"], c["smoothness"], c["convexity"]
    # At mu = L the factor is 0, which rounding may turn negative.
    return max(1 - 2 * h * L * mu / (L + mu), 0.0) ** (N / 2) * c["distance"]


def _optimal(N: Any, c: Mapping[str, float]) -> Any:
    """2 mu R^2/(e^(n/(2 sqrt kappa)) - e^(-n/(2 sqrt kappa)))^2, 2 L R^2/n^2 as mu goes to 0."""
    L, mu = c["smoothness"], c["convexity"]
    if mu == 0:
        return 2 * L * c["distance"] ** 2 / N**2
    with np.errstate(over="ignore"):
        return 2 * mu * c["distance"] ** 2 / (2 * np.sinh(N / 2 * np.sqrt(mu / L))) ** 2


def _quasi_convex(N: Any, c: Mapping[str, float]) -> Any:
    return (c["smoothness"] * c["distance"] ** 2 + 2 * c["gap"]) / (2 * c["quasi_convexity"] * N)


def _cubic(N: Any, c: Mapping[str, float]) -> Any:
    return (12 * c["gap"] / (c["hessian_lipschitz"] * N)) ** (1 / 3)


def _sgd(N: Any, c: Mapping[str, float]) -> Any:
    h = c["step_size"]
    return 2 * c["gap"] / (h * N) + c["smoothness"] * h * c["variance"]


def _refreshed(N: Any, c: Mapping[str, float]) -> Any:
    return 2 * c["gap"] / (c["step_size"] * N)


def _random_direction(N: Any, c: Mapping[str, float]) -> Any:
    return 8 * (c["dimensions"] + 4) * c["smoothness"] * c["gap"] / N


def _relative(c: Mapping[str, float]) -> float:
    return (1 - c["error"]) / (c["smoothness"] * (1 + c["error"]) ** 2)


RATES: dict[str, Rate] = {
    "gradient-descent": Rate(
        "gradient descent", "L-smooth", "1/L", "L Delta/eps^2", "least_squared_gradient", -1,
        _descent, ("smoothness", "gap", "step_size"), _inverse, f"{SURVEY}, E1",
    ),
    "gradient-descent-dominated": Rate(
        "gradient descent", "Polyak-Lojasiewicz mu", "1/L", "(L/mu) ln(1/eps_f)", "gap",
        float("nan"), _dominated, ("smoothness", "domination", "gap", "error"), _relative,
        f"{SURVEY}, E9",
    ),
    "gradient-descent-convex": Rate(
        "gradient descent", "convex", "1/L", "L R^2/eps_f", "gap", -1, _convex,
        ("smoothness", "distance", "step_size"), _inverse, f"{THESIS}, E3",
    ),
    "gradient-descent-strongly-convex": Rate(
        "gradient descent", "mu-strongly convex", "2/(L + mu)", "(L/mu) ln(1/eps_f)", "distance",
        float("nan"), _strongly_convex, ("smoothness", "convexity", "distance", "step_size"),
        lambda c: 2 / (c["smoothness"] + c["convexity"]), f"{THESIS}, E4",
    ),
    "gradient-descent-quasi-convex": Rate(
        "gradient descent", "alpha-weakly quasi-convex", "1/L", "L R^2/(alpha eps_f)", "gap", -1,
        _quasi_convex, ("smoothness", "quasi_convexity", "distance", "gap"), _inverse,
        f"{SURVEY}, E10 (derived)",
    ),
    "nesterov": Rate(
        "Nesterov, optimal start", "convex", "1/L", "sqrt(L R^2/eps_f)", "gap", -2, _optimal,
        ("smoothness", "convexity", "distance"), _inverse, f"{THESIS}, E13",
    ),
    "agmsdr": Rate(
        "AGMsDR", "L-smooth", "line searches", "L Delta/eps^2", "least_squared_gradient", -1,
        _descent, ("smoothness", "gap", "step_size"), _inverse, f"{SURVEY}, E5",
    ),
    "agmsdr-convex": Rate(
        "AGMsDR", "convex", "line searches", "sqrt(L R^2/eps_f)", "gap", -2,
        lambda N, c: 2 * c["smoothness"] * c["distance"] ** 2 / N**2,
        ("smoothness", "distance"), None, f"{SURVEY}, E5",
    ),
    "cubic-newton": Rate(
        "cubic Newton", "L_2-Lipschitz Hessian", "M = L_2", "eps^(-3/2) steps, second order",
        "least_step", -1 / 3, _cubic, ("hessian_lipschitz", "gap"), None, f"{SURVEY}, E11",
    ),
    "sgd": Rate(
        "SGD", "L-smooth, variance sigma^2", "1/(2 L), batch sigma^2/eps^2",
        "L Delta sigma^2/eps^4", "mean_squared_gradient", -1, _sgd,
        ("smoothness", "gap", "variance", "step_size"), lambda c: 1 / (2 * c["smoothness"]),
        f"{SURVEY}, E3",
    ),
    "page": Rate(
        "PAGE", "average smooth", "E8", "m + sqrt(m)/eps^2", "mean_squared_gradient", -1,
        _refreshed, ("gap", "step_size"), None, f"{SURVEY}, E8",
    ),
    "random-direction": Rate(
        "RG (zeroth order)", "L-smooth", "1/(4 (n + 4) L)", "n L Delta/eps^2",
        "mean_squared_gradient", -1, _random_direction, ("smoothness", "gap", "dimensions"),
        lambda c: 1 / (4 * (c["dimensions"] + 4) * c["smoothness"]), f"{SURVEY}, E14",
    ),
    "sgd-strong-growth": Rate(
        "SGD", "strong growth alpha", "1/(alpha L)", "alpha L Delta/eps^2", quoted=True
    ),
    "svrg": Rate("SVRG, SAGA", "finite sum", "1/(3 L), batch m^(2/3)", "m + m^(2/3)/eps^2",
        quoted=True),
    "spider": Rate("SPIDER, SARAH", "average smooth", "1/(2 L_av), q = r = sqrt(m)",
        "m + sqrt(m)/eps^2", quoted=True),
    "storm": Rate("STORM", "online, smooth samples", "decreasing", "eps^-3", quoted=True),
    "adaptive": Rate("AdaGrad, Adam", "bounded gradients", "fixed", "eps^-4", quoted=True),
    "perturbed-descent": Rate(
        "perturbed descent", "L, L_2", "1/L and noise", "eps^-2 polylog, second order", quoted=True
    ),
    "stochastic-cubic": Rate(
        "stochastic cubic Newton", "L_2-Lipschitz Hessian", "batches", "eps^(-7/2)", quoted=True
    ),
    "tensor": Rate("tensor method of order p", "p-th derivative", "", "eps^(-(p + 1)/p)",
        quoted=True),
}  # fmt: skip


def theorem_bound(name: str, steps: ArrayLike, **constants: float) -> np.ndarray:
    """The bound of a theorem after N steps; inf at N = 0.

    Args:
        name: A key of `RATES`.
        steps: N.
        **constants: Those that it needs, by the names in `CONSTANTS`; `step_size` is the theorem's
            where it is not given, `error` 0.

    Returns:
        The bound on what `RATES[name].measure` names.

    Raises:
        InputError: If the name is unknown, the row is only quoted, or a constant is missing.

    Examples:
        >>> from thalweg.theory.optimisers.rates import theorem_bound
        >>> float(theorem_bound("gradient-descent", 10, smoothness=2.0, gap=5.0))  # 2 L Delta/N
        2.0
    """
    row = choose(name, RATES, "rate")
    require(row.bound is not None, f"the rate {name!r} is quoted without constants; take another")
    known = complete(name, constants)
    N = np.asarray(steps, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = row.bound(N, known)  # type: ignore[misc]
    return np.where(N > 0, found, np.inf)


def complete(name: str, constants: Mapping[str, float]) -> dict[str, float]:
    """The constants of a row with the theorem's step size where none is given.

    Raises:
        InputError: If one is missing or unknown.

    Examples:
        >>> from thalweg.theory.optimisers.rates import complete
        >>> complete("gradient-descent", {"smoothness": 2.0, "gap": 1.0})["step_size"]
        0.5
    """
    row = choose(name, RATES, "rate")
    for given in constants:
        choose(given, CONSTANTS, "constant")
    known = {"error": 0.0, **constants}
    free = set() if row.step_size is None else {"step_size"}
    missing = [need for need in row.needs if need not in known and need not in free]
    require(
        not missing,
        f"the rate {name!r} needs {', '.join(row.needs)}; give {'= and '.join(missing)}=",
    )
    if row.step_size is not None and "step_size" not in known:
        known["step_size"] = row.step_size(known)
    return known


def rate_prediction(name: str, step_time: float, **constants: float) -> Prediction:
    """The bound of a theorem as a prediction on the clock of its run.

    Args:
        name: A key of `RATES`.
        step_time: Training time of a step.
        **constants: As for `theorem_bound`.

    Raises:
        InputError: As for `theorem_bound`.

    Examples:
        >>> from thalweg.theory.optimisers.rates import rate_prediction
        >>> bound = rate_prediction("gradient-descent", 0.5, smoothness=2.0, gap=5.0)
        >>> bound.kind, float(bound.at(5.0))
        ('upper', 2.0)
    """
    row = choose(name, RATES, "rate")
    theorem_bound(name, 1, **constants)  # refuse what cannot be bounded before it is asked for
    unit, _ = MEASURES[row.measure]
    return make_prediction(
        row.measure, unit, "upper", f"{row.method}, step {row.step}; {row.assumption}",
        lambda t: theorem_bound(name, np.round(np.asarray(t, float) / step_time), **constants),
        row.source,
    )  # fmt: skip


def momentum_schedule(
    condition_inverse: float, steps: int, first: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """gamma_n and beta_n of Nesterov's general schema.

    gamma_{n+1} = ((1/kappa - gamma_n^2) + sqrt((1/kappa - gamma_n^2)^2 + 4 gamma_n^2))/2,
    beta_n = gamma_n (1 - gamma_n)/(gamma_{n+1} + gamma_n^2).

    Args:
        condition_inverse: 1/kappa = mu/L; 0 for convex problems.
        steps: How many beta_n.
        first: The first gamma: sqrt(1/kappa_0), or 1 for the optimal start.

    Returns:
        gamma, shape (steps + 1,), and beta, shape (steps,).

    Source: Benning (2021), E12; Nesterov (2018), section 2.2.

    Examples:
        >>> from thalweg.theory.optimisers.rates import momentum_schedule
        >>> gamma, beta = momentum_schedule(0.0, 2)  # 1/t_n, t_{n+1} = (1 + sqrt(1 + 4 t_n^2))/2
        >>> round(float(1 / gamma[1]), 6), float(beta[0])
        (1.618034, 0.0)
    """
    q, gamma = float(condition_inverse), [1.0 if first is None else float(first)]
    require(0 <= q <= 1, f"condition_inverse came as {q:g}; give a number from 0 to 1")
    for _ in range(steps):
        g = gamma[-1]
        gamma.append(((q - g**2) + np.sqrt((q - g**2) ** 2 + 4 * g**2)) / 2)
    all_of = np.array(gamma)
    now, after = all_of[:-1], all_of[1:]
    return all_of, now * (1 - now) / (after + now**2)


def schema_bound(
    condition_inverse: float, first_inverse: float, smoothness: float, gap: float,
    distance: float, steps: int,
) -> np.ndarray:  # fmt: skip
    """The bound of the general schema at steps 0 to n: Gamma^n (Delta + (L/(2 kappa_0)) R^2).

    Gamma^n = prod_k (1 - gamma_k), k = 1 ... n, gamma_0 = kappa_0^(-1/2), from w_{-1} = w_0.

    Args:
        condition_inverse: 1/kappa.
        first_inverse: 1/kappa_0.
        smoothness: L.
        gap: Delta.
        distance: R.
        steps: n.

    Source: Benning (2021), E12.

    Examples:
        >>> from thalweg.theory.optimisers.rates import schema_bound
        >>> schema_bound(0.25, 0.25, 1.0, 1.0, 1.0, 1).tolist()  # 1 - kappa^(-1/2) a step
        [1.125, 0.5625]
    """
    gamma, _ = momentum_schedule(condition_inverse, steps, np.sqrt(first_inverse))
    factor = np.concatenate([[1.0], np.cumprod(1 - gamma[1:])])
    return factor * (gap + smoothness * first_inverse / 2 * distance**2)
