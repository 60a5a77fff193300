"""Experiments of implicit acceleration that are exact: flows, the preconditioner, the integral."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array
from scipy.integrate import solve_ivp

from thalweg.core.spectra import layer_product
from thalweg.core.tree import Params
from thalweg.driver.many import over_grid
from thalweg.dynamics import gradient_descent
from thalweg.dynamics.end_to_end_rule import EndToEndDescent, end_to_end_descent
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import over, padded, table
from thalweg.models import layer_weights
from thalweg.models.overparametrisation import balanced_factors
from thalweg.problems import Problem
from thalweg.problems.linear_targets import DeepLinear, deep_linear_params
from thalweg.problems.lp_norm import lp_regression
from thalweg.problems.weight_decay import Decayed
from thalweg.theory.linear_nets import end_to_end

DECAY = 0.05
RATES = 2e-2 * 0.5 ** np.arange(8)
FINE = slice(3, None)  # the rates at which every draw is far from unstable
SPAN = 0.5  # of training time, in which descent on the factors and the rule part
NORM = 0.3
G, SMALL, LARGE = np.array([1.0, 2.0, -0.5]), 0.4, 1.3
TILTS = 200
BRIEF = {"until": 0.5, "records": 6}


def whole(params: Params) -> Array:
    """The product of the matrices of a linear net."""
    return layer_product(layer_weights(params))


def first_row(problem: Problem, params: Params) -> Array:
    """The first row of that product."""
    return whole(params)[0]


def quadratic(k: int, d: int, seed: int) -> tuple[DeepLinear, Array]:
    """1/2 tr[(W - A) Q (W - A)^T] for Gaussian A, Q = M M^T/d + I/10, and a Gaussian start."""
    rng = np.random.default_rng(seed)
    A, M, W = (rng.normal(size=shape) for shape in ((k, d), (d, d), (k, d)))
    Q = M @ M.T / d + 0.1 * np.eye(d)
    return DeepLinear(jnp.asarray(A), jnp.asarray(Q)), jnp.asarray(W / 2)


def followed(velocity: Callable[[Params], Params], start: Params, times: np.ndarray) -> Params:
    """The flow along a velocity at all times, by Dormand and Prince's method of order 8."""
    theta, unravel = ravel_pytree(start)
    slope = jax.jit(lambda v: ravel_pytree(velocity(unravel(v)))[0])
    found = solve_ivp(
        lambda t, v: np.asarray(slope(v)), (0, times[-1]), np.asarray(theta), "DOP853", times,
        rtol=1e-12, atol=1e-13,
    )  # fmt: skip
    return jax.vmap(unravel)(jnp.asarray(found.y.T))


def layerwise(problem: Problem, weights: Sequence[Array], times: np.ndarray) -> Params:
    """Gradient flow on every matrix, with weight decay."""
    gradient = jax.grad(Decayed(problem, jnp.asarray(DECAY)).objective)
    start = deep_linear_params(weights)
    return followed(lambda params: jax.tree.map(jnp.negative, gradient(params)), start, times)


def closed(problem: Problem, W: Array, N: int, times: np.ndarray) -> Array:
    """The closed rule for the product alone."""

    def velocity(W: Array) -> Array:
        gradient = jax.grad(problem.objective)(deep_linear_params([W]))[0]["weight"]
        return end_to_end.end_to_end_velocity(W, gradient, N, DECAY)

    return followed(velocity, W, times)


@dataclass(frozen=True)
class Flows:
    """Nets whose flows are followed: outputs, inputs, hidden width and depth, and for how long."""

    cases: tuple[tuple[int, int, int, int], ...] = ((3, 4, 5, 2), (3, 4, 5, 3), (2, 5, 4, 4))
    until: float = 2.0
    records: int = 41


