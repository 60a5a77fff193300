"""Where gradient flow ends: Phi(theta), with an estimate of the distance to the true limit.

The flow is followed for a while; then a jump goes the rest of the way at once, along the slow
directions that would take the flow a time of 1/lambda_min each e-fold.

Let n = theta(t) - Phi, H the Hessian at Phi, with eigenvalues lambda_i > 0 normal to the minima,
T the third derivative there. Then n' = -H n - T[n,n]/2 + O(n^3). The linear part ends at
theta - H^+ grad f whatever the spectrum. The quadratic part moves the end along the minima: in
each tangent direction k by -sum_ij T_kij n_i n_j / (2 (lambda_i + lambda_j)), and a jump errs by
as much in order: it lands within C ||n||^2 of Phi, with C about |T| / lambda_min. Where
f = ||r||^2 / 2 and r = 0 at the end, J = r' = U diag(sigma) V^T has sigma_i^2 = lambda_i,
T_kij = sigma_i u_i . r''[k,j] + sigma_j u_j . r''[k,i], and C falls to about
|r''| / lambda_min^(1/2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core.errors import require
from thalweg.core.hessian_product import hessian_product
from thalweg.core.lanczos import lanczos_smallest
from thalweg.core.result import Result
from thalweg.core.tree import Params
from thalweg.curvature.manifolds import squares
from thalweg.dynamics.flow.followed import KINKED_ERROR
from thalweg.dynamics.flow.integrator import follow
from thalweg.dynamics.flow.landing import NEAR, Landing, land
from thalweg.dynamics.flow.methods import size_of, vector_norm
from thalweg.dynamics.flow.path import Integration, Tolerances, path_error, start_path
from thalweg.dynamics.flow.solvers import FLOW_SOLVERS
from thalweg.problems.problem import Problem

SOLVER = FLOW_SOLVERS["auto"]
FLOW_SHARE = 0.3  # of the error asked, left to the solver of the flow
FALLEN = 0.7  # of a jump's length may be left when two landings are compared
QUADRATIC = 1.5  # exponent of their distance: 2 is predicted, 1 is that of no Newton step
FITTED = 0.01  # of the loss may be left by a jump that takes r = 0 for granted
WAIT = 2.0  # decay times of a jump until the next
STEP_PRICE = 75.0  # (gradients of a step of length h)^2 / (h sharpness), at most about
SHORTEST_JUMP = 50  # gradients that any jump may cost
STRIDE = 8.0  # times the training time so far, at most until the next jump
MOST_MARKS = 100
TIGHTENINGS = 3  # runs with ever tighter tolerance
TIGHTEN = 0.5  # of the error allowed: a larger part of the flow's is worth another run
DEPTH, FAILURE = 30, 1e-3  # of the search for negative curvature at the end
SADDLE = 1e-6  # negative curvature, relative to the largest, that rounding does not explain

Vector = Float[Array, " p"]
Scalar = Float[Array, ""]


class Limit(NamedTuple):
    """Where gradient flow ends.

    Attributes:
        params: The limit.
        error: Estimated distance to the true limit (unit: parameter, Euclidean norm); infinite
            where none was found: `params` is then only the last point of the flow.
        gradient_norm: ||grad f|| at `params` (unit: loss/parameter).
        loss: f there (unit: loss).
        time: Training time up to which the flow was integrated.
        evaluations: Gradients spent; a product with the Hessian or Gauss-Newton matrix counts 2.
        result: A `Result` code: OK if error and gradient norm are as asked.
        finished: "polish" if a jump went the rest of the way, "flow" if there was none to go or
            no jump was believed.
    """

    params: Params
    error: float
    gradient_norm: float
    loss: float
    time: float
    evaluations: int
    result: Result
    finished: str


class _Goal(NamedTuple):
    """What is wanted.

    Attributes:
        error: Distance to the limit, relative to the parameters.
        path_error: Of the flow alone.
        gradient_norm: At the limit; infinite if none was asked.
        evaluations: Gradients that may be spent.
    """

    error: float
    path_error: float
    gradient_norm: float
    evaluations: int


class _Watch(NamedTuple):
    """What the jumps so far have told.

    Attributes:
        gauss: Whether jumps take it that the loss can be brought to zero.
        aside: Gradients spent on jumps.
        due: Gradients of the flow after which the next jump may be tried.
        until: Training time of the next jump.
        last: The landing that the next is compared with.
        gap: Its distance from the one before it.
        fall: By what its jump was shorter.
    """

    gauss: bool
    aside: int = 0
    due: int = 0
    until: float = 0.0
    last: Landing | None = None
    gap: float = math.inf
    fall: float = 1.0


def flow_limit(
    problem: Problem,
    params: Params,
    *,
    error: float = 1e-6,
    gradient_norm: float | None = None,
    most_evaluations: int = 100_000,
) -> Limit:
    """The limit of gradient flow, Phi(theta) = lim_{t -> inf} theta(t), theta' = -grad f.

    The flow is followed with the automatic solver and a companion. From times along it Newton's
    iteration theta - A^+ grad f jumps to the minima; A is the Hessian, or for a squared error
    that can be brought to zero J^T J / n. The first correction is the whole future of the
    linearised flow; later ones go normal to the minima and only bring the landing onto them.

    A landing L_k from the distance s_k = ||theta(t_k) - L_k|| has the error e_k = C s_k^2 (see the
    module). With q = s_k / s_{k-1} and d_k = ||L_k - L_{k-1}|| that is e_k = d_k q^2 / (1 - q^2).
    It is believed if q <= 0.7 and d_k falls at the quadratic rate,
    d_k <= d_{k-1} (s_{k-1} / s_{k-2})^1.5. Where d_k is within the error of the flow the rate
    cannot be told, and e_k = d_k q / (1 - q), as if it were 1. Added is what the companion's
    landing tells of the error of the flow; where that is too large, all is done again with a
    tighter tolerance. A limit of non-zero loss is searched for negative curvature: if there is
    any, the flow goes on.

    What cannot be seen: along a direction m times flatter than any that the solves met, distances
    up to m/400 of the error asked; and negative curvature that 30 Lanczos steps miss
    (`thalweg.core.lanczos.missed_fraction`).

    Args:
        problem: The objective.
        params: Where the flow starts; p scalars in all.
        error: Wanted distance to the true limit, relative to the larger of the norms of start and
            limit. An estimate is held against it, not a bound.
        gradient_norm: Wanted norm of the gradient at the limit, if any (unit: loss/parameter).
        most_evaluations: Where to give up (unit: gradient); exceeded by about a solver step.

    Returns:
        The limit. Where there is none (parameters grow without bound, as under cross-entropy on
        separable data) or none was found (degenerate minima, saddles, evaluations used up),
        `error` is infinite and `result` is not OK. So it is for nets with kinks, unless an `error`
        of 1e-2 or more was asked.

    Raises:
        InputError: If an argument is out of its range or the start is not finite.

    Cost: the flow until it nears the minima, then in the order of ten sqrt(kappa) log(1/error)
    gradients, kappa the ratio of the largest to the smallest positive eigenvalue at the limit;
    memory for some thirty vectors (p,). The outer loop is Python's and cannot be jitted or
    vmapped; its parts are compiled once per problem and shapes, not per start or tolerance.

    Source: Katzenberger (1991), Li, Wang and Arora (2022) for Phi; the estimate is derived above.

    Examples:
        >>> valley = tw.problems.Function(lambda x: (x[0] * x[1] - 1) ** 2, start=jnp.zeros(2))
        >>> x = tw.flow_limit(valley, jnp.array([2.0, 0.0])).params  # x^2 - y^2 stays 4
        >>> bool(jnp.isclose(x[0] * x[1], 1)), bool(jnp.isclose(x[0] ** 2 - x[1] ** 2, 4))
        (True, True)
    """
    require(
        1e-12 <= error <= 0.1, f"error came as {error}; give a number in [1e-12, 0.1], as in 1e-6"
    )
    require(
        gradient_norm is None or gradient_norm > 0,
        f"gradient_norm came as {gradient_norm}; give a positive number or None",
    )
    require(
        most_evaluations >= 100,
        f"most_evaluations came as {most_evaluations}; give at least 100, as in 100000",
    )
    theta = ravel_pytree(params)[0]
    require(
        bool(jnp.issubdtype(theta.dtype, jnp.floating) and jnp.all(jnp.isfinite(theta))),
        "the start holds numbers that are not finite or not floating-point; give parameters as 1.0",
    )
    share, spent, best = FLOW_SHARE, 0, None
    for _ in range(TIGHTENINGS):
        goal = _Goal(error, share * error, gradient_norm or math.inf, most_evaluations - spent)
        found, flow_part = _search(problem, params, goal)
        spent += found.evaluations
        best = found if best is None or found.error < best.error else best
        if found.result != Result.NOT_CONVERGED or flow_part < TIGHTEN or spent >= most_evaluations:
            break
        share *= FLOW_SHARE / flow_part
    assert best is not None
    best = best._replace(evaluations=spent)
    if problem.smooth or error >= KINKED_ERROR:
        return best
    return best._replace(error=math.inf, result=Result(max(best.result, Result.NOT_CONVERGED)))


def _search(problem: Problem, params: Params, goal: _Goal) -> tuple[Limit, float]:
    """Follow the flow and jump from it until a landing is believed to be near enough.

    Returns:
        What was found, and the flow's part in the error allowed; 0 if no landing was believed.
    """
    path = _start(problem, params)
    tolerances, first_size = _tolerances(path, goal), float(size_of(path.theta))
    watch = _Watch(squares(problem))
    for _ in range(MOST_MARKS):
        flowed, time = int(jnp.sum(path.evaluations)), float(path.time)
        left = goal.evaluations - flowed - watch.aside
        if left <= 0 or int(path.result) >= Result.NONFINITE:
            break
        watch = watch._replace(until=2 * time)
        if flowed >= watch.due:
            budget = goal.error * max(first_size, float(vector_norm(path.theta)))
            watch, found, flow_part = _jump(problem, params, path, watch, goal, budget)
            if found is not None:
                return found, flow_part
        until = jnp.asarray(watch.until)
        path = _flow(problem, params, path, tolerances, until, jnp.asarray(left))
    return _unfound(problem, params, path, watch.aside, goal), 0.0


def _jump(
    problem: Problem, params: Params, path: Integration, watch: _Watch, goal: _Goal, budget: float
) -> tuple[_Watch, Limit | None, float]:
    """Jump from the path; what that tells, the limit if it was found, and the flow's part in it."""
    flowed, time = int(jnp.sum(path.evaluations)), float(path.time)
    most = min(max(SHORTEST_JUMP, flowed), goal.evaluations - flowed - watch.aside)

    def landed(theta: Vector) -> Landing:
        asks = [jnp.asarray(x) for x in (budget, goal.gradient_norm, most)]
        return land(problem, params, theta, watch.gauss, *asks)

    landing = landed(path.theta)
    # A jump that told nothing is tried again when the flow has spent as much.
    price = int(landing.evaluations)
    watch = watch._replace(aside=watch.aside + price, due=flowed + price)
    if not landing.sound:
        return watch, None, 0.0
    if watch.gauss and not _fitted(landing, budget):
        watch = watch._replace(gauss=False, last=None, gap=math.inf)
        return _jump(problem, params, path, watch, goal, budget)
    error, watch = _judged(watch, landing, budget, float(path_error(path)))
    if error <= budget / 2:
        saddle, price = (False, 0) if watch.gauss else _saddle(problem, params, landing, goal)
        watch = watch._replace(aside=watch.aside + price)
        if not saddle:
            twin = landed(path.companion)
            spent = flowed + watch.aside + int(twin.evaluations)
            flow_error = _flow_error(path, landing, twin)
            limit = _limit(params, landing, error + flow_error, budget, goal)
            return watch, limit._replace(time=time, evaluations=spent), flow_error / budget
        watch = watch._replace(last=None, gap=math.inf)
    rate = float(landing.rate)
    until = time + WAIT / rate if rate > 0 else math.inf
    if watch.last is landing:
        watch = watch._replace(due=flowed)
    else:
        until = max(until, watch.until)
    return watch._replace(until=min(until, STRIDE * time)), None, 0.0


