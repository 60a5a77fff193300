"""What the three paths on digits show: distances, losses, gradients, variance, curvature."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from thalweg.comparison.beyond import delayed
from thalweg.core.hessian_product import hessian_product, third_product
from thalweg.core.tree import flatten
from thalweg.dynamics.flow.edge import Scaling, edge
from thalweg.lab.experiment import Lab, experiment
from thalweg.lab.table import over, table
from thalweg.problems import Problem
from thalweg.problems.problem import unraveller
from thalweg.studies.cohen2025_central_flows.digits import (
    Beside,
    Net,
    Run,
    beside,
    leading,
    midpoints,
    seen,
)
from thalweg.studies.cohen2025_central_flows.methods import Method

SMALL = Net(images=30, pooled=True, hidden=(8, 8, 8), gain=1.0)
LOW = Net(images=30, pooled=True, hidden=(8, 8, 8), gain=0.7)  # of one shape with the other
RECENT = 10  # steps whose largest oscillation says whether it has begun
WATCHED = 4  # leading eigenvectors of the central flow on whose span the variance is measured
CANDIDATE = 1.95  # eigenvalue of P^-1 H from which on it counts as at the edge


def row_norms(rows: np.ndarray) -> np.ndarray:
    """The norm of each row."""
    return np.linalg.norm(rows, axis=1)


def along_steps(at: Beside, method: Method) -> dict[str, tuple[Any, str, str]]:
    """Variables with an entry for each step."""
    told, s = at.told, dict(at.told.statistics)
    for name in ("oscillation", "critical", "effective_sharpness"):
        s[name] = np.r_[np.nan, s[name][1:]]  # of the substeps before a record: none at the start
    central_loss, _ = seen(at.problem, jnp.asarray(told.theta))
    plain_loss, _ = seen(at.problem, jnp.asarray(at.plain))
    smooth_loss, _ = seen(at.problem, jnp.asarray(at.middle))
    found = {
        "distance_central": (
            row_norms(at.middle - told.theta), "parameter", "midpoints to the central flow"
        ),
        "distance_plain": (
            row_norms(at.middle - at.plain), "parameter", "midpoints to the plain flow"
        ),
        "distance_error": (told.error, "parameter", "error of the central flow's integration"),
        "loss": (at.losses, "loss", "loss of the steps"),
        "smooth_loss": (smooth_loss, "loss", "loss of midpoints"),
        "plain_loss": (plain_loss, "loss", "loss along the plain flow"),
        "central_loss": (central_loss, "loss", "loss along the central flow"),
        "predicted_loss": (s["predicted_loss"], "loss", "mean loss of the steps, predicted"),
        "square": (np.sum(at.gradients**2, axis=1), "loss^2/parameter^2", "||grad f||^2, steps"),
        "predicted_square": (
            s["predicted_squared_gradient"], "loss^2/parameter^2", "||grad f||^2, predicted"
        ),
        "energy": (
            row_norms(at.steps - at.middle) ** 2, "parameter^2", "||step - midpoint||^2, measured"
        ),
        "oscillation": (s["oscillation"], "parameter^2", "tr Sigma, predicted"),
        "critical": (s["critical"], "1", "eigenvalues at the edge"),
        "added_loss": (
            s["predicted_loss"] - central_loss, "loss", "tr P Sigma, the oscillation's loss"
        ),
        "effective_sharpness": (
            s["effective_sharpness"], "1", "largest eigenvalue of 1/P H, central flow"
        ),
    }  # fmt: skip
    if method.average != "none":
        for name, nu, whose in (("", at.nu, "steps"), ("central_", told.nu, "central flow")):
            found[f"{name}rate"] = (
                method.rates(np.asarray(nu)),
                "1",
                f"mean of eta/(sqrt nu + eps), {whose}",
            )
    return found


def curvature(at: Beside, every: int) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """Sharpness of midpoints and of the plain flow every so many steps, and the variance at each.

    Returns:
        The steps of the looks, the variables there, and for each step ||U^T P (w_k - w(t))||^2, U
        the eigenvectors of H U = s P U at the edge at the last look, U^T P U = 1.
    """
    count, scaling = len(at.steps), at.flow.scaling
    starts: list[Array | None] = [None] * 3
    looks = np.arange(0, count, every)
    middle, plain = np.full(len(looks), np.nan), np.full(len(looks), np.nan)
    variance, gaps = np.zeros(count), at.steps - at.told.theta

    def found(which: int, flat: Any, nu: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        P = scaling.diagonal(jnp.asarray(nu), jnp.asarray(flat))
        pairs = leading(at.problem, flat, P, k, starts[which])
        starts[which] = pairs.vectors
        return np.asarray(pairs.values), np.asarray(pairs.vectors * jnp.sqrt(P)[:, None])

    for i, k in enumerate(looks):
        if np.isfinite(at.middle[k]).all():  # there is none at the first weights
            middle[i] = found(0, at.middle[k], at.nu[k], 1)[0][0]
        if i % 8 == 0 or i == len(looks) - 1:
            plain[i] = found(1, at.plain[k], at.plain_nu[k], 1)[0][0]
        values, PU = found(2, at.told.theta[k], at.told.nu[k], WATCHED)
        block = slice(k, min(k + every, count))
        variance[block] = np.sum((gaps[block] @ PU[:, values > CANDIDATE]) ** 2, axis=1)
    variables = {
        "middle_sharpness": (middle, "1", "largest eigenvalue of 1/P H, midpoints"),
        "plain_sharpness": (plain, "1", "largest eigenvalue of 1/P H, plain flow"),
    }
    return looks, variables, variance


@eqx.filter_jit
def laws(problem: Problem, scaling: Scaling, flat: Array, rows: Array) -> Array:
    """What the equation promises at a point, measured by differences of Hessian products.

    Args:
        problem: What is descended.
        scaling: Of gradient descent.
        flat: The point.
        rows: Orthonormal.

    Returns:
        The largest eigenvalue of U^T H' U, <X, U^T H' U>, how far -grad f^T w' is from
        ||w'||^2/eta, relative, and tr X; the time is in steps.
    """
    unravel, eta = unraveller(problem), scaling.step_size
    third = third_product(problem.objective, unravel(flat))
    gradient = flatten(jax.grad(problem.objective)(unravel(flat)))
    U = rows * jnp.sqrt(eta)
    k = len(rows)
    found = edge(
        scaling, third, gradient, gradient[:0], U, jnp.full(k, 2.0), jnp.asarray(k), jnp.ones(())
    )
    X = found.solved().X
    way = -eta * found.force(gradient, X)

    def form(sign: float) -> Array:
        product = hessian_product(problem.objective, unravel(flat + sign * 1e-4 * way))
        return U @ jax.vmap(product)(U).T

    change = (form(1.0) - form(-1.0)) / 2e-4
    change = (change + change.T) / 2
    speed = way @ way / eta
    return jnp.stack(
        [
            jnp.linalg.eigvalsh(change)[-1] / eta,
            jnp.abs(jnp.sum(X * change)),
            jnp.abs(gradient @ way + speed) / speed,
            jnp.trace(X),
        ]
    )


def warned(at: Beside, looks: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Where a comparison of descent with its central flow warns of a delayed onset."""
    energy = np.nan_to_num(row_norms(at.steps - at.middle) ** 2)
    recent = [energy[max(k - RECENT + 1, 0) : k + 1].max() for k in looks]
    told = {
        "central_oscillation": np.r_[0.0, at.told.statistics["oscillation"][1:]][looks],
        "descent_oscillation": np.array(recent),
        "descent_stability": np.nan_to_num(middle) / 2,
    }
    return delayed(xr.Dataset({k: (("seed", "time"), v[None]) for k, v in told.items()}))


