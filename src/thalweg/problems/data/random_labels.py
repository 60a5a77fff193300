"""Random inputs with random labels: nothing to learn, only to memorise."""

from __future__ import annotations

import math

import numpy as np

from thalweg.core.errors import require, unknown
from thalweg.core.ranges import require_positive
from thalweg.problems.data.data import Data

LABELS = ("signs", "gaussian")


def random_data(
    examples: int,
    inputs: int | tuple[int, ...],
    labels: str | int,
    *,
    norm: float | None = None,
    seed: int = 0,
) -> Data:
    """Inputs x ~ N(0, I) whose labels are drawn without looking at them.

    Args:
        examples: n, the number of examples.
        inputs: Shape of one example.
        labels: "signs" (targets +1 or -1, equally likely), "gaussian" (targets N(0, 1)), both of
            shape (n, 1), or a number of classes (labels 0..k-1, equally likely).
        norm: Scale every example to this Euclidean norm; None leaves them as drawn.
        seed: Of the generator; inputs and labels come from independent streams, so that data of
            one seed have the same inputs whatever their labels.

    Returns:
        Classification data for a number of classes, else regression data.

    Raises:
        InputError: If a size is not positive, or the labels are unknown.

    Source: Zhang et al. (2017), random labels; Kawaguchi and Huang (2019), sec. 4.

    Examples:
        >>> data = tw.problems.random_data(10, 3, "signs", norm=2.0)
        >>> bool(np.all(np.abs(data.targets) == 1))
        True
        >>> bool(np.allclose(np.linalg.norm(data.inputs, axis=1), 2))
        True
    """
    shape = (inputs,) if isinstance(inputs, int) else tuple(inputs)
    require(
        examples >= 1 and min(shape, default=0) >= 1,
        f"sizes {examples} and {shape}; give at least 1 each",
    )
    require_positive(norm=norm)
    for_inputs, for_labels = (
        np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2)
    )
    x = for_inputs.standard_normal((examples, *shape))
    if norm is not None:
        sizes = np.sqrt((x.reshape(examples, -1) ** 2).sum(1))
        x *= (norm / sizes).reshape(examples, *[1] * len(shape))
    name = f"{examples} random examples of size {math.prod(shape)}, seed {seed}"
    if isinstance(labels, int):
        require(labels >= 2, f"{labels} classes came; give at least 2")
        y = for_labels.integers(labels, size=examples)
        data = Data.of(x, y, name)
        # A class may be missing by chance; it is still a class.
        return Data(name, x, y, data.task, tuple(map(str, range(labels))), data.description)
    require(labels in LABELS, unknown(labels, LABELS, "kind of random labels"))
    if labels == "signs":
        return Data.of(x, 2.0 * for_labels.integers(2, size=(examples, 1)) - 1, name)
    return Data.of(x, for_labels.standard_normal((examples, 1)), name)
