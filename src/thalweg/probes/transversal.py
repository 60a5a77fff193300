"""What a network does in directions normal to the plane that its inputs lie on."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from thalweg.core.errors import InputError, require
from thalweg.core.result import Reading, exact
from thalweg.core.tree import Params
from thalweg.models.input_derivatives import normal_derivatives
from thalweg.probes.probe import Moment, Probe, with_data
from thalweg.problems.problem import Problem, Supervised


class NormalDerivative(Probe):
    """Rms over the training inputs, projected onto their plane, of ||df/dn||.

    ||df/dn||^2 sums over outputs and normal directions. The plane is spanned by the principal axes
    of the inputs (not centred) whose size is above `tolerance` of the largest.

    value   (), output/input
    error   0: exact up to rounding
    raises  InputError for problems without data and models that look at whole batches
    cost    a forward pass and a backward pass per output; once a singular value decomposition

    Source: He, Tsai and Ward (2023), arXiv 2203.00614, df/dn.
    """

    tolerance: float = eqx.field(static=True, default=1e-5)
    name: ClassVar[str] = "normal_derivative"
    unit: ClassVar[str] = "output/input"
    dims: ClassVar[tuple[str, ...]] = ()

    def start(self, problem: Problem, params: Params) -> Float[Array, "d d"]:
        """The projector P P^T onto the plane."""
        z = _flat_inputs(with_data(problem, "the normal derivative"))
        _, sizes, axes = jnp.linalg.svd(z, full_matrices=False)
        kept = jnp.where((sizes > self.tolerance * sizes[0])[:, None], axes, 0)
        return kept.T @ kept

    def measure(
        self, problem: Problem, params: Params, memory: Any, moment: Moment
    ) -> tuple[Reading, Any]:
        data = with_data(problem, "the normal derivative")
        if not data.model.separable:
            raise InputError(
                "the normal derivative needs outputs that depend on their own example alone; "
                "this model looks at the whole batch"
            )

        def f(z: Array) -> Array:
            return data.outputs(params, z.reshape(-1, *data.inputs.shape[1:]))

        onto = _flat_inputs(data) @ memory
        off = jnp.eye(len(memory), dtype=memory.dtype) - memory
        return exact(normal_derivatives(f, onto, off).rms), memory


def normal_derivative(tolerance: float = 1e-5) -> NormalDerivative:
    """The rms normal derivative along a run; see `NormalDerivative`.

    Args:
        tolerance: Share of the largest principal axis up to which a direction is normal: above
            the noise of the data, below their extent.

    Raises:
        InputError: If the tolerance is not in [0, 1).

    Examples:
        >>> x = np.array([[1.0, 0.0], [2.0, 0.0]])  # on the first axis
        >>> problem = tw.problems.supervised(tw.models.linear([]), (x, np.ones((2, 1))))
        >>> params = [{"weight": jnp.array([[1.0, 4.0]])}]
        >>> round(float(tw.measure(problem, params, tw.probes.normal_derivative()).value), 6)
        4.0
    """
    require(0 <= tolerance < 1, f"the tolerance is {tolerance}; give a share in [0, 1)")
    return NormalDerivative(tolerance)


def _flat_inputs(data: Supervised) -> Float[Array, "n d"]:
    return data.inputs.reshape(len(data.inputs), -1)
