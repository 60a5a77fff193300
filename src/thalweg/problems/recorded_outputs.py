"""What a net says at the parameters that a run recorded, and how often it is right."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from thalweg.core.errors import require
from thalweg.problems.problem import Supervised, unraveller


@eqx.filter_jit
def outputs_at(
    problem: Supervised,
    flat: Float[ArrayLike, "*records p"],
    x: Float[ArrayLike, "n ..."] | None = None,
) -> Float[Array, "..."]:
    """Outputs at flat parameters, such as those of all seeds and records of a run.

    Args:
        problem: What was trained.
        flat: Parameters as a run records them.
        x: Other inputs than the problem's own, which are taken by default.

    Returns:
        Shape (*records, n, k).

    Cost: one forward pass a record, one after the other.

    Examples:
        >>> from thalweg.problems.recorded_outputs import outputs_at
        >>> line = tw.problems.supervised(tw.models.linear(()), (jnp.ones((2, 1)), jnp.ones(2)))
        >>> outputs_at(line, jnp.array([[3.0], [4.0]]))[..., 0].tolist()
        [[3.0, 3.0], [4.0, 4.0]]
    """
    unravel, points = unraveller(problem), jnp.asarray(flat)
    inputs = None if x is None else jnp.asarray(x)
    rows = points.reshape(-1, points.shape[-1])
    found = jax.lax.map(lambda theta: problem.outputs(unravel(theta), inputs), rows)
    return jnp.reshape(found, (*points.shape[:-1], *found.shape[1:]))


def share_right(
    outputs: Float[ArrayLike, "... n k"], targets: ArrayLike
) -> Float[np.ndarray, "..."]:
    """The share of examples that are told right: the largest output, or of one output the sign.

    Args:
        outputs: One row an example.
        targets: Labels (n,), or rows (n, k) whose largest entry is the label; with one output
            signs (n, 1).

    Returns:
        A number a from 0 to 1 for each of the leading axes; exact. As an estimate of what new
        examples of the same law will give it has the standard error sqrt(a (1 - a) / n).

    Raises:
        InputError: If outputs and targets have not as many rows.

    Examples:
        >>> from thalweg.problems.recorded_outputs import share_right
        >>> float(share_right([[0.2, 0.8], [0.9, 0.1]], [1, 1]))
        0.5
        >>> float(share_right([[0.2], [-0.9]], [[1.0], [-1.0]]))
        1.0
    """
    said, truth = np.asarray(outputs), np.asarray(targets)
    require(
        said.ndim >= 2 and said.shape[-2] == len(truth),
        f"outputs of shape {said.shape} and targets of shape {truth.shape} do not match; give a "
        "row of each for every example",
    )
    if said.shape[-1] == 1:
        return np.mean(said[..., 0] * truth.ravel() > 0, axis=-1)
    labels = truth if truth.ndim == 1 else truth.argmax(-1)
    return np.mean(said.argmax(-1) == labels, axis=-1)
