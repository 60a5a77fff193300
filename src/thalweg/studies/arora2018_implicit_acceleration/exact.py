"""Experiments of implicit acceleration that are exact: flows, the preconditioner, the integral."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array
from scipy.integrate import solve_ivp

from thalweg.core.tree import Params
from thalweg.driver.many import over_grid
from thalweg.dynamics import gradient_descent
from thalweg.dynamics.end_to_end_rule import EndToEndDescent, end_to_end_descent
from thalweg.lab.study import Lab, variable
from thalweg.models import layer_weights
from thalweg.models.overparametrisation import balanced_factors
from thalweg.problems import Problem
from thalweg.problems.linear_targets import DeepLinear, deep_linear_params
from thalweg.problems.lp_norm import lp_regression
from thalweg.problems.weight_decay import Decayed
from thalweg.theory.linear_nets import end_to_end

CASES = ((3, 4, 5, 2), (3, 4, 5, 3), (2, 5, 4, 4))  # outputs, inputs, hidden width, depth
DECAY = 0.05
TIMES = np.linspace(0, 2, 41)
WIDTHS = (3, 4, 13)
SHAPES = ((3, 4), (4, 3), (3, 3), (1, 5))
DEPTHS = (1, 2, 3, 4, 8)
RATES = 2e-2 * 0.5 ** np.arange(8)
FINE = slice(3, None)  # the rates at which every draw is far from unstable
SPAN = 0.5  # of training time, in which descent on the factors and the rule part
DRAWS = 6
NORM = 0.3
INTEGRAL_DEPTHS = (1, 2, 3, 4, 5, 6, 8, 12, 16)
G, SMALL, LARGE = np.array([1.0, 2.0, -0.5]), 0.4, 1.3
TILTS = 200


def whole(params: Params) -> Array:
    """The product of the matrices of a linear net."""
    return reduce(lambda low, top: top @ low, layer_weights(params))


def quadratic(k: int, d: int, seed: int) -> tuple[DeepLinear, Array]:
    """1/2 tr[(W - A) Q (W - A)^T] for Gaussian A, Q = M M^T/d + I/10, and a Gaussian start."""
    rng = np.random.default_rng(seed)
    A, M, W = (rng.normal(size=shape) for shape in ((k, d), (d, d), (k, d)))
    return DeepLinear(jnp.asarray(A), jnp.asarray(M @ M.T / d + 0.1 * np.eye(d))), jnp.asarray(
        W / 2
    )


def followed(velocity: Callable[[Params], Params], start: Params) -> Params:
    """The flow along a velocity at all TIMES, by Dormand and Prince's method of order 8."""
    theta, unravel = ravel_pytree(start)
    slope = jax.jit(lambda v: ravel_pytree(velocity(unravel(v)))[0])
    found = solve_ivp(
        lambda t, v: np.asarray(slope(v)),
        (0, TIMES[-1]),
        np.asarray(theta),
        "DOP853",
        TIMES,
        rtol=1e-12,
        atol=1e-13,
    )
    return jax.vmap(unravel)(jnp.asarray(found.y.T))


def layerwise(problem: Problem, weights: Sequence[Array]) -> Params:
    """Gradient flow on every matrix, with weight decay."""
    gradient = jax.grad(Decayed(problem, jnp.asarray(DECAY)).objective)
    start = deep_linear_params(weights)
    return followed(lambda params: jax.tree.map(jnp.negative, gradient(params)), start)


def closed(problem: Problem, W: Array, N: int) -> Array:
    """The closed rule for the product alone."""

    def velocity(W: Array) -> Array:
        gradient = jax.grad(problem.objective)(deep_linear_params([W]))[0]["weight"]
        return end_to_end.end_to_end_velocity(W, gradient, N, DECAY)

    return followed(velocity, W)


def flows(lab: Lab) -> xr.Dataset:
    """X1a: flows of the factors beside the closed rule of the product, with weight decay."""
    return flows_of(CASES)


