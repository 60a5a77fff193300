"""Experiments on what is exact: component norms, their flow, ranks, and the regulariser."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
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


@dataclass(frozen=True)
class Draws:
    """How many draws of Gaussian weights and targets, and of which factorisations."""

    draws: int
    cp: CPFactorisation = CP
    htf: HierarchicalFactorisation = HTF


@experiment("X3", Draws(4), full={"draws": 20})
def identities(lab: Lab, size: Draws) -> xr.Dataset:
    """Rates of component norms by theory beside those by automatic differentiation, E1 to E8."""

    def drawn(which: str, model: TensorFactorisation, dim: str, draw: int) -> xr.Dataset:
        found = identities_at(model, jax.random.key(draw))
        told = {
            f"{which}_{name}": (found[name], unit, f"{which.upper()}: {words}")
            for name, (unit, words) in ABOUT.items()
        }
        return table({dim: told})

    draws = range(size.draws)
    cp = over(partial(drawn, "cp", size.cp, "component"), draw=draws)
    return cp.merge(over(partial(drawn, "htf", size.htf, "local_component"), draw=draws))


@eqx.filter_jit
def identities_at(model: TensorFactorisation, key: Array) -> dict[str, Array]:
    """Everything in `ABOUT` at random weights, the components of all nodes in a row."""
    weights, other = jax.random.split(key)
    params = model.init(weights)
    T = jax.random.normal(other, model.dims)

    def loss(W: Array) -> Array:
        return jnp.mean((W - T) ** 4) + 0.1 * jnp.sum(jnp.sin(W))  # no square

    def observed(params: Params) -> tuple[dict[str, Array], dict[str, Array]]:
        norms = model.vector_norms(params)
        return model.component_norms(params), {name: n**2 for name, n in norms.items()}

    W = model.tensor(params)
    gradient = jax.grad(loss)(W)
    gamma = theory.alignments(model, params, gradient)
    sigma, norms = model.component_norms(params), model.vector_norms(params)
    rate, squares = flow_rate(observed, lambda p: loss(model.tensor(p)), params)
    ours, parts = theory.norm_rates(model, params, gradient), model.component_tensors(params)
    nodes = []
    for name in sigma:
        size, epsilon = jnp.abs(rate[name]), unbalancedness(norms[name])
        low, high = theory.rate_bounds(sigma[name], gamma[name], len(norms[name]), epsilon)
        spread = jnp.max(squares[name], 0) - jnp.min(squares[name], 0)
        nodes.append(
            {
                "rate": rate[name],
                "rate_theory": ours[name],
                "rate_gap": (ours[name] - rate[name]) / size,
                "below_lower": (low - rate[name]) / size,
                "above_upper": (rate[name] - high) / size,
                "alignment": gamma[name],
                "conservation_gap": spread / jnp.max(jnp.abs(squares[name]), 0),
                "sum_gap": jnp.full_like(size, jnp.max(jnp.abs(W - parts[name].sum(0)))),
            }
        )
    return {name: jnp.concatenate([node[name] for node in nodes]) for name in ABOUT}


@experiment("growth")
def growth(lab: Lab) -> xr.Dataset:
    """E6 beside a numerical solution of the balanced law, and norms from several starts."""
    gamma, starts, t = 0.7, np.array([0.02, 0.05, 0.1]), np.linspace(0, 8, 161)

    def law(order: int) -> xr.Dataset:
        def rate(_: float, sigma: np.ndarray) -> np.ndarray:
            return np.asarray(theory.balanced_rate(sigma, gamma, order))

        end = theory.constant_alignment_norm(1.0, 0.01, gamma, order)
        found = solve_ivp(rate, (0, 1), [0.01], method="DOP853", rtol=1e-13, atol=1e-16)
        norm = theory.constant_alignment_norm(t[:, None], starts, gamma, order)
        escape = theory.escape_time(starts, gamma, order)
        return table(
            {
                "": {
                    "end": (end, "norm", "norm at t = 1 from 0.01 under gamma = 0.7"),
                    "end_solved": (found.y[0, -1], "norm", "the same by numerical integration"),
                },
                "time start": {
                    "norm": (np.where(norm < 100, norm, np.nan), "norm", "component norm")
                },
                "start": {"escape": (escape, "step size", "escape time")},
            },
            time=t,
            start=(starts, "norm", "component norm at the start"),
        )

    return over(law, order=([2, 3, 4], "1", "weight vectors in a component, L"))


GROUPS = {"01": (0, 1), "23": (2, 3), "0": (0,), "3": (3,), "02": (0, 2), "03": (0, 3)}


@experiment("ranks", Draws(4), full={"draws": 20})
def ranks(lab: Lab, size: Draws) -> xr.Dataset:
    """Ranks of matricisations of random tensors, at nodes of the tree and elsewhere."""

    def drawn(draw: int) -> xr.Dataset:
        W = size.htf.tensor(size.htf.init(jax.random.key(draw)))
        node = {name: float(rank) for name, rank in hierarchical_rank(W, TREE).items()}
        spectra = [np.linalg.svd(matricise(W, m), compute_uv=False) for m in GROUPS.values()]
        found = [float(np.sum(s > 1e-10 * s[0])) for s in spectra]
        return table(
            {
                "modes": {"rank": (found, "1", "rank of the matricisation")},
                "node": {"hierarchical_rank": ([*node.values()], "1", "hierarchical rank")},
            },
            modes=list(GROUPS),
            node=list(node),
        )

    return over(drawn, draw=range(size.draws))


SIDE = 6
BATCHES = (50, 2000)
BILINEAR = (1, 2, 3, 6)


def _sum(x: Array) -> Array:
    return jnp.sin(x[:, :SIDE]).sum(1) + jnp.cos(x[:, SIDE:]).prod(1)


def _product(x: Array) -> Array:
    return jnp.sin(x[:, :SIDE]).sum(1) * jnp.exp(x[:, SIDE:].mean(1))


def _bilinear(M: Array, x: Array) -> Array:
    return jnp.einsum("na,ab,nb->n", x[:, :SIDE], M, x[:, SIDE:])


@experiment("regulariser", Draws(4), smoke={"draws": 1}, full={"draws": 20})
def regulariser(lab: Lab, size: Draws) -> xr.Dataset:
    """R where it is known: of separable functions, and of bilinear ones with m equal values.

    Inputs are N(0, I) in two patches of six.
    """

    def drawn(draw: int) -> xr.Dataset:
        *keys, last = jax.random.split(jax.random.key(draw), 3)
        x = jax.random.normal(last, (max(BATCHES), 2 * SIDE))
        bare, guarded = (
            [on_halves(f, x[:64], epsilon) for f in (_sum, _product)] for epsilon in (0.0, EPSILON)
        )
        U, V = (np.linalg.qr(jax.random.normal(k, (SIDE, SIDE)))[0] for k in keys)
        forms = [Partial(_bilinear, jnp.asarray(U[:, :m] @ V[:, :m].T)) for m in BILINEAR]
        bilinear = [[on_halves(form, x[:n], 0.0) for n in BATCHES] for form in forms]
        return table(
            {
                "kind": {
                    "separable": (bare, "1", "R without epsilon"),
                    "guarded": (guarded, "1", "R with epsilon"),
                },
                "m batch": {"bilinear": (bilinear, "1", "R of a bilinear function")},
            },
            kind=["sum", "product"],
            m=(BILINEAR, "1", "rank between the patches, m"),
            batch=BATCHES,
        )

    expected = (theory.mean_absolute_cosine(BILINEAR), "1", "its expectation")
    found = over(drawn, draw=range(size.draws))
    return found.merge(table({"m": {"bilinear_theory": expected}}))


@eqx.filter_jit
def on_halves(f: Any, x: Array, epsilon: float) -> Array:
    """R of a function of two patches, each half of the input."""
    p = jnp.arange(2 * SIDE) < SIDE
    return interaction_regulariser(f, x, p, ~p, epsilon)
