"""How near random problems come to the bounds of theorems: the worst ratio of observed to bound.

Each bound is held against methods that run, or an exact expectation, on functions whose constants
are known (`random_functions`), all of them at once in one compiled program. A ratio above 1, by
more than rounding, would be a bound, a constant or a method that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.curvature import difference_gradient
from thalweg.diagnosis.random_functions import (
    DIMENSIONS,
    Drawn,
    DrawnFunction,
    WronglyShown,
    drawn_functions,
)
from thalweg.diagnosis.rates_held import Walked, held_row
from thalweg.diagnosis.worst_ratios_of_quadratics import ratios_of_quadratics
from thalweg.driver.path import paths
from thalweg.dynamics import State, gradient_descent, method
from thalweg.dynamics.methods.accelerated import AcceleratedDescent
from thalweg.dynamics.methods.newton_type import NewtonType
from thalweg.oracles import isotropic, page, two_point
from thalweg.problems import Problem, Supervised, robust_regression
from thalweg.theory.optimisers.rates import schema_bound

DRAWS = 16  # paths of each random method: what is bounded is a mean
EXAMPLES, INPUTS, BATCH = 16, 4, 4  # of the finite sums
SEEN = 1e-4  # of the loss: falls below are not held against, as their digits are spent
Found = Iterator[tuple[str, str, np.ndarray]]


class Sizes(NamedTuple):
    """How many functions, steps of each run, and the seed of all draws."""

    instances: int
    steps: int
    seed: int


def worst_ratios(
    instances: int = 1000, steps: int = 60, seed: int = 0, only: str | None = None
) -> xr.Dataset:
    """The ratio of observed to bound of every bound, the worst over random instances.

    Args:
        instances: How many functions each bound is tried on.
        steps: Of each run.
        seed: Of all draws.
        only: A key of `TRIED`; all without.

    Returns:
        By bound: `ratio`, the worst over instances and steps, `median` over instances of each one's
        worst, and `worst`, the instance. At most 1 up to rounding, 1e-9, if all is right.

    Cost: two or three minutes of CPU for 1,000 instances, most of them of random methods.

    Examples:
        >>> from thalweg.diagnosis.worst_ratios import worst_ratios
        >>> found = worst_ratios(20, steps=10, only="quadratics")
        >>> bool((found["ratio"] <= 1 + 1e-9).all())
        True
    """
    size = Sizes(instances, steps, seed)
    rows = [row for name, tried in TRIED.items() if only in (None, name) for row in tried(size)]
    worst = np.array([np.max(ratios) for _, _, ratios in rows])

    def column(values: Any, words: str) -> tuple[str, Any, dict[str, str]]:
        return "bound", values, {"units": "1", "long_name": words}

    return xr.Dataset(
        {
            "ratio": column(worst, "worst ratio of observed to bound"),
            "median": column(
                [np.median(ratios) for _, _, ratios in rows], "median of the instances' worst"
            ),
            "worst": column([int(np.argmax(ratios)) for _, _, ratios in rows], "worst instance"),
            "about": column([about for _, about, _ in rows], "what was held against it"),
        },
        {"bound": [name for name, _, _ in rows]},
    )


def descents(size: Sizes) -> Found:
    """Plain descent: E1, E3, E9, E10 of functions that are not convex, and of convex ones."""
    for kind in ("any", "convex"):
        drawn, rng = _drawn(kind, size, 1)
        h = _or_one(rng, 1.95, size) / drawn.smoothness
        walked = _walk(_each(gradient_descent, h), drawn, size)
        rows: list[tuple[str, Mapping[str, Any]]] = [("gradient-descent", {"step_size": h})]
        if kind == "convex":
            rows.append(("gradient-descent-convex", {"step_size": h}))
        for name, extra in rows:
            yield name, f"{kind}, h to 1.95/L", _held(name, walked, drawn, extra)
        if kind == "any":
            walked = _walk(_each(gradient_descent, 1 / drawn.smoothness), drawn, size)
            for name in ("gradient-descent-dominated", "gradient-descent-quasi-convex"):
                yield name, f"{kind}, h = 1/L", _held(name, walked, drawn, {})
            yield "descent lemma", f"{kind}, h = 1/L", _lemma(walked, drawn)


def erring(size: Sizes) -> Found:
    """E9 with gradients that are wrong by up to nine tenths of themselves, in any direction."""
    drawn, rng = _drawn("any", size, 2)
    error = rng.uniform(0, 0.9, size.instances)
    turn = np.linalg.qr(rng.normal(size=(size.instances, DIMENSIONS, DIMENSIONS)))[0]
    sign = rng.integers(0, 3, size.instances)[:, None, None]
    turn = np.where(sign == 0, turn, np.where(sign == 1, 1.0, -1.0) * np.eye(DIMENSIONS))
    h = (1 - error) / (drawn.smoothness * (1 + error) ** 2)
    tilted = WronglyShown(drawn.problem, jnp.asarray(error), jnp.asarray(turn))
    walked = _walk(_each(gradient_descent, h), drawn, size, problem=tilted, observe=_observe_true)
    name = "gradient-descent-dominated"
    ratios = _held(name, walked, drawn, {"error": error})
    yield f"{name}, errors", "any, gradients wrong by up to 0.9 of themselves", ratios


def strongly_convex(size: Sizes) -> Found:
    """E4, E12 and E13: descent and Nesterov's method, from several starts of its schema."""
    drawn, rng = _drawn("strongly convex", size, 3)
    h = _or_one(rng, 1.0, size) * 2 / (drawn.smoothness + drawn.convexity)
    walked = _walk(_each(gradient_descent, h), drawn, size)
    name = "gradient-descent-strongly-convex"
    yield name, "h to 2/(L + mu)", _held(name, walked, drawn, {"step_size": h})
    for kind in ("convex", "strongly convex"):
        drawn, _ = _drawn(kind, size, 3)
        walked = _walk(_accelerated(drawn, np.full(size.instances, np.inf)), drawn, size)
        yield "nesterov", kind, _held("nesterov", walked, drawn, {})
    q = drawn.convexity / drawn.smoothness
    first = np.clip(q * 10 ** rng.uniform(-1, 4, len(q)), q / 3, 3 + q)
    walked = _walk(_accelerated(drawn, np.sqrt(first)), drawn, size)
    start = np.linalg.norm(drawn.problem.start, axis=1)
    bound = [
        schema_bound(*row, size.steps)
        for row in zip(q, first, drawn.smoothness, drawn.gap(), start, strict=True)
    ]
    ratios = _worst(walked.loss[:, 0], np.array(bound))
    yield "Nesterov's schema", "strongly convex, 1/kappa_0 from q/3 on", ratios