def flows_of(cases: Sequence[tuple[int, int, int, int]], draws: int = 1) -> xr.Dataset:
    """X1a for some cases (outputs, inputs, width, depth) and a number of draws."""
    ranks = max(min(k, d) for k, d, *_ in cases)
    shape = (len(cases), draws, len(TIMES))
    gap, defect = np.zeros(shape), np.zeros(shape)
    measured, theory = np.full((2, *shape, ranks), np.nan)
    for at in product(range(len(cases)), range(draws)):
        k, d, width, N = cases[at[0]]
        problem, W = quadratic(k, d, at[1])
        weights = balanced_factors(W, N, width, jax.random.key(at[1]))
        params, alone = layerwise(problem, weights), closed(problem, W, N)
        together = jax.vmap(whole)(params)
        gap[at] = np.max(np.abs(together - alone), axis=(1, 2))
        defect[at] = jax.vmap(end_to_end.balance_defect)(layer_weights(params))
        for values, path in ((measured, together), (theory, alone)):
            values[at][:, : min(k, d)] = np.linalg.svd(path, compute_uv=False)
    along, of = ("case", "draw", "time"), "singular values of the product"
    return xr.Dataset(
        {
            "gap": variable(along, gap, "parameter", "largest entry of the difference"),
            "defect": variable(along, defect, "parameter^2", "balance defect of the factors"),
            "strength": variable((*along, "rank"), measured, "parameter", f"{of}, factors"),
            "strength_theory": variable((*along, "rank"), theory, "parameter", f"{of}, rule"),
        },
        {
            "case": [f"{k}x{d}, width {width}, depth {N}" for k, d, width, N in cases],
            "time": variable("time", TIMES, "time", "training time"),
            "rank": np.arange(1, ranks + 1),
        },
    )


def widths(lab: Lab) -> xr.Dataset:
    """X1-widths: the product from one balanced start under several hidden widths."""
    (k, d), N = (3, 4), 3
    problem, W = quadratic(k, d, 0)
    paths = [
        jax.vmap(whole)(layerwise(problem, balanced_factors(W, N, width, jax.random.key(width))))
        for width in WIDTHS
    ]
    gaps = [np.max(np.abs(path - paths[0])) for path in paths]
    return xr.Dataset(
        {"gap": variable("width", gaps, "parameter", "largest distance from the narrowest net")},
        {"width": list(WIDTHS)},
    )


def depth_three(step_size: Array) -> EndToEndDescent:
    """The closed rule of depth 3 as descent."""
    return end_to_end_descent(step_size, 3)


def descents(lab: Lab) -> xr.Dataset:
    """X1b: descent on a vector and two scalars beside the closed rule in steps."""
    found = [_deviations(seed) for seed in range(DRAWS)]
    fine, coarse = (
        np.polyfit(np.log(RATES[part]), np.log(found)[:, part].T, 1)[0]
        for part in (FINE, slice(0, 5))
    )
    return xr.Dataset(
        {
            "deviation": variable(
                ("draw", "rate"), found, "parameter", "largest distance of the two vectors"
            ),
            "slope": variable("draw", fine, "1", "slope of log deviation in log step size"),
            "coarse_slope": variable("draw", coarse, "1", "the same at the five largest"),
            "proportional": variable(
                "rate", found[0][-1] * RATES / RATES[-1], "parameter", "in proportion, first draw"
            ),
        },
        {"rate": variable("rate", RATES, "step size", "step size")},
    )