@experiment("X1", Flows(), smoke={"cases": Flows.cases[:2], **BRIEF})
def flows(lab: Lab, size: Flows) -> xr.Dataset:
    """Flows of the factors beside the closed rule of the product, with weight decay."""
    cases = {f"{k}x{d}, width {w}, depth {N}": (k, d, w, N) for k, d, w, N in size.cases}
    times = np.linspace(0, size.until, size.records)
    most = max(min(k, d) for k, d, *_ in size.cases)
    return over(lambda case: _flow(*cases[case], times, most), case=cases)


def _flow(k: int, d: int, width: int, N: int, times: np.ndarray, most: int) -> xr.Dataset:
    problem, W = quadratic(k, d, 0)
    weights = balanced_factors(W, N, width, jax.random.key(0))
    params, alone = layerwise(problem, weights, times), closed(problem, W, N, times)
    together = jax.vmap(whole)(params)
    gap = np.max(np.abs(together - alone), axis=(1, 2))
    defect = jax.vmap(end_to_end.balance_defect)(layer_weights(params))
    measured, theory = (
        padded(np.linalg.svd(path, compute_uv=False), most, axis=1) for path in (together, alone)
    )
    along, of = "time", "singular values of the product"
    groups = {
        along: {
            "gap": (gap, "parameter", "largest entry of the difference"),
            "defect": (defect, "parameter^2", "balance defect of the factors"),
        },
        f"{along} rank": {
            "strength": (measured, "parameter", f"{of}, factors"),
            "strength_theory": (theory, "parameter", f"{of}, rule"),
        },
    }
    return table(groups, time=(times, "time", "training time"), rank=range(1, most + 1))


@dataclass(frozen=True)
class Widths:
    """Hidden widths of one net, the narrowest first, and how long it is followed."""

    widths: tuple[int, ...] = (3, 4, 13)
    until: float = 2.0
    records: int = 41


@experiment("X1-widths", Widths(), smoke=BRIEF)
def widths(lab: Lab, size: Widths) -> xr.Dataset:
    """The product from one balanced start under several hidden widths."""
    (problem, W), N = quadratic(3, 4, 0), 3
    times = np.linspace(0, size.until, size.records)
    starts = [balanced_factors(W, N, width, jax.random.key(width)) for width in size.widths]
    paths = [jax.vmap(whole)(layerwise(problem, start, times)) for start in starts]
    gaps = [np.max(np.abs(path - paths[0])) for path in paths]
    found = {"gap": (gaps, "parameter", "largest distance from the narrowest net")}
    return table({"width": found}, width=size.widths)


def depth_three(step_size: Array) -> EndToEndDescent:
    """The closed rule of depth 3 as descent."""
    return end_to_end_descent(step_size, 3)


@experiment("X1-steps", Draws(6), smoke={"draws": 2})
def descents(lab: Lab, size: Draws) -> xr.Dataset:
    """Descent on a vector and two scalars beside the closed rule in steps."""
    found = np.array([_deviations(seed) for seed in range(size.draws)])
    fine, coarse = (
        np.polyfit(np.log(RATES[part]), np.log(found)[:, part].T, 1)[0]
        for part in (FINE, slice(0, 5))
    )
    proportional = found[0][-1] * RATES / RATES[-1]
    groups = {
        "draw rate": {"deviation": (found, "parameter", "largest distance of the two vectors")},
        "draw": {
            "slope": (fine, "1", "slope of log deviation in log step size"),
            "coarse_slope": (coarse, "1", "the same at the five largest"),
        },
        "rate": {"proportional": (proportional, "parameter", "in proportion, first draw")},
    }
    return table(groups, rate=(RATES, "step size", "step size"))


