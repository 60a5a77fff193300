"""Central flow: gradients and time against the public scheme, at the same distance from descent.

    python benchmarks/central_flow.py [--quick] [--threads N]

A tanh net of 5,070 parameters on a hundred digits, descent past the edge of stability. Both are
followed from the first weights over a run that is at the edge for half of its steps, and from a
midpoint of descent after its oscillation exists, where distances say something: the midpoints
(w_(k-1) + 2 w_k + w_(k+1))/4 are descent without its oscillation.

The public scheme, written here after github.com/centralflows/centralflows (PyTorch) and
github.com/alex-damian/central_flows_jax: four Euler substeps a step; at each the leading five
eigenpairs by LOBPCG from the last ones, to the tolerance of the JAX package (1e-5); third
derivatives of all pairs above 1.95 of 2; the matrix problem. Theirs goes to CVXPY, which costs
milliseconds a call; here it is `thalweg.core.sdcp`, in the scheme's favour. Its products are
counted twice: as jax.experimental's LOBPCG spends them, 4 k an iteration, and as a lean one would,
k. A Hessian product counts 2 gradients, a third-order product 4. Ours counts its companion, which
tells the error of the path; theirs has none.

CPU time in one process, compiled before.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse.linalg import lobpcg_standard
from jaxtyping import Array
from timing import limit_threads, machine, options

from thalweg.core.hessian_product import hessian_product, third_product
from thalweg.core.tree import flatten
from thalweg.driver.path import flat_parameters, iterates, paths
from thalweg.dynamics import central_flow, gradient_descent, gradient_flow
from thalweg.dynamics.dynamics import State
from thalweg.dynamics.flow.central import CentralFlow
from thalweg.dynamics.flow.edge import Scaling, edge
from thalweg.problems import Problem
from thalweg.problems.problem import unraveller
from thalweg.studies.cohen2025_central_flows.digits import Net, midpoints

ASKED = options(__doc__)
limit_threads(ASKED.threads)
QUICK = ASKED.quick
ETA = 2 / 3
NET = Net(hidden=(20, 20, 20)) if QUICK else Net(hidden=(40, 40, 20))
STEPS = 40 if QUICK else 400  # from the first weights
LATER = 20 if QUICK else 150  # from the midpoint
SUBSTEPS, VECTORS, TOLERANCE, THRESHOLD = 4, 5, 1e-5, 1.95


class Scheme(NamedTuple):
    """What the public scheme carries from substep to substep."""

    theta: Array
    block: Array  # (p, k)
    gradients: Array  # by what: gradients, LOBPCG as it is, LOBPCG if lean, third derivatives


@eqx.filter_jit
def public(problem: Problem, start: Array, steps: int) -> tuple[Array, Array, Array]:
    """The path after every step, gradients spent until then by what, and the largest eigenvalue."""
    unravel = unraveller(problem)
    how = Scaling(jnp.asarray(ETA), jnp.zeros(()), jnp.zeros(()))
    h = jnp.asarray(1 / SUBSTEPS)

    def substep(at: Scheme, _: None) -> tuple[Scheme, Array]:
        product = hessian_product(problem.objective, unravel(at.theta))
        scaled = TOLERANCE / (10 * at.theta.size)  # LOBPCG multiplies by it
        values, block, turns = lobpcg_standard(
            lambda V: ETA * jax.vmap(product, 1, 1)(V), at.block, tol=scaled
        )
        g = flatten(jax.grad(problem.objective)(unravel(at.theta)))
        third = third_product(problem.objective, unravel(at.theta))
        count = jnp.sum(values > THRESHOLD)

        def held() -> Array:
            rows = block.T * jnp.sqrt(ETA)
            found = edge(how, third, g, g[:0], rows, values, count, h)
            return found.force(g, found.solved().X)

        force = jax.lax.cond(count > 0, held, lambda: g)
        k, pairs = VECTORS, count * (count + 1) // 2
        spent = jnp.stack(
            [jnp.ones_like(pairs), 2 * k * (4 * turns + 1), 2 * k * (turns + 1), 4 * pairs]
        )
        theta = at.theta - h * ETA * force
        return Scheme(theta, block, at.gradients + spent), values[0]

    def step(at: Scheme, _: None) -> tuple[Scheme, tuple[Array, Array, Array]]:
        at, sharpness = jax.lax.scan(substep, at, None, length=SUBSTEPS)
        return at, (at.theta, at.gradients, sharpness[0])

    block = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (start.size, VECTORS)))[0]
    first = Scheme(start, block, jnp.zeros(4, int))
    _, (path, spent, sharpness) = jax.lax.scan(step, first, None, length=steps)
    return jnp.concatenate([start[None], path]), spent, sharpness


class Seen(eqx.Module):
    """What is kept of our central flow after every step."""

    dynamics: CentralFlow

    def __call__(self, problem: Problem, state: State) -> tuple[Array, ...]:
        told = self.dynamics.statistics(problem, state)
        error = self.dynamics.path_error(problem, state)
        return flatten(state.params), error, state.evaluations, told["critical"], state.result


def norms(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows, axis=1)


def both(problem: Problem, start: Array, steps: int, middle: np.ndarray) -> None:
    """Follow both from a start, the second time timed, and say what it cost and how near it is."""
    flow, unravel = central_flow(ETA), unraveller(problem)
    for _ in range(2):
        begun = time.process_time()
        seen = paths(
            flow, problem, unravel(start), ETA, steps, observe=Seen(flow), over=()
        ).seen  # fmt: skip
        ours, error, evaluations, critical, code = map(np.asarray, seen)
        own = time.process_time() - begun
    for _ in range(2):
        begun = time.process_time()
        theirs, spent, _ = map(np.asarray, public(problem, start, steps))
        other = time.process_time() - begun
    plain = np.asarray(
        paths(
            gradient_flow(error=1e-5), problem, unravel(start), ETA, steps, flat_parameters, over=()
        ).seen
    )
    late = slice(steps // 2, steps + 1)
    away = {"central flow": ours, "public scheme": theirs, "gradient flow": plain}
    gaps = {name: norms(middle[: steps + 1] - path) for name, path in away.items()}
    for name, gap in gaps.items():
        print(f"  {name:<14} from midpoints: mean {np.mean(gap[late]):.4f}, end {gap[-1]:.4f}")
    nearer = gaps["gradient flow"][late] / gaps["central flow"][late]
    apart = norms(ours - theirs)
    print(f"  nearer than gradient flow: {np.mean(nearer):.2f} times, end {nearer[-1]:.2f}")
    print(
        f"  the two apart: {apart.max():.5f} at most; error told {error[-1]:.5f}, code {code[-1]}"
    )
    print(
        f"  steps at the edge: {np.mean(critical[1:] > 0):.0%}, most vectors {critical.max():.0f}"
    )
    gradient, as_is, lean, third = spent[-1]
    for name, total in (("as it is", as_is), ("lean", lean)):
        total = gradient + total + third
        print(
            f"  gradients: ours {evaluations[-1]:,}, public scheme, LOBPCG {name} {total:,} "
            f"(third derivatives {third:,}): {evaluations[-1] / total:.3f}"
        )
    print(f"  CPU s: ours {own:.1f}, public scheme {other:.1f}: {own / other:.2f}", flush=True)


def main() -> None:
    problem = NET.problem
    start = flatten(NET.drawn(0))
    print(f"{start.size} parameters, eta {ETA:.3f}; {machine(ASKED.threads)}")
    W = iterates(gradient_descent(ETA), problem, STEPS + LATER + 1, NET.drawn(0), flat_parameters)
    middle = midpoints(W)
    moved = norms(W[1:-1] - middle[1:-1]) ** 2
    late = np.argmax((moved > 1e-3) & (np.arange(len(moved)) >= 20))
    begin = int(np.ceil((late + 6) / 10) * 10)  # as the specification of the study has it
    middle[0] = W[0]
    print(f"from the first weights, {STEPS} steps")
    both(problem, start, STEPS, middle)
    begin = min(begin, STEPS)
    print(f"from the midpoint of step {begin}, {LATER} steps")
    both(problem, jnp.asarray(middle[begin]), LATER, middle[begin:])


if __name__ == "__main__":
    main()
