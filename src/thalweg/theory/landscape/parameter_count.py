"""How many parameters a network needs to fit any labels, and how few are enough.

With fewer parameters than numbers to fit, d < n k, the outputs on n inputs are the image of R^d
under a smooth map into a space of higher dimension: a set of measure zero (Sard), so that no
algorithm fits generic targets. A wide last hidden layer makes d = O(n) enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from thalweg.core.errors import require
from thalweg.models import MLP


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