def _deviations(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X, beta, w = (rng.normal(size=shape) for shape in ((40, 5), 5, 5))
    unit, part = w / np.linalg.norm(w), np.array([[NORM ** (1 / 3)]])
    deep = deep_linear_params([part * unit, part, part])
    longest = round(SPAN / RATES[-1])
    nets = (
        (gradient_descent, (1, 1), deep),
        (depth_three, (), deep_linear_params([NORM * unit[None]])),
    )
    paths = [
        over_grid(family, jnp.asarray(RATES), lp_regression(X, X @ beta, 4, hidden), start, longest,
                  lambda problem, params: whole(params)[0])
        for family, hidden, start in nets
    ]  # fmt: skip
    apart = np.linalg.norm(paths[0] - paths[1], axis=-1)
    steps = np.rint(SPAN / RATES).astype(int)
    return np.array([one[: n + 1].max() for one, n in zip(apart, steps, strict=True)])


def preconditioner(lab: Lab) -> xr.Dataset:
    """The dense preconditioner beside the rule, its eigenpairs and its spectrum."""
    rows = [[_eigen_gaps(shape, N) for N in DEPTHS] for shape in SHAPES]
    action, pairs, least = np.moveaxis(np.array(rows), -1, 0)
    W = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)))
    spectra = [np.linalg.eigvalsh(end_to_end.preconditioner(W, N)) for N in DEPTHS]
    formula = [np.ravel(end_to_end.preconditioner_spectrum(W, N).values) for N in DEPTHS]
    s = np.linspace(0, 2, 81)
    gain = [
        jax.vmap(lambda v, N=N: end_to_end.preconditioner_spectrum(v, N).values[0, 0])(
            s[:, None, None]
        )
        for N in DEPTHS
    ]
    by = ("shape", "depth")
    return xr.Dataset(
        {
            "action_gap": variable(by, action, "1", "P vec(G) less the rule, largest entry"),
            "pair_gap": variable(by, pairs, "1", "P v less eigenvalue v, largest entry"),
            "least": variable(by, least, "1", "least eigenvalue of P"),
            "spectrum": variable(("depth", "index"), spectra, "1", "eigenvalues of dense P"),
            "spectrum_theory": variable(
                ("depth", "index"), np.sort(formula), "1", "eigenvalues by formula"
            ),
            "gain": variable(("depth", "s"), gain, "1", "factor along a singular direction"),
        },
        {
            "shape": [f"{k}x{d}" for k, d in SHAPES],
            "depth": list(DEPTHS),
            "index": np.arange(1, 13),
            "s": variable("s", s, "parameter", "singular value of W"),
        },
    )


def _eigen_gaps(shape: tuple[int, int], N: int) -> tuple[float, float, float]:
    """(action, eigenpairs, least eigenvalue), worst over ten draws."""
    worst = np.array([0.0, 0.0, -np.inf])
    for seed in range(10):
        W, gradient = np.random.default_rng(seed).normal(size=(2, *shape))
        P = np.asarray(end_to_end.preconditioner(W, N))
        field = np.asarray(end_to_end.end_to_end_field(W, gradient, N))
        values, U, V = (np.asarray(a) for a in end_to_end.preconditioner_spectrum(W, N))
        vectors = np.einsum("ir,jq->jirq", U, V).reshape(P.shape[0], -1)  # column-major vec
        pairs = np.max(np.abs(P @ vectors - vectors * values.ravel()))
        action = np.max(np.abs(P @ gradient.T.ravel() - field.T.ravel()))
        found = np.array([action, pairs, -np.linalg.eigvalsh(P)[0]])
        worst = np.maximum(worst, found)
    return float(worst[0]), float(worst[1]), -float(worst[2])


def single_output(lab: Lab) -> xr.Dataset:
    """The rule for one output beside the general one, and a step on a scalar factor."""
    depths = (2, 3, 5)
    draws = np.random.default_rng(0).normal(size=(20, 2, 6))
    gaps = [
        [
            np.max(np.abs(end_to_end.single_output_rule(w, g, N)
                          - end_to_end.end_to_end_field(w[None], g[None], N)[0]))
            for N in depths
        ]
        for w, g in draws
    ]  # fmt: skip
    return xr.Dataset(
        {
            "gap": variable(("draw", "depth"), gaps, "1", "difference of the two rules"),
            "scalar_gap": variable(
                "seed", [_scalar_gap(seed) for seed in range(20)], "parameter", "after one step"
            ),
        },
        {"depth": list(depths)},
    )


