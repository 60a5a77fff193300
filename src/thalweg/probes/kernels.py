"""The tangent kernel along a run: how far it moves, what it points at, how many directions it has.

Each probe forms the kernel of the first `examples` examples, traced over outputs, at every
record: K_ij = sum_a <d f_a(x_i)/d theta, d f_a(x_j)/d theta>.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import require
from thalweg.core.result import Reading
from thalweg.core.tree import Params
from thalweg.kernels import measures
from thalweg.kernels.tangent import tangent_kernel
from thalweg.probes.probe import Moment, Probe, with_data
from thalweg.problems.problem import Problem, Supervised

EXAMPLES = 128


class KernelProbe(Probe):
    """What all measurements of the kernel share: its examples.

    cost    one tangent kernel, `thalweg.kernels.kernel_cost`: at most `examples` x outputs
            gradients of single examples
    error   rounding
    """

    examples: int = eqx.field(static=True, default=EXAMPLES)

    def __check_init__(self) -> None:
        require(self.examples >= 2, f"examples came as {self.examples}; give at least 2")

    def kernel(self, problem: Problem, params: Params) -> Float[Array, "m m"]:
        """K of the first examples (unit: output^2/parameter^2)."""
        x = self._data(problem).inputs[: self.examples]
        found = tangent_kernel(problem, params, x, outputs="trace")
        assert isinstance(found, jax.Array)
        return found

    def _data(self, problem: Problem) -> Supervised:
        return with_data(problem, f"the probe {self.name}")


class KernelDrift(KernelProbe):
    """||K_t - K_0||_F / ||K_0||_F, K_0 the kernel at the start of the run; 0 in the lazy regime.

    Source: Chizat, Oyallon and Bach (2019), section 3.
    """

    name: ClassVar[str] = "kernel_drift"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def start(self, problem: Problem, params: Params) -> Float[Array, "m m"]:
        return self.kernel(problem, params)

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return measures.drift(self.kernel(problem, params), memory), memory


class KernelAlignment(KernelProbe):
    """Cosine between the kernel and Y Y^T, both centred: how far it points along the targets.

    Source: Cortes, Mohri and Rostamizadeh (2012), definition 4.
    """

    name: ClassVar[str] = "kernel_alignment"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        targets = self._data(problem).targets[: self.examples]
        kernel = self.kernel(problem, params)
        return measures.target_alignment(kernel, targets, centred=True), memory


class KernelEffectiveRank(KernelProbe):
    """exp of the entropy of the kernel's eigenvalues: how many directions carry it.

    Source: Roy and Vetterli (2007), definition 1.
    """

    name: ClassVar[str] = "kernel_effective_rank"
    unit: ClassVar[str] = "1"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        return measures.effective_rank_of(self.kernel(problem, params)), memory


class KernelSmallestEigenvalue(KernelProbe):
    """The smallest eigenvalue of the kernel, which bounds the rate of training from below.

    error   residual, backward error of the solver: see `thalweg.kernels.smallest_eigenvalue_of`
    """

    name: ClassVar[str] = "kernel_smallest_eigenvalue"
    unit: ClassVar[str] = "output^2/parameter^2"
    dims: ClassVar[tuple[str, ...]] = ()

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        K = self.kernel(problem, params)
        entries = jnp.finfo(K.dtype).eps * jnp.sqrt(jnp.outer(jnp.diag(K), jnp.diag(K)))
        return measures.smallest_eigenvalue_of(K, entries), memory


def kernel_drift(examples: int = EXAMPLES) -> KernelDrift:
    """How far the tangent kernel has moved; see `KernelDrift`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([]), (np.eye(2), np.ones((2, 1))))
        >>> drift = tw.probes.kernel_drift()
        >>> path = tw.run(problem, tw.gradient_descent(0.1), until=1.0, records=1, probes=drift)
        >>> path.dataset["kernel_drift"].values.tolist()  # a linear model's kernel stays
        [[0.0, 0.0]]
    """
    return KernelDrift(examples)


def kernel_alignment(examples: int = EXAMPLES) -> KernelAlignment:
    """How far the tangent kernel points along the targets; see `KernelAlignment`.

    Examples:
        >>> x = np.array([[-1.0], [1.0]])  # K = x x^T, Y Y^T = 4 K
        >>> problem = tw.problems.supervised(tw.models.linear([]), (x, 2 * x))
        >>> params = problem.init(jax.random.key(0))
        >>> round(float(tw.measure(problem, params, tw.probes.kernel_alignment()).value), 6)
        1.0
    """
    return KernelAlignment(examples)


def kernel_effective_rank(examples: int = EXAMPLES) -> KernelEffectiveRank:
    """How many directions carry the tangent kernel; see `KernelEffectiveRank`.

    Examples:
        >>> problem = tw.problems.supervised(tw.models.linear([]), (np.eye(3), np.ones((3, 1))))
        >>> params = problem.init(jax.random.key(0))  # K = I
        >>> round(float(tw.measure(problem, params, tw.probes.kernel_effective_rank()).value), 6)
        3.0
    """
    return KernelEffectiveRank(examples)


def kernel_smallest_eigenvalue(examples: int = EXAMPLES) -> KernelSmallestEigenvalue:
    """Smallest eigenvalue of the tangent kernel; see `KernelSmallestEigenvalue`.

    Examples:
        >>> data = (np.diag([2.0, 1.0]), np.ones((2, 1)))
        >>> problem = tw.problems.supervised(tw.models.linear([]), data)
        >>> params = problem.init(jax.random.key(0))  # K = diag(4, 1)
        >>> reading = tw.measure(problem, params, tw.probes.kernel_smallest_eigenvalue())
        >>> round(float(reading.value), 6)
        1.0
    """
    return KernelSmallestEigenvalue(examples)