def searched(size: Sizes) -> Found:
    """E5, AGMsDR, and how fast its weight grows; E11, cubic Newton, and its steps."""
    for kind, name in (("any", "agmsdr"), ("convex", "agmsdr-convex")):
        drawn, _ = _drawn(kind, size, 3)
        walked = _walk(method("agmsdr"), drawn, size, over=("problem", "params"))
        yield name, kind, _held(name, walked, drawn, {})
        N = np.arange(1, size.steps + 1)
        least = N**2 / (4 * drawn.smoothness[:, None])
        weight = walked.more[:, 0, 1:]
        falls = walked.norm[:, 0, :-1] ** 2 / (2 * drawn.smoothness[:, None])
        # A is made of all falls before it.
        sound = np.logical_and.accumulate(_has_digits(falls / SEEN, walked.loss[:, 0]), axis=1)
        ratios = np.max(np.where(sound, least / np.where(sound, weight, 1), 0), axis=1)
        yield "AGMsDR, weight", f"{kind}, N^2/(4 L) over A", ratios
    drawn, _ = _drawn("any", size, 3)
    # Where a function is quadratic any M will do, so one that curves it visibly.
    L_2 = np.maximum(drawn.hessian_lipschitz, 1e-2 * drawn.smoothness / drawn.length)
    cubic = jax.vmap(lambda M: NewtonType("cubic", M))(jnp.asarray(L_2))
    walked = _walk(cubic, drawn, size, observe=_observe_curved)
    ratios = _held("cubic-newton", walked, drawn, {"hessian_lipschitz": L_2})
    yield "cubic-newton", "any, M = L_2", ratios
    f, r = walked.loss[:, 0], np.linalg.norm(np.diff(walked.points[:, 0], axis=1), axis=-1)
    norm, low, M = walked.norm[:, 0], walked.more[:, 0], L_2[:, None]
    fall = M / 12 * r**3
    yield "cubic Newton, fall", "any, M r^3/12 over it", _of_steps(fall, -np.diff(f), f)
    long = _has_digits(fall, f)
    for name, top, bound in (
        ("gradient", norm[:, 1:], M * r**2), ("curvature", -low[:, 1:], 1.5 * M * r),
    ):  # fmt: skip
        ratio = np.where(long, top / np.where(long, bound, 1), 0)
        yield f"cubic Newton, {name}", "any, after a step r", np.max(ratio, axis=1)