def _deviations(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X, beta, w = (rng.normal(size=shape) for shape in ((40, 5), 5, 5))
    unit, part = w / np.linalg.norm(w), np.array([[NORM ** (1 / 3)]])
    rates, longest = jnp.asarray(RATES), round(SPAN / RATES[-1])
    deep, alone = (lp_regression(X, X @ beta, 4, hidden) for hidden in ((1, 1), ()))
    factors = deep_linear_params([part * unit, part, part])
    product = deep_linear_params([NORM * unit[None]])
    descent = over_grid(gradient_descent, rates, deep, factors, longest, first_row)
    rule = over_grid(depth_three, rates, alone, product, longest, first_row)
    apart = np.linalg.norm(descent - rule, axis=-1)
    steps = np.rint(SPAN / RATES).astype(int)
    return np.array([one[: n + 1].max() for one, n in zip(apart, steps, strict=True)])


@dataclass(frozen=True)
class Shapes:
    """Shapes of W, outputs times inputs, and depths."""

    shapes: tuple[str, ...] = ("3x4", "4x3", "3x3", "1x5")
    depths: tuple[int, ...] = (1, 2, 3, 4, 8)


@experiment("preconditioner", Shapes(), smoke={"shapes": ("3x4",), "depths": (1, 2, 4, 8)})
def preconditioner(lab: Lab, size: Shapes) -> xr.Dataset:
    """The dense preconditioner beside the rule, its eigenpairs and its spectrum."""
    gaps = over(_eigen_gaps, shape=size.shapes, depth=size.depths)
    return gaps.merge(over(_spectrum, depth=size.depths))


def _eigen_gaps(shape: str, depth: int) -> xr.Dataset:
    """Action, eigenpairs and least eigenvalue, worst over ten draws."""
    k, d = map(int, shape.split("x"))
    rows = []
    for seed in range(10):
        W, gradient = np.random.default_rng(seed).normal(size=(2, k, d))
        P = np.asarray(end_to_end.preconditioner(W, depth))
        field = np.asarray(end_to_end.end_to_end_field(W, gradient, depth))
        values, U, V = (np.asarray(a) for a in end_to_end.preconditioner_spectrum(W, depth))
        vectors = np.einsum("ir,jq->jirq", U, V).reshape(P.shape[0], -1)  # column-major vec
        pairs = np.max(np.abs(P @ vectors - vectors * values.ravel()))
        action = np.max(np.abs(P @ gradient.T.ravel() - field.T.ravel()))
        rows.append((action, pairs, np.linalg.eigvalsh(P)[0]))
    action, pairs, least = np.transpose(rows)
    found = {
        "action_gap": (action.max(), "1", "P vec(G) less the rule, largest entry"),
        "pair_gap": (pairs.max(), "1", "P v less eigenvalue v, largest entry"),
        "least": (least.min(), "1", "least eigenvalue of P"),
    }
    return table({"": found})


def _spectrum(depth: int) -> xr.Dataset:
    """Eigenvalues for one Gaussian W, and the factor along a singular direction by its value."""
    W = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)))
    dense = np.linalg.eigvalsh(end_to_end.preconditioner(W, depth))
    formula = np.sort(np.ravel(end_to_end.preconditioner_spectrum(W, depth).values))
    s = jnp.linspace(0, 2, 81)
    scalars = jax.vmap(lambda w: end_to_end.preconditioner_spectrum(w, depth).values[0, 0])
    spectra = {
        "spectrum": (dense, "1", "eigenvalues of dense P"),
        "spectrum_theory": (formula, "1", "eigenvalues by formula"),
    }
    gain = {"gain": (scalars(s[:, None, None]), "1", "factor along a singular direction")}
    along = (s, "parameter", "singular value of W")
    return table({"index": spectra, "s": gain}, index=range(1, 13), s=along)


@experiment("single-output")
def single_output(lab: Lab) -> xr.Dataset:
    """The rule for one output beside the general one, and a step on a scalar factor."""
    rules = over(_rule_gap, draw=range(20), depth=[2, 3, 5])
    return rules.merge(over(_scalar_gap, seed=range(20)))


