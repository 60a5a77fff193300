"""Experiments on what is exact: component norms, their flow, ranks, and the regulariser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.tree_util import Partial
from jaxtyping import Array
from scipy.integrate import solve_ivp

from thalweg.core.tensors import hierarchical_rank, matricise, perfect_tree
from thalweg.core.tree import Params
from thalweg.dynamics.flow.rate import flow_rate
from thalweg.lab.study import Lab, variable
from thalweg.models.tensor_factorisation import (
    CPFactorisation,
    HierarchicalFactorisation,
    TensorFactorisation,
    unbalancedness,
)
from thalweg.problems.locality import EPSILON, interaction_regulariser
from thalweg.theory.linear_nets import local_components as theory

TREE = perfect_tree(4)
CP = CPFactorisation((3, 4, 5, 6), 7)
HTF = HierarchicalFactorisation((4, 4, 4, 4), TREE, (3, 5))


def quartic(W: Array, T: Array) -> Array:
    """mean((W - T)^4) + 0.1 sum sin W, a loss that is no square."""
    return jnp.mean((W - T) ** 4) + 0.1 * jnp.sum(jnp.sin(W))


# E1 to E5, E7, E8: X3.


def identities(lab: Lab) -> xr.Dataset:
    """X3: rates of component norms by theory beside those by automatic differentiation."""
    return identities_of(draws=20 if lab.full else 4)


def identities_of(draws: int) -> xr.Dataset:
    """Random Gaussian weights and targets; components of all nodes in a row."""
    cp, htf = (_over_draws(f, draws) for f in (CP, HTF))
    nodes = [name for name, R in _counts(HTF) for _ in range(R)]
    told = _told("cp", cp, "component") | _told("htf", htf, "local_component")
    return xr.Dataset(
        told,
        {
            "draw": np.arange(draws),
            "component": np.arange(CP.components),
            "local_component": np.arange(len(nodes)),
            "node": variable("local_component", nodes, "1", "node of the tree"),
        },
    )


ABOUT = {
    "rate": ("norm/time", "rate of the component norm along gradient flow, differentiated"),
    "rate_theory": ("norm/time", "rate of the component norm by theory"),
    "rate_gap": ("1", "theory minus differentiated rate, relative to the latter"),
    "below_lower": ("1", "lower bound minus rate, relative to the rate's size"),
    "above_upper": ("1", "rate minus upper bound, relative to the rate's size"),
    "alignment": ("loss/norm", "gamma, inner product of -gradient with the direction"),
    "conservation_gap": ("1", "spread of d||w||^2/dt within a component, relative to its size"),
    "sum_gap": ("1", "largest entry of the tensor minus the sum over a node's components"),
}


def _told(which: str, found: dict[str, np.ndarray], dim: str) -> dict[str, xr.Variable]:
    return {
        f"{which}_{name}": variable(
            ("draw", dim), values, ABOUT[name][0], f"{which.upper()}: {ABOUT[name][1]}"
        )
        for name, values in found.items()
    }


def _over_draws(factorisation: TensorFactorisation, draws: int) -> dict[str, np.ndarray]:
    found = [_identities(factorisation, jax.random.key(draw)) for draw in range(draws)]
    return {name: np.stack([np.asarray(one[name]) for one in found]) for name in ABOUT}


@eqx.filter_jit
def _identities(factorisation: TensorFactorisation, key: Array) -> dict[str, Array]:
    """Everything in `ABOUT`, the components of all nodes in a row."""
    weights, other = jax.random.split(key)
    params = factorisation.init(weights)
    T = jax.random.normal(other, factorisation.dims)

    def objective(params: Params) -> Array:
        return quartic(factorisation.tensor(params), T)

    W = factorisation.tensor(params)
    gradient = jax.grad(quartic)(W, T)
    gamma = theory.alignments(factorisation, params, gradient)
    sigma, norms = factorisation.component_norms(params), factorisation.vector_norms(params)
    rate, squares = flow_rate(lambda p: _norms(factorisation, p), objective, params)
    ours = theory.norm_rates(factorisation, params, gradient)
    parts = factorisation.component_tensors(params)
    found: dict[str, list[Array]] = {name: [] for name in ABOUT}
    for name in sigma:
        L, size = len(norms[name]), jnp.abs(rate[name])
        bounds = theory.rate_bounds(sigma[name], gamma[name], L, unbalancedness(norms[name]))
        spread = jnp.max(squares[name], 0) - jnp.min(squares[name], 0)
        gap = jnp.max(jnp.abs(W - parts[name].sum(0)))
        for what, values in (
            ("rate", rate[name]),
            ("rate_theory", ours[name]),
            ("rate_gap", (ours[name] - rate[name]) / size),
            ("below_lower", (bounds[0] - rate[name]) / size),
            ("above_upper", (rate[name] - bounds[1]) / size),
            ("alignment", gamma[name]),
            ("conservation_gap", spread / jnp.max(jnp.abs(squares[name]), 0)),
            ("sum_gap", jnp.full_like(size, gap)),
        ):
            found[what].append(values)
    return {name: jnp.concatenate(values) for name, values in found.items()}


def _norms(
    factorisation: TensorFactorisation, params: Params
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Component norms, and the squared norms of their vectors."""
    vectors = factorisation.vector_norms(params)
    return factorisation.component_norms(params), {name: n**2 for name, n in vectors.items()}


