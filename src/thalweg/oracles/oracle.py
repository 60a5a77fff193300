"""What a step gets to see of a problem: another problem, drawn at random for this step.

Its gradient is the noisy gradient. So any dynamics that descends a problem takes any oracle, and
none of them knows of noise.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from thalweg.core import tree
from thalweg.core.digest import identity
from thalweg.core.doors import Checked
from thalweg.core.hessian_product import Product
from thalweg.core.memory import bytes_of
from thalweg.core.selection import Part, part_of
from thalweg.core.tree import Params
from thalweg.curvature.operator import Operator
from thalweg.oracles.random_numbers import normals
from thalweg.problems.problem import Problem

BLOCK_BYTES, MOST_STEPS = 2**14, 256  # of random numbers that are drawn at once for one lane


class Counts(NamedTuple):
    """What one look at the gradient costs; on average, where not every look costs the same.

    Attributes:
        values: Evaluations of the objective without its gradient.
        gradients: Gradients asked for, of whatever the oracle shows.
        component_gradients: Gradients of single examples among them; 0 where there are none.
        hessian_products: Hessian products.
    """

    values: float = 0
    gradients: float = 1
    component_gradients: float = 0
    hessian_products: float = 0


class Oracle(Checked):
    """What a step gets to see of a problem.

    The gradient g of what it shows is that of the problem on average, and its covariance is
    Sigma = F F^T, with F known by its products (`noise`):

        E g = grad f,    E (g - grad f)(g - grad f)^T = Sigma(theta).

    Random numbers are drawn for a block of steps at once: draws of block j come from a key that is
    a function of (seed, j) alone.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What it adds to the name of a dynamics, as "in batches of 20"."""

    @property
    @abc.abstractmethod
    def source(self) -> str:
        """What the noise comes from, in a word of sentences, as "mini-batches"."""

    @property
    def random(self) -> bool:
        """Whether it draws at all."""
        return True

    def suit(self, problem: Problem) -> None:
        """Look at a problem before the first step.

        Raises:
            InputError: If it cannot be shown.
        """
        return None

    @abc.abstractmethod
    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        """Random numbers of so many steps: any pytree, its leaves with `count` as first axis.

        Of `params` only the structure counts.
        """

    @abc.abstractmethod
    def see(self, problem: Problem, params: Params, draw: Any) -> Problem:
        """The problem that a step at these parameters sees, from the random numbers of one step."""

    def block(self, problem: Problem, params: Params) -> int:
        """How many steps' random numbers are drawn at once; a function of sizes alone."""
        one = jax.eval_shape(lambda key: self.draws(problem, params, key, 1), jax.random.key(0))
        return int(np.clip(BLOCK_BYTES // max(bytes_of(one), 1), 1, MOST_STEPS))

    @property
    def unbiased(self) -> bool:
        """Whether the gradient shown is that of the problem on average, whatever came before."""
        return True

    @property
    def remembers(self) -> bool:
        """Whether what it shows depends on earlier looks; see `Remembering`."""
        return False

    def begin(self, problem: Problem, params: Params) -> Self:
        """The oracle with the memory of one that has looked at these parameters alone."""
        self.suit(problem)
        return self

    def look(self, problem: Problem, params: Params, draw: Any) -> tuple[Problem, Self]:
        """What `see` shows, and the oracle after this look: itself, where it has no memory."""
        return self.see(problem, params, draw), self

    def draw_alone(self, problem: Problem, params: Params, key: Array, step: Array) -> Any:
        """The random numbers of one step by itself, from its key and number."""
        return tree.lane(self.draws(problem, params, key, 1), 0)

    def counts(self, problem: Problem) -> Counts:
        """What one look at the gradient costs."""
        return Counts()

    def spent(self, problem: Problem, steps: np.ndarray) -> np.ndarray:
        """Gradients of single examples that so many looks took."""
        return np.asarray(steps) * self.counts(problem).component_gradients

    @abc.abstractmethod
    def size(self, problem: Problem, params: Params) -> int:
        """m, the columns of the factor F of the covariance."""

    @abc.abstractmethod
    def noise(self, problem: Problem, params: Params, xi: Float[Array, " m"]) -> Params:
        """F xi, shaped as the parameters, linear in xi.

        Raises:
            InputError: If the covariance is not known.
        """

    @property
    def column(self) -> int:
        """Gradients that a product with F takes."""
        return 2

    def share_of_hessian(self, problem: Problem) -> Float[Array, ""] | None:
        """C where Sigma = c H at every exact fit of a squared error; None where it is not known."""
        return None

    def factor(self, problem: Problem, params: Params) -> Factor:
        """F at the parameters, Sigma = F F^T: an operator (p, m), and its transpose as `.T`."""
        self.suit(problem)
        return Factor(self, problem, part_of(params, None))

    def covariance(self, problem: Problem, params: Params) -> NoiseCovariance:
        """Sigma, the covariance of the gradient that is shown, as an operator (p, p).

        Exact up to rounding and matrix-free: a product costs about two gradients; `trace()` is
        exact, too.

        Raises:
            InputError: If it is not known.
        """
        return NoiseCovariance(self.factor(problem, params))

    def describe(self) -> dict[str, Any]:
        """What the record of a run says of it: plain data."""
        told: dict[str, Any] = {"name": type(self).__name__}
        for field in self.__dataclass_fields__:
            value = getattr(self, field)
            if isinstance(value, Oracle):
                told[field] = value.describe()
            elif isinstance(value, bool | int | float | str):
                told[field] = value
            elif hasattr(value, "shape") and value.shape == ():
                told[field] = value.item()
            elif value is not None:
                told[field] = identity(value)
        return told


class Tilted(Problem):
    """f(theta') + <slope, theta' - theta>: the same value at theta, and another gradient.

    Attributes:
        problem: f.
        slope: What is added to the gradient.
        anchor: theta.
    """

    problem: Problem
    slope: Params
    anchor: Params

    def init(self, key: Array) -> Params:
        return self.problem.init(key)

    def objective(self, params: Params) -> Float[Array, ""]:
        moved = tree.difference(params, jax.lax.stop_gradient(self.anchor))
        return self.problem.objective(params) + tree.dot(jax.lax.stop_gradient(self.slope), moved)

    @property
    def smooth(self) -> bool:
        return self.problem.smooth

    def describe(self) -> dict[str, Any]:
        return self.problem.describe()


class Normal(Oracle):
    """An oracle that adds F(theta) xi to the gradient, xi standard normal.

    The objective that a step sees is tilted about where it begins, so that a step which looks at
    several points sees one function.
    """

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        kind = jax.tree.leaves(params)[0].dtype
        return normals(key, (count, self.size(problem, params)), kind)

    def see(self, problem: Problem, params: Params, draw: Any) -> Problem:
        return Tilted(problem, self.noise(problem, params, draw), params)


class Full(Oracle):
    """The problem as it is; see `full`."""

    @property
    def name(self) -> str:
        return ""

    @property
    def source(self) -> str:
        return "nothing"

    @property
    def random(self) -> bool:
        return False

    def draws(self, problem: Problem, params: Params, key: Array, count: int) -> Any:
        return ()

    def see(self, problem: Problem, params: Params, draw: Any) -> Problem:
        return problem

    def size(self, problem: Problem, params: Params) -> int:
        return 1

    @property
    def column(self) -> int:
        return 0

    def noise(self, problem: Problem, params: Params, xi: Float[Array, " m"]) -> Params:
        return jax.tree.map(lambda a: jnp.zeros_like(a) * xi[0].astype(a.dtype), params)


def full() -> Full:
    """The problem as it is: no noise.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(1))
        >>> tw.oracles.full().covariance(bowl, bowl.start).dense().tolist()
        [[0.0]]
    """
    return Full()


class Factor(Operator):
    """F of an oracle at a point, Sigma = F F^T; see `Oracle.factor`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> tw.oracles.isotropic(0.5).factor(bowl, bowl.start).dense().tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """

    oracle: Oracle
    problem: Problem
    part: Part
    transposed: bool = eqx.field(static=True, default=False)
    symmetric: ClassVar[bool] = False
    cost: ClassVar[float] = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        theta = self.part.theta
        sides = theta.size, self.oracle.size(self.problem, self.part.params(theta))
        return sides[::-1] if self.transposed else sides

    @property
    def dtype(self) -> np.dtype:
        return self.part.theta.dtype

    @property
    def T(self) -> Factor:  # noqa: N802
        return Factor(self.oracle, self.problem, self.part, not self.transposed)

    def prepared(self) -> Product:
        params = self.part.params(self.part.theta)

        def forward(xi: Array) -> Array:
            return tree.flatten(self.oracle.noise(self.problem, params, xi))

        if not self.transposed:
            return forward
        like = jax.ShapeDtypeStruct((self.T.shape[1],), self.dtype)
        back = jax.linear_transpose(forward, like)
        return lambda v: back(v)[0]

    def _entered(self, given: Any) -> Array:
        return self.part.flat(given) if self.transposed else super()._entered(given)

    def _left(self, flat: Array) -> Any:
        return flat if self.transposed else self.part.tree(flat)


class NoiseCovariance(Operator):
    """Sigma = F F^T of an oracle at a point; see `Oracle.covariance`.

    Examples:
        >>> bowl = tw.problems.Function(lambda x: 0.5 * jnp.sum(x**2), start=jnp.ones(2))
        >>> noise = tw.oracles.isotropic(0.5).covariance(bowl, bowl.start)
        >>> (noise @ jnp.array([1.0, 2.0])).tolist(), float(noise.trace())
        ([0.25, 0.5], 0.5)
    """

    factor: Factor
    cost: ClassVar[float] = 2.0

    @property
    def shape(self) -> tuple[int, int]:
        p = self.factor.shape[0]
        return p, p

    @property
    def dtype(self) -> np.dtype:
        return self.factor.dtype

    def prepared(self) -> Product:
        forward, back = self.factor.prepared(), self.factor.T.prepared()
        return lambda v: forward(back(v))

    def trace(self) -> Float[Array, ""]:
        """Tr Sigma, exact up to rounding: a product with F or F^T for each of the fewer columns."""
        p, m = self.factor.shape
        return _sum_of_squares(self.factor if m <= p else self.factor.T)

    def _entered(self, given: Any) -> Array:
        return self.factor.part.flat(given)

    def _left(self, flat: Array) -> Any:
        return self.factor.part.tree(flat)


@eqx.filter_jit
def _sum_of_squares(operator: Operator) -> Float[Array, ""]:
    """The squared Frobenius norm of a map, a column at a time."""
    product, columns = operator.prepared(), operator.shape[1]

    def column(j: Array) -> Array:
        image = product((jnp.arange(columns) == j).astype(operator.dtype))
        return jnp.sum(image * image)

    return jnp.sum(jax.lax.map(column, jnp.arange(columns), batch_size=min(8, columns)))