def _rule_gap(draw: int, depth: int) -> xr.Dataset:
    w, g = np.random.default_rng(0).normal(size=(20, 2, 6))[draw]
    special = end_to_end.single_output_rule(w, g, depth)
    general = end_to_end.end_to_end_field(w[None], g[None], depth)[0]
    gap = np.max(np.abs(special - general))
    return table({"": {"gap": (gap, "1", "difference of the two rules")}})


def _scalar_gap(seed: int) -> xr.Dataset:
    """Distance of E8 from one step of descent on a vector and a scalar, of size about one."""
    rng = np.random.default_rng(seed)
    X, y, w1 = rng.normal(size=(40, 5)), 0.5 * rng.normal(size=40), 0.3 * rng.normal(size=5)
    omega, eta = rng.uniform(0.5, 1.5), 0.1
    gradient = X.T @ (X @ (omega * w1) - y) ** 3 / 40
    start = deep_linear_params([w1[None], np.array([[omega]])])
    dynamics, problem = gradient_descent(eta), lp_regression(X, y, 4, (1,))
    after = dynamics.step(problem, dynamics.init(problem, start), jax.random.key(0))[0].params
    predicted = end_to_end.scalar_factor_step(
        jnp.asarray(omega * w1), omega, jnp.asarray(gradient), eta
    )
    gap = np.max(np.abs(whole(after)[0] - predicted))
    return table({"": {"scalar_gap": (gap, "parameter", "after one step")}})


@dataclass(frozen=True)
class Depths:
    """Depths of the rule that is integrated."""

    depths: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 12, 16)


@experiment("integral", Depths(), smoke={"depths": (1, 2, 3, 4, 8)})
def integrals(lab: Lab, size: Depths) -> xr.Dataset:
    """The closed line integral of the rule for a constant gradient, by depth."""
    return over(_integral, depth=(size.depths, "1", "depth N"))


def _integral(depth: int) -> xr.Dataset:
    def rule(w: Array) -> Array:
        return end_to_end.single_output_rule(w, jnp.asarray(G), depth)

    curve = end_to_end.gamma_curve(G, SMALL, LARGE)
    value, error = end_to_end.line_integral(rule, curve)
    slope, unit = float(np.linalg.norm(G)), "loss*parameter"
    theory = end_to_end.constant_gradient_integral(slope, depth, SMALL, LARGE)
    found = {
        "integral": (value, unit, "closed line integral"),
        "integral_error": (error, unit, "error of quadrature"),
        "integral_theory": (theory, unit, "closed form"),
    }
    return table({"": found})


@experiment("asymmetry")
def tilts(lab: Lab) -> xr.Dataset:
    """Depth 2: asymmetry of the rule's Jacobian for linear and quadratic losses, over draws."""
    w, g = (jnp.asarray(a) for a in np.random.default_rng(0).normal(size=(2, TILTS, 4)))

    def rule(Q: Array, w: Array, g: Array) -> Array:
        return end_to_end.single_output_rule(w, Q @ w - g, 2)

    def tilt(Q: Array, w: Array, g: Array) -> Array:
        return end_to_end.jacobian_asymmetry(lambda v: rule(Q, v, g), w)

    def potential(w: Array, g: Array) -> Array:
        return jnp.linalg.norm(w) * (w @ g)

    gradient = jax.vmap(jax.grad(potential))(w, -g)
    linear = jax.vmap(partial(rule, jnp.zeros((4, 4))))(w, g)
    generic, isotropic = (
        np.sort(jax.vmap(partial(tilt, Q))(w, g))
        for Q in (jnp.diag(jnp.arange(1.0, 5.0)), jnp.eye(4))
    )
    gap, unit = np.max(np.abs(gradient - linear), axis=1), "loss/parameter"
    found = {
        "potential_gap": (gap, unit, "rule less gradient"),
        "generic": (generic, unit, "Q = diag(1, 2, 3, 4)"),
        "isotropic": (isotropic, unit, "Q = I"),
    }
    share = (np.arange(TILTS) + 0.5) / TILTS
    return table({"draw": found}, draw=(share, "1", "share of draws"))