def _counts(factorisation: TensorFactorisation) -> Iterable[tuple[str, int]]:
    shapes = jax.eval_shape(factorisation.component_norms, factorisation.init(jax.random.key(0)))
    return [(name, norms.shape[0]) for name, norms in shapes.items()]


# E6.


def growth(lab: Lab) -> xr.Dataset:
    """E6 beside a numerical solution of the balanced law, and norms from several starts."""
    sigma0, gamma, orders = 0.01, 0.7, np.array([2, 3, 4])
    end, solved = np.empty((2, len(orders)))
    for j, L in enumerate(orders):
        end[j] = theory.constant_alignment_norm(1.0, sigma0, gamma, int(L))
        solved[j] = _solved(sigma0, gamma, int(L))
    starts, t = np.array([0.02, 0.05, 0.1]), np.linspace(0, 8, 161)
    curves = [theory.constant_alignment_norm(t[:, None], starts, gamma, int(L)) for L in orders]
    escape = [theory.escape_time(starts, gamma, int(L)) for L in orders]
    shown = np.where(np.array(curves) < 100, curves, np.nan)
    return xr.Dataset(
        {
            "end": variable("order", end, "norm", "norm at t = 1 from 0.01 under gamma = 0.7"),
            "end_solved": variable("order", solved, "norm", "the same by numerical integration"),
            "norm": variable(("order", "time", "start"), shown, "norm", "component norm"),
            "escape": variable(("order", "start"), escape, "time", "escape time"),
        },
        {
            "order": variable("order", orders, "1", "weight vectors in a component, L"),
            "time": variable("time", t, "1/step size", "training time"),
            "start": variable("start", starts, "norm", "component norm at the start"),
        },
    )


def _solved(sigma0: float, gamma: float, L: int) -> float:
    def rate(_: float, sigma: np.ndarray) -> np.ndarray:
        return np.asarray(theory.balanced_rate(sigma, gamma, L))

    found = solve_ivp(rate, (0, 1), [sigma0], method="DOP853", rtol=1e-13, atol=1e-16)
    return float(found.y[0, -1])


# Ranks of matricisations.

GROUPS = {"01": (0, 1), "23": (2, 3), "0": (0,), "3": (3,), "02": (0, 2), "03": (0, 3)}