def _judged(
    watch: _Watch, landing: Landing, budget: float, flow_error: float
) -> tuple[float, _Watch]:
    """The estimated error of a landing, infinite if it is not believed."""
    length, rest = float(landing.length), float(landing.rest)
    if length <= NEAR * budget:
        return length + rest, watch
    if watch.last is None:
        return math.inf, watch._replace(last=landing)
    fall = length / float(watch.last.length)
    if fall > FALLEN:
        return math.inf, watch
    gap = float(vector_norm(landing.theta - watch.last.theta))
    error = math.inf
    if math.isfinite(watch.gap) and gap <= watch.gap * watch.fall**QUADRATIC:
        error = gap * fall**2 / (1 - fall**2) + rest
    elif gap <= flow_error + NEAR * budget:
        # Too near to tell the rate: 1 is the worst that still converges.
        error = gap * fall / (1 - fall) + rest
    return error, watch._replace(last=landing, gap=gap, fall=fall)


def _flow_error(path: Integration, landing: Landing, twin: Landing) -> float:
    """What the error of the path makes of the limit: the companion has a landing of its own.

    The part of the path error normal to the minima is no error of the limit.
    """
    if not twin.sound:
        return float(path_error(path))
    landed = path._replace(theta=landing.theta, companion=twin.theta)
    return float(path_error(landed))