def random_steps(size: Sizes) -> Found:
    """Means over paths: E3 (SGD), E14 (random directions), E8 (PAGE)."""
    drawn, rng = _drawn("any", size, 4)
    L = drawn.smoothness
    slope = np.sqrt(2 * L * drawn.gap())  # no gradient at the start is longer
    sigma = slope * 10 ** rng.uniform(-3, 1, len(L)) / DIMENSIONS**0.5
    noisy = jax.vmap(lambda h, s: gradient_descent(h, isotropic(s)))
    made = noisy(jnp.asarray(1 / (2 * L)), jnp.asarray(sigma))
    walked = _walk(made, drawn, size, draws=DRAWS)
    extra = {"step_size": 1 / (2 * L), "variance": DIMENSIONS * sigma**2}
    yield "sgd", f"any, mean of {DRAWS} paths", _held("sgd", walked, drawn, extra)
    # Differences take their step in parameters, so lengths are 1.
    unit = _of_unit_length(drawn)
    made = jax.vmap(lambda h: gradient_descent(h, two_point(1e-6)))(
        jnp.asarray(1 / (4 * (DIMENSIONS + 4) * unit.smoothness))
    )
    walked = _walk(made, unit, size, draws=DRAWS)
    dimensions = {"dimensions": np.full(size.instances, float(DIMENSIONS))}
    ratios = _held("random-direction", walked, unit, dimensions)
    yield "random-direction", f"any, mean of {DRAWS} paths", ratios
    yield "page", f"finite sums, mean of {DRAWS} paths", _page(size)


def values(size: Sizes) -> Found:
    """Gradients from differences of values, E13 of the survey."""
    drawn, n = _of_unit_length(_drawn("any", size, 5)[0]), DIMENSIONS
    bounds = {
        "forward": lambda h: n**0.5 * drawn.smoothness * h / 2,
        "central": lambda h: n**0.5 * drawn.hessian_lipschitz * h**2 / 6,
    }
    for name, bound in bounds.items():
        worst = np.zeros(size.instances)
        for h in (1e-3, 1e-2, 1e-1):
            off, top = jax.jit(jax.vmap(partial(_difference, h=h, central=name == "central")))(
                drawn.problem, drawn.problem.start
            )
            digits = 4 * n**0.5 * np.finfo(float).eps * np.asarray(top) / h
            worst = np.maximum(worst, np.asarray(off) / (bound(h) + digits))
        yield f"{name} differences", "any, h from 1e-3 to 1e-1 of its length", worst


TRIED: dict[str, Callable[[Sizes], Found]] = {
    "descents": descents, "erring": erring, "strongly convex": strongly_convex,
    "searched": searched, "random": random_steps, "values": values,
    "quadratics": lambda size: ratios_of_quadratics(size.instances, size.steps, size.seed),
}  # fmt: skip


def _drawn(kind: str, size: Sizes, own: int) -> tuple[Drawn, np.random.Generator]:
    """The functions of a class, the same to all bounds, and a generator for the rest."""
    return drawn_functions(kind, size.instances, size.seed), np.random.default_rng((size.seed, own))