def ranks(lab: Lab) -> xr.Dataset:
    """C4: ranks of matricisations of random tensors, at nodes of the tree and elsewhere."""
    draws = 20 if lab.full else 4
    found, spectra = np.empty((draws, len(GROUPS))), np.full((draws, len(GROUPS), 16), np.nan)
    node = np.empty((draws, 6))
    for draw in range(draws):
        W = HTF.tensor(HTF.init(jax.random.key(draw)))
        node[draw] = list(hierarchical_rank(W, TREE).values())
        for j, modes in enumerate(GROUPS.values()):
            s = np.linalg.svd(np.asarray(matricise(W, modes)), compute_uv=False)
            spectra[draw, j, : len(s)] = s / s[0]
            found[draw, j] = np.sum(s > 1e-10 * s[0])
    names = [n.name for n in TREE.nodes() if n is not TREE]
    return xr.Dataset(
        {
            "rank": variable(("draw", "modes"), found, "1", "rank of the matricisation"),
            "hierarchical_rank": variable(("draw", "node"), node, "1", "hierarchical rank"),
            "spectrum": variable(
                ("draw", "modes", "index"), spectra, "1", "singular value / the largest"
            ),
        },
        {"modes": list(GROUPS), "node": names, "index": np.arange(1, 17)},
    )


# E11.

SIDE = 6
BILINEAR = (1, 2, 3, 6)


def _sum(x: Array) -> Array:
    return jnp.sin(x[:, :SIDE]).sum(1) + jnp.cos(x[:, SIDE:]).prod(1)


def _product(x: Array) -> Array:
    return jnp.sin(x[:, :SIDE]).sum(1) * jnp.exp(x[:, SIDE:].mean(1))


def _bilinear(M: Array, x: Array) -> Array:
    return jnp.einsum("na,ab,nb->n", x[:, :SIDE], M, x[:, SIDE:])


SEPARABLE = {"sum": _sum, "product": _product}


def regulariser(lab: Lab) -> xr.Dataset:
    """C5: the regulariser where it is known: separable functions, and bilinear ones."""
    return regulariser_of(draws=20 if lab.full else 4)


def regulariser_of(draws: int) -> xr.Dataset:
    """Inputs N(0, I) in two patches of six; bilinear forms with m singular values of 1."""
    batches = (50, 2000)
    bare, guarded = np.empty((2, len(SEPARABLE), draws))
    bilinear = np.empty((len(BILINEAR), len(batches), draws))
    for draw in range(draws):
        keys = jax.random.split(jax.random.key(draw), 3)
        x = jax.random.normal(keys[2], (max(batches), 2 * SIDE))
        for i, f in enumerate(SEPARABLE.values()):
            bare[i, draw], guarded[i, draw] = (_on_halves(f, x[:64], e) for e in (0.0, EPSILON))
        U, V = (np.linalg.qr(np.asarray(jax.random.normal(k, (SIDE, SIDE))))[0] for k in keys[:2])
        for i, m in enumerate(BILINEAR):
            form = Partial(_bilinear, jnp.asarray(U[:, :m] @ V[:, :m].T))
            bilinear[i, :, draw] = [_on_halves(form, x[:n], 0.0) for n in batches]
    return xr.Dataset(
        {
            "separable": variable(("kind", "draw"), bare, "1", "R without epsilon"),
            "guarded": variable(("kind", "draw"), guarded, "1", "R with epsilon"),
            "bilinear": variable(("m", "batch", "draw"), bilinear, "1", "R of a bilinear function"),
            "bilinear_theory": variable(
                "m", theory.mean_absolute_cosine(BILINEAR), "1", "its expectation"
            ),
        },
        {
            "kind": list(SEPARABLE),
            "m": variable("m", list(BILINEAR), "1", "rank between the patches, m"),
            "batch": list(batches),
            "draw": np.arange(draws),
        },
    )


@eqx.filter_jit
def _on_halves(f: Any, x: Array, epsilon: float) -> Array:
    p = jnp.arange(2 * SIDE) < SIDE
    return interaction_regulariser(f, x, p, ~p, epsilon)
