"""Identities of the limit map on a random manifold, and expectations over draws."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from thalweg.core.tree import Params
from thalweg.curvature import hessian, normal_space
from thalweg.dynamics import limit_map, limiting_drift
from thalweg.lab.experiment import Draws, Lab, experiment
from thalweg.lab.table import mean_and_error, over, table
from thalweg.problems import Problem, fitted_trace, linear_weights, over_parametrised_linear
from thalweg.theory.limits.minimum_norm import minimum_norm

PARTS = ("whole", "along", "across")
EXAMPLES, UNKNOWNS, SPARSE = 30, 60, np.r_[1.0, -1.0, 1.0, np.zeros(57)]


class Curved(Problem):
    """(1/2) h(x)^T B(x) h(x): h from R^4 to R^2 linear and quadratic, B affine.

    A module of arrays, so that what is compiled for one draw serves them all.
    """

    linear: Float[Array, "2 4"]
    bent: Float[Array, "2 4 4"]
    slopes: Float[Array, "4 2 2"]
    start: Float[Array, " 4"]

    def init(self, key: Array) -> Params:
        return self.start

    def objective(self, params: Params) -> Float[Array, ""]:
        h = self.linear @ params + jnp.einsum("ijk,j,k->i", self.bent, params, params)
        change = jnp.einsum("kij,k->ij", self.slopes, params)
        B = jnp.array([[2.0, 0.3], [0.3, 1.5]]) + change + change.T
        return 0.5 * jnp.dot(h, B @ h)


@experiment("X0", Draws(3), smoke={"draws": 1}, full={"draws": 10})
def identities(lab: Lab, size: Draws) -> xr.Dataset:
    """The limit map of a random manifold in R^4: derivatives along the flow, and closed forms."""
    return over(_identities, draw=range(size.draws))


def _identities(draw: int) -> xr.Dataset:
    rng = np.random.default_rng(draw)
    linear, bent = rng.normal(size=(2, 4)), 0.3 * rng.normal(size=(2, 4, 4))
    slopes, start = 0.1 * rng.normal(size=(4, 2, 2)), 0.2 * rng.normal(size=4)
    problem = Curved(*map(jnp.asarray, (linear, bent, slopes, start)))
    whole = jnp.eye(4)
    off = limit_map(problem, problem.start, whole, whole)
    on = limit_map(problem, off.params, whole, whole)
    space = normal_space(problem, off.params)
    F = jnp.asarray(rng.normal(size=(4, 4)))
    gaps, slips = [], []
    for factor in (F, space.to_tangent(F), space.to_normal(F)):
        drift = limiting_drift(problem, off.params, factor)
        truth = limit_map(problem, off.params, factor, factor).second / 2
        gaps.append(_most(drift.total - truth))
        slips.append((_most(drift.mixed / 2), _most(drift.normal)))
    trend = {
        "label": _slope(problem, off.params, jnp.trace),
        "isotropic": _slope(problem, off.params, _log_determinant),
    }
    H = jax.hessian(problem.objective)(off.params)
    values, V = jnp.linalg.eigh(H)
    root = V * jnp.sqrt(jnp.where(values > space.tolerance, values, 0))[None]
    drifts = {"label": limit_map(problem, off.params, root, root).second / 2}
    drifts["isotropic"] = on.second / 2
    found = {
        name: _most(space.to_tangent(drifts[name] + trend[name] / 4))
        for name in ("label", "isotropic")
    }
    size = "largest |entry| of"
    return table(
        {
            "": {
                "jacobian": (_most(on.first - space.to_tangent(whole)), "1", f"{size} dPhi - P_t"),
                "gradient": (
                    _most(off.first @ jax.grad(problem.objective)(problem.start)),
                    "1",
                    f"{size} dPhi grad f off the manifold",
                ),
                "mixed_slip": (slips[0][0], "1", "change if the factor 2 of the mixed term fails"),
                "normal_slip": (slips[2][1], "1", "change if H^+ stands for the Lyapunov inverse"),
                "label": (found["label"], "1", f"{size} the drift of noise H, less the trace's"),
                "isotropic": (found["isotropic"], "1", f"{size} that of noise I, less ln det's"),
                "isotropic_slope": (_most(trend["isotropic"]), "1", f"{size} grad ln det"),
                "trace": (_trace_gap(draw), "1", "trace formula less the Hessian's trace"),
            },
            "part": {
                "second": (gaps, "1", f"{size} the closed form of d^2 Phi/2, less the flow's")
            },
        },
        part=PARTS,
    )


def _most(v: Array) -> float:
    return float(jnp.max(jnp.abs(v)))


def _slope(problem: Curved, x: Array, of: Callable[[Array], Array]) -> Array:
    return jax.grad(lambda y: of(jax.hessian(problem.objective)(y)))(x)


def _log_determinant(H: Array) -> Array:
    """Of the two eigenvalues that are not zero."""
    return jnp.sum(jnp.log(jnp.sort(jnp.linalg.eigvalsh(H))[-2:]))


def _trace_gap(draw: int) -> float:
    rng = np.random.default_rng(draw)
    Z, params = rng.normal(size=(4, 7)), {k: jnp.asarray(rng.normal(size=7)) for k in "uv"}
    problem = over_parametrised_linear(Z, Z @ np.asarray(linear_weights(params)))
    return abs(float(fitted_trace(problem, params) - jnp.trace(hessian(problem, params).dense())))


@experiment("X4", Draws(2000), full={"draws": 20_000})
def least_norm(lab: Lab, size: Draws) -> xr.Dataset:
    """The interpolant of least norm on random inputs: how far it is from the sparse truth."""
    rng = np.random.default_rng(0)
    errors = np.empty(size.draws)
    for i in range(size.draws):
        Z = rng.normal(size=(EXAMPLES, UNKNOWNS))
        errors[i] = np.sum((minimum_norm(Z, Z @ SPARSE).solution - SPARSE) ** 2)
    expected = (1 - EXAMPLES / UNKNOWNS) * SPARSE @ SPARSE
    squared, words = "parameter^2", "mean ||w - w*||^2 of the least-norm interpolant"
    found = mean_and_error("mean", errors, squared, words)
    return table({"": {**found, "expected": (expected, squared, "(1 - n/d) ||w*||^2")}})