def equations(at: Beside, points: int) -> np.ndarray:
    """`laws` at points of the second half of the central flow, (points, 4)."""
    rows = []
    for k in np.linspace(len(at.steps) // 2, len(at.steps) - 1, points).astype(int):
        flat = at.told.theta[k]
        P = at.flow.scaling.diagonal(jnp.zeros(0), jnp.asarray(flat))
        vectors = leading(at.problem, flat, P, 3).vectors
        rows.append(laws(at.problem, at.flow.scaling, jnp.asarray(flat), vectors.T))
    return np.array(rows)


def midpoint_off() -> float:
    """What the midpoint leaves of (-1)^k a + b + c k beside b + c k."""
    a, b, c = np.random.default_rng(0).standard_normal((3, 5))
    k = np.arange(6)[:, None]
    smooth = b + c * k
    return float(np.abs((midpoints((-1.0) ** k * a + smooth) - smooth)[1:-1]).max())


def of_seed(size: Run, seed: int) -> xr.Dataset:
    """The table of one seed."""
    at = beside(size, seed)
    looks, sharpness, variance = curvature(at, size.every)
    warns = warned(at, looks, sharpness["middle_sharpness"][0]).astype(float)
    sharpness["warned"] = (warns, "1", "warning of a delayed onset")
    along = {"variance": (variance, "loss", "variance on the eigenvectors at the edge")}
    groups = {
        "step": along_steps(at, size.method) | along,
        "look": sharpness,
        "": {"midpoint_off": (midpoint_off(), "1", "what midpoints leave of an oscillation")},
    }
    if size.points:
        rise, product, balance, amount = equations(at, size.points).T
        groups["point"] = {
            "rise": (rise, "1", "largest eigenvalue of U^T H' U"),
            "complementarity": (product, "loss", "<X, U^T H' U>"),
            "energy_balance": (balance, "1", "-grad f^T w' against ||w'||^2/eta, relative"),
            "amount": (amount, "loss", "tr X"),
        }
    return table(
        groups,
        {"parameters": at.steps.shape[1]},
        step=np.arange(size.steps + 1),
        look=(looks, "1", "steps taken"),
    )


def of_seeds(size: Run) -> xr.Dataset:
    """The tables of all seeds."""
    return over(lambda seed: of_seed(size, seed), seed=list(size.seeds))


@experiment(
    "X2b",
    Run(points=8),
    smoke={"net": SMALL, "seeds": (0,), "starts": (100,), "steps": 100, "points": 3},
    full={"seeds": (0, 1, 2, 3, 4), "starts": (120, 130, 150, 80, 160)},
)
def from_the_midpoint(lab: Lab, size: Run) -> xr.Dataset:
    """Gradient descent and both flows from its midpoint, once the oscillation exists."""
    return of_seeds(size)


@experiment(
    "X2",
    Run(seeds=(0,), starts=(0,), steps=240),
    smoke={"net": SMALL, "steps": 100, "every": 50},
    full={"seeds": (0, 1, 2, 3, 4), "starts": (0,) * 5},
)
def from_the_first_weights(lab: Lab, size: Run) -> xr.Dataset:
    """Gradient descent and both flows from the first weights: the oscillation comes late."""
    return of_seeds(size)


@experiment(
    "X3",
    Run(Net(hidden=(20, 20), gain=0.4), Method(0.4), seeds=(0,), starts=(0,), steps=580, every=10),
    smoke={"net": LOW, "method": Method(0.52), "steps": 100},
)
def one_eigenvalue(lab: Lab, size: Run) -> xr.Dataset:
    """Gradient descent of three layers from the first weights: the oscillation does not come."""
    return of_seeds(size)


@experiment(
    "X4",
    Run(method=Method(0.1, "shared"), seeds=(0,), starts=(300,), steps=120),
    smoke={
        "net": SMALL,
        "method": Method(0.3, "shared"),
        "starts": (260,),
        "steps": 60,
        "every": 10,
    },
    full={"seeds": (0, 1, 3, 4), "starts": (300,) * 4},
)
def with_one_average(lab: Lab, size: Run) -> xr.Dataset:
    """Scalar RMSProp, and both flows from a midpoint of it and its average."""
    return of_seeds(size)


@experiment(
    "X5",
    Run(method=Method(2e-3, "each", epsilon=1e-4), seeds=(0,), starts=(120,), steps=40, every=4),
    smoke={
        "net": SMALL,
        "method": Method(6e-3, "each", epsilon=1e-4),
        "starts": (200,),
        "every": 8,
    },
    full={"seeds": (0, 1, 3), "starts": (120,) * 3},
)
def with_an_average_each(lab: Lab, size: Run) -> xr.Dataset:
    """RMSProp, and both flows from a midpoint of it and its averages."""
    return of_seeds(size)
