"""Images of bytes as examples: rows chosen before they become float64, eight times the memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from thalweg.problems.data.data import Data, from_arrays
from thalweg.problems.data.rows import Classes, chosen_rows, of_classes, row_rule


def from_pixels(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.integer],
    names: Sequence[str],
    *,
    name: str,
    source: str,
    mean: Sequence[float],
    std: Sequence[float],
    of: str,
    samples: int | None = None,
    every: int | None = None,
    classes: Classes | None = None,
    image: bool = False,
) -> Data:
    """Examples (pixel / 255 - mean) / std of images of bytes, by constants of their channels.

    Args:
        pixels: (n, channels, height, width).
        labels: (n,), 0..len(names) - 1.
        names: Names of the classes.
        name: Name of the data, also the beginning of every error sentence.
        source: Where they come from.
        mean: Of pixel / 255, one per channel.
        std: Likewise.
        of: What `mean` and `std` were taken over.
        samples: Number of images, balanced over the classes by `chosen_rows`.
        every: Keep every so-manyth image, before `samples`.
        classes: Names of the classes kept, before both; all by default.
        image: Shape (n, channels, height, width) instead of (n, channels height width).

    Raises:
        InputError: If a choice is out of range.
    """
    n, rule = len(pixels), ""
    taken = np.arange(n)
    if classes is not None:
        taken, labels, names, rule = of_classes(labels, names, classes, name)
        n = len(taken)
    rows = chosen_rows(n, labels, every=every, samples=samples)
    channel = (len(mean), 1, 1)
    scaled = pixels[taken[rows]] / 255.0
    scaled -= np.reshape(mean, channel)
    scaled /= np.reshape(std, channel)
    grey = len(mean) == 1
    data = from_arrays(
        scaled if image else scaled.reshape(len(rows), math.prod(pixels.shape[1:])),
        labels[rows],
        name=name,
        task="classification",
        class_names=names,
        description={
            "source": source,
            "rows": row_rule(n, every, samples, labelled=True, before=rule),
            "standardize": {
                "kind": "global" if grey else "channel",
                "mean": mean[0] if grey else list(mean),
                "std": std[0] if grey else list(std),
                "of": of,
            },
        },
    )
    data.description.pop("labels_without_example", None)  # none of ours is lacking
    return data