def _or_one(rng: np.random.Generator, most: float, size: Sizes) -> np.ndarray:
    """1 for about half of the functions, a number from 0.05 to `most` for the others."""
    plain = rng.uniform(size=size.instances) < 0.5
    return np.where(plain, 1.0, rng.uniform(0.05, most, size.instances))


class Walks(NamedTuple):
    """What runs showed: (instances, draws, steps + 1), and an axis of parameters."""

    loss: np.ndarray
    gradient: np.ndarray
    points: np.ndarray
    least: np.ndarray
    more: np.ndarray

    @property
    def norm(self) -> np.ndarray:
        """||grad f|| at every step."""
        return np.linalg.norm(self.gradient, axis=-1)

    def of(self, i: int) -> Walked:
        """The paths of one function."""
        passes = np.arange(self.loss.shape[-1])
        return Walked(self.loss[i], self.gradient[i], self.points[i], self.least[i], passes)


def _observe(problem: Problem, state: State) -> tuple[Any, ...]:
    value, gradient = jax.value_and_grad(problem.objective)(state.params)
    nan = jnp.asarray(jnp.nan)
    memory = state.memory  # AGMsDR tells of these two
    least, weight = getattr(memory, "squared_gradient", nan), getattr(memory, "weight", nan)
    return value, gradient, state.params, least, weight


def _observe_true(problem: Problem, state: State) -> tuple[Any, ...]:
    assert isinstance(problem, WronglyShown)
    return _observe(problem.problem, state)


def _observe_curved(problem: Problem, state: State) -> tuple[Any, ...]:
    lowest = jnp.linalg.eigvalsh(jax.hessian(problem.objective)(state.params))[0]
    return (*_observe(problem, state)[:4], lowest)


def _walk(
    dynamics: Any, drawn: Drawn, size: Sizes, *, problem: Any = None, observe: Any = _observe,
    draws: int = 1, over: tuple[str, ...] = ("dynamics", "problem", "params"),
) -> Walks:  # fmt: skip
    """All functions at once, each from its start, `draws` paths of each."""
    given = (dynamics, drawn.problem if problem is None else problem, drawn.problem.start)
    return _walked(given, size, observe, draws, over)


