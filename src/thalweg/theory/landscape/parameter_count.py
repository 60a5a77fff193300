"""How many parameters a network has, how many it needs to fit any labels, and how many it uses.

With fewer parameters than numbers to fit, d < n k, the outputs on n inputs are the image of R^d
under a smooth map into a space of higher dimension: a set of measure zero (Sard), so that no
algorithm fits generic targets. A wide last hidden layer makes d = O(n) enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from thalweg.core import tree
from thalweg.core.errors import require
from thalweg.models import MLP, Model


def parameter_count(model: Model, inputs: int | Sequence[int], outputs: int) -> int:
    """Number of trainable parameters d of a model; nothing is drawn or allocated.

    Args:
        model: Any model.
        inputs: Shape of one example, or its number of features.
        outputs: Numbers out.

    Examples:
        >>> from thalweg.theory.landscape.parameter_count import parameter_count
        >>> parameter_count(tw.models.mlp([4]), 3, 2)  # (3 + 1) 4 + (4 + 1) 2
        26
    """
    shape = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    like = jax.eval_shape(
        lambda key: model.init(key, shape, outputs, jnp.float64), jax.random.key(0)
    )
    return tree.size(like)


def minimum_parameters(examples: int, outputs: int = 1) -> int:
    """The threshold n k: with fewer parameters no algorithm fits generic targets of shape (n, k).

    Source: Kawaguchi and Huang (2019), lower bound.

    Examples:
        >>> from thalweg.theory.landscape.parameter_count import minimum_parameters
        >>> minimum_parameters(10, outputs=3)
        30
    """
    return examples * outputs


def narrow_wide_widths(examples: int, c: float, narrow: Sequence[int]) -> tuple[int, ...]:
    """Hidden widths (m_1, ..., m_{H-1}, ceil(c n)) for n examples.

    Raises:
        InputError: If a width comes out below 1.

    Examples:
        >>> from thalweg.theory.landscape.parameter_count import narrow_wide_widths
        >>> narrow_wide_widths(10, 1.1, [4, 4])
        (4, 4, 11)
    """
    wide = math.ceil(c * examples * (1 - 1e-12))  # 1.1 x 10 is 11, not 12, in binary too
    require(
        wide >= 1 and all(width >= 1 for width in narrow),
        f"{examples} examples with {c} units each after {tuple(narrow)} came; "
        "give positive numbers",
    )
    return (*narrow, wide)


def narrow_wide_net(
    examples: int, c: float, narrow: Sequence[int], activation: str = "softplus:100"
) -> MLP:
    """A net of O(n) parameters: narrow layers, then one of ceil(c n) units, He weights.

    With c n + 1 >= n its last layer alone can fit n examples if the features tell them apart.

    Args:
        examples: n, the number of training examples.
        c: Units of the last hidden layer per example.
        narrow: Widths of the other hidden layers.
        activation: A name that `thalweg.models.activation` takes.

    Source: Kawaguchi and Huang (2019), the architecture of the upper bound.

    Examples:
        >>> from thalweg.theory.landscape.parameter_count import narrow_wide_net
        >>> narrow_wide_net(10, 1.1, [4]).hidden
        (4, 11)
    """
    return MLP(narrow_wide_widths(examples, c, narrow), activation, initialiser="he-normal")


def dense_count(inputs: int, hidden: Sequence[int], outputs: int) -> int:
    """Parameters of a dense net, (m_x + 1) m_1 + (m_1 + 1) m_2 + ... + (m_H + 1) m_y with biases.

    Source: E5 of the study of Kawaguchi and Huang (2019).

    Examples:
        >>> from thalweg.theory.landscape.parameter_count import dense_count
        >>> dense_count(3, [4], 2)  # (3 + 1) 4 + (4 + 1) 2
        26
    """
    return sum((into + 1) * out for into, out in pairwise((inputs, *hidden, outputs)))


class JacobianRank(NamedTuple):
    """Rank of the Jacobian of a net's outputs in its parameters.

    Attributes:
        rank: Number of singular values above `tolerance`.
        singular_values: Descending, shape (min(n k, d),), unit output/parameter.
        tolerance: eps * max(n k, d) * the largest one: what rounding cannot tell from zero.
        complement: Orthonormal columns c with c^T J = 0 within the tolerance, (n k, n k - rank):
            directions in which the outputs cannot move to first order.
    """

    rank: int
    singular_values: Float[np.ndarray, " s"]
    tolerance: float
    complement: Float[np.ndarray, "nk rest"]


def jacobian_rank(J: ArrayLike) -> JacobianRank:
    """Numerical rank of J = d outputs / d params, which is at most min(n k, d).

    If d < n k the complement is never empty: at every point some combination of the outputs does
    not move to first order, and which one depends on the point.

    Args:
        J: Shape (n k, d), as `thalweg.curvature.jacobian(problem, params).dense()`.

    Cost: A dense singular value decomposition, no gradients.
    Source: Kawaguchi and Huang (2019), lower bound; E6 of the study.

    Examples:
        >>> from thalweg.theory.landscape.parameter_count import jacobian_rank
        >>> jacobian_rank([[1.0, 0.0], [2.0, 0.0]]).rank
        1
    """
    J = np.asarray(J, float)
    U, values, _ = np.linalg.svd(J, full_matrices=True)
    tolerance = float(np.finfo(float).eps * max(J.shape) * values[0])
    rank = int(np.sum(values > tolerance))
    return JacobianRank(rank, values, tolerance, U[:, rank:])