def _fitted(landing: Landing, budget: float) -> bool:
    """Whether a landing's loss is zero but for what the budget explains."""
    explained = float(landing.rate) * (NEAR * budget) ** 2
    return bool(landing.loss <= FITTED * landing.loss_before + max(explained, 0.0))


def _limit(params: Params, landing: Landing, error: float, budget: float, goal: _Goal) -> Limit:
    gradient_norm = float(landing.gradient_norm)
    good = error <= budget and gradient_norm <= goal.gradient_norm
    return Limit(
        params=ravel_pytree(params)[1](landing.theta),
        error=error,
        gradient_norm=gradient_norm,
        loss=float(landing.loss),
        time=0.0,
        evaluations=0,
        result=Result.OK if good else Result.NOT_CONVERGED,
        finished="polish" if landing.length > NEAR * budget else "flow",
    )


def _unfound(problem: Problem, params: Params, path: Integration, aside: int, goal: _Goal) -> Limit:
    """What is said where no landing was believed."""
    evaluations = int(jnp.sum(path.evaluations)) + aside
    params = ravel_pytree(params)[1](path.theta)
    result = Result.STEP_LIMIT if evaluations >= goal.evaluations else Result.NOT_CONVERGED
    return Limit(
        params=params,
        error=math.inf,
        gradient_norm=float(vector_norm(path.force)),
        loss=float(problem.objective(params)),
        time=float(path.time),
        evaluations=evaluations,
        result=Result(max(result, int(path.result))),
        finished="flow",
    )