def _scalar_gap(seed: int) -> float:
    """Distance of E8 from one step of descent on a vector and a scalar, of size about one."""
    rng = np.random.default_rng(seed)
    X, y, w1 = rng.normal(size=(40, 5)), 0.5 * rng.normal(size=40), 0.3 * rng.normal(size=5)
    omega, eta = rng.uniform(0.5, 1.5), 0.1
    gap = X @ (omega * w1) - y
    gradient = X.T @ gap**3 / 40
    start = deep_linear_params([w1[None], np.array([[omega]])])
    dynamics, problem = gradient_descent(eta), lp_regression(X, y, 4, (1,))
    after = dynamics.step(problem, dynamics.init(problem, start), jax.random.key(0))[0].params
    predicted = end_to_end.scalar_factor_step(
        jnp.asarray(omega * w1), omega, jnp.asarray(gradient), eta
    )
    return float(np.max(np.abs(whole(after)[0] - predicted)))


def integrals(lab: Lab) -> xr.Dataset:
    """The closed line integral of the rule for a constant gradient, by depth."""
    curve = end_to_end.gamma_curve(G, SMALL, LARGE)

    def rule(w: Array, N: int) -> Array:
        return end_to_end.single_output_rule(w, jnp.asarray(G), N)

    found = [end_to_end.line_integral(partial(rule, N=N), curve) for N in INTEGRAL_DEPTHS]
    slope = float(np.linalg.norm(G))
    closed_form = [
        end_to_end.constant_gradient_integral(slope, N, SMALL, LARGE) for N in INTEGRAL_DEPTHS
    ]
    value, error = np.array(found).T
    return xr.Dataset(
        {
            "integral": variable("depth", value, "loss*parameter", "closed line integral"),
            "integral_error": variable("depth", error, "loss*parameter", "error of quadrature"),
            "theory": variable("depth", closed_form, "loss*parameter", "closed form"),
        },
        {"depth": variable("depth", list(INTEGRAL_DEPTHS), "1", "depth N")},
    )


def tilts(lab: Lab) -> xr.Dataset:
    """Depth 2: asymmetry of the rule's Jacobian for linear and quadratic losses, over draws."""
    w, g = (jnp.asarray(a) for a in np.random.default_rng(0).normal(size=(2, TILTS, 4)))

    def rule(w: Array, g: Array, Q: Array) -> Array:
        return end_to_end.single_output_rule(w, Q @ w - g, 2)

    def tilt(Q: Array) -> Array:
        asymmetry = end_to_end.jacobian_asymmetry
        return jax.vmap(lambda w, g: asymmetry(lambda v: rule(v, g, Q), w))(w, g)

    def potential(w: Array, g: Array) -> Array:
        return jnp.linalg.norm(w) * (w @ g)

    gradient = jax.vmap(jax.grad(potential))(w, -g)
    linear = jax.vmap(lambda w, g: rule(w, g, jnp.zeros((4, 4))))(w, g)
    unit = "loss/parameter"
    return xr.Dataset(
        {
            "potential_gap": variable(
                "draw", np.max(np.abs(gradient - linear), axis=1), unit, "rule less gradient"
            ),
            "generic": variable(
                "draw", np.sort(tilt(jnp.diag(jnp.arange(1.0, 5.0)))), unit, "Q = diag(1, 2, 3, 4)"
            ),
            "isotropic": variable("draw", np.sort(tilt(jnp.eye(4))), unit, "Q = I"),
        },
        {"draw": variable("draw", (np.arange(TILTS) + 0.5) / TILTS, "1", "share of draws")},
    )