def _walked(
    given: tuple[Any, Any, Array], size: Sizes, observe: Any, draws: int, over: tuple[str, ...]
) -> Walks:
    names = ("dynamics", "problem", "params")
    dynamics, problem, start = (
        jax.tree.map(lambda leaf: jnp.repeat(leaf, draws, axis=0), part) if name in over else part
        for name, part in zip(names, given, strict=True)
    )
    keys = jax.random.split(jax.random.key(size.seed), len(start))
    found = paths(dynamics, problem, start, 1, size.steps, observe, keys, over=(*over, "key"))
    lanes = (len(start) // draws, draws)
    return Walks(*(np.asarray(a).reshape(*lanes, *a.shape[1:]) for a in found.seen))


def _each(make: Callable[[Array], Any], numbers: np.ndarray) -> Any:
    """A dynamics for each number."""
    return jax.vmap(make)(jnp.asarray(numbers))


def _accelerated(drawn: Drawn, first: np.ndarray) -> Any:
    L, q = drawn.smoothness, drawn.convexity / drawn.smoothness
    return jax.vmap(AcceleratedDescent)(*map(jnp.asarray, (1 / L, q, first)))


def _held(
    name: str, walked: Walks, drawn: Drawn, extra: Mapping[str, np.ndarray]
) -> np.ndarray:  # fmt: skip
    """The worst ratio of each function, by the checker of `thalweg rates`; 0 where ruled out."""
    ratios = []
    minimum = np.zeros(DIMENSIONS)
    for i in range(len(drawn.smoothness)):
        taken = {"smoothness": drawn.smoothness[i], "convexity": drawn.convexity[i]}
        own = {key: float(value[i]) for key, value in extra.items()}
        row = held_row(name, own, walked.of(i), taken, 0.0, minimum)
        ratios.append(np.nan_to_num(row["ratio"], nan=0.0, posinf=np.inf))
    return np.array(ratios)


def _worst(observed: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """The largest ratio along each row, up to rounding of its start."""
    return np.max((observed - 1e-12 * observed[:, :1]) / bound, axis=1)


def _of_steps(asked: np.ndarray, done: np.ndarray, f: np.ndarray) -> np.ndarray:
    """The largest of what a step must fall over what it falls, where that has digits."""
    sound = _has_digits(asked, f)
    return np.max(np.where(sound, asked / np.where(sound, done, 1), 0), axis=1)


def _has_digits(fall: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Whether a fall is some of f, and f some of where it began."""
    return (fall > SEEN * f[:, :-1]) & (f[:, :-1] > 1e-12 * f[:, :1])


def _lemma(walked: Walks, drawn: Drawn) -> np.ndarray:
    f = walked.loss[:, 0]
    asked = walked.norm[:, 0, :-1] ** 2 / (2 * drawn.smoothness[:, None])
    return _of_steps(asked, -np.diff(f), f)


def _of_unit_length(drawn: Drawn) -> Drawn:
    """The same functions of x times their length."""
    p, ell = drawn.problem, drawn.length
    by, each = jnp.asarray(ell)[:, None], ell**2
    problem = DrawnFunction(
        p.basis, p.quadratic * by**2, p.rounded * by**2, p.wavy * by**2,
        p.sharpness * by, p.start / by,
    )  # fmt: skip
    return Drawn(
        problem, drawn.smoothness * each, drawn.convexity * each,
        drawn.hessian_lipschitz * ell**3, np.ones_like(ell),
    )  # fmt: skip


def _page(size: Sizes) -> np.ndarray:
    """PAGE on regressions that outliers do not dominate, in units of their own."""
    rng, n = np.random.default_rng(size.seed + 7), size.instances
    A = rng.normal(size=(n, EXAMPLES, INPUTS)) * 10 ** rng.uniform(-2, 2, (n, 1, INPUTS))
    A = A * 10 ** rng.uniform(-2, 2, (n, 1, 1))
    scale = np.sqrt(np.mean(A**2, axis=(1, 2)))
    x = rng.normal(size=(n, INPUTS)) / scale[:, None]
    noise = rng.normal(size=(n, EXAMPLES)) * 10 ** rng.uniform(-3, 1, (n, 1))
    b = np.einsum("nij,nj->ni", A, x) + noise * (rng.uniform(size=(n, 1)) < 0.5)
    square = np.sum(A**2, axis=2)
    L = 2 * np.sqrt(
        np.linalg.eigvalsh(np.einsum("ni,nij,nik->njk", square, A, A) / EXAMPLES)[:, -1]
    )  # curvatures of the loss are from -1/2 to 2
    few = robust_regression(EXAMPLES, INPUTS)
    inputs, targets = jnp.asarray(A), jnp.asarray(b)[..., None]
    sums = Supervised(few.model, few.loss, inputs, targets, reduction=few.reduction)
    p = BATCH / (EXAMPLES + BATCH)
    h = 1 / (L * (1 + np.sqrt((1 - p) / (p * BATCH))))
    made = jax.vmap(lambda h: gradient_descent(h, page(BATCH)))(jnp.asarray(h))
    start = jnp.asarray(x + rng.normal(size=x.shape) / scale[:, None])
    walked = _walked((made, sums, start), size, _observe, DRAWS, ("dynamics", "problem", "params"))
    nothing = {"smoothness": 1.0, "convexity": -1.0}
    return np.array([
        held_row("page", {"step_size": float(h[i])}, walked.of(i), nothing, 0.0, x[i])["ratio"]
        for i in range(n)
    ])  # fmt: skip


def _difference(problem: Any, x: Array, h: float, central: bool) -> tuple[Array, Array]:
    """The error of a gradient from differences, and the largest value that it is made of."""
    off = difference_gradient(problem, x, h, central) - jax.grad(problem.objective)(x)
    ends = jnp.concatenate([x + h * jnp.eye(len(x)), x - h * jnp.eye(len(x))])
    return jnp.linalg.norm(off), jnp.max(jax.vmap(problem.objective)(ends))