def _tolerances(path: Integration, goal: _Goal) -> Tolerances:
    relative = SOLVER.tolerances(jnp.asarray(goal.path_error), None)
    # Not to follow a path into the origin with ever shorter steps.
    return Tolerances(relative, jnp.min(jnp.where(relative > 0, relative, 1)) * size_of(path.theta))


def _force(problem: Problem, params: Params) -> Callable[[Vector], Vector]:
    unravel = ravel_pytree(params)[1]
    gradient = jax.grad(lambda flat: problem.objective(unravel(flat)))
    return lambda flat: -gradient(flat)


@eqx.filter_jit
def _start(problem: Problem, params: Params) -> Integration:
    return start_path(_force(problem, params), ravel_pytree(params)[0], SOLVER.methods, paired=True)


@eqx.filter_jit
def _flow(
    problem: Problem,
    params: Params,
    path: Integration,
    tolerances: Tolerances,
    until: Scalar,
    most: Int[Array, ""],
) -> Integration:
    """Go on to a time, or until about so many gradients more are spent; one step from time zero."""
    force, stop = _force(problem, params), jnp.sum(path.evaluations) + most
    affordable = most**2 / (STEP_PRICE * path.sharpness)
    until = jnp.where(path.time > 0, jnp.minimum(until, path.time + affordable), jnp.inf)

    def going(now: Integration) -> Array:
        unfinished = (now.time < until) & ((path.time > 0) | (now.time == 0))
        return unfinished & (jnp.sum(now.evaluations) < stop) & (now.result < Result.NONFINITE)

    def step(now: Integration) -> Integration:
        return follow(force, now, SOLVER.methods, tolerances, until, jnp.ones((), jnp.int64))

    return jax.lax.while_loop(going, step, path)


def _saddle(problem: Problem, params: Params, landing: Landing, goal: _Goal) -> tuple[bool, int]:
    """Whether there is negative curvature at a landing, and the gradients that it took to see."""
    depth = min(DEPTH, landing.theta.size)
    lowest, largest = _lowest(problem, ravel_pytree(params)[1](landing.theta), depth)
    return bool(lowest < -(SADDLE + goal.error) * largest), 1 + 2 * (depth + 2)


@eqx.filter_jit
def _lowest(problem: Problem, params: Params, depth: int) -> tuple[Scalar, Scalar]:
    """The smallest and the largest curvature, from inside the spectrum."""
    product = hessian_product(problem.objective, params)
    none = jnp.zeros_like(ravel_pytree(params)[0])
    found = lanczos_smallest(product, none, jax.random.key(0), depth, FAILURE)
    return found.value, found.largest
