"""Natural gradient with an exact matrix: steps of one size, and the flow that they follow.

    theta <- theta - eta P g,    theta' = -P g,    P = (M + lambda I)^-1,

g the gradient and M the Fisher matrix, that of Gauss and Newton, its Kronecker factors, or the
Hessian, at each point anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from thalweg.core import tree
from thalweg.core.errors import choose, require
from thalweg.core.ranges import require_from_zero
from thalweg.core.result import finite, tree_finite
from thalweg.core.tree import Params
from thalweg.curvature.kronecker.fisher import kronecker_fisher
from thalweg.curvature.operators import fisher, gauss_newton, hessian
from thalweg.dynamics.descent import nearest_count
from thalweg.dynamics.dynamics import Continuous, Discrete, Info, State, fresh, step_size_array
from thalweg.dynamics.flow.followed import FLOW_ERROR, MOST_GRADIENTS, Flow, System, how_asked
from thalweg.dynamics.stability import StabilityRule
from thalweg.problems.problem import Problem

MOST = 2000  # parameters whose matrix is decomposed
Vector = Float[Array, " p"]
Dense = Float[Array, "p p"]


def _fisher(problem: Problem, params: Params, damping: Array) -> Dense:
    return _lifted(fisher(problem, params).dense(), damping)


def _gauss_newton(problem: Problem, params: Params, damping: Array) -> Dense:
    return _lifted(gauss_newton(problem, params).dense(), damping)


def _kronecker(problem: Problem, params: Params, damping: Array) -> Dense:
    factored = kronecker_fisher(problem, params)
    return factored.damped(jnp.sqrt(damping)).dense()  # type: ignore[attr-defined]


def _hessian(problem: Problem, params: Params, damping: Array) -> Dense:
    return _lifted(hessian(problem, params).dense(), damping)


def _sizes(problem: Problem, params: Params, damping: Array) -> Dense:
    e, U = jnp.linalg.eigh(hessian(problem, params).dense())
    return _lifted((U * jnp.abs(e)) @ U.T, damping)


def _lifted(matrix: Array, damping: Array) -> Dense:
    return matrix + damping.astype(matrix.dtype) * jnp.eye(len(matrix), dtype=matrix.dtype)


# M + lambda I of each, its name in sentences, and what it costs in thirds of a gradient, which is
# a pass forward and two back: where it begins, and for each parameter.
MATRICES: dict[str, tuple[Callable[..., Dense], str, tuple[int, int]]] = {
    "fisher": (_fisher, "natural gradient", (1, 4)),
    "gauss-newton": (_gauss_newton, "Gauss-Newton", (1, 4)),
    "kronecker": (_kronecker, "Kronecker-factored natural gradient", (1, 0)),
    "hessian": (_hessian, "Newton", (3, 6)),
    "absolute-hessian": (_sizes, "saddle-free Newton", (3, 6)),
}


def metric_price(matrix: str, problem: Problem, params: Params) -> int:
    """Gradients that a step takes, its own and those of its matrix, to the next whole one."""
    outputs = getattr(problem, "targets", np.zeros((1, 1))).shape[-1]
    back = 2 * outputs if matrix == "kronecker" else 0  # a pass for each output
    first, each = MATRICES[matrix][2]
    return 1 + -(-(first + back + each * tree.size(params)) // 3)


def require_decomposable(matrix: str, params: Params) -> None:
    """Refuse a matrix that is too large to be decomposed at every step."""
    p = tree.size(params)
    require(
        p <= MOST,
        f"{MATRICES[matrix][1]} of {p:,} parameters came, whose matrix is decomposed at every "
        f"step; give at most {MOST:,}, or take kfac",
    )


class NaturalGradientDescent(Discrete):
    """theta <- theta - eta (M + lambda I)^-1 grad f, M at each point anew.

    Step k sits at training time k eta. Deterministic. Cost: a gradient and the matrix, 4 p/3
    gradients of the Fisher and Gauss-Newton matrix, 2 p of the Hessian, two thirds of one for each
    output of Kronecker factors, and the pass that each begins with; p^3 operations. Result:
    NONFINITE once objective or parameters are not finite. Source: Amari (1998); Martens (2020,
    arXiv 1412.1193).

    Attributes:
        step_size: eta.
        damping: lambda (unit: loss/parameter^2); of Kronecker factors put inside them.
        matrix: A key of `MATRICES`.
    """

    step_size: Float[Array, ""] = eqx.field(converter=step_size_array)
    damping: Float[Array, ""] = eqx.field(converter=lambda v: jnp.asarray(v, jnp.float64))
    matrix: str = eqx.field(static=True, default="fisher")

    @property
    def name(self) -> str:
        return MATRICES[self.matrix][1]

    def init(self, problem: Problem, params: Params) -> State:
        require_decomposable(self.matrix, params)
        # What the matrix refuses it refuses at once.
        jax.eval_shape(lambda p: MATRICES[self.matrix][0](problem, p, self.damping), params)
        return fresh(params, ())

    def step(self, problem: Problem, state: State, key: Array) -> tuple[State, Info]:
        loss, gradient = jax.value_and_grad(problem.objective)(state.params)
        theta, unravel = ravel_pytree(state.params)
        M = MATRICES[self.matrix][0](problem, state.params, self.damping)
        way = jnp.linalg.solve(M, ravel_pytree(gradient)[0])
        params = unravel(theta - self.step_size.astype(theta.dtype) * way)
        count = state.step + 1
        return state._replace(
            params=params,
            time=count.astype(jnp.float64) * self.step_size,
            step=count,
            evaluations=state.evaluations + metric_price(self.matrix, problem, params),
            result=jnp.maximum(state.result, jnp.maximum(finite(loss), tree_finite(params))),
        ), Info(loss)

    def clock(self, steps: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.asarray(steps) * float(self.step_size)

    def steps_until(self, time: float) -> int:
        return nearest_count(time, float(self.step_size))

    def limit(self, problem: Problem, params: Params) -> Continuous:
        return natural_gradient_flow(
            float(self.damping), self.matrix, error=FLOW_ERROR[problem.smooth]
        )

    def stability(self, problem: Problem, params: Params) -> StabilityRule:
        return StabilityRule(
            "preconditioned_sharpness", 2 / float(self.step_size), "2/eta", "frozen",
            "its matrix is taken as it stands at each record",
            source="Martens (2020), section 9",
        )  # fmt: skip

    def gain_root(self, problem: Problem, params: Params) -> Dense:
        """P^1/2, symmetric: P^1/2 H P^1/2 has the eigenvalues that decide stability."""
        return _root(self.matrix, problem, params, self.damping)


class NaturalGradientFlow(Flow):
    """theta' = -(M + lambda I)^-1 grad f, followed by explicit methods.

    What natural gradient, Gauss-Newton and Newton's method follow as their steps go to 0; where M
    is the Hessian and lambda 0, the gradient falls as exp(-t) and keeps its direction.

    Attributes:
        damping: lambda.
        matrix: A key of `MATRICES`.
    """

    symmetric: ClassVar[bool] = False

    damping: Float[Array, ""] = eqx.field(
        converter=lambda v: jnp.asarray(v, jnp.float64), default=0.0
    )
    matrix: str = eqx.field(static=True, default="fisher")

    @property
    def name(self) -> str:
        return f"the {MATRICES[self.matrix][1]} flow"

    def system(self, problem: Problem, params: Params) -> System:
        theta, unravel = ravel_pytree(params)
        gradient = jax.grad(problem.objective)

        def force(flat: Array) -> Array:
            here = unravel(flat)
            M = MATRICES[self.matrix][0](problem, here, self.damping)
            return -jnp.linalg.solve(M, ravel_pytree(gradient(here))[0])

        return System(force, theta, theta.size, unravel)

    def gain_root(self, problem: Problem, params: Params) -> Dense:
        """P^1/2 along the flow."""
        return _root(self.matrix, problem, params, self.damping)

    def init(self, problem: Problem, params: Params) -> State:
        require_decomposable(self.matrix, params)
        return self._counted(problem, super().init(problem, params))

    def advance(
        self, problem: Problem, state: State, until: Float[Array, ""], most_steps: Array
    ) -> State:
        each = metric_price(self.matrix, problem, state.params)
        speeds = dataclasses.replace(self, most_gradients=-(-self.most_gradients // each))
        reached = super(NaturalGradientFlow, speeds).advance(problem, state, until, most_steps)
        return self._counted(problem, reached)

    def expected(self, problem: Problem, state: State, until: Float[Array, ""]) -> Array:
        each = metric_price(self.matrix, problem, state.params)
        return each * super().expected(problem, state, until)

    def statistics(self, problem: Problem, state: State) -> dict[str, Array]:
        found = super().statistics(problem, state)
        each = metric_price(self.matrix, problem, state.params)
        return found | {"solver_evaluations": each * found["solver_evaluations"]}

    def _counted(self, problem: Problem, state: State) -> State:
        """A state whose evaluations are gradients, not speeds."""
        each = metric_price(self.matrix, problem, state.params)
        return state._replace(evaluations=each * state.evaluations)


def natural_gradient_descent(
    step_size: float, damping: float = 1e-3, matrix: str = "fisher"
) -> NaturalGradientDescent:
    """Natural gradient descent with an exact matrix and one step size; see there.

    Args:
        step_size: eta; near a minimum of a squared error that is fitted, steps of 1 are Newton's.
        damping: lambda; 0 where the matrix is invertible.
        matrix: "fisher", "gauss-newton", "kronecker" (K-FAC's exact factors), "hessian" or
            "absolute-hessian".

    Raises:
        InputError: If a number is out of its range or the matrix unknown; at the start of a run, if
            the problem does not have it, or has more than 2,000 parameters.

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.ones((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> one_step = tw.dynamics.natural_gradient_descent(1.0, 0.0)
        >>> steps = tw.run(problem, one_step, until=1.0, records=1)
        >>> steps.dataset["parameters"].values[0, -1].round(6).tolist()  # in one step
        [1.0, 0.5]
    """
    choose(matrix, MATRICES, "matrix")
    return NaturalGradientDescent(step_size_array(step_size), _damping(damping), matrix)


def natural_gradient_flow(
    damping: float = 1e-3,
    matrix: str = "fisher",
    rtol: float | None = None,
    solver: str | None = None,
    *,
    error: float | None = None,
    most_gradients: int = MOST_GRADIENTS,
) -> NaturalGradientFlow:
    """The flow that natural gradient descent follows as its steps go to 0.

    Args:
        damping: lambda.
        matrix: As of `natural_gradient_descent`.
        rtol: Tolerance of a step; 1e-6 if `error` is not given either.
        solver: An explicit one of `thalweg.dynamics.FLOW_SOLVERS`; tsit5 by default.
        error: Wanted error of the whole path, relative to the norm of the parameters.
        most_gradients: Gradients of a seed after which the flow ends with the code STEP_LIMIT.

    Raises:
        InputError: If a number is out of its range, or a name unknown.

    Examples:
        >>> data = (np.diag([1.0, 2.0]), np.ones((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> flow = tw.dynamics.natural_gradient_flow(0.0, error=1e-8)
        >>> start = [{"weight": jnp.zeros((1, 2))}]
        >>> path = tw.run(problem, flow, until=1.0, records=1, start=start)
        >>> bool(np.allclose(path.parameters[0, -1], (1 - np.exp(-1)) * np.array([1.0, 0.5])))
        True
    """
    choose(matrix, MATRICES, "matrix")
    how = how_asked(rtol, error, most_gradients)
    return NaturalGradientFlow(
        how.rtol, solver or "auto", error=how.error, most_gradients=how.most_gradients,
        damping=_damping(damping), matrix=matrix,
    )  # fmt: skip


def _root(matrix: str, problem: Problem, params: Params, damping: Array) -> Dense:
    M = MATRICES[matrix][0](problem, params, damping)
    e, U = jnp.linalg.eigh((M + M.T) / 2)
    return (U / jnp.sqrt(e)) @ U.T


def _damping(value: float) -> Float[Array, ""]:
    require_from_zero(damping=value)
    return jnp.asarray(float(value), jnp.float64)
